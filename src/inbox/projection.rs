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
    let added: Vec<&Kept> =
        moved.after.difference(moved.before).filter_map(|&id| kept.meaning(id)).collect();
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
    if change.owner.is_some_and(|owner| owner != row.owner) && fresh(row.owner_set) {
        change.owner = None;
    }
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec!["mailboxIds"], why }
}
