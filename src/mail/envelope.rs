//! The envelope of a message that came in over SMTP or LMTP (RFC 5321 §2.3.1): what delivery and
//! the `Received` field need to know beside the content. Plain values; who may receive what is
//! decided elsewhere.

use crate::types::Address;
use std::fmt;
use std::net::IpAddr;

/// Who sent a message to whom, and how it reached us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The name that the client gave in EHLO, HELO or LHLO; printable ASCII without white space.
    pub helo: String,
    /// The client's address; `None` over a unix socket.
    pub peer: Option<IpAddr>,
    /// How it was transmitted.
    pub protocol: Protocol,
    /// The reverse-path; `None` is the null path `<>` of bounces.
    pub mail_from: Option<Address>,
    /// The accepted recipients, in the order of their RCPT commands. One that was given twice is
    /// here twice.
    pub recipients: Vec<Address>,
    /// The client gave SMTPUTF8 (RFC 6531 §3.4): addresses and header may be UTF-8.
    pub smtputf8: bool,
    /// The client gave BODY=8BITMIME (RFC 6152 §2).
    pub body_8bit: bool,
    /// The client gave BODY=BINARYMIME (RFC 3030 §3): lines may be of any length, octets any.
    pub binary: bool,
    /// It came from a gateway of ours, whose word on a message is believed.
    pub from_gateway: bool,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// Whom the client logged in as.
    pub login: Option<String>,
    /// Reports of the message return all of it, not its header only (RFC 3461 §4.3).
    pub return_full: bool,
    /// The sender's own name for this transaction, decoded (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// What is to be reported for each recipient, in their order.
    pub reports: Vec<ReportWish>,
}

/// What a client wants to hear of a recipient (RFC 3461 §4.1, §4.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportWish {
    /// NOTIFY has SUCCESS.
    pub success: bool,
    /// NOTIFY is there, and has no FAILURE.
    pub no_failure: bool,
    /// ORCPT, decoded: `rfc822;somebody@example.com`.
    pub original: Option<String>,
}

/// Why a recipient never gets a message, as the client is told (RFC 5321 §4.2, RFC 3463).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotTaken {
    /// 550 or 554.
    pub code: u16,
    pub enhanced: &'static str,
    pub why: String,
}

impl From<&str> for NotTaken {
    /// What has no code of its own: the mail system doesn't take it.
    fn from(why: &str) -> Self {
        Self { code: 554, enhanced: "5.3.0", why: why.to_owned() }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.why)
    }
}

impl Envelope {
    /// An envelope without recipients.
    pub fn new(helo: String, protocol: Protocol, mail_from: Option<Address>) -> Self {
        Self {
            helo,
            peer: None,
            protocol,
            mail_from,
            recipients: Vec::new(),
            smtputf8: false,
            body_8bit: false,
            binary: false,
            from_gateway: false,
            encrypted: false,
            login: None,
            return_full: false,
            envelope_id: None,
            reports: Vec::new(),
        }
    }

    /// How it was transmitted, as `with` of a `Received` field names it (RFC 3848).
    pub fn with(&self) -> String {
        let secure = if self.encrypted { "S" } else { "" };
        let login = if self.login.is_some() { "A" } else { "" };
        match self.protocol {
            Protocol::Smtp => Protocol::Smtp.name().to_owned(),
            protocol => format!("{protocol}{secure}{login}"),
        }
    }
}

/// The transmission type, as the `with` of a `Received` field names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Smtp,
    Esmtp,
    Utf8Smtp,
    Lmtp,
    Utf8Lmtp,
}

impl Protocol {
    /// It has a reply for each recipient (RFC 2033 §4.2), where SMTP has one for all.
    pub fn answers_each(self) -> bool {
        matches!(self, Protocol::Lmtp | Protocol::Utf8Lmtp)
    }

    /// The registered name (RFC 3848; RFC 6531 §4.3).
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Smtp => "SMTP",
            Protocol::Esmtp => "ESMTP",
            Protocol::Utf8Smtp => "UTF8SMTP",
            Protocol::Lmtp => "LMTP",
            Protocol::Utf8Lmtp => "UTF8LMTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
