//! Which conversation a message joins, and why (PRODUCT.md, "Conversation" and "Mail safety").
//!
//! An id that a message refers to and that is an Email's own says most. An id that messages merely
//! share (an ancestor that never came here, Outlook's Thread-Index, a robot's constant id) joins
//! them only among people who already take part. A subject alone joins nothing. An id that looks
//! like one of ours and isn't counts for nothing. Whoever answers a message that went to many
//! begins a conversation of their own.

use super::intake;
use crate::mail::ingest::Prepared;
use crate::mail::keyed::{Maker, WireKeys};
use crate::mail::thread::{self, ThreadKeys};
use crate::store::rows::mail::{DecidedBy, EmailRow, MailAddress, Origin};
use crate::store::rows::submission::SubmissionRow;
use crate::store::rows::team::ConversationRow;
use crate::store::{Read, StoreResult, keys};
use crate::types::*;

/// What a message joins.
#[derive(Clone, Debug)]
pub struct Decision {
    pub joined: Option<(ConversationId, ConversationRow)>,
    /// Where it begins a new one: the one that it follows.
    pub previous: Option<ConversationId>,
    pub by: DecidedBy,
    /// The Email that decided.
    pub matched: Option<EmailId>,
    /// Ids that it refers to, and that only look like ours.
    pub forged: Vec<String>,
}

impl Decision {
    fn new(by: DecidedBy, forged: Vec<String>) -> Self {
        Self { joined: None, previous: None, by, matched: None, forged }
    }
}

/// Decides where a message that came in belongs.
pub fn decide(read: &dyn Read, account: AccountId, prepared: &Prepared) -> StoreResult<Decision> {
    let all = &prepared.summary.thread_keys;
    let (references, forged) = believed(read, all)?;
    for reference in references.iter().take(limits::THREAD_REFERENCES_MAX) {
        for email in thread::emails_with_message_id(read, account, reference)? {
            let Some(row) = read.row::<EmailRow>(account, email)? else { continue };
            let Some(found) = intake::follow(read, account, row.conversation)? else { continue };
            let mut decision =
                Decision { matched: Some(email), ..Decision::new(DecidedBy::Reference, forged) };
            if row.origin == Origin::Outbound && went_to_many(read, account, email)? {
                decision.by = DecidedBy::Broadcast;
                decision.previous = Some(found.0);
                decision.joined = own_answer(read, account, prepared, reference, found.0)?;
                return Ok(decision);
            }
            decision.joined = Some(found);
            return Ok(decision);
        }
    }
    let keys = ThreadKeys { references, ..all.clone() };
    let Some(found) = thread::find_carrier(read, account, &keys)? else {
        return Ok(Decision::new(DecidedBy::Nothing, forged));
    };
    let row: Option<EmailRow> = read.row(account, found.email)?;
    let conversation = match intake::follow(read, account, row.and_then(|row| row.conversation))? {
        Some(found) => Some(found),
        None => intake::of_thread(read, account, found.thread)?,
    };
    let mut decision = Decision::new(DecidedBy::Nothing, forged);
    if let Some((id, row)) = conversation
        && takes_part(&row, prepared)
    {
        decision.by = DecidedBy::SharedId;
        decision.matched = Some(found.email);
        decision.joined = Some((id, row));
    }
    Ok(decision)
}

/// The ids that it refers to, and those among them that only look like ours.
fn believed(read: &dyn Read, keys: &ThreadKeys) -> StoreResult<(Vec<String>, Vec<String>)> {
    let ours = |id: &&String| WireKeys::looks_ours(id);
    if !keys.references.iter().any(|id| ours(&id)) {
        return Ok((keys.references.clone(), Vec::new()));
    }
    let wire = WireKeys::load(read)?;
    Ok(keys.references.iter().cloned().partition(|id| wire.maker(id) != Maker::Forger))
}

/// Whether a message of ours went to so many that each answer is a request of its own.
fn went_to_many(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<bool> {
    let range = keys::all_of(account, keys::Kind::SubmissionOfEmail, email.0);
    let mut recipients = 0;
    for id in read.ids(&range, false, limits::REPORTED_SUBMISSIONS_MAX)? {
        let row: Option<SubmissionRow> = read.row(account, SubmissionId(id))?;
        recipients += row.map_or(0, |row| row.recipients.len());
    }
    Ok(recipients >= limits::BROADCAST_RECIPIENTS_MIN)
}

/// The conversation that the same sender began with an earlier answer to the same message.
fn own_answer(
    read: &dyn Read,
    account: AccountId,
    prepared: &Prepared,
    reference: &str,
    broadcast: ConversationId,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    let from = key_of(prepared.summary.from.first());
    for email in thread::emails_referring_to(read, account, reference)? {
        let Some(row) = read.row::<EmailRow>(account, email)? else { continue };
        if row.origin == Origin::Outbound || key_of(row.from.first()) != from || from.is_none() {
            continue;
        }
        let found = intake::follow(read, account, row.conversation)?;
        if let Some(found) = found.filter(|(id, _)| *id != broadcast) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether somebody of the message takes part in the conversation: its sender (whom it answers for,
/// where a program sent it), or somebody else whom it is to.
fn takes_part(row: &ConversationRow, prepared: &Prepared) -> bool {
    let known = |address: Option<&MailAddress>| {
        key_of(address).is_some_and(|key| row.participants.iter().any(|one| one.address.key() == key))
    };
    if prepared.automatic && !prepared.reply_to.is_empty() {
        return prepared.reply_to.iter().any(|one| known(Some(one)));
    }
    let mut people = prepared.summary.from.iter().chain(&prepared.summary.to).chain(&prepared.cc);
    people.any(|one| known(Some(one)))
}

fn key_of(address: Option<&MailAddress>) -> Option<String> {
    Some(Address::parse(&address?.email)?.key())
}
