//! What a type's property table says of a create or an update, before a hook sees it.
//!
//! Invariants: a refusal names every property that is wrong, not only the first; what passes has
//! only properties that exist for this client and that it may set, with values of their kinds and
//! real ids in place of `#creationId`.

use super::context::Ctx;
use super::error::{Refusal, SetError, SetErrorKind};
use super::object::{Access, Initial, Kind, Object, Property};
use super::patch::{self, Path};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashSet;

type Members = Map<String, Value>;

/// The property of that name, if it exists for this client.
pub fn property<T: Object>(ctx: &Ctx, name: &str) -> Option<&'static Property> {
    T::property(name).filter(|property| property.visible(ctx.using))
}

/// Why there is no such property for this client.
fn unknown<T: Object>(name: &str) -> &'static str {
    match T::property(name) {
        Some(_) => "needs a capability that isn't in \"using\"",
        None => "is not a property of this type",
    }
}

/// Properties that are wrong, and why.
#[derive(Default)]
struct Wrong(Vec<(String, &'static str)>);

impl Wrong {
    fn add(&mut self, name: &str, why: &'static str) {
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.to_owned(), why));
        }
    }

    fn finish(self) -> Result<(), SetError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let why: Vec<_> = self.0.iter().map(|(name, why)| format!("{name} {why}")).collect();
        Err(SetError::properties(self.0.into_iter().map(|(name, _)| name), why.join("; ")))
    }
}

/// Checks an object that is to be created. Gives its properties, with `fill_in` the defaults among them, and
/// of the defaults those that the response must tell.
pub fn create<T: Object>(ctx: &Ctx, object: &Members, fill_in: bool) -> Result<(Members, Members), SetError> {
    let mut wrong = Wrong::default();
    let mut properties = Map::with_capacity(object.len());
    for (name, value) in object {
        match property::<T>(ctx, name) {
            None => wrong.add(name, unknown::<T>(name)),
            Some(property) if property.access == Access::ServerSet => {
                wrong.add(name, "is set by the server");
            }
            Some(property) => {
                let mut value = value.clone();
                if let Err(why) = settle(ctx, property, &mut value) {
                    wrong.add(name, why);
                }
                properties.insert(name.clone(), value);
            }
        }
    }
    let mut told = Map::new();
    for property in T::table().properties {
        if property.access == Access::ServerSet || properties.contains_key(property.name) {
            continue;
        }
        let visible = property.visible(ctx.using);
        match property.default.value() {
            Some(_) if !fill_in => {}
            Some(value) => {
                if visible {
                    told.insert(property.name.to_owned(), value.clone());
                }
                properties.insert(property.name.to_owned(), value);
            }
            None if visible
                && property.default == Initial::Required
                && !object.contains_key(property.name) =>
            {
                wrong.add(property.name, "is required");
            }
            None => {}
        }
    }
    wrong.finish()?;
    Ok((properties, told))
}

/// Applies the paths to the touched properties of an object. Gives those that the client may set,
/// before and after.
pub fn update<T: Object>(
    ctx: &Ctx,
    paths: &[Path<'_>],
    mut current: Members,
) -> Result<(Members, Members), Refusal> {
    let mut wrong = Wrong::default();
    let mut old = Map::new();
    let mut settable: Vec<(&Path<'_>, &'static Property)> = Vec::with_capacity(paths.len());
    for path in paths {
        match property::<T>(ctx, path.property()) {
            None if path.is_whole() => wrong.add(path.property(), unknown::<T>(path.property())),
            None => {
                let why =
                    format!("The path '{}' is in something that does not exist.", path.tokens.join("/"));
                return Err(SetError::new(SetErrorKind::InvalidPatch, why).into());
            }
            Some(property) if property.access != Access::Mutable => {
                // RFC 8620 §5.3: a whole object may be sent back, as long as these are equal.
                if patch::find(&current, path)?.unwrap_or(&Value::Null) != path.value {
                    wrong.add(path.property(), "can't be changed");
                }
            }
            Some(property) => settable.push((path, property)),
        }
    }
    for (path, _) in &settable {
        if let Some(value) = current.shift_remove(path.property()) {
            old.insert(path.property().to_owned(), value);
        }
    }
    let mut new = old.clone();
    for (path, property) in &settable {
        if path.is_whole() && path.value.is_null() {
            // RFC 8620 §5.3: null sets the default, where there is one.
            new.insert(path.property().to_owned(), property.default.value().unwrap_or(Value::Null));
        } else {
            patch::apply(&mut new, &member_path(property, path))?;
        }
    }
    for (path, property) in settable {
        if let Some(value) = new.get_mut(path.property())
            && let Err(why) = settle(ctx, property, value)
        {
            wrong.add(path.property(), why);
        }
    }
    wrong.finish()?;
    Ok((old, new))
}

/// The path of a set's member as it is meant. A keyword is the same in any case (RFC 8621 §4.1.1).
/// `"mailboxIds/m1": false` takes the member out as null does: libraries say it so, and it can mean
/// nothing else (spec/decisions/060-false-takes-a-member-out.md).
fn member_path<'p>(property: &Property, path: &Path<'p>) -> Path<'p> {
    let mut path = path.clone();
    let is_set = matches!(property.kind, Kind::IdSet | Kind::StringSet | Kind::KeywordSet);
    if let ([_, member], true) = (path.tokens.as_mut_slice(), is_set) {
        if property.kind == Kind::KeywordSet {
            *member = member.to_ascii_lowercase().into();
        }
        if *path.value == Value::Bool(false) {
            path.value = &Value::Null;
        }
    }
    path
}

/// Puts real ids in place of creation ids and checks the kind.
pub fn settle(ctx: &Ctx, property: &Property, value: &mut Value) -> Result<(), &'static str> {
    if !resolve(ctx, property.kind, value) {
        return Err("refers to an object that was not created");
    }
    property.check(value)
}

/// Replaces `#creationId` where the kind has ids; false where one isn't known.
fn resolve(ctx: &Ctx, kind: Kind, value: &mut Value) -> bool {
    let replace = |text: &mut String| match ctx.resolve_id(text) {
        Some(Cow::Borrowed(_)) => true,
        Some(Cow::Owned(id)) => {
            *text = id;
            true
        }
        None => false,
    };
    match (kind, value) {
        (Kind::Id, Value::String(text)) => replace(text),
        (Kind::Ids, Value::Array(items)) => items.iter_mut().all(|item| match item {
            Value::String(text) => replace(text),
            _ => true,
        }),
        (Kind::IdSet, Value::Object(members)) if members.keys().any(|id| id.starts_with('#')) => {
            let mut known = true;
            let taken = std::mem::take(members).into_iter();
            members.extend(taken.map(|(mut id, value)| {
                known &= replace(&mut id);
                (id, value)
            }));
            known
        }
        _ => true,
    }
}

/// The patch with real ids in paths such as `mailboxIds/#k1`, and in values, where they are known.
/// What isn't known stays, and is refused when the value is settled.
pub fn resolved_patch<'p, T: Object>(ctx: &Ctx, patch: &'p Members) -> Cow<'p, Members> {
    let mentions = |value: &Value| match value {
        Value::String(text) => text.starts_with('#'),
        Value::Array(items) => items.iter().any(|item| item.as_str().is_some_and(|t| t.starts_with('#'))),
        Value::Object(members) => members.keys().any(|key| key.starts_with('#')),
        _ => false,
    };
    if !patch.iter().any(|(path, value)| path.contains("/#") || mentions(value)) {
        return Cow::Borrowed(patch);
    }
    let mut out = Map::with_capacity(patch.len());
    for (path, value) in patch {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        let kind = property::<T>(ctx, name).map_or(Kind::Any, |property| property.kind);
        let mut value = value.clone();
        resolve(ctx, kind, &mut value);
        match ctx.resolve_id(rest) {
            Some(Cow::Owned(id)) if kind == Kind::IdSet => out.insert(format!("{name}/{id}"), value),
            _ => out.insert(path.clone(), value),
        };
    }
    Cow::Owned(out)
}

/// The creates of a call, each after those of the same call that it refers to (RFC 8620 §5.3).
/// In a circle none can be first: those are left in the order given, and refused for their ids.
pub fn in_order<T: Object>(create: &Members) -> Vec<(&String, &Value)> {
    let mut waiting: Vec<(&String, &Value, Vec<&str>)> =
        create.iter().map(|(id, object)| (id, object, references::<T>(object, create))).collect();
    let mut pending: HashSet<&str> = create.keys().map(String::as_str).collect();
    let mut out = Vec::with_capacity(create.len());
    while !waiting.is_empty() {
        let before = out.len();
        waiting.retain(|(id, object, needs)| {
            let blocked = needs.iter().any(|need| pending.contains(need));
            if !blocked {
                pending.remove(id.as_str());
                out.push((*id, *object));
            }
            blocked
        });
        if out.len() == before {
            out.extend(waiting.drain(..).map(|(id, object, _)| (id, object)));
        }
    }
    out
}

fn references<'o, T: Object>(object: &'o Value, create: &Members) -> Vec<&'o str> {
    let mut out = Vec::new();
    let mut note = |text: &'o str| {
        if let Some(id) = text.strip_prefix('#')
            && create.contains_key(id)
        {
            out.push(id);
        }
    };
    for (name, value) in object.as_object().into_iter().flatten() {
        match (T::property(name).map(|property| property.kind), value) {
            (Some(Kind::Id), Value::String(text)) => note(text),
            (Some(Kind::Ids), Value::Array(items)) => {
                items.iter().filter_map(Value::as_str).for_each(&mut note)
            }
            (Some(Kind::IdSet), Value::Object(members)) => members.keys().for_each(|key| note(key)),
            _ => {}
        }
    }
    out
}
