//! One line of a client, read by the grammar of RFC 5321 §4.1.2 with RFC 6531 (UTF-8), RFC 1870
//! (SIZE), RFC 6152 (8BITMIME), RFC 3030 (BDAT, BINARYMIME), RFC 3461 (DSN), RFC 3207 (STARTTLS) and
//! RFC 4954 (AUTH). Our own parser: the crates at hand take more than the grammar
//! and lose why a line was refused.
//!
//! Invariants: any octets give a command or the reply that says what is wrong with them; an
//! address that comes out is one that [`Address`] takes, of at most 64 + 255 octets.
//!
//! Deviations, all towards taking more: an underscore may stand in a domain, since addresses with
//! it are in use; the argument of EHLO and HELO may be any printable word, since §4.1.4 forbids to
//! refuse mail for it; white space at the end of a line is ignored (§4.1.1).

use super::reply::Reply;
use crate::types::Address;
use crate::types::limits::{DSN_ENVID_CHARS_MAX, DSN_ORCPT_CHARS_MAX};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A command with its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    Lhlo(String),
    /// The reverse-path, `None` where it is `<>`.
    Mail {
        from: Option<Address>,
        parameters: MailParameters,
    },
    /// The forward-path, `None` where it is `<Postmaster>` without a domain (§4.1.1.3).
    Rcpt {
        to: Option<Address>,
        parameters: RcptParameters,
    },
    Data,
    /// So many octets of the message follow (RFC 3030 §2).
    Bdat {
        size_bytes: u64,
        last: bool,
    },
    StartTls,
    /// The mechanism in upper case, and the initial response as it came.
    Auth {
        mechanism: String,
        initial: Option<String>,
    },
    /// Names in upper case, values decoded; `None` is `[UNAVAILABLE]` or `[TEMPUNAVAIL]`.
    Xclient(Vec<(String, Option<String>)>),
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
}

/// The parameters of MAIL that we offer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MailParameters {
    /// SIZE=: what the client believes the message has (RFC 1870 §6).
    pub size_bytes: Option<u64>,
    /// BODY=8BITMIME.
    pub body_8bit: bool,
    /// BODY=BINARYMIME (RFC 3030 §3).
    pub binary: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// RET=FULL (RFC 3461 §4.3).
    pub return_full: bool,
    /// ENVID=, decoded (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
}

/// The parameters of RCPT that we offer (RFC 3461 §4.1, §4.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RcptParameters {
    /// NOTIFY has SUCCESS.
    pub notify_success: bool,
    /// NOTIFY is there, and has no FAILURE. Most failures are the client's to report: we refuse at once.
    pub notify_no_failure: bool,
    /// ORCPT=, decoded.
    pub original: Option<String>,
}

/// The longest argument of EHLO, HELO and LHLO: that of a domain (§4.5.3.1.2).
const HELO_BYTES_MAX: usize = 255;
/// What a client may say by AUTH= (RFC 4954 §3).
const AUTH_CHARS_MAX: usize = 500;

/// Reads one line without its CR LF.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    if line.iter().any(|&octet| matches!(octet, b'\r' | b'\n' | 0)) {
        return Err(Reply::new(500, "5.5.2", "A command ends in CR LF and has no other CR, LF or NUL"));
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(Reply::new(500, "5.5.2", "A command is ASCII or UTF-8"));
    };
    let text = text.trim_end_matches([' ', '\t']);
    let (verb, rest) = text.split_once(' ').map_or((text, None), |(verb, rest)| (verb, Some(rest)));
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => helo(rest, "EHLO name").map(Command::Ehlo),
        "HELO" => helo(rest, "HELO name").map(Command::Helo),
        "LHLO" => helo(rest, "LHLO name").map(Command::Lhlo),
        "MAIL" => mail(rest.unwrap_or_default()),
        "RCPT" => rcpt(rest.unwrap_or_default()),
        "DATA" => alone(rest, Command::Data, "DATA"),
        "RSET" => alone(rest, Command::Rset, "RSET"),
        "QUIT" => alone(rest, Command::Quit, "QUIT"),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" if rest.is_none() => Err(syntax("VRFY name")),
        "VRFY" => Ok(Command::Vrfy),
        "BDAT" => bdat(rest.unwrap_or_default()),
        "STARTTLS" => alone(rest, Command::StartTls, "STARTTLS"),
        "AUTH" => auth(rest.unwrap_or_default()),
        "XCLIENT" => xclient(rest.unwrap_or_default()),
        "EXPN" | "ETRN" | "ATRN" | "TURN" | "SEND" | "SOML" | "SAML" => {
            Err(Reply::new(502, "5.5.1", "This command isn't offered here"))
        }
        _ => Err(Reply::new(500, "5.5.1", "Unknown command")),
    }
}

fn syntax(form: &str) -> Reply {
    Reply::new(501, "5.5.4", format!("The form is: {form}"))
}

fn alone(rest: Option<&str>, command: Command, verb: &str) -> Result<Command, Reply> {
    if rest.is_some() {
        return Err(Reply::new(501, "5.5.4", format!("{verb} has no arguments")));
    }
    Ok(command)
}

/// The argument ends up in a `Received` field, so it must be one printable word.
fn helo(rest: Option<&str>, form: &str) -> Result<String, Reply> {
    let name = rest.unwrap_or_default();
    if is_helo_name(name) { Ok(name.to_owned()) } else { Err(syntax(form)) }
}

/// Whether a name can be that of a client: one word that may stand in a `Received` field.
pub fn is_helo_name(name: &str) -> bool {
    (1..=HELO_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_graphic() && !b"()<>\"\\;,".contains(&octet))
}

/// RFC 3030 §2: `BDAT size` or `BDAT size LAST`.
fn bdat(rest: &str) -> Result<Command, Reply> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let size = words.next().filter(|size| size.len() <= 19 && size.bytes().all(|b| b.is_ascii_digit()));
    let size_bytes = size.and_then(|size| size.parse::<u64>().ok());
    let last = words.next();
    match (size_bytes, last.is_none_or(|last| last.eq_ignore_ascii_case("LAST")), words.next()) {
        (Some(size_bytes), true, None) => Ok(Command::Bdat { size_bytes, last: last.is_some() }),
        _ => Err(syntax("BDAT octets [LAST]")),
    }
}

fn auth(rest: &str) -> Result<Command, Reply> {
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next().unwrap_or_default(), words.next());
    let named = !mechanism.is_empty()
        && mechanism.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet));
    if !named || words.next().is_some() {
        return Err(syntax("AUTH mechanism [initial-response]"));
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial: initial.map(str::to_owned) })
}

fn xclient(rest: &str) -> Result<Command, Reply> {
    let form = "XCLIENT NAME=value [NAME=value …]";
    let mut attributes = Vec::new();
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or_else(|| syntax(form))?;
        let name = name.to_ascii_uppercase();
        if !XCLIENT_ATTRIBUTES.contains(&name.as_str()) {
            return Err(syntax(form));
        }
        let unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|word| value.eq_ignore_ascii_case(word));
        let value = if unknown { None } else { Some(xtext_decoded(value).ok_or_else(|| syntax(form))?) };
        attributes.push((name, value));
    }
    if attributes.is_empty() { Err(syntax(form)) } else { Ok(Command::Xclient(attributes)) }
}

/// What XCLIENT may name, as Postfix documents it.
pub const XCLIENT_ATTRIBUTES: [&str; 8] =
    ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];

/// RFC 3461 §4: `+XX` is the octet of that number. What comes out is printable or space, so that
/// it can stand in a header.
pub fn xtext_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => {
                let digits = [octets.next()?, octets.next()?];
                let fits = digits.iter().all(|d| d.is_ascii_digit() || (b'A'..=b'F').contains(d));
                let digits = std::str::from_utf8(&digits).ok().filter(|_| fits)?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            _ => out.push(octet),
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.chars().any(char::is_control))
}

fn mail(rest: &str) -> Result<Command, Reply> {
    let form = "MAIL FROM:<address> [parameters], without a space after the colon";
    let path = after_keyword(rest, "FROM:").ok_or_else(|| syntax(form))?;
    let (from, rest) = match path.strip_prefix("<>") {
        Some(rest) => (None, rest),
        None => {
            let (inside, rest) = split_path(path).ok_or_else(|| syntax(form))?;
            let address = mailbox(inside).ok_or_else(|| bad_address("5.1.7", "sender"))?;
            (Some(address), rest)
        }
    };
    let mut parameters = MailParameters::default();
    let mut seen = Vec::new();
    for parameter in split_parameters(rest).ok_or_else(|| syntax(form))? {
        let (keyword, value) = parameter?;
        if seen.contains(&keyword) {
            return Err(Reply::new(501, "5.5.4", format!("{keyword} is given twice")));
        }
        mail_parameter(&mut parameters, &keyword, value)?;
        seen.push(keyword);
    }
    if from.as_ref().is_some_and(Address::needs_smtputf8) && !parameters.smtputf8 {
        return Err(needs_smtputf8());
    }
    Ok(Command::Mail { from, parameters })
}

fn mail_parameter(parameters: &mut MailParameters, keyword: &str, value: Option<&str>) -> Result<(), Reply> {
    match (keyword, value) {
        ("SIZE", Some(digits))
            if (1..=20).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit()) =>
        {
            // 20 digits may be more than 64 bits hold; that is too large all the same.
            parameters.size_bytes = Some(digits.parse().unwrap_or(u64::MAX));
        }
        ("SIZE", _) => return Err(syntax("SIZE=octets")),
        ("BODY", Some(body)) if body.eq_ignore_ascii_case("8BITMIME") => parameters.body_8bit = true,
        ("BODY", Some(body)) if body.eq_ignore_ascii_case("7BIT") => {}
        ("BODY", Some(body)) if body.eq_ignore_ascii_case("BINARYMIME") => parameters.binary = true,
        ("BODY", _) => return Err(syntax("BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME")),
        ("RET", Some(ret)) if ret.eq_ignore_ascii_case("FULL") => parameters.return_full = true,
        ("RET", Some(ret)) if ret.eq_ignore_ascii_case("HDRS") => {}
        ("RET", _) => return Err(syntax("RET=FULL or RET=HDRS")),
        ("ENVID", Some(id)) if id.len() <= DSN_ENVID_CHARS_MAX => {
            parameters.envelope_id = Some(xtext_decoded(id).ok_or_else(|| syntax("ENVID=xtext"))?);
        }
        ("ENVID", _) => return Err(syntax("ENVID=xtext, 100 characters at most")),
        ("SMTPUTF8", None) => parameters.smtputf8 = true,
        ("SMTPUTF8", Some(_)) => return Err(Reply::new(501, "5.5.4", "SMTPUTF8 has no value")),
        // RFC 4954 §5: who is said to have submitted the message is believed of nobody, as if it were `<>`. Postfix
        // says so of every message where we offer AUTH.
        ("AUTH", Some(who))
            if who == "<>" || (who.len() <= AUTH_CHARS_MAX && xtext_decoded(who).is_some()) => {}
        ("AUTH", _) => return Err(syntax("AUTH=<> or AUTH=xtext")),
        _ => return Err(unknown_parameter(keyword)),
    }
    Ok(())
}

fn rcpt(rest: &str) -> Result<Command, Reply> {
    let form = "RCPT TO:<address>, without a space after the colon";
    let path = after_keyword(rest, "TO:").ok_or_else(|| syntax(form))?;
    let (inside, rest) = split_path(path).ok_or_else(|| syntax(form))?;
    let to = if inside.eq_ignore_ascii_case("postmaster") {
        None
    } else {
        Some(mailbox(inside).ok_or_else(|| bad_address("5.1.3", "recipient"))?)
    };
    let mut parameters = RcptParameters::default();
    let mut seen = Vec::new();
    for parameter in split_parameters(rest).ok_or_else(|| syntax(form))? {
        let (keyword, value) = parameter?;
        if seen.contains(&keyword) {
            return Err(Reply::new(501, "5.5.4", format!("{keyword} is given twice")));
        }
        rcpt_parameter(&mut parameters, &keyword, value)?;
        seen.push(keyword);
    }
    Ok(Command::Rcpt { to, parameters })
}

fn rcpt_parameter(parameters: &mut RcptParameters, keyword: &str, value: Option<&str>) -> Result<(), Reply> {
    match (keyword, value) {
        ("NOTIFY", Some(words)) => {
            let words: Vec<String> = words.split(',').map(str::to_ascii_uppercase).collect();
            let known = words.iter().all(|word| ["SUCCESS", "FAILURE", "DELAY"].contains(&word.as_str()));
            // RFC 3461 §4.1: NEVER stands alone.
            if !known && words != ["NEVER"] {
                return Err(syntax("NOTIFY=NEVER or NOTIFY=SUCCESS,FAILURE,DELAY"));
            }
            parameters.notify_success = words.iter().any(|word| word == "SUCCESS");
            parameters.notify_no_failure = words.iter().all(|word| word != "FAILURE");
        }
        ("NOTIFY", None) => return Err(syntax("NOTIFY=NEVER or NOTIFY=SUCCESS,FAILURE,DELAY")),
        ("ORCPT", Some(original)) if original.len() <= DSN_ORCPT_CHARS_MAX => {
            let wrong = || syntax("ORCPT=type;xtext");
            let (kind, address) = original.split_once(';').ok_or_else(wrong)?;
            let kind_fits = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let address = xtext_decoded(address).filter(|address| kind_fits && !address.is_empty());
            parameters.original = Some(format!("{kind};{}", address.ok_or_else(wrong)?));
        }
        ("ORCPT", _) => return Err(syntax("ORCPT=type;xtext, 500 characters at most")),
        _ => return Err(unknown_parameter(keyword)),
    }
    Ok(())
}

/// RFC 6531 §3.5: an internationalised address in a transaction that isn't.
pub fn needs_smtputf8() -> Reply {
    Reply::new(553, "5.6.7", "An address in UTF-8 needs the SMTPUTF8 parameter of MAIL")
}

fn bad_address(enhanced: &'static str, whose: &str) -> Reply {
    Reply::new(501, enhanced, format!("The {whose}'s address is not one of RFC 5321 section 4.1.2"))
}

fn unknown_parameter(keyword: &str) -> Reply {
    Reply::new(555, "5.5.4", format!("The parameter {keyword} isn't offered here"))
}

fn after_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then_some(tail)
}

/// Splits `<path> rest` into what is between the angle brackets, source route taken off, and the
/// rest. A `>` inside a quoted local part doesn't end the path.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                return Some((without_route(inside.get(..at)?)?, inside.get(at + 1..)?));
            }
            _ => {}
        }
    }
    None
}

/// `@one,@two:user@host` is `user@host`: routes must be accepted and should be ignored (§4.1.2
/// A-d-l, appendix C).
fn without_route(path: &str) -> Option<&str> {
    if !path.starts_with('@') {
        return Some(path);
    }
    let (route, path) = path.split_once(':')?;
    route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(domain_fits)).then_some(path)
}

/// The Mailbox of §4.1.2.
fn mailbox(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    let local_fits = if local.starts_with('"') { true } else { dot_string_fits(local) };
    let domain_fits =
        if domain.starts_with('[') { address_literal_fits(domain) } else { domain_fits(domain) };
    // Address::parse checks what is inside a quoted local part, and the lengths.
    if local_fits && domain_fits { Address::parse(text) } else { None }
}

fn dot_string_fits(local: &str) -> bool {
    local.split('.').all(|atom| {
        !atom.is_empty()
            && atom.chars().all(|c| {
                c.is_ascii_alphanumeric()
                    || "!#$%&'*+-/=?^_`{|}~".contains(c)
                    || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
            })
    })
}

fn domain_fits(domain: &str) -> bool {
    domain.len() <= 255
        && domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || c == '-'
                        || c == '_'
                        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
                })
        })
}

/// §4.1.3: an IPv4 address, `IPv6:` and an IPv6 address; no other tag was ever registered.
fn address_literal_fits(literal: &str) -> bool {
    let Some(inside) = literal.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match after_keyword(inside, "IPv6:") {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

type Parameter<'a> = (String, Option<&'a str>);

/// Splits ` KEY=value KEY` at single or repeated spaces; `None` where the path isn't followed by
/// a space. Keywords come out in upper case.
fn split_parameters(rest: &str) -> Option<impl Iterator<Item = Result<Parameter<'_>, Reply>>> {
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    Some(rest.split(' ').filter(|word| !word.is_empty()).map(|word| {
        let (keyword, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let keyword_fits = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        let value_fits = value.is_none_or(|value| {
            !value.is_empty()
                && value.chars().all(|c| c != '=' && !c.is_ascii_whitespace() && !c.is_control())
        });
        if keyword_fits && value_fits {
            Ok((keyword.to_ascii_uppercase(), value))
        } else {
            Err(syntax("KEYWORD or KEYWORD=value"))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mail_of(line: &str) -> (Option<String>, MailParameters) {
        match parse(line.as_bytes()) {
            Ok(Command::Mail { from, parameters }) => (from.map(|a| a.to_string()), parameters),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn rcpt_of(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Command::Rcpt { to: Some(to), .. }) => to.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[track_caller]
    fn refused(line: &str, code: u16, enhanced: &str) {
        let reply = parse(line.as_bytes()).expect_err(line);
        assert_eq!((reply.code, reply.enhanced), (code, enhanced), "{line}");
    }

    #[test]
    fn verbs_and_keywords_are_read_in_any_case() {
        assert_eq!(parse(b"ehlo Host.example"), Ok(Command::Ehlo("Host.example".into())));
        assert_eq!(parse(b"HELO [127.0.0.1]  "), Ok(Command::Helo("[127.0.0.1]".into())));
        assert_eq!(parse(b"lhlo [IPv6:::1]"), Ok(Command::Lhlo("[IPv6:::1]".into())));
        assert_eq!(parse(b"Noop anything at all"), Ok(Command::Noop));
        assert_eq!(parse(b"vrfy somebody"), Ok(Command::Vrfy));
        assert_eq!(parse(b"data \t"), Ok(Command::Data));
        assert_eq!(mail_of("mail from:<A@b.example> size=12").0.as_deref(), Some("A@b.example"));
    }

    #[test]
    fn paths_are_read_by_the_grammar() {
        for (path, address) in [
            ("<a@b>", "a@b"),
            ("<a.b+c@x-y.example>", "a.b+c@x-y.example"),
            ("<\"a b\"@c.example>", "\"a b\"@c.example"),
            ("<\"a>b\"@c.example>", "\"a>b\"@c.example"),
            ("<\"a\\\"b@\"@c.example>", "\"a\\\"b@\"@c.example"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            ("<@one.example,@two.example:a@b.example>", "a@b.example"),
            ("<bounce=x.example@under_score.example>", "bounce=x.example@under_score.example"),
        ] {
            assert_eq!(rcpt_of(&format!("RCPT TO:{path}")), address);
        }
        assert_eq!(
            parse(b"RCPT TO:<PostMaster>"),
            Ok(Command::Rcpt { to: None, parameters: RcptParameters::default() })
        );
        assert_eq!(mail_of("MAIL FROM:<>").0, None);
    }

    #[test]
    fn what_isnt_a_path_is_refused() {
        for line in [
            "MAIL",
            "MAIL FROM",
            "MAIL FROM: <a@b>",
            "MAIL FROM:a@b",
            "MAIL FROM:<a@b",
            "MAIL FROM:<a@b>x",
            "MAIL TO:<a@b>",
            "RCPT FROM:<a@b>",
            "RCPT TO:<\"a@b>",
            "RCPT TO:<@x.example>",
            "RCPT TO:<@x:>",
            "MAIL FROM:<a@b> =x",
            "MAIL FROM:<a@b> SIZE=",
            "MAIL FROM:<a@b> X=a=b",
        ] {
            let enhanced = if line == "RCPT TO:<@x:>" { "5.1.3" } else { "5.5.4" };
            refused(line, 501, enhanced);
        }
        for address in [
            "a",
            "a@",
            "a b@c",
            "a@b..c",
            "a@-b",
            "a@b-",
            "a@[1.2.3]",
            "a@[x:y]",
            "a@[",
            "a@b@c",
            "a..b@c",
            "a(b@c",
            "a@b!c",
            "",
            "\"a\"b@c",
        ] {
            refused(&format!("RCPT TO:<{address}>"), 501, "5.1.3");
        }
        refused("MAIL FROM:<a b@c>", 501, "5.1.7");
    }

    #[test]
    fn parameters_are_read_once_each_and_unknown_ones_refused() {
        let all = mail_of("MAIL FROM:<a@b> SIZE=1000  body=8bitmime SMTPUTF8").1;
        let expected = MailParameters {
            size_bytes: Some(1000),
            body_8bit: true,
            smtputf8: true,
            ..MailParameters::default()
        };
        assert_eq!(all, expected);
        let report = mail_of("MAIL FROM:<a@b> RET=full ENVID=a+2Bb+20c BODY=BINARYMIME").1;
        let expected = MailParameters {
            binary: true,
            return_full: true,
            envelope_id: Some("a+b c".into()),
            ..MailParameters::default()
        };
        assert_eq!(report, expected);
        assert_eq!(mail_of("MAIL FROM:<> BODY=7BIT").1, MailParameters::default());
        assert_eq!(mail_of("MAIL FROM:<> SIZE=99999999999999999999").1.size_bytes, Some(u64::MAX));
        for line in [
            "SIZE=x",
            "SIZE",
            "SIZE=123456789012345678901",
            "BODY=9BIT",
            "RET",
            "RET=BODY",
            "RET=FULL RET=HDRS",
            "ENVID",
            "ENVID=a+2",
            "ENVID=a+2b",
            "ENVID=a+0D+0A",
            "BODY",
            "SMTPUTF8=1",
            "SIZE=1 SIZE=1",
        ] {
            refused(&format!("MAIL FROM:<a@b> {line}"), 501, "5.5.4");
        }
        refused(&format!("MAIL FROM:<a@b> ENVID={}", "x".repeat(101)), 501, "5.5.4");
        for who in ["<>", "e+3Dmc2@example.com"] {
            assert!(parse(format!("MAIL FROM:<a@b> AUTH={who}").as_bytes()).is_ok(), "{who}");
        }
        for wrong in ["AUTH".to_owned(), "AUTH=+2".to_owned(), format!("AUTH={}", "x".repeat(501))] {
            refused(&format!("MAIL FROM:<a@b> {wrong}"), 501, "5.5.4");
        }
        refused("MAIL FROM:<a@b> MT-PRIORITY=3", 555, "5.5.4");
        refused("RCPT TO:<a@b> SIZE=1", 555, "5.5.4");
    }

    #[test]
    fn what_is_to_be_reported_of_a_recipient_is_read_by_the_grammar() {
        let of = |line: &str| match parse(format!("RCPT TO:<a@b> {line}").as_bytes()) {
            Ok(Command::Rcpt { parameters, .. }) => {
                (parameters.notify_success, !parameters.notify_no_failure, parameters.original)
            }
            other => panic!("{line}: {other:?}"),
        };
        for (line, success, failure, original) in [
            ("", false, true, None),
            ("NOTIFY=NEVER", false, false, None),
            ("NOTIFY=failure,DELAY", false, true, None),
            ("notify=SUCCESS", true, false, None),
            ("NOTIFY=FAILURE,Success ORCPT=rfc822;Bob+2Bx@y", true, true, Some("rfc822;Bob+x@y")),
            ("ORCPT=utf-8;j", false, true, Some("utf-8;j")),
        ] {
            assert_eq!(of(line), (success, failure, original.map(str::to_owned)), "{line}");
        }
        for line in [
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=NEVER,SUCCESS",
            "NOTIFY=MAYBE",
            "NOTIFY=SUCCESS,",
            "NOTIFY=DELAY NOTIFY=DELAY",
            "ORCPT",
            "ORCPT=rfc822",
            "ORCPT=;a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+0Ab",
            "ORCPT=rf/c;a@b",
        ] {
            refused(&format!("RCPT TO:<a@b> {line}"), 501, "5.5.4");
        }
        refused(&format!("RCPT TO:<a@b> ORCPT=rfc822;{}", "x".repeat(500)), 501, "5.5.4");
    }

    #[test]
    fn chunks_logins_and_forwarded_clients_are_read_by_their_grammar() {
        let bdat = |size_bytes, last| Ok(Command::Bdat { size_bytes, last });
        assert_eq!(parse(b"BDAT 5"), bdat(5, false));
        assert_eq!(parse(b"bdat 0 last"), bdat(0, true));
        assert_eq!(parse(b"BDAT 9999999999999999999 LAST"), bdat(9_999_999_999_999_999_999, true));
        for line in [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT 5 FIRST",
            "BDAT 5 LAST x",
            "BDAT 10000000000000000000",
            "BDAT LAST",
        ] {
            refused(line, 501, "5.5.4");
        }
        let auth = |mechanism: &str, initial: Option<&str>| {
            Ok(Command::Auth { mechanism: mechanism.into(), initial: initial.map(str::to_owned) })
        };
        assert_eq!(parse(b"AUTH plain AGE="), auth("PLAIN", Some("AGE=")));
        assert_eq!(parse(b"AUTH LOGIN"), auth("LOGIN", None));
        for line in ["AUTH", "AUTH PLAIN a b", "AUTH =", "STARTTLS now"] {
            refused(line, 501, "5.5.4");
        }
        assert_eq!(parse(b"STARTTLS"), Ok(Command::StartTls));
        let told = vec![
            ("ADDR".to_owned(), Some("192.0.2.1".to_owned())),
            ("NAME".to_owned(), None),
            ("HELO".to_owned(), Some("a b".to_owned())),
        ];
        let line = b"XCLIENT addr=192.0.2.1 NAME=[UNAVAILABLE] HELO=a+20b";
        assert_eq!(parse(line), Ok(Command::Xclient(told)));
        for line in ["XCLIENT", "XCLIENT ADDR", "XCLIENT WHAT=1", "XCLIENT NAME=a+zz"] {
            refused(line, 501, "5.5.4");
        }
    }

    #[test]
    fn addresses_in_utf_8_need_smtputf8() {
        refused("MAIL FROM:<jürgen@müller.example>", 553, "5.6.7");
        assert!(mail_of("MAIL FROM:<jürgen@müller.example> SMTPUTF8").1.smtputf8);
        assert_eq!(rcpt_of("RCPT TO:<jürgen@müller.example>"), "jürgen@müller.example");
    }

    #[test]
    fn arguments_where_none_belong_and_missing_ones_are_refused() {
        for line in
            ["EHLO", "HELO ", "LHLO a b", "EHLO ü", "EHLO a(b)", "DATA now", "RSET x", "QUIT 1", "VRFY"]
        {
            refused(line, 501, "5.5.4");
        }
        refused(&format!("EHLO {}", "x".repeat(256)), 501, "5.5.4");
    }

    #[test]
    fn unknown_commands_and_ones_not_offered_are_told_apart() {
        for line in ["", " ", "FOO", "EHLOx", "MAILFROM:<a@b>", "From: somebody", "."] {
            refused(line, 500, "5.5.1");
        }
        for line in ["TURN", "EXPN list"] {
            refused(line, 502, "5.5.1");
        }
    }

    #[test]
    fn a_line_with_a_bare_line_break_is_no_command() {
        for line in [&b"NOOP\nMAIL FROM:<a@b>"[..], b"NOOP\rQUIT", b"NOOP\0", b"NOOP \xff"] {
            let reply = parse(line).expect_err("refused");
            assert_eq!((reply.code, reply.enhanced), (500, "5.5.2"));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line: Vec<u8>) {
            let _ = parse(&line);
        }

        #[test]
        fn no_path_makes_the_parser_panic(path in "[<>@\"\\\\:, \\[\\]a.ü=]{0,20}") {
            let _ = parse(format!("MAIL FROM:{path}").as_bytes());
            let _ = parse(format!("RCPT TO:<{path}>").as_bytes());
        }
    }
}
