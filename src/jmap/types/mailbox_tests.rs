//! Mailboxes as a client meets them (RFC 8621 §2).

use super::world::*;
use crate::types::MailboxId;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

impl World {
    fn make(&self, mailbox: Value) -> Value {
        self.answer("Mailbox/set", json!({"create": {"m": mailbox}}))
    }

    fn made(&self, name: &str, parent: Option<&str>, order: u32) -> String {
        let answer = self.make(json!({"name": name, "parentId": parent, "sortOrder": order}));
        answer["created"]["m"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn names(&self, arguments: Value) -> Vec<String> {
        let ids = self.answer("Mailbox/query", arguments)["ids"].clone();
        let list = self.answer("Mailbox/get", json!({"ids": ids, "properties": ["name"]}))["list"].clone();
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_name_is_kept_in_normal_form_c_and_the_client_is_told() {
    let world = World::new();
    let answer = world.make(json!({"name": "Cafe\u{301}"}));
    assert_eq!(answer["created"]["m"]["name"], json!("Caf\u{e9}"));
    let id = answer["created"]["m"]["id"].as_str().unwrap();
    let again = world.make(json!({"name": "Caf\u{e9}"}));
    assert_eq!(again["notCreated"]["m"]["type"], json!("alreadyExists"));
    assert_eq!(again["notCreated"]["m"]["existingId"], json!(id));
    let answer = world.answer("Mailbox/set", json!({"update": {id: {"name": "e\u{301}"}}}));
    assert_eq!(answer["updated"], json!({id: {"name": "\u{e9}"}}));
    let answer = world.answer("Mailbox/set", json!({"update": {id: {"name": "plain"}}}));
    assert_eq!(answer["updated"], json!({id: null}));
    assert_eq!(world.make(json!({"name": "x"}))["created"]["m"].get("name"), None);
    for wrong in ["", "a\u{7}b", "a\nb", "\u{85}", &"x".repeat(256), &"\u{e9}".repeat(128)] {
        let refused = &world.make(json!({"name": wrong}))["notCreated"]["m"];
        assert_eq!(refused["type"], json!("invalidProperties"), "{wrong}");
        assert_eq!(refused["properties"], json!(["name"]), "{wrong}");
    }
}

#[test]
fn parents_roles_and_orders_are_checked_and_named() {
    let world = World::new();
    let top = world.made("top", None, 0);
    let child = world.made("child", Some(&top), 0);
    for (parent, id) in [(&top, &top), (&child, &top)] {
        let answer = world.answer("Mailbox/set", json!({"update": {id.as_str(): {"parentId": parent}}}));
        assert_eq!(answer["notUpdated"][id]["properties"], json!(["parentId"]), "{answer}");
    }
    for (property, value) in [
        ("parentId", json!("mzz")),
        ("parentId", json!("nonsense")),
        ("role", json!("inbox")),
        ("role", json!("x-nobody")),
        ("sortOrder", json!(2_147_483_648_u64)),
        ("sortOrder", json!(-1)),
        ("totalEmails", json!(0)),
        ("isSubscribed", json!(null)),
        ("nothing", json!(1)),
    ] {
        let refused = &world.make(json!({"name": "n", property: value}))["notCreated"]["m"];
        assert_eq!(refused["type"], json!("invalidProperties"), "{property}");
        assert_eq!(refused["properties"], json!([property]), "{property}");
    }
    let answer = world.answer("Mailbox/set", json!({"destroy": [top], "onDestroyRemoveEmails": true}));
    assert_eq!(answer["notDestroyed"], json!({top.as_str(): {"type": "mailboxHasChild"}}));
}

/// RFC 8620 §5.3: the order in which a call is carried out isn't the client's; only its end counts.
#[test]
fn names_roles_and_places_may_be_swapped_in_one_call() {
    let world = World::new();
    let (a, b) = (world.made("a", None, 0), world.made("b", None, 0));
    let set = |update: Value| world.answer("Mailbox/set", json!({"update": update}));
    let get = |id: &str, property: &str| {
        world.answer("Mailbox/get", json!({"ids": [id], "properties": [property]}))["list"][0][property]
            .clone()
    };
    let answer = set(json!({a.as_str(): {"name": "b"}, b.as_str(): {"name": "a"}}));
    assert_eq!(answer["notUpdated"], json!(null));
    assert_eq!((get(&a, "name"), get(&b, "name")), (json!("b"), json!("a")));

    let with_role = |role: &str| {
        let found = world.answer("Mailbox/query", json!({"filter": {"role": role}}));
        found["ids"][0].as_str().unwrap_or_default().to_owned()
    };
    let (trash, junk) = (with_role("trash"), with_role("junk"));
    let answer = set(json!({trash.as_str(): {"role": "junk"}, junk.as_str(): {"role": "trash"}}));
    assert_eq!(answer["notUpdated"], json!(null));
    assert_eq!((with_role("trash"), with_role("junk")), (junk.clone(), trash.clone()));

    // A parent goes below its own child, which goes to the top.
    let child = world.made("child", Some(&a), 0);
    let answer = set(json!({a.as_str(): {"parentId": child}, child.as_str(): {"parentId": null}}));
    assert_eq!(answer["notUpdated"], json!(null));
    assert_eq!((get(&a, "parentId"), get(&child, "parentId")), (json!(child), json!(null)));

    // A new one takes the name and the role of what the same call destroys or changes.
    let answer = world.answer(
        "Mailbox/set",
        json!({
            "create": {"m": {"name": "a", "role": "trash"}},
            "update": {junk.as_str(): {"role": null}},
            "destroy": [b]
        }),
    );
    assert_eq!(answer["notCreated"], json!(null));
    assert_eq!(answer["destroyed"], json!([b]));
    assert_eq!(json!(with_role("trash")), answer["created"]["m"]["id"]);
}

/// What the end of a call can't bear is refused alone, and whatever counted on it.
#[test]
fn of_a_swap_that_fails_in_half_nothing_is_left() {
    let world = World::new();
    let (a, b, c) = (world.made("a", None, 0), world.made("b", None, 0), world.made("c", None, 0));
    let answer = world.answer(
        "Mailbox/set",
        json!({
            "create": {"x": {"name": "new"}, "y": {"name": "new"}, "z": {"name": "a"}},
            "update": {
                a.as_str(): {"name": "b"}, b.as_str(): {"name": "c"},
                c.as_str(): {"name": "a", "sortOrder": -1}
            }
        }),
    );
    let taken = |existing: &str| {
        json!({
            "type": "alreadyExists", "existingId": existing,
            "description": "A mailbox with this name is there already."
        })
    };
    assert_eq!(answer["updated"], json!(null), "{answer}");
    assert_eq!(answer["notUpdated"][&a], taken(&b));
    assert_eq!(answer["notUpdated"][&b], taken(&c));
    assert_eq!(answer["notUpdated"][&c]["properties"], json!(["sortOrder"]));
    assert_eq!(answer["notCreated"]["z"], taken(&a));
    assert_eq!(answer["notCreated"]["y"]["properties"], json!(["name"]));
    assert!(answer["created"]["x"]["id"].is_string(), "{answer}");
    let circle = json!({"update": {a.as_str(): {"parentId": b}, b.as_str(): {"parentId": a}}});
    let answer = world.answer("Mailbox/set", circle);
    assert_eq!(answer["updated"], json!({a.as_str(): null}), "{answer}");
    assert_eq!(answer["notUpdated"][&b]["properties"], json!(["parentId"]));
}

#[test]
fn a_query_sorts_by_collation_and_as_a_tree() {
    let world = World::new();
    let r = world.made("z keep r", None, 2);
    world.made("z keep r1", Some(&r), 1);
    world.made("z keep R2", Some(&r), 0);
    let s = world.made("z drop s", None, 1);
    world.made("z keep s1", Some(&s), 0);
    let by = |property: &str, ascending: bool| json!({"property": property, "isAscending": ascending});
    let sort = json!([by("sortOrder", true), by("name", true)]);
    let query = |name: &str, tree: bool, filter: bool| {
        world.names(json!({
            "filter": {"name": name}, "sort": sort, "sortAsTree": tree, "filterAsTree": filter
        }))
    };
    assert_eq!(query("z ", false, false), ["z keep R2", "z keep s1", "z drop s", "z keep r1", "z keep r"]);
    assert_eq!(query("z ", true, false), ["z drop s", "z keep s1", "z keep r", "z keep R2", "z keep r1"]);
    assert_eq!(query("z keep", true, true), ["z keep r", "z keep R2", "z keep r1"]);
    let named = |collation: Value| {
        world.names(json!({
            "filter": {"name": "z keep r"},
            "sort": [{"property": "name", "isAscending": false, "collation": collation}]
        }))
    };
    assert_eq!(named(json!("i;ascii-casemap")), ["z keep R2", "z keep r1", "z keep r"]);
    assert_eq!(named(json!("i;unicode-casemap")), ["z keep R2", "z keep r1", "z keep r"]);
    let unknown = json!({"sort": [{"property": "name", "collation": "i;octet"}]});
    assert_eq!(world.error("Mailbox/query", unknown), "unsupportedSort");
    let unknown = json!({"sort": [{"property": "totalEmails"}]});
    assert_eq!(world.error("Mailbox/query", unknown), "unsupportedSort");
    assert_eq!(world.error("Mailbox/query", json!({"filter": {"x": 1}})), "unsupportedFilter");
}

/// After every step, the old results with the changes are the new results.
#[test]
fn query_changes_turn_the_old_results_into_the_new_ones() {
    let world = World::new();
    let a = world.made("a keep", None, 0);
    let b = world.made("b keep", None, 0);
    let c = world.made("c keep", Some(&a), 0);
    world.made("d keep", Some(&c), 0);
    let sort = json!([{"property": "name"}]);
    let queries = [
        json!({"sort": sort}),
        json!({"sort": sort, "filter": {"name": "keep"}}),
        json!({"sort": sort, "filter": {"name": "keep"}, "sortAsTree": true}),
        json!({"sort": sort, "filter": {"name": "keep"}, "sortAsTree": true, "filterAsTree": true}),
        json!({"filter": {"parentId": null}}),
    ];
    let steps = [
        json!({"update": {a.as_str(): {"name": "x keep"}}}),
        json!({"update": {a.as_str(): {"name": "gone"}}}),
        json!({"update": {a.as_str(): {"name": "a keep"}, b.as_str(): {"parentId": a}}}),
        json!({"create": {"n": {"name": "aa keep", "parentId": c}}}),
        json!({"update": {c.as_str(): {"parentId": b}}}),
        json!({"update": {b.as_str(): {"isSubscribed": false}}}),
        json!({"create": {"n": {"name": "last keep"}}, "update": {a.as_str(): {"sortOrder": 3}}}),
        json!({}),
    ];
    for step in steps {
        let before: Vec<Value> =
            queries.iter().map(|query| world.answer("Mailbox/query", query.clone())).collect();
        world.add(MESSAGE, &[1], &[], 5);
        world.answer("Mailbox/set", step.clone());
        for (query, before) in queries.iter().zip(before) {
            assert_eq!(before["canCalculateChanges"], json!(true));
            let after = world.answer("Mailbox/query", query.clone());
            let mut arguments = query.clone();
            arguments["sinceQueryState"] = before["queryState"].clone();
            arguments["calculateTotal"] = json!(true);
            let changes = world.answer("Mailbox/queryChanges", arguments.clone());
            assert_eq!(changes["newQueryState"], after["queryState"]);
            assert_eq!(changes["total"], json!(after["ids"].as_array().unwrap().len()));
            assert_eq!(applied(&before["ids"], &changes), after["ids"], "{query} {step} {changes}");
            if step == json!({}) {
                assert_eq!((&changes["removed"], &changes["added"]), (&json!([]), &json!([])));
            }
        }
    }
    let wrong = json!({"sinceQueryState": "nonsense"});
    assert_eq!(world.error("Mailbox/queryChanges", wrong), "cannotCalculateChanges");
}

/// RFC 8621 §2: a Thread is unread where it would be shown as unread, and what is in the Trash only
/// is a Thread of its own.
#[test]
fn counts_are_those_of_the_rfc_with_its_rule_for_the_trash() {
    let world = World::new();
    let letter = |number: u32| {
        format!("Subject: s\r\nMessage-ID: <{number}@x>\r\nReferences: <root@x>\r\n\r\n").into_bytes()
    };
    let counts = |id: &str| {
        let list = world.answer("Mailbox/get", json!({"ids": [id]}))["list"].clone();
        ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"]
            .map(|name| list[0][name].as_u64().unwrap())
    };
    // `mb` is the Inbox, `mc` the Archive, `mg` the Trash: unread there, read in the Inbox.
    world.add(&letter(1), &[6], &[], 1);
    world.add(&letter(2), &[1], &["$seen"], 2);
    assert_eq!((counts("mg"), counts("mb")), ([1, 1, 1, 1], [1, 0, 1, 0]));
    // An unread draft counts nowhere; an unread Email elsewhere makes the Thread unread here.
    world.add(&letter(3), &[1], &["$draft"], 3);
    assert_eq!(counts("mb"), [2, 0, 1, 0]);
    world.add(&letter(4), &[2], &[], 4);
    assert_eq!((counts("mb"), counts("mc"), counts("mg")), ([2, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]));
    // In the Trash and elsewhere it is in both places.
    world.answer(
        "Email/set",
        json!({"update": {"ee": {"mailboxIds/mg": true}, "eb": {"keywords/$seen": true}}}),
    );
    assert_eq!((counts("mb"), counts("mg")), ([2, 0, 1, 1], [2, 1, 1, 1]));
    // Another mailbox becomes the Trash: all is counted anew.
    world.answer("Mailbox/set", json!({"update": {"mg": {"role": null}}}));
    world.answer("Mailbox/set", json!({"update": {"mc": {"role": "trash"}}}));
    assert_eq!((counts("mb"), counts("mc"), counts("mg")), ([2, 0, 1, 1], [1, 1, 1, 1], [2, 1, 1, 1]));
    world.answer("Email/set", json!({"update": {"ee": {"mailboxIds/mg": null}}}));
    assert_eq!((counts("mb"), counts("mc"), counts("mg")), ([2, 0, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0]));
}

#[test]
fn changes_of_counts_alone_say_so() {
    let world = World::new();
    let state = world.answer("Mailbox/get", json!({"ids": []}))["state"].clone();
    world.add(MESSAGE, &[1], &[], 5);
    let changes = world.answer("Mailbox/changes", json!({"sinceState": state}));
    assert_eq!((&changes["updated"], &changes["created"]), (&json!(["mb"]), &json!([])));
    let names = json!(["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"]);
    assert_eq!(changes["updatedProperties"], names);
    world.answer("Mailbox/set", json!({"update": {"mb": {"sortOrder": 9}}}));
    let changes = world.answer("Mailbox/changes", json!({"sinceState": state}));
    assert_eq!((&changes["updated"], &changes["updatedProperties"]), (&json!(["mb"]), &Value::Null));
}

#[test]
fn a_mailbox_goes_with_its_emails_only_where_that_is_asked() {
    let world = World::new();
    let id = world.made("gone", None, 0);
    let number = MailboxId::parse(&id).unwrap().0;
    world.add(MESSAGE, &[number], &[], 5);
    world.add(MESSAGE, &[number, 1], &[], 6);
    let refused = world.answer("Mailbox/set", json!({"destroy": [id, "mzz"]}))["notDestroyed"].clone();
    assert_eq!(refused, json!({id.as_str(): {"type": "mailboxHasEmail"}, "mzz": {"type": "notFound"}}));
    let answer = world.answer("Mailbox/set", json!({"destroy": [id], "onDestroyRemoveEmails": true}));
    assert_eq!(answer["destroyed"], json!([id]));
    let emails = world.answer("Email/get", json!({"ids": ["eb", "ec"], "properties": ["mailboxIds"]}));
    assert_eq!(emails["notFound"], json!(["eb"]));
    assert_eq!(emails["list"], json!([{"id": "ec", "mailboxIds": {"mb": true}}]));
}

/// A client's part (RFC 8620 §5.6): takes out what was removed, then puts in what was added.
pub fn applied(ids: &Value, changes: &Value) -> Value {
    let removed = changes["removed"].as_array().unwrap();
    let mut ids: Vec<Value> =
        ids.as_array().unwrap().iter().filter(|id| !removed.contains(id)).cloned().collect();
    for added in changes["added"].as_array().unwrap() {
        let at = added["index"].as_u64().unwrap() as usize;
        ids.insert(at.min(ids.len()), added["id"].clone());
    }
    ids.into()
}

#[test]
fn what_fails_after_a_step_was_done_says_so() {
    let world = World::new();
    let large = world.made("large", None, 0);
    let number = MailboxId::parse(&large).unwrap().0;
    for number_of_mail in 0..300 {
        let raw = format!("Message-ID: <{number_of_mail}@x.example>\r\n\r\nText\r\n");
        world.add(raw.as_bytes(), &[number], &[], i64::from(number_of_mail));
    }
    let set = json!({"destroy": [large], "onDestroyRemoveEmails": true});
    let left = || {
        let got = world.answer("Mailbox/get", json!({"ids": [large], "properties": ["totalEmails"]}));
        got["list"][0]["totalEmails"].clone()
    };
    for (asked, error, emails) in [(0, "accountNotFound", 300), (1, "serverPartialFail", 50)] {
        world.asked_until_revoked.store(asked, Ordering::Relaxed);
        assert_eq!(world.error("Mailbox/set", set.clone()), error);
        world.asked_until_revoked.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(left(), emails);
    }
    assert_eq!(world.answer("Mailbox/set", set)["destroyed"], json!([large]));
}

/// Decision 013.
#[test]
fn a_large_mailbox_goes_in_steps_and_each_state_between_is_true() {
    let world = World::new();
    let large = world.made("large", None, 0);
    let keep = world.made("keep", None, 0);
    let numbers = [&large, &keep].map(|id| MailboxId::parse(id).unwrap().0);
    for number in 0..600 {
        let raw = format!("Message-ID: <{number}@x.example>\r\nSubject: {number}\r\n\r\nText\r\n");
        let count = if number % 3 == 0 { 2 } else { 1 };
        world.add(raw.as_bytes(), &numbers[..count], &[], i64::from(number));
    }
    let state = |kind: &str| world.answer(&format!("{kind}/get"), json!({"ids": []}))["state"].clone();
    let (mailboxes_at, emails_at) = (state("Mailbox"), state("Email"));
    let set = |more: Value| {
        let mut arguments = json!({"destroy": [large], "onDestroyRemoveEmails": true});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    assert_eq!(world.error("Mailbox/set", set(json!({"ifInState": "s999"}))), "stateMismatch");
    assert_eq!(state("Email"), emails_at, "nothing was begun");
    let answer = world.answer("Mailbox/set", set(json!({"ifInState": mailboxes_at})));
    assert_eq!((&answer["destroyed"], &answer["oldState"]), (&json!([large]), &mailboxes_at));
    assert_eq!(answer["newState"], state("Mailbox"));
    let got = world.answer("Mailbox/get", json!({"ids": [large, keep], "properties": ["totalEmails"]}));
    assert_eq!(got["notFound"], json!([large]));
    assert_eq!(got["list"], json!([{"id": keep, "totalEmails": 200}]));
    // More than one step, each with changes that can be followed.
    let mut since = emails_at;
    let (mut destroyed, mut updated) = (0, 0);
    loop {
        let changes = world.answer("Email/changes", json!({"sinceState": since, "maxChanges": 150}));
        destroyed += changes["destroyed"].as_array().unwrap().len();
        updated += changes["updated"].as_array().unwrap().len();
        since = changes["newState"].clone();
        if changes["hasMoreChanges"] == json!(false) {
            break;
        }
    }
    assert_eq!((destroyed, updated, &since), (400, 200, &state("Email")));
}

#[test]
fn there_is_always_a_mailbox_for_what_comes_in() {
    let world = World::new();
    let refused = world.answer("Mailbox/set", json!({"update": {"mb": {"role": null}}, "destroy": ["mb"]}));
    assert_eq!(refused["notUpdated"]["mb"]["type"], "willDestroy", "{refused}");
    assert_eq!(refused["notDestroyed"]["mb"]["type"], "forbidden", "{refused}");
    let refused = world.answer("Mailbox/set", json!({"update": {"mb": {"role": null}}}));
    assert_eq!(refused["notUpdated"]["mb"]["type"], "forbidden", "{refused}");
    let other = world.made("Other", None, 0);
    let moved = json!({"update": {&other: {"role": "inbox"}}, "destroy": ["mb"]});
    assert_eq!(world.answer("Mailbox/set", moved)["destroyed"], json!(["mb"]));
}
