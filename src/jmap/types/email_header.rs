//! Header fields as properties of an Email or of a body part (RFC 8621 §4.1.2, §4.1.3):
//! `header:{name}[:as{form}][:all]`, and how each form is written in JSON.
//!
//! Invariant: a [`HeaderProperty`] names a field and a form that the field may have; everything
//! else is no property, which makes it `invalidArguments`.

use crate::jmap::object::{Default, Kind, Property};
use crate::mail::addresses::{EmailAddressGroup, MailAddress};
use crate::mail::headers::{self, HeaderForm, HeaderValue};
use crate::store::rows::message::HeaderField;
use serde_json::{Map, Value};

/// A property that stands for the header fields of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderProperty {
    /// As the client spelled it; compared without case.
    pub name: String,
    pub form: HeaderForm,
    /// All fields of that name, not the last one only.
    pub all: bool,
}

impl HeaderProperty {
    /// Reads `header:…`; `None` where it isn't spelled so, or where the field may not have the form.
    pub fn parse(property: &str) -> Option<Self> {
        let mut pieces = property.strip_prefix("header:")?.split(':').peekable();
        let name = pieces.next().filter(|name| headers::is_field_name(name))?;
        let form = match pieces.next_if(|piece| *piece != "all") {
            Some(suffix) => HeaderForm::parse(suffix)?,
            None => HeaderForm::Raw,
        };
        let all = pieces.next_if_eq(&"all").is_some();
        let fits = pieces.next().is_none() && headers::form_allowed(name, form);
        fits.then(|| Self { name: name.to_owned(), form, all })
    }

    /// The value among these fields.
    pub fn value(&self, fields: &[HeaderField]) -> Value {
        if self.all {
            let all = headers::fields_named(fields, &self.name);
            return all.map(|field| to_json(headers::value_in_form(&field.value.0, self.form))).collect();
        }
        headers::last_value(fields, &self.name, self.form).map_or(Value::Null, to_json)
    }

    /// What a create of an Email may give for it.
    pub fn property(&self) -> &'static Property {
        static RAW: Property = Property::immutable("header", Kind::String, Default::Computed).or_null();
        static LIST: Property = Property::immutable("header", Kind::Array, Default::Computed).or_null();
        static STRINGS: Property = Property::immutable("header", Kind::Strings, Default::Computed).or_null();
        static DATE: Property = Property::immutable("header", Kind::Date, Default::Computed).or_null();
        static ALL: Property = Property::immutable("header", Kind::Array, Default::Computed);
        match self.form {
            _ if self.all => &ALL,
            HeaderForm::Raw | HeaderForm::Text => &RAW,
            HeaderForm::Addresses | HeaderForm::GroupedAddresses => &LIST,
            HeaderForm::MessageIds | HeaderForm::Urls => &STRINGS,
            HeaderForm::Date => &DATE,
        }
    }
}

/// A convenience property as the header property that it stands for (RFC 8621 §4.1.3).
pub fn convenience(property: &str) -> Option<HeaderProperty> {
    let (name, form) = headers::convenience(property)?;
    Some(HeaderProperty { name: name.to_owned(), form, all: false })
}

/// A header field value in its form.
pub fn to_json(value: HeaderValue) -> Value {
    match value {
        HeaderValue::Raw(text) | HeaderValue::Text(text) => text.into(),
        HeaderValue::Addresses(addresses) => addresses_json(&addresses),
        HeaderValue::GroupedAddresses(groups) => groups.iter().map(group_json).collect(),
        HeaderValue::MessageIds(list) | HeaderValue::Urls(list) => list.map_or(Value::Null, Value::from),
        HeaderValue::Date(date) => date.map_or(Value::Null, |date| date.to_string().into()),
    }
}

/// EmailAddress[] (RFC 8621 §4.1.2.3).
pub fn addresses_json(addresses: &[MailAddress]) -> Value {
    let one = |address: &MailAddress| {
        let mut object = Map::with_capacity(2);
        object.insert("name".into(), address.name.clone().into());
        object.insert("email".into(), address.email.as_str().into());
        Value::Object(object)
    };
    addresses.iter().map(one).collect()
}

/// EmailHeader[] (RFC 8621 §4.1.3): all fields in order, in Raw form.
pub fn headers_json(fields: &[HeaderField]) -> Value {
    let one = |field: &HeaderField| {
        let mut object = Map::with_capacity(2);
        object.insert("name".into(), field.name.as_str().into());
        object.insert("value".into(), headers::raw_form(&field.value.0).into());
        Value::Object(object)
    };
    fields.iter().map(one).collect()
}

/// EmailAddressGroup (RFC 8621 §4.1.2.4).
fn group_json(group: &EmailAddressGroup) -> Value {
    let mut object = Map::with_capacity(2);
    object.insert("name".into(), group.name.clone().into());
    object.insert("addresses".into(), addresses_json(&group.addresses));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_property_is_read_exactly_or_not_at_all() {
        let of = |name: &str, form, all| Some(HeaderProperty { name: name.into(), form, all });
        for (property, wanted) in [
            ("header:Subject", of("Subject", HeaderForm::Raw, false)),
            ("header:subject:asText", of("subject", HeaderForm::Text, false)),
            ("header:Received:all", of("Received", HeaderForm::Raw, true)),
            ("header:Resent-To:asAddresses:all", of("Resent-To", HeaderForm::Addresses, true)),
            ("header:To:asGroupedAddresses", of("To", HeaderForm::GroupedAddresses, false)),
            ("header:all", of("all", HeaderForm::Raw, false)),
            ("header:asText", of("asText", HeaderForm::Raw, false)),
            ("header:all:all", of("all", HeaderForm::Raw, true)),
            ("header:X-Own:asURLs", of("X-Own", HeaderForm::Urls, false)),
            ("header:X-Own:asRaw", of("X-Own", HeaderForm::Raw, false)),
            ("header:", None),
            ("header", None),
            ("Header:Subject", None),
            ("header:From:asDate", None),
            ("header:Subject:asAddresses", None),
            ("header:Subject:astext", None),
            ("header:Subject:asText:", None),
            ("header:Subject:", None),
            ("header:Subject:all:asText", None),
            ("header:Subject:all:all", None),
            ("header:Subject:asText:asText", None),
            ("header:Sub ject", None),
            ("header:Süb", None),
            ("header::asText", None),
        ] {
            assert_eq!(HeaderProperty::parse(property), wanted, "{property}");
        }
    }
}
