//! An agent whose client knows RFC 8621 and nothing else: it moves messages and answers them.

use crate::Outcome;
use crate::agent::{Agent, PLAIN, newest_inbound};
use serde_json::json;

/// Messages at the head of the list.
const HEAD: usize = 12;

impl Agent {
    /// Reads the Inbox, picks a message, and moves or answers it.
    pub fn work_plainly(&mut self) -> Outcome<()> {
        let far = if self.dice.percent(50) { 0 } else { self.dice.below(5000) };
        let calls = json!([
            ["Mailbox/query", {"filter": {"role": "inbox"}}, "0"],
            ["Mailbox/query", {"filter": {"role": "archive"}}, "1"]
        ]);
        let told = self.ask("find mailboxes", PLAIN, calls)?;
        let (inbox, archive) = (told[0]["ids"][0].clone(), told[1]["ids"][0].clone());
        let calls = json!([
            ["Email/query", {
                "filter": {"inMailbox": inbox}, "sort": [{"property": "receivedAt", "isAscending": false}],
                "collapseThreads": true, "position": far, "limit": HEAD
            }, "0"],
            ["Email/get", {
                "#ids": {"resultOf": "0", "name": "Email/query", "path": "/ids"}, "properties": ["threadId"]
            }, "1"]
        ]);
        let told = self.ask("list view", PLAIN, calls)?.remove(1);
        let count = told["list"].as_array().map_or(0, Vec::len);
        let Some(email) = told["list"].get(self.dice.below(count)).cloned() else { return Ok(()) };
        let thread = email["threadId"].as_str().unwrap_or_default().to_owned();
        if self.dice.percent(10) {
            let (id, archive) =
                (email["id"].as_str().unwrap_or_default(), archive.as_str().unwrap_or_default());
            let patch = json!({format!("mailboxIds/{archive}"): true});
            let told =
                self.ask("move to Archive", PLAIN, json!([["Email/set", {"update": {id: patch}}, "0"]]))?;
            let error = told[0]["notUpdated"][id]["type"].as_str();
            self.figures.outcome(&format!("move to Archive: {}", error.unwrap_or("moved")));
            return Ok(());
        }
        if self.refused.contains(&thread) {
            return Ok(());
        }
        self.answer_plainly(&thread)
    }

    /// Answers the newest message of a thread. Who is refused doesn't insist.
    fn answer_plainly(&mut self, thread: &str) -> Outcome<()> {
        let calls = json!([
            ["Thread/get", {"ids": [thread]}, "0"],
            ["Email/get", {
                "#ids": {"resultOf": "0", "name": "Thread/get", "path": "/list/*/emailIds"},
                "properties": ["messageId", "from", "subject", "keywords", "receivedAt"]
            }, "1"]
        ]);
        let told = self.ask("read the thread", PLAIN, calls)?.remove(1);
        let Some(newest) = newest_inbound(&told["list"]) else { return Ok(()) };
        // Who opens what they answered themselves doesn't answer it again.
        if !self.answered.insert(newest["messageId"].to_string()) {
            return Ok(());
        }
        let word = self.word();
        let email = self.draft(&newest, &word)?;
        let submission = json!({"identityId": self.identity, "emailId": email});
        if !self.send("plain send", PLAIN, submission, &word)? {
            self.refused.insert(thread.to_owned());
        }
        Ok(())
    }
}
