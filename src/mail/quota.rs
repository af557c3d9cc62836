//! Quotas (RFC 9425): what an account holds and may hold, in octets and in messages.
//!
//! Invariant: the usage is that of the account's Emails, moved by `mail::message` in the transaction
//! that adds or destroys one. Deliberately absent: whom a full account turns away, which delivery
//! and the methods say.

use crate::store::changes::Change;
use crate::store::rows::mail::EmailRow;
use crate::store::rows::quota::{QuotaLimitsRow, Quotas, UsageRow};
use crate::store::{Read, Row, Store, StoreResult, Txn, keys};
use crate::types::{AccountId, DataType};
use std::ops::ControlFlow;

/// The number of the quota in octets in the change log.
pub const OCTETS: u32 = 1;
/// That of the one in messages.
pub const MESSAGES: u32 = 2;

/// How much room an account has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Room {
    Enough,
    /// Beyond a soft limit: for what comes in, and no more for what clients add.
    OnlyForMail,
    None,
}

/// What the account holds. A folder of a time before this was kept is counted, once.
pub fn usage(read: &dyn Read, account: AccountId) -> StoreResult<UsageRow> {
    if let Some(usage) = read.row::<UsageRow>(account, ())? {
        return Ok(usage);
    }
    let mut usage = UsageRow::default();
    read.scan_rows::<EmailRow>(&keys::all(account, keys::Kind::Email), |_, row| {
        usage.octets = usage.octets.saturating_add(u64::from(row.size));
        usage.messages = usage.messages.saturating_add(1);
        ControlFlow::Continue(())
    })?;
    Ok(usage)
}

/// The account's limits: its own, else those of the server.
pub fn limits(read: &dyn Read, account: AccountId, server: &Quotas) -> StoreResult<Quotas> {
    let own: QuotaLimitsRow = read.row(account, ())?.unwrap_or_default();
    Ok(Quotas {
        octets: own.octets.unwrap_or(server.octets),
        messages: own.messages.unwrap_or(server.messages),
    })
}

/// Gives an account limits of its own, or takes them away.
pub fn set_limits(txn: &mut Txn<'_>, account: AccountId, own: &QuotaLimitsRow) -> StoreResult<()> {
    let before: QuotaLimitsRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    txn.put_at(QuotaLimitsRow::key(account, ()), own)?;
    for (number, moved) in
        [(OCTETS, before.octets != own.octets), (MESSAGES, before.messages != own.messages)]
    {
        if moved {
            txn.log(account, DataType::Quota, number, Change::Updated)?;
        }
    }
    Ok(())
}

/// Tells the accounts without limits of their own that those of the server are others than before, where they
/// are. Called at the start, before anybody asks.
pub fn settle_server_limits(store: &Store, accounts: &[AccountId], server: &Quotas) -> StoreResult<()> {
    let now = QuotaLimitsRow { octets: Some(server.octets), messages: Some(server.messages) };
    let before: Option<QuotaLimitsRow> = (&store.snapshot() as &dyn Read).row(AccountId::DIRECTORY, ())?;
    if before == Some(now) {
        return Ok(());
    }
    for account in accounts.iter().filter(|_| before.is_some()) {
        let locked = store.lock_blocking(&[*account]);
        let mut txn = store.begin(&locked);
        let own: QuotaLimitsRow = (&txn as &dyn Read).row(*account, ())?.unwrap_or_default();
        let was = before.unwrap_or_default();
        for (number, moved) in [
            (OCTETS, own.octets.is_none() && was.octets != now.octets),
            (MESSAGES, own.messages.is_none() && was.messages != now.messages),
        ] {
            if moved {
                txn.log(*account, DataType::Quota, number, Change::Updated)?;
            }
        }
        txn.commit()?;
    }
    let locked = store.lock_blocking(&[AccountId::DIRECTORY]);
    let mut txn = store.begin(&locked);
    txn.put_at(QuotaLimitsRow::key(AccountId::DIRECTORY, ()), &now)?;
    txn.commit().map(|_| ())
}

/// The room for one more message of that size.
pub fn room(read: &dyn Read, account: AccountId, server: &Quotas, octets: u64) -> StoreResult<Room> {
    let usage = usage(read, account)?;
    let limits = limits(read, account, server)?;
    let after = [
        (usage.octets.saturating_add(octets), limits.octets),
        (usage.messages.saturating_add(1), limits.messages),
    ];
    if after.iter().any(|(after, limit)| *after > limit.hard) {
        return Ok(Room::None);
    }
    let soft = |(after, limit): &(u64, crate::store::rows::quota::QuotaLimit)| {
        limit.soft.is_some_and(|soft| *after > soft)
    };
    Ok(if after.iter().any(soft) { Room::OnlyForMail } else { Room::Enough })
}

/// An Email of that size comes. Called before its row is written.
pub(super) fn add(txn: &mut Txn<'_>, account: AccountId, octets: u32) -> StoreResult<()> {
    let usage = usage(txn, account)?;
    let octets = usage.octets.saturating_add(u64::from(octets));
    write(txn, account, UsageRow { octets, messages: usage.messages.saturating_add(1) })
}

/// An Email of that size goes. Called before its row is removed.
pub(super) fn remove(txn: &mut Txn<'_>, account: AccountId, octets: u32) -> StoreResult<()> {
    let usage = usage(txn, account)?;
    let octets = usage.octets.saturating_sub(u64::from(octets));
    write(txn, account, UsageRow { octets, messages: usage.messages.saturating_sub(1) })
}

fn write(txn: &mut Txn<'_>, account: AccountId, usage: UsageRow) -> StoreResult<()> {
    txn.put_at(UsageRow::key(account, ()), &usage)?;
    // Both move with every message; only `used` does (RFC 9425 §4.3, `updatedProperties`).
    txn.log(account, DataType::Quota, OCTETS, Change::Counted)?;
    txn.log(account, DataType::Quota, MESSAGES, Change::Counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::quota::QuotaLimit;
    use crate::store::{StoreOptions, changes};
    use crate::types::{Clock, Millis, Random};

    #[test]
    fn other_limits_of_the_server_are_a_change_to_accounts_without_their_own() {
        let (own, usual) = (AccountId(1), AccountId(2));
        let clock = Clock::manual(Millis(1));
        let store = Store::in_memory(StoreOptions::default(), clock, Random::seeded(1)).unwrap();
        let locked = store.lock_blocking(&[own]);
        let mut txn = store.begin(&locked);
        let limit = QuotaLimit { hard: 9, soft: None, warn: None };
        set_limits(&mut txn, own, &QuotaLimitsRow { octets: Some(limit), messages: Some(limit) }).unwrap();
        txn.commit().unwrap();
        drop(locked);
        let states =
            || [own, usual].map(|id| changes::states(&store.snapshot(), id).unwrap().of(DataType::Quota));
        let first = states();
        let mut server = Quotas::default();
        for _ in 0..2 {
            settle_server_limits(&store, &[own, usual], &server).unwrap();
            assert_eq!(states(), first, "the first start and the same again tell nothing");
        }
        server.messages.hard += 1;
        settle_server_limits(&store, &[own, usual], &server).unwrap();
        let [own_now, usual_now] = states();
        assert_eq!(own_now, first[0]);
        assert!(usual_now > first[1]);
    }
}
