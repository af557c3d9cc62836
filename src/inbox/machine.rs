//! The one state machine of a conversation: `(conversation, event, context) → (conversation',
//! effects)`. Pure; the table is in spec/status.md.
//!
//! Invariants, kept whatever the events (`rule_tests.rs`): closed ⇔ `closed_at`; snoozed ⇔
//! `snoozed_until`; `waiting_since` is null while closed; an event is applied as a whole or
//! refused; `version` becomes the context's modseq exactly when the event changed something that
//! it counts. The subjects have files of their own: `status`, `ownership`, `change`, `messages`,
//! `merge`.
//!
//! Absent on purpose: which conversation a message belongs to (threading), who may see an inbox
//! (auth), and writing anything.

use super::{change, erase, merge, messages, ownership, status};
use crate::inbox::refusal::Refusal;
use crate::store::rows::team::{
    ActivityKind, ActivityValue, Cause, ConversationRow, Explain, InboxSettingsRow, Reason, SetBy, Sibling,
};
use crate::types::{
    AccountId, ConversationId, EmailId, MemberRole, Millis, NoteId, PrincipalId, SubmissionId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who makes an event happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    Member {
        principal: PrincipalId,
        role: MemberRole,
    },
    /// A rule, a timer or mail: has every right.
    System(Cause),
}

impl Actor {
    /// The member, or null.
    pub fn principal(self) -> Option<PrincipalId> {
        match self {
            Actor::Member { principal, .. } => Some(principal),
            Actor::System(_) => None,
        }
    }

    /// Why it happens.
    pub fn cause(self) -> Cause {
        match self {
            Actor::Member { .. } => Cause::User,
            Actor::System(cause) => cause,
        }
    }

    /// True where the role suffices.
    pub fn is_at_least(self, wanted: MemberRole) -> bool {
        match self {
            Actor::Member { role, .. } => role >= wanted,
            Actor::System(_) => true,
        }
    }

    /// Refuses whoever may not work conversations.
    pub fn must_be_agent(self) -> Result<(), Refusal> {
        if self.is_at_least(MemberRole::Agent) {
            return Ok(());
        }
        Err(Refusal::Forbidden("An observer may read and write notes; this needs an agent."))
    }
}

/// The inbox's active members, and the teams that a conversation may be given to.
#[derive(Clone, Default, Debug)]
pub struct Roster {
    pub members: BTreeMap<PrincipalId, MemberRole>,
    pub teams: BTreeSet<PrincipalId>,
}

impl Roster {
    /// True where the principal may own a conversation: an active member who may work it.
    pub fn can_own(&self, principal: PrincipalId) -> bool {
        self.members.get(&principal).is_some_and(|&role| role >= MemberRole::Agent)
    }
}

/// What an event is applied under.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub settings: &'a InboxSettingsRow,
    pub roster: &'a Roster,
    pub actor: Actor,
    pub now: Millis,
    /// The modseq that the change will be written under; the version where one is due.
    pub modseq: u64,
}

/// What a change was made on the strength of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expect {
    pub if_version: Option<u64>,
    /// The expected owner; the inner null expects nobody.
    pub if_owner: Option<Option<PrincipalId>>,
}

/// Everything that can happen to a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Inbound(messages::Inbound),
    /// A DSN with our valid keyed return path, or a permanent failure at the relay.
    DeliveryFailed(messages::DeliveryFailed),
    Outbound(messages::Outbound),
    /// A submission waits for its time: noted, nothing moves.
    SendScheduled {
        email: EmailId,
        submission: SubmissionId,
        /// It was no draft, so that it was counted as a message; while it waits it is none.
        counted: bool,
    },
    /// Its author took it back.
    SendCanceled {
        email: EmailId,
        submission: SubmissionId,
        /// It went out by another submission, so that it is a message again.
        is_sent: bool,
    },
    /// Its release was refused by rights or gate.
    SendHeld {
        email: EmailId,
        submission: SubmissionId,
        is_sent: bool,
    },
    /// Mail from a member's own address.
    Internal {
        email: EmailId,
    },
    /// Email/import or Email/copy: never inbound.
    Imported {
        email: EmailId,
    },
    /// A client took `$draft` from a message that it made, or gave it back: drafts aren't counted.
    DraftChanged {
        is_draft: bool,
    },
    /// A member destroyed a message (no draft).
    MessageDestroyed {
        email: EmailId,
    },
    NoteCreated {
        note: NoteId,
        mentions: Vec<PrincipalId>,
    },
    NoteUpdated {
        note: NoteId,
        author: PrincipalId,
        mentions: Vec<PrincipalId>,
    },
    NoteDestroyed {
        note: NoteId,
        author: PrincipalId,
    },
    /// The time of `snoozed_until` came.
    SnoozeReached,
    /// A member (or a rule) sets properties, all or nothing.
    Set {
        change: change::Change,
        expect: Expect,
    },
    LockTakenOver {
        from: PrincipalId,
    },
    MemberLeft {
        principal: PrincipalId,
    },
    /// No inbound Email remains outside Junk and Trash.
    InboundGone(status::Gone),
    /// A member put an inbound Email into Junk or Trash, or took one out: what the messages in sight add up to then.
    SightChanged {
        contents: merge::Contents,
    },
    /// A reply went out in another inbox that got the same message.
    SiblingReplied {
        account: AccountId,
    },
    /// The conversations in other inboxes that share an inbound Message-ID.
    SiblingsFound(Vec<Sibling>),
    MergedInto {
        target: ConversationId,
    },
    TookIn {
        source: ConversationId,
        from: Box<ConversationRow>,
    },
    /// On the target of a merge that is undone: what remains.
    GaveBack {
        source: ConversationId,
        contents: merge::Contents,
    },
    /// On the source of a merge that is undone: what it has again.
    MergeUndone {
        contents: merge::Contents,
    },
    /// Messages left for a conversation of their own: what remains.
    SplitOff {
        new: ConversationId,
        contents: merge::Contents,
    },
    /// Its messages, its notes and every word about it were destroyed.
    Erased,
}

/// What follows from an event, besides the new row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Append to the history.
    Activity(Entry),
    /// The kept mailboxes of the conversation's Emails may have to change.
    Project,
    /// End the conversation's live lock, or only that principal's.
    EndLock {
        of: Option<PrincipalId>,
    },
    SetTimer(Millis),
    ClearTimer,
    /// Set `$new` on the newest inbound Email.
    MarkNew,
    /// The message came too late to reopen: begin a conversation with this one as `previousId`.
    /// The conversation itself stays as it was.
    BeginNew,
}

/// An activity before its texts are salted and it is chained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub kind: ActivityKind,
    pub before: Value,
    pub after: Value,
    pub explain: Option<Explain>,
}

impl Entry {
    /// What nothing else explains.
    pub fn new(kind: ActivityKind, before: Value, after: Value) -> Self {
        Self { kind, before, after, explain: None }
    }
}

/// A value of an [`Entry`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Plain(ActivityValue),
    Text(String),
}

impl Value {
    pub const NONE: Value = Value::Plain(ActivityValue::None);

    /// A principal or null.
    pub fn principal(principal: Option<PrincipalId>) -> Self {
        Value::Plain(principal.map_or(ActivityValue::None, ActivityValue::Principal))
    }

    /// A text or null.
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Value::NONE, |text| Value::Text(text.to_owned()))
    }

    /// A moment or null.
    pub fn moment(moment: Option<Millis>) -> Self {
        Value::Plain(moment.map_or(ActivityValue::None, ActivityValue::Moment))
    }
}

impl From<ActivityValue> for Value {
    fn from(value: ActivityValue) -> Self {
        Value::Plain(value)
    }
}

/// What an event made of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    pub conversation: ConversationRow,
    pub effects: Vec<Effect>,
}

/// Applies one event. The conversation is unchanged where it is refused.
pub fn apply(
    conversation: &ConversationRow,
    event: &Event,
    context: Context<'_>,
) -> Result<Applied, Refusal> {
    let survives_merge = matches!(
        event,
        Event::MergeUndone { .. }
            | Event::MemberLeft { .. }
            | Event::NoteDestroyed { .. }
            | Event::SnoozeReached
            | Event::Erased
    );
    if let Some(into) = conversation.merged_into
        && !survives_merge
    {
        return Err(Refusal::Merged { into });
    }
    let mut draft = Draft::new(conversation.clone(), context);
    match event {
        Event::Inbound(inbound) => messages::inbound(&mut draft, inbound),
        Event::DeliveryFailed(failed) => messages::delivery_failed(&mut draft, failed),
        Event::Outbound(outbound) => messages::outbound(&mut draft, outbound)?,
        Event::SendScheduled { email, submission, counted } => {
            draft.actor().must_be_agent()?;
            draft.row.message_count = draft.row.message_count.saturating_sub(u32::from(*counted));
            draft.message(ActivityKind::SendScheduled, *email, ActivityValue::Submission(*submission));
        }
        Event::SendCanceled { email, submission, is_sent } => {
            draft.row.message_count = draft.row.message_count.saturating_add(u32::from(*is_sent));
            draft.message(ActivityKind::SendCanceled, *email, ActivityValue::Submission(*submission));
        }
        Event::SendHeld { email, submission, is_sent } => {
            messages::send_held(&mut draft, *email, *submission, *is_sent);
        }
        Event::Internal { email } => messages::internal(&mut draft, *email),
        Event::Imported { email } => messages::imported(&mut draft, *email),
        Event::DraftChanged { is_draft } => messages::draft_changed(&mut draft, *is_draft),
        Event::MessageDestroyed { email } => messages::destroyed(&mut draft, *email),
        Event::NoteCreated { note, mentions } => note_created(&mut draft, *note, mentions)?,
        Event::NoteUpdated { note, author, mentions } => note_updated(&mut draft, *note, *author, mentions)?,
        Event::NoteDestroyed { note, author } => note_destroyed(&mut draft, *note, *author)?,
        Event::SnoozeReached => status::snooze_reached(&mut draft),
        Event::Set { change, expect } => change::set(&mut draft, change, *expect)?,
        Event::LockTakenOver { from } => {
            let after = Value::principal(draft.actor().principal());
            draft.log(ActivityKind::LockTakenOver, ActivityValue::Principal(*from).into(), after);
        }
        Event::MemberLeft { principal } => ownership::member_left(&mut draft, *principal),
        Event::InboundGone(how) => status::inbound_gone(&mut draft, *how)?,
        Event::SightChanged { contents } => messages::sight_changed(&mut draft, contents),
        Event::SiblingReplied { account } => sibling_replied(&mut draft, *account),
        Event::SiblingsFound(siblings) => siblings_found(&mut draft, siblings),
        Event::MergedInto { target } => merge::merged_into(&mut draft, *target)?,
        Event::TookIn { source, from } => merge::took_in(&mut draft, *source, from)?,
        Event::GaveBack { source, contents } => merge::gave_back(&mut draft, *source, contents)?,
        Event::MergeUndone { contents } => merge::merge_undone(&mut draft, contents)?,
        Event::SplitOff { new, contents } => merge::split_off(&mut draft, *new, contents)?,
        Event::Erased => erase::erased(&mut draft),
    }
    Ok(draft.finish(conversation))
}

/// A conversation while an event is being applied.
pub(super) struct Draft<'a> {
    pub(super) row: ConversationRow,
    pub(super) context: Context<'a>,
    pub(super) effects: Vec<Effect>,
    /// What explains the activities that follow.
    explain: Option<Explain>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(row: ConversationRow, context: Context<'a>) -> Self {
        Self { row, context, effects: Vec::new(), explain: None }
    }

    /// Says what explains all that follows.
    pub(super) fn because(&mut self, reason: Reason, of: ActivityValue) {
        self.explain = Some(Explain { reason, of });
    }

    /// Says what explains the activities of one step.
    pub(super) fn while_because<T>(
        &mut self,
        reason: Reason,
        of: ActivityValue,
        step: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let outer = self.explain.replace(Explain { reason, of });
        let result = step(self);
        self.explain = outer;
        result
    }

    pub(super) fn actor(&self) -> Actor {
        self.context.actor
    }

    /// Who sets a state, for the rule about stale copies.
    pub(super) fn set_by(&self) -> Option<SetBy> {
        Some(SetBy { principal: self.context.actor.principal(), at: self.context.now })
    }

    pub(super) fn log(&mut self, kind: ActivityKind, before: Value, after: Value) {
        self.row.last_activity_at = self.row.last_activity_at.max(self.context.now);
        self.effects.push(Effect::Activity(Entry { kind, before, after, explain: self.explain }));
    }

    /// A message that came or went: it counts for the version and needs its kept mailboxes.
    pub(super) fn message(&mut self, kind: ActivityKind, email: EmailId, of: ActivityValue) {
        self.log(kind, of.into(), ActivityValue::Email(email).into());
        self.bump();
        self.project();
    }

    pub(super) fn bump(&mut self) {
        self.row.version = self.row.version.max(self.context.modseq);
    }

    pub(super) fn project(&mut self) {
        if !self.effects.contains(&Effect::Project) {
            self.effects.push(Effect::Project);
        }
    }

    /// The effects that follow from what changed, whoever changed it.
    pub(super) fn finish(mut self, before: &ConversationRow) -> Applied {
        let shown = |row: &ConversationRow| (row.status, row.owner, row.category.clone());
        if shown(before) != shown(&self.row) {
            self.project();
        }
        // A merged conversation keeps its snooze for an undo, but nothing wakes it.
        let timer = |row: &ConversationRow| if row.merged_into.is_some() { None } else { row.snoozed_until };
        match (timer(before), timer(&self.row)) {
            (old, new) if old == new => {}
            (_, Some(until)) => self.effects.push(Effect::SetTimer(until)),
            (_, None) => self.effects.push(Effect::ClearTimer),
        }
        Applied { conversation: self.row, effects: self.effects }
    }
}

/// The version moves so that a gate that is asked with an older one asks back.
fn sibling_replied(draft: &mut Draft<'_>, account: AccountId) {
    draft.bump();
    draft.log(ActivityKind::SiblingReplied, Value::NONE, ActivityValue::Account(account).into());
}

fn siblings_found(draft: &mut Draft<'_>, siblings: &[Sibling]) {
    let all = &mut draft.row.siblings;
    all.extend(siblings);
    all.sort_unstable();
    all.dedup();
}

/// Writing a note is every member's right, an observer's too.
fn note_created(draft: &mut Draft<'_>, note: NoteId, mentions: &[PrincipalId]) -> Result<(), Refusal> {
    mention(draft, note, mentions)?;
    draft.row.note_count = draft.row.note_count.saturating_add(1);
    draft.bump();
    draft.log(ActivityKind::NoteCreated, Value::NONE, ActivityValue::Note(note).into());
    Ok(())
}

fn note_updated(
    draft: &mut Draft<'_>,
    note: NoteId,
    author: PrincipalId,
    mentions: &[PrincipalId],
) -> Result<(), Refusal> {
    if draft.actor().principal().is_some_and(|principal| principal != author) {
        return Err(Refusal::Forbidden("Only its author may change a note."));
    }
    mention(draft, note, mentions)?;
    draft.bump();
    draft.log(ActivityKind::NoteUpdated, ActivityValue::Note(note).into(), ActivityValue::Note(note).into());
    Ok(())
}

fn note_destroyed(draft: &mut Draft<'_>, note: NoteId, author: PrincipalId) -> Result<(), Refusal> {
    let own = draft.actor().principal() == Some(author);
    if !own && !draft.actor().is_at_least(MemberRole::Lead) {
        return Err(Refusal::Forbidden("Only its author or a lead may destroy a note."));
    }
    draft.row.note_count = draft.row.note_count.saturating_sub(1);
    draft.bump();
    draft.log(ActivityKind::NoteDestroyed, ActivityValue::Note(note).into(), Value::NONE);
    Ok(())
}

/// A mention makes the mentioned a watcher.
fn mention(draft: &mut Draft<'_>, note: NoteId, mentions: &[PrincipalId]) -> Result<(), Refusal> {
    if mentions.iter().any(|principal| !draft.context.roster.members.contains_key(principal)) {
        return Err(Refusal::InvalidProperties {
            properties: vec!["mentions"],
            why: "Only members of the inbox can be mentioned.",
        });
    }
    draft.while_because(Reason::Mentioned, ActivityValue::Note(note), |draft| {
        mentions.iter().for_each(|principal| change::watch(draft, *principal));
    });
    Ok(())
}
