//! How text becomes words: the one tokeniser of the index, the tail, verification and snippets.
//!
//! A word is a run of letters, digits and the marks on them. It is compared folded: NFKC, lower
//! case, without diacritics, cut at `SEARCH_WORD_BYTES_MAX`. Scripts that write no spaces (Han,
//! kana, Hangul, Thai and their neighbours) give one *wide* atom a character, which the index pairs
//! into bigrams. An e-mail address is found besides, whole.
//!
//! Invariants: folding a folded word changes nothing; an atom's range lies on character
//! boundaries of the text that was scanned; nothing here fails, whatever the text.
//! Deliberately absent: stemming and stop words, since a mailbox speaks many languages at once.

use crate::types::limits::{SEARCH_ADDRESS_BYTES_MAX, SEARCH_WORD_BYTES_MAX};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use std::ops::Range;

const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfkc();

/// One folded word, or one folded character of a script without spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Atom<'a> {
    /// The folded text.
    pub text: &'a str,
    /// Where it stands in the scanned text, in octets.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// One character of a script without spaces.
    pub wide: bool,
    /// Wide, and directly behind a wide one: the two are a bigram.
    pub joined: bool,
}

/// What a character does to a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Wide,
    /// Belongs to whatever it follows: marks and invisible joiners.
    Extend,
    Break,
}

/// Calls `sink` with each atom of `text`, in order.
pub fn atoms(text: &str, sink: &mut dyn FnMut(Atom<'_>)) {
    let mut scanner = Scanner { text, at: 0, joined: false, lines: 0, folded: String::new() };
    while scanner.at < text.len() {
        scanner.step(sink);
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The atom before was wide and nothing but one line break followed.
    joined: bool,
    lines: u8,
    folded: String,
}

impl Scanner<'_> {
    fn step(&mut self, sink: &mut dyn FnMut(Atom<'_>)) {
        let bytes = self.text.as_bytes();
        let first = bytes[self.at];
        if first.is_ascii_alphanumeric() {
            let mut end = self.at + 1;
            while end < bytes.len() && bytes[end].is_ascii_alphanumeric() {
                end += 1;
            }
            if end == bytes.len() || bytes[end].is_ascii() {
                self.ascii_word(end, sink);
            } else {
                self.word(sink);
            }
        } else if first.is_ascii() {
            self.separator(first);
            self.at += 1;
        } else {
            let char = char_at(self.text, self.at);
            match class(char) {
                Class::Word => self.word(sink),
                Class::Wide => self.wide(sink),
                Class::Extend => self.at += char.len_utf8(),
                Class::Break => {
                    self.separator(b' ');
                    self.at += char.len_utf8();
                }
            }
        }
    }

    /// Hard-wrapped Japanese or Chinese breaks words anywhere, so one line break doesn't part a pair.
    fn separator(&mut self, byte: u8) {
        match byte {
            b'\r' => {}
            b'\n' if self.lines == 0 => self.lines = 1,
            _ => self.joined = false,
        }
    }

    fn ascii_word(&mut self, end: usize, sink: &mut dyn FnMut(Atom<'_>)) {
        let raw = &self.text[self.at..end];
        let cut = &raw[..raw.len().min(SEARCH_WORD_BYTES_MAX)];
        self.folded.clear();
        self.folded.push_str(cut);
        self.folded.make_ascii_lowercase();
        sink(Atom { text: &self.folded, start: self.at, end, wide: false, joined: false });
        self.at = end;
        self.joined = false;
    }

    fn word(&mut self, sink: &mut dyn FnMut(Atom<'_>)) {
        let end = run_end(self.text, self.at, |class| matches!(class, Class::Word | Class::Extend));
        fold_into(&self.text[self.at..end], &mut self.folded);
        // Compatibility characters may fold to several words: ½ is 1⁄2.
        for part in self.folded.split(|char| class(char) == Class::Break).filter(|part| !part.is_empty()) {
            let text = cut(part, SEARCH_WORD_BYTES_MAX);
            sink(Atom { text, start: self.at, end, wide: false, joined: false });
        }
        self.at = end;
        self.joined = false;
    }

    fn wide(&mut self, sink: &mut dyn FnMut(Atom<'_>)) {
        let behind = self.at + char_at(self.text, self.at).len_utf8();
        let end = run_end(self.text, behind, |class| class == Class::Extend);
        fold_into(&self.text[self.at..end], &mut self.folded);
        let text = cut(&self.folded, SEARCH_WORD_BYTES_MAX);
        if !text.is_empty() {
            sink(Atom { text, start: self.at, end, wide: true, joined: self.joined });
        }
        self.at = end;
        self.joined = true;
        self.lines = 0;
    }
}

/// The folded form of one word.
pub fn fold(text: &str) -> String {
    let mut out = String::new();
    fold_into(text, &mut out);
    out
}

fn fold_into(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
        return;
    }
    let bare = NFKD.normalize_iter(text.chars()).filter(|&char| !is_dropped(char));
    let mut lower = String::with_capacity(text.len());
    for char in bare {
        for char in char.to_lowercase() {
            push_plain(char, &mut lower);
        }
    }
    out.extend(NFKC.normalize_iter(lower.chars()));
}

/// Letters whose plain form isn't a decomposition in Unicode.
fn push_plain(char: char, out: &mut String) {
    match char {
        'ß' => out.push_str("ss"),
        'æ' => out.push_str("ae"),
        'œ' => out.push_str("oe"),
        'þ' => out.push_str("th"),
        'ø' => out.push('o'),
        'đ' | 'ð' => out.push('d'),
        'ł' => out.push('l'),
        'ı' => out.push('i'),
        'ħ' => out.push('h'),
        'ς' => out.push('σ'),
        '\u{307}' => {}
        _ => out.push(char),
    }
}

/// Diacritics, points and invisible characters, which don't tell words apart.
fn is_dropped(char: char) -> bool {
    matches!(char,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}'
        | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}')
        || is_invisible(char)
}

/// Characters that may stand within a word without being seen.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

fn class(char: char) -> Class {
    if char.is_ascii() {
        return if char.is_ascii_alphanumeric() { Class::Word } else { Class::Break };
    }
    if is_invisible(char) || is_trailing_jamo(char) || is_mark(char) {
        Class::Extend
    } else if !char.is_alphanumeric() {
        Class::Break
    } else if is_wide(char) {
        Class::Wide
    } else {
        Class::Word
    }
}

fn is_mark(char: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(char))
        // Half-width kana carry their voicing as letters of their own.
        || matches!(char, '\u{ff9e}' | '\u{ff9f}')
}

/// Vowels and finals of Hangul that is written decomposed.
fn is_trailing_jamo(char: char) -> bool {
    matches!(char, '\u{1160}'..='\u{11ff}')
}

/// Scripts that put no spaces between words.
fn is_wide(char: char) -> bool {
    matches!(char,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{115f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{318f}' | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ffdc}' | '\u{20000}'..='\u{3ffff}')
}

fn char_at(text: &str, at: usize) -> char {
    text[at..].chars().next().unwrap_or(' ')
}

fn run_end(text: &str, start: usize, keep: impl Fn(Class) -> bool) -> usize {
    text[start..]
        .char_indices()
        .find(|&(_, char)| !keep(class(char)))
        .map_or(text.len(), |(at, _)| start + at)
}

/// The longest start of `text` within `bytes_max` that ends between characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Calls `sink` with each e-mail address in `text`: the whole, folded, and where it stands.
pub fn addresses(text: &str, sink: &mut dyn FnMut(&str, Range<usize>)) {
    for at in memchr::memchr_iter(b'@', text.as_bytes()) {
        let start = local_start(text, at);
        let end = domain_end(text, at);
        if start < at && end > at + 1 {
            let whole = fold(&text[start..end]);
            if whole.len() <= SEARCH_ADDRESS_BYTES_MAX {
                sink(&whole, start..end);
            }
        }
    }
}

fn local_start(text: &str, at: usize) -> usize {
    let floor = text.ceil_char_boundary(at.saturating_sub(SEARCH_ADDRESS_BYTES_MAX));
    let window = &text[floor..at];
    let is_local = |char: char| class(char) != Class::Break || "!#$%&'*+/=?^_`{|}~.-".contains(char);
    let local = window.rfind(|char| !is_local(char)).map_or(window, |last| {
        let width = char_at(window, last).len_utf8();
        &window[last + width..]
    });
    // `<'jo@…'>` and `=3Djo@…`: what an address may begin with but hardly ever does.
    at - local.trim_start_matches(|char| class(char) == Class::Break).len()
}

fn domain_end(text: &str, at: usize) -> usize {
    let ceiling = text.floor_char_boundary((at + 1 + SEARCH_ADDRESS_BYTES_MAX).min(text.len()));
    let window = &text[at + 1..ceiling];
    let is_domain = |char: char| class(char) != Class::Break || char == '.' || char == '-';
    let domain = &window[..window.find(|char| !is_domain(char)).unwrap_or(window.len())];
    at + 1 + domain.trim_end_matches(['.', '-']).len()
}

/// Calls `sink` with every term that `text` is found by: words, bigrams, single wide characters
/// that end a run, addresses whole (`jo.doe@example.com`), their left side (`jo.doe@`) and their
/// right side (`@example.com`). A term may come more than once.
pub fn terms(text: &str, sink: &mut dyn FnMut(&str)) {
    let mut last_wide = String::new();
    let mut pair = String::new();
    atoms(text, &mut |atom| {
        if !last_wide.is_empty() && !atom.joined {
            sink(&last_wide);
            last_wide.clear();
        }
        if atom.wide {
            if !last_wide.is_empty() {
                pair.clear();
                pair.push_str(&last_wide);
                pair.push_str(atom.text);
                sink(cut(&pair, SEARCH_WORD_BYTES_MAX));
            }
            last_wide.clear();
            last_wide.push_str(atom.text);
        } else {
            sink(atom.text);
        }
    });
    if !last_wide.is_empty() {
        sink(&last_wide);
    }
    addresses(text, &mut |whole, _| {
        sink(whole);
        if let Some(at) = whole.find('@') {
            sink(&whole[..=at]);
            sink(&whole[at..]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms_of(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        terms(text, &mut |term| out.push(term.to_owned()));
        out
    }

    #[test]
    fn words_are_folded_to_lower_case_without_diacritics() {
        let table: &[(&str, &[&str])] = &[
            ("Hello, WORLD-wide 42!", &["hello", "world", "wide", "42"]),
            ("Crème BRÛLÉE Straße İstanbul", &["creme", "brulee", "strasse", "istanbul"]),
            ("cafe\u{301}s naïve", &["cafes", "naive"]),
            ("ＦＵＬＬ ﬁne ½", &["full", "fine", "1", "2"]),
            ("Привет МИР ёлка", &["привет", "мир", "елка"]),
            ("in\u{ad}voice", &["invoice"]),
            ("हिन्दी", &["हिन्दी"]),
            ("\u{301}a \u{fe0f}", &["a"]),
            ("don't e.g. x_y", &["don", "t", "e", "g", "x", "y"]),
            ("", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(terms_of(text), *expected, "{text}");
        }
    }

    #[test]
    fn scripts_without_spaces_give_bigrams_and_the_last_character() {
        assert_eq!(terms_of("日本語"), ["日本", "本語", "語"]);
        assert_eq!(terms_of("日 本"), ["日", "本"]);
        assert_eq!(terms_of("日\r\n本"), ["日本", "本"]);
        assert_eq!(terms_of("日\n\n本"), ["日", "本"]);
        assert_eq!(terms_of("ABC日本x"), ["abc", "日本", "本", "x"]);
        assert_eq!(terms_of("ｶﾞｽ"), terms_of("ガス"));
        assert_eq!(terms_of("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"), terms_of("한글"));
    }

    #[test]
    fn an_address_is_a_term_whole_and_in_pieces() {
        assert_eq!(
            terms_of("To: <Jo.Doe@Mail.Example.com>."),
            [
                "to",
                "jo",
                "doe",
                "mail",
                "example",
                "com",
                "jo.doe@mail.example.com",
                "jo.doe@",
                "@mail.example.com"
            ]
        );
        assert_eq!(terms_of("@x y@ @"), ["x", "y"]);
        assert_eq!(terms_of("'a@b'"), ["a", "b", "a@b", "a@", "@b"]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let long = "ж".repeat(500);
        let found = terms_of(&long);
        assert_eq!(found, [cut(&long, SEARCH_WORD_BYTES_MAX)]);
        let long = "x".repeat(500);
        assert_eq!(terms_of(&long), [cut(&long, SEARCH_WORD_BYTES_MAX)]);
    }

    proptest! {
        #[test]
        fn any_text_gives_folded_terms_and_ranges_on_character_boundaries(text in "\\PC{0,60}|[a日ｶﾞé@. \n\u{301}]{0,40}") {
            let mut last = 0;
            atoms(&text, &mut |atom| {
                assert!(text.is_char_boundary(atom.start) && text.is_char_boundary(atom.end));
                assert!(atom.start >= last.min(atom.start) && atom.start < atom.end);
                last = atom.start;
            });
            for term in terms_of(&text) {
                prop_assert_eq!(fold(&term), term.clone());
                prop_assert!(term.len() <= SEARCH_ADDRESS_BYTES_MAX);
            }
        }
    }
}
