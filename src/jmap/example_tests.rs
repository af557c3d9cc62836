//! The machinery as a client meets it, driven by the Todo of `example.rs` over a store in memory.

use super::capability::{Capability, CapabilitySet};
use super::context::{Ctx, Host};
use super::methods::accounts_written;
use super::process::process;
use super::request;
use super::session::SessionData;
use super::session::tests::{account, session};
use crate::inbox::presence::Presences;
use crate::store::{Store, StoreOptions};
use crate::types::limits::{COMMIT_BYTES_MAX, OBJECTS_IN_SET_MAX};
use crate::types::{AccountId, Clock, MemberRole, Millis, Random};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const PLAIN: &[Capability] = &[Capability::Core, Capability::Mail];
pub(super) const OURS: &[Capability] = &[Capability::Core, Capability::Mail, Capability::Ownership];

pub(super) struct World {
    pub store: Arc<Store>,
    pub session: SessionData,
}

impl World {
    /// Ann, with her own account `ab`, an inbox `ac` and an inbox `ad` that she only observes.
    pub fn new() -> Self {
        let clock = Clock::manual(Millis(1_700_000_000_000));
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let store = Store::in_memory(options, clock, Random::seeded(1)).unwrap();
        let inboxes = [(2, MemberRole::Agent), (3, MemberRole::Observer)];
        let inboxes = inboxes.map(|(id, role)| account(id, Some(role)));
        let session = session([account(1, None)].into_iter().chain(inboxes).collect());
        Self { store, session }
    }

    pub fn send(&self, using: &[Capability], calls: Value, created_ids: Option<Value>) -> Value {
        let using: Vec<&str> = using.iter().map(|one| one.uri()).collect();
        let mut body = json!({"using": using, "methodCalls": calls});
        if let Some(created_ids) = created_ids {
            body["createdIds"] = created_ids;
        }
        let request = request::parse(body.to_string().as_bytes()).unwrap();
        let locked = self.store.lock_blocking(&accounts_written(&request));
        let staff = |_| Arc::default();
        let presences = Presences::default();
        let host = Host {
            store: &self.store,
            search: None,
            staff: &staff,
            still: &|_| Ok(()),
            commit: &|txn| txn.commit(),
            presences: &presences,
            hostname: "mail.example",
        };
        let ctx = Ctx::new(host, &self.session, request.using, locked);
        process(ctx, request).into_json()
    }

    pub fn calls(&self, using: &[Capability], calls: Value) -> Value {
        self.send(using, calls, None)["methodResponses"].clone()
    }

    /// One call in account `ab`: the name and the arguments of its only response.
    pub fn call(&self, using: &[Capability], name: &str, mut arguments: Value) -> (String, Value) {
        if arguments.get("accountId").is_none() {
            arguments["accountId"] = json!("ab");
        }
        let responses = self.calls(using, json!([[name, arguments, "c"]]));
        assert_eq!(responses.as_array().map(Vec::len), Some(1), "{responses}");
        (responses[0][0].as_str().unwrap().to_owned(), responses[0][1].clone())
    }

    pub fn set(&self, arguments: Value) -> Value {
        let (name, response) = self.call(OURS, "Todo/set", arguments);
        assert_eq!(name, "Todo/set", "{response}");
        response
    }

    pub fn error(&self, using: &[Capability], name: &str, arguments: Value) -> String {
        let (name, response) = self.call(using, name, arguments);
        assert_eq!(name, "error", "{response}");
        response["type"].as_str().unwrap().to_owned()
    }

    pub fn title(&self, id: &str) -> Value {
        self.call(PLAIN, "Todo/get", json!({"ids": [id], "properties": ["title"]})).1["list"][0]["title"]
            .clone()
    }
}

#[test]
fn echo_answers_what_it_was_given() {
    let world = World::new();
    let response = world.send(PLAIN, json!([["Core/echo", {"b": 1, "a": [null]}, "x"]]), None);
    assert_eq!(
        response,
        json!({
            "methodResponses": [["Core/echo", {"b": 1, "a": [null]}, "x"]],
            "sessionState": world.session.state()
        })
    );
}

#[test]
fn a_create_is_answered_with_every_member_and_with_what_was_not_sent() {
    let response = World::new().call(PLAIN, "Todo/set", json!({"create": {"k": {"title": "Piano"}}}));
    assert_eq!(
        response.1,
        json!({
            "accountId": "ab",
            "oldState": "s0",
            "newState": "s1",
            "created": {"k": {
                "id": "nb", "keywords": {}, "parentId": null, "relatedIds": {}, "estimate": 5
            }},
            "updated": null,
            "destroyed": null,
            "notCreated": null,
            "notUpdated": null,
            "notDestroyed": null
        })
    );
}

#[test]
fn the_example_of_the_rfc_patches_a_keyword_or_sends_the_whole_object_back() {
    let world = World::new();
    world.set(json!({"create": {"a": {"title": "Practise Piano", "keywords": {"mozart": true}}}}));
    let patched = world.set(json!({"update": {"nb": {"keywords/chopin": true, "keywords/mozart": null}}}));
    assert_eq!(patched["updated"], json!({"nb": null}));
    let get = json!({"ids": ["nb"]});
    let whole = world.call(PLAIN, "Todo/get", get.clone()).1["list"][0].clone();
    assert_eq!(
        whole,
        json!({
            "id": "nb", "title": "Practise Piano", "keywords": {"chopin": true}, "parentId": null,
            "relatedIds": {}, "estimate": 14
        })
    );
    let mut sent = whole.clone();
    sent["title"] = json!("Piano");
    assert_eq!(world.set(json!({"update": {"nb": sent}}))["updated"], json!({"nb": {"estimate": 5}}));
    sent["estimate"] = json!(99);
    sent["parentId"] = json!("nz");
    sent["foo"] = json!(1);
    let refused = world.set(json!({"update": {"nb": sent}}));
    assert_eq!(
        refused["notUpdated"]["nb"],
        json!({
            "type": "invalidProperties",
            "description": "estimate can't be changed; foo is not a property of this type; \
                            parentId can't be changed",
            "properties": ["estimate", "foo", "parentId"]
        })
    );
    assert_eq!(world.title("nb"), "Piano");
}

#[test]
fn null_sets_the_default_or_is_refused_where_there_is_none() {
    let world = World::new();
    let create = json!({"title": "a", "keywords": {"x": true}, "ownerId": "pb"});
    world.set(json!({"create": {"k": create}}));
    let set = world.set(json!({"update": {"nb": {"keywords": null, "ownerId": null}}}));
    assert_eq!(set["updated"], json!({"nb": null}));
    let get = world.call(OURS, "Todo/get", json!({"ids": ["nb"], "properties": ["keywords", "ownerId"]}));
    assert_eq!(get.1["list"], json!([{"id": "nb", "keywords": {}, "ownerId": null}]));
    let set = world.set(json!({"update": {"nb": {"title": null}}}));
    assert_eq!(set["notUpdated"]["nb"]["properties"], json!(["title"]));
}

#[test]
fn a_wrong_create_names_all_that_is_wrong() {
    let world = World::new();
    let wrong = json!({"id": "x", "keywords": {"a": false}, "parentId": "#nobody", "foo": 1});
    let set = world.set(json!({"create": {"k": wrong}}));
    assert_eq!(set["notCreated"]["k"]["properties"], json!(["id", "keywords", "parentId", "foo", "title"]));
    assert_eq!((set["created"].clone(), set["newState"].clone()), (Value::Null, json!("s0")));
}

#[test]
fn paths_that_lead_nowhere_are_an_invalid_patch() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a"}}}));
    for patch in [
        json!({"keywords/a/b": true}),
        json!({"keywords": {}, "keywords/a": true}),
        json!({"title/x": 1}),
        json!({"foo/x": 1}),
        json!({"keywords/~3": true}),
    ] {
        let set = world.set(json!({"update": {"nb": patch}}));
        assert_eq!(set["notUpdated"]["nb"]["type"], "invalidPatch", "{patch}");
    }
    let set = world.set(json!({"update": {"nb": {"keywords/a": 1}}}));
    assert_eq!(set["notUpdated"]["nb"]["type"], "invalidProperties");
}

#[test]
fn creates_come_in_the_order_of_their_references() {
    let world = World::new();
    let set = world.set(json!({
        "create": {
            "child": {"title": "c", "parentId": "#parent"},
            "parent": {"title": "p", "relatedIds": {"#first": true}},
            "first": {"title": "f"},
            "round": {"title": "r", "parentId": "#about"},
            "about": {"title": "q", "parentId": "#round"}
        },
        "update": {"#first": {"relatedIds/#child": true}},
        "destroy": ["#unknown"]
    }));
    assert_eq!(set["created"]["first"]["id"], "nb");
    assert_eq!(set["updated"], json!({"nb": null}));
    assert_eq!(set["notDestroyed"], json!({"#unknown": {"type": "notFound"}}));
    let refused: Vec<&String> = set["notCreated"].as_object().unwrap().keys().collect();
    assert_eq!(refused, ["round", "about"]);
    let properties = json!(["parentId", "relatedIds"]);
    let get = world.call(PLAIN, "Todo/get", json!({"ids": null, "properties": properties}));
    assert_eq!(
        get.1["list"],
        json!([
            {"id": "nb", "parentId": null, "relatedIds": {"nd": true}},
            {"id": "nc", "parentId": null, "relatedIds": {"nb": true}},
            {"id": "nd", "parentId": "nc", "relatedIds": {}}
        ])
    );
}

#[test]
fn creation_ids_last_for_the_request_and_round_trip_where_asked() {
    let world = World::new();
    let calls = json!([
        ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "a"}}}, "1"],
        ["Todo/set", {"accountId": "ab", "create": {"l": {"title": "b", "parentId": "#k"}}, "destroy": ["#k"]}, "2"]
    ]);
    let response = world.send(PLAIN, calls, Some(json!({"old": "nz"})));
    assert_eq!(response["methodResponses"][1][1]["destroyed"], json!(["nb"]));
    assert_eq!(response["createdIds"], json!({"old": "nz", "k": "nb", "l": "nc"}));
}

/// Room was left before the third, and isn't behind it: the first two are no worse for that.
#[test]
fn an_object_that_leaves_no_room_for_itself_is_refused_alone() {
    let world = World::new();
    let long = |of: &str| json!({"title": of.repeat(COMMIT_BYTES_MAX / 3 + 1)});
    let set =
        world.set(json!({"create": {"a": long("a"), "b": long("b"), "c": long("c"), "d": {"title": "d"}}}));
    let created = set["created"].as_object().unwrap();
    assert_eq!(created.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(set["notCreated"]["c"]["type"], "rateLimit", "{}", set["notCreated"]);
    let changes = world.call(PLAIN, "Todo/changes", json!({"sinceState": "s0"})).1;
    assert_eq!(changes["created"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_refused_object_leaves_nothing_behind_and_the_others_go_on() {
    let world = World::new();
    let set = world.set(json!({
        "create": {"a": {"title": "a"}, "no": {"title": "refused"}, "b": {"title": "b"}},
        "update": {"ny": {"title": "x"}, "???": {}},
        "destroy": ["nzz", "nzz"]
    }));
    assert_eq!(set["created"]["b"]["id"], "nc");
    assert_eq!(set["notCreated"], json!({"no": {"type": "forbidden", "description": "Not this one."}}));
    assert_eq!(set["notUpdated"], json!({"ny": {"type": "notFound"}, "???": {"type": "notFound"}}));
    assert_eq!(set["notDestroyed"], json!({"nzz": {"type": "notFound"}}));
    let changes = world.call(PLAIN, "Todo/changes", json!({"sinceState": "s0"}));
    assert_eq!(
        changes.1,
        json!({
            "accountId": "ab", "oldState": "s0", "newState": "s1", "hasMoreChanges": false,
            "created": ["nb", "nc"], "updated": [], "destroyed": []
        })
    );
}

#[test]
fn what_is_destroyed_is_not_updated() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a"}}}));
    let set = world.set(json!({"update": {"nb": {"title": "b"}}, "destroy": ["nb"]}));
    assert_eq!(set["notUpdated"], json!({"nb": {"type": "willDestroy"}}));
    assert_eq!(set["destroyed"], json!(["nb"]));
    // RFC 8620 §5.3: an id that can't be found is always `notFound`.
    let set = world.set(json!({"update": {"nope": {"title": "b"}}, "destroy": ["nope"]}));
    assert_eq!(set["notUpdated"], json!({"nope": {"type": "notFound"}}));
}

#[test]
fn only_the_final_state_must_be_valid() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a"}, "l": {"title": "b"}}}));
    let swapped = world.set(json!({"update": {"nb": {"title": "b"}, "nc": {"title": "a"}}}));
    assert_eq!(swapped["notUpdated"], Value::Null);
    assert_eq!((world.title("nb"), world.title("nc")), (json!("b"), json!("a")));
    let taken = world.set(json!({"update": {"nb": {"title": "a"}}, "create": {"m": {"title": "c"}}}));
    assert_eq!(taken["notUpdated"], json!({"nb": {"type": "alreadyExists", "existingId": "nb"}}));
    assert_eq!(taken["created"]["m"]["id"], "nd");
    assert_eq!(world.title("nb"), "b");
}

#[test]
fn states_and_versions_guard_a_set() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a", "ownerId": "pb"}}}));
    let late = json!({"ifInState": "s0", "update": {"nb": {"title": "b"}}});
    assert_eq!(world.error(PLAIN, "Todo/set", late), "stateMismatch");
    let set = world.set(json!({"ifVersion": {"nb": "7"}, "update": {"nb": {"title": "b"}}}));
    assert_eq!(
        set["notUpdated"]["nb"],
        json!({"type": "versionMismatch", "description": "It has changed.", "version": "1"})
    );
    let set = world.set(json!({"ifOwner": {"nb": null}, "destroy": ["nb"]}));
    assert_eq!(
        set["notDestroyed"]["nb"],
        json!({"type": "ownerMismatch", "description": "It is another's.", "version": "1", "ownerId": "pb"})
    );
    let guarded = json!({"ifInState": "s1", "ifVersion": {"nb": "1"}, "update": {"nb": {"title": "b"}}});
    assert_eq!(world.set(guarded)["updated"], json!({"nb": {"estimate": 1}}));
    // The argument doesn't exist without its capability.
    assert_eq!(world.error(PLAIN, "Todo/set", json!({"ifVersion": {}})), "invalidArguments");
    assert_eq!(world.error(OURS, "Todo/set", json!({"ifVersion": {"nb": 1}})), "invalidArguments");
}

#[test]
fn calls_are_checked_in_a_fixed_order() {
    let world = World::new();
    let many: Map<String, Value> =
        (0..=OBJECTS_IN_SET_MAX).map(|n| (format!("n{n}"), json!({"title": "x"}))).collect();
    for (using, name, arguments, wanted) in [
        (PLAIN, "Todo/none", json!({}), "unknownMethod"),
        (&[][..], "Core/echo", json!({}), "unknownMethod"),
        (&[Capability::Core][..], "Todo/get", json!({"accountId": 1}), "unknownMethod"),
        (PLAIN, "Todo/get", json!({"accountId": null, "ids": []}), "invalidArguments"),
        (PLAIN, "Todo/get", json!({"accountId": "azz", "ids": 1}), "invalidArguments"),
        (PLAIN, "Todo/get", json!({"ids": [], "foo": 1}), "invalidArguments"),
        (PLAIN, "Todo/get", json!({"ids": [], "properties": ["foo"]}), "invalidArguments"),
        (PLAIN, "Todo/get", json!({"ids": [], "properties": ["ownerId"]}), "invalidArguments"),
        (PLAIN, "Todo/get", json!({"accountId": "azz", "ids": []}), "accountNotFound"),
        (PLAIN, "Todo/get", json!({"accountId": "?", "ids": []}), "accountNotFound"),
        (PLAIN, "Todo/get", json!({"ids": vec!["x"; 1001]}), "requestTooLarge"),
        (PLAIN, "Todo/set", json!({"accountId": "ad"}), "forbidden"),
        (PLAIN, "Todo/set", json!({"update": {"nb": null}}), "invalidArguments"),
        (PLAIN, "Todo/set", json!({"create": many}), "requestTooLarge"),
        (PLAIN, "Todo/changes", json!({"sinceState": "s0", "maxChanges": 0}), "invalidArguments"),
        (PLAIN, "Todo/changes", json!({"sinceState": "x"}), "cannotCalculateChanges"),
        (PLAIN, "Todo/changes", json!({"sinceState": "s99"}), "cannotCalculateChanges"),
        (PLAIN, "Todo/query", json!({"limit": -1}), "invalidArguments"),
        (PLAIN, "Todo/query", json!({"anchor": "nb"}), "anchorNotFound"),
        (PLAIN, "Todo/query", json!({"sort": [{"property": "foo"}]}), "unsupportedSort"),
        (PLAIN, "Todo/query", json!({"sort": [{"property": "title", "collation": "x"}]}), "unsupportedSort"),
        (PLAIN, "Todo/query", json!({"sort": [{}]}), "invalidArguments"),
        (PLAIN, "Todo/query", json!({"filter": {"hasKeyword": "x", "foo": 1}}), "unsupportedFilter"),
        (PLAIN, "Todo/query", json!({"filter": {"hasKeyword": 1}}), "invalidArguments"),
        (PLAIN, "Todo/query", json!({"filter": {"operator": "XOR", "conditions": []}}), "invalidArguments"),
        (PLAIN, "Todo/query", json!({"filter": {"operator": "AND"}}), "invalidArguments"),
    ] {
        assert_eq!(world.error(using, name, arguments.clone()), wanted, "{name} {arguments}");
    }
    let (_, missing) = world.call(&[Capability::Core], "Todo/get", json!({}));
    assert!(missing["description"].as_str().unwrap().contains("urn:ietf:params:jmap:mail"), "{missing}");
    let mut other = account(4, None);
    other.capabilities = CapabilitySet::default();
    let world = World { session: session(vec![other]), ..world };
    let arguments = json!({"accountId": "ae", "ids": []});
    assert_eq!(world.error(PLAIN, "Todo/get", arguments), "accountNotSupportedByMethod");
}

#[test]
fn get_tells_each_id_once_and_no_property_that_was_not_named() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a"}}}));
    let ids = json!(["nb", "nb", "bad id", "nz", "nz"]);
    let get = world.call(OURS, "Todo/get", json!({"ids": ids, "properties": ["shout"]}));
    assert_eq!(
        get.1,
        json!({
            "accountId": "ab", "state": "s1", "list": [{"id": "nb", "shout": "A"}],
            "notFound": ["bad id", "nz"]
        })
    );
    let get = world.call(OURS, "Todo/get", json!({"ids": []}));
    assert_eq!(get.1, json!({"accountId": "ab", "state": "s1", "list": [], "notFound": []}));
    let get = world.call(OURS, "Todo/get", json!({"ids": null}));
    assert_eq!(get.1["list"][0]["version"], "1");
    assert_eq!(get.1["list"][0].get("shout"), None);
}

#[test]
fn queries_filter_sort_and_tell_their_changes() {
    let world = World::new();
    world.set(json!({"create": {
        "a": {"title": "a", "keywords": {"music": true}},
        "b": {"title": "b", "keywords": {"video": true}},
        "c": {"title": "c"}
    }}));
    let filter = json!({"operator": "OR", "conditions": [{"hasKeyword": "music"}, {"hasKeyword": "video"}]});
    let sort = json!([{"property": "title", "isAscending": false, "unknown": 1}]);
    let query = json!({
        "filter": filter, "sort": sort, "position": -1, "limit": 10, "calculateTotal": true
    });
    assert_eq!(
        world.call(PLAIN, "Todo/query", query).1,
        json!({
            "accountId": "ab", "queryState": "s1", "canCalculateChanges": true, "position": 1,
            "ids": ["nb"], "total": 2
        })
    );
    world.set(json!({"update": {"nd": {"keywords/music": true}}, "destroy": ["nc"]}));
    let mut since = json!({
        "filter": filter, "sort": sort, "sinceQueryState": "s1", "maxChanges": 3, "calculateTotal": true
    });
    assert_eq!(
        world.call(PLAIN, "Todo/queryChanges", since.clone()).1,
        json!({
            "accountId": "ab", "oldQueryState": "s1", "newQueryState": "s2", "total": 2,
            "removed": ["nd", "nc"], "added": [{"id": "nd", "index": 0}]
        })
    );
    since["maxChanges"] = json!(2);
    assert_eq!(world.error(PLAIN, "Todo/queryChanges", since), "tooManyChanges");
    let negated =
        json!({"filter": {"operator": "NOT", "conditions": [{"hasKeyword": "music"}]}, "sort": null});
    assert_eq!(world.call(PLAIN, "Todo/query", negated).1["ids"], json!([]));
}

#[test]
fn a_chain_of_references_is_resolved() {
    let world = World::new();
    let responses = world.calls(
        PLAIN,
        json!([
            ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "a"}, "l": {"title": "b"}}}, "0"],
            ["Todo/query", {"accountId": "ab", "sort": [{"property": "title"}]}, "1"],
            ["Todo/get", {
                "accountId": "ab", "properties": ["title"],
                "#ids": {"resultOf": "1", "name": "Todo/query", "path": "/ids"}
            }, "2"],
            ["Todo/get", {
                "accountId": "ab",
                "#ids": {"resultOf": "2", "name": "Todo/query", "path": "/ids"}
            }, "3"],
            // The account comes by reference, so that its lock wasn't foreseen.
            ["Todo/set", {
                "#accountId": {"resultOf": "2", "name": "Todo/get", "path": "/accountId"},
                "#destroy": {"resultOf": "2", "name": "Todo/get", "path": "/list/*/id"}
            }, "4"]
        ]),
    );
    assert_eq!(responses[2][1]["list"], json!([{"id": "nb", "title": "a"}, {"id": "nc", "title": "b"}]));
    assert_eq!(responses[3][1]["type"], "invalidResultReference");
    assert_eq!(responses[4][1]["destroyed"], json!(["nb", "nc"]));
}

#[test]
fn a_panic_answers_its_own_call_only_and_tells_nothing() {
    let world = World::new();
    let responses = world.calls(
        PLAIN,
        json!([
            ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "a"}, "l": {"title": "panic"}}}, "0"],
            ["Todo/set", {"accountId": "ab", "create": {"m": {"title": "#k"}}}, "1"],
            ["Todo/get", {"accountId": "ab", "ids": null, "properties": ["title"]}, "2"]
        ]),
    );
    assert_eq!(
        responses[0],
        json!(["error", {
            "type": "serverFail", "description": "An unexpected error occurred; nothing was changed."
        }, "0"])
    );
    assert_eq!(responses[2][1]["list"], json!([{"id": "nb", "title": "#k"}]));
}

#[test]
fn a_copy_destroys_its_originals_in_a_set_of_its_own() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a", "keywords": {"x": true}}}}));
    let responses = world.calls(
        PLAIN,
        json!([["Todo/copy", {
            "fromAccountId": "ab", "accountId": "ac", "onSuccessDestroyOriginal": true,
            "create": {
                "c": {"id": "nb", "keywords": {"y": true}}, "d": {"id": "nz"}, "e": {"title": "no"}
            }
        }, "0"]]),
    );
    assert_eq!(
        responses,
        json!([
            ["Todo/copy", {
                "fromAccountId": "ab", "accountId": "ac", "oldState": "s0", "newState": "s1",
                "created": {"c": {"id": "nb"}},
                "notCreated": {
                    "d": {"type": "notFound"},
                    "e": {
                        "type": "invalidProperties",
                        "description": "These can't be given so in a copy.",
                        "properties": ["title", "id"]
                    }
                }
            }, "0"],
            ["Todo/set", {
                "accountId": "ab", "oldState": "s1", "newState": "s2", "created": null, "updated": null,
                "destroyed": ["nb"], "notCreated": null, "notUpdated": null, "notDestroyed": null
            }, "0"]
        ])
    );
    let create = json!({"c": {"id": "nb"}});
    for (from, wanted) in [("ac", "invalidArguments"), ("azz", "fromAccountNotFound")] {
        let arguments = json!({"fromAccountId": from, "accountId": "ac", "create": create});
        assert_eq!(world.error(PLAIN, "Todo/copy", arguments), wanted);
    }
}

#[test]
fn the_accounts_that_a_request_writes_are_known_beforehand() {
    let body = json!({
        "using": ["urn:ietf:params:jmap:mail"],
        "methodCalls": [
            ["Todo/set", {"accountId": "ad"}, "0"],
            ["Todo/get", {"accountId": "ae"}, "1"],
            ["Todo/copy", {"accountId": "ac", "fromAccountId": "ab", "onSuccessDestroyOriginal": true}, "2"],
            ["Todo/copy", {"accountId": "ac", "fromAccountId": "af"}, "3"],
            ["Todo/set", {"#accountId": {}}, "4"],
            ["Todo/set", {"accountId": "!"}, "5"]
        ]
    });
    let request = request::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!(accounts_written(&request), [1, 2, 3, 5].map(AccountId));
}

#[test]
fn what_is_too_entangled_to_judge_is_refused_as_a_whole() {
    let world = World::new();
    let create: Map<String, Value> =
        (0..=20).map(|n| (format!("k{n}"), json!({"title": format!("t{n}")}))).collect();
    let created = world.set(json!({"create": create}))["created"].clone();
    // Each takes the next one's title, and the last one keeps its own.
    let id = |n: usize| created[format!("k{n}")]["id"].as_str().unwrap().to_owned();
    let update: Map<String, Value> =
        (0..20).map(|n| (id(n), json!({"title": format!("t{}", n + 1)}))).collect();
    let set = world.set(json!({"update": update}));
    assert_eq!(set["updated"], Value::Null);
    let refused = set["notUpdated"].as_object().unwrap();
    assert_eq!(refused.len(), 20);
    assert!(refused.values().all(|error| error["type"] == "alreadyExists"));
    assert_eq!((world.title(&id(0)), set["newState"].clone()), (json!("t0"), json!("s1")));
}

#[test]
fn an_account_that_comes_by_reference_is_locked_when_it_is_known() {
    let world = World::new();
    let responses = world.calls(
        PLAIN,
        json!([
            ["Todo/set", {"accountId": "ac", "create": {"k": {"title": "a"}}}, "0"],
            ["Core/echo", {"x": "ab"}, "1"],
            ["Todo/set", {
                "#accountId": {"resultOf": "1", "name": "Core/echo", "path": "/x"},
                "create": {"l": {"title": "b"}}
            }, "2"],
            ["Todo/set", {"accountId": "ac", "destroy": ["#k"]}, "3"]
        ]),
    );
    assert_eq!(responses[2][1]["created"]["l"]["id"], "nb");
    assert_eq!(responses[3][1]["destroyed"], json!(["nb"]));
}
