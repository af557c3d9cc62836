//! What a FilterCondition of Conversation/query asks for.
//!
//! Most is in the conversation's own row. What is about messages (text, mailbox, what a member
//! hasn't seen) is asked of the Emails as Email/query does, once a query, and gives the set of their
//! conversations.

use super::email_query;
use super::email_query_changes::Wanted;
use super::team;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::query::Filter;
use crate::jmap::session::Account;
use crate::mail::query::{EmailCondition, EmailFilter};
use crate::mail::search::{Field, TextQuery};
use crate::store::rows::mail::{EmailRow, ThreadRow};
use crate::store::rows::team::{ConversationRow, Priority, Status};
use crate::store::{List, Read};
use crate::types::{AccountId, ConversationId, EmailId, Keyword, MailboxId, PrincipalId, ThreadId, UtcDate};
use serde_json::Value;
use std::collections::BTreeSet;

/// One test; the tests of a FilterCondition must all hold.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    Status(Status),
    Owner(Option<PrincipalId>),
    HasOwner,
    Team(Option<PrincipalId>),
    Watcher(PrincipalId),
    Tag(String),
    Category(Option<String>),
    Resolution(Option<String>),
    Priority(Priority),
    /// Somebody waits for an answer, or nobody does.
    Waiting(bool),
    /// In the customer's address or name, in small letters.
    Customer(String),
    /// Words in its messages, or the whole text in its subject, in small letters.
    Text(TextQuery, String),
    Email(EmailId),
    Thread(ThreadId),
    InMailbox(MailboxId),
    /// Has a message that this member hasn't seen.
    Unseen(bool),
    Date(Moment, Bound, UtcDate),
    /// It names something that there is not.
    Never,
}

/// The date that a test is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    Waiting,
    Snoozed,
    Created,
    Updated,
}

/// Earlier than a date, or not earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    Before,
    After,
}

/// The conversations of those tests that aren't answered by a row.
#[derive(Default)]
pub struct Sets(Vec<(Test, BTreeSet<ConversationId>)>);

/// Reads the tests of one FilterCondition.
pub fn read(ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
    let mut tests = Vec::new();
    if ctx.using.contains(Capability::Ownership) {
        ownership(ctx, args, &mut tests)?;
    }
    if ctx.using.contains(Capability::Status) {
        status(args, &mut tests)?;
    }
    messages(args, &mut tests)?;
    tests.extend(args.string("customer")?.map(|text| Test::Customer(text.to_lowercase())));
    if args.left_has("isWaiting") {
        tests.push(Test::Waiting(args.flag("isWaiting")?));
    }
    let mut moments =
        vec![("waiting", Moment::Waiting), ("created", Moment::Created), ("updated", Moment::Updated)];
    if ctx.using.contains(Capability::Status) {
        moments.push(("snoozed", Moment::Snoozed));
    }
    for (name, moment) in moments {
        for (end, bound) in [("Before", Bound::Before), ("After", Bound::After)] {
            let date = team::date_argument(args, &format!("{name}{end}"))?;
            tests.extend(date.map(|date| Test::Date(moment, bound, date)));
        }
    }
    Ok(tests)
}

/// An id, `"me"`, or nobody as `"none"` or null.
fn principal(
    ctx: &Ctx,
    args: &mut Args,
    name: &str,
) -> Result<Option<Option<Option<PrincipalId>>>, MethodError> {
    Ok(Some(match args.given(name) {
        None => return Ok(None),
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => match text.as_str() {
            "none" => Some(None),
            "me" => Some(Some(ctx.session.principal)),
            id => PrincipalId::parse(id).map(Some),
        },
        Some(_) => return Err(MethodError::argument(name, "must be an id, \"me\", \"none\" or null")),
    }))
}

fn ownership(ctx: &Ctx, args: &mut Args, tests: &mut Vec<Test>) -> Result<(), MethodError> {
    tests.extend(principal(ctx, args, "ownerId")?.map(|id| id.map_or(Test::Never, Test::Owner)));
    tests.extend(principal(ctx, args, "teamId")?.map(|id| id.map_or(Test::Never, Test::Team)));
    if args.left_has("hasOwner") {
        tests.push(if args.flag("hasOwner")? { Test::HasOwner } else { Test::Owner(None) });
    }
    let watcher = team::principal_argument(ctx, args, "watcherId")?;
    tests.extend(watcher.map(|id| id.map_or(Test::Never, Test::Watcher)));
    Ok(())
}

fn status(args: &mut Args, tests: &mut Vec<Test>) -> Result<(), MethodError> {
    let unknown = |name: &str| MethodError::argument(name, "there is no such word");
    if let Some(name) = args.string("status")? {
        tests.push(Test::Status(Status::parse(&name).ok_or_else(|| unknown("status"))?));
    }
    if let Some(name) = args.string("priority")? {
        tests.push(Test::Priority(Priority::parse(&name).ok_or_else(|| unknown("priority"))?));
    }
    tests.extend(args.string("tag")?.map(Test::Tag));
    for (name, test) in
        [("category", Test::Category as fn(Option<String>) -> Test), ("resolution", Test::Resolution)]
    {
        match args.given(name) {
            None => {}
            Some(Value::Null) => tests.push(test(None)),
            Some(Value::String(text)) => tests.push(test(Some(text))),
            Some(_) => return Err(MethodError::argument(name, "must be a string or null")),
        }
    }
    Ok(())
}

fn messages(args: &mut Args, tests: &mut Vec<Test>) -> Result<(), MethodError> {
    if let Some(text) = args.string("text")? {
        let words = TextQuery::parse(Field::Text, &text).map_err(|error| {
            MethodError::new(MethodErrorKind::UnsupportedFilter, format!("text: {error}"))
        })?;
        tests.push(Test::Text(words, text.to_lowercase()));
    }
    let email = args.string("emailId")?;
    tests.extend(email.map(|id| EmailId::parse(&id).map_or(Test::Never, Test::Email)));
    let thread = args.string("threadId")?;
    tests.extend(thread.map(|id| ThreadId::parse(&id).map_or(Test::Never, Test::Thread)));
    let mailbox = args.string("inMailbox")?;
    tests.extend(mailbox.map(|id| MailboxId::parse(&id).map_or(Test::Never, Test::InMailbox)));
    if args.left_has("hasUnseen") {
        tests.push(Test::Unseen(args.flag("hasUnseen")?));
    }
    Ok(())
}

impl Test {
    /// Whether the test holds for a conversation.
    pub fn holds(&self, id: ConversationId, row: &ConversationRow, sets: &Sets) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(part);
        let in_set = || sets.get(self).is_some_and(|set| set.contains(&id));
        match self {
            Self::Status(status) => row.status == *status,
            Self::Owner(owner) => row.owner == *owner,
            Self::HasOwner => row.owner.is_some(),
            Self::Team(team) => row.team == *team,
            Self::Watcher(watcher) => row.watchers.contains(watcher),
            Self::Tag(tag) => row.tags.contains(tag),
            Self::Category(category) => row.category == *category,
            Self::Resolution(resolution) => row.resolution == *resolution,
            Self::Priority(priority) => row.priority == *priority,
            Self::Waiting(waits) => row.waiting_since.is_some() == *waits,
            Self::Customer(part) => row.customer.as_ref().is_some_and(|customer| {
                let name = customer.name.as_deref().unwrap_or_default();
                contains(customer.address.as_str(), part) || contains(name, part)
            }),
            Self::Text(_, part) => contains(&row.subject, part) || sets.found(self, id),
            Self::Unseen(unseen) => sets.found(self, id) == *unseen,
            Self::Email(_) | Self::Thread(_) | Self::InMailbox(_) => in_set(),
            Self::Date(moment, bound, date) => moment.of(row).is_some_and(|at| match bound {
                Bound::Before => at < *date,
                Bound::After => at >= *date,
            }),
            Self::Never => false,
        }
    }

    /// The list of exactly those for which the test holds.
    pub fn list(&self) -> Option<List> {
        match self {
            Self::Status(status) => Some(List::ConversationsWithStatus(*status as u8)),
            Self::Owner(owner) => Some(List::ConversationsOfOwner(*owner)),
            _ => None,
        }
    }

    /// Can it change without a change of the conversation?
    pub fn is_by_emails(&self) -> bool {
        matches!(self, Self::Text(..) | Self::InMailbox(_) | Self::Unseen(_))
    }

    /// The Emails whose conversations pass, as Email/query finds them.
    fn emails(&self) -> Option<EmailFilter> {
        let keyword = |name: &str| Keyword::parse(name).map(EmailCondition::HasKeyword);
        match self {
            Self::Text(words, _) => Some(EmailFilter::Is(EmailCondition::Text(words.clone()))),
            Self::InMailbox(mailbox) => Some(EmailFilter::Is(EmailCondition::InMailbox(*mailbox))),
            Self::Unseen(_) => {
                let seen = [Keyword::SEEN, Keyword::DRAFT].into_iter().filter_map(keyword);
                Some(EmailFilter::Not(seen.map(EmailFilter::Is).collect()))
            }
            _ => None,
        }
    }
}

impl Moment {
    fn of(self, row: &ConversationRow) -> Option<UtcDate> {
        match self {
            Self::Waiting => row.waiting_since,
            Self::Snoozed => row.snoozed_until,
            Self::Created => Some(row.created_at),
            Self::Updated => Some(row.last_activity_at),
        }
        .map(|at| at.date())
    }
}

impl Sets {
    /// Finds the sets of all tests in a filter that have one.
    pub fn of(ctx: &Ctx, account: &Account, filter: Option<&Filter<Vec<Test>>>) -> Result<Self, MethodError> {
        let mut tests: Vec<&Test> = Vec::new();
        if let Some(filter) = filter {
            filter.for_each(&mut |some: &Vec<Test>| tests.extend(some));
        }
        let mut sets = Self::default();
        for test in tests {
            if sets.0.iter().any(|(known, _)| known == test) {
                continue;
            }
            let emails = match test {
                Test::Email(email) => vec![*email],
                Test::Thread(thread) => {
                    let row: Option<ThreadRow> = ctx.reader().row(account.id, *thread)?;
                    row.unwrap_or_default().emails.into_iter().map(|entry| entry.email).collect()
                }
                // Without an index the subject alone is looked at.
                Test::Text(..) if ctx.host.search.is_none() => Vec::new(),
                _ => match test.emails() {
                    Some(filter) => {
                        let wanted = Wanted { filter: Some(&filter), sort: &[], collapse: false };
                        email_query::made(ctx, account, &wanted)?
                    }
                    None => continue,
                },
            };
            sets.0.push((test.clone(), conversations(ctx.reader(), account.id, &emails)?));
        }
        Ok(sets)
    }

    /// The set outside of which a test never holds.
    pub fn get(&self, test: &Test) -> Option<&BTreeSet<ConversationId>> {
        // Text may stand in a subject alone, and what isn't unseen is everything else.
        let is_all = !matches!(test, Test::Text(..) | Test::Unseen(false));
        self.0.iter().find(|(known, _)| is_all && known == test).map(|(_, set)| set)
    }

    fn found(&self, test: &Test, id: ConversationId) -> bool {
        self.0.iter().any(|(known, set)| known == test && set.contains(&id))
    }
}

fn conversations(
    reader: &dyn Read,
    account: AccountId,
    emails: &[EmailId],
) -> Result<BTreeSet<ConversationId>, MethodError> {
    let mut found = BTreeSet::new();
    for some in emails.chunks(ROWS_AT_ONCE) {
        let rows = reader.rows::<EmailRow>(account, some.iter().copied())?;
        found.extend(rows.into_iter().flatten().filter_map(|row| row.conversation));
    }
    Ok(found)
}

/// Rows read at once.
const ROWS_AT_ONCE: usize = 512;
