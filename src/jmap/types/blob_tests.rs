//! Blobs as a client meets them: RFC 9404, and Blob/copy of RFC 8620.

use super::world::*;
use crate::jmap::capability::Capability;
use crate::jmap::session::tests::account;
use serde_json::{Value, json};

const BLOB: &[Capability] = &[Capability::Core, Capability::Blob];
const BLOB_AND_MAIL: &[Capability] = &[Capability::Core, Capability::Blob, Capability::Mail];

fn world() -> World {
    let mut accounts = vec![account(1, None), account(3, None)];
    accounts.iter_mut().for_each(|account| account.capabilities.insert(Capability::Blob));
    World::with(accounts)
}

impl World {
    /// The arguments of the only response.
    fn blob(&self, name: &str, arguments: Value) -> Value {
        let (answered, response) = self.call(BLOB_AND_MAIL, name, arguments);
        assert_eq!(answered, name, "{response}");
        response
    }

    fn upload_text(&self, text: &str) -> String {
        let created = self.blob("Blob/upload", json!({"create": {"u": {"data": [{"data:asText": text}]}}}));
        created["created"]["u"]["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_capability_of_blobs_tells_its_limits() {
    let session = world().session.to_json();
    assert_eq!(session["capabilities"]["urn:ietf:params:jmap:blob"], json!({}));
    assert_eq!(
        session["accounts"]["ab"]["accountCapabilities"]["urn:ietf:params:jmap:blob"],
        json!({
            "maxSizeBlobSet": 52_428_800, "maxDataSources": 256, "supportedTypeNames": ["Email", "Mailbox", "Thread"],
            "supportedDigestAlgorithms": ["sha-256", "sha-512", "sha"]
        })
    );
}

#[test]
fn a_blob_is_put_together_from_text_base64_and_ranges_of_blobs() {
    let world = world();
    let responses = world.request(
        BLOB,
        json!([
            ["Blob/upload", {"create": {
                "b4": {"data": [{"data:asText": "The quick brown fox jumped over the lazy dog."}]},
                "empty": {"data": [], "type": null}
            }}, "1"],
            ["Blob/upload", {"create": {"cat": {"type": "text/plain", "data": [
                {"data:asText": "How"}, {"blobId": "#b4", "offset": 3, "length": 7},
                {"data:asText": "was t"}, {"blobId": "#b4", "offset": 1, "length": 1}, {"data:asBase64": "YXQ/"}
            ]}}}, "2"],
            ["Blob/get", {"ids": ["#cat"], "properties": ["data:asText", "size"]}, "3"]
        ]),
    );
    let made = &responses[0][1];
    assert_eq!(made["created"]["b4"]["size"], json!(45));
    assert_eq!(made["created"]["b4"]["type"], json!("application/octet-stream"));
    assert_eq!(made["created"]["empty"]["size"], json!(0));
    assert_eq!(made["notCreated"], Value::Null);
    let cat = &responses[1][1]["created"]["cat"];
    assert_eq!((&cat["type"], &cat["size"]), (&json!("text/plain"), &json!(19)));
    assert_eq!(
        responses[2][1],
        json!({
            "accountId": "ab", "notFound": [],
            "list": [{"id": cat["id"], "data:asText": "How quick was that?", "size": 19}]
        })
    );
}

#[test]
fn a_source_that_cannot_be_read_refuses_its_blob_alone() {
    let world = world();
    let id = world.upload_text("short");
    let source = |source: Value| json!({"data": [source]});
    let answer = world.blob(
        "Blob/upload",
        json!({"create": {
            "good": source(json!({"data:asText": "x"})),
            "base64": source(json!({"data:asBase64": "not*base64!"})),
            "past": source(json!({"blobId": id, "offset": 100, "length": 1})),
            "long": source(json!({"blobId": id, "offset": 0, "length": 50})),
            "none": {"data": [{"blobId": "nothing"}, {"blobId": "#nothing"}]},
            "two": source(json!({"data:asText": "a", "data:asBase64": "YQ=="})),
            "many": {"data": vec![json!({"data:asText": ""}); 257]},
            "type": {"data": [], "type": 5, "extra": true},
            "empty": {}
        }}),
    );
    assert_eq!(answer["created"].as_object().map(|created| created.len()), Some(1));
    let refused = &answer["notCreated"];
    for (name, wanted) in [
        ("base64", json!(["data/0"])),
        ("past", json!(["data/0"])),
        ("long", json!(["data/0"])),
        ("two", json!(["data/0"])),
        ("many", json!(["data"])),
        ("type", json!(["extra", "type"])),
        ("empty", json!(["data"])),
    ] {
        assert_eq!(refused[name]["type"], json!("invalidProperties"), "{name}");
        assert_eq!(refused[name]["properties"], wanted, "{name}");
    }
    assert_eq!(refused["none"], json!({"type": "blobNotFound", "notFound": ["nothing", "#nothing"]}));
}

#[test]
fn a_range_is_told_as_text_or_base64_with_what_was_wrong_with_it() {
    let world = world();
    let id = world.upload_text("caf\u{e9}!");
    let upload = json!({"create": {"u": {"data": [{"data:asBase64": "//4AYg=="}]}}});
    let binary = world.blob("Blob/upload", upload)["created"]["u"]["id"].clone();
    let upload = json!({"create": {"u": {"data": [{"data:asBase64": "Ye+/vw=="}]}}});
    let odd = world.blob("Blob/upload", upload)["created"]["u"]["id"].clone();
    for (id, arguments, wanted) in [
        (json!(id), json!({}), json!({"data:asText": "caf\u{e9}!", "size": 6})),
        (json!(id), json!({"offset": 1, "length": 2}), json!({"data:asText": "af", "size": 6})),
        (json!(id), json!({"offset": 5, "length": 0}), json!({"data:asText": "", "size": 6})),
        (json!(id), json!({"offset": 6}), json!({"data:asText": "", "size": 6})),
        (json!(id), json!({"offset": 7}), json!({"data:asText": "", "size": 6, "isTruncated": true})),
        (
            json!(id),
            json!({"offset": 5, "length": 2}),
            json!({"data:asText": "!", "size": 6, "isTruncated": true}),
        ),
        (
            json!(id),
            json!({"length": 4, "properties": ["data:asText", "data:asBase64"]}),
            json!({"data:asText": null, "data:asBase64": "Y2Fmww==", "isEncodingProblem": true}),
        ),
        (
            binary.clone(),
            json!({}),
            json!({"data:asBase64": "//4AYg==", "size": 4, "isEncodingProblem": true}),
        ),
        (binary.clone(), json!({"properties": ["data:asBase64"]}), json!({"data:asBase64": "//4AYg=="})),
        // A noncharacter can't be in a JSON string of ours: the octets are told as they are.
        (odd.clone(), json!({}), json!({"data:asBase64": "Ye+/vw==", "size": 4, "isEncodingProblem": true})),
        (
            odd.clone(),
            json!({"offset": 3, "length": 9, "properties": ["digest:sha-256"]}),
            json!({"digest:sha-256": "sS3IUKOwo7efwiVeF1JBziBIn+Rd+T/zXELGw0jfT78=", "isTruncated": true}),
        ),
    ] {
        let mut wanted = wanted;
        wanted["id"] = id.clone();
        let mut arguments = arguments;
        arguments["ids"] = json!([id]);
        let got = world.blob("Blob/get", arguments.clone())["list"][0].take();
        assert_eq!(got, wanted, "{arguments}");
    }
    let answer = world.blob("Blob/get", json!({"ids": ["nothing", id, "#x", id]}));
    assert_eq!(answer["notFound"], json!(["nothing", "#x"]));
    assert_eq!(answer["list"].as_array().map(Vec::len), Some(1));
    for wrong in ["digest:md5", "digest:", "nothing"] {
        let (name, error) = world.call(BLOB, "Blob/get", json!({"ids": [id], "properties": [wrong]}));
        assert_eq!((name.as_str(), &error["type"]), ("error", &json!("invalidArguments")), "{wrong}");
    }
    assert_eq!(world.call(PLAIN, "Blob/get", json!({"ids": []})).1["type"], json!("unknownMethod"));
}

#[test]
fn a_digest_is_that_of_the_octets_of_the_range() {
    let world = world();
    let id = world.upload_text("xabcx");
    let names = ["digest:sha", "digest:sha-256"];
    let answer = world.blob("Blob/get", json!({"ids": [id], "offset": 1, "length": 3, "properties": names}));
    // FIPS 180-4, the examples for "abc".
    assert_eq!(answer["list"][0]["digest:sha"], json!("qZk+NkcGgWq6PiVxeFDCbJzQ2J0="));
    assert_eq!(answer["list"][0]["digest:sha-256"], json!("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="));
}

#[test]
fn a_lookup_finds_the_emails_threads_and_mailboxes_of_a_blob() {
    let world = world();
    let added = world.add(MESSAGE, &[1, 2], &[], 5);
    let part = world.get("eb", json!(["attachments"]))["attachments"][0]["blobId"].clone();
    let text = world.upload_text("nobody's");
    let names = ["Email", "Thread", "Mailbox"];
    let found = json!({"Email": ["eb"], "Thread": [added.thread.to_string()], "Mailbox": ["mb", "mc"]});
    let nothing = json!({"Email": [], "Thread": [], "Mailbox": []});
    let answer =
        world.blob("Blob/lookup", json!({"typeNames": names, "ids": ["rb", part, text, "none", "rz"]}));
    assert_eq!(
        answer,
        json!({"accountId": "ab", "list": [
            {"id": "rb", "matchedIds": found}, {"id": part, "matchedIds": found},
            {"id": text, "matchedIds": nothing}, {"id": "none", "matchedIds": nothing},
            {"id": "rz", "matchedIds": nothing}
        ]})
    );
    for (using, name) in [(BLOB_AND_MAIL, "Nothing"), (BLOB, "Email")] {
        let (_, error) = world.call(using, "Blob/lookup", json!({"typeNames": [name], "ids": ["rb"]}));
        assert_eq!(error["type"], json!("unknownDataType"), "{name}");
    }
}

#[test]
fn a_blob_is_copied_to_another_account_and_stays_with_the_first() {
    let world = world();
    world.add(MESSAGE, &[1], &[], 5);
    let text = world.upload_text("hello");
    let copy = json!({"fromAccountId": "ab", "accountId": "ad", "blobIds": [text, "rb", "none", text]});
    let answer = world.call(PLAIN, "Blob/copy", copy).1;
    assert_eq!((&answer["fromAccountId"], &answer["accountId"]), (&json!("ab"), &json!("ad")));
    assert_eq!(answer["copied"][&text], json!(text));
    assert_eq!(answer["notCopied"], json!({"none": {"type": "blobNotFound", "notFound": ["none"]}}));
    let message = answer["copied"]["rb"].clone();
    let got = |account: &str, id: &Value| {
        world.blob("Blob/get", json!({"accountId": account, "ids": [id], "properties": ["size"]}))["list"]
            .clone()
    };
    assert_eq!(got("ad", &json!(text))[0]["size"], json!(5));
    assert_eq!(got("ad", &message)[0]["size"], json!(PREFIX.len() + MESSAGE.len()));
    assert_eq!(got("ab", &message), json!([]));
    assert_eq!(got("ab", &json!(text))[0]["size"], json!(5));
    for (from, to, wanted) in [
        ("ab", "ab", "invalidArguments"),
        ("az", "ab", "fromAccountNotFound"),
        ("ab", "az", "accountNotFound"),
    ] {
        let arguments = json!({"fromAccountId": from, "accountId": to, "blobIds": ["none"]});
        assert_eq!(world.call(PLAIN, "Blob/copy", arguments).1["type"], json!(wanted));
    }
}

#[test]
fn the_size_of_a_blob_is_told_without_reading_it() {
    let world = world();
    let added = world.add(MESSAGE, &[1], &[], 5);
    let text = world.upload_text("four");
    let properties = json!(["id", "size"]);
    let ids = json!([text, "rb", "rz", "none"]);
    let answer = world.blob("Blob/get", json!({"ids": ids, "properties": properties}));
    assert_eq!(answer["list"], json!([{"id": text, "size": 4}, {"id": "rb", "size": added.size}]));
    assert_eq!(answer["notFound"], json!(["rz", "none"]));
}

#[test]
fn a_creation_id_that_is_no_id_refuses_the_call() {
    let world = world();
    for wrong in ["", "a b", "a/b"] {
        let create = json!({"create": {wrong: {"data": [{"data:asText": "x"}]}}});
        let (name, error) = world.call(BLOB, "Blob/upload", create);
        assert_eq!((name.as_str(), &error["type"]), ("error", &json!("invalidArguments")), "{wrong:?}");
    }
}
