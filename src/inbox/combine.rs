//! Conversations brought together and taken apart, in the store: merge, its undo, and split.
//!
//! Messages and notes move with what the gate knows of them, so that whoever answers in the place
//! where they are now is asked about the same replies. Invariants: a message is in exactly one
//! conversation, and that one isn't merged; what a merged conversation gave is kept
//! ([`MergeRow`]), so that the undo takes back exactly that and what came on its threads since.

use super::desk::{ConversationEmailRow, Desk, DeskResult};
use super::intake;
use super::machine::{Event, Expect};
use super::merge::{self, Contents, MessageFacts, MessageKind};
use super::moves;
use super::notes;
use super::refusal::Refusal;
use super::scheduling;
use super::sending;
use crate::mail::headers;
use crate::store::rows::mail::{EmailRow, Origin, StoredMessage};
use crate::store::rows::team::*;
use crate::store::{Read, StoreResult, keys, rows};
use crate::types::limits::{CONVERSATION_MESSAGES_MAX, MERGE_MESSAGES_MAX};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};

impl Desk<'_, '_> {
    /// Moves all that `source` has to `into`, and leaves it as merged.
    pub fn merge(&mut self, source: ConversationId, into: ConversationId, expect: Expect) -> DeskResult<()> {
        self.actor.must_be_agent()?;
        let from = self.existing(source)?;
        check_expected(&from, expect)?;
        let target = self.conversation(into)?.ok_or_else(|| invalid("There is no such conversation."))?;
        if source == into {
            return Err(invalid("A conversation can't be merged into itself.").into());
        }
        if from.merged_into.is_some() {
            return Err(invalid("That conversation was merged already.").into());
        }
        if target.merged_into.is_some() {
            return Err(
                invalid("The other conversation was merged itself; name the one it went into.").into()
            );
        }
        self.may_take(&from, &target)?;
        let emails: Vec<EmailId> = self.emails(source)?.into_iter().map(|(email, _)| email).collect();
        let notes = notes::of_conversation(self.read(), self.account, source, MERGE_MESSAGES_MAX + 1)?;
        if emails.len() + notes.len() > MERGE_MESSAGES_MAX {
            return Err(invalid("That conversation has too many messages and notes to be moved.").into());
        }
        // Both move at once from then on.
        if from.message_count.saturating_add(target.message_count) > CONVERSATION_MESSAGES_MAX {
            return Err(invalid("Together they would have too many messages for one conversation.").into());
        }
        let version = self.txn.modseq(self.account)?;
        self.transfer_all(source, into, &emails, &notes, true)?;
        for thread in &from.thread_ids {
            self.lead_thread_to(*thread, into)?;
        }
        let given = MergeRow { version, emails, notes };
        self.txn.put_at(keys::row(self.account, keys::Kind::Merge, source.0), &given)?;
        self.apply(source, &Event::MergedInto { target: into }, Vec::new())?;
        self.apply(into, &Event::TookIn { source, from: Box::new(from) }, Vec::new())?;
        Ok(())
    }

    /// Takes a merge back: `source` has again what it gave, and what came on its threads since.
    pub fn unmerge(&mut self, source: ConversationId, expect: Expect) -> DeskResult<()> {
        self.actor.must_be_agent()?;
        let row = self.existing(source)?;
        check_expected(&row, expect)?;
        if row.merged_into.is_none() {
            return Err(invalid("That conversation isn't merged.").into());
        }
        let holder = intake::follow(self.read(), self.account, row.merged_into)?;
        let (holder, _) = holder.ok_or_else(|| invalid("There is no such conversation."))?;
        let key = keys::row(self.account, keys::Kind::Merge, source.0);
        let given: MergeRow = match self.read().bytes(&key)? {
            Some(bytes) => rows::decode(&bytes)?,
            None => MergeRow { version: row.version, ..MergeRow::default() },
        };
        let mut emails = Vec::new();
        for (email, at) in self.emails(holder)? {
            let arrived_since = at.version > given.version
                && self
                    .read()
                    .row::<EmailRow>(self.account, email)?
                    .is_some_and(|email| row.thread_ids.contains(&email.thread));
            if given.emails.contains(&email) || arrived_since {
                emails.push(email);
            }
        }
        let all = notes::of_conversation(self.read(), self.account, holder, usize::MAX)?;
        let notes: Vec<NoteId> = all.into_iter().filter(|note| given.notes.contains(note)).collect();
        if emails.len() + notes.len() > 2 * MERGE_MESSAGES_MAX {
            return Err(invalid("Too many messages came since to be moved back.").into());
        }
        for email in &emails {
            if scheduling::is_waiting(self.read(), self.account, *email)? {
                return Err(invalid("A message that waits to be sent can't go back; cancel it first.").into());
            }
        }
        self.transfer_all(holder, source, &emails, &notes, false)?;
        for thread in &row.thread_ids {
            self.lead_thread_to(*thread, source)?;
        }
        self.copy_word(holder, source)?;
        self.txn.delete_at(key);
        let contents = self.contents(holder)?;
        self.apply(holder, &Event::GaveBack { source, contents }, Vec::new())?;
        let contents = self.contents(source)?;
        self.apply(source, &Event::MergeUndone { contents }, Vec::new())?;
        Ok(())
    }

    /// Makes a conversation of its own from some messages of one, and the drafts that answer them.
    pub fn split(&mut self, emails: &[EmailId], subject: Option<String>) -> DeskResult<ConversationId> {
        self.actor.must_be_agent()?;
        let source = self.only_conversation_of(emails)?;
        let from = self.existing(source)?;
        if emails.len() > MERGE_MESSAGES_MAX {
            return Err(wrong_emails("Too many messages to be moved at once.").into());
        }
        let drafts = self.drafts_that_answer(emails, source)?;
        let moved: Vec<EmailId> = emails.iter().copied().chain(drafts).collect();
        if moved.len() > 2 * MERGE_MESSAGES_MAX {
            return Err(wrong_emails("Too many drafts answer these messages to be moved at once.").into());
        }
        let id = ConversationId(self.txn.allot(self.account, |next| &mut next.conversation)?);
        self.transfer_all(source, id, &moved, &[], false)?;
        let contents = self.contents(id)?;
        if contents.message_count == 0 {
            return Err(wrong_emails("A conversation needs a message that isn't a draft.").into());
        }
        for thread in &contents.thread_ids {
            self.lead_thread_to(*thread, id)?;
        }
        let subject = subject.unwrap_or_else(|| from.subject.clone());
        let begun =
            self.with_context(|context| merge::begin_split(&from, source, subject, &contents, context))?;
        self.settle(id, None, begun, Vec::new())?;
        self.copy_word(source, id)?;
        let contents = self.contents(source)?;
        self.apply(source, &Event::SplitOff { new: id, contents }, Vec::new())?;
        Ok(id)
    }

    fn existing(&self, id: ConversationId) -> DeskResult<ConversationRow> {
        let row = self.conversation(id)?;
        Ok(row.ok_or(Refusal::Forbidden("There is no such conversation."))?)
    }

    /// Work that somebody else owns isn't taken by merging it into what others own.
    fn may_take(&self, from: &ConversationRow, target: &ConversationRow) -> Result<(), Refusal> {
        let is_work = from.status != Status::Closed;
        let others = from
            .owner
            .is_some_and(|owner| Some(owner) != self.actor.principal() && Some(owner) != target.owner);
        if is_work && others && !self.actor.is_at_least(MemberRole::Lead) {
            return Err(Refusal::Forbidden("Somebody else owns that conversation; merging it needs a lead."));
        }
        Ok(())
    }

    /// The one conversation that all of these are in.
    fn only_conversation_of(&self, emails: &[EmailId]) -> DeskResult<ConversationId> {
        let mut only = None;
        for email in emails {
            let row: Option<EmailRow> = self.read().row(self.account, *email)?;
            let of = row.and_then(|row| row.conversation);
            let of = of.ok_or_else(|| wrong_emails("There is no such message in a conversation."))?;
            if *only.get_or_insert(of) != of {
                return Err(wrong_emails("The messages of a split must be of one conversation.").into());
            }
            if scheduling::is_waiting(self.read(), self.account, *email)? {
                let why = "A message that waits to be sent can't be split off; cancel it first.";
                return Err(wrong_emails(why).into());
            }
        }
        Ok(only.ok_or_else(|| wrong_emails("A split names at least one message."))?)
    }

    /// The other drafts of a conversation that answer one of these messages: they are judged by the gate of what
    /// they answer. Refused where one waits to be sent.
    fn drafts_that_answer(&self, emails: &[EmailId], of: ConversationId) -> DeskResult<Vec<EmailId>> {
        let mut ids = BTreeSet::new();
        for email in emails {
            if let Some(stored) = self.read().row::<StoredMessage>(self.account, *email)? {
                ids.extend(headers::message_ids(&stored.message, "message-id"));
            }
        }
        let named: BTreeSet<&EmailId> = emails.iter().collect();
        let mut drafts = Vec::new();
        for (email, _) in self.emails(of)? {
            let row: Option<EmailRow> = self.read().row(self.account, email)?;
            let Some(row) = row.filter(|row| row.origin == Origin::Client && !named.contains(&email)) else {
                continue;
            };
            let waits = scheduling::is_waiting(self.read(), self.account, email)?;
            if !(waits || moves::is_draft(&row)) || !self.answers(email, &ids)? {
                continue;
            }
            if waits {
                let why = "An answer to these messages waits to be sent; cancel it first.";
                return Err(wrong_emails(why).into());
            }
            drafts.push(email);
        }
        Ok(drafts)
    }

    /// Whether In-Reply-To, or the last of References where there is none, names one of these.
    fn answers(&self, email: EmailId, ids: &BTreeSet<String>) -> StoreResult<bool> {
        let Some(stored) = self.read().row::<StoredMessage>(self.account, email)? else { return Ok(false) };
        let mut named = headers::message_ids(&stored.message, "in-reply-to");
        if named.is_empty() {
            named.extend(headers::message_ids(&stored.message, "references").pop());
        }
        Ok(named.iter().any(|id| ids.contains(id)))
    }

    fn transfer_all(
        &mut self,
        from: ConversationId,
        to: ConversationId,
        emails: &[EmailId],
        notes: &[NoteId],
        with_siblings: bool,
    ) -> StoreResult<()> {
        self.move_events(from, to, &emails.iter().copied().collect(), with_siblings)?;
        for email in emails {
            self.transfer(*email, from, to)?;
        }
        for note in notes {
            let Some(row) = self.read().row::<NoteRow>(self.account, *note)? else { continue };
            let key =
                |id: ConversationId| keys::pair(self.account, keys::Kind::ConversationNote, id.0, note.0);
            let (old, new) = (key(from), key(to));
            self.txn.delete_at(old);
            self.txn.put_at(new, &())?;
            self.txn.update(self.account, *note, &NoteRow { conversation: to, ..row })?;
        }
        Ok(())
    }

    /// Moves one message; the position at which it came stays.
    fn transfer(&mut self, email: EmailId, from: ConversationId, to: ConversationId) -> StoreResult<()> {
        let key = |id: ConversationId| keys::pair(self.account, keys::Kind::ConversationEmail, id.0, email.0);
        let (old, new) = (key(from), key(to));
        if let Some(bytes) = self.txn.bytes(&old)? {
            self.txn.delete_at(old);
            self.txn.put_at(new, &rows::decode::<ConversationEmailRow>(&bytes)?)?;
        }
        // A client that knows us sees the conversation of an Email, so that the Email changes.
        if let Some(row) = self.read().row::<EmailRow>(self.account, email)? {
            self.txn.update(self.account, email, &EmailRow { conversation: Some(to), ..row })?;
        }
        Ok(())
    }

    /// What the gate knows of messages goes where they go, at its old position. A merge brings along
    /// what siblings were told to answer, too.
    fn move_events(
        &mut self,
        from: ConversationId,
        to: ConversationId,
        emails: &BTreeSet<EmailId>,
        with_siblings: bool,
    ) -> StoreResult<()> {
        let account = self.account;
        for (version, row) in sending::events_since(self.read(), account, from, 0)? {
            let goes = |event: &ConversationEvent| match &event.what {
                What::Outbound(outbound) => emails.contains(&outbound.email),
                What::Inbound(email) => emails.contains(email),
                What::SiblingReplied(_) => with_siblings,
                What::Closed | What::Merged | What::OwnerChanged => false,
            };
            let (moved, kept): (Vec<_>, Vec<_>) = row.events.into_iter().partition(goes);
            if moved.is_empty() {
                continue;
            }
            let key =
                |id: ConversationId| keys::versioned(account, keys::Kind::ConversationEvent, id.0, version);
            match kept.is_empty() {
                true => self.txn.delete_at(key(from)),
                false => self.txn.put_at(key(from), &ConversationEventsRow { events: kept })?,
            }
            let mut there: ConversationEventsRow = match self.txn.bytes(&key(to))? {
                Some(bytes) => rows::decode(&bytes)?,
                None => ConversationEventsRow::default(),
            };
            add_missing(&mut there.events, moved);
            self.txn.put_at(key(to), &there)?;
        }
        Ok(())
    }

    /// What siblings of `to` were told to have answered counts there, too.
    fn copy_word(&mut self, from: ConversationId, to: ConversationId) -> StoreResult<()> {
        let siblings = self.conversation(to)?.map(|row| row.siblings).unwrap_or_default();
        let account = self.account;
        for (version, row) in sending::events_since(self.read(), account, from, 0)? {
            let is_theirs = |event: &&ConversationEvent| match &event.what {
                What::SiblingReplied(told) => siblings.iter().any(|one| one.account == told.account),
                _ => false,
            };
            let word: Vec<ConversationEvent> = row.events.iter().filter(is_theirs).cloned().collect();
            if word.is_empty() {
                continue;
            }
            let key = keys::versioned(account, keys::Kind::ConversationEvent, to.0, version);
            let mut there: ConversationEventsRow = match self.txn.bytes(&key)? {
                Some(bytes) => rows::decode(&bytes)?,
                None => ConversationEventsRow::default(),
            };
            add_missing(&mut there.events, word);
            self.txn.put_at(key, &there)?;
        }
        Ok(())
    }

    /// From now on messages of the Thread that reference nothing else go there.
    fn lead_thread_to(&mut self, thread: ThreadId, to: ConversationId) -> StoreResult<()> {
        self.txn.put_at(keys::row(self.account, keys::Kind::ThreadConversation, thread.0), &to)
    }

    /// What the messages of a conversation add up to now.
    pub(super) fn contents(&self, id: ConversationId) -> StoreResult<Contents> {
        self.contents_of(id, |_| true)
    }

    /// The same without what lies in Junk or Trash: nobody waits for an answer to that.
    pub(super) fn contents_in_sight(&self, id: ConversationId) -> StoreResult<Contents> {
        let kept = self.kept()?;
        self.contents_of(id, |row| kept.gone(&row.mailboxes.iter().copied().collect()).is_none())
    }

    fn contents_of(&self, id: ConversationId, counts: impl Fn(&EmailRow) -> bool) -> StoreResult<Contents> {
        let mut sent: BTreeMap<EmailId, OutboundRow> = BTreeMap::new();
        let mut closes = Vec::new();
        for (version, row) in sending::events_since(self.read(), self.account, id, 0)? {
            for event in row.events {
                match event.what {
                    What::Outbound(row) if row.state == OutboundState::Sent => {
                        sent.insert(row.email, row);
                    }
                    What::Closed => closes.push(version),
                    _ => {}
                }
            }
        }
        let mut positions = Vec::new();
        let mut facts: Vec<MessageFacts> = Vec::new();
        for (email, at) in self.emails(id)? {
            if let Some(row) = self.read().row::<EmailRow>(self.account, email)?
                && counts(&row)
                && let Some(fact) = self.facts(email, &row, sent.get(&email))?
            {
                facts.push(fact);
                positions.push(at.version);
            }
        }
        let last = facts.iter().zip(&positions).filter(|(fact, _)| fact.kind == MessageKind::Person);
        let last = last.map(|(_, position)| *position).max().unwrap_or(0);
        for (fact, position) in facts.iter_mut().zip(positions) {
            fact.settled = closes.iter().any(|close| position < *close && *close < last);
        }
        let notes = notes::of_conversation(self.read(), self.account, id, usize::MAX)?;
        Ok(merge::contents(&facts, u32::try_from(notes.len()).unwrap_or(u32::MAX)))
    }

    /// What a message was to its conversation; `None` for a draft and for what waits to be sent.
    fn facts(
        &self,
        email: EmailId,
        row: &EmailRow,
        sent: Option<&OutboundRow>,
    ) -> StoreResult<Option<MessageFacts>> {
        let received = Millis(row.received_at.0.saturating_mul(1000));
        let trusted = || {
            let key = row.from.first().and_then(intake::participant).map(|from| from.address.key());
            key.is_some_and(|key| self.settings.trusted_automatic.iter().any(|one| one.key() == key))
        };
        let (kind, at) = match row.origin {
            Origin::Inbound => (MessageKind::Person, received),
            Origin::Automatic if trusted() => (MessageKind::Person, received),
            Origin::Automatic => (MessageKind::Automatic, received),
            Origin::Internal => (MessageKind::Internal, received),
            Origin::Outbound => match sent {
                Some(sent) if sent.reply => (MessageKind::Reply, sent.at),
                Some(sent) => (MessageKind::Other, sent.at),
                None => (MessageKind::Other, received),
            },
            Origin::Client => {
                let draft = row.keywords.iter().any(|keyword| keyword.as_str() == Keyword::DRAFT);
                if draft || scheduling::is_waiting(self.read(), self.account, email)? {
                    return Ok(None);
                }
                (MessageKind::Internal, received)
            }
            // It is in no conversation.
            Origin::Memo => return Ok(None),
        };
        let stored: Option<StoredMessage> = self.read().row(self.account, email)?;
        let mut people = row.from.clone();
        if let Some(stored) = &stored {
            // Whom an answer to it goes to takes part, as when it came in.
            let came_in = matches!(row.origin, Origin::Inbound | Origin::Automatic);
            for field in came_in.then_some("reply-to").into_iter().chain(["to", "cc"]) {
                people.extend(headers::addresses(&stored.message, field));
            }
        }
        let participants = intake::outsiders(self, people.iter());
        Ok(Some(MessageFacts { thread: row.thread, at, kind, settled: false, participants }))
    }
}

/// Each event is there once, however often it went there and back.
fn add_missing(there: &mut Vec<ConversationEvent>, events: Vec<ConversationEvent>) {
    for event in events {
        if !there.contains(&event) {
            there.push(event);
        }
    }
}

fn check_expected(row: &ConversationRow, expect: Expect) -> Result<(), Refusal> {
    if expect.if_version.is_some_and(|version| version != row.version) {
        return Err(Refusal::VersionMismatch { version: row.version });
    }
    if expect.if_owner.is_some_and(|owner| owner != row.owner) {
        return Err(Refusal::OwnerMismatch { owner: row.owner, version: row.version });
    }
    Ok(())
}

fn invalid(why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec!["mergedIntoId"], why }
}

fn wrong_emails(why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec!["emailIds"], why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::change::Change;
    use crate::inbox::desk::{DeskError, TimerKind};
    use crate::inbox::support::{House, START, written};

    const SUPPORT: &[&str] = &["support@x.example"];
    const LATER: Millis = Millis(START.0 + 86_400_000);

    fn agent<T>(house: &House, work: impl FnOnce(&mut Desk<'_, '_>) -> DeskResult<T>) -> T {
        house.at_desk(house.bob, MemberRole::Agent, work)
    }

    fn faults(house: &House) -> Vec<String> {
        let view = house.server.directory.current();
        crate::inbox::check::run(&house.server.store, None, &view, &mut |_| {}).unwrap().report.faults
    }

    fn snooze(house: &House, id: ConversationId) {
        let change =
            Change { status: Some(Status::Snoozed), snoozed_until: Some(Some(LATER)), ..Change::default() };
        let event = Event::Set { change, expect: Expect::default() };
        agent(house, |desk| desk.apply(id, &event, Vec::new()));
    }

    fn properties<T>(result: DeskResult<T>) -> Vec<&'static str> {
        match result {
            Err(DeskError::Refused(Refusal::InvalidProperties { properties, .. })) => properties,
            Err(error) => panic!("{error}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn a_merge_is_not_undone_while_a_message_that_goes_back_waits_to_be_sent() {
        let house = House::new();
        house.deliver(SUPPORT, "one", "");
        house.deliver(SUPPORT, "two", "");
        let (one, _) = house.conversation_of(house.email("one@c.example"));
        let (two, _) = house.conversation_of(house.email("two@c.example"));
        agent(&house, |desk| desk.merge(two, one, Expect::default()));
        let answer = house.draft(&written("two", "In-Reply-To: <two@c.example>\r\n"));
        let waits = house.send(answer, Some(LATER));
        let undo = || agent(&house, |desk| Ok(properties(desk.unmerge(two, Expect::default()))));
        assert_eq!(undo(), ["mergedIntoId"]);
        assert_eq!(house.conversation_of(answer).0, one);
        assert!(agent(&house, |desk| scheduling::cancel(desk, waits.id)));
        assert_eq!(undo(), Vec::<&str>::new());
        assert_eq!(house.conversation_of(answer).0, two);
    }

    /// Two conversations, the second of them snoozed and merged into the first.
    fn merged_while_snoozed() -> (House, ConversationId) {
        let house = House::new();
        house.deliver(SUPPORT, "one", "");
        house.deliver(SUPPORT, "two", "");
        let (one, _) = house.conversation_of(house.email("one@c.example"));
        let (two, _) = house.conversation_of(house.email("two@c.example"));
        snooze(&house, two);
        assert_eq!(faults(&house), Vec::<String>::new());
        agent(&house, |desk| desk.merge(two, one, Expect::default()));
        assert_eq!(faults(&house), Vec::<String>::new(), "it keeps its snooze, and nothing wakes it");
        (house, two)
    }

    fn undo(house: &House, id: ConversationId) -> ConversationRow {
        agent(house, |desk| desk.unmerge(id, Expect::default()));
        assert_eq!(faults(house), Vec::<String>::new());
        (&house.server.store.snapshot() as &dyn Read).row(house.inbox, id).unwrap().unwrap()
    }

    #[test]
    fn a_snooze_that_was_merged_away_goes_on_after_the_undo_with_its_timer() {
        let (house, two) = merged_while_snoozed();
        let row = undo(&house, two);
        assert_eq!((row.status, row.snoozed_until), (Status::Snoozed, Some(LATER)));
        house.server.store.clock.set(LATER);
        assert_eq!(house.fire_due(), 1, "its timer is there again");
        let (_, row) = house.conversation_of(house.email("two@c.example"));
        assert_eq!((row.status, row.snoozed_until), (Status::Open, None));
        assert_eq!(faults(&house), Vec::<String>::new());
    }

    #[test]
    fn a_timer_of_what_was_merged_away_is_told_by_the_check() {
        let (house, two) = merged_while_snoozed();
        let key = keys::due(keys::Kind::Timer, LATER, house.inbox, TimerKind::Snooze as u8, two.0);
        house.write(house.inbox, |txn| txn.put_at(key, &()).unwrap());
        let told =
            format!("account {}: a timer wakes {two}, which isn't snoozed, or not until then", house.inbox);
        assert_eq!(faults(&house), [told]);
    }

    #[test]
    fn a_snooze_whose_time_passes_while_it_is_merged_is_over_after_the_undo() {
        let (house, two) = merged_while_snoozed();
        house.server.store.clock.set(LATER);
        assert_eq!(house.fire_due(), 0);
        let row = undo(&house, two);
        assert_eq!((row.status, row.snoozed_until), (Status::Open, None));
        assert_eq!(house.fire_due(), 0);
    }

    #[test]
    fn a_split_takes_along_the_drafts_that_answer_what_it_takes() {
        let house = House::new();
        house.deliver(SUPPORT, "one", "");
        house.deliver(SUPPORT, "two", "In-Reply-To: <one@c.example>\r\n");
        let two = house.email("two@c.example");
        let (source, _) = house.conversation_of(two);
        let drafts = [
            ("a", "In-Reply-To: <two@c.example>\r\n", true),
            ("b", "References: <one@c.example> <two@c.example>\r\n", true),
            ("c", "In-Reply-To: <one@c.example>\r\nReferences: <two@c.example>\r\n", false),
            ("d", "References: <two@c.example> <one@c.example>\r\n", false),
        ];
        let drafts = drafts.map(|(id, headers, goes)| (house.draft(&written(id, headers)), goes));
        // Somebody else splits than who wrote them.
        let new = house.at_desk(house.ann, MemberRole::Agent, |desk| desk.split(&[two], None));
        assert_ne!(new, source);
        for (draft, goes) in drafts {
            let (is, _) = house.conversation_of(draft);
            assert_eq!(is == new, goes, "{draft}");
        }
        assert_eq!(house.conversation_of(two).1.message_count, 1);
    }

    #[test]
    fn a_split_is_refused_while_an_answer_to_what_it_takes_waits_to_be_sent() {
        let house = House::new();
        house.deliver(SUPPORT, "one", "");
        house.deliver(SUPPORT, "two", "In-Reply-To: <one@c.example>\r\n");
        let two = house.email("two@c.example");
        let answer = house.draft(&written("a", "In-Reply-To: <two@c.example>\r\n"));
        let waits = house.send(answer, Some(LATER));
        let split = || agent(&house, |desk| Ok(properties(desk.split(&[two], None))));
        assert_eq!(split(), ["emailIds"]);
        assert!(agent(&house, |desk| scheduling::cancel(desk, waits.id)));
        assert_eq!(split(), Vec::<&str>::new());
        assert_eq!(house.conversation_of(answer).0, house.conversation_of(two).0);
    }
}
