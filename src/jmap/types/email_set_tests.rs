//! What a client makes of messages: Email/set, Email/import, Email/copy (RFC 8621 §4.6 to §4.8),
//! and that no arguments, however odd, make a method fail.

use super::world::*;
use crate::jmap::capability::Capability;
use crate::jmap::ijson;
use crate::jmap::session::tests::account;
use crate::store::PreparedBlob;
use crate::store::rows::mail::EmailRow;
use crate::store::{Read, uploads};
use crate::types::{BlobId, TransferEncoding};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

impl World {
    /// Uploads octets; gives the blob's id.
    fn upload(&self, octets: &[u8]) -> String {
        let prepared = PreparedBlob::of(octets).unwrap();
        self.write(|txn| {
            txn.put_blob(&prepared).unwrap();
            uploads::add(txn, ACCOUNT, self.session.principal, &prepared.hash, prepared.size).unwrap();
        });
        BlobId::content(prepared.hash).to_string()
    }

    /// Creates an Email in the Inbox with these properties; the response as it is.
    fn create(&self, mut email: Value) -> Value {
        if let Some(email) = email.as_object_mut() {
            email.entry("mailboxIds").or_insert(json!({"mb": true}));
        }
        self.answer("Email/set", json!({"create": {"c": email}}))
    }

    fn created(&self, email: Value) -> String {
        let answer = self.create(email);
        answer["created"]["c"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn import(&self, import: Value) -> Value {
        self.answer("Email/import", json!({"emails": {"i": import}}))
    }
}

fn text(id: &str) -> Value {
    json!({"partId": id, "type": "text/plain"})
}

/// A body of one part with one more property, and the text that it names.
fn part_with(property: &str, value: Value) -> Value {
    let mut part = text("t");
    part[property] = value;
    json!({"bodyStructure": part, "bodyValues": {"t": {"value": "x"}}})
}

#[test]
fn every_wrong_property_of_a_create_is_named_as_the_client_spelled_it() {
    let world = World::new();
    let long = "x".repeat(1200);
    let cases = [
        (json!({"mailboxIds": null}), json!(["mailboxIds"])),
        (json!({"mailboxIds": {}}), json!(["mailboxIds"])),
        (json!({"mailboxIds": {"mzz": true}}), json!(["mailboxIds"])),
        (json!({"mailboxIds": {"mb": false}}), json!(["mailboxIds"])),
        (json!({"keywords": {"a b": true}}), json!(["keywords"])),
        (json!({"keywords": {"ok": false}}), json!(["keywords"])),
        (json!({"receivedAt": "2020-01-01T00:00:00+01:00"}), json!(["receivedAt"])),
        (json!({"headers": [], "size": 1, "preview": "x"}), json!(["headers", "size", "preview"])),
        (json!({"nothing": 1}), json!(["nothing"])),
        (json!({"header:Content-foo": "bar"}), json!(["header:Content-foo"])),
        (json!({"header:content-type:asText": "x"}), json!(["header:content-type:asText"])),
        (json!({"header:From:asDate": "2020-01-01T00:00:00Z"}), json!(["header:From:asDate"])),
        (json!({"header:foo": ["a", "b"]}), json!(["header:foo"])),
        (json!({"header:foo:all": "a"}), json!(["header:foo:all"])),
        (json!({"header:foo:all": ["a", 1]}), json!(["header:foo:all"])),
        (json!({"header:X-Long:asRaw": long}), json!(["header:X-Long:asRaw"])),
        (json!({"header:X-Line": "a\r\nBcc: x@y"}), json!(["header:X-Line"])),
        (json!({"subject": "a\nb"}), json!(["subject"])),
        (json!({"subject": "a", "header:SUBJECT": "b"}), json!(["header:SUBJECT"])),
        (json!({"header:X-A": "1", "header:x-a:asText": "2"}), json!(["header:x-a:asText"])),
        (json!({"from": [{"name": "x"}]}), json!(["from"])),
        (json!({"to": [{"name": 5, "email": "a@b"}]}), json!(["to"])),
        (json!({"sentAt": "yesterday"}), json!(["sentAt"])),
        (json!({"messageId": ["a b"]}), json!(["messageId"])),
        (
            json!({"header:X:asGroupedAddresses": [{"name": 1, "addresses": []}]}),
            json!(["header:X:asGroupedAddresses"]),
        ),
    ];
    named(&world, &cases);
}

#[test]
fn every_wrong_part_of_a_create_is_named_by_its_path() {
    let world = World::new();
    let blob = world.upload(b"content");
    let values = json!({"t": {"value": "x"}});
    let structure = |part: Value| json!({"bodyStructure": part, "bodyValues": values});
    let cases = [
        (
            json!({"bodyStructure": text("t"), "textBody": [], "htmlBody": [], "attachments": [], "bodyValues": values}),
            json!(["textBody", "htmlBody", "attachments"]),
        ),
        (json!({"textBody": [text("t"), text("t")], "bodyValues": values}), json!(["textBody"])),
        (json!({"htmlBody": []}), json!(["htmlBody"])),
        (
            json!({"textBody": [{"partId": "t", "type": "text/html"}], "bodyValues": values}),
            json!(["textBody/0/type"]),
        ),
        (
            json!({"attachments": [text("t"), text("u")], "bodyValues": values}),
            json!(["attachments/1/partId"]),
        ),
        (structure(json!({"type": "text/plain"})), json!(["bodyStructure"])),
        (structure(text("no/id")), json!(["bodyStructure/partId"])),
        (part_with("size", json!(1)), json!(["bodyStructure/size"])),
        (part_with("charset", json!("us-ascii")), json!(["bodyStructure/charset"])),
        (part_with("headers", json!([])), json!(["bodyStructure/headers"])),
        (part_with("name", json!(5)), json!(["bodyStructure/name"])),
        (part_with("name", json!("a\nb")), json!(["bodyStructure/name"])),
        (part_with("cid", json!("a b")), json!(["bodyStructure/cid"])),
        (part_with("location", json!("a b")), json!(["bodyStructure/location"])),
        (part_with("disposition", json!("a b")), json!(["bodyStructure/disposition"])),
        (part_with("language", json!(["d e"])), json!(["bodyStructure/language"])),
        (part_with("type", json!("text")), json!(["bodyStructure/type"])),
        (part_with("type", json!("multipart/mixed")), json!(["bodyStructure/type"])),
        (part_with("blobId", json!(blob)), json!(["bodyStructure/partId", "bodyStructure/blobId"])),
        (
            part_with("header:Content-Transfer-Encoding", json!("7bit")),
            json!(["bodyStructure/header:Content-Transfer-Encoding"]),
        ),
        (part_with("header:Content-Type", json!("nonsense")), json!(["bodyStructure/header:Content-Type"])),
        (
            structure(json!({
                "partId": "t", "type": "text/plain", "header:Content-Type": " text/html",
                "disposition": "inline", "header:Content-Disposition:asText": "attachment"
            })),
            json!(["bodyStructure/header:Content-Type", "bodyStructure/header:Content-Disposition:asText"]),
        ),
        (part_with("header:Date:asText", json!("x")), json!(["bodyStructure/header:Date:asText"])),
        (structure(json!({"subParts": []})), json!(["bodyStructure/subParts"])),
        (
            structure(json!({"subParts": [text("t"), {"partId": "t", "size": 3}]})),
            json!(["bodyStructure/subParts/1/size"]),
        ),
        (
            json!({"header:foo": "1", "bodyStructure": {"partId": "t", "header:Foo": "2"}, "bodyValues": values}),
            json!(["bodyStructure/header:Foo"]),
        ),
        (
            json!({"subject": "1", "textBody": [{"partId": "t", "header:subject": "2"}], "bodyValues": values}),
            json!(["textBody/0/header:subject"]),
        ),
        (
            json!({"bodyValues": {"t": {"value": "x", "isTruncated": true, "isEncodingProblem": true}}}),
            json!(["bodyValues/t/isTruncated", "bodyValues/t/isEncodingProblem"]),
        ),
        (json!({"bodyValues": {"t/u": {}}}), json!(["bodyValues/t~1u/value"])),
    ];
    named(&world, &cases);
}

/// Each create is refused, and what is wrong with it is named.
#[track_caller]
fn named(world: &World, cases: &[(Value, Value)]) {
    for (email, wanted) in cases {
        let refused = &world.create(email.clone())["notCreated"]["c"];
        assert_eq!(refused["type"], json!("invalidProperties"), "{email} {refused}");
        assert_eq!(refused["properties"], *wanted, "{email} {refused}");
    }
}

#[test]
fn missing_blobs_are_listed_each_once() {
    let world = World::new();
    let good = world.upload(b"content");
    let part = |id: &str| json!({"blobId": id, "type": "application/pdf"});
    let parts = json!([part(&good), part("no1"), part("no2"), part("no1")]);
    for email in [
        json!({"attachments": parts}),
        json!({"bodyStructure": {"type": "multipart/mixed", "subParts": parts}}),
    ] {
        assert_eq!(
            world.create(email)["notCreated"]["c"],
            json!({"type": "blobNotFound", "notFound": ["no1", "no2"]})
        );
    }
}

#[test]
fn what_is_created_tells_four_properties_and_what_was_left_out_is_added() {
    let world = World::new();
    let answer = world.create(json!({}));
    let created = answer["created"]["c"].as_object().unwrap();
    assert_eq!(created.keys().collect::<Vec<_>>(), ["id", "blobId", "threadId", "size"]);
    let email =
        world.get(created["id"].as_str().unwrap(), json!(["messageId", "sentAt", "keywords", "subject"]));
    assert_eq!((&email["keywords"], &email["subject"]), (&json!({}), &Value::Null));
    assert_eq!(email["messageId"].as_array().map(Vec::len), Some(1));
    assert_eq!(email["sentAt"], json!("2023-11-14T22:13:20Z"));
    let root = json!({
        "partId": "t", "type": "text/plain", "header:from": "Foo <test@example.org>",
        "header:Date:asDate": "2020-02-03T04:05:06+02:00", "header:Message-ID": " <own@id>"
    });
    let id = world.created(json!({"bodyStructure": root, "bodyValues": {"t": {"value": "x"}}}));
    let email =
        world.get(&id, json!(["from", "header:Date:asDate:all", "header:Message-ID:asMessageIds:all"]));
    assert_eq!(email["from"], json!([{"name": "Foo", "email": "test@example.org"}]));
    assert_eq!(email["header:Date:asDate:all"], json!(["2020-02-03T04:05:06+02:00"]));
    assert_eq!(email["header:Message-ID:asMessageIds:all"], json!([["own@id"]]));
}

/// text of another type than text is a part like any other.
#[test]
fn an_attachment_may_come_as_text() {
    let world = World::new();
    let id = world.created(json!({
        "textBody": [{"partId": "t"}],
        "attachments": [{
            "partId": "a", "type": "image/svg+xml", "name": "i.svg", "disposition": "attachment", "language": ["US"]
        }],
        "bodyValues": {"t": {"value": "x", "isTruncated": false}, "a": {"value": "<svg/>", "isEncodingProblem": null}}
    }));
    let email = world.get(&id, json!(["attachments", "hasAttachment", "textBody"]));
    assert_eq!(email["hasAttachment"], json!(true));
    let attachment = &email["attachments"][0];
    assert_eq!((&attachment["type"], &attachment["charset"]), (&json!("image/svg+xml"), &Value::Null));
    assert_eq!((&attachment["size"], &attachment["language"]), (&json!(6), &json!(["US"])));
    assert_eq!(email["textBody"].as_array().map(Vec::len), Some(1));
}

/// Without a disposition an image or a text in mixed parts is content by RFC 8621 §4.1.4.
#[test]
fn what_is_given_as_an_attachment_reads_as_one_unless_it_says_otherwise() {
    let world = World::new();
    let blob = world.upload(b"content");
    let part = |more: Value| {
        let mut part = json!({"blobId": blob, "type": "image/png"});
        part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        part
    };
    let id = world.created(json!({
        "textBody": [{"partId": "t"}], "bodyValues": {"t": {"value": "x"}},
        "attachments": [
            part(json!({})), part(json!({"type": "text/plain"})), part(json!({"disposition": "inline"})),
            part(json!({"header:Content-Disposition": " inline"})), part(json!({"cid": "a@b"})),
        ],
    }));
    let email = world.get(&id, json!(["attachments", "hasAttachment", "bodyStructure"]));
    let listed = |list: &Value| {
        list.as_array().unwrap().iter().map(|part| part["disposition"].clone()).collect::<Value>()
    };
    assert_eq!(listed(&email["attachments"]), json!(["attachment", "attachment"]));
    assert_eq!(email["hasAttachment"], json!(true));
    let all = listed(&email["bodyStructure"]["subParts"]);
    assert_eq!(all, json!([null, "attachment", "attachment", "inline", "inline", null]));
}

#[test]
fn a_keyword_is_the_same_in_any_case() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    for (patch, keywords) in [
        (json!({"keywords/Foo": true, "keywords/bar": true}), json!({"bar": true, "foo": true})),
        (json!({"keywords/FOO": null}), json!({"bar": true})),
        (json!({"keywords/BAR": true}), json!({"bar": true})),
        (json!({"keywords/bAr": false}), json!({})),
    ] {
        let told = world.answer("Email/set", json!({"update": {"eb": patch}}));
        assert_eq!(told["updated"], json!({"eb": null}), "{patch}");
        assert_eq!(world.get("eb", json!(["keywords"]))["keywords"], keywords, "{patch}");
    }
}

#[test]
fn an_update_names_what_it_may_not_change_as_the_client_spelled_it() {
    let world = World::new();
    world.add(MESSAGE, &[1], &[], 5);
    for (patch, wanted) in [
        (json!({"subject": "new"}), json!(["subject"])),
        (json!({"header:subject:asText": "new"}), json!(["header:subject:asText"])),
        (json!({"header:X-New": "new", "blobId": "x"}), json!(["blobId", "header:X-New"])),
        (json!({"receivedAt": "2020-01-01T00:00:00Z"}), json!(["receivedAt"])),
        (json!({"keywords/a b": true}), json!(["keywords"])),
        (json!({"keywords": {"ok": false}}), json!(["keywords"])),
        (json!({"keywords/$seen": 0}), json!(["keywords"])),
        (json!({"mailboxIds": {}}), json!(["mailboxIds"])),
        (json!({"mailboxIds/mb": null}), json!(["mailboxIds"])),
        (json!({"mailboxIds/mzz": true}), json!(["mailboxIds"])),
        (json!({"header:From:asDate": null}), json!(["header:From:asDate"])),
    ] {
        let refused = world.answer("Email/set", json!({"update": {"eb": patch}}))["notUpdated"]["eb"].take();
        assert_eq!(refused["type"], json!("invalidProperties"), "{patch}");
        assert_eq!(refused["properties"], wanted, "{patch}");
    }
    let same = json!({"blobId": "rb", "header:subject:asText": "Dinner & <more>", "keywords/$Seen": true});
    let answer = world.answer("Email/set", json!({"update": {"eb": same}}));
    assert_eq!(answer["updated"], json!({"eb": null}));
    assert_eq!(world.get("eb", json!(["keywords"]))["keywords"], json!({"$seen": true}));
    let both = json!({"keywords/$flagged": true, "keywords/$seen": false, "keywords/$draft": false});
    assert_eq!(world.answer("Email/set", json!({"update": {"eb": both}}))["updated"], json!({"eb": null}));
    assert_eq!(world.get("eb", json!(["keywords"]))["keywords"], json!({"$flagged": true}));
    world.answer("Email/set", json!({"update": {"eb": {"keywords": null}}}));
    assert_eq!(world.get("eb", json!(["keywords"]))["keywords"], json!({}));
}

#[test]
fn an_import_takes_imperfect_messages_and_names_what_is_wrong_with_others() {
    let world = World::new();
    let received =
        "Received: by b; Tue, 03 Mar 2015 10:20:30 +0000\nReceived: by a; Tue, 03 Mar 2015 09:00:00 +0000\n";
    let bare = world.upload(format!("{received}Subject: bare\n\nline\nfeeds\n").as_bytes());
    let import = |blob: &str| json!({"blobId": blob, "mailboxIds": {"mb": true}});
    let answer = world.import(import(&bare));
    let created = answer["created"]["i"].as_object().unwrap();
    assert_eq!(created.keys().collect::<Vec<_>>(), ["id", "blobId", "threadId", "size"]);
    let email = world.get("eb", json!(["receivedAt", "subject", "preview", "keywords"]));
    assert_eq!(
        email,
        json!({"id": "eb", "receivedAt": "2015-03-03T10:20:30Z", "subject": "bare", "preview": "line feeds", "keywords": {}})
    );
    let plain = world.upload(b"Message-ID: <1@x>\r\n\r\nb");
    world.import(import(&plain));
    assert_eq!(world.get("ec", json!(["receivedAt"]))["receivedAt"], json!("2023-11-14T22:13:20Z"));
    let again = &world.import(import(&plain))["notCreated"]["i"];
    assert_eq!((&again["type"], &again["existingId"]), (&json!("alreadyExists"), &json!("ec")));
    for octets in [&b"this is not an email"[..], b"", b"\r\nbody"] {
        let refused = &world.import(import(&world.upload(octets)))["notCreated"]["i"];
        assert_eq!(refused["type"], json!("invalidEmail"), "{}", octets.escape_ascii());
    }
    let with = |property: &str, value: Value| {
        let mut import = import(&bare);
        import[property] = value;
        import
    };
    for (import, wanted) in [
        (json!({}), json!(["blobId", "mailboxIds"])),
        (with("blobId", json!(["x"])), json!(["blobId"])),
        (with("blobId", json!("nothing")), json!(["blobId"])),
        (with("mailboxIds", json!({})), json!(["mailboxIds"])),
        (with("mailboxIds", json!("mb")), json!(["mailboxIds"])),
        (with("mailboxIds", json!({"mzz": true})), json!(["mailboxIds"])),
        (with("keywords", json!({"a b": true})), json!(["keywords"])),
        (with("keywords", json!(["x"])), json!(["keywords"])),
        (with("receivedAt", json!("foo")), json!(["receivedAt"])),
        (with("receivedAt", json!(["foo"])), json!(["receivedAt"])),
        (with("subject", json!("x")), json!(["subject"])),
    ] {
        let refused = &world.import(import.clone())["notCreated"]["i"];
        assert_eq!(refused["type"], json!("invalidProperties"), "{import}");
        assert_eq!(refused["properties"], wanted, "{import}");
    }
    for wrong in [json!(null), json!("none"), json!(["x"]), json!({"i": 5})] {
        assert_eq!(world.error("Email/import", json!({"emails": wrong})), "invalidArguments");
    }
}

/// what is imported has an id for the calls after it.
#[test]
fn an_import_registers_its_creation_ids() {
    let world = World::new();
    let blob = world.upload(b"Subject: x\r\n\r\n");
    let responses = world.request(
        PLAIN,
        json!([
            ["Email/import", {"emails": {"i": {"blobId": blob, "mailboxIds": {"mb": true}}}}, "1"],
            ["Email/set", {"update": {"#i": {"keywords/$seen": true}}}, "2"]
        ]),
    );
    assert_eq!(responses[1][1]["updated"], json!({"eb": null}));
}

#[test]
fn a_copy_is_the_same_message_with_what_it_may_change() {
    let world = World::with(vec![account(1, None), account(3, None)]);
    world.add(MESSAGE, &[1], &["$seen", "Work"], 1_000_000_000);
    let copy = |create: Value| json!([["Email/copy", {"fromAccountId": "ab", "accountId": "ad", "create": create}, "1"]]);
    let create = json!({"k": {"id": "eb", "mailboxIds": {"mc": true}}});
    let response = world.request(PLAIN, copy(create.clone()))[0][1].take();
    let created = response["created"]["k"].as_object().unwrap();
    assert_eq!(created.keys().collect::<Vec<_>>(), ["id", "blobId", "threadId", "size"]);
    assert_eq!((&response["notCreated"], &response["fromAccountId"]), (&Value::Null, &json!("ab")));
    let of = |account: &str| {
        let wanted = json!(["mailboxIds", "keywords", "receivedAt", "size", "header:Received", "subject"]);
        let arguments = json!({"accountId": account, "ids": ["eb"], "properties": wanted});
        world.answer("Email/get", arguments)["list"][0].clone()
    };
    let (mut original, copied) = (of("ab"), of("ad"));
    assert_eq!(copied["mailboxIds"], json!({"mc": true}));
    original["mailboxIds"] = copied["mailboxIds"].clone();
    assert_eq!(copied, original);
    let again = world.request(PLAIN, copy(create))[0][1]["notCreated"]["k"].take();
    assert_eq!((&again["type"], &again["existingId"]), (&json!("alreadyExists"), &json!("eb")));
    for (create, wanted) in [
        (json!({"id": "eb", "mailboxIds": {"mb": true}, "subject": "x"}), json!(["subject"])),
        (json!({"id": "eb", "mailboxIds": {"mb": true}, "header:X-Foo": "x"}), json!(["header:X-Foo"])),
        (json!({"id": "eb"}), json!(["mailboxIds"])),
        (json!({"id": "eb", "mailboxIds": {}}), json!(["mailboxIds"])),
        (json!({"mailboxIds": {"mb": true}}), json!(["id"])),
    ] {
        let refused = world.request(PLAIN, copy(json!({"k": create})))[0][1]["notCreated"]["k"].take();
        assert_eq!((&refused["type"], &refused["properties"]), (&json!("invalidProperties"), &wanted));
    }
    let none = copy(json!({"k": {"id": "nothing", "mailboxIds": {"mb": true}}}));
    assert_eq!(world.request(PLAIN, none)[0][1]["notCreated"], json!({"k": {"type": "notFound"}}));
    assert_eq!(world.error("Email/copy", json!({"fromAccountId": "ab", "create": {}})), "invalidArguments");
    let from_nobody = json!({"fromAccountId": "az", "create": {}});
    assert_eq!(world.error("Email/copy", from_nobody), "fromAccountNotFound");
}

#[test]
fn a_copy_takes_the_original_away_only_where_that_is_asked_and_states_fit() {
    let world = World::with(vec![account(1, None), account(3, None)]);
    world.add(MESSAGE, &[1], &[], 5);
    let call = |extra: Value| {
        let create = json!({"k": {
            "id": "eb", "mailboxIds": {"mb": true}, "keywords": {"$flagged": true}, "receivedAt": "2019-05-06T07:08:09Z"
        }});
        let mut arguments = json!({"fromAccountId": "ab", "accountId": "ad", "create": create});
        arguments.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.request(PLAIN, json!([["Email/copy", arguments, "1"]]))
    };
    for wrong in [json!({"ifInState": "x"}), json!({"ifFromInState": "x"})] {
        assert_eq!(call(wrong)[0][1]["type"], json!("stateMismatch"));
    }
    let answer = call(json!({"onSuccessDestroyOriginal": true}));
    assert_eq!(answer[0][1]["created"]["k"]["id"], json!("eb"));
    assert_eq!((&answer[1][0], &answer[1][1]["destroyed"]), (&json!("Email/set"), &json!(["eb"])));
    assert_eq!(world.answer("Email/get", json!({"ids": ["eb"]}))["notFound"], json!(["eb"]));
    let arguments = json!({"accountId": "ad", "ids": ["eb"], "properties": ["keywords", "receivedAt"]});
    assert_eq!(
        world.answer("Email/get", arguments)["list"][0],
        json!({"id": "eb", "keywords": {"$flagged": true}, "receivedAt": "2019-05-06T07:08:09Z"})
    );
}

fn address() -> impl Strategy<Value = Value> {
    let name = prop::option::of("[A-Za-z\u{e4}\u{20ac}.,()\"]{1,20}( [a-z]{1,8}){0,3}");
    (name, "[a-z]{1,8}\\.[a-z]{1,8}@[a-z]{1,12}\\.example")
        .prop_map(|(name, email)| json!({"name": name.map(|name| name.trim().to_owned()), "email": email}))
}

/// An Email as a client may write it: header forms, text, HTML, attachments.
fn letter() -> impl Strategy<Value = (Map<String, Value>, String, String)> {
    let addresses = || prop::collection::vec(address(), 1..4);
    let ids = || prop::collection::vec("[a-z0-9]{1,20}@[a-z]{1,20}", 1..5);
    let urls = prop::collection::vec("(https://|mailto:)[a-z]{1,20}[a-z/?=&,()]{0,30}", 1..4);
    let line = || "[ -~\u{e4}\u{20ac}\u{1f600}]{0,100}";
    let text = || "[ -~\t\n\u{e4}\u{20ac}\u{1f600}]{0,200}";
    let group = ("[A-Za-z]{1,12}", addresses());
    let headers =
        (line(), addresses(), addresses(), ids(), urls, group, prop::collection::vec("[!-~]{1,20}", 1..4));
    (headers, text(), text()).prop_map(|((subject, from, to, references, urls, group, raw), plain, html)| {
        let raw: Vec<String> = raw.into_iter().map(|value| format!(" {value}")).collect();
        let members = json!({
            "subject": subject, "from": from, "to": to, "references": references,
            "sentAt": "2020-02-03T04:05:06+01:00",
            "header:List-Unsubscribe:asURLs": urls,
            "header:X-People:asGroupedAddresses": [{"name": group.0, "addresses": group.1}],
            "header:X-Raw:all": raw,
        });
        (members.as_object().cloned().unwrap_or_default(), plain, html)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// what a client writes is what it reads.
    #[test]
    fn a_created_email_is_read_as_it_was_written(
        (headers, plain, html) in letter(),
        octets in prop::collection::vec(any::<u8>(), 0..300),
        name in "[ -~\u{e4}\u{20ac}]{1,60}",
    ) {
        let world = World::new();
        let name = name.trim().to_owned();
        let name = if name.is_empty() { Value::Null } else { json!(name) };
        let blob = world.upload(&octets);
        let mut email = Value::Object(headers.clone());
        email["textBody"] = json!([{"partId": "p"}]);
        email["htmlBody"] = json!([{"partId": "h"}]);
        email["attachments"] = json!([
            {"blobId": blob, "type": "application/x-own", "name": name, "disposition": "attachment", "cid": "c@d"}
        ]);
        email["bodyValues"] = json!({"p": {"value": plain}, "h": {"value": html}});
        let id = world.created(email);
        let mut wanted: Vec<String> = headers.keys().cloned().collect();
        wanted.extend(["textBody", "htmlBody", "attachments", "bodyValues"].map(str::to_owned));
        let arguments = json!({"ids": [id], "properties": wanted, "fetchAllBodyValues": true});
        let got = world.answer("Email/get", arguments)["list"][0].clone();
        for (property, value) in headers {
            prop_assert_eq!(&got[&property], &value, "{}", property);
        }
        let value = |list: &str| {
            let part = got[list][0]["partId"].as_str().unwrap_or_default().to_owned();
            got["bodyValues"][part].clone()
        };
        let read = |text: &str| json!({"value": text, "isEncodingProblem": false, "isTruncated": false});
        prop_assert_eq!(value("textBody"), read(&plain));
        prop_assert_eq!(value("htmlBody"), read(&html));
        let attachment = &got["attachments"][0];
        prop_assert_eq!(&attachment["name"], &name);
        prop_assert_eq!(&attachment["size"], &json!(octets.len()));
        let fetched = BlobId::parse(attachment["blobId"].as_str().unwrap_or_default())
            .map(|id| crate::mail::blob::fetch(&world.store.snapshot(), ACCOUNT, Some(world.session.principal), &id).unwrap());
        prop_assert_eq!(fetched.flatten(), Some(octets));
    }
}

/// The words of which odd requests are made, beside none, one that isn't ASCII, and NUL.
const WORDS: &str = "id ids properties mailboxIds keywords keywords/$seen mailboxIds/mb $seen eb mb tb rb #c c create \
    update destroy filter sort property operator conditions AND NOT inMailbox hasKeyword text header \
    subject from bodyStructure textBody subParts partId blobId type bodyValues value t text/plain \
    multipart/mixed name parentId role sortOrder emails emailIds blobIds fromAccountId sinceState \
    sinceQueryState maxChanges position anchor limit calculateTotal collapseThreads data data:asText \
    offset length typeNames Email header:From:asAddresses header:X:all bodyProperties \
    maxBodyValueBytes fetchAllBodyValues receivedAt 2020-01-01T00:00:00Z ifInState";

fn word() -> impl Strategy<Value = String> {
    let words: Vec<&str> = WORDS.split(' ').chain(["", "é", "\u{0}"]).collect();
    prop::sample::select(words).prop_map(str::to_owned)
}

fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(0i64), Just(1), Just(-1), Just(i64::MAX), Just(1 << 53), any::<i64>()]
            .prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        // What is no I-JSON never reaches a method: the request is refused.
        ".{0,12}".prop_map(|text| ijson::cleaned(text).into()),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_arguments_however_odd_make_a_method_fail(
        calls in prop::collection::vec((0usize..18, prop::collection::vec((word(), odd()), 0..5)), 1..6),
    ) {
        const METHODS: [&str; 18] = [
            "Mailbox/get", "Mailbox/changes", "Mailbox/query", "Mailbox/queryChanges", "Mailbox/set", "Thread/get",
            "Email/get", "Email/changes", "Email/query", "Email/queryChanges", "Email/set", "Email/copy", "Email/import",
            "Email/parse", "SearchSnippet/get", "Blob/upload", "Blob/get", "Blob/lookup",
        ];
        let mut accounts = vec![account(1, None), account(3, None)];
        accounts.iter_mut().for_each(|account| account.capabilities.insert(Capability::Blob));
        let world = World::with(accounts);
        world.add(MESSAGE, &[1], &["$seen"], 5);
        let calls: Vec<Value> = calls
            .into_iter()
            .map(|(method, arguments)| json!([METHODS[method], Value::Object(arguments.into_iter().collect()), "c"]))
            .collect();
        let using = &[Capability::Core, Capability::Mail, Capability::Blob];
        for response in world.request(using, json!(calls)).as_array().unwrap() {
            prop_assert_ne!(&response[1]["type"], &json!("serverFail"), "{} {:?}", response, calls);
            prop_assert_ne!(&response[1]["type"], &json!("serverPartialFail"));
        }
    }
}

/// One text in very many parts asks for more than any message may be: it is refused before it is written.
#[test]
fn parts_and_texts_are_counted_while_they_are_read() {
    let world = World::new();
    let text = "x".repeat(1024 * 1024);
    for (count, kind) in [(100, "tooLarge"), (20_000, "invalidProperties")] {
        let parts = vec![json!({"partId": "t", "type": "text/plain"}); count];
        let email = json!({
            "mailboxIds": {"mb": true}, "bodyValues": {"t": {"value": text}},
            "bodyStructure": {"type": "multipart/mixed", "subParts": parts}
        });
        let answer = world.answer("Email/set", json!({"create": {"c": email}}));
        let error = &answer["notCreated"]["c"];
        assert_eq!(error["type"], kind, "{count}");
        assert!(error["properties"].as_array().is_none_or(|named| named.len() <= 100));
    }
}

#[test]
fn a_call_names_a_bounded_number_of_properties() {
    let world = World::new();
    let names: Vec<String> = (0..501).map(|number| format!("header:X-{number}")).collect();
    for arguments in [
        json!({"ids": [], "properties": names}),
        json!({"ids": [], "properties": ["id"], "bodyProperties": names}),
    ] {
        assert_eq!(world.error("Email/get", arguments), "invalidArguments");
    }
    let answer = world.answer("Email/get", json!({"ids": [], "properties": names[..500]}));
    assert_eq!(answer["list"], json!([]));
}

/// What a part is read from counts, and so does what was told by the calls before.
#[test]
fn what_one_request_reads_and_tells_is_bounded_over_all_its_calls() {
    let mut accounts = vec![account(1, None)];
    accounts[0].capabilities.insert(Capability::Blob);
    let world = World::with(accounts);
    let blob = world.upload(&vec![b'a'; 20 * 1024 * 1024]);
    let get = |id: String| json!(["Blob/get", {"ids": [id], "properties": ["data:asText"]}, "c"]);
    let using = &[Capability::Core, Capability::Mail, Capability::Blob];
    let whole = BlobId::parse(&blob).unwrap();
    let part = |number: u32| {
        get(BlobId { part: Some((number, 1, TransferEncoding::Identity)), ..whole }.to_string())
    };
    for (calls, fails_at) in [(vec![get(blob.to_string()); 8], 6), ((0..20).map(part).collect(), 12)] {
        let responses = world.request(using, json!(calls));
        let failed = responses.as_array().unwrap().iter().position(|one| one[0] == "error");
        assert_eq!(failed, Some(fails_at), "{}", responses[0]);
        assert_eq!(responses[fails_at][1]["type"], "requestTooLarge");
    }
}

#[test]
fn a_subject_of_any_length_is_told_whole_and_kept_short_in_lists() {
    let world = World::new();
    let long = "\u{e4}".repeat(30_000);
    let raw = format!("From: \"{long}\" <a@b.example>\r\nSubject: {long}\r\n\r\nText\r\n");
    let added = world.add(raw.as_bytes(), &[1], &[], 5);
    let row: EmailRow = (&world.store.snapshot() as &dyn Read).row(ACCOUNT, added.email).unwrap().unwrap();
    assert!(row.subject.len() <= 1000 && row.from[0].name.as_ref().unwrap().len() <= 256);
    let told = world.get("eb", json!(["subject", "from"]));
    assert_eq!((&told["subject"], &told["from"][0]["name"]), (&json!(long), &json!(long)));
}
