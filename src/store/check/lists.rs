//! Lists: every entry can be read, and each node of the rank tree counts what stands below it.

use super::Check;
use crate::store::list::{self, List};
use crate::store::{StoreResult, keys};
use crate::types::AccountId;
use std::ops::ControlFlow;

pub(super) fn check(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    for list in list::all(check.read, account)? {
        match list {
            Some(list) => one(check, account, list)?,
            None => check.fault(account, "there is a list of an unknown sort"),
        }
    }
    Ok(())
}

fn one(check: &mut Check<'_>, account: AccountId, list: List) -> StoreResult<()> {
    let read = check.read;
    read.scan(&keys::list_entries(account, list), false, &mut |key, value| {
        check.step();
        if list::read_entry(key, value).is_err() {
            check.fault(account, format_args!("{list:?} has an entry that can't be read"));
        }
        ControlFlow::Continue(())
    })?;
    for fault in list::check(read, account, list)? {
        check.fault(account, fault);
    }
    Ok(())
}
