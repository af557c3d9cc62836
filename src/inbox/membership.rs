//! Who works in an inbox: people join, leave and take another role, with all that follows from it in
//! the same transaction.
//!
//! Invariants: from the commit on, whoever may not work here any more holds no lock, has nothing
//! scheduled and owns no more open work than one commit could not take; a timer that is written with it
//! takes the rest in steps, after a restart too. A draft of somebody who left needs no write: it is the
//! leads' by the rules. Closed work keeps who did it, and is not even looked at.

use super::admin::AdminError;
use super::desk::{Desk, DeskResult, Staff, TimerKind};
use super::machine::{Actor, Entry, Event};
use super::{scheduling, server};
use crate::auth::{AuthError, View, accounts};
use crate::mail::{mailbox, viewer};
use crate::store::keys::Key;
use crate::store::rows::directory::AccountRow;
use crate::store::rows::mail::MailboxRow;
use crate::store::rows::sharing::{Entity, ShareNotificationRow};
use crate::store::rows::team::{ActivityKind, ActivityValue, Cause, Explain, Reason, Status};
use crate::store::{List, Read, Row, StoreResult, Txn, keys, list};
use crate::types::*;

/// Conversations that one transaction takes from a person.
pub const RELEASED_AT_ONCE: usize = 50;

/// A change of somebody's membership.
#[derive(Clone, Debug)]
pub struct Change {
    pub inbox: AccountId,
    pub person: PrincipalId,
    /// `None`: they leave.
    pub role: Option<MemberRole>,
    pub by: Entity,
}

/// The operator at the command line.
pub fn operator() -> Entity {
    Entity { name: "The operator of the server".to_owned(), email: None, principal: None }
}

/// The accounts whose locks a change needs beside that of the directory.
pub fn accounts_of(view: &View, inbox: AccountId, person: PrincipalId) -> Vec<AccountId> {
    let own = view.principal(person).and_then(|row| row.account);
    [inbox].into_iter().chain(own).collect()
}

/// Changes a membership.
pub fn change(txn: &mut Txn<'_>, change: &Change) -> Result<(), AdminError> {
    let (inbox, person) = (change.inbox, change.person);
    let before = accounts::role_of(txn, inbox, person)?;
    match change.role {
        Some(role) => accounts::set_member(txn, inbox, person, role)?,
        None => accounts::remove_member(txn, inbox, person)?,
    }
    match (before, change.role) {
        (None, Some(_)) => {
            viewer::join(txn, inbox, person)?;
            subscribe(txn, inbox, person)?;
        }
        (Some(_), None) => viewer::leave(txn, inbox, person)?,
        _ => {}
    }
    let view = View::load(txn)?;
    let staff = server::staff(&view, inbox);
    Desk::open(txn, inbox, Actor::System(Cause::User), &staff)?.keep_mailboxes()?;
    record(txn, &staff, inbox, person, (before, change.role))?;
    if !staff.roster.can_own(person) {
        release(txn, &staff, inbox, person)?;
    }
    notify(txn, &view, change, before)
}

/// What goes with a first member of a new inbox, which the directory has already.
pub fn begin(txn: &mut Txn<'_>, joined: &Change) -> Result<(), AdminError> {
    let view = View::load(txn)?;
    let staff = server::staff(&view, joined.inbox);
    Desk::open(txn, joined.inbox, Actor::System(Cause::User), &staff)?.keep_mailboxes()?;
    record(txn, &staff, joined.inbox, joined.person, (None, joined.role))?;
    notify(txn, &view, joined, None)
}

/// Puts a change of membership on the inbox's record.
fn record(
    txn: &mut Txn<'_>,
    staff: &Staff,
    inbox: AccountId,
    person: PrincipalId,
    roles: (Option<MemberRole>, Option<MemberRole>),
) -> Result<(), AdminError> {
    let who = ActivityValue::Principal(person);
    let role = |role: Option<MemberRole>| role.map_or(ActivityValue::None, ActivityValue::Role);
    let (kind, before, after) = match roles {
        (None, new) => (ActivityKind::MemberJoined, who, role(new)),
        (Some(_), None) => (ActivityKind::MemberLeft, who, ActivityValue::None),
        (old, new) if old == new => return Ok(()),
        (old, new) => (ActivityKind::RoleChanged, role(old), role(new)),
    };
    let mut desk = Desk::open(txn, inbox, Actor::System(Cause::User), staff)?;
    let explain = (kind == ActivityKind::RoleChanged).then_some(Explain { reason: Reason::Member, of: who });
    desk.record(None, &Entry { kind, before: before.into(), after: after.into(), explain })?;
    Ok(())
}

/// Ends what somebody who may not work here any more holds, and takes their open work from them, as much
/// as fits. True where some is left: the timer for it is due at once.
pub fn release(txn: &mut Txn<'_>, staff: &Staff, inbox: AccountId, person: PrincipalId) -> DeskResult<bool> {
    // What waits to be sent is held at once, whatever else there is no room for.
    let mut is_more = scheduling::hold_all_of(txn, staff, inbox, person)?;
    // What is released leaves these lists, so that no step meets it again.
    let found = open_work(txn, inbox, person, RELEASED_AT_ONCE + 1)?;
    is_more |= found.len() > RELEASED_AT_ONCE;
    // Somebody leaves several inboxes in one commit where they are disabled.
    let is_begun = !txn.has_room_for(limits::COMMIT_BYTES_MAX * 3 / 4);
    let mut desk = Desk::open(txn, inbox, Actor::System(Cause::User), staff)?;
    desk.end_locks_of(person)?;
    for (at, id) in found.into_iter().take(RELEASED_AT_ONCE).enumerate() {
        if (at > 0 || is_begun) && !desk.has_room_for(id)? {
            is_more = true;
            break;
        }
        desk.apply(id, &Event::MemberLeft { principal: person }, Vec::new())?;
    }
    let timer = timer(inbox, person);
    match ((txn as &dyn Read).has(&timer)?, is_more) {
        (false, true) => txn.put_at(timer, &())?,
        (true, false) => txn.delete_at(timer),
        _ => {}
    }
    Ok(is_more)
}

/// Takes the next step of a release whose timer came. Somebody who may work here again keeps what is
/// still theirs.
pub(super) fn go_on(
    txn: &mut Txn<'_>,
    staff: &Staff,
    inbox: AccountId,
    person: PrincipalId,
) -> DeskResult<()> {
    if staff.roster.can_own(person) {
        txn.delete_at(timer(inbox, person));
        return Ok(());
    }
    release(txn, staff, inbox, person).map(|_| ())
}

/// The timer of a release that isn't done. Its time is always over.
fn timer(inbox: AccountId, person: PrincipalId) -> Key {
    keys::due(keys::Kind::Timer, Millis(0), inbox, TimerKind::MemberRelease as u8, person.0)
}

/// What somebody owns that isn't closed, at most `limit`.
fn open_work(
    read: &dyn Read,
    inbox: AccountId,
    person: PrincipalId,
    limit: usize,
) -> StoreResult<Vec<ConversationId>> {
    let mut found = Vec::new();
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Closed) {
        let owned = List::ConversationsOf(status as u8, Some(person));
        let entries = list::page(read, inbox, owned, 0, limit - found.len(), false)?;
        found.extend(entries.iter().map(|entry| ConversationId(entry.place.id)));
    }
    Ok(found)
}

/// Joining subscribes to the mailboxes that the server keeps, and to no folder of people's own
/// (RFC 8621 §2), whatever an earlier membership left.
fn subscribe(txn: &mut Txn<'_>, inbox: AccountId, person: PrincipalId) -> Result<(), AdminError> {
    for (id, mut row) in mailbox::all(txn, inbox)? {
        let known = row.unsubscribed.len() + row.subscribed.len();
        row.unsubscribed.retain(|other| *other != person);
        row.subscribed.retain(|other| *other != person);
        if row.unsubscribed.len() + row.subscribed.len() != known {
            txn.put_at(MailboxRow::key(inbox, id), &row)?;
        }
    }
    Ok(())
}

/// Tells the person that what they may do has changed (RFC 9670 §3). Somebody without an account of
/// their own has nowhere to be told.
fn notify(
    txn: &mut Txn<'_>,
    view: &View,
    change: &Change,
    old_role: Option<MemberRole>,
) -> Result<(), AdminError> {
    let works = |role: Option<MemberRole>| role.map(|role| role >= MemberRole::Agent);
    let own = view.principal(change.person).and_then(|row| row.account);
    let Some(own) = own.filter(|_| works(old_role) != works(change.role)) else { return Ok(()) };
    let there = keys::all(own, keys::Kind::ShareNotification);
    let there = (txn as &dyn Read).ids(&there, false, usize::MAX)?;
    for oldest in there.iter().rev().skip(limits::SHARE_NOTIFICATIONS_MAX - 1) {
        txn.remove::<ShareNotificationRow>(own, ShareNotificationId(*oldest))?;
    }
    let account: Option<AccountRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, change.inbox)?;
    let account = account.ok_or_else(|| AuthError::UnknownInbox(change.inbox.to_string()))?;
    let address = || account.addresses.first().map(Address::to_string).unwrap_or_default();
    let inbox = mailbox::roles(txn, change.inbox)?.with_role(MailboxRole::Inbox);
    let row = ShareNotificationRow {
        created: txn.store().clock.now(),
        changed_by: change.by.clone(),
        inbox: change.inbox,
        mailbox: inbox.unwrap_or(MailboxId(0)),
        name: if account.name.is_empty() { address() } else { account.name },
        old_role,
        new_role: change.role,
    };
    let id = ShareNotificationId(txn.allot(own, |next| &mut next.share_notification)?);
    Ok(txn.insert(own, id, &row)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Directory;
    use crate::inbox::admin::{self, AdminRequest, Office};
    use crate::inbox::admin_inbox::InboxRequest;
    use crate::inbox::support::{House, LONG, ask};
    use crate::store::{Store, StoreOptions};

    /// How many conversations of Bob's are closed, and how many are not.
    fn of_bob(house: &House) -> (u32, usize) {
        let snapshot = house.server.store.snapshot();
        let closed = List::ConversationsOf(Status::Closed as u8, Some(house.bob));
        let closed = list::total(&snapshot, house.inbox, closed).unwrap();
        (closed, open_work(&snapshot, house.inbox, house.bob, 1000).unwrap().len())
    }

    /// A house in which Bob owns closed work, all of it newer than his open work, which is more than one
    /// commit takes.
    fn busy_house() -> House {
        let house = House::new();
        let all = 2 * RELEASED_AT_ONCE as u32 + 5;
        for n in 1..=all {
            house.deliver(&["support@x.example"], &format!("m{n}"), "");
        }
        house.at_desk(house.bob, MemberRole::Agent, |desk| {
            for n in 1..=all {
                let status = (n > RELEASED_AT_ONCE as u32 + 5).then_some(Status::Closed);
                let change = super::super::change::Change {
                    owner: Some(Some(house.bob)),
                    status,
                    ..Default::default()
                };
                desk.apply(ConversationId(n), &Event::Set { change, expect: Default::default() }, vec![])?;
            }
            Ok(())
        });
        assert_eq!(of_bob(&house), (50, 55));
        house
    }

    fn set_role(house: &House, role: Option<MemberRole>) {
        let wanted = Change { inbox: house.inbox, person: house.bob, role, by: operator() };
        let office = Office {
            store: &house.server.store,
            directory: &house.server.directory,
            search: None,
            relays: None,
            hostname: "x.example",
        };
        admin::change(office, &[house.inbox], |txn| change(txn, &wanted)).unwrap();
    }

    #[test]
    fn open_work_of_a_member_who_left_is_released_in_steps_that_a_timer_takes_up_again() {
        let house = busy_house();
        set_role(&house, None);
        assert_eq!(of_bob(&house), (50, 5), "as much as fits goes with the membership");
        assert_eq!(house.faults(), Vec::<String>::new());
        assert_eq!(house.fire_due(), 1);
        assert_eq!(of_bob(&house), (50, 0), "closed work keeps who did it");
        assert_eq!(house.fire_due(), 0, "nothing is left to do");
        assert_eq!(house.faults(), Vec::<String>::new());
    }

    #[test]
    fn very_long_conversations_are_released_one_in_a_commit() {
        let house = House::new();
        for n in 1..=2 {
            house.deliver(&["support@x.example"], &format!("m{n}"), "");
            let (id, _) = house.conversation_of(house.email(&format!("m{n}@c.example")));
            let change = super::super::change::Change { owner: Some(Some(house.bob)), ..Default::default() };
            house.at_desk(house.bob, MemberRole::Agent, |desk| {
                desk.apply(id, &Event::Set { change, expect: Default::default() }, vec![])
            });
            house.lengthen(id, LONG);
        }
        set_role(&house, None);
        assert_eq!(of_bob(&house), (0, 1));
        assert_eq!(house.fire_due(), 1);
        assert_eq!(of_bob(&house), (0, 0));
        assert_eq!(house.fire_due(), 0);
    }

    #[test]
    fn somebody_who_may_work_again_keeps_what_was_not_released_yet() {
        let house = busy_house();
        set_role(&house, Some(MemberRole::Observer));
        set_role(&house, Some(MemberRole::Agent));
        assert_eq!(house.fire_due(), 1);
        assert_eq!(of_bob(&house), (50, 5));
        assert_eq!(house.fire_due(), 0);
    }

    #[test]
    fn the_command_that_disables_a_person_ends_when_all_of_their_open_work_is_released() {
        let house = busy_house();
        ask(&house.server, AdminRequest::PersonDisable { email: "bob@x.example".to_owned() });
        assert_eq!(of_bob(&house), (50, 0));
        assert_eq!(house.fire_due(), 0);
        assert_eq!(house.faults(), Vec::<String>::new());
    }

    #[test]
    fn a_person_is_told_so_many_things_at_most_the_newest_ones() {
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let clock = Clock::manual(Millis(1_700_000_000_000));
        let store = Store::in_memory(options, clock, Random::seeded(1)).unwrap();
        let directory = Directory::open(&store).unwrap();
        let office = Office {
            store: &store,
            directory: &directory,
            search: None,
            relays: None,
            hostname: "x.example",
        };
        let run = |request| admin::run(office, request).unwrap();
        let (inbox, email) = ("support@x.example".to_owned(), "ann@x.example".to_owned());
        let (name, password) = ("Ann".to_owned(), Some("correct horse battery staple".to_owned()));
        run(AdminRequest::PersonAdd { email: email.clone(), name, password, mailbox: true });
        let (name, aliases, members) = ("Support".to_owned(), Vec::new(), Vec::new());
        run(AdminRequest::Inbox(InboxRequest::Add { email: inbox.clone(), name, aliases, members }));
        for role in ["agent", "observer"].iter().cycle().take(limits::SHARE_NOTIFICATIONS_MAX + 5) {
            let role = (*role).to_owned();
            run(AdminRequest::MemberAdd { inbox: inbox.clone(), email: email.clone(), role });
        }
        let view = directory.current();
        let ann = view.principal_by_email(&email).and_then(|id| view.principal(id)).unwrap();
        let kept = keys::all(ann.account.unwrap(), keys::Kind::ShareNotification);
        let kept = (&store.snapshot() as &dyn Read).ids(&kept, false, usize::MAX).unwrap();
        let newest: Vec<u32> = (6..=limits::SHARE_NOTIFICATIONS_MAX as u32 + 5).collect();
        assert_eq!(kept, newest);
    }
}
