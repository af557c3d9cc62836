//! Ten thousand submissions that wait for a relay: what queueing one costs, what so many are worth in
//! memory, and how fast they go once the relay is there.

use crate::http::Http;
use crate::server::Server;
use crate::table::{Spread, row};
use crate::team::{Team, ask};
use crate::{Load, Outcome};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SUBMISSIONS: usize = 10_000;
/// Submissions in one request.
const AT_ONCE: usize = 50;
/// Less than a drained queue in this time is a failure.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Stops the server and starts it again with a relay; measures; leaves the queue empty.
pub fn measure(server: &mut Server, load: &Load) -> Outcome<()> {
    let taken = Arc::new(AtomicUsize::new(0));
    let relay = relay(Arc::clone(&taken))?;
    server.stop()?;
    server.relay = Some(relay);
    server.start()?;
    let mut http = server.client()?;
    let account = crate::operations::place(&mut http)?.account;
    let team = Team::find(&mut http, &account)?;
    // What the benches before have sent goes first.
    drained(server, &taken, None)?;
    taken.store(0, Ordering::Relaxed);
    server.administer(&["queue", "pause"])?;
    let before = server.memory_bytes()?;
    let cpu = server.cpu_seconds()?;
    let mut walls = Vec::new();
    for first in (0..SUBMISSIONS).step_by(AT_ONCE) {
        let begun = Instant::now();
        submit(&mut http, &team, first)?;
        walls.push(begun.elapsed().as_secs_f64() / AT_ONCE as f64);
    }
    server.wait_until_idle()?;
    let each = (server.cpu_seconds()? - cpu) / SUBMISSIONS as f64;
    row("draft and submission, 50 in a request", load.sent, &Spread::of(walls), &Spread::of(vec![each]));
    let memory = server.memory_bytes()?;
    println!(
        "{SUBMISSIONS} queued: VmRSS {:.0} MiB, {:.0} MiB before",
        memory as f64 / 1_048_576.0,
        before as f64 / 1_048_576.0
    );
    let cpu = server.cpu_seconds()?;
    let begun = Instant::now();
    server.administer(&["queue", "resume"])?;
    drained(server, &taken, Some(SUBMISSIONS))?;
    let wall = begun.elapsed().as_secs_f64();
    server.wait_until_idle()?;
    let each = (server.cpu_seconds()? - cpu) / SUBMISSIONS as f64;
    let name = format!("queue to relay ({:.0}/s)", SUBMISSIONS as f64 / wall);
    let wall = Spread::of(vec![wall / SUBMISSIONS as f64]);
    row(&name, load.sent, &wall, &Spread::of(vec![each]));
    match taken.load(Ordering::Relaxed) {
        SUBMISSIONS => Ok(()),
        other => Err(format!("{other} of {SUBMISSIONS} came to the relay").into()),
    }
}

/// New messages to as many people, each submitted in the call that makes it.
fn submit(http: &mut Http, team: &Team, first: usize) -> Outcome<()> {
    let (mut drafts, mut submissions) = (Map::new(), Map::new());
    for number in first..first + AT_ONCE {
        let draft = json!({
            "mailboxIds": {team.drafts.as_str(): true}, "keywords": {"$draft": true},
            "from": [{"email": team.address}], "to": [{"email": format!("reader{number}@example.net")}],
            "subject": format!("News {number}"), "bodyValues": {"t": {"value": format!("This is {number}.\n")}},
            "textBody": [{"partId": "t", "type": "text/plain"}]
        });
        drafts.insert(format!("d{number}"), draft);
        let submission = json!({"identityId": team.identity, "emailId": format!("#d{number}")});
        submissions.insert(format!("s{number}"), submission);
    }
    let calls = json!([
        ["Email/set", {"accountId": team.account, "create": drafts}, "d"],
        ["EmailSubmission/set", {"accountId": team.account, "create": submissions}, "s"]
    ]);
    let told = ask(http, &calls)?;
    match told[1]["created"].as_object().map(Map::len) {
        Some(AT_ONCE) => Ok(()),
        _ => Err(Value::from(told).to_string().into()),
    }
}

/// Waits until the relay has that many, or, where no number is known, until the server rests.
fn drained(server: &Server, taken: &AtomicUsize, wanted: Option<usize>) -> Outcome<()> {
    let begun = Instant::now();
    let Some(wanted) = wanted else { return server.wait_until_idle() };
    while taken.load(Ordering::Relaxed) < wanted {
        if begun.elapsed() > DRAIN_MAX {
            return Err(format!("the relay has {} of {wanted}", taken.load(Ordering::Relaxed)).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A relay that takes everything at once and counts it.
fn relay(taken: Arc<AtomicUsize>) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let taken = Arc::clone(&taken);
            // A connection that breaks is the server's to try again.
            std::thread::spawn(move || session(stream, &taken));
        }
    });
    Ok(address)
}

fn session(stream: TcpStream, taken: &AtomicUsize) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let say = |reader: &BufReader<TcpStream>, text: &str| reader.get_ref().write_all(text.as_bytes());
    say(&reader, "220 relay.example ESMTP\r\n")?;
    let (mut line, mut in_data) = (String::new(), false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if in_data {
            if line == ".\r\n" {
                in_data = false;
                taken.fetch_add(1, Ordering::Relaxed);
                say(&reader, "250 2.0.0 taken\r\n")?;
            }
            continue;
        }
        let reply = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250-relay.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
            "DATA" => {
                in_data = true;
                "354 go on\r\n"
            }
            "QUIT" => return Ok(say(&reader, "221 2.0.0 bye\r\n")?),
            _ => "250 2.0.0 OK\r\n",
        };
        say(&reader, reply)?;
    }
}
