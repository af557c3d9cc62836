//! Distribution lists: from the gateway through the queue to each member.

use crate::support::relay::{Relay, Script, Taken};
use crate::support::{Gateway, TestServer, eventually, message};
use serde_json::{Value, json};

const MARTA: &str = "marta@customer.example";
const ALL: &str = "all@x.example";

/// An office with the list all@, of these members, that these may write to.
async fn office(relay: &Relay, post: &str, members: &[&str]) -> TestServer {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let mut arguments = vec!["list", "add", ALL, "--name", "All of us", "--post", post];
    members.iter().for_each(|member| arguments.extend(["--member", member]));
    server.json(&arguments);
    server
}

fn letter(id: &str, from: &str, fields: &str) -> String {
    let text = message(&format!("{id}@customer.example"), from, ALL, id, "To all of you.");
    format!("{fields}{text}")
}

async fn write(server: &TestServer, from: &str, text: &str) -> String {
    server.deliver(from, &[ALL], text).await
}

/// To whom each message went, in order.
fn recipients(taken: &[Taken]) -> Vec<String> {
    let mut all: Vec<String> = taken.iter().flat_map(|one| one.rcpts.clone()).collect();
    all.sort();
    all
}

fn list(server: &TestServer) -> Value {
    server.json(&["list", "show", ALL])["lists"][0].clone()
}

/// Nothing more goes out: what was queued before something that comes now has gone.
async fn settled(server: &TestServer) {
    eventually("an empty queue", async || {
        (server.json(&["queue", "list"])["entries"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_member_gets_the_message_once_however_often_the_gateway_sends_it_and_bounces_go_to_the_list() {
    let relay = Relay::start().await;
    let members = ["ann@x.example", "guest@partner.example", "ANN@x.example"];
    let server = office(&relay, "anyone", &members).await;
    let text =
        letter("news", "Marta <marta@customer.example>", "DKIM-Signature: d=customer.example; b=x\r\n");
    let first = write(&server, MARTA, &text).await;
    assert!(first.starts_with("250 2.0.0 Kept as "), "{first}");
    assert_eq!(write(&server, MARTA, &text).await, first, "the gateway's retry");
    relay.wait_for(2).await;
    settled(&server).await;
    let taken = relay.messages();
    assert_eq!(recipients(&taken), ["<ann@x.example>", "<guest@partner.example>"]);
    for one in &taken {
        let path = one.return_path();
        assert!(path.starts_with("bounce+") && path.ends_with("@x.example"), "{path}");
        let text = one.text();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "To all of you.\r\n");
        assert!(header.contains("\r\nList-Id: All of us\r\n <all.x.example>\r\n"), "{header}");
        assert!(header.contains("\r\nList-Post: <mailto:all@x.example>\r\n"), "{header}");
        assert!(header.contains("\r\nFrom: Marta <marta@customer.example>\r\n"), "{header}");
        assert!(
            header.starts_with("Delivered-To: all@x.example\r\nReceived: from gateway.example"),
            "{header}"
        );
        assert!(!header.contains("Return-Path"), "{header}");
    }
    assert_ne!(taken[0].return_path(), taken[1].return_path());
    let guest = taken.iter().find(|one| one.rcpts == ["<guest@partner.example>"]).unwrap();
    let bounce = "From: MAILER-DAEMON@mx.example\r\nSubject: failure notice\r\n\r\n\
                  Hi. This is the qmail-send program at mx.example.\r\nThis is a permanent error; I've given up.\r\n\r\n\
                  <guest@partner.example>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n";
    let reply = server.deliver("", &[&guest.return_path()], bounce).await;
    assert!(reply.starts_with("250"), "{reply}");
    let told = list(&server);
    assert_eq!(
        (&told["members"][0]["bounces"], &told["members"][1]["bounces"]),
        (&json!(0), &json!(1)),
        "{told}"
    );
    assert!(told["members"][1]["lastReply"].as_str().unwrap().contains("5.1.1"), "{told}");
    settled(&server).await;
    assert_eq!(relay.deliveries(), 2, "the author was told nothing");
    server.check();
    server.json(&["list", "member", "remove", ALL, "guest@partner.example"]);
    assert_eq!(list(&server)["members"].as_array().map(Vec::len), Some(1));
    let again = server.deliver("", &[&guest.return_path()], &bounce.replace("Hi.", "Hello.")).await;
    assert!(again.starts_with("250"), "{again}");
    server.check();
}

#[tokio::test]
async fn whoever_writes_to_an_inbox_and_to_a_list_that_refuses_them_is_told_once_and_sends_nothing_again() {
    let relay = Relay::start().await;
    let server = office(&relay, "members", &["guest@partner.example"]).await;
    let both = [ALL, "support@x.example"];
    let text = letter("news", MARTA, "");
    let first = server.deliver(MARTA, &both, &text).await;
    assert!(first.starts_with("250 2.0.0 Kept as "), "{first}");
    assert_eq!(server.deliver(MARTA, &both, &text).await, first, "the gateway's retry");
    let told = relay.wait_for(1).await[0].clone();
    assert!(told.mail.starts_with("<> "), "{}", told.mail);
    assert_eq!(told.rcpts, ["<marta@customer.example>"]);
    for line in [
        "To: <marta@customer.example>\r\nSubject: Not delivered: news\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Final-Recipient: rfc822; all@x.example\r\nAction: failed\r\nStatus: 5.3.0\r\n",
        "Diagnostic-Code: smtp; 554 5.3.0 the list takes no mail from that sender\r\n",
        "\r\nMessage-ID: <news@customer.example>\r\n",
    ] {
        assert!(told.text().contains(line), "{line}\n{}", told.text());
    }
    assert!(!told.text().contains("support@x.example\r\nAction"), "{}", told.text());

    // Whoever wants to hear nothing hears nothing, and nobody hears of a report.
    let mut gateway = server.gateway().await;
    for line in [
        format!("MAIL FROM:<{MARTA}>"),
        format!("RCPT TO:<{ALL}> NOTIFY=NEVER"),
        "RCPT TO:<support@x.example>".to_owned(),
    ] {
        assert!(gateway.say(&line).await.starts_with("250"), "{line}");
    }
    assert!(gateway.say("DATA").await.starts_with("354"));
    gateway.send(format!("{}.\r\n", letter("quiet", MARTA, "")).as_bytes()).await.unwrap();
    assert!(gateway.reply().await.starts_with("250 2.0.0"));
    gateway.quit().await;
    assert!(server.deliver("", &both, &letter("report", MARTA, "")).await.starts_with("250"));
    // With nobody else to take it the client reports it.
    let alone = write(&server, MARTA, &letter("alone", MARTA, "")).await;
    assert_eq!(alone, "554 5.3.0 the list takes no mail from that sender");
    settled(&server).await;
    assert_eq!(relay.deliveries(), 1);
    let ann = server.client("ann@x.example").await;
    let found = ann.call("Email/query", json!({})).await;
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(3), "{found}");
    server.check();
}

#[tokio::test]
async fn lmtp_answers_for_a_list_and_an_inbox_apart_and_nobody_is_told_twice() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url(), "--lmtp", "127.0.0.1:0"]).await;
    server.json(&["list", "add", ALL, "--name", "All of us", "--member", "guest@partner.example"]);
    let mut lmtp = Gateway::raw(server.lmtp.as_ref().unwrap()).await;
    assert!(lmtp.reply().await.starts_with("220 "));
    for line in ["LHLO g", "MAIL FROM:<marta@customer.example>", "RCPT TO:<all@x.example>"] {
        assert!(lmtp.say(line).await.starts_with("250"), "{line}");
    }
    assert!(lmtp.say("RCPT TO:<support@x.example>").await.starts_with("250"));
    assert!(lmtp.say("DATA").await.starts_with("354"));
    lmtp.send(format!("{}.\r\n", letter("news", MARTA, "")).as_bytes()).await.unwrap();
    assert_eq!(lmtp.reply().await, "554 5.3.0 the list takes no mail from that sender");
    assert!(lmtp.reply().await.starts_with("250 2.0.0 Kept as "));
    settled(&server).await;
    assert_eq!(relay.deliveries(), 0);
}

#[tokio::test]
async fn a_letter_to_the_return_path_of_a_copy_goes_to_the_owner_and_is_refused_where_there_is_none() {
    let relay = Relay::start().await;
    let server = office(&relay, "anyone", &["guest@partner.example"]).await;
    assert!(write(&server, MARTA, &letter("news", MARTA, "")).await.starts_with("250"));
    let path = relay.wait_for(1).await[0].return_path();
    let guest = "guest@partner.example";
    let text = message("thanks@partner.example", guest, &path, "Thanks", "Who are you?");
    let refused = server.deliver(guest, &[&path], &text).await;
    assert_eq!(refused, "550 5.7.1 this address takes reports of delivery alone");
    let away = format!("Auto-Submitted: auto-replied\r\n{}", text.replace("thanks@", "away@"));
    let dropped = server.deliver(guest, &[&path], &away).await;
    assert!(dropped.starts_with("250"), "{dropped}");

    server.json(&["list", "set", ALL, "--owner", "ann@x.example"]);
    let first = server.deliver(guest, &[&path], &text).await;
    assert!(first.starts_with("250"), "{first}");
    assert_eq!(server.deliver(guest, &[&path], &text).await, first, "the gateway's retry");
    let passed = relay.wait_for(2).await[1].clone();
    assert_eq!(passed.rcpts, ["<ann@x.example>"]);
    assert!(passed.text().ends_with(&text), "as it came: {}", passed.text());
    assert!(passed.text().starts_with(&format!("Delivered-To: {path}\r\nReceived: ")), "{}", passed.text());
    // That the owner can't be reached is noted with no member.
    let bounce = "From: MAILER-DAEMON@mx.example\r\nSubject: failure notice\r\n\r\n\
                  Hi. This is the qmail-send program at mx.example.\r\nThis is a permanent error; I've given up.\r\n\r\n\
                  <ann@x.example>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n";
    let back = passed.return_path();
    assert_ne!(back, path);
    assert!(server.deliver("", &[&back], bounce).await.starts_with("250"));
    settled(&server).await;
    assert_eq!((relay.deliveries(), &list(&server)["members"][0]["bounces"]), (2, &json!(0)));
    server.check();
}

#[tokio::test]
async fn a_list_takes_no_binary_message_and_an_inbox_beside_it_does() {
    let relay = Relay::start().await;
    let server = office(&relay, "anyone", &["guest@partner.example"]).await;
    let send = async |to: &[&str], content: String| {
        let mut gateway = server.gateway().await;
        let mut lines = vec![format!("MAIL FROM:<{MARTA}> BODY=BINARYMIME")];
        lines.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for line in lines {
            assert!(gateway.say(&line).await.starts_with("250"), "{line}");
        }
        gateway.send(format!("BDAT {} LAST\r\n{content}", content.len()).as_bytes()).await.unwrap();
        gateway.reply().await
    };
    let binary = |id: &str| letter(id, MARTA, "Content-Transfer-Encoding: binary\r\n") + "a\nb\rc\0d";
    let refused = "554 5.6.1 a list passes on no binary message: it has octets that DATA can't carry";
    assert_eq!(send(&[ALL], binary("one")).await, refused);
    let both = send(&[ALL, "support@x.example"], binary("two")).await;
    assert!(both.starts_with("250 2.0.0 Kept as "), "{both}");
    let told = relay.wait_for(1).await[0].clone();
    assert!(told.text().contains(&format!("Diagnostic-Code: smtp; {refused}\r\n")), "{}", told.text());
    // What only says so goes on.
    assert!(send(&[ALL], letter("three", MARTA, "")).await.starts_with("250"));
    assert_eq!(relay.wait_for(2).await[1].rcpts, ["<guest@partner.example>"]);
    server.check();
}

#[tokio::test]
async fn what_was_taken_in_goes_to_each_member_once_though_the_server_is_killed_and_the_relay_was_down() {
    let relay = Relay::start_with(Script { mail: Some("451 4.3.0 later".into()), ..Script::default() }).await;
    let members: Vec<String> = (0..20).map(|n| format!("m{n:02}@partner.example")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut server = office(&relay, "anyone", &members).await;
    assert!(write(&server, MARTA, &letter("news", MARTA, "")).await.starts_with("250"));
    server.kill();
    server.start().await;
    relay.script(Script::default());
    server.json(&["queue", "retry", "--all"]);
    relay.wait_for(20).await;
    eventually("an empty queue", async || {
        server.json(&["queue", "retry", "--all"]);
        (server.json(&["queue", "list"])["entries"] == json!([])).then_some(())
    })
    .await;
    let expected: Vec<String> = members.iter().map(|member| format!("<{member}>")).collect();
    assert_eq!(recipients(&relay.messages()), expected);
    server.check();
}

#[tokio::test]
async fn a_message_that_came_through_the_list_and_one_that_answers_are_refused() {
    let relay = Relay::start().await;
    let server = office(&relay, "anyone", &["ann@x.example"]).await;
    assert!(write(&server, MARTA, &letter("news", MARTA, "")).await.starts_with("250"));
    let out = relay.wait_for(1).await[0].text();
    assert!(out.contains("From: \"marta@customer.example via All of us\" <all@x.example>\r\n"), "{out}");
    assert!(out.contains("Reply-To: marta@customer.example\r\n"), "{out}");
    let circles = "554 5.3.0 the message runs in circles: it was delivered here before";
    assert_eq!(write(&server, MARTA, &out).await, circles, "it came back whole");
    let other = out.replace("List-Id: All of us\r\n <all.x.example>", "List-Id: <other.y.example>");
    assert_eq!(write(&server, MARTA, &other).await, circles, "through another list");
    let answers = "554 5.3.0 a list takes no automatic answers and no reports";
    let away = letter("away", MARTA, "Auto-Submitted: auto-replied\r\n");
    assert_eq!(write(&server, MARTA, &away).await, answers);
    assert_eq!(write(&server, "", &letter("bounce", MARTA, "")).await, answers);
    let generated =
        letter("report", MARTA, "Auto-Submitted: auto-generated\r\nList-Id: <other.y.example>\r\n");
    assert!(write(&server, MARTA, &generated).await.starts_with("250"), "a program has something to say");
    assert_eq!(relay.wait_for(2).await[1].text().matches("List-Id:").count(), 1);
    settled(&server).await;
    assert_eq!(relay.deliveries(), 2);
    server.check();
}

#[tokio::test]
async fn who_may_write_to_a_list_is_set_and_a_closed_one_takes_nothing() {
    let relay = Relay::start().await;
    let server = office(&relay, "members", &["guest@partner.example"]).await;
    let refused = "554 5.3.0 the list takes no mail from that sender";
    let cases = [
        ("members", "guest@PARTNER.example", true),
        ("members", "ann@x.example", false),
        ("staff", "ann@x.example", true),
        ("staff", "support@x.example", true),
        ("staff", "guest@partner.example", false),
        ("anyone", MARTA, true),
    ];
    for (number, (post, from, may)) in cases.into_iter().enumerate() {
        server.json(&["list", "set", ALL, "--post", post]);
        let reply = write(&server, from, &letter(&format!("l{number}"), from, "")).await;
        assert!(if may { reply.starts_with("250") } else { reply == refused }, "{post} {from}: {reply}");
    }
    server.json(&["list", "set", ALL, "--post", "nobody"]);
    let reply = write(&server, MARTA, &letter("late", MARTA, "")).await;
    assert_eq!(reply, "550 5.1.1 No such recipient here");
    relay.wait_for(4).await;
    settled(&server).await;
    assert_eq!(relay.deliveries(), 4);
    let wrong = server.command(&["list", "set", ALL, "--post", "everybody"], "");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("there are anyone, members, staff, nobody"), "{told}");
    let taken = server.command(&["inbox", "add", "All@x.example", "--name", "All"], "");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("the address All@x.example is taken"));
    // Nobody sees a list as an account.
    let ann = server.client("ann@x.example").await;
    assert_eq!(ann.session["accounts"].as_object().map(serde_json::Map::len), Some(2), "{}", ann.session);
    server.check();
}

#[tokio::test]
async fn a_member_whom_the_relay_refuses_is_noted_and_the_others_get_it() {
    let rcpts = vec![("gone@partner.example".to_owned(), "550 5.1.1 no such user".to_owned())];
    let relay = Relay::start_with(Script { rcpts, ..Script::default() }).await;
    let server = office(&relay, "anyone", &["gone@partner.example", "ann@x.example"]).await;
    let text = letter("news", MARTA, "");
    let reply = server.deliver(MARTA, &[ALL, "support@x.example"], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(recipients(&relay.wait_for(1).await), ["<ann@x.example>"]);
    settled(&server).await;
    let told = list(&server);
    assert_eq!(told["members"][0]["bounces"], 1, "{told}");
    assert_eq!(told["members"][0]["lastReply"], "550 5.1.1 no such user");
    let ann = server.client("ann@x.example").await;
    let found = ann.call("Email/query", json!({})).await;
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(1), "the inbox beside it has it: {found}");
    server.check();
}
