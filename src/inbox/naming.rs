//! The inbox itself: what it is called, and which addresses its mail comes in by.
//!
//! They are kept by the directory. The settings say them again, and each address has an Identity, so that
//! all three change in one transaction, with the activity. A lead names the inbox; an admin says where its
//! mail comes in, within the domains that the operator gave it (decision 108).

use super::admin::AdminError;
use super::desk::Desk;
use super::machine::{Actor, Entry, Value};
use super::refusal::Refusal;
use super::server;
use super::settings::{self, SINGLETON};
use crate::auth::View;
use crate::auth::accounts::{self, Naming};
use crate::mail::identity;
use crate::store::rows::directory::AccountRow;
use crate::store::rows::team::{ActivityKind, InboxSettingsRow};
use crate::store::{Change, Txn, keys};
use crate::types::{AccountId, Address, DataType, MemberRole};

/// Local parts that no member makes an address of: whoever reads their mail can prove to a certificate authority
/// that a domain is theirs, or is taken for the postmaster (RFC 2142, CA/Browser Forum 3.2.2.4.4).
const RESERVED: [&str; 7] =
    ["abuse", "admin", "administrator", "hostmaster", "mailer-daemon", "postmaster", "webmaster"];

/// Changes the name or the addresses of an inbox. The transaction holds the directory, too.
pub fn change(txn: &mut Txn<'_>, inbox: AccountId, by: Actor, new: &Naming) -> Result<(), AdminError> {
    let before = accounts::inbox(txn, inbox)?;
    if let Actor::Member { role, .. } = by {
        may(role, &before, new).map_err(|no| AdminError::Refused(Box::new(no)))?;
    }
    let after = accounts::rename_inbox(txn, inbox, new)?;
    if before == after {
        return Ok(());
    }
    identities(txn, inbox, &before, &after)?;
    let staff = server::staff(&View::load(txn)?, inbox);
    let mut desk = Desk::open(txn, inbox, by, &staff)?;
    let changed = [("name", before.name != after.name), ("addresses", before.addresses != after.addresses)];
    let changed: Vec<&str> = changed.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    desk.settings =
        InboxSettingsRow { name: after.name, addresses: after.addresses, ..desk.settings.clone() };
    settings::check_senders(&desk.settings).map_err(|no| AdminError::Refused(Box::new(no)))?;
    desk.txn.put_at(keys::row(inbox, keys::Kind::InboxSettings, SINGLETON), &desk.settings)?;
    desk.txn.log(inbox, DataType::InboxSettings, SINGLETON, Change::Updated)?;
    let what = Value::text(Some(&changed.join(" ")));
    desk.record(None, &Entry::new(ActivityKind::SettingsChanged, Value::NONE, what))?;
    Ok(())
}

/// What a member may do of it.
fn may(role: MemberRole, before: &AccountRow, new: &Naming) -> Result<(), Refusal> {
    if role < MemberRole::Lead {
        return Err(Refusal::Forbidden("Changing the settings of an inbox needs a lead."));
    }
    let Some(addresses) = &new.addresses else { return Ok(()) };
    if role < MemberRole::Admin {
        return Err(Refusal::Forbidden("Changing the addresses of an inbox needs an admin."));
    }
    let wrong = |why| Err(Refusal::InvalidProperties { properties: vec!["addresses"], why });
    let domains = |all: &[Address]| -> Vec<String> {
        all.iter().filter(|address| address.is_catch_all()).map(Address::key).collect()
    };
    if domains(&before.addresses) != domains(addresses) {
        return wrong("Mail to all of a domain is the operator's to give and to take.");
    }
    let is_new = |address: &&Address| before.addresses.iter().all(|one| one.key() != address.key());
    for address in addresses.iter().filter(is_new) {
        let key = address.key();
        let local = key.rsplit_once('@').map_or(key.as_str(), |(local, _)| local);
        if before.addresses.iter().all(|one| one.domain_key() != address.domain_key()) {
            return wrong("A new address must be in a domain that the inbox has an address in.");
        }
        // What follows a plus belongs to whoever has what is before it (RFC 5233).
        if local.contains('+') || RESERVED.contains(&local) {
            return wrong("An address like that is the operator's to give.");
        }
    }
    Ok(())
}

/// An address that came gets its Identity, one that went loses all that it had, and whoever was called
/// like the inbox still is.
fn identities(
    txn: &mut Txn<'_>,
    inbox: AccountId,
    before: &AccountRow,
    after: &AccountRow,
) -> Result<(), AdminError> {
    let all = identity::all(txn, inbox)?;
    for (id, row) in &all {
        if after.addresses.iter().all(|address| address.key() != row.email.key()) {
            identity::destroy_for_all(txn, inbox, *id)?;
        } else if before.name != after.name && identity::is_default(&all, *id, &row.email) {
            identity::rename_default(txn, inbox, (*id, row), &before.name, &after.name)?;
        }
    }
    for address in after.addresses.iter().filter(|address| !address.is_catch_all()) {
        if all.iter().all(|(_, row)| row.email.key() != address.key()) {
            accounts::add_identity(txn, inbox, &after.name, address)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::admin::AdminRequest;
    use crate::inbox::desk;
    use crate::inbox::support::{House, address, ask};
    use crate::store::rows::mail::IdentityRow;
    use crate::store::rows::team::Cause;
    use crate::types::PrincipalId;

    fn member(principal: PrincipalId, role: MemberRole) -> Actor {
        Actor::Member { principal, role }
    }

    fn named(name: &str) -> Naming {
        Naming { name: Some(name.to_owned()), addresses: None }
    }

    fn at(addresses: &[&str]) -> Naming {
        let addresses = addresses.iter().map(|text| address(text)).collect();
        Naming { name: None, addresses: Some(addresses) }
    }

    /// Tries it, and commits what was done.
    fn tried(house: &House, by: Actor, new: &Naming) -> Result<(), String> {
        let locked = house.server.store.lock_blocking(&[AccountId::DIRECTORY, house.inbox]);
        let mut txn = house.server.store.begin(&locked);
        change(&mut txn, house.inbox, by, new).map_err(|error| error.to_string())?;
        house.server.directory.commit(txn).unwrap();
        Ok(())
    }

    fn identities_of(house: &House, member: PrincipalId) -> Vec<(String, String)> {
        let snapshot = house.server.store.snapshot();
        let seen = identity::seen_by(&snapshot, house.inbox, Some(member)).unwrap();
        seen.into_iter().map(|(_, row)| (row.email.to_string(), row.name)).collect()
    }

    #[test]
    fn a_lead_names_the_inbox_and_identities_that_were_called_like_it_follow() {
        let house = House::new();
        let lead = member(house.ann, MemberRole::Lead);
        let old = house.server.directory.current().account(house.inbox).unwrap().name.clone();
        let own = |name: &str| {
            ["support@x.example", "help@x.example"].map(|email| (email.to_owned(), name.to_owned()))
        };
        assert_eq!(identities_of(&house, house.bob), own(&old));
        // Bob has written a signature, and no name of his own; Ann has named herself.
        for (who, named) in [(house.bob, false), (house.ann, true)] {
            house.write(house.inbox, |txn| {
                let (id, row) = identity::seen_by(txn, house.inbox, Some(who)).unwrap().remove(0);
                let name = if named { "Ann".to_owned() } else { row.name.clone() };
                let row = IdentityRow { name, named, ..row };
                identity::write_for(txn, house.inbox, id, who, &row).unwrap();
            });
        }
        tried(&house, lead, &named(" Harbour ")).unwrap();
        let view = house.server.directory.current();
        assert_eq!(view.account(house.inbox).unwrap().name, "Harbour");
        assert_eq!(identities_of(&house, house.bob), own("Harbour"));
        assert_eq!(identities_of(&house, house.ann)[0], own("Ann")[0]);
        assert_eq!(identities_of(&house, house.ann)[1], own("Harbour")[1]);
        let snapshot = house.server.store.snapshot();
        let settings = desk::settings(&snapshot, house.inbox).unwrap();
        assert_eq!(settings.name, "Harbour");
        let agent = member(house.bob, MemberRole::Agent);
        assert!(tried(&house, agent, &named("Bob's")).unwrap_err().contains("needs a lead"));
        assert_eq!(house.faults(), [""; 0]);
    }

    #[test]
    fn an_admin_takes_addresses_in_the_domains_of_the_inbox_and_mail_and_identities_follow() {
        let house = House::new();
        let admin = member(house.ann, MemberRole::Admin);
        tried(&house, admin, &at(&["jobs@X.example", "support@x.example"])).unwrap();
        let leads_to = |text: &str| house.server.directory.current().account_by_address(&address(text));
        assert_eq!(leads_to("Jobs@x.example"), Some(house.inbox));
        assert_eq!(leads_to("help@x.example"), None);
        let own = |addresses: &[&str]| -> Vec<(String, String)> {
            addresses.iter().map(|one| ((*one).to_owned(), "Support".to_owned())).collect()
        };
        assert_eq!(identities_of(&house, house.bob), own(&["jobs@X.example", "support@x.example"]));
        tried(&house, admin, &at(&["jobs@x.example"])).unwrap();
        assert_eq!(leads_to("support@x.example"), None);
        assert_eq!(identities_of(&house, house.bob), own(&["jobs@X.example"]));
        assert_eq!(house.faults(), [""; 0]);
        // Free again, it is there for others.
        let person = AdminRequest::PersonAdd {
            email: "help@x.example".into(),
            name: "Help".into(),
            password: None,
            mailbox: false,
        };
        ask(&house.server, person);
        let refused = tried(&house, admin, &at(&["jobs@x.example", "help@x.example"])).unwrap_err();
        assert_eq!(refused, "the address help@x.example is taken");
    }

    #[test]
    fn an_admin_gets_no_address_that_is_anothers_reserved_or_in_another_domain() {
        let house = House::new();
        let operator = Actor::System(Cause::User);
        let admin = member(house.ann, MemberRole::Admin);
        let own = "support@x.example";
        for (wanted, why) in [
            (vec![own, "ann@x.example"], "taken"),
            (vec![own, "help@elsewhere.example"], "in a domain"),
            (vec![own, "jobs+billing@x.example"], "operator"),
            (vec![own, "PostMaster@x.example"], "operator"),
            (vec![own, "*@x.example"], "all of a domain"),
            (vec![own, "jobs@x.example", "JOBS@x.example"], "twice"),
            (vec![], "an address of its own"),
        ] {
            let refused = tried(&house, admin, &at(&wanted)).unwrap_err();
            assert!(refused.contains(why), "{wanted:?}: {refused}");
        }
        let lead = member(house.bob, MemberRole::Lead);
        // Whether an address is taken is nothing that one learns without the role.
        assert!(tried(&house, lead, &at(&[own, "ann@x.example"])).unwrap_err().contains("an admin"));
        // The operator may, and what whole domains there are then stays.
        tried(&house, operator, &at(&[own, "*@elsewhere.example", "postmaster@x.example"])).unwrap();
        assert!(tried(&house, admin, &at(&[own])).unwrap_err().contains("all of a domain"));
        tried(&house, admin, &at(&[own, "*@elsewhere.example", "jobs@elsewhere.example"])).unwrap();
        assert_eq!(house.faults(), [""; 0]);
    }
}
