//! The arguments of one method call, taken one by one.
//!
//! Invariant: an argument that nobody took doesn't exist for this method and these capabilities:
//! `finish` refuses it (RFC 8620 §3.9: unknown data is `invalidArguments`).

use super::error::MethodError;
use crate::types::is_id;
use crate::types::limits::PROPERTIES_MAX;
use serde_json::{Map, Value};

/// The largest UnsignedInt (RFC 8620 §1.3): 2^53-1.
pub const INT_MAX: i64 = (1 << 53) - 1;

/// Named values of which each is taken once. Also serves for a FilterCondition.
#[derive(Debug)]
pub struct Args(Map<String, Value>);

impl Args {
    pub fn new(arguments: Map<String, Value>) -> Self {
        Self(arguments)
    }

    /// The argument as it was given; `None` where it is missing or null.
    pub fn any(&mut self, name: &str) -> Option<Value> {
        // The order of what remains doesn't matter, so that the cheap removal will do.
        self.0.swap_remove(name).filter(|value| !value.is_null())
    }

    /// The argument, null apart from missing.
    pub fn given(&mut self, name: &str) -> Option<Value> {
        self.0.swap_remove(name)
    }

    /// A String or Id.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, MethodError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(MethodError::argument(name, "must be a string")),
        }
    }

    /// A String or Id that must be there.
    pub fn required_string(&mut self, name: &str) -> Result<String, MethodError> {
        self.string(name)?.ok_or_else(|| MethodError::argument(name, "is required"))
    }

    /// A Boolean, false where it is missing. Null is no Boolean.
    pub fn flag(&mut self, name: &str) -> Result<bool, MethodError> {
        match self.given(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(MethodError::argument(name, "must be true or false")),
        }
    }

    /// An Int, or its default where it is missing.
    pub fn int(&mut self, name: &str, default: i64) -> Result<i64, MethodError> {
        match self.given(name) {
            None => Ok(default),
            Some(value) => {
                as_int(&value).ok_or_else(|| MethodError::argument(name, "must be an integer below 2^53"))
            }
        }
    }

    /// An UnsignedInt|null.
    pub fn unsigned(&mut self, name: &str) -> Result<Option<u64>, MethodError> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let number = as_int(&value).and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| MethodError::argument(name, "must be an integer of 0 to 2^53-1"))
    }

    /// Names of properties, of which one call has a bounded number.
    pub fn property_names(&mut self, name: &str) -> Result<Option<Vec<String>>, MethodError> {
        let names = self.strings(name)?;
        if names.as_ref().is_some_and(|names| names.len() > PROPERTIES_MAX) {
            let why = format!("names more than {PROPERTIES_MAX} properties");
            return Err(MethodError::argument(name, &why));
        }
        Ok(names)
    }

    /// A String[]|null or Id[]|null.
    pub fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, MethodError> {
        let wrong = || MethodError::argument(name, "must be an array of strings");
        let items = match self.any(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong()),
        };
        let text = |item| if let Value::String(text) = item { Some(text) } else { None };
        items.into_iter().map(text).collect::<Option<Vec<_>>>().map(Some).ok_or_else(wrong)
    }

    /// An object|null.
    pub fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, MethodError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => Err(MethodError::argument(name, "must be an object")),
        }
    }

    /// A map of ids to objects, or null.
    pub fn objects(&mut self, name: &str) -> Result<Option<Map<String, Value>>, MethodError> {
        let members = self.object(name)?;
        if members.iter().flat_map(Map::values).any(|value| !value.is_object()) {
            return Err(MethodError::argument(name, "must map ids to objects"));
        }
        Ok(members)
    }

    /// A map of creation ids to objects, or null.
    pub fn creates(&mut self, name: &str) -> Result<Option<Map<String, Value>>, MethodError> {
        let members = self.objects(name)?;
        if members.iter().flat_map(Map::keys).any(|id| !is_id(id)) {
            let why = "a creation id has 1 to 255 letters, digits, hyphens and underscores";
            return Err(MethodError::argument(name, why));
        }
        Ok(members)
    }

    /// Refuses a null where the RFC's signature has none: in a filter it would match what nobody asked for
    /// (RFC 8620 §3.9).
    pub fn no_null(&self, names: &[&str]) -> Result<(), MethodError> {
        match names.iter().find(|name| self.0.get(**name).is_some_and(Value::is_null)) {
            Some(name) => Err(MethodError::argument(name, "can't be null")),
            None => Ok(()),
        }
    }

    /// Was it given, and not taken yet?
    pub fn left_has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The first name that nobody took.
    pub fn left_over(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }

    /// Refuses arguments that nobody took.
    pub fn finish(self) -> Result<(), MethodError> {
        match self.left_over() {
            None => Ok(()),
            Some(name) => Err(MethodError::argument(name, "is not an argument of this method")),
        }
    }
}

/// A JSON number as an Int; `1.0` is one too, since JSON has no integers of its own.
pub fn as_int(value: &Value) -> Option<i64> {
    let number = match value.as_i64() {
        Some(number) => number,
        None => {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && float.abs() <= INT_MAX as f64).then_some(float as i64)?
        }
    };
    (-INT_MAX..=INT_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args(value: Value) -> Args {
        match value {
            Value::Object(members) => Args::new(members),
            _ => panic!("an object was wanted"),
        }
    }

    #[test]
    fn an_argument_of_the_wrong_type_is_named() {
        let mut given =
            args(json!({"s": 1, "b": null, "i": 1.5, "u": -1, "l": ["a", 1], "o": [], "m": {"a": 1}}));
        for (error, name) in [
            (given.string("s").unwrap_err(), "s"),
            (given.flag("b").unwrap_err(), "b"),
            (given.int("i", 0).unwrap_err(), "i"),
            (given.unsigned("u").unwrap_err(), "u"),
            (given.strings("l").unwrap_err(), "l"),
            (given.object("o").unwrap_err(), "o"),
            (given.objects("m").unwrap_err(), "m"),
            (given.required_string("x").unwrap_err(), "x"),
        ] {
            assert_eq!(error.kind.name(), "invalidArguments");
            assert!(error.description.unwrap().starts_with(&format!("{name}: ")));
        }
        given.finish().unwrap();
        for wrong in ["", "#a", "a b", "a/b", "é"] {
            assert!(args(json!({"create": {wrong: {}}})).creates("create").is_err(), "{wrong}");
        }
        assert!(args(json!({"create": {"A-z_0": {}}})).creates("create").unwrap().is_some());
        assert!(args(json!({"unknown": null})).finish().is_err());
    }

    #[test]
    fn a_null_is_refused_where_it_is_said_that_it_can_not_be() {
        let args = args(json!({"name": null, "other": null, "third": "x"}));
        assert!(args.no_null(&["name"]).is_err());
        assert!(args.no_null(&["third", "missing"]).is_ok());
    }

    #[test]
    fn integers_stay_in_the_safe_range() {
        for (value, wanted) in [
            (json!(5), Some(5)),
            (json!(5.0), Some(5)),
            (json!(9_007_199_254_740_991_i64), Some(INT_MAX)),
            (json!(9_007_199_254_740_992_i64), None),
            (json!(-9_007_199_254_740_992_i64), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!("5"), None),
        ] {
            assert_eq!(as_int(&value), wanted, "{value}");
        }
    }
}
