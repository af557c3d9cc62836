//! Requests as a whole (RFC 8620 §3).

use crate::support::client::PLAIN;
use crate::support::{CORE, MAIL, TestServer, server};
use serde_json::{Value, json};

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_the_registered_problem() {
    let server = server::start().await;
    server.person("ann@x.example", "Ann");
    let ann = server.client("ann@x.example").await;
    let many: Vec<Value> = (0..1000).map(|_| json!(["Core/echo", {}, "c"])).collect();
    let cases = [
        ("{".to_owned(), "notJSON", Value::Null),
        ("[]".to_owned(), "notRequest", Value::Null),
        (json!({"using": [CORE]}).to_string(), "notRequest", Value::Null),
        (json!({"using": ["urn:x"], "methodCalls": []}).to_string(), "unknownCapability", Value::Null),
        (json!({"using": [CORE], "methodCalls": many}).to_string(), "limit", json!("maxCallsInRequest")),
        (" ".repeat(20_000_000), "limit", json!("maxSizeRequest")),
    ];
    for (body, name, limit) in cases {
        let reply = ann.post("/jmap", "application/json", body.into_bytes()).await;
        assert_eq!(reply.status, 400, "{name}");
        assert_eq!(reply.header("content-type"), ["application/problem+json"]);
        let problem = reply.json();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        let mut wanted = json!({
            "type": format!("urn:ietf:params:jmap:error:{name}"),
            "status": 400,
            "detail": problem["detail"]
        });
        if limit.is_string() {
            wanted["limit"] = limit;
        }
        assert_eq!(problem, wanted);
    }
    let reply = ann.post("/jmap", "text/plain", br#"{"using":[],"methodCalls":[]}"#.to_vec()).await;
    assert_eq!(reply.status, 415);
    assert_eq!(
        reply.json(),
        json!({
            "type": "urn:ietf:params:jmap:error:notJSON",
            "status": 415,
            "detail": "The request is not I-JSON: its Content-Type is not application/json"
        })
    );
}

#[tokio::test]
async fn an_echo_comes_back_as_it_was_sent() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let sent = json!({"b": [1, null, {"x": "é"}], "a": true});
    assert_eq!(
        ann.request(&[CORE], json!([["Core/echo", sent, "c1"], ["Core/echo", {}, "c1"]])).await,
        json!({
            "methodResponses": [["Core/echo", sent, "c1"], ["Core/echo", {}, "c1"]],
            "sessionState": ann.session["state"]
        })
    );
}

#[tokio::test]
async fn a_call_that_fails_stops_no_other_call() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let calls = json!([
        ["Email/get", {"accountId": "zzzz", "ids": []}, "a"],
        ["Email/get", {"ids": []}, "b"],
        ["Email/frobnicate", {"accountId": ann.account}, "c"],
        ["Note/get", {"accountId": ann.account, "ids": []}, "d"],
        ["Email/get", {"accountId": ann.account, "#ids": {"resultOf": "x", "name": "y", "path": "/z"}}, "e"],
        ["Core/echo", {}, "f"],
    ]);
    let reply = ann.request(PLAIN, calls).await;
    let answers: Vec<_> = reply["methodResponses"].as_array().unwrap().iter().collect();
    let seen: Vec<_> = answers.iter().map(|one| (&one[0], &one[1]["type"], &one[2])).collect();
    for (at, kind) in
        ["accountNotFound", "invalidArguments", "unknownMethod", "unknownMethod", "invalidResultReference"]
            .iter()
            .enumerate()
    {
        assert_eq!((seen[at].0, seen[at].1), (&json!("error"), &json!(kind)), "{reply}");
    }
    assert_eq!(*answers[5], json!(["Core/echo", {}, "f"]));
}

#[tokio::test]
async fn an_account_of_somebody_else_does_not_exist() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let bobs = bob.own().account;
    let reply = ann.at(&bobs).call_with(&[CORE, MAIL], "Mailbox/get", json!({"ids": null})).await;
    let nobodys = ann.at("nobody").call_with(&[CORE, MAIL], "Mailbox/get", json!({"ids": null})).await;
    assert_eq!(reply["type"], "accountNotFound");
    assert_eq!(reply, nobodys);
}
