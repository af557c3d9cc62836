//! Feeds full text from the change logs: what is durable and not yet indexed, account by account.
//!
//! Live and at start it is the same walk: from the position that the index has, along the log of
//! Email, to the present. So nothing is lost to search, however the process ended.

use super::search::{IndexedText, SearchError, SearchIndex};
use super::{body, headers};
use crate::store::changes::{self, Since};
use crate::store::rows::mail::{EmailRow, StoredMessage};
use crate::store::rows::message::MessageRow;
use crate::store::{Read, Store, StoreError, StoreResult, keys};
use crate::types::{AccountId, DataType, EmailId};

/// Emails told of in one step of the walk.
const STEP_EMAILS_MAX: usize = 256;

/// Why feeding stopped.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// The text of one message.
#[derive(Clone, Debug, Default)]
pub struct MessageText {
    from: String,
    to: String,
    cc: String,
    bcc: String,
    subject: String,
    body: String,
    attachment_names: String,
}

impl MessageText {
    /// As the index takes it.
    pub fn indexed(&self) -> IndexedText<'_> {
        IndexedText {
            from: &self.from,
            to: &self.to,
            cc: &self.cc,
            bcc: &self.bcc,
            subject: &self.subject,
            body: &self.body,
            attachment_names: &self.attachment_names,
        }
    }
}

/// What full text knows of an Email; `None` where it is gone.
pub fn text_of(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<Option<MessageText>> {
    let Some(row) = read.row::<EmailRow>(account, email)? else { return Ok(None) };
    let Some(stored) = read.row::<StoredMessage>(account, email)? else { return Ok(None) };
    let Some(content) = crate::store::blobs::content(read, &row.blob)? else { return Ok(None) };
    let field = |name: &str| {
        let list = headers::addresses(&stored.message, name);
        let words: Vec<String> = list
            .into_iter()
            .map(|address| format!("{} {}", address.name.unwrap_or_default(), address.email))
            .collect();
        words.join("\n")
    };
    Ok(Some(MessageText {
        from: field("from"),
        to: field("to"),
        cc: field("cc"),
        bcc: field("bcc"),
        subject: row.subject,
        body: body::indexed_text(&stored.message, &content),
        attachment_names: attachment_names(&stored.message),
    }))
}

fn attachment_names(message: &MessageRow) -> String {
    let parts = body::lists(message).attachments.into_iter();
    let names: Vec<&str> =
        parts.filter_map(|part| message.parts.get(part as usize)?.name.as_deref()).collect();
    names.join("\n")
}

/// Feeds one account up to the present. Gives how many Emails it fed.
pub fn catch_up(store: &Store, index: &SearchIndex, account: AccountId) -> Result<usize, IndexerError> {
    // What isn't durable must not be found after a loss of power either: wait for it first.
    let snapshot = store.snapshot();
    store.durable_blocking(store.ticket_of(account))?;
    let read: &dyn Read = &snapshot;
    let mut since = Since::modseq(index.indexed_modseq(account));
    let mut fed = 0;
    let newest = changes::states(read, account)?.of(DataType::Email);
    if since.modseq >= newest {
        return Ok(0);
    }
    loop {
        let told = changes::objects(read, account, DataType::Email, since, STEP_EMAILS_MAX)?;
        // The log doesn't tell of what is older than it keeps: then the Emails themselves do.
        let Some(told) = told else { return feed_all(read, index, account, newest) };
        for id in &told.created {
            let email = EmailId(*id);
            if let (Some(row), Some(text)) =
                (read.row::<EmailRow>(account, email)?, text_of(read, account, email)?)
            {
                index.add(account, email, row.received_at, &text.indexed())?;
                fed += 1;
            }
        }
        for id in &told.destroyed {
            index.remove(account, EmailId(*id))?;
        }
        since = told.new_state;
        if !told.has_more {
            index.advance(account, newest)?;
            return Ok(fed);
        }
        if since.told == 0 {
            index.advance(account, since.modseq)?;
        }
    }
}

/// Feeds every Email that there is in place of whatever the index has of the account.
fn feed_all(
    read: &dyn Read,
    index: &SearchIndex,
    account: AccountId,
    newest: u64,
) -> Result<usize, IndexerError> {
    index.remove_account(account)?;
    let (mut fed, mut from) = (0, EmailId(0));
    loop {
        let range = keys::rows_after(account, keys::Kind::Email, from.0);
        let step = read.ids(&range, false, STEP_EMAILS_MAX)?;
        for id in &step {
            from = EmailId(*id);
            if let (Some(row), Some(text)) =
                (read.row::<EmailRow>(account, from)?, text_of(read, account, from)?)
            {
                index.add(account, from, row.received_at, &text.indexed())?;
                fed += 1;
            }
        }
        if step.len() < STEP_EMAILS_MAX {
            index.advance(account, newest)?;
            return Ok(fed);
        }
    }
}
