//! Submissions: each that waits has its place in the relay queue or its timer, its content, and what
//! its release must know; and nothing waits that no submission is.

use super::Mail;
use crate::mail::outbound;
use crate::store::blobs::Referrer;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::rows::submission::*;
use crate::store::{Row, StoreResult};
use crate::types::{AccountId, EmailId, SubmissionId};
use std::ops::ControlFlow;

pub(super) fn check(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    let account = mail.account;
    check.each::<SubmissionRow>(account, Kind::Submission, |check, key, row| {
        let id = SubmissionId(keys::last_id(key).unwrap_or_default());
        if !check.read.has(&keys::pair(account, Kind::SubmissionOfEmail, row.email.0, id.0))? {
            check.fault(account, format_args!("{id} isn't found by its Email, {}", row.email));
        }
        one(check, mail, id, &row)
    })?;
    check.each::<SubmissionRow>(account, Kind::DetachedSubmission, |check, key, row| {
        let id = SubmissionId(keys::last_id(key).unwrap_or_default());
        if row.relay == RelayState::Done {
            check.fault(account, format_args!("{id} is detached, and done"));
        }
        if check.read.has(&SubmissionRow::key(account, id))? {
            check.fault(account, format_args!("{id} is detached, and an object as well"));
        }
        one(check, mail, id, &row)
    })?;
    beside(check, mail)
}

/// What every submission must have, detached or not.
fn one(check: &mut Check<'_>, mail: &Mail, id: SubmissionId, row: &SubmissionRow) -> StoreResult<()> {
    let account = mail.account;
    if id.0 > mail.state.next.submission {
        check.fault(account, format_args!("{id} is beyond the last id that was given"));
    }
    if row.relay == RelayState::Done {
        return Ok(());
    }
    let reference = keys::blob_reference(&row.blob, account, Referrer::Submission as u8, id.0);
    if !check.read.has(&reference)? {
        check.fault(account, format_args!("{id} isn't done and has no reference to its content"));
    }
    if let Some(at) = outbound::due_at(&row.relay)
        && !check.read.has(&keys::due(Kind::Queue, at, account, 0, id.0))?
    {
        check.fault(account, format_args!("{id} waits for the relay, and isn't in the queue"));
    }
    if let RelayState::Scheduled { until } = row.relay {
        if !check.read.has(&keys::due(Kind::Timer, until, account, RELEASE_TIMER, id.0))? {
            check.fault(account, format_args!("{id} is scheduled, and no timer releases it"));
        }
        if !check.read.has(&keys::pair(account, Kind::ScheduledSend, row.email.0, id.0))? {
            check.fault(
                account,
                format_args!("{id} is scheduled, and nothing says what its release must know"),
            );
        }
    }
    Ok(())
}

/// The rows beside submissions.
fn beside(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    let account = mail.account;
    check.each::<()>(account, Kind::SubmissionOfEmail, |check, key, ()| {
        let (email, id) = pair(key);
        let row: Option<SubmissionRow> = check.row(account, id)?;
        if row.is_none_or(|row| row.email != email) {
            check.fault(account, format_args!("{email} leads to {id}, which isn't a submission of it"));
        }
        Ok(())
    })?;
    check.each::<ScheduledSendRow>(account, Kind::ScheduledSend, |check, key, _| {
        let (email, id) = pair(key);
        let row = find(check, account, id)?;
        let waits =
            |row: &SubmissionRow| matches!(row.relay, RelayState::Scheduled { .. }) && row.email == email;
        if !row.as_ref().is_some_and(waits) {
            check.fault(account, format_args!("{email} waits for {id}, which isn't scheduled"));
        }
        Ok(())
    })?;
    check.each::<ReturnPathRow>(account, Kind::ReturnPath, |check, key, _| {
        let id = SubmissionId(keys::last_id(key).unwrap_or_default());
        if check.read.has(&SubmissionRow::key(account, id))? {
            check.fault(account, format_args!("{id} left a return path behind, and is there"));
        }
        Ok(())
    })?;
    check.each::<QueueMarkRow>(account, Kind::QueueMark, |check, key, _| {
        let id = SubmissionId(keys::last_id(key).unwrap_or_default());
        if find(check, account, id)?.is_none_or(|row| row.relay == RelayState::Done) {
            check.fault(account, format_args!("the queue notes something of {id}, which doesn't wait"));
        }
        Ok(())
    })?;
    check.each::<ReportsRow>(account, Kind::SubmissionReports, |check, key, _| {
        let id = SubmissionId(keys::last_id(key).unwrap_or_default());
        if !check.read.has(&SubmissionRow::key(account, id))? {
            check.fault(account, format_args!("there are reports of {id}, which doesn't exist"));
        }
        Ok(())
    })
}

fn pair(key: &[u8]) -> (EmailId, SubmissionId) {
    let (email, id) = (keys::first_id(key), keys::last_id(key));
    (EmailId(email.unwrap_or_default()), SubmissionId(id.unwrap_or_default()))
}

/// A submission, detached or not.
pub(super) fn find(
    check: &Check<'_>,
    account: AccountId,
    id: SubmissionId,
) -> StoreResult<Option<SubmissionRow>> {
    match check.row(account, id)? {
        Some(row) => Ok(Some(row)),
        None => check.at(&keys::row(account, Kind::DetachedSubmission, id.0)),
    }
}

/// The relay queue of the whole server, and the timers that release submissions.
pub(super) fn queue(check: &mut Check<'_>) -> StoreResult<()> {
    for kind in [Kind::Queue, Kind::Timer] {
        let read = check.read;
        let mut broken = Ok(());
        read.scan(&keys::due_all(kind), false, &mut |key, _| {
            check.step();
            broken = due(check, kind, key);
            if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        broken?;
    }
    Ok(())
}

fn due(check: &mut Check<'_>, kind: Kind, key: &[u8]) -> StoreResult<()> {
    let Some((at, account, sort, id)) = keys::read_due(key) else {
        check.tell("there is a timer or a place in the relay queue with a key that can't be read".to_owned());
        return Ok(());
    };
    if kind == Kind::Timer && sort != RELEASE_TIMER {
        return Ok(());
    }
    let id = SubmissionId(id);
    let relay = find(check, account, id)?.map(|row| row.relay);
    if kind == Kind::Queue && relay.as_ref().and_then(outbound::due_at) != Some(at) {
        check.fault(account, format_args!("{id} is in the relay queue and doesn't wait, or not until then"));
    }
    if kind == Kind::Timer && relay != Some(RelayState::Scheduled { until: at }) {
        check.fault(account, format_args!("a timer releases {id}, which isn't scheduled, or not for then"));
    }
    Ok(())
}
