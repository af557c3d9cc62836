//! Problem details (RFC 7807): how HTTP errors say what is wrong.

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An HTTP error with its problem details.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    body: Value,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of HTTP itself.
    pub fn new(status: StatusCode, detail: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let body =
            json!({"type": "about:blank", "status": status.as_u16(), "title": title, "detail": detail});
        Self { status, body, headers: Vec::new() }
    }

    /// A problem of a JMAP request (RFC 8620 §3.6.1), its object made already.
    pub fn jmap(status: StatusCode, body: Value) -> Self {
        Self { status, body, headers: Vec::new() }
    }

    /// A named limit that was passed.
    pub fn limit(status: StatusCode, limit: &str) -> Self {
        let body = json!({
            "type": "urn:ietf:params:jmap:error:limit",
            "status": status.as_u16(),
            "detail": format!("The request is over the limit {limit}."),
            "limit": limit
        });
        Self { status, body, headers: Vec::new() }
    }

    /// The problem details object alone.
    pub fn into_json(self) -> Value {
        self.body
    }

    /// Adds a header field.
    pub fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }
}

impl From<QueryRejection> for Problem {
    fn from(_: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "A variable in the URL's query is of another type.")
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The URL's path isn't UTF-8.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}
