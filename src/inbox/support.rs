//! A server in memory with a small team at work, for the tests of this floor.

use super::admin::{self, AdminReply, AdminRequest, Office};
use super::admin_inbox::InboxRequest;
use super::delivery::{self, Delivery};
use super::desk::{Desk, DeskResult};
use super::intake::{self, Brought};
use super::machine::Actor;
use super::sending::{self, Order, Submitted, TeamOrder};
use super::server::{self, Server, ServerSettings};
use super::timers;
use crate::auth::{Authenticator, Directory};
use crate::mail::envelope::{Envelope, Protocol};
use crate::mail::{ingest, mailbox, thread};
use crate::store::rows::mail::EmailRow;
use crate::store::rows::submission::{Delivered, Recipient};
use crate::store::rows::team::ConversationRow;
use crate::store::txn::Committed;
use crate::store::{Read, Row, Store, StoreOptions, Txn};
use crate::types::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages of a conversation of which no two are moved in one commit.
pub const LONG: u32 = (limits::COMMIT_BYTES_MAX / limits::MOVED_EMAIL_BYTES) as u32;

pub const START: Millis = Millis(1_790_000_000_000);

/// The server, and whom one meets there.
pub struct House {
    pub server: Arc<Server>,
    pub ann: PrincipalId,
    pub bob: PrincipalId,
    /// Ann's own account.
    pub own: AccountId,
    /// support@, where Ann is admin and Bob is agent.
    pub inbox: AccountId,
}

impl House {
    pub fn new() -> Self {
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let store = Store::in_memory(options, Clock::manual(START), Random::seeded(5)).unwrap();
        let directory = Directory::open(&store).unwrap();
        let authenticator =
            Authenticator::new(Arc::clone(&directory), store.clock.clone(), store.random.clone());
        let settings = ServerSettings {
            hostname: "x.example".into(),
            base_url: None,
            cors_origins: Vec::new(),
            return_path: Default::default(),
            queue: Default::default(),
            relays: Default::default(),
            http_wait: std::time::Duration::from_secs(60),
            requests_per_minute: None,
            trust: Default::default(),
        };
        let server = Server::new(store, directory, authenticator, None, settings);
        for (email, mailbox) in [("ann@x.example", true), ("bob@x.example", false)] {
            let name = email[..3].to_owned();
            let person = AdminRequest::PersonAdd { email: email.into(), name, password: None, mailbox };
            ask(&server, person);
        }
        let members = [("ann@x.example", "admin"), ("bob@x.example", "agent")];
        let members = members.map(|(email, role)| (email.to_owned(), role.to_owned())).to_vec();
        let aliases = vec!["help@x.example".to_owned()];
        let name = "Support".to_owned();
        ask(
            &server,
            AdminRequest::Inbox(InboxRequest::Add {
                email: "support@x.example".into(),
                name,
                aliases,
                members,
            }),
        );
        let view = server.directory.current();
        let person = |email: &str| view.principal_by_email(email).unwrap();
        let account = |email: &str| view.account_by_address(&address(email)).unwrap();
        let (ann, bob) = (person("ann@x.example"), person("bob@x.example"));
        let (own, inbox) = (account("ann@x.example"), account("support@x.example"));
        Self { server, ann, bob, own, inbox }
    }

    /// A transaction on the account, committed.
    pub fn write<T>(&self, account: AccountId, work: impl FnOnce(&mut Txn<'_>) -> T) -> (T, Committed) {
        let locked = self.server.store.lock_blocking(&[account]);
        let mut txn = self.server.store.begin(&locked);
        let done = work(&mut txn);
        (done, txn.commit().unwrap())
    }

    /// Somebody at work in the inbox, in a transaction that is committed.
    pub fn at_desk<T>(
        &self,
        who: PrincipalId,
        role: MemberRole,
        work: impl FnOnce(&mut Desk<'_, '_>) -> DeskResult<T>,
    ) -> T {
        let staff = server::staff(&self.server.directory.current(), self.inbox);
        let actor = Actor::Member { principal: who, role };
        let work = |txn: &mut Txn<'_>| work(&mut Desk::open(txn, self.inbox, actor, &staff).unwrap());
        self.write(self.inbox, work).0.unwrap()
    }

    /// A message from a customer, to these addresses.
    pub fn deliver(&self, to: &[&str], id: &str, more: &str) {
        let text = format!(
            "Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nFrom: Carl <carl@c.example>\r\nTo: {}\r\nSubject: {id}\r\n\
             Message-ID: <{id}@c.example>\r\n{more}\r\nHello from {id}\r\n",
            to.join(", ")
        );
        let envelope = Envelope {
            recipients: to.iter().map(|to| address(to)).collect(),
            ..Envelope::new("gateway".into(), Protocol::Esmtp, Address::parse("carl@c.example"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(delivery::deliver(&self.server, envelope, text.into_bytes()));
        assert!(done.iter().all(|one| matches!(one, Delivery::Accepted(_))), "{done:?}");
    }

    /// What `postroom check` finds.
    pub fn faults(&self) -> Vec<String> {
        let view = self.server.directory.current();
        super::check::run(&self.server.store, None, &view, &mut |_| {}).unwrap().report.faults
    }

    /// A draft of Bob's in the inbox.
    pub fn draft(&self, text: &str) -> EmailId {
        self.bring(text, MailboxRole::Drafts, &[Keyword::DRAFT])
    }

    /// Bob brings a message into the inbox.
    pub fn bring(&self, text: &str, role: MailboxRole, keywords: &[&str]) -> EmailId {
        let prepared = ingest::prepare(text.as_bytes(), false).unwrap();
        self.at_desk(self.bob, MemberRole::Agent, |desk| {
            let mailbox = mailbox::roles(desk.txn, desk.account)?.with_role(role).unwrap();
            let brought = Brought {
                mailboxes: BTreeSet::from([mailbox]),
                keywords: keywords.iter().filter_map(|word| Keyword::parse(word)).collect(),
                received_at: desk.now.date(),
                trace: Vec::new(),
            };
            Ok(intake::bring_inbox(desk, &prepared, brought)?.email)
        })
    }

    /// Bob sends a draft to Carl, now or later.
    pub fn send(&self, email: EmailId, release_at: Option<Millis>) -> Submitted {
        self.submit(&order(email, self.bob, release_at))
    }

    /// Bob sends a draft to these, at once.
    pub fn send_to(&self, email: EmailId, to: &[String]) -> Submitted {
        let mut order = order(email, self.bob, None);
        order.recipients = to.iter().map(|to| recipient(to)).collect();
        self.submit(&order)
    }

    fn submit(&self, order: &Order<'_>) -> Submitted {
        self.at_desk(self.bob, MemberRole::Agent, |desk| {
            Ok(sending::submit_inbox(desk, order, &TeamOrder::default()).unwrap())
        })
    }

    /// The inbox's Email with that Message-ID.
    pub fn email(&self, message_id: &str) -> EmailId {
        let found = thread::emails_with_message_id(&self.server.store.snapshot(), self.inbox, message_id);
        found.unwrap()[0]
    }

    pub fn email_row(&self, email: EmailId) -> EmailRow {
        (&self.server.store.snapshot() as &dyn Read).row(self.inbox, email).unwrap().unwrap()
    }

    /// The conversation that an Email is in.
    pub fn conversation_of(&self, email: EmailId) -> (ConversationId, ConversationRow) {
        let id = self.email_row(email).conversation.unwrap();
        let snapshot = self.server.store.snapshot();
        (id, (&snapshot as &dyn Read).row(self.inbox, id).unwrap().unwrap())
    }

    /// Fires what is due, as after a start; how many timers that were.
    pub fn fire_due(&self) -> usize {
        let due = timers::due(&self.server.store.snapshot(), self.server.store.clock.now(), 100).unwrap();
        let staff = server::staff(&self.server.directory.current(), self.inbox);
        for due in &due {
            self.write(self.inbox, |txn| timers::fire(txn, &staff, *due).unwrap());
        }
        due.len()
    }

    /// Has a conversation say that it has so many messages.
    pub fn lengthen(&self, id: ConversationId, message_count: u32) {
        self.write(self.inbox, |txn| {
            let row: ConversationRow = (&*txn as &dyn Read).row(self.inbox, id).unwrap().unwrap();
            let row = ConversationRow { message_count, ..row };
            txn.put_at(ConversationRow::key(self.inbox, id), &row).unwrap();
        });
    }
}

/// A message of the inbox's to Carl.
pub fn written(id: &str, headers: &str) -> String {
    format!(
        "From: support@x.example\r\nTo: carl@c.example\r\nSubject: {id}\r\nMessage-ID: <{id}@x.example>\r\n\
         {headers}\r\nText of {id}\r\n"
    )
}

fn recipient(to: &str) -> Recipient {
    Recipient {
        address: address(to),
        parameters: Vec::new(),
        smtp_reply: None,
        delivered: Delivered::Queued,
        settled: false,
    }
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub fn ask(server: &Server, request: AdminRequest) -> AdminReply {
    let office = Office {
        store: &server.store,
        directory: &server.directory,
        search: None,
        relays: None,
        hostname: "x.example",
    };
    admin::run(office, request).unwrap()
}

/// An order to send an Email to Carl.
pub fn order(email: EmailId, sender: PrincipalId, release_at: Option<Millis>) -> Order<'static> {
    Order {
        email,
        identity: IdentityId(1),
        mail_from: Some(address("support@x.example")),
        mail_from_parameters: Vec::new(),
        recipients: vec![recipient("carl@c.example")],
        sender,
        idempotency_key: None,
        release_at,
    }
}
