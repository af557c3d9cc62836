//! Writes body parts: their Content-* fields, the choice of transfer encoding, multiparts with
//! boundaries that are made from a hash of everything in the body, so that no content can hold one.

use super::compose::{ComposeError, DraftContent, DraftHeader, DraftPart, DraftValue};
use super::compose_headers::HeaderWriter;
use super::headers::is_field_name;
use super::params::Structured;
use super::transfer;
use crate::types::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};

/// RFC 5322 §2.1.1, without the CR LF.
const LINE_BYTES_MAX: usize = 998;

/// Writes the Content-* fields of `part`, the empty line, and the content.
pub fn write(part: &DraftPart, seed: &[u8; 16], out: &mut Vec<u8>) -> Result<(), ComposeError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed);
    let mut count = 0;
    survey(part, 1, &mut count, &mut hasher)?;
    let hash = hasher.finalize().to_hex();
    // `=_` can't occur in quoted-printable or base64 (RFC 2045 §6.7).
    let stem = format!("=_{}", &hash.as_str()[..32]);
    let mut number = 0;
    write_part(part, &stem, &mut number, out)
}

/// Whether the part's own fields can be written, its content and sub-parts apart.
pub fn check_fields(part: &DraftPart) -> Result<(), ComposeError> {
    let (media_type, params) = content_type(part)?;
    let mut writer = HeaderWriter::default();
    let borrowed: Vec<(&str, &str)> = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    writer.structured("Content-Type", &media_type, &borrowed)?;
    described(part, &mut writer)
}

/// Bounds the structure before anything is written, and hashes the content.
fn survey(
    part: &DraftPart,
    depth: usize,
    count: &mut usize,
    hasher: &mut blake3::Hasher,
) -> Result<(), ComposeError> {
    *count += 1;
    if depth > MIME_DEPTH_MAX || *count > MIME_PARTS_MAX {
        return Err(ComposeError::Structure);
    }
    match &part.content {
        DraftContent::Text(text) => hasher.update(text.as_bytes()),
        DraftContent::Bytes(bytes) => hasher.update(bytes),
        DraftContent::Parts(parts) => {
            for part in parts {
                survey(part, depth + 1, count, hasher)?;
            }
            hasher
        }
    };
    Ok(())
}

fn write_part(
    part: &DraftPart,
    stem: &str,
    number: &mut usize,
    out: &mut Vec<u8>,
) -> Result<(), ComposeError> {
    let mut writer = HeaderWriter::default();
    let (media_type, mut params) = content_type(part)?;
    let encoded = match &part.content {
        DraftContent::Parts(_) => None,
        DraftContent::Text(text) => Some(encode_text(text)),
        DraftContent::Bytes(bytes) => Some(encode_bytes(bytes, &media_type)),
    };
    let boundary = format!("{stem}_{number}");
    match &part.content {
        DraftContent::Parts(_) => {
            *number += 1;
            params.push(("boundary".to_owned(), boundary.clone()));
        }
        DraftContent::Text(text) if media_type.starts_with("text/") => {
            let charset = if text.is_ascii() { "us-ascii" } else { "utf-8" };
            params.push(("charset".to_owned(), charset.to_owned()));
        }
        _ => {}
    }
    let borrowed: Vec<(&str, &str)> = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    writer.structured("Content-Type", &media_type, &borrowed)?;
    if let Some((encoding, _)) = &encoded {
        writer.tokens("Content-Transfer-Encoding", &[(*encoding).to_owned()]);
    }
    described(part, &mut writer)?;
    out.extend_from_slice(&writer.into_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some((_, bytes)) = &encoded {
        out.extend_from_slice(bytes);
    }
    if let DraftContent::Parts(parts) = &part.content {
        for part in parts {
            out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            write_part(part, stem, number, out)?;
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    }
    Ok(())
}

/// The media type and the parameters besides those that the writing itself decides.
fn content_type(part: &DraftPart) -> Result<(String, Vec<(String, String)>), ComposeError> {
    let given = part.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Type"));
    let wrong = || ComposeError::Value("type".to_owned());
    let mut params = Vec::new();
    let mut media_type = part.media_type.clone();
    let mut charset = part.charset.clone();
    if let Some(DraftHeader { value, .. }) = given {
        let (DraftValue::Raw(text) | DraftValue::Text(text)) = value else { return Err(wrong()) };
        let read = Structured::parse(text.as_bytes());
        media_type = Some(read.value.clone());
        charset = read.plain("charset").map(str::to_owned);
        let own = |name: &str| matches!(name, "charset" | "boundary" | "name");
        let kept = read.plain_params().filter(|(name, _)| !own(name));
        params.extend(kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
        params.extend(read.decoded("name").map(|name| ("name".to_owned(), name)));
    }
    let default = match &part.content {
        DraftContent::Text(_) => "text/plain",
        DraftContent::Bytes(_) => "application/octet-stream",
        DraftContent::Parts(_) => "multipart/mixed",
    };
    let media_type = media_type.unwrap_or_else(|| default.to_owned());
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
    };
    let fits = media_type.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    let multipart = media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    let filled = !matches!(&part.content, DraftContent::Parts(parts) if parts.is_empty());
    if !fits || multipart != matches!(part.content, DraftContent::Parts(_)) || !filled {
        return Err(wrong());
    }
    // Without a disposition the name has no other place (RFC 8621 §4.1.4 `name`).
    if let (Some(name), true) = (&part.name, shows_no_disposition(part)) {
        params.retain(|(param, _)| param != "name");
        params.push(("name".to_owned(), name.clone()));
    }
    if let (Some(charset), DraftContent::Bytes(_)) = (charset, &part.content) {
        params.push(("charset".to_owned(), charset));
    }
    Ok((media_type, params))
}

fn shows_no_disposition(part: &DraftPart) -> bool {
    part.disposition.is_none() || has(part, "Content-Disposition")
}

fn has(part: &DraftPart, name: &str) -> bool {
    part.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
}

/// The fields that describe the part, and those given besides.
fn described(part: &DraftPart, writer: &mut HeaderWriter) -> Result<(), ComposeError> {
    if let (Some(disposition), false) = (&part.disposition, has(part, "Content-Disposition")) {
        let token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if disposition.is_empty() || !disposition.chars().all(token) {
            return Err(ComposeError::Value("disposition".to_owned()));
        }
        let name = part.name.as_deref().map(|name| ("filename", name));
        writer.structured("Content-Disposition", disposition, name.as_slice())?;
    }
    if let (Some(cid), false) = (&part.cid, has(part, "Content-Id")) {
        writer.field("Content-Id", &DraftValue::MessageIds(vec![cid.clone()]))?;
    }
    if !part.language.is_empty() && !has(part, "Content-Language") {
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !part.language.iter().all(|tag| !tag.is_empty() && tag.chars().all(token)) {
            return Err(ComposeError::Value("language".to_owned()));
        }
        let last = part.language.len() - 1;
        let tags = part.language.iter().enumerate();
        let tags: Vec<String> =
            tags.map(|(at, tag)| format!("{tag}{}", if at < last { "," } else { "" })).collect();
        writer.tokens("Content-Language", &tags);
    }
    if let (Some(location), false) = (&part.location, has(part, "Content-Location")) {
        if location.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ComposeError::Value("location".to_owned()));
        }
        writer.field("Content-Location", &DraftValue::Raw(format!(" {location}")))?;
    }
    for header in &part.headers {
        let name = &header.name;
        if !is_field_name(name) {
            return Err(ComposeError::FieldName(name.clone()));
        }
        if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            return Err(ComposeError::ServerSet(name.clone()));
        }
        if !name.eq_ignore_ascii_case("Content-Type") {
            writer.field(name, &header.value)?;
        }
    }
    Ok(())
}

/// Text with CR LF line ends, as 7bit where it can be, else in the shorter encoding.
fn encode_text(text: &str) -> (&'static str, Vec<u8>) {
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    let bytes = text.as_bytes();
    if bytes.is_ascii() && fits_lines(bytes) {
        return ("7bit", text.into_bytes());
    }
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
    let high = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    if high * 3 > bytes.len() {
        transfer::encode_base64(bytes, &mut out);
        return ("base64", out);
    }
    transfer::encode_quoted_printable(bytes, &mut out);
    ("quoted-printable", out)
}

/// Octets that must come back exactly. message/rfc822 may not be encoded (RFC 2046 §5.2.1) unless
/// there is no other way to carry it.
fn encode_bytes(bytes: &[u8], media_type: &str) -> (&'static str, Vec<u8>) {
    let message = media_type.eq_ignore_ascii_case("message/rfc822");
    if message && fits_lines(bytes) {
        return (if bytes.is_ascii() { "7bit" } else { "8bit" }, bytes.to_vec());
    }
    let mut out = Vec::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 38 + 4);
    transfer::encode_base64(bytes, &mut out);
    ("base64", out)
}

/// Whether octets can go unencoded: no NUL, no CR or LF but as CR LF, no line over the limit.
fn fits_lines(bytes: &[u8]) -> bool {
    let fits = |line: &[u8]| line.len() <= LINE_BYTES_MAX && !line.contains(&b'\r') && !line.contains(&0);
    bytes.split_inclusive(|&byte| byte == b'\n').all(|line| match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").is_some_and(fits),
        None => fits(line),
    })
}
