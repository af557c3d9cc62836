//! Every key, drawn. No other file makes or reads key octets; those of lists are made in `lists`.
//!
//! Numbers are big-endian, so that octet order is number order. Account 0 is the directory.
//!
//! ```text
//! rows      account:4 kind:1 …
//!   01 Account state            (account)                      modseq, next ids, state of each type
//!   02 Mailbox                  (account, mailbox:4)
//!   03 Mailbox counts           (account, mailbox:4)
//!   04 Email                    (account, email:4)             the list-view summary
//!   05 Message                  (account, email:4)             headers and structure
//!   06 Thread                   (account, thread:4)
//!   07 Message-id               (account, hash:8, email:4)     who has or references it
//!   08 Identity                 (account, identity:4)
//!   09 EmailSubmission          (account, submission:4)
//!   0a Conversation             (account, conversation:4)
//!   0b Conversation's Emails    (account, conversation:4, email:4)
//!   0c Note                     (account, note:4)
//!   0d Conversation's notes     (account, conversation:4, note:4)
//!   0e Reply lock               (account, lock:4)
//!   0f Conversation's lock      (account, conversation:4)
//!   10 Activity                 (account, activity:4)
//!   11 Conversation's activity  (account, conversation:4, activity:4)
//!   12 Inbox settings           (account, 0:4)
//!   13 Set of Emails            (account, hash of the set:8, docnum>>12:4)   a bitmap
//!   14 Delivery seen            (account, hash:16)             a gateway's retry is known by it
//!   15 Submission seen          (account, hash:16)             a repeated submission is known by it
//!   16 Plain refusal            (account, conversation:4, principal:4)
//!   17 Thread's conversation    (account, thread:4)
//!   18 Conversation's events    (account, conversation:4, version:8)   what the gate asks about
//!   19 Activity text            (account, activity:4)          salt and text, apart from the chain
//!   1a Mailboxes by role        (account)
//!   1b Head of the activity     (account)
//!   1c Merge                    (account, conversation:4)       what it gave, for an undo
//!   1d Mention                  (account, principal:4, note:4)
//!   1e Note with a past         (account, note:4)              it has earlier versions
//!   1f Memo                     (account, note:4)              the Email that shows it to plain clients
//!   20 Principal                (0, principal:4)
//!   21 Account                  (0, account:4)
//!   22 Address                  (0, address)                   → account
//!   23 Credential               (0, credential:4)
//!   24 Server secret            (0)
//!   25 Team                     (0, principal:4)
//!   28 Push subscription        (0, principal:4, subscription:4)
//!   29 Push creations           (0, principal:4)             how many lately
//!   30 Scheduled sending        (account, email:4, submission:4)   what its release needs to know
//!   31 Submission, detached     (account, submission:4)        on its way, and no object any more
//!   32 Member's Identity        (account, identity:4, principal:4) what it is for one member
//!   33 Vacation response        (account)
//!   34 Vacation answered        (account, hash:16)             who had an answer lately
//!   35 Usage                    (account)                      what quotas count
//!   36 Quota limits             (account)                      where they aren't the server's
//!   37 Submission's reports     (account, submission:4)        DSNs and MDNs that came for it
//!   38 Email's submissions      (account, email:4, submission:4)
//!   39 Upload                   (account, principal:4, number:4) that nothing may use yet
//!   50 Viewers                  (account)                      the members with marks of their own
//!   51 Viewer's states          (account, principal:4)
//!   52 Viewer's counts          (account, principal:4, mailbox:4)
//!   53 ShareNotification        (account, notification:4)
//!   60 Return path              (account, submission:4)        of a destroyed submission
//!   61 Queue mark               (account, submission:4)        until it is done
//!   62 Queue paused             (0)
//!   63 Evidence                 (account, email:4)             how a message came and why it is where it is
//!   64 Purge                    (account, conversation:4, version:8)   content that was erased there
//!   65 Own Message-ID           (account, hash:8, email:4)    of those under 07 the Emails that have it
//!   6a Bounces of a subscriber  (account, number:4)            of a distribution list
//!   70 Log marks                (account)                      when the log was where
//! rows      ffffffff kind:1 …   tables of the whole server
//!   40 Timer                    (due:8, account:4, kind:1, id:4)
//!   41 Relay queue              (due:8, account:4, submission:4)
//!   42 Format                   ()
//! lists     account:4 list:5 what:1 …
//!   00 entry                    (place:9)                      place = !seconds:5 !docnum:4
//!   01 rank node                (depth:1, prefix)
//! log       account:4 what:1 …
//!   type number                 (modseq:8)                     changes of the type
//!   80                          (list:5, modseq:8)             changes of the list
//!   81                          (principal:4, type:1, modseq:8) changes for one member alone
//! blobinfo  hash:32 what:1 …
//!   00 info                     ()
//!   01 reference                (account:4, kind:1, id:4)
//!   02 released                 ()                             when a reference was last taken away
//! blobs     hash:32             a format octet, then the content
//! ```

mod lists;
mod places;

pub use lists::*;
pub(super) use places::{above, below, digits, with_digits};

use super::engine::Cf;
use super::list::List;
use crate::types::*;

/// A key of one family.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    pub(super) cf: Cf,
    pub(super) bytes: Vec<u8>,
}

impl Key {
    /// Whether it has these octets.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes
    }
}

/// A half-open range of keys of one family.
#[derive(Clone, Debug)]
pub struct KeyRange {
    pub(super) cf: Cf,
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
}

const GLOBAL: u32 = u32::MAX;
const LIST_LOG: u8 = 0x80;
const OWN_LOG: u8 = 0x81;

/// The kinds of row, numbered as drawn above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    AccountState = 0x01,
    Mailbox = 0x02,
    MailboxCounts = 0x03,
    Email = 0x04,
    Message = 0x05,
    Thread = 0x06,
    MessageId = 0x07,
    OwnMessageId = 0x65,
    Identity = 0x08,
    Submission = 0x09,
    Conversation = 0x0a,
    ConversationEmail = 0x0b,
    Note = 0x0c,
    ConversationNote = 0x0d,
    Lock = 0x0e,
    ConversationLock = 0x0f,
    Activity = 0x10,
    ConversationActivity = 0x11,
    InboxSettings = 0x12,
    Set = 0x13,
    DeliverySeen = 0x14,
    SubmissionSeen = 0x15,
    PlainRefusal = 0x16,
    ThreadConversation = 0x17,
    ConversationEvent = 0x18,
    ActivityText = 0x19,
    MailboxRoles = 0x1a,
    ActivityHead = 0x1b,
    Merge = 0x1c,
    NoteMention = 0x1d,
    NoteEdited = 0x1e,
    Memo = 0x1f,
    Principal = 0x20,
    Account = 0x21,
    Address = 0x22,
    Credential = 0x23,
    Secret = 0x24,
    Team = 0x25,
    PushSubscription = 0x28,
    PushCreations = 0x29,
    ScheduledSend = 0x30,
    DetachedSubmission = 0x31,
    Upload = 0x39,
    IdentityOfMember = 0x32,
    Vacation = 0x33,
    VacationAnswered = 0x34,
    Usage = 0x35,
    QuotaLimits = 0x36,
    SubmissionReports = 0x37,
    SubmissionOfEmail = 0x38,
    Viewers = 0x50,
    ViewerState = 0x51,
    ViewerCounts = 0x52,
    ShareNotification = 0x53,
    ReturnPath = 0x60,
    QueueMark = 0x61,
    QueuePaused = 0x62,
    Evidence = 0x63,
    Purge = 0x64,
    ListBounce = 0x6a,
    LogMarks = 0x70,
    Timer = 0x40,
    Queue = 0x41,
    Format = 0x42,
}

/// Builds a row key piece by piece.
struct Build(Vec<u8>);

impl Build {
    fn row(account: u32, kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&account.to_be_bytes());
        bytes.push(kind as u8);
        Self(bytes)
    }

    fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn key(self, cf: Cf) -> Key {
        Key { cf, bytes: self.0 }
    }

    fn prefix(self, cf: Cf) -> KeyRange {
        let to = after_prefix(&self.0);
        KeyRange { cf, from: self.0, to }
    }
}

/// The first key after all that start with `prefix`.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut to = prefix.to_vec();
    while let Some(last) = to.pop() {
        if last < u8::MAX {
            to.push(last + 1);
            return to;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}

/// A row named by one number.
pub fn row(account: AccountId, kind: Kind, id: u32) -> Key {
    Build::row(account.0, kind).u32(id).key(Cf::Rows)
}

/// A row of which the account has one.
pub fn single(account: AccountId, kind: Kind) -> Key {
    Build::row(account.0, kind).key(Cf::Rows)
}

/// A row named by two numbers, in the order of the first.
pub fn pair(account: AccountId, kind: Kind, first: u32, second: u32) -> Key {
    Build::row(account.0, kind).u32(first).u32(second).key(Cf::Rows)
}

/// A row named by a number and a position in the account's log.
pub fn versioned(account: AccountId, kind: Kind, id: u32, version: u64) -> Key {
    Build::row(account.0, kind).u32(id).u64(version).key(Cf::Rows)
}

/// A row named by octets (a hash or an address).
pub fn named(account: AccountId, kind: Kind, name: &[u8]) -> Key {
    Build::row(account.0, kind).bytes(name).key(Cf::Rows)
}

/// A row named by a hash and a number.
pub fn hashed(account: AccountId, kind: Kind, hash: u64, id: u32) -> Key {
    Build::row(account.0, kind).u64(hash).u32(id).key(Cf::Rows)
}

/// All rows of a kind in an account.
pub fn all(account: AccountId, kind: Kind) -> KeyRange {
    Build::row(account.0, kind).prefix(Cf::Rows)
}

/// All rows of a kind with a number after this one.
pub fn rows_after(account: AccountId, kind: Kind, id: u32) -> KeyRange {
    let mut range = all(account, kind);
    range.from = Build::row(account.0, kind).u32(id).u8(0).0;
    range
}

/// All rows of a kind whose name starts with this number.
pub fn all_of(account: AccountId, kind: Kind, first: u32) -> KeyRange {
    Build::row(account.0, kind).u32(first).prefix(Cf::Rows)
}

/// All rows of a kind whose name starts with this hash.
pub fn all_hashed(account: AccountId, kind: Kind, hash: u64) -> KeyRange {
    Build::row(account.0, kind).u64(hash).prefix(Cf::Rows)
}

/// A key of [`hashed`] read back: the hash and the id.
pub fn read_hashed(key: &[u8]) -> Option<(u64, u32)> {
    let (rest, id) = key.split_last_chunk::<4>()?;
    let (_, hash) = rest.split_last_chunk::<8>()?;
    Some((u64::from_be_bytes(*hash), u32::from_be_bytes(*id)))
}

/// The versioned rows of `id` later than `after`.
pub fn versioned_after(account: AccountId, kind: Kind, id: u32, after: u64) -> KeyRange {
    let mut range = Build::row(account.0, kind).u32(id).prefix(Cf::Rows);
    range.from = Build::row(account.0, kind).u32(id).u64(after.saturating_add(1)).0;
    range
}

/// All rows of an account.
pub fn account_rows(account: AccountId) -> KeyRange {
    let from = account.0.to_be_bytes().to_vec();
    KeyRange { cf: Cf::Rows, to: after_prefix(&from), from }
}

/// A table of the whole server, ordered by when something is due.
pub fn due(kind: Kind, due: Millis, account: AccountId, sort: u8, id: u32) -> Key {
    Build::row(GLOBAL, kind).u64(order(due)).u32(account.0).u8(sort).u32(id).key(Cf::Rows)
}

/// What is due up to and including `until`.
pub fn due_until(kind: Kind, until: Millis) -> KeyRange {
    let mut range = Build::row(GLOBAL, kind).prefix(Cf::Rows);
    range.to = Build::row(GLOBAL, kind).u64(order(until).saturating_add(1)).0;
    range
}

/// What is due after `after`.
pub fn due_after(kind: Kind, after: Millis) -> KeyRange {
    let mut range = Build::row(GLOBAL, kind).prefix(Cf::Rows);
    range.from = Build::row(GLOBAL, kind).u64(order(after).saturating_add(1)).0;
    range
}

/// Whether the relay queue's worker looks anew when this key is put or deleted: something is due until then, or
/// the queue was paused or runs again. What is put off, or gone, it meets when it looks for another reason.
pub(super) fn wakes_queue(key: &[u8], is_put: bool, until: Millis) -> bool {
    let is = |account: u32, kind: Kind| key.starts_with(&Build::row(account, kind).0);
    match key.first() {
        Some(0xff) if is_put && is(GLOBAL, Kind::Queue) => read_due(key).is_some_and(|(at, ..)| at <= until),
        Some(0) => is(AccountId::DIRECTORY.0, Kind::QueuePaused),
        _ => false,
    }
}

/// The whole of such a table.
pub fn due_all(kind: Kind) -> KeyRange {
    Build::row(GLOBAL, kind).prefix(Cf::Rows)
}

/// Reads a key of [`due`] back: when, account, sort, id.
pub fn read_due(key: &[u8]) -> Option<(Millis, AccountId, u8, u32)> {
    let due = u64::from_be_bytes(key.get(5..13)?.try_into().ok()?);
    let account = read_u32(key, 13)?;
    let sort = *key.get(17)?;
    Some((Millis((due ^ (1 << 63)) as i64), AccountId(account), sort, read_u32(key, 18)?))
}

/// Milliseconds in an order that octets keep, negative ones too.
fn order(moment: Millis) -> u64 {
    (moment.0 as u64) ^ (1 << 63)
}

/// The row that names the format of the folder.
pub fn format() -> Key {
    Build::row(GLOBAL, Kind::Format).key(Cf::Rows)
}

/// The number that ends a row key: its own id.
pub fn last_id(key: &[u8]) -> Option<u32> {
    read_u32(key, key.len().checked_sub(4)?)
}

/// The version that ends a key of [`versioned`].
pub fn last_version(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(key.len().checked_sub(8)?..)?.try_into().ok()?))
}

/// The name that ends a key of [`named`].
pub fn last_name(key: &[u8]) -> &[u8] {
    key.get(5..).unwrap_or_default()
}

/// The first number behind the kind.
pub fn first_id(key: &[u8]) -> Option<u32> {
    read_u32(key, 5)
}

fn read_u32(key: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A chunk of a set of Emails.
pub fn set_chunk(account: AccountId, set: u64, chunk: u32) -> Key {
    Build::row(account.0, Kind::Set).u64(set).u32(chunk).key(Cf::Rows)
}

/// Reads a key of [`set_chunk`]: the set's code and the chunk.
pub fn read_set_chunk(key: &[u8]) -> Option<(u64, u32)> {
    Some((u64::from_be_bytes(key.get(5..13)?.try_into().ok()?), read_u32(key, 13)?))
}

/// The first number of a row's name.
pub(super) fn first_of_pair(key: &[u8]) -> Option<u32> {
    read_u32(key, 5)
}

/// The rows of an account from a kind's number on.
pub(super) fn rows_from(account: AccountId, code: u8) -> KeyRange {
    let mut range = account_rows(account);
    range.from.push(code);
    range
}

/// The number of the kind that a row key has.
pub fn kind_code(key: &[u8]) -> Option<u8> {
    key.get(4).copied()
}

/// The rows of all accounts from one on, tables of the whole server left out.
pub fn accounts_from(account: u32) -> KeyRange {
    KeyRange { cf: Cf::Rows, from: account.to_be_bytes().to_vec(), to: GLOBAL.to_be_bytes().to_vec() }
}

/// The account that a row key starts with.
pub fn account_of(key: &[u8]) -> Option<AccountId> {
    read_u32(key, 0).map(AccountId)
}

/// All chunks of a set.
pub fn set_chunks(account: AccountId, set: u64) -> KeyRange {
    Build::row(account.0, Kind::Set).u64(set).prefix(Cf::Rows)
}

// ── Change logs ────────────────────────────────────────────────────────────────────────────────

/// One entry of a type's change log.
pub fn change(account: AccountId, data_type: DataType, modseq: u64) -> Key {
    Build(account.0.to_be_bytes().to_vec()).u8(data_type as u8).u64(modseq).key(Cf::Log)
}

/// The entries of a type's change log after `since`.
pub fn changes_after(account: AccountId, data_type: DataType, since: u64) -> KeyRange {
    let mut range = Build(account.0.to_be_bytes().to_vec()).u8(data_type as u8).prefix(Cf::Log);
    range.from = change(account, data_type, since.saturating_add(1)).bytes;
    range
}

fn own_log(account: AccountId, member: PrincipalId, data_type: DataType) -> Build {
    Build(account.0.to_be_bytes().to_vec()).u8(OWN_LOG).u32(member.0).u8(data_type as u8)
}

/// One entry of the log of what changed for a member alone.
pub fn own_change(account: AccountId, member: PrincipalId, data_type: DataType, modseq: u64) -> Key {
    own_log(account, member, data_type).u64(modseq).key(Cf::Log)
}

/// The entries of that log after `since`.
pub fn own_changes_after(
    account: AccountId,
    member: PrincipalId,
    data_type: DataType,
    since: u64,
) -> KeyRange {
    let mut range = own_log(account, member, data_type).prefix(Cf::Log);
    range.from = own_change(account, member, data_type, since.saturating_add(1)).bytes;
    range
}

/// One entry of a list's log.
pub fn list_change(account: AccountId, list: List, modseq: u64) -> Key {
    let (sort, number) = list.code();
    Build(account.0.to_be_bytes().to_vec()).u8(LIST_LOG).u8(sort).u32(number).u64(modseq).key(Cf::Log)
}

/// The entries of a list's log after `since`.
pub fn list_changes_after(account: AccountId, list: List, since: u64) -> KeyRange {
    let (sort, number) = list.code();
    let mut range = Build(account.0.to_be_bytes().to_vec()).u8(LIST_LOG).u8(sort).u32(number).prefix(Cf::Log);
    range.from = list_change(account, list, since.saturating_add(1)).bytes;
    range
}

/// All logs of an account.
pub(super) fn account_logs(account: AccountId) -> KeyRange {
    Build(account.0.to_be_bytes().to_vec()).prefix(Cf::Log)
}

/// The entries up to a position of the log that has this key of [`account_logs`].
pub(super) fn log_up_to(key: &[u8], modseq: u64) -> KeyRange {
    let log = key.get(..key.len().saturating_sub(8)).unwrap_or_default().to_vec();
    KeyRange { cf: Cf::Log, from: log.clone(), to: Build(log).u64(modseq.saturating_add(1)).0 }
}

/// The logs of the account behind the one that has this key.
pub(super) fn logs_after(account: AccountId, key: &[u8]) -> KeyRange {
    let log = key.get(..key.len().saturating_sub(8)).unwrap_or_default();
    KeyRange { from: after_prefix(log), ..account_logs(account) }
}

/// The key of an entry that was met in a log.
pub(super) fn log_entry(key: &[u8]) -> Key {
    Key { cf: Cf::Log, bytes: key.to_vec() }
}

/// Whose log an entry is in.
pub enum LogOf {
    Type(DataType),
    Own(PrincipalId, DataType),
    List,
}

/// Reads a key of [`account_logs`]: whose log, and the position.
pub fn read_log(key: &[u8]) -> Option<(LogOf, u64)> {
    let data_type = |code: u8| DataType::ALL.into_iter().find(|data_type| *data_type as u8 == code);
    let of = match (*key.get(4)?, key.len()) {
        (LIST_LOG, 18) => List::from_code(*key.get(5)?, read_u32(key, 6)?).map(|_| LogOf::List)?,
        (OWN_LOG, 18) => LogOf::Own(PrincipalId(read_u32(key, 5)?), data_type(*key.get(9)?)?),
        (code, 13) => LogOf::Type(data_type(code)?),
        _ => return None,
    };
    Some((of, last_version(key)?))
}

// ── Blobs ──────────────────────────────────────────────────────────────────────────────────────

/// A blob's content.
pub fn blob(hash: &BlobHash) -> Key {
    Key { cf: Cf::Blobs, bytes: hash.0.to_vec() }
}

/// The content of all blobs.
pub(super) fn all_blobs() -> KeyRange {
    KeyRange { cf: Cf::Blobs, from: Vec::new(), to: vec![u8::MAX; 33] }
}

/// The hash that a key of [`blob`] is.
pub fn read_blob(key: &[u8]) -> Option<BlobHash> {
    Some(BlobHash(key.try_into().ok()?))
}

/// What is known of a blob.
pub fn blob_info(hash: &BlobHash) -> Key {
    Build(hash.0.to_vec()).u8(0).key(Cf::BlobInfo)
}

/// A reference to a blob.
pub fn blob_reference(hash: &BlobHash, account: AccountId, sort: u8, id: u32) -> Key {
    Build(hash.0.to_vec()).u8(1).u32(account.0).u8(sort).u32(id).key(Cf::BlobInfo)
}

/// An account's references to a blob.
pub fn blob_references_of(hash: &BlobHash, account: AccountId) -> KeyRange {
    Build(hash.0.to_vec()).u8(1).u32(account.0).prefix(Cf::BlobInfo)
}

/// When a reference to a blob was last taken away.
pub fn blob_released(hash: &BlobHash) -> Key {
    Build(hash.0.to_vec()).u8(2).key(Cf::BlobInfo)
}

/// Whether a key of [`all_blob_info`] is that of the info itself.
pub fn is_blob_info(key: &[u8]) -> bool {
    key.get(32) == Some(&0)
}

/// All references to a blob.
pub fn blob_references(hash: &BlobHash) -> KeyRange {
    Build(hash.0.to_vec()).u8(1).prefix(Cf::BlobInfo)
}

/// All that is known of all blobs.
pub fn all_blob_info() -> KeyRange {
    KeyRange { cf: Cf::BlobInfo, from: Vec::new(), to: vec![u8::MAX; 48] }
}

/// A reference as its key names it: account, sort, id.
pub type BlobReference = (AccountId, u8, u32);

/// Reads a key of [`all_blob_info`]: the hash, and for a reference its account, sort and id.
pub fn read_blob_info(key: &[u8]) -> Option<(BlobHash, Option<BlobReference>)> {
    let hash = BlobHash(key.get(..32)?.try_into().ok()?);
    match key.get(32)? {
        0 | 2 => Some((hash, None)),
        _ => Some((hash, Some((AccountId(read_u32(key, 33)?), *key.get(37)?, read_u32(key, 38)?)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::list::Place;
    use proptest::prelude::*;

    #[test]
    fn the_queue_s_worker_is_woken_by_what_is_due_and_by_a_resumed_queue_only() {
        let now = Millis(5000);
        let at = |due_at: i64| due(Kind::Queue, Millis(due_at), AccountId(7), 0, 3).bytes;
        let paused = single(AccountId::DIRECTORY, Kind::QueuePaused).bytes;
        assert!(wakes_queue(&at(5000), true, now) && wakes_queue(&at(0), true, now));
        assert!(wakes_queue(&paused, true, now) && wakes_queue(&paused, false, now));
        // A lease, a retry and what was canceled or relayed.
        assert!(!wakes_queue(&at(5001), true, now) && !wakes_queue(&at(5000), false, now));
        let timer = due(Kind::Timer, Millis(0), AccountId(7), 0, 3).bytes;
        assert!(!wakes_queue(&timer, true, now));
        assert!(!wakes_queue(&single(AccountId(7), Kind::QueuePaused).bytes, true, now));
    }

    proptest! {
        #[test]
        fn due_keys_sort_by_time_and_come_back(a: i64, b: i64, account: u32, sort: u8, id: u32) {
            let first = due(Kind::Timer, Millis(a), AccountId(account), sort, id);
            let second = due(Kind::Timer, Millis(b), AccountId(account), sort, id);
            prop_assert_eq!(first.bytes.cmp(&second.bytes), a.cmp(&b));
            prop_assert_eq!(read_due(&first.bytes), Some((Millis(a), AccountId(account), sort, id)));
        }

        #[test]
        fn places_sort_newest_first_and_come_back(a in -1i64 << 37..1 << 37, b in -1i64 << 37..1 << 37, x: u32, y: u32) {
            let one = list_entry(AccountId(1), List::AllEmails, Place { at: UtcDate(a), id: x });
            let two = list_entry(AccountId(1), List::AllEmails, Place { at: UtcDate(b), id: y });
            prop_assert_eq!(one.bytes.cmp(&two.bytes), (b, y).cmp(&(a, x)), "newest first");
            prop_assert_eq!(read_place(&one.bytes), Some(Place { at: UtcDate(a), id: x }));
        }

        #[test]
        fn a_prefix_range_holds_just_the_places_with_that_prefix(a: [u8; 9], b: [u8; 9], nibbles in 0usize..=18) {
            let range = list_entries_with(AccountId(1), List::AllEmails, &a, nibbles);
            let key = list_entry(AccountId(1), List::AllEmails, Place::from_bytes(b)).bytes;
            let nibble = |bytes: &[u8; 9], at: usize| if at.is_multiple_of(2) { bytes[at / 2] >> 4 } else { bytes[at / 2] & 15 };
            let same = (0..nibbles).all(|at| nibble(&a, at) == nibble(&b, at));
            prop_assert_eq!(range.from <= key && key < range.to, same);
        }
    }
}
