//! An inbox's settings, brought to the store by a lead.
//!
//! Absent on purpose: the name and the addresses, which are the directory's ([`super::naming`]).

use super::desk::{Desk, DeskResult, TimerKind};
use super::machine::{Entry, Value};
use super::refusal::Refusal;
use crate::mail::{identity, mailbox, viewer};
use crate::store::rows::team::{ActivityKind, InboxSettingsRow, Status};
use crate::store::{Change, StoreResult, keys};
use crate::types::limits::{
    AUTOMATIC_BCC_MAX, GUIDE_BYTES_MAX, LOCK_SECONDS_MAX, LOCK_SECONDS_MIN, NAME_BYTES_MAX,
    RETENTION_DAYS_MAX, TAG_BYTES_MAX, VACATION_BODY_BYTES_MAX, WORDS_MAX,
};
use crate::types::{Address, ConversationId, DataType, MemberRole, Millis};

/// Conversations that are looked at in one commit when a setting moves closed ones.
const PLACED_AT_ONCE: usize = 50;

/// The number of the only object in the change log.
pub const SINGLETON: u32 = 0;

impl Desk<'_, '_> {
    /// Puts new settings in place of the old ones; `what` names the properties that differ.
    pub fn set_settings(&mut self, new: InboxSettingsRow, what: &str) -> DeskResult<()> {
        if !self.actor.is_at_least(MemberRole::Lead) {
            return Err(Refusal::Forbidden("Changing the settings of an inbox needs a lead.").into());
        }
        check(&new)?;
        check_senders(&new)?;
        if new == self.settings {
            return Ok(());
        }
        self.txn.put_at(keys::row(self.account, keys::Kind::InboxSettings, SINGLETON), &new)?;
        self.txn.log(self.account, DataType::InboxSettings, SINGLETON, Change::Updated)?;
        let entry = Entry::new(ActivityKind::SettingsChanged, Value::NONE, Value::text(Some(what)));
        self.record(None, &entry)?;
        viewer::share_seen(self.txn, self.account, new.shared_seen)?;
        if new.identity_name != self.settings.identity_name {
            for (id, _) in identity::all(self.read(), self.account)? {
                self.txn.log(self.account, DataType::Identity, id.0, Change::Updated)?;
            }
        }
        let moves_closed = new.require_category != self.settings.require_category;
        let moves_memos = new.notes_as_memos != self.settings.notes_as_memos;
        self.settings = new;
        self.keep_mailboxes()?;
        if moves_closed {
            self.place_closed(0)?;
        }
        if moves_memos {
            self.bring_memos(0)?;
        }
        Ok(())
    }

    /// Puts closed conversations into the Archive or the folders of their categories, as the settings have
    /// it: those after that number, some in this commit and the others by a timer.
    pub(super) fn place_closed(&mut self, after: u32) -> StoreResult<()> {
        let range = keys::rows_after(self.account, keys::Kind::Conversation, after);
        let ids = self.read().ids(&range, false, PLACED_AT_ONCE)?;
        let (mut last, mut is_done) = (after, ids.len() < PLACED_AT_ONCE);
        for id in ids.into_iter().map(ConversationId) {
            if last > after && !self.has_room_for(id)? {
                is_done = false;
                break;
            }
            last = id.0;
            if self
                .conversation(id)?
                .is_some_and(|row| row.status == Status::Closed && row.merged_into.is_none())
            {
                self.project(id)?;
            }
        }
        if !is_done {
            let kind = TimerKind::Place as u8;
            self.txn.put_at(keys::due(keys::Kind::Timer, Millis(0), self.account, kind, last), &())?;
        }
        Ok(())
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
    let acknowledgement = row.acknowledgement.as_deref();
    if acknowledgement.is_some_and(|text| text.trim().is_empty() || text.len() > VACATION_BODY_BYTES_MAX) {
        return wrong("acknowledgement", "The text is empty, or too long: null sends none.");
    }
    if row.retention_days.is_some_and(|days| days > RETENTION_DAYS_MAX) {
        return wrong("retention", "That is longer than a hundred years: null keeps it for ever.");
    }
    if row.guide.len() > GUIDE_BYTES_MAX {
        return wrong("guide", "The guide is too long.");
    }
    if row.signature.len() > GUIDE_BYTES_MAX {
        return wrong("signature", "The signature is too long.");
    }
    Ok(())
}

/// What has to do with sending: who members write as, and who gets a copy.
pub(super) fn check_senders(row: &InboxSettingsRow) -> Result<(), Refusal> {
    let wrong = |property, why| Err(Refusal::InvalidProperties { properties: vec![property], why });
    let fits = |name: &str| {
        !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
    };
    if row.identity_name.as_deref().is_some_and(|name| !fits(name)) {
        return wrong("identityName", "It is empty or too long, or no name: null gives members the inbox's.");
    }
    if row.automatic_bcc.len() > AUTOMATIC_BCC_MAX {
        return wrong("automaticBcc", "There are too many addresses.");
    }
    // One that needs SMTPUTF8 would keep the whole message from relays without it (RFC 6531 §3.2).
    let reaches = |one: &Address| {
        !one.is_catch_all() && !one.needs_smtputf8() && row.addresses.iter().all(|own| own.key() != one.key())
    };
    if !row.automatic_bcc.iter().all(reaches) {
        return wrong("automaticBcc", "One is this inbox's own, a whole domain, or not in ASCII.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::change;
    use crate::inbox::machine::{Event, Expect};
    use crate::inbox::support::{House, LONG};
    use crate::store::rows::mail::Kept;

    #[test]
    fn very_long_closed_conversations_go_where_a_setting_has_them_one_in_a_commit() {
        let house = House::new();
        let set = |to: fn(&mut InboxSettingsRow)| {
            house.at_desk(house.ann, MemberRole::Admin, |desk| {
                let mut new = desk.settings.clone();
                to(&mut new);
                desk.set_settings(new, "settings")
            });
        };
        set(|new| new.categories = vec!["billing".to_owned()]);
        let emails = ["one", "two"].map(|id| {
            house.deliver(&["support@x.example"], id, "");
            let email = house.email(&format!("{id}@c.example"));
            let (conversation, _) = house.conversation_of(email);
            let (status, category) = (Some(Status::Closed), Some(Some("billing".to_owned())));
            let change = change::Change { status, category, ..change::Change::default() };
            house.at_desk(house.ann, MemberRole::Admin, |desk| {
                desk.apply(conversation, &Event::Set { change, expect: Expect::default() }, Vec::new())
            });
            house.lengthen(conversation, LONG);
            email
        });
        set(|new| new.require_category = true);
        let are_there = || {
            let kept = house.at_desk(house.ann, MemberRole::Admin, |desk| Ok(desk.kept()?));
            let folder = kept.id(&Kept::ArchiveCategory("billing".to_owned())).unwrap();
            emails.map(|email| house.email_row(email).mailboxes.contains(&folder))
        };
        assert_eq!(are_there(), [true, false]);
        assert_eq!(house.fire_due(), 1);
        assert_eq!(are_there(), [true, true]);
        // The last step finds nothing behind them.
        assert_eq!(house.fire_due(), 0);
    }
}
