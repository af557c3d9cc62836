//! Valid requests of every method, mutated at random, and the fuzzers' requests: the server refuses
//! precisely or does something, and never fails. A failure replays from its seed.

use crate::support::{Client, TestServer, message};
use serde_json::{Map, Value, json};

const ROUNDS: usize = 500;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn one<'a>(&mut self, from: &'a [Value]) -> &'a Value {
        &from[self.roll(from.len())]
    }
}

/// What stands where something else belongs.
fn odd_values() -> Vec<Value> {
    let deep = (0..40).fold(json!(null), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(9_007_199_254_740_993_u64),
        json!(0.5),
        json!(""),
        json!("x"),
        json!("#"),
        json!("#x"),
        json!("\u{0}"),
        json!("é\u{202e}"),
        json!("a".repeat(3000)),
        json!([]),
        json!({}),
        json!([null]),
        json!({"": null}),
        json!({"a/b": 1}),
        json!("2026-13-41T99:99:99Z"),
        json!("~2"),
        json!({"resultOf": "c", "name": "x", "path": "/*"}),
        deep,
    ]
}

fn calls(account: &str) -> Vec<Value> {
    let call = |name: &str, more: Value| {
        let mut arguments = json!({"accountId": account});
        for (name, value) in more.as_object().unwrap() {
            arguments[name] = value.clone();
        }
        json!([name, arguments, "c"])
    };
    let mut out = Vec::new();
    let types = [
        "Mailbox",
        "Thread",
        "Email",
        "EmailSubmission",
        "Identity",
        "Conversation",
        "Note",
        "ReplyLock",
        "Activity",
        "InboxSettings",
        "Principal",
        "VacationResponse",
        "Quota",
        "PushSubscription",
    ];
    for name in types {
        out.push(call(&format!("{name}/get"), json!({"ids": null, "properties": ["id"]})));
        out.push(call(&format!("{name}/changes"), json!({"sinceState": "s1", "maxChanges": 5})));
        out.push(call(
            &format!("{name}/query"),
            json!({
                "filter": {"operator": "AND", "conditions": [{"text": "hello"}, {"inMailbox": "ma"}]},
                "sort": [{"property": "receivedAt", "isAscending": false, "collation": "i;ascii-casemap"}],
                "position": 0, "anchor": null, "anchorOffset": 0, "limit": 5, "calculateTotal": true
            }),
        ));
        out.push(call(
            &format!("{name}/queryChanges"),
            json!({
                "filter": null, "sort": null, "sinceQueryState": "s1", "maxChanges": 5, "upToId": "eb"
            }),
        ));
        out.push(call(
            &format!("{name}/set"),
            json!({
                "ifInState": null, "create": {"k": {"name": "x", "body": "x", "conversationId": "ca"}},
                "update": {"eb": {"keywords/$seen": true, "status": "open", "name": "y"}}, "destroy": ["nope"]
            }),
        ));
    }
    let body = json!({
        "mailboxIds": {"ma": true}, "subject": "x", "from": [{"name": "A", "email": "support@x.example"}],
        "header:X-Y:asText": "z", "bodyValues": {"t": {"value": "x"}},
        "bodyStructure": {"type": "multipart/mixed", "subParts": [{"partId": "t", "type": "text/plain"}]},
        "attachments": [{"blobId": "G1", "type": "image/png", "cid": "a@b", "language": ["en"]}]
    });
    out.push(call("Email/set", json!({"create": {"d": body}})));
    out.push(call("Email/get", json!({
        "ids": ["eb"], "properties": ["header:Subject:asRaw:all", "bodyStructure", "bodyValues"],
        "bodyProperties": ["partId", "header:X:asDate"], "fetchAllBodyValues": true, "maxBodyValueBytes": 7
    })));
    out.push(call("Email/import", json!({"emails": {"i": {"blobId": "G1", "mailboxIds": {"ma": true}}}})));
    out.push(call("Email/parse", json!({"blobIds": ["G1"], "properties": ["subject"]})));
    out.push(call("Email/copy", json!({"fromAccountId": account, "create": {"k": {"id": "eb"}}})));
    out.push(call("SearchSnippet/get", json!({"filter": {"text": "hello"}, "emailIds": ["eb"]})));
    out.push(call(
        "EmailSubmission/set",
        json!({
            "create": {"s": {"emailId": "eb", "identityId": "ia", "envelope": {
                "mailFrom": {"email": "support@x.example", "parameters": {"HOLDFOR": "5"}},
                "rcptTo": [{"email": "m@c.example", "parameters": null}]
            }}},
            "onSuccessUpdateEmail": {"#s": {"keywords/$draft": null}}, "onSuccessDestroyEmail": ["#s"]
        }),
    ));
    out.push(call("Blob/copy", json!({"fromAccountId": account, "blobIds": ["G1"]})));
    out.push(json!(["Core/echo", {"a": [1, {"b": null}]}, "c"]));
    out
}

/// Changes one value somewhere in it, or a name, or leaves something out.
fn mutate(value: &mut Value, odd: &[Value], dice: &mut Dice) {
    let depth = dice.roll(6);
    let mut at = value;
    for _ in 0..depth {
        let size = match at {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        };
        if size == 0 {
            break;
        }
        let nth = dice.roll(size);
        at = match at {
            Value::Array(items) => &mut items[nth],
            Value::Object(members) => members.values_mut().nth(nth).unwrap(),
            _ => unreachable!("it has a size"),
        };
    }
    match (dice.roll(4), &mut *at) {
        (0, Value::Object(members)) if !members.is_empty() => {
            let name = members.keys().nth(dice.roll(members.len())).unwrap().clone();
            let gone = members.remove(&name).unwrap();
            if dice.roll(2) == 0 {
                members.insert(format!("{name}/x"), gone);
            }
        }
        (1, Value::Array(items)) => items.push(dice.one(odd).clone()),
        _ => *at = dice.one(odd).clone(),
    }
}

/// The status, and no `serverFail` in what is answered.
async fn post(client: &Client, body: Vec<u8>, what: &str) {
    let reply = client.post("/jmap", "application/json", body).await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(reply.status < 500, "{what}: {} {text}", reply.status);
    assert!(!text.contains("serverFail"), "{what}: {text}");
}

#[tokio::test]
async fn mutated_requests_are_refused_or_done_and_never_fail() {
    let seed = 0x1eaf;
    println!("seed {seed}");
    let server = TestServer::office(&[]).await;
    let text = message("one@c.example", "m@c.example", "support@x.example", "Hello", "Hello");
    assert!(server.deliver("m@c.example", &["support@x.example"], &text).await.starts_with("250 "));
    let ann = server.client("ann@x.example").await;
    let using: Vec<String> = ann.session["capabilities"].as_object().unwrap().keys().cloned().collect();
    let (calls, odd) = (calls(&ann.account), odd_values());
    let mut dice = Dice(seed);
    for round in 0..ROUNDS {
        let some: Vec<Value> = (0..1 + dice.roll(3)).map(|_| dice.one(&calls).clone()).collect();
        let mut request = Value::Object(Map::from_iter([
            ("using".to_owned(), json!(using)),
            ("methodCalls".to_owned(), json!(some)),
        ]));
        for _ in 0..1 + dice.roll(4) {
            // Mostly within the calls, where the methods are.
            let target = if dice.roll(8) == 0 { &mut request } else { &mut request["methodCalls"] };
            mutate(target, &odd, &mut dice);
        }
        let mut body = request.to_string().into_bytes();
        if dice.roll(20) == 0 {
            body.truncate(dice.roll(body.len()));
        }
        post(&ann, body, &format!("seed {seed}, round {round}: {request}")).await;
    }
    let told = ann.call("Core/echo", json!({"still": "there"})).await;
    assert_eq!(told["still"], "there");
    server.check();
}

#[tokio::test]
async fn every_request_of_the_fuzzers_corpus_is_answered_by_the_whole_server() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut count = 0;
    for entry in std::fs::read_dir("fuzz/corpus/jmap_request").unwrap() {
        let path = entry.unwrap().path();
        post(&ann, std::fs::read(&path).unwrap(), &path.display().to_string()).await;
        count += 1;
    }
    assert!(count > 0);
    server.check();
}
