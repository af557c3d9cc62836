//! Whose mail an envelope recipient is: an account's by its address, or a submission's by the keyed
//! return path that its message left with.

use crate::auth::View;
use crate::mail::keyed::{self, WireKeys};
use crate::types::{AccountId, Address, SubmissionId};

/// Where mail to a recipient goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    pub account: AccountId,
    /// It came back to the return path of this submission.
    pub returned: Option<SubmissionId>,
    /// What stands behind the `+` of the address (RFC 5233's detail), in lower case.
    pub tag: Option<String>,
}

/// Where mail to this address goes; `None` where it is nobody's. A forged return path is nobody's,
/// though somebody is called `bounce`.
pub fn resolve(view: &View, address: &Address) -> Option<Target> {
    if !keyed::is_return_path(address) {
        let (account, detail) = view.route(address)?;
        return Some(Target { account, returned: None, tag: detail });
    }
    let (account, submission) = WireKeys::of(view).read_return_path(address)?;
    view.account(account).map(|_| Target { account, returned: Some(submission), tag: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::{House, address};

    #[test]
    fn an_address_is_an_accounts_or_the_return_path_of_a_submission() {
        let house = House::new();
        let inbox = house.inbox("support@example.com", &[], &[]);
        house.inbox("bounce@example.com", &[], &[]);
        let view = house.directory.current();
        let plain = Target { account: inbox, returned: None, tag: None };
        assert_eq!(resolve(&view, &address("Support@example.com")), Some(plain.clone()));
        let tagged = Target { tag: Some("billing+x".to_owned()), ..plain };
        assert_eq!(resolve(&view, &address("Support+Billing+x@example.com")), Some(tagged));
        let keys = WireKeys::of(&view);
        let path = keys.return_path(inbox, SubmissionId(7), "example.com").unwrap();
        let back = Target { account: inbox, returned: Some(SubmissionId(7)), tag: None };
        assert_eq!(resolve(&view, &path), Some(back));
        let forged = path.as_str().replacen("bounce+a", "bounce+z", 1).replacen("bounce+i", "bounce+z", 1);
        assert_ne!(forged, path.as_str());
        assert_eq!(resolve(&view, &address(&forged)), None, "{forged}");
        let gone = keys.return_path(AccountId(99), SubmissionId(7), "example.com").unwrap();
        assert_eq!(resolve(&view, &gone), None);
    }
}
