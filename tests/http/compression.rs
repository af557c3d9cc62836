//! What is made smaller on its way, and what must go as it is.

use crate::support::TestServer;
use crate::support::client::{CORE, Client};
use serde_json::{Value, json};
use std::io::Read;

const LONG: &str = "/jmap/schema/Conversation.json";

/// A request that is answered with itself.
async fn echo(client: &Client, text: &str, accept: &[(&str, &str)]) -> (Vec<String>, Vec<u8>) {
    let calls = json!({"using": [CORE], "methodCalls": [["Core/echo", {"text": text}, "0"]]});
    let fields: Vec<(&str, &str)> =
        [("Content-Type", "application/json")].into_iter().chain(accept.iter().copied()).collect();
    let reply = client.post_with("/jmap", &fields, calls.to_string().into_bytes()).await;
    assert_eq!(reply.status, 200);
    (reply.header("content-encoding").into_iter().map(str::to_owned).collect(), reply.body)
}

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap(),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out).unwrap(),
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_end(&mut out).unwrap(),
        other => panic!("{other}"),
    };
    out
}

#[tokio::test]
async fn an_answer_is_coded_as_the_client_takes_it() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let text = "All work and no play. ".repeat(500);
    for coding in ["gzip", "br", "zstd"] {
        let (codings, body) = echo(&ann, &text, &[("Accept-Encoding", coding)]).await;
        assert_eq!(codings, [coding]);
        assert!(body.len() < text.len() / 10, "{coding}: {} octets", body.len());
        let answer: Value = serde_json::from_slice(&decoded(coding, &body)).unwrap();
        assert_eq!(answer["methodResponses"], json!([["Core/echo", {"text": text}, "0"]]));
        let document = ann.get_with(LONG, &[("Accept-Encoding", coding)]).await;
        assert_eq!(document.header("content-encoding"), [coding]);
        assert!(document.header("vary").join(",").contains("accept-encoding"));
        assert_eq!(decoded(coding, &document.body), ann.get(LONG).await.body);
    }
    for accept in ["identity", "gzip;q=0", "compress"] {
        let (codings, body) = echo(&ann, &text, &[("Accept-Encoding", accept)]).await;
        assert_eq!(codings, [""; 0], "{accept}");
        assert!(body.len() > text.len(), "{accept}");
    }
    let (codings, _) = echo(&ann, "short", &[("Accept-Encoding", "gzip, br, zstd")]).await;
    assert_eq!(codings, [""; 0], "what is short stays as it is");
}

/// RFC 9110 §8.8.3.3: an ETag and a range are of the same octets for everybody.
#[tokio::test]
async fn a_blob_goes_as_it_is() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let content = "one line of many\r\n".repeat(1000).into_bytes();
    let upload = format!("/jmap/upload/{}/", ann.account);
    let blob = ann.post(&upload, "text/plain", content.clone()).await.json()["blobId"].clone();
    let path = format!("/jmap/download/{}/{}/a.txt?type=text/plain", ann.account, blob.as_str().unwrap());
    let whole = ann.get_with(&path, &[("Accept-Encoding", "gzip, br, zstd")]).await;
    assert_eq!((whole.status, whole.header("content-encoding")), (200, vec![]));
    assert_eq!(whole.body, content);
    let part = ann.get_with(&path, &[("Accept-Encoding", "gzip"), ("Range", "bytes=4-7")]).await;
    assert_eq!((part.status, part.header("content-encoding")), (206, vec![]));
    assert_eq!(part.body, b"line");
}

/// A channel must not wait for a full buffer, and a secret's length must not tell of it.
#[tokio::test]
async fn a_channel_and_a_ticket_go_as_they_are() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let accept = [("Accept-Encoding", "gzip, br, zstd")];
    let fields = [("Content-Type", "application/json"), accept[0]];
    let ticket = ann.post_with("/jmap/ws/ticket", &fields, Vec::new()).await;
    assert_eq!((ticket.status, ticket.header("content-encoding")), (200, vec![]));
    assert_eq!(ticket.json()["username"], "ann@x.example");
    let mut events = ann.events_after("types=*&closeafter=no&ping=0", &accept).await;
    assert_eq!(events.next().await.unwrap(), ": connected", "readable as it came");
}

/// A small body could unfold to one without end.
#[tokio::test]
async fn a_body_that_comes_coded_is_refused() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let echo = json!({"using": [CORE], "methodCalls": [["Core/echo", {}, "0"]]}).to_string().into_bytes();
    for path in ["/jmap".to_owned(), format!("/jmap/upload/{}/", ann.account)] {
        for (coding, status) in [("gzip", 415), ("br", 415), ("identity", 200)] {
            let fields = [("Content-Type", "application/json"), ("Content-Encoding", coding)];
            let reply = ann.post_with(&path, &fields, echo.clone()).await;
            if status == 415 {
                assert_eq!(reply.header("accept-encoding"), ["identity"], "{path}");
                assert_eq!(
                    reply.json(),
                    json!({
                        "type": "about:blank", "status": 415, "title": "Unsupported Media Type",
                        "detail": "A body is taken without a Content-Encoding only."
                    })
                );
            } else {
                assert!(reply.status == 200 || reply.status == 201, "{path} {}", reply.status);
            }
        }
    }
}
