//! The work as mailboxes: which kept mailboxes an Email of a conversation must be in, and what a
//! client's change of `mailboxIds` says.
//!
//! What a client adds speaks; what it removes doesn't. The one thing that a removal tells is on the
//! strength of what a lead took a conversation over: out of Assigned/⟨owner⟩ means "from that
//! owner", so that two leads who take at once don't both win.

use super::change::Change;
use super::machine::Expect;
use super::refusal::Refusal;
use super::status::Gone;
use crate::store::rows::mail::Kept;
use crate::store::rows::team::{ConversationRow, InboxSettingsRow, SetBy, Status};
use crate::types::limits::STALE_COPY_SECONDS_MAX;
use crate::types::{MailboxId, Millis, PrincipalId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The kept mailboxes of one inbox, both ways.
#[derive(Clone, Default, Debug)]
pub struct KeptMailboxes {
    by_id: BTreeMap<MailboxId, Kept>,
    by_kept: BTreeMap<Kept, MailboxId>,
}

impl FromIterator<(MailboxId, Kept)> for KeptMailboxes {
    fn from_iter<I: IntoIterator<Item = (MailboxId, Kept)>>(pairs: I) -> Self {
        let mut kept = Self::default();
        for (id, meaning) in pairs {
            kept.by_kept.insert(meaning.clone(), id);
            kept.by_id.insert(id, meaning);
        }
        kept
    }
}

impl KeptMailboxes {
    /// What the mailbox means; null for people's own folders.
    pub fn meaning(&self, id: MailboxId) -> Option<&Kept> {
        self.by_id.get(&id)
    }

    /// The mailbox of that meaning.
    pub fn id(&self, kept: &Kept) -> Option<MailboxId> {
        self.by_kept.get(kept).copied()
    }

    fn holds(&self, mailboxes: &BTreeSet<MailboxId>, wanted: impl Fn(&Kept) -> bool) -> bool {
        mailboxes.iter().filter_map(|&id| self.meaning(id)).any(wanted)
    }

    /// True where projection leaves the Email alone.
    pub fn is_apart(&self, mailboxes: &BTreeSet<MailboxId>) -> bool {
        self.holds(mailboxes, |kept| !kept.is_projected())
    }

    /// Where the Email is thrown away, if it is.
    pub fn gone(&self, mailboxes: &BTreeSet<MailboxId>) -> Option<Gone> {
        if self.holds(mailboxes, |kept| *kept == Kept::Junk) {
            Some(Gone::Spam)
        } else if self.holds(mailboxes, |kept| *kept == Kept::Trash) {
            Some(Gone::Deleted)
        } else {
            None
        }
    }
}

/// The kept mailboxes that a conversation's Emails belong in.
pub fn wanted(row: &ConversationRow, settings: &InboxSettingsRow) -> BTreeSet<Kept> {
    let mut wanted = BTreeSet::new();
    wanted.insert(match row.status {
        Status::Open => Kept::Inbox,
        Status::Pending => Kept::Pending,
        Status::Snoozed => Kept::Snoozed,
        Status::Closed => Kept::Archive,
    });
    if row.status == Status::Closed {
        if let Some(category) = row.category.as_ref().filter(|_| settings.require_category) {
            wanted.insert(Kept::ArchiveCategory(category.clone()));
        }
    } else {
        wanted.insert(row.owner.map_or(Kept::Unassigned, Kept::Assigned));
    }
    wanted
}

/// The mailboxes that an Email in `current` must be in: the kept ones of its conversation, and
/// people's own folders as they were. An Email apart (sent, draft, scheduled, memo, thrown away)
/// stays where it is. `Err` names a kept mailbox that has to be made first.
pub fn place(
    current: &BTreeSet<MailboxId>,
    row: &ConversationRow,
    settings: &InboxSettingsRow,
    kept: &KeptMailboxes,
) -> Result<BTreeSet<MailboxId>, Kept> {
    if kept.is_apart(current) {
        return Ok(current.clone());
    }
    let mut placed: BTreeSet<MailboxId> =
        current.iter().copied().filter(|&id| kept.meaning(id).is_none()).collect();
    for meaning in wanted(row, settings) {
        placed.insert(kept.id(&meaning).ok_or(meaning)?);
    }
    Ok(placed)
}

/// A client's change of one Email's `mailboxIds`.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    pub before: &'a BTreeSet<MailboxId>,
    pub after: &'a BTreeSet<MailboxId>,
    /// Paths were patched; otherwise the whole property was replaced, perhaps from a stale copy.
    pub is_patch: bool,
    /// `$draft` or `$memo` is set: never speaks.
    pub is_draft_or_memo: bool,
    pub by: PrincipalId,
    pub now: Millis,
}

/// What a move says, as a change to apply under the same rules as Conversation/set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    pub change: Change,
    pub expect: Expect,
}

/// Reads a move; null where it says nothing.
pub fn read_change(
    moved: Move<'_>,
    row: &ConversationRow,
    kept: &KeptMailboxes,
) -> Result<Option<Said>, Refusal> {
    // RFC 8621 §4.1.1: an Email is in at least one Mailbox.
    if moved.after.is_empty() {
        return Err(invalid("An Email must stay in at least one mailbox."));
    }
    let added: Vec<&Kept> = moved.after.difference(moved.before).filter_map(|&id| kept.meaning(id)).collect();
    if added.iter().any(|kept| !kept.may_add()) {
        return Err(Refusal::Forbidden("Messages can't be put into this mailbox by hand."));
    }
    let apart = |kept: &Kept| matches!(kept, Kept::Drafts | Kept::Sent | Kept::Scheduled | Kept::Memos);
    if moved.is_draft_or_memo || kept.holds(moved.before, apart) {
        return Ok(None);
    }
    let mut said = Said::default();
    for meaning in added {
        speak(&mut said.change, meaning)?;
    }
    if !moved.is_patch {
        drop_stale(&mut said.change, row, moved);
    }
    if said.change.owner.is_some()
        && let Some(owner) = row.owner
        && let Some(from) = kept.id(&Kept::Assigned(owner))
        && moved.before.contains(&from)
        && !moved.after.contains(&from)
    {
        said.expect.if_owner = Some(Some(owner));
    }
    Ok((!said.change.is_empty()).then_some(said))
}

/// What adding one mailbox says.
fn speak(change: &mut Change, added: &Kept) -> Result<(), Refusal> {
    let status = match added {
        Kept::Inbox => Some(Status::Open),
        Kept::Pending => Some(Status::Pending),
        Kept::Archive | Kept::ArchiveCategory(_) => Some(Status::Closed),
        _ => None,
    };
    if let Some(status) = status
        && change.status.replace(status).is_some_and(|said| said != status)
    {
        return Err(invalid("One change can't give a conversation two statuses."));
    }
    if let Kept::ArchiveCategory(category) = added
        && change.category.replace(Some(category.clone())).is_some()
    {
        return Err(invalid("One change can't give a conversation two categories."));
    }
    let owner = match added {
        Kept::Unassigned => Some(None),
        Kept::Assigned(principal) => Some(Some(*principal)),
        _ => None,
    };
    if let Some(owner) = owner
        && change.owner.replace(owner).is_some()
    {
        return Err(invalid("One change can't give a conversation two owners."));
    }
    Ok(())
}

/// A full replacement may come from a stale copy: what another member set within the last hour
/// stands against it.
fn drop_stale(change: &mut Change, row: &ConversationRow, moved: Move<'_>) {
    let fresh = |set: Option<SetBy>| {
        set.is_some_and(|set| {
            let stale = Duration::from_secs(STALE_COPY_SECONDS_MAX);
            set.principal.is_some_and(|principal| principal != moved.by) && moved.now <= set.at.after(stale)
        })
    };
    if change.status.is_some_and(|status| status != row.status) && fresh(row.status_set) {
        change.status = None;
        change.category = None;
    }
    if change.category.as_ref().is_some_and(|category| *category != row.category) && fresh(row.category_set) {
        change.category = None;
    }
    if change.owner.is_some_and(|owner| owner != row.owner) && fresh(row.owner_set) {
        change.owner = None;
    }
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec!["mailboxIds"], why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::messages::empty;

    const ANN: PrincipalId = PrincipalId(1);
    const BOB: PrincipalId = PrincipalId(2);
    const HOUR: i64 = 60 * 60 * 1000;
    const FOLDER: u32 = 99;

    fn kept() -> KeptMailboxes {
        let meanings = [
            Kept::Inbox,
            Kept::Pending,
            Kept::Snoozed,
            Kept::Archive,
            Kept::ArchiveCategory("billing".into()),
            Kept::ArchiveCategory("bug".into()),
            Kept::Unassigned,
            Kept::Assigned(ANN),
            Kept::Assigned(BOB),
            Kept::Sent,
            Kept::Drafts,
            Kept::Scheduled,
            Kept::Memos,
            Kept::Junk,
            Kept::Trash,
        ];
        meanings.into_iter().enumerate().map(|(n, kept)| (MailboxId(n as u32), kept)).collect()
    }

    fn ids(wanted: &[Kept]) -> BTreeSet<MailboxId> {
        wanted.iter().filter_map(|meaning| kept().id(meaning)).collect()
    }

    fn row(status: Status, owner: Option<PrincipalId>) -> ConversationRow {
        let set = Some(SetBy { principal: Some(BOB), at: Millis(0) });
        let category = Some("billing".to_owned());
        let row = empty(Millis(0), String::new(), None);
        ConversationRow { status, owner, category, status_set: set, owner_set: set, ..row }
    }

    fn read(before: &[Kept], after: &[Kept], is_patch: bool, now: i64) -> Result<Option<Said>, Refusal> {
        let (before, after) = (ids(before), ids(after));
        let is_draft_or_memo = false;
        let moved =
            Move { before: &before, after: &after, is_patch, is_draft_or_memo, by: ANN, now: Millis(now) };
        read_change(moved, &row(Status::Open, Some(BOB)), &kept())
    }

    fn said(change: Change) -> Result<Option<Said>, Refusal> {
        Ok(Some(Said { change, expect: Expect::default() }))
    }

    #[test]
    fn a_stale_copy_does_not_take_back_a_category_that_another_set() {
        let before = ids(&[Kept::Archive, Kept::ArchiveCategory("billing".into())]);
        let stale = ids(&[Kept::Archive, Kept::ArchiveCategory("bug".into())]);
        let set = Some(SetBy { principal: Some(BOB), at: Millis(0) });
        let status_set = Some(SetBy { principal: Some(BOB), at: Millis(-2 * HOUR) });
        let row = ConversationRow { category_set: set, status_set, ..row(Status::Closed, None) };
        let said = |is_patch, now| {
            let moved = Move {
                before: &before,
                after: &stale,
                is_patch,
                is_draft_or_memo: false,
                by: ANN,
                now: Millis(now),
            };
            read_change(moved, &row, &kept()).unwrap().and_then(|said| said.change.category)
        };
        assert_eq!(said(false, HOUR), None);
        assert_eq!(said(false, HOUR + 1), Some(Some("bug".to_owned())));
        assert_eq!(said(true, HOUR), Some(Some("bug".to_owned())), "a patch says what it means");
    }

    #[test]
    fn what_is_projected_and_read_back_says_nothing() {
        let settings = InboxSettingsRow { require_category: true, ..InboxSettingsRow::default() };
        for status in Status::ALL {
            for owner in [None, Some(ANN), Some(BOB)] {
                let row = row(status, owner);
                let start: BTreeSet<MailboxId> =
                    [MailboxId(FOLDER)].into_iter().chain(ids(&[Kept::Inbox, Kept::Assigned(ANN)])).collect();
                let placed = place(&start, &row, &settings, &kept()).unwrap();
                assert!(placed.contains(&MailboxId(FOLDER)));
                assert_eq!(place(&placed, &row, &settings, &kept()), Ok(placed.clone()));
                for is_patch in [false, true] {
                    let moved = Move {
                        before: &placed,
                        after: &placed,
                        is_patch,
                        is_draft_or_memo: false,
                        by: ANN,
                        now: Millis(0),
                    };
                    assert_eq!(read_change(moved, &row, &kept()), Ok(None));
                    let folder = [MailboxId(FOLDER)].into_iter().collect();
                    let removed = Move { after: &folder, ..moved };
                    assert_eq!(
                        read_change(removed, &row, &kept()),
                        Ok(None),
                        "what is removed doesn't speak"
                    );
                }
            }
        }
    }

    #[test]
    fn each_status_and_owner_has_its_mailboxes() {
        let required = InboxSettingsRow { require_category: true, ..InboxSettingsRow::default() };
        let free = InboxSettingsRow::default();
        let billing = Kept::ArchiveCategory("billing".into());
        let table = [
            (Status::Open, None, &free, vec![Kept::Inbox, Kept::Unassigned]),
            (Status::Pending, Some(ANN), &free, vec![Kept::Pending, Kept::Assigned(ANN)]),
            (Status::Snoozed, Some(BOB), &required, vec![Kept::Snoozed, Kept::Assigned(BOB)]),
            (Status::Closed, Some(BOB), &free, vec![Kept::Archive]),
            (Status::Closed, None, &required, vec![Kept::Archive, billing]),
        ];
        for (status, owner, settings, expected) in table {
            let placed = place(&ids(&[Kept::Inbox]), &row(status, owner), settings, &kept());
            assert_eq!(placed, Ok(ids(&expected)));
        }
        let stranger = Kept::Assigned(PrincipalId(7));
        assert_eq!(place(&ids(&[]), &row(Status::Open, Some(PrincipalId(7))), &free, &kept()), Err(stranger));
        for apart in [Kept::Sent, Kept::Drafts, Kept::Scheduled, Kept::Memos, Kept::Junk, Kept::Trash] {
            let current = ids(&[apart]);
            assert_eq!(place(&current, &row(Status::Closed, None), &free, &kept()), Ok(current));
        }
    }

    #[test]
    fn what_a_client_adds_speaks() {
        let here = [Kept::Snoozed, Kept::Unassigned];
        let status = |status| said(Change { status: Some(status), ..Change::default() });
        let owner = |owner| said(Change { owner: Some(owner), ..Change::default() });
        let category = Some(Some("bug".to_owned()));
        let in_category = said(Change { status: Some(Status::Closed), category, ..Change::default() });
        let table = [
            (vec![Kept::Inbox], status(Status::Open)),
            (vec![Kept::Pending], status(Status::Pending)),
            (vec![Kept::Archive], status(Status::Closed)),
            (vec![Kept::ArchiveCategory("bug".into())], in_category.clone()),
            (vec![Kept::Archive, Kept::ArchiveCategory("bug".into())], in_category),
            (vec![Kept::Assigned(ANN)], owner(Some(ANN))),
            (vec![Kept::Junk], Ok(None)),
            (vec![Kept::Trash], Ok(None)),
        ];
        for (added, expected) in table {
            assert_eq!(read(&here, &added, true, 0), expected, "{added:?}");
            let with_old: Vec<Kept> = here.iter().cloned().chain(added).collect();
            assert_eq!(read(&here, &with_old, true, 0), expected, "{with_old:?}");
        }
        assert_eq!(read(&[Kept::Junk], &[Kept::Unassigned], true, 0), owner(None));
        // Taking it out of Assigned/Bob says from whom.
        let expect = Expect { if_owner: Some(Some(BOB)), if_version: None };
        let change = Change { owner: Some(Some(ANN)), ..Change::default() };
        let taken = read(&[Kept::Inbox, Kept::Assigned(BOB)], &[Kept::Inbox, Kept::Assigned(ANN)], true, 0);
        assert_eq!(taken, Ok(Some(Said { change, expect })));
    }

    #[test]
    fn two_answers_in_one_change_and_hands_off_places_are_refused() {
        let categories = [Kept::ArchiveCategory("bug".into()), Kept::ArchiveCategory("billing".into())];
        for added in [
            vec![],
            vec![Kept::Inbox, Kept::Archive],
            vec![Kept::Pending, Kept::Inbox],
            vec![Kept::Unassigned, Kept::Assigned(ANN)],
            vec![Kept::Assigned(ANN), Kept::Assigned(BOB)],
            categories.to_vec(),
        ] {
            let refused = read(&[Kept::Trash], &added, true, 0);
            assert!(
                matches!(&refused, Err(Refusal::InvalidProperties { properties, .. }) if properties == &["mailboxIds"]),
                "{added:?}"
            );
        }
        for place in [Kept::Snoozed, Kept::Scheduled, Kept::Memos] {
            assert!(matches!(read(&[Kept::Inbox], &[place], true, 0), Err(Refusal::Forbidden(_))));
        }
    }

    #[test]
    fn sent_mail_drafts_and_memos_never_speak() {
        for from in [Kept::Sent, Kept::Drafts, Kept::Scheduled, Kept::Memos] {
            assert_eq!(read(&[from], &[Kept::Archive], true, 0), Ok(None));
        }
        let (before, after) = (ids(&[Kept::Inbox]), ids(&[Kept::Archive]));
        let (by, now) = (ANN, Millis(0));
        let moved = Move { before: &before, after: &after, is_patch: true, is_draft_or_memo: true, by, now };
        assert_eq!(read_change(moved, &row(Status::Open, None), &kept()), Ok(None));
    }

    #[test]
    fn a_full_replacement_cant_undo_what_another_set_within_the_hour() {
        let (before, after) = ([Kept::Inbox, Kept::Assigned(BOB)], [Kept::Archive, Kept::Unassigned]);
        let whole = Change { status: Some(Status::Closed), owner: Some(None), ..Change::default() };
        let expect = Expect { if_owner: Some(Some(BOB)), if_version: None };
        let whole = Ok(Some(Said { change: whole, expect }));
        assert_eq!(read(&before, &after, false, HOUR), Ok(None));
        assert_eq!(read(&before, &after, false, HOUR + 1), whole);
        assert_eq!(read(&before, &after, true, 0), whole, "a patch is no copy");
        let (before, after) = (ids(&before), ids(&after));
        let (is_patch, is_draft_or_memo) = (false, false);
        let own =
            Move { before: &before, after: &after, is_patch, is_draft_or_memo, by: BOB, now: Millis(1) };
        let result = read_change(own, &row(Status::Open, Some(BOB)), &kept());
        assert_eq!(result, whole, "one's own state may be undone");
    }
}
