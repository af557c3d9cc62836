//! What became of a message at a relay, and how the outbound queue takes it down.

use super::RelayEnvelope;
use crate::mail::outbound;
use crate::smtp::reply::RelayReply;
use crate::types::Address;

/// What became of the message, for one recipient or on the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The relay has taken it over.
    Accepted,
    /// It never will.
    Refused,
    /// It didn't, and may later.
    TryLater,
    /// The message was sent to its end and no reply came: it may have been taken or not. Sending
    /// it again may send it twice.
    Unknown,
}

/// What became of the message for one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecipientOutcome {
    pub address: Address,
    pub verdict: Verdict,
    pub reply: RelayReply,
}

/// What became of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `Accepted` where the relay took it for at least one recipient.
    pub verdict: Verdict,
    /// The reply that decided it.
    pub reply: RelayReply,
    /// One for each recipient, in the order of the envelope.
    pub recipients: Vec<RecipientOutcome>,
    /// It is the relay's fault, or that of the way to it, and not the message's.
    pub relay_failed: bool,
    /// The relay offers DSN: what the sender wants to hear of goes on with the message (RFC 3461).
    pub dsn: bool,
}

impl Outcome {
    /// The outcome where no relay could be asked at all.
    pub fn unasked(envelope: &RelayEnvelope, why: &str) -> Self {
        let reply = ours(451, "4.4.1", why);
        let recipients = envelope.rcpts.iter().map(|rcpt| RecipientOutcome {
            address: rcpt.address.clone(),
            verdict: Verdict::TryLater,
            reply: reply.clone(),
        });
        Self {
            recipients: recipients.collect(),
            verdict: Verdict::TryLater,
            reply: reply.clone(),
            relay_failed: false,
            dsn: false,
        }
    }

    /// The outcome as the queue takes it down.
    pub fn handover(&self) -> outbound::Handover {
        let replies = self.recipients.iter().map(|one| outbound::RelayReply {
            verdict: match one.verdict {
                Verdict::Accepted => outbound::Verdict::Accepted,
                Verdict::Refused => outbound::Verdict::Refused,
                Verdict::TryLater => outbound::Verdict::TryLater,
                Verdict::Unknown => outbound::Verdict::Unknown,
            },
            text: one.reply.smtp_reply(),
        });
        outbound::Handover { replies: replies.collect(), dsn: self.dsn }
    }
}

/// 5yz is for good, whatever else isn't 2yz is worth another try.
pub(super) fn verdict_of(code: u16) -> Verdict {
    match code {
        200..300 => Verdict::Accepted,
        500..600 => Verdict::Refused,
        _ => Verdict::TryLater,
    }
}

/// What we say where the relay said nothing.
pub(super) fn ours(code: u16, enhanced: &str, text: &str) -> RelayReply {
    RelayReply { code, enhanced: Some(enhanced.to_owned()), text: format!("Postroom: {text}") }
}
