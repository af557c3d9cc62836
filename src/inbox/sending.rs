//! Sending: the gate and everything that a submission does, in one transaction. What becomes of it
//! at the relay is in `handover`.
//!
//! Order (spec/locks.md, section 4): duplicate? → lock → version or collision → queue item, Sent
//! copy, status, owner, activity, lock release. The submitted Email *is* the Sent copy. A submission
//! that was made before is returned, and nothing is sent. One that is to go out later waits first
//! (`scheduling`).

use super::desk::{ConversationEmailRow, Desk, DeskError, DeskResult};
use super::gate::{self, Decision, GateInput, Happened, Named};
use super::intake;
use super::machine::{Entry, Event, Value};
use super::messages::{self, First, Outbound};
use super::moves;
use super::refusal::Refusal;
use super::repeats;
use super::scheduling;
use super::siblings;
use super::threading;
use crate::mail::{mailbox, message, outbound, thread, viewer};
use crate::store::blobs::{self, Referrer};
use crate::store::rows::mail::{EmailRow, Origin, StoredMessage};
use crate::store::rows::submission::*;
use crate::store::rows::team::*;
use crate::store::{Read, Row, StoreResult, Txn, keys};
use crate::types::*;
use std::collections::BTreeSet;

/// What is to be sent, checked by the caller as far as addresses and identity go.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub email: EmailId,
    pub identity: IdentityId,
    pub mail_from: Option<Address>,
    pub mail_from_parameters: Vec<(String, Option<String>)>,
    pub recipients: Vec<Recipient>,
    pub sender: PrincipalId,
    pub idempotency_key: Option<&'a str>,
    /// Not to be handed over before that moment (RFC 4865); `None`: at once.
    pub release_at: Option<Millis>,
}

/// What a client that knows the send gate names beside.
#[derive(Clone, Debug, Default)]
pub struct TeamOrder {
    pub lock_token: Option<u64>,
    pub if_version: Option<u64>,
    pub acknowledge: Vec<EmailId>,
    pub then_status: Option<Status>,
    pub then_owner: Option<Option<PrincipalId>>,
}

/// A submission that was made, now or before.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub id: SubmissionId,
    pub row: SubmissionRow,
    /// It was made before: nothing was sent this time.
    pub repeated: bool,
}

/// What the gate said, and what must be remembered though the submission is undone.
#[derive(Debug)]
pub enum SendRefusal {
    Desk(DeskError),
    Gate { refusal: Box<Refusal>, remember: Option<Box<Remember>> },
}

/// A refusal that decides about the next attempt: to be written after the rollback.
#[derive(Clone, PartialEq, Debug)]
pub struct Remember {
    account: AccountId,
    conversation: ConversationId,
    principal: PrincipalId,
    row: RefusalRow,
}

impl Remember {
    /// Writes it down.
    pub fn write(&self, txn: &mut Txn<'_>) -> StoreResult<()> {
        txn.put_at(refusal_key(self.account, self.conversation, self.principal), &self.row)
    }
}

impl<E: Into<DeskError>> From<E> for SendRefusal {
    fn from(error: E) -> Self {
        Self::Desk(error.into())
    }
}

/// Sends from a person's own account.
pub fn submit_personal(
    txn: &mut Txn<'_>,
    account: AccountId,
    order: &Order<'_>,
) -> StoreResult<Option<Submitted>> {
    let Some(email) = (txn as &dyn Read).row::<EmailRow>(account, order.email)? else { return Ok(None) };
    let digests = repeats::digests(txn, account, order, &email)?;
    if let Some(earlier) = repeats::earlier(txn, account, &digests)? {
        return Ok(Some(earlier));
    }
    let email = file(txn, account, order, &email)?;
    let submitted = enqueue(txn, account, order, &email, None, &[])?;
    if order.release_at.is_some() {
        scheduling::remember(txn, account, &submitted, &ScheduledSendRow::default())?;
    }
    repeats::remember(txn, account, &digests, submitted.id)?;
    Ok(Some(submitted))
}

/// Takes in what siblings sent, before the gate of an Email's conversation decides. What it decides is told with
/// a version, which must be true even where the submission is undone: this is no part of it.
pub fn hear_siblings(desk: &mut Desk<'_, '_>, email: EmailId) -> DeskResult<()> {
    let Some(row) = desk.read().row::<EmailRow>(desk.account, email)? else { return Ok(()) };
    match conversation_of(desk, &row)? {
        Some((id, _)) => siblings::hear(desk, id),
        None => Ok(()),
    }
}

/// The conversation that an Email is sent in.
fn conversation_of(
    desk: &Desk<'_, '_>,
    row: &EmailRow,
) -> StoreResult<Option<(ConversationId, ConversationRow)>> {
    match row.conversation {
        Some(id) => Ok(desk.conversation(id)?.map(|found| (id, found))),
        None => intake::of_thread(desk.read(), desk.account, row.thread),
    }
}

/// Sends from an inbox, through the gate. The caller has let it hear its siblings ([`hear_siblings`]).
pub fn submit_inbox(
    desk: &mut Desk<'_, '_>,
    order: &Order<'_>,
    team: &TeamOrder,
) -> Result<Submitted, SendRefusal> {
    let account = desk.account;
    let row = desk.read().row::<EmailRow>(account, order.email)?;
    let row = row.ok_or(Refusal::Forbidden("There is no such Email."))?;
    desk.actor.must_be_agent()?;
    if row.author.is_some() && !moves::may_go_on_with(desk, &row) {
        return Err(
            Refusal::Forbidden("Only its author may send a draft; copy it to send it yourself.").into()
        );
    }
    let digests = repeats::digests(desk.txn, account, order, &row)?;
    if let Some(earlier) = repeats::earlier(desk.txn, account, &digests)? {
        return Ok(earlier);
    }
    let conversation = conversation_of(desk, &row)?;
    let passed = match &conversation {
        Some((id, found)) => Some(pass_gate(desk, order, team, *id, found)?),
        None => None,
    };
    let counted = row.conversation.is_some() && !moves::is_draft(&row);
    // What waits is no message yet, whichever submission it waits for.
    let waited = scheduling::is_waiting(desk.read(), account, order.email)?;
    let filed = file(desk.txn, account, order, &row)?;
    let known = conversation.as_ref().map(|(id, _)| *id);
    let copies = desk.settings.automatic_bcc.clone();
    let mut submitted = enqueue(desk.txn, account, order, &filed, known, &copies)?;
    let into = if order.release_at.is_some() {
        let over = match &passed {
            Some(Decision::Pass { over, .. }) => Some(over),
            _ => None,
        };
        scheduling::schedule(desk, team, &submitted, over, counted && !waited)?;
        known
    } else {
        let found = conversation.as_ref().map(|(_, found)| found);
        let outbound = Outbound { counted, ..outbound(desk, order, team, submitted.id, found)? };
        Some(write_outbound(desk, order, &outbound, conversation, &filed)?)
    };
    if let (Some(id), Some(Decision::Pass { end_lock, over, settles })) = (into, passed) {
        if end_lock {
            desk.end_lock(id, None)?;
        }
        if over != Told::default() {
            let after = ActivityValue::Submission(submitted.id).into();
            desk.record(Some(id), &Entry::new(ActivityKind::SentOver, Value::NONE, after))?;
        }
        if settles {
            desk.txn.delete_at(refusal_key(account, id, order.sender));
        }
    }
    repeats::remember(desk.txn, account, &digests, submitted.id)?;
    if submitted.row.conversation != into {
        submitted.row.conversation = into;
        desk.txn.put_at(SubmissionRow::key(account, submitted.id), &submitted.row)?;
    }
    Ok(submitted)
}

/// Asks the gate; gives its pass.
fn pass_gate(
    desk: &Desk<'_, '_>,
    order: &Order<'_>,
    team: &TeamOrder,
    id: ConversationId,
    conversation: &ConversationRow,
) -> Result<Decision, SendRefusal> {
    let account = desk.account;
    let recipients: Vec<Address> = order.recipients.iter().map(|one| one.address.clone()).collect();
    let basis = basis(desk, order.email, id)?;
    let since = team.if_version.map_or(basis, |version| version.min(basis));
    let mut rows = scheduled_before(desk.read(), account, id, since)?;
    rows.extend(events_since(desk.read(), account, id, since)?);
    let happened: Vec<Happened<'_>> = rows
        .iter()
        .flat_map(|(version, row)| row.events.iter().map(|event| Happened { version: *version, event }))
        .collect();
    let stored_lock = super::desk::lock_of(desk.read(), account, id)?;
    let refused: Option<RefusalRow> = match desk.read().bytes(&refusal_key(account, id, order.sender))? {
        Some(bytes) => Some(crate::store::rows::decode(&bytes)?),
        None => None,
    };
    let named =
        Named { lock_token: team.lock_token, if_version: team.if_version, acknowledge: &team.acknowledge };
    let decision = gate::decide(&GateInput {
        now: desk.now,
        conversation,
        sender: order.sender,
        is_reply: messages::is_reply(conversation, &recipients),
        named,
        basis,
        lock: stored_lock.as_ref().map(|(_, row)| row),
        happened: &happened,
        refused: refused.as_ref(),
        plain_collision: desk.settings.plain_collision,
    });
    match decision {
        pass @ Decision::Pass { .. } => Ok(pass),
        Decision::Refuse { refusal, remember } => {
            let remember = remember
                .map(|row| Box::new(Remember { account, conversation: id, principal: order.sender, row }));
            Err(SendRefusal::Gate { refusal: Box::new(refusal), remember })
        }
    }
}

/// The position of a reply's basis: the newest message of the conversation that it refers to, or
/// the creation of the draft.
fn basis(desk: &Desk<'_, '_>, email: EmailId, id: ConversationId) -> StoreResult<u64> {
    let read = desk.read();
    let stored: Option<StoredMessage> = read.row(desk.account, email)?;
    let keys = stored.map(|stored| crate::mail::ingest::thread_keys(&stored.message)).unwrap_or_default();
    let position = |email: EmailId| -> StoreResult<Option<u64>> {
        let key = keys::pair(desk.account, keys::Kind::ConversationEmail, id.0, email.0);
        match read.bytes(&key)? {
            Some(bytes) => Ok(Some(crate::store::rows::decode::<ConversationEmailRow>(&bytes)?.version)),
            None => Ok(None),
        }
    };
    let mut named = Vec::new();
    for reference in keys.references.iter().take(limits::THREAD_REFERENCES_MAX) {
        for other in thread::emails_with_message_id(read, desk.account, reference)? {
            if other != email {
                named.extend(position(other)?);
            }
        }
    }
    let created = position(email)?.unwrap_or(0);
    Ok(gate::basis(named, created))
}

/// What happened where messages were scheduled that wait still, up to a position: colleagues' gates see
/// them, however long ago that was.
fn scheduled_before(
    read: &dyn Read,
    account: AccountId,
    id: ConversationId,
    until: u64,
) -> StoreResult<Vec<(u64, ConversationEventsRow)>> {
    let mut waiting = Vec::new();
    let mut broken = None;
    read.scan(&keys::all(account, keys::Kind::ScheduledSend), false, &mut |key, value| {
        match (keys::first_id(key), crate::store::rows::decode::<ScheduledSendRow>(value)) {
            (Some(email), Ok(row)) => waiting.push((EmailId(email), row.version)),
            (_, Err(error)) => broken = Some(error),
            (None, _) => {}
        }
        std::ops::ControlFlow::Continue(())
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    let mut out = Vec::new();
    for (email, version) in waiting.into_iter().filter(|(_, version)| *version <= until) {
        let row: Option<EmailRow> = read.row(account, email)?;
        if row.is_none_or(|row| row.conversation != Some(id)) {
            continue;
        }
        let key = keys::versioned(account, keys::Kind::ConversationEvent, id.0, version);
        if let Some(bytes) = read.bytes(&key)? {
            let mut row: ConversationEventsRow = crate::store::rows::decode(&bytes)?;
            row.events.retain(
                |event| matches!(&event.what, What::Outbound(one) if one.state == OutboundState::Scheduled),
            );
            out.push((version, row));
        }
    }
    out.sort_by_key(|(version, _)| *version);
    out.dedup();
    Ok(out)
}

/// What happened in a conversation after a position.
pub(super) fn events_since(
    read: &dyn Read,
    account: AccountId,
    id: ConversationId,
    since: u64,
) -> StoreResult<Vec<(u64, ConversationEventsRow)>> {
    let mut out = Vec::new();
    let mut broken = None;
    let range = keys::versioned_after(account, keys::Kind::ConversationEvent, id.0, since);
    read.scan(&range, false, &mut |key, value| {
        match (keys::last_version(key), crate::store::rows::decode(value)) {
            (Some(version), Ok(row)) => out.push((version, row)),
            (_, Err(error)) => broken = Some(error),
            (None, _) => {}
        }
        std::ops::ControlFlow::Continue(())
    })?;
    broken.map_or(Ok(out), Err)
}

/// The event that a message of ours is.
pub(super) fn outbound(
    desk: &Desk<'_, '_>,
    order: &Order<'_>,
    team: &TeamOrder,
    submission: SubmissionId,
    conversation: Option<&ConversationRow>,
) -> StoreResult<Outbound> {
    let stored: Option<StoredMessage> = desk.read().row(desk.account, order.email)?;
    let mut people = Vec::new();
    if let Some(stored) = &stored {
        for field in ["to", "cc"] {
            people.extend(crate::mail::headers::addresses(&stored.message, field));
        }
    }
    let recipients = intake::outsiders(desk, people.iter());
    let addresses: Vec<Address> = order.recipients.iter().map(|one| one.address.clone()).collect();
    let outside_envelope = !recipients.is_empty();
    Ok(Outbound {
        email: order.email,
        submission,
        at: desk.now,
        reply: conversation.map_or(outside_envelope, |row| messages::is_reply(row, &addresses)),
        automatic: false,
        counted: false,
        recipients,
        then_status: team.then_status,
        then_owner: team.then_owner,
        if_version: team.if_version,
    })
}

/// Tells the conversation, or begins one, and puts the message at the position of its sending.
pub(super) fn write_outbound(
    desk: &mut Desk<'_, '_>,
    order: &Order<'_>,
    outbound: &Outbound,
    conversation: Option<(ConversationId, ConversationRow)>,
    sent: &EmailRow,
) -> DeskResult<ConversationId> {
    let row = OutboundRow {
        email: order.email,
        author: order.sender,
        submission: outbound.submission,
        at: desk.now,
        state: OutboundState::Sent,
        reply: outbound.reply,
    };
    let told = ConversationEvent { actor: Some(order.sender), what: What::Outbound(row) };
    threading::note_audience(desk, order.email, &order.recipients)?;
    match conversation {
        Some((id, _)) => {
            desk.enter(id, order.email, sent.thread)?;
            desk.apply(id, &Event::Outbound(outbound.clone()), vec![told])?;
            if outbound.reply {
                siblings::leave_word(desk, id, order.sender)?;
            }
            Ok(id)
        }
        None => {
            let first = First::Outbound(outbound.clone());
            desk.begin(&sent.subject, None, &first, sent.thread, vec![told])
        }
    }
}

/// The submitted Email is the Sent copy: into Sent, out of Drafts and Scheduled, no `$draft`. One
/// that is to go out later waits in Scheduled, and isn't sent yet.
pub(super) fn file(
    txn: &mut Txn<'_>,
    account: AccountId,
    order: &Order<'_>,
    before: &EmailRow,
) -> StoreResult<EmailRow> {
    let waits = order.release_at.is_some();
    let to = match waits {
        true => Some(mailbox::ensure_scheduled(txn, account)?),
        false => mailbox::roles(txn, account)?.with_role(MailboxRole::Sent),
    };
    let roles = mailbox::roles(txn, account)?;
    let left = [roles.with_role(MailboxRole::Drafts), roles.with_role(MailboxRole::Scheduled)];
    let mut mailboxes: BTreeSet<MailboxId> =
        before.mailboxes.iter().copied().filter(|mailbox| !left.contains(&Some(*mailbox))).collect();
    mailboxes.extend(to);
    let mut keywords: BTreeSet<Keyword> =
        before.keywords.iter().filter(|keyword| keyword.as_str() != Keyword::DRAFT).cloned().collect();
    keywords.extend(Keyword::parse(Keyword::SEEN));
    let after = EmailRow {
        mailboxes: mailboxes.into_iter().collect(),
        keywords: keywords.into_iter().collect(),
        author: Some(order.sender),
        origin: if waits { before.origin } else { Origin::Outbound },
        ..before.clone()
    };
    let after = viewer::settled(before, &after).into_owned();
    message::change(txn, account, order.email, before, &after)?;
    Ok(after)
}

fn enqueue(
    txn: &mut Txn<'_>,
    account: AccountId,
    order: &Order<'_>,
    email: &EmailRow,
    conversation: Option<ConversationId>,
    copies: &[Address],
) -> StoreResult<Submitted> {
    let now = txn.store().clock.now();
    let id = SubmissionId(txn.allot(account, |next| &mut next.submission)?);
    let mut row = SubmissionRow {
        identity: order.identity,
        email: order.email,
        thread: email.thread,
        blob: email.blob,
        mail_from: order.mail_from.clone(),
        mail_from_parameters: order.mail_from_parameters.clone(),
        recipients: order.recipients.clone(),
        send_at: order.release_at.unwrap_or(now).date(),
        // Without a time to wait the relay is contacted at once, and nothing can be undone.
        undo_status: if order.release_at.is_some() { UndoStatus::Pending } else { UndoStatus::Final },
        author: order.sender,
        conversation,
        created_at: now,
        relay: RelayState::Queued { next: now },
        attempts: 0,
        idempotency_key: order.idempotency_key.map(str::to_owned),
    };
    blobs::refer(txn, account, &row.blob, Referrer::Submission, id.0)?;
    match order.release_at {
        None => {
            add_copies(&mut row.recipients, copies);
            outbound::enqueue(txn, account, id, &mut row, now)?;
        }
        Some(until) => scheduling::set_timer(txn, account, id, &mut row, until)?,
    }
    txn.insert(account, id, &row)?;
    txn.put_at(keys::pair(account, keys::Kind::SubmissionOfEmail, order.email.0, id.0), &())?;
    Ok(Submitted { id, row, repeated: false })
}

/// Adds who gets a copy of everything, once the gate has passed and what makes a repetition is settled:
/// they decide nothing about the message. They come last, and stand in no header.
pub(super) fn add_copies(recipients: &mut Vec<Recipient>, copies: &[Address]) {
    for copy in copies {
        if recipients.iter().all(|one| one.address.key() != copy.key()) {
            recipients.push(Recipient {
                address: copy.clone(),
                parameters: Vec::new(),
                smtp_reply: None,
                delivered: Delivered::Queued,
                settled: false,
            });
        }
    }
}

fn refusal_key(account: AccountId, conversation: ConversationId, principal: PrincipalId) -> keys::Key {
    keys::pair(account, keys::Kind::PlainRefusal, conversation.0, principal.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::support::{House, START, written};

    #[test]
    fn a_message_to_somebody_else_leaves_what_was_remembered_of_a_block() {
        let house = House::new();
        house.deliver(&["support@x.example"], "first", "");
        let (id, _) = house.conversation_of(house.email("first@c.example"));
        let key = || refusal_key(house.inbox, id, house.bob);
        let refusal = RefusalRow::Block(Block { at: START, emails: vec![EmailId(7)] });
        house.write(house.inbox, |txn| txn.put_at(key(), &refusal).unwrap());
        let is_remembered = || (&house.server.store.snapshot() as &dyn Read).has(&key()).unwrap();
        let draft = |id| house.draft(&written(id, "In-Reply-To: <first@c.example>\r\n"));
        house.send_to(draft("forward"), &["boss@c.example".to_owned()]);
        assert!(is_remembered());
        house.send(draft("reply"), None);
        assert!(!is_remembered());
    }
}
