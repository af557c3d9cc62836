//! Address lists (RFC 5322 §3.4 with §4.4): best effort, as RFC 8621 §4.1.2.3 wants, so that a
//! half-written draft and a broken sender give what can be read. One pass, no recursion.

use super::words;
pub use crate::store::rows::mail::MailAddress;

/// An EmailAddressGroup (RFC 8621 §4.1.2.4); `name` is `None` where the addresses are in no group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmailAddressGroup {
    pub name: Option<String>,
    pub addresses: Vec<MailAddress>,
}

/// Reads an unfolded address list with its groups.
pub fn parse_groups(unfolded: &str) -> Vec<EmailAddressGroup> {
    let mut reader = Reader::default();
    let mut scan = Scan { text: unfolded, at: 0 };
    while let Some(token) = scan.token() {
        reader.take(token, &mut scan);
    }
    reader.end_mailbox();
    reader.groups
}

/// Reads an unfolded address list without its groups.
pub fn parse_addresses(unfolded: &str) -> Vec<MailAddress> {
    parse_groups(unfolded).into_iter().flat_map(|group| group.addresses).collect()
}

/// What a list is made of. White space is a token, since it parts words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    White,
    Atom(&'a str),
    /// As it stands, and without quotes and quoted pairs.
    Quoted(&'a str, String),
    /// Without parentheses and quoted pairs.
    Comment(String),
    /// `[…]`, as it stands.
    Literal(&'a str),
    Special(char),
}

/// Cuts text into tokens.
pub struct Scan<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl<'a> Scan<'a> {
    pub fn token(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..)?;
        let first = rest.chars().next()?;
        let white = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let (token, length) = match first {
            c if white(c) => (Token::White, rest.find(|c| !white(c)).unwrap_or(rest.len())),
            '"' => {
                let (content, length) = quoted(rest);
                (Token::Quoted(&rest[..length], content), length)
            }
            '(' => {
                let (content, length) = comment(rest);
                (Token::Comment(content), length)
            }
            '[' => {
                let length = rest.find(']').map_or(rest.len(), |end| end + 1);
                (Token::Literal(&rest[..length]), length)
            }
            c if special(c) => (Token::Special(c), c.len_utf8()),
            _ => {
                let ends = |c: char| white(c) || special(c) || matches!(c, '"' | '(' | '[');
                let length = rest.find(ends).unwrap_or(rest.len());
                (Token::Atom(&rest[..length]), length)
            }
        };
        self.at += length;
        Some(token)
    }

    /// What stands before the `>` that closes an opened `<`, without comments and white space
    /// outside quotes. Where nothing closes it, it ends before the next comma or semicolon.
    pub fn angle(&mut self) -> String {
        let mut out = String::new();
        let mut short: Option<(usize, usize)> = None;
        let mut ended_by_angle = false;
        loop {
            let before = self.at;
            match self.token() {
                Some(Token::Special('>')) => return out,
                None => break,
                Some(Token::Special('<')) => {
                    ended_by_angle = true;
                    break;
                }
                Some(Token::Special(c)) => {
                    if matches!(c, ',' | ';') && short.is_none() {
                        short = Some((before, out.len()));
                    }
                    out.push(c);
                }
                Some(Token::Atom(text) | Token::Quoted(text, _) | Token::Literal(text)) => out.push_str(text),
                Some(Token::White | Token::Comment(_)) => {}
            }
        }
        match short {
            Some((at, length)) => {
                self.at = at;
                out.truncate(length);
            }
            None if ended_by_angle => self.at -= 1,
            None => {}
        }
        out
    }
}

fn special(c: char) -> bool {
    matches!(c, '<' | '>' | '@' | ',' | ';' | ':' | ')' | ']')
}

/// The content of a quoted string and how far it goes; unclosed, it goes to the end.
fn quoted(text: &str) -> (String, usize) {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, at + 1),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, text.len())
}

/// The content of a comment, which may nest, and how far it goes.
fn comment(text: &str) -> (String, usize) {
    let mut out = String::new();
    let mut depth = 1usize;
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => {
                out.extend(chars.next().map(|(_, c)| c));
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            return (out, at + 1);
        }
        out.push(c);
    }
    (out, text.len())
}

/// What has been read of the present mailbox, and all before it.
#[derive(Default)]
struct Reader<'a> {
    groups: Vec<EmailAddressGroup>,
    in_group: bool,
    words: Vec<Token<'a>>,
    /// An `@` is among the words.
    at_sign: bool,
    angle: Option<String>,
    comment: Option<String>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, token: Token<'a>, scan: &mut Scan<'a>) {
        match token {
            Token::Special(',') => self.end_mailbox(),
            Token::Special(';') => {
                self.end_mailbox();
                self.in_group = false;
            }
            Token::Special(':') if !self.in_group && self.angle.is_none() && self.has_words() => {
                let name = phrase(&std::mem::take(&mut self.words));
                (self.comment, self.at_sign) = (None, false);
                self.in_group = true;
                self.groups.push(EmailAddressGroup { name: Some(name), addresses: Vec::new() });
            }
            Token::Special(':') if self.angle.is_none() && !self.has_words() => {}
            Token::Special('<') => {
                if self.angle.is_some() {
                    self.end_mailbox();
                }
                self.comment = None;
                self.angle = Some(without_route(&scan.angle()).to_owned());
            }
            // A comment before the addr-spec says nothing of it, but it may stand for the name
            // where it follows one.
            Token::Comment(text) => {
                if self.angle.is_some() || self.at_sign {
                    self.comment.get_or_insert(text);
                }
                self.push(Token::White);
            }
            token => self.push(token),
        }
    }

    /// Keeps one white space between words and none before them, so that a long row of nothing
    /// costs nothing.
    fn push(&mut self, token: Token<'a>) {
        let white = token == Token::White;
        if white && self.words.last().is_none_or(|last| *last == Token::White) {
            return;
        }
        self.at_sign |= token == Token::Special('@');
        self.words.push(token);
    }

    fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    fn end_mailbox(&mut self) {
        let words = std::mem::take(&mut self.words);
        self.at_sign = false;
        let comment = self.comment.take().map(|text| words::nfc(&words::decode_words(text.trim())));
        let comment = comment.filter(|text| !text.is_empty());
        let address = match self.angle.take() {
            Some(email) => {
                let name = Some(phrase(&words)).filter(|name| !name.is_empty());
                MailAddress { name: name.or(comment), email }
            }
            None => match bare(&words) {
                Some((name, email)) => MailAddress { name: name.or(comment), email },
                None => return,
            },
        };
        match self.groups.last_mut() {
            Some(group) if self.in_group || group.name.is_none() => group.addresses.push(address),
            _ => self.groups.push(EmailAddressGroup { name: None, addresses: vec![address] }),
        }
    }
}

/// RFC 5322 §4.4: a source route before the address says nothing any more.
fn without_route(angle: &str) -> &str {
    match angle.split_once(':') {
        Some((route, address)) if route.starts_with('@') => address,
        _ => angle,
    }
}

/// A display name: words with one space between, quoted strings without their quotes, encoded
/// words decoded where they aren't quoted (RFC 2047 §5).
fn phrase(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    let mut plain = String::new();
    let flush = |plain: &mut String, out: &mut String| {
        out.push_str(&words::decode_words(plain));
        plain.clear();
    };
    for token in tokens {
        match token {
            Token::White => {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            Token::Quoted(_, content) => {
                flush(&mut plain, &mut out);
                out.push_str(content);
            }
            Token::Atom(text) | Token::Literal(text) => plain.push_str(text),
            Token::Special(c) => plain.push(*c),
            Token::Comment(_) => {}
        }
    }
    flush(&mut plain, &mut out);
    words::nfc(out.trim())
}

/// A mailbox without angle brackets: the last word that holds an `@` is the address and what
/// stands before it a name; without any `@` everything is the (unfinished) address.
fn bare(tokens: &[Token<'_>]) -> Option<(Option<String>, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut apart = true;
    for (at, token) in tokens.iter().enumerate() {
        let text = match token {
            Token::White => {
                apart = true;
                continue;
            }
            Token::Atom(text) | Token::Quoted(text, _) | Token::Literal(text) => (*text).to_owned(),
            Token::Special(c) => c.to_string(),
            Token::Comment(_) => continue,
        };
        // RFC 5322 §4.4 allows white space around the dots and the `@` of an address.
        let glued = !apart
            || text.starts_with(['@', '.'])
            || joined.last().is_some_and(|(_, last)| last.ends_with(['@', '.']));
        match joined.last_mut() {
            Some((_, last)) if glued => last.push_str(&text),
            _ => joined.push((at, text)),
        }
        apart = false;
    }
    let (start, last) = joined.last()?;
    if joined.len() > 1 && last.contains('@') {
        let name = phrase(tokens.get(..*start).unwrap_or_default());
        return Some((Some(name).filter(|name| !name.is_empty()), last.clone()));
    }
    let all: Vec<&str> = joined.iter().map(|(_, text)| text.as_str()).collect();
    Some((None, all.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `group: name <email>, …;` with `-` for no name.
    fn shown(groups: &[EmailAddressGroup]) -> String {
        let mut out = String::new();
        for group in groups {
            out.push_str(&format!("{}:", group.name.as_deref().unwrap_or("-")));
            for address in &group.addresses {
                out.push_str(&format!(" {}<{}>", address.name.as_deref().unwrap_or("-"), address.email));
            }
            out.push(';');
        }
        out
    }

    #[test]
    fn a_long_row_of_anything_takes_linear_time() {
        for piece in ["()", ": ", "<", "<,", "( ", "\"", "[", "@ ", "a:", ";", "<(", "=?", ". "] {
            let _ = parse_groups(&piece.repeat(100_000));
        }
    }

    #[test]
    fn address_lists_are_read_best_effort() {
        let cases: &[(&str, &str)] = &[
            (
                "  \"  James Smythe\" <james@example.com>, Friends:\r\n   jane@example.com, \
                 =?UTF-8?Q?John_Sm=C3=AEth?=\r\n   <john@example.com>;",
                "-: James Smythe<james@example.com>;Friends: -<jane@example.com> John Smîth<john@example.com>;",
            ),
            ("a@b", "-: -<a@b>;"),
            (" a@b , c@d ", "-: -<a@b> -<c@d>;"),
            ("a@b;c@d", "-: -<a@b> -<c@d>;"),
            ("A B <a@b>", "-: A B<a@b>;"),
            ("A\t  B <a@b>", "-: A B<a@b>;"),
            ("a@b (Al (the) \\) Pal)", "-: Al (the) ) Pal<a@b>;"),
            ("<a@b> (Al)", "-: Al<a@b>;"),
            ("(no) a@b", "-: -<a@b>;"),
            ("A (x) B <a@b>", "-: A B<a@b>;"),
            ("\"A \\\"B\\\" C\" <a@b>", "-: A \"B\" C<a@b>;"),
            ("\"=?utf-8?q?x?=\" <a@b>", "-: =?utf-8?q?x?=<a@b>;"),
            ("=?utf-8?q?x=2C_y?= <a@b>, c@d", "-: x, y<a@b> -<c@d>;"),
            ("=?utf-8?q?=C3?= =?utf-8?q?=A4?= <a@b>", "-: ä<a@b>;"),
            ("undisclosed-recipients:;", "undisclosed-recipients:;"),
            ("A:a@b;, B: c@d, e@f;, g@h", "A: -<a@b>;B: -<c@d> -<e@f>;-: -<g@h>;"),
            ("A: a@b", "A: -<a@b>;"),
            ("\"A, B\": a@b;", "A, B: -<a@b>;"),
            ("<@x,@y:a@b>", "-: -<a@b>;"),
            ("\"a b\"@c.d", "-: -<\"a b\"@c.d>;"),
            ("<\"a>b\"@c.d>", "-: -<\"a>b\"@c.d>;"),
            ("a . b @ c . d", "-: -<a.b@c.d>;"),
            ("< a @ (x) b >", "-: -<a@b>;"),
            ("a@[127.0.0.1]", "-: -<a@[127.0.0.1]>;"),
            ("joh", "-: -<joh>;"),
            ("John Smi", "-: -<John Smi>;"),
            ("John Smith john@x.y", "-: John Smith<john@x.y>;"),
            ("<>", "-: -<>;"),
            ("A <a@b> <c@d>", "-: A<a@b> -<c@d>;"),
            ("A <a@b, C <c@d>", "-: A<a@b> C<c@d>;"),
            ("A <a@b", "-: A<a@b>;"),
            ("A <a@b <c@d>", "-: A<a@b> -<c@d>;"),
            ("\"unclosed <a@b>, c@d", "-: -<\"unclosed <a@b>, c@d>;"),
            ("John Q. Public <j@x>", "-: John Q. Public<j@x>;"),
            ("a@b <a@b>", "-: a@b<a@b>;"),
            ("Jürgen <jürgen@müller.example>", "-: Jürgen<jürgen@müller.example>;"),
            ("e\u{301} <a@b>", "-: é<a@b>;"),
            ("A <", "-: A<>;"),
            ("<<a@b>", "-: -<> -<a@b>;"),
            (",, ,a@b,,", "-: -<a@b>;"),
            ("\"\" <a@b>", "-: -<a@b>;"),
            (": a@b", "-: -<a@b>;"),
            ("", ""),
            ("(only)", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&parse_groups(&words::unfold(text.as_bytes()))), *expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_address_parser_panic(text in "[a@<>,;:\"()\\[\\]\\\\. \té=?]{0,60}") {
            let _ = parse_groups(&text);
        }
    }
}
