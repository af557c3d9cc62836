//! Email/query and Email/queryChanges (RFC 8621 §4.4, §4.5) over `mail::query`.
//!
//! Invariants: what is an ordered list is read as a page of it and never as a whole, and its
//! changes come from its log; everything else is made anew, and what can't have moved by what the
//! Emails' log tells is left out (`email_query_changes.rs`). A query state is the account's Email
//! state: no list moves without it.

use super::email::Email;
use super::email_query_changes::{self, Wanted};
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::{Object, Query, QueryObject, Since};
use crate::jmap::query::{Comparator, Filter, Materialised, QueryResult, Results};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::mail::query::{self as mail, *};
use crate::mail::search::{Field, TextQuery};
use crate::mail::viewer;
use crate::store::changes::{self, Since as State};
use crate::store::{List, Place, Read, list};
use crate::types::limits::CHANGES_MAX;
use crate::types::{AccountId, ConversationId, DataType, EmailId, Keyword, MailboxId, UtcDate};
use serde_json::Value;

/// `emailQuerySortOptions` (RFC 8621 §1.3.1).
pub const SORT_OPTIONS: &[&str] = &[
    "receivedAt",
    "sentAt",
    "size",
    "from",
    "to",
    "subject",
    "hasKeyword",
    "allInThreadHaveKeyword",
    "someInThreadHaveKeyword",
];

/// Makes a condition of its value.
type Make<T> = fn(T) -> EmailCondition;

impl QueryObject for Email {
    /// All of them; none for a condition that is always true.
    type Condition = Vec<EmailCondition>;
    /// `None` where the comparator is the same for all Emails.
    type Sort = Option<EmailSort>;
    /// `collapseThreads`.
    type QueryArgs = bool;

    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Vec<EmailCondition>, MethodError> {
        let mut all = Vec::new();
        places(args, &mut all)?;
        sizes_and_dates(args, &mut all)?;
        keywords(args, &mut all)?;
        texts(args, &mut all)?;
        if ctx.using.knows_us()
            && let Some(id) = text(args, "conversationId")?
        {
            all.push(
                ConversationId::parse(&id).map_or(EmailCondition::Nothing, EmailCondition::InConversation),
            );
        }
        Ok(all)
    }

    fn sort(_ctx: &Ctx, mut comparator: Comparator) -> Result<Option<EmailSort>, MethodError> {
        let mut by_keyword = |order: fn(Keyword) -> EmailOrder| {
            let keyword = text(&mut comparator.extra, "keyword")?;
            let missing = || MethodError::argument("sort", "this comparator must have a keyword");
            // What can't be a keyword no Email has: all are equal.
            Ok::<_, MethodError>(Keyword::parse(&keyword.ok_or_else(missing)?).map(order))
        };
        let by = match comparator.property.as_str() {
            "receivedAt" => Some(EmailOrder::ReceivedAt),
            "sentAt" => Some(EmailOrder::SentAt),
            "size" => Some(EmailOrder::Size),
            "from" => Some(EmailOrder::From),
            "to" => Some(EmailOrder::To),
            "subject" => Some(EmailOrder::Subject),
            "hasKeyword" => by_keyword(EmailOrder::HasKeyword)?,
            "allInThreadHaveKeyword" => by_keyword(EmailOrder::AllInThreadHaveKeyword)?,
            "someInThreadHaveKeyword" => by_keyword(EmailOrder::SomeInThreadHaveKeyword)?,
            _ => return Err(MethodErrorKind::UnsupportedSort.into()),
        };
        let collation = comparator.collation.unwrap_or_default();
        Ok(by.map(|by| EmailSort { by, ascending: comparator.is_ascending, collation }))
    }

    fn query_args(_ctx: &Ctx, args: &mut Args) -> Result<bool, MethodError> {
        args.flag("collapseThreads")
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let query_state = Self::state(ctx, ctx.reader(), account)?;
        let (filter, sort) = (filter_of(query.filter.as_ref()), sort_of(query));
        let plan = mail::plan(filter.as_ref(), &sort, query.args);
        let can_calculate_changes = email_query_changes::are_told(filter.as_ref());
        let results: Box<dyn Results + 'q> = match plan {
            Plan::List { list, backwards } => {
                Box::new(Ordered { read: ctx.reader(), account: account.id, list, backwards })
            }
            Plan::Set => {
                let wanted = Wanted { filter: filter.as_ref(), sort: &sort, collapse: query.args };
                Box::new(Materialised { ids: made(ctx, account, &wanted)?, spell: EmailId::to_string })
            }
        };
        Ok(QueryResult { results, query_state, can_calculate_changes })
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
        let filter = filter_of(query.filter.as_ref());
        let sort = sort_of(query);
        let Plan::List { list, backwards } = mail::plan(filter.as_ref(), &sort, query.args) else {
            let wanted = Wanted { filter: filter.as_ref(), sort: &sort, collapse: query.args };
            return email_query_changes::of_set(ctx, account, &wanted, since);
        };
        let state = State::parse(since.query_state).filter(|state| state.told == 0).ok_or_else(cannot)?;
        // Asked for no ids, the log tells whether it reaches back so far.
        changes::changes(ctx.reader(), account.id, ctx.member(account), DataType::Email, state, 0)?
            .ok_or_else(cannot)?;
        let new_query_state = Self::state(ctx, ctx.reader(), account)?;
        let ordered = Ordered { read: ctx.reader(), account: account.id, list, backwards };
        let delta = ordered.changes(state.modseq, since)?;
        Ok(QueryDelta { new_query_state, ..delta })
    }
}

/// Results that no list has.
pub(super) fn made(ctx: &Ctx, account: &Account, wanted: &Wanted<'_>) -> Result<Vec<EmailId>, MethodError> {
    let eyes = viewer::eyes(ctx.reader(), account.id, ctx.member(account))?;
    let work = mail::Query { read: ctx.reader(), account: account.id, search: ctx.host.search, eyes };
    work.run(wanted.filter, wanted.sort, wanted.collapse).map_err(refused)
}

/// An ordered list of the store as results.
struct Ordered<'q> {
    read: &'q dyn Read,
    account: AccountId,
    list: List,
    /// Oldest first.
    backwards: bool,
}

impl Results for Ordered<'_> {
    fn total(&mut self) -> Result<u64, MethodError> {
        Ok(list::total(self.read, self.account, self.list)?.into())
    }

    fn page(&mut self, offset: u64, limit: u64) -> Result<Vec<String>, MethodError> {
        let Ok(offset) = u32::try_from(offset) else { return Ok(Vec::new()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries = list::page(self.read, self.account, self.list, offset, limit, self.backwards)?;
        Ok(entries.into_iter().map(|entry| spell(entry.place)).collect())
    }

    fn position_of(&mut self, id: &str) -> Result<Option<u64>, MethodError> {
        let Some(place) = self.place_of(id)? else { return Ok(None) };
        Ok(Some(self.index_of(place)?))
    }
}

impl Ordered<'_> {
    /// Where the Email stands, if it is in the list.
    fn place_of(&self, id: &str) -> Result<Option<Place>, MethodError> {
        let Some(email) = EmailId::parse(id) else { return Ok(None) };
        let Some(place) = mail::place_of(self.read, self.account, email)? else { return Ok(None) };
        Ok(list::contains(self.read, self.account, self.list, place)?.then_some(place))
    }

    /// The index of an Email that is in the list.
    fn index_of(&self, place: Place) -> Result<u64, MethodError> {
        let rank = list::rank(self.read, self.account, self.list, place)?;
        if !self.backwards {
            return Ok(rank.into());
        }
        let total = list::total(self.read, self.account, self.list)?;
        Ok(total.saturating_sub(1).saturating_sub(rank).into())
    }

    /// What changed after a modseq, exact: ranks of what came, places of what went.
    fn changes(&self, modseq: u64, since: &Since<'_>) -> Result<QueryDelta, MethodError> {
        let mut changes = list::changes(self.read, self.account, self.list, modseq)?
            .ok_or(MethodErrorKind::CannotCalculateChanges)?;
        if let Some(last) = self.last_known(since)? {
            let is_near = |place: &Place| if self.backwards { *place >= last } else { *place <= last };
            changes.removed.retain(is_near);
            changes.added.retain(is_near);
        }
        let count = changes.removed.len() + changes.added.len();
        if since.max_changes.is_some_and(|max| count as u64 > max) {
            return Err(MethodErrorKind::TooManyChanges.into());
        }
        // A rank each costs more than the query anew.
        if count > CHANGES_MAX {
            return Err(MethodErrorKind::CannotCalculateChanges.into());
        }
        let mut delta = QueryDelta::default();
        delta
            .removed
            .extend(changes.removed.into_iter().map(|place| Removed { id: spell(place), beyond: false }));
        for place in changes.added {
            delta.added.push((spell(place), self.index_of(place)?));
        }
        if since.calculate_total {
            delta.total = Some(list::total(self.read, self.account, self.list)?.into());
        }
        Ok(delta)
    }

    /// The place of `upToId`, which counts only where filter and sort are on properties that never
    /// change (RFC 8620 §5.6): not where Emails enter and leave a mailbox.
    fn last_known(&self, since: &Since<'_>) -> Result<Option<Place>, MethodError> {
        match (since.up_to_id, self.list) {
            (Some(id), List::AllEmails | List::AllHeads) => self.place_of(id),
            _ => Ok(None),
        }
    }
}

fn spell(place: Place) -> String {
    EmailId(place.id).to_string()
}

/// Why a query isn't answered, to the client.
fn refused(error: QueryError) -> MethodError {
    match error {
        QueryError::Store(error) => error.into(),
        QueryError::TooMuch(why) => MethodError::new(MethodErrorKind::UnsupportedFilter, why),
        QueryError::Search(why) => {
            tracing::warn!(%why, "a text query is refused for now");
            MethodError::new(
                MethodErrorKind::ServerUnavailable,
                "Full-text search is not ready; try again soon.",
            )
        }
    }
}

fn sort_of(query: &Query<Email>) -> Vec<EmailSort> {
    query.sort.iter().flatten().cloned().collect()
}

/// The filter, made as simple as it means; `None` where it lets everything pass.
fn filter_of(filter: Option<&Filter<Vec<EmailCondition>>>) -> Option<EmailFilter> {
    let simple = simplified(filter?);
    (simple != EmailFilter::And(Vec::new())).then_some(simple)
}

/// Conditions that are always true are left out, and what remains alone stands for itself, so that
/// one mailbox is seen as such however it is wrapped.
fn simplified(filter: &Filter<Vec<EmailCondition>>) -> EmailFilter {
    let of = |list: &[Filter<Vec<EmailCondition>>]| list.iter().map(simplified).collect::<Vec<_>>();
    let all = match filter {
        Filter::Condition(conditions) => conditions.iter().cloned().map(EmailFilter::Is).collect(),
        Filter::And(list) => of(list),
        Filter::Or(list) => {
            let mut list = of(list);
            return if list.len() == 1 { list.remove(0) } else { EmailFilter::Or(list) };
        }
        Filter::Not(list) => return EmailFilter::Not(of(list)),
    };
    let mut left = Vec::with_capacity(all.len());
    for one in all {
        match one {
            EmailFilter::And(inner) => left.extend(inner),
            other => left.push(other),
        }
    }
    if left.len() == 1 { left.remove(0) } else { EmailFilter::And(left) }
}

/// A String of a condition. Null isn't one: taking it for a condition left out would let pass more
/// than was asked for.
fn text(args: &mut Args, name: &str) -> Result<Option<String>, MethodError> {
    match args.given(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(MethodError::argument(name, "must be a string")),
    }
}

fn strings(args: &mut Args, name: &str) -> Result<Option<Vec<String>>, MethodError> {
    let wrong = || MethodError::argument(name, "must be an array of strings");
    let Some(value) = args.given(name) else { return Ok(None) };
    let Value::Array(items) = value else { return Err(wrong()) };
    let text = |item| if let Value::String(text) = item { Ok(text) } else { Err(wrong()) };
    items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
}

fn places(args: &mut Args, all: &mut Vec<EmailCondition>) -> Result<(), MethodError> {
    if let Some(id) = text(args, "inMailbox")? {
        all.push(MailboxId::parse(&id).map_or(EmailCondition::Nothing, EmailCondition::InMailbox));
    }
    if let Some(ids) = strings(args, "inMailboxOtherThan")? {
        // An id that names nothing excludes nothing, and every Email is in some mailbox.
        let ids: Vec<MailboxId> = ids.iter().filter_map(|id| MailboxId::parse(id)).collect();
        if !ids.is_empty() {
            all.push(EmailCondition::InMailboxOtherThan(ids));
        }
    }
    Ok(())
}

fn sizes_and_dates(args: &mut Args, all: &mut Vec<EmailCondition>) -> Result<(), MethodError> {
    let dates: [(_, Make<UtcDate>); 2] =
        [("before", EmailCondition::Before), ("after", EmailCondition::After)];
    for (name, condition) in dates {
        if let Some(date) = text(args, name)? {
            let wrong = || MethodError::argument(name, "must be a UTC date");
            all.push(condition(UtcDate::parse(&date).ok_or_else(wrong)?));
        }
    }
    let sizes: [(_, Make<u64>); 2] =
        [("minSize", EmailCondition::MinSize), ("maxSize", EmailCondition::MaxSize)];
    for (name, condition) in sizes {
        if let Some(value) = args.given(name) {
            let size = crate::jmap::args::as_int(&value).and_then(|size| u64::try_from(size).ok());
            let wrong = || MethodError::argument(name, "must be an integer of 0 or more");
            all.push(condition(size.ok_or_else(wrong)?));
        }
    }
    match args.given("hasAttachment") {
        None => {}
        Some(Value::Bool(has)) => all.push(EmailCondition::HasAttachment(has)),
        Some(_) => return Err(MethodError::argument("hasAttachment", "must be true or false")),
    }
    Ok(())
}

fn keywords(args: &mut Args, all: &mut Vec<EmailCondition>) -> Result<(), MethodError> {
    let wanted: [(_, Make<Keyword>); 3] = [
        ("allInThreadHaveKeyword", EmailCondition::AllInThreadHaveKeyword),
        ("someInThreadHaveKeyword", EmailCondition::SomeInThreadHaveKeyword),
        ("hasKeyword", EmailCondition::HasKeyword),
    ];
    for (name, condition) in wanted {
        if let Some(keyword) = text(args, name)? {
            // What can't be a keyword no Email has.
            all.push(Keyword::parse(&keyword).map_or(EmailCondition::Nothing, condition));
        }
    }
    let unwanted: [(_, Make<Keyword>); 2] = [
        ("noneInThreadHaveKeyword", EmailCondition::NoneInThreadHaveKeyword),
        ("notKeyword", EmailCondition::NotKeyword),
    ];
    for (name, condition) in unwanted {
        if let Some(keyword) = text(args, name)? {
            all.extend(Keyword::parse(&keyword).map(condition));
        }
    }
    Ok(())
}

fn texts(args: &mut Args, all: &mut Vec<EmailCondition>) -> Result<(), MethodError> {
    let fields = [
        ("text", Field::Text),
        ("from", Field::From),
        ("to", Field::To),
        ("cc", Field::Cc),
        ("bcc", Field::Bcc),
        ("subject", Field::Subject),
        ("body", Field::Body),
    ];
    for (name, field) in fields {
        let Some(wanted) = text(args, name)? else { continue };
        let query = TextQuery::parse(field, &wanted).map_err(|error| {
            MethodError::new(MethodErrorKind::UnsupportedFilter, format!("{name}: {error}"))
        })?;
        // Blank text is no condition.
        if !matches!(&query, TextQuery::Words(_, words) if words.is_empty()) {
            all.push(EmailCondition::Text(query));
        }
    }
    if let Some(header) = strings(args, "header")? {
        let mut items = header.into_iter();
        match (items.next(), items.next(), items.next()) {
            (Some(name), value, None) => all.push(EmailCondition::Header(name, value)),
            _ => return Err(MethodError::argument("header", "must have one or two items")),
        }
    }
    Ok(())
}
