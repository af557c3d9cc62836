//! The story by a third-party JMAP library: mailboxes, messages and submissions are all that it knows.

use super::{CUSTOMER, deliver};
use crate::support::relay::Relay;
use crate::support::{TestServer, eventually, message};
use jmap_client::client::Client as Library;
use jmap_client::core::request::Request;
use jmap_client::core::set::SetObject;
use jmap_client::email::{self, Property};
use jmap_client::{Error, URI};
use std::collections::{BTreeMap, BTreeSet};

const SUPPORT: &str = "support@x.example";

/// A member at such a client, with an app password that shows the inbox as the account there is.
struct Person {
    name: &'static str,
    client: Library,
    /// Mailboxes by their paths.
    boxes: BTreeMap<String, String>,
}

/// The library names a dozen capabilities unless told otherwise, also ones that no mail server need
/// have; RFC 8620 §3.6.1 demands that an unknown one is refused.
fn plain(client: &Library) -> Request<'_> {
    let mut request = client.build();
    request.using = vec![URI::Core, URI::Mail, URI::Submission];
    request
}

impl Person {
    async fn log_in(server: &TestServer, name: &'static str) -> Self {
        let email = format!("{}@x.example", name.to_lowercase());
        let made = server.json(&["app-password", "add", &email, "--inbox", SUPPORT]);
        let secret = made["secret"].as_str().unwrap();
        let connecting = Library::new().credentials((email.as_str(), secret));
        let client = connecting.connect(&format!("http://{}", server.http)).await.unwrap();
        let mut request = plain(&client);
        request.get_mailbox();
        let list = request.send_get_mailbox().await.unwrap().take_list();
        let name_of = |id: &str| list.iter().find(|one| one.id() == Some(id)).and_then(|one| one.name());
        let path = |one: &jmap_client::mailbox::Mailbox| match one.parent_id().and_then(name_of) {
            Some(above) => format!("{above}/{}", one.name().unwrap()),
            None => one.name().unwrap().to_owned(),
        };
        let boxes = list.iter().map(|one| (path(one), one.id().unwrap().to_owned())).collect();
        Self { name, client, boxes }
    }

    fn id(&self, path: &str) -> &str {
        self.boxes.get(path).unwrap_or_else(|| panic!("{path} of {:?}", self.boxes))
    }

    /// The Emails in a mailbox.
    async fn list(&self, path: &str) -> Vec<String> {
        let mut request = plain(&self.client);
        request.query_email().filter(email::query::Filter::in_mailbox(self.id(path)));
        request.send_query_email().await.unwrap().take_ids()
    }

    async fn get(&self, id: &str, properties: [Property; 2]) -> email::Email {
        let mut request = plain(&self.client);
        request.get_email().ids([id]).properties(properties);
        request.send_get_email().await.unwrap().take_list().pop().unwrap()
    }

    /// The paths of the mailboxes that an Email is in.
    async fn places(&self, id: &str) -> BTreeSet<String> {
        let email = self.get(id, [Property::MailboxIds, Property::Keywords]).await;
        let path = |id: &str| self.boxes.iter().find(|(_, known)| *known == id).unwrap().0.clone();
        email.mailbox_ids().into_iter().map(path).collect()
    }

    /// Takes a message from one mailbox to another.
    async fn moves(&self, id: &str, from: &str, to: &str) -> jmap_client::Result<()> {
        let mut request = plain(&self.client);
        request.set_email().update(id).mailbox_id(self.id(from), false).mailbox_id(self.id(to), true);
        request.send_set_email().await.unwrap().updated(id).map(|_| ())
    }

    /// Imports a reply to the customer's message `to` as a draft.
    async fn draft(&self, to: &str, text: &str) -> String {
        let headers = format!("In-Reply-To: <{to}>\r\nReferences: <{to}>\r\nMIME-Version");
        let own = format!("{}-{}@x.example", self.name, text.len());
        let raw =
            message(&own, SUPPORT, CUSTOMER, "Re: Where is it?", text).replace("MIME-Version", &headers);
        let account = self.client.default_account_id().to_owned();
        let blob = self.client.upload(Some(&account), raw.into_bytes(), None).await.unwrap().take_blob_id();
        let mut request = plain(&self.client);
        let import = request.import_email().email(blob).mailbox_ids([self.id("Drafts")]);
        import.keywords(["$draft", "$seen"]);
        let created = import.create_id();
        let draft = request.send_import_email().await.unwrap().created(&created).unwrap();
        draft.id().unwrap().to_owned()
    }

    /// Submits a draft, and has it filed in Sent, as mail clients do.
    async fn submit(&self, draft: &str) -> jmap_client::Result<()> {
        let mut request = plain(&self.client);
        request.get_identity();
        let identity = request.send_get_identity().await.unwrap().take_list().pop().unwrap();
        let mut request = plain(&self.client);
        let set = request.set_email_submission();
        let created = set.create().email_id(draft).identity_id(identity.id().unwrap()).create_id().unwrap();
        let update = set.arguments().on_success_update_email(&created);
        update.keyword("$draft", false);
        update.mailbox_id(self.id("Drafts"), false).mailbox_id(self.id("Sent"), true);
        let mut answers = request.send().await.unwrap().unwrap_method_responses();
        let mut submitted = answers.remove(0).unwrap_set_email_submission().unwrap();
        submitted.created(&created).map(|_| ())
    }
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

/// What the library makes of a SetError: the registered type and the words.
#[track_caller]
fn words(told: jmap_client::Result<()>) -> String {
    match told {
        Err(Error::Set(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_members_with_a_jmap_library_answer_a_customer_exactly_once() {
    let relay = Relay::start().await;
    let mut server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server).await;
    let (bob, cat) = (Person::log_in(&server, "Bob").await, Person::log_in(&server, "Cat").await);
    let mail = bob.list("Inbox").await.pop().unwrap();
    let read = cat.get(&mail, [Property::Subject, Property::From]).await;
    assert_eq!((read.subject(), read.from().unwrap()[0].email()), (Some("Where is it?"), CUSTOMER));
    assert_eq!(bob.places(&mail).await, set(&["Inbox", "Unassigned"]));

    // Both take it at the same moment. One has it, the other is told who, in a registered error.
    let (to_bob, to_cat) = ("Assigned/Bob", "Assigned/Cat");
    let (bobs, cats) =
        tokio::join!(bob.moves(&mail, "Unassigned", to_bob), cat.moves(&mail, "Unassigned", to_cat));
    let bob_won = bobs.is_ok();
    let (owner, other, refused) = if bob_won { (&bob, &cat, cats) } else { (&cat, &bob, bobs) };
    let told = format!(
        "forbidden: {} owns this conversation. Ask them to hand it over or to release it, or ask a lead.",
        owner.name
    );
    assert_eq!(words(refused), told);
    let own = format!("Assigned/{}", owner.name);
    assert_eq!(other.places(&mail).await, set(&["Inbox", &own]));

    // Both write. The owner's goes out, the other's doesn't, however often its client tries at once.
    let first = owner.draft("one@customer.example", "It is back in the calendar.").await;
    let second = other.draft("one@customer.example", "Which booking is it?").await;
    owner.submit(&first).await.unwrap();
    let taken = relay.wait_for(1).await;
    assert!(taken[0].text().contains("back in the calendar"));
    for _ in 0..3 {
        let told = words(other.submit(&second).await);
        assert!(told.starts_with(&format!("forbiddenToSend: {} replied to this", owner.name)), "{told}");
        assert!(told.ends_with("wait ten seconds and send it again within ten minutes."), "{told}");
    }
    assert_eq!(other.places(&second).await, set(&["Drafts"]));
    let copy = owner.get(&first, [Property::MailboxIds, Property::Keywords]).await;
    assert_eq!((copy.mailbox_ids(), copy.keywords()), (vec![owner.id("Sent")], vec!["$seen"]));
    // Answered: it waits for the customer, and is still the owner's.
    assert_eq!(bob.places(&mail).await, set(&["Pending", &own]));

    // It is closed by a move; everything survives a kill; the customer's answer opens it again.
    owner.moves(&mail, "Pending", "Archive").await.unwrap();
    assert_eq!(other.places(&mail).await, set(&["Archive"]));
    server.kill();
    server.start().await;
    let again = Person::log_in(&server, other.name).await;
    assert_eq!(again.places(&mail).await, set(&["Archive"]));
    assert_eq!(again.places(&second).await, set(&["Drafts"]));
    let text = message("two@customer.example", CUSTOMER, SUPPORT, "Re: Where is it?", "It is gone again.");
    let text = format!("In-Reply-To: <one@customer.example>\r\n{text}");
    assert!(server.deliver(CUSTOMER, &[SUPPORT], &text).await.starts_with("250"));
    assert_eq!(again.places(&mail).await, set(&["Inbox", &own]));
    assert_eq!(again.list("Inbox").await.len(), 2, "the answer is there as well");
    assert_eq!(relay.deliveries(), 1, "and never again");
    server.check();
}

#[tokio::test]
async fn a_jmap_library_reads_answers_and_files_without_knowing_us() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server).await;
    let bob = Person::log_in(&server, "Bob").await;
    let mail = bob.list("Inbox").await.pop().unwrap();
    let reply = bob.draft("one@customer.example", "It is back.").await;
    bob.submit(&reply).await.unwrap();
    assert!(relay.wait_for(1).await[0].text().contains("It is back."));

    // A client that replaces the whole property: adding Archive closes the conversation, and the removal of
    // what else it lies in follows.
    let mut request = plain(&bob.client);
    request.set_email().update(&mail).mailbox_ids([bob.id("Archive")]);
    request.send_set_email().await.unwrap().updated(&mail).unwrap();
    let ann = server.client("ann@x.example").await;
    let closed = eventually("closed", async || {
        let now = super::conversation(&ann).await;
        (now["status"] == "closed").then_some(now)
    });
    let principal = server.client("bob@x.example").await.principal();
    assert_eq!(closed.await["ownerId"], principal, "who answered first owns it");
    server.check();
}
