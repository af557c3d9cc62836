//! What a hundred channels cost that hear who is looking at what: from the request that begins to compose,
//! or to look only, until the last of them has heard.

use crate::Outcome;
use crate::server::{Server, member};
use crate::table::{Spread, row};
use crate::team::ask;
use serde_json::{Value, json};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// One person may have 32 channels, so a few of them have these together.
const CHANNELS: usize = 100;
const PEOPLE: usize = 4;
const CHANGES: usize = 200;
/// A channel that hears nothing for this long is a failure.
const HEARD_MAX: Duration = Duration::from_secs(10);

pub fn measure(server: &Server, account: &str, size: usize) -> Outcome<()> {
    for number in 1..PEOPLE {
        server.add_colleague(&member(number))?;
    }
    let (heard, hears) = mpsc::channel();
    let mut open = Vec::with_capacity(CHANNELS);
    for number in 0..CHANNELS {
        open.push(server.client_of(&member(number % PEOPLE))?.events("Presence", heard.clone())?);
    }
    let mut http = server.client()?;
    let queue = json!([["Conversation/query", {"accountId": account, "limit": 1}, "q"]]);
    let conversation = ask(&mut http, &queue)?[0]["ids"][0].clone();
    let begin = json!([["Presence/set", {
        "accountId": account, "create": {"p": {"conversationId": conversation}}
    }, "p"]]);
    let lease = ask(&mut http, &begin)?[0]["created"]["p"]["id"].clone();
    let lease = lease.as_str().ok_or("no lease")?;
    // Each channel tells at its beginning, and of the lease; then they are silent.
    while hears.recv_timeout(Duration::from_secs(1)).is_ok() {}
    let (mut walls, cpu) = (Vec::with_capacity(CHANGES), server.cpu_seconds()?);
    for number in 0..CHANGES {
        let doing = if number % 2 == 0 { "composing" } else { "viewing" };
        let begun = Instant::now();
        let told = ask(&mut http, &change(account, lease, doing))?;
        if !told[0]["notUpdated"].is_null() {
            return Err(told[0].to_string().into());
        }
        let mut last = begun;
        for _ in 0..CHANNELS {
            last = last.max(hears.recv_timeout(HEARD_MAX)?);
        }
        walls.push(last.duration_since(begun).as_secs_f64());
    }
    let cpu = (server.cpu_seconds()? - cpu) / CHANGES as f64;
    let name = format!("presence change until {CHANNELS} channels heard");
    row(&name, size, &Spread::of(walls), &Spread::of(vec![cpu]));
    ask(&mut http, &json!([["Presence/set", {"accountId": account, "destroy": [lease]}, "p"]]))?;
    for channel in open {
        channel.shutdown(Shutdown::Both)?;
    }
    Ok(())
}

fn change(account: &str, lease: &str, doing: &str) -> Value {
    json!([["Presence/set", {"accountId": account, "update": {lease: {"doing": doing}}}, "p"]])
}
