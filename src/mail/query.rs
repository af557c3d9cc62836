//! Email/query below JSON (RFC 8621 §4.4): which Emails, in which order.
//!
//! What most clients ask, one mailbox or all, newest first, collapsed or not, is an ordered list
//! with ranks: [`plan`] says so, and the caller reads a page of it. Everything else becomes a set:
//! exact conditions are bitmaps and narrow it first, the others are decided row by row on what
//! remains, at most [`limits::FILTER_SCAN_EMAILS_MAX`].

pub use super::collation::Collation;
use super::collation::CollationKey;
use super::date::MailDate;
use super::search::{SearchError, SearchIndex, TextQuery};
use super::viewer::{self, Eyes};
use super::{blob, headers};
use crate::store::list::{self, Entry};
use crate::store::rows::mail::*;
use crate::store::sets::{self, Bitmap, EmailSet};
use crate::store::{List, Place, Read, StoreError, StoreResult, changes, keys};
use crate::types::*;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

/// A filter over Emails.
#[derive(Clone, PartialEq, Debug)]
pub enum EmailFilter {
    And(Vec<EmailFilter>),
    Or(Vec<EmailFilter>),
    /// None of them.
    Not(Vec<EmailFilter>),
    Is(EmailCondition),
}

/// One property of a FilterCondition (RFC 8621 §4.4.1); several in one object are an AND.
#[derive(Clone, PartialEq, Debug)]
pub enum EmailCondition {
    InMailbox(MailboxId),
    /// In a mailbox outside these.
    InMailboxOtherThan(Vec<MailboxId>),
    /// receivedAt earlier than.
    Before(UtcDate),
    /// receivedAt at or later than.
    After(UtcDate),
    MinSize(u64),
    /// Smaller than.
    MaxSize(u64),
    AllInThreadHaveKeyword(Keyword),
    SomeInThreadHaveKeyword(Keyword),
    NoneInThreadHaveKeyword(Keyword),
    HasKeyword(Keyword),
    NotKeyword(Keyword),
    HasAttachment(bool),
    Text(TextQuery),
    /// A header field by name, and text in its decoded value.
    Header(String, Option<String>),
    /// In a conversation (where a team capability is in use).
    InConversation(ConversationId),
    /// An id that names nothing: no Email fits.
    Nothing,
}

impl EmailCondition {
    /// Decided by the other Emails of a Thread as well.
    pub fn is_of_thread(&self) -> bool {
        matches!(
            self,
            Self::AllInThreadHaveKeyword(_)
                | Self::SomeInThreadHaveKeyword(_)
                | Self::NoneInThreadHaveKeyword(_)
        )
    }

    /// About something of an Email that can change.
    pub fn is_mutable(&self) -> bool {
        self.is_of_thread()
            || matches!(
                self,
                Self::InMailbox(_)
                    | Self::InMailboxOtherThan(_)
                    | Self::HasKeyword(_)
                    | Self::NotKeyword(_)
                    | Self::InConversation(_)
            )
    }
}

/// One comparator (RFC 8621 §4.4.2).
#[derive(Clone, PartialEq, Debug)]
pub struct EmailSort {
    pub by: EmailOrder,
    pub ascending: bool,
    pub collation: Collation,
}

/// What to sort by.
#[derive(Clone, PartialEq, Debug)]
pub enum EmailOrder {
    ReceivedAt,
    SentAt,
    Size,
    From,
    To,
    Subject,
    HasKeyword(Keyword),
    AllInThreadHaveKeyword(Keyword),
    SomeInThreadHaveKeyword(Keyword),
}

/// Why a query can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many Emails to be looked at one by one, or too many words: `unsupportedFilter`.
    #[error("{0}")]
    TooMuch(String),
    /// Full text isn't ready.
    #[error("full text isn't ready: {0}")]
    Search(String),
}

impl From<SearchError> for QueryError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::TooBroad => QueryError::TooMuch("too many words start like this".to_owned()),
            other => QueryError::Search(other.to_string()),
        }
    }
}

impl EmailOrder {
    /// Decided by the other Emails of a Thread as well.
    pub fn is_of_thread(&self) -> bool {
        matches!(self, Self::AllInThreadHaveKeyword(_) | Self::SomeInThreadHaveKeyword(_))
    }

    /// By something of an Email that can change.
    pub fn is_mutable(&self) -> bool {
        self.is_of_thread() || matches!(self, Self::HasKeyword(_))
    }
}

/// How a query is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// An ordered list, read forwards (newest first) or backwards.
    List { list: List, backwards: bool },
    /// [`run`] makes all results.
    Set,
}

/// How a query is answered best.
pub fn plan(filter: Option<&EmailFilter>, sort: &[EmailSort], collapse: bool) -> Plan {
    let mailbox = match filter {
        None => None,
        Some(filter) => match single_mailbox(filter) {
            Some(mailbox) => Some(mailbox),
            None => return Plan::Set,
        },
    };
    let backwards = match sort {
        [] => false,
        [first, ..] if first.by == EmailOrder::ReceivedAt => first.ascending,
        _ => return Plan::Set,
    };
    // RFC 8621 §4.4.3: the first Email of each Thread in the sorted list stays. Oldest first that
    // is the oldest, of which there is no list.
    if collapse && backwards {
        return Plan::Set;
    }
    // Places at equal times follow the docnum, so further comparators decide only if asked for.
    if sort.len() > 1 {
        return Plan::Set;
    }
    let list = match (mailbox, collapse) {
        (None, false) => List::AllEmails,
        (None, true) => List::AllHeads,
        (Some(mailbox), false) => List::Mailbox(mailbox),
        (Some(mailbox), true) => List::MailboxHeads(mailbox),
    };
    Plan::List { list, backwards }
}

fn single_mailbox(filter: &EmailFilter) -> Option<MailboxId> {
    match filter {
        EmailFilter::Is(EmailCondition::InMailbox(mailbox)) => Some(*mailbox),
        EmailFilter::And(list) if list.len() == 1 => single_mailbox(list.first()?),
        _ => None,
    }
}

/// The place of an Email in a list, whether it stands there or not.
pub fn place_of(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<Option<Place>> {
    let row: Option<EmailRow> = read.row(account, email)?;
    Ok(row.map(|row| Place { at: row.received_at, id: email.0 }))
}

/// One query in progress.
pub struct Query<'a> {
    pub read: &'a dyn Read,
    pub account: AccountId,
    pub search: Option<&'a SearchIndex>,
    /// Whose `$seen` counts, in an inbox.
    pub eyes: Option<Eyes>,
}

/// How long a query waits for full text to catch up with what was delivered.
const SEARCH_WAIT: Duration = Duration::from_secs(5);

impl Query<'_> {
    /// All results, in order.
    pub fn run(
        &self,
        filter: Option<&EmailFilter>,
        sort: &[EmailSort],
        collapse: bool,
    ) -> Result<Vec<EmailId>, QueryError> {
        let all = sets::load(self.read, self.account, &EmailSet::All)?;
        let found = match filter {
            Some(filter) => self.filter(filter, all)?,
            None => all,
        };
        let by_date = matches!(sort, [] | [EmailSort { by: EmailOrder::ReceivedAt, .. }]);
        let sorted = if by_date {
            self.by_date(&found, sort.first().is_some_and(|sort| sort.ascending))?
        } else {
            self.by_keys(&found, sort)?
        };
        if !collapse {
            return Ok(sorted.into_iter().map(|(email, _)| email).collect());
        }
        let mut threads = HashSet::new();
        Ok(sorted.into_iter().filter(|(_, thread)| threads.insert(*thread)).map(|(email, _)| email).collect())
    }

    /// The Emails of `within` that pass.
    fn filter(&self, filter: &EmailFilter, within: Bitmap) -> Result<Bitmap, QueryError> {
        match filter {
            EmailFilter::And(list) => {
                let mut left = within;
                // Bitmaps first, so that the others look at as little as can be.
                for filter in list.iter().filter(|filter| filter.is_exact()) {
                    left = self.filter(filter, left)?;
                }
                for filter in list.iter().filter(|filter| !filter.is_exact()) {
                    left = self.filter(filter, left)?;
                }
                Ok(left)
            }
            EmailFilter::Or(list) => {
                let mut out = Bitmap::default();
                for filter in list {
                    out.unite(&self.filter(filter, within.clone())?);
                }
                Ok(out)
            }
            EmailFilter::Not(list) => {
                let mut left = within;
                for filter in list {
                    let out = self.filter(filter, left.clone())?;
                    left.subtract(&out);
                }
                Ok(left)
            }
            EmailFilter::Is(condition) => self.condition(condition, within),
        }
    }

    fn condition(&self, condition: &EmailCondition, mut within: Bitmap) -> Result<Bitmap, QueryError> {
        let set = |set: EmailSet| sets::load(self.read, self.account, &set);
        match condition {
            EmailCondition::InMailbox(mailbox) => within.intersect(&set(EmailSet::Mailbox(*mailbox))?),
            EmailCondition::HasKeyword(keyword) => within.intersect(&self.with_keyword(keyword)?),
            EmailCondition::NotKeyword(keyword) => within.subtract(&self.with_keyword(keyword)?),
            EmailCondition::HasAttachment(true) => within.intersect(&set(EmailSet::Attachment)?),
            EmailCondition::HasAttachment(false) => within.subtract(&set(EmailSet::Attachment)?),
            EmailCondition::Before(date) => within.subtract(&self.received_from(*date)?),
            EmailCondition::After(date) => within.intersect(&self.received_from(*date)?),
            EmailCondition::InConversation(id) => within.intersect(&self.of_conversation(*id)?),
            EmailCondition::Nothing => return Ok(Bitmap::default()),
            EmailCondition::Text(query) => return self.text(query, within),
            other => return self.by_rows(other, &within),
        }
        Ok(within)
    }

    fn with_keyword(&self, keyword: &Keyword) -> StoreResult<Bitmap> {
        viewer::with_keyword(self.read, self.account, self.eyes.as_ref(), keyword)
    }

    /// Emails received at that time or later.
    fn received_from(&self, date: UtcDate) -> StoreResult<Bitmap> {
        let mut range = keys::list_entries(self.account, List::AllEmails);
        range =
            keys::until(range, &keys::list_entry(self.account, List::AllEmails, Place { at: date, id: 0 }));
        let mut out = Bitmap::default();
        self.read.scan(&range, false, &mut |key, _| {
            if let Some(place) = keys::read_place(key) {
                out.insert(EmailId(place.id));
            }
            ControlFlow::Continue(())
        })?;
        // The last key is left out by the range: the Email numbered 0, which there never is.
        Ok(out)
    }

    fn of_conversation(&self, id: ConversationId) -> StoreResult<Bitmap> {
        let range = keys::all_of(self.account, keys::Kind::ConversationEmail, id.0);
        Ok(self.read.ids(&range, false, usize::MAX)?.into_iter().map(EmailId).collect())
    }

    fn text(&self, query: &TextQuery, within: Bitmap) -> Result<Bitmap, QueryError> {
        let index = self.search.ok_or_else(|| QueryError::Search("there is no index".to_owned()))?;
        let wanted = changes::states(self.read, self.account)?.of(DataType::Email);
        if !index.wait_until_searchable(self.account, wanted, SEARCH_WAIT) {
            return Err(QueryError::Search("it is still being built".to_owned()));
        }
        let mut found: Bitmap = index.search(self.account, query)?.into_emails()?.into_iter().collect();
        found.intersect(&within);
        if !query.must_verify() {
            return Ok(found);
        }
        self.bounded(&found)?;
        let mut out = Bitmap::default();
        for email in found.iter() {
            if let Some(text) = super::indexer::text_of(self.read, self.account, email)?
                && query.matches(&text.indexed())
            {
                out.insert(email);
            }
        }
        Ok(out)
    }

    /// Decides row by row.
    fn by_rows(&self, condition: &EmailCondition, within: &Bitmap) -> Result<Bitmap, QueryError> {
        self.bounded(within)?;
        let keyword = match condition {
            EmailCondition::AllInThreadHaveKeyword(keyword)
            | EmailCondition::SomeInThreadHaveKeyword(keyword)
            | EmailCondition::NoneInThreadHaveKeyword(keyword) => Some(self.with_keyword(keyword)?),
            _ => None,
        };
        let mut threads = Threads::new(self, keyword.unwrap_or_default());
        let mut out = Bitmap::default();
        self.each_row(within, |email, row| {
            if self.fits(condition, email, row, &mut threads)? {
                out.insert(email);
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn fits(
        &self,
        condition: &EmailCondition,
        email: EmailId,
        row: &EmailRow,
        threads: &mut Threads<'_>,
    ) -> StoreResult<bool> {
        Ok(match condition {
            EmailCondition::InMailboxOtherThan(others) => {
                row.mailboxes.iter().any(|mailbox| !others.contains(mailbox))
            }
            EmailCondition::MinSize(size) => u64::from(row.size) >= *size,
            EmailCondition::MaxSize(size) => u64::from(row.size) < *size,
            EmailCondition::AllInThreadHaveKeyword(_) => threads.of(row.thread)?.0,
            EmailCondition::SomeInThreadHaveKeyword(_) => threads.of(row.thread)?.1,
            EmailCondition::NoneInThreadHaveKeyword(_) => !threads.of(row.thread)?.1,
            EmailCondition::Header(name, value) => self.header_fits(email, name, value.as_deref())?,
            _ => false,
        })
    }

    /// RFC 8621 §4.4.1, `header`: a field of that name, with the text in its decoded value.
    fn header_fits(&self, email: EmailId, name: &str, value: Option<&str>) -> StoreResult<bool> {
        let Some(stored) = self.read.row::<StoredMessage>(self.account, email)? else { return Ok(false) };
        let fields = blob::header_fields(&stored);
        let mut same = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        Ok(match value {
            None => same.next().is_some(),
            Some(value) => {
                let wanted = value.to_lowercase();
                same.any(|field| headers::shown_text(field).to_lowercase().contains(&wanted))
            }
        })
    }

    fn bounded(&self, set: &Bitmap) -> Result<(), QueryError> {
        if set.len() > limits::FILTER_SCAN_EMAILS_MAX {
            return Err(QueryError::TooMuch(format!(
                "the filter would have to look at more than {} Emails one by one",
                limits::FILTER_SCAN_EMAILS_MAX
            )));
        }
        Ok(())
    }

    /// Newest first or last, with each Email's Thread.
    fn by_date(&self, found: &Bitmap, ascending: bool) -> Result<Vec<(EmailId, ThreadId)>, QueryError> {
        let count = found.len();
        let total = list::total(self.read, self.account, List::AllEmails)? as usize;
        let mut out: Vec<(Place, ThreadId)> = Vec::with_capacity(count);
        // A row costs more than this many entries of the list, which lie side by side.
        const ENTRIES_FOR_A_ROW: usize = 32;
        if count * ENTRIES_FOR_A_ROW > total {
            // Much of the account: its list has the order already.
            let entries: Vec<Entry> =
                list::page(self.read, self.account, List::AllEmails, 0, usize::MAX, false)?;
            let within = entries.into_iter().filter(|entry| found.contains(EmailId(entry.place.id)));
            out.extend(within.map(|entry| (entry.place, ThreadId(entry.with))));
        } else {
            self.each_row(found, |email, row| {
                out.push((Place { at: row.received_at, id: email.0 }, row.thread));
                Ok(())
            })?;
            out.sort_unstable_by_key(|(place, _)| *place);
        }
        if ascending {
            out.reverse();
        }
        Ok(out.into_iter().map(|(place, thread)| (EmailId(place.id), thread)).collect())
    }

    fn by_keys(&self, found: &Bitmap, sort: &[EmailSort]) -> Result<Vec<(EmailId, ThreadId)>, QueryError> {
        self.bounded(found)?;
        let mut threads: Vec<Option<Threads<'_>>> = Vec::new();
        for sort in sort {
            threads.push(match &sort.by {
                EmailOrder::HasKeyword(keyword)
                | EmailOrder::AllInThreadHaveKeyword(keyword)
                | EmailOrder::SomeInThreadHaveKeyword(keyword) => {
                    Some(Threads::new(self, self.with_keyword(keyword)?))
                }
                _ => None,
            });
        }
        let mut rows: Vec<(Vec<SortKey>, Place, ThreadId)> = Vec::with_capacity(found.len());
        self.each_row(found, |email, row| {
            let mut sort_keys = Vec::with_capacity(sort.len());
            for (sort, threads) in sort.iter().zip(&mut threads) {
                sort_keys.push(sort_key(sort, row, threads.as_mut(), email)?);
            }
            rows.push((sort_keys, Place { at: row.received_at, id: email.0 }, row.thread));
            Ok(())
        })?;
        rows.sort_by(|a, b| {
            let mut order = std::cmp::Ordering::Equal;
            for ((one, other), sort) in a.0.iter().zip(&b.0).zip(sort) {
                order = order.then_with(|| if sort.ascending { one.cmp(other) } else { other.cmp(one) });
            }
            // Whatever the comparators leave open is stable: newest first.
            order.then_with(|| a.1.cmp(&b.1))
        });
        Ok(rows.into_iter().map(|(_, place, thread)| (EmailId(place.id), thread)).collect())
    }

    fn each_row(
        &self,
        set: &Bitmap,
        mut visit: impl FnMut(EmailId, &EmailRow) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let emails: Vec<EmailId> = set.iter().collect();
        for chunk in emails.chunks(512) {
            let rows = self.read.rows::<EmailRow>(self.account, chunk.iter().copied())?;
            for (email, row) in chunk.iter().zip(rows) {
                if let Some(row) = row {
                    visit(*email, &row)?;
                }
            }
        }
        Ok(())
    }
}

impl EmailFilter {
    /// Does the test hold of one of its conditions?
    pub fn any(&self, test: &impl Fn(&EmailCondition) -> bool) -> bool {
        match self {
            EmailFilter::And(list) | EmailFilter::Or(list) | EmailFilter::Not(list) => {
                list.iter().any(|one| one.any(test))
            }
            EmailFilter::Is(condition) => test(condition),
        }
    }

    /// Decided by bitmaps alone.
    fn is_exact(&self) -> bool {
        match self {
            EmailFilter::And(list) | EmailFilter::Or(list) | EmailFilter::Not(list) => {
                list.iter().all(EmailFilter::is_exact)
            }
            EmailFilter::Is(condition) => !matches!(
                condition,
                EmailCondition::InMailboxOtherThan(_)
                    | EmailCondition::MinSize(_)
                    | EmailCondition::MaxSize(_)
                    | EmailCondition::AllInThreadHaveKeyword(_)
                    | EmailCondition::SomeInThreadHaveKeyword(_)
                    | EmailCondition::NoneInThreadHaveKeyword(_)
                    | EmailCondition::Header(..)
            ),
        }
    }
}

/// Whether all and whether some Emails of a Thread are in a set, remembered by Thread.
struct Threads<'q> {
    query: &'q Query<'q>,
    set: Bitmap,
    known: HashMap<ThreadId, (bool, bool)>,
}

impl<'q> Threads<'q> {
    fn new(query: &'q Query<'q>, set: Bitmap) -> Self {
        Self { query, set, known: HashMap::new() }
    }

    fn of(&mut self, thread: ThreadId) -> StoreResult<(bool, bool)> {
        if let Some(known) = self.known.get(&thread) {
            return Ok(*known);
        }
        let row: ThreadRow = self.query.read.row(self.query.account, thread)?.unwrap_or_default();
        let all = row.emails.iter().all(|entry| self.set.contains(entry.email));
        let some = row.emails.iter().any(|entry| self.set.contains(entry.email));
        self.known.insert(thread, (all, some));
        Ok((all, some))
    }
}

/// What a comparator compares.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SortKey {
    Number(i64),
    Text(CollationKey),
    Flag(bool),
}

fn sort_key(
    sort: &EmailSort,
    row: &EmailRow,
    threads: Option<&mut Threads<'_>>,
    email: EmailId,
) -> StoreResult<SortKey> {
    // RFC 8621 §4.4.2: the first address's name, or its address where it has none.
    let first = |addresses: &[MailAddress]| {
        addresses.first().map_or_else(String::new, |address| match &address.name {
            Some(name) if !name.is_empty() => name.clone(),
            _ => address.email.clone(),
        })
    };
    Ok(match &sort.by {
        EmailOrder::ReceivedAt => SortKey::Number(row.received_at.0),
        EmailOrder::SentAt => SortKey::Number(sent_at(row).0),
        EmailOrder::Size => SortKey::Number(i64::from(row.size)),
        EmailOrder::From => SortKey::Text(sort.collation.key(&first(&row.from))),
        EmailOrder::To => SortKey::Text(sort.collation.key(&first(&row.to))),
        EmailOrder::Subject => SortKey::Text(sort.collation.key(&super::subject::base_subject(&row.subject))),
        EmailOrder::HasKeyword(_) => {
            SortKey::Flag(threads.is_some_and(|threads| threads.set.contains(email)))
        }
        EmailOrder::AllInThreadHaveKeyword(_) => match threads {
            Some(threads) => SortKey::Flag(threads.of(row.thread)?.0),
            None => SortKey::Flag(false),
        },
        EmailOrder::SomeInThreadHaveKeyword(_) => match threads {
            Some(threads) => SortKey::Flag(threads.of(row.thread)?.1),
            None => SortKey::Flag(false),
        },
    })
}

/// The Date field, or the time of arrival where it can't be read.
fn sent_at(row: &EmailRow) -> UtcDate {
    let sent = row.sent_at.as_deref().and_then(MailDate::parse_rfc3339);
    sent.map_or(row.received_at, MailDate::date)
}
