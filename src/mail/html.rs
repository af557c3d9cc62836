//! HTML to plain text, for previews and search only: nothing here is safe to show as HTML. One
//! pass over the text, whatever it holds.

use std::borrow::Cow;

/// Elements whose content isn't text of the message, and in which `<` begins no tag.
const SILENT: [&str; 3] = ["script", "style", "title"];
/// Elements that part words.
const BLOCKS: [&str; 26] = [
    "p",
    "div",
    "br",
    "hr",
    "li",
    "ul",
    "ol",
    "tr",
    "td",
    "th",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
    "section",
    "article",
    "header",
    "footer",
    "dt",
    "dd",
    "body",
];
/// The named references that mail really has.
const ENTITIES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("shy", ""),
    ("zwnj", ""),
    ("zwj", ""),
    ("ensp", " "),
    ("emsp", " "),
    ("thinsp", " "),
    ("hellip", "…"),
    ("ndash", "–"),
    ("mdash", "—"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("sbquo", "‚"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("bdquo", "„"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("bull", "•"),
    ("middot", "·"),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("euro", "€"),
    ("pound", "£"),
    ("yen", "¥"),
    ("cent", "¢"),
    ("sect", "§"),
    ("deg", "°"),
    ("times", "×"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
    ("ecirc", "ê"),
    ("euml", "ë"),
    ("Eacute", "É"),
    ("aacute", "á"),
    ("agrave", "à"),
    ("acirc", "â"),
    ("atilde", "ã"),
    ("aring", "å"),
    ("Aring", "Å"),
    ("aelig", "æ"),
    ("AElig", "Æ"),
    ("ccedil", "ç"),
    ("Ccedil", "Ç"),
    ("iacute", "í"),
    ("igrave", "ì"),
    ("icirc", "î"),
    ("iuml", "ï"),
    ("ntilde", "ñ"),
    ("Ntilde", "Ñ"),
    ("oacute", "ó"),
    ("ograve", "ò"),
    ("ocirc", "ô"),
    ("otilde", "õ"),
    ("oslash", "ø"),
    ("Oslash", "Ø"),
    ("uacute", "ú"),
    ("ugrave", "ù"),
    ("ucirc", "û"),
    ("yacute", "ý"),
    ("iexcl", "¡"),
    ("iquest", "¿"),
];

/// The text of HTML, at most `bytes_max` octets of it. Blocks end in a line end; white space is
/// otherwise as in the source.
pub fn to_text(html: &str, bytes_max: usize) -> String {
    read(html, bytes_max, false)
}

/// The same with what `alt` and `title` say, which a search finds (RFC 8621 §4.4.1).
pub fn to_searchable_text(html: &str, bytes_max: usize) -> String {
    read(html, bytes_max, true)
}

fn read(html: &str, bytes_max: usize, with_attributes: bool) -> String {
    let mut out = String::with_capacity(html.len().min(bytes_max) / 2);
    let mut at = 0;
    while let Some(rest) = html.get(at..)
        && !rest.is_empty()
        && out.len() < bytes_max
    {
        let text_end = memchr::memchr(b'<', rest.as_bytes()).unwrap_or(rest.len());
        push_text(&rest[..text_end], &mut out);
        if text_end == rest.len() {
            break;
        }
        let markup = &rest[text_end..];
        let length = markup_length(markup);
        if length == 0 {
            out.push('<');
            at += text_end + 1;
            continue;
        }
        at += text_end + length;
        let (name, closing) = element(&markup[..length]);
        if with_attributes && !closing {
            for text in shown_attributes(&markup[..length]) {
                out.push(' ');
                push_text(text, &mut out);
                out.push(' ');
            }
        }
        if !closing && SILENT.contains(&name.as_ref()) {
            at += end_of_silent(&markup[length..], &name);
        }
        if BLOCKS.contains(&name.as_ref()) && !out.ends_with('\n') {
            out.push('\n');
        }
    }
    cut(&mut out, bytes_max);
    out
}

/// Shortens to at most that many octets, between characters.
pub fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

/// Where the tag or comment begins that a cut at `at` would go through.
pub fn tag_around(html: &str, at: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = html.get(from..at).and_then(|rest| memchr::memchr(b'<', rest.as_bytes())) {
        let start = from + found;
        match markup_length(&html[start..]) {
            0 => from = start + 1,
            length if start + length > at => return Some(start),
            length => from = start + length,
        }
    }
    None
}

/// How far the content of an element goes in which nothing but its own end tag counts.
fn end_of_silent(content: &str, name: &str) -> usize {
    memchr::memmem::find_iter(content.as_bytes(), b"</")
        .find(|at| {
            let after = &content.as_bytes()[at + 2..];
            after.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        })
        .unwrap_or(content.len())
}

/// How long the tag, comment or declaration at the start of `markup` is; 0 where its `<` is text.
/// What never ends goes to the end.
fn markup_length(markup: &str) -> usize {
    let bytes = markup.as_bytes();
    match bytes.get(1) {
        Some(b'!') if markup.starts_with("<!--") => {
            memchr::memmem::find(&bytes[4..], b"-->").map_or(markup.len(), |end| end + 7)
        }
        Some(b'!' | b'?') => memchr::memchr(b'>', bytes).map_or(markup.len(), |end| end + 1),
        Some(b'/') => memchr::memchr(b'>', bytes).map_or(markup.len(), |end| end + 1),
        Some(letter) if letter.is_ascii_alphabetic() => tag_length(bytes),
        _ => 0,
    }
}

/// A `>` in a quoted attribute value doesn't end the tag.
fn tag_length(bytes: &[u8]) -> usize {
    let mut quote = None;
    let mut before = b' ';
    for (at, &byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return at + 1,
            // Only after `=` does a quote open a value; elsewhere it is a slip.
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
    }
    bytes.len()
}

/// The element's name in lower case, and whether the tag closes it.
fn element(tag: &str) -> (Cow<'_, str>, bool) {
    let inner = tag.strip_prefix('<').unwrap_or(tag);
    let (inner, closing) = inner.strip_prefix('/').map_or((inner, false), |inner| (inner, true));
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    let name = &inner[..end];
    let lower = name.bytes().all(|b| !b.is_ascii_uppercase());
    (if lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) }, closing)
}

/// The values of `alt` and `title` in a tag.
fn shown_attributes(tag: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // Nearly no tag has one.
    let mut rest =
        tag.find(|c: char| c.is_ascii_whitespace()).and_then(|at| tag.get(at..)).unwrap_or_default();
    while let Some(equals) = memchr::memchr(b'=', rest.as_bytes()) {
        let before = rest[..equals].trim_end();
        let name_at = before.rfind(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'' | '/'));
        let name = before.get(name_at.map_or(0, |at| at + 1)..).unwrap_or_default();
        let value = rest[equals + 1..].trim_start();
        let (value, after) = match value.as_bytes().first() {
            Some(&quote @ (b'"' | b'\'')) => {
                let end = memchr::memchr(quote, &value.as_bytes()[1..]).map_or(value.len(), |end| end + 1);
                (&value[1..end], value.get(end + 1..).unwrap_or_default())
            }
            _ => {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
                value.split_at(end)
            }
        };
        if name.eq_ignore_ascii_case("alt") || name.eq_ignore_ascii_case("title") {
            found.push(value);
        }
        rest = after;
    }
    found
}

fn push_text(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(rest) {
            Some((character, length)) => {
                out.push_str(&character);
                rest = &rest[length..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
}

/// The character reference at the start of the text, and how long it is.
fn reference(text: &str) -> Option<(Cow<'static, str>, usize)> {
    // The longest name in the table and the longest number are shorter than this.
    let window = &text.as_bytes()[..text.len().min(12)];
    let end = memchr::memchr(b';', window)?;
    let name = text.get(1..end)?;
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        let character = char::from_u32(code).filter(|c| !c.is_control() || c.is_whitespace())?;
        return Some((Cow::Owned(character.to_string()), end + 1));
    }
    let (_, text) = ENTITIES.iter().find(|(known, _)| *known == name)?;
    Some((Cow::Borrowed(*text), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_becomes_its_text() {
        let cases = [
            ("<p>Hello <b>you</b></p><p>there", "\nHello you\nthere"),
            ("<html><head><title>x</title></head><body>a<br>b</body>", "\na\nb\n"),
            ("<style>p > a {}</style>a<SCRIPT>if (a<b) {}</SCRIPT>b", "ab"),
            ("a &amp; b &lt;c&gt; &#228;&#xE4; &nbsp;&unknown; &", "a & b <c> ää  &unknown; &"),
            ("1 < 2 and <3", "1 < 2 and <3"),
            ("a<!-- <p> -- > -->b<!doctype html>c", "abc"),
            ("<a title=\"x > y\" href='>'>link</a>", "link"),
            ("<a title=x\">y", "y"),
            ("a<b", "a"),
            ("a<!-- never closed", "a"),
            ("&#0;&#xD800;&#99999999;x", "&#0;&#xD800;&#99999999;x"),
            ("&é;é", "&é;é"),
        ];
        for (html, expected) in cases {
            assert_eq!(to_text(html, 1000), expected, "{html}");
        }
        assert_eq!(to_text("ääää", 5), "ää");
    }

    #[test]
    fn what_alt_and_title_say_is_searched_and_not_shown() {
        for (html, expected) in [
            ("a<img src=x alt=\"one &amp; two\" title='three'>b", "a one & two  three b"),
            ("<abbr TITLE=four>b</abbr title=no>", " four b"),
            ("<img alt = \"x > y\" data-alt='no'>", " x > y "),
            ("<img alt=\"never closed", " never closed "),
            ("<p>no</p><a title>x</a>", "\nno\nx"),
        ] {
            assert_eq!(to_searchable_text(html, 1000), expected, "{html}");
        }
        assert_eq!(to_text("<img alt=x>y", 1000), "y");
    }

    proptest! {
        #[test]
        fn no_html_makes_the_reader_panic_or_exceed(html in "[<>a&;#x/!\"'= \\-é]{0,80}", max in 0usize..40) {
            prop_assert!(to_text(&html, max).len() <= max);
            prop_assert!(to_searchable_text(&html, max).len() <= max);
            let at = html.floor_char_boundary(max);
            if let Some(start) = tag_around(&html, at) {
                prop_assert!(start < at && html[start..].starts_with('<'));
            }
        }
    }
}
