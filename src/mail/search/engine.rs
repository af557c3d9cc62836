//! The committed index on disk: its schema, opening, writing, and what a commit carries.
//!
//! One tantivy index for the server. A document is a message: its terms, each behind its account,
//! in one field without positions or frequencies; `received` and `docnum` as columns. Segments are
//! sorted by `received`, newest first, so that a page reads only its own messages.
//!
//! ```text
//! term       account u32 · place u8 · word          a word of a message
//!            account u32 · 'a'                      every message of the account
//!            account u32 · 'i' · docnum u32         the message itself
//! payload    the store's id, the format, and for each account the modseq that is indexed
//! ```
//!
//! Invariant: the payload belongs to the very commit that holds the documents.
//! Deliberately absent: stored fields; the store has the text.

use super::SearchError;
use super::terms::{Place, Terms};
use crate::types::limits::SEARCH_WRITER_HEAP_BYTES;
use crate::types::{AccountId, EmailId, UtcDate};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tantivy::directory::{Directory, INDEX_WRITER_LOCK, META_LOCK, MmapDirectory};
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, NoMergePolicy};
use tantivy::schema::{BytesOptions, FAST, Field, Schema, TantivyDocument, Term};
use tantivy::{
    Index, IndexReader, IndexSettings, IndexSortByField, IndexWriter, Order, ReloadPolicy, Searcher,
};

/// Changes with the terms, the schema or the tokeniser; another one is rebuilt.
const FORMAT: u32 = 2;

const META: &str = "meta.json";
const MANAGED: &str = ".managed.json";

/// The modseq up to which each account is indexed.
pub type Positions = BTreeMap<AccountId, u64>;

/// What each commit carries.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
struct Payload {
    format: u32,
    store_id: [u8; 16],
    positions: Positions,
}

/// The index on disk.
pub struct Engine {
    dir: PathBuf,
    index: Index,
    reader: IndexReader,
    store_id: [u8; 16],
}

/// The fields by number; [`schema`] makes them in this order.
pub(super) fn terms_field() -> Field {
    Field::from_field_id(0)
}

pub(super) const RECEIVED: &str = "received";
pub(super) const DOCNUM: &str = "docnum";

fn schema() -> Schema {
    let mut builder = Schema::builder();
    builder.add_bytes_field("terms", BytesOptions::default().set_indexed());
    builder.add_i64_field(RECEIVED, FAST);
    builder.add_u64_field(DOCNUM, FAST);
    builder.build()
}

fn settings() -> IndexSettings {
    IndexSettings {
        sort_by_field: Some(IndexSortByField { field: RECEIVED.to_owned(), order: Order::Desc }),
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

/// A term of the account: a word at a place.
pub(super) fn word_term(account: AccountId, place: Place, word: &str) -> Term {
    term(account, place as u8, word.as_bytes())
}

/// The term that every message of the account has.
pub(super) fn account_term(account: AccountId) -> Term {
    term(account, b'a', &[])
}

fn message_term(account: AccountId, email: EmailId) -> Term {
    term(account, b'i', &email.0.to_be_bytes())
}

fn term(account: AccountId, tag: u8, rest: &[u8]) -> Term {
    let mut bytes = Vec::with_capacity(5 + rest.len());
    bytes.extend(account.0.to_be_bytes());
    bytes.push(tag);
    bytes.extend(rest);
    Term::from_field_bytes(terms_field(), &bytes)
}

impl Engine {
    /// Makes an empty index in an empty folder, committed once so that it knows its store.
    pub fn create(dir: &Path, store_id: [u8; 16]) -> Result<Self, SearchError> {
        let index = Index::builder()
            .schema(schema())
            .settings(settings())
            .open_or_create(MmapDirectory::open(dir).map_err(tantivy::TantivyError::from)?)?;
        let engine = Self::over(dir, index, store_id)?;
        engine.writer()?.commit(&Positions::new())?;
        Ok(engine)
    }

    /// Opens the index if it is whole, of this format and of this store; gives its positions.
    pub fn open(dir: &Path, store_id: [u8; 16]) -> Result<(Self, Positions), SearchError> {
        let index = Index::open_in_dir(dir)?;
        // Another process that writes here is no damage: nothing may be moved away under it.
        drop(index.directory().acquire_lock(&INDEX_WRITER_LOCK).map_err(|_| SearchError::InUse)?);
        if index.schema() != schema() || *index.settings() != settings() {
            return Err(SearchError::Damaged("the index has another schema".to_owned()));
        }
        let engine = Self::over(dir, index, store_id)?;
        let payload = engine.payload()?;
        if payload.format != FORMAT || payload.store_id != store_id {
            return Err(SearchError::Damaged("the index belongs to another store or format".to_owned()));
        }
        Ok((engine, payload.positions))
    }

    fn over(dir: &Path, index: Index, store_id: [u8; 16]) -> Result<Self, SearchError> {
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(0)
            .try_into()?;
        Ok(Self { dir: dir.to_owned(), index, reader, store_id })
    }

    fn payload(&self) -> Result<Payload, SearchError> {
        Payload::read(&self.index.load_metas()?.payload.unwrap_or_default())
    }

    /// Looks at the last commit, and at what merges made of the earlier ones.
    pub fn reload(&self) -> Result<Searcher, SearchError> {
        self.reader.reload()?;
        Ok(self.reader.searcher())
    }

    /// The one writer. It holds memory and threads until it is dropped.
    pub fn writer(&self) -> Result<Writer, SearchError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(SEARCH_WRITER_HEAP_BYTES)
            .build();
        let inner = self.index.writer_with_options(options)?;
        inner.set_merge_policy(Box::new(merge_policy()));
        Ok(Writer { inner, store_id: self.store_id })
    }

    /// Rewrites the segments that have removed messages, so that none of their words is in a file. Gives
    /// how many there were. No other writer may be there.
    pub fn purge(&self) -> Result<usize, SearchError> {
        let mut writer = self.writer()?.inner;
        // A segment that is on its way into another one could not be taken.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let segments = self.index.searchable_segment_metas()?;
        let with_removed: Vec<SegmentId> =
            segments.iter().filter(|segment| segment.num_deleted_docs() > 0).map(|one| one.id()).collect();
        for id in &with_removed {
            writer.merge(&[*id]).wait()?;
        }
        writer.garbage_collect_files().wait()?;
        writer.wait_merging_threads()?;
        Ok(with_removed.len())
    }

    /// Hard-links the files of the last commit into the folder `target`, and gives its positions.
    pub fn link_committed_files(&self, target: &Path) -> Result<Positions, SearchError> {
        // While this lock is held, no file of an earlier commit is collected.
        let _held = self
            .index
            .directory()
            .acquire_lock(&META_LOCK)
            .map_err(|error| SearchError::Engine(error.to_string()))?;
        let (bytes, payload, files) = self.last_commit()?;
        let mut managed = vec![META.to_owned()];
        for file in &files {
            match std::fs::hard_link(self.dir.join(file), target.join(file)) {
                Ok(()) => managed.push(file.to_string_lossy().into_owned()),
                // The list names what a segment could have; deletes, for one, are often none.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        std::fs::write(target.join(META), bytes)?;
        let managed = serde_json::to_vec(&managed).map_err(std::io::Error::from)?;
        std::fs::write(target.join(MANAGED), managed)?;
        Ok(payload.positions)
    }

    /// meta.json as it stands, and what it names. A merge may end between the two reads, so they are
    /// repeated until both saw the same.
    fn last_commit(&self) -> Result<(Vec<u8>, Payload, HashSet<PathBuf>), SearchError> {
        for _ in 0..READS_MAX {
            let before = std::fs::read(self.dir.join(META))?;
            let meta = self.index.load_metas()?;
            if std::fs::read(self.dir.join(META))? == before {
                let payload = Payload::read(meta.payload.as_deref().unwrap_or_default())?;
                return Ok((before, payload, meta.list_segment_files()));
            }
        }
        Err(SearchError::Engine("the index changed during each of several reads".to_owned()))
    }
}

/// Reads of meta.json before a backup gives up.
const READS_MAX: usize = 16;

/// Few segments keep queries quick, and merges of neighbours in time are only copies. Segments below
/// the first layer count as equal, so that the many small ones of a quiet day melt together.
fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(8);
    policy.set_min_layer_size(1024);
    policy.set_level_log_size(2.5);
    policy.set_del_docs_ratio_before_merge(0.3);
    policy
}

impl Payload {
    fn read(text: &str) -> Result<Self, SearchError> {
        let bytes = BASE64.decode(text).map_err(|error| SearchError::Damaged(error.to_string()))?;
        postcard::from_bytes(&bytes).map_err(|error| SearchError::Damaged(error.to_string()))
    }

    fn write(&self) -> Result<String, SearchError> {
        let bytes = postcard::to_allocvec(self).map_err(|error| SearchError::Engine(error.to_string()))?;
        Ok(BASE64.encode(bytes))
    }
}

/// Writes documents and commits them. Dropping it abandons what isn't committed.
pub struct Writer {
    inner: IndexWriter,
    store_id: [u8; 16],
}

impl Writer {
    /// Adds a message.
    pub fn add(
        &self,
        account: AccountId,
        email: EmailId,
        received_at: UtcDate,
        terms: &Terms,
    ) -> Result<(), SearchError> {
        let mut document = TantivyDocument::with_capacity(terms.size_bytes() * 2);
        let field = terms_field();
        let mut bytes = account.0.to_be_bytes().to_vec();
        for entry in terms.iter() {
            bytes.truncate(size_of::<u32>());
            bytes.extend(entry);
            document.add_bytes(field, &bytes);
        }
        document.add_bytes(field, account_term(account).serialized_value_bytes());
        document.add_bytes(field, message_term(account, email).serialized_value_bytes());
        document.add_i64(Field::from_field_id(1), received_at.0);
        document.add_u64(Field::from_field_id(2), u64::from(email.0));
        self.inner.add_document(document)?;
        Ok(())
    }

    /// Removes a message, if it is there.
    pub fn remove(&self, account: AccountId, email: EmailId) {
        self.inner.delete_term(message_term(account, email));
    }

    /// Removes every message of an account.
    pub fn remove_account(&self, account: AccountId) {
        self.inner.delete_term(account_term(account));
    }

    /// Makes what was added and removed durable, together with the positions.
    pub fn commit(&mut self, positions: &Positions) -> Result<(), SearchError> {
        let payload = Payload { format: FORMAT, store_id: self.store_id, positions: positions.clone() };
        let text = payload.write()?;
        let mut prepared = self.inner.prepare_commit()?;
        prepared.set_payload(&text);
        prepared.commit()?;
        Ok(())
    }

    /// Waits for the merges that are under way, then gives back memory and threads.
    pub fn close(self) -> Result<(), SearchError> {
        Ok(self.inner.wait_merging_threads()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::search::IndexedText;

    #[test]
    fn the_words_of_a_removed_message_leave_the_index_with_a_purge() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::create(dir.path(), [1; 16]).unwrap();
        let mut writer = engine.writer().unwrap();
        let account = AccountId(1);
        let text = |body| Terms::of(&IndexedText { body, ..IndexedText::default() });
        for (body, email) in
            [("quokka wombat", 1), ("wombat", 2), ("wombat", 3), ("wombat", 4), ("wombat", 5)]
        {
            writer.add(account, EmailId(email), UtcDate(0), &text(body)).unwrap();
        }
        writer.commit(&Positions::new()).unwrap();
        let known = |word| {
            let searcher = engine.reload().unwrap();
            searcher.doc_freq(&word_term(account, Place::Body, word)).unwrap()
        };
        assert_eq!((known("quokka"), known("wombat")), (1, 5));
        writer.remove(account, EmailId(1));
        writer.commit(&Positions::new()).unwrap();
        assert_eq!(known("quokka"), 1, "removing alone leaves them");
        writer.close().unwrap();
        assert_eq!(engine.purge().unwrap(), 1);
        assert_eq!((known("quokka"), known("wombat")), (0, 4));
        assert_eq!(engine.purge().unwrap(), 0);
    }
}
