//! MDN/send and MDN/parse (RFC 9007).

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::sending::{draft, identity, made, place_text, submit};
use crate::support::{Client, TestServer, message};
use serde_json::{Value, json};

const USING: &[&str] =
    &["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail", "urn:ietf:params:jmap:mdn"];
const BOB: &str = "bob@x.example";
const MARTA: &str = "marta@customer.example";
const SUPPORT: &str = "support@x.example";

/// Delivers a message that asks for a notification, and gives its Email as `client` sees it.
async fn asking(server: &TestServer, client: &Client, to: &str, id: &str) -> String {
    let asks = format!("Disposition-Notification-To: Marta <{MARTA}>\r\n");
    delivered(server, client, to, id, &asks).await
}

async fn delivered(server: &TestServer, client: &Client, to: &str, id: &str, fields: &str) -> String {
    let text = message(&format!("{id}@customer.example"), MARTA, to, id, "Did you get it?");
    let reply = server.deliver(MARTA, &[to], &format!("{fields}{text}")).await;
    assert!(reply.starts_with("250"), "{reply}");
    found(client, id).await
}

async fn found(client: &Client, id: &str) -> String {
    let filter = json!({"header": ["Message-ID", format!("{id}@customer.example")]});
    let found = client.call("Email/query", json!({"filter": filter})).await;
    found["ids"][0].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
}

fn displayed(email: &str) -> Value {
    json!({
        "forEmailId": email,
        "disposition": {
            "actionMode": "manual-action", "sendingMode": "mdn-sent-manually", "type": "displayed"
        }
    })
}

/// Both responses to one MDN/send with these notifications, and these updates of Emails.
async fn send(client: &Client, mdns: Value, update: Value) -> Value {
    let identity = identity(client).await;
    let arguments = json!({
        "accountId": client.account, "identityId": identity, "send": mdns, "onSuccessUpdateEmail": update
    });
    client.request(USING, json!([["MDN/send", arguments, "m"]])).await["methodResponses"].clone()
}

async fn send_one(client: &Client, email: &str, mdn: Value) -> Value {
    send(client, json!({"k": mdn}), json!({email: {"keywords/$mdnsent": true}})).await
}

#[tokio::test]
async fn the_sender_who_asks_for_it_is_told_once_when_somebody_says_so() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    let told = &bob.session["accounts"][&bob.account]["accountCapabilities"]["urn:ietf:params:jmap:mdn"];
    assert_eq!((told, &bob.session["capabilities"]["urn:ietf:params:jmap:mdn"]), (&json!({}), &json!({})));
    let email = asking(&server, &bob, BOB, "q").await;
    // By itself nothing is ever sent.
    assert_eq!(relay.connections(), 0);
    let mut mdn = displayed(&email);
    mdn["subject"] = "Read: q".into();
    mdn["reportingUA"] = "pc.x.example; Mail 1".into();
    mdn["extensionFields"] = json!({"X-Room": "4"});
    let responses = send_one(&bob, &email, mdn.clone()).await;
    let sent = &responses[0][1]["sent"]["k"];
    assert_eq!(
        *sent,
        json!({
            "textBody": sent["textBody"], "includeOriginalMessage": false, "mdnGateway": null,
            "originalRecipient": null, "finalRecipient": "rfc822; bob@x.example",
            "originalMessageId": "<q@customer.example>", "error": null
        }),
        "{responses}"
    );
    assert_eq!(responses[0][1]["notSent"], Value::Null);
    assert_eq!(responses[1][0], "Email/set");
    assert_eq!(responses[1][1]["updated"], json!({&email: null}), "{responses}");
    let taken = relay.wait_for(1).await;
    assert!(taken[0].mail.starts_with("<> "), "{}", taken[0].mail);
    assert_eq!(taken[0].rcpts, [format!("<{MARTA}>")]);
    for line in [
        "Subject: Read: q\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "In-Reply-To: <q@customer.example>\r\n",
        "Reporting-UA: pc.x.example; Mail 1\r\n",
        "Final-Recipient: rfc822; bob@x.example\r\n",
        "Original-Message-ID: <q@customer.example>\r\n",
        "Disposition: manual-action/mdn-sent-manually; displayed\r\n",
        "X-Room: 4\r\n",
    ] {
        assert!(taken[0].text().contains(line), "{line} {}", taken[0].text());
    }
    assert!(!taken[0].text().contains("Did you get it?"));
    assert!(place_text(&bob, &email).await.contains("$mdnsent"));
    let again = send_one(&bob, &email, mdn).await;
    assert_eq!(again[0][1]["notSent"]["k"]["type"], "mdnAlreadySent", "{again}");
    assert_eq!((again[0][1]["sent"].clone(), again.as_array().map(Vec::len)), (Value::Null, Some(1)));
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn what_may_not_be_sent_has_its_error_and_marks_nothing() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    let email = asking(&server, &bob, BOB, "q").await;
    let plain = delivered(&server, &bob, BOB, "plain", "").await;
    let report = format!(
        "From: {MARTA}\r\nMessage-ID: <report@customer.example>\r\nDisposition-Notification-To: {MARTA}\r\n\
         Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n\
         --b\r\n\r\nShown.\r\n--b--\r\n"
    );
    assert!(server.deliver(MARTA, &[BOB], &report).await.starts_with("250"));
    let report = found(&bob, "report").await;
    let own =
        draft(&bob, json!({"from": [{"email": BOB}], "header:Disposition-Notification-To:asText": BOB}))
            .await;
    let with = |name: &str, value: Value| {
        let mut mdn = displayed(&email);
        mdn[name] = value;
        mdn
    };
    let wrong = |name: &str| json!({"type": "invalidProperties", "properties": [name]});
    for (of, mdn, expected) in [
        (&plain, displayed(&plain), json!({"type": "notFound"})),
        (&email, displayed("nothing"), json!({"type": "notFound"})),
        (&report, displayed(&report), json!({"type": "forbidden"})),
        (&own, displayed(&own), json!({"type": "forbidden"})),
        (&email, with("finalRecipient", json!("rfc822; ann@x.example")), json!({"type": "forbiddenFrom"})),
        (&email, with("forEmailId", Value::Null), wrong("forEmailId")),
        (&email, with("disposition", json!({"type": "displayed"})), wrong("disposition")),
        (&email, with("subject", json!(5)), wrong("subject")),
        (&email, with("subject", json!("a\r\nBcc: x@y")), wrong("subject")),
        (&email, with("reportingUA", json!("a\r\nb")), wrong("reportingUA")),
        (&email, with("extensionFields", json!({"Disposition": "x"})), wrong("extensionFields")),
        (&email, with("originalMessageId", json!("<x@y>")), wrong("originalMessageId")),
        (&email, with("includeOriginalMessage", Value::Null), wrong("includeOriginalMessage")),
        (&email, with("anything", json!(1)), wrong("anything")),
    ] {
        let responses = send_one(&bob, of, mdn).await;
        let mut error = responses[0][1]["notSent"]["k"].clone();
        error.as_object_mut().unwrap_or_else(|| panic!("{responses}")).remove("description");
        assert_eq!((error, responses.as_array().map(Vec::len)), (expected, Some(1)), "{responses}");
    }
    for update in
        [Value::Null, json!({&email: {"keywords/$seen": true}}), json!({&plain: {"keywords/$mdnsent": true}})]
    {
        let responses = send(&bob, json!({"k": displayed(&email)}), update).await;
        assert_eq!(responses[0][1]["notSent"]["k"]["type"], "invalidProperties", "{responses}");
    }
    for (using, arguments, kind) in [
        (USING, json!({"accountId": "nothing", "identityId": "x", "send": {}}), "invalidArguments"),
        (USING, json!({"accountId": bob.account, "identityId": "nothing", "send": {}}), "invalidArguments"),
        (
            &[USING[0], USING[2]][..],
            json!({"accountId": bob.account, "identityId": "x", "send": {}}),
            "unknownMethod",
        ),
    ] {
        let response = bob.request(using, json!([["MDN/send", arguments, "m"]])).await;
        assert_eq!(response["methodResponses"][0][1]["type"], kind, "{response}");
    }
    assert!(!place_text(&bob, &email).await.contains("$mdnsent"));
    assert_eq!(relay.connections(), 0);
    // The whole property, and the creation id of the notification, will do as well.
    let update = json!({"#k": {"keywords": {"$seen": true, "$mdnsent": true}}});
    let mut mdn = displayed(&email);
    mdn["includeOriginalMessage"] = true.into();
    let responses = send(&bob, json!({"k": mdn, "twice": displayed(&email)}), update).await;
    assert_eq!(responses[0][1]["notSent"]["twice"]["type"], "mdnAlreadySent", "{responses}");
    assert_eq!(place_text(&bob, &email).await, "inbox $mdnsent,$seen");
    let taken = relay.wait_for(1).await;
    assert!(taken[0].text().contains("Content-Type: message/rfc822\r\n"), "{}", taken[0].text());
    assert!(taken[0].text().contains("Did you get it?"), "{}", taken[0].text());
    server.check();
}

#[tokio::test]
async fn in_an_inbox_it_takes_an_agent_is_on_record_and_answers_nobody() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    server.person("eve@x.example", "Eve");
    server.json(&["inbox", "member", "add", SUPPORT, "eve@x.example:observer"]);
    let (bob, eve) = (server.client(BOB).await, server.client("eve@x.example").await);
    let email = asking(&server, &bob, SUPPORT, "q").await;
    let refused = send_one(&eve, &email, displayed(&email)).await;
    assert_eq!(refused[0][1]["type"], "forbidden", "{refused}");
    let before = bob.call("Conversation/get", json!({"ids": null})).await["list"][0].clone();
    let responses = send_one(&bob, &email, displayed(&email)).await;
    assert_eq!(responses[0][1]["sent"]["k"]["finalRecipient"], "rfc822; support@x.example", "{responses}");
    assert_eq!(relay.wait_for(1).await[0].rcpts, [format!("<{MARTA}>")]);
    let after = bob.call("Conversation/get", json!({"ids": null})).await["list"][0].clone();
    for name in ["status", "ownerId", "waitingSince", "messageCount"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    let all = bob.call("Activity/get", json!({"ids": null})).await;
    let all = all["list"].as_array().unwrap_or_else(|| panic!("{all}"));
    let record: Vec<&Value> = all.iter().filter(|one| one["type"] == "automaticSent").collect();
    assert_eq!(
        (record.len(), &record[0]["after"], &record[0]["conversationId"]),
        (1, &json!(email), &after["id"])
    );
    assert_eq!(bob.call("EmailSubmission/get", json!({"ids": null})).await["list"], json!([]));
    server.check();
}

#[tokio::test]
async fn a_notification_that_came_in_is_read() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    let mail = json!({
        "from": [{"email": BOB}], "messageId": ["r@x.example"],
        "header:Disposition-Notification-To:asText": BOB
    });
    let email = draft(&bob, mail).await;
    made(&submit(&bob, PLAIN, &email, json!({})).await);
    assert!(relay.wait_for(1).await[0].text().contains("Disposition-Notification-To: bob@x.example\r\n"));
    let report = "From: marta@customer.example\r\nTo: bob@x.example\r\nSubject: Read\r\nMIME-Version: 1.0\r\n\
        Message-ID: <n@customer.example>\r\n\
        Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nShown.\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\n\
        Reporting-UA: pc; Mail\r\nFinal-Recipient: rfc822;marta@customer.example\r\n\
        Original-Message-ID: <r@x.example>\r\nDisposition: Manual-Action/MDN-Sent-Manually; Displayed\r\n\r\n--b--\r\n";
    assert!(server.deliver("", &[BOB], report).await.starts_with("250"));
    let filter = json!({"filter": {"header": ["Message-ID", "n@customer.example"]}});
    let came = bob.call("Email/query", filter).await["ids"][0].clone();
    let came = bob.call("Email/get", json!({"ids": [came], "properties": ["blobId"]})).await;
    let blob = came["list"][0]["blobId"].as_str().unwrap().to_owned();
    let plain = bob.call("Email/get", json!({"ids": [&email], "properties": ["blobId"]})).await;
    let plain = plain["list"][0]["blobId"].as_str().unwrap().to_owned();
    let ids = json!({"blobIds": [&blob, &plain, "nothing"]});
    let parsed = bob.call_with(USING, "MDN/parse", ids).await;
    assert_eq!(
        parsed,
        json!({
            "accountId": bob.account,
            "parsed": {&blob: {
                "forEmailId": email, "subject": "Read", "textBody": "Shown.", "includeOriginalMessage": false,
                "reportingUA": "pc; Mail", "mdnGateway": null, "originalRecipient": null,
                "disposition": {
                    "actionMode": "manual-action", "sendingMode": "mdn-sent-manually", "type": "displayed"
                },
                "finalRecipient": "rfc822;marta@customer.example", "originalMessageId": "<r@x.example>",
                "error": null, "extensionFields": null
            }},
            "notParsable": [plain], "notFound": ["nothing"]
        })
    );
    let nothing = bob.request(USING, json!([["MDN/parse", {"accountId": "x", "blobIds": []}, "m"]])).await;
    assert_eq!(nothing["methodResponses"][0][1]["type"], "invalidArguments", "{nothing}");
    let many = json!({"blobIds": vec!["x"; 1001]});
    let many = bob
        .request(USING, json!([["MDN/parse", {"accountId": bob.account, "blobIds": many["blobIds"]}, "m"]]))
        .await;
    assert_eq!(many["methodResponses"][0][1]["type"], "requestTooLarge", "{many}");
    server.check();
}
