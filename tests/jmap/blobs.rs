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
