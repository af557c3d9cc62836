//! Why the team's rules say no: the one error of this floor.
//!
//! A refusal carries what the protocol needs to answer with, for a client that named our
//! capabilities; [`Refusal::plain_description`] says the same in plain words, for one that didn't
//! and must get a standard SetError.

use crate::store::rows::team::Told;
use crate::types::{ConversationId, EmailId, Millis, PrincipalId};
use std::fmt::Write;

/// How much a client must do to send all the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Name the new version.
    Ask,
    /// Name the new version, and the ids in `acknowledge`.
    Block,
}

impl Level {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ask => "ask",
            Level::Block => "block",
        }
    }
}

/// The rules' no.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The role, or what the conversation is, doesn't allow it.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    #[error("invalidProperties: {properties:?}")]
    InvalidProperties { properties: Vec<&'static str>, why: &'static str },
    #[error("versionMismatch")]
    VersionMismatch { version: u64 },
    #[error("ownerMismatch")]
    OwnerMismatch { owner: Option<PrincipalId>, version: u64 },
    /// What the definition of done demands and the conversation lacks, as property names.
    #[error("notDone: {missing:?}")]
    NotDone { missing: Vec<&'static str> },
    /// The conversation went into another one.
    #[error("merged into {into}")]
    Merged { into: ConversationId },
    #[error("lockHeld")]
    LockHeld { holder: PrincipalId, expires_at: Millis },
    /// The lock ended: by its time, a newer one of the same holder, a takeover, or a yes over it.
    #[error("lockLost")]
    LockLost { holder: Option<PrincipalId>, expires_at: Option<Millis> },
    #[error("conversationChanged")]
    ConversationChanged {
        level: Level,
        version: u64,
        /// Messages that came or went since, oldest first.
        emails: Vec<EmailId>,
        /// What happened since, as the words of `gate::What`.
        reasons: Vec<&'static str>,
        told: Box<Told>,
    },
    /// `forbiddenToSend` for a plain client.
    #[error("collision")]
    PlainCollision { told: Box<Told>, may_confirm: bool },
}

impl Refusal {
    /// What a person should read: who, when, what to do. `name_of` gives a principal's display name.
    pub fn plain_description(&self, name_of: &dyn Fn(PrincipalId) -> String) -> String {
        match self {
            Refusal::Forbidden(why) => (*why).to_owned(),
            Refusal::InvalidProperties { why, .. } => (*why).to_owned(),
            Refusal::VersionMismatch { .. } => {
                "The conversation changed since you read it. Read it again, then repeat the change."
                    .to_owned()
            }
            Refusal::OwnerMismatch { owner: Some(owner), .. } => format!(
                "{} owns this conversation. Ask them to hand it over or to release it, or ask a lead.",
                name_of(*owner)
            ),
            Refusal::OwnerMismatch { owner: None, .. } => {
                "Nobody owns this conversation any more. Read it again, then repeat the change.".to_owned()
            }
            Refusal::NotDone { missing } => format!(
                "The conversation can't be closed yet: the inbox asks for {}.",
                missing.iter().map(|&name| property_words(name)).collect::<Vec<_>>().join(" and ")
            ),
            Refusal::Merged { .. } => {
                "The conversation was merged into another one; work on that one.".to_owned()
            }
            Refusal::LockHeld { holder, expires_at } => format!(
                "{} is answering this conversation, until {} at least.",
                name_of(*holder),
                expires_at.date()
            ),
            Refusal::LockLost { holder, .. } => match holder {
                Some(holder) => format!("Your reply lock ended; {} is answering now.", name_of(*holder)),
                None => "Your reply lock ended. Look at the conversation again, then send.".to_owned(),
            },
            Refusal::ConversationChanged { level, reasons, told, .. } => {
                let mut text = told_text(told, name_of);
                if text.is_empty() {
                    let _ = write!(text, "The conversation changed meanwhile ({}). ", reasons.join(", "));
                }
                text.push_str(match level {
                    Level::Ask => "Look at it, then send again if your message still fits.",
                    Level::Block => "Read what was sent or decided, then confirm that yours is still wanted.",
                });
                text
            }
            Refusal::PlainCollision { told, may_confirm } => {
                let mut text = told_text(told, name_of);
                text.push_str("Your message was not sent. ");
                text.push_str(if *may_confirm {
                    "Read the conversation first. To send yours all the same, wait ten seconds and send it \
                     again within ten minutes."
                } else {
                    "This inbox allows one answer at a time: read the conversation, then write a new reply \
                     to its newest message if one is still needed."
                });
                text
            }
        }
    }
}

fn property_words(name: &str) -> &str {
    match name {
        "ownerId" => "an owner",
        "category" => "a category",
        "resolution" => "a resolution",
        other => other,
    }
}

fn told_text(told: &Told, name_of: &dyn Fn(PrincipalId) -> String) -> String {
    let mut text = String::new();
    for reply in &told.replies {
        let verb = if reply.scheduled { "scheduled a reply in" } else { "replied to" };
        let _ = write!(text, "{} {verb} this conversation on {}. ", name_of(reply.author), reply.at.date());
    }
    if let Some(lock) = &told.lock {
        let _ = write!(
            text,
            "{} is writing a reply to this conversation right now (until {}). ",
            name_of(lock.holder),
            lock.expires_at.date()
        );
    }
    for sibling in &told.siblings {
        // Inbox and time only: who works there is no business of this inbox.
        let _ = write!(
            text,
            "The same message was answered from the inbox {} on {}. ",
            sibling.inbox_name,
            sibling.at.date()
        );
    }
    text
}
