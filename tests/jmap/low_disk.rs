//! Too little disk: nothing is begun, everybody is told to come back, and nothing is lost.

use crate::support::client::PLAIN;
use crate::support::{TestServer, message};
use serde_json::{Value, json};
use std::fs;

#[tokio::test]
async fn below_the_least_free_disk_nothing_is_taken_and_nothing_is_lost() {
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), "disk_free_bytes_min = 1\n").unwrap();
    let mut server = TestServer::office(&["--config", &config.path().to_string_lossy()]).await;
    let first = message("one@c.example", "m@c.example", "support@x.example", "Before", "Still there.");
    assert!(server.deliver("m@c.example", &["support@x.example"], &first).await.starts_with("250 "));

    fs::write(config.path(), format!("disk_free_bytes_min = {}\n", i64::MAX)).unwrap();
    assert!(server.stop().await.success());
    server.start().await;
    let mut gateway = server.gateway().await;
    gateway.say("EHLO gateway.example").await;
    gateway.say("MAIL FROM:<m@c.example>").await;
    let refused = gateway.say("RCPT TO:<support@x.example>").await;
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    gateway.quit().await;

    let ann = server.client("ann@x.example").await;
    let path = format!("/jmap/upload/{}/", ann.account);
    assert_eq!(ann.post(&path, "text/plain", b"x".to_vec()).await.status, 507);
    let set = json!([["Mailbox/set", {"accountId": ann.account, "create": {"m": {"name": "New"}}}, "s"]]);
    let reply = ann.request(PLAIN, set).await;
    assert_eq!(reply["methodResponses"][0][0], "error");
    assert_eq!(reply["methodResponses"][0][1]["type"], "serverUnavailable");
    let query = ann.call("Email/query", json!({"accountId": ann.account, "calculateTotal": true})).await;
    assert_eq!(query["total"], 1, "reading goes on: {query}");

    fs::write(config.path(), "disk_free_bytes_min = 1\n").unwrap();
    assert!(server.stop().await.success());
    server.start().await;
    let again = message("two@c.example", "m@c.example", "support@x.example", "After", "The gateway's retry.");
    assert!(server.deliver("m@c.example", &["support@x.example"], &again).await.starts_with("250 "));
    let ann = server.client("ann@x.example").await;
    let query = ann.call("Email/query", json!({"accountId": ann.account, "calculateTotal": true})).await;
    assert_eq!(query["total"], 2);
    assert_eq!(server.check()["faults"], Value::Array(Vec::new()));
}
