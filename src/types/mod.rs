//! Floor 0: pure values that every other floor shares. No I/O, no clock, no randomness of its
//! own; whatever can be wrong is refused when the value is made.

pub mod address;
pub mod blob_id;
pub mod clock;
pub mod data_type;
pub mod date;
pub mod ids;
pub mod keyword;
pub mod limits;
pub mod metrics;
pub mod position;
pub mod role;

pub use address::Address;
pub use blob_id::{BlobHash, BlobId, BlobRoot, TransferEncoding};
pub use clock::{Clock, Millis, Random};
pub use data_type::DataType;
pub use date::UtcDate;
pub use ids::*;
pub use keyword::Keyword;
pub use metrics::Metrics;
pub use position::Position;
pub use role::{MailboxRole, MemberRole};
