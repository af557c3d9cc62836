//! Email/set (RFC 8621 §4.6): what a client makes, changes and destroys. In an inbox what it does
//! goes by `inbox/moves.rs`, where it also speaks to the conversation.

use super::email::Email;
use super::{email_create, quota, team};
use crate::inbox::intake::{self, Brought};
use crate::inbox::{moves, scheduling};
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::mail::compose::ComposeDefaults;
use crate::mail::date::MailDate;
use crate::mail::ingest::Prepared;
use crate::mail::keyed::WireKeys;
use crate::mail::message::Added;
use crate::mail::{ingest, memo, message, viewer};
use crate::store::Txn;
use crate::store::rows::mail::{EmailRow, Kept, MailboxRow};
use crate::types::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A hook's view of an Email/set or Email/copy.
pub(super) type Call<'c, 't> = SetCall<'c, 't, ()>;

impl SetObject for Email {
    type SetArgs = ();
    /// RFC 8621 §4.6 names what the response has.
    const HAS_DEFAULTS: bool = false;

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut Call<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let brought = brought(set, &properties)?;
        let is_memo = set.account.is_inbox() && memo::is_memo(brought.keywords.iter());
        if !is_memo && !set.account.allows(MemberRole::Agent) {
            return Err(SetError::forbidden("An observer can't make messages.").into());
        }
        let now = set.ctx.store.clock.now();
        let random: [u8; 16] = set.ctx.store.random.bytes();
        let keys = WireKeys::load(set.txn)?;
        let defaults = ComposeDefaults {
            message_id: keys.message_id(&set.ctx.store.random, set.ctx.host.hostname),
            date: MailDate::utc(now),
            boundary_seed: random,
        };
        let raw = email_create::message(
            set.txn,
            (set.account.id, set.ctx.session.principal),
            &set.ctx.budget,
            &properties,
            &defaults,
        )?;
        if raw.len() > limits::UPLOAD_SIZE_BYTES_MAX {
            return Err(
                SetErrorKind::TooLarge { max_size: Some(limits::UPLOAD_SIZE_BYTES_MAX as u64) }.into()
            );
        }
        let prepared = ingest::prepare(&raw, false)?;
        let wanted = brought.mailboxes.clone();
        let added = bring(set.ctx, set.txn, set.account, &prepared, brought)?;
        let mut told = told(&added);
        if set.account.is_inbox() {
            told.extend(filed(set, added.email, is_memo, &wanted)?);
        }
        Ok(Created { id: added.email.to_string(), properties: told })
    }

    fn update(set: &mut Call<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = EmailId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let account = set.account.id;
        let before: EmailRow = set.reader().row(account, id)?.ok_or(SetErrorKind::NotFound)?;
        let mut after = before.clone();
        if let Some(given) = update.new.get("mailboxIds") {
            let was: BTreeSet<MailboxId> = before.mailboxes.iter().copied().collect();
            after.mailboxes = mailboxes(set, given, &was, &BTreeSet::new())?.into_iter().collect();
        }
        if let Some(given) = update.new.get("keywords") {
            let wanted = keywords(given)?;
            after = match set.ctx.member(set.account) {
                Some(member) => {
                    let eyes = viewer::ensure(set.txn, account, member)?;
                    eyes.with_keywords(id, &after, &wanted)
                }
                None => EmailRow { keywords: wanted.into_iter().collect(), ..after },
            };
        }
        if set.account.is_inbox() {
            let is_patch = !update.patch.contains_key("mailboxIds");
            let staff = team::staff(set.ctx, set.account);
            let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
            moves::change(&mut desk, id, &before, &after, is_patch)
                .map_err(|error| team::refused(error, &staff))?;
        } else {
            message::change(set.txn, account, id, &before, &after)?;
            scheduling::keep(set.txn, account, id)?;
        }
        // What the server corrects is told by /changes: strict clients read nothing else here.
        Ok(None)
    }

    fn destroy(set: &mut Call<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = EmailId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let account = set.account.id;
        let row: EmailRow = set.reader().row(account, id)?.ok_or(SetErrorKind::NotFound)?;
        if set.account.is_inbox() {
            let staff = team::staff(set.ctx, set.account);
            let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
            return moves::destroy(&mut desk, id, &row).map_err(|error| team::refused(error, &staff));
        }
        Ok(message::destroy(set.txn, account, id, &row)?)
    }
}

/// Puts a client's message into the account, with what it means to the team in an inbox.
pub(super) fn bring(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    prepared: &Prepared,
    brought: Brought,
) -> Result<Added, Refusal> {
    quota::ensure_room(ctx, txn, account.id, u64::from(prepared.content.size))?;
    if !account.is_inbox() {
        return Ok(intake::bring_personal(txn, account.id, prepared, brought)?);
    }
    let staff = team::staff(ctx, account);
    let mut desk = team::desk(ctx, account, txn, &staff)?;
    intake::bring_inbox(&mut desk, prepared, brought).map_err(|error| team::refused(error, &staff))
}

/// What the response tells of a new Email beside its id (RFC 8621 §4.6).
pub(super) fn told(added: &Added) -> Map<String, Value> {
    let mut told = Map::with_capacity(3);
    told.insert("blobId".into(), BlobId::message(added.email).to_string().into());
    told.insert("threadId".into(), added.thread.to_string().into());
    told.insert("size".into(), added.size.into());
    told
}

/// What an inbox has made of a message otherwise than its maker wanted (RFC 8620 §5.3): of a memo, and of one that
/// its conversation shows elsewhere.
fn filed(
    set: &Call<'_, '_>,
    email: EmailId,
    is_memo: bool,
    wanted: &BTreeSet<MailboxId>,
) -> Result<Map<String, Value>, Refusal> {
    let row: EmailRow = set.reader().row(set.account.id, email)?.ok_or(SetErrorKind::NotFound)?;
    let names = |all: Vec<String>| Value::Object(all.into_iter().map(|name| (name, true.into())).collect());
    let mut filed = Map::new();
    if is_memo || row.mailboxes.iter().copied().collect::<BTreeSet<_>>() != *wanted {
        let mailboxes = row.mailboxes.iter().map(MailboxId::to_string);
        filed.insert("mailboxIds".into(), names(mailboxes.collect()));
    }
    if !is_memo {
        return Ok(filed);
    }
    let eyes = viewer::eyes(set.reader(), set.account.id, set.ctx.member(set.account))?;
    let keywords = eyes.map(|eyes| eyes.keywords(email, &row)).unwrap_or_default();
    filed.insert("keywords".into(), names(keywords.into_iter().map(str::to_owned).collect()));
    filed.insert("receivedAt".into(), row.received_at.to_string().into());
    Ok(filed)
}

fn brought(set: &Call<'_, '_>, properties: &Map<String, Value>) -> Result<Brought, Refusal> {
    let received = properties.get("receivedAt").and_then(Value::as_str).and_then(UtcDate::parse);
    let keywords = keywords(properties.get("keywords").unwrap_or(&Value::Null))?;
    let given = properties.get("mailboxIds").unwrap_or(&Value::Null);
    Ok(Brought {
        mailboxes: mailboxes(set, given, &BTreeSet::new(), &keywords)?,
        keywords,
        received_at: received.unwrap_or_else(|| set.ctx.store.clock.now().date()),
        trace: Vec::new(),
    })
}

/// At least one mailbox, each of which exists; those that weren't there before take Emails by hand.
pub(super) fn mailboxes(
    set: &Call<'_, '_>,
    given: &Value,
    before: &BTreeSet<MailboxId>,
    with: &BTreeSet<Keyword>,
) -> Result<BTreeSet<MailboxId>, Refusal> {
    let wrong = |why: &'static str| SetError::properties(["mailboxIds"], why);
    let mut out = BTreeSet::new();
    for id in team::set_names(given) {
        let mailbox = MailboxId::parse(id).ok_or_else(|| wrong("There is no such Mailbox."))?;
        if !before.contains(&mailbox) {
            let row: Option<MailboxRow> = set.reader().row(set.account.id, mailbox)?;
            let row = row.ok_or_else(|| wrong("There is no such Mailbox."))?;
            may_add(&row, with)?;
        }
        out.insert(mailbox);
    }
    if out.is_empty() {
        return Err(wrong("An Email is in at least one Mailbox.").into());
    }
    if out.len() > limits::MAILBOXES_PER_EMAIL_MAX {
        return Err(SetErrorKind::TooManyMailboxes.into());
    }
    Ok(out)
}

/// Whether a message with these keywords can be put into a mailbox by hand: a memo among memos, too.
pub(super) fn may_add(row: &MailboxRow, keywords: &BTreeSet<Keyword>) -> Result<(), Refusal> {
    let fits = |kept: &Kept| kept.may_add() || (*kept == Kept::Memos && memo::is_memo(keywords.iter()));
    match row.kept.as_ref().is_none_or(fits) {
        true => Ok(()),
        false => Err(SetError::forbidden("Messages can't be put into this mailbox by hand.").into()),
    }
}

/// The keywords, all of which must be spelled as RFC 8621 §4.1.1 wants.
pub(super) fn keywords(given: &Value) -> Result<BTreeSet<Keyword>, Refusal> {
    let wrong =
        || SetError::properties(["keywords"], "A keyword has characters that RFC 8621 doesn't allow.");
    let out: Option<BTreeSet<Keyword>> = team::set_names(given).map(|name| Keyword::parse(name)).collect();
    let out = out.ok_or_else(wrong)?;
    if out.len() > limits::KEYWORDS_PER_EMAIL_MAX {
        return Err(SetErrorKind::TooManyKeywords.into());
    }
    Ok(out)
}
