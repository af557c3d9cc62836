//! Every stored struct. A stored row is a version octet and the struct in postcard.
//!
//! A struct grows at its end only: fields that a row of an earlier version lacks read as zero, false,
//! empty or none. Anything else needs a struct of its own, and a conversion.

pub mod account;
pub mod activity;
pub mod directory;
pub mod mail;
pub mod message;
pub mod push;
pub mod quota;
pub mod sharing;
pub mod submission;
pub mod team;
pub mod vacation;
pub mod viewer;

use super::error::{StoreError, StoreResult};
use super::keys::Key;
use crate::types::{AccountId, DataType};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The type whose log tells of a row, and the id that it names there.
pub type Logged<Id> = (DataType, fn(Id) -> u32);

/// A stored struct: where it is kept, and whose change log tells of it.
pub trait Row: Serialize + DeserializeOwned {
    /// What names a row in its account.
    type Id: Copy;
    /// The type whose change log gets an entry with every write, and the id that it names; `None`
    /// for rows that no client sees as an object.
    const LOGGED: Option<Logged<Self::Id>>;
    /// Where the row is.
    fn key(account: AccountId, id: Self::Id) -> Key;
}

/// The version that rows are written in. It rises with the release that adds fields.
const VERSION: u8 = 7;
/// The first version; the structs of all before the present one may have fewer fields.
const FIRST_VERSION: u8 = 1;
/// What stands for the fields that an earlier version lacks: postcard's zero, false, empty and none
/// are octets 0.
const NEW_FIELDS: [u8; 16] = [0; 16];

/// The row's octets.
pub fn encode<T: Serialize>(row: &T) -> StoreResult<Vec<u8>> {
    postcard::to_extend(row, vec![VERSION]).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The row that the octets hold.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> StoreResult<T> {
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|error| StoreError::Corrupt(error.to_string()))
        }
        Some((version, body)) if (FIRST_VERSION..VERSION).contains(version) => {
            let grown = [body, &NEW_FIELDS].concat();
            postcard::from_bytes(&grown).map_err(|error| StoreError::Corrupt(error.to_string()))
        }
        Some((version, _)) => Err(StoreError::Corrupt(format!("row version {version}"))),
        None => Err(StoreError::Corrupt("an empty row".to_owned())),
    }
}

/// Says where a struct is kept: `row!(Struct, IdType, Kind, logged as DataType)`.
macro_rules! row {
    ($name:ty, $id:ident, $kind:ident, $logged:ident) => {
        impl $crate::store::rows::Row for $name {
            type Id = $crate::types::$id;
            const LOGGED: Option<($crate::types::DataType, fn(Self::Id) -> u32)> =
                Some(($crate::types::DataType::$logged, |id| id.0));
            fn key(account: $crate::types::AccountId, id: Self::Id) -> $crate::store::keys::Key {
                $crate::store::keys::row(account, $crate::store::keys::Kind::$kind, id.0)
            }
        }
    };
    ($name:ty, $id:ident, $kind:ident) => {
        impl $crate::store::rows::Row for $name {
            type Id = $crate::types::$id;
            const LOGGED: Option<($crate::types::DataType, fn(Self::Id) -> u32)> = None;
            fn key(account: $crate::types::AccountId, id: Self::Id) -> $crate::store::keys::Key {
                $crate::store::keys::row(account, $crate::store::keys::Kind::$kind, id.0)
            }
        }
    };
}
pub(crate) use row;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize)]
    struct Before {
        a: u32,
    }

    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct After {
        a: u32,
        list: Vec<u32>,
        flag: bool,
        maybe: Option<String>,
    }

    #[test]
    fn a_row_of_an_earlier_version_reads_with_the_fields_that_came_later() {
        let mut bytes = encode(&Before { a: 7 }).unwrap();
        let grown = After { a: 7, list: Vec::new(), flag: false, maybe: None };
        for version in FIRST_VERSION..VERSION {
            bytes[0] = version;
            assert_eq!(decode::<After>(&bytes).unwrap(), grown, "version {version}");
        }
        assert_eq!(decode::<After>(&encode(&grown).unwrap()).unwrap(), grown);
    }

    #[test]
    fn a_row_of_now_that_is_cut_off_is_corrupt() {
        let bytes = encode(&Before { a: 7 }).unwrap();
        assert!(matches!(decode::<After>(&bytes), Err(StoreError::Corrupt(_))));
        assert!(matches!(decode::<After>(&[9, 1]), Err(StoreError::Corrupt(_))));
    }
}
