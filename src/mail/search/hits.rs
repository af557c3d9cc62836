//! The hits of one query, newest first, read only as far as somebody asks.
//!
//! Segments are sorted by date, so the newest hit of each is its next one; a heap over the segments
//! and the tail gives them in order. A segment is opened when the heap reaches its newest message,
//! and so a page of recent mail touches few.
//!
//! Invariants: ordered by date, then docnum, both descending; each message once; nothing that was
//! removed. What is given is fixed by the moment of the search.

use super::SearchError;
use super::engine::{DOCNUM, RECEIVED};
use crate::types::{EmailId, UtcDate};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use tantivy::columnar::ColumnValues;
use tantivy::fastfield::AliveBitSet;
use tantivy::query::{Scorer, Weight};
use tantivy::{DocId, DocSet, Searcher, TERMINATED};

/// One message that the query finds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hit {
    pub received_at: UtcDate,
    pub email: EmailId,
}

/// Committed messages that a search must not give, since they were removed after the commit.
#[derive(Clone, Default)]
pub(super) enum Hidden {
    #[default]
    None,
    Emails(Arc<std::collections::BTreeMap<EmailId, u64>>),
    All,
}

impl Hidden {
    fn hides(&self, email: EmailId) -> bool {
        match self {
            Hidden::None => false,
            Hidden::Emails(emails) => emails.contains_key(&email),
            Hidden::All => true,
        }
    }
}

/// Iterates over the hits. An error ends it.
pub struct Hits {
    searcher: Searcher,
    weight: Box<dyn Weight>,
    hidden: Hidden,
    /// Hits of the tail, oldest first, so that the next one is popped.
    tail: Vec<Hit>,
    heap: BinaryHeap<Source>,
    /// Committed hits of one date, by docnum ascending.
    group: Vec<Hit>,
    last: Option<Hit>,
}

/// A segment with the date of its next hit, or a bound for it.
struct Source {
    received_at: UtcDate,
    segment: usize,
    cursor: Option<Cursor>,
}

struct Cursor {
    scorer: Box<dyn Scorer>,
    alive: Option<AliveBitSet>,
    received: Arc<dyn ColumnValues<i64>>,
    docnums: Arc<dyn ColumnValues<u64>>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Source {}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        self.received_at.cmp(&other.received_at).then(other.segment.cmp(&self.segment))
    }
}

impl Hits {
    /// The hits of `weight` in what is committed, and those of the tail.
    pub(super) fn new(
        searcher: Searcher,
        weight: Box<dyn Weight>,
        hidden: Hidden,
        mut tail: Vec<Hit>,
    ) -> Result<Self, SearchError> {
        tail.sort_unstable();
        let mut heap = BinaryHeap::new();
        if !matches!(hidden, Hidden::All) {
            for (segment, reader) in searcher.segment_readers().iter().enumerate() {
                if reader.max_doc() > 0 {
                    let received = reader.fast_fields().i64(RECEIVED)?.first_or_default_col(0);
                    heap.push(Source { received_at: UtcDate(received.get_val(0)), segment, cursor: None });
                }
            }
        }
        Ok(Self { searcher, weight, hidden, tail, heap, group: Vec::new(), last: None })
    }

    /// All hits that are left, by docnum: to be combined with the store's sets. Quicker than to take
    /// them one by one in order of date.
    pub fn into_emails(mut self) -> Result<Vec<EmailId>, SearchError> {
        let mut emails: Vec<EmailId> = self.group.iter().chain(&self.tail).map(|hit| hit.email).collect();
        while let Some(source) = self.heap.pop() {
            let mut cursor = match source.cursor {
                Some(cursor) => cursor,
                None => self.open(source.segment)?,
            };
            while let Some(doc) = cursor.doc() {
                let email = cursor.email(doc);
                if !self.hidden.hides(email) {
                    emails.push(email);
                }
                cursor.scorer.advance();
            }
        }
        emails.sort_unstable();
        emails.dedup();
        Ok(emails)
    }

    fn advance(&mut self) -> Result<Option<Hit>, SearchError> {
        loop {
            if self.group.is_empty() {
                self.fill_group()?;
            }
            let next = match (self.group.last(), self.tail.last()) {
                (Some(committed), Some(tail)) if committed < tail => self.tail.pop(),
                (Some(_), _) => self.group.pop(),
                (None, _) => self.tail.pop(),
            };
            let Some(hit) = next else { return Ok(None) };
            // A message that was fed again after a crash is there twice, in the same place.
            if self.last != Some(hit) {
                self.last = Some(hit);
                return Ok(Some(hit));
            }
        }
    }

    /// Takes all committed hits of the newest date that is left.
    fn fill_group(&mut self) -> Result<(), SearchError> {
        while let Some(source) = self.heap.pop() {
            let date = source.received_at;
            if self.group.first().is_some_and(|first| first.received_at != date) {
                self.heap.push(source);
                break;
            }
            let segment = source.segment;
            let mut cursor = match source.cursor {
                Some(cursor) => cursor,
                None => self.open(segment)?,
            };
            while let Some(hit) = cursor.head() {
                if hit.received_at != date {
                    let received_at = hit.received_at;
                    self.heap.push(Source { received_at, segment, cursor: Some(cursor) });
                    break;
                }
                if !self.hidden.hides(hit.email) {
                    self.group.push(hit);
                }
                cursor.scorer.advance();
            }
        }
        self.group.sort_unstable();
        Ok(())
    }

    fn open(&self, segment: usize) -> Result<Cursor, SearchError> {
        let reader = self.searcher.segment_reader(segment as u32);
        Ok(Cursor {
            scorer: self.weight.scorer(reader, 1.0)?,
            alive: reader.alive_bitset().cloned(),
            received: reader.fast_fields().i64(RECEIVED)?.first_or_default_col(0),
            docnums: reader.fast_fields().u64(DOCNUM)?.first_or_default_col(0),
        })
    }
}

impl Cursor {
    /// The document that the scorer stands on, deleted ones skipped.
    fn doc(&mut self) -> Option<DocId> {
        let mut doc = self.scorer.doc();
        if let Some(alive) = &self.alive {
            while doc != TERMINATED && alive.is_deleted(doc) {
                doc = self.scorer.advance();
            }
        }
        (doc != TERMINATED).then_some(doc)
    }

    fn email(&self, doc: DocId) -> EmailId {
        EmailId(self.docnums.get_val(doc) as u32)
    }

    fn head(&mut self) -> Option<Hit> {
        let doc = self.doc()?;
        Some(Hit { received_at: UtcDate(self.received.get_val(doc)), email: self.email(doc) })
    }
}

impl Iterator for Hits {
    type Item = Result<Hit, SearchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(hit) => hit.map(Ok),
            Err(error) => {
                self.heap.clear();
                self.group.clear();
                self.tail.clear();
                Some(Err(error))
            }
        }
    }
}
