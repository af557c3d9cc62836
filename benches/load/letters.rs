//! The messages that are delivered: made from their number alone, so that every run sends the same.
//!
//! Of the usual ones 60 % are plain text of some 5 KB, 25 % text and HTML of some 27 KB, and 15 % carry an
//! attachment of some 100 KB: 25 KB on average. Three form a thread. Words have the frequencies of a
//! language (Zipf), so that compression and full text have something like real work.

use std::fmt::Write;

/// The rare word of the search benches: in 100 messages, all among the first thousand.
pub const RARE_WORD: &str = "zebrafinch";
/// It stands in every second message that has the rare word.
pub const SECOND_WORD: &str = "quicksilver";
/// It stands in every tenth message.
pub const TENTH_WORD: &str = "warranty";

/// A kind of message.
pub struct Letters {
    words: Vec<String>,
    short: bool,
}

impl Letters {
    /// 25 KB on average.
    pub fn usual() -> Self {
        Self { words: words(), short: false }
    }

    /// Plain text of some 2 KB.
    pub fn short() -> Self {
        Self { words: words(), short: true }
    }

    /// The message with that number, lines ending in CR LF, no line beginning with a dot.
    pub fn letter(&self, number: usize) -> String {
        let mut dice = Dice(number as u64 * 2 + 1);
        let thread = number / 300 * 300 + number % 100;
        let mut out = String::with_capacity(40_000);
        let from = thread % 997;
        let _ = write!(
            out,
            "From: Customer {from} <customer{from}@example.net>\r\nTo: support@bench.example\r\n"
        );
        let _ = write!(out, "Message-ID: <bench-{number}@mail.example.net>\r\n");
        let re = if number == thread { "" } else { "Re: " };
        let subject = self.text(&mut Dice(thread as u64), 5);
        let _ = write!(out, "Subject: {re}{subject} {thread}\r\n");
        if number != thread {
            let parent = format!("<bench-{thread}@mail.example.net>");
            let _ = write!(out, "In-Reply-To: {parent}\r\nReferences: {parent}\r\n");
        }
        out.push_str("Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n");
        self.body(&mut out, &mut dice, number);
        out
    }

    fn body(&self, out: &mut String, dice: &mut Dice, number: usize) {
        let kind = if self.short { 0 } else { dice.below(20) };
        let bytes = if self.short { 1000 + dice.below(2000) } else { 2000 + dice.below(6000) };
        if kind < 12 {
            out.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
            return self.prose(out, dice, number, bytes);
        }
        let (sub, html) = if kind < 17 { ("alternative", true) } else { ("mixed", false) };
        let _ = write!(out, "Content-Type: multipart/{sub}; boundary=b1\r\n\r\n--b1\r\n");
        out.push_str("Content-Type: text/plain; charset=utf-8\r\n\r\n");
        self.prose(out, dice, number, bytes);
        if html {
            out.push_str("--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n");
            for _ in 0..60 + dice.below(60) {
                out.push_str("<p style=\"margin:0 0 12px 0;font-family:Arial\">");
                let text = self.text(dice, 25);
                out.push_str(&text);
                out.push_str("</p>\r\n");
            }
            out.push_str("</body></html>\r\n");
        } else {
            let name = number % 50;
            let _ = write!(
                out,
                "--b1\r\nContent-Type: application/pdf; name=\"invoice{name}.pdf\"\r\n\
                 Content-Disposition: attachment; filename=\"invoice{name}.pdf\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            );
            for _ in 0..600 + dice.below(1300) {
                dice.base64_line(out);
            }
        }
        out.push_str("--b1--\r\n");
    }

    fn prose(&self, out: &mut String, dice: &mut Dice, number: usize, bytes: usize) {
        if number < 1000 && number.is_multiple_of(10) {
            let _ = write!(
                out,
                "About the {RARE_WORD}{}.\r\n",
                if number.is_multiple_of(20) { " and quicksilver" } else { "" }
            );
        }
        if number % 10 == 5 {
            let _ = write!(out, "Please look at my {TENTH_WORD}.\r\n");
        }
        let end = out.len() + bytes;
        while out.len() < end {
            let line = self.text(dice, 11);
            out.push_str(&line);
            out.push_str("\r\n");
        }
    }

    fn text(&self, dice: &mut Dice, count: usize) -> String {
        let mut out = String::with_capacity(count * 8);
        for _ in 0..count {
            out.push_str(&self.words[dice.zipf(self.words.len())]);
            out.push(' ');
        }
        out.pop();
        out
    }
}

/// 4,000 words that can be spoken.
fn words() -> Vec<String> {
    let mut dice = Dice(42);
    let consonants = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "ch"];
    let vowels = ["a", "e", "i", "o", "u", "ea", "ou"];
    let syllable = |dice: &mut Dice| format!("{}{}", consonants[dice.below(16)], vowels[dice.below(7)]);
    (0..4000)
        .map(|index| (0..1 + (index as f64).log10() as usize).map(|_| syllable(&mut dice)).collect())
        .collect()
}

/// xorshift64*: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// An index below `end`, small ones oftener: the product of two even draws stands in for Zipf.
    fn zipf(&mut self, end: usize) -> usize {
        let draw = self.next();
        let (one, two) =
            ((draw as u32) as f64 / 4_294_967_296.0, ((draw >> 32) as u32) as f64 / 4_294_967_296.0);
        (one * one * two * end as f64) as usize
    }

    fn base64_line(&mut self, out: &mut String) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for _ in 0..8 {
            let mut bits = self.next();
            for _ in 0..9 {
                out.push(ALPHABET[(bits & 63) as usize] as char);
                bits >>= 6;
            }
        }
        out.push_str("\r\n");
    }
}
