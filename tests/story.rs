//! The main job from end to end: mail comes in over SMTP, a team works on it, one reply goes out, and
//! everything survives a kill. Once by a knowing client of plain JSON, once by a JMAP library.

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::{Client, TestServer, eventually, message};
use jmap_client::URI;
use jmap_client::core::set::SetObject;
use jmap_client::email::Property;
use jmap_client::mailbox::Role;
use jmap_client::{email, mailbox};
use serde_json::{Value, json};
use std::time::Duration;

const CUSTOMER: &str = "marta@customer.example";

async fn deliver(server: &TestServer) {
    let text = message(
        "one@customer.example",
        CUSTOMER,
        "support@x.example",
        "Where is it?",
        "Where is my booking?",
    );
    assert!(server.deliver(CUSTOMER, &["support@x.example"], &text).await.starts_with("250"));
}

async fn conversation(client: &Client) -> Value {
    client.call("Conversation/get", json!({"ids": null})).await["list"][0].clone()
}

/// A draft that answers the customer; its id.
async fn draft(client: &Client, text: &str) -> String {
    let drafts = client.mailbox("drafts").await;
    let made = client
        .call(
            "Email/set",
            json!({"create": {"r": {
                "mailboxIds": {drafts: true},
                "keywords": {"$draft": true, "$seen": true},
                "from": [{"name": "Support", "email": "support@x.example"}],
                "to": [{"name": null, "email": CUSTOMER}],
                "subject": "Re: Where is it?",
                "inReplyTo": ["one@customer.example"],
                "references": ["one@customer.example"],
                "bodyValues": {"t": {"value": text}},
                "textBody": [{"partId": "t", "type": "text/plain"}],
            }}}),
        )
        .await;
    made["created"]["r"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn submit(client: &Client, using: &[&str], email: &str, gate: Value) -> Value {
    let identity = client.call("Identity/get", json!({"ids": null})).await["list"][0]["id"].clone();
    let mut submission = json!({"emailId": email, "identityId": identity});
    submission.as_object_mut().unwrap().extend(gate.as_object().unwrap().clone());
    client.call_with(using, "EmailSubmission/set", json!({"create": {"s": submission}})).await
}

#[tokio::test]
async fn a_team_answers_a_customer_exactly_once_and_a_kill_changes_nothing() {
    let relay = Relay::start().await;
    let mut server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server).await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let seen = conversation(&bob).await;
    let id = seen["id"].as_str().unwrap();
    assert_eq!(
        (&seen["ownerId"], &seen["status"], &seen["messageCount"], &seen["subject"]),
        (&Value::Null, &json!("open"), &json!(1), &json!("Where is it?"))
    );

    // Both claim; one wins, the other is told who.
    let claim = |client: &Client| {
        let arguments = json!({"update": {id: {"ownerId": client.principal()}}});
        let client = client.clone();
        async move { client.call("Conversation/set", arguments).await }
    };
    let (bobs, cats) = tokio::join!(claim(&bob), claim(&cat));
    let bob_won = bobs["updated"].get(id).is_some();
    let (owner, other, refused) = if bob_won { (&bob, &cat, cats) } else { (&cat, &bob, bobs) };
    let now = conversation(owner).await;
    assert_eq!(now["ownerId"], json!(owner.principal()));
    let error = &refused["notUpdated"][id];
    assert_eq!(
        *error,
        json!({
            "type": "ownerMismatch", "description": error["description"],
            "ownerId": owner.principal(), "version": now["version"]
        })
    );

    // A note, the lock, and a colleague who is stopped.
    let note = json!({"conversationId": id, "body": "Put back by hand", "mentions": [owner.principal()]});
    let made = other.call("Note/set", json!({"create": {"n": note}})).await;
    let note = made["created"]["n"]["id"].clone();
    assert!(note.is_string(), "{made}");
    let lock = owner.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    let token = lock["created"]["l"]["token"].clone();
    assert!(token.is_u64(), "{lock}");
    let held = other.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    assert_eq!(held["notCreated"]["l"]["type"], "lockHeld", "{held}");
    let theirs = draft(other, "Which booking?").await;
    let version = conversation(other).await["version"].clone();
    let told = submit(other, crate::support::TEAM, &theirs, json!({"ifVersion": version})).await;
    assert_eq!(told["notCreated"]["s"]["type"], "lockHeld", "{told}");
    let told = submit(other, PLAIN, &theirs, json!({})).await;
    assert_eq!(told["notCreated"]["s"]["type"], "forbiddenToSend", "{told}");
    assert_eq!(relay.deliveries(), 0);

    // The owner answers, and asks again as a client does that heard nothing.
    let version = conversation(owner).await["version"].clone();
    let ours = draft(owner, "It is back in the calendar.").await;
    let gate = json!({"lockToken": token, "ifVersion": version, "idempotencyKey": "k1"});
    let first = submit(owner, crate::support::TEAM, &ours, gate.clone()).await;
    assert!(first["created"]["s"]["id"].is_string(), "{first}");
    let taken = relay.wait_for(1).await;
    let again = submit(owner, crate::support::TEAM, &ours, gate).await;
    assert_eq!(again["created"]["s"]["id"], first["created"]["s"]["id"], "{again}");
    assert_eq!(taken[0].rcpts.len(), 1);
    assert!(taken[0].text().contains("back in the calendar"));
    assert!(!taken[0].text().contains("by hand"), "no note goes out");

    let before = conversation(owner).await;
    assert_eq!((&before["status"], &before["messageCount"]), (&json!("pending"), &json!(2)), "{before}");
    server.kill();
    server.start().await;
    let ann = server.client("ann@x.example").await;
    assert_eq!(conversation(&ann).await, before);
    assert_eq!(ann.call("Note/get", json!({"ids": [note]})).await["list"][0]["body"], "Put back by hand");
    assert_eq!(ann.call("ReplyLock/get", json!({"ids": null})).await["list"], json!([]));
    let mails = ann.call("Email/query", json!({"calculateTotal": true})).await;
    assert_eq!(mails["total"], 3, "the customer's, the reply, the colleague's draft");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(relay.deliveries(), 1, "and never again");
    server.check();
}

/// The library names a dozen capabilities unless told otherwise, also ones that no mail server need
/// have; RFC 8620 §3.6.1 demands that an unknown one is refused.
fn plain(client: &jmap_client::client::Client) -> jmap_client::core::request::Request<'_> {
    let mut request = client.build();
    request.using = vec![URI::Core, URI::Mail, URI::Submission];
    request
}

async fn get(client: &jmap_client::client::Client, id: &str, properties: [Property; 2]) -> email::Email {
    let mut request = plain(client);
    request.get_email().ids([id]).properties(properties);
    request.send_get_email().await.unwrap().take_list().pop().unwrap()
}

#[tokio::test]
async fn a_jmap_library_reads_answers_and_files_without_knowing_us() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server).await;
    let made = server.json(&["app-password", "add", "bob@x.example", "--inbox", "support@x.example"]);
    let secret = made["secret"].as_str().unwrap();
    let client = jmap_client::client::Client::new()
        .credentials(("bob@x.example", secret))
        .connect(&format!("http://{}", server.http))
        .await
        .unwrap();
    let mut mailboxes = Vec::new();
    for role in [Role::Inbox, Role::Drafts, Role::Sent, Role::Archive] {
        let mut request = plain(&client);
        request.query_mailbox().filter(mailbox::query::Filter::role(role));
        mailboxes.push(request.send_query_mailbox().await.unwrap().take_ids().pop().unwrap());
    }
    let [inbox, drafts, sent, archive] = <[String; 4]>::try_from(mailboxes).unwrap();
    let mut request = plain(&client);
    request.query_email().filter(email::query::Filter::in_mailbox(&inbox));
    let ids = request.send_query_email().await.unwrap().take_ids();
    let mail = get(&client, &ids[0], [Property::Subject, Property::From]).await;
    assert_eq!(mail.subject(), Some("Where is it?"));
    assert_eq!(mail.from().unwrap()[0].email(), CUSTOMER);

    let threaded =
        "In-Reply-To: <one@customer.example>\r\nReferences: <one@customer.example>\r\nMIME-Version";
    let raw = message("re@x.example", "support@x.example", CUSTOMER, "Re: Where is it?", "It is back.")
        .replace("MIME-Version", threaded);
    let account = client.default_account_id().to_owned();
    let blob = client.upload(Some(&account), raw.into_bytes(), None).await.unwrap().take_blob_id();
    let mut request = plain(&client);
    let import = request.import_email().email(blob).mailbox_ids([&drafts]);
    import.keywords(["$draft", "$seen"]);
    let created = import.create_id();
    let reply = request.send_import_email().await.unwrap().created(&created).unwrap();
    let reply = reply.id().unwrap();

    let mut request = plain(&client);
    request.get_identity();
    let identity = request.send_get_identity().await.unwrap().take_list().pop().unwrap();
    let mut request = plain(&client);
    let set = request.set_email_submission();
    let created = set.create().email_id(reply).identity_id(identity.id().unwrap()).create_id().unwrap();
    let update = set.arguments().on_success_update_email(&created);
    update.keyword("$draft", false).mailbox_id(&drafts, false).mailbox_id(&sent, true);
    let mut answers = request.send().await.unwrap().unwrap_method_responses();
    let mut submitted = answers.remove(0).unwrap_set_email_submission().unwrap();
    submitted.created(&created).unwrap();
    let taken = relay.wait_for(1).await;
    assert!(taken[0].text().contains("It is back."));
    let copy = get(&client, reply, [Property::MailboxIds, Property::Keywords]).await;
    assert_eq!((copy.mailbox_ids(), copy.keywords()), (vec![sent.as_str()], vec!["$seen"]));

    // Adding Archive closes the conversation; the removal of what else it lies in follows.
    let mut request = plain(&client);
    request.set_email().update(&ids[0]).mailbox_ids([&archive]);
    request.send_set_email().await.unwrap().updated(&ids[0]).unwrap();
    let ann = server.client("ann@x.example").await;
    let closed = eventually("closed", async || {
        let now = conversation(&ann).await;
        (now["status"] == "closed").then_some(now)
    });
    assert_eq!(
        closed.await["ownerId"],
        json!(server.client("bob@x.example").await.principal()),
        "who answered first owns it"
    );
    server.check();
}
