//! `postroom import` and `postroom export`: mail of before comes in once and goes out whole.

use crate::support::server::postroom;
use crate::support::{Client, TestServer, eventually, message};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

/// All messages of an account by subject: mailboxes by name, keywords, date, size.
async fn mail(client: &Client) -> BTreeMap<String, Value> {
    let calls = json!([
        ["Email/query", {"accountId": client.account}, "q"],
        ["Email/get", {
            "accountId": client.account, "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"},
            "properties": ["subject", "mailboxIds", "keywords", "receivedAt", "size", "blobId"]
        }, "g"],
        ["Mailbox/get", {"accountId": client.account, "ids": null, "properties": ["name"]}, "m"]
    ]);
    let told = client.request(crate::support::client::PLAIN, calls).await;
    let names: BTreeMap<&str, &str> = told["methodResponses"][2][1]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["name"].as_str().unwrap()))
        .collect();
    let list = told["methodResponses"][1][1]["list"].as_array().unwrap();
    let mut out = BTreeMap::new();
    for one in list {
        let mut mailboxes: Vec<&str> =
            one["mailboxIds"].as_object().unwrap().keys().map(|id| names[id.as_str()]).collect();
        mailboxes.sort_unstable();
        let blob = one["blobId"].as_str().unwrap();
        let raw = client.get(&format!("/jmap/download/{}/{blob}/x?type=a/b", client.account)).await.body;
        let about = json!({
            "in": mailboxes, "keywords": one["keywords"], "at": one["receivedAt"],
            "raw": String::from_utf8_lossy(&raw)
        });
        out.insert(one["subject"].as_str().unwrap_or_default().to_owned(), about);
    }
    out
}

fn letter(subject: &str, body: &str) -> String {
    format!(
        "From: Marta <marta@c.example>\nTo: ann@x.example\nSubject: {subject}\n\
         Message-ID: <{subject}@c.example>\nDate: Tue, 3 Mar 2020 10:00:00 +0100\n\n{body}\n"
    )
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A letter whose header has so many octets more.
fn with_long_header(subject: &str, octets: usize) -> String {
    let field = |n: usize| format!("X-Stamp-{n}: {}\n", "stamped on the way ".repeat(25));
    let mut header = String::new();
    for n in 0.. {
        if header.len() >= octets {
            break;
        }
        header += &field(n);
    }
    header + &letter(subject, "A short text.")
}

/// What an import tells that left nothing out.
fn came(added: u64, known: u64) -> Value {
    json!({"added": added, "known": known, "leftOut": [], "skipped": 0, "skippedFiles": []})
}

/// How many messages an account has.
async fn total(client: &Client) -> u64 {
    client.call("Email/query", json!({"calculateTotal": true})).await["total"].as_u64().unwrap()
}

/// A Maildir++ with a folder, flags and something thrown away.
fn maildir(at: &Path) {
    for part in ["cur", "new", "tmp", ".Sent/cur", ".Sent/new", ".Work.Acme/cur"] {
        fs::create_dir_all(at.join(part)).unwrap();
    }
    write(&at.join("new/1.new"), &letter("new", "unread"));
    write(&at.join("cur/2.read:2,FRS"), &letter("read", "answered"));
    write(&at.join("cur/3.gone:2,ST"), &letter("gone", "thrown away"));
    write(&at.join(".Sent/cur/4.sent:2,S"), &letter("sent", "by us"));
    write(&at.join(".Work.Acme/cur/5.acme:2,S"), &letter("acme", "in a folder"));
}

#[tokio::test]
async fn a_maildir_comes_in_once_with_its_flags_and_folders() {
    let server = TestServer::office(&[]).await;
    let path = server.beside("Maildir");
    maildir(&path);
    let path = path.to_str().unwrap().to_owned();
    let import = ["import", "--into", "ann@x.example", &path];
    assert_eq!(server.json(&import), came(5, 0));
    let ann = server.client("ann@x.example").await.own();
    let first = mail(&ann).await;
    let of = |subject: &str, what: &str| first[subject][what].clone();
    assert_eq!(of("new", "in"), json!(["Inbox"]));
    assert_eq!(of("new", "keywords"), json!({}));
    assert_eq!(of("read", "keywords"), json!({"$answered": true, "$flagged": true, "$seen": true}));
    assert_eq!(of("gone", "in"), json!(["Trash"]));
    assert_eq!(of("sent", "in"), json!(["Sent"]));
    assert_eq!(of("acme", "in"), json!(["Acme"]));
    assert_eq!(of("acme", "raw"), json!(letter("acme", "in a folder").replace('\n', "\r\n")));
    // What was interrupted is run again; what is there is known.
    assert_eq!(server.json(&import), came(0, 5));
    assert_eq!(mail(&ann).await, first);
    assert_eq!(server.check()["faults"], json!([]));
}

#[tokio::test]
async fn an_import_takes_as_many_commits_as_the_headers_of_its_messages_need() {
    let server = TestServer::office(&[]).await;
    let folder = server.beside("long");
    for n in 0..150 {
        write(&folder.join(format!("{n:03}.eml")), &with_long_header(&format!("short {n}"), 12 * 1024));
    }
    // Each of these is nearly a commit by itself.
    for n in 0..4 {
        write(&folder.join(format!("{n:03}.large.eml")), &with_long_header(&format!("long {n}"), 240 * 1024));
    }
    for email in ["ann@x.example", "support@x.example"] {
        let import = ["import", "--into", email, folder.to_str().unwrap()];
        assert_eq!(server.json(&import), came(154, 0), "{email}");
        assert_eq!(server.json(&import), came(0, 154), "{email}");
    }
    let ann = server.client("ann@x.example").await;
    assert_eq!((total(&ann).await, total(&ann.own()).await), (154, 154));
    server.check();
}

/// A Maildir of letters that came a minute after one another, every third of which was read.
fn long_maildir(at: &Path, count: u64) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(at.join(part)).unwrap();
    }
    for n in 0..count {
        let path = at.join(format!("cur/{n:04}.x:2,{}", if n % 3 == 0 { "S" } else { "F" }));
        fs::write(&path, with_long_header(&format!("letter {n}"), 12 * 1024)).unwrap();
        let arrived = UNIX_EPOCH + Duration::from_secs(1_577_836_800 + 60 * n);
        fs::File::options().write(true).open(&path).unwrap().set_modified(arrived).unwrap();
    }
}

#[tokio::test]
async fn an_import_that_was_killed_is_run_again_and_brings_each_message_once() {
    const LETTERS: u64 = 450;
    let mut server = TestServer::office(&[]).await;
    let maildir = server.beside("Maildir");
    long_maildir(&maildir, LETTERS);
    let import = ["import", "--into", "ann@x.example", maildir.to_str().unwrap()];
    let mut running = postroom()
        .args(import)
        .env("POSTROOM_DATA", server.data())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ann = server.client("ann@x.example").await.own();
    eventually("the first messages", async || (total(&ann).await > 0).then_some(())).await;
    // Both: without a server the command would go on by itself.
    server.kill();
    running.kill().unwrap();
    assert!(!running.wait().unwrap().success(), "it was killed in the middle");
    server.start().await;
    server.check();
    let told = server.json(&import);
    let (added, known) = (told["added"].as_u64().unwrap(), told["known"].as_u64().unwrap());
    assert!(known > 0 && added > 0 && added + known == LETTERS, "{told}");
    let ann = server.client("ann@x.example").await.own();
    assert_eq!(total(&ann).await, LETTERS);
    let all = mail(&ann).await;
    for n in 0..LETTERS {
        let is = &all[&format!("letter {n}")];
        let keywords = if n % 3 == 0 { json!({"$seen": true}) } else { json!({"$flagged": true}) };
        let at = format!("2020-01-01T{:02}:{:02}:00Z", n / 60, n % 60);
        assert_eq!((&is["keywords"], &is["at"]), (&keywords, &json!(at)), "letter {n}");
    }
    server.check();
}

#[tokio::test]
async fn an_mbox_is_read_with_dates_quotes_and_states() {
    let mut server = TestServer::office(&[]).await;
    let mbox = server.beside("Clients.mbox");
    let (one, two) = (letter("one", "From here\n>From there"), letter("two", "last"));
    let quoted = one.replace("\nFrom here\n>From", "\n>From here\n>>From");
    let two = two.replace("Subject:", "Status: RO\nX-Status: F\nSubject:");
    write(
        &mbox,
        &format!(
            "From marta@c.example Fri Jan  3 04:05:06 2020\n{quoted}\n\
             From marta@c.example Sat Jan  4 04:05:06 2020\n{two}\n"
        ),
    );
    // On a folder that nobody serves, too.
    assert!(server.stop().await.success());
    let path = mbox.to_str().unwrap().to_owned();
    let told = server.json(&["import", "--into", "ann@x.example", &path]);
    assert_eq!(told, came(2, 0));
    server.start().await;
    let ann = server.client("ann@x.example").await.own();
    let all = mail(&ann).await;
    assert_eq!(all["one"]["raw"], json!(one.replace('\n', "\r\n")));
    assert_eq!(all["one"]["at"], json!("2020-01-03T04:05:06Z"));
    assert_eq!(all["one"]["in"], json!(["Clients"]));
    assert_eq!(all["two"]["raw"], json!(letter("two", "last").replace('\n', "\r\n")), "flags are no part");
    assert_eq!(all["two"]["keywords"], json!({"$flagged": true, "$seen": true}));
    assert_eq!(all["two"]["at"], json!("2020-01-04T04:05:06Z"));
    assert_eq!(server.check()["faults"], json!([]));
}

#[tokio::test]
async fn what_goes_out_comes_in_again_octet_for_octet() {
    let server = TestServer::office(&[]).await;
    let path = server.beside("Maildir");
    maildir(&path);
    write(&path.join("cur/6.draft:2,D"), &letter("draft", "not yet"));
    server.json(&["import", "--into", "ann@x.example", path.to_str().unwrap()]);
    let delivered =
        message("d@c.example", "marta@c.example", "ann@x.example", "delivered", "From: no header");
    assert!(server.deliver("marta@c.example", &["ann@x.example"], &delivered).await.starts_with("250 "));
    let ann = server.client("ann@x.example").await.own();
    let before = mail(&ann).await;
    assert_eq!(before.len(), 7);
    for (format, into) in [("maildir", "bob@x.example"), ("mbox", "cat@x.example")] {
        let to = server.beside(format);
        let to = to.to_str().unwrap().to_owned();
        let told = server.json(&["export", "ann@x.example", &to, "--format", format]);
        assert_eq!(told["messages"], json!(7), "{format}");
        let again = server.command(&["export", "ann@x.example", &to], "");
        assert!(!again.status.success(), "the folder isn't empty");
        assert_eq!(server.json(&["import", "--into", into, &to]), came(7, 0), "{format}");
        assert_eq!(mail(&server.client(into).await.own()).await, before, "{format}");
    }
    assert_eq!(server.check()["faults"], json!([]));
}

#[tokio::test]
async fn a_folder_of_mboxes_is_read_and_what_is_no_mail_is_named() {
    let server = TestServer::office(&[]).await;
    let folder = server.beside("old");
    let mbox = |subject: &str| format!("From - Fri Jan  3 04:05:06 2020\n{}\n", letter(subject, "text"));
    write(&folder.join("INBOX.mbox"), &mbox("one"));
    write(&folder.join("Customers/Acme"), &mbox("two"));
    write(&folder.join("Customers/Empty.mbox"), "");
    write(&folder.join("Customers/c.eml"), &letter("three", "text"));
    write(&folder.join("Mail/cur/4.four:2,S"), &letter("four", "text"));
    write(&folder.join("Customers/notes.txt"), "Call Marta.\n");
    write(&folder.join("Lost.mbox"), "From now on call Marta.\n");
    let import = ["import", "--into", "ann@x.example", folder.to_str().unwrap()];
    let path = |name: &str| folder.join(name).display().to_string();
    let why = "doesn't begin as an mbox does, with a line `From SENDER DATE`";
    let mut expected = json!({
        "added": 4, "known": 0, "leftOut": [format!("{} {why}", path("Lost.mbox"))],
        "skipped": 1, "skippedFiles": [path("Customers/notes.txt")]
    });
    assert_eq!(server.json(&import), expected);
    let all = mail(&server.client("ann@x.example").await.own()).await;
    let places: Vec<(&str, &Value)> =
        all.iter().map(|(subject, one)| (subject.as_str(), &one["in"])).collect();
    let [acme, customers, inbox, maildir] =
        [json!(["Acme"]), json!(["Customers"]), json!(["Inbox"]), json!(["Mail"])];
    assert_eq!(places, [("four", &maildir), ("one", &inbox), ("three", &customers), ("two", &acme)]);
    let output = server.command(&import, "");
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.contains("\nskipped: 1\n"), "{out}");
    assert!(error.contains(&path("Customers/notes.txt")), "{error}");
    // One kind alone.
    (expected["added"], expected["known"]) = (json!(0), json!(2));
    let skipped = ["Customers/c.eml", "Customers/notes.txt", "Mail/cur/4.four:2,S"].map(path);
    (expected["skipped"], expected["skippedFiles"]) = (json!(3), json!(skipped));
    assert_eq!(server.json(&[&import[..], &["--format", "mbox"]].concat()), expected);
}

#[tokio::test]
async fn what_was_delivered_here_is_known_when_it_comes_back_from_an_export() {
    let server = TestServer::office(&[]).await;
    let one = message("one@c.example", "marta@c.example", "ann@x.example", "one", "Hello");
    let two = "Received: from a\r\n\tby b; Tue, 17 Nov 2026 10:00:00 +0000\r\nSubject: two\r\n\r\nwithout an id\r\n";
    for email in ["ann@x.example", "support@x.example"] {
        for text in [&*one, two] {
            assert!(server.deliver("marta@c.example", &[email], text).await.starts_with("250 "));
        }
        for format in ["maildir", "mbox", "eml"] {
            let to = server.beside(&format!("{email}.{format}"));
            let to = to.to_str().unwrap();
            assert_eq!(server.json(&["export", email, to, "--format", format])["messages"], json!(2));
            // What is in several mailboxes stands in the folder of each.
            let told = server.json(&["import", "--into", email, to]);
            assert_eq!(told, came(0, told["known"].as_u64().unwrap()), "{email} {format}");
        }
    }
    // Elsewhere it is new once, and known then, with what its delivery here put before it.
    let to = server.beside("ann@x.example.eml");
    let import = ["import", "--into", "bob@x.example", to.to_str().unwrap()];
    assert_eq!(server.json(&import), came(2, 0));
    assert_eq!(server.json(&import), came(0, 2));
    // Another delivery of the same message is the same message.
    assert!(server.deliver("marta@c.example", &["cat@x.example"], &one).await.starts_with("250 "));
    let import = ["import", "--into", "cat@x.example", to.to_str().unwrap()];
    assert_eq!(server.json(&import), came(1, 1));
    server.check();
}

/// Old mail waits for nobody: it is closed, and no answer goes out.
#[tokio::test]
async fn old_mail_of_an_inbox_begins_closed_conversations() {
    let server = TestServer::office(&[]).await;
    let folder = server.beside("old");
    write(&folder.join("a.eml"), &letter("old question", "Hello?"));
    write(&folder.join("b.eml"), "");
    write(&folder.join("Spam/c.eml"), "no header at all\n");
    let told = server.json(&["import", "--into", "support@x.example", folder.to_str().unwrap()]);
    assert_eq!((&told["added"], &told["known"]), (&json!(2), &json!(0)), "{told}");
    assert!(told["leftOut"][0].as_str().unwrap().ends_with("b.eml is empty"), "{told}");
    let ann = server.client("ann@x.example").await;
    let all = mail(&ann).await;
    assert_eq!(all["old question"]["in"], json!(["Archive"]));
    assert_eq!(all["old question"]["at"], json!("2020-03-03T09:00:00Z"));
    assert_eq!(all[""]["in"], json!(["Junk"]), "what can't be parsed is there all the same");
    let open = json!({"accountId": ann.account, "filter": {"status": "closed"}, "calculateTotal": true});
    let told = ann.call_with(crate::support::TEAM, "Conversation/query", open).await;
    assert_eq!(told["total"], json!(2), "{told}");
    let wrong = server.command(&["import", "--into", "nobody@x.example", folder.to_str().unwrap()], "");
    assert!(!wrong.status.success());
    assert_eq!(server.check()["faults"], json!([]));
}

#[tokio::test]
async fn a_distribution_list_takes_no_import_and_no_quota_as_it_keeps_no_mail() {
    let server = TestServer::office(&[]).await;
    server.json(&["list", "add", "all@x.example", "--name", "All", "--member", "ann@x.example"]);
    let mbox = server.beside("one.eml");
    write(&mbox, &letter("one", "text"));
    let path = mbox.to_str().unwrap();
    for arguments in [
        &["import", path, "--into", "all@x.example"][..],
        &["quota", "show", "all@x.example"],
        &["export", "all@x.example", server.beside("out").to_str().unwrap()],
    ] {
        let done = server.command(arguments, "");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && told.contains("all@x.example"), "{arguments:?}: {told}");
    }
}
