//! The table of methods: one line each. A name that isn't here is `unknownMethod`.

use super::capability::Capability::{self, Core, Mail, Submission};
use super::capability::CapabilitySet;
use super::context::Ctx;
use super::error::MethodError;
use super::request::Request;
use super::types;
use super::types::email::Email;
use super::types::identity::Identity;
use super::types::mailbox::Mailbox;
use super::types::submission::EmailSubmission;
use super::types::thread::Thread;
use super::types::{email_import, email_parse, search_snippet};
use super::{changes, get, query, query_changes, set};
use crate::types::AccountId;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Does a method change something in the account that it names?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It reads.
    Read,
    /// It writes the account `accountId`, and where there is one, `fromAccountId`.
    Write,
}

/// What runs a call: it pushes its responses, or says why not.
pub type Run = fn(&mut Ctx<'_>, &Method, Map<String, Value>) -> Result<(), MethodError>;

/// One line of the table.
#[derive(Clone, Copy)]
pub struct Method {
    pub name: &'static str,
    pub capability: Capability,
    /// Capabilities of which one will do as well: a type that two of them show half of exists for
    /// a client of either. They are in every account that `capability` is in.
    pub also: &'static [Capability],
    pub effect: Effect,
    pub run: Run,
}

impl Method {
    /// The same method, for clients that use one of these instead.
    pub const fn or(mut self, also: &'static [Capability]) -> Self {
        self.also = also;
        self
    }

    /// Does the method exist for a client that uses these?
    pub fn is_in_use(&self, using: CapabilitySet) -> bool {
        using.contains(self.capability) || self.also.iter().any(|&one| using.contains(one))
    }
}

/// A method that reads: `read("Thread/get", Mail, get::run::<Thread>)`.
pub const fn read(name: &'static str, capability: Capability, run: Run) -> Method {
    Method { name, capability, also: &[], effect: Effect::Read, run }
}

/// A method that writes: `write("Email/set", Mail, set::run::<Email>)`.
pub const fn write(name: &'static str, capability: Capability, run: Run) -> Method {
    Method { name, capability, also: &[], effect: Effect::Write, run }
}

static METHODS: &[Method] = &[
    read("Core/echo", Core, echo),
    read("Mailbox/get", Mail, get::run::<Mailbox>),
    read("Mailbox/changes", Mail, changes::run::<Mailbox>),
    read("Mailbox/query", Mail, query::run::<Mailbox>),
    read("Mailbox/queryChanges", Mail, query_changes::run::<Mailbox>),
    write("Mailbox/set", Mail, set::run::<Mailbox>),
    read("Identity/get", Submission, get::run::<Identity>),
    read("Identity/changes", Submission, changes::run::<Identity>),
    write("Identity/set", Submission, set::run::<Identity>),
    read("Thread/get", Mail, get::run::<Thread>),
    read("Thread/changes", Mail, changes::run::<Thread>),
    read("Email/get", Mail, get::run::<Email>),
    read("Email/changes", Mail, changes::run::<Email>),
    read("Email/query", Mail, query::run::<Email>),
    read("Email/queryChanges", Mail, query_changes::run::<Email>),
    write("Email/set", Mail, set::run::<Email>),
    write("Email/copy", Mail, super::copy::run::<Email>),
    write("Email/import", Mail, email_import::run),
    read("Email/parse", Mail, email_parse::run),
    read("SearchSnippet/get", Mail, search_snippet::run),
    read("EmailSubmission/get", Submission, get::run::<EmailSubmission>),
    read("EmailSubmission/changes", Submission, changes::run::<EmailSubmission>),
    read("EmailSubmission/query", Submission, query::run::<EmailSubmission>),
    read("EmailSubmission/queryChanges", Submission, query_changes::run::<EmailSubmission>),
    write("EmailSubmission/set", Submission, set::run::<EmailSubmission>),
];

/// All lines: those above, and those of the types that keep theirs in their own files.
static TABLES: &[&[Method]] = &[
    METHODS,
    types::blob::METHODS,
    types::conversation::METHODS,
    types::conversation_counts::METHODS,
    types::conversation_erase::METHODS,
    types::note::METHODS,
    types::reply_lock::METHODS,
    types::activity::METHODS,
    types::inbox_settings::METHODS,
    types::mdn::METHODS,
    types::presence::METHODS,
    types::principal::METHODS,
    types::push_subscription::METHODS,
    types::quota::METHODS,
    types::share_notification::METHODS,
    types::vacation::METHODS,
];

/// The method of that name.
pub fn find(name: &str) -> Option<&'static Method> {
    #[cfg(test)]
    let mut all = all().chain(super::example::METHODS);
    #[cfg(not(test))]
    let mut all = all();
    all.find(|method| method.name == name)
}

/// Every line.
pub fn all() -> impl Iterator<Item = &'static Method> {
    TABLES.iter().copied().flatten()
}

/// The accounts that a request says it will write, each once and in order. The caller takes their
/// locks, as far as the session shows the accounts, before the request enters the blocking pool.
/// An account id that comes by result reference isn't among them: its lock is taken when it's
/// known.
pub fn accounts_written(request: &Request) -> Vec<AccountId> {
    let mut accounts = BTreeSet::new();
    for call in &request.calls {
        let Some(method) = find(&call.name).filter(|method| method.is_in_use(request.using)) else {
            continue;
        };
        let named = |argument: &str| call.arguments.get(argument)?.as_str().and_then(AccountId::parse);
        if method.effect != Effect::Read {
            accounts.extend(named("accountId"));
            // What leaves an inbox is on record there.
            accounts.extend(named("fromAccountId"));
        }
    }
    accounts.into_iter().collect()
}

/// Does the request read the store or take long? Core/echo alone, with nothing to refer to, doesn't.
pub fn may_block(request: &Request) -> bool {
    !matches!(request.calls.as_slice(), [call] if call.name == "Core/echo")
}

/// RFC 8620 §4.
fn echo(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    ctx.respond(method.name, arguments);
    Ok(())
}
