//! The counts of mailboxes as RFC 8621 §2 defines them, made anew from the Emails that the same client
//! sees.

use super::Objects;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Every Mailbox tells what its Emails say.
pub fn check(seen: &BTreeMap<&'static str, (String, Objects)>) {
    let (Some((_, mailboxes)), Some((_, emails))) = (seen.get("Mailbox"), seen.get("Email")) else { return };
    let trash = mailboxes.iter().find(|(_, one)| one["role"] == json!("trash")).map(|(id, _)| id.as_str());
    for (id, mailbox) in mailboxes {
        let counts = |name: &str| mailbox[name].clone();
        let told = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"].map(counts);
        assert_eq!(json!(told), json!(truth(id, trash, emails)), "{mailbox}");
    }
}

fn truth(id: &str, trash: Option<&str>, emails: &Objects) -> [usize; 4] {
    let is_in = |email: &Value, mailbox: &str| email["mailboxIds"][mailbox] == json!(true);
    let unread = |email: &&Value| {
        email["keywords"]["$seen"] != json!(true) && email["keywords"]["$draft"] != json!(true)
    };
    let within: Vec<&Value> = emails.values().filter(|email| is_in(email, id)).collect();
    let mut threads: Vec<&str> = within.iter().filter_map(|email| email["threadId"].as_str()).collect();
    threads.sort_unstable();
    threads.dedup();
    // What is in the Trash counts for the Trash alone, and what is outside for the others.
    let counts = |email: &&Value| {
        let in_trash = trash.is_some_and(|trash| is_in(email, trash));
        let only = in_trash && email["mailboxIds"].as_object().is_some_and(|all| all.len() == 1);
        if trash == Some(id) { in_trash } else { !only }
    };
    let has_unread = |thread: &&&str| {
        let mut of_thread = emails.values().filter(|email| email["threadId"] == json!(thread));
        of_thread.any(|email| counts(&email) && unread(&email))
    };
    [
        within.len(),
        within.iter().filter(|email| unread(email)).count(),
        threads.len(),
        threads.iter().filter(has_unread).count(),
    ]
}
