//! EmailSubmission (RFC 8621 §7): what may be sent to whom, what the relay gets, what is told of it.

use crate::support::client::PLAIN;
use crate::support::relay::{Relay, Script};
use crate::support::sending::{becomes, draft, envelope, identity, made, place_text, submission, submit};
use crate::support::{Client, TEAM, TestServer, eventually};
use serde_json::{Value, json};

const BOB: &str = "bob@x.example";

async fn office(relay: &Relay) -> (TestServer, Client) {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    (server, bob)
}

#[tokio::test]
async fn without_an_envelope_it_follows_from_the_header_and_bcc_stays_here() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let email = draft(
        &bob,
        json!({
            "from": [{"email": "Bob@x.example"}],
            "to": [{"email": "marta@customer.example"}, {"email": "MARTA@customer.example"}],
            "cc": [{"email": "sven@customer.example"}],
            "bcc": [{"email": "archive@x.example"}, {"email": "sven@customer.example"}]
        }),
    )
    .await;
    let response = submit(&bob, PLAIN, &email, json!({})).await;
    let id = made(&response);
    let thread = bob.call("Email/get", json!({"ids": [email], "properties": ["threadId"]})).await;
    let all = ["marta@customer.example", "sven@customer.example", "archive@x.example"];
    let created = &response["created"]["s"];
    let status = json!({
        "smtpReply": "250 2.0.0 waits for the relay", "delivered": "queued", "displayed": "unknown"
    });
    assert_eq!(
        *created,
        json!({
            "id": id, "threadId": thread["list"][0]["threadId"], "sendAt": created["sendAt"],
            "undoStatus": "final", "dsnBlobIds": [], "mdnBlobIds": [],
            "envelope": envelope("Bob@x.example", &all, Value::Null),
            "deliveryStatus": {all[0]: status, all[1]: status, all[2]: status}
        })
    );
    let taken = relay.wait_for(1).await;
    assert!(taken[0].mail.starts_with("<bounce+"), "{}", taken[0].mail);
    assert!(taken[0].mail.contains("@x.example> SIZE="), "{}", taken[0].mail);
    assert_eq!(taken[0].rcpts, all.map(|address| format!("<{address}>")));
    assert!(!taken[0].text().contains("archive@x.example"), "{}", taken[0].text());
    assert!(taken[0].text().contains("Cc: sven@customer.example"));
    let told = eventually("told", async || {
        let now = submission(&bob, &id).await;
        (now["deliveryStatus"][all[0]]["delivered"] != "queued").then_some(now)
    });
    let accepted = json!({"smtpReply": "250 2.0.0 Queued", "delivered": "unknown", "displayed": "unknown"});
    assert_eq!(told.await["deliveryStatus"][all[0]], accepted);
    assert_eq!(place_text(&bob, &email).await, "sent $seen");
    server.check();
}

#[tokio::test]
async fn what_the_relay_says_of_each_recipient_is_told() {
    let rcpts = vec![("no@customer.example".to_owned(), "550-5.1.1 no\r\n550 5.1.1 such user".to_owned())];
    let relay = Relay::start_with(Script { rcpts, ..Script::default() }).await;
    let (_server, bob) = office(&relay).await;
    let to = json!([{"email": "no@customer.example"}, {"email": "yes@customer.example"}]);
    let email = draft(&bob, json!({"from": [{"email": BOB}], "to": to})).await;
    let id = made(&submit(&bob, TEAM, &email, json!({})).await);
    let told = eventually("told", async || {
        let now = submission(&bob, &id).await["deliveryStatus"].clone();
        (now["yes@customer.example"]["delivered"] != "queued").then_some(now)
    });
    assert_eq!(
        told.await,
        json!({
            "no@customer.example":
                {"smtpReply": "550 5.1.1 no such user", "delivered": "no", "displayed": "unknown"},
            "yes@customer.example":
                {"smtpReply": "250 2.0.0 Queued", "delivered": "unknown", "displayed": "unknown"}
        })
    );
}

#[tokio::test]
async fn each_refusal_has_its_type_and_what_belongs_to_it() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let ours = json!([{"email": BOB}]);
    let good = draft(&bob, json!({"from": ours})).await;
    let no_from = draft(&bob, json!({})).await;
    let two = draft(&bob, json!({"from": [{"email": BOB}, {"email": "bob@x.example"}]})).await;
    let strange = draft(&bob, json!({"from": [{"email": "ann@x.example"}]})).await;
    let nobody = draft(&bob, json!({"from": ours, "to": null})).await;
    let odd = draft(&bob, json!({"from": ours, "to": [{"email": "marta"}, {"email": "x@y.example"}]})).await;
    let many: Vec<String> = (0..501).map(|number| format!("c{number}@customer.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let to = ["marta@customer.example"];
    let given =
        |from: &str, to: &[&str], parameters: Value| json!({"envelope": envelope(from, to, parameters)});
    let on_rcpt = |parameters: Value| {
        json!({"envelope": {"mailFrom": {"email": BOB},
            "rcptTo": [{"email": "a@b.example", "parameters": parameters}]}})
    };
    let properties = |names: &[&str]| json!({"type": "invalidProperties", "properties": names});
    for (email, more, expected) in [
        (&no_from, json!({}), json!({"type": "invalidEmail", "properties": ["from"]})),
        (&two, json!({}), json!({"type": "invalidEmail", "properties": ["from"]})),
        (&strange, json!({}), json!({"type": "forbiddenFrom"})),
        (&good, given("ann@x.example", &to, Value::Null), json!({"type": "forbiddenMailFrom"})),
        (&good, given("", &to, Value::Null), json!({"type": "forbiddenMailFrom"})),
        (&nobody, json!({}), json!({"type": "noRecipients"})),
        (&good, given(BOB, &[], Value::Null), json!({"type": "noRecipients"})),
        (&odd, json!({}), json!({"type": "invalidRecipients", "invalidRecipients": ["marta"]})),
        (
            &good,
            given(BOB, &["a@b@c", "x@y.example", "z"], Value::Null),
            json!({"type": "invalidRecipients", "invalidRecipients": ["a@b@c", "z"]}),
        ),
        (&good, given(BOB, &many, Value::Null), json!({"type": "tooManyRecipients", "maxRecipients": 500})),
        (&good, given(BOB, &to, json!({"NOTIFY": "NEVER"})), properties(&["envelope"])),
        (&good, given(BOB, &to, json!({"HOLDFOR": "x"})), properties(&["envelope"])),
        (&good, given(BOB, &to, json!({"HOLDFOR": "999999999"})), properties(&["envelope"])),
        (&good, given(BOB, &to, json!({"SIZE": 5})), properties(&["envelope"])),
        (&good, on_rcpt(json!({"NOTIFY": "NEVER,DELAY"})), properties(&["envelope"])),
        (&good, on_rcpt(json!({"RET": "HDRS"})), properties(&["envelope"])),
        (&good, given(BOB, &to, json!({"ENVID": "a\r\nDATA"})), properties(&["envelope"])),
        (&good, json!({"envelope": {"mailFrom": {"email": BOB}}}), properties(&["envelope"])),
        (&good, json!({"identityId": "nothing"}), properties(&["identityId"])),
        (&"nothing".to_owned(), json!({}), properties(&["emailId"])),
        (&good, json!({"undoStatus": "canceled"}), properties(&["undoStatus"])),
        (&good, json!({"sendAt": "2030-01-01T00:00:00Z"}), properties(&["sendAt"])),
    ] {
        let response = submit(&bob, TEAM, email, more.clone()).await;
        let mut error = response["notCreated"]["s"].clone();
        if let Some(error) = error.as_object_mut() {
            error.remove("description");
        }
        assert_eq!(error, expected, "{more} {response}");
        assert_eq!(response["oldState"], response["newState"], "{response}");
    }
    assert_eq!(bob.call("EmailSubmission/get", json!({"ids": null})).await["list"], json!([]));
    assert_eq!(place_text(&bob, &good).await, "drafts $draft");
    assert_eq!(relay.deliveries(), 0);
    server.check();
}

#[tokio::test]
async fn parameters_that_the_server_sets_anyway_may_be_given_and_holds_stay_here() {
    let relay = Relay::start().await;
    let (_server, bob) = office(&relay).await;
    let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    let given = envelope(
        BOB,
        &["marta@customer.example"],
        json!({"SIZE": "17", "BODY": "8BITMIME", "HOLDUNTIL": "2020-01-01T00:00:00Z"}),
    );
    let response = submit(&bob, TEAM, &email, json!({"envelope": given})).await;
    let id = made(&response);
    assert!(response["created"]["s"].get("envelope").is_none(), "{response}");
    let taken = relay.wait_for(1).await;
    assert!(taken[0].mail.contains("@x.example> SIZE="), "{}", taken[0].mail);
    assert!(!taken[0].mail.contains("HOLD"), "{}", taken[0].mail);
    assert_eq!(submission(&bob, &id).await["envelope"], given);
}

/// An envelope with everything that DSN has, and what the relay then gets.
fn with_dsn(notify: &str) -> Value {
    json!({
        "mailFrom": {"email": BOB, "parameters": {"ENVID": "order 7=a", "RET": "HDRS"}},
        "rcptTo": [{
            "email": "marta@customer.example",
            "parameters": {"NOTIFY": notify, "ORCPT": "rfc822;Marta+x@customer.example"}
        }]
    })
}

#[tokio::test]
async fn a_relay_with_dsn_is_told_what_the_sender_wants_to_hear_of() {
    let offers = ["SIZE", "DSN"].map(String::from).into();
    let relay = Relay::start_with(Script { offers, ..Script::default() }).await;
    let (server, bob) = office(&relay).await;
    let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    let id = made(&submit(&bob, PLAIN, &email, json!({"envelope": with_dsn("SUCCESS,FAILURE")})).await);
    let taken = relay.wait_for(1).await;
    assert!(taken[0].mail.ends_with(" ENVID=order+207+3Da RET=HDRS"), "{}", taken[0].mail);
    let rcpt = "<marta@customer.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Marta+2Bx@customer.example";
    assert_eq!(taken[0].rcpts, [rcpt]);
    becomes(&bob, &id, "final").await;
    assert_eq!(submission(&bob, &id).await["envelope"], with_dsn("SUCCESS,FAILURE"));
    // The relay is told; it isn't for us to tell anything.
    assert_eq!(submission(&bob, &id).await["dsnBlobIds"], json!([]));
    server.check();
}

#[tokio::test]
async fn to_a_relay_without_dsn_it_goes_plainly_and_whoever_asks_for_success_hears_that_it_was_passed_on() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    for (number, (notify, told)) in [("SUCCESS", 1), ("NEVER", 0), ("FAILURE", 0)].into_iter().enumerate() {
        let email = draft(&bob, json!({"from": [{"email": BOB}], "subject": notify})).await;
        let id = made(&submit(&bob, PLAIN, &email, json!({"envelope": with_dsn(notify)})).await);
        let taken = relay.wait_for(number + 1).await;
        assert!(!taken[number].mail.contains("ENVID"), "{}", taken[number].mail);
        assert_eq!(taken[number].rcpts, ["<marta@customer.example>"]);
        let now = eventually("taken down", async || {
            let now = submission(&bob, &id).await;
            (now["deliveryStatus"]["marta@customer.example"]["delivered"] == "unknown").then_some(now)
        });
        let reports = now.await["dsnBlobIds"].clone();
        assert_eq!(reports.as_array().map(Vec::len), Some(told), "{notify} {reports}");
        if let Some(report) = reports[0].as_str() {
            let path = format!("/jmap/download/{}/{report}/x?type=text/plain", bob.account);
            let report = String::from_utf8(bob.get(&path).await.body).unwrap();
            for line in [
                "Original-Envelope-Id: order 7=a\r\n",
                "Original-Recipient: rfc822;Marta+x@customer.example\r\n",
                "Action: relayed\r\nStatus: 2.0.0\r\n",
            ] {
                assert!(report.contains(line), "{report}");
            }
        }
    }
    server.check();
}

#[tokio::test]
async fn what_was_relayed_cannot_be_unsent_and_destroying_the_record_recalls_nothing() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    relay.script(Script { mail: Some("451 4.3.0 later".to_owned()), ..Script::default() });
    let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    let id = made(&submit(&bob, TEAM, &email, json!({})).await);
    let state = bob.call("EmailSubmission/get", json!({"ids": []})).await["state"].clone();
    let refused = bob.call("EmailSubmission/set", json!({"update": {&id: {"undoStatus": "canceled"}}})).await;
    assert_eq!(refused["notUpdated"][&id], json!({"type": "cannotUnsend"}));
    let wrong = bob.call("EmailSubmission/set", json!({"update": {&id: {"undoStatus": "pending"}}})).await;
    assert_eq!(wrong["notUpdated"][&id]["type"], "invalidProperties");
    let gone = bob.call("EmailSubmission/set", json!({"destroy": [&id]})).await;
    assert_eq!(gone["destroyed"], json!([&id]), "{gone}");
    let changes = bob.call("EmailSubmission/changes", json!({"sinceState": state})).await;
    assert_eq!(changes["destroyed"], json!([&id]), "{changes}");
    assert_eq!(bob.call("EmailSubmission/get", json!({"ids": [&id]})).await["notFound"], json!([&id]));
    server.check();
    relay.script(Script::default());
    tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while relay.deliveries() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the relay gets it all the same");
    server.check();
}

#[tokio::test]
async fn what_is_done_on_success_follows_in_one_implicit_email_set() {
    let relay = Relay::start().await;
    let (_server, bob) = office(&relay).await;
    let from = json!([{"email": BOB}]);
    let (one, two) =
        (draft(&bob, json!({"from": from})).await, draft(&bob, json!({"from": from, "subject": "2"})).await);
    let identity = identity(&bob).await;
    let create = json!({
        "a": {"identityId": identity, "emailId": one}, "b": {"identityId": identity, "emailId": two},
        "c": {"identityId": identity, "emailId": "nothing"}
    });
    let arguments = json!({
        "accountId": bob.account, "create": create,
        "onSuccessUpdateEmail": {"#a": {"keywords/$flagged": true}, "#c": {"keywords/$flagged": true}},
        "onSuccessDestroyEmail": ["#b", "#c"]
    });
    let reply = bob.request(TEAM, json!([["EmailSubmission/set", arguments, "x"]])).await;
    let responses = &reply["methodResponses"];
    assert_eq!(responses.as_array().map(Vec::len), Some(2), "{reply}");
    assert_eq!((&responses[1][0], &responses[1][2]), (&json!("Email/set"), &json!("x")));
    assert_eq!(responses[1][1]["updated"], json!({&one: null}), "{reply}");
    assert_eq!(responses[1][1]["destroyed"], json!([&two]), "{reply}");
    assert_eq!(place_text(&bob, &one).await, "sent $flagged,$seen");
    assert_eq!(relay.wait_for(2).await.len(), 2, "a destroyed Email is sent all the same");
    // And of those that are destroyed (RFC 8621 §7.5).
    let id = responses[0][1]["created"]["a"]["id"].clone();
    let arguments = json!({
        "accountId": bob.account, "destroy": [id], "onSuccessDestroyEmail": [id]
    });
    let reply = bob.request(TEAM, json!([["EmailSubmission/set", arguments, "y"]])).await;
    assert_eq!(reply["methodResponses"][1][1]["destroyed"], json!([&one]), "{reply}");
}

#[tokio::test]
async fn submissions_are_found_by_each_condition_and_changes_of_a_query_are_exact() {
    let relay = Relay::start().await;
    let (_server, bob) = office(&relay).await;
    let from = json!([{"email": BOB}]);
    let (one, two) =
        (draft(&bob, json!({"from": from})).await, draft(&bob, json!({"from": from, "subject": "2"})).await);
    let held = json!({"envelope": envelope(BOB, &["marta@customer.example"], json!({"HOLDFOR": "3600"}))});
    let first = made(&submit(&bob, TEAM, &one, json!({})).await);
    eventually("what the relay said of it", async || {
        let now = submission(&bob, &first).await;
        (now["deliveryStatus"]["marta@customer.example"]["delivered"] != "queued").then_some(())
    })
    .await;
    let query = |filter: Value, sort: Value| {
        let bob = bob.clone();
        async move { bob.call("EmailSubmission/query", json!({"filter": filter, "sort": sort})).await }
    };
    let by_time = json!([{"property": "sentAt"}]);
    let pending = query(json!({"undoStatus": "pending"}), by_time.clone()).await;
    assert_eq!((&pending["ids"], &pending["canCalculateChanges"]), (&json!([]), &json!(true)));
    let all = query(Value::Null, by_time.clone()).await;
    let second = made(&submit(&bob, TEAM, &two, held).await);
    let send_at = submission(&bob, &second).await["sendAt"].clone();
    let thread = submission(&bob, &first).await["threadId"].clone();
    for (filter, sort, ids) in [
        (Value::Null, json!([{"property": "sentAt"}]), json!([&first, &second])),
        (Value::Null, json!([{"property": "sentAt", "isAscending": false}]), json!([&second, &first])),
        (Value::Null, json!([{"property": "emailId"}]), json!([&first, &second])),
        (Value::Null, json!([{"property": "threadId", "isAscending": false}]), json!([&second, &first])),
        (json!({"emailIds": [&two]}), Value::Null, json!([&second])),
        (json!({"threadIds": [thread]}), Value::Null, json!([&first])),
        (json!({"identityIds": ["nothing"]}), Value::Null, json!([])),
        (json!({"identityIds": [identity(&bob).await], "undoStatus": "final"}), Value::Null, json!([&first])),
        (json!({"before": send_at}), Value::Null, json!([&first])),
        (json!({"after": send_at}), Value::Null, json!([&second])),
        (json!({"operator": "NOT", "conditions": [{"emailIds": [&one]}]}), Value::Null, json!([&second])),
    ] {
        assert_eq!(query(filter.clone(), sort.clone()).await["ids"], ids, "{filter} {sort}");
    }
    let error = query(Value::Null, json!([{"property": "subject"}])).await;
    assert_eq!(error["type"], "unsupportedSort");
    let since = |state: &Value, filter: Value| {
        let arguments = json!({
            "sinceQueryState": state, "filter": filter, "sort": by_time, "calculateTotal": true
        });
        let bob = bob.clone();
        async move { bob.call("EmailSubmission/queryChanges", arguments).await }
    };
    let came = since(&pending["queryState"], json!({"undoStatus": "pending"})).await;
    assert_eq!(
        (&came["added"], &came["total"]),
        (&json!([{"id": &second, "index": 0}]), &json!(1)),
        "{came}"
    );
    let came = since(&all["queryState"], Value::Null).await;
    assert!(came["added"].as_array().unwrap().contains(&json!({"id": &second, "index": 1})), "{came}");
    let canceled = bob.call("EmailSubmission/set", json!({"update": {&second: {"undoStatus": "canceled"}}}));
    assert_eq!(canceled.await["updated"], json!({&second: null}));
    becomes(&bob, &second, "canceled").await;
    let left = since(&came["newQueryState"], json!({"undoStatus": "pending"})).await;
    assert_eq!((&left["removed"], &left["total"]), (&json!([&second]), &json!(0)), "{left}");
    assert_eq!(left["added"], json!([]));
}

/// A report of this kind, about a message, with these fields.
fn report(kind: &str, message_id: &str, fields: &str) -> String {
    format!(
        "From: mailer-daemon@relay.example\r\nTo: support@x.example\r\nSubject: Report\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type={kind}; boundary=b\r\n\r\n--b\r\n\r\nAbout your mail.\r\n\
         --b\r\nContent-Type: message/{kind}\r\n\r\n{fields}\r\n--b\r\n\
         Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{message_id}>\r\n\r\n--b--\r\n"
    )
}

#[tokio::test]
async fn reports_that_come_back_say_what_became_of_each_recipient() {
    let relay = Relay::start().await;
    let (server, _) = office(&relay).await;
    let bob = server.client(BOB).await;
    let to = json!([{"email": "marta@customer.example"}, {"email": "sven@customer.example"}]);
    let new = json!({"from": [{"email": "support@x.example"}], "to": to, "messageId": ["m@x.example"]});
    let email = draft(&bob, new).await;
    let id = made(&submit(&bob, TEAM, &email, json!({})).await);
    let path = relay.wait_for(1).await[0].return_path();
    let state = eventually("relayed", async || {
        let now = submission(&bob, &id).await;
        let done = now["deliveryStatus"]["sven@customer.example"]["delivered"] == "unknown";
        done.then_some(bob.call("EmailSubmission/get", json!({"ids": []})).await["state"].clone())
    })
    .await;
    let delay = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; sven@customer.example\r\n\
                 Action: delayed\r\nStatus: 4.4.1\r\n";
    let failed = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; Marta@customer.example\r\n\
                  Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n\
                  Final-Recipient: rfc822; sven@customer.example\r\nAction: delivered\r\nStatus: 2.0.0\r\n\r\n\
                  Final-Recipient: rfc822; stranger@customer.example\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let read = "Final-Recipient: rfc822; sven@customer.example\r\nOriginal-Message-ID: <m@x.example>\r\n\
                Disposition: manual-action/MDN-sent-manually; displayed\r\n";
    let path = path.as_str();
    for (to, kind, about, fields) in [
        ("support@x.example", "delivery-status", "other@x.example", failed),
        (path, "delivery-status", "m@x.example", delay),
        (path, "delivery-status", "whatever@x.example", failed),
        ("support@x.example", "disposition-notification", "m@x.example", read),
    ] {
        let reply = server.deliver("", &[to], &report(kind, about, fields)).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let now = submission(&bob, &id).await;
    assert_eq!(
        now["deliveryStatus"],
        json!({
            "marta@customer.example":
                {"smtpReply": "550 5.1.1 no such user", "delivered": "no", "displayed": "unknown"},
            "sven@customer.example": {
                "smtpReply": "250 2.0.0 was reported as delivered", "delivered": "yes", "displayed": "yes"
            }
        })
    );
    assert_eq!(now["dsnBlobIds"].as_array().map(Vec::len), Some(2), "{now}");
    let blob = now["mdnBlobIds"][0].as_str().unwrap_or_else(|| panic!("{now}"));
    let path = format!("/jmap/download/{}/{blob}/report?type=message/rfc822", bob.account);
    let text = String::from_utf8(bob.get(&path).await.body).unwrap();
    assert!(text.contains("disposition-notification"), "{text}");
    let changes = bob.call("EmailSubmission/changes", json!({"sinceState": state})).await;
    assert_eq!(changes["updated"], json!([id]), "{changes}");
    server.check();
}

#[tokio::test]
async fn a_header_that_others_would_read_otherwise_is_not_sent() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let raw = format!(
        "From: {BOB}\r\nX: y\rFrom: ceo@bank.example\r\nTo: marta@customer.example\r\nSubject: Hi\r\n\r\nHi\r\n"
    );
    let path = format!("/jmap/upload/{}/", bob.account);
    let blob = bob.post(&path, "message/rfc822", raw.into_bytes()).await.json()["blobId"].take();
    let import = json!({"blobId": blob, "mailboxIds": {bob.mailbox("drafts").await: true}});
    let imported = bob.call("Email/import", json!({"emails": {"i": import}})).await;
    let email = imported["created"]["i"]["id"].as_str().unwrap_or_else(|| panic!("{imported}"));
    let refused = submit(&bob, TEAM, email, json!({})).await;
    assert_eq!(refused["notCreated"]["s"]["type"], "invalidEmail", "{refused}");
    assert_eq!(relay.deliveries(), 0);
    server.check();
}
