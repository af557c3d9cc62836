//! No note is ever in outbound bytes: random work on conversations, by clients that try what they
//! can, through the real server to what the relay gets; also where plain clients see notes as memos, and
//! answer, quote and forward them. A failure replays from its seed.

use super::*;
use crate::support::relay::{Relay, Taken};
use crate::support::{TEAM, eventually};
use base64::Engine;
use std::collections::BTreeSet;

/// In the body of every note, in its edits and in its mentions' names; in nothing else.
const MARK: &str = "NOTEMARK";
const STEPS: usize = 70;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.roll(from.len()))
    }
}

/// What there is to work with so far.
struct World {
    server: TestServer,
    people: Vec<Client>,
    inbound: Vec<String>,
    notes: Vec<String>,
    sent: usize,
    /// Submissions that were refused because of a memo.
    kept_back: usize,
}

impl World {
    async fn new(relay: &Relay) -> Self {
        let server = TestServer::office(&["--relay", &relay.url()]).await;
        let mut people = Vec::new();
        for name in ["ann", "bob", "cat"] {
            people.push(server.client(&format!("{name}@x.example")).await);
        }
        Self { server, people, inbound: Vec::new(), notes: Vec::new(), sent: 0, kept_back: 0 }
    }

    /// What a plain client has before its eyes of a memo, as its user quotes it in an answer.
    async fn quoted_memo(&self, who: &Client, dice: &mut Dice) -> Option<String> {
        let ids = who.call("Email/query", json!({"filter": {"hasKeyword": "$memo"}})).await["ids"].take();
        let get = json!({"ids": ids, "properties": ["bodyValues"], "fetchTextBodyValues": true});
        let told = who.call("Email/get", get).await;
        let memo = dice.pick(told["list"].as_array().unwrap())?;
        let text = memo["bodyValues"].as_object()?.values().next()?["value"].as_str()?;
        Some(text.lines().map(|line| format!("> {line}\n")).collect())
    }

    async fn step(&mut self, n: usize, dice: &mut Dice) {
        let who = self.people[dice.roll(3)].clone();
        match dice.roll(12) {
            0 | 1 => self.receive(n, dice).await,
            2..=4 => self.note(&who, n, dice).await,
            5 => self.edit(&who, n, dice).await,
            6 => self.abuse(&who, dice).await,
            _ => self.answer(&who, n, dice).await,
        }
    }

    async fn receive(&mut self, n: usize, dice: &mut Dice) {
        let to = if dice.roll(2) == 0 { None } else { dice.pick(&self.inbound).cloned() };
        let id = format!("in{n}");
        deliver(&self.server, &id, to.as_deref(), &format!("About {}", n % 4)).await;
        self.inbound.push(id);
    }

    async fn conversations(&self, who: &Client) -> Vec<Value> {
        who.call("Conversation/get", json!({"ids": null})).await["list"].as_array().unwrap().clone()
    }

    async fn note(&mut self, who: &Client, n: usize, dice: &mut Dice) {
        let all = self.conversations(who).await;
        let Some(conversation) = dice.pick(&all) else { return };
        let body = format!("{MARK} {n}: **don't** tell them, @{}", who.principal());
        let create = json!({"create": {"n": {
            "conversationId": conversation["id"], "body": body, "mentions": [self.people[0].principal()]
        }}});
        let made = who.call("Note/set", create).await;
        let id = made["created"]["n"]["id"].as_str().unwrap_or_else(|| panic!("{made}"));
        self.notes.push(id.to_owned());
    }

    async fn edit(&mut self, who: &Client, n: usize, dice: &mut Dice) {
        let Some(note) = dice.pick(&self.notes) else { return };
        let change = match dice.roll(3) {
            0 => json!({"destroy": [note]}),
            _ => json!({"update": {note: {"body": format!("{MARK} again {n}")}}}),
        };
        who.call("Note/set", change).await;
    }

    /// What a confused or hostile client tries: a note where an Email or a blob belongs.
    async fn abuse(&mut self, who: &Client, dice: &mut Dice) {
        let Some(note) = dice.pick(&self.notes).cloned() else { return };
        let drafts = who.mailbox("drafts").await;
        let attached = json!({
            "mailboxIds": {&drafts: true}, "from": [{"name": null, "email": SUPPORT}],
            "to": [{"name": null, "email": CUSTOMER}], "attachments": [{"blobId": note, "type": "text/plain"}]
        });
        let told = who.call("Email/set", json!({"create": {"d": attached}})).await;
        assert_eq!(told["notCreated"]["d"], json!({"type": "blobNotFound", "notFound": [note]}));
        let import = json!({"emails": {"d": {"blobId": note, "mailboxIds": {&drafts: true}}}});
        let told = who.call("Email/import", import).await;
        assert!(told["notCreated"]["d"]["type"].is_string(), "{told}");
        let create = json!({"create": {"s": {"emailId": note, "identityId": identity(who).await}}});
        let told = who.call("EmailSubmission/set", create).await;
        assert_eq!(told["notCreated"]["s"]["properties"], json!(["emailId"]), "{told}");
        let body = who.call("Email/get", json!({"ids": [note], "fetchAllBodyValues": true})).await;
        assert_eq!(body["notFound"], json!([note]));
        for blob in [note.clone(), format!("G{note}"), format!("{note}-1")] {
            let path = format!("/jmap/download/{}/{blob}/n.txt?type=text/plain", who.account);
            assert_eq!(who.get(&path).await.status, 404, "{path}");
        }
    }

    /// A reply, a forward of whole messages of the conversation, or a new message; by a client that
    /// knows us or one that doesn't.
    async fn answer(&mut self, who: &Client, n: usize, dice: &mut Dice) {
        let drafts = who.mailbox("drafts").await;
        let to = dice.pick(&self.inbound).cloned();
        let mut object = json!({
            "mailboxIds": {&drafts: true}, "keywords": {"$draft": true},
            "from": [{"name": null, "email": SUPPORT}], "to": [{"name": null, "email": CUSTOMER}],
            "subject": format!("Re: About {}", n % 4), "messageId": [format!("out{n}@x.example")],
            "bodyValues": {"t": {"value": format!("Answer {n}. Grüße")}},
            "textBody": [{"partId": "t", "type": "text/plain"}],
        });
        if let Some(to) = &to {
            object["inReplyTo"] = json!([format!("{to}@customer.example")]);
        }
        if dice.roll(2) == 0 {
            object["attachments"] = self.everything(who, dice).await;
        }
        if dice.roll(5) == 0
            && let Some(quote) = self.quoted_memo(who, dice).await
        {
            object["bodyValues"]["t"]["value"] = json!(format!("She wrote:\n{quote}"));
        }
        let made = who.call("Email/set", json!({"create": {"d": object}})).await;
        let email = made["created"]["d"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let mut submission = json!({"emailId": email, "identityId": identity(who).await});
        let known = dice.roll(3) > 0;
        if known {
            let of = who.call("Email/get", json!({"ids": [&email], "properties": ["conversationId"]})).await;
            let id = &of["list"][0]["conversationId"];
            let all = self.conversations(who).await;
            if let Some(one) = all.iter().find(|one| one["id"] == *id) {
                submission["ifVersion"] = one["version"].clone();
                let sent = who
                    .call("Email/query", json!({"filter": {"inMailbox": who.mailbox("sent").await}}))
                    .await;
                submission["acknowledge"] = sent["ids"].clone();
                submission["thenStatus"] = json!(["open", "pending", "closed"][dice.roll(3)]);
            }
        }
        let using = if known { TEAM } else { PLAIN };
        let told = who.call_with(using, "EmailSubmission/set", json!({"create": {"s": submission}})).await;
        self.sent += usize::from(told["created"]["s"].is_object());
        let why = told["notCreated"]["s"]["description"].as_str().unwrap_or_default();
        self.kept_back += usize::from(why.contains("internal note"));
    }

    /// Every message of the inbox as an attachment, whole, and an uploaded file.
    async fn everything(&self, who: &Client, dice: &mut Dice) -> Value {
        let told = who.call("Email/get", json!({"ids": null, "properties": ["blobId"]})).await;
        let mut out: Vec<Value> = Vec::new();
        for email in told["list"].as_array().unwrap() {
            if dice.roll(3) == 0 && out.len() < 6 {
                out.push(json!({"blobId": email["blobId"], "type": "message/rfc822"}));
            }
        }
        let path = format!("/jmap/upload/{}", who.account);
        let file = who.post(&path, "image/png", vec![dice.roll(250) as u8; 200]).await.json();
        out.push(json!({"blobId": file["blobId"], "type": "image/png"}));
        json!(out)
    }
}

/// All that a recipient could read of it: as it is, and with each run of base64 decoded.
fn readings(taken: &Taken) -> Vec<String> {
    let text = taken.text();
    let mut out = vec![text.clone(), taken.mail.clone(), taken.rcpts.join(" ")];
    let mut run = String::new();
    for line in text.lines().chain([""]) {
        let coded = !line.is_empty()
            && line.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        if coded {
            run.push_str(line);
        } else if !run.is_empty() {
            let decoded = base64::prelude::BASE64_STANDARD.decode(&run).unwrap_or_default();
            out.push(String::from_utf8_lossy(&decoded).into_owned());
            run.clear();
        }
    }
    out
}

async fn explore(seed: u64, as_memos: bool) {
    println!("seed {seed}");
    let relay = Relay::start().await;
    let mut dice = Dice(seed);
    let mut world = World::new(&relay).await;
    let set = json!({"update": {"singleton": {"notesAsMemos": as_memos}}});
    assert!(world.people[0].call("InboxSettings/set", set).await["updated"].is_object());
    for n in 0..STEPS {
        world.step(n, &mut dice).await;
    }
    let taken = eventually("every reply at the relay", async || {
        let taken = relay.messages();
        (taken.len() >= world.sent).then_some(taken)
    })
    .await;
    let ids: BTreeSet<Vec<u8>> = taken.iter().map(|one| one.content.clone()).collect();
    assert_eq!((ids.len(), taken.len()), (world.sent, world.sent), "each once");
    assert!(world.sent > 5 && world.notes.len() > 5, "{} sent, {} notes", world.sent, world.notes.len());
    for one in &taken {
        for text in readings(one) {
            assert!(!text.contains(MARK), "seed {seed}: a note went out: {text}");
        }
    }
    assert_eq!(world.kept_back > 0, as_memos, "{} kept back", world.kept_back);
    world.server.check();
    if as_memos {
        return;
    }
    // Nor is one in any message that a client can read, and so forward.
    let ann = &world.people[0];
    let arguments = json!({"ids": null, "properties": ["subject", "preview", "bodyValues", "headers"],
        "fetchAllBodyValues": true});
    let told = ann.call("Email/get", arguments).await;
    assert!(!told.to_string().contains(MARK), "seed {seed}");
}

#[tokio::test]
async fn whatever_is_sent_no_note_is_in_it() {
    explore(0x0707, false).await;
}

#[tokio::test]
async fn nor_with_another_seed() {
    explore(42, false).await;
}

#[tokio::test]
async fn nor_where_notes_are_seen_as_memos() {
    explore(7, true).await;
}

#[test]
fn what_composes_and_sends_has_no_way_to_a_note() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut reached = Vec::new();
    let mut folders = vec![root.join("mail"), root.join("smtp"), root.join("wire")];
    let mut files: Vec<_> = ["inbox/sending.rs", "inbox/gate.rs", "inbox/siblings.rs"]
        .into_iter()
        .map(|name| root.join(name))
        .collect();
    for entry in std::fs::read_dir(root.join("jmap/types")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("email") || name.starts_with("submission") {
            files.push(path);
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 50, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        if [
            "NoteRow",
            "Kind::Note",
            "inbox::notes",
            "super::notes",
            "MemoRow",
            "inbox::memos",
            "super::memos",
        ]
        .iter()
        .any(|way| text.contains(way))
        {
            reached.push(path);
        }
    }
    assert!(reached.is_empty(), "{reached:?}");
}
