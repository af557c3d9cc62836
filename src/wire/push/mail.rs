//! What of new messages is pushed (draft-ietf-jmap-emailpush-03 §3): the Emails that were delivered since
//! a position and match the subscriber's filter, with the properties that they asked for.
//!
//! It is asked in the login's own session by the same methods that clients call, so that nothing is
//! pushed that couldn't be fetched. Nothing is told of what came while nobody knew the position.

use crate::auth::Login;
use crate::inbox::server::Server;
use crate::jmap::capability::Capability;
use crate::jmap::request;
use crate::jmap::webpush::TEXT_BYTES_MAX;
use crate::mail::viewer;
use crate::store::changes::Since;
use crate::store::rows::mail::{EmailRow, Origin, ThreadRow};
use crate::store::rows::push::{EmailPushRow, PushSubscriptionRow};
use crate::store::{Read, StoreResult};
use crate::types::{AccountId, EmailId, Keyword, Position, PrincipalId, limits};
use crate::wire::{http_auth, http_jmap};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// One POST: an EmailPush object as text, and its urgency (RFC 8030 §5.3).
pub type Push = (String, &'static str);

/// What is new since a feed's position. Blocks.
pub fn news(server: &Arc<Server>, login: &Login, row: &PushSubscriptionRow, since: &Position) -> Vec<Push> {
    let mut out = Vec::new();
    for (account, config) in &row.email_push {
        let Some(modseq) = since.of(*account) else { continue };
        let Some((emails, state)) = delivered(server, login, (*account, modseq), config) else { continue };
        let urgency = urgency(&config.urgency);
        let texts = pieces(*account, &state, &emails, &config.properties, TEXT_BYTES_MAX);
        out.extend(texts.into_iter().map(|text| (text, urgency)));
    }
    out
}

/// The Emails that came and match, oldest first, and the state that tells of them.
fn delivered(
    server: &Arc<Server>,
    login: &Login,
    (account, modseq): (AccountId, u64),
    config: &EmailPushRow,
) -> Option<(Vec<Value>, Value)> {
    let id = account.to_string();
    let filter: Value = config.filter.as_deref().map_or(Value::Null, |text| text.parse().unwrap_or_default());
    let answers = ask(
        server,
        login,
        &json!([
            ["Email/changes", {"accountId": id, "sinceState": Since::modseq(modseq).state()}, "0"],
            ["Email/query", {
                "accountId": id, "filter": filter, "limit": limits::EMAIL_PUSH_LOOKED_AT_MAX,
                "sort": [{"property": "receivedAt", "isAscending": false}]
            }, "1"]
        ]),
    )?;
    let created = answers.first()?["created"].as_array()?;
    let matching = answers.get(1)?["ids"].as_array()?;
    let snapshot = server.store.snapshot();
    let is_told = |id: &&Value| {
        let email = id.as_str().and_then(EmailId::parse);
        let mark = email.and_then(|email| came(&snapshot, account, login.principal, email).ok().flatten());
        match mark {
            Some(Attention::Muted) | None => false,
            Some(Attention::Followed) => true,
            Some(Attention::Usual) => matching.contains(id),
        }
    };
    let newest = created.iter().rev().take(limits::EMAIL_PUSH_LOOKED_AT_MAX).filter(is_told);
    let mut found: Vec<&Value> = newest.take(limits::EMAIL_PUSH_EMAILS_MAX).collect();
    found.reverse();
    if found.is_empty() {
        return None;
    }
    let get = json!([["Email/get", {"accountId": id, "ids": found, "properties": config.properties}, "0"]]);
    let mut answers = ask(server, login, &get)?;
    let got = answers.first_mut()?;
    Some((got["list"].as_array()?.clone(), got["state"].take()))
}

/// How much of a Thread's mail somebody wants to hear of, by their marks on any message in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attention {
    /// `$muted`: nothing.
    Muted,
    /// `$followed`: all, whatever the filter says.
    Followed,
    Usual,
}

/// What a message that was delivered is to somebody; `None` where it didn't come from outside.
fn came(
    read: &dyn Read,
    account: AccountId,
    principal: PrincipalId,
    email: EmailId,
) -> StoreResult<Option<Attention>> {
    let row: Option<EmailRow> = read.row(account, email)?;
    let came = |row: &EmailRow| matches!(row.origin, Origin::Inbound | Origin::Automatic | Origin::Internal);
    let Some(row) = row.filter(came) else { return Ok(None) };
    let thread: Option<ThreadRow> = read.row(account, row.thread)?;
    let emails = thread.map(|thread| thread.emails).unwrap_or_default();
    let eyes = viewer::eyes(read, account, Some(principal))?;
    let mut attention = Attention::Usual;
    for email in emails.iter().map(|one| one.email) {
        let Some(row) = read.row::<EmailRow>(account, email)? else { continue };
        let has = |keyword: &str| match &eyes {
            Some(eyes) => eyes.keywords(email, &row).contains(&keyword),
            None => row.keywords.iter().any(|one| one.as_str() == keyword),
        };
        if has(Keyword::MUTED) {
            return Ok(Some(Attention::Muted));
        }
        if has(Keyword::FOLLOWED) {
            attention = Attention::Followed;
        }
    }
    Ok(Some(attention))
}

/// Calls methods as the login. `None` where it doesn't hold, or one of them answers with an error: then
/// there is nothing to tell, and the StateChange leads the client to ask for itself.
fn ask(server: &Arc<Server>, login: &Login, calls: &Value) -> Option<Vec<Value>> {
    let session = http_auth::session_of(server, login)?;
    let using: Vec<&str> = Capability::ALL.into_iter().map(Capability::uri).collect();
    let text = json!({"using": using, "methodCalls": calls}).to_string();
    let request = request::parse(text.as_bytes()).ok()?;
    let response = http_jmap::respond(server, (login, &session), request, server.store.lock_blocking(&[]));
    server.store.durable_blocking(response.ticket).ok()?;
    let responses = response.into_json()["methodResponses"].take();
    let Value::Array(responses) = responses else { return None };
    responses.into_iter().map(|mut one| (one[0] != "error").then(|| one[1].take())).collect()
}

/// EmailPush objects of at most `max` octets each. A property that doesn't fit into an object of its own
/// is left out, those after it included where they don't fit either.
fn pieces(
    account: AccountId,
    state: &Value,
    emails: &[Value],
    properties: &[String],
    max: usize,
) -> Vec<String> {
    let text = |emails: &[Value]| {
        let id = account.to_string();
        json!({"@type": "EmailPush", "accountId": id, "emails": emails, "state": state}).to_string()
    };
    let mut out = Vec::new();
    let mut some: Vec<Value> = Vec::new();
    for email in emails {
        let wanted = || properties.iter().filter_map(|name| Some((name, email.get(name)?)));
        let whole: Map<String, Value> = wanted().map(|(name, value)| (name.clone(), value.clone())).collect();
        some.push(Value::Object(whole));
        if text(&some).len() <= max {
            continue;
        }
        let last = some.pop();
        if !some.is_empty() {
            out.push(text(&some));
        }
        some = last.into_iter().collect();
        if text(&some).len() > max {
            let mut fitting = Map::new();
            for (name, value) in wanted() {
                fitting.insert(name.clone(), value.clone());
                if text(&[Value::Object(fitting.clone())]).len() > max {
                    fitting.shift_remove(name);
                }
            }
            some = vec![Value::Object(fitting)];
        }
    }
    if !some.is_empty() {
        out.push(text(&some));
    }
    out
}

fn urgency(word: &str) -> &'static str {
    ["very-low", "low", "high"].into_iter().find(|known| *known == word).unwrap_or("normal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_keep_to_the_size_and_properties_come_in_the_order_asked_for() {
        let email =
            |subject: &str, preview: &str| json!({"id": "ea", "preview": preview, "subject": subject});
        let wanted = ["subject", "preview", "id"].map(str::to_owned);
        let made = |emails: &[Value], max| pieces(AccountId(1), &json!("s7"), emails, &wanted, max);
        let one = made(&[email("A", "a"), email("B", "b")], 1000);
        let head = "{\"@type\":\"EmailPush\",\"accountId\":\"ab\",\"emails\":";
        assert_eq!(
            one,
            [format!(
                "{head}[{{\"subject\":\"A\",\"preview\":\"a\",\"id\":\"ea\"}},\
                 {{\"subject\":\"B\",\"preview\":\"b\",\"id\":\"ea\"}}],\"state\":\"s7\"}}"
            )]
        );
        // Two that don't fit together, and one that doesn't fit at all.
        let max = one[0].len() - 1;
        assert_eq!(made(&[email("A", "a"), email("B", "b")], max).len(), 2);
        let long = made(&[email("A", &"x".repeat(max)), email("B", "b")], max);
        assert_eq!(long.len(), 1, "{long:?}");
        assert!(long[0].contains("[{\"subject\":\"A\",\"id\":\"ea\"},{\"subject\":\"B\""), "{long:?}");
        assert!(made(&[email(&"x".repeat(900), &"y".repeat(900))], 300)[0].len() <= 300);
    }
}
