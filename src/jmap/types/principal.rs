//! Principal (RFC 9670 §2), as much as a client needs to show names: the people and teams of an inbox,
//! or in an account of one's own oneself. Nothing here tells of anybody else, or of what they may see.
//!
//! They come from the directory, which keeps no log that this account may read: the state is a
//! digest of what is shown, and changes can't be calculated (RFC 9670 §2.2, §2.5).

use super::team;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::{Ownership, Principals};
use crate::jmap::changes::ChangedIds;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::query::{Collation, Comparator, Materialised, QueryResult};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes, set};
use crate::store::Read;
use crate::types::{MemberRole, PrincipalId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Principal/get", Principals, get::run::<Principal>),
    read("Principal/changes", Principals, changes::run::<Principal>),
    read("Principal/query", Principals, query::run::<Principal>),
    read("Principal/queryChanges", Principals, query_changes::run::<Principal>),
    write("Principal/set", Principals, set::run::<Principal>),
];

/// The type.
pub struct Principal;

static TABLE: TypeTable = TypeTable {
    name: "Principal",
    data_type: None,
    capability: Principals,
    id: |number| PrincipalId(number).to_string(),
    // What a client may send is judged by `create` and `update`, which refuse it all.
    properties: &[
        Property::ID,
        Property::mutable("type", Kind::Any, Initial::Computed),
        Property::mutable("name", Kind::Any, Initial::Computed),
        Property::mutable("description", Kind::Any, Initial::Computed).or_null(),
        Property::mutable("email", Kind::Any, Initial::Computed).or_null(),
        Property::mutable("timeZone", Kind::Any, Initial::Computed).or_null(),
        Property::server("capabilities", Kind::Object),
        Property::server("accounts", Kind::Object).or_null(),
        // Of a team, who of it works in the inbox; null for a person.
        Property::server("memberIds", Kind::Ids).or_null().of(Ownership).on_request(),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

/// What is shown of a person or a team.
struct Shown {
    name: String,
    /// Null for a team.
    email: Option<String>,
    members: Option<Vec<PrincipalId>>,
}

impl Shown {
    /// RFC 9670 §2: the type of principal.
    fn kind(&self) -> &'static str {
        if self.members.is_some() { "group" } else { "individual" }
    }
}

/// The people and teams of the account, by their numbers.
fn people(ctx: &Ctx, account: &Account) -> BTreeMap<PrincipalId, Shown> {
    let staff = team::staff(ctx, account);
    let person =
        |name: &str, email: String| Shown { name: name.to_owned(), email: Some(email), members: None };
    let shown = |id| staff.names.get(&id).map(|one| person(&one.name, one.email.to_string()));
    if account.is_inbox() {
        let people = staff.names.keys().filter_map(|&id| Some((id, shown(id)?)));
        let teams = staff.teams.iter().filter(|(_, team)| !team.disabled).map(|(id, team)| {
            let members = Some(team.members.clone());
            (*id, Shown { name: team.name.clone(), email: None, members })
        });
        return people.chain(teams).collect();
    }
    let own = ctx.session.principal;
    let username = &ctx.session.username;
    let unnamed = || person(username, username.clone());
    BTreeMap::from([(own, shown(own).unwrap_or_else(unnamed))])
}

impl Object for Principal {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        ctx: &Ctx,
        _reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let people = people(ctx, account);
        let found = |id: &&str| {
            let number = PrincipalId::parse(id)?;
            Some(to_json(id, people.get(&number)?, accounts_of(ctx, number), props))
        };
        Ok(ids.iter().map(found).collect())
    }

    fn all_ids(
        ctx: &Ctx,
        _reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let people = people(ctx, account);
        Ok((people.len() <= max).then(|| people.keys().map(PrincipalId::to_string).collect()))
    }

    fn state(ctx: &Ctx, _reader: &dyn Read, account: &Account) -> Result<String, MethodError> {
        let mut hasher = blake3::Hasher::new();
        for (id, one) in people(ctx, account) {
            hasher.update(json!([id.0, one.name, one.email, ids(&one.members)]).to_string().as_bytes());
        }
        Ok(hasher.finalize().to_hex().chars().take(16).collect())
    }

    fn changes(ctx: &Ctx, account: &Account, since: &str, _max: usize) -> Result<ChangedIds, MethodError> {
        let state = Self::state(ctx, ctx.reader(), account)?;
        if since != state {
            return Err(MethodErrorKind::CannotCalculateChanges.into());
        }
        Ok(ChangedIds { new_state: state, ..ChangedIds::default() })
    }
}

/// The accounts with a principal's data that the one who asks has access to: nobody sees the mail of
/// another, so that it is one's own account or none. An inbox is no principal's.
fn accounts_of(ctx: &Ctx, principal: PrincipalId) -> Value {
    let is_own = |one: &&Account| one.owner.is_some_and(|owner| owner.principal_id == principal);
    match ctx.session.accounts().iter().find(is_own) {
        Some(own) => json!({own.id.to_string(): ctx.session.account_json(own)}),
        None => Value::Null,
    }
}

fn to_json(id: &str, one: &Shown, accounts: Value, props: &Props) -> Map<String, Value> {
    let value = |name: &str| match name {
        "accounts" => accounts.clone(),
        "id" => json!(id),
        "type" => json!(one.kind()),
        "name" => json!(one.name),
        "email" => json!(one.email),
        "capabilities" => json!({}),
        "memberIds" => ids(&one.members),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

fn ids(members: &Option<Vec<PrincipalId>>) -> Value {
    json!(members.as_ref().map(|all| all.iter().map(PrincipalId::to_string).collect::<Vec<_>>()))
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

/// RFC 9670 §2.3: people are the operator's, who manages them at the command line; every change is
/// `forbidden`.
impl SetObject for Principal {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(_set: &mut Set<'_, '_>, _properties: Map<String, Value>) -> Result<Created, Refusal> {
        Err(by_the_operator())
    }

    fn update(_set: &mut Set<'_, '_>, _update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        Err(by_the_operator())
    }

    fn destroy(_set: &mut Set<'_, '_>, _id: &str) -> Result<(), Refusal> {
        Err(by_the_operator())
    }
}

fn by_the_operator() -> Refusal {
    SetError::forbidden("People are managed by the operator of the server.").into()
}

/// One test (RFC 9670 §2.4.1); texts are in small letters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Email(String),
    Name(String),
    Text(String),
    Type(String),
    /// One of these is an account of the principal's.
    Accounts(Vec<String>),
    /// On a property that nobody has here.
    Never,
}

impl Test {
    fn holds(&self, one: &Shown, accounts: &Value) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(part);
        match self {
            Self::Email(part) => one.email.as_ref().is_some_and(|email| contains(email, part)),
            Self::Name(part) => contains(&one.name, part),
            Self::Text(part) => {
                contains(&one.name, part) || one.email.as_ref().is_some_and(|email| contains(email, part))
            }
            Self::Type(name) => name == one.kind(),
            Self::Accounts(ids) => ids.iter().any(|id| accounts.get(id).is_some()),
            Self::Never => false,
        }
    }
}

impl QueryObject for Principal {
    type Condition = Vec<Test>;
    /// By name; true: ascending.
    type Sort = (Collation, bool);
    type QueryArgs = ();

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
        let mut tests = Vec::new();
        tests.extend(args.string("email")?.map(|text| Test::Email(text.to_lowercase())));
        tests.extend(args.string("name")?.map(|text| Test::Name(text.to_lowercase())));
        tests.extend(args.string("text")?.map(|text| Test::Text(text.to_lowercase())));
        tests.extend(args.string("type")?.map(Test::Type));
        tests.extend(args.string("timeZone")?.map(|_| Test::Never));
        tests.extend(args.strings("accountIds")?.map(Test::Accounts));
        Ok(tests)
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<(Collation, bool), MethodError> {
        match comparator.property.as_str() {
            "name" => Ok((comparator.collation.unwrap_or_default(), comparator.is_ascending)),
            _ => Err(MethodErrorKind::UnsupportedSort.into()),
        }
    }

    fn query_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let mut found: Vec<(PrincipalId, Shown)> = people(ctx, account).into_iter().collect();
        if let Some(filter) = &query.filter {
            found.retain(|(id, one)| {
                let accounts = accounts_of(ctx, *id);
                filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(one, &accounts)))
            });
        }
        if let Some((collation, ascending)) = query.sort.first() {
            found.sort_by_cached_key(|(_, one)| collation.key(&one.name));
            if !ascending {
                found.reverse();
            }
        }
        let ids = found.into_iter().map(|(id, _)| id).collect();
        Ok(QueryResult {
            results: Box::new(Materialised { ids, spell: PrincipalId::to_string }),
            query_state: Self::state(ctx, ctx.reader(), account)?,
            can_calculate_changes: false,
        })
    }

    fn query_changes(
        _ctx: &Ctx,
        _account: &Account,
        _query: &Query<Self>,
        _since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        Err(MethodErrorKind::CannotCalculateChanges.into())
    }
}
