//! The message of an Email/set create (RFC 8621 §4.6): from JSON to what `mail::compose` writes.
//!
//! Every wrong property of the object is named in one `invalidProperties`; missing blobs in one
//! `blobNotFound`.

use super::email_header::{self, HeaderProperty};
use crate::jmap::error::{Refusal, SetError, SetErrorKind};
use crate::mail::addresses::{EmailAddressGroup, MailAddress};
use crate::mail::blob;
use crate::mail::compose::{
    self, ComposeDefaults, ComposeError, Draft, DraftContent, DraftHeader, DraftPart, DraftValue,
};
use crate::mail::date::MailDate;
use crate::mail::headers::HeaderForm;
use crate::store::{Read, StoreError};
use crate::types::{AccountId, BlobId, limits};
use serde_json::{Map, Value};

/// Where blobs are fetched, and what is wrong so far.
struct Reading<'a> {
    read: &'a dyn Read,
    account: AccountId,
    values: Map<String, Value>,
    wrong: Vec<String>,
    missing: Vec<String>,
    failed: Option<StoreError>,
    attached_bytes: usize,
}

/// Writes the message of a create.
pub fn message(
    read: &dyn Read,
    account: AccountId,
    properties: &Map<String, Value>,
    defaults: &ComposeDefaults,
) -> Result<Vec<u8>, Refusal> {
    let values = properties.get("bodyValues").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut reading = Reading {
        read,
        account,
        values,
        wrong: Vec::new(),
        missing: Vec::new(),
        failed: None,
        attached_bytes: 0,
    };
    let headers = reading.headers(properties);
    let body = reading.body(properties);
    if let Some(error) = reading.failed {
        return Err(error.into());
    }
    if !reading.wrong.is_empty() {
        return Err(
            SetError::properties(reading.wrong, "These properties can't be written to a message.").into()
        );
    }
    if !reading.missing.is_empty() {
        return Err(SetErrorKind::BlobNotFound { not_found: reading.missing }.into());
    }
    if reading.attached_bytes > limits::ATTACHMENTS_SIZE_BYTES_MAX {
        let max_size = Some(limits::ATTACHMENTS_SIZE_BYTES_MAX as u64);
        return Err(SetErrorKind::TooLarge { max_size }.into());
    }
    compose::compose(&Draft { headers, body }, defaults).map_err(refused)
}

fn refused(error: ComposeError) -> Refusal {
    let property = match &error {
        ComposeError::FieldName(name)
        | ComposeError::Control(name)
        | ComposeError::LineTooLong(name)
        | ComposeError::Value(name)
        | ComposeError::ContentOnMessage(name)
        | ComposeError::ServerSet(name) => name.clone(),
        ComposeError::Structure => "bodyStructure".to_owned(),
    };
    SetError::properties([property], error.to_string()).into()
}

impl Reading<'_> {
    fn wrong(&mut self, property: &str) {
        if !self.wrong.iter().any(|known| known == property) {
            self.wrong.push(property.to_owned());
        }
    }

    /// The header fields that an Email or a part names. No field may be named twice.
    fn headers(&mut self, object: &Map<String, Value>) -> Vec<DraftHeader> {
        let mut out: Vec<DraftHeader> = Vec::new();
        let mut named: Vec<String> = Vec::new();
        for (property, value) in object {
            let header = HeaderProperty::parse(property).or_else(|| email_header::convenience(property));
            let Some(header) = header else { continue };
            if value.is_null() {
                continue;
            }
            if named.iter().any(|name| name.eq_ignore_ascii_case(&header.name)) {
                self.wrong(property);
                continue;
            }
            named.push(header.name.clone());
            let values: Vec<Value> = match value {
                Value::Array(all) if header.all => all.clone(),
                one => vec![one.clone()],
            };
            for one in values {
                match draft_value(&one, header.form) {
                    Some(value) => out.push(DraftHeader { name: header.name.clone(), value }),
                    None => self.wrong(property),
                }
            }
        }
        out
    }

    fn body(&mut self, properties: &Map<String, Value>) -> Option<DraftPart> {
        let listed = ["textBody", "htmlBody", "attachments"];
        if let Some(structure) = properties.get("bodyStructure") {
            listed.iter().filter(|name| properties.contains_key(**name)).for_each(|name| self.wrong(name));
            return self.part(structure, "bodyStructure", 0);
        }
        let text = self.single(properties, "textBody", "text/plain");
        let html = self.single(properties, "htmlBody", "text/html");
        let mut attachments = Vec::new();
        for part in properties.get("attachments").and_then(Value::as_array).into_iter().flatten() {
            attachments.extend(self.part(part, "attachments", 0));
        }
        if text.is_none() && html.is_none() && attachments.is_empty() {
            return None;
        }
        compose::arrange(text, html, attachments)
    }

    /// `textBody` and `htmlBody` have exactly one part, of that type.
    fn single(&mut self, properties: &Map<String, Value>, name: &str, media_type: &str) -> Option<DraftPart> {
        let list = properties.get(name)?.as_array()?;
        let [part] = list.as_slice() else {
            if !list.is_empty() {
                self.wrong(name);
            }
            return None;
        };
        let given = part.get("type").and_then(Value::as_str);
        if given.is_some_and(|given| !given.eq_ignore_ascii_case(media_type)) {
            self.wrong(name);
            return None;
        }
        let mut part = self.part(part, name, 0)?;
        part.media_type = Some(media_type.to_owned());
        Some(part)
    }

    fn part(&mut self, part: &Value, property: &str, depth: usize) -> Option<DraftPart> {
        let Value::Object(object) = part else {
            self.wrong(property);
            return None;
        };
        if depth > limits::MIME_DEPTH_MAX || !object.keys().all(|name| is_part_property(name)) {
            self.wrong(property);
            return None;
        }
        let content = self.content(object, property, depth)?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let is_text = matches!(content, DraftContent::Text(_));
        let media_type = text("type").map(|media_type| media_type.to_ascii_lowercase());
        let fits = match (&content, media_type.as_deref()) {
            (DraftContent::Text(_), Some(media_type)) => media_type.starts_with("text/"),
            (DraftContent::Parts(_), Some(media_type)) => media_type.starts_with("multipart/"),
            (DraftContent::Bytes(_), Some(media_type)) => !media_type.starts_with("multipart/"),
            (_, None) => true,
        };
        // RFC 8621 §4.6: a charset goes with a blob, never with text that the server encodes.
        if !fits || (is_text && object.get("charset").is_some_and(|charset| !charset.is_null())) {
            self.wrong(property);
            return None;
        }
        let language = object.get("language").and_then(Value::as_array);
        Some(DraftPart {
            media_type,
            charset: text("charset"),
            name: text("name"),
            disposition: text("disposition"),
            cid: text("cid"),
            language: language.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            location: text("location"),
            headers: self.headers(object),
            content,
        })
    }

    /// Exactly one of `partId`, `blobId`, `subParts` (RFC 8621 §4.6).
    fn content(&mut self, object: &Map<String, Value>, property: &str, depth: usize) -> Option<DraftContent> {
        let given = |name: &str| object.get(name).filter(|value| !value.is_null());
        match (given("partId"), given("blobId"), given("subParts")) {
            (Some(Value::String(id)), None, None) => self.text(id, property).map(DraftContent::Text),
            (None, Some(Value::String(id)), None) => self.blob(id).map(DraftContent::Bytes),
            (None, None, Some(Value::Array(parts))) => {
                let parts = parts.iter().filter_map(|part| self.part(part, property, depth + 1)).collect();
                Some(DraftContent::Parts(parts))
            }
            _ => {
                self.wrong(property);
                None
            }
        }
    }

    fn text(&mut self, id: &str, property: &str) -> Option<String> {
        let value = self.values.get(id).and_then(Value::as_object);
        let flagged = |name: &str| value.is_some_and(|value| value.get(name) == Some(&Value::Bool(true)));
        if flagged("isEncodingProblem") || flagged("isTruncated") {
            self.wrong("bodyValues");
            return None;
        }
        match value.and_then(|value| value.get("value")).and_then(Value::as_str) {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(property);
                None
            }
        }
    }

    fn blob(&mut self, id: &str) -> Option<Vec<u8>> {
        let fetched = match BlobId::parse(id) {
            Some(parsed) => blob::fetch(self.read, self.account, &parsed),
            None => Ok(None),
        };
        match fetched {
            Ok(Some(bytes)) => {
                self.attached_bytes = self.attached_bytes.saturating_add(bytes.len());
                Some(bytes)
            }
            Ok(None) => {
                self.missing.push(id.to_owned());
                None
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

/// What an EmailBodyPart of a create may have. `size` is ignored: it follows from the content.
fn is_part_property(name: &str) -> bool {
    const KNOWN: &[&str] = &[
        "partId",
        "blobId",
        "size",
        "name",
        "type",
        "charset",
        "disposition",
        "cid",
        "language",
        "location",
        "subParts",
    ];
    KNOWN.contains(&name) || HeaderProperty::parse(name).is_some()
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
                Some(EmailAddressGroup {
                    name: group.get("name").and_then(Value::as_str).map(str::to_owned),
                    addresses: addresses(group.get("addresses")?)?,
                })
            });
            DraftValue::GroupedAddresses(groups.collect::<Option<_>>()?)
        }
        HeaderForm::MessageIds => DraftValue::MessageIds(strings(value)?),
        HeaderForm::Date => DraftValue::Date(MailDate::parse_rfc3339(value.as_str()?)?),
        HeaderForm::Urls => DraftValue::Urls(strings(value)?),
    })
}

fn addresses(value: &Value) -> Option<Vec<MailAddress>> {
    let address = |one: &Value| {
        let name = match one.get("name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => return None,
        };
        Some(MailAddress { name, email: one.get("email")?.as_str()?.to_owned() })
    };
    value.as_array()?.iter().map(address).collect()
}
