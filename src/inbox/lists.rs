//! Distribution lists: what is written to one goes to each of its members, through the queue of the relay, in
//! the transaction that takes it in: both or neither, once.
//!
//! Each member has a message of their own, with a return path that names list and member: what can't be
//! delivered comes back to the list, which notes it, and never to the author. A member here gets it through
//! the relay like anybody else.
//!
//! What else comes to such a return path: a letter by a person goes on to the list's owner, and is refused
//! where there is none; what a program answers, such as that somebody is away, is dropped on purpose.

use super::delivery::{self, Delivery};
use super::intake::{self, Arrival};
use crate::auth::View;
use crate::mail::automatic::{self, AutomaticReason};
use crate::mail::envelope::NotTaken;
use crate::mail::ingest::Prepared;
use crate::mail::list::{self, ListFields};
use crate::mail::params::Structured;
use crate::mail::reports::Word;
use crate::mail::{authentication, outbound};
use crate::store::blobs::{self, Referrer};
use crate::store::rows::directory::{AccountRow, ListBounceRow, ListTerms, Posting};
use crate::store::rows::submission::{Delivered, Recipient, RelayState, SubmissionRow, UndoStatus};
use crate::store::{PreparedBlob, Read, StoreError, StoreResult, Txn, keys, rows};
use crate::types::*;

/// Why a list doesn't take a message; `None`: it does.
pub fn refusal(
    view: &View,
    row: &AccountRow,
    terms: &ListTerms,
    prepared: &Prepared,
    null_path: bool,
) -> Option<Delivery> {
    if row.addresses.iter().any(|own| list::came_through(&prepared.message, own)) {
        return Some(delivery::circling());
    }
    let why = if !has_whole_header(prepared) {
        "a list takes no message with so long a header"
    } else if is_answer(prepared, null_path) {
        "a list takes no automatic answers and no reports"
    } else if prepared.trust.spam {
        "a list takes no spam"
    } else if !prepared.has_plain_lines {
        "a list takes no message whose header has a bare CR"
    } else if terms.subscribers.is_empty() {
        "the list has no members"
    } else if !may_write(view, terms, prepared) {
        "the list takes no mail from that sender"
    } else {
        return None;
    };
    Some(Delivery::Refused(why.into()))
}

/// RFC 3030 §3: the copies go by DATA, which would change such a message. Its author's client can encode it.
pub fn no_binary() -> Delivery {
    let why = "a list passes on no binary message: it has octets that DATA can't carry".to_owned();
    Delivery::Refused(NotTaken { code: 554, enhanced: "5.6.1", why })
}

/// Whether all of the message's own header was read: what stands beyond the limits may be what a list looks
/// for.
fn has_whole_header(prepared: &Prepared) -> bool {
    let message = &prepared.message;
    // What was kept raw has its header apart only where that was read whole.
    message.unparsed.is_none() || message.parts.first().is_some_and(|top| top.header_size > 0)
}

/// RFC 3834 §4: what answers or reports, in contrast to what a program has to say by itself.
fn is_answer(prepared: &Prepared, null_path: bool) -> bool {
    let replied = prepared
        .message
        .field("Auto-Submitted")
        .is_some_and(|field| Structured::parse(&field.value.0).value.eq_ignore_ascii_case("auto-replied"));
    let reason = automatic::is_automatic(&prepared.message, null_path);
    replied
        || matches!(
            reason,
            Some(
                AutomaticReason::DeliveryReport
                    | AutomaticReason::DispositionNotification
                    | AutomaticReason::NullReturnPath
            )
        )
}

/// Who writes is who stands in From, unless the gateway found that it isn't them.
fn may_write(view: &View, terms: &ListTerms, prepared: &Prepared) -> bool {
    let [author] = &prepared.summary.from[..] else { return terms.posting == Posting::Anyone };
    let Some(author) = Address::parse(&author.email) else { return terms.posting == Posting::Anyone };
    let failed = prepared.trust.authentication.as_ref().is_some_and(authentication::has_failed);
    let key = author.key();
    match terms.posting {
        Posting::Anyone => true,
        Posting::Nobody => false,
        Posting::Members => !failed && terms.subscribers.iter().any(|one| one.address.key() == key),
        Posting::Staff => {
            let person = view.principal_by_email(&key).and_then(|id| view.principal(id));
            let of_inbox = || view.account_by_address(&author).is_some_and(|id| !view.members(id).is_empty());
            !failed && (person.is_some_and(|person| !person.disabled) || of_inbox())
        }
    }
}

/// The message as it goes to the members, ready for the store.
pub fn copy(
    row: &AccountRow,
    terms: &ListTerms,
    prepared: &Prepared,
    content: &[u8],
    trace: &[u8],
) -> StoreResult<PreparedBlob> {
    let own = row.addresses.first().ok_or_else(|| StoreError::Corrupt("a list has no address".to_owned()))?;
    let fields = ListFields { name: &row.name, address: own, owner: terms.owner.as_ref() };
    let written = list::passed_on(content, &prepared.message, trace, fields);
    PreparedBlob::of(
        &written.map_err(|error| StoreError::Corrupt(format!("a list can't be named: {error}")))?,
    )
}

/// A letter that came to the return path of a copy, as it goes to the owner; `None` where it is none.
pub fn letter(prepared: &Prepared, content: &[u8], trace: &[u8]) -> StoreResult<Option<PreparedBlob>> {
    if Returned::of(prepared) != Returned::Letter {
        return Ok(None);
    }
    PreparedBlob::of(&[trace, content].concat()).map(Some)
}

/// Queues the copy for every member, or the letter for the owner. What it gives names the delivery in logs.
pub fn pass_on(
    txn: &mut Txn<'_>,
    account: AccountId,
    row: &AccountRow,
    terms: &ListTerms,
    copy: &PreparedBlob,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> StoreResult<EmailId> {
    txn.put_blob(copy)?;
    let mut first = None;
    let to: Vec<&Address> = match arrival.returned {
        Some(_) => terms.owner.iter().collect(),
        None => terms.subscribers.iter().map(|one| &one.address).collect(),
    };
    for address in to {
        let id = SubmissionId(txn.allot(account, |next| &mut next.submission)?);
        first = first.or(Some(EmailId(id.0)));
        blobs::refer(txn, account, &copy.hash, Referrer::Submission, id.0)?;
        let mut submission = submission(row, address.clone(), copy.hash, arrival.at);
        outbound::enqueue_detached(txn, account, id, &mut submission, arrival.at)?;
    }
    let first = first.unwrap_or(EmailId(0));
    intake::remember(txn, account, prepared, arrival, first)?;
    Ok(first)
}

fn submission(row: &AccountRow, to: Address, blob: BlobHash, at: Millis) -> SubmissionRow {
    SubmissionRow {
        identity: IdentityId(0),
        email: EmailId(0),
        thread: ThreadId(0),
        blob,
        mail_from: row.addresses.first().cloned(),
        mail_from_parameters: Vec::new(),
        recipients: vec![Recipient {
            address: to,
            parameters: Vec::new(),
            smtp_reply: None,
            delivered: Delivered::Queued,
            settled: false,
        }],
        send_at: at.date(),
        undo_status: UndoStatus::Final,
        author: PrincipalId(0),
        conversation: None,
        created_at: at,
        relay: RelayState::Queued { next: at },
        attempts: 0,
        idempotency_key: None,
    }
}

/// What the return path of a copy names in place of its submission, which is gone when a report comes: the
/// member, or nobody's number where the recipient is none (any more). `None` where the account is no list.
pub fn returns_to(view: &View, account: AccountId, recipient: &Address) -> Option<SubmissionId> {
    Some(SubmissionId(number_of(view.list(account)?, recipient).unwrap_or(NOBODY)))
}

/// Numbers of members begin with 1.
const NOBODY: u32 = 0;

fn number_of(terms: &ListTerms, address: &Address) -> Option<u32> {
    let key = address.key();
    Some(terms.subscribers.iter().find(|one| one.address.key() == key)?.number)
}

/// What came to the return path of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Returned {
    Report,
    /// What a program answers, and no report.
    Automatic,
    Letter,
}

impl Returned {
    fn of(prepared: &Prepared) -> Self {
        match (&prepared.report, &prepared.notice, prepared.automatic) {
            (None, None, true) => Self::Automatic,
            (None, None, false) => Self::Letter,
            _ => Self::Report,
        }
    }
}

/// Why the return path of a copy doesn't take a message; `None`: it does.
pub fn refusal_of_returned(terms: &ListTerms, prepared: &Prepared) -> Option<Delivery> {
    let why = match (Returned::of(prepared), &terms.owner) {
        (Returned::Letter, None) => "this address takes reports of delivery alone",
        (Returned::Letter, Some(_)) if prepared.trust.spam => "a list takes no spam",
        _ => return None,
    };
    Some(Delivery::Refused(NotTaken { code: 550, enhanced: "5.7.1", why: why.to_owned() }))
}

/// Notes what came back to the return path of a member, where it is a report.
pub fn came_back(
    txn: &mut Txn<'_>,
    account: AccountId,
    terms: &ListTerms,
    number: u32,
    prepared: &Prepared,
    arrival: &Arrival<'_>,
) -> StoreResult<EmailId> {
    if Returned::of(prepared) == Returned::Automatic {
        tracing::info!(%account, member = number, "an automatic answer to a list's copy is dropped");
        return Ok(EmailId(number));
    }
    let Some(member) = terms.subscribers.iter().find(|one| one.number == number) else {
        return Ok(EmailId(number));
    };
    let told = match (&prepared.report, &prepared.notice) {
        (Some(report), _) => report.recipients.clone(),
        (None, Some(notice)) => notice.of(&[&member.address]),
        (None, None) => Vec::new(),
    };
    if let Some(failed) = told.iter().find(|one| one.word == Word::Failed) {
        note(txn, account, number, Fate::Failed, &failed.reply)?;
    }
    intake::remember(txn, account, prepared, arrival, EmailId(number))?;
    Ok(EmailId(number))
}

/// What became of a member's copy that they may not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// They will never get it.
    Failed,
    /// Nobody knows, and nothing more is tried.
    Unsure,
}

/// Notes that a member can't be reached, or perhaps wasn't.
pub fn note(txn: &mut Txn<'_>, account: AccountId, number: u32, fate: Fate, reply: &str) -> StoreResult<()> {
    let before = bounces(txn, account, number)?;
    let (count, unsure) = before.map_or((0, 0), |row| (row.count, row.unsure));
    let end = reply.floor_char_boundary(limits::LIST_BOUNCE_REPLY_BYTES_MAX);
    let row = ListBounceRow {
        count: count.saturating_add(u32::from(fate == Fate::Failed)),
        last_at: txn.store().clock.now(),
        last_reply: reply.get(..end).unwrap_or_default().to_owned(),
        unsure: unsure.saturating_add(u32::from(fate == Fate::Unsure)),
    };
    txn.put_at(keys::row(account, keys::Kind::ListBounce, number), &row)
}

/// What came back from a member.
pub fn bounces(read: &dyn Read, account: AccountId, number: u32) -> StoreResult<Option<ListBounceRow>> {
    match read.bytes(&keys::row(account, keys::Kind::ListBounce, number))? {
        Some(bytes) => Ok(Some(rows::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Notes whom the relay refused for good, and of whom nobody knows whether it took their copy: with the copy's
/// row goes all else that tells of it. Nobody else is told: the author wrote to the list, not to them.
pub fn tell(
    txn: &mut Txn<'_>,
    view: &View,
    account: AccountId,
    finished: &outbound::Finished,
) -> StoreResult<()> {
    let failed = finished.failed.iter().map(|address| (Fate::Failed, address));
    let unsure = finished.unsure.iter().map(|address| (Fate::Unsure, address));
    for (fate, address) in failed.chain(unsure) {
        let reply = finished.row.iter().flat_map(|row| &row.recipients).find(|one| one.address == *address);
        let reply = reply.and_then(|one| one.smtp_reply.clone()).unwrap_or_default();
        match fate {
            Fate::Failed => {
                tracing::warn!(%account, %reply, "a member of a distribution list can't be reached");
            }
            Fate::Unsure => tracing::warn!(
                %account, %reply, "nobody knows whether a member of a distribution list was reached"
            ),
        }
        if let Some(number) = view.list(account).and_then(|terms| number_of(terms, address)) {
            note(txn, account, number, fate, &reply)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::admin::{AdminReply, AdminRequest};
    use crate::inbox::admin_list::{ListRequest, SubscriberLine};
    use crate::inbox::handover;
    use crate::inbox::support::{House, address, ask};
    use crate::mail::ingest;
    use crate::mail::outbound::{Handover, RelayReply, Verdict};
    use crate::store::rows::directory::{AccountKind, Subscriber};

    const ALL: &str = "all@x.example";

    /// The list all@, to which anybody may write, with one member.
    fn list(house: &House, owner: Option<&str>) -> AccountId {
        let (email, name, posting) = (ALL.to_owned(), "All".to_owned(), "anyone".to_owned());
        let (owner, members) = (owner.map(str::to_owned), vec!["guest@partner.example".to_owned()]);
        ask(&house.server, AdminRequest::List(ListRequest::Add { email, name, posting, owner, members }));
        house.server.directory.current().account_by_address(&address(ALL)).unwrap()
    }

    /// What `list show` says of the member.
    fn member(house: &House) -> SubscriberLine {
        match ask(&house.server, AdminRequest::List(ListRequest::Show { email: ALL.to_owned() })) {
            AdminReply::Lists { mut lists } => lists.remove(0).members.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_copy_of_which_nobody_knows_whether_it_arrived_is_noted_with_its_member() {
        let house = House::new();
        let account = list(&house, None);
        house.deliver(&[ALL], "news", "");
        let queued = outbound::all(&house.server.store.snapshot()).unwrap();
        let [due] = queued[..] else { panic!("{queued:?}") };
        assert_eq!(due.account, account);
        let text = "451 4.4.2 the connection was lost".to_owned();
        let replies = vec![RelayReply { verdict: Verdict::Unknown, text: text.clone() }];
        let lost = Handover { replies, dsn: true };
        for lost_before in [0, 1] {
            assert_eq!(member(&house).unsure, 0, "after {lost_before}");
            let finish = |txn: &mut Txn<'_>| {
                handover::finish(&house.server, txn, account, due.submission, &lost).unwrap();
            };
            house.write(account, finish);
        }
        assert_eq!(outbound::all(&house.server.store.snapshot()).unwrap(), []);
        let told = member(&house);
        assert_eq!((told.bounces, told.unsure, told.last_reply), (0, 1, Some(text)));
        assert!(told.last_bounce_at.is_some());
    }

    #[test]
    fn a_list_takes_no_message_whose_header_was_not_read_whole() {
        let house = House::new();
        let subscribers = vec![Subscriber { number: 1, address: address("ann@x.example"), since: Millis(0) }];
        let terms = ListTerms { posting: Posting::Anyone, owner: None, subscribers, last: 1 };
        let row = AccountRow {
            kind: AccountKind::List(terms.clone()),
            name: "All".to_owned(),
            addresses: vec![address("all@x.example")],
            created_at: Millis(0),
        };
        let refused = |fields: usize, part_fields: usize| {
            let text = format!(
                "From: m@c.example\r\nContent-Type: multipart/mixed; boundary=b\r\n{}\r\n--b\r\n{}\r\nx\r\n--b--\r\n",
                "A: b\r\n".repeat(fields - 2),
                "A: b\r\n".repeat(part_fields),
            );
            let prepared = ingest::prepare(text.as_bytes(), false).unwrap();
            refusal(&house.server.directory.current(), &row, &terms, &prepared, false)
        };
        let most = limits::HEADER_FIELDS_MAX;
        assert_eq!(refused(most, 1), None);
        assert_eq!(refused(2, most + 1), None, "its own header is whole");
        let why = "a list takes no message with so long a header";
        assert_eq!(refused(most + 1, 1), Some(Delivery::Refused(why.into())));
    }
}
