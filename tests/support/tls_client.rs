//! A client over TLS that trusts one authority only.

use super::client::Reply;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Connects to a server whose certificate this authority signed, and offers these protocols.
pub async fn connect(
    address: &str,
    authority: &[u8],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    secure(TcpStream::connect(address).await?, authority, protocols).await
}

/// Begins TLS on a connection that is there.
pub async fn secure(
    stream: TcpStream,
    authority: &[u8],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority).expect("a certificate")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().expect("a name"), stream).await
}

/// A GET over what was agreed.
pub async fn get(stream: TlsStream<TcpStream>, url: &str, authorization: &str) -> Reply {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = hyper::Request::get(url).header("authorization", authorization);
    let stream = TokioIo::new(stream);
    let response: hyper::Response<Incoming> = if is_h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        sender.send_request(request).await.expect("a reply")
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let uri: hyper::Uri = url.parse().expect("a URL");
        let host = uri.authority().expect("a host").to_string();
        let path = uri.path().to_owned();
        let request = request.uri(path).header("host", host).body(Empty::<Bytes>::new()).expect("a request");
        sender.send_request(request).await.expect("a reply")
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, body: response.into_body().collect().await.expect("a body").to_bytes().to_vec() }
}
