//! An inbox's settings, brought to the store by a lead.
//!
//! Absent on purpose: the name and the addresses, which are the directory's.

use super::desk::{Desk, DeskResult};
use super::machine::{Entry, Value};
use super::refusal::Refusal;
use crate::mail::{mailbox, viewer};
use crate::store::rows::team::{ActivityKind, InboxSettingsRow, Status};
use crate::store::{Change, keys};
use crate::types::limits::{GUIDE_BYTES_MAX, LOCK_SECONDS_MAX, LOCK_SECONDS_MIN, TAG_BYTES_MAX, WORDS_MAX};
use crate::types::{DataType, MemberRole};

/// The number of the only object in the change log.
pub const SINGLETON: u32 = 0;

impl Desk<'_, '_> {
    /// Puts new settings in place of the old ones; `what` names the properties that differ.
    pub fn set_settings(&mut self, new: InboxSettingsRow, what: &str) -> DeskResult<()> {
        if !self.actor.is_at_least(MemberRole::Lead) {
            return Err(Refusal::Forbidden("Changing the settings of an inbox needs a lead.").into());
        }
        check(&new)?;
        if new == self.settings {
            return Ok(());
        }
        self.txn.put_at(keys::row(self.account, keys::Kind::InboxSettings, SINGLETON), &new)?;
        self.txn.log(self.account, DataType::InboxSettings, SINGLETON, Change::Updated)?;
        let entry = Entry {
            kind: ActivityKind::SettingsChanged,
            before: Value::NONE,
            after: Value::text(Some(what)),
        };
        self.record(None, &entry)?;
        viewer::share_seen(self.txn, self.account, new.shared_seen)?;
        self.settings = new;
        Ok(self.keep_mailboxes()?)
    }
}

fn check(row: &InboxSettingsRow) -> Result<(), Refusal> {
    let wrong = |property, why| Err(Refusal::InvalidProperties { properties: vec![property], why });
    if row.status_after_reply == Status::Snoozed {
        return wrong("statusAfterReply", "A reply can't snooze: nobody named a time.");
    }
    if !(LOCK_SECONDS_MIN..=LOCK_SECONDS_MAX).contains(&row.lock_seconds) {
        return wrong("lockSeconds", "A reply lock lasts 15 to 600 seconds.");
    }
    // A category is the name of a mailbox in the archive, too.
    let fits =
        |word: &String| !word.trim().is_empty() && word.len() <= TAG_BYTES_MAX && mailbox::name_fits(word);
    if row.categories.len() > WORDS_MAX || !row.categories.iter().all(fits) {
        return wrong("categories", "There are too many, or one is empty or too long.");
    }
    if row.resolutions.len() > WORDS_MAX || !row.resolutions.iter().all(fits) {
        return wrong("resolutions", "There are too many, or one is empty or too long.");
    }
    if row.trusted_automatic.len() > WORDS_MAX {
        return wrong("trustedAutomatic", "There are too many addresses.");
    }
    if row.guide.len() > GUIDE_BYTES_MAX {
        return wrong("guide", "The guide is too long.");
    }
    if row.signature.len() > GUIDE_BYTES_MAX {
        return wrong("signature", "The signature is too long.");
    }
    Ok(())
}
