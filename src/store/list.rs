//! Ordered lists with ranks: mailboxes newest first, conversations by last activity.
//!
//! An entry is a place (time, then number, both descending) in a list of an account. Beside the
//! entries stands a tree of counts over the octets of the place: the root divides by the first 16
//! bits of the time (half a year), every further node by 4 bits. A child has a node of its own
//! only once it holds more than [`BURST`] entries, so the tree is as deep as the list is dense,
//! and finding a rank reads 3 to 5 small rows and at most [`BURST`] keys, however long the list.
//!
//! Every insertion and removal is written to the list's log, from which /queryChanges tells.

use super::error::{StoreError, StoreResult};
use super::keys;
use super::read::Read;
use super::rows;
use super::txn::Txn;
use crate::types::{AccountId, MailboxId, PrincipalId, UtcDate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Which list of an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum List {
    /// All Emails by receivedAt.
    AllEmails,
    /// Of each Thread its newest Email.
    AllHeads,
    /// The Emails of a mailbox by receivedAt.
    Mailbox(MailboxId),
    /// Of each Thread its newest Email in that mailbox.
    MailboxHeads(MailboxId),
    /// All conversations by last activity.
    Conversations,
    /// Those with a status, by its number.
    ConversationsWithStatus(u8),
    /// Those of an owner; `None` for those without.
    ConversationsOfOwner(Option<PrincipalId>),
    /// Those with a status and an owner, or without one.
    ConversationsOf(u8, Option<PrincipalId>),
    /// Those whose customer waits, by since when.
    ConversationsWaiting,
    /// Of these, those of an owner; `None` for those without.
    ConversationsWaitingFor(Option<PrincipalId>),
}

/// From here on one code for each status.
const STATUS_AND_OWNER: u8 = 16;
const STATUS_AND_OWNER_LAST: u8 = STATUS_AND_OWNER + 7;

impl List {
    pub(super) fn code(self) -> (u8, u32) {
        match self {
            List::AllEmails => (0, 0),
            List::AllHeads => (1, 0),
            List::Mailbox(mailbox) => (2, mailbox.0),
            List::MailboxHeads(mailbox) => (3, mailbox.0),
            List::Conversations => (4, 0),
            List::ConversationsWithStatus(status) => (5, u32::from(status)),
            List::ConversationsOfOwner(Some(owner)) => (6, owner.0),
            List::ConversationsOfOwner(None) => (7, 0),
            List::ConversationsWaiting => (8, 0),
            List::ConversationsWaitingFor(owner) => (9, owner.map_or(0, |owner| owner.0)),
            // There are four statuses, and no principal has the number 0.
            List::ConversationsOf(status, owner) => {
                (STATUS_AND_OWNER + (status & 7), owner.map_or(0, |owner| owner.0))
            }
        }
    }

    pub(super) fn from_code(sort: u8, number: u32) -> Option<Self> {
        Some(match sort {
            0 => List::AllEmails,
            1 => List::AllHeads,
            2 => List::Mailbox(MailboxId(number)),
            3 => List::MailboxHeads(MailboxId(number)),
            4 => List::Conversations,
            5 => List::ConversationsWithStatus(u8::try_from(number).ok()?),
            6 => List::ConversationsOfOwner(Some(PrincipalId(number))),
            7 => List::ConversationsOfOwner(None),
            8 => List::ConversationsWaiting,
            9 => List::ConversationsWaitingFor((number > 0).then_some(PrincipalId(number))),
            STATUS_AND_OWNER..=STATUS_AND_OWNER_LAST => {
                let owner = (number > 0).then_some(PrincipalId(number));
                List::ConversationsOf(sort - STATUS_AND_OWNER, owner)
            }
            _ => return None,
        })
    }
}

/// Where an entry stands: later before earlier, and at equal times the higher number first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    pub at: UtcDate,
    pub id: u32,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(&other.bytes())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One entry: its place, and what the list keeps with it (an Email's Thread).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub place: Place,
    pub with: u32,
}

/// A child of the rank tree gets a node of its own above this many entries.
pub const BURST: u32 = 128;
const NIBBLES: usize = 18;

/// One node: children in order of their digits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Node(Vec<Child>);

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Child {
    digits: u16,
    count: u32,
    /// The child has a node of its own.
    burst: bool,
}

impl Node {
    fn total(&self) -> u32 {
        self.0.iter().map(|child| child.count).sum()
    }

    fn child(&mut self, digits: u16) -> &mut Child {
        let at = match self.0.binary_search_by_key(&digits, |child| child.digits) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, Child { digits, count: 0, burst: false });
                at
            }
        };
        &mut self.0[at]
    }
}

/// Puts an entry in; nothing happens where it stands there already.
pub fn insert(txn: &mut Txn<'_>, account: AccountId, list: List, entry: Entry) -> StoreResult<()> {
    let key = keys::list_entry(account, list, entry.place);
    if (txn as &dyn Read).has(&key)? {
        return Ok(());
    }
    txn.put_bytes(key, rows::encode(&entry.with)?);
    txn.log_list(account, list, entry.place, true)?;
    let place = entry.place.bytes();
    let mut depth = 0;
    let mut node = load(txn, account, list, &place, depth)?;
    node.child(keys::digits(&place, depth)).count += 1;
    loop {
        let child = node.child(keys::digits(&place, depth));
        let splits = !child.burst && child.count > BURST && keys::below(depth) < NIBBLES;
        let descends = child.burst;
        child.burst |= splits;
        save(txn, account, list, &place, depth, &node)?;
        depth = keys::below(depth);
        if splits {
            node = count(txn, account, list, &place, depth)?;
        } else if descends {
            node = load(txn, account, list, &place, depth)?;
            node.child(keys::digits(&place, depth)).count += 1;
        } else {
            return Ok(());
        }
    }
}

/// Takes an entry out; nothing happens where it isn't there.
pub fn remove(txn: &mut Txn<'_>, account: AccountId, list: List, place: Place) -> StoreResult<()> {
    let key = keys::list_entry(account, list, place);
    if !(txn as &dyn Read).has(&key)? {
        return Ok(());
    }
    txn.delete_bytes(key);
    txn.log_list(account, list, place, false)?;
    let place = place.bytes();
    let mut depth = 0;
    loop {
        let mut node = load(txn, account, list, &place, depth)?;
        let child = node.child(keys::digits(&place, depth));
        child.count = child.count.saturating_sub(1);
        let joins = child.burst && child.count < BURST / 2;
        let descends = child.burst && !joins;
        child.burst = descends;
        node.0.retain(|child| child.count > 0);
        save(txn, account, list, &place, depth, &node)?;
        depth = keys::below(depth);
        if joins {
            return drop_nodes(txn, account, list, place, depth);
        }
        if !descends {
            return Ok(());
        }
    }
}

/// Takes away a node and those below it.
fn drop_nodes(
    txn: &mut Txn<'_>,
    account: AccountId,
    list: List,
    place: [u8; 9],
    depth: usize,
) -> StoreResult<()> {
    let node = load(txn, account, list, &place, depth)?;
    txn.delete_bytes(keys::list_node(account, list, &place, depth));
    for child in node.0.into_iter().filter(|child| child.burst) {
        drop_nodes(txn, account, list, keys::with_digits(place, depth, child.digits), keys::below(depth))?;
    }
    Ok(())
}

/// How many entries the list has.
pub fn total(read: &dyn Read, account: AccountId, list: List) -> StoreResult<u32> {
    Ok(load(read, account, list, &[0; 9], 0)?.total())
}

/// All lists of an account that have anything; `None` for one of a sort that nobody knows. Reads one
/// key a list.
pub fn all(read: &dyn Read, account: AccountId) -> StoreResult<Vec<Option<List>>> {
    let mut out = Vec::new();
    let mut range = keys::account_lists(account);
    loop {
        let mut found = None;
        read.scan(&range, false, &mut |key, _| {
            found = Some((keys::read_list(key), keys::lists_after(account, key)));
            ControlFlow::Break(())
        })?;
        let Some((list, next)) = found else { return Ok(out) };
        out.push(list);
        range = next;
    }
}

/// How many entries the list has, counted: [`total`] is what the ranks say.
pub fn count_entries(read: &dyn Read, account: AccountId, list: List) -> StoreResult<u32> {
    let mut count = 0;
    read.scan(&keys::list_entries(account, list), false, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Whether an entry stands there.
pub fn contains(read: &dyn Read, account: AccountId, list: List, place: Place) -> StoreResult<bool> {
    read.has(&keys::list_entry(account, list, place))
}

/// How many entries stand before the place.
pub fn rank(read: &dyn Read, account: AccountId, list: List, place: Place) -> StoreResult<u32> {
    let bytes = place.bytes();
    let mut rank = 0;
    let mut depth = 0;
    loop {
        let node = load(read, account, list, &bytes, depth)?;
        let own = keys::digits(&bytes, depth);
        rank += node.0.iter().take_while(|child| child.digits < own).map(|child| child.count).sum::<u32>();
        let burst = node.0.iter().any(|child| child.digits == own && child.burst);
        depth = keys::below(depth);
        if !burst {
            break;
        }
    }
    let mut range = keys::list_entries_with(account, list, &bytes, depth);
    range.to = keys::list_entry(account, list, place).bytes;
    read.scan(&range, false, &mut |_, _| {
        rank += 1;
        ControlFlow::Continue(())
    })?;
    Ok(rank)
}

/// The entries from `offset` on, at most `limit`; `backwards` counts and reads from the oldest.
pub fn page(
    read: &dyn Read,
    account: AccountId,
    list: List,
    offset: u32,
    limit: usize,
    backwards: bool,
) -> StoreResult<Vec<Entry>> {
    if !backwards {
        return match find(read, account, list, offset)? {
            Some(range) => take(read, &range.0, false, range.1, limit),
            None => Ok(Vec::new()),
        };
    }
    let total = total(read, account, list)?;
    if offset >= total {
        return Ok(Vec::new());
    }
    let Some((start, skip)) = find(read, account, list, total - 1 - offset)? else { return Ok(Vec::new()) };
    let Some(first) = take(read, &start, false, skip, 1)?.pop() else { return Ok(Vec::new()) };
    let mut range = keys::list_entries(account, list);
    range.to = keys::list_entry(account, list, first.place).bytes;
    let mut out = vec![first];
    out.truncate(limit);
    out.extend(take(read, &range, true, 0, limit.saturating_sub(1))?);
    Ok(out)
}

/// Where the entry with that rank is: a range, and how many of its entries to skip.
fn find(
    read: &dyn Read,
    account: AccountId,
    list: List,
    rank: u32,
) -> StoreResult<Option<(keys::KeyRange, usize)>> {
    let whole = keys::list_entries(account, list);
    if rank <= BURST {
        return Ok(Some((whole, rank as usize)));
    }
    let mut place = [0u8; 9];
    let mut depth = 0;
    let mut rest = rank;
    loop {
        let node = load(read, account, list, &place, depth)?;
        let mut within = None;
        for child in &node.0 {
            if rest < child.count {
                within = Some(child.clone());
                break;
            }
            rest -= child.count;
        }
        let Some(child) = within else { return Ok(None) };
        place = keys::with_digits(place, depth, child.digits);
        depth = keys::below(depth);
        if !child.burst {
            let mut range = keys::list_entries_with(account, list, &place, depth);
            range.to = whole.to;
            return Ok(Some((range, rest as usize)));
        }
    }
}

fn take(
    read: &dyn Read,
    range: &keys::KeyRange,
    backwards: bool,
    skip: usize,
    limit: usize,
) -> StoreResult<Vec<Entry>> {
    let mut out = Vec::new();
    if limit == 0 {
        return Ok(out);
    }
    let mut skip = skip;
    let mut broken = None;
    read.scan(range, backwards, &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return ControlFlow::Continue(());
        }
        match read_entry(key, value) {
            Ok(entry) => out.push(entry),
            Err(error) => {
                broken = Some(error);
                return ControlFlow::Break(());
            }
        }
        if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken.map_or(Ok(out), Err)
}

pub(super) fn read_entry(key: &[u8], value: &[u8]) -> StoreResult<Entry> {
    let place = keys::read_place(key).ok_or_else(|| StoreError::Corrupt("a list entry's key".to_owned()))?;
    Ok(Entry { place, with: rows::decode(value)? })
}

/// One entry of a list's log: what came (true) and went, in order.
pub(super) type Logged = Vec<(Place, bool)>;

/// What happened to a list after a position of the account's log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListChanges {
    /// Entries that were there and are not any more.
    pub removed: Vec<Place>,
    /// Entries that weren't there and are now.
    pub added: Vec<Place>,
}

/// What changed in a list since `modseq`: the net of the log, exact; `None` where that was swept
/// away ([`super::sweep`]).
pub fn changes(
    read: &dyn Read,
    account: AccountId,
    list: List,
    since: u64,
) -> StoreResult<Option<ListChanges>> {
    // The first thing that happened to an entry tells whether it was there, the last whether it is.
    let mut seen: BTreeMap<Place, (bool, bool)> = BTreeMap::new();
    let (mut broken, mut swept) = (None, false);
    let range = keys::list_changes_after(account, list, since);
    read.scan(&range, false, &mut |_, value| match rows::decode::<Logged>(value) {
        // Nothing but the sweep writes an empty entry.
        Ok(entry) if entry.is_empty() => {
            swept = true;
            ControlFlow::Break(())
        }
        Ok(entry) => {
            for (place, added) in entry {
                seen.entry(place).or_insert((!added, added)).1 = added;
            }
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    if swept {
        return Ok(None);
    }
    let mut out = ListChanges::default();
    for (place, (was, is)) in seen {
        match (was, is) {
            (true, false) => out.removed.push(place),
            (false, true) => out.added.push(place),
            _ => {}
        }
    }
    Ok(Some(out))
}

fn load(read: &dyn Read, account: AccountId, list: List, place: &[u8; 9], depth: usize) -> StoreResult<Node> {
    match read.bytes(&keys::list_node(account, list, place, depth))? {
        Some(bytes) => rows::decode(&bytes),
        None => Ok(Node::default()),
    }
}

fn save(
    txn: &mut Txn<'_>,
    account: AccountId,
    list: List,
    place: &[u8; 9],
    depth: usize,
    node: &Node,
) -> StoreResult<()> {
    let key = keys::list_node(account, list, place, depth);
    if node.0.is_empty() {
        txn.delete_bytes(key);
    } else {
        txn.put_bytes(key, rows::encode(node)?);
    }
    Ok(())
}

/// Counts the entries below a prefix into a node.
fn count(
    read: &dyn Read,
    account: AccountId,
    list: List,
    place: &[u8; 9],
    depth: usize,
) -> StoreResult<Node> {
    let mut node = Node::default();
    read.scan(&keys::list_entries_with(account, list, place, depth), false, &mut |key, _| {
        if let Some(place) = keys::read_place(key) {
            node.child(keys::digits(&place.bytes(), depth)).count += 1;
        }
        ControlFlow::Continue(())
    })?;
    Ok(node)
}

/// Says what is wrong with a list's rank tree: each node must count what stands below it, and none
/// may stand where its parent knows of none.
pub fn check(read: &dyn Read, account: AccountId, list: List) -> StoreResult<Vec<String>> {
    let mut faults = Vec::new();
    check_node(read, account, list, [0; 9], 0, &mut faults)?;
    let mut broken = None;
    read.scan(&keys::list_nodes(account, list), false, &mut |key, _| {
        match keys::read_list_node(key).map(|(depth, place)| is_known(read, account, list, &place, depth)) {
            Some(Ok(true)) => {}
            Some(Err(error)) => broken = Some(error),
            Some(Ok(false)) => faults.push(format!("{list:?} has a rank node that its parent doesn't know")),
            None => faults.push(format!("{list:?} has a rank node with a key that can't be read")),
        }
        if broken.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    broken.map_or(Ok(faults), Err)
}

/// Whether the node above has this one as a child of its own.
fn is_known(
    read: &dyn Read,
    account: AccountId,
    list: List,
    place: &[u8; 9],
    depth: usize,
) -> StoreResult<bool> {
    if depth == 0 {
        return Ok(true);
    }
    let above = keys::above(depth);
    let digits = keys::digits(place, above);
    let Some(parent) = readable(read, account, list, place, above)? else { return Ok(true) };
    Ok(parent.0.iter().any(|child| child.digits == digits && child.burst))
}

/// A node; `None` where it can't be read.
fn readable(
    read: &dyn Read,
    account: AccountId,
    list: List,
    place: &[u8; 9],
    depth: usize,
) -> StoreResult<Option<Node>> {
    match load(read, account, list, place, depth) {
        Err(StoreError::Corrupt(_)) => Ok(None),
        node => node.map(Some),
    }
}

fn check_node(
    read: &dyn Read,
    account: AccountId,
    list: List,
    place: [u8; 9],
    depth: usize,
    faults: &mut Vec<String>,
) -> StoreResult<()> {
    let Some(kept) = readable(read, account, list, &place, depth)? else {
        faults.push(format!("{list:?} has a rank node at depth {depth} that can't be read"));
        return Ok(());
    };
    let mut truth = count(read, account, list, &place, depth)?;
    for child in &kept.0 {
        truth.child(child.digits).burst = child.burst;
        if child.count > BURST && !child.burst && keys::below(depth) < NIBBLES {
            faults.push(format!("{list:?} has a full rank node at depth {depth} without a child"));
        }
    }
    if kept != truth {
        faults.push(format!("{list:?} has ranks at depth {depth} that don't fit its entries"));
    }
    for child in kept.0.iter().filter(|child| child.burst) {
        let place = keys::with_digits(place, depth, child.digits);
        check_node(read, account, list, place, keys::below(depth), faults)?;
    }
    Ok(())
}
