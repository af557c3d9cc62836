//! An inbox's history: the chain from its genesis to its head, its texts, and whose each entry is.

use crate::inbox::activity::{self, Head};
use crate::inbox::desk;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::rows::team::{ActivityRow, ActivityTextRow, ActivityValue, ConversationRow};
use crate::store::{Row, StoreError, StoreResult};
use crate::types::{AccountId, ActivityId, ConversationId};

pub(super) fn check(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    let mut chain = activity::Chain::from(activity::genesis(account));
    let mut broken = None;
    check.each::<ActivityRow>(account, Kind::Activity, |check, key, row| {
        let id = ActivityId(keys::last_id(key).unwrap_or_default());
        check.report.activities += 1;
        // Behind the first break nothing fits any more.
        if broken.is_none() {
            broken = chain.follow(id, &row).err();
        }
        if let Some(of) = row.conversation
            && !check.read.has(&keys::pair(account, Kind::ConversationActivity, of.0, id.0))?
        {
            check.fault(account, format_args!("{id} is an activity of {of}, which hasn't got it"));
        }
        Ok(())
    })?;
    match (broken, head(check, account)?) {
        (Some(broken), _) => check.fault(account, broken),
        (None, Some(end)) => {
            if let Err(broken) = chain.ends_at(end) {
                check.fault(account, broken);
            }
        }
        (None, None) => check.fault(account, "the head of the activity can't be read"),
    }
    of_conversations(check, account)?;
    texts(check, account)
}

fn head(check: &Check<'_>, account: AccountId) -> StoreResult<Option<Head>> {
    match desk::activity_head(check.read, account) {
        Err(StoreError::Corrupt(_)) => Ok(None),
        head => head.map(Some),
    }
}

fn of_conversations(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    check.each::<()>(account, Kind::ConversationActivity, |check, key, ()| {
        let of = ConversationId(keys::first_id(key).unwrap_or_default());
        let id = ActivityId(keys::last_id(key).unwrap_or_default());
        let row: Option<ActivityRow> = check.row(account, id)?;
        if row.is_none_or(|row| row.conversation != Some(of)) {
            check.fault(account, format_args!("{of} has {id}, which is another's or doesn't exist"));
        }
        if !check.read.has(&ConversationRow::key(account, of))? {
            check.fault(account, format_args!("{id} is an activity of {of}, which doesn't exist"));
        }
        Ok(())
    })
}

/// Texts that were erased are missing, and that is right; one that is there must be the one that was
/// chained.
fn texts(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    check.each::<ActivityTextRow>(account, Kind::ActivityText, |check, key, texts| {
        let id = ActivityId(keys::last_id(key).unwrap_or_default());
        let Some(row) = check.row::<ActivityRow>(account, id)? else {
            check.fault(account, format_args!("there is a text of {id}, which doesn't exist"));
            return Ok(());
        };
        for (value, text) in [(row.before, texts.before), (row.after, texts.after)] {
            let fits = match (&value, &text) {
                (ActivityValue::Text(digest), Some(text)) => activity::text_fits(digest, text),
                (_, Some(_)) => false,
                (_, None) => true,
            };
            if !fits {
                check.fault(account, format_args!("a text of {id} isn't the one that was chained"));
            }
        }
        Ok(())
    })
}
