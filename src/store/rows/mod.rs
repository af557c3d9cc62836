//! Every stored struct. A stored row is a version octet and the struct in postcard; a struct that
//! changes gets a new version, and reads the old one by conversion.

pub mod account;
pub mod directory;
pub mod mail;
pub mod message;
pub mod quota;
pub mod submission;
pub mod team;
pub mod vacation;

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

const VERSION: u8 = 1;

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
