//! Blobs: each has its content, which hashes to its name, and each reference is somebody's.

use super::{Check, Floor, Reference};
use crate::store::blobs::{self, BlobInfo, Referrer};
use crate::store::keys::Kind;
use crate::store::uploads::{self, UploadRow};
use crate::store::{StoreError, StoreResult, keys, rows};
use crate::types::{AccountId, BlobHash, Millis, PrincipalId};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub(super) fn check(check: &mut Check<'_>, floors: &[Floor]) -> StoreResult<()> {
    let whole = contents(check)?;
    let read = check.read;
    let mut broken = Ok(());
    let mut at = None;
    read.scan(&keys::all_blob_info(), false, &mut |key, value| {
        check.step();
        broken = row(check, floors, key, value, &mut at);
        if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken?;
    // Only where there are fewer contents than rows is each one looked for.
    if whole == check.report.blobs { Ok(()) } else { missing(check) }
}

/// Each upload has the reference that opens its blob to its uploader, and is there once.
pub(super) fn uploads(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    let mut last = None;
    let mut known = BTreeSet::new();
    check.each::<UploadRow>(account, Kind::Upload, |check, key, row| {
        let Some(uploader) = keys::first_of_pair(key) else { return Ok(()) };
        if last != Some(uploader) {
            (last, known) = (Some(uploader), BTreeSet::new());
        }
        let reference = keys::blob_reference(&row.blob, account, Referrer::Upload as u8, uploader);
        if !check.read.has(&reference)? || !known.insert(row.blob.0) {
            let blob = row.blob;
            check.fault(account, format_args!("an upload of blob {blob:?} has no reference of its own"));
        }
        Ok(())
    })
}

/// Reads every content once. Gives how many belong to a row.
fn contents(check: &mut Check<'_>) -> StoreResult<u64> {
    let read = check.read;
    let mut whole = 0;
    let mut broken = Ok(());
    read.scan(&keys::all_blobs(), false, &mut |key, stored| {
        check.step();
        let fault = match (keys::read_blob(key), keys::read_blob(key).map(|hash| blobs::info(read, &hash))) {
            (Some(hash), Some(Ok(Some(info)))) => {
                whole += 1;
                let fits =
                    blobs::unpack(stored, info.size).is_ok_and(|content| BlobHash::of(&content) == hash);
                (!fits).then(|| format!("blob {hash:?} hasn't the content that its name says"))
            }
            (Some(hash), Some(Ok(None))) => {
                Some(format!("there is content of blob {hash:?}, and no row tells of it"))
            }
            // The row is told of where rows are read.
            (_, Some(Err(StoreError::Corrupt(_)))) => {
                whole += 1;
                None
            }
            (_, Some(Err(error))) => {
                broken = Err(error);
                return ControlFlow::Break(());
            }
            (_, None) | (None, _) => Some("a blob has a key that can't be read".to_owned()),
        };
        fault.into_iter().for_each(|fault| check.tell(fault));
        ControlFlow::Continue(())
    })?;
    broken.map(|()| whole)
}

fn missing(check: &mut Check<'_>) -> StoreResult<()> {
    let read = check.read;
    let mut broken = Ok(());
    read.scan(&keys::all_blob_info(), false, &mut |key, _| {
        if let (true, Some((hash, _))) = (keys::is_blob_info(key), keys::read_blob_info(key)) {
            match read.has(&keys::blob(&hash)) {
                Ok(true) => {}
                Ok(false) => check.tell(format!("blob {hash:?} has no content")),
                Err(error) => broken = Err(error),
            }
        }
        if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken
}

/// A row about a blob; `at` is the blob whose own row came last.
fn row(
    check: &mut Check<'_>,
    floors: &[Floor],
    key: &[u8],
    value: &[u8],
    at: &mut Option<BlobHash>,
) -> StoreResult<()> {
    let Some((hash, reference)) = keys::read_blob_info(key) else {
        check.tell("a row about a blob has a key that can't be read".to_owned());
        return Ok(());
    };
    if keys::is_blob_info(key) {
        *at = Some(hash);
        check.report.blobs += 1;
        if rows::decode::<BlobInfo>(value).is_err() {
            check.tell(format!("the row of blob {hash:?} can't be read"));
        }
        return Ok(());
    }
    if rows::decode::<Millis>(value).is_err() {
        check.tell(format!("a row about blob {hash:?} can't be read"));
    }
    let Some((account, code, id)) = reference else { return Ok(()) };
    let Some(why) = Referrer::from_code(code) else {
        check.fault(account, format_args!("a reference to blob {hash:?} has an unknown reason, {code}"));
        return Ok(());
    };
    let reference = Reference { blob: hash, account, why, id };
    if *at != Some(hash) {
        check.fault(account, format_args!("{why:?} {id} refers to blob {hash:?}, which isn't stored"));
    }
    if !is_true(check, floors, reference)? {
        check
            .fault(account, format_args!("{why:?} {id} has a reference to blob {hash:?} and doesn't use it"));
    }
    Ok(())
}

fn is_true(check: &Check<'_>, floors: &[Floor], reference: Reference) -> StoreResult<bool> {
    if reference.why == Referrer::Upload {
        let uploader = PrincipalId(reference.id);
        return match uploads::is_known(check.read, reference.account, uploader, &reference.blob) {
            // The row is told of where rows are read.
            Err(StoreError::Corrupt(_)) => Ok(true),
            known => known,
        };
    }
    match floors.iter().find(|floor| floor.referrers.contains(&reference.why)) {
        Some(floor) => (floor.refers)(check, reference),
        None => Ok(true),
    }
}
