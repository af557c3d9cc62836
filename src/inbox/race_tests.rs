//! A small exhaustive model check: people with different clients do what they like in every order,
//! and no reply ever goes out over a colleague's that its sender neither read nor was told of.

use super::change::Change;
use super::gate::{self, Decision, GateInput, Happened, Named};
use super::lock::{self, Ask};
use super::machine::*;
use super::messages::{First, begin};
use super::refusal::Refusal;
use super::rule_tests::{ANN, BOB, LEA, mail, member, reply, roster};
use crate::store::rows::team::*;
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

#[derive(Clone, Copy, Debug)]
enum Act {
    Read,
    Claim,
    Lock,
    /// A lead takes over another's lock; anybody else is refused.
    Steal,
    Release,
    /// The customer writes again.
    Inbound,
    Send,
    /// Everybody waits: a person's pause, or until each lock is over.
    Wait(i64),
}

#[derive(Clone)]
struct Person {
    id: PrincipalId,
    client: Client,
    /// The position up to which the person has read.
    read: u64,
    known: Vec<EmailId>,
    told: Vec<EmailId>,
    token: Option<u64>,
    refused: Option<RefusalRow>,
}

#[derive(Clone)]
struct World {
    row: ConversationRow,
    lock: Option<ReplyLockRow>,
    events: Vec<(u64, ConversationEvent)>,
    now: i64,
    modseq: u64,
    sent: u32,
    people: Vec<Person>,
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
            read: 1,
            known: vec![],
            told: vec![],
            token: None,
            refused: None,
        };
        let people = people.iter().map(person).collect();
        Self { row, lock: None, events: vec![], now: 0, modseq: 1, sent: 0, people }
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
        let id = self.people[who].id;
        match act {
            Act::Wait(millis) => self.now += millis,
            Act::Read => {
                let sent = self.events.iter().filter_map(|(_, event)| match &event.what {
                    What::Outbound(row) => Some(row.email),
                    _ => None,
                });
                self.people[who].known = sent.collect();
                self.people[who].read = self.modseq;
            }
            Act::Claim => self.claim(id),
            Act::Lock => self.lock(who, false),
            Act::Steal => self.lock(who, true),
            Act::Release => self.release(who),
            Act::Inbound => {
                let mail = Event::Inbound(mail(self.now));
                self.apply(&mail, Actor::System(Cause::Mail), None).unwrap();
            }
            Act::Send => self.send(who),
        }
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
            self.people[who].token = Some(granted.row.token);
            self.lock = Some(granted.row);
            if let Some(from) = held.filter(|holder| *holder != id) {
                self.apply(&Event::LockTakenOver { from }, member(id), None).unwrap();
            }
        }
    }

    /// Whose lock it isn't any more gives nothing back.
    fn release(&mut self, who: usize) {
        let (id, now) = (self.people[who].id, Millis(self.now));
        let Some(token) = self.people[who].token.take() else { return };
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

    fn send(&mut self, who: usize) {
        let person = self.people[who].clone();
        let happened: Vec<Happened<'_>> =
            self.events.iter().map(|(version, event)| Happened { version: *version, event }).collect();
        let named = match person.client {
            Client::Naming => {
                Named { lock_token: person.token, if_version: Some(person.read), acknowledge: &person.told }
            }
            Client::LockOnly => {
                Named { lock_token: person.token.or(Some(0)), if_version: None, acknowledge: &person.told }
            }
            Client::Plain => Named::default(),
        };
        let decision = gate::decide(&GateInput {
            now: Millis(self.now),
            conversation: &self.row,
            sender: person.id,
            is_reply: true,
            named,
            basis: person.read,
            lock: self.lock.as_ref(),
            happened: &happened,
            refused: person.refused.as_ref(),
            plain_collision: PlainCollision::Confirm,
        });
        match decision {
            Decision::Refuse { refusal, remember } => {
                if let Refusal::ConversationChanged { told, .. } | Refusal::PlainCollision { told, .. } =
                    &refusal
                {
                    self.people[who].told.extend(told.replies.iter().map(|reply| reply.email));
                }
                if remember.is_some() {
                    self.people[who].refused = remember;
                }
            }
            Decision::Pass { end_lock, .. } => self.goes_out(&person, who, end_lock),
        }
    }

    fn goes_out(&mut self, person: &Person, who: usize, end_lock: bool) {
        for (_, event) in &self.events {
            if let What::Outbound(row) = &event.what
                && row.author != person.id
            {
                let aware = person.known.contains(&row.email) || person.told.contains(&row.email);
                assert!(aware, "{:?} answered over a reply that they knew nothing of", person.id);
            }
        }
        if person.client == Client::Naming {
            let unseen = |(version, event): &&(u64, ConversationEvent)| {
                *version > person.read && event.actor != Some(person.id)
            };
            let unseen = self.events.iter().find(unseen);
            assert!(unseen.is_none(), "{:?} sent over {unseen:?}", person.id);
        }
        let others =
            lock::live(self.lock.as_ref(), Millis(self.now)).is_some_and(|lock| lock.holder != person.id);
        assert!(!others || (end_lock && person.client == Client::Plain), "sent past a live lock");
        if end_lock {
            self.lock = None;
        }
        self.sent += 1;
        let email = EmailId(100 + self.sent);
        let row = OutboundRow {
            email,
            author: person.id,
            submission: SubmissionId(self.sent),
            at: Millis(self.now),
            state: OutboundState::Sent,
            reply: true,
        };
        let event = Event::Outbound(reply(email.0, self.now));
        self.apply(&event, member(person.id), Some(What::Outbound(row))).unwrap();
        let person = &mut self.people[who];
        (person.refused, person.token) = (None, None);
    }
}

fn explore(world: &World, acts: &[Act], depth: u32, count: &mut u64) {
    *count += 1;
    if depth == 0 {
        return;
    }
    for who in 0..world.people.len() {
        for &act in acts {
            // Waiting is everybody's: one person's is enough.
            if matches!(act, Act::Wait(_)) && who > 0 {
                continue;
            }
            let mut next = world.clone();
            next.step(who, act);
            explore(&next, acts, depth - 1, count);
        }
    }
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
fn nor_does_any_order_of_three_peoples_acts_with_a_lead_among_them() {
    let acts = [Act::Claim, Act::Lock, Act::Send, Act::Wait(11_000)];
    let people = [(ANN, Client::Naming), (BOB, Client::Plain), (LEA, Client::LockOnly)];
    explore(&World::new(&people), &acts, 5, &mut 0);
}

const ALL: [Act; 9] = [
    Act::Read,
    Act::Claim,
    Act::Lock,
    Act::Steal,
    Act::Release,
    Act::Inbound,
    Act::Send,
    Act::Wait(11_000),
    Act::Wait(121_000),
];

#[test]
fn nor_does_any_order_of_four_of_all_acts_by_three_people() {
    for clients in
        [[Client::Naming, Client::Plain, Client::LockOnly], [Client::Plain; 3], [Client::Naming; 3]]
    {
        let people = [(ANN, clients[0]), (BOB, clients[1]), (LEA, clients[2])];
        let mut count = 0;
        explore(&World::new(&people), &ALL, 4, &mut count);
        assert!(count > 100_000, "{count} orders");
    }
}

#[test]
fn nor_does_a_long_random_order_of_all_acts_by_three_people() {
    let clients = [Client::Naming, Client::LockOnly, Client::Plain];
    let mut sent = 0;
    for seed in 1..3000_u64 {
        // xorshift64*: a failure names its seed.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
        };
        let people: Vec<_> = [ANN, BOB, LEA].into_iter().map(|id| (id, clients[roll(3)])).collect();
        let steps: Vec<(usize, Act)> = (0..16).map(|_| (roll(3), ALL[roll(ALL.len())])).collect();
        let mut world = World::new(&people);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            steps.iter().for_each(|(who, act)| world.step(*who, *act));
        }));
        assert!(done.is_ok(), "seed {seed}: {people:?} {steps:?}");
        sent += world.sent;
    }
    assert!(sent > 1000, "{sent} sent");
}
