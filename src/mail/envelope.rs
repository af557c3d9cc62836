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
