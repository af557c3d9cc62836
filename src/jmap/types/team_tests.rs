//! The team's types as clients meet them: whole requests by several members of one inbox, over a
//! store in memory, with mail that was delivered.

use crate::inbox::desk::{Desk, PersonName, Staff};
use crate::inbox::intake::{self, Arrival};
use crate::inbox::machine::{Actor, Roster};
use crate::inbox::presence::Presences;
use crate::inbox::{siblings, timers};
use crate::jmap::capability::Capability;
use crate::jmap::context::{Ctx, Host};
use crate::jmap::methods::accounts_written;
use crate::jmap::process::process;
use crate::jmap::request;
use crate::jmap::session::tests::account;
use crate::jmap::session::{SessionData, Urls};
use crate::mail::{identity, ingest, mailbox};
use crate::store::rows::mail::IdentityRow;
use crate::store::rows::team::Cause;
use crate::store::{PreparedBlob, Store, StoreOptions};
use crate::store::{blobs, uploads};
use crate::types::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(super) const INBOX: AccountId = AccountId(2);
pub(super) const ANN: PrincipalId = PrincipalId(2);
const BOB: PrincipalId = PrincipalId(3);
pub(super) const LEA: PrincipalId = PrincipalId(4);
pub(super) const OBI: PrincipalId = PrincipalId(5);
const TEAM: &[Capability] = &[
    Capability::Core,
    Capability::Mail,
    Capability::Principals,
    Capability::Ownership,
    Capability::Status,
    Capability::Notes,
    Capability::Locks,
    Capability::Activity,
];
const PEOPLE: [(PrincipalId, &str, MemberRole); 4] = [
    (ANN, "Ann", MemberRole::Agent),
    (BOB, "Bob", MemberRole::Agent),
    (LEA, "Lea", MemberRole::Lead),
    (OBI, "Obi", MemberRole::Observer),
];

pub(super) struct World {
    pub store: Arc<Store>,
    staff: Arc<Staff>,
    mails: u32,
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn session_of(who: PrincipalId) -> SessionData {
    let role = PEOPLE.iter().find(|(id, _, _)| *id == who).map(|(_, _, role)| *role);
    let mut accounts = vec![account(1, None), account(INBOX.0, role)];
    accounts.iter_mut().for_each(|account| account.capabilities.insert(Capability::Principals));
    let url = String::new;
    let urls = Urls {
        api: url(),
        download: url(),
        upload: url(),
        event_source: url(),
        websocket: url(),
        websocket_ticket: url(),
    };
    SessionData::new(who, "me@example.org".into(), accounts, Some(AccountId(1)), urls, &[], String::new())
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual(Millis(1_700_000_000_000));
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let store = Store::in_memory(options, clock, Random::seeded(1)).unwrap();
        // Makes the server's secret.
        crate::auth::Directory::open(&store).unwrap();
        let name = |name: &str| PersonName {
            name: name.into(),
            email: address(&format!("{}@example.org", name.to_lowercase())),
        };
        let staff = Arc::new(Staff {
            roster: Roster {
                members: PEOPLE.iter().map(|(id, _, role)| (*id, *role)).collect(),
                teams: BTreeSet::new(),
            },
            names: PEOPLE.iter().map(|(id, who, _)| (*id, name(who))).collect(),
            teams: Default::default(),
            addresses: vec![address("support@example.org")],
        });
        let locked = store.lock_blocking(&[INBOX]);
        let mut txn = store.begin(&locked);
        mailbox::create_defaults(&mut txn, INBOX, true).unwrap();
        txn.commit().unwrap();
        drop(locked);
        Self { store, staff, mails: 0 }
    }

    /// A world in which that many customers wrote, a minute apart; the conversations' ids.
    pub fn with_mail(count: u32) -> (Self, Vec<String>) {
        let mut world = Self::new();
        for _ in 0..count {
            world.deliver();
            world.wait(60);
        }
        let ids = world.call(ANN, "Conversation/query", json!({"sort": [{"property": "createdAt"}]}));
        let ids = ids["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        (world, ids)
    }

    fn wait(&self, seconds: u64) {
        self.store.clock.advance(Duration::from_secs(seconds));
    }

    fn deliver(&mut self) {
        self.mails += 1;
        let number = self.mails;
        self.deliver_mail(number, &format!("Subject: Question {number}\r\n"));
    }

    /// The first customer goes on.
    fn deliver_to(&mut self, message_id: &str) {
        self.mails += 1;
        self.deliver_mail(1, &format!("Subject: Re: Question 1\r\nIn-Reply-To: {message_id}\r\n"));
    }

    fn deliver_mail(&self, customer: u32, headers: &str) {
        let mail = format!(
            "From: Customer {customer} <c{customer}@far.example>\r\nTo: support@example.org\r\n\
             Message-ID: <m{}@far.example>\r\n{headers}\r\nHello?\r\n",
            self.mails
        );
        let prepared = ingest::prepare(mail.as_bytes(), false).unwrap();
        self.at_desk(|desk| {
            let from = address(&format!("c{customer}@far.example"));
            let arrival =
                Arrival { mail_from: Some(&from), prefix: b"", at: desk.now, returned: None, tags: &[] };
            intake::deliver_inbox(desk, &prepared, &arrival).unwrap();
        });
    }

    /// What comes in from outside, or is there already.
    fn at_desk<T>(&self, work: impl FnOnce(&mut Desk<'_, '_>) -> T) -> T {
        let locked = self.store.lock_blocking(&[INBOX]);
        let mut txn = self.store.begin(&locked);
        let mut desk = Desk::open(&mut txn, INBOX, Actor::System(Cause::Mail), &self.staff).unwrap();
        let done = work(&mut desk);
        txn.commit().unwrap();
        done
    }

    /// Does what is due by now.
    fn fire_timers(&self) {
        let locked = self.store.lock_blocking(&[INBOX]);
        let mut txn = self.store.begin(&locked);
        for timer in timers::due(&txn, self.store.clock.now(), 100).unwrap() {
            timers::fire(&mut txn, &self.staff, timer).unwrap();
        }
        txn.commit().unwrap();
    }

    pub fn send(&self, who: PrincipalId, using: &[Capability], calls: Value) -> Value {
        let using: Vec<&str> = using.iter().map(|one| one.uri()).collect();
        let body = json!({"using": using, "methodCalls": calls});
        let request = request::parse(body.to_string().as_bytes()).unwrap();
        let locked = self.store.lock_blocking(&accounts_written(&request));
        let staff = |_| Arc::clone(&self.staff);
        let presences = Presences::default();
        let host = Host {
            store: &self.store,
            search: None,
            staff: &staff,
            still: &|_| Ok(()),
            commit: &|txn| txn.commit(),
            presences: &presences,
            hostname: "mail.example",
        };
        let session = session_of(who);
        let ctx = Ctx::new(host, &session, request.using, locked);
        process(ctx, request).into_json()["methodResponses"].clone()
    }

    /// One call in the inbox; the arguments of its only response.
    fn call_using(&self, who: PrincipalId, using: &[Capability], name: &str, mut arguments: Value) -> Value {
        if arguments.get("accountId").is_none() {
            arguments["accountId"] = json!("ac");
        }
        let responses = self.send(who, using, json!([[name, arguments, "c"]]));
        assert_eq!(responses.as_array().map(Vec::len), Some(1), "{responses}");
        responses[0][1].clone()
    }

    fn call(&self, who: PrincipalId, name: &str, arguments: Value) -> Value {
        self.call_using(who, TEAM, name, arguments)
    }

    /// Conversation/set of one conversation: what it became, or why not.
    fn update(&self, who: PrincipalId, id: &str, patch: Value) -> Result<Value, Value> {
        self.set(who, id, json!({"update": {id: patch}}))
    }

    fn set(&self, who: PrincipalId, id: &str, arguments: Value) -> Result<Value, Value> {
        let response = self.call(who, "Conversation/set", arguments);
        match response["updated"].get(id) {
            Some(updated) => Ok(updated.clone()),
            None => Err(response["notUpdated"][id].clone()),
        }
    }

    fn get(&self, kind: &str, id: &str) -> Value {
        self.call(ANN, &format!("{kind}/get"), json!({"ids": [id]}))["list"][0].clone()
    }

    fn state(&self, kind: &str) -> Value {
        self.call(ANN, &format!("{kind}/get"), json!({"ids": []}))["state"].clone()
    }

    fn changes(&self, kind: &str, since: &Value) -> Value {
        let all = self.call(ANN, &format!("{kind}/changes"), json!({"sinceState": since}));
        json!({"created": all["created"], "updated": all["updated"], "destroyed": all["destroyed"]})
    }
}

#[test]
fn a_conversation_has_every_property_of_the_capabilities_in_use_and_no_other() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let whole = world.get("Conversation", id);
    let version = whole["version"].clone();
    let shared = json!({
        "id": id, "threadIds": ["tb"], "subject": "Question 1",
        "customer": {"name": "Customer 1", "address": "c1@far.example"},
        "participants": whole["participants"],
        "createdAt": "2023-11-14T22:13:20Z", "lastInboundAt": "2023-11-14T22:13:20Z",
        "lastOutboundAt": null, "lastActivityAt": "2023-11-14T22:13:20Z",
        "waitingSince": "2023-11-14T22:13:20Z", "firstReplyAt": null, "previousId": null,
        "mergedIntoId": null, "siblings": [], "noteCount": 0, "messageCount": 1, "version": version
    });
    let mut ownership = shared.clone();
    for (name, value) in [("ownerId", json!(null)), ("teamId", json!(null)), ("watcherIds", json!({}))] {
        ownership[name] = value;
    }
    let mut status = shared;
    for (name, value) in [
        ("status", json!("open")),
        ("snoozedUntil", json!(null)),
        ("resolution", json!(null)),
        ("category", json!(null)),
        ("tags", json!({})),
        ("priority", json!("normal")),
        ("closedAt", json!(null)),
        ("closedById", json!(null)),
        ("reopenCount", json!(0)),
    ] {
        status[name] = value;
    }
    let seen = |also: &[Capability]| {
        let using: Vec<Capability> = [Capability::Core].iter().chain(also).copied().collect();
        world.call_using(ANN, &using, "Conversation/get", json!({"ids": [id]}))["list"][0].clone()
    };
    assert_eq!(seen(&[Capability::Ownership]), ownership);
    assert_eq!(seen(&[Capability::Status]), status);
    let only_notes = [Capability::Core, Capability::Notes];
    let without = world.send(ANN, &only_notes, json!([["Conversation/get", {"accountId": "ac"}, "c"]]));
    assert_eq!(without[0][1]["type"], "unknownMethod");
}

#[test]
fn the_loser_of_a_claim_learns_the_winner_and_a_client_of_half_of_us_gets_a_registered_error() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let claimed = world.update(ANN, id, json!({"ownerId": ANN.to_string()})).unwrap();
    let version = claimed["version"].clone();
    assert!(version.is_string(), "{claimed}");
    let lost = world.update(BOB, id, json!({"ownerId": BOB.to_string()})).unwrap_err();
    assert_eq!(
        lost,
        json!({
            "type": "ownerMismatch", "ownerId": "pc", "version": version,
            "description": "Ann owns this conversation. Ask them to hand it over or to release it, \
                            or ask a lead."
        })
    );
    let expected = json!({"update": {id: {"ownerId": "pd"}}, "ifOwner": {id: null}});
    assert_eq!(world.set(LEA, id, expected).unwrap_err()["type"], "ownerMismatch");
    let taken = json!({"update": {id: {"ownerId": "pd"}}, "ifOwner": {id: "pc"}});
    assert_eq!(world.set(BOB, id, taken.clone()).unwrap_err()["type"], "forbidden");
    assert!(world.set(LEA, id, taken).is_ok());
    assert_eq!(world.get("Conversation", id)["ownerId"], "pd");
    // `ifOwner` is no argument for a client that doesn't see owners.
    let using = [Capability::Core, Capability::Status];
    let refused = world.call_using(ANN, &using, "Conversation/set", json!({"ifOwner": {id: null}}));
    assert_eq!(refused["type"], "invalidArguments");
}

#[test]
fn a_version_that_is_not_the_current_one_is_told_the_current_one() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let version = world.get("Conversation", id)["version"].clone();
    let mine = json!({"update": {id: {"status": "pending"}}, "ifVersion": {id: version}});
    let using = [Capability::Core, Capability::Status];
    let first = world.call_using(ANN, &using, "Conversation/set", mine.clone());
    let now = first["updated"][id]["version"].clone();
    assert!(now.is_string() && now != version, "{first}");
    let second = world.call_using(BOB, &using, "Conversation/set", mine);
    assert_eq!(second["notUpdated"][id]["type"], "versionMismatch");
    assert_eq!(second["notUpdated"][id]["version"], now);
    let nonsense = json!({"update": {id: {}}, "ifVersion": {id: "x"}});
    assert_eq!(world.set(ANN, id, nonsense).unwrap_err()["type"], "versionMismatch");
}

#[test]
fn a_hand_off_and_its_note_happen_both_or_neither() {
    let (world, ids) = World::with_mail(2);
    let id = ids[0].as_str();
    world.update(ANN, id, json!({"ownerId": "pc"})).unwrap();
    let notes = || world.call(ANN, "Note/query", json!({"filter": {"conversationId": id}}))["ids"].clone();
    let hand_off = |to: &str, note: &str| json!({"update": {id: {"ownerId": to}}, "handoffNote": {id: note}});
    // The note can't be: the owner stays.
    let refused = world.set(ANN, id, hand_off("pd", " ")).unwrap_err();
    assert_eq!(refused["type"], "invalidProperties");
    assert_eq!((world.get("Conversation", id)["ownerId"].clone(), notes()), (json!("pc"), json!([])));
    // The owner can't be: there is no note.
    assert_eq!(world.set(BOB, id, hand_off("pd", "mine")).unwrap_err()["type"], "ownerMismatch");
    assert_eq!(notes(), json!([]));
    let told = world.set(ANN, id, hand_off("pd", "You know **ships**.")).unwrap();
    assert_eq!(told["noteCount"], 1);
    let note = world.get("Note", notes()[0].as_str().unwrap());
    assert_eq!((note["body"].clone(), note["authorId"].clone()), (json!("You know **ships**."), json!("pc")));
    assert_eq!(world.get("Conversation", id)["ownerId"], "pd");
    // A note for what isn't handed off.
    let lone = json!({"update": {id: {"status": "open"}}, "handoffNote": {id: "x"}});
    assert_eq!(world.set(BOB, id, lone).unwrap_err()["properties"], json!(["ownerId"]));
    let other = json!({"update": {id: {"ownerId": null}}, "handoffNote": {&ids[1]: "x"}});
    assert_eq!(world.call(BOB, "Conversation/set", other)["type"], "invalidArguments");
    assert_eq!(world.get("Conversation", id)["ownerId"], "pd");
}

#[test]
fn status_tags_and_watchers_follow_the_rules_and_tell_what_came_of_them() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let closed = world.update(ANN, id, json!({"status": "closed", "tags": {"a": true, "b": true}})).unwrap();
    assert_eq!(closed["closedById"], "pc");
    assert_eq!((closed["waitingSince"].clone(), closed.get("tags")), (Value::Null, None));
    world.update(ANN, id, json!({"tags/a": null, "tags/c": true})).unwrap();
    assert_eq!(world.get("Conversation", id)["tags"], json!({"b": true, "c": true}));
    let past = json!({"status": "snoozed", "snoozedUntil": "2020-01-01T00:00:00Z"});
    assert_eq!(world.update(ANN, id, past).unwrap_err()["properties"], json!(["snoozedUntil"]));
    let future = json!({"status": "snoozed", "snoozedUntil": "2030-01-01T00:00:00Z"});
    let snoozed = world.update(ANN, id, future).unwrap();
    assert_eq!((snoozed["closedAt"].clone(), snoozed.get("snoozedUntil")), (Value::Null, None));
    // The whole object sent back with another status: what is as it was says nothing.
    let mut whole = world.get("Conversation", id);
    whole["status"] = json!("open");
    let opened = world.update(ANN, id, whole).unwrap();
    assert_eq!((opened["snoozedUntil"].clone(), opened.get("status")), (Value::Null, None));
    assert_eq!(
        world.update(ANN, id, json!({"status": "done"})).unwrap_err()["properties"],
        json!(["status"])
    );
    // An observer watches, and nothing else.
    world.update(OBI, id, json!({"watcherIds/pf": true})).unwrap();
    assert_eq!(world.update(OBI, id, json!({"watcherIds/pc": true})).unwrap_err()["type"], "forbidden");
    assert_eq!(world.update(OBI, id, json!({"ownerId": "pf"})).unwrap_err()["type"], "forbidden");
    let mine = world.call(OBI, "Conversation/query", json!({"filter": {"watcherId": "me"}}));
    assert_eq!(mine["ids"], json!([id]));
}

#[test]
fn the_definition_of_done_names_what_is_missing() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let settings =
        |who, patch: Value| world.call(who, "InboxSettings/set", json!({"update": {"singleton": patch}}));
    let required = json!({"requireCategory": true, "requireResolution": true, "categories": ["bug"]});
    assert_eq!(settings(ANN, required.clone())["notUpdated"]["singleton"]["type"], "forbidden");
    assert_eq!(settings(LEA, required)["updated"], json!({"singleton": null}));
    assert_eq!(
        settings(LEA, json!({"lockSeconds": 5}))["notUpdated"]["singleton"]["properties"],
        json!(["lockSeconds"])
    );
    let get = world.call(OBI, "InboxSettings/get", json!({"ids": null}));
    assert_eq!(get["list"][0]["categories"], json!(["bug"]));
    let refused = world.update(ANN, id, json!({"status": "closed"})).unwrap_err();
    assert_eq!(
        refused,
        json!({
            "type": "notDone", "missing": ["category", "resolution"],
            "description": "The conversation can't be closed yet: the inbox asks for a category and a resolution."
        })
    );
    let done = json!({"status": "closed", "category": "bug", "resolution": "solved"});
    assert!(world.update(ANN, id, done).is_ok());
}

#[test]
fn conversations_begin_with_messages_and_do_not_go() {
    let (world, ids) = World::with_mail(1);
    let set = json!({"create": {"k": {}}, "destroy": [ids[0], "czz"]});
    let response = world.call(LEA, "Conversation/set", set);
    // A create is a split, which names messages.
    assert_eq!(response["notCreated"]["k"]["properties"], json!(["emailIds"]));
    assert_eq!(response["notDestroyed"][&ids[0]]["type"], "forbidden");
    assert_eq!(response["notDestroyed"]["czz"]["type"], "notFound");
    let personal = world.call(ANN, "Conversation/get", json!({"accountId": "ab", "ids": null}));
    assert_eq!(personal["type"], "accountNotSupportedByMethod");
}

#[test]
fn queries_find_by_every_condition_and_order() {
    let (world, ids) = World::with_mail(4);
    world.update(ANN, &ids[0], json!({"ownerId": "pc", "priority": "high", "tags": {"x": true}})).unwrap();
    world.wait(60);
    world.update(BOB, &ids[2], json!({"ownerId": "pd", "status": "pending", "category": "bug"})).unwrap();
    let found = |filter: Value, sort: Value| -> Vec<usize> {
        let response = world.call(ANN, "Conversation/query", json!({"filter": filter, "sort": sort}));
        let response = response["ids"].as_array().unwrap_or_else(|| panic!("{response}")).clone();
        response.iter().map(|id| ids.iter().position(|one| id == one).unwrap()).collect()
    };
    let newest_first = json!(null);
    for (filter, wanted) in [
        (json!(null), vec![2, 0, 3, 1]),
        (json!({"status": "open"}), vec![0, 3, 1]),
        (json!({"ownerId": null}), vec![3, 1]),
        (json!({"hasOwner": false}), vec![3, 1]),
        (json!({"hasOwner": true}), vec![2, 0]),
        (json!({"ownerId": "me"}), vec![0]),
        (json!({"ownerId": "nobody"}), vec![]),
        (json!({"status": "open", "ownerId": null}), vec![3, 1]),
        (json!({"tag": "x"}), vec![0]),
        (json!({"category": "bug"}), vec![2]),
        (json!({"category": null}), vec![0, 3, 1]),
        (json!({"customer": "C2@far"}), vec![1]),
        (json!({"text": "question 4"}), vec![3]),
        (json!({"threadId": "tc"}), vec![1]),
        (json!({"waitingBefore": "2023-11-14T22:15:00Z"}), vec![0, 1]),
        (json!({"updatedAfter": "2023-11-14T22:17:00Z"}), vec![2, 0]),
        (json!({"operator": "NOT", "conditions": [{"status": "open"}]}), vec![2]),
        (json!({"operator": "OR", "conditions": [{"ownerId": "pc"}, {"ownerId": "pd"}]}), vec![2, 0]),
        (json!({"operator": "AND", "conditions": [{"status": "open"}]}), vec![0, 3, 1]),
    ] {
        assert_eq!(found(filter.clone(), newest_first.clone()), wanted, "{filter}");
    }
    let by = |property: &str, ascending: bool| json!([{"property": property, "isAscending": ascending}]);
    assert_eq!(found(json!(null), by("lastActivityAt", true)), [1, 3, 0, 2]);
    assert_eq!(found(json!(null), by("createdAt", false)), [3, 2, 1, 0]);
    assert_eq!(found(json!(null), by("waitingSince", true)), [0, 1, 2, 3]);
    assert_eq!(found(json!(null), by("priority", false)), [0, 2, 3, 1]);
    let anchored = json!({"anchor": ids[0], "anchorOffset": 1, "limit": 1, "calculateTotal": true});
    let page = world.call(ANN, "Conversation/query", anchored);
    assert_eq!((&page["ids"], &page["position"], &page["total"]), (&json!([ids[3]]), &json!(2), &json!(4)));
    let using = [Capability::Core, Capability::Ownership];
    let unknown = world.call_using(ANN, &using, "Conversation/query", json!({"filter": {"status": "open"}}));
    assert_eq!(unknown["type"], "unsupportedFilter");
    let unseen = json!({"filter": {"hasUnseen": true}, "sinceQueryState": "s1"});
    assert_eq!(world.call(ANN, "Conversation/queryChanges", unseen)["type"], "cannotCalculateChanges");
}

#[test]
fn notes_are_written_by_all_changed_by_their_author_and_destroyed_by_a_lead() {
    let (world, ids) = World::with_mail(2);
    let id = ids[0].as_str();
    let since = world.state("Note");
    let create = json!({"conversationId": id, "body": "Look, **Bob**.", "mentions": ["pd"]});
    let created = world.call(OBI, "Note/set", json!({"create": {"n": create}}))["created"]["n"].clone();
    let note = created["id"].as_str().unwrap();
    assert_eq!(created["authorId"], "pf");
    assert_eq!(world.changes("Note", &since), json!({"created": [note], "updated": [], "destroyed": []}));
    let mentions_me = json!({"filter": {"mentions": "me"}});
    assert_eq!(world.call(BOB, "Note/query", mentions_me.clone())["ids"], json!([note]));
    assert_eq!(world.call(ANN, "Note/query", mentions_me)["ids"], json!([]));
    let conversation = world.get("Conversation", id);
    assert_eq!(
        (conversation["noteCount"].clone(), conversation["watcherIds"].clone()),
        (json!(1), json!({"pd": true}))
    );
    let edit = |who, version: &Value| {
        let edit = json!({"update": {note: {"body": "Done."}}, "ifVersion": {note: version}});
        world.call(who, "Note/set", edit)
    };
    assert_eq!(edit(LEA, &created["version"])["notUpdated"][note]["type"], "forbidden");
    let edited = edit(OBI, &created["version"])["updated"][note].clone();
    assert!(edited["version"].is_string(), "{edited}");
    let stale = edit(OBI, &created["version"])["notUpdated"][note].clone();
    assert_eq!(
        (stale["type"].clone(), stale["version"].clone()),
        (json!("versionMismatch"), edited["version"].clone())
    );
    let stranger = json!({"create": {"n": {"conversationId": id, "body": "x", "mentions": ["pz"]}}});
    assert_eq!(world.call(ANN, "Note/set", stranger)["notCreated"]["n"]["properties"], json!(["mentions"]));
    let nowhere = json!({"create": {"n": {"conversationId": "czz", "body": "x"}}});
    assert_eq!(
        world.call(ANN, "Note/set", nowhere)["notCreated"]["n"]["properties"],
        json!(["conversationId"])
    );
    let elsewhere = json!({"create": {"n": {"conversationId": id, "emailId": "ec", "body": "x"}}});
    assert_eq!(world.call(ANN, "Note/set", elsewhere)["notCreated"]["n"]["properties"], json!(["emailId"]));
    let destroy = json!({"destroy": [note]});
    assert_eq!(world.call(ANN, "Note/set", destroy.clone())["notDestroyed"][note]["type"], "forbidden");
    assert_eq!(world.call(LEA, "Note/set", destroy)["destroyed"], json!([note]));
    assert_eq!(world.changes("Note", &since), json!({"created": [], "updated": [], "destroyed": []}));
    assert_eq!(world.get("Conversation", id)["noteCount"], 0);
    let types = json!({"filter": {"conversationId": id}, "sort": [{"property": "at"}]});
    let history = world.call(ANN, "Activity/query", types)["ids"].clone();
    let history = world.call(ANN, "Activity/get", json!({"ids": history, "properties": ["type"]}));
    let kinds: Vec<&str> =
        history["list"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    for kind in ["noteCreated", "watcherAdded", "noteUpdated", "noteDestroyed"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn a_notes_attachment_must_be_a_blob_that_the_account_sees() {
    let (world, ids) = World::with_mail(1);
    let blob = PreparedBlob::of(b"a plan").unwrap();
    let blob_id = BlobId::content(blob.hash).to_string();
    let attach = |blob_id: &str| {
        let attachment = json!({"blobId": blob_id, "name": "plan.txt", "type": "text/plain"});
        let note = json!({"conversationId": ids[0], "body": "See.", "attachments": [attachment]});
        world.call(ANN, "Note/set", json!({"create": {"n": note}}))
    };
    assert_eq!(attach(&blob_id)["notCreated"]["n"]["properties"], json!(["attachments"]));
    let locked = world.store.lock_blocking(&[INBOX]);
    let mut txn = world.store.begin(&locked);
    txn.put_blob(&blob).unwrap();
    uploads::add(&mut txn, INBOX, ANN, &blob.hash, blob.size).unwrap();
    txn.commit().unwrap();
    drop(locked);
    let note = attach(&blob_id)["created"]["n"]["id"].clone();
    let visible = || blobs::is_visible(&world.store.snapshot(), INBOX, None, &blob.hash).unwrap();
    // An edit keeps what the note had; a destroy lets it go.
    let edit = json!({"update": {note.as_str().unwrap(): {"attachments": []}}});
    assert!(world.call(ANN, "Note/set", edit)["updated"].is_object());
    assert!(visible());
    world.call(ANN, "Note/set", json!({"destroy": [note]}));
    assert!(!visible());
}

#[test]
fn a_reply_lock_is_held_renewed_lost_taken_over_and_released() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let since = world.state("ReplyLock");
    let acquire = |who, force: bool| {
        let create = json!({"create": {"l": {"conversationId": id, "seconds": 60, "force": force}}});
        world.call(who, "ReplyLock/set", create)
    };
    let first = acquire(ANN, false)["created"]["l"].clone();
    let lock = first["id"].as_str().unwrap();
    assert_eq!(first, json!({"id": lock, "holderId": "pc", "expiresAt": "2023-11-14T22:15:20Z", "token": 1}));
    assert_eq!(
        acquire(BOB, false)["notCreated"]["l"],
        json!({
            "type": "lockHeld", "holderId": "pc", "expiresAt": "2023-11-14T22:15:20Z",
            "description": "Ann is answering this conversation, until 2023-11-14T22:15:20Z at least."
        })
    );
    assert_eq!(acquire(OBI, false)["notCreated"]["l"]["type"], "forbidden");
    let get = |who| world.call(who, "ReplyLock/get", json!({"ids": null}))["list"].clone();
    assert_eq!(get(ANN)[0]["token"], 1);
    assert_eq!(get(BOB)[0]["token"], Value::Null);
    world.wait(30);
    let renew =
        |who, lock: &str| world.call(who, "ReplyLock/set", json!({"update": {lock: {"seconds": 90}}}));
    assert_eq!(renew(ANN, lock)["updated"], json!({lock: {"expiresAt": "2023-11-14T22:16:20Z"}}));
    assert_eq!(renew(BOB, lock)["notUpdated"][lock]["type"], "forbidden");
    // Its time comes: it is lost, swept or not.
    world.wait(90);
    assert_eq!(get(ANN), json!([]));
    let lost = json!({
        "type": "lockLost", "holderId": null, "expiresAt": null,
        "description": "Your reply lock ended. Look at the conversation again, then send."
    });
    let release = |who, lock: &str| world.call(who, "ReplyLock/set", json!({"destroy": [lock]}));
    assert_eq!(renew(ANN, lock)["notUpdated"][lock], lost);
    assert_eq!(release(ANN, lock)["notDestroyed"][lock], lost);
    let before_sweep = world.state("ReplyLock");
    world.fire_timers();
    assert_eq!(world.changes("ReplyLock", &before_sweep)["destroyed"], json!([lock]));
    assert_eq!(renew(ANN, lock)["notUpdated"][lock], lost);
    assert_eq!(release(ANN, lock)["notDestroyed"][lock], lost);
    assert_eq!(release(ANN, "lzz")["notDestroyed"]["lzz"]["type"], "notFound");
    // The next has a higher token; a lead takes it over, which is on record.
    let second = acquire(BOB, false)["created"]["l"].clone();
    assert_eq!(second["token"], 2);
    assert_eq!(acquire(ANN, true)["notCreated"]["l"]["type"], "forbidden");
    let third = acquire(LEA, true)["created"]["l"].clone();
    assert_eq!(third["token"], 3);
    assert_eq!(
        release(BOB, second["id"].as_str().unwrap())["notDestroyed"][second["id"].as_str().unwrap()]["type"],
        "lockLost"
    );
    let taken =
        world.call(ANN, "Activity/query", json!({"filter": {"type": "lockTakenOver", "actorId": "pe"}}));
    assert_eq!(taken["ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(release(LEA, third["id"].as_str().unwrap())["destroyed"], json!([third["id"]]));
    assert_eq!(world.changes("ReplyLock", &since), json!({"created": [], "updated": [], "destroyed": []}));
}

#[test]
fn a_lock_is_taken_and_kept_on_the_version_that_was_read() {
    let (world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let version = || world.get("Conversation", id)["version"].clone();
    let read = version();
    let set = |arguments: Value| world.call(ANN, "ReplyLock/set", arguments);
    let take =
        |read: &Value| set(json!({"create": {"l": {"conversationId": id}}, "ifVersion": {"#l": read}}));
    let lock = take(&read)["created"]["l"]["id"].as_str().unwrap().to_owned();
    world.update(BOB, id, json!({"priority": "high"})).unwrap();
    let mismatch = |told: &Value| {
        assert_eq!((&told["type"], &told["version"]), (&json!("versionMismatch"), &version()), "{told}");
    };
    mismatch(&take(&read)["notCreated"]["l"]);
    mismatch(&set(json!({"update": {&lock: {}}, "ifVersion": {&lock: read}}))["notUpdated"][&lock]);
    mismatch(&set(json!({"destroy": [&lock], "ifVersion": {&lock: read}}))["notDestroyed"][&lock]);
    let renewed = set(json!({"update": {&lock: {}}, "ifVersion": {&lock: version()}}));
    assert!(renewed["updated"][&lock].is_object(), "{renewed}");
}

#[test]
fn a_version_that_a_refused_submission_tells_is_the_conversations_and_covers_nothing_later() {
    let (mut world, ids) = World::with_mail(1);
    let id = ids[0].as_str();
    let read = world.get("Conversation", id)["version"].clone();
    let identity = world.at_desk(|desk| {
        let email = address("support@example.org");
        let row = IdentityRow {
            name: "Support".into(),
            email,
            reply_to: None,
            bcc: None,
            text_signature: String::new(),
            html_signature: String::new(),
            named: false,
        };
        let conversation = ConversationId::parse(id).unwrap();
        siblings::tests::leave(desk, conversation, (AccountId(98), "Billing"), LEA);
        identity::create(desk.txn, INBOX, &row).unwrap()
    });
    let drafts = world.call(ANN, "Mailbox/query", json!({"filter": {"role": "drafts"}}))["ids"][0].clone();
    let draft = json!({
        "mailboxIds": {drafts.as_str().unwrap(): true}, "keywords": {"$draft": true},
        "from": [{"name": null, "email": "support@example.org"}],
        "to": [{"name": null, "email": "c1@far.example"}], "inReplyTo": ["m1@far.example"],
        "subject": "Re: Question 1", "bodyValues": {"t": {"value": "Yes."}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
    });
    let email = world.call(ANN, "Email/set", json!({"create": {"d": draft}}))["created"]["d"]["id"].clone();
    let submit = |world: &World, version: &Value| {
        let submission = json!({"emailId": email, "identityId": identity.to_string(), "ifVersion": version});
        let using = [TEAM, &[Capability::Submission]].concat();
        let done = world.call_using(ANN, &using, "EmailSubmission/set", json!({"create": {"s": submission}}));
        (done["created"]["s"].clone(), done["notCreated"]["s"].clone())
    };
    let (_, refused) = submit(&world, &read);
    assert_eq!(
        (&refused["type"], &refused["reasons"]),
        (&json!("conversationChanged"), &json!(["siblingReplied"])),
        "{refused}"
    );
    assert_eq!(world.get("Conversation", id)["version"], refused["version"]);
    // What comes next has a later one: the version that was told doesn't pass over it.
    world.deliver_to("<m1@far.example>");
    let (_, again) = submit(&world, &refused["version"]);
    assert_eq!(again["reasons"], json!(["inbound"]), "{again}");
    let (sent, why) = submit(&world, &again["version"]);
    assert!(sent.is_object(), "{why}");
}

#[test]
fn the_history_is_read_newest_first_and_cannot_be_written() {
    let (world, ids) = World::with_mail(1);
    let since = world.state("Activity");
    let before = world.call(ANN, "Activity/query", json!({}));
    world.update(ANN, &ids[0], json!({"ownerId": "pc", "tags": {"ship": true}})).unwrap();
    let changed = world.changes("Activity", &since);
    let whole = world.call(ANN, "Activity/query", json!({"calculateTotal": true}));
    let all = whole["ids"].as_array().unwrap().clone();
    assert_eq!(whole["total"], all.len());
    let newest: Vec<Value> = all.iter().take(2).rev().cloned().collect();
    assert_eq!(changed, json!({"created": newest, "updated": [], "destroyed": []}));
    let filtered = world.call(ANN, "Activity/query", json!({"filter": {"conversationId": ids[0]}}));
    assert_eq!(filtered["ids"], json!(all));
    let list = world.call(BOB, "Activity/get", json!({"ids": newest}))["list"].clone();
    let at = "2023-11-14T22:14:20Z";
    assert_eq!(
        list,
        json!([
            {"id": newest[0], "conversationId": ids[0], "at": at, "actorId": "pc", "cause": "user",
             "type": "ownerChanged", "before": null, "after": "pc", "explain": null},
            {"id": newest[1], "conversationId": ids[0], "at": at, "actorId": "pc", "cause": "user",
             "type": "tagAdded", "before": null, "after": "ship", "explain": null}
        ])
    );
    let by_mail = world.call(ANN, "Activity/query", json!({"filter": {"cause": "mail", "before": at}}));
    assert_eq!(by_mail["ids"].as_array().map(Vec::len), Some(all.len() - 2));
    assert_eq!(world.call(ANN, "Activity/set", json!({}))["type"], "unknownMethod");
    let mut arguments = json!({"sinceQueryState": before["queryState"], "upToId": newest[0]});
    let changes = world.call(ANN, "Activity/queryChanges", arguments.clone());
    assert_eq!(
        changes,
        json!({
            "accountId": "ac", "oldQueryState": before["queryState"], "newQueryState": whole["queryState"],
            "removed": [], "added": [{"id": newest[1], "index": 0}, {"id": newest[0], "index": 1}]
        })
    );
    // Behind the last entry that the client knows nothing is of interest.
    arguments["upToId"] = newest[1].clone();
    let near = world.call(ANN, "Activity/queryChanges", arguments.clone());
    assert_eq!(near["added"], json!([{"id": newest[1], "index": 0}]));
    arguments["upToId"] = json!(null);
    arguments["maxChanges"] = json!(1);
    let many = world.call(ANN, "Activity/queryChanges", arguments);
    assert_eq!(many["type"], "tooManyChanges");
    for unknown in [&since, &json!("y"), &json!("y01"), &json!("y999"), &json!("y-1"), &json!("")] {
        let changes = world.call(ANN, "Activity/queryChanges", json!({"sinceQueryState": unknown}));
        assert_eq!(changes["type"], "cannotCalculateChanges", "{unknown}");
    }
}

#[test]
fn inbox_settings_are_one_object_that_is_neither_made_nor_destroyed() {
    let world = World::new();
    let set = world.call(LEA, "InboxSettings/set", json!({"create": {"k": {}}, "destroy": ["singleton"]}));
    assert_eq!(set["notCreated"], json!({"k": {"type": "singleton"}}));
    assert_eq!(set["notDestroyed"], json!({"singleton": {"type": "singleton"}}));
    assert_eq!(set["newState"], set["oldState"]);
}

#[test]
fn principals_are_the_people_of_the_inbox_or_oneself() {
    let world = World::new();
    let found =
        world.call(OBI, "Principal/query", json!({"filter": {"text": "o"}, "sort": [{"property": "name"}]}));
    let named =
        world.call(OBI, "Principal/query", json!({"filter": {"name": "o"}, "sort": [{"property": "name"}]}));
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(4));
    assert_eq!(named["ids"], json!(["pd", "pf"]));
    let get = world.call(OBI, "Principal/get", json!({"ids": ["pd", "pz"]}));
    assert_eq!(
        get["list"],
        json!([{
            "id": "pd", "type": "individual", "name": "Bob", "description": null, "email": "bob@example.org",
            "timeZone": null, "capabilities": {}, "accounts": null
        }])
    );
    assert_eq!(get["notFound"], json!(["pz"]));
    let own = world.call(OBI, "Principal/get", json!({"accountId": "ab", "ids": null}));
    assert_eq!(own["list"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["list"][0]["name"], "Obi");
    let changes = world.call(OBI, "Principal/changes", json!({"sinceState": "s1"}));
    assert_eq!(changes["type"], "cannotCalculateChanges");
    let state = found["queryState"].clone();
    let changes = world.call(OBI, "Principal/queryChanges", json!({"sinceQueryState": state}));
    assert_eq!(changes["type"], "cannotCalculateChanges");
}

#[derive(Clone, Debug)]
enum Act {
    Deliver,
    Wait(u64),
    Update(usize, Value),
    Note(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let patch = prop_oneof![
        Just(json!({"ownerId": "pe"})),
        Just(json!({"ownerId": "pd"})),
        Just(json!({"ownerId": null})),
        Just(json!({"status": "open"})),
        Just(json!({"status": "pending"})),
        Just(json!({"status": "closed"})),
        Just(json!({"status": "snoozed", "snoozedUntil": "2030-01-01T00:00:00Z"})),
        Just(json!({"tags/x": true})),
    ];
    prop_oneof![
        1 => Just(Act::Deliver),
        2 => (1u64..50).prop_map(Act::Wait),
        6 => (0usize..8, patch).prop_map(|(at, patch)| Act::Update(at, patch)),
        1 => (0usize..8).prop_map(Act::Note),
    ]
}

/// Applies a /queryChanges to what a client had (RFC 8620 §5.6).
fn spliced(mut had: Vec<Value>, changes: &Value) -> Vec<Value> {
    let removed = changes["removed"].as_array().unwrap();
    had.retain(|id| !removed.contains(id));
    for added in changes["added"].as_array().unwrap() {
        had.insert(added["index"].as_u64().unwrap() as usize, added["id"].clone());
    }
    had
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn query_changes_lead_to_what_a_fresh_query_gives(acts in prop::collection::vec(act(), 1..30)) {
        let (mut world, _) = World::with_mail(4);
        let ascending = json!([{"property": "lastActivityAt", "isAscending": true}]);
        let oldest_first = json!([{"property": "at", "isAscending": true}]);
        let queries = [
            ("Conversation", json!({})),
            ("Conversation", json!({"filter": {"status": "open"}})),
            ("Conversation", json!({"filter": {"status": "closed"}, "sort": ascending})),
            ("Conversation", json!({"filter": {"ownerId": null}})),
            ("Conversation", json!({"filter": {"ownerId": "pe"}})),
            ("Activity", json!({})),
            ("Activity", json!({"sort": oldest_first})),
            ("Activity", json!({"filter": {"type": "ownerChanged"}})),
            ("Activity", json!({"filter": {"cause": "user"}, "sort": oldest_first})),
        ];
        let search = |world: &World, kind: &str, query: &Value| {
            world.call(ANN, &format!("{kind}/query"), query.clone())
        };
        let ask = |world: &World, query: &Value| search(world, "Conversation", query);
        let mut had: Vec<Value> =
            queries.iter().map(|(kind, query)| search(&world, kind, query)).collect();
        for (step, act) in acts.into_iter().enumerate() {
            match act {
                Act::Deliver => world.deliver(),
                Act::Wait(seconds) => world.wait(seconds),
                Act::Update(at, patch) => {
                    let all = ask(&world, &json!({"sort": [{"property": "createdAt"}]}))["ids"].clone();
                    if let Some(id) = all[at].as_str() {
                        let _ = world.update(LEA, id, patch);
                    }
                }
                Act::Note(at) => {
                    let all = ask(&world, &json!({"sort": [{"property": "createdAt"}]}))["ids"].clone();
                    if let Some(id) = all[at].as_str() {
                        let note = json!({"conversationId": id, "body": "x"});
                        world.call(BOB, "Note/set", json!({"create": {"n": note}}));
                    }
                }
            }
            // Some of the clients look less often.
            for (number, ((kind, query), had)) in queries.iter().zip(&mut had).enumerate() {
                if step % (number + 1) != 0 {
                    continue;
                }
                prop_assert_eq!(&had["canCalculateChanges"], true);
                let fresh = search(&world, kind, query);
                let mut since = query.clone();
                since["sinceQueryState"] = had["queryState"].clone();
                since["calculateTotal"] = json!(true);
                let changes = world.call(ANN, &format!("{kind}/queryChanges"), since);
                let total = fresh["ids"].as_array().map(Vec::len);
                prop_assert_eq!(changes["total"].as_u64(), total.map(|total| total as u64), "{}", changes);
                prop_assert_eq!(&changes["newQueryState"], &fresh["queryState"]);
                let known = had["ids"].as_array().unwrap().clone();
                prop_assert_eq!(json!(spliced(known, &changes)), fresh["ids"].clone());
                *had = fresh;
            }
        }
    }
}
