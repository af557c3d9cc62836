//! Reports on mail of ours: delivery status notifications (RFC 3464), what odd systems write in
//! their place ([`super::bounce`]), and disposition notifications (RFC 8098).
//!
//! One that came to the keyed return path of a submission is about that submission, and is
//! believed: it says what became of each recipient in `deliveryStatus` (RFC 8621 §7). One that came
//! anywhere else is tied to a submission by the Message-ID that it returns, which anybody may know:
//! it is kept with it (`dsnBlobIds`) and changes nothing, unless the return paths aren't ours. A
//! disposition notification never comes to the return path (RFC 8098 §2.1), and says no more than
//! that somebody saw the message. A recipient's `yes` or `no` is final.

use super::bounce::Notice;
use super::{body, headers, outbound, parse, thread};
use crate::store::rows::message::MessageRow;
use crate::store::rows::submission::{
    Delivered, Recipient, RelayState, ReportsRow, SubmissionRow, UndoStatus,
};
use crate::store::{Change, Read, Row, StoreResult, Txn, keys, rows};
use crate::types::*;

/// What a report says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The Message-ID of the message that it is about, without angle brackets, where it is told.
    pub message_id: Option<String>,
    /// A disposition notification; else one of delivery.
    pub is_disposition: bool,
    pub recipients: Vec<Reported>,
}

/// What a report says of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reported {
    /// The address as it was given to the relay and as it was in the end, where they are told and are mail
    /// addresses. Empty where a delivery report names somebody in another form, such as X.400's.
    pub addresses: Vec<Address>,
    pub word: Word,
    /// In the form of RFC 8621 §7, `smtpReply`.
    pub reply: String,
}

/// What happened (RFC 3464 §2.3.3 Action; RFC 8098 §3.2.6.2 Disposition-Type).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Delivered,
    Failed,
    Displayed,
    /// Delayed, relayed, expanded, deleted …: nothing follows.
    Other,
}

/// The report that a message is, if it is one.
pub fn read(message: &MessageRow, content: &[u8]) -> Option<Report> {
    let top = message.parts.first().filter(|part| part.media_type == "multipart/report")?;
    let parts = || top.children.iter().filter_map(|child| message.parts.get(*child as usize));
    let of = |kinds: [&str; 2]| parts().find(|part| kinds.contains(&part.media_type.as_str()));
    let delivery = of(["message/delivery-status", "message/global-delivery-status"]);
    let disposition = of(["message/disposition-notification", "message/global-disposition-notification"]);
    let part = delivery.or(disposition)?;
    let groups = groups(&String::from_utf8_lossy(&body::decode(part, content)));
    let returned = parts().rfind(|part| {
        part.media_type.starts_with("message/rfc822")
            || part.media_type.starts_with("message/global")
                && part.media_type != "message/global-delivery-status"
            || part.media_type == "text/rfc822-headers"
    });
    let returned = returned.and_then(|part| {
        let inner = parse::parse(&body::decode(part, content));
        headers::message_ids(&inner, "message-id").into_iter().next()
    });
    let named = groups.first().and_then(|group| value(group, "original-message-id"));
    let message_id = named.map(|id| id.trim_matches(['<', '>', ' ']).to_owned()).or(returned);
    let is_disposition = delivery.is_none();
    let told = if is_disposition { &groups[..] } else { groups.get(1..).unwrap_or_default() };
    let recipients = told.iter().filter_map(|group| reported(group, is_disposition)).collect();
    Some(Report { message_id, is_disposition, recipients })
}

/// Writes down what a report, which came as this Email and to no return path of ours, says of
/// submissions of the account. `believed` lets it say what became of recipients.
pub fn apply(
    txn: &mut Txn<'_>,
    account: AccountId,
    report: &Report,
    came_as: EmailId,
    believed: bool,
) -> StoreResult<()> {
    let Some(message_id) = &report.message_id else { return Ok(()) };
    for email in thread::emails_with_message_id(txn, account, message_id)? {
        let range = keys::all_of(account, keys::Kind::SubmissionOfEmail, email.0);
        for id in (txn as &dyn Read).ids(&range, false, limits::REPORTED_SUBMISSIONS_MAX)? {
            let id = SubmissionId(id);
            let row: Option<SubmissionRow> = (txn as &dyn Read).row(account, id)?;
            if let Some(mut row) = row.filter(|row| row.undo_status == UndoStatus::Final) {
                let told = Told { recipients: &report.recipients, only: None };
                let concerned = told.fill(&mut row, believed);
                if concerned && list(txn, account, id, report, told, &row, came_as)? {
                    txn.update(account, id, &row)?;
                }
            }
        }
    }
    Ok(())
}

/// Writes down what came back to the keyed return path of a submission, as this Email. True where
/// it says that somebody never gets the message.
pub fn apply_returned(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    report: Option<&Report>,
    notice: Option<&Notice>,
    came_as: EmailId,
) -> StoreResult<bool> {
    let found = outbound::load(txn, account, id)?;
    let of: Vec<&Address> =
        found.iter().flat_map(|(row, _)| row.recipients.iter().map(|one| &one.address)).collect();
    let report = match (report, notice) {
        (Some(report), _) => report.clone(),
        (None, Some(notice)) => {
            Report { message_id: None, is_disposition: false, recipients: notice.of(&of) }
        }
        (None, None) => return Ok(false),
    };
    if report.is_disposition {
        return Ok(false);
    }
    // Whoever it names: the address that was tried in the end may be none that we know.
    let failed = report.recipients.iter().any(|told| told.word == Word::Failed);
    if let Some((mut row, shown)) = found {
        let only = (row.recipients.len() == 1).then(|| report.recipients.first()).flatten();
        let told = Told { recipients: &report.recipients, only };
        told.fill(&mut row, true);
        if !shown || list(txn, account, id, &report, told, &row, came_as)? {
            outbound::store(txn, account, id, &row, shown)?;
        }
    }
    Ok(failed || (report.recipients.is_empty() && notice.is_some_and(Notice::is_lost)))
}

/// Keeps a notification of our own with the submission that it is about.
pub fn keep_own(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId, email: EmailId) -> StoreResult<()> {
    let key = SubmissionRow::key(account, id);
    if !(txn as &dyn Read).has(&key)? {
        return Ok(());
    }
    let mut reports = of_submission(txn, account, id)?;
    if reports.dsns.len() < limits::REPORTS_PER_SUBMISSION_MAX {
        reports.dsns.push(email);
        txn.put_at(keys::row(account, keys::Kind::SubmissionReports, id.0), &reports)?;
        txn.log(account, DataType::EmailSubmission, id.0, Change::Updated)?;
    }
    Ok(())
}

/// The reports on a submission so far.
pub fn of_submission(read: &dyn Read, account: AccountId, id: SubmissionId) -> StoreResult<ReportsRow> {
    match read.bytes(&keys::row(account, keys::Kind::SubmissionReports, id.0))? {
        Some(bytes) => rows::decode(&bytes),
        None => Ok(ReportsRow::default()),
    }
}

/// What a report says, on its way into a submission.
#[derive(Clone, Copy)]
struct Told<'r> {
    recipients: &'r [Reported],
    /// What is said of the only recipient that there is, under whatever address.
    only: Option<&'r Reported>,
}

impl<'r> Told<'r> {
    fn about(&self, recipient: &Recipient) -> Option<&'r Reported> {
        let key = recipient.address.key();
        let named = self.recipients.iter().find(|told| told.addresses.iter().any(|one| one.key() == key));
        named.or(self.only)
    }

    /// Writes what is believed into the row; false where it concerns nobody there.
    fn fill(&self, row: &mut SubmissionRow, believed: bool) -> bool {
        // A bounce may overtake our own note that the relay took the message.
        let handing = believed && matches!(row.relay, RelayState::Handing { .. });
        let mut concerned = false;
        for recipient in row.recipients.iter_mut().filter(|recipient| recipient.settled || handing) {
            let Some(told) = self.about(recipient) else { continue };
            concerned = true;
            let delivered = match told.word {
                Word::Delivered => Delivered::Yes,
                Word::Failed => Delivered::No,
                Word::Displayed | Word::Other => continue,
            };
            if believed && matches!(recipient.delivered, Delivered::Unknown | Delivered::Queued) {
                recipient.delivered = delivered;
                recipient.smtp_reply = Some(told.reply.clone());
            }
        }
        concerned
    }
}

/// Keeps a report with the submission; false where there are too many.
fn list(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    report: &Report,
    told: Told<'_>,
    row: &SubmissionRow,
    came_as: EmailId,
) -> StoreResult<bool> {
    let mut reports = of_submission(txn, account, id)?;
    for recipient in &row.recipients {
        let key = recipient.address.key();
        let displayed = told.about(recipient).is_some_and(|told| told.word == Word::Displayed);
        if displayed && recipient.settled && !reports.displayed.contains(&key) {
            reports.displayed.push(key);
        }
    }
    let list = if report.is_disposition { &mut reports.mdns } else { &mut reports.dsns };
    if list.len() >= limits::REPORTS_PER_SUBMISSION_MAX {
        return Ok(false);
    }
    list.push(came_as);
    txn.put_at(keys::row(account, keys::Kind::SubmissionReports, id.0), &reports)?;
    Ok(true)
}

fn reported(group: &[(String, String)], is_disposition: bool) -> Option<Reported> {
    let named = ["original-recipient", "final-recipient"].into_iter();
    let addresses: Vec<Address> = named.filter_map(|name| address(value(group, name)?)).collect();
    // An action says something even of somebody whom it doesn't name: there may be one alone who is meant.
    if is_disposition && addresses.is_empty() {
        return None;
    }
    let word = if is_disposition {
        let kind = value(group, "disposition")?.rsplit(';').next()?.split('/').next()?;
        if kind.trim().eq_ignore_ascii_case("displayed") { Word::Displayed } else { Word::Other }
    } else {
        match value(group, "action")?.trim().to_ascii_lowercase().as_str() {
            "delivered" => Word::Delivered,
            "failed" => Word::Failed,
            _ => Word::Other,
        }
    };
    Some(Reported { addresses, word, reply: reply(group, word) })
}

/// The mail address in a value `type; address` (RFC 3464 §2.3.1).
fn address(value: &str) -> Option<Address> {
    let (kind, text) = value.split_once(';')?;
    let text = text.trim().trim_matches(['<', '>']);
    match kind.trim().eq_ignore_ascii_case("utf-8") {
        true => Address::parse(&embedded_decoded(text)),
        false => Address::parse(text),
    }
}

/// An address of the type `utf-8` with its characters for `\x{…}` (RFC 6533 §3, `EmbeddedUnicodeChar`). What
/// is no such form stays as it is.
fn embedded_decoded(text: &str) -> String {
    let mut pieces = text.split("\\x{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let found = piece.split_once('}').and_then(|(digits, rest)| {
            let fits =
                (2..=6).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
            let code = fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
            Some((char::from_u32(code)?, rest))
        });
        match found {
            Some((c, rest)) => {
                out.push(c);
                out.push_str(rest);
            }
            None => {
                out.push_str("\\x{");
                out.push_str(piece);
            }
        }
    }
    out
}

/// The reply that the report cites, else one made of its status.
fn reply(group: &[(String, String)], word: Word) -> String {
    let cited = value(group, "diagnostic-code").and_then(|code| {
        let (kind, text) = code.split_once(';')?;
        let text = text.trim();
        let is_reply = text.len() > 4 && text.bytes().take(3).all(|octet| octet.is_ascii_digit());
        let shown = || text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        (kind.trim().eq_ignore_ascii_case("smtp") && is_reply).then(shown)
    });
    let status = value(group, "status").and_then(|status| status.split_whitespace().next());
    let mut reply = cited.unwrap_or_else(|| match word {
        Word::Failed => format!("550 {} was reported as failed", status.unwrap_or("5.0.0")),
        _ => format!("250 {} was reported as delivered", status.unwrap_or("2.0.0")),
    });
    while reply.len() > limits::SMTP_REPLY_TEXT_BYTES_MAX {
        reply.pop();
    }
    reply
}

fn value<'g>(group: &'g [(String, String)], name: &str) -> Option<&'g str> {
    group.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The groups of fields that empty lines part, names in lower case, values unfolded.
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().take(limits::HEADER_FIELDS_MAX) {
        let last = groups.len() - 1;
        let Some(group) = groups.get_mut(last) else { break };
        if line.trim().is_empty() {
            if !group.is_empty() {
                groups.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &str, fields: &str, returned: &str) -> Option<Report> {
        let text = format!(
            "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nSorry.\r\n--b\r\n\
             Content-Type: message/{kind}\r\n\r\n{fields}\r\n--b\r\n{returned}\r\n--b--\r\n"
        );
        read(&parse::parse(text.as_bytes()), text.as_bytes())
    }

    #[test]
    fn a_delivery_report_names_each_recipient_and_the_message() {
        let returned = "Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <m@x>\r\nSubject: s\r\n";
        let fields = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; <A@y>\r\nAction: Failed\r\n\
                      Status: 5.1.1 (no)\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n such user\r\n\r\n\
                      Original-Recipient: rfc822;b@y\r\nFinal-Recipient: rfc822; b@z\r\nAction: delivered\r\n\
                      Status: 2.0.0\r\n\r\nFinal-Recipient: rfc822; c@y\r\nAction: delayed\r\nStatus: 4.0.0\r\n\
                      \r\nFinal-Recipient: x400; nonsense\r\nAction: failed\r\n";
        let report = report("delivery-status", fields, returned).unwrap();
        assert_eq!((report.message_id.as_deref(), report.is_disposition), (Some("m@x"), false));
        let told: Vec<(String, Word, &str)> = report
            .recipients
            .iter()
            .map(|one| {
                let named = one.addresses.first().map(Address::to_string).unwrap_or_default();
                (named, one.word, one.reply.as_str())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("A@y".to_owned(), Word::Failed, "550 5.1.1 no such user"),
                ("b@y".to_owned(), Word::Delivered, "250 2.0.0 was reported as delivered"),
                ("c@y".to_owned(), Word::Other, "250 4.0.0 was reported as delivered"),
                (String::new(), Word::Failed, "550 5.0.0 was reported as failed"),
            ]
        );
    }

    #[test]
    fn a_failure_of_somebody_who_is_not_named_by_a_mail_address_is_that_of_the_only_recipient() {
        for named in ["x-unix; bob", "x400; /G=Bob/S=Baker/", "rfc822; undisclosed", "no type"] {
            let fields = format!(
                "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: {named}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
            );
            let report = report("delivery-status", &fields, "\r\n").unwrap();
            let failed = Reported {
                addresses: Vec::new(),
                word: Word::Failed,
                reply: "550 5.1.1 was reported as failed".to_owned(),
            };
            assert_eq!(report.recipients, [failed], "{named}");
            let of = |text: &str| Recipient {
                address: Address::parse(text).unwrap(),
                parameters: Vec::new(),
                smtp_reply: None,
                delivered: Delivered::Queued,
                settled: true,
            };
            let only = Told { recipients: &report.recipients, only: report.recipients.first() };
            assert_eq!(only.about(&of("bob@y")).map(|told| told.word), Some(Word::Failed), "{named}");
            let one_of_several = Told { only: None, ..only };
            assert_eq!(one_of_several.about(&of("bob@y")), None, "{named}");
        }
        let nothing = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: x-unix; bob\r\nStatus: 5.1.1\r\n";
        assert_eq!(report("delivery-status", nothing, "\r\n").unwrap().recipients, []);
        let seen =
            "Final-Recipient: x-unix; bob\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n";
        assert_eq!(report("disposition-notification", seen, "\r\n").unwrap().recipients, []);
    }

    #[test]
    fn an_address_in_utf_8_is_read_in_either_of_its_forms() {
        for (given, read) in [
            ("utf-8; jürgen@y", Some("jürgen@y")),
            ("UTF-8; j\\x{FC}rgen@m\\x{0fc}ller.example", Some("jürgen@müller.example")),
            ("utf-8;<a\\x{2B}b@y>", Some("a+b@y")),
            ("utf-8; \\x{1F600}@y", Some("😀@y")),
            ("rfc822; j\\x{FC}rgen@y", None),
            ("utf-8; j\\x{FCrgen@y", None),
            ("utf-8; j\\x{D800}rgen@y", None),
            ("utf-8; j\\x{0D}\\x{0A}@y", None),
            ("utf-8; j\\x{+FC}@y", None),
        ] {
            assert_eq!(address(given).as_ref().map(Address::as_str), read, "{given}");
        }
    }

    #[test]
    fn a_disposition_notification_says_that_it_was_displayed() {
        let fields = "Final-Recipient: rfc822; a@y\r\nOriginal-Message-ID: <m@x>\r\n\
                      Disposition: manual-action/MDN-sent-manually; displayed\r\n";
        let seen = report("disposition-notification", fields, "\r\n").unwrap();
        assert_eq!((seen.message_id.as_deref(), seen.is_disposition), (Some("m@x"), true));
        assert_eq!(seen.recipients[0].word, Word::Displayed);
        let deleted = fields.replace("displayed", "deleted");
        assert_eq!(
            report("disposition-notification", &deleted, "\r\n").unwrap().recipients[0].word,
            Word::Other
        );
        let empty = Report { message_id: None, is_disposition: false, recipients: Vec::new() };
        assert_eq!(report("delivery-status", "Reporting-MTA: dns; mx\r\n", "\r\n"), Some(empty));
        assert_eq!(report("feedback-report", fields, "\r\n"), None);
    }
}
