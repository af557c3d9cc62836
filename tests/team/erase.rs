//! Erasing: nothing that was said is left, in no file either; that it happened, and everything that
//! isn't content, is.

use super::*;
use crate::support::relay::Relay;
use crate::support::{TEAM, eventually};
use std::path::Path;

/// Words that only the erased conversation has: one in each place that keeps text.
const SECRETS: [&str; 6] =
    ["subjectquokka", "bodyquokka", "notequokka", "earlierquokka", "tagquokka", "replyquokka"];

/// The files under a folder that have a text, in either case of letters.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(octets) = std::fs::read(&path) {
            let small = octets.to_ascii_lowercase();
            if small.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// A server with an admin, and a conversation of Marta's that has every secret.
async fn full(relay: &Relay) -> (TestServer, Client, String) {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let ann = server.client("ann@x.example").await;
    deliver(&server, "bodyquokka", None, "About subjectquokka").await;
    let id = conversation(&ann).await["id"].as_str().unwrap().to_owned();
    let note = json!({"create": {"n": {"conversationId": id, "body": "earlierquokka"}}});
    let note = ann.call("Note/set", note).await["created"]["n"]["id"].take();
    let edit = json!({"update": {note.as_str().unwrap(): {"body": "notequokka"}}});
    assert!(ann.call("Note/set", edit).await["updated"].is_object());
    let tag = json!({"update": {&id: {"tags/tagquokka": true}}});
    assert!(ann.call("Conversation/set", tag).await["updated"].is_object());
    let reply = draft(&ann, Some("bodyquokka"), "Re: About subjectquokka", "replyquokka").await;
    let sent = submit(&ann, &reply).await;
    let sent = sent["created"]["s"]["id"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned();
    eventually("the reply is at the relay", async || {
        let told = ann.call("EmailSubmission/get", json!({"ids": [sent]})).await;
        (!told["list"][0]["deliveryStatus"].to_string().contains("queued")).then_some(())
    })
    .await;
    (server, ann, id)
}

async fn found(client: &Client, word: &str) -> Value {
    client.call_with(PLAIN, "Email/query", json!({"filter": {"text": word}})).await["ids"].clone()
}

/// What is left of it: the row without words, and a history that says what happened without them.
async fn assert_erased(client: &Client, id: &str) {
    let told = client.call("Conversation/get", json!({"ids": [id]})).await;
    let left = &told["list"][0];
    let words = ["subject", "customer", "participants", "tags", "threadIds", "messageCount", "noteCount"];
    let words: Vec<&Value> = words.iter().map(|name| &left[*name]).collect();
    assert_eq!(json!(words), json!(["", null, [], {}, [], 0, 0]));
    assert_eq!((&left["status"], &left["waitingSince"]), (&json!("closed"), &Value::Null));
    let query = json!({"filter": {"conversationId": id}, "sort": [{"property": "at", "isAscending": true}]});
    let ids = client.call("Activity/query", query).await["ids"].take();
    let told = client.call("Activity/get", json!({"ids": ids})).await;
    let history = told["list"].as_array().unwrap();
    let tag = history.iter().find(|one| one["type"] == "tagAdded").unwrap();
    assert_eq!((&tag["before"], &tag["after"]), (&Value::Null, &Value::Null), "the word is gone");
    assert_eq!(history.last().unwrap()["type"], "erased");
    for secret in SECRETS {
        assert_eq!(found(client, secret).await, json!([]), "{secret}");
    }
    assert_eq!(client.call("Note/get", json!({"ids": null})).await["list"], json!([]));
    assert_eq!(client.call("EmailSubmission/query", json!({})).await["ids"], json!([]));
}

fn assert_in_no_file(server: &TestServer) {
    for secret in SECRETS {
        assert_eq!(files_with(&server.data(), secret), Vec::<String>::new(), "{secret}");
    }
}

#[tokio::test]
async fn what_an_admin_erases_is_in_no_answer_and_after_a_moment_in_no_file() {
    let relay = Relay::start().await;
    let (server, ann, id) = full(&relay).await;
    let known = emails(&ann).await;
    let whole = ann.call("Email/get", json!({"ids": [known[0]], "properties": ["blobId"]})).await;
    let blob = whole["list"][0]["blobId"].as_str().unwrap().to_owned();
    let download = format!("/jmap/download/{}/{blob}/a?accept=message/rfc822", ann.account);
    assert_eq!(ann.get(&download).await.status, 200);
    assert_ne!(files_with(&server.data(), "tagquokka"), Vec::<String>::new());
    deliver(&server, "kept", None, "Another matter").await;
    let reply = ann.call("Conversation/erase", json!({"ids": [id, "nothing"]})).await;
    let missing = json!({"nothing": {"type": "notFound"}});
    assert_eq!((&reply["erased"], &reply["notErased"]), (&json!([id]), &missing), "{reply}");
    assert_ne!(reply["oldState"], reply["newState"]);
    assert_erased(&ann, &id).await;
    assert_eq!(ann.get(&download).await.status, 404);
    eventually("the files are rewritten", async || {
        server.log().contains("what was erased has left the files").then_some(())
    })
    .await;
    assert_in_no_file(&server);
    assert_eq!(emails(&ann).await.len(), 1, "nothing else is gone");
    assert_eq!(found(&ann, "matter").await.as_array().unwrap().len(), 1);
    server.check();
    // Whoever writes again begins anew, whatever they refer to.
    deliver(&server, "later", Some("bodyquokka"), "Hello again").await;
    let told = ann.call("Conversation/query", json!({"filter": {"status": "open"}})).await;
    assert_eq!(told["ids"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_upload_of_a_file_that_was_erased_goes_with_it() {
    let server = TestServer::office(&[]).await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let ann = server.client("ann@x.example").await;
    deliver(&server, "first", None, "About it").await;
    let id = conversation(&ann).await["id"].as_str().unwrap().to_owned();
    let path = format!("/jmap/upload/{}", ann.account);
    let uploaded = ann.post(&path, "text/plain", b"a file that is a secret".to_vec()).await.json();
    let blob = uploaded["blobId"].as_str().unwrap().to_owned();
    let file = json!({"blobId": blob, "type": "text/plain", "name": "secret.txt"});
    let note =
        json!({"create": {"n": {"conversationId": id, "body": "See the file.", "attachments": [file]}}});
    let made = ann.call("Note/set", note).await;
    assert!(made["created"]["n"]["id"].is_string(), "{made}");
    let download = format!("/jmap/download/{}/{blob}/a", ann.account);
    assert_eq!(ann.get(&download).await.status, 200);
    assert_eq!(ann.call("Conversation/erase", json!({"ids": [id]})).await["erased"], json!([id]));
    assert_eq!(ann.get(&download).await.status, 404);
    server.check();
}

#[tokio::test]
async fn a_customer_is_erased_at_the_command_line_and_again_after_a_restore() {
    let relay = Relay::start().await;
    let (mut server, ann, id) = full(&relay).await;
    deliver(&server, "second", None, "A second matter of subjectquokka").await;
    let backup = server.beside("backup");
    server.json(&["backup", backup.to_str().unwrap()]);
    let now = server.json(&["erase", "now", SUPPORT, "--customer", "MARTA@customer.example"]);
    assert_eq!(
        (now["erased"].as_array().unwrap().len(), &now["emails"], &now["notes"]),
        (2, &json!(3), &json!(1))
    );
    assert_erased(&ann, &id).await;
    assert_in_no_file(&server);
    server.check();
    let list = server.json(&["erase", "list"]);
    assert_eq!(list["erased"], now["erased"]);
    let file = server.beside("erased.json");
    std::fs::write(&file, list.to_string()).unwrap();

    server.kill();
    std::fs::remove_dir_all(server.data()).unwrap();
    let restored = server.command(&["restore", backup.to_str().unwrap()], "");
    assert!(restored.status.success(), "{restored:?}");
    let again = server.json(&["erase", "again", file.to_str().unwrap()]);
    assert_eq!(again["erased"], now["erased"]);
    assert_in_no_file(&server);
    server.check();
    server.start().await;
    assert_erased(&server.client("ann@x.example").await, &id).await;
}

#[tokio::test]
async fn what_waits_to_be_sent_and_what_was_merged_isnt_erased() {
    let server = office().await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let id = conversation(&ann).await["id"].as_str().unwrap().to_owned();
    // Without a relay it waits.
    let reply = draft(&bob, Some("one"), "Re: Invoice", "Soon.").await;
    assert!(submit(&bob, &reply).await["created"]["s"].is_object());
    let before = conversation(&ann).await;
    let told = ann.call("Conversation/erase", json!({"ids": [id]})).await;
    assert_eq!((&told["erased"], &told["notErased"][&id]["type"]), (&json!([]), &json!("forbidden")));
    assert_eq!(conversation(&ann).await, before);
    let refused = server.command(&["erase", "now", SUPPORT, "--conversation", &id], "");
    assert!(!refused.status.success());
    // What went into another one goes with it, and not without it.
    deliver(&server, "two", None, "Offer").await;
    deliver(&server, "three", None, "Offer again").await;
    let ids = ann.call("Conversation/query", json!({"filter": {"status": "open"}})).await["ids"].take();
    let mut ids: Vec<String> = serde_json::from_value(ids).unwrap();
    ids.sort();
    let merge = json!({"update": {&ids[1]: {"mergedIntoId": ids[0]}}});
    assert!(ann.call("Conversation/set", merge).await["updated"].is_object());
    let told = ann.call("Conversation/erase", json!({"ids": [ids[1]]})).await;
    assert_eq!(told["notErased"][&ids[1]]["type"], "forbidden");
    let told = ann.call("Conversation/erase", json!({"ids": [ids[0]]})).await;
    assert_eq!((&told["erased"], &told["notErased"]), (&json!([ids[0]]), &Value::Null));
    let told = ann.call("Conversation/get", json!({"ids": ids, "properties": ["subject", "customer"]})).await;
    for one in told["list"].as_array().unwrap() {
        assert_eq!((&one["subject"], &one["customer"]), (&json!(""), &Value::Null));
    }
    for wrong in [json!({}), json!({"ids": [], "customer": CUSTOMER}), json!({"customer": "no address"})] {
        let told = ann.call_with(TEAM, "Conversation/erase", wrong.clone()).await;
        assert_eq!(told["type"], "invalidArguments", "{wrong}");
    }
    server.check();
}
