//! EmailSubmission/set (RFC 8621 §7.5): what is refused whatever colleagues do.

use super::*;
use crate::team::{SUPPORT, identity, submit};

struct Sender {
    client: Client,
    drafts: String,
    identity: String,
}

impl Sender {
    async fn new(server: &TestServer) -> Self {
        let client = server.client("bob@x.example").await;
        let (drafts, identity) = (client.mailbox("drafts").await, identity(&client).await);
        Self { client, drafts, identity }
    }

    /// A draft with these properties instead of the usual ones.
    async fn draft(&self, change: Value) -> String {
        let mut object = json!({
            "mailboxIds": {&self.drafts: true}, "keywords": {"$draft": true},
            "from": [{"name": null, "email": SUPPORT}],
            "to": [{"name": null, "email": "marta@customer.example"}],
            "subject": "Hello", "textBody": [{"partId": "t", "type": "text/plain"}],
            "bodyValues": {"t": {"value": "Hello"}},
        });
        for (name, value) in change.as_object().unwrap() {
            object[name] = value.clone();
        }
        let made = self.client.call_with(PLAIN, "Email/set", json!({"create": {"d": object}})).await;
        made["created"]["d"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    fn create(&self, email: &str, envelope: Value) -> Value {
        json!({"create": {"s": {"emailId": email, "identityId": self.identity, "envelope": envelope}}})
    }
}

const INVALID_EMAIL: &str =
    "These are missing, can't be read, or are there more than once (RFC 5322, section 3.6).";

fn envelope(from: &str, to: &[&str]) -> Value {
    let to: Vec<Value> = to.iter().map(|to| json!({"email": to, "parameters": null})).collect();
    json!({"mailFrom": {"email": from, "parameters": null}, "rcptTo": to})
}

#[tokio::test]
async fn create_refuses_precisely_and_sends_nothing() {
    let server = TestServer::office(&[]).await;
    let bob = Sender::new(&server).await;
    let good = bob.draft(json!({})).await;
    let other = json!([{"name": null, "email": "boss@elsewhere.example"}]);
    let (stranger, nobody) = (bob.draft(json!({"from": other})).await, bob.draft(json!({"to": null})).await);
    let two = json!([{"name": null, "email": SUPPORT}, {"name": null, "email": "boss@elsewhere.example"}]);
    let shared = bob.draft(json!({"from": two, "sender": [{"name": null, "email": SUPPORT}]})).await;
    let headless = bob.draft(json!({"from": null})).await;
    let half = bob.draft(json!({"to": [{"name": null, "email": "nonsense"}]})).await;
    let marta = "marta@customer.example";
    let many: Vec<String> = (0..20_000).map(|n| format!("m{n}@customer.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (id, create) = (&bob.identity, |email: &str, envelope| bob.create(email, envelope));
    let table = vec![
        (
            "nothing given",
            json!({"create": {"s": {}}}),
            invalid(&["identityId", "emailId"], "identityId is required; emailId is required"),
        ),
        (
            "an unknown identity",
            json!({"create": {"s": {"emailId": good, "identityId": "nope"}}}),
            invalid(&["identityId"], "There is no such Identity."),
        ),
        ("an unknown Email", create("nope", Value::Null), invalid(&["emailId"], "There is no such Email.")),
        (
            "an Email that was not created",
            json!({"create": {"s": {"emailId": "#nope", "identityId": id}}}),
            invalid(&["emailId"], "emailId refers to an object that was not created"),
        ),
        (
            "what the server sets",
            json!({"create": {"s": {"emailId": good, "identityId": id, "sendAt": "2030-01-01T00:00:00Z"}}}),
            invalid(&["sendAt"], "sendAt is set by the server"),
        ),
        (
            "what only our clients see",
            json!({"create": {"s": {"emailId": good, "identityId": id, "lockToken": 1}}}),
            invalid(&["lockToken"], "lockToken needs a capability that isn't in \"using\""),
        ),
        ("another's address in From", create(&stranger, Value::Null), only("forbiddenFrom")),
        ("another's address among two", create(&shared, Value::Null), only("forbiddenFrom")),
        (
            "another's address on the envelope",
            create(&good, envelope("boss@elsewhere.example", &[marta])),
            only("forbiddenMailFrom"),
        ),
        (
            "no sender",
            create(&headless, Value::Null),
            json!({"type": "invalidEmail", "properties": ["from"], "description": INVALID_EMAIL}),
        ),
        (
            "something that is no address in To",
            create(&half, envelope(SUPPORT, &[marta])),
            json!({"type": "invalidEmail", "properties": ["to"], "description": INVALID_EMAIL}),
        ),
        (
            "a status that it won't have",
            json!({"create": {"s": {"emailId": good, "identityId": id, "undoStatus": "pending"}}}),
            invalid(&["undoStatus"], "The server sets it on create."),
        ),
        ("nobody to send to", create(&nobody, Value::Null), only("noRecipients")),
        ("nobody on the envelope", create(&good, envelope(SUPPORT, &[])), only("noRecipients")),
        (
            "no address",
            create(&good, envelope(SUPPORT, &[marta, "nobody", "@x"])),
            json!({"type": "invalidRecipients", "invalidRecipients": ["nobody", "@x"]}),
        ),
        (
            "too many",
            create(&good, envelope(SUPPORT, &many)),
            json!({"type": "tooManyRecipients", "maxRecipients": 500}),
        ),
        (
            "an envelope of another shape",
            create(&good, json!({"to": []})),
            invalid(&["envelope"], "An envelope has mailFrom and rcptTo."),
        ),
        (
            "a parameter that can't be one",
            create(
                &good,
                json!({"mailFrom": {"email": SUPPORT, "parameters": {"A B": "c"}}, "rcptTo": [{"email": marta}]}),
            ),
            invalid(&["envelope"], "The parameters of an address can't be read."),
        ),
    ];
    refuses(&bob.client, PLAIN, "EmailSubmission/set", table).await;
    // The Emails are the drafts that they were, and nothing is in the queue.
    let sent = bob.client.call_with(PLAIN, "EmailSubmission/get", json!({"ids": null})).await;
    assert_eq!(sent["list"], json!([]));
    let kept =
        bob.client.call_with(PLAIN, "Email/get", json!({"ids": [good], "properties": ["keywords"]})).await;
    assert_eq!(kept["list"][0]["keywords"], json!({"$draft": true}));
    server.check();
}

/// RFC 8620 §5.3: what the server sets may be given as it will be. There are clients that do.
#[tokio::test]
async fn the_status_that_a_submission_will_have_may_be_given() {
    let server = TestServer::office(&[]).await;
    let bob = Sender::new(&server).await;
    let good = bob.draft(json!({})).await;
    let create = json!({"create": {"s": {
        "emailId": good, "identityId": bob.identity, "envelope": null, "undoStatus": "final"
    }}});
    let told = bob.client.call_with(PLAIN, "EmailSubmission/set", create).await;
    assert_eq!(told["created"]["s"]["undoStatus"], "final", "{told}");
    server.check();
}

#[tokio::test]
async fn another_members_draft_and_an_observers_send_are_refused() {
    let server = TestServer::office(&[]).await;
    server.person("olaf@x.example", "Olaf");
    server.json(&["inbox", "member", "add", SUPPORT, "olaf@x.example:observer"]);
    let bob = Sender::new(&server).await;
    let draft = bob.draft(json!({})).await;
    let cat = server.client("cat@x.example").await;
    let refused = submit(&cat, &draft).await;
    let error = json!({
        "type": "forbiddenToSend",
        "description": "Only its author may send a draft; copy it to send it yourself."
    });
    assert_set(&refused, json!({"notCreated": {"s": error}}));
    let olaf = server.client("olaf@x.example").await;
    let refused = olaf.call_with(PLAIN, "EmailSubmission/set", bob.create(&draft, Value::Null)).await;
    assert_eq!(
        refused,
        json!({"type": "forbidden", "description": "Your role in this account does not allow it."}),
        "a member who can't send at all"
    );
}

#[tokio::test]
async fn what_was_sent_is_not_taken_back_or_changed() {
    let server = TestServer::office(&[]).await;
    let bob = Sender::new(&server).await;
    let draft = bob.draft(json!({})).await;
    let made = submit(&bob.client, &draft).await;
    let id = made["created"]["s"]["id"].as_str().unwrap_or_else(|| panic!("{made}"));
    let table = vec![
        ("taken back too late", json!({"update": {id: {"undoStatus": "canceled"}}}), only("cannotUnsend")),
        (
            "another status",
            json!({"update": {id: {"undoStatus": "pending"}}}),
            invalid(&["undoStatus"], "It can only be set to \"canceled\"."),
        ),
        (
            "what can't be changed",
            json!({"update": {id: {"emailId": "nope"}}}),
            invalid(&["emailId"], "emailId can't be changed"),
        ),
        ("an unknown one", json!({"update": {"nope": {"undoStatus": "canceled"}}}), only("notFound")),
        ("an unknown one destroyed", json!({"destroy": ["nope"]}), only("notFound")),
    ];
    refuses(&bob.client, PLAIN, "EmailSubmission/set", table).await;
    let kept = json!({"update": {id: {"undoStatus": "final"}}});
    let reply = bob.client.call_with(PLAIN, "EmailSubmission/set", kept).await;
    assert_set(&reply, json!({"updated": {id: null}}));
    server.check();
}

#[tokio::test]
async fn a_type_of_one_object_is_neither_created_nor_destroyed() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let table = vec![
        ("another one", json!({"create": {"s": {"guide": "Be kind."}}}), only("singleton")),
        ("none", json!({"destroy": ["singleton"]}), only("singleton")),
    ];
    refuses(&ann, crate::support::TEAM, "InboxSettings/set", table).await;
}
