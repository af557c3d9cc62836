//! A query over one account, as the index runs it.
//!
//! Invariant: with [`Bound::Upper`] the plan finds every message that matches, with
//! [`Bound::Lower`] none that doesn't; the two differ only where there are phrases. Each term
//! carries the account, so no plan reads another account's postings.

use super::SearchError;
use super::engine::{account_term, terms_field, word_term};
use super::query::{Bound, Field, TextQuery, Word, keys};
use crate::types::AccountId;
use crate::types::limits::SEARCH_PREFIX_TERMS_MAX;
use std::ops::Bound as End;
use tantivy::query::{BooleanQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, Term};
use tantivy::{Searcher, SegmentReader};

/// The plan of `query` over the account.
pub(super) fn plan(
    query: &TextQuery,
    account: AccountId,
    searcher: &Searcher,
) -> Result<Box<dyn Query>, SearchError> {
    Planner { account, searcher }.node(query, Bound::Upper)
}

struct Planner<'a> {
    account: AccountId,
    searcher: &'a Searcher,
}

impl Planner<'_> {
    fn node(&self, query: &TextQuery, bound: Bound<'_>) -> Result<Box<dyn Query>, SearchError> {
        match query {
            TextQuery::And(list) => Ok(self.all_of(self.nodes(list, bound)?)),
            TextQuery::Or(list) => Ok(any_of(self.nodes(list, bound)?)),
            TextQuery::Not(list) => {
                let mut clauses = vec![(Occur::Must, self.everything())];
                clauses.extend(
                    self.nodes(list, bound.negated())?.into_iter().map(|query| (Occur::MustNot, query)),
                );
                Ok(Box::new(BooleanQuery::new(clauses)))
            }
            TextQuery::Words(field, words) => {
                let mut parts = Vec::with_capacity(words.len());
                for word in words {
                    self.word(*field, word, bound, &mut parts)?;
                }
                Ok(self.all_of(parts))
            }
        }
    }

    fn nodes(&self, list: &[TextQuery], bound: Bound<'_>) -> Result<Vec<Box<dyn Query>>, SearchError> {
        list.iter().map(|query| self.node(query, bound)).collect()
    }

    fn word(
        &self,
        field: Field,
        word: &Word,
        bound: Bound<'_>,
        parts: &mut Vec<Box<dyn Query>>,
    ) -> Result<(), SearchError> {
        match (word, bound) {
            (Word::Nothing, _) | (Word::Phrase(_), Bound::Lower) => parts.push(Box::new(EmptyQuery)),
            (Word::Phrase(atoms), _) => {
                for key in keys(atoms) {
                    self.word(field, &key, bound, parts)?;
                }
            }
            (Word::Term(term), _) => {
                let places = field.places().iter();
                parts.push(any_of(
                    places.map(|&place| exactly(word_term(self.account, place, term))).collect(),
                ));
            }
            (Word::Prefix(prefix), _) => {
                let places = field.places().iter();
                let ranges = places.map(|&place| self.starting(word_term(self.account, place, prefix)));
                parts.push(any_of(ranges.collect::<Result<_, _>>()?));
            }
        }
        Ok(())
    }

    fn everything(&self) -> Box<dyn Query> {
        exactly(account_term(self.account))
    }

    fn all_of(&self, mut parts: Vec<Box<dyn Query>>) -> Box<dyn Query> {
        match parts.len() {
            0 => self.everything(),
            1 => parts.remove(0),
            _ => Box::new(BooleanQuery::intersection(parts)),
        }
    }

    /// The terms that start as `first` does. The range is read into a bitset, so its width is
    /// checked before.
    fn starting(&self, first: Term) -> Result<Box<dyn Query>, SearchError> {
        let Some(behind) = behind(first.serialized_value_bytes()) else { return Ok(Box::new(EmptyQuery)) };
        for segment in self.searcher.segment_readers() {
            if is_broad(segment, first.serialized_value_bytes(), &behind)? {
                return Err(SearchError::TooBroad);
            }
        }
        let behind = Term::from_field_bytes(terms_field(), &behind);
        Ok(Box::new(InvertedIndexRangeQuery::new(End::Included(first), End::Excluded(behind))))
    }
}

fn exactly(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn any_of(mut parts: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    match parts.len() {
        0 => Box::new(EmptyQuery),
        1 => parts.remove(0),
        _ => Box::new(BooleanQuery::union(parts)),
    }
}

/// The first key behind all that start with `prefix`.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}

fn is_broad(segment: &SegmentReader, first: &[u8], behind: &[u8]) -> Result<bool, SearchError> {
    let inverted = segment.inverted_index(terms_field())?;
    let mut stream = inverted.terms().range().ge(first).lt(behind).into_stream()?;
    let mut terms = 0;
    while stream.advance() {
        terms += 1;
        if terms > SEARCH_PREFIX_TERMS_MAX {
            return Ok(true);
        }
    }
    Ok(false)
}
