//! The Session object, and who gets none (RFC 8620 §2, RFC 9110 §11.6).

use crate::support::{CORE, Client, TestServer, server};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn without_credentials_the_answer_is_401_and_says_how_to_log_in() {
    let server = server::start().await;
    for path in ["/.well-known/jmap", "/jmap/eventsource", "/jmap/download/ab/x/y"] {
        let reply = Client::stranger(&server.http, String::new()).get(path).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(
            reply.header("www-authenticate"),
            ["Basic realm=\"Postroom\", charset=\"UTF-8\"", "Bearer realm=\"Postroom\""]
        );
        assert_eq!(reply.header("content-type"), ["application/problem+json"]);
        assert_eq!(
            reply.json(),
            json!({
                "type": "about:blank",
                "status": 401,
                "title": "Unauthorized",
                "detail": "Give the address and password of a person, or an app password."
            })
        );
    }
}

#[tokio::test]
async fn the_session_is_served_without_a_redirect_and_shows_own_account_and_inbox() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let reply = ann.get("/.well-known/jmap").await;
    assert_eq!(reply.status, 200);
    let session = reply.json();
    assert_eq!(session, ann.session, "asking again changes nothing");
    assert_eq!(session["username"], "ann@x.example");
    let base = format!("http://{}", server.http);
    assert_eq!(session["apiUrl"], json!(format!("{base}/jmap")));
    assert_eq!(session["uploadUrl"], json!(format!("{base}/jmap/upload/{{accountId}}/")));
    let accounts = session["accounts"].as_object().unwrap();
    let shown: Vec<_> =
        accounts.values().map(|one| (one["name"].clone(), one["isPersonal"].clone())).collect();
    assert_eq!(shown, [(json!("Ann"), json!(true)), (json!("support@x.example"), json!(false))]);
    let own = &session["primaryAccounts"];
    for capability in ["core", "mail", "submission"] {
        let primary = own[format!("urn:ietf:params:jmap:{capability}")].as_str().unwrap();
        assert_eq!(accounts[primary]["isPersonal"], true, "{capability}");
    }
    let inbox = &accounts[&ann.account]["accountCapabilities"];
    assert_eq!(inbox["https://postroom.dev/jmap/ownership"], json!({"myRole": "lead"}));
    assert!(ann.principal().starts_with('p'));
}

#[tokio::test]
async fn a_disabled_person_and_a_changed_password_are_let_in_no_more() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    server.json(&["person", "disable", "ann@x.example"]);
    assert_eq!(ann.get("/.well-known/jmap").await.status, 401);
    server.json_with(&["person", "password", "bob@x.example", "--password-stdin"], "another secret");
    assert_eq!(bob.get("/.well-known/jmap").await.status, 401);
    Client::basic(&server.http, "bob@x.example", "another secret").await;
}

#[tokio::test]
async fn failed_logins_are_slowed_and_told_when_to_try_again() {
    let server = TestServer::office(&[]).await;
    let guess = Client::stranger_basic(&server.http, "ann@x.example", "wrong");
    let began = Instant::now();
    let slowed = loop {
        let reply = guess.get("/.well-known/jmap").await;
        if reply.status != 401 {
            break reply;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "guessing is never slowed");
    };
    assert_eq!(slowed.status, 429);
    let wait: u64 = slowed.header("retry-after")[0].parse().unwrap();
    assert!(wait >= 1);
    assert_eq!(
        slowed.json(),
        json!({
            "type": "about:blank",
            "status": 429,
            "title": "Too Many Requests",
            "detail": "Too many failed logins; wait, then try again."
        })
    );
    // The right password has to wait as well: the slowing tells nothing.
    let right = Client::stranger_basic(&server.http, "ann@x.example", crate::support::PASSWORD);
    assert_eq!(right.get("/.well-known/jmap").await.status, 429);
    tokio::time::sleep(Duration::from_secs(wait + 1)).await;
    assert_eq!(right.get("/.well-known/jmap").await.status, 200);
}

#[tokio::test]
async fn one_person_asks_as_fast_as_the_operator_lets_them_and_others_are_not_held_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "http_requests_per_minute = 5\n").unwrap();
    let server = TestServer::office(&["--config", file.path().to_str().unwrap()]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let echo = json!({"using": [CORE], "methodCalls": [["Core/echo", {}, "e"]]}).to_string();
    let ask =
        async |client: &Client| client.post("/jmap", "application/json", echo.clone().into_bytes()).await;
    let mut statuses = Vec::new();
    for _ in 0..7 {
        let reply = ask(&ann).await;
        if reply.status == 429 {
            let wait: u64 = reply.header("retry-after")[0].parse().unwrap();
            assert!((1..=13).contains(&wait), "{wait}");
            assert_eq!(reply.header("content-type"), ["application/problem+json"]);
        }
        statuses.push(reply.status);
    }
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
    assert_eq!(ask(&bob).await.status, 200);
}
