//! Where somebody who listens to accounts is.

use super::AccountId;
use std::collections::BTreeMap;
use std::fmt;

/// For each account the modseq up to which everything was told. Its text is kept by clients as the id of
/// an event or a pushState, and is theirs to give back: what can't be read in it is unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Position(BTreeMap<AccountId, u64>);

impl Position {
    pub fn parse(text: &str) -> Self {
        let one = |part: &str| {
            let (id, modseq) = part.split_once(':')?;
            Some((AccountId::parse(id)?, modseq.parse().ok()?))
        };
        text.split(',').filter_map(one).collect()
    }

    /// The modseq up to which everything of the account was told; `None` where nothing is known of it.
    pub fn of(&self, account: AccountId) -> Option<u64> {
        self.0.get(&account).copied()
    }
}

impl FromIterator<(AccountId, u64)> for Position {
    fn from_iter<I: IntoIterator<Item = (AccountId, u64)>>(known: I) -> Self {
        Self(known.into_iter().collect())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (id, modseq)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(out, "{comma}{id}:{modseq}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_nonsense_knows_nothing() {
        let known = Position::parse("ab:120,ac:7");
        assert_eq!(known, Position::from_iter([(AccountId(1), 120), (AccountId(2), 7)]));
        assert_eq!((known.of(AccountId(2)), known.of(AccountId(3))), (Some(7), None));
        assert_eq!(known.to_string(), "ab:120,ac:7");
        assert_eq!(Position::parse("ab:x,ab,:3,zz:1,,\u{fffd}"), Position::default());
        assert_eq!(Position::default().to_string(), "");
    }
}
