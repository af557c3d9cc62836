//! Making the kept mailboxes of owners and categories.
//!
//! They are there before anything is in them, so that a client that knows only mailboxes can hand a
//! message to any colleague and close it under any category.

use super::desk::{Desk, PersonName};
use super::projection::KeptMailboxes;
use crate::mail::mailbox;
use crate::store::StoreResult;
use crate::store::rows::mail::Kept;
use crate::types::*;

impl Desk<'_, '_> {
    /// Makes the mailbox of each member who may own a conversation, and of each category where
    /// categories are required.
    pub(super) fn keep_mailboxes(&mut self) -> StoreResult<()> {
        let kept = self.kept()?;
        let roster = &self.staff.roster;
        let owners = roster.members.keys().filter(|member| roster.can_own(**member));
        let categories = self.settings.categories.iter().filter(|_| self.settings.require_category);
        let wanted: Vec<Kept> = owners
            .map(|owner| Kept::Assigned(*owner))
            .chain(categories.map(|category| Kept::ArchiveCategory(category.clone())))
            .filter(|wanted| kept.id(wanted).is_none())
            .collect();
        wanted.iter().try_for_each(|missing| self.make_kept(missing, &kept))
    }

    pub(super) fn make_kept(&mut self, missing: &Kept, kept: &KeptMailboxes) -> StoreResult<()> {
        let (name, parent) = match missing {
            Kept::Assigned(owner) => {
                let person = self.staff.names.get(owner);
                let name =
                    person.map_or_else(|| owner.to_string(), |person| self.unique_name(*owner, person));
                (name, kept.id(&Kept::AssignedParent))
            }
            Kept::ArchiveCategory(category) => (category.clone(), kept.id(&Kept::Archive)),
            other => (format!("{other:?}"), None),
        };
        mailbox::create_kept(self.txn, self.account, &name, parent, missing.clone()).map(|_| ())
    }

    /// A display name made unique by the address.
    fn unique_name(&self, owner: PrincipalId, person: &PersonName) -> String {
        let same = |(other, name): (&PrincipalId, &PersonName)| *other != owner && name.name == person.name;
        if self.staff.names.iter().any(same) {
            format!("{} ({})", person.name, person.email)
        } else {
            person.name.clone()
        }
    }
}
