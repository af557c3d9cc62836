//! Teams: groups of people that a conversation can be given to, as principals and as a filter.

use super::*;
use crate::support::TEAM;

/// A team's id, of what `postroom team` prints.
#[track_caller]
fn id_of(told: &Value, name: &str) -> String {
    let team = told["teams"].as_array().unwrap().iter().find(|team| team["name"] == name);
    team.unwrap_or_else(|| panic!("{told}"))["id"].as_str().unwrap().to_owned()
}

/// Sets `teamId` of a conversation; gives the whole reply.
async fn give(client: &Client, id: &str, team: Value) -> Value {
    client.call("Conversation/set", json!({"update": {id: {"teamId": team}}})).await
}

async fn found(client: &Client, team: Value) -> Vec<String> {
    let told = client.call("Conversation/query", json!({"filter": {"teamId": team}})).await;
    serde_json::from_value(told["ids"].clone()).unwrap_or_else(|_| panic!("{told}"))
}

async fn groups(client: &Client) -> Value {
    let using = [TEAM, &["urn:ietf:params:jmap:principals"]].concat();
    let found = client.call_with(&using, "Principal/query", json!({"filter": {"type": "group"}})).await;
    let properties = ["type", "name", "email", "memberIds"];
    let asked = json!({"ids": found["ids"], "properties": properties});
    client.call_with(&using, "Principal/get", asked).await["list"].take()
}

#[tokio::test]
async fn a_conversation_is_given_to_a_team_that_has_somebody_in_the_inbox_and_found_by_it() {
    let server = office().await;
    for (id, subject) in [("one", "Berth"), ("two", "Bill")] {
        deliver(&server, id, None, subject).await;
    }
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let list = bob.call("Conversation/get", json!({"ids": null, "properties": ["subject"]})).await;
    let of = |subject: &str| {
        let one = list["list"].as_array().unwrap().iter().find(|one| one["subject"] == subject);
        one.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (berth, bill) = (of("Berth"), of("Bill"));
    server.person("dora@x.example", "Dora");
    server.json(&["team", "add", "Office"]);
    server.json(&["team", "join", "Office", "bob@x.example"]);
    // Dora is in the team and not in the inbox.
    let office = id_of(&server.json(&["team", "join", "Office", "dora@x.example"]), "Office");
    let elsewhere = id_of(&server.json(&["team", "add", "Harbour", "--member", "dora@x.example"]), "Harbour");
    assert_eq!(
        groups(&cat).await,
        json!([{"id": office, "type": "group", "name": "Office", "email": null, "memberIds": [bob.principal()]}])
    );

    let given = give(&cat, &bill, json!(office)).await;
    let version = given["updated"][&bill]["version"].clone();
    assert!(version.is_string(), "a team is of what counts for a version: {given}");
    let told =
        cat.call("Conversation/get", json!({"ids": [bill], "properties": ["teamId", "version"]})).await;
    assert_eq!(told["list"], json!([{"id": bill, "teamId": office, "version": version}]));
    assert_eq!(found(&cat, json!(office)).await, std::slice::from_ref(&bill));
    assert_eq!(found(&cat, json!("none")).await, std::slice::from_ref(&berth));
    assert_eq!(found(&cat, Value::Null).await, std::slice::from_ref(&berth));
    let asked = json!({"filter": {"conversationId": bill}});
    let ids = cat.call("Activity/query", asked).await["ids"].take();
    let properties = ["type", "actorId", "before", "after"];
    let told = cat.call("Activity/get", json!({"ids": ids, "properties": properties})).await;
    let changes: Vec<&Value> =
        told["list"].as_array().unwrap().iter().filter(|one| one["type"] == "teamChanged").collect();
    let [change] = changes.as_slice() else { panic!("{told}") };
    assert_eq!(
        **change,
        json!({"id": change["id"], "type": "teamChanged", "actorId": cat.principal(), "before": null, "after": office})
    );

    // A team without anybody here, a person, and nobody at all.
    for wrong in [json!(elsewhere), json!(bob.principal()), json!("pzzz")] {
        let refused = give(&cat, &berth, wrong.clone()).await;
        let error = refused["notUpdated"][&berth].clone();
        assert_eq!(
            (&error["type"], &error["properties"]),
            (&json!("invalidProperties"), &json!(["teamId"])),
            "{wrong}"
        );
        assert_set(&refused, json!({"notUpdated": {&berth: error}}));
    }
    // A team owns nothing: an owner is a person.
    let refused = cat.call("Conversation/set", json!({"update": {&berth: {"ownerId": office}}})).await;
    assert_eq!(refused["notUpdated"][&berth]["properties"], json!(["ownerId"]), "{refused}");

    // Once one of its people works here, the other team is known, too; one that is disabled takes nothing new.
    server.json(&["inbox", "member", "add", SUPPORT, "dora@x.example:agent"]);
    let dora = server.client("dora@x.example").await;
    assert!(give(&dora, &berth, json!(elsewhere)).await["updated"].get(&berth).is_some());
    assert_eq!(found(&cat, json!(elsewhere)).await, std::slice::from_ref(&berth));
    server.json(&["team", "disable", "Office"]);
    assert_eq!(found(&cat, json!(office)).await, std::slice::from_ref(&bill), "what it has it keeps");
    let refused = give(&cat, &berth, json!(office)).await;
    assert_eq!(refused["notUpdated"][&berth]["properties"], json!(["teamId"]), "{refused}");
    assert!(give(&cat, &bill, Value::Null).await["updated"].get(&bill).is_some());
    assert_eq!(found(&cat, json!(office)).await, Vec::<String>::new());
    server.check();
}
