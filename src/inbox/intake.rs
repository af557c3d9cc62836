//! The one entry for messages into an account, by delivery or by a client, with what they mean to
//! the team where the account is an inbox.

use super::change::Change;
use super::desk::{Desk, DeskError, DeskResult};
use super::machine::{Event, Expect};
use super::messages::{self, First, Inbound};
use super::returned;
use super::status::Gone;
use super::threading::{self, Decision};
use crate::mail::ingest::{self, Prepared};
use crate::mail::message::{self, Added};
use crate::mail::{authentication, mailbox, memo, reports, sender, thread, viewer, words};
use crate::store::rows::mail::{DecidedBy, EmailRow, EvidenceRow, Kept, MailAddress, Origin};
use crate::store::rows::team::{ConversationRow, Participant};
use crate::store::{Read, Row, StoreError, StoreResult, Txn, keys};
use crate::types::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// A delivery that was seen before: a gateway that lost our answer sends the same again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SeenRow {
    email: EmailId,
    pub(super) at: Millis,
}

/// How a message came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The envelope sender; `None` is the null path.
    pub mail_from: Option<&'a Address>,
    /// The trace header fields for this account (RFC 5321 §4.4).
    pub prefix: &'a [u8],
    pub at: Millis,
    /// It came back to the keyed return path of this submission.
    pub returned: Option<SubmissionId>,
    /// What stands behind the `+` of the addresses that it was sent to.
    pub tags: &'a [String],
}

/// The Email that this delivery made before, if it did within [`limits::DEDUP_SECONDS`].
pub fn seen(
    read: &dyn Read,
    account: AccountId,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> StoreResult<Option<EmailId>> {
    let Some(bytes) = read.bytes(&seen_key(account, prepared, arrival))? else { return Ok(None) };
    let row: SeenRow = crate::store::rows::decode(&bytes)?;
    let known_until = row.at.after(Duration::from_secs(limits::DEDUP_SECONDS));
    Ok((arrival.at < known_until).then_some(row.email))
}

/// Delivers a message into a person's own account: it goes to the Inbox.
pub fn deliver_personal(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> StoreResult<Added> {
    let roles = mailbox::roles(txn, account)?;
    let junk = roles.with_role(MailboxRole::Junk).filter(|_| prepared.trust.spam);
    let inbox = match junk {
        Some(junk) => Some(junk),
        None => mailbox::inbox_or_any(txn, account)?,
    };
    let inbox = inbox.ok_or_else(|| StoreError::Corrupt(format!("account {account} has no Inbox")))?;
    let added = message::add(txn, account, arriving(prepared, arrival, BTreeSet::from([inbox]), false))?;
    if let Some(submission) = arrival.returned {
        let (report, notice) = (prepared.report.as_ref(), prepared.notice.as_ref());
        reports::apply_returned(txn, account, submission, report, notice, added.email)?;
    }
    remember(txn, account, prepared, arrival, added.email)?;
    Ok(added)
}

/// Delivers a message into an inbox: it joins the conversation that it answers, or begins one. A
/// message that this inbox sent and that comes back is noted on its Sent copy.
pub fn deliver_inbox(
    desk: &mut Desk<'_, '_>,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> DeskResult<Added> {
    let account = desk.account;
    if let Some(sent) = came_back(desk, prepared, arrival)? {
        return Ok(sent);
    }
    let decision = decide(desk.read(), account, prepared, arrival)?;
    let spam = prepared.trust.spam && arrival.returned.is_none();
    let mailboxes = mailboxes_of(desk, decision.joined.as_ref().map(|(_, row)| row), spam)?;
    let internal = is_internal(desk, prepared);
    let added = message::add(desk.txn, account, arriving(prepared, arrival, mailboxes, internal))?;
    let joined = decision.joined.as_ref();
    let mut inbound = inbound(desk, prepared, arrival, added.email, joined.map(|(_, row)| row));
    // Spam is answered by nobody, and reopens nothing.
    inbound.automatic |= spam;
    let evidence = EvidenceRow {
        authentication: prepared.trust.authentication.clone(),
        decided_by: decision.by,
        matched: decision.matched,
        stranger: decision.joined.is_some() && inbound.flagged,
        failed_authentication: has_failed(prepared),
        forged: decision.forged,
        also: decision.also,
        ..EvidenceRow::default()
    };
    inbound.flagged |= evidence.failed_authentication;
    desk.txn.put_at(EvidenceRow::key(account, added.email), &evidence)?;
    let into = decision.joined.map(|(id, _)| id);
    if let Some(submission) = arrival.returned {
        returned::tell(desk, submission, prepared, arrival, &added, inbound, into)?;
    } else {
        let event = if internal { Coming::Internal(added.email) } else { Coming::Inbound(inbound) };
        let (id, began) = join(desk, prepared, &added, event, into, decision.previous)?;
        if spam && began {
            desk.apply(id, &Event::InboundGone(Gone::Spam), Vec::new())?;
        }
        tag(desk, id, arrival.tags)?;
    }
    remember(desk.txn, account, prepared, arrival, added.email)?;
    Ok(added)
}

fn decide(
    read: &dyn Read,
    account: AccountId,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> StoreResult<Decision> {
    let decided = threading::decide(read, account, prepared)?;
    if let Some(submission) = arrival.returned
        && let Some(back) = returned::conversation(read, account, submission)?
    {
        return Ok(Decision { joined: Some(back), by: DecidedBy::ReturnPath, ..decided });
    }
    let (joined, full) = unless_full(decided.joined);
    Ok(Decision { joined, previous: full.or(decided.previous), ..decided })
}

/// The conversation, where it takes another message; else the one that is full, which a new one follows.
fn unless_full(
    found: Option<(ConversationId, ConversationRow)>,
) -> (Option<(ConversationId, ConversationRow)>, Option<ConversationId>) {
    match found {
        Some((id, row)) if row.message_count >= limits::CONVERSATION_MESSAGES_MAX => (None, Some(id)),
        found => (found, None),
    }
}

/// Where it will be shown if nothing moves; the projection corrects it in the same commit.
fn mailboxes_of(
    desk: &mut Desk<'_, '_>,
    joined: Option<&ConversationRow>,
    spam: bool,
) -> DeskResult<BTreeSet<MailboxId>> {
    let kept = desk.kept()?;
    if spam {
        return Ok(kept.id(&Kept::Junk).into_iter().collect());
    }
    match joined {
        Some(row) => Ok(desk.place(&BTreeSet::new(), row)?),
        None => Ok([Kept::Inbox, Kept::Unassigned].iter().filter_map(|kept_as| kept.id(kept_as)).collect()),
    }
}

/// The Sent copy of a message that this inbox sent and that came back to it, by a list or because
/// the inbox is among its recipients: it is there already.
fn came_back(
    desk: &mut Desk<'_, '_>,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> DeskResult<Option<Added>> {
    let ours = |one: &MailAddress| sender::is_own(&desk.staff.addresses, &one.email);
    if arrival.returned.is_some() || !prepared.summary.from.iter().any(ours) {
        return Ok(None);
    }
    for id in &prepared.summary.thread_keys.own {
        for email in thread::emails_with_message_id(desk.read(), desk.account, id)? {
            let Some(row) = desk.read().row::<EmailRow>(desk.account, email)? else { continue };
            if row.origin == Origin::Outbound {
                let key = EvidenceRow::key(desk.account, email);
                let known: Option<EvidenceRow> = desk.read().row(desk.account, email)?;
                let evidence = EvidenceRow { came_back_at: Some(arrival.at), ..known.unwrap_or_default() };
                desk.txn.put_at(key, &evidence)?;
                let seen = SeenRow { email, at: arrival.at };
                desk.txn.put_at(seen_key(desk.account, prepared, arrival), &seen)?;
                return Ok(Some(Added { email, thread: row.thread, size: row.size }));
            }
        }
    }
    Ok(None)
}

fn has_failed(prepared: &Prepared) -> bool {
    prepared.trust.authentication.as_ref().is_some_and(authentication::has_failed)
}

/// Written by a member under their own address, as the gateway has proven.
fn is_internal(desk: &Desk<'_, '_>, prepared: &Prepared) -> bool {
    let proven =
        prepared.trust.authentication.as_ref().is_some_and(|found| found.result("dmarc") == Some("pass"));
    let Some(from) = prepared.summary.from.first().and_then(participant).filter(|_| proven) else {
        return false;
    };
    let mut members = desk.staff.roster.members.keys().filter_map(|id| desk.staff.names.get(id));
    members.any(|person| person.email.key() == from.address.key())
}

/// How a message comes to its conversation.
pub(super) enum Coming {
    Inbound(Inbound),
    Internal(EmailId),
}

/// Tells the conversation that a message joins, or begins one with it; true where it began one.
pub(super) fn join(
    desk: &mut Desk<'_, '_>,
    prepared: &Prepared,
    added: &Added,
    coming: Coming,
    joined: Option<ConversationId>,
    mut previous: Option<ConversationId>,
) -> DeskResult<(ConversationId, bool)> {
    let (event, first) = match coming {
        Coming::Inbound(inbound) => (Event::Inbound(inbound.clone()), First::Inbound(inbound)),
        Coming::Internal(email) => (Event::Internal { email }, First::Internal(email)),
    };
    if let Some(id) = joined {
        // Asked first: the conversation that it comes too late for has nothing of it.
        let row = desk.conversation(id)?;
        let begins_new = match (&event, row) {
            (Event::Inbound(inbound), Some(row)) => messages::begins_new(&row, inbound, &desk.settings),
            _ => false,
        };
        if !begins_new {
            desk.enter(id, added.email, added.thread)?;
            desk.apply(id, &event, Vec::new())?;
            return Ok((id, false));
        }
        previous = Some(id);
    }
    let id = desk.begin(&prepared.summary.subject, previous, &first, added.thread, Vec::new())?;
    Ok((id, true))
}

/// Keeps what stands behind the `+` of addresses as tags of the conversation. One that doesn't fit is left
/// out: a tag is no reason to refuse mail.
fn tag(desk: &mut Desk<'_, '_>, id: ConversationId, tags: &[String]) -> DeskResult<()> {
    for tag in tags {
        let Some(row) = desk.conversation(id)?.filter(|row| !row.tags.contains(tag)) else { continue };
        let tags = row.tags.iter().cloned().chain([tag.clone()]).collect();
        let change = Change { tags: Some(tags), ..Change::default() };
        match desk.apply(id, &Event::Set { change, expect: Expect::default() }, Vec::new()) {
            Err(DeskError::Refused(refusal)) => tracing::debug!(%refusal, "a tag by address doesn't fit"),
            done => drop(done?),
        }
    }
    Ok(())
}

/// Keeps the tags of a delivery that was recognised, where the Email that it made is now; true where there are
/// any that the conversation lacks.
pub fn tag_again(desk: &mut Desk<'_, '_>, email: EmailId, tags: &[String]) -> DeskResult<bool> {
    let row: Option<EmailRow> = desk.read().row(desk.account, email)?;
    let found = follow(desk.read(), desk.account, row.and_then(|row| row.conversation))?;
    let Some((id, _)) = found.filter(|(_, row)| tags.iter().any(|tag| !row.tags.contains(tag))) else {
        return Ok(false);
    };
    tag(desk, id, tags)?;
    Ok(true)
}

/// The conversation that a message belongs to: that of the newest message that it references, else
/// the newest of its Thread; one that went into another is followed there.
pub fn find_conversation(
    read: &dyn Read,
    account: AccountId,
    prepared: &Prepared,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    let keys = &prepared.summary.thread_keys;
    for reference in keys.references.iter().take(limits::THREAD_REFERENCES_MAX) {
        for email in thread::emails_with_message_id(read, account, reference)? {
            let row: Option<EmailRow> = read.row(account, email)?;
            if let Some(found) = follow(read, account, row.and_then(|row| row.conversation))? {
                return Ok(Some(found));
            }
        }
    }
    let Some(thread) = thread::find(read, account, keys)? else { return Ok(None) };
    of_thread(read, account, thread)
}

/// The newest conversation of a Thread.
pub fn of_thread(
    read: &dyn Read,
    account: AccountId,
    thread: ThreadId,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    let Some(bytes) = read.bytes(&keys::row(account, keys::Kind::ThreadConversation, thread.0))? else {
        return Ok(None);
    };
    follow(read, account, Some(crate::store::rows::decode(&bytes)?))
}

/// The conversation, or the one that it went into. Merges can't run in circles: a merged
/// conversation takes nothing in.
pub fn follow(
    read: &dyn Read,
    account: AccountId,
    id: Option<ConversationId>,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    let mut next = id;
    let mut hops = 0;
    while let Some(id) = next {
        let Some(row) = read.row::<ConversationRow>(account, id)? else { return Ok(None) };
        hops += 1;
        match row.merged_into {
            Some(into) if hops < limits::MERGE_HOPS_MAX => next = Some(into),
            _ => return Ok(Some((id, row))),
        }
    }
    Ok(None)
}

fn arriving(
    prepared: &Prepared,
    arrival: &Arrival<'_>,
    mailboxes: BTreeSet<MailboxId>,
    internal: bool,
) -> message::NewEmail {
    let origin = match (internal, prepared.automatic) {
        (true, _) => Origin::Internal,
        (false, true) => Origin::Automatic,
        (false, false) => Origin::Inbound,
    };
    prepared.email(arrival.prefix.to_vec(), mailboxes, BTreeSet::new(), arrival.at.date(), origin, None)
}

fn inbound(
    desk: &Desk<'_, '_>,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
    email: EmailId,
    joined: Option<&ConversationRow>,
) -> Inbound {
    // Our own address in From is a form's: who wrote is in Reply-To, or nobody knows.
    let others_first = |all: &[MailAddress]| {
        all.first().filter(|one| !sender::is_own(&desk.staff.addresses, &one.email)).and_then(participant)
    };
    let reply_to = others_first(&prepared.reply_to);
    let is_form =
        prepared.summary.from.first().is_some_and(|one| sender::is_own(&desk.staff.addresses, &one.email));
    let from = if is_form { reply_to.clone() } else { others_first(&prepared.summary.from) };
    // A stranger who quotes a known id joins, and never becomes the customer.
    let known = joined.is_none_or(|row| {
        row.participants.is_empty()
            || from.as_ref().is_some_and(|from| {
                row.participants.iter().any(|known| known.address.key() == from.address.key())
            })
    });
    Inbound {
        email,
        at: arrival.at,
        from,
        reply_to,
        others: outsiders(desk, prepared.reply_to.iter().chain(&prepared.summary.to).chain(&prepared.cc)),
        automatic: prepared.automatic,
        flagged: !known,
    }
}

/// Those among the addresses that are neither the inbox nor a member.
pub fn outsiders<'a>(
    desk: &Desk<'_, '_>,
    addresses: impl Iterator<Item = &'a MailAddress>,
) -> Vec<Participant> {
    let ours: BTreeSet<String> = desk.staff.addresses.iter().map(Address::key).collect();
    let members: BTreeSet<String> = desk
        .staff
        .roster
        .members
        .keys()
        .filter_map(|id| desk.staff.names.get(id))
        .map(|p| p.email.key())
        .collect();
    addresses
        .filter_map(participant)
        .filter(|person| !ours.contains(&person.address.key()) && !members.contains(&person.address.key()))
        .collect()
}

/// A header's address as a participant; `None` where it can't be mailed to.
pub fn participant(address: &MailAddress) -> Option<Participant> {
    let parsed = Address::parse(&address.email)?;
    let name = address.name.clone().filter(|name| !name.is_empty());
    let name = name.map(|name| words::cut(name, ingest::SUMMARY_NAME_BYTES_MAX));
    Some(Participant { name, address: parsed })
}

pub(super) fn remember(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
    email: EmailId,
) -> StoreResult<()> {
    txn.put_at(seen_key(account, prepared, arrival), &SeenRow { email, at: arrival.at })
}

fn seen_key(account: AccountId, prepared: &Prepared, arrival: &Arrival<'_>) -> keys::Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prepared.content.hash.0);
    hasher.update(arrival.mail_from.map(Address::key).unwrap_or_default().as_bytes());
    // Two bounces that read alike are two where they are about two submissions.
    if let Some(submission) = arrival.returned {
        hasher.update(&[0]).update(submission.to_string().as_bytes());
    }
    keys::named(account, keys::Kind::DeliverySeen, &hasher.finalize().as_bytes()[..16])
}

/// Notes that the sender hears who doesn't get this delivery; false where they heard it before, since a
/// gateway that lost our answer sends the same again.
pub(super) fn tell_once(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    mail_from: &Address,
    about: impl Iterator<Item = String>,
) -> StoreResult<bool> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prepared.content.hash.0).update(mail_from.key().as_bytes());
    for address in about {
        hasher.update(&[0]).update(address.as_bytes());
    }
    let key = keys::named(account, keys::Kind::DeliverySeen, &hasher.finalize().as_bytes()[..16]);
    let at = txn.store().clock.now();
    if let Some(bytes) = txn.bytes(&key)? {
        let row: SeenRow = crate::store::rows::decode(&bytes)?;
        if at < row.at.after(Duration::from_secs(limits::DEDUP_SECONDS)) {
            return Ok(false);
        }
    }
    txn.put_at(key, &SeenRow { email: EmailId(0), at })?;
    Ok(true)
}

/// A message that a client brings: imported, or made as a draft. It is never inbound.
#[derive(Clone, Debug)]
pub struct Brought {
    pub mailboxes: BTreeSet<MailboxId>,
    pub keywords: BTreeSet<Keyword>,
    pub received_at: UtcDate,
    /// Trace header fields that stand before the content; those of the original, in a copy.
    pub trace: Vec<u8>,
}

impl Brought {
    /// A draft, by its keyword.
    pub fn is_draft(&self) -> bool {
        self.keywords.iter().any(|keyword| keyword.as_str() == Keyword::DRAFT)
    }
}

/// Puts a client's message into a person's own account.
pub fn bring_personal(
    txn: &mut Txn<'_>,
    account: AccountId,
    prepared: &Prepared,
    brought: Brought,
) -> StoreResult<Added> {
    let new = prepared.email(
        brought.trace,
        brought.mailboxes,
        brought.keywords,
        brought.received_at,
        Origin::Client,
        None,
    );
    message::add(txn, account, new)
}

/// Puts a client's message into an inbox. A draft has an author and joins the conversation that it
/// answers without an event; old mail is recorded, and begins a conversation that is closed.
pub fn bring_inbox(desk: &mut Desk<'_, '_>, prepared: &Prepared, brought: Brought) -> DeskResult<Added> {
    if memo::is_memo(brought.keywords.iter()) {
        return desk.take_memo(prepared, brought.is_draft());
    }
    let account = desk.account;
    let is_draft = brought.is_draft();
    let (joined, full) = match find_conversation(desk.read(), account, prepared)? {
        // Who answers answers there.
        found if is_draft => (found, None),
        found => unless_full(found),
    };
    let author = desk.actor.principal();
    // What is read when it is brought is read for all; what else is a member's own stays theirs.
    let own = |keyword: &&Keyword| matches!(keyword.as_str(), Keyword::MUTED | Keyword::FOLLOWED);
    let wanted = brought.keywords.iter().any(|keyword| own(&keyword)).then(|| brought.keywords.clone());
    let keywords = brought.keywords.iter().filter(|keyword| !own(keyword)).cloned().collect();
    let new = prepared.email(
        brought.trace,
        brought.mailboxes.clone(),
        keywords,
        brought.received_at,
        Origin::Client,
        author,
    );
    let added = message::add(desk.txn, account, new)?;
    if let Some((wanted, member)) = wanted.zip(author) {
        mark(desk.txn, account, added.email, member, &wanted)?;
    }
    match joined {
        Some((id, _)) => {
            desk.enter(id, added.email, added.thread)?;
            if !is_draft {
                desk.apply(id, &Event::Imported { email: added.email }, Vec::new())?;
            }
        }
        // A draft of a new message begins its conversation when it is sent.
        None if is_draft => {}
        None => {
            let mut customer = outsiders(desk, prepared.summary.from.iter()).into_iter().next();
            // Whom an answer to a customer goes to takes part; of what one of us sent, whom it went to is the customer.
            let answered = prepared.reply_to.iter().filter(|_| customer.is_some());
            let others = outsiders(desk, answered.chain(&prepared.summary.to).chain(&prepared.cc));
            customer = customer.or_else(|| others.first().cloned());
            let first = First::Imported { email: added.email, customer, others };
            desk.begin(&prepared.summary.subject, full, &first, added.thread, Vec::new())?;
        }
    }
    tell_where_it_went(desk, added.email, &brought.mailboxes)?;
    Ok(added)
}

/// A client reads of a new Email what it gave: that the conversation shows it elsewhere is told behind the state
/// of the response, as every correction is.
fn tell_where_it_went(
    desk: &mut Desk<'_, '_>,
    email: EmailId,
    wanted: &BTreeSet<MailboxId>,
) -> StoreResult<()> {
    let row: Option<EmailRow> = desk.read().row(desk.account, email)?;
    let Some(row) = row.filter(|row| row.mailboxes.iter().copied().collect::<BTreeSet<_>>() != *wanted)
    else {
        return Ok(());
    };
    desk.txn.correct(desk.account)?;
    desk.txn.update(desk.account, email, &row)
}

/// Gives an Email the keywords as one member wants them for themself.
pub(super) fn mark(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    member: PrincipalId,
    wanted: &BTreeSet<Keyword>,
) -> StoreResult<()> {
    let Some(before) = (txn as &dyn Read).row::<EmailRow>(account, email)? else { return Ok(()) };
    let after = viewer::ensure(txn, account, member)?.with_keywords(email, &before, wanted);
    message::change(txn, account, email, &before, &after)
}

#[cfg(test)]
mod tests {
    use crate::inbox::support::{House, written};
    use crate::types::{Keyword, MailboxRole};

    #[test]
    fn who_takes_part_in_old_mail_is_whom_an_answer_to_it_would_go_to() {
        let house = House::new();
        let customer = "From: Carl <carl@c.example>\r\nReply-To: office@c.example\r\nTo: support@x.example\r\n\
            Subject: Old\r\nMessage-ID: <old@c.example>\r\n\r\nHello\r\n";
        let ours = written("ours", "Reply-To: help@x.example\r\n");
        for (text, role, addresses) in [
            (customer, MailboxRole::Archive, vec!["carl@c.example", "office@c.example"]),
            (&ours, MailboxRole::Sent, vec!["carl@c.example"]),
        ] {
            let email = house.bring(text, role, &[Keyword::SEEN]);
            let (_, row) = house.conversation_of(email);
            assert_eq!(row.customer.unwrap().address.to_string(), "carl@c.example");
            let people: Vec<String> = row.participants.iter().map(|one| one.address.to_string()).collect();
            assert_eq!(people, addresses);
        }
    }
}
