//! Quotas (RFC 9425): what an account holds and may hold, in octets and in messages.
//!
//! Invariant: the usage is that of the account's Emails, moved by `mail::message` in the transaction
//! that adds or destroys one. Deliberately absent: whom a full account turns away, which delivery
//! and the methods say.

use crate::store::changes::Change;
use crate::store::rows::mail::EmailRow;
use crate::store::rows::quota::{QuotaLimitsRow, Quotas, UsageRow};
use crate::store::{Read, Row, StoreResult, Txn, keys};
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
