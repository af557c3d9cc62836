//! Logs: every entry can be read, none is ahead of its account, and the state of each type, for all
//! and for each member, is the position of its newest entry.

use super::Check;
use crate::store::StoreResult;
use crate::store::changes::{Change, TypeStates};
use crate::store::keys::{self, Kind, LogOf};
use crate::store::list::Logged;
use crate::store::rows::{self, account::AccountState, viewer::ViewerStateRow};
use crate::types::{AccountId, DataType, PrincipalId};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(super) fn check(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    let state: AccountState = match check.at(&keys::single(account, Kind::AccountState))? {
        Some(state) => state,
        // A directory that nobody is in yet has given no ids.
        None if account == AccountId::DIRECTORY => AccountState::default(),
        None => {
            check.fault(account, "its state is missing or can't be read");
            return Ok(());
        }
    };
    let mut newest = TypeStates::default();
    let mut own: BTreeMap<PrincipalId, TypeStates> = BTreeMap::new();
    let read = check.read;
    read.scan(&keys::account_logs(account), false, &mut |key, value| {
        check.step();
        match entry(key, value) {
            Some((_, modseq)) if modseq > state.modseq => {
                let at = state.modseq;
                check.fault(account, format_args!("a log is at {modseq}, and the account at {at}"));
            }
            Some((LogOf::Type(data_type), modseq)) => newest.set(data_type, modseq),
            Some((LogOf::Own(member, data_type), modseq)) => {
                own.entry(member).or_default().set(data_type, modseq);
            }
            Some((LogOf::List, _)) => {}
            None => check.fault(account, "an entry of a log can't be read"),
        }
        ControlFlow::Continue(())
    })?;
    compare(check, account, "", &state.types, &newest);
    check.each::<ViewerStateRow>(account, Kind::ViewerState, |check, key, kept| {
        let member = PrincipalId(keys::last_id(key).unwrap_or_default());
        let newest = own.remove(&member).unwrap_or_default();
        compare(check, account, &format!(" of {member}"), &kept.types, &newest);
        Ok(())
    })?;
    for member in own.into_keys() {
        check.fault(account, format_args!("{member} has a log of their own, and no states"));
    }
    Ok(())
}

fn compare(check: &mut Check<'_>, account: AccountId, whose: &str, kept: &TypeStates, log: &TypeStates) {
    for data_type in DataType::ALL {
        let (kept, log) = (kept.of(data_type), log.of(data_type));
        if kept != log {
            let name = data_type.name();
            check.fault(account, format_args!("{name}{whose} is at {kept}, and its log at {log}"));
        }
    }
}

fn entry(key: &[u8], value: &[u8]) -> Option<(LogOf, u64)> {
    let (of, modseq) = keys::read_log(key)?;
    let readable = match of {
        LogOf::Type(_) | LogOf::Own(..) => rows::decode::<Vec<(u32, Change)>>(value).is_ok(),
        LogOf::List => rows::decode::<Logged>(value).is_ok(),
    };
    readable.then_some((of, modseq))
}
