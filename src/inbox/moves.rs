//! What a client does to single Emails of an inbox, and what it means to the team.
//!
//! A change is applied as asked; what it says to the conversation, and the server's corrections of
//! the conversation's other Emails, follow in the same commit under a second modseq.

use super::change::Change;
use super::desk::{Desk, DeskError, DeskResult};
use super::machine::{Entry, Event, Value};
use super::projection::{self, KeptMailboxes, Move};
use super::refusal::Refusal;
use super::scheduling;
use crate::mail::{memo, message, viewer};
use crate::store::rows::mail::{EmailRow, EvidenceRow, Kept, Origin};
use crate::store::rows::team::{ActivityKind, ActivityValue};
use crate::store::{Row, StoreResult};
use crate::types::*;
use std::collections::BTreeSet;

/// Whether an Email is a draft: made here, and not sent.
pub fn is_draft(row: &EmailRow) -> bool {
    row.origin == Origin::Client && row.keywords.iter().any(|keyword| keyword.as_str() == Keyword::DRAFT)
}

/// Whether a draft is the actor's: its author's, or a lead's once its author has left.
pub(super) fn may_go_on_with(desk: &Desk<'_, '_>, draft: &EmailRow) -> bool {
    let is_there = |author| desk.staff.roster.can_own(author);
    draft.author == desk.actor.principal()
        || (!draft.author.is_some_and(is_there) && desk.actor.is_at_least(MemberRole::Lead))
}

/// Changes the mailboxes and keywords of an Email. `is_patch` says that single mailboxes were
/// named; otherwise the whole property was replaced, perhaps from a stale copy.
pub fn change(
    desk: &mut Desk<'_, '_>,
    email: EmailId,
    before: &EmailRow,
    after: &EmailRow,
    is_patch: bool,
) -> DeskResult<()> {
    let for_all = EmailRow { own: before.own.clone(), ..after.clone() };
    if for_all == *before {
        // What is a member's own needs no right but to read, and says nothing.
        return Ok(message::change(desk.txn, desk.account, email, before, after)?);
    }
    may_change(desk, email, before, after)?;
    if is_draft(before) && !is_draft(after) {
        remember_draft(desk, email)?;
    }
    let after: &EmailRow = &viewer::settled(before, after);
    // What waits to be sent is no draft, whatever a client makes of it: it is put right below.
    if let Some(id) = before.conversation.filter(|_| is_draft(before) != is_draft(after))
        && !scheduling::is_waiting(desk.read(), desk.account, email)?
    {
        desk.apply(id, &Event::DraftChanged { is_draft: is_draft(after) }, Vec::new())?;
    }
    let was: BTreeSet<MailboxId> = before.mailboxes.iter().copied().collect();
    let is: BTreeSet<MailboxId> = after.mailboxes.iter().copied().collect();
    let conversation = match before.conversation {
        Some(id) if was != is => desk.conversation(id)?.map(|row| (id, row)),
        _ => None,
    };
    let Some((id, row)) = conversation else {
        message::change(desk.txn, desk.account, email, before, after)?;
        return Ok(scheduling::keep(desk.txn, desk.account, email)?);
    };
    let kept = desk.kept()?;
    may_file(before, &was, &is, &kept)?;
    let by = desk.actor.principal().ok_or(Refusal::Forbidden("Only a person moves messages by hand."))?;
    let is_draft_or_memo =
        before.keywords.iter().any(|keyword| matches!(keyword.as_str(), Keyword::DRAFT | Keyword::MEMO));
    let moved = Move { before: &was, after: &is, is_patch, is_draft_or_memo, by, now: desk.now };
    let said = projection::read_change(moved, &row, &kept)?;
    message::change(desk.txn, desk.account, email, before, after)?;
    desk.txn.correct(desk.account)?;
    let gone = kept.gone(&is).filter(|_| kept.gone(&was).is_none());
    if gone.is_some() {
        leave_the_work(desk, email, after, &kept)?;
    }
    let came_in = matches!(before.origin, Origin::Inbound | Origin::Automatic);
    if came_in && kept.gone(&was).is_some() != kept.gone(&is).is_some() {
        let contents = desk.contents_in_sight(id)?;
        desk.apply(id, &Event::SightChanged { contents }, Vec::new())?;
    }
    if let Some(said) = said {
        let change = Change { by_move: Some(email), ..said.change };
        let event = Event::Set { change, expect: said.expect };
        desk.apply(id, &event, Vec::new()).map_err(in_words_of_email)?;
    }
    // Also where nothing new was said: the Email itself may not be where it belongs.
    desk.project(id)?;
    if let Some(gone) = gone
        && all_inbound_gone(desk, id)?
    {
        desk.apply(id, &Event::InboundGone(gone), Vec::new())?;
    }
    Ok(scheduling::keep(desk.txn, desk.account, email)?)
}

/// Sent and Drafts have what the inbox writes: mail that came in would be seen nowhere else there.
fn may_file(
    row: &EmailRow,
    was: &BTreeSet<MailboxId>,
    is: &BTreeSet<MailboxId>,
    kept: &KeptMailboxes,
) -> Result<(), Refusal> {
    let came_in = matches!(row.origin, Origin::Inbound | Origin::Automatic | Origin::Internal);
    let ours = |id: &MailboxId| matches!(kept.meaning(*id), Some(Kept::Sent | Kept::Drafts));
    if came_in && is.difference(was).any(ours) {
        let why = "Sent and Drafts keep what is written here; mail that came in can't be put there.";
        return Err(Refusal::InvalidProperties { properties: vec!["mailboxIds"], why });
    }
    Ok(())
}

/// What is thrown away is no work: it leaves the mailboxes that show a status or an owner, also
/// where the client took it out of one of them only.
fn leave_the_work(
    desk: &mut Desk<'_, '_>,
    email: EmailId,
    row: &EmailRow,
    kept: &KeptMailboxes,
) -> StoreResult<()> {
    let shows_work = |id: &MailboxId| kept.meaning(*id).is_some_and(Kept::is_projected);
    let mailboxes = row.mailboxes.iter().copied().filter(|id| !shows_work(id)).collect();
    message::change(desk.txn, desk.account, email, row, &EmailRow { mailboxes, ..row.clone() })
}

/// An Email has no owner or category of its own: what is wrong is where it was put.
fn in_words_of_email(error: DeskError) -> DeskError {
    match error {
        DeskError::Refused(Refusal::InvalidProperties { why, .. }) => {
            Refusal::InvalidProperties { properties: vec!["mailboxIds"], why }.into()
        }
        error => error,
    }
}

/// Destroys an Email: by an agent one's own draft, or by a lead what is in Trash or Junk only. A memo goes with its
/// note, which its author and a lead may destroy.
pub fn destroy(desk: &mut Desk<'_, '_>, email: EmailId, row: &EmailRow) -> DeskResult<()> {
    if row.origin == Origin::Memo
        && let Some(note) = desk.note_of_memo(email)?
    {
        return desk.destroy_note(note);
    }
    // Whoever wrote a draft may be an observer by now.
    desk.actor.must_be_agent()?;
    let own_draft = is_draft(row) && may_go_on_with(desk, row);
    if !own_draft {
        let kept = desk.kept()?;
        let thrown_away =
            row.mailboxes.iter().all(|id| matches!(kept.meaning(*id), Some(Kept::Trash | Kept::Junk)));
        if !desk.actor.is_at_least(MemberRole::Lead) || !(thrown_away || is_draft(row)) {
            return Err(Refusal::Forbidden(
                "Only one's own drafts can be destroyed; a lead may destroy what is in Trash or Junk only.",
            )
            .into());
        }
    }
    if let Some(id) = row.conversation {
        desk.leave(id, email);
        if !is_draft(row) {
            desk.apply(id, &Event::MessageDestroyed { email }, Vec::new())?;
        } else if !own_draft {
            let before = ActivityValue::Email(email).into();
            desk.record(Some(id), &Entry::new(ActivityKind::EmailDestroyed, before, Value::NONE))?;
        }
    }
    Ok(message::destroy(desk.txn, desk.account, email, row)?)
}

/// Remembers that a message was a draft: it may be one again.
fn remember_draft(desk: &mut Desk<'_, '_>, email: EmailId) -> StoreResult<()> {
    let known: Option<EvidenceRow> = desk.read().row(desk.account, email)?;
    let evidence = EvidenceRow { was_draft: true, ..known.unwrap_or_default() };
    desk.txn.put_at(EvidenceRow::key(desk.account, email), &evidence)
}

/// Whether `$draft` can be set: on what was a draft before. Old mail that was brought in would be its bringer's to
/// destroy.
fn may_be_draft(desk: &Desk<'_, '_>, email: EmailId) -> StoreResult<bool> {
    let known: Option<EvidenceRow> = desk.read().row(desk.account, email)?;
    // What waits to be sent was one; it is put right again at once.
    Ok(known.is_some_and(|known| known.was_draft)
        || scheduling::is_waiting(desk.read(), desk.account, email)?)
}

/// An observer sets `$seen` and nothing else, where it is one for all; a draft is its author's.
fn may_change(desk: &Desk<'_, '_>, email: EmailId, before: &EmailRow, after: &EmailRow) -> DeskResult<()> {
    let others = |row: &EmailRow| {
        let keywords = row.keywords.iter().filter(|keyword| keyword.as_str() != Keyword::SEEN);
        keywords.cloned().collect::<Vec<_>>()
    };
    let only_seen = before.mailboxes == after.mailboxes && others(before) == others(after);
    if !only_seen {
        desk.actor.must_be_agent()?;
    }
    if before.origin == Origin::Memo && !only_seen {
        let why =
            "A memo is a note of this inbox: it can be read and destroyed; a change of it is a new one.";
        return Err(Refusal::Forbidden(why).into());
    }
    if memo::is_memo(before.keywords.iter()) != memo::is_memo(after.keywords.iter()) {
        let why = "$memo is set when a memo is made, and stays.";
        return Err(Refusal::InvalidProperties { properties: vec!["keywords"], why }.into());
    }
    if !is_draft(before) && is_draft(after) && !may_be_draft(desk, email)? {
        let why = "A message that was brought without $draft is no draft; copy it to go on with it.";
        return Err(Refusal::InvalidProperties { properties: vec!["keywords"], why }.into());
    }
    if is_draft(before) && !may_go_on_with(desk, before) {
        let why = "Only its author may change a draft; copy it to go on with it.";
        return Err(Refusal::Forbidden(why).into());
    }
    Ok(())
}

/// Whether no message from outside is left outside Junk and Trash.
fn all_inbound_gone(desk: &Desk<'_, '_>, id: ConversationId) -> StoreResult<bool> {
    let kept = desk.kept()?;
    let mut any = false;
    for (email, _) in desk.emails(id)? {
        let Some(row) = desk.read().row::<EmailRow>(desk.account, email)? else { continue };
        if matches!(row.origin, Origin::Inbound | Origin::Automatic) {
            any = true;
            let mailboxes: BTreeSet<MailboxId> = row.mailboxes.iter().copied().collect();
            if kept.gone(&mailboxes).is_none() {
                return Ok(false);
            }
        }
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::machine::Expect;
    use crate::inbox::support::{House, written};
    use crate::mail::mailbox;
    use crate::store::rows::team::Status;

    fn destroy_as(house: &House, role: MemberRole, email: EmailId) -> DeskResult<()> {
        let row = house.email_row(email);
        house.at_desk(house.bob, role, |desk| Ok(destroy(desk, email, &row)))
    }

    /// Bob sets or takes away `$draft`.
    fn set_draft(house: &House, email: EmailId, is_draft: bool) -> DeskResult<()> {
        let before = house.email_row(email);
        let mut keywords: BTreeSet<Keyword> = before.keywords.iter().cloned().collect();
        keywords.retain(|keyword| keyword.as_str() != Keyword::DRAFT);
        keywords.extend(Keyword::parse(Keyword::DRAFT).filter(|_| is_draft));
        let after = EmailRow { keywords: keywords.into_iter().collect(), ..before.clone() };
        house.at_desk(house.bob, MemberRole::Agent, |desk| Ok(change(desk, email, &before, &after, true)))
    }

    #[test]
    fn whoever_is_an_observer_by_now_destroys_none_of_their_drafts() {
        let house = House::new();
        let draft = house.draft(&written("draft", ""));
        let refused = destroy_as(&house, MemberRole::Observer, draft);
        assert!(matches!(refused, Err(DeskError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
        assert!(is_draft(&house.email_row(draft)));
        destroy_as(&house, MemberRole::Agent, draft).unwrap();
    }

    #[test]
    fn old_mail_that_was_brought_in_is_no_draft_and_cannot_be_made_one_to_destroy_it() {
        let house = House::new();
        let old = house.bring(&written("old", ""), MailboxRole::Archive, &[Keyword::SEEN]);
        let refused = set_draft(&house, old, true);
        let Err(DeskError::Refused(Refusal::InvalidProperties { properties, .. })) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(properties, ["keywords"]);
        assert!(destroy_as(&house, MemberRole::Agent, old).is_err());
    }

    #[test]
    fn a_draft_that_lost_its_keyword_may_be_one_again() {
        let house = House::new();
        let draft = house.draft(&written("draft", ""));
        for is in [false, true, false, true] {
            set_draft(&house, draft, is).unwrap();
            assert_eq!(is_draft(&house.email_row(draft)), is);
        }
    }

    #[test]
    fn at_the_end_of_a_snooze_the_newest_message_that_nobody_threw_away_is_new() {
        let house = House::new();
        let to = ["support@x.example"];
        house.deliver(&to, "one", "");
        house.deliver(&to, "two", "References: <one@c.example>\r\n");
        let (one, two) = (house.email("one@c.example"), house.email("two@c.example"));
        let (id, _) = house.conversation_of(one);
        let set = |house: &House, change: Change| {
            house.at_desk(house.bob, MemberRole::Lead, |desk| {
                desk.apply(id, &Event::Set { change, expect: Expect::default() }, Vec::new())
            });
        };
        let hour = std::time::Duration::from_secs(3600);
        let until = house.server.store.clock.now().after(hour);
        set(
            &house,
            Change { status: Some(Status::Snoozed), snoozed_until: Some(Some(until)), ..Change::default() },
        );
        let before = house.email_row(two);
        house.at_desk(house.bob, MemberRole::Lead, |desk| {
            let trash = mailbox::roles(desk.read(), desk.account)?.with_role(MailboxRole::Trash).unwrap();
            let after = EmailRow { mailboxes: vec![trash], ..before.clone() };
            change(desk, two, &before, &after, false)
        });
        house.server.store.clock.advance(hour);
        house.at_desk(house.bob, MemberRole::Lead, |desk| desk.apply(id, &Event::SnoozeReached, Vec::new()));
        assert_eq!(house.conversation_of(one).1.status, Status::Open);
        let is_new = |email| house.email_row(email).keywords.iter().any(|one| one.as_str() == Keyword::NEW);
        assert_eq!((is_new(one), is_new(two)), (true, false));
    }
}
