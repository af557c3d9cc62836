//! Whoever begins a conversation hears that their mail is there, where the inbox has a text for it.

use super::*;
use crate::support::relay::Relay;

#[tokio::test]
async fn whoever_begins_a_conversation_is_told_once_a_day_and_a_program_never() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let ann = server.client("ann@x.example").await;
    deliver(&server, "before", None, "Before").await;
    let text = "We got \"{subject}\", number {number}.";
    let set = json!({"update": {"singleton": {"acknowledgement": text}}});
    assert!(ann.call("InboxSettings/set", set).await["updated"].is_object());
    for (id, to, fields) in [
        ("robot", None, "Auto-Submitted: auto-generated\r\n"),
        ("one", None, ""),
        ("more", Some("one"), ""),
        ("two", None, ""),
    ] {
        let answers = to.map(|to| format!("In-Reply-To: <{to}@customer.example>\r\n")).unwrap_or_default();
        let text = message(&format!("{id}@customer.example"), CUSTOMER, SUPPORT, id, "Hello");
        let reply = server.deliver(CUSTOMER, &[SUPPORT], &format!("{fields}{answers}{text}")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let other = message("three@other.example", "sven@other.example", SUPPORT, "three", "Hello");
    assert!(server.deliver("sven@other.example", &[SUPPORT], &other).await.starts_with("250"));
    let taken = relay.wait_for(2).await;
    let said: Vec<(&str, bool)> = taken
        .iter()
        .map(|one| {
            let to = if one.rcpts == [format!("<{CUSTOMER}>")] { "marta" } else { "sven" };
            (to, one.text().contains("Auto-Submitted: auto-replied") && one.mail.starts_with("<>"))
        })
        .collect();
    assert_eq!(said, [("marta", true), ("sven", true)]);
    assert!(taken[0].text().contains("We got \"one\", number 3."), "{}", taken[0].text());
    let told = ann.call("Activity/query", json!({"filter": {"type": "automaticSent"}})).await;
    assert_eq!(told["ids"].as_array().map(Vec::len), Some(2));
    // Nobody has answered: everything waits as it did.
    let waiting = ann.call("Conversation/query", json!({"filter": {"isWaiting": true}})).await;
    assert_eq!(waiting["ids"].as_array().map(Vec::len), Some(4), "{waiting}");
    server.check();
}
