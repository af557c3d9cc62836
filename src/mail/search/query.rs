//! What a client asks of the text (RFC 8621 §4.4.1), as a tree over words.
//!
//! White space parts words and all must be there; text in quotes is a phrase; a trailing `*` asks
//! for words that start so. A word with punctuation in it (`example.com`, `INV-42`) is a phrase too,
//! since that is what its reader means. An address is one term.
//!
//! Phrases aren't in the index: their words give candidates, and whoever asked verifies those on
//! the text with [`TextQuery::matches`] where [`TextQuery::must_verify`] says so.
//!
//! Invariant: what `matches` accepts is always among the candidates.
//! Deliberately absent: conditions that aren't about text; the store answers them.

use super::terms::{IndexedText, Place, Terms};
use super::words;
use crate::types::limits::{SEARCH_TEXT_BYTES_MAX, SEARCH_WORD_BYTES_MAX, SEARCH_WORDS_MAX};
use std::ops::Range;

/// A String property of a FilterCondition (RFC 8621 §4.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Text,
    From,
    To,
    Cc,
    Bcc,
    Subject,
    Body,
}

impl Field {
    /// The places of which any one may hold a word.
    pub(super) fn places(self) -> &'static [Place] {
        match self {
            Field::Text => &[Place::Body, Place::Head],
            Field::From => &[Place::From],
            Field::To => &[Place::To],
            Field::Cc => &[Place::Cc],
            Field::Bcc => &[Place::Bcc],
            Field::Subject => &[Place::Subject],
            Field::Body => &[Place::Body],
        }
    }

    /// Whether a condition on this field looks into text that stands at `place` of a message.
    fn covers(self, place: Place) -> bool {
        self == Field::Text || self.places().contains(&place)
    }
}

/// A filter over text: a condition, or a FilterOperator (RFC 8620 §5.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextQuery {
    /// All of them.
    And(Vec<TextQuery>),
    /// At least one of them.
    Or(Vec<TextQuery>),
    /// None of them.
    Not(Vec<TextQuery>),
    /// All the words, each in the field.
    Words(Field, Vec<Word>),
}

/// One thing to be found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// This term.
    Term(String),
    /// A term that starts so.
    Prefix(String),
    /// These atoms, one after the other in one field.
    Phrase(Vec<PhraseAtom>),
    /// Text without any word in it, such as `!?`: found nowhere.
    Nothing,
}

/// One atom of a phrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhraseAtom {
    text: String,
    wide: bool,
    joined: bool,
    /// The last word before a trailing `*`.
    prefix: bool,
}

/// How a tree is read where phrases can't be decided.
#[derive(Clone, Copy)]
pub(super) enum Bound<'a> {
    /// Whatever may match.
    Upper,
    /// Only what matches for certain.
    Lower,
    /// The phrases are looked up in this text.
    Exact(&'a IndexedText<'a>),
}

impl Bound<'_> {
    /// How the operand of a NOT is read.
    pub(super) fn negated(self) -> Self {
        match self {
            Bound::Upper => Bound::Lower,
            Bound::Lower => Bound::Upper,
            exact => exact,
        }
    }
}

impl TextQuery {
    /// The condition that `field` of a message holds `text`. Text beyond the limits is an error,
    /// which the caller answers with `unsupportedFilter`. Blank text is no condition.
    pub fn parse(field: Field, text: &str) -> Result<Self, TooManyWords> {
        if text.len() > SEARCH_TEXT_BYTES_MAX {
            return Err(TooManyWords);
        }
        let mut words = Vec::new();
        for (part, quoted) in split(text) {
            let word = if quoted { phrase(&part, false) } else { plain(&part) };
            words.extend(word);
        }
        if words.iter().map(Word::atoms).sum::<usize>() > SEARCH_WORDS_MAX {
            return Err(TooManyWords);
        }
        if words.is_empty() && !text.trim().is_empty() {
            words.push(Word::Nothing);
        }
        Ok(TextQuery::Words(field, words))
    }

    /// Whether what the index gives are candidates only.
    pub fn must_verify(&self) -> bool {
        match self {
            TextQuery::And(list) | TextQuery::Or(list) | TextQuery::Not(list) => {
                list.iter().any(TextQuery::must_verify)
            }
            TextQuery::Words(_, words) => words.iter().any(|word| matches!(word, Word::Phrase(_))),
        }
    }

    /// Whether the message matches, decided on its text.
    pub fn matches(&self, text: &IndexedText<'_>) -> bool {
        self.accepts(&Terms::of(text), Bound::Exact(text))
    }

    /// The words that a reader would look for at `place`, for snippets (RFC 8621 §5): those of
    /// every condition that looks there and isn't negated.
    pub fn words_at(&self, place: Place) -> Vec<&Word> {
        match self {
            TextQuery::And(list) | TextQuery::Or(list) => {
                list.iter().flat_map(|query| query.words_at(place)).collect()
            }
            TextQuery::Words(field, words) if field.covers(place) => words.iter().collect(),
            TextQuery::Not(_) | TextQuery::Words(..) => Vec::new(),
        }
    }

    pub(super) fn accepts(&self, terms: &Terms, bound: Bound<'_>) -> bool {
        match self {
            TextQuery::And(list) => list.iter().all(|query| query.accepts(terms, bound)),
            TextQuery::Or(list) => list.iter().any(|query| query.accepts(terms, bound)),
            TextQuery::Not(list) => !list.iter().any(|query| query.accepts(terms, bound.negated())),
            TextQuery::Words(field, words) => words.iter().all(|word| word.accepts(*field, terms, bound)),
        }
    }
}

/// A condition of more than `SEARCH_WORDS_MAX` words or `SEARCH_TEXT_BYTES_MAX` octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more words than one condition may have")]
pub struct TooManyWords;

impl Word {
    fn atoms(&self) -> usize {
        match self {
            Word::Phrase(atoms) => atoms.len(),
            Word::Term(_) | Word::Prefix(_) | Word::Nothing => 1,
        }
    }

    fn accepts(&self, field: Field, terms: &Terms, bound: Bound<'_>) -> bool {
        let any = |found: &dyn Fn(Place) -> bool| field.places().iter().any(|&place| found(place));
        match self {
            Word::Term(term) => any(&|place| terms.contains(place, term)),
            Word::Prefix(prefix) => any(&|place| terms.contains_prefix(place, prefix)),
            Word::Nothing => false,
            Word::Phrase(atoms) => match bound {
                Bound::Lower => false,
                Bound::Upper => keys(atoms).iter().all(|key| key.accepts(field, terms, bound)),
                Bound::Exact(text) => {
                    keys(atoms).iter().all(|key| key.accepts(field, terms, bound))
                        && text.fields().iter().any(|&(place, text)| {
                            field.covers(place) && !phrase_ranges(text, atoms, 1).is_empty()
                        })
                }
            },
        }
    }
}

/// The terms and prefixes that a text with this phrase has for certain.
pub(super) fn keys(atoms: &[PhraseAtom]) -> Vec<Word> {
    let mut keys = Vec::with_capacity(atoms.len());
    for (at, atom) in atoms.iter().enumerate() {
        let next = atoms.get(at + 1);
        if !atom.wide {
            let text = atom.text.clone();
            keys.push(if atom.prefix { Word::Prefix(text) } else { Word::Term(text) });
        } else if let Some(next) = next.filter(|next| next.joined) {
            keys.push(Word::Term(bigram(&atom.text, &next.text)));
        } else if !atom.joined {
            // A wide character alone may stand anywhere in a run; every one starts some term.
            keys.push(Word::Prefix(atom.text.clone()));
        }
    }
    keys
}

fn bigram(first: &str, second: &str) -> String {
    let pair = format!("{first}{second}");
    words::cut(&pair, SEARCH_WORD_BYTES_MAX).to_owned()
}

/// Where the words stand in `text`, in order and without overlaps, at most `ranges_max` of them.
pub fn find(text: &str, words: &[&Word], ranges_max: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for word in words {
        match word {
            Word::Nothing => {}
            Word::Phrase(atoms) => ranges.extend(phrase_ranges(text, atoms, ranges_max)),
            Word::Term(term) if term.contains('@') => {
                ranges.extend(address_ranges(text, ranges_max, &|whole| matches_address(whole, term)));
            }
            Word::Prefix(prefix) if prefix.contains('@') => {
                ranges.extend(address_ranges(text, ranges_max, &|whole| whole.starts_with(prefix.as_str())));
            }
            Word::Term(term) => ranges.extend(phrase_ranges(text, &atoms_of(term, false), ranges_max)),
            Word::Prefix(term) => ranges.extend(phrase_ranges(text, &atoms_of(term, true), ranges_max)),
        }
    }
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged.truncate(ranges_max);
    merged
}

fn matches_address(whole: &str, term: &str) -> bool {
    whole == term
        || (term.starts_with('@') && whole.ends_with(term))
        || (term.ends_with('@') && whole.starts_with(term))
}

fn address_ranges(text: &str, ranges_max: usize, wanted: &dyn Fn(&str) -> bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    words::addresses(text, &mut |whole, range| {
        if ranges.len() < ranges_max && wanted(whole) {
            ranges.push(range);
        }
    });
    ranges
}

/// Where the atoms stand one after the other. Each text atom is compared once for every partial
/// match that is open, of which there are at most as many as the phrase has atoms.
fn phrase_ranges(text: &str, phrase: &[PhraseAtom], ranges_max: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    if phrase.is_empty() {
        return found;
    }
    words::atoms(text, &mut |atom| {
        if found.len() >= ranges_max {
            return;
        }
        open.push((0, atom.start));
        open.retain_mut(|(next, start)| {
            // A partial match is dropped before its place passes the phrase's end.
            let fits = phrase.get(*next).is_some_and(|wanted| wanted.fits(&atom, *next == 0));
            *next += 1;
            if fits && *next == phrase.len() {
                found.push(*start..atom.end);
            }
            fits && *next < phrase.len()
        });
    });
    found
}

impl PhraseAtom {
    fn fits(&self, atom: &words::Atom<'_>, first: bool) -> bool {
        if self.wide != atom.wide || (!first && self.joined && !atom.joined) {
            return false;
        }
        if self.prefix { atom.text.starts_with(&self.text) } else { atom.text == self.text }
    }
}

fn atoms_of(text: &str, prefix: bool) -> Vec<PhraseAtom> {
    let mut atoms = Vec::new();
    words::atoms(text, &mut |atom| {
        atoms.push(PhraseAtom {
            text: atom.text.to_owned(),
            wide: atom.wide,
            joined: atom.joined,
            prefix: false,
        });
    });
    if let Some(last) = atoms.last_mut() {
        last.prefix = prefix && !last.wide;
    }
    atoms
}

/// A word outside quotes: an address, or atoms, with `*` at the end for a prefix.
fn plain(part: &str) -> Option<Word> {
    let (part, prefix) = match part.strip_suffix('*') {
        Some(part) => (part, true),
        None => (part, false),
    };
    match address(part) {
        Some(address) if prefix => Some(Word::Prefix(address)),
        Some(address) => Some(Word::Term(address)),
        None => phrase(part, prefix),
    }
}

/// `jo@example.com`, `jo@` and `@example.com` are terms as they stand.
fn address(part: &str) -> Option<String> {
    let bare = part.trim_matches(['<', '>', ',', ';', ':', '(', ')']);
    let half = match (bare.strip_prefix('@'), bare.strip_suffix('@')) {
        (Some(domain), None) => format!("x@{domain}"),
        (None, Some(local)) => format!("{local}@x"),
        _ => bare.to_owned(),
    };
    let mut found = None;
    words::addresses(&half, &mut |whole, range| {
        found = (range == (0..half.len())).then(|| whole.to_owned());
    });
    let found = found?;
    if bare.starts_with('@') {
        found.strip_prefix('x').map(str::to_owned)
    } else if bare.ends_with('@') {
        found.strip_suffix('x').map(str::to_owned)
    } else {
        Some(found)
    }
}

fn phrase(part: &str, prefix: bool) -> Option<Word> {
    let atoms = atoms_of(part, prefix);
    match atoms.as_slice() {
        [] => None,
        // A pair is exactly what a bigram says.
        [first, second] if second.joined => Some(Word::Term(bigram(&first.text, &second.text))),
        [only] if only.wide || only.prefix => Some(Word::Prefix(only.text.clone())),
        [only] => Some(Word::Term(only.text.clone())),
        _ => Some(Word::Phrase(atoms)),
    }
}

/// Parts of a condition's text, and whether each was in quotes. Quotes must match and stand at the
/// edges of words, so that `don't` and `5"` are just words; `\` escapes within them.
fn split(text: &str) -> Vec<(String, bool)> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some((phrase, behind)) = quoted(rest, first) {
            parts.push((phrase, true));
            rest = behind.trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            parts.push((rest[..end].to_owned(), false));
            rest = rest[end..].trim_start();
        }
    }
    parts
}

/// A phrase in quotes at the start of `rest`, and what follows it.
fn quoted(rest: &str, quote: char) -> Option<(String, &str)> {
    if quote != '"' && quote != '\'' {
        return None;
    }
    let mut phrase = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        let behind = &rest[at + char.len_utf8()..];
        if char == '\\' {
            phrase.extend(chars.next().map(|(_, escaped)| escaped));
        } else if char == quote
            && (quote == '"' || behind.chars().next().is_none_or(|next| !next.is_alphanumeric()))
        {
            return Some((phrase, behind));
        } else {
            phrase.push(char);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words_of(text: &str) -> Vec<String> {
        let Ok(TextQuery::Words(_, words)) = TextQuery::parse(Field::Text, text) else {
            return vec!["too many".to_owned()];
        };
        words
            .iter()
            .map(|word| match word {
                Word::Term(term) => term.clone(),
                Word::Prefix(prefix) => format!("{prefix}*"),
                Word::Nothing => "nothing".to_owned(),
                Word::Phrase(atoms) => {
                    let atoms: Vec<String> = atoms
                        .iter()
                        .map(|atom| format!("{}{}", atom.text, if atom.prefix { "*" } else { "" }))
                        .collect();
                    format!("[{}]", atoms.join(" "))
                }
            })
            .collect()
    }

    #[test]
    fn the_text_of_a_condition_is_words_phrases_addresses_and_prefixes() {
        let table: &[(&str, &[&str])] = &[
            ("Two  Words", &["two", "words"]),
            ("\"Two words\" more", &["[two words]", "more"]),
            ("'single quotes' x", &["[single quotes]", "x"]),
            ("\"one\"", &["one"]),
            // RFC 8621 §4.4.1: ' " \ are escaped within a phrase.
            (r#""say \"hi\" now" x"#, &["[say hi now]", "x"]),
            (r"'it\'s here'", &["[it s here]"]),
            ("don't stop", &["[don t]", "stop"]),
            ("'tis open", &["tis", "open"]),
            ("\"open phrase", &["open", "phrase"]),
            ("invo* x*y", &["invo*", "[x y]"]),
            ("\"invo*\"", &["invo"]),
            ("example.com INV-42*", &["[example com]", "[inv 42*]"]),
            ("Jo.Doe@Example.com,", &["jo.doe@example.com"]),
            ("<jo@x.org> @x.org jo@ jo@x*", &["jo@x.org", "@x.org", "jo@", "jo@x*"]),
            ("日 日本 日本語", &["日*", "日本", "[日 本 語]"]),
            ("- hello !", &["hello"]),
            ("-- !", &["nothing"]),
            ("*", &["nothing"]),
            ("", &[]),
            ("\"\"", &["nothing"]),
        ];
        for (text, expected) in table {
            assert_eq!(words_of(text), *expected, "{text}");
        }
    }

    #[test]
    fn text_beyond_the_limits_is_refused() {
        let words = |count| vec!["w"; count].join(" ");
        assert!(TextQuery::parse(Field::Text, &words(SEARCH_WORDS_MAX)).is_ok());
        assert_eq!(TextQuery::parse(Field::Text, &words(SEARCH_WORDS_MAX + 1)), Err(TooManyWords));
        let phrase = format!("\"{}\"", words(SEARCH_WORDS_MAX + 1));
        assert_eq!(TextQuery::parse(Field::Text, &phrase), Err(TooManyWords));
        assert_eq!(TextQuery::parse(Field::Text, &" ".repeat(SEARCH_TEXT_BYTES_MAX + 1)), Err(TooManyWords));
    }

    /// `jo@` asks for addresses only, and so isn't found in text where no address is.
    fn is_half(word: &str) -> bool {
        word.starts_with('@') || word.ends_with('@')
    }

    proptest! {
        #[test]
        fn what_matches_exactly_is_always_a_candidate(
            text in "[ab日本語 .@\n\"é]{0,30}",
            ask in "[ab日本語 .@*'\"é]{0,12}",
        ) {
            let mail = IndexedText { body: &text, ..IndexedText::default() };
            let Ok(query) = TextQuery::parse(Field::Body, &ask) else { return Ok(()) };
            let negated = TextQuery::Not(vec![query.clone()]);
            let terms = Terms::of(&mail);
            for query in [query, negated] {
                if query.matches(&mail) {
                    prop_assert!(query.accepts(&terms, Bound::Upper));
                } else {
                    prop_assert!(!query.accepts(&terms, Bound::Lower));
                }
                if !query.must_verify() {
                    prop_assert_eq!(query.matches(&mail), query.accepts(&terms, Bound::Upper));
                }
            }
        }

        #[test]
        fn a_word_taken_from_a_text_is_found_in_it_and_marked(text in "[a-cé日本 .@-]{1,30}", skip in 0..6usize) {
            let Some(word) = text.split_whitespace().nth(skip).filter(|word| !is_half(word)) else {
                return Ok(());
            };
            let query = TextQuery::parse(Field::Text, word).unwrap();
            let words = query.words_at(Place::Body);
            if words.iter().any(|word| matches!(word, Word::Nothing)) {
                return Ok(());
            }
            let mail = IndexedText { body: &text, ..IndexedText::default() };
            prop_assert!(query.matches(&mail), "{word} in {text}");
            prop_assert!(!find(&text, &words, 5).is_empty(), "{word} in {text}");
        }
    }
}
