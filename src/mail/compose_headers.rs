//! Writes header fields: folding at 78 characters (RFC 5322 §2.1.1), encoded words (RFC 2047),
//! parameters (RFC 2231). Addresses keep their UTF-8 (RFC 6532). A value can't leave its field:
//! line ends and control characters are refused or encoded.

use super::addresses::{EmailAddressGroup, MailAddress};
use super::compose::{ComposeError, DraftValue};
use super::words;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// RFC 5322 §2.1.1, without the CR LF: what a line should and what it must not exceed.
const LINE_CHARS_WANTED: usize = 78;
const LINE_BYTES_MAX: usize = 998;
/// Octets of a Message-ID that is quoted: with brackets and a name, a line holds it.
const MESSAGE_ID_BYTES_MAX: usize = 900;
/// RFC 2047 §2.
const ENCODED_WORD_CHARS_MAX: usize = 75;

/// Collects header fields.
#[derive(Default)]
pub struct HeaderWriter {
    out: Vec<u8>,
    /// How far the lengths of lines have been looked at.
    checked: usize,
}

impl HeaderWriter {
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Writes one field. The name is the caller's to check.
    pub fn field(&mut self, name: &str, value: &DraftValue) -> Result<(), ComposeError> {
        let wrong = || ComposeError::Value(name.to_owned());
        match value {
            DraftValue::Raw(raw) => return self.raw(name, raw),
            DraftValue::Text(text) => {
                if text.chars().any(|c| c.is_control() && c != '\t') {
                    return Err(ComposeError::Control(name.to_owned()));
                }
                self.text(name, text);
            }
            DraftValue::Addresses(list) => {
                let mut line = Line::begin(name);
                addresses(&mut line, list, name)?;
                self.end(line);
            }
            DraftValue::GroupedAddresses(groups) => {
                let mut line = Line::begin(name);
                grouped(&mut line, groups, name)?;
                self.end(line);
            }
            DraftValue::MessageIds(ids) => {
                let pieces = bracketed(ids).ok_or_else(wrong)?;
                self.tokens(name, &pieces);
            }
            DraftValue::Urls(urls) => {
                let mut pieces = bracketed(urls).ok_or_else(wrong)?;
                let last = pieces.len().saturating_sub(1);
                pieces.iter_mut().take(last).for_each(|piece| piece.push(','));
                self.tokens(name, &pieces);
            }
            DraftValue::Date(date) => self.tokens(name, &[date.rfc5322()]),
        }
        self.check_lengths(name)
    }

    /// Pieces with a space between, folded between them.
    pub fn tokens(&mut self, name: &str, pieces: &[String]) {
        let mut line = Line::begin(name);
        for piece in pieces {
            line.word(piece);
        }
        self.end(line);
    }

    /// A value with parameters; each parameter may take a line of its own.
    pub fn structured(
        &mut self,
        name: &str,
        value: &str,
        params: &[(&str, &str)],
    ) -> Result<(), ComposeError> {
        let mut line = Line::begin(name);
        let mut pieces = vec![value.to_owned()];
        for (param, value) in params {
            if value.chars().any(char::is_control) {
                return Err(ComposeError::Control((*param).to_owned()));
            }
            pieces.extend(parameter(param, value));
        }
        let last = pieces.len() - 1;
        for (at, piece) in pieces.iter().enumerate() {
            line.word(&format!("{piece}{}", if at < last { ";" } else { "" }));
        }
        self.end(line);
        self.check_lengths(name)
    }

    fn end(&mut self, line: Line) {
        self.out.extend_from_slice(line.text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Line ends only where they fold: before white space, and no line of white space alone.
    fn raw(&mut self, name: &str, raw: &str) -> Result<(), ComposeError> {
        let mut lines = raw.split("\r\n");
        lines.next();
        let folded = lines.all(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
        let clean = raw.replace("\r\n", "").chars().all(|c| !c.is_control() || c == '\t');
        if !folded || !clean {
            return Err(ComposeError::Control(name.to_owned()));
        }
        self.out.extend_from_slice(format!("{name}:{raw}\r\n").as_bytes());
        self.check_lengths(name)
    }

    fn text(&mut self, name: &str, text: &str) {
        let edges = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
        let long = text.split(' ').any(|word| word.len() > LINE_CHARS_WANTED - 2);
        if !text.is_ascii() || edges || long || words::has_encoded_word(text) {
            // No reader takes a tab from within an encoded word (RFC 8621 §4.1.2.2).
            let text = &text.replace('\t', " ");
            let pieces = encoded_words(text, LINE_CHARS_WANTED.saturating_sub(name.len() + 2), false);
            return self.tokens(name, &pieces);
        }
        let mut line = Line::begin(name);
        // Runs of spaces stay: a fold goes before the run and keeps it.
        let mut rest = text;
        while !rest.is_empty() {
            let spaces = rest.len() - rest.trim_start_matches(' ').len();
            let word_end = rest[spaces..].find(' ').map_or(rest.len(), |at| spaces + at);
            let lead = if spaces == 0 { 1 } else { spaces };
            line.word_after(lead, &rest[spaces..word_end]);
            rest = &rest[word_end..];
        }
        self.end(line);
    }

    fn check_lengths(&mut self, name: &str) -> Result<(), ComposeError> {
        let new = self.out.get(self.checked..).unwrap_or_default();
        let long = new.split(|&byte| byte == b'\n').any(|line| line.len() > LINE_BYTES_MAX + 1);
        self.checked = self.out.len();
        if long { Err(ComposeError::LineTooLong(name.to_owned())) } else { Ok(()) }
    }
}

/// A field being written, with the width of its present line.
struct Line {
    text: String,
    width: usize,
    /// Nothing stands on the present line but the name or white space: a fold would leave an
    /// empty line.
    fresh: bool,
}

impl Line {
    fn begin(name: &str) -> Self {
        Self { text: format!("{name}:"), width: name.len() + 1, fresh: true }
    }

    /// A word after one space, on a new line where it doesn't fit.
    fn word(&mut self, word: &str) {
        self.word_after(1, word);
    }

    fn word_after(&mut self, spaces: usize, word: &str) {
        let width = word.chars().count();
        // A fold right after the name is allowed, but only helps where the word then fits.
        let folds = self.width + spaces + width > LINE_CHARS_WANTED && (!self.fresh || spaces + width <= 78);
        if folds {
            self.text.push_str("\r\n");
            self.width = 0;
        }
        self.text.extend(std::iter::repeat_n(' ', spaces));
        self.text.push_str(word);
        self.width += spaces + width;
        self.fresh = false;
    }
}

fn addresses(line: &mut Line, list: &[MailAddress], field: &str) -> Result<(), ComposeError> {
    let last = list.len().saturating_sub(1);
    for (at, address) in list.iter().enumerate() {
        one_address(line, address, if at < last { "," } else { "" }, field)?;
    }
    Ok(())
}

fn grouped(line: &mut Line, groups: &[EmailAddressGroup], field: &str) -> Result<(), ComposeError> {
    let last = groups.len().saturating_sub(1);
    for (at, group) in groups.iter().enumerate() {
        let comma = if at < last { "," } else { "" };
        let Some(name) = &group.name else {
            addresses(line, &group.addresses, field)?;
            if !group.addresses.is_empty() {
                line.text.push_str(comma);
            }
            continue;
        };
        let mut name = phrase(name, field)?;
        // A group must have a name (RFC 5322 §3.4).
        let last_word = name.pop().unwrap_or_else(|| "\"\"".to_owned());
        name.iter().for_each(|word| line.word(word));
        line.word(&format!("{last_word}:"));
        addresses(line, &group.addresses, field)?;
        line.text.push(';');
        line.text.push_str(comma);
        line.width += 2;
    }
    Ok(())
}

fn one_address(line: &mut Line, address: &MailAddress, after: &str, field: &str) -> Result<(), ComposeError> {
    if address.email.chars().any(char::is_control) {
        return Err(ComposeError::Control(field.to_owned()));
    }
    let email = address.email.trim();
    let name = match &address.name {
        Some(name) => phrase(name, field)?,
        None => Vec::new(),
    };
    let plain = |c: char| {
        !c.is_whitespace() && !matches!(c, '<' | '>' | ',' | ';' | ':' | '(' | ')' | '"' | '[' | ']')
    };
    if name.is_empty() && !email.is_empty() && email.chars().all(plain) {
        line.word(&format!("{email}{after}"));
        return Ok(());
    }
    // Between the brackets everything else stays within them, unless it brings brackets of its own
    // or begins what only the other side's parser can end.
    let quoted = crate::types::Address::parse(email).is_some();
    if !quoted && email.contains(['<', '>', '"', '(', ')', '\\']) {
        return Err(ComposeError::Value(field.to_owned()));
    }
    name.iter().for_each(|word| line.word(word));
    line.word(&format!("<{email}>{after}"));
    Ok(())
}

/// A display name as the words to write (RFC 5322 `phrase`).
fn phrase(name: &str, field: &str) -> Result<Vec<String>, ComposeError> {
    // A name that was folded with a tab has it still.
    let name = name.replace('\t', " ");
    if name.chars().any(char::is_control) {
        return Err(ComposeError::Control(field.to_owned()));
    }
    let name = name.trim();
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let spaced = name.contains("  ");
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if !name.is_ascii() || name.len() > 70 {
        return Ok(encoded_words(name, 40, true));
    }
    if !spaced && !name.contains("=?") && name.chars().all(|c| atom(c) || c == ' ') {
        return Ok(name.split(' ').map(str::to_owned).collect());
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(vec![format!("\"{escaped}\"")])
}

/// The text as encoded words (RFC 2047), the first at most `first_chars` long where that is enough
/// to hold anything. In a phrase only letters, digits and `!*+-/` may stand for themselves (§5).
fn encoded_words(text: &str, first_chars: usize, in_phrase: bool) -> Vec<String> {
    let plain = |byte: u8| match byte {
        b'!' | b'*' | b'+' | b'-' | b'/' => true,
        b'=' | b'?' | b'_' | b' ' => false,
        _ => byte.is_ascii_alphanumeric() || (!in_phrase && byte.is_ascii_graphic()),
    };
    let cost = |byte: u8| if plain(byte) || byte == b' ' { 1 } else { 3 };
    let quoted: usize = text.bytes().map(cost).sum();
    let quoted = quoted <= text.len().div_ceil(3) * 4;
    let overhead = "=?utf-8?q??=".len();
    let mut room = first_chars.min(ENCODED_WORD_CHARS_MAX).saturating_sub(overhead);
    if room < 12 {
        room = ENCODED_WORD_CHARS_MAX - overhead;
    }
    let mut out = Vec::new();
    let mut chunk = String::new();
    let mut used = 0;
    let mut flush = |chunk: &mut String| {
        if quoted {
            let mut word = String::from("=?utf-8?q?");
            for byte in chunk.bytes() {
                match byte {
                    b' ' => word.push('_'),
                    _ if plain(byte) => word.push(byte as char),
                    _ => word.push_str(&format!("={byte:02X}")),
                }
            }
            out.push(word + "?=");
        } else {
            out.push(format!("=?utf-8?b?{}?=", STANDARD.encode(chunk.as_bytes())));
        }
        chunk.clear();
    };
    for c in text.chars() {
        let mut octets = [0; 4];
        let octets = c.encode_utf8(&mut octets);
        let size = if quoted { octets.bytes().map(cost).sum() } else { octets.len() };
        let limit = if quoted { room } else { room / 4 * 3 };
        if used + size > limit && !chunk.is_empty() {
            flush(&mut chunk);
            used = 0;
            room = ENCODED_WORD_CHARS_MAX - overhead;
        }
        chunk.push(c);
        used += size;
    }
    if !chunk.is_empty() {
        flush(&mut chunk);
    }
    out
}

fn fits_in_brackets(value: &str) -> bool {
    !value.is_empty() && !value.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>'))
}

/// Whether a Message-ID of somebody else can be named in a field of ours, in one line.
pub fn is_writable_id(id: &str) -> bool {
    fits_in_brackets(id) && id.len() <= MESSAGE_ID_BYTES_MAX
}

/// Ids or URLs in angle brackets; `None` where one can't stand in them.
fn bracketed(values: &[String]) -> Option<Vec<String>> {
    values
        .iter()
        .all(|value| fits_in_brackets(value))
        .then(|| values.iter().map(|value| format!("<{value}>")).collect())
}

/// A parameter: a token, a quoted string, or encoded and split (RFC 2231 §3, §4).
fn parameter(name: &str, value: &str) -> Vec<String> {
    let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?='*%".contains(c);
    if !value.is_empty() && value.len() <= 60 && value.chars().all(token) {
        return vec![format!("{name}={value}")];
    }
    if value.is_ascii() && value.len() <= 60 && !value.contains("=?") && value.trim() == value {
        return vec![format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))];
    }
    let mut sections = Vec::new();
    let mut section = String::from("utf-8''");
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            section.push(byte as char);
        } else {
            section.push_str(&format!("%{byte:02X}"));
        }
        if section.len() > 56 {
            sections.push(std::mem::take(&mut section));
        }
    }
    if !section.is_empty() {
        sections.push(section);
    }
    if let [one] = sections.as_slice() {
        return vec![format!("{name}*={one}")];
    }
    sections.iter().enumerate().map(|(at, text)| format!("{name}*{at}*={text}")).collect()
}
