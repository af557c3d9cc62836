//! What the gateway found out about a message: whether its From is who it says (RFC 8601), and
//! whether it is spam.
//!
//! Only a gateway of ours is believed, by its name in Authentication-Results. Fields of others with
//! that name are taken out of the header before the message is kept: a client might believe them.
//! A gateway that lets a forged field with its name pass still writes its own above it (RFC 8601 §5), so the
//! topmost field that names a method decides on that method, and one that decides on none is taken out, too.

use super::words;
use crate::store::rows::mail::AuthenticationRow;
use crate::store::rows::message::MessageRow;
use std::collections::BTreeSet;

/// The field.
const FIELD: &str = "Authentication-Results";

/// Whom and what to believe; the configuration's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustRules {
    /// Names of gateways in Authentication-Results; none: nothing is believed, and nothing taken out.
    pub authserv_ids: Vec<String>,
    /// Fields by which a gateway says that a message is spam, with how their value begins.
    pub spam_fields: Vec<(String, String)>,
}

/// What was found out about one message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust {
    pub authentication: Option<AuthenticationRow>,
    pub spam: bool,
}

impl TrustRules {
    /// What the gateway says of a message; nothing where it didn't come from a gateway.
    pub fn read(&self, message: &MessageRow, from_gateway: bool) -> Trust {
        if !from_gateway {
            return Trust::default();
        }
        let fields = message.fields();
        let spam = self.spam_fields.iter().any(|(name, begin)| {
            let begin = begin.to_ascii_lowercase();
            let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            let mut values = named.map(|field| words::unfold(&field.value.0).trim().to_ascii_lowercase());
            values.any(|value| value.starts_with(&begin))
        });
        // The gateway's fields stand above the Received fields of whoever came before it.
        let second =
            fields.iter().enumerate().filter(|(_, f)| f.name.eq_ignore_ascii_case("Received")).nth(1);
        let above = &fields[..second.map_or(fields.len(), |(at, _)| at)];
        let own = above.iter().filter(|field| field.name.eq_ignore_ascii_case(FIELD));
        let read = own.filter_map(|field| results(&words::unfold(&field.value.0)));
        let believed = read.filter(|found| self.is_own(&found.authserv_id));
        Trust { authentication: topmost(believed), spam }
    }

    /// The message without the fields of which nothing is believed: those of others, and those with our
    /// gateway's name that stand where it doesn't write, or below what it says. `from_gateway` says whether
    /// the message came from one: else no such field is believed.
    pub fn strip(&self, content: Vec<u8>, from_gateway: bool) -> Vec<u8> {
        if self.authserv_ids.is_empty() {
            return content;
        }
        let header = fields(&content);
        let (mut received, mut decided) = (0, Decided::default());
        let believed: Vec<bool> = header
            .iter()
            .map(|(from, to)| {
                let text = String::from_utf8_lossy(&content[*from..*to]);
                let Some((name, value)) = text.split_once(':') else { return true };
                received += usize::from(name.trim_end().eq_ignore_ascii_case("Received"));
                if !name.trim_end().eq_ignore_ascii_case(FIELD) {
                    return true;
                }
                // As `read` has it.
                let found = results(&unfolded(value)).filter(|_| from_gateway && received < 2);
                found.is_some_and(|found| self.is_own(&found.authserv_id) && decided.by(found).is_some())
            })
            .collect();
        if believed.iter().all(|believed| *believed) {
            return content;
        }
        let end = header.last().map_or(0, |(_, to)| *to);
        let mut out = Vec::with_capacity(content.len());
        for (from, to) in header.into_iter().zip(believed).filter_map(|(field, stays)| stays.then_some(field))
        {
            out.extend_from_slice(&content[from..to]);
        }
        out.extend_from_slice(&content[end..]);
        out
    }

    fn is_own(&self, authserv_id: &str) -> bool {
        self.authserv_ids.iter().any(|own| own.eq_ignore_ascii_case(authserv_id))
    }
}

/// Whether the gateway found that the message isn't from who it says: by DMARC, which asks whether
/// what was proven is aligned with From (RFC 7489 §6.6.2); without it by SPF where no signature held.
pub fn has_failed(row: &AuthenticationRow) -> bool {
    match row.result("dmarc") {
        Some("fail") => true,
        Some("pass") => false,
        _ => row.result("spf") == Some("fail") && row.result("dkim") != Some("pass"),
    }
}

impl AuthenticationRow {
    /// The best result of a method in the field that decides on it: one signature that holds is enough.
    pub fn result(&self, method: &str) -> Option<&str> {
        let mut all =
            self.results.iter().filter(|(name, _)| name == method).map(|(_, result)| result.as_str());
        let first = all.clone().next();
        all.find(|result| *result == "pass").or(first)
    }
}

/// What the fields say together, in their order: on each method what the topmost says that names it (RFC 8601
/// §7.1: what stands below may be forged).
fn topmost(believed: impl Iterator<Item = AuthenticationRow>) -> Option<AuthenticationRow> {
    let mut decided = Decided::default();
    let mut all = believed.filter_map(|field| decided.by(field));
    let mut first = all.next()?;
    all.for_each(|below| first.results.extend(below.results));
    Some(first)
}

/// The methods on which fields have decided so far, from the top; `None` before the first field.
#[derive(Default)]
struct Decided(Option<BTreeSet<String>>);

impl Decided {
    /// What the next field says that none above it did; `None` where that is nothing.
    fn by(&mut self, mut field: AuthenticationRow) -> Option<AuthenticationRow> {
        let is_first = self.0.is_none();
        let known = self.0.get_or_insert_default();
        field.results.retain(|(method, _)| !known.contains(method));
        known.extend(field.results.iter().map(|(method, _)| method.clone()));
        (is_first || !field.results.is_empty()).then_some(field)
    }
}

/// Where each field of the header begins and ends, line end included.
fn fields(content: &[u8]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(length) = content.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let line = &content[at..at + length + 1];
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
        match out.last_mut().filter(|_| line.starts_with(b" ") || line.starts_with(b"\t")) {
            Some(last) => last.1 = at + length + 1,
            None => out.push((at, at + length + 1)),
        }
        at += length + 1;
    }
    out
}

fn unfolded(value: &str) -> String {
    words::unfold(value.as_bytes())
}

/// Reads the value of the field (RFC 8601 §2.2); methods and results in lower case.
fn results(value: &str) -> Option<AuthenticationRow> {
    let plain = without_comments(value);
    let mut parts = plain.split(';');
    let authserv_id = parts.next()?.split_whitespace().next()?.trim_matches('"').to_owned();
    let word = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        fits.then_some(text)
    };
    let found = parts.filter_map(|part| {
        let (method, rest) = part.split_once('=')?;
        let method = method.split('/').next()?;
        Some((word(method)?, word(rest.split_whitespace().next()?)?))
    });
    Some(AuthenticationRow { authserv_id, results: found.take(RESULTS_MAX).collect() })
}

/// Results of one field that are kept.
const RESULTS_MAX: usize = 32;

/// Text without comments, and without what quotes hold: no result stands in them.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if depth > 0 || quoted => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ';' if quoted => {}
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    fn rules() -> TrustRules {
        TrustRules {
            authserv_ids: vec!["gw.example".to_owned()],
            spam_fields: vec![("X-Spam-Flag".to_owned(), "YES".to_owned())],
        }
    }

    /// Of SPF, DKIM and DMARC, and whether it failed.
    type Told = (Option<String>, Option<String>, Option<String>, bool);

    fn told(header: &str) -> Option<Told> {
        let raw = format!("{header}From: a@b\r\n\r\n");
        let row = rules().read(&parse(raw.as_bytes()), true).authentication?;
        let of = |method: &str| row.result(method).map(str::to_owned);
        Some((of("spf"), of("dkim"), of("dmarc"), has_failed(&row)))
    }

    #[test]
    fn what_our_gateway_says_is_read_and_what_others_say_is_not() {
        let some = |text: &str| Some(text.to_owned());
        for (header, expected) in [
            ("", None),
            ("Authentication-Results: other.example; dmarc=fail\r\n", None),
            ("Authentication-Results: GW.example; none\r\n", Some((None, None, None, false))),
            (
                "Authentication-Results: gw.example 1; spf=pass smtp.mailfrom=b; dkim=fail (bad; dkim=pass) \
                 header.d=x;\r\n\tdkim=PASS header.d=b; dmarc=pass header.from=b\r\n",
                Some((some("pass"), some("pass"), some("pass"), false)),
            ),
            (
                "Authentication-Results: gw.example; dmarc=fail reason=\"p=none; dmarc=pass\"\r\n",
                Some((None, None, some("fail"), true)),
            ),
            (
                "Authentication-Results: gw.example; spf=fail\r\nAuthentication-Results: gw.example; dkim=none\r\n",
                Some((some("fail"), some("none"), None, true)),
            ),
            (
                "Authentication-Results: gw.example; spf=fail; dkim=pass\r\n",
                Some((some("fail"), some("pass"), None, false)),
            ),
            (
                "Received: by gw\r\nAuthentication-Results: gw.example; dmarc=fail\r\nReceived: by other\r\n\
                 Authentication-Results: gw.example; dmarc=pass\r\n",
                Some((None, None, some("fail"), true)),
            ),
            ("Received: 1\r\nReceived: 2\r\nAuthentication-Results: gw.example; dmarc=pass\r\n", None),
        ] {
            assert_eq!(told(header), expected, "{header}");
        }
        let raw = b"Authentication-Results: gw.example; dmarc=pass\r\nX-Spam-Flag: YES\r\n\r\n";
        assert_eq!(rules().read(&parse(raw), false), Trust::default());
        assert!(rules().read(&parse(raw), true).spam);
        assert!(!rules().read(&parse(b"X-Spam-Flag: no\r\n\r\n"), true).spam);
    }

    #[test]
    fn the_topmost_field_that_names_a_method_decides_on_it() {
        let some = |text: &str| Some(text.to_owned());
        let field = "Authentication-Results: gw.example;";
        for (values, expected) in [
            (&["dmarc=fail", "dmarc=pass"][..], (None, None, some("fail"), true)),
            (&["dmarc=pass", "dmarc=fail"], (None, None, some("pass"), false)),
            (
                &["spf=fail", "dkim=fail; dkim=pass", "dkim=fail; spf=pass; dmarc=fail", "dmarc=pass"],
                (some("fail"), some("pass"), some("fail"), true),
            ),
            (&["spf=fail; dkim=fail", "spf=pass; dkim=pass"], (some("fail"), some("fail"), None, true)),
        ] {
            let header: String = values.iter().map(|value| format!("{field} {value}\r\n")).collect();
            assert_eq!(told(&header), Some(expected), "{header}");
        }
    }

    #[test]
    fn a_forged_field_with_our_gateways_name_is_taken_out_below_the_gateways_own() {
        let field = |value: &str| format!("Authentication-Results: gw.example; {value}\r\n");
        let (spf, dkim, forged) = (field("spf=fail"), field("dkim=none"), field("dkim=pass; spf=pass"));
        let received = |number: u32| format!("Received: {number}\r\n");
        for (header, kept) in [
            (format!("{spf}{}{dkim}{forged}", received(1)), format!("{spf}{}{dkim}", received(1))),
            (format!("{spf}{}{forged}", received(1)), format!("{spf}{}{forged}", received(1))),
            (
                format!("{}{spf}{}{dkim}{forged}", received(1), received(2)),
                format!("{}{spf}{}", received(1), received(2)),
            ),
            (format!("{}{}{forged}", received(1), received(2)), format!("{}{}", received(1), received(2))),
            (format!("{}{}", field("none"), field("none")), field("none")),
        ] {
            let raw = |header: &str| format!("{header}From: a@b\r\n\r\nx");
            let stripped = rules().strip(raw(&header).into_bytes(), true);
            assert_eq!(String::from_utf8_lossy(&stripped), raw(&kept), "{header}");
            let of = |raw: &[u8]| rules().read(&parse(raw), true);
            assert_eq!(of(&stripped), of(raw(&header).as_bytes()), "what is believed stays the same");
        }
    }

    #[test]
    fn the_fields_of_others_are_taken_out_and_nothing_else() {
        let raw = b"Received: x\r\nauthentication-results: gw.example; dmarc=pass\r\n\
                    Authentication-Results: evil.example;\r\n\tdmarc=pass\r\nSubject: a\r\n b\r\n\r\n\
                    Authentication-Results: in.the.body\r\n";
        let kept =
            b"Received: x\r\nauthentication-results: gw.example; dmarc=pass\r\nSubject: a\r\n b\r\n\r\n\
                     Authentication-Results: in.the.body\r\n";
        assert_eq!(rules().strip(raw.to_vec(), true), kept);
        let none = b"Received: x\r\nSubject: a\r\n b\r\n\r\nAuthentication-Results: in.the.body\r\n";
        assert_eq!(rules().strip(raw.to_vec(), false), none);
        assert_eq!(TrustRules::default().strip(raw.to_vec(), false), raw);
        for odd in [&b""[..], b"no header", b"\r\n", b"Authentication-Results: x"] {
            assert_eq!(rules().strip(odd.to_vec(), false), odd);
        }
    }
}
