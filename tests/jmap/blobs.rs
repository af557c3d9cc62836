//! Upload and download (RFC 8620 §6).

use crate::support::TestServer;
use crate::support::client::{CORE, Client};
use serde_json::json;

#[tokio::test]
async fn what_is_uploaded_is_downloaded_whole_in_part_or_not_again() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let account = &ann.account;
    let reply = ann.post(&format!("/jmap/upload/{account}/"), "text/x-notes", b"0123456789".to_vec()).await;
    assert_eq!(reply.status, 201);
    let told = reply.json();
    let blob = told["blobId"].as_str().unwrap();
    assert_eq!(told, json!({"accountId": account, "blobId": blob, "type": "text/x-notes", "size": 10}));

    let path = format!("/jmap/download/{account}/{blob}/a%20note.txt?type=text/plain");
    let whole = ann.get(&path).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, &b"0123456789"[..]));
    assert_eq!(whole.header("content-type"), ["text/plain"]);
    assert_eq!(whole.header("x-content-type-options"), ["nosniff"]);
    assert_eq!(
        whole.header("content-disposition"),
        ["attachment; filename=\"a note.txt\"; filename*=UTF-8''a%20note.txt"]
    );
    let unnamed = ann.get(&format!("/jmap/download/{account}/{blob}/?type=text/plain")).await;
    assert_eq!((unnamed.status, unnamed.body.as_slice()), (200, &b"0123456789"[..]));
    assert_eq!(unnamed.header("content-disposition"), ["attachment"]);
    let untyped = ann.get(&format!("/jmap/download/{account}/{blob}/x?type=")).await;
    assert_eq!(untyped.header("content-type"), ["application/octet-stream"]);
    let tag = whole.header("etag")[0].to_owned();
    assert_eq!(tag, format!("\"{blob}\""));

    let part = ann.get_with(&path, &[("Range", "bytes=3-5")]).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &b"345"[..]));
    assert_eq!(part.header("content-range"), ["bytes 3-5/10"]);
    let beyond = ann.get_with(&path, &[("Range", "bytes=10-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, vec!["bytes */10"]));
    let mine = ann.get_with(&path, &[("Range", "bytes=3-5"), ("If-Range", &tag)]).await;
    assert_eq!((mine.status, mine.body.as_slice()), (206, &b"345"[..]));
    for other in ["\"other\"", "Tue, 17 Nov 2026 10:00:00 GMT"] {
        let changed = ann.get_with(&path, &[("Range", "bytes=3-5"), ("If-Range", other)]).await;
        assert_eq!((changed.status, changed.body.as_slice()), (200, &b"0123456789"[..]), "{other}");
    }
    for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let known = ann.get_with(&path, &[("If-None-Match", &tags)]).await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{tags}");
    }
}

/// RFC 9110 §9.3.2, §14.2: the header of the whole and no content, whatever range is asked for.
#[tokio::test]
async fn a_head_tells_of_the_whole_blob_and_knows_no_ranges() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let path = upload(&ann, b"0123456789").await;
    let whole = ann.get(&path).await;
    for fields in [&[][..], &[("Range", "bytes=3-5")], &[("Range", "bytes=10-")]] {
        let head = ann.head_with(&path, fields).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{fields:?}");
        assert_eq!(head.header("content-length"), ["10"], "{fields:?}");
        assert_eq!(head.header("content-range"), [""; 0], "{fields:?}");
        for name in ["etag", "content-type", "content-disposition", "cache-control", "accept-ranges"] {
            assert_eq!(head.header(name), whole.header(name), "{name}");
        }
    }
    let known = ann.head_with(&path, &[("If-None-Match", "*")]).await;
    assert_eq!(known.status, 304);
}

/// RFC 9110 §13.2.2: If-Match is judged before If-None-Match, and both before a range.
#[tokio::test]
async fn conditions_are_judged_in_their_order_and_lists_are_read_to_the_end() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let path = upload(&ann, b"0123456789").await;
    let tag = ann.get(&path).await.header("etag")[0].to_owned();
    let (weak, among) = (format!("W/{tag}"), format!("\"x\" , {tag}"));
    for (fields, status) in [
        (vec![("If-Match", tag.as_str())], 200),
        (vec![("If-Match", "*")], 200),
        (vec![("If-Match", among.as_str())], 200),
        (vec![("If-Match", "\"x\""), ("If-Match", &tag)], 200),
        (vec![("If-Match", "\"x\"")], 412),
        // A weak tag is the same as no other where octets count (§13.1.1).
        (vec![("If-Match", weak.as_str())], 412),
        (vec![("If-Match", "\"x\""), ("If-None-Match", &tag)], 412),
        (vec![("If-Match", "\"x\""), ("Range", "bytes=0-1")], 412),
        (vec![("If-Match", tag.as_str()), ("If-None-Match", &tag)], 304),
        (vec![("If-Match", tag.as_str()), ("Range", "bytes=0-1")], 206),
        (vec![("If-None-Match", "\"x\""), ("If-None-Match", &tag)], 304),
        (vec![("If-None-Match", &tag), ("Range", "bytes=0-1")], 304),
        (vec![("If-None-Match", "\"x\""), ("Range", "BYTES=0-1")], 206),
        // A blob has no date, so what compares dates is not there (§13.1.3, §13.1.4).
        (vec![("If-Modified-Since", "Tue, 17 Nov 2037 10:00:00 GMT")], 200),
        (vec![("If-Unmodified-Since", "Tue, 17 Nov 1998 10:00:00 GMT")], 200),
    ] {
        let reply = ann.get_with(&path, &fields).await;
        assert_eq!(reply.status, status, "{fields:?}");
        if status == 304 {
            assert_eq!((reply.header("etag"), reply.body.len()), (vec![tag.as_str()], 0), "{fields:?}");
        }
        if status == 412 {
            let problem = json!({
                "type": "about:blank", "status": 412, "title": "Precondition Failed",
                "detail": "The blob is none of those that If-Match names."
            });
            assert_eq!(reply.json(), problem, "{fields:?}");
        }
    }
    // What isn't there has no conditions (§13.2.1).
    let nothing = format!("/jmap/download/{}/nothing/x", ann.account);
    assert_eq!(ann.get_with(&nothing, &[("If-Match", "\"x\"")]).await.status, 404);
}

/// The path of a blob with this content.
async fn upload(client: &Client, content: &[u8]) -> String {
    let reply =
        client.post(&format!("/jmap/upload/{}/", client.account), "text/plain", content.to_vec()).await;
    let blob = reply.json()["blobId"].as_str().unwrap().to_owned();
    format!("/jmap/download/{}/{blob}/a.txt?type=text/plain", client.account)
}

#[tokio::test]
async fn a_blob_of_another_account_does_not_exist() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await.own(), server.client("bob@x.example").await.own());
    let reply = ann.post(&format!("/jmap/upload/{}", ann.account), "text/plain", b"secret".to_vec()).await;
    let blob = reply.json()["blobId"].as_str().unwrap().to_owned();
    // Not by the account's id, and not by the own one: a content's hash is no right to it.
    for account in [&ann.account, &bob.account] {
        let reply = bob.get(&format!("/jmap/download/{account}/{blob}/x?type=text/plain")).await;
        assert_eq!(reply.status, 404);
        assert_eq!(
            reply.json(),
            json!({
                "type": "about:blank", "status": 404, "title": "Not Found",
                "detail": "There is no such account or blob."
            })
        );
    }
    let reply = bob.post(&format!("/jmap/upload/{}/", ann.account), "text/plain", b"x".to_vec()).await;
    assert_eq!(reply.status, 404);
}

/// RFC 8620 §6.1: what is uploaded and not used yet is its uploader's alone, in a shared account too.
#[tokio::test]
async fn an_upload_is_its_uploaders_until_something_uses_it() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let reply = bob.post(&format!("/jmap/upload/{}/", bob.account), "text/plain", b"bob's".to_vec()).await;
    let blob = reply.json()["blobId"].as_str().unwrap().to_owned();
    let path = format!("/jmap/download/{}/{blob}/x?type=text/plain", ann.account);
    let drafts = bob.mailbox("drafts").await;
    let draft = json!({
        "mailboxIds": {drafts: true}, "keywords": {"$draft": true}, "subject": "With a file",
        "bodyStructure": {"type": "multipart/mixed", "subParts": [
            {"partId": "t", "type": "text/plain"}, {"blobId": blob, "type": "text/plain", "name": "x"}
        ]},
        "bodyValues": {"t": {"value": "See."}}
    });
    let create = |client: &Client| {
        let (client, draft) = (client.clone(), draft.clone());
        async move { client.call("Email/set", json!({"accountId": client.account, "create": {"d": draft}})).await }
    };
    let using = [CORE, "urn:ietf:params:jmap:blob"];
    let get = json!({"accountId": ann.account, "ids": [blob], "properties": ["size"]});

    assert_eq!(ann.get(&path).await.status, 404);
    assert_eq!(create(&ann).await["notCreated"]["d"], json!({"type": "blobNotFound", "notFound": [blob]}));
    let told = ann.call_with(&using, "Blob/get", get.clone()).await;
    assert_eq!((&told["list"], &told["notFound"]), (&json!([]), &json!([blob])));
    assert_eq!(bob.get(&path).await.body, b"bob's");

    let made = create(&bob).await["created"]["d"].clone();
    assert!(made["id"].is_string(), "{made}");
    let email = json!({"accountId": ann.account, "ids": [made["id"]], "properties": ["attachments"]});
    let attached = ann.call("Email/get", email).await["list"][0]["attachments"][0]["blobId"].clone();
    let path = format!("/jmap/download/{}/{}/x?type=text/plain", ann.account, attached.as_str().unwrap());
    assert_eq!(ann.get(&path).await.body, b"bob's", "as a part of the draft it is the team's");
    assert_eq!(server.check()["faults"], json!([]));
}
