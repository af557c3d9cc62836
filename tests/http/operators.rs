//! What operators ask of a running server.

use crate::support::client::{Client, PLAIN};
use crate::support::server::start_with;
use crate::support::{TestServer, message};
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

async fn office_with(config: &str) -> (TestServer, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    (TestServer::office(&["--config", &file.path().to_string_lossy()]).await, file)
}

#[tokio::test]
async fn a_message_whose_structure_cannot_be_told_is_kept_and_said_to_be_so() {
    let (server, _config) = office_with("metrics = \"127.0.0.1:0\"\n").await;
    let letter = message("one@c.example", "m@c.example", "support@x.example", "Hello", "Help, please.");
    let odd = format!("{}{}", "X-Odd: 1\r\n".repeat(1_001), letter.replace("one@", "two@"));
    for text in [&letter, &odd] {
        assert!(server.deliver("m@c.example", &["support@x.example"], text).await.starts_with("250 "));
    }
    let ann = server.client("ann@x.example").await;
    let arguments = json!({"ids": null, "properties": ["unparsed"]});
    let told = ann.call("Email/get", arguments.clone()).await;
    let mut told: Vec<&serde_json::Value> =
        told["list"].as_array().unwrap().iter().map(|email| &email["unparsed"]).collect();
    told.sort_by_key(|value| value.as_bool());
    assert_eq!(told, [&json!(false), &json!(true)]);
    let plain = ann.call_with(PLAIN, "Email/get", arguments).await;
    assert_eq!(plain["type"], "invalidArguments", "{plain}");
    let operators = Client::stranger(server.metrics.as_ref().unwrap(), String::new());
    let text = String::from_utf8(operators.get("/metrics").await.body).unwrap();
    let name = "postroom_messages_unparsed_total{why=\"too many fields\"}";
    assert_eq!(figure(&text, name), Some(1.0), "{text}");
    let log = server.log();
    let warned = log.lines().find(|line| line.contains("kept without its structure"));
    assert!(warned.is_some_and(|line| line.contains("WARN") && line.contains("too many fields")), "{log}");
}

/// The value of one line of OpenMetrics.
fn figure(text: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

#[tokio::test]
async fn the_figures_tell_what_was_done_and_are_on_their_own_listener_alone() {
    let (server, _config) = office_with("metrics = \"127.0.0.1:0\"\n").await;
    let letter = message("one@c.example", "m@c.example", "support@x.example", "Hello", "Help, please.");
    assert!(server.deliver("m@c.example", &["support@x.example"], &letter).await.starts_with("250 "));
    let unknown = server.deliver("m@c.example", &["nobody@x.example"], &letter).await;
    assert!(unknown.starts_with("550 "), "{unknown}");
    let ann = server.client("ann@x.example").await;
    ann.call("Email/query", json!({"accountId": ann.account})).await;
    let wrong = Client::stranger(&server.http, "Basic YW5uQHguZXhhbXBsZTp3cm9uZw==".to_owned());
    assert_eq!(wrong.get("/.well-known/jmap").await.status, 401);
    let events = ann.events("types=*&closeafter=no&ping=0").await;

    let operators = Client::stranger(server.metrics.as_ref().unwrap(), String::new());
    let reply = operators.get("/metrics").await;
    assert_eq!(reply.header("content-type"), ["application/openmetrics-text; version=1.0.0; charset=utf-8"]);
    let text = String::from_utf8(reply.body).unwrap();
    for (name, least) in [
        ("postroom_smtp_deliveries_total{result=\"accepted\"}", 1.0),
        ("postroom_smtp_replies_total{code=\"550\"}", 1.0),
        ("postroom_smtp_connections_total{result=\"let in\"}", 2.0),
        ("postroom_jmap_calls_total{method=\"Email/query\",result=\"ok\"}", 1.0),
        ("postroom_jmap_call_seconds_count{method=\"Email/query\"}", 1.0),
        ("postroom_http_answers_total{status=\"401\"}", 1.0),
        ("postroom_logins_refused_total{where=\"http\"}", 1.0),
        ("postroom_channels_open{kind=\"eventsource\"}", 1.0),
        ("postroom_store_commits_total", 5.0),
        ("postroom_store_sync_seconds_count", 1.0),
        ("postroom_present{what=\"queue_messages\"}", 0.0),
        ("postroom_present{what=\"disk_free_bytes\"}", 1.0),
        ("postroom_present{what=\"people\"}", 3.0),
        ("postroom_present{what=\"accounts\"}", 4.0),
    ] {
        assert!(figure(&text, name).is_some_and(|value| value >= least), "{name} in {text}");
    }
    assert!(!text.contains("x.example"), "no address is a label");
    drop(events);
    assert_eq!(ann.get("/metrics").await.status, 404, "figures are not for the public");
    assert_eq!(operators.get("/.well-known/jmap").await.status, 404, "and mail isn't for operators");
}

#[tokio::test]
async fn health_is_told_to_everybody_in_a_word() {
    let (mut server, config) = office_with("").await;
    for (path, word) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let reply = server.stranger().get(path).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, word.as_bytes()), "{path}");
    }
    fs::write(config.path(), format!("disk_free_bytes_min = {}\n", i64::MAX)).unwrap();
    assert!(server.stop().await.success());
    server.start().await;
    let reply = server.stranger().get("/readyz").await;
    assert_eq!((reply.status, reply.body.as_slice()), (503, b"too little disk\n".as_slice()));
    assert_eq!(server.stranger().get("/healthz").await.status, 200, "it lives");
}

/// sd_notify(3), sd_watchdog_enabled(3).
#[tokio::test]
async fn a_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let mut server = start_with(&[]).await;
    assert!(server.stop().await.success());
    let path = server.beside("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The shell becomes the server, under the number that it has.
    server.under(&format!("export NOTIFY_SOCKET={} WATCHDOG_USEC=200000 WATCHDOG_PID=$$", path.display()));
    server.start().await;
    let next = || {
        let mut buffer = [0; 256];
        let size = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..size]).trim().to_owned()
    };
    assert_eq!((next(), next(), next()), ("READY=1".into(), "WATCHDOG=1".into(), "WATCHDOG=1".into()));
    assert!(server.stop().await.success());
    let last = std::iter::repeat_with(next).find(|text| text != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}
