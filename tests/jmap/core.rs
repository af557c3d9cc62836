//! RFC 8620 over real sockets, where a whole server is needed to show it: HTTP around requests, limits
//! of what is done at once, creation ids across types, and requests that are anything but well formed.

use crate::support::client::{Client, PLAIN};
use crate::support::{CORE, MAIL, TestServer, message, server};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_session_is_not_kept_by_caches_and_its_templates_have_their_variables() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let reply = ann.get("/.well-known/jmap").await;
    assert_eq!(reply.header("content-type"), ["application/json"]);
    assert_eq!(reply.header("cache-control"), ["no-cache, no-store, must-revalidate"]);
    for (template, variables) in [
        ("downloadUrl", &["accountId", "blobId", "type", "name"][..]),
        ("uploadUrl", &["accountId"]),
        ("eventSourceUrl", &["types", "closeafter", "ping"]),
    ] {
        let url = ann.session[template].as_str().unwrap();
        for variable in variables {
            assert!(url.contains(&format!("{{{variable}}}")), "{url}");
        }
        // Level 1 of RFC 6570: no operators.
        assert_eq!(url.matches('{').count(), variables.len(), "{url}");
    }
    let download = ann.session["downloadUrl"].as_str().unwrap();
    assert!(download.split_once('?').unwrap().1.contains("{type}"), "{download}");
    let core = &ann.session["capabilities"][CORE];
    for (limit, suggested) in [
        ("maxSizeUpload", 50_000_000),
        ("maxConcurrentUpload", 4),
        ("maxSizeRequest", 10_000_000),
        ("maxConcurrentRequests", 4),
        ("maxCallsInRequest", 16),
        ("maxObjectsInGet", 500),
        ("maxObjectsInSet", 500),
    ] {
        assert!(core[limit].as_u64().unwrap() >= suggested, "{limit}: {core}");
    }
}

#[tokio::test]
async fn a_response_is_json_in_the_one_language_that_there_is() {
    let server = server::start().await;
    server.person("ann@x.example", "Ann");
    let ann = server.client("ann@x.example").await;
    let body = json!({"using": [], "methodCalls": [["Core/echo", {}, "c"]], "unknown": {"member": 1}});
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        let reply = ann.post("/jmap", content_type, body.to_string().into_bytes()).await;
        assert_eq!(reply.status, 200, "{content_type}");
        assert_eq!(reply.header("content-type"), ["application/json"]);
        assert_eq!(reply.header("content-language"), ["en"]);
        let answer = reply.json();
        assert_eq!(answer["methodResponses"][0][0], "error");
        assert_eq!(answer["methodResponses"][0][1]["type"], "unknownMethod");
        assert_eq!(answer.get("createdIds"), None);
    }
}

#[tokio::test]
async fn a_request_and_an_upload_without_credentials_are_refused() {
    let server = server::start().await;
    let stranger = Client::stranger(&server.http, String::new());
    for path in ["/jmap", "/jmap/upload/ab/"] {
        let reply = stranger.post(path, "application/json", b"{}".to_vec()).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.header("content-type"), ["application/problem+json"]);
    }
}

/// Posts until the answer has this status, since what was sent on other connections takes its time.
async fn post_until(client: &Client, path: &str, status: u16) -> Value {
    let body = json!({"using": [CORE], "methodCalls": []}).to_string();
    let began = Instant::now();
    loop {
        let reply = client.post(path, "application/json", body.clone().into_bytes()).await;
        if reply.status == status {
            return reply.json();
        }
        let told = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(began.elapsed() < Duration::from_secs(20), "{path}: {} {told}", reply.status);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the server says on one of the connections, which it does on the first that it refuses.
async fn first_answer(held: &[TcpStream]) -> String {
    let began = Instant::now();
    loop {
        for stream in held {
            let mut octets = [0; 4096];
            if let Ok(count) = stream.try_read(&mut octets) {
                return String::from_utf8_lossy(&octets[..count]).into_owned();
            }
        }
        assert!(began.elapsed() < Duration::from_secs(20), "none is refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn more_at_once_than_the_session_says_is_refused_and_names_the_limit() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await.own();
    let bob = server.client("bob@x.example").await;
    let upload = format!("/jmap/upload/{}/", ann.account);
    for (path, limit, fine) in
        [("/jmap", "maxConcurrentRequests", 200), (upload.as_str(), "maxConcurrentUpload", 201)]
    {
        let max = ann.session["capabilities"][CORE][limit].as_u64().unwrap();
        let mut held = Vec::new();
        for _ in 0..=max {
            held.push(ann.half_a_post(path).await);
        }
        // Whichever of them came last is answered at once.
        let problem = json!({
            "type": "urn:ietf:params:jmap:error:limit", "status": 400,
            "detail": format!("The request is over the limit {limit}."), "limit": limit
        });
        let answer = first_answer(&held).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), problem);
        assert_eq!(post_until(&ann, path, 400).await, problem);
        // It is each person's own, and free again when the others have ended.
        post_until(&bob, "/jmap", 200).await;
        drop(held);
        post_until(&ann, path, fine).await;
    }
}

#[tokio::test]
async fn creation_ids_reach_across_types_and_come_back_where_they_were_given() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await.own();
    let account = &ann.account;
    let body = json!({
        "using": [CORE, MAIL],
        "methodCalls": [
            ["Mailbox/set", {"accountId": account, "create": {
                "child": {"name": "Child", "parentId": "#box"}, "box": {"name": "Box"}
            }}, "0"],
            ["Email/set", {"accountId": account, "create": {
                "mail": {"mailboxIds": {"#child": true}, "subject": "Hello"}
            }}, "1"],
            ["Email/set", {"accountId": account, "update": {
                "#mail": {"mailboxIds/#box": true, "mailboxIds/#child": null}
            }}, "2"],
            ["Email/get", {
                "accountId": account, "properties": ["mailboxIds"],
                "#ids": {"resultOf": "1", "name": "Email/set", "path": "/created/mail/id"}
            }, "3"]
        ],
        "createdIds": {"older": "mzz"}
    });
    let reply = ann.post("/jmap", "application/json", body.to_string().into_bytes()).await.json();
    let responses = &reply["methodResponses"];
    let made = |call: usize, id: &str| responses[call][1]["created"][id]["id"].clone();
    assert_eq!(
        reply["createdIds"],
        json!({"older": "mzz", "box": made(0, "box"), "child": made(0, "child"), "mail": made(1, "mail")})
    );
    let mail = made(1, "mail").as_str().unwrap().to_owned();
    assert_eq!(responses[2][1]["updated"], json!({mail.as_str(): null}), "{reply}");
    // One id is no array of ids.
    assert_eq!(
        responses[3],
        json!(["error", {
        "type": "invalidArguments", "description": "ids: must be an array of strings"
    }, "3"])
    );
    let found = ann.call_with(PLAIN, "Email/get", json!({"ids": [mail], "properties": ["mailboxIds"]})).await;
    let place = made(0, "box").as_str().unwrap().to_owned();
    assert_eq!(found["list"], json!([{"id": mail, "mailboxIds": {place.as_str(): true}}]));
}

#[tokio::test]
async fn a_mailbox_and_what_is_below_it_go_in_one_call_in_any_order() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await.own();
    let create = json!({"a": {"name": "A"}, "b": {"name": "B", "parentId": "#a"}, "c": {"name": "C", "parentId": "#b"}});
    let made = ann.call_with(PLAIN, "Mailbox/set", json!({"create": create})).await;
    let id = |name: &str| made["created"][name]["id"].as_str().unwrap().to_owned();
    let (a, b, c) = (id("a"), id("b"), id("c"));
    // What is still below it after the call keeps it.
    let kept = ann.call_with(PLAIN, "Mailbox/set", json!({"destroy": [a, b]})).await;
    assert_eq!(kept["destroyed"], Value::Null);
    let in_the_way = json!({"type": "mailboxHasChild"});
    assert_eq!(kept["notDestroyed"], json!({a.as_str(): in_the_way, b.as_str(): in_the_way}));
    assert_eq!(kept["newState"], kept["oldState"]);
    let gone = ann.call_with(PLAIN, "Mailbox/set", json!({"destroy": [a, b, c]})).await;
    assert_eq!((&gone["destroyed"], &gone["notDestroyed"]), (&json!([c, b, a]), &Value::Null));
}

#[tokio::test]
async fn mailboxes_and_emails_sort_by_the_collation_that_is_named() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await.own();
    let names = ["10 ten", "9 nine", "Ä", "a", "B", "z"];
    let parent = ann.call_with(PLAIN, "Mailbox/set", json!({"create": {"p": {"name": "P"}}})).await;
    let parent = parent["created"]["p"]["id"].as_str().unwrap().to_owned();
    let (mut mailboxes, mut emails) = (json!({}), json!({}));
    for (number, name) in names.iter().enumerate() {
        mailboxes[format!("k{number}")] = json!({"name": name, "parentId": parent});
        emails[format!("k{number}")] = json!({"mailboxIds": {parent.as_str(): true}, "subject": name});
    }
    for (kind, create, filter, property) in [
        ("Mailbox", mailboxes, json!({"parentId": parent}), "name"),
        ("Email", emails, json!({"inMailbox": parent}), "subject"),
    ] {
        let made = ann.call_with(PLAIN, &format!("{kind}/set"), json!({"create": create})).await;
        assert_eq!(made["notCreated"], Value::Null);
        for (collation, wanted) in [
            (None, &["10 ten", "9 nine", "a", "Ä", "B", "z"][..]),
            (Some("i;unicode-casemap"), &["10 ten", "9 nine", "a", "Ä", "B", "z"]),
            (Some("i;ascii-casemap"), &["10 ten", "9 nine", "a", "B", "z", "Ä"]),
            // What doesn't begin with a number comes last, and compares equal.
            (Some("i;ascii-numeric"), &["9 nine", "10 ten"]),
        ] {
            for is_ascending in [true, false] {
                let mut comparator = json!({"property": property, "isAscending": is_ascending});
                if let Some(collation) = collation {
                    comparator["collation"] = json!(collation);
                }
                let query = json!({"filter": filter, "sort": [comparator]});
                let ids = ann.call_with(PLAIN, &format!("{kind}/query"), query).await["ids"].clone();
                let get = json!({"ids": ids, "properties": [property]});
                let list = ann.call_with(PLAIN, &format!("{kind}/get"), get).await["list"].clone();
                let mut seen: Vec<&str> =
                    list.as_array().unwrap().iter().map(|one| one[property].as_str().unwrap()).collect();
                if !is_ascending {
                    seen.reverse();
                }
                assert_eq!(seen.len(), names.len());
                assert_eq!(&seen[..wanted.len()], wanted, "{kind} {collation:?} {is_ascending}");
            }
        }
    }
}

#[tokio::test]
async fn code_points_that_are_no_characters_are_refused_in_requests_and_replaced_in_answers() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mail =
        message("one@customer.example", "marta@customer.example", "support@x.example", "A\u{FFFF}B", "x");
    let delivered = server.deliver("marta@customer.example", &["support@x.example"], &mail).await;
    assert!(delivered.starts_with("250"), "{delivered}");
    let calls = json!([
        ["Email/query", {"accountId": ann.account}, "q"],
        ["Email/get", {
            "accountId": ann.account, "properties": ["subject"],
            "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"}
        }, "g"]
    ]);
    let reply = ann.request(PLAIN, calls).await;
    assert_eq!(reply["methodResponses"][1][1]["list"][0]["subject"], "A\u{FFFD}B");
    let body = json!({"using": [CORE], "methodCalls": [["Core/echo", {"x": "\u{FFFF}"}, "c"]]});
    let reply = ann.post("/jmap", "application/json", body.to_string().into_bytes()).await;
    assert_eq!((reply.status, &reply.json()["type"]), (400, &json!("urn:ietf:params:jmap:error:notJSON")));
}

/// xorshift64*: a failure replays from its seed.
struct Dice(u64);

/// Octets that mean something in JSON, in a pointer, or nowhere.
const ODD: &[u8] = b"\"{}[],:0-1e.\\u#/*\x00\xff ";

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    /// A few octets of the request become others, go, or come twice.
    fn mutated(&mut self, body: &str) -> Vec<u8> {
        let mut octets = body.as_bytes().to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(octets.len());
            match self.roll(4) {
                0 => octets[at] = ODD[self.roll(ODD.len())],
                1 => drop(octets.remove(at)),
                2 => {
                    let end = (at + self.roll(12)).min(octets.len());
                    let part = octets[at..end].to_vec();
                    octets.splice(at..at, part);
                }
                _ => {
                    let end = (at + self.roll(12)).min(octets.len());
                    octets.drain(at..end);
                }
            }
            if octets.is_empty() {
                return octets;
            }
        }
        octets
    }
}

#[tokio::test]
async fn a_request_with_wrong_octets_is_refused_or_answered_and_never_with_a_5xx() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let account = &ann.account;
    let bodies = [
        json!([["Email/query", {
            "accountId": account, "filter": {"operator": "NOT", "conditions": [{"inMailbox": "mb"}]},
            "sort": [{"property": "subject", "collation": "i;ascii-casemap"}], "position": -3, "limit": 5
        }, "0"], ["Email/get", {
            "accountId": account, "properties": ["subject", "header:from:asAddresses", "bodyValues"],
            "#ids": {"resultOf": "0", "name": "Email/query", "path": "/ids/*"}
        }, "1"]]),
        json!([["Mailbox/set", {
            "accountId": account, "create": {"k": {"name": "Box", "parentId": null, "sortOrder": 7}},
            "update": {"#k": {"name": "Other", "isSubscribed": false}}, "destroy": ["mz"]
        }, "0"]]),
        json!([["Email/set", {
            "accountId": account, "create": {"m": {
                "mailboxIds": {"mf": true}, "keywords": {"$draft": true}, "from": [{"email": "support@x.example"}],
                "textBody": [{"partId": "1", "type": "text/plain"}], "bodyValues": {"1": {"value": "é"}}
            }}
        }, "0"]]),
        json!([["Conversation/set", {
            "accountId": account, "update": {"cb": {"status": "closed", "tags/x": true}}, "ifVersion": {"cb": "1"}
        }, "0"], ["Core/echo", {"deep": [[[{"a": 1.5e3}]]]}, "1"]]),
    ];
    let using: Vec<&str> = crate::support::client::TEAM.to_vec();
    let mut dice = Dice(0x5eed_0001);
    for round in 0..400 {
        let body = json!({"using": using, "methodCalls": bodies[round % bodies.len()]}).to_string();
        let body = dice.mutated(&body);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let reply = ann.post("/jmap", "application/json", body).await;
        assert!(matches!(reply.status, 200 | 400), "{} for {shown}", reply.status);
        let answer = reply.json();
        if reply.status == 200 {
            for response in answer["methodResponses"].as_array().unwrap() {
                assert_ne!(response[1]["type"], "serverFail", "{shown}");
                assert_ne!(response[1]["type"], "serverPartialFail", "{shown}");
            }
        } else {
            assert!(answer["type"].as_str().unwrap().starts_with("urn:ietf:params:jmap:error:"), "{shown}");
        }
    }
    server.check();
}
