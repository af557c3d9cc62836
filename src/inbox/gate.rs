//! The decision of the send gate: may this submission go out, given what others did meanwhile?
//!
//! Two kinds of client. One *names* what it knows (`lockToken`, `ifVersion`, `acknowledge`) and is
//! judged by positions in the log. A *plain* one names nothing; it is judged by its reply's basis,
//! refused once in plain words, and its next attempt is the yes to exactly that. Either way no two
//! replies go out that nobody knew of (`race_tests.rs` tries every interleaving).
//!
//! Pure: the caller loads the input within the send's transaction and applies the decision there.
//! Absent: the right to send as an identity, and the duplicate check, which come before.

use super::lock;
use super::machine::{Actor, Effect, Entry, Value};
use super::refusal::{Level, Refusal};
use crate::store::rows::team::{
    ActivityKind, ActivityValue, Block, ConversationEvent, ConversationRow, OutboundRow, OutboundState,
    PlainCollision, PlainRefusal, RefusalRow, ReplyLockRow, Status, Told, ToldLock, ToldReply, ToldSibling,
    What,
};
use crate::types::limits::{
    BLOCK_REMEMBERED_SECONDS_MAX, DUPLICATE_SEND_SECONDS_MAX, PLAIN_YES_SECONDS_MAX, PLAIN_YES_SECONDS_MIN,
};
use crate::types::{Address, EmailId, Millis, PrincipalId};
use std::time::Duration;

/// One thing that happened, at its position in the inbox's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Happened<'a> {
    pub version: u64,
    pub event: &'a ConversationEvent,
}

/// What the client names. A client that gives neither `lock_token` nor `if_version` is plain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Named<'a> {
    pub lock_token: Option<u64>,
    pub if_version: Option<u64>,
    pub acknowledge: &'a [EmailId],
}

/// Everything the decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct GateInput<'a> {
    pub now: Millis,
    pub conversation: &'a ConversationRow,
    pub sender: PrincipalId,
    /// A participant from outside is among the envelope recipients.
    pub is_reply: bool,
    pub named: Named<'a>,
    /// The position of the reply's basis ([`basis`]).
    pub basis: u64,
    /// The stored lock, live or not.
    pub lock: Option<&'a ReplyLockRow>,
    /// What happened in the conversation, in the order of the log: at least everything later than
    /// the basis and than `if_version`, and every scheduled message.
    pub happened: &'a [Happened<'a>],
    /// What this principal was refused last in this conversation.
    pub refused: Option<&'a RefusalRow>,
    pub plain_collision: PlainCollision,
}

/// The gate's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    Pass {
        /// The conversation's lock ends: the sender's own, or another's that a yes went over.
        end_lock: bool,
        /// What was collided with knowingly: an activity `sentOver` where not empty.
        over: Told,
        /// What this principal was refused before is done with: forgotten. Another message than a reply says
        /// nothing about it, unless it acknowledges all of a block.
        settles: bool,
    },
    Refuse {
        refusal: Refusal,
        /// To be kept for (conversation, principal) in the place of what was kept.
        remember: Option<RefusalRow>,
    },
}

/// Decides on one submission.
pub fn decide(input: &GateInput<'_>) -> Decision {
    if let Some(into) = input.conversation.merged_into {
        return refuse(Refusal::Merged { into });
    }
    if input.named.lock_token.is_some() || input.named.if_version.is_some() {
        decide_named(input)
    } else {
        decide_plain(input)
    }
}

/// The position of a reply's basis: that of the newest of the conversation's messages that
/// In-Reply-To or References name, where none is named the creation of the draft. An outbound
/// message's position is that of its event, where it was sent, not where its draft was made.
pub fn basis(named: impl IntoIterator<Item = u64>, draft_created: u64) -> u64 {
    named.into_iter().max().unwrap_or(draft_created)
}

/// What the effects of an event mean to the gate. Outbound messages and siblings' replies, of which
/// it must know more than an activity says, are added by the caller.
pub fn events_of(effects: &[Effect], actor: Actor) -> Vec<ConversationEvent> {
    let meaning = |effect: &Effect| match effect {
        Effect::Activity(Entry { kind, after, .. }) => match (kind, after) {
            (ActivityKind::StatusChanged, Value::Plain(ActivityValue::Status(Status::Closed))) => {
                Some(What::Closed)
            }
            (ActivityKind::Merged | ActivityKind::MergedInto, _) => Some(What::Merged),
            (ActivityKind::OwnerChanged, _) => Some(What::OwnerChanged),
            (
                ActivityKind::InboundReceived
                | ActivityKind::AutomaticReceived
                | ActivityKind::DeliveryFailed,
                Value::Plain(ActivityValue::Email(email)),
            ) => Some(What::Inbound(*email)),
            _ => None,
        },
        _ => None,
    };
    let event = |what| ConversationEvent { actor: actor.principal(), what };
    effects.iter().filter_map(meaning).map(event).collect()
}

/// True where a submission made at `earlier` makes one with the same Message-ID or the same content a
/// duplicate. The caller leaves out canceled ones: what never went out may be sent.
pub fn is_duplicate(earlier: Millis, now: Millis) -> bool {
    now < earlier.after(Duration::from_secs(DUPLICATE_SEND_SECONDS_MAX))
}

/// The digest by which equal envelope recipients, subject and body are known again.
pub fn content_digest(recipients: &[Address], subject: &str, body: &[u8]) -> [u8; 32] {
    let mut keys: Vec<String> = recipients.iter().map(Address::key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut hasher = blake3::Hasher::new();
    for piece in keys.iter().map(|key| key.as_bytes()).chain([&[][..], subject.as_bytes(), body]) {
        hasher.update(&(piece.len() as u64).to_be_bytes()).update(piece);
    }
    *hasher.finalize().as_bytes()
}

fn refuse(refusal: Refusal) -> Decision {
    Decision::Refuse { refusal, remember: None }
}

fn pass(input: &GateInput<'_>, end_lock: bool, over: Told) -> Decision {
    let acknowledged = |email: &EmailId| input.named.acknowledge.contains(email);
    let block = input.refused.and_then(RefusalRow::block).map_or(&[][..], |block| &block.emails);
    let settles = input.is_reply || (!block.is_empty() && block.iter().all(acknowledged));
    Decision::Pass { end_lock, over, settles }
}

/// The live lock of somebody else.
fn others_lock<'a>(input: &GateInput<'a>) -> Option<&'a ReplyLockRow> {
    lock::live(input.lock, input.now).filter(|lock| lock.holder != input.sender)
}

/// A lock is for the reply: another message leaves it, unless it names its token.
fn own_lock_ends(input: &GateInput<'_>) -> bool {
    (input.is_reply || input.named.lock_token.is_some())
        && lock::live(input.lock, input.now).is_some_and(|lock| lock.holder == input.sender)
}

fn told_reply(row: &OutboundRow) -> ToldReply {
    let scheduled = row.state == OutboundState::Scheduled;
    ToldReply { email: row.email, author: row.author, at: row.at, scheduled }
}

// ── Clients that name what they know ───────────────────────────────────────────────────────────

fn decide_named(input: &GateInput<'_>) -> Decision {
    if let Some(refusal) = lock_refusal(input) {
        return refuse(refusal);
    }
    let changed = match input.named.if_version {
        Some(version) => changed_since(input, version, Level::Ask),
        // A lock without a version says that nobody answers now, not what was read before it: what
        // others sent since the reply's basis blocks, and what they closed or merged since it was taken.
        None => changed_since(input, input.basis, Level::Block),
    };
    let acknowledged = |email: &EmailId| input.named.acknowledge.contains(email);
    if let Some(changed) = changed {
        let only_known = input.named.if_version.is_none()
            && !changed.told.replies.is_empty()
            && changed.block_emails.iter().all(acknowledged)
            && !changed.decided;
        if !only_known {
            return changed.refuse(input);
        }
        return pass(input, own_lock_ends(input), changed.told);
    }
    if let Some(blocked) = live_block(input)
        && !blocked.emails.iter().all(acknowledged)
    {
        return block_again(input, blocked);
    }
    pass(input, own_lock_ends(input), Told::default())
}

fn lock_refusal(input: &GateInput<'_>) -> Option<Refusal> {
    match input.named.lock_token {
        Some(token) => match lock::owned(input.lock, token, input.sender, input.now) {
            Ok(_) => None,
            // Another's token is no more the sender's lock than one that expired.
            Err(Refusal::Forbidden(_)) => {
                let lock = lock::live(input.lock, input.now);
                let (holder, expires_at) = (lock.map(|lock| lock.holder), lock.map(|lock| lock.expires_at));
                Some(Refusal::LockLost { holder, expires_at })
            }
            Err(refusal) => Some(refusal),
        },
        None => others_lock(input).map(lock::held),
    }
}

/// What speaks against a version.
struct Changed {
    level: Level,
    emails: Vec<EmailId>,
    block_emails: Vec<EmailId>,
    /// A close or a merge is among it.
    decided: bool,
    reasons: Vec<&'static str>,
    told: Told,
}

/// What others did after `version` that is at least of level `from`.
fn changed_since(input: &GateInput<'_>, version: u64, from: Level) -> Option<Changed> {
    let mut changed = Changed {
        level: Level::Ask,
        emails: Vec::new(),
        block_emails: Vec::new(),
        decided: false,
        reasons: Vec::new(),
        told: Told::default(),
    };
    // Where no version is named, nobody knows whether the client saw what waits to be sent.
    let counts = |happened: &&Happened<'_>| {
        happened.version > version || (from == Level::Block && is_scheduled(happened.event))
    };
    for happened in input.happened.iter().filter(counts) {
        let Some((level, reason)) = weigh(happened.event, input.sender) else { continue };
        let is_known = from == Level::Block && is_before_lock(input, happened);
        if level < from || is_known {
            continue;
        }
        changed.add(level, reason);
        match &happened.event.what {
            What::Outbound(row) => {
                changed.emails.push(row.email);
                changed.block_emails.push(row.email);
                changed.told.replies.push(told_reply(row));
            }
            What::Inbound(email) => changed.emails.push(*email),
            What::SiblingReplied(sibling) => changed.told.siblings.push(sibling.clone()),
            What::Closed | What::Merged => changed.decided = true,
            What::OwnerChanged => {}
        }
    }
    // A version that was never given out says nothing about what was read.
    if from == Level::Ask && version > input.conversation.version {
        changed.add(Level::Ask, "unknownVersion");
    }
    (!changed.reasons.is_empty()).then_some(changed)
}

/// Whoever takes a lock sees the conversation closed, or merged, and answers it all the same.
fn is_before_lock(input: &GateInput<'_>, happened: &Happened<'_>) -> bool {
    let decides = matches!(happened.event.what, What::Closed | What::Merged);
    decides && input.lock.is_some_and(|lock| happened.version <= lock.taken_at)
}

fn is_scheduled(event: &ConversationEvent) -> bool {
    matches!(&event.what, What::Outbound(row) if row.state == OutboundState::Scheduled)
}

/// How much an event weighs for `sender`, and its word; null for one's own doing and for what
/// never went out.
fn weigh(event: &ConversationEvent, sender: PrincipalId) -> Option<(Level, &'static str)> {
    if event.actor == Some(sender) {
        return None;
    }
    match &event.what {
        What::Outbound(row) if row.state == OutboundState::Canceled || row.author == sender => None,
        What::Outbound(row) => Some((Level::Block, if row.reply { "reply" } else { "outbound" })),
        What::Closed => Some((Level::Block, "closed")),
        What::Merged => Some((Level::Block, "merged")),
        What::Inbound(_) => Some((Level::Ask, "inbound")),
        What::OwnerChanged => Some((Level::Ask, "ownerChanged")),
        What::SiblingReplied(_) => Some((Level::Ask, "siblingReplied")),
    }
}

impl Changed {
    fn add(&mut self, level: Level, reason: &'static str) {
        self.level = self.level.max(level);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn refuse(self, input: &GateInput<'_>) -> Decision {
        let mut unacknowledged = self.block_emails.clone();
        if let Some(blocked) = live_block(input) {
            unacknowledged.extend(&blocked.emails);
        }
        unacknowledged.sort_unstable();
        unacknowledged.dedup();
        let remember = (!unacknowledged.is_empty())
            .then_some(RefusalRow::Block(Block { at: input.now, emails: unacknowledged }));
        let refusal = Refusal::ConversationChanged {
            level: self.level,
            version: input.conversation.version,
            emails: self.emails,
            reasons: self.reasons,
            told: Box::new(self.told),
        };
        Decision::Refuse { refusal, remember }
    }
}

fn live_block<'a>(input: &GateInput<'a>) -> Option<&'a Block> {
    let remembered = Duration::from_secs(BLOCK_REMEMBERED_SECONDS_MAX);
    input.refused.and_then(RefusalRow::block).filter(|block| input.now < block.at.after(remembered))
}

/// The version is the new one, but what blocked before wasn't acknowledged.
fn block_again(input: &GateInput<'_>, blocked: &Block) -> Decision {
    let outbound = input.happened.iter().filter_map(|happened| match &happened.event.what {
        What::Outbound(row) if blocked.emails.contains(&row.email) => Some(told_reply(row)),
        _ => None,
    });
    let replies = outbound.collect();
    let refusal = Refusal::ConversationChanged {
        level: Level::Block,
        version: input.conversation.version,
        emails: blocked.emails.clone(),
        reasons: vec!["reply"],
        told: Box::new(Told { replies, ..Told::default() }),
    };
    Decision::Refuse { refusal, remember: Some(RefusalRow::Block(blocked.clone())) }
}

// ── Plain clients ──────────────────────────────────────────────────────────────────────────────

fn decide_plain(input: &GateInput<'_>) -> Decision {
    let collision = if input.is_reply { collision(input) } else { Told::default() };
    if collision == Told::default() {
        return pass(input, own_lock_ends(input), collision);
    }
    let allowed = match input.plain_collision {
        PlainCollision::Allow => true,
        PlainCollision::Reject => false,
        PlainCollision::Confirm => input
            .refused
            .and_then(RefusalRow::plain)
            .is_some_and(|refused| is_yes(input, refused, &collision)),
    };
    if allowed {
        // A yes over a live lock kills its token.
        let end_lock = collision.lock.is_some() || own_lock_ends(input);
        return pass(input, end_lock, collision);
    }
    let may_confirm = input.plain_collision == PlainCollision::Confirm;
    let remember = may_confirm.then(|| {
        let version = input.conversation.version;
        let plain = PlainRefusal { at: input.now, version, told: collision.clone() };
        match live_block(input) {
            // What is said to a plain client settles nothing that one that names what it knows must acknowledge.
            Some(block) => RefusalRow::Both(plain, block.clone()),
            None => RefusalRow::Plain(plain),
        }
    });
    Decision::Refuse { refusal: Refusal::PlainCollision { told: Box::new(collision), may_confirm }, remember }
}

/// What a plain client's reply collides with.
fn collision(input: &GateInput<'_>) -> Told {
    let mut told = Told::default();
    for happened in input.happened {
        match &happened.event.what {
            What::Outbound(row) if row.reply && row.author != input.sender => {
                let later = match row.state {
                    // It goes out later than whatever this one rests on.
                    OutboundState::Scheduled => true,
                    OutboundState::Sent => happened.version > input.basis,
                    OutboundState::Canceled => false,
                };
                if later {
                    told.replies.push(told_reply(row));
                }
            }
            // Who answered in both inboxes themselves knows of it.
            What::SiblingReplied(sibling)
                if happened.version > input.basis && happened.event.actor != Some(input.sender) =>
            {
                told.siblings.push(sibling.clone());
            }
            _ => {}
        }
    }
    told.lock = others_lock(input).map(|lock| ToldLock {
        holder: lock.holder,
        token: lock.token,
        expires_at: lock.expires_at,
    });
    told
}

/// True where this attempt is the yes to exactly what was told: neither a client's own quick retry,
/// nor too late, and nothing newer happened.
fn is_yes(input: &GateInput<'_>, refused: &PlainRefusal, collision: &Told) -> bool {
    let earliest = refused.at.after(Duration::from_secs(PLAIN_YES_SECONDS_MIN));
    let latest = refused.at.after(Duration::from_secs(PLAIN_YES_SECONDS_MAX));
    if input.now < earliest || input.now > latest {
        return false;
    }
    let told = &refused.told;
    let known_reply = |reply: &ToldReply| told.replies.iter().any(|known| known.email == reply.email);
    let known_lock = |lock: &ToldLock| told.lock.is_some_and(|known| known.token == lock.token);
    let known_sibling = |sibling: &ToldSibling| told.siblings.iter().any(|known| known == sibling);
    let newer = input
        .happened
        .iter()
        .any(|happened| happened.version > refused.version && weigh(happened.event, input.sender).is_some());
    !newer
        && collision.replies.iter().all(known_reply)
        && collision.lock.iter().all(known_lock)
        && collision.siblings.iter().all(known_sibling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::messages::empty;
    use crate::types::{AccountId, ConversationId, SubmissionId};

    const ANN: PrincipalId = PrincipalId(1);
    const BOB: PrincipalId = PrincipalId(2);
    const NOW: i64 = 1_000_000;

    fn outbound(author: PrincipalId, email: u32, state: OutboundState) -> ConversationEvent {
        let row = OutboundRow {
            email: EmailId(email),
            author,
            submission: SubmissionId(email),
            at: Millis(NOW - 5000),
            state,
            reply: true,
        };
        ConversationEvent { actor: Some(author), what: What::Outbound(row) }
    }

    fn by(actor: Option<PrincipalId>, what: What) -> ConversationEvent {
        ConversationEvent { actor, what }
    }

    fn sibling() -> ToldSibling {
        ToldSibling { account: AccountId(9), inbox_name: "Billing".into(), at: Millis(NOW - 9000) }
    }

    fn bobs_lock() -> ReplyLockRow {
        ReplyLockRow {
            conversation: ConversationId(1),
            holder: BOB,
            token: 4,
            created_at: Millis(NOW - 1000),
            expires_at: Millis(NOW + 9000),
            taken_at: 12,
        }
    }

    /// Ann sends; she read up to 10, the conversation stands at 20, and `event` happened at 15.
    fn ask<'a>(event: Option<&'a ConversationEvent>, change: impl FnOnce(&mut GateInput<'a>)) -> Decision {
        // Leaked, so that the closure may put in what lives as long as the test.
        let row = ConversationRow { version: 20, ..empty(Millis(0), String::new(), None) };
        let happened = event.map(|event| Happened { version: 15, event });
        let conversation: &'a ConversationRow = Box::leak(Box::new(row));
        let happened: &'a [Happened<'a>] = Vec::leak(Vec::from_iter(happened));
        let mut input = GateInput {
            now: Millis(NOW),
            conversation,
            sender: ANN,
            is_reply: true,
            named: Named::default(),
            basis: 10,
            lock: None,
            happened,
            refused: None,
            plain_collision: PlainCollision::Confirm,
        };
        change(&mut input);
        decide(&input)
    }

    fn passed(decision: &Decision) -> bool {
        matches!(decision, Decision::Pass { .. })
    }

    #[test]
    fn what_happened_after_the_version_blocks_asks_or_passes() {
        use OutboundState::*;
        let email = EmailId(7);
        let forward = {
            let ConversationEvent { actor, what: What::Outbound(row) } = outbound(BOB, 7, Sent) else {
                panic!()
            };
            by(actor, What::Outbound(OutboundRow { reply: false, ..row }))
        };
        let table = [
            (outbound(BOB, 7, Sent), Some((Level::Block, "reply", vec![email]))),
            (outbound(BOB, 7, Scheduled), Some((Level::Block, "reply", vec![email]))),
            (outbound(BOB, 7, Canceled), None),
            (outbound(ANN, 7, Sent), None),
            (forward, Some((Level::Block, "outbound", vec![email]))),
            (by(Some(BOB), What::Closed), Some((Level::Block, "closed", vec![]))),
            (by(Some(ANN), What::Closed), None),
            (by(Some(BOB), What::Merged), Some((Level::Block, "merged", vec![]))),
            (by(None, What::Inbound(email)), Some((Level::Ask, "inbound", vec![email]))),
            (by(Some(BOB), What::OwnerChanged), Some((Level::Ask, "ownerChanged", vec![]))),
            (by(Some(BOB), What::SiblingReplied(sibling())), Some((Level::Ask, "siblingReplied", vec![]))),
            (by(Some(ANN), What::SiblingReplied(sibling())), None),
        ];
        for (event, expected) in table {
            let decision = ask(Some(&event), |input| input.named.if_version = Some(10));
            let got = match decision {
                Decision::Pass { end_lock, over, .. } => {
                    assert_eq!((end_lock, over), (false, Told::default()));
                    None
                }
                Decision::Refuse { refusal, remember } => {
                    let Refusal::ConversationChanged { level, version, emails, reasons, .. } = refusal else {
                        panic!("{refusal:?}")
                    };
                    assert_eq!((version, reasons.len()), (20, 1));
                    let is_outbound = matches!(event.what, What::Outbound(_));
                    assert_eq!(remember.is_some(), is_outbound);
                    Some((level, reasons[0], emails))
                }
            };
            assert_eq!(got, expected, "{event:?}");
            assert!(passed(&ask(Some(&event), |input| input.named.if_version = Some(20))));
        }
    }

    #[test]
    fn sending_again_after_a_block_needs_the_new_version_and_the_ids() {
        let event = outbound(BOB, 7, OutboundState::Sent);
        let first = ask(Some(&event), |input| input.named.if_version = Some(10));
        let Decision::Refuse { remember: Some(memory), .. } = first else { panic!("refused") };
        let again = |version, acknowledge: &'static [EmailId], now| {
            ask(Some(&event), |input| {
                input.named = Named { if_version: Some(version), acknowledge, lock_token: None };
                input.refused = Some(&memory);
                input.now = Millis(now);
            })
        };
        assert!(!passed(&again(10, &[EmailId(7)], NOW + 1)));
        assert!(!passed(&again(20, &[], NOW + 1)));
        assert!(!passed(&again(20, &[EmailId(8)], NOW + 1)));
        assert!(passed(&again(20, &[EmailId(8), EmailId(7)], NOW + 1)));
        assert!(passed(&again(20, &[], NOW + 24 * 60 * 60 * 1000)));
        assert!(!passed(&ask(None, |input| input.named.if_version = Some(21))));
    }

    #[test]
    fn a_plain_attempt_in_between_leaves_a_block_as_it_is() {
        let event = outbound(BOB, 7, OutboundState::Sent);
        let Decision::Refuse { remember: Some(blocked), .. } =
            ask(Some(&event), |input| input.named.if_version = Some(10))
        else {
            panic!("refused")
        };
        let Decision::Refuse { remember: Some(both), .. } =
            ask(Some(&event), |input| input.refused = Some(&blocked))
        else {
            panic!("refused")
        };
        let again = |acknowledge: &'static [EmailId]| {
            ask(Some(&event), |input| {
                input.named = Named { if_version: Some(20), acknowledge, lock_token: None };
                input.refused = Some(&both);
            })
        };
        assert!(!passed(&again(&[])));
        assert!(passed(&again(&[EmailId(7)])));
        let later = ask(Some(&event), |input| {
            (input.now, input.refused) = (Millis(NOW + 20_000), Some(&both));
        });
        assert!(passed(&later), "it is the plain client's yes all the same");
    }

    #[test]
    fn another_message_than_a_reply_settles_a_block_only_by_acknowledging_it() {
        let blocked = RefusalRow::Block(Block { at: Millis(NOW), emails: vec![EmailId(7), EmailId(8)] });
        let version = |acknowledge| Named { if_version: Some(20), acknowledge, lock_token: None };
        let all: &[EmailId] = &[EmailId(7), EmailId(8)];
        let table = [
            (true, Named::default(), true),
            (true, version(all), true),
            (false, Named::default(), false),
            (false, version(all), true),
        ];
        for (is_reply, named, expected) in table {
            let decision = ask(None, |input| {
                (input.is_reply, input.named, input.refused) = (is_reply, named, Some(&blocked));
            });
            let Decision::Pass { settles, .. } = decision else { panic!("{decision:?}") };
            assert_eq!(settles, expected, "{is_reply} {named:?}");
        }
    }

    #[test]
    fn the_lock_is_asked_before_the_version() {
        let lock = bobs_lock();
        let held = Refusal::LockHeld { holder: BOB, expires_at: lock.expires_at };
        let lost = Refusal::LockLost { holder: Some(BOB), expires_at: Some(lock.expires_at) };
        let gone = Refusal::LockLost { holder: None, expires_at: None };
        let named = |token, version| Named { lock_token: token, if_version: version, acknowledge: &[] };
        let table = [
            (named(None, Some(20)), Some(&lock), Some(held)),
            (named(Some(3), Some(20)), Some(&lock), Some(lost.clone())),
            (named(Some(4), Some(20)), Some(&lock), Some(lost)),
            (named(Some(4), None), None, Some(gone)),
            (named(None, Some(20)), None, None),
        ];
        for (named, lock, expected) in table {
            let got = match ask(None, |input| (input.named, input.lock) = (named, lock)) {
                Decision::Pass { .. } => None,
                Decision::Refuse { refusal, remember } => {
                    assert_eq!(remember, None);
                    Some(refusal)
                }
            };
            assert_eq!(got, expected, "{named:?}");
        }
        let own = ReplyLockRow { holder: ANN, ..bobs_lock() };
        let pass = ask(None, |input| (input.named, input.lock) = (named(Some(4), Some(20)), Some(&own)));
        assert_eq!(pass, Decision::Pass { end_lock: true, over: Told::default(), settles: true });
        let expired = ask(None, |input| {
            (input.named, input.lock, input.now) = (named(None, Some(20)), Some(&lock), lock.expires_at);
        });
        assert!(passed(&expired));
    }

    #[test]
    fn a_lock_alone_passes_over_what_was_closed_before_it_was_taken_and_not_over_what_was_sent() {
        let sent = outbound(BOB, 7, OutboundState::Sent);
        let closed = by(Some(BOB), What::Closed);
        let merged = by(Some(BOB), What::Merged);
        for (event, taken_at, expected) in [
            (&closed, 14, false),
            (&closed, 15, true),
            (&merged, 14, false),
            (&merged, 15, true),
            (&sent, 14, false),
            (&sent, 20, false),
        ] {
            let own = ReplyLockRow { holder: ANN, taken_at, ..bobs_lock() };
            let decision = ask(Some(event), |input| {
                input.named.lock_token = Some(4);
                input.lock = Some(&own);
            });
            assert_eq!(passed(&decision), expected, "{event:?} {taken_at}");
        }
    }

    #[test]
    fn a_plain_reply_collides_with_what_came_after_its_basis() {
        use OutboundState::*;
        let table = [
            (outbound(BOB, 7, Sent), 10, false),
            (outbound(BOB, 7, Sent), 15, true),
            (outbound(BOB, 7, Scheduled), 15, false),
            (outbound(BOB, 7, Canceled), 10, true),
            (outbound(ANN, 7, Sent), 10, true),
            (by(None, What::Inbound(EmailId(7))), 10, true),
            (by(Some(BOB), What::Closed), 10, true),
            (by(Some(BOB), What::SiblingReplied(sibling())), 10, false),
            (by(Some(BOB), What::SiblingReplied(sibling())), 15, true),
            (by(Some(ANN), What::SiblingReplied(sibling())), 10, true),
        ];
        for (event, basis, expected) in table {
            assert_eq!(
                passed(&ask(Some(&event), |input| input.basis = basis)),
                expected,
                "{event:?} {basis}"
            );
            // What is no reply collides with none.
            assert!(passed(&ask(Some(&event), |input| (input.basis, input.is_reply) = (basis, false))));
        }
        assert_eq!((basis([3, 9, 4], 50), basis([], 50)), (9, 50));
    }

    #[test]
    fn the_next_attempt_ten_seconds_to_ten_minutes_later_is_yes_to_exactly_what_was_told() {
        let event = outbound(BOB, 7, OutboundState::Sent);
        let lock = bobs_lock();
        let Decision::Refuse { refusal, remember: Some(memory) } = ask(Some(&event), |_| {}) else {
            panic!()
        };
        let Refusal::PlainCollision { told, may_confirm: true } = &refusal else { panic!("{refusal:?}") };
        assert_eq!(told.replies[0].email, EmailId(7));
        let text = refusal.plain_description(&|_| "Bob".to_owned());
        assert!(text.starts_with("Bob replied to this conversation on 1970-01-01T"), "{text}");
        for (wait, expected) in
            [(0, false), (9_999, false), (10_000, true), (600_000, true), (600_001, false)]
        {
            let again = ask(Some(&event), |input| {
                (input.now, input.refused) = (Millis(NOW + wait), Some(&memory));
            });
            assert_eq!(passed(&again), expected, "{wait}");
        }
        // A lock that wasn't told of is something newer.
        let live = ReplyLockRow { expires_at: Millis(NOW + 90_000), ..lock };
        let newer = ask(Some(&event), |input| {
            (input.now, input.refused, input.lock) = (Millis(NOW + 20_000), Some(&memory), Some(&live));
        });
        assert!(!passed(&newer));
        // And so is anything that happened after the refusal.
        let RefusalRow::Plain(refused) = memory else { panic!("plain") };
        let earlier = RefusalRow::Plain(PlainRefusal { version: 14, ..refused });
        let newer = ask(Some(&event), |input| {
            (input.now, input.refused) = (Millis(NOW + 20_000), Some(&earlier));
        });
        assert!(!passed(&newer));
    }

    #[test]
    fn a_yes_over_a_live_lock_kills_its_token_and_the_setting_decides_whether_there_is_a_yes() {
        let lock = ReplyLockRow { expires_at: Millis(NOW + 90_000), ..bobs_lock() };
        let Decision::Refuse { remember: Some(memory), .. } = ask(None, |input| input.lock = Some(&lock))
        else {
            panic!("refused")
        };
        let again = |setting, token| {
            let lock = ReplyLockRow { token, ..lock.clone() };
            ask(None, |input| {
                (input.lock, input.now, input.refused) = (Some(&lock), Millis(NOW + 20_000), Some(&memory));
                input.plain_collision = setting;
            })
        };
        let over = Told {
            lock: Some(ToldLock { holder: BOB, token: 4, expires_at: lock.expires_at }),
            ..Told::default()
        };
        assert_eq!(again(PlainCollision::Confirm, 4), Decision::Pass { end_lock: true, over, settles: true });
        assert!(!passed(&again(PlainCollision::Confirm, 5)));
        assert!(!passed(&again(PlainCollision::Reject, 4)));
        assert!(passed(&again(PlainCollision::Allow, 5)));
    }

    #[test]
    fn equal_content_is_known_again_for_a_day() {
        let address = |text: &str| Address::parse(text).unwrap();
        let one = content_digest(&[address("A@x"), address("b@x")], "Re: Help", b"body");
        assert_eq!(one, content_digest(&[address("b@x"), address("a@x")], "Re: Help", b"body"));
        assert_ne!(one, content_digest(&[address("a@x")], "Re: Help", b"body"));
        assert_ne!(one, content_digest(&[address("a@x"), address("b@x")], "Re: Hel", b"pbody"));
        assert!(is_duplicate(Millis(0), Millis(86_399_999)));
        assert!(!is_duplicate(Millis(0), Millis(86_400_000)));
    }
}
