//! Answering in somebody's absence (RFC 8621 §8), and telling a customer that an inbox got their mail, by the
//! rules of RFC 3834: never automatic mail,
//! never ourselves, only what names an address that led to the account, each sender once a day and
//! nobody beyond a limit, with a null return path. The answer is queued in the transaction that
//! delivers the message: both or neither.
//!
//! It goes to the return path (RFC 3834 §4). Where that is the keyed one of a server like this, which is another
//! for each message, who wrote is who stands in From.

use super::compose::{self, ComposeDefaults, Draft, DraftContent, DraftHeader, DraftPart, DraftValue};
use super::compose_headers::is_writable_id;
use super::date::MailDate;
use super::ingest::Prepared;
use super::keyed::{self, WireKeys};
use super::message::Added;
use super::outbound::{self, Automatic};
use super::{headers, html, identity, memo, parse};
use crate::store::rows::directory::{AccountKind, AccountRow};
use crate::store::rows::mail::MailAddress;
use crate::store::rows::vacation::{VacationAnsweredRow, VacationRow};
use crate::store::{Read, StoreResult, Txn, keys, rows};
use crate::types::*;
use std::ops::ControlFlow;
use std::time::Duration;

/// The fields that may name an address of ours (RFC 3834 §2, RFC 5230 §4.5).
const RECIPIENT_FIELDS: [&str; 6] = ["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"];

/// Who sent a message and what they named, by its envelope.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// `None` is the null path.
    pub from: Option<&'a Address>,
    /// The recipients that led to the account: one with a detail behind its `+`, one of a domain all of which is
    /// the account's.
    pub to: &'a [Address],
}

/// The account's VacationResponse.
pub fn row(read: &dyn Read, account: AccountId) -> StoreResult<VacationRow> {
    Ok(read.row(account, ())?.unwrap_or_default())
}

/// Answers a message that was just delivered, where it is to be answered.
pub fn answer(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    path: Path<'_>,
    added: &Added,
    hostname: &str,
) -> StoreResult<()> {
    let vacation = row(txn, account)?;
    if !is_active(&vacation, txn.store().clock.now()) {
        return Ok(());
    }
    respond(txn, account, prepared, path, added, hostname, &vacation).map(|_| ())
}

/// Tells whoever began a conversation in an inbox that their message is there: the inbox's own text, by the
/// same rules. In it `{number}` stands for the conversation's number and `{subject}` for the message's subject.
/// Gives the submission, where there is an answer.
pub fn acknowledge(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    path: Path<'_>,
    added: &Added,
    hostname: &str,
    (text, conversation): (&str, ConversationId),
) -> StoreResult<Option<SubmissionId>> {
    let filled = text.replace("{number}", &conversation.0.to_string());
    let text = Some(filled.replace("{subject}", &prepared.summary.subject));
    let answer = VacationRow { is_enabled: true, text, ..VacationRow::default() };
    respond(txn, account, prepared, path, added, hostname, &answer)
}

fn respond(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    path: Path<'_>,
    added: &Added,
    hostname: &str,
    vacation: &VacationRow,
) -> StoreResult<Option<SubmissionId>> {
    let now = txn.store().clock.now();
    let Some((sender, author)) = path.from.and_then(|from| Some((from, author(prepared, from)?))) else {
        return Ok(None);
    };
    let own = identity::addresses(txn, account)?;
    let Some(addressed) = addressed(prepared, &own, path.to).filter(|_| may_answer(prepared, &author)) else {
        return Ok(None);
    };
    let keys = WireKeys::load(txn)?;
    let is_ours = is_ours(txn, sender)? || is_ours(txn, &author)? || keys.read_return_path(sender).is_some();
    if is_ours || !take_turn(txn, account, &author, now)? {
        return Ok(None);
    }
    let identities = identity::all(txn, account)?;
    let name = identities.into_iter().find(|(_, row)| row.email.key() == addressed.key());
    let (identity, name) = name.map_or((IdentityId(0), String::new()), |(id, row)| (id, row.name));
    let from = MailAddress { name: Some(name).filter(|name| !name.is_empty()), email: addressed.to_string() };
    let random: [u8; 16] = txn.store().random.bytes();
    let defaults = ComposeDefaults {
        message_id: keys.message_id(&txn.store().random, hostname),
        date: MailDate::utc(now),
        boundary_seed: random,
    };
    match compose::compose(&letter(vacation, prepared, from, sender), &defaults) {
        Ok(raw) if memo::is_in(&keys, &parse::parse(&raw), &raw) => {
            tracing::warn!(%account, "an automatic answer has an internal note in it, and isn't sent");
            Ok(None)
        }
        Ok(raw) => enqueue(txn, account, identity, sender, added, &raw, now).map(Some),
        Err(error) => {
            tracing::warn!(%account, %error, "an automatic answer could not be written");
            Ok(None)
        }
    }
}

/// Whether an address leads to an account here: it, what is before its `+`, or all of its domain.
fn is_ours(read: &dyn Read, address: &Address) -> StoreResult<bool> {
    let key = address.key();
    let (local, domain) = key.rsplit_once('@').unwrap_or((&key, ""));
    let base = local.split_once('+').map(|(base, _)| format!("{base}@{domain}"));
    for name in [Some(key.clone()), base, Some(format!("*@{domain}"))].into_iter().flatten() {
        if read.has(&keys::named(AccountId::DIRECTORY, keys::Kind::Address, name.as_bytes()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_active(vacation: &VacationRow, now: Millis) -> bool {
    let date = now.date();
    vacation.is_enabled
        && vacation.from.is_none_or(|from| date >= from)
        && vacation.to.is_none_or(|to| date < to)
}

/// Who wrote a message that came with that return path; `None` where nobody can tell.
fn author(prepared: &Prepared, sender: &Address) -> Option<Address> {
    if !keyed::is_return_path(sender) {
        return Some(sender.clone());
    }
    prepared.summary.from.first().and_then(|one| Address::parse(&one.email))
}

/// RFC 3834 §2: what no program may answer, by the message and by who wrote it.
fn may_answer(prepared: &Prepared, author: &Address) -> bool {
    let fields = prepared.message.fields();
    let listed = fields.iter().any(|field| {
        field.name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("list-"))
            || field.name.eq_ignore_ascii_case("X-Auto-Response-Suppress")
    });
    let key = author.key();
    let local = key.rsplit_once('@').map_or("", |(local, _)| local);
    let machine =
        ["mailer-daemon", "postmaster", "listserv", "majordomo", "noreply", "no-reply", "donotreply"]
            .contains(&local)
            || local.starts_with("owner-")
            || is_bounce(local)
            || local.ends_with("-request")
            || local.ends_with("-bounces")
            || local.ends_with("-owner");
    !prepared.automatic && !listed && !machine
}

/// `bounce`, and what systems put a number behind (`bounces+7=you`); not `bouncer`.
fn is_bounce(local: &str) -> bool {
    let Some(rest) = local.strip_prefix("bounce") else { return false };
    matches!(rest.strip_prefix('s').unwrap_or(rest).chars().next(), None | Some('+' | '-' | '_' | '.' | '='))
}

/// The account's address that the message was sent to by name. Where it names another that led here (RFC 5230
/// §4.5 lets a server know more of them), that is the one before its `+`, else the account's first.
fn addressed(prepared: &Prepared, own: &[Address], led_here: &[Address]) -> Option<Address> {
    let named = RECIPIENT_FIELDS.iter().flat_map(|field| headers::addresses(&prepared.message, field));
    let keys: Vec<String> =
        named.filter_map(|one| Address::parse(&one.email)).map(|address| address.key()).collect();
    if let Some(address) = own.iter().find(|address| keys.contains(&address.key())) {
        return Some(address.clone());
    }
    let key = led_here.iter().map(Address::key).find(|key| keys.contains(key))?;
    let (local, domain) = key.rsplit_once('@')?;
    let base = local.split_once('+').map(|(base, _)| format!("{base}@{domain}"));
    own.iter().find(|address| Some(address.key()) == base).or(own.first()).cloned()
}

/// Whether the sender may have an answer now; notes it, and forgets whoever may have one again. So
/// no more are kept than may be answered in a day.
fn take_turn(txn: &mut Txn<'_>, account: AccountId, sender: &Address, now: Millis) -> StoreResult<bool> {
    let lasts = Duration::from_secs(limits::VACATION_ANSWER_SECONDS);
    let digest = blake3::hash(sender.key().as_bytes());
    let own = keys::named(account, keys::Kind::VacationAnswered, &digest.as_bytes()[..16]);
    let mut over = Vec::new();
    let mut lately = 0;
    let mut known = false;
    let mut broken = None;
    let range = keys::all(account, keys::Kind::VacationAnswered);
    (txn as &dyn Read).scan(&range, false, &mut |key, value| {
        match rows::decode::<VacationAnsweredRow>(value) {
            Ok(row) if row.at.after(lasts) <= now => over.push(keys::last_name(key).to_vec()),
            Ok(_) => {
                lately += 1;
                known |= keys::last_name(key) == &digest.as_bytes()[..16];
            }
            Err(error) => broken = Some(error),
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    for name in over {
        txn.delete_at(keys::named(account, keys::Kind::VacationAnswered, &name));
    }
    if known || lately >= limits::VACATION_ANSWERS_PER_DAY_MAX {
        return Ok(false);
    }
    txn.put_at(own, &VacationAnsweredRow { at: now })?;
    Ok(true)
}

/// RFC 3834 §3: what the answer says of itself.
fn letter(vacation: &VacationRow, prepared: &Prepared, from: MailAddress, to: &Address) -> Draft {
    let header = |name: &str, value: DraftValue| DraftHeader { name: name.to_owned(), value };
    let subject = vacation.subject.clone().filter(|subject| !subject.trim().is_empty());
    let subject = subject.unwrap_or_else(|| format!("Auto: {}", prepared.summary.subject));
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let to = MailAddress { name: None, email: to.to_string() };
    let mut fields = vec![
        header("From", DraftValue::Addresses(vec![from])),
        header("To", DraftValue::Addresses(vec![to])),
        header("Subject", DraftValue::Text(subject)),
        header("Auto-Submitted", DraftValue::Raw(" auto-replied".to_owned())),
    ];
    let writable = |id: &String| is_writable_id(id);
    if let Some(own) = headers::message_ids(&prepared.message, "message-id").into_iter().find(writable) {
        let mut references = headers::message_ids(&prepared.message, "references");
        if references.is_empty() {
            references = headers::message_ids(&prepared.message, "in-reply-to");
        }
        references.retain(writable);
        references.push(own.clone());
        let surplus = references.len().saturating_sub(limits::THREAD_REFERENCES_MAX);
        references.drain(..surplus);
        fields.push(header("In-Reply-To", DraftValue::MessageIds(vec![own])));
        fields.push(header("References", DraftValue::MessageIds(references)));
    }
    let part = |media_type: &str, text: String| DraftPart {
        media_type: Some(media_type.to_owned()),
        content: DraftContent::Text(text),
        ..DraftPart::default()
    };
    let text = vacation.text.clone().or_else(|| {
        let html = vacation.html.as_deref()?;
        Some(html::to_text(html, limits::VACATION_BODY_BYTES_MAX))
    });
    let text = text.unwrap_or_else(|| {
        "I am away and will read your message when I am back. This answer was sent by a program.\n".to_owned()
    });
    let html = vacation.html.clone().map(|html| part("text/html", html));
    Draft { headers: fields, body: compose::arrange(Some(part("text/plain", text)), html, Vec::new()) }
}

/// Into the relay queue, as nothing that a client sees.
fn enqueue(
    txn: &mut Txn<'_>,
    account: AccountId,
    identity: IdentityId,
    to: &Address,
    added: &Added,
    raw: &[u8],
    now: Millis,
) -> StoreResult<SubmissionId> {
    let directory: Option<AccountRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, account)?;
    let author = match directory.map(|row| row.kind) {
        Some(AccountKind::Personal(owner)) => owner,
        _ => PrincipalId(0),
    };
    let to = std::slice::from_ref(to);
    let message = Automatic { identity, email: added.email, thread: added.thread, author, to, raw };
    outbound::enqueue_automatic(txn, account, &message, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::ingest;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn letter(from: &str, to: &str) -> Prepared {
        ingest::prepare(format!("From: {from}\r\nTo: {to}\r\n\r\nHello\r\n").as_bytes(), false).unwrap()
    }

    #[test]
    fn a_bounce_address_is_told_from_a_person_whose_name_begins_so() {
        let keyed = format!("bounce+{}@other.example", "a".repeat(32));
        for (sender, from, answered) in [
            ("bounce@c.example", "carl@c.example", false),
            ("bounces@c.example", "carl@c.example", false),
            ("bounces+7-you=x@c.example", "carl@c.example", false),
            ("bounce-7@c.example", "carl@c.example", false),
            ("bouncer@c.example", "bouncer@c.example", true),
            ("bouncesson@c.example", "carl@c.example", true),
            // Another Postroom's return path says nothing of who wrote.
            (&keyed, "carl@other.example", true),
            (&keyed, "no-reply@other.example", false),
            (&keyed, "bounce@other.example", false),
            (&keyed, "nobody", false),
        ] {
            let prepared = letter(from, "bob@x.example");
            let author = author(&prepared, &address(sender));
            let told = author.as_ref().is_some_and(|author| may_answer(&prepared, author));
            assert_eq!(told, answered, "{sender} {from}");
        }
    }

    #[test]
    fn mail_to_an_address_that_led_here_is_answered_by_the_accounts_own() {
        let own = [address("all@y.example"), address("support@x.example")];
        for (to, led_here, expected) in [
            ("Support@x.example", "support@x.example", Some("support@x.example")),
            ("support+Billing@x.example", "support+billing@x.example", Some("support@x.example")),
            ("whoever@y.example", "whoever@y.example", Some("all@y.example")),
            ("whoever@y.example", "support@x.example", None),
            ("undisclosed@c.example", "support@x.example", None),
        ] {
            let prepared = letter("carl@c.example", to);
            let found = addressed(&prepared, &own, &[address("x@x.example"), address(led_here)]);
            assert_eq!(found, expected.map(address), "{to} by {led_here}");
        }
    }
}
