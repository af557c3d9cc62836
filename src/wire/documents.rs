//! The specifications at the paths of the capability URLs, for everybody: what they say is in no
//! inbox.

use super::problem::Problem;
use crate::jmap::documents;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

/// `GET /jmap/`: the list of all.
pub async fn list() -> Result<Response, Problem> {
    serve("")
}

/// `GET /jmap/locks`.
pub async fn text(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = path?;
    serve(&name)
}

/// `GET /jmap/schema/ReplyLock.json`.
pub async fn schema(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = path?;
    serve(&format!("schema/{name}"))
}

/// `GET /jmap/examples/claim.json`.
pub async fn example(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = path?;
    serve(&format!("examples/{name}"))
}

/// Any other path: where things are, for who looks with a browser.
pub async fn nothing() -> Problem {
    let detail = "There is nothing here. The session is at /.well-known/jmap, the documentation at /jmap/.";
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// Whatever is asked of a resource by a method that it doesn't have; what it has is in `Allow`.
pub async fn not_so() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "That resource isn't used by this method; Allow names those.",
    )
}

fn serve(path: &str) -> Result<Response, Problem> {
    let document = documents::find(path)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "There is no such document; /jmap/ lists all."))?;
    let mut response = Response::new(Body::from(document.text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
