//! Whether a message is automatic: sent by a program, not by a person who awaits an answer
//! (RFC 3834 §2, §5). Automatic mail gets no automatic answer and reopens nothing.

use super::params::Structured;
use super::words;
use crate::store::rows::message::MessageRow;

/// Why a message is taken as automatic; the first that applies, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutomaticReason {
    /// A delivery status notification (RFC 3464).
    DeliveryReport,
    /// A message disposition notification (RFC 8098).
    DispositionNotification,
    /// MAIL FROM:<>.
    NullReturnPath,
    /// Auto-Submitted other than `no` (RFC 3834 §5).
    AutoSubmitted,
    /// Precedence: bulk, list or junk.
    Precedence,
    /// List-Id or List-Unsubscribe (RFC 2919, RFC 2369).
    MailingList,
}

/// Why the message is automatic, if it is. `mail_from_is_null` says that its envelope sender was
/// `<>`, which may have left no trace in the message.
pub fn is_automatic(row: &MessageRow, mail_from_is_null: bool) -> Option<AutomaticReason> {
    let null_path = || {
        row.field("Return-Path").is_some_and(|f| words::unfold(&f.value.0).trim().replace(' ', "") == "<>")
    };
    let first_word = |name: &str| {
        row.field(name).map(|field| {
            // Parameters and comments may follow (RFC 3834 §5.1).
            Structured::parse(&field.value.0).value.to_ascii_lowercase()
        })
    };
    if let Some(report) = report(row) {
        return Some(report);
    }
    if mail_from_is_null || null_path() {
        return Some(AutomaticReason::NullReturnPath);
    }
    if first_word("Auto-Submitted").is_some_and(|value| value != "no") {
        return Some(AutomaticReason::AutoSubmitted);
    }
    if first_word("Precedence").is_some_and(|value| matches!(value.as_str(), "bulk" | "list" | "junk")) {
        return Some(AutomaticReason::Precedence);
    }
    (row.field("List-Id").is_some() || row.field("List-Unsubscribe").is_some())
        .then_some(AutomaticReason::MailingList)
}

/// RFC 6522 §3: multipart/report, its kind from the parameter or from the part that says it.
fn report(row: &MessageRow) -> Option<AutomaticReason> {
    let top = row.parts.first().filter(|part| part.media_type == "multipart/report")?;
    let given = Structured::parse(&top.field("Content-Type")?.value.0);
    let kind = given.plain("report-type").unwrap_or_default().to_ascii_lowercase();
    let has = |media_type: &str| {
        top.children
            .iter()
            .filter_map(|child| row.parts.get(*child as usize))
            .any(|part| part.media_type == media_type)
    };
    if kind == "delivery-status" || has("message/delivery-status") || has("message/global-delivery-status") {
        return Some(AutomaticReason::DeliveryReport);
    }
    let disposition =
        has("message/disposition-notification") || has("message/global-disposition-notification");
    (kind == "disposition-notification" || disposition).then_some(AutomaticReason::DispositionNotification)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    #[test]
    fn automatic_mail_is_told_from_a_persons() {
        use AutomaticReason::*;
        let report = "Content-Type: multipart/report; boundary=b; report-type=";
        let body = "\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
        let cases = [
            ("Subject: hello".to_owned(), None),
            ("Auto-Submitted: no (really)".to_owned(), None),
            ("Auto-Submitted: auto-replied; owner-email=\"a@b\"".to_owned(), Some(AutoSubmitted)),
            ("Auto-Submitted: Auto-Generated".to_owned(), Some(AutoSubmitted)),
            ("Precedence: Bulk".to_owned(), Some(Precedence)),
            ("Precedence: first-class".to_owned(), None),
            ("List-Id: <x.y>".to_owned(), Some(MailingList)),
            ("List-Unsubscribe: <mailto:a@b>".to_owned(), Some(MailingList)),
            ("Return-Path: <>".to_owned(), Some(NullReturnPath)),
            ("Return-Path: <a@b>".to_owned(), None),
            (format!("{report}delivery-status{body}"), Some(DeliveryReport)),
            (format!("{report}\"disposition-notification\"{body}"), Some(DispositionNotification)),
            (format!("{report}feedback-report{body}"), None),
        ];
        for (text, expected) in cases {
            let row = parse(format!("{text}\r\n\r\n").as_bytes());
            assert_eq!(is_automatic(&row, false), expected, "{text}");
        }
        assert_eq!(is_automatic(&parse(b"Subject: x\r\n\r\n"), true), Some(NullReturnPath));
    }
}
