//! Upload and download (RFC 8620 §6.1, §6.2).
//!
//! A download is never shown by a browser as a page of ours: it is an attachment, sandboxed, with
//! exactly the type that the URL names. A blob of another account doesn't exist.

use super::http::Web;
use super::http_auth::{Caller, Use};
use super::http_jmap;
use super::problem::Problem;
use crate::mail::blob;
use crate::mail::quota::{self, Room};
use crate::store::{PreparedBlob, StoreError, uploads};
use crate::types::{AccountId, BlobId, limits};
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::ops::Range;

/// `POST /jmap/upload/{accountId}/`.
pub async fn upload(
    State(web): State<Web>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let session = caller.session(&web)?;
    let Path(account) = path?;
    let account =
        AccountId::parse(&account).filter(|id| session.account(*id).is_some()).ok_or_else(not_found)?;
    let _pass = web
        .gate
        .enter(caller.login.principal, Use::Upload, limits::UPLOADS_CONCURRENT_MAX)
        .ok_or_else(|| Problem::limit(StatusCode::BAD_REQUEST, "maxConcurrentUpload"))?;
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .filter(|kind| !kind.is_empty())
        .unwrap_or("application/octet-stream")
        .to_owned();
    web.server.store.check_space().map_err(store_problem)?;
    let content = http_jmap::read_body(body, limits::UPLOAD_SIZE_BYTES_MAX, web.server.settings.http_wait)
        .await?
        .ok_or_else(|| Problem::limit(StatusCode::PAYLOAD_TOO_LARGE, "maxSizeUpload"))?;
    let prepared = web.server.blocking(move |_| PreparedBlob::of(&content)).await.map_err(store_problem)?;
    let (hash, size) = (prepared.hash, prepared.size);
    let room = web.server.blocking(move |server| {
        quota::room(&server.store.snapshot(), account, server.store.quotas(), u64::from(size))
    });
    // An upload is there to become a part of a message, or one.
    if room.await.map_err(store_problem)? != Room::Enough {
        return Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "The account is over its quota."));
    }
    let principal = caller.login.principal;
    let locked = web.server.store.lock(&[account]).await;
    let ticket = web
        .server
        .blocking(move |server| {
            let mut txn = server.store.begin(&locked);
            txn.put_blob(&prepared)?;
            uploads::add(&mut txn, account, principal, &prepared.hash, size)?;
            Ok(txn.commit()?.ticket)
        })
        .await
        .map_err(store_problem)?;
    web.server.store.durable(ticket).await.map_err(store_problem)?;
    let answer = json!({
        "accountId": account.to_string(),
        "blobId": BlobId::content(hash).to_string(),
        "type": media_type,
        "size": size
    });
    Ok(http_jmap::json(StatusCode::CREATED, &answer))
}

/// The path of a download. A client may have no name for it: the template is filled with nothing then.
#[derive(Deserialize)]
pub struct DownloadPath {
    account: String,
    blob: String,
    #[serde(default)]
    name: String,
}

/// What a download's URL says beside its path.
#[derive(Deserialize)]
pub struct DownloadQuery {
    #[serde(rename = "type", alias = "accept")]
    media_type: Option<String>,
}

/// `GET /jmap/download/{accountId}/{blobId}/{name}?type=…`.
pub async fn download(
    State(web): State<Web>,
    caller: Caller,
    path: Result<Path<DownloadPath>, PathRejection>,
    query: Result<Query<DownloadQuery>, QueryRejection>,
    method: Method,
    mut headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let Path(DownloadPath { account, blob: blob_id, name }) = path?;
    // RFC 9110 §14.2: only a GET knows ranges.
    if method != Method::GET {
        headers.remove(header::RANGE);
    }
    let session = caller.session(&web)?;
    let account =
        AccountId::parse(&account).filter(|id| session.account(*id).is_some()).ok_or_else(not_found)?;
    let id = BlobId::parse(&blob_id).ok_or_else(not_found)?;
    let viewer = caller.login.principal;
    let (content, ticket) = web
        .server
        .blocking(move |server| {
            let content = blob::fetch(&server.store.snapshot(), account, Some(viewer), &id);
            content.map(|content| (content, server.store.ticket_of(account)))
        })
        .await
        .map_err(store_problem)?;
    web.server.store.durable(ticket).await.map_err(store_problem)?;
    let media_type = query.media_type.as_deref().filter(|given| !given.is_empty());
    answer(content.ok_or_else(not_found)?, &blob_id, &name, media_type, &headers)
}

fn answer(
    content: Vec<u8>,
    blob_id: &str,
    name: &str,
    media_type: Option<&str>,
    asked: &HeaderMap,
) -> Result<Response, Problem> {
    let etag = format!("\"{blob_id}\"");
    // RFC 9110 §13.1.1 compares strongly: a weak tag is none of these octets.
    if named(asked, header::IF_MATCH, |tag| tag == etag) == Some(false) {
        let detail = "The blob is none of those that If-Match names.";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
    }
    let text =
        |value: String| HeaderValue::from_str(&value).map_err(|_| bad("The name or type can't be a header."));
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ETAG, text(etag.clone())?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, immutable, max-age=31536000"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, text(media_type.unwrap_or("application/octet-stream").to_owned())?);
    headers.insert(header::CONTENT_DISPOSITION, text(disposition(name))?);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let sandbox = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    // RFC 9110 §13.1.2 compares weakly.
    if named(asked, header::IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag) == Some(true)
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    // RFC 9110 §13.1.5: what the client has a part of must be this, else it gets the whole. A date can't
    // be told from another, since blobs have none.
    let fits = asked.get(header::IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
    let range = asked.get(header::RANGE).filter(|_| fits).and_then(|range| range.to_str().ok());
    match range.map(|range| byte_range(range, content.len())) {
        None | Some(Asked::Whole) => *response.body_mut() = Body::from(content),
        Some(Asked::Part(range)) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let told = format!("bytes {}-{}/{}", range.start, range.end - 1, content.len());
            response.headers_mut().insert(header::CONTENT_RANGE, text(told)?);
            let part = content.get(range).unwrap_or_default().to_vec();
            *response.body_mut() = Body::from(part);
        }
        Some(Asked::Nowhere) => {
            let why = "The blob has no octets in that range; Content-Range tells how many it has.";
            response = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, why).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, text(format!("bytes */{}", content.len()))?);
        }
    }
    Ok(response)
}

/// Whether a list of entity tags has the one that is meant, or `*`; `None` where there is no list. Its
/// fields are one list (RFC 9110 §5.3), and no tag of ours has a comma.
fn named(asked: &HeaderMap, field: HeaderName, is_it: impl Fn(&str) -> bool) -> Option<bool> {
    let mut lists = asked.get_all(field).iter().peekable();
    lists.peek()?;
    let tags = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    Some(tags.map(str::trim).any(|tag| tag == "*" || is_it(tag)))
}

#[derive(PartialEq, Eq, Debug)]
enum Asked {
    Whole,
    Part(Range<usize>),
    Nowhere,
}

/// One range of octets (RFC 9110 §14.2); several, or one that can't be read, give the whole.
fn byte_range(header: &str, size: usize) -> Asked {
    // The unit's name has no case (RFC 9110 §14.1).
    let range = header.split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = range.and_then(|(_, range)| range.split_once('-')) else {
        return Asked::Whole;
    };
    // Digits alone: a sign is none (§14.1.1).
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    let number = |text: &str| Some(text.trim()).filter(|text| digits(text))?.parse::<usize>().ok();
    let range = match (number(first), number(last), first.trim().is_empty(), last.trim().is_empty()) {
        (Some(first), Some(last), ..) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None, _, true) => first..size,
        (None, Some(suffix), true, _) => size.saturating_sub(suffix)..size,
        _ => return Asked::Whole,
    };
    if range.start >= range.end { Asked::Nowhere } else { Asked::Part(range) }
}

/// RFC 6266: an attachment with its name, in ASCII and in UTF-8.
fn disposition(name: &str) -> String {
    if name.is_empty() {
        return "attachment".to_owned();
    }
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is no such account or blob.")
}

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::DiskLow { .. } => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "The server has too little disk to store anything.",
        ),
        error => {
            tracing::error!(%error, "a blob could not be stored or read");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The store has failed.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_octets_is_read_as_rfc_9110_says() {
        for (header, asked) in [
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=4-", Asked::Part(4..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=8-99", Asked::Part(8..10)),
            ("bytes=10-", Asked::Nowhere),
            ("bytes=-0", Asked::Nowhere),
            ("bytes=5-3", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=1-+2", Asked::Whole),
            ("Bytes=1-2", Asked::Part(1..3)),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(byte_range(header, 10), asked, "{header}");
        }
    }

    #[test]
    fn a_name_can_do_nothing_to_the_header() {
        assert_eq!(
            disposition("a\"b\r\nX: y\u{e4}.pdf"),
            "attachment; filename=\"a_b__X: y_.pdf\"; filename*=UTF-8''a%22b%0D%0AX%3A%20y%C3%A4.pdf"
        );
    }
}
