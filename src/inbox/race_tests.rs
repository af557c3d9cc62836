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
            Act::Lock => {
                let ask = Ask { conversation: ConversationId(1), seconds: None, force: false };
                let last = self.row.last_lock_token;
                let granted = lock::acquire(self.lock.as_ref(), last, ask, 120, member(id), Millis(self.now));
                let free =
                    lock::live(self.lock.as_ref(), Millis(self.now)).is_none_or(|lock| lock.holder == id);
                assert_eq!(granted.is_ok(), free);
                if let Ok(granted) = granted {
                    assert!(granted.row.token > self.row.last_lock_token);
                    self.row.last_lock_token = granted.row.token;
                    self.people[who].token = Some(granted.row.token);
                    self.lock = Some(granted.row);
                }
            }
            Act::Send => self.send(who),
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
