//! Delivery: a message that SMTP or LMTP took in is put into every account that it is for, and is
//! acknowledged only when it is durable in all of them.

use super::addressing::{self, Target};
use super::desk::{Desk, DeskError};
use super::intake::{self, Arrival};
use super::lists;
use super::machine::{Actor, Entry, Value};
use super::receipts::{self, LeftOut};
use super::server::{self, ReturnPath, Server};
use super::siblings;
use crate::auth::View;
use crate::mail::date::MailDate;
use crate::mail::envelope::{Envelope, NotTaken};
use crate::mail::ingest::{self, Prepared};
use crate::mail::list;
use crate::mail::message::Added;
use crate::mail::quota::{self, Room};
use crate::mail::vacation::{self, Path};
use crate::mail::{reports, words};
use crate::store::rows::directory::{AccountKind, Posting};
use crate::store::rows::mail::EmailRow;
use crate::store::rows::team::{ActivityKind, ActivityValue, Cause};
use crate::store::{Read, StoreError, StoreResult, Ticket, Txn};
use crate::types::metrics::count;
use crate::types::{AccountId, Address, EmailId, Millis, SubmissionId, limits};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a recipient can be delivered to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    Yes,
    No,
    /// The account has no room for another message (RFC 9425).
    OverQuota,
    /// There is too little disk to take anything in.
    NoSpace,
}

/// What became of a message for one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Durable. The id names it in logs.
    Accepted(String),
    /// It isn't taken, for that reason.
    Refused(NotTaken),
    /// The same, while others got it: the sender hears of it by a notification of ours, where anybody is to
    /// hear of it at all.
    Told(NotTaken),
    /// The account has no room for it.
    OverQuota,
    NoSpace,
    /// A fault of ours: the sender should try again.
    TryLater,
}

/// What became of a message in each account; `None`: the account has no room for it.
type Outcomes = BTreeMap<AccountId, Result<Option<EmailId>, StoreError>>;

/// Whether we deliver for an address.
pub fn recipient(server: &Server, address: &Address) -> Known {
    if server.store.check_space().is_err() {
        return Known::NoSpace;
    }
    let view = server.directory.current();
    let Some(target) = addressing::resolve(&view, address) else { return Known::No };
    if view.list(target.account).is_some_and(|terms| terms.posting == Posting::Nobody)
        && target.returned.is_none()
    {
        return Known::No;
    }
    match quota::room(&server.store.snapshot(), target.account, server.store.quotas(), 0) {
        Ok(Room::None) => Known::OverQuota,
        // What can't be read now is found out when the message is delivered.
        _ => Known::Yes,
    }
}

/// Delivers one message to all its recipients; the answers are in their order. Each account gets
/// one Email, however many of its addresses were named.
pub async fn deliver(server: &Arc<Server>, envelope: Envelope, content: Vec<u8>) -> Vec<Delivery> {
    let view = server.directory.current();
    let destinations = destinations(&view, &envelope);
    let (null_path, from_gateway) = (envelope.mail_from.is_none(), envelope.from_gateway);
    let binary = envelope.binary;
    let is_listed = destinations.iter().any(|to| view.list(to.account).is_some());
    let prepared = server.blocking(move |server| {
        let trust = &server.settings.trust;
        let content = trust.strip(content, from_gateway);
        let mut prepared = ingest::prepare(&content, null_path)?;
        prepared.trust = trust.read(&prepared.message, from_gateway);
        let binary = binary && is_listed && !list::goes_by_data(&content);
        // A list passes the octets on; nobody else needs them any more.
        Ok::<_, StoreError>((prepared, if is_listed { content } else { Vec::new() }, binary))
    });
    let prepared = prepared.await;
    let envelope = Arc::new(envelope);
    let mut outcome: Outcomes = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let mut are_told = false;
    match prepared {
        Ok((prepared, content, binary)) => {
            note_unparsed(server, &prepared);
            let (prepared, content) = (Arc::new(prepared), Arc::new(content));
            let mut last = Ticket::default();
            for to in destinations {
                let account = to.account;
                if let Some(why) = refusal(&view, &to, &prepared, null_path, binary) {
                    refused.insert(account, why);
                    continue;
                }
                let done = match view.list(account) {
                    Some(_) => pass_on(server, to, &prepared, &content, &envelope).await,
                    None => deliver_to(server, to, &prepared, &envelope).await,
                };
                outcome.insert(
                    account,
                    done.map(|(email, ticket)| {
                        last = last.max(ticket);
                        email
                    }),
                );
            }
            // A delivery that is cut short here is tried again, and makes up for it then.
            let ending = async {
                if outcome.keys().any(|account| is_inbox(&view, *account)) {
                    last = last.max(siblings::meet(server, &prepared).await?);
                }
                let told = tell_left_out(server, &view, &prepared, &envelope, &outcome, &refused).await?;
                // One shared sync for all accounts.
                server.store.durable(last.max(told.unwrap_or_default())).await?;
                Ok::<_, StoreError>(told.is_some())
            };
            let ended = ending.await;
            match ended {
                Ok(told) => are_told = told,
                Err(error) => outcome.values_mut().for_each(|done| *done = Err(error.clone())),
            }
        }
        Err(error) => tracing::error!(%error, "a message could not be prepared"),
    }
    let answers = answers(&view, &envelope, &outcome, &refused).into_iter();
    let told = |answer| match answer {
        Delivery::Refused(why) if are_told => Delivery::Told(why),
        answer => answer,
    };
    answers.map(told).collect()
}

/// What can't be parsed is taken and shown raw: whoever runs the server hears of it.
fn note_unparsed(server: &Server, prepared: &Prepared) {
    if let Some(why) = prepared.message.unparsed {
        count(&server.store.metrics.unparsed, "why", why.name());
        tracing::warn!(why = why.name(), blob = ?prepared.content.hash, "a message is kept without its structure");
    }
}

/// Where SMTP's one reply takes the message for some and others are refused for good, the reply is "yes", or
/// those would get it again by whoever tries again; and the sender hears from us who doesn't get it (RFC 5321
/// §4.2.5, §6.1). `None` where that isn't so.
async fn tell_left_out(
    server: &Arc<Server>,
    view: &View,
    prepared: &Arc<Prepared>,
    envelope: &Arc<Envelope>,
    outcome: &Outcomes,
    refused: &BTreeMap<AccountId, Delivery>,
) -> StoreResult<Option<Ticket>> {
    let Some(account) = outcome.keys().next().copied() else { return Ok(None) };
    // Where somebody is to have it later all is tried again, and whoever has it recognises it.
    if envelope.protocol.answers_each() || !outcome.values().all(|done| matches!(done, Ok(Some(_)))) {
        return Ok(None);
    }
    let answers = answers(view, envelope, outcome, refused);
    let wish = |number| envelope.reports.get(number).cloned().unwrap_or_default();
    let all = envelope.recipients.iter().zip(answers).enumerate();
    let left_out: Vec<LeftOut> = all
        .filter_map(|(number, (address, answer))| match answer {
            Delivery::Refused(why) => Some(LeftOut { address: address.clone(), wish: wish(number), why }),
            _ => None,
        })
        .collect();
    if left_out.is_empty() {
        return Ok(None);
    }
    let locked = server.store.lock(&[account]).await;
    let (prepared, envelope) = (Arc::clone(prepared), Arc::clone(envelope));
    let hostname = server.settings.hostname.clone();
    let queued = move |server: &Arc<Server>| {
        let mut txn = server.store.begin(&locked);
        match receipts::queue_left_out(&mut txn, account, &left_out, &envelope, &prepared, &hostname)? {
            true => Ok(txn.commit()?.ticket),
            false => Ok(server.store.ticket_of(account)),
        }
    };
    server.blocking(queued).await.map(Some)
}

/// It was delivered here so often that it runs in circles.
pub(super) fn circling() -> Delivery {
    Delivery::Refused("the message runs in circles: it was delivered here before".into())
}

/// Why an account doesn't take a message, found out before anything is written.
fn refusal(
    view: &View,
    to: &Destination,
    prepared: &Prepared,
    null_path: bool,
    binary: bool,
) -> Option<Delivery> {
    if runs_in_circles(prepared, &to.recipient) {
        return Some(circling());
    }
    let terms = view.list(to.account)?;
    let refused = match to.returned {
        Some(_) => lists::refusal_of_returned(terms, prepared),
        None => lists::refusal(view, view.account(to.account)?, terms, prepared, null_path),
    };
    refused.or_else(|| binary.then(lists::no_binary))
}

/// Whether a message was delivered to this address several times already: whoever passes it on says
/// so in Delivered-To each time. Once or twice is what a gateway or a forwarder of ours says.
fn runs_in_circles(prepared: &Prepared, address: &Address) -> bool {
    let key = address.key();
    let fields = prepared.message.fields().iter();
    let named = fields.filter(|field| {
        field.name.eq_ignore_ascii_case("Delivered-To")
            && Address::key_of(words::unfold(&field.value.0).trim()) == key
    });
    named.count() >= limits::DELIVERED_TO_MAX
}

/// An account that a message is for, with all by which the envelope names it.
#[derive(Clone, Debug)]
struct Destination {
    account: AccountId,
    /// It came back to the return path of this submission.
    returned: Option<SubmissionId>,
    /// What the trace header fields name.
    recipient: Address,
    /// All of the envelope's recipients that lead here.
    recipients: Vec<Address>,
    /// What stands behind the `+` of any of them, each once.
    tags: Vec<String>,
}

/// The accounts that a message is for, each once, named as it was first. That it came back to a return path
/// says more than that it was sent to the account's address as well.
fn destinations(view: &View, envelope: &Envelope) -> Vec<Destination> {
    let mut all: BTreeMap<AccountId, Destination> = BTreeMap::new();
    for address in &envelope.recipients {
        let Some(Target { account, returned, tag }) = addressing::resolve(view, address) else { continue };
        let known = all.entry(account).or_insert_with(|| Destination {
            account,
            returned,
            recipient: address.clone(),
            recipients: Vec::new(),
            tags: Vec::new(),
        });
        if known.returned.is_none() && returned.is_some() {
            (known.returned, known.recipient) = (returned, address.clone());
        }
        known.recipients.push(address.clone());
        let tag = tag.filter(|tag| !known.tags.contains(tag));
        known.tags.extend(tag);
    }
    all.into_values().collect()
}

fn answers(
    view: &View,
    envelope: &Envelope,
    outcome: &Outcomes,
    refused: &BTreeMap<AccountId, Delivery>,
) -> Vec<Delivery> {
    let answer = |recipient: &Address| {
        let Some(Target { account, .. }) = addressing::resolve(view, recipient) else {
            return Delivery::Refused("there is no such recipient any more".into());
        };
        match outcome.get(&account) {
            Some(Ok(Some(email))) => Delivery::Accepted(format!("{account}-{email}")),
            Some(Ok(None)) => Delivery::OverQuota,
            Some(Err(StoreError::DiskLow { .. })) => Delivery::NoSpace,
            Some(Err(error)) => {
                tracing::error!(%error, account = %account, "a message could not be delivered");
                Delivery::TryLater
            }
            None => refused.get(&account).cloned().unwrap_or(Delivery::TryLater),
        }
    };
    envelope.recipients.iter().map(answer).collect()
}

fn is_inbox(view: &View, account: AccountId) -> bool {
    view.account(account).is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_)))
}

/// Writes the message into one account; `None` where that has no room. It isn't durable yet: wait
/// for the ticket.
async fn deliver_to(
    server: &Arc<Server>,
    to: Destination,
    prepared: &Arc<Prepared>,
    envelope: &Arc<Envelope>,
) -> StoreResult<(Option<EmailId>, Ticket)> {
    server.store.check_space()?;
    let Destination { account, returned, recipient, recipients, tags } = to;
    let locked = server.store.lock(&[account]).await;
    let (prepared, envelope) = (Arc::clone(prepared), Arc::clone(envelope));
    server
        .blocking(move |server| {
            let mut txn = server.store.begin(&locked);
            let now = server.store.clock.now();
            let sender = envelope.mail_from.as_ref().map(Address::as_str).unwrap_or_default();
            let mut prefix = format!("Return-Path: <{sender}>\r\n").into_bytes();
            prefix.extend(trace(server, &envelope, &recipient, now));
            let mail_from = envelope.mail_from.as_ref();
            let arrival = Arrival { mail_from, prefix: &prefix, at: now, returned, tags: &tags };
            let path = Path { from: mail_from, to: &recipients };
            if let Some(email) = intake::seen(&txn as &dyn Read, account, &prepared, &arrival)? {
                return Ok((Some(email), recognised(server, txn, account, email, &arrival)?));
            }
            let size = prefix.len() as u64 + u64::from(prepared.content.size);
            if quota::room(&txn, account, server.store.quotas(), size)? == Room::None {
                return Ok((None, server.store.ticket_of(account)));
            }
            let view = server.directory.current();
            let added = if is_inbox(&view, account) {
                let staff = server::staff(&view, account);
                let mut desk = Desk::open(&mut txn, account, Actor::System(Cause::Mail), &staff)?;
                let added = intake::deliver_inbox(&mut desk, &prepared, &arrival).map_err(store_error)?;
                acknowledge(&mut desk, &prepared, &arrival, path, &added, &server.settings.hostname)?;
                added
            } else {
                let added = intake::deliver_personal(&mut txn, account, &prepared, &arrival)?;
                let hostname = &server.settings.hostname;
                if !prepared.trust.spam {
                    vacation::answer(&mut txn, account, &prepared, path, &added, hostname)?;
                }
                added
            };
            if let Some(report) = prepared.report.as_ref().filter(|_| returned.is_none()) {
                let believed = server.settings.return_path == ReturnPath::Sender;
                reports::apply(&mut txn, account, report, added.email, believed)?;
            }
            if returned.is_none() {
                receipts::queue(&mut txn, account, &view, &envelope, &prepared, &server.settings.hostname)?;
            }
            Ok((Some(added.email), txn.commit()?.ticket))
        })
        .await
}

/// A gateway may send a message apart to each address that leads here: what the addresses say is kept.
fn recognised(
    server: &Server,
    mut txn: Txn<'_>,
    account: AccountId,
    email: EmailId,
    arrival: &Arrival<'_>,
) -> StoreResult<Ticket> {
    let view = server.directory.current();
    if arrival.returned.is_some() || arrival.tags.is_empty() || !is_inbox(&view, account) {
        return Ok(server.store.ticket_of(account));
    }
    let staff = server::staff(&view, account);
    let mut desk = Desk::open(&mut txn, account, Actor::System(Cause::Mail), &staff)?;
    match intake::tag_again(&mut desk, email, arrival.tags).map_err(store_error)? {
        true => Ok(txn.commit()?.ticket),
        false => Ok(server.store.ticket_of(account)),
    }
}

/// Answers a person who began a conversation, where the inbox has a text for that. It is on record, and moves
/// nothing: nobody has answered yet.
fn acknowledge(
    desk: &mut Desk<'_, '_>,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
    path: Path<'_>,
    added: &Added,
    hostname: &str,
) -> StoreResult<()> {
    let Some(text) = desk.settings.acknowledgement.clone() else { return Ok(()) };
    let row: Option<EmailRow> = desk.read().row(desk.account, added.email)?;
    let Some(id) = row.and_then(|row| row.conversation) else { return Ok(()) };
    let began = desk.conversation(id)?.is_some_and(|row| {
        row.message_count == 1 && row.waiting_since == Some(arrival.at) && arrival.returned.is_none()
    });
    if !began {
        return Ok(());
    }
    let account = desk.account;
    let about = (text.as_str(), id);
    let sent = vacation::acknowledge(desk.txn, account, prepared, path, added, hostname, about)?;
    if let Some(submission) = sent {
        let before = ActivityValue::Submission(submission).into();
        desk.record(Some(id), &Entry::new(ActivityKind::AutomaticSent, before, Value::NONE))?;
    }
    Ok(())
}

/// Passes a message on to the members of a list, or a letter to its owner, or notes what came back from one of
/// them. It isn't durable yet: wait for the ticket.
async fn pass_on(
    server: &Arc<Server>,
    to: Destination,
    prepared: &Arc<Prepared>,
    content: &Arc<Vec<u8>>,
    envelope: &Arc<Envelope>,
) -> StoreResult<(Option<EmailId>, Ticket)> {
    server.store.check_space()?;
    let Destination { account, returned, recipient, .. } = to;
    let now = server.store.clock.now();
    let (known, content) = (Arc::clone(prepared), Arc::clone(content));
    let of = Arc::clone(envelope);
    let copy = server.blocking(move |server| {
        let view = server.directory.current();
        let trace = trace(server, &of, &recipient, now);
        let list = view.account(account).zip(view.list(account));
        match returned {
            Some(_) => lists::letter(&known, &content, &trace),
            None => list.map(|(row, terms)| lists::copy(row, terms, &known, &content, &trace)).transpose(),
        }
    });
    let copy = copy.await?;
    let locked = server.store.lock(&[account]).await;
    let (prepared, envelope) = (Arc::clone(prepared), Arc::clone(envelope));
    server
        .blocking(move |server| {
            let mut txn = server.store.begin(&locked);
            let mail_from = envelope.mail_from.as_ref();
            let arrival = Arrival { mail_from, prefix: &[], at: now, returned, tags: &[] };
            if let Some(email) = intake::seen(&txn as &dyn Read, account, &prepared, &arrival)? {
                return Ok((Some(email), server.store.ticket_of(account)));
            }
            // The members as they are now: who changes them holds this account, too.
            let view = server.directory.current();
            let gone = || StoreError::Corrupt(format!("account {account} is no list any more"));
            let (row, terms) = view.account(account).zip(view.list(account)).ok_or_else(gone)?;
            let named = match (returned, &copy) {
                (Some(SubmissionId(number)), None) => {
                    lists::came_back(&mut txn, account, terms, number, &prepared, &arrival)?
                }
                (_, Some(copy)) => lists::pass_on(&mut txn, account, row, terms, copy, &prepared, &arrival)?,
                (None, None) => return Err(gone()),
            };
            if returned.is_none() {
                receipts::queue(&mut txn, account, &view, &envelope, &prepared, &server.settings.hostname)?;
            }
            Ok((Some(named), txn.commit()?.ticket))
        })
        .await
}

/// The rules never refuse mail: a refusal here is a fault of ours, and the sender tries again.
fn store_error(error: DeskError) -> StoreError {
    match error {
        DeskError::Store(error) => error,
        DeskError::Refused(refusal) => StoreError::Corrupt(format!("a delivery was refused: {refusal}")),
    }
}

/// The trace header fields of RFC 5321 §4.4, but for the Return-Path of a final delivery.
fn trace(server: &Server, envelope: &Envelope, recipient: &Address, now: Millis) -> Vec<u8> {
    let peer = envelope.peer.map(|peer| match peer {
        std::net::IpAddr::V4(peer) => format!(" ([{peer}])"),
        std::net::IpAddr::V6(peer) => format!(" ([IPv6:{peer}])"),
    });
    format!(
        "Delivered-To: {recipient}\r\nReceived: from {helo}{peer}\r\n\tby {by} with {with}\r\n\tfor <{recipient}>; {date}\r\n",
        helo = envelope.helo,
        peer = peer.unwrap_or_default(),
        by = server.settings.hostname,
        with = envelope.with(),
        date = MailDate::utc(now).rfc5322(),
    )
    .into_bytes()
}
