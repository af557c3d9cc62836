//! Mail that came back to the keyed return path of a submission: a bounce, a delay, an answer by
//! an absent person. It belongs to the conversation that the submission was sent in, whatever it
//! refers to; and where it says that somebody never gets the message, the conversation is open
//! again.

use super::desk::{Desk, DeskResult};
use super::intake::{self, Arrival};
use super::machine::Event;
use super::messages::{DeliveryFailed, Inbound};
use crate::mail::ingest::Prepared;
use crate::mail::message::Added;
use crate::mail::{outbound, reports};
use crate::store::rows::mail::EmailRow;
use crate::store::rows::submission::ReturnPathRow;
use crate::store::rows::team::ConversationRow;
use crate::store::{Read, StoreResult, keys, rows};
use crate::types::{AccountId, ConversationId, SubmissionId};

/// The conversation that a submission was sent in, followed to where it went; `None` where nobody
/// knows any more.
pub fn conversation(
    read: &dyn Read,
    account: AccountId,
    id: SubmissionId,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    let (told, email, thread) = match outbound::load(read, account, id)? {
        Some((row, _)) => (row.conversation, row.email, Some(row.thread)),
        None => match read.bytes(&keys::row(account, keys::Kind::ReturnPath, id.0))? {
            Some(bytes) => {
                let row: ReturnPathRow = rows::decode(&bytes)?;
                (row.conversation, row.email, None)
            }
            None => return Ok(None),
        },
    };
    // Where the message is now: it may have been merged or split off.
    let email: Option<EmailRow> = read.row(account, email)?;
    let named = email.and_then(|row| row.conversation).or(told);
    if let Some(found) = intake::follow(read, account, named)? {
        return Ok(Some(found));
    }
    match thread {
        Some(thread) => intake::of_thread(read, account, thread),
        None => Ok(None),
    }
}

/// Tells the conversation what came back, once it is in the store; `joined` is what it joins.
pub fn tell(
    desk: &mut Desk<'_, '_>,
    id: SubmissionId,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
    added: &Added,
    mut inbound: Inbound,
    joined: Option<ConversationId>,
) -> DeskResult<()> {
    let (report, notice) = (prepared.report.as_ref(), prepared.notice.as_ref());
    let failed = reports::apply_returned(desk.txn, desk.account, id, report, notice, added.email)?;
    if report.is_some() || notice.is_some() {
        // A mail system takes no part in a conversation.
        inbound.from = None;
        inbound.others.clear();
        inbound.automatic = true;
    }
    match joined.filter(|_| failed) {
        Some(conversation) => {
            desk.enter(conversation, added.email, added.thread)?;
            let dsn = Some((added.email, arrival.at));
            let event = Event::DeliveryFailed(DeliveryFailed { submission: id, dsn });
            desk.apply(conversation, &event, Vec::new())?;
        }
        // A person's answer may come too late to reopen, like any other.
        None => drop(intake::join(desk, prepared, added, intake::Coming::Inbound(inbound), joined, None)?),
    }
    Ok(())
}
