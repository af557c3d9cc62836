//! The specifications as a stranger finds them: by the identifiers of the capabilities.

use crate::support::client::Client;
use crate::support::{CORE, server};
use serde_json::{Value, json};

#[tokio::test]
async fn the_specifications_are_served_at_the_paths_of_the_capability_urls() {
    let server = server::start().await;
    server.person("ann@x.example", "Ann");
    let stranger = Client::stranger(&server.http, String::new());
    let session = server.client("ann@x.example").await.session;
    let vendor = "https://postroom.dev";
    let ours: Vec<&String> =
        session["capabilities"].as_object().unwrap().keys().filter(|one| one.starts_with(vendor)).collect();
    assert!(ours.len() >= 5, "{ours:?}");
    for identifier in ours {
        let path = identifier.strip_prefix(vendor).unwrap();
        let reply = stranger.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("content-type"), ["text/markdown; charset=utf-8"]);
        assert_eq!(reply.header("x-content-type-options"), ["nosniff"]);
        let file = format!("{}/spec/{}.md", env!("CARGO_MANIFEST_DIR"), path.trim_start_matches("/jmap/"));
        assert_eq!(reply.body, std::fs::read(&file).unwrap(), "{file}");
        assert_eq!(stranger.get(&format!("{path}.md")).await.body, reply.body);
    }
    let schema = stranger.get("/jmap/schema/ReplyLock.json").await;
    assert_eq!((schema.status, schema.header("content-type")), (200, vec!["application/schema+json"]));
    assert_eq!(schema.json()["$id"], "https://postroom.dev/jmap/schema/ReplyLock.json");
    let list = stranger.get("/jmap/").await;
    assert!(String::from_utf8(list.body).unwrap().starts_with("# The specifications"));
    for unknown in [
        "/jmap/rota",
        "/jmap/schema/Rota.json",
        "/jmap/schema/..%2FREADME.md",
        "/jmap/architecture",
        "/",
        "/x",
    ] {
        let reply = stranger.get(unknown).await;
        assert_eq!(reply.status, 404, "{unknown}");
        assert_eq!(reply.header("content-type"), ["application/problem+json"]);
        assert!(reply.json()["detail"].as_str().unwrap().contains("/jmap/"), "{unknown}");
    }
}

#[tokio::test]
async fn the_api_beside_the_specifications_is_as_it_was() {
    let server = server::start().await;
    server.person("ann@x.example", "Ann");
    let stranger = Client::stranger(&server.http, String::new());
    let echo = json!({"using": [CORE], "methodCalls": [["Core/echo", {"a": 1}, "c"]]}).to_string();
    assert_eq!(stranger.post("/jmap", "application/json", echo.clone().into_bytes()).await.status, 401);
    let ann = server.client("ann@x.example").await;
    let reply = ann.post("/jmap", "application/json", echo.into_bytes()).await.json();
    assert_eq!(reply["methodResponses"], json!([["Core/echo", {"a": 1}, "c"]]));
    // Neither the API nor what is beside it became a text.
    assert_eq!(ann.get("/jmap").await.status, 405);
    assert_eq!(stranger.get("/jmap/eventsource?types=*&closeafter=no&ping=0").await.status, 401);
    assert_eq!(stranger.post("/jmap/locks", "application/json", b"{}".to_vec()).await.status, 405);
    assert_eq!(ann.session["apiUrl"], Value::from(format!("http://{}/jmap", server.http)));
}
