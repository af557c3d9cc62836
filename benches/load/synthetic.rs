//! A folder with very many messages, made without the network: small ones, delivered by the code that
//! delivers all, some hundred in one transaction.

use crate::Outcome;
use crate::letters::{RARE_WORD, SECOND_WORD, TENTH_WORD};
use postroom::auth::Directory;
use postroom::inbox::desk::Desk;
use postroom::inbox::intake::{self, Arrival};
use postroom::inbox::machine::Actor;
use postroom::inbox::server;
use postroom::mail::ingest;
use postroom::store::rows::team::Cause;
use postroom::store::{Store, StoreOptions};
use postroom::types::{Address, Clock, Millis, Random};
use std::path::Path;
use std::time::Instant;

/// Messages in one transaction.
const AT_ONCE: usize = 250;
/// One a second, the last of them now.
const BETWEEN_MILLISECONDS: i64 = 1000;

/// Delivers `count` messages to the folder's one inbox; each begins a conversation.
pub fn fill(folder: &Path, count: usize) -> Outcome<()> {
    let store = Store::open(folder, StoreOptions::default(), Clock::system(), Random::system())?;
    let directory = Directory::open(&store)?;
    let view = directory.current();
    let (account, _) = view.accounts().next().ok_or("no account")?;
    let staff = server::staff(&view, account);
    let locked = store.lock_blocking(&[account]);
    let (begun, now) = (Instant::now(), store.clock.now().0);
    for first in (0..count).step_by(AT_ONCE) {
        let mut txn = store.begin(&locked);
        for number in first..(first + AT_ONCE).min(count) {
            let prepared = ingest::prepare(letter(number).as_bytes(), false)?;
            let from = Address::parse(&format!("customer{number}@example.net")).ok_or("no address")?;
            let at = Millis(now - (count - number) as i64 * BETWEEN_MILLISECONDS);
            let arrival = Arrival { mail_from: Some(&from), prefix: b"", at, returned: None, tags: &[] };
            let mut desk = Desk::open(&mut txn, account, Actor::System(Cause::Mail), &staff)?;
            intake::deliver_inbox(&mut desk, &prepared, &arrival).map_err(|error| format!("{error:?}"))?;
        }
        txn.commit()?;
    }
    drop(locked);
    println!("  ({count} messages were put into the folder in {:.0} s)", begun.elapsed().as_secs_f64());
    store.close();
    Ok(())
}

/// The words of the search benches are as rare as in the usual letters.
fn letter(number: usize) -> String {
    let rare = if number.is_multiple_of(10) && number < 1000 { RARE_WORD } else { "" };
    let second = if number.is_multiple_of(20) && number < 1000 { SECOND_WORD } else { "" };
    let tenth = if number.is_multiple_of(10) { TENTH_WORD } else { "" };
    format!(
        "From: Customer {number} <customer{number}@example.net>\r\nTo: support@bench.example\r\n\
         Message-ID: <bench-{number}@mail.example.net>\r\nSubject: Question {number}\r\n\
         Date: Tue, 24 Nov 2026 10:00:00 +0100\r\n\r\nWhere is order {number}? {rare} {second} {tenth}\r\n"
    )
}
