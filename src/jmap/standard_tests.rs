//! The standard methods as RFC 8620 §5 has them, point by point: what `example_tests.rs` leaves out.

use super::capability::{Capability, CapabilitySet};
use super::example_tests::{OURS, PLAIN, World};
use super::session::tests::{account, session};
use crate::types::limits::{COMPARATORS_MAX, FILTER_NODES_MAX, OBJECTS_IN_GET_MAX};
use serde_json::{Map, Value, json};

/// A world with the todos `nb` and on, of these titles.
fn world_of(titles: &[&str]) -> World {
    let world = World::new();
    for title in titles {
        world.set(json!({"create": {"k": {"title": title, "keywords": {"all": true}}}}));
    }
    world
}

fn answer(world: &World, name: &str, arguments: Value) -> Value {
    let (told, response) = world.call(PLAIN, name, arguments);
    assert_eq!(told, name, "{response}");
    response
}

fn get(world: &World) -> Value {
    answer(world, "Todo/get", json!({"ids": null}))
}

#[test]
fn an_argument_left_out_is_the_same_as_its_default() {
    let world = world_of(&["a", "b"]);
    for (name, short, long) in [
        (
            "Todo/query",
            json!({}),
            json!({
                "filter": null, "sort": null, "position": 0, "anchor": null, "anchorOffset": 0, "limit": null,
                "calculateTotal": false
            }),
        ),
        ("Todo/query", json!({"sort": []}), json!({"sort": null, "anchorOffset": 7})),
        ("Todo/get", json!({}), json!({"ids": null, "properties": null})),
        ("Todo/changes", json!({"sinceState": "s0"}), json!({"sinceState": "s0", "maxChanges": null})),
        ("Todo/set", json!({}), json!({"ifInState": null, "create": null, "update": null, "destroy": null})),
        (
            "Todo/queryChanges",
            json!({"sinceQueryState": "s0"}),
            json!({
                "sinceQueryState": "s0", "filter": null, "sort": null, "maxChanges": null, "upToId": null,
                "calculateTotal": false
            }),
        ),
    ] {
        assert_eq!(answer(&world, name, short.clone()), answer(&world, name, long), "{name} {short}");
    }
    // Null is no value of an argument whose type doesn't have it.
    for (name, arguments) in [
        ("Todo/query", json!({"position": null})),
        ("Todo/query", json!({"anchorOffset": null})),
        ("Todo/query", json!({"calculateTotal": null})),
        ("Todo/query", json!({"sort": [{"property": "title", "isAscending": null}]})),
        ("Todo/changes", json!({"sinceState": null})),
        ("Todo/queryChanges", json!({"sinceQueryState": null})),
        ("Todo/copy", json!({"fromAccountId": "ac", "create": null})),
    ] {
        assert_eq!(world.error(PLAIN, name, arguments.clone()), "invalidArguments", "{name} {arguments}");
    }
}

#[test]
fn arguments_of_a_wrong_type_are_refused_and_change_nothing() {
    let world = world_of(&["a"]);
    let before = get(&world);
    for (name, arguments) in [
        ("Todo/get", json!({"ids": "nb"})),
        ("Todo/get", json!({"ids": ["nb", 1]})),
        ("Todo/get", json!({"ids": [], "properties": "title"})),
        ("Todo/get", json!({"ids": [], "properties": [null]})),
        ("Todo/changes", json!({"sinceState": 0})),
        ("Todo/changes", json!({"sinceState": "s0", "maxChanges": -1})),
        ("Todo/changes", json!({"sinceState": "s0", "maxChanges": 1.5})),
        ("Todo/changes", json!({"sinceState": "s0", "maxChanges": 9_007_199_254_740_992_u64})),
        ("Todo/changes", json!({})),
        ("Todo/set", json!({"create": []})),
        ("Todo/set", json!({"create": {"k": null}})),
        ("Todo/set", json!({"create": {"k": "title"}, "destroy": ["nb"]})),
        ("Todo/set", json!({"create": {"": {"title": "x"}}})),
        ("Todo/set", json!({"create": {"#k": {"title": "x"}}})),
        ("Todo/set", json!({"create": {"a b": {"title": "x"}}})),
        ("Todo/set", json!({"update": {"nb": []}, "destroy": ["nb"]})),
        ("Todo/set", json!({"destroy": {"nb": true}})),
        ("Todo/set", json!({"destroy": ["nb", null]})),
        ("Todo/set", json!({"ifInState": 1, "destroy": ["nb"]})),
        ("Todo/set", json!({"destroy": ["nb"], "foo": 1})),
        ("Todo/query", json!({"filter": []})),
        ("Todo/query", json!({"filter": {"operator": "and", "conditions": []}})),
        ("Todo/query", json!({"filter": {"operator": "AND", "conditions": [1]}})),
        ("Todo/query", json!({"filter": {"operator": "AND", "conditions": [], "x": 1}})),
        ("Todo/query", json!({"sort": {}})),
        ("Todo/query", json!({"sort": ["title"]})),
        ("Todo/query", json!({"sort": [{"property": 1}]})),
        ("Todo/query", json!({"sort": [{"property": "title", "collation": 1}]})),
        ("Todo/query", json!({"position": "0"})),
        ("Todo/query", json!({"anchor": 1})),
        ("Todo/query", json!({"limit": -1})),
        ("Todo/query", json!({"limit": "1"})),
        ("Todo/queryChanges", json!({"sinceQueryState": "s0", "maxChanges": -1})),
        ("Todo/queryChanges", json!({"sinceQueryState": "s0", "upToId": 1})),
        ("Todo/copy", json!({"fromAccountId": "ac"})),
        ("Todo/copy", json!({"create": {}})),
    ] {
        assert_eq!(world.error(PLAIN, name, arguments.clone()), "invalidArguments", "{name} {arguments}");
    }
    assert_eq!(get(&world), before);
}

#[test]
fn a_read_only_account_and_a_role_without_the_right_each_say_so() {
    let world = world_of(&[]);
    let mut locked = account(1, None);
    locked.is_read_only = true;
    let world = World { session: session(vec![locked]), ..world };
    let create = json!({"create": {"k": {"title": "a"}}});
    assert_eq!(world.error(PLAIN, "Todo/set", create.clone()), "accountReadOnly");
    assert_eq!(get(&world)["list"], json!([]));
    let mut observed = create;
    observed["accountId"] = json!("ad");
    assert_eq!(World::new().error(PLAIN, "Todo/set", observed), "forbidden");
}

#[test]
fn a_state_moves_with_the_data_and_with_nothing_else() {
    let world = world_of(&["a"]);
    let state = get(&world)["state"].clone();
    for (name, arguments) in [
        ("Todo/get", json!({"ids": null})),
        ("Todo/query", json!({})),
        ("Todo/set", json!({})),
        ("Todo/set", json!({"create": {"k": {"title": "refused"}}, "update": {"nz": {}}, "destroy": ["nz"]})),
    ] {
        answer(&world, name, arguments);
        assert_eq!(get(&world)["state"], state);
    }
    let mut seen = vec![state];
    for change in [
        json!({"create": {"k": {"title": "b"}}}),
        json!({"update": {"nb": {"title": "c"}}}),
        json!({"destroy": ["nb"]}),
    ] {
        let set = world.set(change);
        assert_eq!(&set["oldState"], seen.last().unwrap());
        let state = get(&world)["state"].clone();
        assert_eq!(set["newState"], state);
        assert!(!seen.contains(&state), "{state}");
        seen.push(state);
    }
}

#[test]
fn more_objects_than_one_get_gives_are_too_many() {
    let world = world_of(&["a"]);
    let ids: Vec<String> = (0..OBJECTS_IN_GET_MAX).map(|n| format!("n{n}")).collect();
    assert_eq!(answer(&world, "Todo/get", json!({"ids": ids}))["list"], json!([]));
    let mut many = ids;
    many.push("nb".into());
    assert_eq!(world.error(PLAIN, "Todo/get", json!({"ids": many})), "requestTooLarge");
    for round in 0..OBJECTS_IN_GET_MAX / 500 {
        let create: Map<String, Value> =
            (0..500).map(|n| (format!("k{n}"), json!({"title": format!("{round} {n}")}))).collect();
        world.set(json!({"create": create}));
    }
    assert_eq!(world.error(PLAIN, "Todo/get", json!({"ids": null})), "requestTooLarge");
}

#[test]
fn changes_of_one_object_are_told_as_one() {
    let world = world_of(&["stays", "goes"]);
    let since = get(&world)["state"].clone();
    world.set(json!({"create": {"k": {"title": "new"}}}));
    world.set(json!({"update": {"nd": {"title": "newer"}, "nc": {"title": "soon gone"}}}));
    world.set(json!({"create": {"k": {"title": "short"}}, "destroy": ["nc"]}));
    world.set(json!({"destroy": ["ne"]}));
    let state = get(&world)["state"].clone();
    assert_eq!(
        answer(&world, "Todo/changes", json!({"sinceState": since})),
        json!({
            "accountId": "ab", "oldState": since, "newState": state, "hasMoreChanges": false,
            "created": ["nd"], "updated": [], "destroyed": ["nc"]
        })
    );
    assert_eq!(
        answer(&world, "Todo/changes", json!({"sinceState": state})),
        json!({
            "accountId": "ab", "oldState": state, "newState": state, "hasMoreChanges": false,
            "created": [], "updated": [], "destroyed": []
        })
    );
}

#[test]
fn changes_come_in_pages_of_at_most_max_changes() {
    let world = World::new();
    let create: Map<String, Value> =
        (0..7).map(|n| (format!("k{n}"), json!({"title": format!("t{n}")}))).collect();
    world.set(json!({"create": create}));
    world.set(json!({"update": {"nb": {"title": "x"}}, "destroy": ["nh"]}));
    for max in 1..9 {
        let (mut state, mut created) = (json!("s0"), Vec::new());
        loop {
            let page = answer(&world, "Todo/changes", json!({"sinceState": state, "maxChanges": max}));
            assert_eq!(page["oldState"], state);
            let ids = |list: &str| page[list].as_array().unwrap().clone();
            let count = ids("created").len() + ids("updated").len() + ids("destroyed").len();
            assert!(count <= max, "{page}");
            // Nothing is created again that an earlier page had.
            for id in ids("created") {
                assert!(!created.contains(&id), "{page}");
                created.push(id);
            }
            for id in ids("updated").iter().chain(&ids("destroyed")) {
                assert!(created.contains(id), "{page}");
            }
            created.retain(|id| !ids("destroyed").contains(id));
            state = page["newState"].clone();
            if page["hasMoreChanges"] == json!(false) {
                break;
            }
        }
        assert_eq!(state, get(&world)["state"]);
        created.sort_by_key(Value::to_string);
        assert_eq!(json!(created), json!(["nb", "nc", "nd", "ne", "nf", "ng"]), "{max}");
    }
}

#[test]
fn creates_updates_and_destroys_count_together_against_the_limit_of_a_set() {
    let world = world_of(&["a"]);
    let create: Map<String, Value> =
        (0..200).map(|n| (format!("k{n}"), json!({"title": format!("t{n}")}))).collect();
    let update: Map<String, Value> = (0..200).map(|n| (format!("x{n}"), json!({}))).collect();
    let mut destroy = vec!["nb".to_owned(); 101];
    let set = json!({"create": create, "update": update, "destroy": destroy});
    assert_eq!(world.error(PLAIN, "Todo/set", set), "requestTooLarge");
    assert_eq!(get(&world)["list"].as_array().map(Vec::len), Some(1));
    destroy.pop();
    let set = world.set(json!({"create": create, "update": update, "destroy": destroy}));
    assert_eq!(set["created"].as_object().map(Map::len), Some(200));
    assert_eq!(set["notUpdated"].as_object().map(Map::len), Some(200));
    assert_eq!(set["destroyed"], json!(["nb"]));
}

#[test]
fn a_creation_id_used_again_stands_for_the_newest_object() {
    let world = World::new();
    let responses = world.send(
        PLAIN,
        json!([
            ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "a"}}}, "0"],
            ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "b"}}}, "1"],
            // What was refused takes nothing's place.
            ["Todo/set", {"accountId": "ab", "create": {"k": {"title": "refused"}}}, "2"],
            ["Todo/set", {"accountId": "ab", "update": {"#k": {"title": "c"}}}, "3"],
            ["Todo/get", {"accountId": "ab", "ids": ["#k"]}, "4"]
        ]),
        Some(json!({"k": "nz"})),
    );
    assert_eq!(responses["methodResponses"][3][1]["updated"], json!({"nc": {"estimate": 1}}));
    assert_eq!(responses["createdIds"], json!({"k": "nc"}));
    // A creation id is no id of a /get (RFC 8620 §3.7: they aren't interchangeable).
    assert_eq!(responses["methodResponses"][4][1]["notFound"], json!(["#k"]));
    assert_eq!((world.title("nb"), world.title("nc")), (json!("a"), json!("c")));
}

#[test]
fn a_reference_to_an_object_that_was_not_created_is_an_invalid_property() {
    let world = world_of(&["a"]);
    let set = world.set(json!({
        "create": {
            "no": {"title": "refused"},
            "child": {"title": "c", "parentId": "#no"},
            "other": {"title": "d", "relatedIds": {"#never": true}}
        },
        "update": {"nb": {"relatedIds/#no": true}}
    }));
    assert_eq!(set["created"], Value::Null);
    assert_eq!(set["notCreated"]["no"]["type"], "forbidden");
    for (error, property) in [
        (&set["notCreated"]["child"], "parentId"),
        (&set["notCreated"]["other"], "relatedIds"),
        (&set["notUpdated"]["nb"], "relatedIds"),
    ] {
        assert_eq!((&error["type"], &error["properties"]), (&json!("invalidProperties"), &json!([property])));
    }
}

#[test]
fn an_update_is_applied_as_a_whole_or_not_at_all() {
    let world = world_of(&["a"]);
    let before = get(&world);
    for patch in [
        json!({"title": "b", "keywords": {"x": 1}}),
        json!({"title": "b", "estimate": 7}),
        json!({"title": "b", "unknown": 1}),
        json!({"title": "b", "relatedIds/x/y": true}),
        json!({"keywords/new": true, "title": null}),
    ] {
        let set = world.set(json!({"update": {"nb": patch}}));
        assert_eq!(set["updated"], Value::Null, "{patch}");
        assert_eq!(get(&world), before, "{patch}");
    }
}

#[test]
fn a_page_is_found_by_position_or_by_anchor() {
    let world = world_of(&["a", "b", "c", "d", "e"]);
    let ascending = json!([{"property": "title"}]);
    for (window, position, ids) in [
        (json!({}), 0, json!(["nb", "nc", "nd", "ne", "nf"])),
        (json!({"position": 3}), 3, json!(["ne", "nf"])),
        (json!({"position": -2}), 3, json!(["ne", "nf"])),
        (json!({"position": -2, "limit": 1}), 3, json!(["ne"])),
        (json!({"position": -9, "limit": 1}), 0, json!(["nb"])),
        (json!({"position": 5}), 5, json!([])),
        (json!({"position": 9}), 9, json!([])),
        (json!({"limit": 0}), 0, json!([])),
        (json!({"anchor": "nd", "limit": 2}), 2, json!(["nd", "ne"])),
        (json!({"anchor": "nd", "anchorOffset": 1, "limit": 2}), 3, json!(["ne", "nf"])),
        (json!({"anchor": "nd", "anchorOffset": -1, "limit": 2}), 1, json!(["nc", "nd"])),
        (json!({"anchor": "nd", "anchorOffset": -7, "limit": 2}), 0, json!(["nb", "nc"])),
        (json!({"anchor": "nd", "anchorOffset": 7, "limit": 2}), 9, json!([])),
        // The position is ignored beside an anchor, the offset without one.
        (json!({"anchor": "nd", "position": 4, "limit": 1}), 2, json!(["nd"])),
        (json!({"anchorOffset": 3, "limit": 1}), 0, json!(["nb"])),
    ] {
        let mut arguments = window.clone();
        arguments["sort"] = ascending.clone();
        let page = answer(&world, "Todo/query", arguments.clone());
        let mut wanted = json!({
            "accountId": "ab", "queryState": "s5", "canCalculateChanges": true, "position": position,
            "ids": ids
        });
        assert_eq!(page, wanted, "{window}");
        arguments["calculateTotal"] = json!(true);
        wanted["total"] = json!(5);
        assert_eq!(answer(&world, "Todo/query", arguments), wanted, "{window}");
    }
    for anchor in ["nz", "", "?"] {
        assert_eq!(world.error(PLAIN, "Todo/query", json!({"anchor": anchor})), "anchorNotFound");
    }
}

#[test]
fn operators_combine_conditions_and_have_a_limit() {
    let world = World::new();
    world.set(json!({"create": {
        "a": {"title": "a", "keywords": {"x": true}},
        "b": {"title": "b", "keywords": {"x": true, "y": true}},
        "c": {"title": "c"}
    }}));
    let has = |keyword: &str| json!({"hasKeyword": keyword});
    let by = |operator: &str, conditions: &[Value]| json!({"operator": operator, "conditions": conditions});
    let nested = by("AND", &[has("x"), by("NOT", &[has("y"), by("OR", &[])])]);
    for (filter, ids) in [
        (has("x"), json!(["nb", "nc"])),
        (by("AND", &[has("x"), has("y")]), json!(["nc"])),
        (by("OR", &[has("y"), has("z")]), json!(["nc"])),
        (by("NOT", &[has("x")]), json!(["nd"])),
        (by("NOT", &[has("y"), has("z")]), json!(["nb", "nd"])),
        (by("AND", &[]), json!(["nb", "nc", "nd"])),
        (by("OR", &[]), json!([])),
        (by("NOT", &[]), json!(["nb", "nc", "nd"])),
        (nested, json!(["nb"])),
        (Value::Null, json!(["nb", "nc", "nd"])),
    ] {
        let query = json!({"filter": filter, "sort": [{"property": "title"}]});
        assert_eq!(answer(&world, "Todo/query", query)["ids"], ids, "{filter}");
    }
    let many = vec![has("x"); FILTER_NODES_MAX - 1];
    answer(&world, "Todo/query", json!({"filter": by("OR", &many)}));
    let too_many = vec![has("x"); FILTER_NODES_MAX];
    assert_eq!(world.error(PLAIN, "Todo/query", json!({"filter": by("OR", &too_many)})), "unsupportedFilter");
    let sort = vec![json!({"property": "title"}); COMPARATORS_MAX + 1];
    assert_eq!(world.error(PLAIN, "Todo/query", json!({"sort": sort})), "unsupportedSort");
}

#[test]
fn a_query_state_moves_where_its_results_do() {
    let world = world_of(&["a", "b"]);
    let query = json!({"filter": {"hasKeyword": "all"}, "sort": [{"property": "title"}]});
    let before = answer(&world, "Todo/query", query.clone());
    assert_eq!(answer(&world, "Todo/query", query.clone()), before);
    world.set(json!({"update": {"nb": {"title": "z"}}}));
    let after = answer(&world, "Todo/query", query);
    assert_ne!(before["queryState"], after["queryState"]);
    assert_eq!(after["ids"], json!(["nc", "nb"]));
}

#[test]
fn a_copy_keeps_to_the_states_and_the_rights_of_both_accounts() {
    let world = world_of(&["a"]);
    let copy = |more: Value| {
        let mut arguments = json!({"fromAccountId": "ab", "accountId": "ac", "create": {"c": {"id": "nb"}}});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    for (more, wanted) in [
        (json!({"ifInState": "s9"}), "stateMismatch"),
        (json!({"ifFromInState": "s0"}), "stateMismatch"),
        (json!({"accountId": "ad"}), "forbidden"),
        (json!({"accountId": "azz"}), "accountNotFound"),
        (json!({"fromAccountId": "azz"}), "fromAccountNotFound"),
        (json!({"fromAccountId": "?"}), "fromAccountNotFound"),
        (json!({"fromAccountId": "ac"}), "invalidArguments"),
        (json!({"onSuccessDestroyOriginal": 1}), "invalidArguments"),
    ] {
        assert_eq!(world.error(PLAIN, "Todo/copy", copy(more.clone())), wanted, "{more}");
    }
    let there = answer(&world, "Todo/get", json!({"accountId": "ac", "ids": null}));
    assert_eq!(there["list"], json!([]));
    // The implicit /set has the state to keep to, and its refusal follows the copy's success.
    let more = json!({
        "ifInState": "s0", "ifFromInState": "s1", "onSuccessDestroyOriginal": true,
        "destroyFromIfInState": "s0"
    });
    let responses = world.calls(PLAIN, json!([["Todo/copy", copy(more), "c"], ["Core/echo", {}, "d"]]));
    assert_eq!(
        responses,
        json!([
            ["Todo/copy", {
                "fromAccountId": "ab", "accountId": "ac", "oldState": "s0", "newState": "s1",
                "created": {"c": {"id": "nb"}}, "notCreated": null
            }, "c"],
            ["error", {"type": "stateMismatch"}, "c"],
            ["Core/echo", {}, "d"]
        ])
    );
    assert_eq!(world.title("nb"), "a");
    let mut bare = account(4, None);
    bare.capabilities = CapabilitySet::default();
    let world = World { session: session(vec![account(2, None), bare]), ..world };
    let error = world.error(PLAIN, "Todo/copy", copy(json!({"fromAccountId": "ae"})));
    assert_eq!(error, "fromAccountNotSupportedByMethod");
}

#[test]
fn what_a_capability_adds_does_not_exist_for_a_client_that_does_not_name_it() {
    let world = World::new();
    world.set(json!({"create": {"k": {"title": "a", "ownerId": "pb"}}}));
    let plain = answer(&world, "Todo/get", json!({"ids": ["nb"]}))["list"][0].clone();
    assert_eq!((plain.get("ownerId"), plain.get("version")), (None, None));
    let ours = world.call(OURS, "Todo/get", json!({"ids": ["nb"]})).1["list"][0].clone();
    assert_eq!((&ours["ownerId"], &ours["version"]), (&json!("pb"), &json!("1")));
    let (_, set) = world.call(
        PLAIN,
        "Todo/set",
        json!({"create": {"l": {"title": "b", "ownerId": "pb"}}, "update": {"nb": {"ownerId": null}}}),
    );
    assert_eq!(set["notCreated"]["l"]["properties"], json!(["ownerId"]));
    assert_eq!(set["notUpdated"]["nb"]["properties"], json!(["ownerId"]));
    let owner = json!({"properties": ["ownerId"], "ids": []});
    assert_eq!(world.error(PLAIN, "Todo/get", owner), "invalidArguments");
    assert_eq!(world.error(&[Capability::Core], "Todo/get", json!({"ids": []})), "unknownMethod");
}

#[test]
fn a_response_is_ijson_whatever_is_stored() {
    let world = World::new();
    // A title that came by mail, say, and not by a request, which would have been refused.
    let response = super::process::Response {
        responses: vec![super::reply::Reply::new(
            "Core/echo".into(),
            [("x\u{FFFF}".to_owned(), json!("a\u{FDD0}"))].into_iter().collect(),
            "c".into(),
        )],
        created_ids: None,
        session_state: world.session.state().to_owned(),
        ticket: Default::default(),
    };
    let text = response.into_text();
    assert!(super::request::parse_json(text.as_bytes()).is_ok());
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["methodResponses"][0][1], json!({"x\u{FFFD}": "a\u{FFFD}"}));
}
