//! Whose eyes an inbox is seen with: `$seen`, `$muted` and `$followed` of each member, and what
//! follows from them, kept in the transaction that changes an Email.
//!
//! Invariants: what is a member's own writes no row of anybody else's states; a mailbox's counts for
//! a member are its own counts less what is kept for them, whatever `sharedSeen` says at the moment;
//! whoever is no viewer has no marks, and sees what the Emails say for all.

use super::message::share_of;
use crate::store::changes::Change;
use crate::store::rows::account::AccountState;
use crate::store::rows::mail::*;
use crate::store::rows::viewer::*;
use crate::store::sets::{self, Bitmap, EmailSet};
use crate::store::{Read, Row, StoreResult, Txn, keys};
use crate::types::*;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// How one member sees the keywords of an inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eyes {
    shared_seen: bool,
    viewer: Option<Viewer>,
}

/// The eyes of a member; `None` where none is named, as in a person's own account.
pub fn eyes(read: &dyn Read, account: AccountId, member: Option<PrincipalId>) -> StoreResult<Option<Eyes>> {
    let Some(member) = member else { return Ok(None) };
    let row: ViewersRow = read.row(account, ())?.unwrap_or_default();
    let viewer = row.viewers.iter().find(|viewer| viewer.principal == member).copied();
    Ok(Some(Eyes { shared_seen: row.shared_seen, viewer }))
}

/// The eyes of a member who is about to mark something.
pub fn ensure(txn: &mut Txn<'_>, account: AccountId, member: PrincipalId) -> StoreResult<Eyes> {
    let mut row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let known = row.viewers.iter().find(|viewer| viewer.principal == member).copied();
    let viewer = match known {
        Some(viewer) => viewer,
        None => begin(txn, account, &mut row, member, EmailId(0))?,
    };
    Ok(Eyes { shared_seen: row.shared_seen, viewer: Some(viewer) })
}

/// Makes a new member of an inbox a viewer for whom all that is there is seen.
pub fn join(txn: &mut Txn<'_>, account: AccountId, member: PrincipalId) -> StoreResult<()> {
    leave(txn, account, member)?;
    let mut row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let state: AccountState = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    begin(txn, account, &mut row, member, EmailId(state.next.email))?;
    let counts = keys::all(account, keys::Kind::MailboxCounts);
    for (mailbox, counts) in (txn as &dyn Read).collect_rows::<MailboxCountsRow>(&counts)? {
        let less =
            ViewerCountsRow { emails: counts.unread_emails as i32, threads: counts.unread_threads as i32 };
        write_counts(txn, account, (member, MailboxId(mailbox)), less)?;
    }
    // Whatever they knew of an earlier membership is no ground to stand on.
    txn.log_own(account, member, DataType::Email, 0, Change::Reset)?;
    txn.log_own(account, member, DataType::Mailbox, 0, Change::Reset)
}

/// Takes away what is kept for a member who leaves. Their marks stay on the Emails and are nobody's.
pub fn leave(txn: &mut Txn<'_>, account: AccountId, member: PrincipalId) -> StoreResult<()> {
    let mut row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let Some(at) = row.viewers.iter().position(|viewer| viewer.principal == member) else { return Ok(()) };
    let gone = row.viewers.remove(at);
    for mark in Mark::ALL {
        sets::clear(txn, account, &EmailSet::Own(gone.number, mark))?;
    }
    let counts = keys::all_of(account, keys::Kind::ViewerCounts, member.0);
    for mailbox in (txn as &dyn Read).ids(&counts, false, usize::MAX)? {
        txn.delete_at(ViewerCountsRow::key(account, (member, MailboxId(mailbox))));
    }
    txn.put_at(ViewersRow::key(account, ()), &row)
}

/// Makes `$seen` one for all, or each member's own again. What was told of it holds no more.
pub fn share_seen(txn: &mut Txn<'_>, account: AccountId, shared: bool) -> StoreResult<()> {
    let row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    if row.shared_seen == shared {
        return Ok(());
    }
    txn.put_at(ViewersRow::key(account, ()), &ViewersRow { shared_seen: shared, ..row })?;
    txn.log(account, DataType::Email, 0, Change::Reset)?;
    txn.log(account, DataType::Mailbox, 0, Change::Reset)
}

fn begin(
    txn: &mut Txn<'_>,
    account: AccountId,
    row: &mut ViewersRow,
    principal: PrincipalId,
    floor: EmailId,
) -> StoreResult<Viewer> {
    row.last += 1;
    let viewer = Viewer { principal, number: row.last, floor };
    row.viewers.push(viewer);
    txn.put_at(ViewersRow::key(account, ()), row)?;
    Ok(viewer)
}

impl Eyes {
    /// The keywords of an Email as the member has them.
    pub fn keywords<'r>(&self, email: EmailId, row: &'r EmailRow) -> Vec<&'r str> {
        let mut out: Vec<&str> =
            row.keywords.iter().map(Keyword::as_str).filter(|one| !self.is_own(one)).collect();
        let marks = self.marks(row);
        let own = Mark::ALL.into_iter().filter(|mark| self.is_own(mark.keyword()));
        for mark in own.filter(|mark| self.has(*mark, marks, email, row)) {
            out.push(mark.keyword());
        }
        out
    }

    /// The row with these keywords in place of those that the member has.
    pub fn with_keywords(&self, email: EmailId, row: &EmailRow, wanted: &BTreeSet<Keyword>) -> EmailRow {
        // What is for all of a keyword that is each member's own stays as it was.
        let kept = row.keywords.iter().filter(|keyword| self.is_own(keyword.as_str()));
        let shared = wanted.iter().filter(|keyword| !self.is_own(keyword.as_str()));
        let keywords: BTreeSet<Keyword> = kept.chain(shared).cloned().collect();
        let mut after = EmailRow { keywords: keywords.into_iter().collect(), ..row.clone() };
        let Some(viewer) = self.viewer else { return after };
        let mut marks = self.marks(row);
        for mark in Mark::ALL.into_iter().filter(|mark| self.is_own(mark.keyword())) {
            let on = wanted.iter().any(|keyword| keyword.as_str() == mark.keyword());
            if self.has(mark, marks, email, row) != on {
                marks.set(mark, !marks.has(mark));
            }
        }
        after.own.retain(|own| own.viewer != viewer.number);
        if !marks.is_empty() {
            after.own.push(OwnMarks { viewer: viewer.number, marks });
            after.own.sort_by_key(|own| own.viewer);
        }
        after
    }

    fn is_own(&self, keyword: &str) -> bool {
        match Mark::of(keyword) {
            Some(Mark::Seen) => !self.shared_seen,
            Some(Mark::Muted | Mark::Followed) => true,
            None => false,
        }
    }

    fn marks(&self, row: &EmailRow) -> Marks {
        let own = self.viewer.and_then(|viewer| row.own.iter().find(|own| own.viewer == viewer.number));
        own.map_or(Marks::default(), |own| own.marks)
    }

    fn has(&self, mark: Mark, marks: Marks, email: EmailId, row: &EmailRow) -> bool {
        match mark {
            Mark::Seen => {
                let floor = self.viewer.is_some_and(|viewer| email <= viewer.floor);
                (floor || is_seen_for_all(row)) != marks.has(mark)
            }
            Mark::Muted | Mark::Followed => marks.has(mark),
        }
    }
}

fn is_seen_for_all(row: &EmailRow) -> bool {
    row.keywords.iter().any(|keyword| keyword.as_str() == Keyword::SEEN)
}

/// The Emails that have a keyword, for these eyes. Numbers of Emails that never were or are gone may
/// be among them.
pub fn with_keyword(
    read: &dyn Read,
    account: AccountId,
    eyes: Option<&Eyes>,
    keyword: &Keyword,
) -> StoreResult<Bitmap> {
    let for_all = || sets::load(read, account, &EmailSet::Keyword(keyword.clone()));
    let own = eyes.filter(|eyes| eyes.is_own(keyword.as_str()));
    let (Some(eyes), Some(mark)) = (own, Mark::of(keyword.as_str())) else { return for_all() };
    let marked = |viewer: Viewer| sets::load(read, account, &EmailSet::Own(viewer.number, mark));
    match (mark, eyes.viewer) {
        (Mark::Seen, None) => for_all(),
        (Mark::Seen, Some(viewer)) => {
            let mut seen = for_all()?;
            seen.insert_up_to(viewer.floor);
            seen.toggle(&marked(viewer)?);
            Ok(seen)
        }
        (Mark::Muted | Mark::Followed, Some(viewer)) => marked(viewer),
        (Mark::Muted | Mark::Followed, None) => Ok(Bitmap::default()),
    }
}

/// The counts of mailboxes as a member has them.
pub fn counts(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
    mailboxes: &[MailboxId],
) -> StoreResult<Vec<MailboxCountsRow>> {
    let all = read.rows::<MailboxCountsRow>(account, mailboxes.iter().copied())?;
    let all = all.into_iter().map(Option::unwrap_or_default);
    let own = eyes(read, account, member)?.filter(|eyes| !eyes.shared_seen).and_then(|eyes| eyes.viewer);
    let Some(viewer) = own else { return Ok(all.collect()) };
    let less = mailboxes.iter().map(|mailbox| (viewer.principal, *mailbox));
    let less = read.rows::<ViewerCountsRow>(account, less)?;
    let fewer = |count: u32, less: i32| u32::try_from(i64::from(count) - i64::from(less)).unwrap_or(0);
    Ok(all
        .zip(less)
        .map(|(counts, less)| {
            let less = less.unwrap_or_default();
            MailboxCountsRow {
                unread_emails: fewer(counts.unread_emails, less.emails),
                unread_threads: fewer(counts.unread_threads, less.threads),
                ..counts
            }
        })
        .collect())
}

/// The row as it is to be written: where an Email becomes seen for all, or unseen, nobody's own mark
/// stands against it.
pub fn settled<'r>(before: &EmailRow, after: &'r EmailRow) -> Cow<'r, EmailRow> {
    if after.own.is_empty() || is_seen_for_all(before) == is_seen_for_all(after) {
        return Cow::Borrowed(after);
    }
    let mut row = after.clone();
    row.own.iter_mut().for_each(|own| own.marks.set(Mark::Seen, false));
    row.own.retain(|own| !own.marks.is_empty());
    Cow::Owned(row)
}

/// What a Thread keeps of an Email's marks: nothing of a draft, which nobody has unread.
pub(super) fn flipped(email: EmailId, row: &EmailRow) -> impl Iterator<Item = (EmailId, u32)> + '_ {
    let is_draft = row.keywords.iter().any(|keyword| keyword.as_str() == Keyword::DRAFT);
    let flipped = row.own.iter().filter(move |own| !is_draft && own.marks.has(Mark::Seen));
    flipped.map(move |own| (email, own.viewer))
}

/// Brings the sets, and the logs of those concerned, from the marks of `before` to those of `after`.
/// Where the Email changed for all, that log has told it already.
pub(super) fn follow(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    (before, after): (&[OwnMarks], &[OwnMarks]),
    is_told: bool,
) -> StoreResult<()> {
    if before == after {
        return Ok(());
    }
    let row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let of = |own: &[OwnMarks], number: u32| {
        own.iter().find(|own| own.viewer == number).map_or(Marks::default(), |own| own.marks)
    };
    for viewer in &row.viewers {
        let (was, is) = (of(before, viewer.number), of(after, viewer.number));
        for mark in Mark::ALL.into_iter().filter(|mark| was.has(*mark) != is.has(*mark)) {
            sets::write(txn, account, &EmailSet::Own(viewer.number, mark), email, is.has(mark))?;
        }
        if was != is && !is_told {
            txn.log_own(account, viewer.principal, DataType::Email, email.0, Change::Updated)?;
        }
    }
    Ok(())
}

/// Brings the viewers' counts from what they were with a Thread to what they are. `told` are the
/// mailboxes whose counts have changed for all.
pub(super) fn count(
    txn: &mut Txn<'_>,
    account: AccountId,
    (old, new): (&ThreadRow, &ThreadRow),
    trash: Option<MailboxId>,
    told: &BTreeSet<MailboxId>,
) -> StoreResult<()> {
    let row: ViewersRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let concerned = |viewer: &&Viewer| sees_otherwise(old, viewer) || sees_otherwise(new, viewer);
    for viewer in row.viewers.iter().filter(concerned) {
        for mailbox in super::message::mailboxes_of(old, new) {
            let (was, is) = (less(old, mailbox, trash, viewer), less(new, mailbox, trash, viewer));
            if was == is {
                continue;
            }
            let id = (viewer.principal, mailbox);
            let known: ViewerCountsRow = (txn as &dyn Read).row(account, id)?.unwrap_or_default();
            let moved = ViewerCountsRow {
                emails: known.emails + is.emails - was.emails,
                threads: known.threads + is.threads - was.threads,
            };
            write_counts(txn, account, id, moved)?;
            if !told.contains(&mailbox) {
                txn.log_own(account, viewer.principal, DataType::Mailbox, mailbox.0, Change::Counted)?;
            }
        }
    }
    Ok(())
}

fn write_counts(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: (PrincipalId, MailboxId),
    row: ViewerCountsRow,
) -> StoreResult<()> {
    let key = ViewerCountsRow::key(account, id);
    if row == ViewerCountsRow::default() {
        txn.delete_at(key);
        return Ok(());
    }
    txn.put_at(key, &row)
}

/// Can a Thread have another number of unread Emails for the viewer than for all?
fn sees_otherwise(thread: &ThreadRow, viewer: &Viewer) -> bool {
    thread.flipped.iter().any(|(_, number)| *number == viewer.number)
        || thread.emails.iter().any(|entry| entry.unread && entry.email <= viewer.floor)
}

/// How many fewer a Thread has unread in a mailbox for the viewer.
pub fn less(
    thread: &ThreadRow,
    mailbox: MailboxId,
    trash: Option<MailboxId>,
    viewer: &Viewer,
) -> ViewerCountsRow {
    let unread = |entry: &ThreadEmail| {
        let flipped = thread.flipped.contains(&(entry.email, viewer.number));
        (entry.unread && entry.email > viewer.floor) != flipped
    };
    let for_all = share_of(thread, mailbox, trash, &|entry| entry.unread);
    let own = share_of(thread, mailbox, trash, &unread);
    ViewerCountsRow {
        emails: for_all.unread_emails as i32 - own.unread_emails as i32,
        threads: for_all.unread_threads as i32 - own.unread_threads as i32,
    }
}
