//! JMAP over WebSocket (RFC 8887).

use crate::support::socket::Socket;
use crate::support::{CORE, Client, MAIL, TestServer, message};
use serde_json::{Value, json};

async fn deliver(server: &TestServer, id: &str) {
    let text = message(id, "marta@customer.example", "support@x.example", "Hello", "Hello");
    assert!(server.deliver("marta@customer.example", &["support@x.example"], &text).await.starts_with("250"));
}

fn enable(types: Value, push_state: Value) -> Value {
    let mut enable = json!({"@type": "WebSocketPushEnable", "dataTypes": types});
    if !push_state.is_null() {
        enable["pushState"] = push_state;
    }
    enable
}

/// The states that /get gives for these types of the client's account.
async fn states(client: &Client, types: &[&str]) -> Value {
    let mut states = json!({});
    for kind in types {
        states[kind] = client.call(&format!("{kind}/get"), json!({"ids": []})).await["state"].clone();
    }
    states
}

#[tokio::test]
async fn the_session_says_where_the_socket_is_and_that_it_pushes() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let capabilities = &ann.session["capabilities"];
    assert_eq!(
        capabilities["urn:ietf:params:jmap:websocket"],
        json!({"url": format!("ws://{}/jmap/ws", server.http), "supportsPush": true})
    );
    let tickets = format!("http://{}/jmap/ws/ticket", server.http);
    assert_eq!(
        capabilities["com:linagora:params:jmap:ws:ticket"],
        json!({"generationEndpoint": tickets, "revocationEndpoint": tickets})
    );
}

#[tokio::test]
async fn a_request_is_answered_as_over_http_with_its_id() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    let calls = json!([
        ["Core/echo", {"x": "\u{e9}"}, "a"],
        ["Mailbox/get", {"accountId": ann.account, "ids": null}, "b"],
        ["Email/frobnicate", {}, "c"]
    ]);
    let mut wanted = ann.request(&[CORE, MAIL], calls.clone()).await;
    wanted["@type"] = json!("Response");
    wanted["requestId"] = json!("R1");
    assert_eq!(socket.request("R1", &[CORE, MAIL], calls.clone()).await, wanted);
    wanted.as_object_mut().unwrap().remove("requestId");
    socket.send(json!({"@type": "Request", "using": [CORE, MAIL], "methodCalls": calls})).await;
    assert_eq!(socket.next().await, wanted);
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let server = TestServer::office(&[]).await;
    let mut socket = Socket::open(&server.client("ann@x.example").await).await;
    let request = json!({"@type": "Request", "id": "1", "using": [CORE],
        "methodCalls": [["Core/echo", {"text": "\u{e9}\u{6f22}"}, "c"]]});
    socket.send_in_pieces(&request.to_string()).await;
    assert_eq!(
        socket.next().await["methodResponses"],
        json!([["Core/echo", {"text": "\u{e9}\u{6f22}"}, "c"]])
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_read_gets_an_error_and_the_channel_goes_on() {
    let server = TestServer::office(&[]).await;
    let mut socket = Socket::open(&server.client("ann@x.example").await).await;
    socket.send_text("The quick brown fox jumps over the lazy dog.").await;
    let error = socket.next().await;
    assert_eq!(
        error,
        json!({
            "@type": "RequestError",
            "requestId": null,
            "type": "urn:ietf:params:jmap:error:notJSON",
            "status": 400,
            "detail": error["detail"]
        })
    );
    let error = socket.request("R2", &["urn:x"], json!([])).await;
    assert_eq!(
        error,
        json!({
            "@type": "RequestError",
            "requestId": "R2",
            "type": "urn:ietf:params:jmap:error:unknownCapability",
            "status": 400,
            "detail": "The capability 'urn:x' is not supported by this server."
        })
    );
    socket.send_text(&" ".repeat(11_000_000)).await;
    assert_eq!(socket.next().await["limit"], "maxSizeRequest");
    socket.settled().await;
}

#[tokio::test]
async fn more_requests_at_once_than_the_session_says_are_refused_and_name_the_limit() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    let max = ann.session["capabilities"][CORE]["maxConcurrentRequests"].as_u64().unwrap();
    let mut held = Vec::new();
    for _ in 0..max {
        held.push(ann.half_a_post("/jmap").await);
    }
    let refused = crate::support::eventually("a refusal", async || {
        let answer = socket.request("R1", &[CORE], json!([["Core/echo", {}, "c"]])).await;
        // Our request may have stood in the way of one of those that are to be held.
        held.push(ann.half_a_post("/jmap").await);
        (answer["@type"] == "RequestError").then_some(answer)
    })
    .await;
    assert_eq!(
        refused,
        json!({
            "@type": "RequestError",
            "requestId": "R1",
            "type": "urn:ietf:params:jmap:error:limit",
            "status": 400,
            "detail": "The request is over the limit maxConcurrentRequests.",
            "limit": "maxConcurrentRequests"
        })
    );
}

#[tokio::test]
async fn many_requests_at_once_are_each_answered_once() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    let max = ann.session["capabilities"][CORE]["maxConcurrentRequests"].as_u64().unwrap();
    let all: Vec<String> = (0..max).map(|number| format!("R{number}")).collect();
    for id in &all {
        let calls = json!([["Mailbox/get", {"accountId": ann.account, "ids": null}, "c"]]);
        socket.send(json!({"@type": "Request", "id": id, "using": [CORE, MAIL], "methodCalls": calls})).await;
    }
    let mut answered = Vec::new();
    for _ in &all {
        let answer = socket.next().await;
        assert_eq!(
            (&answer["@type"], &answer["methodResponses"][0][0]),
            (&json!("Response"), &json!("Mailbox/get"))
        );
        answered.push(answer["requestId"].as_str().unwrap().to_owned());
    }
    answered.sort();
    assert_eq!(answered, all);
}

#[tokio::test]
async fn changes_are_pushed_once_they_are_wanted_and_until_they_are_not() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    socket.settled().await;
    deliver(&server, "unheard@customer.example").await;
    socket.send(enable(json!(["Email", "Mailbox", "Conversation", "Unheard"]), Value::Null)).await;
    socket.settled().await;
    deliver(&server, "one@customer.example").await;
    let change = socket.next().await;
    let told = states(&ann, &["Mailbox", "Email", "Conversation"]).await;
    assert_eq!(
        change,
        json!({"@type": "StateChange", "pushState": change["pushState"], "changed": {&ann.account: told}})
    );
    assert!(change["pushState"].as_str().is_some_and(|state| !state.is_empty()), "{change}");
    socket.send(json!({"@type": "WebSocketPushDisable"})).await;
    socket.settled().await;
    deliver(&server, "two@customer.example").await;
    socket.settled().await;
}

#[tokio::test]
async fn null_stands_for_all_registered_types() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    socket.send(enable(Value::Null, Value::Null)).await;
    socket.settled().await;
    deliver(&server, "one@customer.example").await;
    let change = socket.next().await;
    let told: Vec<&String> = change["changed"][&ann.account].as_object().unwrap().keys().collect();
    for name in ["Email", "Mailbox", "Thread", "EmailDelivery"] {
        assert!(told.iter().any(|one| *one == name), "{change}");
    }
    for ours in ["Conversation", "Note", "ReplyLock", "Activity", "InboxSettings"] {
        assert!(!told.iter().any(|name| *name == ours), "{change}");
    }
}

#[tokio::test]
async fn what_was_missed_is_pushed_at_once_to_who_gives_an_old_push_state() {
    let mut server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut socket = Socket::open(&ann).await;
    socket.send(enable(json!(["Email", "Identity"]), Value::Null)).await;
    socket.settled().await;
    deliver(&server, "one@customer.example").await;
    let first = socket.next().await;
    drop(socket);
    deliver(&server, "two@customer.example").await;
    assert!(server.stop().await.success());
    server.start().await;
    let told = json!({&ann.account: states(&ann, &["Email"]).await});
    let mut socket = Socket::open(&ann).await;
    socket.send(enable(json!(["Email", "Identity"]), first["pushState"].clone())).await;
    let missed = socket.next().await;
    assert_eq!(missed, json!({"@type": "StateChange", "pushState": missed["pushState"], "changed": told}));
    // Who knows everything is told nothing, until something happens.
    socket.send(enable(json!(["Email"]), missed["pushState"].clone())).await;
    socket.settled().await;
    deliver(&server, "three@customer.example").await;
    let next = socket.next().await;
    assert_eq!(next["changed"], json!({&ann.account: states(&ann, &["Email"]).await}));
    // A state that was never given: everything is told.
    socket.send(enable(json!(["Email"]), json!("nonsense"))).await;
    assert_eq!(socket.next().await["changed"][&ann.account], next["changed"][&ann.account]);
}

#[tokio::test]
async fn a_handshake_needs_credentials_the_subprotocol_and_an_origin_that_may_call() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let (auth, protocol) = (("authorization", ann.authorization()), ("sec-websocket-protocol", "jmap"));
    let own = format!("http://{}", server.http);
    for (fields, answer) in [
        (&[protocol][..], Err(401)),
        (&[auth][..], Err(400)),
        (&[auth, ("sec-websocket-protocol", "mqtt")][..], Err(400)),
        (&[auth, protocol, ("origin", "https://evil.example")][..], Err(403)),
        (&[auth, protocol, ("origin", "null")][..], Err(403)),
        (&[auth, protocol, ("origin", own.as_str())][..], Ok(())),
        (&[auth, ("sec-websocket-protocol", "mqtt, jmap")][..], Ok(())),
    ] {
        let opened = Socket::try_open(&server.http, "/jmap/ws", fields).await.map(|_| ());
        assert_eq!(opened, answer, "{fields:?}");
    }
    let reply = ann.get("/jmap/ws").await;
    assert_eq!((reply.status, reply.header("upgrade")), (400, vec!["websocket"]));
}

#[tokio::test]
async fn a_ticket_opens_one_channel_once() {
    let server = TestServer::office(&[]).await;
    let made = server.json(&["app-password", "add", "ann@x.example", "--label", "browser"]);
    let ann = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    let reply = ann.post("/jmap/ws/ticket", "application/json", Vec::new()).await;
    assert_eq!(reply.status, 200);
    let ticket = reply.json();
    assert_eq!(
        ticket,
        json!({
            "value": ticket["value"],
            "clientAddress": "127.0.0.1",
            "generatedOn": ticket["generatedOn"],
            "validUntil": ticket["validUntil"],
            "username": "ann@x.example"
        })
    );
    let path = format!("/jmap/ws?ticket={}", ticket["value"].as_str().unwrap());
    let fields = [("sec-websocket-protocol", "jmap")];
    let mut socket = Socket::try_open(&server.http, &path, &fields).await.unwrap();
    socket.settled().await;
    assert_eq!(Socket::try_open(&server.http, &path, &fields).await.map(|_| ()), Err(401));
    assert_eq!(
        Client::stranger(&server.http, String::new()).post("/jmap/ws/ticket", "", vec![]).await.status,
        401
    );
    // The channel holds as long as the login that made the ticket.
    server.json(&["app-password", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(socket.receive().await, Err(Some(1008)));
}

#[tokio::test]
async fn a_revoked_login_ends_its_channel_at_once() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await;
    let mut socket = Socket::open(&bob).await;
    socket.settled().await;
    server.json(&["person", "disable", "bob@x.example"]);
    assert_eq!(socket.receive().await, Err(Some(1008)));
}

#[tokio::test]
async fn a_member_who_leaves_hears_nothing_of_the_inbox_and_sees_nothing_in_it() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await;
    let mut socket = Socket::open(&bob).await;
    socket.send(enable(json!(["Email"]), Value::Null)).await;
    socket.settled().await;
    server.json(&["inbox", "member", "remove", "support@x.example", "bob@x.example"]);
    deliver(&server, "one@customer.example").await;
    let text = message("own@customer.example", "marta@customer.example", "bob@x.example", "Hello", "Hello");
    server.deliver("marta@customer.example", &["bob@x.example"], &text).await;
    let change = socket.next().await;
    let told: Vec<&String> = change["changed"].as_object().unwrap().keys().collect();
    assert_eq!(told, [&bob.own().account]);
    let calls = json!([["Email/get", {"accountId": bob.account, "ids": []}, "c"]]);
    let answer = socket.request("R", &[CORE, MAIL], calls).await;
    assert_eq!(answer["methodResponses"][0][1]["type"], "accountNotFound");
}

#[tokio::test]
async fn a_new_member_is_told_of_the_inbox_on_the_open_channel() {
    let server = TestServer::office(&[]).await;
    server.person("dan@x.example", "Dan");
    deliver(&server, "one@customer.example").await;
    let dan = server.client("dan@x.example").await;
    let mut socket = Socket::open(&dan).await;
    socket.send(enable(json!(["Email"]), Value::Null)).await;
    socket.settled().await;
    server.json(&["inbox", "member", "add", "support@x.example", "dan@x.example:observer"]);
    let change = socket.next().await;
    let dan = server.client("dan@x.example").await;
    assert_eq!(change["changed"], json!({&dan.account: states(&dan, &["Email"]).await}));
}

#[tokio::test]
async fn a_role_that_changes_holds_on_the_open_channel_at_once() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await;
    let mut socket = Socket::open(&bob).await;
    let rename = json!([["Mailbox/set", {"accountId": bob.account, "create": {"m": {"name": "Mine"}}}, "c"]]);
    server.json(&["inbox", "member", "add", "support@x.example", "bob@x.example:observer"]);
    let answer = socket.request("R", &[CORE, MAIL], rename).await;
    assert_eq!(answer["methodResponses"][0][1]["notCreated"]["m"]["type"], "forbidden", "{answer}");
    assert_ne!(answer["sessionState"], bob.session["state"]);
    let may = |client: &Client| {
        client.session["accounts"][&client.account]["accountCapabilities"][MAIL]["mayCreateTopLevelMailbox"]
            .clone()
    };
    let now = server.client("bob@x.example").await;
    assert_eq!((may(&bob), may(&now)), (json!(true), json!(false)));
}

#[tokio::test]
async fn a_binary_message_closes_the_channel() {
    let server = TestServer::office(&[]).await;
    let mut socket = Socket::open(&server.client("ann@x.example").await).await;
    socket.send_binary(b"{}".to_vec()).await;
    assert_eq!(socket.receive().await, Err(Some(1003)));
}

/// RFC 6455 §7.4.1. The octets are frames with a mask of zeros.
#[tokio::test]
async fn what_is_too_long_no_text_or_no_frame_closes_the_channel_with_its_code() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let too_long = [&[0x81, 0xff][..], &(1_u64 << 32).to_be_bytes(), &[0; 4], b"{\"@type\":"].concat();
    for (octets, code) in [
        (too_long, 1009),
        (vec![0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        (vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let mut socket = Socket::open(&ann).await;
        socket.send_raw(&octets).await;
        assert_eq!(socket.receive().await, Err(Some(code)), "{octets:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_does_not_wait() {
    let mut server = TestServer::office(&[]).await;
    let mut socket = Socket::open(&server.client("ann@x.example").await).await;
    socket.settled().await;
    assert!(server.stop().await.success());
    assert_eq!(socket.receive().await, Err(Some(1001)));
}
