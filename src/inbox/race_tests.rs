//! A small exhaustive model check: people with different clients do what they like in every order, mail
//! comes in, scheduled messages fall due and the server dies; and no reply ever goes out over a colleague's
//! that its sender neither read nor was told of, nor one and the same twice.
//!
//! The gate, the lock and the state machine are the real ones; the model has what surrounds them: what is
//! stored, and what each person knows. A refusal counts as told once it was given, since no server hears
//! whether its answer came through.

use super::change::Change;
use super::gate::{self, Decision, GateInput, Happened, Named};
use super::lock::{self, Ask};
use super::machine::*;
use super::messages::{First, begin};
use super::refusal::Refusal;
use super::rule_tests::{ANN, BOB, LEA, mail, member, reply, roster};
use crate::store::rows::submission::ScheduledSendRow;
use crate::store::rows::team::*;
use crate::types::limits::{PLAIN_YES_SECONDS_MAX, PLAIN_YES_SECONDS_MIN};
use crate::types::*;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Client {
    /// Names the version it read and its lock.
    Naming,
    /// Names its lock only.
    LockOnly,
    /// Names nothing.
    Plain,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Act {
    Read,
    Claim,
    Lock,
    /// A lead takes over another's lock; anybody else is refused.
    Steal,
    Release,
    Send,
    /// Sends later: the gate is asked now, and again when the time has come.
    Schedule,
    /// The customer writes again.
    Inbound,
    /// The oldest message that waits to be sent is due.
    Fire,
    /// The server dies and starts again: what is stored stays, and the answers to everybody's last acts are lost.
    Crash,
    /// Everybody waits: a person's pause, or until each lock is over.
    Wait(i64),
}

impl Act {
    /// Whoever is said to do it, the same happens.
    fn is_nobodys(self) -> bool {
        matches!(self, Act::Inbound | Act::Fire | Act::Crash | Act::Wait(_))
    }
}

/// What a person's client knows; it learns by answers.
#[derive(Clone)]
struct Knowledge {
    /// The position up to which the person has read.
    read: u64,
    known: Vec<EmailId>,
    told: Vec<EmailId>,
    token: Option<u64>,
    /// The message that the person sends next: a new one once it is known that the last one went out.
    letter: u32,
}

/// What a plain client was refused last.
#[derive(Clone)]
struct Asked {
    at: i64,
    version: u64,
    replies: Vec<EmailId>,
    lock: Option<u64>,
}

#[derive(Clone)]
struct Person {
    id: PrincipalId,
    client: Client,
    knows: Knowledge,
    /// The same before the last act.
    before: Option<Knowledge>,
    asked: Option<Asked>,
    refused: Option<RefusalRow>,
}

/// A submission.
#[derive(Clone)]
struct Made {
    author: PrincipalId,
    letter: u32,
    email: EmailId,
    at: i64,
    state: OutboundState,
    /// What is stored of one that waits.
    row: ScheduledSendRow,
    /// The colleagues' replies that its author knew of.
    aware: Vec<EmailId>,
}

/// How often something happened that the check is about.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    sent: u32,
    released: u32,
    held: u32,
    repeated: u32,
    confirmed: u32,
}

#[derive(Clone)]
struct World {
    row: ConversationRow,
    lock: Option<ReplyLockRow>,
    events: Vec<(u64, ConversationEvent)>,
    made: Vec<Made>,
    now: i64,
    modseq: u64,
    people: Vec<Person>,
    counts: Counts,
}

impl World {
    fn new(people: &[(PrincipalId, Client)]) -> Self {
        let (settings, roster) = (InboxSettingsRow::default(), roster());
        let actor = Actor::System(Cause::Mail);
        let context = Context { settings: &settings, roster: &roster, actor, now: Millis(0), modseq: 1 };
        let row = begin("Help".into(), None, &First::Inbound(mail(0)), context).unwrap().conversation;
        let person = |&(id, client): &(PrincipalId, Client)| Person {
            id,
            client,
            knows: Knowledge { read: 1, known: vec![], told: vec![], token: None, letter: 0 },
            before: None,
            asked: None,
            refused: None,
        };
        let people = people.iter().map(person).collect();
        let counts = Counts::default();
        Self { row, lock: None, events: vec![], made: vec![], now: 0, modseq: 1, people, counts }
    }

    fn apply(&mut self, event: &Event, actor: Actor, more: Option<What>) -> Result<(), Refusal> {
        let (settings, roster) = (InboxSettingsRow::default(), roster());
        let modseq = self.modseq + 1;
        let context = Context { settings: &settings, roster: &roster, actor, now: Millis(self.now), modseq };
        let applied = apply(&self.row, event, context)?;
        self.modseq = modseq;
        let more = more.map(|what| ConversationEvent { actor: actor.principal(), what });
        let events = gate::events_of(&applied.effects, actor).into_iter().chain(more);
        self.events.extend(events.map(|event| (modseq, event)));
        self.row = applied.conversation;
        Ok(())
    }

    fn step(&mut self, who: usize, act: Act) {
        let person = &mut self.people[who];
        let id = person.id;
        if !act.is_nobodys() {
            person.before = Some(person.knows.clone());
        }
        match act {
            Act::Wait(millis) => self.now += millis,
            Act::Read => self.read(who),
            Act::Claim => self.claim(id),
            Act::Lock => self.lock(who, false),
            Act::Steal => self.lock(who, true),
            Act::Release => self.release(who),
            Act::Send => self.submit(who, false),
            Act::Schedule => self.submit(who, true),
            Act::Inbound => {
                let mail = Event::Inbound(mail(self.now));
                self.apply(&mail, Actor::System(Cause::Mail), None).unwrap();
            }
            Act::Fire => self.fire(),
            Act::Crash => {
                for person in &mut self.people {
                    if let Some(before) = person.before.take() {
                        person.knows = before;
                    }
                }
            }
        }
    }

    fn read(&mut self, who: usize) {
        let replies = self.events.iter().filter_map(|(_, event)| match &event.what {
            What::Outbound(row) => Some(row.email),
            _ => None,
        });
        let knows = &mut self.people[who].knows;
        knows.known = replies.collect();
        knows.read = self.modseq;
    }

    fn lock(&mut self, who: usize, force: bool) {
        let id = self.people[who].id;
        let ask = Ask { conversation: ConversationId(1), seconds: None, force };
        let granted = lock::acquire(self.lock.as_ref(), &self.row, ask, 120, member(id), Millis(self.now));
        let held = lock::live(self.lock.as_ref(), Millis(self.now)).map(|lock| lock.holder);
        let free = held.is_none_or(|holder| holder == id);
        assert_eq!(granted.is_ok(), free || (force && id == LEA));
        if let Ok(granted) = granted {
            assert!(granted.row.token > self.row.last_lock_token);
            self.row.last_lock_token = granted.row.token;
            self.people[who].knows.token = Some(granted.row.token);
            self.lock = Some(granted.row);
            if let Some(from) = held.filter(|holder| *holder != id) {
                self.apply(&Event::LockTakenOver { from }, member(id), None).unwrap();
            }
        }
    }

    /// Whose lock it isn't any more gives nothing back.
    fn release(&mut self, who: usize) {
        let (id, now) = (self.people[who].id, Millis(self.now));
        let Some(token) = self.people[who].knows.token.take() else { return };
        let own =
            lock::live(self.lock.as_ref(), now).is_some_and(|lock| lock.holder == id && lock.token == token);
        let released = lock::release(self.lock.as_ref(), token, id, now);
        assert_eq!(released.is_ok(), own);
        if own {
            self.lock = None;
        }
    }

    fn claim(&mut self, id: PrincipalId) {
        let before = self.row.owner;
        let change = Change { owner: Some(Some(id)), ..Change::default() };
        let result = self.apply(&Event::Set { change, expect: Expect::default() }, member(id), None);
        let version = self.row.version;
        if before.is_none_or(|owner| owner == id) {
            assert_eq!((result, self.row.owner), (Ok(()), Some(id)));
        } else {
            assert_eq!(result, Err(Refusal::OwnerMismatch { owner: before, version }));
            assert_eq!(self.row.owner, before);
        }
    }

    fn submit(&mut self, who: usize, later: bool) {
        let person = self.people[who].clone();
        let now = Millis(self.now);
        let repeats = |made: &&Made| {
            (made.author, made.letter) == (person.id, person.knows.letter)
                && made.state != OutboundState::Canceled
                && gate::is_duplicate(Millis(made.at), now)
        };
        if self.made.iter().any(|made| repeats(&made)) {
            // The first one is the answer, and nothing is sent.
            self.people[who].knows.letter += 1;
            self.counts.repeated += 1;
            return;
        }
        let named = named_by(&person);
        match self.ask(&person, named) {
            Decision::Refuse { refusal, remember } => self.refuse(who, &refusal, remember),
            Decision::Pass { end_lock, over, .. } => {
                self.must_know(&person, end_lock);
                if end_lock {
                    self.lock = None;
                }
                let mut acknowledged = named.acknowledge.to_vec();
                acknowledged.extend(over.replies.iter().map(|reply| reply.email));
                let is_named = named.lock_token.is_some() || named.if_version.is_some();
                self.make(&person, later, is_named, acknowledged);
                let person = &mut self.people[who];
                (person.refused, person.asked) = (None, None);
                (person.knows.token, person.knows.letter) = (None, person.knows.letter + 1);
            }
        }
    }

    fn ask(&self, person: &Person, named: Named<'_>) -> Decision {
        let happened: Vec<Happened<'_>> =
            self.events.iter().map(|(version, event)| Happened { version: *version, event }).collect();
        gate::decide(&GateInput {
            now: Millis(self.now),
            conversation: &self.row,
            sender: person.id,
            is_reply: true,
            named,
            basis: person.knows.read,
            lock: self.lock.as_ref(),
            happened: &happened,
            refused: person.refused.as_ref(),
            plain_collision: PlainCollision::Confirm,
        })
    }

    fn refuse(&mut self, who: usize, refusal: &Refusal, remember: Option<RefusalRow>) {
        let (at, version) = (self.now, self.modseq);
        let person = &mut self.people[who];
        let replies = |told: &Told| told.replies.iter().map(|reply| reply.email).collect::<Vec<_>>();
        match refusal {
            Refusal::ConversationChanged { told, .. } => person.knows.told.extend(replies(told)),
            Refusal::PlainCollision { told, .. } => {
                let lock = told.lock.map(|lock| lock.token);
                person.asked = Some(Asked { at, version, replies: replies(told), lock });
            }
            _ => {}
        }
        if remember.is_some() {
            person.refused = remember;
        }
    }

    fn make(&mut self, person: &Person, later: bool, named: bool, acknowledged: Vec<EmailId>) {
        let email = EmailId(100 + self.made.len() as u32);
        let state = if later { OutboundState::Scheduled } else { OutboundState::Sent };
        let submission = SubmissionId(email.0);
        let event = match later {
            true => Event::SendScheduled { email, submission, counted: false },
            false => Event::Outbound(reply(email.0, self.now)),
        };
        let told = self.outbound(person.id, email, state);
        self.apply(&event, member(person.id), Some(told)).unwrap();
        let mut aware = [person.knows.known.as_slice(), &person.knows.told].concat();
        aware.extend(person.asked.iter().flat_map(|asked| &asked.replies));
        let version = self.modseq;
        let row = ScheduledSendRow { version, named, acknowledged, ..ScheduledSendRow::default() };
        let letter = person.knows.letter;
        self.counts.sent += u32::from(!later);
        self.made.push(Made { author: person.id, letter, email, at: self.now, state, row, aware });
    }

    fn outbound(&self, author: PrincipalId, email: EmailId, state: OutboundState) -> What {
        let (submission, at) = (SubmissionId(email.0), Millis(self.now));
        What::Outbound(OutboundRow { email, author, submission, at, state, reply: true })
    }

    /// The live lock of somebody else, and the colleagues' replies that went out or will.
    fn of_others(&self, id: PrincipalId) -> (Option<u64>, Vec<(u64, &OutboundRow)>) {
        let lock = lock::live(self.lock.as_ref(), Millis(self.now)).filter(|lock| lock.holder != id);
        let replies = self.events.iter().filter_map(|(version, event)| match &event.what {
            What::Outbound(row) if row.author != id && row.state != OutboundState::Canceled => {
                Some((*version, row))
            }
            _ => None,
        });
        (lock.map(|lock| lock.token), replies.collect())
    }

    /// What holds where the gate lets a submission pass.
    fn must_know(&mut self, person: &Person, end_lock: bool) {
        let (lock, replies) = self.of_others(person.id);
        let (id, knows) = (person.id, &person.knows);
        if person.client == Client::Plain {
            let is_read = |(version, row): &(u64, &OutboundRow)| {
                row.state == OutboundState::Sent && *version <= knows.read
            };
            let over: Vec<EmailId> =
                replies.iter().filter(|one| !is_read(one)).map(|(_, row)| row.email).collect();
            assert!(lock.is_none() || end_lock, "{id:?} sent past a live lock");
            if lock.is_some() || !over.is_empty() {
                assert!(self.has_said_yes(person, lock, &over), "{id:?} never said yes to {lock:?} {over:?}");
                self.counts.confirmed += 1;
            }
            return;
        }
        assert_eq!(lock, None, "{id:?} sent past a live lock");
        for (_, row) in replies {
            let aware = knows.known.contains(&row.email) || knows.told.contains(&row.email);
            assert!(aware, "{id:?} answered over a reply that they knew nothing of");
        }
        if person.client == Client::Naming {
            let unseen =
                self.events.iter().find(|(version, event)| *version > knows.read && weighs(event, id));
            assert!(unseen.is_none(), "{id:?} sent over {unseen:?}");
        }
    }

    /// Whether a plain client was told of all this ten seconds to ten minutes ago, and nothing happened since.
    fn has_said_yes(&self, person: &Person, lock: Option<u64>, over: &[EmailId]) -> bool {
        let Some(asked) = &person.asked else { return false };
        let [earliest, latest] =
            [PLAIN_YES_SECONDS_MIN, PLAIN_YES_SECONDS_MAX].map(|limit| limit as i64 * 1000);
        let in_time = (earliest..=latest).contains(&(self.now - asked.at));
        let newer =
            self.events.iter().any(|(version, event)| *version > asked.version && weighs(event, person.id));
        let told = over.iter().all(|email| asked.replies.contains(email));
        in_time && !newer && told && (lock.is_none() || asked.lock == lock)
    }

    /// Releases what has waited longest, as `scheduling::release_inbox` and `ask_gate` do.
    fn fire(&mut self) {
        let waits = |made: &Made| made.state == OutboundState::Scheduled;
        let Some(at) = self.made.iter().position(waits) else { return };
        let made = self.made[at].clone();
        let counts = |event: &ConversationEvent| match &event.what {
            What::Outbound(other) => {
                other.state == OutboundState::Sent && !made.row.acknowledged.contains(&other.email)
            }
            _ => true,
        };
        let since =
            self.events.iter().filter(|(version, event)| *version > made.row.version && counts(event));
        let happened: Vec<Happened<'_>> =
            since.map(|(version, event)| Happened { version: *version, event }).collect();
        let decision = gate::decide(&GateInput {
            now: Millis(self.now),
            conversation: &self.row,
            sender: made.author,
            is_reply: true,
            named: Named { if_version: made.row.named.then_some(made.row.version), ..Named::default() },
            basis: made.row.version,
            lock: self.lock.as_ref(),
            happened: &happened,
            refused: None,
            plain_collision: PlainCollision::Confirm,
        });
        let of_it =
            |event: &ConversationEvent| matches!(&event.what, What::Outbound(row) if row.email == made.email);
        let Decision::Pass { end_lock, .. } = decision else {
            for (_, event) in self.events.iter_mut().filter(|(_, event)| of_it(event)) {
                if let What::Outbound(row) = &mut event.what {
                    row.state = OutboundState::Canceled;
                }
            }
            self.made[at].state = OutboundState::Canceled;
            let held =
                Event::SendHeld { email: made.email, submission: SubmissionId(made.email.0), is_sent: false };
            self.apply(&held, Actor::System(Cause::Timer), None).unwrap();
            self.counts.held += 1;
            return;
        };
        self.events.retain(|(_, event)| !of_it(event));
        let (lock, replies) = self.of_others(made.author);
        assert_eq!(lock, None, "{:?}'s message was released past a live lock", made.author);
        for (_, row) in replies.iter().filter(|(_, row)| row.state == OutboundState::Sent) {
            let aware = made.aware.contains(&row.email);
            assert!(aware, "{:?}'s message was released over a reply that they knew nothing of", made.author);
        }
        if end_lock {
            self.lock = None;
        }
        self.made[at].state = OutboundState::Sent;
        let told = self.outbound(made.author, made.email, OutboundState::Sent);
        let event = Event::Outbound(reply(made.email.0, self.now));
        self.apply(&event, member(made.author), Some(told)).unwrap();
        self.counts.released += 1;
    }

    /// Each message of each person went out once at most, whatever was lost.
    fn must_be_single(&self) {
        for (at, made) in self.made.iter().enumerate() {
            let same = |other: &&Made| {
                (other.author, other.letter) == (made.author, made.letter)
                    && other.state != OutboundState::Canceled
            };
            let goes = made.state != OutboundState::Canceled;
            let again = self.made[at + 1..].iter().any(|other| same(&other));
            assert!(!(goes && again), "{:?}'s message {} goes out twice", made.author, made.letter);
        }
    }
}

/// Whether somebody else did it, and it wasn't taken back.
fn weighs(event: &ConversationEvent, id: PrincipalId) -> bool {
    let canceled = matches!(&event.what, What::Outbound(row) if row.state == OutboundState::Canceled);
    event.actor != Some(id) && !canceled
}

/// What a client names beside its message.
fn named_by(person: &Person) -> Named<'_> {
    let acknowledge = person.knows.told.as_slice();
    match person.client {
        Client::Naming => {
            Named { lock_token: person.knows.token, if_version: Some(person.knows.read), acknowledge }
        }
        Client::LockOnly => {
            Named { lock_token: person.knows.token.or(Some(0)), if_version: None, acknowledge }
        }
        Client::Plain => Named::default(),
    }
}

fn explore(world: &World, acts: &[Act], depth: u32, count: &mut u64) {
    *count += 1;
    if depth == 0 {
        world.must_be_single();
        return;
    }
    for who in 0..world.people.len() {
        for &act in acts {
            // What is nobody's is tried once.
            if act.is_nobodys() && who > 0 {
                continue;
            }
            let mut next = world.clone();
            next.step(who, act);
            explore(&next, acts, depth - 1, count);
        }
    }
}

/// The check itself can fail: what is told too shortly before, too long ago, of something else or before
/// something newer is no yes.
#[test]
fn a_yes_is_one_only_to_what_was_told_and_only_in_its_time() {
    let mut world = World::new(&[(ANN, Client::Plain), (BOB, Client::Naming)]);
    world.step(1, Act::Send);
    world.step(0, Act::Send);
    assert_eq!((world.counts.sent, world.counts.confirmed), (1, 0));
    let person = world.people[0].clone();
    let theirs = world.made[0].email;
    let after = |millis: i64| World { now: millis, ..world.clone() };
    for (millis, expected) in [(0, false), (9_999, false), (10_000, true), (600_000, true), (600_001, false)]
    {
        assert_eq!(after(millis).has_said_yes(&person, None, &[theirs]), expected, "{millis}");
    }
    let later = after(20_000);
    assert!(!later.has_said_yes(&person, None, &[theirs, EmailId(7)]), "another reply");
    assert!(!later.has_said_yes(&person, Some(1), &[theirs]), "a lock");
    let unasked = Person { asked: None, ..person.clone() };
    assert!(!later.has_said_yes(&unasked, None, &[theirs]));
    let mut newer = later;
    newer.step(0, Act::Inbound);
    assert!(!newer.has_said_yes(&person, None, &[theirs]), "the customer wrote meanwhile");
}

#[test]
fn no_order_of_two_peoples_acts_sends_a_reply_over_one_that_its_sender_knew_nothing_of() {
    let acts = [Act::Read, Act::Claim, Act::Lock, Act::Send, Act::Wait(11_000), Act::Wait(121_000)];
    let clients = [Client::Naming, Client::LockOnly, Client::Plain];
    for one in clients {
        for other in clients {
            let mut count = 0;
            explore(&World::new(&[(ANN, one), (BOB, other)]), &acts, 5, &mut count);
            assert!(count > 100_000, "{count} orders");
        }
    }
}

#[test]
fn nor_does_any_order_of_six_acts_that_matter_for_sending() {
    let acts = [Act::Lock, Act::Send, Act::Read, Act::Wait(11_000)];
    for other in [Client::Naming, Client::Plain] {
        explore(&World::new(&[(ANN, Client::Plain), (BOB, other)]), &acts, 6, &mut 0);
    }
}

#[test]
fn nor_does_any_order_of_seven_acts_that_matter_for_a_yes() {
    let acts = [Act::Send, Act::Inbound, Act::Wait(6_000), Act::Wait(595_000)];
    for other in [Client::Naming, Client::Plain] {
        explore(&World::new(&[(ANN, Client::Plain), (BOB, other)]), &acts, 7, &mut 0);
    }
}

#[test]
fn nor_does_any_order_of_six_acts_with_messages_that_wait_and_a_server_that_dies() {
    let acts = [Act::Send, Act::Schedule, Act::Read, Act::Fire, Act::Crash, Act::Wait(11_000)];
    let clients = [Client::Naming, Client::LockOnly, Client::Plain];
    for (one, other) in clients.iter().flat_map(|one| clients.map(|other| (*one, other))) {
        explore(&World::new(&[(ANN, one), (BOB, other)]), &acts, 5, &mut 0);
    }
    for clients in [[Client::Plain; 2], [Client::Naming, Client::Plain]] {
        explore(&World::new(&[(ANN, clients[0]), (BOB, clients[1])]), &acts, 6, &mut 0);
    }
}

#[test]
fn nor_does_any_order_of_three_peoples_acts_with_a_lead_among_them() {
    let acts = [Act::Claim, Act::Lock, Act::Send, Act::Wait(11_000)];
    let people = [(ANN, Client::Naming), (BOB, Client::Plain), (LEA, Client::LockOnly)];
    explore(&World::new(&people), &acts, 5, &mut 0);
}

const ALL: [Act; 12] = [
    Act::Read,
    Act::Claim,
    Act::Lock,
    Act::Steal,
    Act::Release,
    Act::Send,
    Act::Schedule,
    Act::Inbound,
    Act::Fire,
    Act::Crash,
    Act::Wait(11_000),
    Act::Wait(121_000),
];

#[test]
fn nor_does_any_order_of_all_acts_by_three_people() {
    let mixed = [Client::Naming, Client::Plain, Client::LockOnly];
    for (clients, depth) in [(mixed, 5), ([Client::Plain; 3], 4), ([Client::Naming; 3], 4)] {
        let people = [(ANN, clients[0]), (BOB, clients[1]), (LEA, clients[2])];
        let mut count = 0;
        explore(&World::new(&people), &ALL, depth, &mut count);
        assert!(count > 400_000, "{count} orders");
    }
}

#[test]
fn nor_does_a_long_random_order_of_all_acts_by_three_people() {
    let clients = [Client::Naming, Client::LockOnly, Client::Plain];
    let mut sum = Counts::default();
    for seed in 1..6000_u64 {
        // xorshift64*: a failure names its seed.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
        };
        let people: Vec<_> = [ANN, BOB, LEA].into_iter().map(|id| (id, clients[roll(3)])).collect();
        let steps: Vec<(usize, Act)> = (0..24).map(|_| (roll(3), ALL[roll(ALL.len())])).collect();
        let mut world = World::new(&people);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            steps.iter().for_each(|(who, act)| world.step(*who, *act));
            world.must_be_single();
        }));
        assert!(done.is_ok(), "seed {seed}: {people:?} {steps:?}");
        let counts = world.counts;
        sum.sent += counts.sent;
        sum.released += counts.released;
        sum.held += counts.held;
        sum.repeated += counts.repeated;
        sum.confirmed += counts.confirmed;
    }
    // Every way to end was gone often.
    let all = [sum.sent, sum.released, sum.held, sum.repeated, sum.confirmed];
    assert!(all.into_iter().all(|count| count > 100), "{sum:?}");
}
