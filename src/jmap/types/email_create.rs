//! The message of an Email/set create (RFC 8621 §4.6): from JSON to what `mail::compose` writes.
//!
//! Every wrong property of the object is named in one `invalidProperties`, as the client spelled
//! it, those of parts by their path; missing blobs in one `blobNotFound`.

use super::email_header::{self, HeaderProperty};
use crate::jmap::args::as_int;
use crate::jmap::context::Budget;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::mail::addresses::{EmailAddressGroup, MailAddress};
use crate::mail::blob::Fetcher;
use crate::mail::compose::{self, ComposeDefaults, Draft, DraftContent, DraftHeader, DraftPart, DraftValue};
use crate::mail::compose_headers::HeaderWriter;
use crate::mail::compose_parts;
use crate::mail::date::MailDate;
use crate::mail::headers::HeaderForm;
use crate::store::{Read, StoreError};
use crate::types::{AccountId, BlobId, PrincipalId, limits};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Wrong properties that are named in one refusal.
const WRONG_TOLD_MAX: usize = 100;

/// Where blobs are fetched, and what is wrong so far.
struct Reading<'a> {
    /// As who writes sees them, with their own uploads.
    blobs: Fetcher<'a>,
    /// What the request may still read, and what says so when it is over.
    budget: &'a Budget,
    exhausted: Option<MethodError>,
    values: Map<String, Value>,
    /// Properties, those of parts as paths: `bodyStructure/subParts/0/type`.
    wrong: Vec<String>,
    missing: Vec<String>,
    failed: Option<StoreError>,
    /// Octets of content so far: of files and of texts, each as often as a part has it.
    attached_bytes: usize,
    /// Parts so far.
    parts: usize,
}

/// Writes the message of a create.
pub fn message(
    read: &dyn Read,
    (account, author): (AccountId, PrincipalId),
    budget: &Budget,
    properties: &Map<String, Value>,
    defaults: &ComposeDefaults,
) -> Result<Vec<u8>, Refusal> {
    let values = properties.get("bodyValues").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut reading = Reading {
        blobs: Fetcher::new(read, account, Some(author)),
        budget,
        exhausted: None,
        values,
        wrong: Vec::new(),
        missing: Vec::new(),
        failed: None,
        attached_bytes: 0,
        parts: 0,
    };
    reading.check_values();
    let headers = reading.headers(properties, "");
    let body = reading.body(properties, &headers);
    if let Some(error) = reading.exhausted {
        return Err(Refusal::Call(error));
    }
    if let Some(error) = reading.failed {
        return Err(error.into());
    }
    if !reading.wrong.is_empty() {
        let why = "These properties can't be written to a message (RFC 8621, section 4.6).";
        return Err(SetError::properties(reading.wrong, why).into());
    }
    if !reading.missing.is_empty() {
        return Err(SetErrorKind::BlobNotFound { not_found: reading.missing }.into());
    }
    if reading.attached_bytes > limits::ATTACHMENTS_SIZE_BYTES_MAX {
        let max_size = Some(limits::ATTACHMENTS_SIZE_BYTES_MAX as u64);
        return Err(SetErrorKind::TooLarge { max_size }.into());
    }
    compose::compose(&Draft { headers, body }, defaults).map_err(|error| {
        // Fields and parts were each looked at: what is left is how the parts nest.
        let structured = properties.contains_key("bodyStructure");
        let property = if structured { "bodyStructure" } else { "attachments" };
        SetError::properties([property], error.to_string()).into()
    })
}

/// A property of a part, as a path (RFC 6901).
fn under(path: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    if path.is_empty() { name } else { format!("{path}/{name}") }
}

impl Reading<'_> {
    fn wrong(&mut self, property: String) {
        if self.wrong.len() < WRONG_TOLD_MAX && !self.wrong.contains(&property) {
            self.wrong.push(property);
        }
    }

    /// RFC 8621 §4.6: neither flag of an EmailBodyValue may be true.
    fn check_values(&mut self) {
        let values = std::mem::take(&mut self.values);
        for (id, value) in &values {
            let path = under("bodyValues", id);
            let Some(value) = value.as_object() else {
                self.wrong(path);
                continue;
            };
            for (name, member) in value {
                let fits = match name.as_str() {
                    "value" => member.is_string(),
                    "isEncodingProblem" | "isTruncated" => matches!(member, Value::Null | Value::Bool(false)),
                    _ => false,
                };
                if !fits {
                    self.wrong(under(&path, name));
                }
            }
            if !value.contains_key("value") {
                self.wrong(under(&path, "value"));
            }
        }
        self.values = values;
    }

    /// The header fields that an Email (its path is empty) or a part names. No field may be named
    /// twice, be it by a property of its own, none of Content-* by an Email, and a part's transfer encoding is
    /// the server's.
    fn headers(&mut self, object: &Map<String, Value>, path: &str) -> Vec<DraftHeader> {
        let is_part = !path.is_empty();
        let mut out: Vec<DraftHeader> = Vec::new();
        let mut named: HashSet<String> = if is_part { fields_of_properties(object) } else { HashSet::new() };
        for (property, value) in object {
            let convenience = || email_header::convenience(property).filter(|_| !is_part);
            let Some(header) = HeaderProperty::parse(property).or_else(convenience) else { continue };
            if value.is_null() {
                continue;
            }
            let name = header.name.to_ascii_lowercase();
            let is_taken =
                if is_part { name == "content-transfer-encoding" } else { name.starts_with("content-") };
            if is_taken || !named.insert(name) {
                self.wrong(under_header(path, property));
                continue;
            }
            let values: Vec<&Value> = match value {
                Value::Array(all) if header.all => all.iter().collect(),
                _ if header.all => vec![&Value::Null],
                one => vec![one],
            };
            for one in values {
                let value = draft_value(one, header.form);
                let written =
                    value.filter(|value| HeaderWriter::default().field(&header.name, value).is_ok());
                match written {
                    Some(value) => out.push(DraftHeader { name: header.name.clone(), value }),
                    None => self.wrong(under_header(path, property)),
                }
            }
        }
        out
    }

    fn body(&mut self, properties: &Map<String, Value>, headers: &[DraftHeader]) -> Option<DraftPart> {
        let listed = ["textBody", "htmlBody", "attachments"];
        if let Some(structure) = properties.get("bodyStructure") {
            for name in listed.iter().filter(|name| properties.contains_key(**name)) {
                self.wrong((*name).to_owned());
            }
            let root = self.part(structure, "bodyStructure", 0)?;
            self.check_root(&root, headers, structure, "bodyStructure");
            return Some(root);
        }
        let text = self.single(properties, "textBody", "text/plain");
        let html = self.single(properties, "htmlBody", "text/html");
        let mut attachments = Vec::new();
        let given = properties.get("attachments").and_then(Value::as_array);
        for (at, part) in given.into_iter().flatten().enumerate() {
            attachments.extend(self.part(part, &format!("attachments/{at}"), 0).map(as_attachment));
        }
        if text.is_none() && html.is_none() && attachments.is_empty() {
            return None;
        }
        let root = compose::arrange(text, html, attachments)?;
        for name in listed {
            // A part that stands alone is the message itself, as the root of a bodyStructure is.
            let alone = properties.get(name).and_then(|list| list.get(0));
            if let (Some(part), false) = (alone, matches!(root.content, DraftContent::Parts(_))) {
                self.check_root(&root, headers, part, &format!("{name}/0"));
            }
        }
        Some(root)
    }

    /// RFC 8621 §4.6: the root part has no header field that the Email defines.
    fn check_root(&mut self, root: &DraftPart, headers: &[DraftHeader], given: &Value, path: &str) {
        let twice = |name: &str| {
            let same = |header: &DraftHeader| header.name.eq_ignore_ascii_case(name);
            root.headers.iter().any(same) && headers.iter().any(same)
        };
        for property in given.as_object().into_iter().flat_map(Map::keys) {
            if HeaderProperty::parse(property).is_some_and(|header| twice(&header.name)) {
                self.wrong(under_header(path, property));
            }
        }
    }

    /// `textBody` and `htmlBody` have exactly one part, of that type.
    fn single(&mut self, properties: &Map<String, Value>, name: &str, media_type: &str) -> Option<DraftPart> {
        let list = properties.get(name)?.as_array()?;
        let [part] = list.as_slice() else {
            self.wrong(name.to_owned());
            return None;
        };
        let path = format!("{name}/0");
        let given = part.get("type").filter(|given| !given.is_null());
        if given.is_some_and(|given| !given.as_str().is_some_and(|g| g.eq_ignore_ascii_case(media_type))) {
            self.wrong(under(&path, "type"));
            return None;
        }
        let mut part = self.part(part, &path, 0)?;
        if matches!(part.content, DraftContent::Parts(_)) {
            self.wrong(under(&path, "subParts"));
        }
        part.media_type = Some(media_type.to_owned());
        Some(part)
    }

    fn part(&mut self, part: &Value, path: &str, depth: usize) -> Option<DraftPart> {
        let Value::Object(object) = part else {
            self.wrong(path.to_owned());
            return None;
        };
        self.parts += 1;
        if depth > limits::MIME_DEPTH_MAX || self.parts > limits::MIME_PARTS_MAX {
            self.wrong(path.to_owned());
            return None;
        }
        let known = self.wrong.len();
        for (name, value) in object {
            if !may_be(name, value) {
                self.wrong(under_header(path, name));
            }
        }
        let content = self.content(object, path, depth)?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let media_type = text("type").map(|media_type| media_type.to_ascii_lowercase());
        let is_multipart = matches!(content, DraftContent::Parts(_));
        if media_type.as_ref().is_some_and(|given| given.starts_with("multipart/") != is_multipart) {
            self.wrong(under(path, "type"));
            return None;
        }
        let language = object.get("language").and_then(Value::as_array);
        let part = DraftPart {
            media_type,
            charset: text("charset"),
            name: text("name"),
            disposition: text("disposition"),
            cid: text("cid"),
            language: language.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            location: text("location"),
            headers: self.headers(object, path),
            content,
        };
        if self.wrong.len() == known
            && let Err(error) = compose_parts::check_fields(&part)
        {
            self.wrong(under_header(path, part_property(error.culprit(), object)));
        }
        Some(part)
    }

    /// Exactly one of `partId`, `blobId`, `subParts`; with a part id neither a charset nor a size,
    /// since the server chooses how the text is encoded (RFC 8621 §4.6).
    fn content(&mut self, object: &Map<String, Value>, path: &str, depth: usize) -> Option<DraftContent> {
        let given = |name: &str| object.get(name).filter(|value| !value.is_null());
        match (given("partId"), given("blobId"), given("subParts")) {
            (Some(Value::String(id)), None, None) => {
                for name in ["charset", "size"].into_iter().filter(|name| given(name).is_some()) {
                    self.wrong(under(path, name));
                }
                let value = self.values.get(id).map(|value| value.get("value").and_then(Value::as_str));
                match value {
                    Some(text) => {
                        let text = text.unwrap_or_default();
                        self.attached_bytes = self.attached_bytes.saturating_add(text.len());
                        // What is too much in all is refused below, and not gathered before.
                        let fits = self.attached_bytes <= limits::ATTACHMENTS_SIZE_BYTES_MAX;
                        fits.then(|| DraftContent::Text(text.to_owned()))
                    }
                    None => {
                        self.wrong(under(path, "partId"));
                        None
                    }
                }
            }
            (None, Some(Value::String(id)), None) => self.blob(id).map(DraftContent::Bytes),
            (None, None, Some(Value::Array(parts))) => {
                if parts.is_empty() {
                    self.wrong(under(path, "subParts"));
                }
                let path = under(path, "subParts");
                let each = parts.iter().enumerate();
                let parts = each.filter_map(|(at, part)| self.part(part, &format!("{path}/{at}"), depth + 1));
                Some(DraftContent::Parts(parts.collect()))
            }
            (None, None, None) => {
                self.wrong(path.to_owned());
                None
            }
            _ => {
                for name in ["partId", "blobId", "subParts"].into_iter().filter(|name| given(name).is_some())
                {
                    self.wrong(under(path, name));
                }
                None
            }
        }
    }

    fn blob(&mut self, id: &str) -> Option<Vec<u8>> {
        if self.attached_bytes > limits::ATTACHMENTS_SIZE_BYTES_MAX || self.exhausted.is_some() {
            // It is refused as too large whatever this one holds.
            return None;
        }
        let fetched = match BlobId::parse(id) {
            Some(parsed) => self.blobs.fetch(&parsed),
            None => Ok(None),
        };
        if let Err(error) = self.budget.spend(self.blobs.take_loaded()) {
            self.exhausted = Some(error);
        }
        match fetched {
            Ok(Some(bytes)) => {
                self.attached_bytes = self.attached_bytes.saturating_add(bytes.len());
                Some(bytes)
            }
            Ok(None) => {
                if !self.missing.iter().any(|known| known == id) {
                    self.missing.push(id.to_owned());
                }
                None
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// What is given as an attachment and doesn't say otherwise reads as one again: without a disposition an image,
/// a sound or a text may as well be content (RFC 8621 §4.1.4). What the HTML shows by its id stays so.
fn as_attachment(mut part: DraftPart) -> DraftPart {
    let says = |header: &DraftHeader| {
        ["Content-Disposition", "Content-Id"].iter().any(|name| header.name.eq_ignore_ascii_case(name))
    };
    if part.disposition.is_none() && part.cid.is_none() && !part.headers.iter().any(says) {
        part.disposition = Some("attachment".to_owned());
    }
    part
}

/// The header fields that properties of a part stand for, in lower case.
fn fields_of_properties(part: &Map<String, Value>) -> HashSet<String> {
    let fields = [
        ("type", "content-type"),
        ("charset", "content-type"),
        ("disposition", "content-disposition"),
        ("cid", "content-id"),
        ("language", "content-language"),
        ("location", "content-location"),
    ];
    let is_given = |property: &str| part.get(property).is_some_and(|value| !value.is_null());
    let given = fields.into_iter().filter(|(property, _)| is_given(property));
    given.map(|(_, field)| field.to_owned()).collect()
}

/// As [`under`]; a header property keeps its spelling.
fn under_header(path: &str, property: &str) -> String {
    if path.is_empty() { property.to_owned() } else { format!("{path}/{property}") }
}

/// May an EmailBodyPart of a create have this property with this value? What is null isn't given.
fn may_be(name: &str, value: &Value) -> bool {
    let strings = |list: &Vec<Value>| list.iter().all(Value::is_string);
    match name {
        "partId" | "blobId" | "name" | "type" | "charset" | "disposition" | "cid" | "location" => {
            value.is_null() || value.is_string()
        }
        "size" => value.is_null() || as_int(value).is_some_and(|size| size >= 0),
        "language" => value.is_null() || value.as_array().is_some_and(strings),
        "subParts" => value.is_null() || value.is_array(),
        other => HeaderProperty::parse(other).is_some(),
    }
}

/// The property of a part that the writer couldn't write, by what the writer calls it.
fn part_property<'p>(culprit: &'p str, object: &'p Map<String, Value>) -> &'p str {
    match culprit.to_ascii_lowercase().as_str() {
        "filename" | "name" => "name",
        "content-id" => "cid",
        "content-location" => "location",
        "content-disposition" => "disposition",
        "content-language" => "language",
        "type" | "content-type" => {
            let is_type = |name: &&String| {
                HeaderProperty::parse(name).is_some_and(|h| h.name.eq_ignore_ascii_case("content-type"))
            };
            object.keys().find(is_type).map_or("type", String::as_str)
        }
        _ => culprit,
    }
}

/// A header field's value in its form.
fn draft_value(value: &Value, form: HeaderForm) -> Option<DraftValue> {
    let strings = |value: &Value| {
        value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
    };
    Some(match form {
        HeaderForm::Raw => DraftValue::Raw(value.as_str()?.to_owned()),
        HeaderForm::Text => DraftValue::Text(value.as_str()?.to_owned()),
        HeaderForm::Addresses => DraftValue::Addresses(addresses(value)?),
        HeaderForm::GroupedAddresses => {
            let groups = value.as_array()?.iter().map(|group| {
                Some(EmailAddressGroup { name: name(group)?, addresses: addresses(group.get("addresses")?)? })
            });
            DraftValue::GroupedAddresses(groups.collect::<Option<_>>()?)
        }
        HeaderForm::MessageIds => DraftValue::MessageIds(strings(value)?),
        HeaderForm::Date => DraftValue::Date(MailDate::parse_rfc3339(value.as_str()?)?),
        HeaderForm::Urls => DraftValue::Urls(strings(value)?),
    })
}

/// A name that may be null; `None` where it is something else than a string.
fn name(object: &Value) -> Option<Option<String>> {
    match object.get("name") {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(name)) => Some(Some(name.clone())),
        Some(_) => None,
    }
}

fn addresses(value: &Value) -> Option<Vec<MailAddress>> {
    let address =
        |one: &Value| Some(MailAddress { name: name(one)?, email: one.get("email")?.as_str()?.to_owned() });
    value.as_array()?.iter().map(address).collect()
}
