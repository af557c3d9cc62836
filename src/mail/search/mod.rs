//! Full text: which messages of an account hold these words (RFC 8621 §4.4.1).
//!
//! ```text
//! words.rs    text → folded words           query.rs   what a client asks
//! terms.rs    a message → its terms         plan.rs    … as the index runs it
//! tail.rs     what isn't committed yet      hits.rs    the answer, newest first
//! engine.rs   the index on disk             index.rs   the one handle; writer.rs its thread
//! ```
//!
//! A query never commits and never waits for one: it reads the committed index and the tail in
//! memory, and what was added is found when `add` returns. The index is beside the store, never
//! ahead of it if it is fed what is durable, and can always be built again from it.
//!
//! Invariants: only text that never changes is indexed; each term carries its account, so that
//! accounts neither see nor pay for each other; a damaged index is moved aside, never an outage.
//! Deliberately absent: mailboxes, keywords, dates and rights, which the store answers; ranking;
//! positions, so phrases are verified on the text by whoever has it.

mod engine;
mod hits;
mod index;
mod plan;
mod query;
mod tail;
mod terms;
mod words;
mod writer;

#[cfg(test)]
mod model;

pub use engine::Positions;
pub use hits::{Hit, Hits};
pub use index::{Opened, SearchIndex, Stats};
pub use query::{Field, TextQuery, TooManyWords, Word, find};
pub use terms::{IndexedText, Place};

/// What can go wrong.
#[derive(thiserror::Error, Debug)]
pub enum SearchError {
    /// A `word*` that stands for more than `SEARCH_PREFIX_TERMS_MAX` words: `unsupportedFilter`.
    #[error("too many words start like this")]
    TooBroad,
    /// Another process has the index open.
    #[error("another process uses the search index")]
    InUse,
    /// The index can't be read as what it should be. [`SearchIndex::open`] rebuilds it.
    #[error("the search index is damaged: {0}")]
    Damaged(String),
    /// The writer gave up. The next [`SearchIndex::open`] rebuilds the index.
    #[error("the search index failed: {0}")]
    Failed(String),
    /// The index was closed.
    #[error("the search index is closed")]
    Closed,
    #[error("the search index: {0}")]
    Engine(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<tantivy::TantivyError> for SearchError {
    fn from(error: tantivy::TantivyError) -> Self {
        SearchError::Engine(error.to_string())
    }
}
