//! Random calls of every method, right, nearly right and senseless: each is answered, none with
//! `serverFail`, and one that is refused changes nothing (RFC 8620 §3.6.2).

use super::team_tests::{ANN, INBOX, LEA, OBI, World};
use crate::jmap::capability::Capability;
use crate::jmap::methods;
use crate::store::changes;
use crate::types::AccountId;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Texts that mean something somewhere.
const WORDS: &[&str] = &[
    "ac",
    "ab",
    "azz",
    "ma",
    "mb",
    "mc",
    "mzz",
    "eb",
    "ec",
    "tb",
    "cb",
    "cc",
    "nb",
    "pb",
    "pc",
    "lb",
    "sb",
    "ib",
    "yb",
    "#k",
    "#nobody",
    "s0",
    "s1",
    "y1",
    "",
    "id",
    "name",
    "subject",
    "receivedAt",
    "title",
    "at",
    "createdAt",
    "singleton",
    "open",
    "closed",
    "snoozed",
    "AND",
    "NOT",
    "OR",
    "i;ascii-numeric",
    "$seen",
    "$draft",
    "x y",
    "2030-01-01T00:00:00Z",
    "text/plain",
    "inbox",
    "support@example.org",
    "\u{0}",
    "é\u{1F600}",
    "/",
    "~",
];

/// Names of arguments, of properties, of conditions, and paths into them.
const NAMES: &[&str] = &[
    "ids",
    "properties",
    "filter",
    "sort",
    "position",
    "anchor",
    "anchorOffset",
    "limit",
    "calculateTotal",
    "sinceState",
    "sinceQueryState",
    "maxChanges",
    "upToId",
    "create",
    "update",
    "destroy",
    "ifInState",
    "fromAccountId",
    "onSuccessDestroyOriginal",
    "collapseThreads",
    "emails",
    "blobIds",
    "emailIds",
    "onSuccessUpdateEmail",
    "onSuccessDestroyEmail",
    "onDestroyRemoveEmails",
    "fetchAllBodyValues",
    "bodyProperties",
    "maxBodyValueBytes",
    "ifVersion",
    "ifOwner",
    "sortAsTree",
    "#ids",
    "#filter",
    "operator",
    "conditions",
    "property",
    "isAscending",
    "collation",
    "keyword",
    "inMailbox",
    "inMailboxOtherThan",
    "text",
    "hasKeyword",
    "header",
    "before",
    "after",
    "minSize",
    "role",
    "parentId",
    "name",
    "hasAnyRole",
    "status",
    "ownerId",
    "conversationId",
    "body",
    "mailboxIds",
    "keywords",
    "keywords/$seen",
    "mailboxIds/ma",
    "subject",
    "from",
    "to",
    "textBody",
    "htmlBody",
    "attachments",
    "bodyStructure",
    "bodyValues",
    "header:X:asText",
    "emailId",
    "identityId",
    "envelope",
    "mailFrom",
    "rcptTo",
    "email",
    "blobId",
    "partId",
    "type",
    "value",
    "k",
    "eb",
    "mb",
    "cb",
    "nb",
    "resultOf",
    "path",
    "tags/x",
    "tags",
    "snoozedUntil",
    "durationSeconds",
    "force",
    "",
    "~2",
    "a/b/c",
];

fn word() -> impl Strategy<Value = Value> {
    select(WORDS).prop_map(Value::from)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => word(),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => select(vec![0_i64, 1, -1, 5, 1 << 31, (1 << 53) - 1, 1 << 53, i64::MIN, i64::MAX]).prop_map(Value::from),
        1 => select(vec![0.5, -0.0, 1e300]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::Object),
        ]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((select(NAMES), value), 0..5)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A value of the kind that the argument has.
fn fitting(name: &'static str) -> BoxedStrategy<Value> {
    let texts = || prop::collection::vec(word(), 0..4).prop_map(Value::from);
    let objects = |keys: &'static [&'static str]| {
        prop::collection::vec((select(keys), object(value()).prop_map(Value::Object)), 0..3)
            .prop_map(|members| Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
    };
    match name {
        "accountId" => select(vec!["ac", "ac", "ac", "ab", "azz"]).prop_map(Value::from).boxed(),
        "fromAccountId" => select(vec!["ab", "ac"]).prop_map(Value::from).boxed(),
        "ids" | "properties" | "destroy" | "blobIds" | "emailIds" => texts().boxed(),
        "create" | "emails" => objects(&["k", "l", "m"]).boxed(),
        "update" => objects(&["eb", "ec", "mb", "cb", "nb", "sb", "lb", "ib", "singleton", "#k"]).boxed(),
        "filter" => object(value()).prop_map(Value::Object).boxed(),
        "sort" => {
            prop::collection::vec(object(word()).prop_map(Value::Object), 0..3).prop_map(Value::from).boxed()
        }
        _ => word().boxed(),
    }
}

fn arguments() -> impl Strategy<Value = Map<String, Value>> {
    const ARGUMENTS: &[&str] = &[
        "ids",
        "properties",
        "filter",
        "sort",
        "create",
        "update",
        "destroy",
        "emails",
        "blobIds",
        "emailIds",
        "fromAccountId",
        "sinceState",
        "sinceQueryState",
        "ifInState",
        "anchor",
        "upToId",
    ];
    let one = select(ARGUMENTS).prop_flat_map(|name| {
        let some = prop_oneof![6 => fitting(name), 1 => value()];
        some.prop_map(move |value| (name.to_owned(), value))
    });
    let odd = (select(NAMES), value()).prop_map(|(name, value)| (name.to_owned(), value));
    let members = prop::collection::vec(prop_oneof![8 => one, 1 => odd], 0..4);
    let account = prop_oneof![12 => fitting("accountId").prop_map(Some), 1 => Just(None)];
    (members, account).prop_map(|(members, account)| {
        let mut out: Map<String, Value> = members.into_iter().collect();
        out.extend(account.map(|account| ("accountId".to_owned(), account)));
        out
    })
}

fn call() -> impl Strategy<Value = (&'static str, Map<String, Value>)> {
    let names: Vec<&'static str> = methods::all().map(|method| method.name).collect();
    (select(names), arguments())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_call_is_answered_and_one_that_is_refused_changes_nothing(
        calls in prop::collection::vec((call(), select(vec![ANN, LEA, OBI])), 1..40)
    ) {
        let (world, _) = World::with_mail(2);
        let accounts = [AccountId(1), INBOX];
        let states = |world: &World| {
            let snapshot = world.store.snapshot();
            accounts.map(|account| changes::states(&snapshot, account).unwrap())
        };
        for ((name, arguments), who) in calls {
            let before = states(&world);
            let responses = world.send(who, &Capability::ALL, json!([[name, arguments, "c"]]));
            let responses = responses.as_array().unwrap();
            prop_assert!(!responses.is_empty());
            for response in responses {
                prop_assert_eq!(&response[2], "c");
                let kind = response[1]["type"].as_str().unwrap_or_default();
                prop_assert!(!kind.starts_with("server"), "{} {:?} {}", name, arguments, response);
            }
            let first = &responses[0];
            if first[0] == "error" {
                prop_assert_eq!(states(&world), before, "{} {:?}", name, arguments);
            } else if name.ends_with("/set") {
                let applied = ["created", "updated", "destroyed"].iter().any(|list| !first[1][*list].is_null());
                prop_assert!(applied || states(&world) == before, "{} {:?}", name, arguments);
            }
        }
    }

    /// What isn't a request at all is refused before anything runs.
    #[test]
    fn any_json_is_a_request_or_refused_with_a_registered_problem(body in value(), members in object(value())) {
        let mut around = members;
        around.insert("using".into(), json!(["urn:ietf:params:jmap:core"]));
        around.insert("methodCalls".into(), body.clone());
        for body in [body, Value::Object(around)] {
            if let Err(error) = crate::jmap::request::parse(body.to_string().as_bytes()) {
                prop_assert_eq!(error.status(), 400);
                let problem = error.to_json();
                prop_assert!(problem["type"].as_str().unwrap().starts_with("urn:ietf:params:jmap:error:"));
            }
        }
    }
}
