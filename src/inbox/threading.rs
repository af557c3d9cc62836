//! Which conversation a message joins, and why (spec/conversation.md).
//!
//! An id that a message refers to and that is an Email's own says most. An id that messages merely
//! share (an ancestor that never came here, Outlook's Thread-Index, a robot's constant id) joins
//! them only among people who already take part. A subject alone joins nothing. An id that looks
//! like one of ours and isn't counts for nothing. Whoever answers a message that went to many
//! begins a conversation of their own.

use super::desk::{self, Desk};
use super::intake;
use crate::mail::ingest::Prepared;
use crate::mail::keyed::{Maker, WireKeys};
use crate::mail::thread::{self, ThreadKeys};
use crate::store::rows::mail::{DecidedBy, EmailRow, EvidenceRow, MailAddress, Origin};
use crate::store::rows::submission::{Recipient, SubmissionRow};
use crate::store::rows::team::ConversationRow;
use crate::store::{Read, Row, StoreResult, keys};
use crate::types::*;
use std::collections::BTreeSet;

/// What a message joins.
#[derive(Clone, Debug)]
pub struct Decision {
    pub joined: Option<(ConversationId, ConversationRow)>,
    /// Where it begins a new one: the one that it follows.
    pub previous: Option<ConversationId>,
    pub by: DecidedBy,
    /// The Email that decided.
    pub matched: Option<EmailId>,
    /// The other conversations that it bridges to: a merge is offered.
    pub also: Vec<ConversationId>,
    /// Ids that it refers to, and that only look like ours.
    pub forged: Vec<String>,
}

impl Decision {
    fn new(by: DecidedBy, forged: Vec<String>) -> Self {
        Self { joined: None, previous: None, by, matched: None, also: Vec::new(), forged }
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
            decision.also = bridged(read, account, &references, &found)?;
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

/// The conversations beside the joined one that its references lead to. What has a Thread in common with that
/// one isn't bridged to: it was split off, or one goes on from the other. Nor is what we sent to many.
fn bridged(
    read: &dyn Read,
    account: AccountId,
    references: &[String],
    (joined, row): &(ConversationId, ConversationRow),
) -> StoreResult<Vec<ConversationId>> {
    let mut also = BTreeSet::new();
    for reference in references.iter().take(limits::THREAD_REFERENCES_MAX) {
        for email in thread::emails_with_message_id(read, account, reference)? {
            let Some(other) = read.row::<EmailRow>(account, email)? else { continue };
            let Some((id, of)) = intake::follow(read, account, other.conversation)? else { continue };
            let is_related = id == *joined || of.thread_ids.iter().any(|one| row.thread_ids.contains(one));
            let to_many = other.origin == Origin::Outbound && went_to_many(read, account, email)?;
            if !is_related && !to_many && also.len() < limits::BRIDGED_CONVERSATIONS_MAX {
                also.insert(id);
            }
        }
    }
    Ok(also.into_iter().collect())
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
    let known: Option<EvidenceRow> = read.row(account, email)?;
    if let Some(known) = known.and_then(|known| known.went_to_many) {
        return Ok(known);
    }
    let copies = desk::settings(read, account)?.automatic_bcc;
    Ok(audience(read, account, email, &copies)?.len() >= limits::BROADCAST_RECIPIENTS_MIN)
}

/// Notes with an Email that is sent to `recipients` whether it went to many: its submissions may be destroyed, and
/// the inbox may name others for copies. Copies don't count, since they decide nothing about a message.
pub(super) fn note_audience(
    desk: &mut Desk<'_, '_>,
    email: EmailId,
    recipients: &[Recipient],
) -> StoreResult<()> {
    let is_many = |all: &BTreeSet<String>| all.len() >= limits::BROADCAST_RECIPIENTS_MIN;
    let mut all = audience(desk.read(), desk.account, email, &desk.settings.automatic_bcc)?;
    all.extend(recipients.iter().map(|one| one.address.key()));
    if !is_many(&all) && !is_many(&audience(desk.read(), desk.account, email, &[])?) {
        return Ok(());
    }
    let known: EvidenceRow = desk.read().row(desk.account, email)?.unwrap_or_default();
    let went_to_many = Some(known.went_to_many == Some(true) || is_many(&all));
    desk.txn.put_at(EvidenceRow::key(desk.account, email), &EvidenceRow { went_to_many, ..known })
}

/// Who got a message by its submissions, as addresses compare, without those that are named for copies.
fn audience(
    read: &dyn Read,
    account: AccountId,
    email: EmailId,
    copies: &[Address],
) -> StoreResult<BTreeSet<String>> {
    let range = keys::all_of(account, keys::Kind::SubmissionOfEmail, email.0);
    let mut all = BTreeSet::new();
    for id in read.ids(&range, false, limits::REPORTED_SUBMISSIONS_MAX)? {
        let row: Option<SubmissionRow> = read.row(account, SubmissionId(id))?;
        all.extend(row.iter().flat_map(|row| &row.recipients).map(|one| one.address.key()));
    }
    for copy in copies {
        all.remove(&copy.key());
    }
    Ok(all)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::support::{House, address, written};
    use crate::mail::outbound;
    use crate::store::rows::team::InboxSettingsRow;

    const SUPPORT: &[&str] = &["support@x.example"];

    fn people(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("n{n}@c.example")).collect()
    }

    fn copies_to(house: &House, copies: &[&str]) {
        let automatic_bcc = copies.iter().map(|to| address(to)).collect();
        let settings = InboxSettingsRow { automatic_bcc, ..InboxSettingsRow::default() };
        house.write(house.inbox, |txn| {
            txn.put_at(keys::row(house.inbox, keys::Kind::InboxSettings, 0), &settings).unwrap();
        });
    }

    /// Whether an answer that comes now begins a conversation of its own.
    fn is_apart(house: &House, news: EmailId, id: &str) -> bool {
        house.deliver(SUPPORT, id, "In-Reply-To: <news@x.example>\r\n");
        house.conversation_of(house.email(&format!("{id}@c.example"))).0 != house.conversation_of(news).0
    }

    #[test]
    fn copies_make_no_broadcast_of_a_message_whatever_the_setting_is_later() {
        let house = House::new();
        copies_to(&house, &["audit@c.example", "boss@c.example"]);
        let news = house.draft(&written("news", ""));
        house.send_to(news, &people(limits::BROADCAST_RECIPIENTS_MIN - 1));
        assert!(!is_apart(&house, news, "one"));
        copies_to(&house, &[]);
        assert!(!is_apart(&house, news, "two"));
    }

    #[test]
    fn whoever_gets_a_message_twice_is_counted_once() {
        let house = House::new();
        let news = house.draft(&written("news", ""));
        let most = people(limits::BROADCAST_RECIPIENTS_MIN - 2);
        house.send_to(news, &most);
        let more: Vec<String> = most.into_iter().chain(["last@c.example".to_owned()]).collect();
        house.send_to(news, &more);
        assert!(!is_apart(&house, news, "one"));
    }

    #[test]
    fn answers_to_a_broadcast_stay_apart_once_its_submission_is_destroyed() {
        let house = House::new();
        let news = house.draft(&written("news", ""));
        let sent = house.send_to(news, &people(limits::BROADCAST_RECIPIENTS_MIN));
        house.write(house.inbox, |txn| {
            let row: SubmissionRow = (txn as &dyn Read).row(house.inbox, sent.id).unwrap().unwrap();
            outbound::destroy(txn, house.inbox, sent.id, &row).unwrap();
        });
        assert!(is_apart(&house, news, "one"));
    }
}
