//! The capabilities, each spelled once. What an account or the session says about one is made in
//! `session.rs`; which of them show a method or a property is said in the tables.

/// Something a client may name in `using` (RFC 8620 §3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Capability {
    /// RFC 8620.
    Core,
    /// RFC 8621 §1.3.1.
    Mail,
    /// RFC 8621 §1.3.2.
    Submission,
    /// RFC 9670 §1.5.1.
    Principals,
    /// RFC 9404 §3.1.
    Blob,
    /// RFC 8621 §1.3.3. In people's own accounts only.
    Vacation,
    /// RFC 9425.
    Quota,
    /// RFC 9007.
    Mdn,
    /// RFC 8887 §3. Of the session alone.
    WebSocket,
    /// How a browser gets to a WebSocket, which it can't give credentials. Of the session alone.
    WebSocketTicket,
    /// RFC 9749. Of the session alone.
    WebPushVapid,
    /// draft-ietf-jmap-emailpush-03.
    EmailPush,
    /// Owner, team, claim, hand-off, watchers of a conversation.
    Ownership,
    /// Status, category, tags, priority of a conversation.
    Status,
    /// Notes.
    Notes,
    /// Reply locks, presence, the send gate.
    Locks,
    /// The history of an inbox.
    Activity,
}

/// Key of `accountCapabilities` alone: which principal owns the account. It can't be named in
/// `using`. RFC 9670 §1.5.2.
pub const PRINCIPALS_OWNER: &str = "urn:ietf:params:jmap:principals:owner";

macro_rules! vendor {
    ($name:literal) => {
        concat!("https://postroom.dev/jmap/", $name)
    };
}

impl Capability {
    pub const ALL: [Capability; 17] = [
        Capability::Core,
        Capability::Mail,
        Capability::Submission,
        Capability::Principals,
        Capability::Blob,
        Capability::Vacation,
        Capability::Quota,
        Capability::Mdn,
        Capability::WebSocket,
        Capability::WebSocketTicket,
        Capability::WebPushVapid,
        Capability::EmailPush,
        Capability::Ownership,
        Capability::Status,
        Capability::Notes,
        Capability::Locks,
        Capability::Activity,
    ];

    /// Ours. They exist in inbox accounts only.
    pub const VENDOR: &[Capability] = &[
        Capability::Ownership,
        Capability::Status,
        Capability::Notes,
        Capability::Locks,
        Capability::Activity,
    ];

    /// The identifier in the protocol.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Core => "urn:ietf:params:jmap:core",
            Self::Mail => "urn:ietf:params:jmap:mail",
            Self::Submission => "urn:ietf:params:jmap:submission",
            Self::Principals => "urn:ietf:params:jmap:principals",
            Self::Blob => "urn:ietf:params:jmap:blob",
            Self::Vacation => "urn:ietf:params:jmap:vacationresponse",
            Self::Quota => "urn:ietf:params:jmap:quota",
            Self::Mdn => "urn:ietf:params:jmap:mdn",
            Self::WebSocket => "urn:ietf:params:jmap:websocket",
            // Named as by the first servers and clients that had tickets.
            Self::WebSocketTicket => "com:linagora:params:jmap:ws:ticket",
            Self::WebPushVapid => "urn:ietf:params:jmap:webpush-vapid",
            Self::EmailPush => "urn:ietf:params:jmap:emailpush",
            Self::Ownership => vendor!("ownership"),
            Self::Status => vendor!("status"),
            Self::Notes => vendor!("notes"),
            Self::Locks => vendor!("locks"),
            Self::Activity => vendor!("activity"),
        }
    }

    /// The capability of that identifier.
    pub fn parse(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.uri() == uri)
    }

    /// True for one of ours.
    pub fn is_vendor(self) -> bool {
        Self::VENDOR.contains(&self)
    }
}

/// A set of capabilities, such as `using`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The set of these.
    pub fn of(capabilities: &[Capability]) -> Self {
        let mut set = Self::default();
        capabilities.iter().for_each(|&one| set.insert(one));
        set
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability as u8;
    }

    /// Is it in the set?
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Is at least one of ours in the set? Then its client knows that we are more than plain JMAP.
    pub fn knows_us(self) -> bool {
        Capability::VENDOR.iter().any(|&one| self.contains(one))
    }

    /// The capabilities in the set, in the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |&one| self.contains(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_found_by_its_exact_identifier_only() {
        for one in Capability::ALL {
            assert_eq!(Capability::parse(one.uri()), Some(one));
        }
        assert_eq!(Capability::Locks.uri(), "https://postroom.dev/jmap/locks");
        for wrong in ["", "urn:ietf:params:jmap:Core", "https://postroom.dev/jmap/", PRINCIPALS_OWNER] {
            assert_eq!(Capability::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_set_contains_what_was_put_in() {
        let set = CapabilitySet::of(&[Capability::Core, Capability::Notes]);
        assert!(set.contains(Capability::Notes) && !set.contains(Capability::Mail) && set.knows_us());
        assert_eq!(set.iter().collect::<Vec<_>>(), [Capability::Core, Capability::Notes]);
    }
}
