//! Email and Thread as a client meets them, whole requests over a store in memory.

use super::world::*;
use crate::mail::{blob, headers};
use crate::store::Read;
use crate::store::rows::mail::StoredMessage;
use crate::types::{BlobId, EmailId, Keyword, MailboxId};
use proptest::prelude::*;
use serde_json::{Value, json};

fn letter(number: u32, about: u32) -> Vec<u8> {
    format!(
        "From: a@b\r\nSubject: s{about}\r\nMessage-ID: <{number}@x>\r\nReferences: <root{about}@x>\r\n\r\nbody {number}\r\n"
    )
    .into_bytes()
}

#[test]
fn a_list_view_has_what_the_message_says() {
    let world = World::new();
    let added = world.add(MESSAGE, &[1], &["$seen", "Work"], 1_000_000_000);
    let wanted = json!([
        "id",
        "blobId",
        "threadId",
        "mailboxIds",
        "keywords",
        "size",
        "receivedAt",
        "from",
        "to",
        "cc",
        "subject",
        "sentAt",
        "messageId",
        "hasAttachment",
        "preview"
    ]);
    assert_eq!(
        world.get("eb", wanted),
        json!({
            "id": "eb", "blobId": "rb", "threadId": added.thread.to_string(), "mailboxIds": {"mb": true},
            "keywords": {"$seen": true, "work": true}, "size": PREFIX.len() + MESSAGE.len(),
            "receivedAt": "2001-09-09T01:46:40Z",
            "from": [{"name": "Jö", "email": "j@example.com"}],
            "to": [{"name": null, "email": "ann@example.org"}, {"name": "B, C", "email": "b@example.org"}],
            "cc": null, "subject": "Dinner & <more>", "sentAt": "2018-07-10T01:03:11+02:00",
            "messageId": ["1@example.com"], "hasAttachment": true, "preview": "Hello foo and fine"
        })
    );
}

#[test]
fn the_default_properties_are_those_of_the_rfc() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let object = world.answer("Email/get", json!({"ids": ["eb", "ez", "x", "eb"]}));
    assert_eq!(object["notFound"], json!(["ez", "x"]));
    let names: Vec<&String> = object["list"][0].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "id",
            "blobId",
            "threadId",
            "mailboxIds",
            "keywords",
            "size",
            "receivedAt",
            "messageId",
            "inReplyTo",
            "references",
            "sender",
            "from",
            "to",
            "cc",
            "bcc",
            "replyTo",
            "subject",
            "sentAt",
            "hasAttachment",
            "preview",
            "bodyValues",
            "textBody",
            "htmlBody",
            "attachments"
        ]
    );
    assert_eq!(object["list"][0]["bodyValues"], json!({}));
}

#[test]
fn what_the_summary_cannot_tell_comes_from_the_fields() {
    let world = World::new();
    let many: Vec<String> = (0..20).map(|number| format!("a{number}@x")).collect();
    world.add(format!("To: {}\r\nFrom: none:;\r\n\r\n", many.join(", ")).as_bytes(), &[1], &[], 5);
    world.add(b"Subject:\r\n\r\n", &[1], &[], 5);
    let first = world.get("eb", json!(["to", "from", "subject", "sentAt"]));
    assert_eq!(first["to"].as_array().map(Vec::len), Some(20));
    assert_eq!(
        (&first["from"], &first["subject"], &first["sentAt"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    let second = world.get("ec", json!(["to", "subject"]));
    assert_eq!((&second["to"], &second["subject"]), (&Value::Null, &json!("")));
}

#[test]
fn header_properties_come_as_they_were_spelled_and_forbidden_ones_are_refused() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let wanted = json!([
        "header:x-two",
        "header:X-Two:all",
        "header:X-Two:asText:all",
        "header:None",
        "header:None:all",
        "header:Return-Path",
        "header:from:asGroupedAddresses",
        "header:DATE:asDate"
    ]);
    assert_eq!(
        world.get("eb", wanted),
        json!({
            "id": "eb", "header:x-two": " two", "header:X-Two:all": [" one", " two"],
            "header:X-Two:asText:all": ["one", "two"], "header:None": null, "header:None:all": [],
            "header:Return-Path": " <j@example.com>",
            "header:from:asGroupedAddresses": [
                {"name": null, "addresses": [{"name": "Jö", "email": "j@example.com"}]}
            ],
            "header:DATE:asDate": "2018-07-10T01:03:11+02:00"
        })
    );
    let all = world.get("eb", json!(["headers"]));
    assert_eq!(all["headers"][0], json!({"name": "Return-Path", "value": " <j@example.com>"}));
    assert_eq!(all["headers"].as_array().map(Vec::len), Some(11));
    for wrong in ["header:From:asDate", "header:", "header:Subject:asText:x", "nothing", "conversationId"] {
        let kind = world.error("Email/get", json!({"ids": [], "properties": [wrong]}));
        assert_eq!(kind, "invalidArguments", "{wrong}");
        let kind = world.error("Email/get", json!({"ids": [], "bodyProperties": [wrong]}));
        assert_eq!(kind, "invalidArguments", "{wrong}");
    }
}

#[test]
fn the_conversation_shows_where_a_capability_of_ours_is_in_use_and_only_where_named() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let (_, named) = world.call(OURS, "Email/get", json!({"ids": ["eb"], "properties": ["conversationId"]}));
    assert_eq!(named["list"], json!([{"id": "eb", "conversationId": null}]));
    let (_, all) = world.call(OURS, "Email/get", json!({"ids": ["eb"]}));
    assert_eq!(all["list"][0].get("conversationId"), None);
    let filter = json!({"filter": {"conversationId": "cb"}});
    assert_eq!(world.error("Email/query", filter.clone()), "unsupportedFilter");
    assert_eq!(world.call(OURS, "Email/query", filter).1["ids"], json!([]));
}

#[test]
fn bodies_have_their_structure_values_and_blobs_behind_the_trace() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let arguments = json!({
        "ids": ["eb"], "properties": ["bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments"],
        "bodyProperties": ["partId", "type", "size", "header:Content-Disposition:asText", "blobId"],
        "fetchAllBodyValues": true, "maxBodyValueBytes": 5
    });
    let email = world.answer("Email/get", arguments)["list"][0].clone();
    let truncated = json!({"value": "Hello", "isEncodingProblem": false, "isTruncated": true});
    assert_eq!(email["bodyValues"], json!({"1": truncated}));
    assert_eq!(email["textBody"], email["htmlBody"]);
    let image = email["attachments"][0].clone();
    let (text, structure) = (email["textBody"][0].clone(), email["bodyStructure"].clone());
    assert_eq!(structure["subParts"], json!([text, image]));
    assert_eq!((&structure["partId"], &structure["blobId"]), (&Value::Null, &Value::Null));
    assert_eq!((&image["type"], &image["size"]), (&json!("image/png"), &json!(4)));
    assert_eq!(image["header:Content-Disposition:asText"], "attachment");
    let fetch = |part: &Value| {
        let id = BlobId::parse(part["blobId"].as_str().unwrap()).unwrap();
        blob::fetch(&world.store.snapshot(), ACCOUNT, None, &id).unwrap()
    };
    assert_eq!(fetch(&image), Some(vec![1, 2, 3, 4]));
    assert_eq!(fetch(&text), Some(b"Hello foo\r\nand fine".to_vec()));
}

#[test]
fn a_message_within_a_message_is_parsed_with_parts_that_can_be_fetched() {
    let world = World::new();
    let inner = String::from_utf8_lossy(MESSAGE).into_owned();
    let outer = format!("Content-Type: message/rfc822\r\nSubject: fwd\r\n\r\n{inner}");
    world.add(outer.as_bytes(), &[1], &[], 5);
    let part = world.get("eb", json!(["attachments"]))["attachments"][0].clone();
    let id = part["blobId"].as_str().unwrap().to_owned();
    let arguments = json!({
        "blobIds": [id, "x", id], "properties": ["id", "subject", "size", "keywords", "attachments", "preview"]
    });
    let response = world.answer("Email/parse", arguments);
    assert_eq!((&response["notFound"], &response["notParsable"]), (&json!(["x"]), &Value::Null));
    let parsed = &response["parsed"][&id];
    assert_eq!((&parsed["id"], &parsed["keywords"]), (&Value::Null, &Value::Null));
    assert_eq!((&parsed["subject"], &parsed["size"]), (&json!("Dinner & <more>"), &json!(MESSAGE.len())));
    let image = BlobId::parse(parsed["attachments"][0]["blobId"].as_str().unwrap()).unwrap();
    assert_eq!(blob::fetch(&world.store.snapshot(), ACCOUNT, None, &image).unwrap(), Some(vec![1, 2, 3, 4]));
    let text = BlobId::parse("rb").unwrap().part(0, 0, crate::types::TransferEncoding::Identity).to_string();
    let response = world.answer("Email/parse", json!({"blobIds": [text]}));
    assert_eq!((&response["parsed"], &response["notParsable"]), (&Value::Null, &json!([text])));
}

#[test]
fn snippets_are_marked_and_escaped() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let long = format!("Subject: x\r\n\r\n{}needle {}\r\n", "&<> ".repeat(500), "needle &&&& ".repeat(90));
    world.add(long.as_bytes(), &[1], &[], 6);
    let filter = json!({"operator": "OR", "conditions": [
        {"text": "dinner foo"}, {"body": "needle"}, {"operator": "NOT", "conditions": [{"text": "fine"}]}
    ]});
    let response =
        world.answer("SearchSnippet/get", json!({"filter": filter, "emailIds": ["eb", "ec", "ez"]}));
    assert_eq!(response["notFound"], json!(["ez"]));
    assert_eq!(
        response["list"][0],
        json!({
            "emailId": "eb", "subject": "<mark>Dinner</mark> &amp; &lt;more&gt;",
            "preview": "Hello <mark>foo</mark> and fine"
        })
    );
    let preview = response["list"][1]["preview"].as_str().unwrap();
    assert!(preview.len() <= 255 && preview.contains("<mark>needle</mark>"), "{preview}");
    assert_eq!(preview.matches("<mark>").count(), preview.matches("</mark>").count());
    let none = world.answer("SearchSnippet/get", json!({"filter": null, "emailIds": ["eb"]}));
    assert_eq!(none["list"], json!([{"emailId": "eb", "subject": null, "preview": null}]));
    assert_eq!(none["notFound"], Value::Null);
}

#[test]
fn threads_have_their_emails_oldest_first_and_go_with_the_last() {
    let world = World::new();
    let newer = world.add(&letter(1, 1), &[1], &[], 20);
    let state = world.answer("Thread/get", json!({"ids": []}))["state"].clone();
    world.add(&letter(2, 1), &[1], &[], 10);
    let thread = newer.thread.to_string();
    let response = world.answer("Thread/get", json!({"ids": [thread, "x"]}));
    assert_eq!(response["list"], json!([{"id": thread, "emailIds": ["ec", "eb"]}]));
    assert_eq!(response["notFound"], json!(["x"]));
    let changed = world.answer("Thread/changes", json!({"sinceState": state}));
    assert_eq!(changed["updated"], json!([thread]));
    world.destroy(EmailId(1));
    world.destroy(EmailId(2));
    let changed = world.answer("Thread/changes", json!({"sinceState": state}));
    assert_eq!((&changed["updated"], &changed["destroyed"]), (&json!([]), &json!([thread])));
}

#[test]
fn conditions_decide_as_the_rfc_says() {
    let world = World::new();
    world.add(&letter(1, 1), &[1], &["$seen"], 10);
    world.add(&letter(2, 1), &[2], &[], 20);
    world.add(MESSAGE, &[1, 2], &["$flagged", "$seen"], 30);
    let not = |inner: Value| json!({"operator": "NOT", "conditions": [inner]});
    for (filter, wanted) in [
        (json!(null), json!(["ed", "ec", "eb"])),
        (json!({}), json!(["ed", "ec", "eb"])),
        (json!({"inMailbox": "mb"}), json!(["ed", "eb"])),
        (json!({"operator": "AND", "conditions": [{}, {"inMailbox": "mb"}]}), json!(["ed", "eb"])),
        (json!({"inMailbox": "what"}), json!([])),
        (json!({"inMailboxOtherThan": ["mb"]}), json!(["ed", "ec"])),
        (json!({"inMailboxOtherThan": ["nonsense"]}), json!(["ed", "ec", "eb"])),
        (json!({"before": "1970-01-01T00:00:20Z"}), json!(["eb"])),
        (json!({"after": "1970-01-01T00:00:20Z"}), json!(["ed", "ec"])),
        (json!({"hasKeyword": "$SEEN"}), json!(["ed", "eb"])),
        (json!({"notKeyword": "$seen"}), json!(["ec"])),
        (json!({"hasKeyword": "a b"}), json!([])),
        (json!({"notKeyword": "a b"}), json!(["ed", "ec", "eb"])),
        (json!({"allInThreadHaveKeyword": "$seen"}), json!(["ed"])),
        (json!({"someInThreadHaveKeyword": "$seen"}), json!(["ed", "ec", "eb"])),
        (json!({"noneInThreadHaveKeyword": "$flagged"}), json!(["ec", "eb"])),
        (json!({"hasAttachment": true}), json!(["ed"])),
        (json!({"minSize": 400}), json!(["ed"])),
        (json!({"maxSize": 400}), json!(["ec", "eb"])),
        (json!({"header": ["X-TWO"]}), json!(["ed"])),
        (json!({"header": ["x-two", "ONE"]}), json!(["ed"])),
        (json!({"header": ["x-two", "three"]}), json!([])),
        (json!({"text": " "}), json!(["ed", "ec", "eb"])),
        (not(json!({"inMailbox": "mb"})), json!(["ec"])),
        (not(json!({})), json!([])),
    ] {
        let response = world.answer("Email/query", json!({"filter": filter, "calculateTotal": true}));
        assert_eq!(response["ids"], wanted, "{filter}");
        assert_eq!(response["total"], json!(wanted.as_array().unwrap().len()), "{filter}");
    }
}

#[test]
fn wrong_conditions_and_comparators_are_refused_each_in_its_way() {
    let world = World::new();
    for (arguments, kind) in [
        (json!({"filter": {"inMailbox": null}}), "invalidArguments"),
        (json!({"filter": {"inMailbox": 1}}), "invalidArguments"),
        (json!({"filter": {"before": "yesterday"}}), "invalidArguments"),
        (json!({"filter": {"minSize": -1}}), "invalidArguments"),
        (json!({"filter": {"header": []}}), "invalidArguments"),
        (json!({"filter": {"header": ["a", "b", "c"]}}), "invalidArguments"),
        (json!({"filter": {"hasAttachment": 1}}), "invalidArguments"),
        (json!({"filter": {"nonsense": 1}}), "unsupportedFilter"),
        (json!({"filter": {"text": "w ".repeat(1000)}}), "unsupportedFilter"),
        (json!({"filter": {"text": "word"}}), "serverUnavailable"),
        (json!({"sort": [{"property": "nonsense"}]}), "unsupportedSort"),
        (json!({"sort": [{"property": "hasKeyword"}]}), "invalidArguments"),
        (json!({"sort": [{"property": "subject", "collation": "i;none"}]}), "unsupportedSort"),
        (json!({"collapseThreads": 1}), "invalidArguments"),
        (json!({"anchor": "ez"}), "anchorNotFound"),
    ] {
        assert_eq!(world.error("Email/query", arguments.clone()), kind, "{arguments}");
    }
}

#[test]
fn pages_collapse_sort_and_anchor() {
    let world = World::new();
    for (number, about, at) in [(1, 1, 10), (2, 2, 20), (3, 1, 30), (4, 3, 40)] {
        world.add(&letter(number, about), &[1], &[], at);
    }
    let inbox = json!({"inMailbox": "mb"});
    let query = |arguments: Value| world.answer("Email/query", arguments);
    let newest = json!([{"property": "receivedAt", "isAscending": false}]);
    let oldest = json!([{"property": "receivedAt"}]);
    for (arguments, ids, position) in [
        (json!({"filter": inbox, "sort": newest}), json!(["ee", "ed", "ec", "eb"]), 0),
        (json!({"filter": inbox, "sort": oldest}), json!(["eb", "ec", "ed", "ee"]), 0),
        (json!({"filter": inbox, "collapseThreads": true}), json!(["ee", "ed", "ec"]), 0),
        (json!({"filter": inbox, "sort": oldest, "collapseThreads": true}), json!(["eb", "ec", "ee"]), 0),
        (json!({"collapseThreads": true, "position": -2, "limit": 1}), json!(["ed"]), 1),
        (json!({"anchor": "ed", "anchorOffset": 1, "limit": 1}), json!(["ec"]), 2),
        (json!({"sort": oldest, "anchor": "ed", "anchorOffset": -1, "limit": 2}), json!(["ec", "ed"]), 1),
        (
            json!({"sort": [{"property": "subject"}, {"property": "receivedAt"}]}),
            json!(["eb", "ed", "ec", "ee"]),
            0,
        ),
        (json!({"position": 9}), json!([]), 9),
    ] {
        let response = query(arguments.clone());
        assert_eq!((&response["ids"], &response["position"]), (&ids, &json!(position)), "{arguments}");
    }
    assert_eq!(
        world.error("Email/query", json!({"collapseThreads": true, "anchor": "eb"})),
        "anchorNotFound"
    );
    assert_eq!(query(json!({"filter": inbox}))["canCalculateChanges"], json!(true));
    assert_eq!(query(json!({"filter": {"hasKeyword": "x"}}))["canCalculateChanges"], json!(true));
}

#[test]
fn query_changes_are_refused_where_they_can_not_be_told() {
    let world = World::new();
    let state = world.answer("Email/query", json!({}))["queryState"].clone();
    for at in 0..3 {
        world.add(&letter(at, at), &[1], &[], at.into());
    }
    let since = |state: &Value, more: Value| {
        let mut arguments = json!({"sinceQueryState": state});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    for state in ["", "x", "s999", "s1-1", "s01"] {
        let kind = world.error("Email/queryChanges", since(&json!(state), json!({})));
        assert_eq!(kind, "cannotCalculateChanges", "{state}");
    }
    // receivedAt never changes, so that what is behind the last known id is left out.
    let dated = json!({"filter": {"after": "1970-01-01T00:00:00Z"}, "upToId": "ec"});
    let response = world.answer("Email/queryChanges", since(&state, dated));
    assert_eq!(response["added"], json!([{"id": "ed", "index": 0}, {"id": "ec", "index": 1}]));
    assert_eq!(world.error("Email/queryChanges", since(&state, json!({"maxChanges": 2}))), "tooManyChanges");
    let near = json!({"maxChanges": 2, "upToId": "ec", "calculateTotal": true});
    let response = world.answer("Email/queryChanges", since(&state, near));
    assert_eq!(response["added"], json!([{"id": "ed", "index": 0}, {"id": "ec", "index": 1}]));
    assert_eq!((&response["removed"], &response["total"]), (&json!([]), &json!(3)));
    // An Email can leave a mailbox: there `upToId` doesn't count (RFC 8620 §5.6).
    let mutable = json!({"filter": {"inMailbox": "mb"}, "upToId": "ec"});
    let response = world.answer("Email/queryChanges", since(&state, mutable));
    assert_eq!(response["added"].as_array().map(Vec::len), Some(3));
}

#[derive(Clone, Debug)]
enum Step {
    Add { about: u32, at: i64, mailboxes: Vec<u32> },
    Move { which: usize, mailboxes: Vec<u32> },
    Flag { which: usize },
    Destroy { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let mailboxes = || prop::sample::subsequence(vec![1_u32, 2, 3], 1..=3);
    prop_oneof![
        3 => (0u32..4, 0i64..6, mailboxes()).prop_map(|(about, at, mailboxes)| Step::Add { about, at, mailboxes }),
        2 => (0usize..16, mailboxes()).prop_map(|(which, mailboxes)| Step::Move { which, mailboxes }),
        1 => (0usize..16).prop_map(|which| Step::Flag { which }),
        1 => (0usize..16).prop_map(|which| Step::Destroy { which }),
    ]
}

fn apply(world: &World, live: &mut Vec<EmailId>, number: &mut u32, step: &Step) {
    let pick = |live: &[EmailId], which: usize| live.get(which % live.len().max(1)).copied();
    match step {
        Step::Add { about, at, mailboxes } => {
            *number += 1;
            live.push(world.add(&letter(*number, *about), mailboxes, &[], *at).email);
        }
        Step::Move { which, mailboxes } => {
            if let Some(email) = pick(live, *which) {
                let mailboxes = mailboxes.iter().map(|id| MailboxId(*id)).collect();
                world.change(email, |row| row.mailboxes = mailboxes);
            }
        }
        Step::Flag { which } => {
            if let Some(email) = pick(live, *which) {
                world.change(email, |row| row.keywords = vec![Keyword::parse("$seen").unwrap()]);
            }
        }
        Step::Destroy { which } => {
            if let Some(email) = pick(live, *which) {
                world.destroy(email);
                live.retain(|other| *other != email);
            }
        }
    }
}

/// What a client does with a /queryChanges response (RFC 8620 §5.6).
fn splice(old: &[String], changes: &Value) -> Vec<String> {
    let removed = changes["removed"].as_array().unwrap();
    let mut ids: Vec<String> = old.iter().filter(|id| !removed.contains(&json!(id))).cloned().collect();
    for item in changes["added"].as_array().unwrap() {
        let at = item["index"].as_u64().unwrap() as usize;
        ids.insert(at, item["id"].as_str().unwrap().to_owned());
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn query_changes_applied_to_an_old_result_give_the_new_one(
        before in prop::collection::vec(step(), 0..12),
        after in prop::collection::vec(step(), 0..8),
    ) {
        let world = World::new();
        let (mut live, mut number) = (Vec::new(), 0);
        before.iter().for_each(|step| apply(&world, &mut live, &mut number, step));
        let mut queries = Vec::new();
        for filter in [json!(null), json!({"inMailbox": "mb"}), json!({"inMailbox": "mc"})] {
            for (collapse, ascending) in [(false, false), (false, true), (true, false)] {
                let sort = json!([{"property": "receivedAt", "isAscending": ascending}]);
                queries.push(json!({"filter": filter, "sort": sort, "collapseThreads": collapse}));
            }
        }
        for filter in [
            json!({"hasKeyword": "$seen"}),
            json!({"inMailbox": "mb", "notKeyword": "$seen"}),
            json!({"allInThreadHaveKeyword": "$seen"}),
            json!({"noneInThreadHaveKeyword": "$seen"}),
            json!({"inMailboxOtherThan": ["mb"]}),
            json!({"after": "1970-01-01T00:00:02Z"}),
        ] {
            for property in ["receivedAt", "subject", "someInThreadHaveKeyword"] {
                for collapse in [false, true] {
                    let sort = json!([{"property": property, "keyword": "$seen"}]);
                    queries.push(json!({"filter": filter, "sort": sort, "collapseThreads": collapse}));
                }
            }
        }
        let run = |query: &Value| {
            let mut query = query.clone();
            query["calculateTotal"] = json!(true);
            let response = world.answer("Email/query", query);
            let ids: Vec<String> = serde_json::from_value(response["ids"].clone()).unwrap();
            (ids, response)
        };
        let old: Vec<_> = queries.iter().map(&run).collect();
        after.iter().for_each(|step| apply(&world, &mut live, &mut number, step));
        for (query, (old_ids, old)) in queries.iter().zip(old) {
            let (ids, new) = run(query);
            let mut since = query.clone();
            since["sinceQueryState"] = old["queryState"].clone();
            since["calculateTotal"] = json!(true);
            let changes = world.answer("Email/queryChanges", since);
            prop_assert_eq!(splice(&old_ids, &changes), ids, "{}", query);
            prop_assert_eq!(&changes["total"], &new["total"]);
            prop_assert_eq!(&changes["newQueryState"], &new["queryState"]);
            prop_assert_eq!(&changes["oldQueryState"], &old["queryState"]);
        }
        for mailbox in ["mb", "mc"] {
            let slow = json!({"filter": {"operator": "AND", "conditions": [
                {"inMailbox": mailbox}, {"minSize": 0}
            ]}});
            let fast = run(&json!({"filter": {"inMailbox": mailbox}})).0;
            prop_assert_eq!(run(&slow).0, fast);
        }
    }
}

#[test]
fn a_field_of_the_trace_is_no_field_of_the_message_row() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    let snapshot = world.store.snapshot();
    let stored = (&snapshot as &dyn Read).row::<StoredMessage>(ACCOUNT, EmailId(1)).unwrap().unwrap();
    assert_eq!(headers::text(&stored.message, "return-path"), None);
    assert_eq!(blob::header_fields(&stored).len(), stored.message.fields().len() + 2);
}

#[test]
fn a_list_view_is_told_as_the_same_values_with_or_without_the_message() {
    let world = World::new();
    world.add(MESSAGE, &[1, 2], &["$seen", "Work"], 1_000_000_000);
    let empty = b"From: \"Q \\\" \x01 \xe2\x80\xa8\" <q@example.com>\r\nMessage-ID: <2@example.com>\r\n\r\nWith \"quotes\"\r\n";
    world.add(empty, &[1], &[], 2_000_000_000);
    let listed = [
        "id",
        "blobId",
        "threadId",
        "mailboxIds",
        "keywords",
        "size",
        "receivedAt",
        "hasAttachment",
        "preview",
        "from",
        "to",
        "subject",
        "sentAt",
    ];
    let all = |more: &[&str]| {
        let properties: Vec<&str> = listed.iter().chain(more).copied().collect();
        world.answer("Email/get", json!({"ids": ["eb", "ez", "ec", "!"], "properties": properties}))
    };
    let (short, mut long) = (all(&[]), all(&["headers"]));
    for email in long["list"].as_array_mut().unwrap() {
        email.as_object_mut().unwrap().shift_remove("headers");
    }
    assert_eq!(short, long);
    assert_eq!((&short["notFound"], short["list"].as_array().unwrap().len()), (&json!(["ez", "!"]), 2));
    let none = world.answer("Email/get", json!({"ids": ["ez"], "properties": ["id"]}));
    assert_eq!((&none["list"], &none["notFound"]), (&json!([]), &json!(["ez"])));
    let referred = world.request(
        PLAIN,
        json!([
            ["Email/get", {"ids": ["eb", "ec"], "properties": ["threadId"]}, "a"],
            ["Thread/get", {"#ids": {"resultOf": "a", "name": "Email/get", "path": "/list/*/threadId"}}, "b"]
        ]),
    );
    assert_eq!(referred[1][1]["list"].as_array().unwrap().len(), 2, "{referred}");
}
