//! What every answer has, and what browsers are allowed.

use crate::support::TestServer;

#[tokio::test]
async fn each_answer_has_an_id_of_its_own_or_that_of_a_proxy() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let (one, other) = (ann.get("/.well-known/jmap").await, ann.get("/nothing").await);
    let (one, other) = (one.header("x-request-id")[0].to_owned(), other.header("x-request-id")[0].to_owned());
    assert!(one.starts_with('r') && other.starts_with('r') && one != other, "{one} {other}");
    for (given, kept) in [("proxy-1.a_b", true), ("two words", false), (&"x".repeat(65), false)] {
        let reply = ann.get_with("/.well-known/jmap", &[("X-Request-Id", given)]).await;
        assert_eq!(reply.header("x-request-id")[0] == given, kept, "{given}");
    }
}

/// RFC 9110 §15.5.6: whoever asks in a wrong way is told the right ones.
#[tokio::test]
async fn a_method_that_is_not_there_is_refused_with_those_that_are() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    for (path, allowed) in [("/jmap/upload/a1/", "POST"), ("/jmap/ws/ticket", "POST")] {
        let reply = ann.get(path).await;
        assert_eq!((reply.status, reply.header("allow")), (405, vec![allowed]), "{path}");
    }
    for path in ["/.well-known/jmap", "/jmap/eventsource", "/jmap/download/a1/b/c"] {
        let reply = ann.post(path, "application/json", Vec::new()).await;
        assert_eq!((reply.status, reply.header("allow")), (405, vec!["GET,HEAD"]), "{path}");
    }
    let head = ann.head_with("/.well-known/jmap", &[]).await;
    let get = ann.get("/.well-known/jmap").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-type", "cache-control", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert!(!get.header("date").is_empty(), "RFC 9110 §6.6.1");
}

#[tokio::test]
async fn browsers_may_call_from_the_configured_origins_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("postroom.toml");
    std::fs::write(&config, "cors_origins = [\"https://webmail.example\"]\n").unwrap();
    let server = TestServer::office(&["--config", config.to_str().unwrap()]).await;
    let ann = server.client("ann@x.example").await;
    for (origin, allowed) in [("https://webmail.example", true), ("https://evil.example", false)] {
        let asked = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type,last-event-id"),
        ];
        let preflight = server.stranger().options_with("/jmap", &asked).await;
        let told = if allowed { vec![origin] } else { vec![] };
        assert_eq!(preflight.status, 200, "{origin}");
        assert_eq!(preflight.header("access-control-allow-origin"), told);
        let headers = preflight.header("access-control-allow-headers").join(",");
        for name in ["authorization", "content-type", "last-event-id", "range", "if-none-match"] {
            assert!(headers.contains(name), "{headers}");
        }
        let reply = ann.get_with("/.well-known/jmap", &[("Origin", origin)]).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, told.clone()));
        // A refusal can be read, too.
        let refused = server.stranger().get_with("/.well-known/jmap", &[("Origin", origin)]).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, told));
    }
}

#[tokio::test]
async fn every_error_of_http_has_problem_details() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let path = format!("/jmap/upload/{}/", ann.account);
    let uploaded = ann.post(&path, "text/plain", b"four".to_vec()).await.json();
    let blob = format!("/jmap/download/{}/{}/x?type=a/b", ann.account, uploaded["blobId"].as_str().unwrap());
    let beyond = ann.get_with(&blob, &[("range", "bytes=9-")]).await;
    assert_eq!(beyond.header("content-range"), ["bytes */4"]);
    for (status, reply) in [
        (404, ann.get("/nothing").await),
        (405, ann.get(&path).await),
        (400, ann.get(&format!("/jmap/download/{}/%ff/x", ann.account)).await),
        (416, beyond),
    ] {
        assert_eq!((reply.status, reply.header("content-type")), (status, vec!["application/problem+json"]));
        assert_eq!(reply.json()["status"], status);
    }
}
