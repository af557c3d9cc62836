//! SearchSnippet/get (RFC 8621 §5): what of a message fits a text filter.
//!
//! Invariants: `&`, `<` and `>` of the message never stand bare beside `<mark>`; a preview has at
//! most `SNIPPET_BYTES_MAX` octets, and every `<mark>` in it is closed. The words come from the
//! filter and the text from the store, so that the search index isn't asked.

use super::email::Email;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::methods::Method;
use crate::jmap::query::{self, Filter};
use crate::mail::indexer;
use crate::mail::query::EmailCondition;
use crate::mail::search::{self, Place, TextQuery, Word};
use crate::types::EmailId;
use crate::types::limits::{OBJECTS_IN_GET_MAX, SNIPPET_BYTES_MAX};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::ops::Range;

/// Marks in one subject or preview.
const MARKS_MAX: usize = 32;
/// Octets of a preview before its first mark.
const LEAD_BYTES_MAX: usize = 64;
const OPEN: &str = "<mark>";
const CLOSE: &str = "</mark>";

/// Runs SearchSnippet/get.
pub fn run(ctx: &mut Ctx, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("emailIds", "is required");
    let ids = args.strings("emailIds")?.ok_or_else(required)?;
    let filter = query::query_args::<Email>(ctx, &mut only_filter(&mut args))?.filter;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    if ids.len() > OBJECTS_IN_GET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let mut texts = Vec::new();
    if let Some(filter) = &filter {
        wanted(filter, &mut texts);
    }
    let at = |place| texts.iter().flat_map(|text| text.words_at(place)).collect::<Vec<&Word>>();
    let (subject_words, body_words) = (at(Place::Subject), at(Place::Body));
    let mut seen = HashSet::new();
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        let email = EmailId::parse(id);
        let text =
            email.map(|email| indexer::text_of(ctx.reader(), account.id, email)).transpose()?.flatten();
        let Some(text) = text else {
            not_found.push(Value::from(id.as_str()));
            continue;
        };
        let text = text.indexed();
        list.push(json!({
            "emailId": id,
            "subject": marked(text.subject, &subject_words),
            "preview": preview(text.body, &body_words)
        }));
    }
    let mut response = Map::with_capacity(3);
    response.insert("accountId".into(), account_id.into());
    response.insert("list".into(), list.into());
    response.insert("notFound".into(), if not_found.is_empty() { Value::Null } else { not_found.into() });
    ctx.respond(method.name, response);
    Ok(())
}

/// The filter alone: a snippet has no sort.
fn only_filter(args: &mut Args) -> Args {
    let filter = args.any("filter");
    Args::new(filter.into_iter().map(|filter| ("filter".to_owned(), filter)).collect())
}

/// The text conditions that aren't negated.
fn wanted<'f>(filter: &'f Filter<Vec<EmailCondition>>, texts: &mut Vec<&'f TextQuery>) {
    match filter {
        Filter::Condition(conditions) => texts.extend(conditions.iter().filter_map(|one| match one {
            EmailCondition::Text(text) => Some(text),
            _ => None,
        })),
        Filter::And(list) | Filter::Or(list) => list.iter().for_each(|one| wanted(one, texts)),
        Filter::Not(_) => {}
    }
}

/// The whole text with its matches marked; `None` where nothing matches.
fn marked(text: &str, words: &[&Word]) -> Option<String> {
    let ranges = search::find(text, words, MARKS_MAX);
    (!ranges.is_empty()).then(|| Writer::new(usize::MAX).write(text, 0, &ranges))
}

/// The part of the text around its first match, marked; `None` where nothing matches.
fn preview(text: &str, words: &[&Word]) -> Option<String> {
    let ranges = search::find(text, words, MARKS_MAX);
    let first = ranges.first()?.start;
    let mut start = first;
    let mut size = 0;
    for (at, character) in text.get(..first)?.char_indices().rev() {
        size += escaped(character, &mut [0; 4]).len();
        if size > LEAD_BYTES_MAX {
            break;
        }
        start = at;
    }
    // Better a whole word at the beginning than as much as there is room for.
    if start > 0
        && let Some(space) = text.get(start..first).and_then(|lead| lead.find(char::is_whitespace))
    {
        start += space;
    }
    let out = Writer::new(SNIPPET_BYTES_MAX).write(text, start, &ranges);
    Some(out.trim().to_owned())
}

/// Writes text as HTML into so many octets.
struct Writer {
    out: String,
    bytes_max: usize,
}

impl Writer {
    fn new(bytes_max: usize) -> Self {
        Self { out: String::new(), bytes_max }
    }

    /// The text from `start` on, the ranges marked, as far as there is room.
    fn write(mut self, text: &str, start: usize, ranges: &[Range<usize>]) -> String {
        let mut at = start;
        for range in ranges.iter().filter(|range| range.start >= start) {
            let (Some(before), Some(inner)) = (text.get(at..range.start), text.get(range.clone())) else {
                break;
            };
            if !self.text(before, 0) {
                return self.out;
            }
            // Not a mark without at least its first character.
            let first = inner.chars().next().map_or(0, |first| escaped(first, &mut [0; 4]).len());
            if self.out.len() + OPEN.len() + first + CLOSE.len() > self.bytes_max {
                return self.out;
            }
            self.out.push_str(OPEN);
            let whole = self.text(inner, CLOSE.len());
            self.out.push_str(CLOSE);
            if !whole {
                return self.out;
            }
            at = range.end;
        }
        self.text(text.get(at..).unwrap_or_default(), 0);
        self.out
    }

    /// Writes text and leaves `reserve` octets; false where it had to be cut.
    fn text(&mut self, text: &str, reserve: usize) -> bool {
        for character in text.chars() {
            let mut buffer = [0; 4];
            let piece = escaped(character, &mut buffer);
            if self.out.len() + piece.len() + reserve > self.bytes_max {
                return false;
            }
            self.out.push_str(piece);
        }
        true
    }
}

/// A character as HTML text.
fn escaped(character: char, buffer: &mut [u8; 4]) -> &str {
    match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\n' | '\r' | '\t' => " ",
        other => other.encode_utf8(buffer),
    }
}
