//! How long the server waits for clients that send nothing, or little.

use crate::support::{Client, TestServer};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An office with little patience.
async fn office() -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postroom.toml");
    std::fs::write(&config, "http_wait_seconds = 1\n").unwrap();
    (TestServer::office(&["--config", config.to_str().unwrap()]).await, folder)
}

/// All that the server says until it closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_connection_without_a_whole_header_is_closed() {
    let (server, _folder) = office().await;
    for sent in ["", "G", "PRI * HTTP/2.0\r\n", "POST /jmap HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r\nX: "]
    {
        let mut stream = TcpStream::connect(&server.http).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let said = until_closed(&mut stream).await;
        assert!(!said.contains(" 200 "), "{sent:?}: {said}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (server, _folder) = office().await;
    let ann: Client = server.client("ann@x.example").await;
    let upload = format!("/jmap/upload/{}/", ann.account);
    for path in ["/jmap", &upload] {
        let mut stream = ann.half_a_post(path).await;
        let said = until_closed(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{path}: {said}");
        assert!(said.contains("The body came too slowly."), "{path}: {said}");
    }
    // What they held is free again.
    assert_eq!(ann.get("/.well-known/jmap").await.status, 200);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let (server, _folder) = office().await;
    let mut stream = TcpStream::connect(&server.http).await.unwrap();
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    // The server may close before it has read all.
    let _ = stream.write_all(header.as_bytes()).await;
    let said = until_closed(&mut stream).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
}
