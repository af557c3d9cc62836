//! One POST to a push service (RFC 8030 §5): resolve, judge, connect, TLS, send, read the status.
//!
//! Invariants: the connection goes to an address that the guard allowed, with the certificate checked
//! against the name; redirects aren't followed; every wait has an end, and of the answer no more than
//! its header is kept. Deliberately absent: reuse of connections, since changes are coalesced anyway.

use super::guard::Guard;
use super::pace::Answer;
use crate::jmap::webpush::Target;
use crate::types::limits::{PUSH_POST_SECONDS_MAX, PUSH_TTL_SECONDS};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// What is posted.
pub struct Message {
    pub body: Vec<u8>,
    /// The body is encrypted (RFC 8291).
    pub encrypted: bool,
    /// The value of Authorization.
    pub authorization: String,
    /// RFC 8030 §5.3.
    pub urgency: &'static str,
}

/// Posts, and says what came of it.
pub async fn post(target: &Target, message: Message, guard: &Guard, tls: &Arc<ClientConfig>) -> Answer {
    let wait = Duration::from_secs(PUSH_POST_SECONDS_MAX);
    match tokio::time::timeout(wait, attempt(target, message, guard, tls)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%error, host = target.name(), "a push was not taken");
            Answer::Unreachable
        }
        Err(_) => Answer::Unreachable,
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn attempt(
    target: &Target,
    message: Message,
    guard: &Guard,
    tls: &Arc<ClientConfig>,
) -> Result<Answer, Failed> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((target.name(), target.port())).await?.collect();
    let allowed: Vec<SocketAddr> = found.iter().copied().filter(|one| guard.allows(one.ip())).collect();
    if allowed.is_empty() {
        // No address at all may be a failure of the moment.
        return if found.is_empty() { Err("no address".into()) } else { Ok(Answer::Forbidden) };
    }
    let stream = TcpStream::connect(allowed.as_slice()).await?;
    let name = ServerName::try_from(target.name().to_owned())?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request(target, message)?).await;
    // Whatever else comes isn't read.
    connection.abort();
    let response = response?;
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    // A date is as good as nothing: our own wait will do.
    let retry_after = retry_after.and_then(|value| value.trim().parse().ok());
    Ok(Answer::Status { status: response.status().as_u16(), retry_after })
}

fn request(
    target: &Target,
    message: Message,
) -> Result<Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>, Failed> {
    let mut request = Request::post(target.path()).body(Full::new(Bytes::from(message.body)).boxed())?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&target.authority())?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if message.encrypted {
        // RFC 8291 §4. The type stays that of what was encoded.
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    }
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&message.authorization)?);
    headers.insert("ttl", HeaderValue::from(PUSH_TTL_SECONDS));
    // No Topic: a StateChange that replaced an earlier one would take its types with it.
    headers.insert("urgency", HeaderValue::from_static(message.urgency));
    Ok(request)
}
