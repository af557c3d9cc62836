//! Random queries, and what queryChanges makes of an old answer (RFC 8620 §5.6).

use super::{Dice, Explorer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a query said at one moment.
pub struct Asked {
    kind: String,
    arguments: Value,
    state: String,
    ids: Vec<String>,
    /// The server said that it could tell what changes.
    calculable: bool,
}

/// A query of any type that is there.
pub fn random(ids: &BTreeMap<&'static str, Vec<String>>, dice: &mut Dice) -> (&'static str, Value) {
    let of_inbox = ids.contains_key("Conversation");
    match dice.roll(if of_inbox { 14 } else { 10 }) {
        0..=7 => ("Email", email(ids, dice)),
        8 => {
            let filter = [json!(null), json!({"hasAnyRole": false}), json!({"role": "inbox"})];
            let sort =
                json!([{"property": dice.word(&["name", "sortOrder"]), "isAscending": dice.roll(2) == 0}]);
            ("Mailbox", json!({"filter": dice.pick(&filter), "sort": sort}))
        }
        9 => {
            let sort = json!([{"property": dice.word(&["sentAt", "emailId", "threadId"])}]);
            ("EmailSubmission", json!({"filter": {"undoStatus": "final"}, "sort": sort}))
        }
        10 | 11 => {
            let filter = [
                json!({"status": dice.word(&["open", "pending", "closed"])}),
                json!({"ownerId": null}),
                json!({"ownerId": "me"}),
                json!({"hasOwner": true}),
                json!({"tag": "t1"}),
                json!(null),
            ];
            let sort = json!([{
                "property": dice.word(&["lastActivityAt", "createdAt"]), "isAscending": dice.roll(2) == 0
            }]);
            ("Conversation", json!({"filter": dice.pick(&filter), "sort": sort}))
        }
        12 => ("Note", json!({"filter": null})),
        _ => ("Activity", json!({"filter": null})),
    }
}

fn email(ids: &BTreeMap<&'static str, Vec<String>>, dice: &mut Dice) -> Value {
    if dice.roll(2) == 0 {
        // What every client shows: a mailbox, or all mail, by date.
        let mailbox = dice.pick(&ids["Mailbox"]);
        let filter = if dice.roll(4) == 0 { Value::Null } else { json!({"inMailbox": mailbox}) };
        let sort = json!([{"property": "receivedAt", "isAscending": dice.roll(3) == 0}]);
        return json!({"filter": filter, "sort": sort, "collapseThreads": dice.roll(2) == 0});
    }
    let property = dice.word(&[
        "receivedAt",
        "receivedAt",
        "receivedAt",
        "size",
        "subject",
        "from",
        "hasKeyword",
        "someInThreadHaveKeyword",
    ]);
    let mut comparator = json!({"property": property, "isAscending": dice.roll(3) == 0});
    if property.ends_with("Keyword") {
        comparator["keyword"] = json!(dice.word(&["$flagged", "$seen", "blue"]));
    }
    let mut sort = vec![comparator];
    if property != "receivedAt" && dice.roll(2) == 0 {
        sort.push(json!({"property": "receivedAt", "isAscending": false}));
    }
    let filter = match dice.roll(4) {
        0 => json!(null),
        1 => json!({
            "operator": dice.word(&["AND", "OR", "NOT"]),
            "conditions": [condition(ids, dice), condition(ids, dice)]
        }),
        _ => condition(ids, dice),
    };
    json!({"filter": filter, "sort": sort, "collapseThreads": dice.roll(2) == 0})
}

fn condition(ids: &BTreeMap<&'static str, Vec<String>>, dice: &mut Dice) -> Value {
    let mailbox = dice.pick(&ids["Mailbox"]).cloned().unwrap_or_default();
    let keyword = dice.word(&["$flagged", "$seen", "$muted", "blue"]);
    match dice.roll(9) {
        0..=2 => json!({"inMailbox": mailbox}),
        3 => json!({"inMailboxOtherThan": [mailbox]}),
        4 => json!({"hasKeyword": keyword}),
        5 => json!({"notKeyword": keyword}),
        6 => json!({"hasAttachment": dice.roll(2) == 0}),
        7 => json!({"minSize": 400 + dice.roll(300)}),
        _ => json!({(dice.word(&["someInThreadHaveKeyword", "allInThreadHaveKeyword"])): keyword}),
    }
}

/// Asks all of them now. The total must be the number of ids.
pub async fn ask(explorer: &Explorer, plans: &[(&str, Value)]) -> Vec<Asked> {
    let call = |(kind, arguments): &(&str, Value)| {
        let mut arguments = arguments.clone();
        arguments["accountId"] = json!(explorer.client.account);
        arguments["calculateTotal"] = json!(true);
        json!([format!("{kind}/query"), arguments, "q"])
    };
    let told = explorer.request(plans.iter().map(call).collect()).await;
    let mut out = Vec::new();
    for ((kind, arguments), reply) in plans.iter().zip(told) {
        let reply = &reply[1];
        let ids = reply["ids"].as_array().unwrap_or_else(|| panic!("{kind} {arguments}: {reply}"));
        let ids: Vec<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!(reply["total"], json!(ids.len()), "{kind} {arguments}");
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{kind} {arguments}: an id twice");
        let state = reply["queryState"].as_str().unwrap().to_owned();
        let calculable = reply["canCalculateChanges"].as_bool().unwrap();
        let kind = (*kind).to_owned();
        out.push(Asked { kind, arguments: arguments.clone(), state, ids, calculable });
    }
    out
}

/// From every old answer to the present, half of them known only up to an id.
pub async fn replay(explorer: &Explorer, asked: &[Asked], dice: &mut Dice) {
    let plans: Vec<(&str, Value)> =
        asked.iter().map(|then| (then.kind.as_str(), then.arguments.clone())).collect();
    let fresh = ask(explorer, &plans).await;
    let mut calls = Vec::new();
    let mut upto = Vec::new();
    for then in asked {
        let known = if dice.roll(2) == 0 { dice.pick(&then.ids) } else { None };
        let mut arguments = then.arguments.clone();
        arguments["accountId"] = json!(explorer.client.account);
        arguments["sinceQueryState"] = json!(then.state);
        arguments["upToId"] = json!(known);
        arguments["calculateTotal"] = json!(true);
        calls.push(json!([format!("{}/queryChanges", then.kind), arguments, "q"]));
        upto.push(known);
    }
    let told = explorer.request(calls).await;
    let mut calculated = 0;
    for (((then, now), reply), known) in asked.iter().zip(&fresh).zip(told).zip(upto) {
        if reply[1]["type"] == "cannotCalculateChanges" {
            assert!(!then.calculable, "{} {} was said to be calculable", then.kind, then.arguments);
            continue;
        }
        calculated += 1;
        check(then, now, &reply[1], known);
    }
    assert!(calculated * 4 > asked.len(), "only {calculated} of {} were calculated", asked.len());
}

fn check(then: &Asked, now: &Asked, told: &Value, known: Option<&String>) {
    let what = || format!("{} {} from {} up to {known:?}: {told}", then.kind, then.arguments, then.state);
    let removed: BTreeSet<&str> = told["removed"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", what()))
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    let last = known.and_then(|known| then.ids.iter().position(|id| id == known));
    let cached = last.map_or(&then.ids[..], |last| &then.ids[..=last]);
    let mut ids: Vec<String> = cached.iter().filter(|id| !removed.contains(id.as_str())).cloned().collect();
    for added in told["added"].as_array().unwrap() {
        let index = added["index"].as_u64().unwrap() as usize;
        let id = added["id"].as_str().unwrap().to_owned();
        // What lies behind the known part is nothing that this client shows.
        if index <= ids.len() {
            ids.insert(index, id);
        } else {
            assert!(known.is_some(), "a gap: {}", what());
        }
    }
    assert_eq!(told["newQueryState"], json!(now.state), "{}", what());
    assert_eq!(told["total"], json!(now.ids.len()), "{}", what());
    match known {
        None => assert_eq!(ids, now.ids, "{}", what()),
        // Exact up to the last id that was known and stayed where it was. The known id itself may have moved
        // behind others that this client never saw, where the order hangs on what can change.
        Some(_) => {
            let stayed = cached.iter().rfind(|id| !removed.contains(id.as_str()));
            if let Some(end) = stayed.and_then(|stayed| now.ids.iter().position(|id| id == stayed)) {
                assert_eq!(ids.get(..=end), Some(&now.ids[..=end]), "{}", what());
            }
        }
    }
}
