//! Role × action, as the sections "Rights" of the specifications say: who may,
//! and the error of whoever may not. What is refused changes nothing.
//!
//! Each line is played five times, each time with a conversation of its own: by somebody who isn't in
//! the inbox, by an observer, an agent, a lead and an admin. The colleague is another agent.

use super::*;
use crate::support::relay::Relay;
use crate::support::{PASSWORD, TEAM};
use base64::Engine;

/// An action, and what becomes of it for outsider, observer, agent, lead and admin: `yes`, `same` (it is
/// granted and changes nothing that is stored), or the error's type.
type Line = (&'static str, [&'static str; 5]);

const NOBODY: &str = "accountNotFound";
const NO: &str = "forbidden";

/// What an actor is about to ask: capabilities, method, arguments.
type Call = (&'static [&'static str], &'static str, Value);

const PEOPLE: [&str; 5] = ["dora", "olaf", "bob", "ann", "ada"];

/// One actor with a conversation that nobody touched, and the colleague.
struct Case<'s> {
    server: &'s TestServer,
    actor: Client,
    me: String,
    /// An agent or more.
    works: bool,
    colleague: Client,
    other: String,
    /// Where the inbox is looked at by everybody who may.
    lead: Client,
    conversation: String,
    email: String,
    name: String,
}

impl Case<'_> {
    /// The colleague does something first, which must work.
    async fn first(&self, method: &str, arguments: Value) -> Value {
        done(&self.colleague, TEAM, method, arguments).await
    }

    async fn owned_by(&self, owner: &str) {
        let set = json!({"update": {&self.conversation: {"ownerId": owner}}});
        done(&self.lead, TEAM, "Conversation/set", set).await;
    }

    fn set(&self, patch: Value) -> Call {
        (TEAM, "Conversation/set", json!({"update": {&self.conversation: patch}}))
    }

    /// A further conversation, with this owner.
    async fn another(&self, owner: Option<&str>) -> String {
        let name = format!("{}-more", self.name);
        let (id, _) = begun(self.server, &self.lead, &name).await;
        if let Some(owner) = owner {
            let set = json!({"update": {&id: {"ownerId": owner}}});
            done(&self.lead, TEAM, "Conversation/set", set).await;
        }
        id
    }

    /// A plain client moves the message: single mailboxes taken away and added.
    async fn moved(&self, from: &[&str], to: &[&str]) -> Call {
        let known = boxes(&self.lead).await;
        let mut patch = Map::new();
        from.iter().for_each(|path| _ = patch.insert(format!("mailboxIds/{}", known[*path]), Value::Null));
        to.iter().for_each(|path| _ = patch.insert(format!("mailboxIds/{}", known[*path]), json!(true)));
        (PLAIN, "Email/set", json!({"update": {&self.email: patch}}))
    }
}

/// Does what has to work.
async fn done(client: &Client, using: &[&str], method: &str, arguments: Value) -> Value {
    let reply = client.call_with(using, method, arguments).await;
    assert_eq!(outcome(&reply), "yes", "{method}: {reply}");
    reply
}

/// `yes`, or the type of the first error.
fn outcome(reply: &Value) -> &str {
    let refused = ["notCreated", "notUpdated", "notDestroyed"].iter().find_map(|name| {
        let all = reply[name].as_object()?;
        all.values().next()?["type"].as_str()
    });
    reply["type"].as_str().or(refused).unwrap_or("yes")
}

/// The conversation and the Email that a new message from the customer makes.
async fn begun(server: &TestServer, lead: &Client, name: &str) -> (String, String) {
    let since =
        async |kind: &str| lead.call(&format!("{kind}/get"), json!({"ids": []})).await["state"].take();
    let (conversations, mails) = (since("Conversation").await, since("Email").await);
    deliver(server, name, None, &format!("About {name}")).await;
    let made = async |kind: &str, since: Value| {
        let told = lead.call(&format!("{kind}/changes"), json!({"sinceState": since})).await;
        told["created"][0].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    (made("Conversation", conversations).await, made("Email", mails).await)
}

/// The states of everything that the inbox stores, as the actor and as a lead see them.
async fn stored(case: &Case<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    let kinds = ["Mailbox", "Email", "Thread", "Conversation", "Note", "ReplyLock", "Activity"];
    for kind in kinds.iter().chain(&["InboxSettings", "EmailSubmission", "Identity"]) {
        for client in [&case.lead, &case.actor] {
            let told = client.call(&format!("{kind}/get"), json!({"ids": []})).await;
            all.push(told.get("state").unwrap_or(&told["type"]).clone());
        }
    }
    all
}

async fn team(extra: &[&str]) -> TestServer {
    let server = TestServer::office(extra).await;
    for (who, name) in [("olaf", "Olaf"), ("ada", "Ada"), ("dora", "Dora")] {
        server.person(&format!("{who}@x.example"), name);
    }
    for member in ["olaf@x.example:observer", "ada@x.example:admin"] {
        server.json(&["inbox", "member", "add", SUPPORT, member]);
    }
    server
}

/// Plays a table. `prepare` brings about what a line speaks of, and says what the actor then asks.
async fn play(extra: &[&str], table: &[Line], prepare: impl AsyncFn(&Case<'_>, &str) -> Call) {
    let server = team(extra).await;
    let lead = server.client("ann@x.example").await;
    let colleague = server.client("cat@x.example").await;
    let people = server.json(&["person", "list"])["people"].take();
    let id_of = |who: &str| {
        let person = people.as_array().unwrap().iter().find(|one| one["email"] == format!("{who}@x.example"));
        person.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let mut wrong = Vec::new();
    for (number, (action, wanted)) in table.iter().enumerate() {
        for (who, wanted) in PEOPLE.iter().zip(wanted) {
            let name = format!("{number}-{who}");
            let (conversation, email) = begun(&server, &lead, &name).await;
            let actor = Client::basic(&server.http, &format!("{who}@x.example"), PASSWORD).await;
            let case = Case {
                server: &server,
                actor: actor.at(&lead.account),
                me: id_of(who),
                works: ["bob", "ann", "ada"].contains(who),
                colleague: colleague.clone(),
                other: id_of("cat"),
                lead: lead.clone(),
                conversation,
                email,
                name,
            };
            let (using, method, arguments) = prepare(&case, action).await;
            let before = stored(&case).await;
            let reply = case.actor.call_with(using, method, arguments).await;
            let changed = before != stored(&case).await;
            let told = match outcome(&reply) {
                "yes" if !changed => "same",
                told => told,
            };
            if told != *wanted || (changed && told != "yes") {
                wrong.push(format!(
                    "{who}: {action}: {told} instead of {wanted}, changed: {changed}: {reply}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.check();
}

const OWNERS: &[Line] = &[
    ("take what nobody owns", [NOBODY, NO, "yes", "yes", "yes"]),
    ("give a colleague what nobody owns", [NOBODY, NO, "yes", "yes", "yes"]),
    ("take a colleague's, unaware of them", [NOBODY, NO, "ownerMismatch", "ownerMismatch", "ownerMismatch"]),
    ("take a colleague's, naming them", [NOBODY, NO, NO, "yes", "yes"]),
    ("hand on a colleague's", [NOBODY, NO, "ownerMismatch", "yes", "yes"]),
    ("release a colleague's", [NOBODY, NO, "ownerMismatch", "yes", "yes"]),
    ("release one's own", [NOBODY, NO, "yes", "yes", "yes"]),
    ("hand off one's own with a note", [NOBODY, NO, "yes", "yes", "yes"]),
    ("watch", [NOBODY, "yes", "yes", "yes", "yes"]),
    ("let a colleague watch", [NOBODY, NO, "yes", "yes", "yes"]),
    ("stop a colleague's watching", [NOBODY, NO, "yes", "yes", "yes"]),
];

#[tokio::test]
async fn who_may_own_hand_over_and_watch() {
    play(&[], OWNERS, async |case, action| {
        let (me, other) = (case.me.as_str(), case.other.as_str());
        let owner = match action {
            "take a colleague's, unaware of them" | "take a colleague's, naming them" => Some(other),
            "hand on a colleague's" | "release a colleague's" => Some(other),
            "release one's own" | "hand off one's own with a note" => Some(me),
            _ => None,
        };
        // Whoever may own nothing asks for what the colleague owns.
        if let Some(owner) = owner {
            case.owned_by(if case.works { owner } else { other }).await;
        }
        let id = &case.conversation;
        match action {
            "take what nobody owns" | "take a colleague's, unaware of them" => {
                case.set(json!({"ownerId": me}))
            }
            "take a colleague's, naming them" => {
                let set = json!({"update": {id: {"ownerId": me}}, "ifOwner": {id: other}});
                (TEAM, "Conversation/set", set)
            }
            "give a colleague what nobody owns" => case.set(json!({"ownerId": other})),
            "hand on a colleague's" => {
                let bob = case.server.client("bob@x.example").await.principal();
                let to = if bob == me { case.lead.principal() } else { bob };
                case.set(json!({"ownerId": to}))
            }
            "release a colleague's" | "release one's own" => case.set(json!({"ownerId": null})),
            "hand off one's own with a note" => {
                let note = json!({id: "Yours, please."});
                let set =
                    json!({"update": {id: {"ownerId": if case.works { other } else { me }}}, "handoffNote": note});
                (TEAM, "Conversation/set", set)
            }
            "watch" => case.set(json!({"watcherIds": {me: true}})),
            "let a colleague watch" => case.set(json!({"watcherIds": {other: true}})),
            _ => {
                case.first("Conversation/set", json!({"update": {id: {"watcherIds": {other: true}}}})).await;
                case.set(json!({"watcherIds": {}}))
            }
        }
    })
    .await;
}

const WORK: &[Line] = &[
    ("read it", [NOBODY, "same", "same", "same", "same"]),
    ("read its history", [NOBODY, "same", "same", "same", "same"]),
    ("close", [NOBODY, NO, "yes", "yes", "yes"]),
    ("snooze", [NOBODY, NO, "yes", "yes", "yes"]),
    ("wait for the customer", [NOBODY, NO, "yes", "yes", "yes"]),
    ("tag", [NOBODY, NO, "yes", "yes", "yes"]),
    ("set the priority", [NOBODY, NO, "yes", "yes", "yes"]),
    ("set the category", [NOBODY, NO, "yes", "yes", "yes"]),
    ("merge", [NOBODY, NO, "yes", "yes", "yes"]),
    ("merge away a colleague's", [NOBODY, NO, NO, "yes", "yes"]),
    ("undo a merge", [NOBODY, NO, "yes", "yes", "yes"]),
    ("split", [NOBODY, NO, "yes", "yes", "yes"]),
    ("destroy it", [NOBODY, NO, NO, NO, NO]),
    ("erase it", [NOBODY, NO, NO, NO, "yes"]),
];

#[tokio::test]
async fn who_may_work_a_conversation() {
    play(&[], WORK, async |case, action| match action {
        "read it" => (TEAM, "Conversation/get", json!({"ids": [case.conversation]})),
        "read its history" => {
            (TEAM, "Activity/query", json!({"filter": {"conversationId": case.conversation}}))
        }
        "close" => case.set(json!({"status": "closed"})),
        "snooze" => case.set(json!({"status": "snoozed", "snoozedUntil": "2999-01-01T00:00:00Z"})),
        "wait for the customer" => case.set(json!({"status": "pending"})),
        "tag" => case.set(json!({"tags/urgent": true})),
        "set the priority" => case.set(json!({"priority": "high"})),
        "set the category" => case.set(json!({"category": "billing"})),
        "merge" => case.set(json!({"mergedIntoId": case.another(None).await})),
        "merge away a colleague's" => {
            case.owned_by(&case.other).await;
            case.set(json!({"mergedIntoId": case.another(None).await}))
        }
        "undo a merge" => {
            let into = case.another(None).await;
            case.first("Conversation/set", json!({"update": {&case.conversation: {"mergedIntoId": into}}}))
                .await;
            case.set(json!({"mergedIntoId": null}))
        }
        "split" => {
            let name = format!("{}-answer", case.name);
            deliver(case.server, &name, Some(&case.name), "And another thing").await;
            (TEAM, "Conversation/set", json!({"create": {"s": {"emailIds": [case.email]}}}))
        }
        "erase it" => (TEAM, "Conversation/erase", json!({"ids": [case.conversation]})),
        _ => (TEAM, "Conversation/set", json!({"destroy": [case.conversation]})),
    })
    .await;
}

const NOTES: &[Line] = &[
    ("write", [NOBODY, "yes", "yes", "yes", "yes"]),
    ("change one's own", [NOBODY, "yes", "yes", "yes", "yes"]),
    ("change a colleague's", [NOBODY, NO, NO, NO, NO]),
    ("destroy one's own", [NOBODY, "yes", "yes", "yes", "yes"]),
    ("destroy a colleague's", [NOBODY, NO, NO, "yes", "yes"]),
    ("lock", [NOBODY, NO, "yes", "yes", "yes"]),
    ("lock over a colleague", [NOBODY, NO, "lockHeld", "lockHeld", "lockHeld"]),
    ("take a lock over", [NOBODY, NO, NO, "yes", "yes"]),
    ("renew a colleague's lock", [NOBODY, NO, NO, NO, NO]),
    ("give a colleague's lock back", [NOBODY, NO, NO, NO, NO]),
];

#[tokio::test]
async fn who_may_write_notes_and_who_may_lock() {
    play(&[], NOTES, async |case, action| {
        let note = json!({"create": {"n": {"conversationId": case.conversation, "body": "Between us."}}});
        let lock = |force: bool| {
            let ask = json!({"conversationId": case.conversation, "force": force});
            json!({"create": {"l": ask}})
        };
        let author = if action.ends_with("own") { &case.actor } else { &case.colleague };
        match action {
            "write" => return (TEAM, "Note/set", note),
            "lock" => return (TEAM, "ReplyLock/set", lock(false)),
            _ => {}
        }
        if action.contains("lock") {
            let held = case.first("ReplyLock/set", lock(false)).await["created"]["l"]["id"].take();
            let held = held.as_str().unwrap();
            let set = match action {
                "lock over a colleague" => lock(false),
                "take a lock over" => lock(true),
                "renew a colleague's lock" => json!({"update": {held: {"seconds": 60}}}),
                _ => json!({"destroy": [held]}),
            };
            return (TEAM, "ReplyLock/set", set);
        }
        let written = author.call("Note/set", note).await["created"]["n"]["id"].take();
        let id = written.as_str().unwrap_or("n1");
        let set = match action {
            "change one's own" | "change a colleague's" => json!({"update": {id: {"body": "Otherwise."}}}),
            _ => json!({"destroy": [id]}),
        };
        (TEAM, "Note/set", set)
    })
    .await;
}

const MAILBOXES: &[Line] = &[
    ("mark as read", [NOBODY, "yes", "yes", "yes", "yes"]),
    ("flag", [NOBODY, NO, "yes", "yes", "yes"]),
    ("close by moving", [NOBODY, NO, "yes", "yes", "yes"]),
    ("wait by moving", [NOBODY, NO, "yes", "yes", "yes"]),
    ("hand over by moving", [NOBODY, NO, "yes", "yes", "yes"]),
    ("release a colleague's by moving", [NOBODY, NO, NO, "yes", "yes"]),
    ("move to a folder", [NOBODY, NO, "yes", "yes", "yes"]),
    ("snooze by moving", [NOBODY, NO, NO, NO, NO]),
    ("throw away", [NOBODY, NO, "yes", "yes", "yes"]),
    ("destroy in the Inbox", [NOBODY, NO, NO, NO, NO]),
    ("destroy in Trash", [NOBODY, NO, NO, "yes", "yes"]),
    ("make a folder", [NOBODY, NO, "yes", "yes", "yes"]),
    ("rename a folder", [NOBODY, NO, "yes", "yes", "yes"]),
    ("destroy a folder", [NOBODY, NO, "yes", "yes", "yes"]),
    ("rename a kept mailbox", [NOBODY, NO, NO, NO, NO]),
    ("destroy a kept mailbox", [NOBODY, NO, NO, NO, NO]),
    ("unsubscribe", [NOBODY, "yes", "yes", "yes", "yes"]),
];

#[tokio::test]
async fn who_may_do_what_with_a_client_that_knows_only_mailboxes() {
    play(&[], MAILBOXES, async |case, action| {
        let folder = async || {
            let set = json!({"create": {"f": {"name": format!("Folder {}", case.name)}}});
            case.first("Mailbox/set", set).await["created"]["f"]["id"].as_str().unwrap().to_owned()
        };
        let email = &case.email;
        match action {
            "mark as read" => (PLAIN, "Email/set", json!({"update": {email: {"keywords/$seen": true}}})),
            "flag" => (PLAIN, "Email/set", json!({"update": {email: {"keywords/$flagged": true}}})),
            "close by moving" => case.moved(&["Inbox"], &["Archive"]).await,
            "wait by moving" => case.moved(&["Inbox"], &["Pending"]).await,
            "hand over by moving" => case.moved(&["Unassigned"], &["Assigned/Cat"]).await,
            "release a colleague's by moving" => {
                case.owned_by(&case.other).await;
                case.moved(&["Assigned/Cat"], &["Unassigned"]).await
            }
            "move to a folder" => {
                let patch = json!({format!("mailboxIds/{}", folder().await): true});
                (PLAIN, "Email/set", json!({"update": {email: patch}}))
            }
            "snooze by moving" => case.moved(&["Inbox"], &["Snoozed"]).await,
            "throw away" => case.moved(&["Inbox", "Unassigned"], &["Trash"]).await,
            "destroy in the Inbox" => (PLAIN, "Email/set", json!({"destroy": [email]})),
            "destroy in Trash" => {
                let (using, method, set) = case.moved(&["Inbox", "Unassigned"], &["Trash"]).await;
                done(&case.colleague, using, method, set).await;
                (PLAIN, "Email/set", json!({"destroy": [email]}))
            }
            "make a folder" => {
                (PLAIN, "Mailbox/set", json!({"create": {"f": {"name": format!("New {}", case.name)}}}))
            }
            "rename a folder" => {
                let set = json!({"update": {folder().await: {"name": format!("Other {}", case.name)}}});
                (PLAIN, "Mailbox/set", set)
            }
            "destroy a folder" => (PLAIN, "Mailbox/set", json!({"destroy": [folder().await]})),
            "rename a kept mailbox" => {
                let archive = case.lead.mailbox("archive").await;
                (PLAIN, "Mailbox/set", json!({"update": {archive: {"name": "Attic"}}}))
            }
            "destroy a kept mailbox" => {
                let archive = case.lead.mailbox("archive").await;
                (PLAIN, "Mailbox/set", json!({"destroy": [archive]}))
            }
            _ => {
                let archive = case.lead.mailbox("archive").await;
                (PLAIN, "Mailbox/set", json!({"update": {archive: {"isSubscribed": false}}}))
            }
        }
    })
    .await;
}

const MAIL: &[Line] = &[
    ("make a draft", [NOBODY, NO, "yes", "yes", "yes"]),
    ("import a message", [NOBODY, NO, "yes", "yes", "yes"]),
    ("change a colleague's draft", [NOBODY, NO, NO, NO, NO]),
    ("send a colleague's draft", [NOBODY, NO, "forbiddenToSend", "forbiddenToSend", "forbiddenToSend"]),
    ("destroy a colleague's draft", [NOBODY, NO, NO, "yes", "yes"]),
    ("destroy one's own draft", [NOBODY, NO, "yes", "yes", "yes"]),
    ("send as the inbox", [NOBODY, NO, "yes", "yes", "yes"]),
];

#[tokio::test]
async fn who_may_draft_and_send() {
    let relay = Relay::start().await;
    play(&["--relay", &relay.url()], MAIL, async |case, action| {
        let drafts = case.lead.mailbox("drafts").await;
        let email = json!({
            "mailboxIds": {&drafts: true}, "keywords": {"$draft": true}, "to": [{"email": CUSTOMER}],
            "from": [{"name": "Support", "email": SUPPORT}], "subject": format!("Re: {}", case.name),
            "inReplyTo": [format!("{}@customer.example", case.name)],
            "bodyValues": {"t": {"value": case.name}}, "textBody": [{"partId": "t", "type": "text/plain"}],
        });
        let create = json!({"create": {"d": email}});
        match action {
            "make a draft" => return (PLAIN, "Email/set", create),
            "import a message" => {
                let text = format!("Message-ID: <import-{}@x.example>\r\n\r\nOld.", case.name);
                let data = json!({"data:asBase64": base64::prelude::BASE64_STANDARD.encode(text)});
                let using: &[&str] = &["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:blob"];
                let upload = json!({"create": {"b": {"data": [data]}}});
                let uploaded = case.actor.call_with(using, "Blob/upload", upload).await;
                let blob = uploaded["created"]["b"]["id"].as_str().unwrap_or("none");
                let email = json!({"blobId": blob, "mailboxIds": {case.lead.mailbox("archive").await: true}});
                return (PLAIN, "Email/import", json!({"emails": {"i": email}}));
            }
            _ => {}
        }
        let own = action.contains("own") || action.starts_with("send as");
        let author = if own && case.works { &case.actor } else { &case.colleague };
        let made = done(author, PLAIN, "Email/set", create).await["created"]["d"]["id"].take();
        let id = made.as_str().unwrap();
        match action {
            "change a colleague's draft" => {
                (PLAIN, "Email/set", json!({"update": {id: {"keywords/$flagged": true}}}))
            }
            "send a colleague's draft" | "send as the inbox" => {
                let submission = json!({"emailId": id, "identityId": identity(&case.lead).await});
                (PLAIN, "EmailSubmission/set", json!({"create": {"s": submission}}))
            }
            _ => (PLAIN, "Email/set", json!({"destroy": [id]})),
        }
    })
    .await;
}

const INBOX: &[Line] = &[
    ("read the settings", [NOBODY, "same", "same", "same", "same"]),
    ("change the settings", [NOBODY, NO, NO, "yes", "yes"]),
    (
        "make another member by JMAP",
        [NOBODY, "invalidProperties", "invalidProperties", "invalidProperties", "invalidProperties"],
    ),
    ("change a person", [NOBODY, NO, NO, NO, NO]),
    ("destroy a person", [NOBODY, NO, NO, NO, NO]),
    ("be seen looking", [NOBODY, "same", "same", "same", "same"]),
];

#[tokio::test]
async fn who_may_change_the_inbox_itself() {
    const PRINCIPALS: &[&str] =
        &["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail", "urn:ietf:params:jmap:principals"];
    play(&[], INBOX, async |case, action| match action {
        "read the settings" => (TEAM, "InboxSettings/get", json!({"ids": null})),
        "change the settings" => {
            let guide = json!({"guide": format!("Be kind. {}", case.name)});
            (TEAM, "InboxSettings/set", json!({"update": {"singleton": guide}}))
        }
        "make another member by JMAP" => {
            let inbox = case.lead.mailbox("inbox").await;
            let share = json!({"shareWith": {&case.me: {"mayReadItems": true}}});
            (PRINCIPALS, "Mailbox/set", json!({"update": {inbox: share}}))
        }
        "change a person" => {
            (PRINCIPALS, "Principal/set", json!({"update": {&case.other: {"name": "Catherine"}}}))
        }
        "destroy a person" => (PRINCIPALS, "Principal/set", json!({"destroy": [case.other]})),
        _ => {
            let looks = json!({"conversationId": case.conversation, "doing": "viewing"});
            (TEAM, "Presence/set", json!({"create": {"p": looks}}))
        }
    })
    .await;
}
