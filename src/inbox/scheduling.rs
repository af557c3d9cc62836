//! Delayed and undo-able sending (RFC 8621 §7 with RFC 4865): a submission that waits for its time.
//!
//! Until then its Email is in the mailbox with role `scheduled`, colleagues' gates see it, and
//! status, owner and metrics don't move. A timer, durable as the row itself, releases it: rights
//! and gate are asked again, and where they say no it is held: canceled, its Email a draft again,
//! the conversation open. Release, hold and cancel each are one transaction under the account's
//! lock, so that exactly one of them happens.

use super::desk::{Desk, DeskError, DeskResult, Staff};
use super::gate::{self, Decision, GateInput, Happened, Named};
use super::intake;
use super::machine::{Actor, Entry, Event};
use super::messages::{self, Outbound};
use super::sending::{self, Order, Submitted, TeamOrder};
use super::siblings;
use crate::mail::{identity, mailbox, message, outbound, sender};
use crate::store::blobs::{self, Referrer};
use crate::store::rows::directory::{AccountKind, AccountRow, PrincipalRow};
use crate::store::rows::mail::{EmailRow, Origin, StoredMessage};
use crate::store::rows::submission::*;
use crate::store::rows::team::*;
use crate::store::{Read, StoreResult, Txn, keys, rows};
use crate::types::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Lets a submission wait. The caller writes the row.
pub(super) fn set_timer(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &mut SubmissionRow,
    until: Millis,
) -> StoreResult<()> {
    row.relay = RelayState::Scheduled { until };
    txn.put_at(timer_key(account, id, until), &())
}

/// Writes down what the release must know.
pub(super) fn remember(
    txn: &mut Txn<'_>,
    account: AccountId,
    submitted: &Submitted,
    row: &ScheduledSendRow,
) -> StoreResult<()> {
    txn.put_at(row_key(account, submitted.row.email, submitted.id), row)
}

/// Tells the conversation that a message of ours waits, once the gate has let it pass; `over` is
/// what it goes out over knowingly.
pub(super) fn schedule(
    desk: &mut Desk<'_, '_>,
    team: &TeamOrder,
    submitted: &Submitted,
    over: Option<&Told>,
    counted: bool,
) -> DeskResult<()> {
    let row = &submitted.row;
    let mut acknowledged = team.acknowledge.clone();
    acknowledged.extend(over.iter().flat_map(|told| told.replies.iter().map(|reply| reply.email)));
    let scheduled = ScheduledSendRow {
        version: desk.txn.modseq(desk.account)?,
        named: team.lock_token.is_some() || team.if_version.is_some(),
        acknowledged,
        then_status: team.then_status,
        then_owner: team.then_owner,
    };
    remember(desk.txn, desk.account, submitted, &scheduled)?;
    let Some(id) = row.conversation else { return Ok(()) };
    let Some(conversation) = desk.conversation(id)? else { return Ok(()) };
    let recipients: Vec<Address> = row.recipients.iter().map(|one| one.address.clone()).collect();
    let told = OutboundRow {
        email: row.email,
        author: row.author,
        submission: submitted.id,
        at: desk.now,
        state: OutboundState::Scheduled,
        reply: messages::is_reply(&conversation, &recipients),
    };
    desk.enter(id, row.email, row.thread)?;
    let event = Event::SendScheduled { email: row.email, submission: submitted.id, counted };
    let told = ConversationEvent { actor: Some(row.author), what: What::Outbound(told) };
    desk.apply(id, &event, vec![told])?;
    Ok(())
}

/// Takes a submission back before its time. False where it is too late.
pub fn cancel(desk: &mut Desk<'_, '_>, id: SubmissionId) -> DeskResult<bool> {
    let found = outbound::load(desk.read(), desk.account, id)?;
    let Some((row, true)) = found else { return Ok(false) };
    if !matches!(row.relay, RelayState::Scheduled { .. }) {
        return Ok(false);
    }
    let is_sent = withdraw(desk.txn, desk.account, id, &row, false)?;
    if let Some((conversation, _)) = intake::follow(desk.read(), desk.account, row.conversation)? {
        let event = Event::SendCanceled { email: row.email, submission: id, is_sent };
        desk.apply(conversation, &event, Vec::new())?;
    }
    Ok(true)
}

/// The same in a person's own account.
pub fn cancel_personal(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<bool> {
    let Some((row, true)) = outbound::load(txn, account, id)? else { return Ok(false) };
    if !matches!(row.relay, RelayState::Scheduled { .. }) {
        return Ok(false);
    }
    withdraw(txn, account, id, &row, false)?;
    Ok(true)
}

/// What a timer does: hands a submission to the relay queue, or holds it. One that was canceled
/// meanwhile is left alone.
pub fn release(txn: &mut Txn<'_>, staff: &Staff, account: AccountId, id: SubmissionId) -> DeskResult<()> {
    let Some((row, shown)) = outbound::load(txn, account, id)? else { return Ok(()) };
    if !matches!(row.relay, RelayState::Scheduled { .. }) {
        return Ok(());
    }
    let directory: Option<AccountRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, account)?;
    if let Some(AccountRow { kind: AccountKind::Personal(owner), .. }) = directory {
        return Ok(release_personal(txn, account, owner, id, row, shown)?);
    }
    let role = staff.roster.members.get(&row.author).copied().filter(|role| *role >= MemberRole::Agent);
    let savepoint = txn.savepoint();
    if let Some(role) = role
        && originators_fit(txn, account, &row, &staff.addresses)?
    {
        let mut desk = Desk::open(txn, account, Actor::Member { principal: row.author, role }, staff)?;
        match release_inbox(&mut desk, id, row.clone(), shown) {
            Ok(true) => return Ok(()),
            Ok(false) | Err(DeskError::Refused(_)) => txn.rollback(savepoint),
            Err(error) => return Err(error),
        }
    }
    hold(txn, staff, account, id, &row)
}

/// Holds everything that a member scheduled, whose right to send has ended; true where this commit has no room for
/// all of it.
pub fn hold_all_of(
    txn: &mut Txn<'_>,
    staff: &Staff,
    account: AccountId,
    principal: PrincipalId,
) -> DeskResult<bool> {
    for id in all(txn, account)? {
        if let Some((row, _)) = outbound::load(txn, account, id)?
            && row.author == principal
        {
            if !txn.has_room() {
                return Ok(true);
            }
            hold(txn, staff, account, id, &row)?;
        }
    }
    Ok(false)
}

/// Whether an Email waits to be sent.
pub fn is_waiting(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<bool> {
    let range = keys::all_of(account, keys::Kind::ScheduledSend, email.0);
    Ok(!read.ids(&range, false, 1)?.is_empty())
}

/// Keeps an Email that waits to be sent where it belongs, whatever a client just did to it: in
/// Scheduled, and not yet in Sent. A correction, under a modseq of its own.
pub fn keep(txn: &mut Txn<'_>, account: AccountId, email: EmailId) -> StoreResult<()> {
    if !is_waiting(txn, account, email)? {
        return Ok(());
    }
    let Some(before) = (txn as &dyn Read).row::<EmailRow>(account, email)? else { return Ok(()) };
    let scheduled = mailbox::ensure_scheduled(txn, account)?;
    let roles = mailbox::roles(txn, account)?;
    let other = [roles.with_role(MailboxRole::Sent), roles.with_role(MailboxRole::Drafts)];
    let mut mailboxes: BTreeSet<MailboxId> =
        before.mailboxes.iter().copied().filter(|mailbox| !other.contains(&Some(*mailbox))).collect();
    mailboxes.insert(scheduled);
    let after = EmailRow {
        mailboxes: mailboxes.into_iter().collect(),
        keywords: without(&before, Keyword::DRAFT).into_iter().collect(),
        ..before.clone()
    };
    if after == before {
        return Ok(());
    }
    txn.correct(account)?;
    message::change(txn, account, email, &before, &after)
}

fn release_personal(
    txn: &mut Txn<'_>,
    account: AccountId,
    owner: PrincipalId,
    id: SubmissionId,
    mut row: SubmissionRow,
    shown: bool,
) -> StoreResult<()> {
    let person: Option<PrincipalRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, owner)?;
    let own = identity::addresses(txn, account)?;
    let may_send = person.is_some_and(|person| !person.disabled);
    if !may_send || !originators_fit(txn, account, &row, &own)? {
        return withdraw(txn, account, id, &row, true).map(|_| ());
    }
    if let Some(email) = (txn as &dyn Read).row::<EmailRow>(account, row.email)? {
        sending::file(txn, account, &order_of(&row), &email)?;
    }
    hand_on(txn, account, id, &mut row, shown)
}

/// Releases through the gate; false where it says no.
fn release_inbox(
    desk: &mut Desk<'_, '_>,
    id: SubmissionId,
    mut row: SubmissionRow,
    shown: bool,
) -> DeskResult<bool> {
    let scheduled = scheduled_row(desk.read(), desk.account, row.email, id)?;
    let mut conversation = intake::follow(desk.read(), desk.account, row.conversation)?;
    if conversation.as_ref().is_some_and(|(now, _)| Some(*now) != row.conversation) {
        // It went into another one: nobody has asked that one's gate.
        return Ok(false);
    }
    if conversation.is_none() {
        conversation = intake::of_thread(desk.read(), desk.account, row.thread)?;
    }
    let mut end_lock = false;
    // A sibling's reply that this inbox hasn't heard of yet counts, too.
    if let Some((of, _)) = conversation {
        siblings::hear(desk, of)?;
        conversation = desk.conversation(of)?.map(|row| (of, row));
    }
    if let Some((of, found)) = &conversation {
        match ask_gate(desk, &row, &scheduled, *of, found)? {
            Decision::Pass { end_lock: ends, .. } => end_lock = ends,
            Decision::Refuse { .. } => return Ok(false),
        }
        forget_scheduled(desk.txn, desk.account, *of, scheduled.version, id, None)?;
    }
    let order = order_of(&row);
    sending::add_copies(&mut row.recipients, &desk.settings.automatic_bcc);
    hand_on(desk.txn, desk.account, id, &mut row, shown)?;
    let Some(email) = desk.read().row::<EmailRow>(desk.account, row.email)? else {
        // RFC 8621 §7.5: that the Email was destroyed changes nothing about its sending.
        return Ok(true);
    };
    let sent = sending::file(desk.txn, desk.account, &order, &email)?;
    let team = TeamOrder {
        then_status: scheduled.then_status,
        then_owner: scheduled.then_owner,
        if_version: scheduled.named.then_some(scheduled.version),
        ..TeamOrder::default()
    };
    let found = conversation.as_ref().map(|(_, found)| found);
    // It is counted with the last of its submissions that waits.
    let counted = is_waiting(desk.read(), desk.account, row.email)?;
    let event = Outbound { counted, ..sending::outbound(desk, &order, &team, id, found)? };
    let into = sending::write_outbound(desk, &order, &event, conversation, &sent)?;
    if end_lock {
        desk.end_lock(into, None)?;
    }
    if row.conversation != Some(into) {
        row.conversation = Some(into);
        outbound::store(desk.txn, desk.account, id, &row, shown)?;
    }
    Ok(true)
}

/// The gate at release: what others did since the scheduling decides. Colleagues' scheduled replies
/// don't: those made earlier were judged then, those made later were judged knowing this one.
fn ask_gate(
    desk: &Desk<'_, '_>,
    row: &SubmissionRow,
    scheduled: &ScheduledSendRow,
    id: ConversationId,
    conversation: &ConversationRow,
) -> DeskResult<Decision> {
    let since = sending::events_since(desk.read(), desk.account, id, scheduled.version)?;
    let counts = |event: &ConversationEvent| match &event.what {
        What::Outbound(other) => {
            other.state == OutboundState::Sent && !scheduled.acknowledged.contains(&other.email)
        }
        _ => true,
    };
    let events = since.iter().flat_map(|(version, row)| row.events.iter().map(|event| (*version, event)));
    let happened: Vec<Happened<'_>> = events
        .filter(|(_, event)| counts(event))
        .map(|(version, event)| Happened { version, event })
        .collect();
    let lock = super::desk::lock_of(desk.read(), desk.account, id)?;
    let recipients: Vec<Address> = row.recipients.iter().map(|one| one.address.clone()).collect();
    Ok(gate::decide(&GateInput {
        now: desk.now,
        conversation,
        sender: row.author,
        is_reply: messages::is_reply(conversation, &recipients),
        named: Named { if_version: scheduled.named.then_some(scheduled.version), ..Named::default() },
        basis: scheduled.version,
        lock: lock.as_ref().map(|(_, row)| row),
        happened: &happened,
        refused: None,
        plain_collision: desk.settings.plain_collision,
    }))
}

/// Holds a submission of an inbox at its release: canceled, a draft again, the conversation open;
/// owner and sender see it there.
fn hold(
    txn: &mut Txn<'_>,
    staff: &Staff,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
) -> DeskResult<()> {
    let is_sent = withdraw(txn, account, id, row, true)?;
    tracing::warn!(%account, submission = %id, "a scheduled message was held");
    let mut desk = Desk::open(txn, account, Actor::System(Cause::Timer), staff)?;
    match intake::follow(desk.read(), account, row.conversation)? {
        Some((conversation, _)) => {
            let event = Event::SendHeld { email: row.email, submission: id, is_sent };
            desk.apply(conversation, &event, Vec::new())?;
        }
        None => {
            let before = ActivityValue::Submission(id).into();
            let after = ActivityValue::Email(row.email).into();
            desk.record(None, &Entry::new(ActivityKind::SendHeld, before, after))?;
        }
    }
    Ok(())
}

/// Cancels: nothing will be sent, and the Email is a draft again; a held one is `$new`, so that its
/// author notices. True where it is a message still, since an earlier submission of it went out.
fn withdraw(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
    held: bool,
) -> StoreResult<bool> {
    let mut after = row.clone();
    let shown = (txn as &dyn Read).row::<SubmissionRow>(account, id)?.is_some();
    if let RelayState::Scheduled { until } = row.relay {
        txn.delete_at(timer_key(account, id, until));
    }
    let scheduled = scheduled_row(txn, account, row.email, id)?;
    txn.delete_at(row_key(account, row.email, id));
    // What a restore noted of it.
    txn.delete_at(keys::row(account, keys::Kind::QueueMark, id.0));
    blobs::unrefer(txn, account, &row.blob, Referrer::Submission, id.0);
    after.relay = RelayState::Done;
    after.undo_status = UndoStatus::Canceled;
    outbound::store(txn, account, id, &after, shown)?;
    // What the gate knows of it went along where the conversation went into another one.
    if let Some((conversation, _)) = intake::follow(txn, account, row.conversation)? {
        let canceled = Some(OutboundState::Canceled);
        forget_scheduled(txn, account, conversation, scheduled.version, id, canceled)?;
    }
    back_to_drafts(txn, account, row.email, held)
}

fn back_to_drafts(txn: &mut Txn<'_>, account: AccountId, email: EmailId, held: bool) -> StoreResult<bool> {
    let others = keys::all_of(account, keys::Kind::ScheduledSend, email.0);
    if !(txn as &dyn Read).ids(&others, false, 1)?.is_empty() {
        // It waits for another submission of the same Email.
        return Ok(false);
    }
    let Some(before) = (txn as &dyn Read).row::<EmailRow>(account, email)? else { return Ok(false) };
    let is_sent = before.origin == Origin::Outbound;
    let roles = mailbox::roles(txn, account)?;
    let scheduled = roles.with_role(MailboxRole::Scheduled);
    let mut mailboxes: BTreeSet<MailboxId> =
        before.mailboxes.iter().copied().filter(|mailbox| Some(*mailbox) != scheduled).collect();
    mailboxes.extend(roles.with_role(if is_sent { MailboxRole::Sent } else { MailboxRole::Drafts }));
    let mut keywords: BTreeSet<Keyword> = before.keywords.iter().cloned().collect();
    keywords.extend(Keyword::parse(Keyword::DRAFT).filter(|_| !is_sent));
    keywords.extend(Keyword::parse(Keyword::NEW).filter(|_| held));
    let after = EmailRow {
        mailboxes: mailboxes.into_iter().collect(),
        keywords: keywords.into_iter().collect(),
        origin: if is_sent { Origin::Outbound } else { Origin::Client },
        ..before.clone()
    };
    message::change(txn, account, email, &before, &after)?;
    Ok(is_sent)
}

/// From Scheduled into the relay queue.
fn hand_on(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &mut SubmissionRow,
    shown: bool,
) -> StoreResult<()> {
    let now = txn.store().clock.now();
    txn.delete_at(row_key(account, row.email, id));
    if let RelayState::Scheduled { until } = row.relay {
        txn.delete_at(timer_key(account, id, until));
    }
    row.undo_status = UndoStatus::Final;
    outbound::enqueue(txn, account, id, row, now)?;
    outbound::store(txn, account, id, row, shown)
}

/// What the gate was told when it was scheduled: from now on it was canceled, or (where the sending
/// is told of at its own position) never waited.
fn forget_scheduled(
    txn: &mut Txn<'_>,
    account: AccountId,
    conversation: ConversationId,
    version: u64,
    submission: SubmissionId,
    state: Option<OutboundState>,
) -> StoreResult<()> {
    let key = keys::versioned(account, keys::Kind::ConversationEvent, conversation.0, version);
    let Some(bytes) = txn.bytes(&key)? else { return Ok(()) };
    let mut row: ConversationEventsRow = rows::decode(&bytes)?;
    row.events.retain_mut(|event| match &mut event.what {
        What::Outbound(one) if one.submission == submission => {
            one.state = state.unwrap_or(one.state);
            state.is_some()
        }
        _ => true,
    });
    txn.put_at(key, &row)
}

/// Whether the message may still be sent from the addresses that it names.
fn originators_fit(
    read: &dyn Read,
    account: AccountId,
    row: &SubmissionRow,
    own: &[Address],
) -> StoreResult<bool> {
    let stored: Option<StoredMessage> = read.row(account, row.email)?;
    let header_fits = stored.is_none_or(|stored| sender::check(&stored.message, own).is_ok());
    let path_fits = row.mail_from.as_ref().is_none_or(|from| sender::is_own(own, from.as_str()));
    Ok(header_fits && path_fits)
}

fn order_of(row: &SubmissionRow) -> Order<'static> {
    Order {
        email: row.email,
        identity: row.identity,
        mail_from: row.mail_from.clone(),
        mail_from_parameters: row.mail_from_parameters.clone(),
        recipients: row.recipients.clone(),
        sender: row.author,
        idempotency_key: None,
        release_at: None,
    }
}

/// All submissions of an account that wait.
fn all(read: &dyn Read, account: AccountId) -> StoreResult<Vec<SubmissionId>> {
    let mut out = Vec::new();
    read.scan(&keys::all(account, keys::Kind::ScheduledSend), false, &mut |key, _| {
        out.extend(keys::last_id(key).map(SubmissionId));
        ControlFlow::Continue(())
    })?;
    Ok(out)
}

fn scheduled_row(
    read: &dyn Read,
    account: AccountId,
    email: EmailId,
    id: SubmissionId,
) -> StoreResult<ScheduledSendRow> {
    match read.bytes(&row_key(account, email, id))? {
        Some(bytes) => rows::decode(&bytes),
        None => Ok(ScheduledSendRow::default()),
    }
}

fn without(row: &EmailRow, keyword: &str) -> BTreeSet<Keyword> {
    row.keywords.iter().filter(|one| one.as_str() != keyword).cloned().collect()
}

fn row_key(account: AccountId, email: EmailId, id: SubmissionId) -> keys::Key {
    keys::pair(account, keys::Kind::ScheduledSend, email.0, id.0)
}

fn timer_key(account: AccountId, id: SubmissionId, until: Millis) -> keys::Key {
    keys::due(keys::Kind::Timer, until, account, RELEASE_TIMER, id.0)
}
