//! The story, chapter by chapter. Each chapter asks the server and says what it found.

use crate::agent::{Agent, PLAIN, TEAM};
use crate::relay::Relay;
use crate::server::Server;
use crate::smtp::{Gateway, envelope_sender};
use crate::{Outcome, step, told};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const INBOX: &str = "support@harbour.example";
const SUBJECT: &str = "Booking 4471 has vanished";
const NOTE: &str = "The import on Sunday night dropped C14. I have put it back by hand.";
const REPLY: &str = "C14 is yours again for the whole of July; booking 4471 is back in the calendar.";
const PASSWORD: &str = "harbour-demo";
const TEAM_MEMBERS: [(&str, &str, &str); 3] = [
    ("Amira", "amira@harbour.example", "lead"),
    ("Ben", "ben@harbour.example", "agent"),
    ("Chiara", "chiara@harbour.example", "agent"),
];
/// How long something that happens by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the relay is watched for a second copy.
const WATCH: Duration = Duration::from_secs(3);

pub async fn play(ends: bool) -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("postroom-demo-").tempdir()?;
    let relay = Relay::start().await?;
    let mut server = Server::new(&folder.path().join("data"), format!("smtp://{}", relay.address))?;
    std::fs::create_dir(&server.data)?;

    let outcome = tokio::select! {
        outcome = chapters(&mut server, &relay) => outcome,
        _ = tokio::signal::ctrl_c() => return Err("stopped".into()),
    };
    if let Err(error) = outcome {
        // What the server wrote is the first thing that one wants to read then.
        println!("\nThe data folder and the server's log stay in {}", folder.keep().display());
        return Err(error);
    }
    if !ends {
        leave_up(&server);
        tokio::signal::ctrl_c().await?;
    }
    step("The server stops");
    server.stop().await?;
    told(true, "SIGTERM: running work ended, exit 0")
}

async fn chapters(server: &mut Server, relay: &Relay) -> Outcome<()> {
    step("A server on an empty folder");
    server.start().await?;
    told(true, format!("HTTP on {}, SMTP on {}", server.http, server.smtp))?;
    make_team(server)?;
    let delivered = deliver(server).await?;

    let base = format!("http://{}", server.http);
    let log_in = |(name, email, _): (&'static str, &'static str, &str)| {
        let base = base.clone();
        async move { Agent::log_in(&base, name, email, PASSWORD).await }
    };
    let [amira, ben, chiara] = TEAM_MEMBERS;
    let (amira, ben, chiara) = (log_in(amira).await?, log_in(ben).await?, log_in(chiara).await?);

    let conversation = look_around(&amira, delivered).await?;
    let (owner, colleague) = race(&ben, &chiara, &conversation).await?;
    note(colleague, owner, &conversation).await?;
    let token = lock(owner, colleague, &conversation).await?;
    blocked(colleague, owner, &conversation).await?;
    reply(owner, &conversation, token, relay).await?;

    step("kill -9, and a new start");
    server.kill()?;
    server.start().await?;
    still_there(&amira, owner, &conversation, delivered, relay).await?;
    thanks(server, owner, &conversation, relay).await?;

    step("postroom check");
    let report = server.command(&["check"], None)?;
    told(
        true,
        format!(
            "every invariant holds{}",
            report.lines().last().map_or(String::new(), |line| format!(": {line}"))
        ),
    )
}

fn make_team(server: &Server) -> Outcome<()> {
    step("A team of three and one shared address");
    let mut inbox =
        vec!["inbox".to_string(), "add".into(), INBOX.into(), "--name".into(), "Harbour Support".into()];
    inbox.extend(["--alias".to_string(), "help@harbour.example".into()]);
    for (name, email, role) in TEAM_MEMBERS {
        let person = ["person", "add", email, "--name", name, "--password-stdin"];
        server.command(&person, Some(&format!("{PASSWORD}\n")))?;
        inbox.extend(["--member".to_string(), format!("{email}:{role}")]);
        told(true, format!("{name} ({role})"))?;
    }
    let inbox: Vec<&str> = inbox.iter().map(String::as_str).collect();
    server.command(&inbox, None)?;
    told(true, INBOX)
}

/// Delivers demo/mails in the order of their names; gives how many.
async fn deliver(server: &Server) -> Outcome<u64> {
    step("Customers write");
    // Where this runs, not where it was compiled: checkouts share their build folder.
    let folder = PathBuf::from("demo/mails");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let mut gateway = Gateway::connect(&server.smtp).await?;
    for path in &files {
        let message = std::fs::read(path)?;
        let sender = envelope_sender(&message);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        gateway.deliver(&sender, INBOX, &message).await.map_err(|error| format!("{name}: {error}"))?;
        println!("   · {name} from <{sender}>");
    }
    gateway.quit().await?;
    told(!files.is_empty(), format!("{} messages, each taken with 250 once it was durable", files.len()))?;
    Ok(files.len() as u64)
}

/// Finds the conversation that the story is about.
async fn look_around(amira: &Agent, delivered: u64) -> Outcome<String> {
    step("What the team sees");
    let answers = amira
        .call(
            TEAM,
            &[
                ("Email/query", json!({ "calculateTotal": true, "limit": 1 })),
                ("Conversation/query", json!({ "filter": { "status": "open" }, "calculateTotal": true })),
                (
                    "Conversation/get",
                    json!({ "#ids": { "resultOf": "1", "name": "Conversation/query", "path": "/ids" } }),
                ),
            ],
        )
        .await?;
    told(answers[0]["total"] == json!(delivered), format!("{delivered} messages in the inbox"))?;
    told(answers[1]["total"].is_u64(), format!("{} open conversations", answers[1]["total"]))?;
    let list = answers[2]["list"].as_array().ok_or("Conversation/get gave no list")?;
    let found: Vec<&Value> =
        list.iter().filter(|conversation| conversation["subject"] == json!(SUBJECT)).collect();
    told(found.len() == 1, format!("one of them is “{SUBJECT}”"))?;
    told(found[0]["messageCount"] == json!(5), "with five messages of three senders in it")?;
    told(found[0]["ownerId"].is_null(), "and visibly no owner")?;
    Ok(found[0]["id"].as_str().ok_or("a conversation without id")?.into())
}

/// Both claim at the same moment; gives the winner, then the other.
async fn race<'a>(ben: &'a Agent, chiara: &'a Agent, id: &str) -> Outcome<(&'a Agent, &'a Agent)> {
    step("Ben and Chiara claim it at the same moment");
    let claim = |agent: &'a Agent| {
        agent.call_one("Conversation/set", json!({ "update": { id: { "ownerId": agent.principal } } }))
    };
    let (bens, chiaras) = tokio::join!(claim(ben), claim(chiara));
    let (bens, chiaras) = (bens?, chiaras?);
    let won = |answer: &Value| answer["updated"].get(id).is_some();
    told(won(&bens) != won(&chiaras), "exactly one of them got it")?;
    let (owner, colleague, refused) = if won(&bens) { (ben, chiara, chiaras) } else { (chiara, ben, bens) };
    let error = &refused["notUpdated"][id];
    told(
        error["type"] == json!("ownerMismatch"),
        format!("{} is refused with ownerMismatch", colleague.name),
    )?;
    told(error["ownerId"] == json!(owner.principal), format!("and told who has it: {}", owner.name))?;
    let seen = ben.conversation(id).await?;
    told(seen["ownerId"] == json!(owner.principal), format!("everybody sees {} as the owner", owner.name))?;
    Ok((owner, colleague))
}

async fn note(author: &Agent, mentioned: &Agent, conversation: &str) -> Outcome<()> {
    step(&format!("{} leaves a note for {}", author.name, mentioned.name));
    let note = json!({ "conversationId": conversation, "body": NOTE, "mentions": [mentioned.principal] });
    let answer = author.call_one("Note/set", json!({ "create": { "n": note } })).await?;
    let id = &answer["created"]["n"]["id"];
    told(id.is_string(), format!("“{NOTE}”"))?;
    let found = mentioned.call_one("Note/query", json!({ "filter": { "mentions": "me" } })).await?;
    told(
        found["ids"] == json!([id]),
        format!("{} finds it among the notes that mention them", mentioned.name),
    )
}

/// The owner takes the reply lock; gives its token.
async fn lock(owner: &Agent, colleague: &Agent, conversation: &str) -> Outcome<Value> {
    step(&format!("{} takes the reply lock", owner.name));
    let create = json!({ "create": { "l": { "conversationId": conversation } } });
    let answer = owner.call_one("ReplyLock/set", create.clone()).await?;
    let lock = &answer["created"]["l"];
    told(lock["token"].is_u64(), format!("token {}, until {}", lock["token"], lock["expiresAt"]))?;
    let answer = colleague.call_one("ReplyLock/set", create).await?;
    let refused = answer["notCreated"]["l"]["type"] == json!("lockHeld");
    told(refused, format!("{} can't take it as well: lockHeld", colleague.name))?;
    Ok(lock["token"].clone())
}

/// The colleague tries to answer all the same, with a client that knows locks and with one that doesn't.
async fn blocked(colleague: &Agent, owner: &Agent, conversation: &str) -> Outcome<()> {
    step(&format!("{} answers too, and is stopped", colleague.name));
    let version = colleague.conversation(conversation).await?["version"].clone();
    let draft = Draft::new(colleague, conversation, "Hello, which booking do you mean?").await?;
    let answer = draft.submit(colleague, TEAM, json!({ "ifVersion": version })).await?;
    let error = &answer["notCreated"]["s"];
    told(error["type"] == json!("lockHeld"), format!("refused with lockHeld: {}", error["description"]))?;
    let answer = draft.submit(colleague, PLAIN, json!({})).await?;
    let error = &answer["notCreated"]["s"];
    let plain = error["type"] == json!("forbiddenToSend");
    told(plain, "a client that knows no locks is stopped as well, with the standard forbiddenToSend")?;
    let says = error["description"].as_str().unwrap_or("");
    told(says.contains(owner.name), format!("in plain words: “{says}”"))
}

async fn reply(owner: &Agent, conversation: &str, token: Value, relay: &Relay) -> Outcome<()> {
    step(&format!("{} answers", owner.name));
    told(relay.accepted().is_empty(), "until now the relay has seen nothing")?;
    let version = owner.conversation(conversation).await?["version"].clone();
    let draft = Draft::new(owner, conversation, REPLY).await?;
    let gate = json!({
        "lockToken": token, "ifVersion": version, "thenStatus": "pending", "idempotencyKey": "demo-1",
    });
    let first = draft.submit(owner, TEAM, gate.clone()).await?;
    told(first["created"]["s"]["id"].is_string(), "the gate lets the holder of the lock through")?;
    let deadline = Instant::now() + PATIENCE;
    while relay.accepted().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    // A client that didn't hear the answer asks again.
    let again = draft.submit(owner, TEAM, gate).await?;
    let same = again["created"]["s"]["id"] == first["created"]["s"]["id"];
    told(same, "asking again gives the same submission and sends nothing")?;
    sleep(WATCH).await;
    let sent = relay.accepted();
    told(sent.len() == 1, "the relay has exactly one message")?;
    let mut recipients = sent[0].recipients.clone();
    recipients.sort();
    told(recipients == ["marta@lindqvist-sailing.example"], "to the customer, and nobody else")?;
    told(sent[0].data.contains("booking 4471 is back"), "with the reply in it")?;
    told(!sent[0].data.contains("put it back by hand"), "and nothing of the note")?;
    let now = owner.conversation(conversation).await?;
    told(now["status"] == json!("pending"), "the conversation is pending: the customer's turn")?;
    let locks = owner.call_one("ReplyLock/get", json!({ "ids": null })).await?;
    told(locks["list"] == json!([]), "the lock is gone with the reply")
}

async fn still_there(
    amira: &Agent,
    owner: &Agent,
    conversation: &str,
    delivered: u64,
    relay: &Relay,
) -> Outcome<()> {
    let answers = amira
        .call(
            TEAM,
            &[
                ("Email/query", json!({ "calculateTotal": true, "limit": 1 })),
                ("Note/query", json!({ "filter": { "conversationId": conversation } })),
                ("Note/get", json!({ "#ids": { "resultOf": "1", "name": "Note/query", "path": "/ids" } })),
            ],
        )
        .await?;
    // The colleague's draft is still a draft, and the reply is the Sent copy.
    let expected = delivered + 2;
    told(answers[0]["total"] == json!(expected), format!("{delivered} messages, the reply and a draft"))?;
    told(answers[2]["list"][0]["body"] == json!(NOTE), "the note")?;
    let now = amira.conversation(conversation).await?;
    told(now["ownerId"] == json!(owner.principal), format!("{} as the owner", owner.name))?;
    told(now["status"] == json!("pending"), "the status")?;
    sleep(WATCH).await;
    told(relay.accepted().len() == 1, "and the reply wasn't sent again")
}

/// The customer answers our reply, which opens the conversation again.
async fn thanks(server: &Server, owner: &Agent, conversation: &str, relay: &Relay) -> Outcome<()> {
    step("The customer answers");
    let sent = relay.accepted();
    let ours = sent[0].data.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("message-id").then(|| value.trim().to_string())
    });
    let ours = ours.ok_or("our reply has no Message-ID")?;
    let message = format!(
        "Date: Tue, 17 Nov 2026 15:01:00 +0100\r\nFrom: Marta Lindqvist <marta@lindqvist-sailing.example>\r\n\
         To: {INBOX}\r\nSubject: Re: {SUBJECT}\r\nMessage-ID: <thanks.4471@lindqvist-sailing.example>\r\n\
         In-Reply-To: {ours}\r\nReferences: {ours}\r\n\r\nWonderful, thank you! Which pier is it?\r\n"
    );
    let mut gateway = Gateway::connect(&server.smtp).await?;
    gateway.deliver("marta@lindqvist-sailing.example", INBOX, message.as_bytes()).await?;
    gateway.quit().await?;
    let now = owner.conversation(conversation).await?;
    told(now["messageCount"] == json!(7), "her message is in the same conversation")?;
    told(now["status"] == json!("open"), format!("which is open again, and still with {}", owner.name))
}

/// An answer to the newest message of a conversation, kept as a draft.
struct Draft {
    email_id: String,
    identity_id: String,
}

impl Draft {
    async fn new(agent: &Agent, conversation: &str, text: &str) -> Outcome<Self> {
        let threads = agent.conversation(conversation).await?["threadIds"].clone();
        let answers = agent
            .call(
                TEAM,
                &[
                    ("Thread/get", json!({ "ids": threads })),
                    (
                        "Email/get",
                        json!({
                            "#ids": { "resultOf": "0", "name": "Thread/get", "path": "/list/*/emailIds" },
                            "properties": ["messageId", "references", "keywords"],
                        }),
                    ),
                    ("Identity/get", json!({ "ids": null })),
                    ("Mailbox/query", json!({ "filter": { "role": "drafts" } })),
                ],
            )
            .await?;
        let emails = answers[1]["list"].as_array().ok_or("Email/get gave no list")?;
        let newest = emails.iter().rfind(|email| email["keywords"]["$draft"].is_null());
        let newest = newest.ok_or("a conversation without messages")?;
        let mut references = newest["references"].as_array().cloned().unwrap_or_default();
        references.extend(newest["messageId"].as_array().cloned().unwrap_or_default());
        let drafts = answers[3]["ids"][0].as_str().ok_or("no mailbox for drafts")?;
        let email = json!({
            "mailboxIds": { drafts: true },
            "keywords": { "$draft": true, "$seen": true },
            "from": [{ "name": "Harbour Support", "email": INBOX }],
            "to": [{ "name": "Marta Lindqvist", "email": "marta@lindqvist-sailing.example" }],
            "subject": format!("Re: {SUBJECT}"),
            "inReplyTo": newest["messageId"],
            "references": references,
            "bodyValues": { "t": { "value": format!("{text}\n\n{}\nHarbour Support\n", agent.name) } },
            "textBody": [{ "partId": "t", "type": "text/plain" }],
        });
        let answer = agent.call_one("Email/set", json!({ "create": { "r": email } })).await?;
        let email_id = answer["created"]["r"]["id"].as_str().ok_or_else(|| format!("no draft: {answer}"))?;
        let identity_id = answers[2]["list"][0]["id"].as_str().ok_or("no identity in the inbox")?;
        Ok(Self { email_id: email_id.into(), identity_id: identity_id.into() })
    }

    /// Submits the draft with what else the gate is told; gives the answer of EmailSubmission/set.
    async fn submit(&self, agent: &Agent, using: &[&str], gate: Value) -> Outcome<Value> {
        let mut submission = json!({ "emailId": self.email_id, "identityId": self.identity_id });
        if let (Some(submission), Value::Object(gate)) = (submission.as_object_mut(), gate) {
            submission.extend(gate);
        }
        let call = ("EmailSubmission/set", json!({ "create": { "s": submission } }));
        let answers = agent.call(using, &[call]).await?;
        answers.into_iter().next().ok_or_else(|| "no answer to EmailSubmission/set".into())
    }
}

fn leave_up(server: &Server) {
    let http = &server.http;
    println!("\nThe server is up until Ctrl-C.\n");
    println!("   JMAP      http://{http}/.well-known/jmap");
    println!("   SMTP      {}", server.smtp);
    for (name, email, role) in TEAM_MEMBERS {
        println!("   {name:<9} {email} ({role}), password {PASSWORD}");
    }
    println!("\nTry:\n   curl -su {}:{PASSWORD} http://{http}/.well-known/jmap", TEAM_MEMBERS[0].1);
}
