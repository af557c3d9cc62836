//! What a session says of messages: why one isn't taken, and what became of those that were.

use super::{DeliveryAnswer, Reply};

pub(super) fn too_large() -> Reply {
    Reply::new(552, "5.3.4", "The message is larger than SIZE in the reply to EHLO says")
}

pub(super) fn no_space() -> Reply {
    Reply::new(452, "4.3.1", "There is no room for the message now")
}

/// RFC 3463 §3.3: it may be emptied, so that the sender is to try again.
pub(super) fn over_quota() -> Reply {
    Reply::new(452, "4.2.2", "The mailbox is full")
}

pub(super) fn delivery_reply(answer: &DeliveryAnswer) -> Reply {
    match answer {
        DeliveryAnswer::Accepted { id } => Reply::new(250, "2.0.0", format!("Kept as {id}")),
        DeliveryAnswer::TryLater(reason) => Reply::new(451, "4.3.0", reason.as_str()),
        DeliveryAnswer::OverQuota => over_quota(),
        DeliveryAnswer::NoSpace => no_space(),
        DeliveryAnswer::Refused(not_taken) | DeliveryAnswer::Told(not_taken) => {
            Reply::new(not_taken.code, not_taken.enhanced, not_taken.why.as_str())
        }
    }
}

/// The one reply that SMTP has for all recipients. Whoever kept the message recognises it when it
/// is repeated, so "try later" for one is "try later" for all; a refusal is told where nothing is
/// left to try, since the sender must learn that somebody doesn't get it, unless they do already.
pub(super) fn joined_reply<'a>(answers: impl Iterator<Item = &'a DeliveryAnswer> + Clone) -> Reply {
    let later = |answer: &&DeliveryAnswer| {
        matches!(answer, DeliveryAnswer::TryLater(_) | DeliveryAnswer::NoSpace | DeliveryAnswer::OverQuota)
    };
    let refused = |answer: &&DeliveryAnswer| matches!(answer, DeliveryAnswer::Refused(_));
    if let Some(answer) = answers.clone().find(later).or_else(|| answers.clone().find(refused)) {
        return delivery_reply(answer);
    }
    let ids: Vec<&str> = answers
        .filter_map(|answer| match answer {
            DeliveryAnswer::Accepted { id } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    Reply::new(250, "2.0.0", format!("Kept as {}", ids.join(" ")))
}

/// How many `Received` fields the header has (RFC 5321 §6.3).
pub(super) fn hops(content: &[u8]) -> usize {
    content
        .split(|&octet| octet == b'\n')
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .filter(|line| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:")))
        .count()
}
