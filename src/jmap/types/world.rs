//! What the tests of mail's types share: a store in memory, and whole requests over it.

use crate::auth::Directory;
use crate::inbox::presence::Presences;
use crate::jmap::capability::Capability;
use crate::jmap::context::{Ctx, Host};
use crate::jmap::error::MethodErrorKind;
use crate::jmap::process::process;
use crate::jmap::request;
use crate::jmap::session::tests::{account, session};
use crate::jmap::session::{Account, SessionData};
use crate::mail::message::{self, Added};
use crate::mail::{ingest, mailbox};
use crate::store::rows::mail::{EmailRow, Origin};
use crate::store::{Read, Store, StoreOptions, Txn};
use crate::types::{AccountId, Clock, EmailId, Keyword, MailboxId, MemberRole, Millis, Random, UtcDate};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const PLAIN: &[Capability] = &[Capability::Core, Capability::Mail];
pub const OURS: &[Capability] = &[Capability::Core, Capability::Mail, Capability::Status];
pub const ACCOUNT: AccountId = AccountId(1);
pub const PREFIX: &[u8] =
    b"Return-Path: <j@example.com>\r\nReceived: from a by b; Tue, 10 Jul 2018 01:03:12 +0200\r\n";
pub const MESSAGE: &[u8] = b"From: =?utf-8?q?J=C3=B6?= <j@example.com>\r\nTo: ann@example.org, \"B, C\" <b@example.org>\r\n\
Subject: Dinner & <more>\r\nDate: Tue, 10 Jul 2018 01:03:11 +0200\r\nMessage-ID: <1@example.com>\r\n\
X-Two: one\r\nX-Two: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello foo\r\nand fine\r\n\
--b\r\nContent-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n\
AQIDBA==\r\n--b--\r\n";

/// A store in memory and a session that sees it.
pub struct World {
    pub store: Arc<Store>,
    pub session: SessionData,
    /// How often a lock that is taken anew finds the session's rights as they were.
    pub asked_until_revoked: AtomicUsize,
}

impl World {
    /// Account `ab` with the usual mailboxes: `mb` the Inbox, `mc` the Archive; `ac` is an inbox.
    pub fn new() -> Self {
        Self::with(vec![account(1, None), account(2, Some(MemberRole::Agent))])
    }

    /// These accounts, of which those of a person's own have the usual mailboxes.
    pub fn with(accounts: Vec<Account>) -> Self {
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let store =
            Store::in_memory(options, Clock::manual(Millis(1_700_000_000_000)), Random::seeded(1)).unwrap();
        // Makes the server's secret.
        Directory::open(&store).unwrap();
        let own: Vec<AccountId> =
            accounts.iter().filter(|account| !account.is_inbox()).map(|account| account.id).collect();
        let world = Self { store, session: session(accounts), asked_until_revoked: usize::MAX.into() };
        for account in own {
            let locked = world.store.lock_blocking(&[account]);
            let mut txn = world.store.begin(&locked);
            mailbox::create_defaults(&mut txn, account, false).unwrap();
            txn.commit().unwrap();
        }
        world
    }

    pub fn write<T>(&self, change: impl FnOnce(&mut Txn<'_>) -> T) -> T {
        let locked = self.store.lock_blocking(&[ACCOUNT]);
        let mut txn = self.store.begin(&locked);
        let out = change(&mut txn);
        txn.commit().unwrap();
        out
    }

    pub fn add(&self, raw: &[u8], mailboxes: &[u32], keywords: &[&str], at: i64) -> Added {
        let prepared = ingest::prepare(raw, false).unwrap();
        let new = prepared.email(
            PREFIX.to_vec(),
            mailboxes.iter().map(|id| MailboxId(*id)).collect(),
            keywords.iter().filter_map(|keyword| Keyword::parse(keyword)).collect(),
            UtcDate(at),
            Origin::Inbound,
            None,
        );
        self.write(|txn| message::add(txn, ACCOUNT, new).unwrap())
    }

    pub fn destroy(&self, email: EmailId) {
        self.write(|txn| {
            let row = (txn as &dyn Read).row::<EmailRow>(ACCOUNT, email).unwrap().unwrap();
            message::destroy(txn, ACCOUNT, email, &row).unwrap();
        });
    }

    pub fn change(&self, email: EmailId, change: impl FnOnce(&mut EmailRow)) {
        self.write(|txn| {
            let before = (txn as &dyn Read).row::<EmailRow>(ACCOUNT, email).unwrap().unwrap();
            let mut after = before.clone();
            change(&mut after);
            message::change(txn, ACCOUNT, email, &before, &after).unwrap();
        });
    }

    /// All responses to a request with these calls, each for account `ab` where it names none.
    pub fn request(&self, using: &[Capability], mut calls: Value) -> Value {
        for call in calls.as_array_mut().into_iter().flatten() {
            if let Some(arguments) = call[1].as_object_mut() {
                arguments.entry("accountId").or_insert("ab".into());
            }
        }
        let using: Vec<&str> = using.iter().map(|one| one.uri()).collect();
        let body = json!({"using": using, "methodCalls": calls});
        let request = request::parse(body.to_string().as_bytes()).unwrap();
        let staff = |_| Arc::default();
        let presences = Presences::default();
        let host = Host {
            store: &self.store,
            search: None,
            staff: &staff,
            still: &|_| match self.asked_until_revoked.fetch_sub(1, Ordering::Relaxed) {
                0 => Err(MethodErrorKind::AccountNotFound),
                _ => Ok(()),
            },
            commit: &|txn| txn.commit(),
            presences: &presences,
            hostname: "mail.example",
        };
        let ctx = Ctx::new(host, &self.session, request.using, self.store.lock_blocking(&[]));
        process(ctx, request).into_json()["methodResponses"].take()
    }

    pub fn call(&self, using: &[Capability], name: &str, arguments: Value) -> (String, Value) {
        let mut responses = self.request(using, json!([[name, arguments, "c"]]));
        let response = &mut responses[0];
        (response[0].as_str().unwrap().to_owned(), response[1].take())
    }

    pub fn answer(&self, name: &str, arguments: Value) -> Value {
        let (answered, response) = self.call(PLAIN, name, arguments);
        assert_eq!(answered, name, "{response}");
        response
    }

    pub fn error(&self, name: &str, arguments: Value) -> String {
        let (answered, response) = self.call(PLAIN, name, arguments);
        assert_eq!(answered, "error", "{response}");
        response["type"].as_str().unwrap().to_owned()
    }

    pub fn get(&self, id: &str, properties: Value) -> Value {
        self.answer("Email/get", json!({"ids": [id], "properties": properties}))["list"][0].clone()
    }
}
