//! The envelope of a submission (RFC 8621 §7): as given or as the message says, once everything
//! about it is allowed. Of the parameters that SMTP knows (RFC 5321 §4.1.1.11) those of extensions
//! that the session advertises may be given, and those that the server sets by itself anyway.

use super::submission_dsn as dsn;
use crate::inbox::desk;
use crate::jmap::error::{Refusal, SetError, SetErrorKind};
use crate::jmap::object::SetCall;
use crate::mail::headers;
use crate::mail::keyed::WireKeys;
use crate::mail::memo;
use crate::mail::sender::{self, SenderFault};
use crate::store::blobs;
use crate::store::rows::mail::{EmailRow, IdentityRow, Origin, StoredMessage};
use crate::store::rows::submission::{Delivered, Recipient};
use crate::types::*;
use serde_json::{Map, Value};
use std::time::Duration;

/// Parameters of an address.
type Parameters = Vec<(String, Option<String>)>;

/// Who it goes from and to, and when.
pub struct Envelope {
    pub mail_from: Address,
    pub mail_from_parameters: Parameters,
    pub recipients: Vec<Recipient>,
    /// Not before that moment (RFC 4865).
    pub release_at: Option<Millis>,
}

/// Parameters of MAIL that are set from the message itself. A client may give them.
const AUTOMATIC: [&str; 3] = ["SIZE", "BODY", "SMTPUTF8"];
/// Those of FUTURERELEASE, which is kept here: the relay never sees them.
const HOLD_FOR: &str = "HOLDFOR";
const HOLD_UNTIL: &str = "HOLDUNTIL";

/// The checked envelope of a submission of this Email.
pub fn checked<A>(
    set: &SetCall<'_, '_, A>,
    email: EmailId,
    identity: &IdentityRow,
    given: Option<&Value>,
) -> Result<Envelope, Refusal> {
    let reader = set.reader();
    let row: Option<EmailRow> = reader.row(set.account.id, email)?;
    let row = row.ok_or_else(no_email)?;
    let stored: Option<StoredMessage> = reader.row(set.account.id, email)?;
    let stored = stored.ok_or_else(no_email)?;
    let own = (set.ctx.host.staff)(set.account.id).addresses.clone();
    match sender::check(&stored.message, &own) {
        Ok(()) => {}
        Err(SenderFault::NotOurs) => return Err(SetErrorKind::ForbiddenFrom.into()),
        Err(SenderFault::Invalid(fields)) => return Err(invalid(fields).into()),
    }
    // Where the envelope follows from the header, it says what is wrong with it.
    if given.is_some_and(Value::is_object) {
        let unreadable = sender::unreadable_recipients(&stored.message);
        if !unreadable.is_empty() {
            return Err(invalid(unreadable).into());
        }
    }
    let content = blobs::content(reader, &row.blob)?.unwrap_or_default();
    let keys = WireKeys::load(reader)?;
    if memo::is_memo(row.keywords.iter())
        || row.origin == Origin::Memo
        || memo::is_in(&keys, &stored.message, &content)
    {
        return Err(memo_inside().into());
    }
    if !sender::has_plain_lines(headers::block(&stored.message, &content)) {
        let why = "Its header has a CR that ends no line, or a NUL; nobody reads such a header alike.";
        return Err(SetError::new(SetErrorKind::InvalidEmail { properties: Vec::new() }, why).into());
    }
    let copies = match set.account.is_inbox() {
        true => desk::settings(reader, set.account.id)?.automatic_bcc.len(),
        false => 0,
    };
    let envelope = match given {
        Some(Value::Object(given)) => {
            // Of too many, none is looked at.
            let named = given.get("rcptTo").and_then(Value::as_array);
            check_count(named.map_or(0, Vec::len), copies)?;
            read(given, set.ctx.store.clock.now())?
        }
        _ => derived(&stored, identity)?,
    };
    if !sender::is_own(&own, envelope.mail_from.as_str()) {
        return Err(SetErrorKind::ForbiddenMailFrom.into());
    }
    let mut addresses = envelope.recipients.iter().map(|one| &one.address);
    if addresses.any(|address| keys.find_memo(address.as_str().as_bytes()).is_some()) {
        return Err(memo_inside().into());
    }
    if envelope.recipients.is_empty() {
        return Err(SetErrorKind::NoRecipients.into());
    }
    check_count(envelope.recipients.len(), copies)?;
    if row.size as usize > limits::UPLOAD_SIZE_BYTES_MAX {
        return Err(SetErrorKind::TooLarge { max_size: Some(limits::UPLOAD_SIZE_BYTES_MAX as u64) }.into());
    }
    Ok(envelope)
}

fn invalid(properties: Vec<&'static str>) -> SetError {
    let properties = properties.into_iter().map(str::to_owned).collect();
    let why = "These are missing, can't be read, or are there more than once (RFC 5322, section 3.6).";
    SetError::new(SetErrorKind::InvalidEmail { properties }, why)
}

fn check_count(recipients: usize, copies: usize) -> Result<(), Refusal> {
    let max = limits::SUBMISSION_RECIPIENTS_MAX - copies;
    if recipients > max {
        return Err(SetErrorKind::TooManyRecipients { max_recipients: max as u64 }.into());
    }
    Ok(())
}

/// No memo goes out, in whatever shape, from any account.
fn memo_inside() -> SetError {
    let why = "It has an internal note of an inbox in it, answers one, or is one ($memo): notes are never sent. \
               Take the note out of the message, and send it then.";
    SetError::new(SetErrorKind::ForbiddenToSend, why)
}

/// RFC 8621 §7: Sender or From, and To, Cc, Bcc, each address once.
fn derived(stored: &StoredMessage, identity: &IdentityRow) -> Result<Envelope, Refusal> {
    let (recipients, invalid) = sender::recipients(stored);
    if !invalid.is_empty() {
        return Err(SetErrorKind::InvalidRecipients { invalid_recipients: invalid }.into());
    }
    Ok(Envelope {
        mail_from: sender::mail_from(&stored.message, &identity.email),
        mail_from_parameters: Vec::new(),
        recipients: recipients.into_iter().map(|address| recipient(address, Vec::new())).collect(),
        release_at: None,
    })
}

fn read(given: &Map<String, Value>, now: Millis) -> Result<Envelope, Refusal> {
    let unknown = given.keys().any(|name| name != "mailFrom" && name != "rcptTo");
    let (Some(Value::Object(from)), Some(Value::Array(to)), false) =
        (given.get("mailFrom"), given.get("rcptTo"), unknown)
    else {
        return Err(wrong("An envelope has mailFrom and rcptTo.").into());
    };
    let (email, mail_from_parameters) = address(from)?;
    let release_at = release_at(&mail_from_parameters, now)?;
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut invalid = Vec::new();
    for one in to {
        let Value::Object(one) = one else { return Err(wrong("rcptTo has addresses.").into()) };
        let (email, parameters) = address(one)?;
        check_of_recipient(&parameters)?;
        match Address::parse(email) {
            Some(address) if recipients.iter().any(|other| other.address.key() == address.key()) => {}
            Some(address) => recipients.push(recipient(address, parameters)),
            None => invalid.push(email.to_owned()),
        }
    }
    if !invalid.is_empty() {
        return Err(SetErrorKind::InvalidRecipients { invalid_recipients: invalid }.into());
    }
    let mail_from = Address::parse(email).ok_or(SetErrorKind::ForbiddenMailFrom)?;
    Ok(Envelope { mail_from, mail_from_parameters, recipients, release_at })
}

/// An Address object: `email`, and `parameters` or null.
fn address(object: &Map<String, Value>) -> Result<(&str, Parameters), Refusal> {
    let unknown = object.keys().any(|name| name != "email" && name != "parameters");
    let (Some(Value::String(email)), false) = (object.get("email"), unknown) else {
        return Err(wrong("An address has an email, and parameters or null.").into());
    };
    Ok((email, parameters(object)?))
}

/// Keywords of RFC 5321 §4.1.2, with a value or null.
fn parameters(address: &Map<String, Value>) -> Result<Parameters, Refusal> {
    let unreadable = || wrong("The parameters of an address can't be read.");
    let Some(given) = address.get("parameters").filter(|given| !given.is_null()) else {
        return Ok(Vec::new());
    };
    let Value::Object(given) = given else { return Err(unreadable().into()) };
    let keyword = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // Those of DSN are checked by name; the others are never encoded.
    let value_fits = |name: &str, value: &str| {
        dsn::is_known(name) || value.bytes().all(|b| (33..=126).contains(&b) && b != b'=')
    };
    let mut out: Parameters = Vec::new();
    for (name, value) in given {
        if !keyword(name) || out.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(unreadable().into());
        }
        match value {
            Value::Null => out.push((name.clone(), None)),
            Value::String(value) if value_fits(name, value) => out.push((name.clone(), Some(value.clone()))),
            _ => return Err(unreadable().into()),
        }
    }
    Ok(out)
}

/// RCPT has parameters of DSN alone (RFC 3461 §4.1, §4.2).
fn check_of_recipient(parameters: &Parameters) -> Result<(), Refusal> {
    for (name, value) in parameters {
        let upper = name.to_ascii_uppercase();
        if !dsn::OF_RCPT.contains(&upper.as_str()) {
            return Err(wrong(format!("The parameter {name} isn't one that rcptTo may have here.")).into());
        }
        dsn::check(&upper, value.as_deref().unwrap_or_default()).map_err(wrong)?;
    }
    Ok(())
}

/// The time that HOLDFOR or HOLDUNTIL names (RFC 4865 §4); other parameters must be known.
fn release_at(parameters: &Parameters, now: Millis) -> Result<Option<Millis>, Refusal> {
    let mut found: Option<Millis> = None;
    for (name, value) in parameters {
        let value = value.as_deref().unwrap_or_default();
        let until = match name.to_ascii_uppercase().as_str() {
            HOLD_FOR => hold_for(value, now).ok_or_else(|| wrong("HOLDFOR has a number of seconds."))?,
            HOLD_UNTIL => {
                let date = UtcDate::parse(value).ok_or_else(|| wrong("HOLDUNTIL has a date-time in UTC."))?;
                Millis(date.0.saturating_mul(1000))
            }
            known if AUTOMATIC.contains(&known) => continue,
            known if dsn::OF_MAIL.contains(&known) => {
                dsn::check(known, value).map_err(wrong)?;
                continue;
            }
            _ => return Err(wrong(format!("The parameter {name} is of no extension offered here.")).into()),
        };
        if found.replace(until).is_some() {
            return Err(wrong("HOLDFOR and HOLDUNTIL can't be given together.").into());
        }
    }
    let latest = now.after(Duration::from_secs(limits::DELAYED_SEND_SECONDS_MAX + 1));
    if found.is_some_and(|until| until > latest) {
        let most = limits::DELAYED_SEND_SECONDS_MAX;
        return Err(wrong(format!("A message can be held for {most} seconds at most.")).into());
    }
    // What has passed already holds nothing back.
    Ok(found.filter(|until| *until > now))
}

/// 1 to 9 digits, not all of them 0; to the full second, as `sendAt` will say.
fn hold_for(value: &str, now: Millis) -> Option<Millis> {
    let fits = (1..=9).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    let seconds: u64 = value.parse().ok().filter(|seconds| fits && *seconds > 0)?;
    let until = now.after(Duration::from_secs(seconds));
    Some(Millis(until.0.saturating_add(999).div_euclid(1000).saturating_mul(1000)))
}

fn recipient(address: Address, parameters: Parameters) -> Recipient {
    Recipient { address, parameters, smtp_reply: None, delivered: Delivered::Queued, settled: false }
}

/// What a submission of an Email that isn't there gets (RFC 8621 §7.5).
pub fn no_email() -> Refusal {
    SetError::properties(["emailId"], "There is no such Email.").into()
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> SetError {
    SetError::properties(["envelope"], why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_a_number_of_seconds_or_a_date_within_the_limit() {
        let now = Millis(1_700_000_000_250);
        let hold = |name: &str, value: &str| {
            release_at(&vec![(name.to_owned(), Some(value.to_owned()))], now).map_err(|_| ())
        };
        assert_eq!(hold("holdfor", "60"), Ok(Some(Millis(1_700_000_061_000))));
        assert_eq!(hold("HOLDUNTIL", "2023-11-14T22:14:20Z"), Ok(Some(Millis(1_700_000_060_000))));
        assert_eq!(hold("HOLDUNTIL", "2023-11-14T22:13:20Z"), Ok(None));
        assert_eq!(hold("SIZE", "5"), Ok(None));
        for value in ["", "0", "000", "-1", "+1", "1.5", "1234567890", "x"] {
            assert_eq!(hold("HOLDFOR", value), Err(()), "{value}");
        }
        for value in ["", "tomorrow", "2023-11-14T22:13:20", "2099-01-01T00:00:00Z"] {
            assert_eq!(hold("HOLDUNTIL", value), Err(()), "{value}");
        }
        assert_eq!(hold("NOTIFY", "NEVER"), Err(()));
        let both = vec![
            ("HOLDFOR".to_owned(), Some("5".to_owned())),
            ("HOLDUNTIL".to_owned(), Some("2023-11-14T22:14:20Z".to_owned())),
        ];
        assert!(release_at(&both, now).is_err());
    }
}
