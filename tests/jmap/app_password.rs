//! App passwords: for programs, and for clients that are to see one inbox only.

use crate::support::{Client, MAIL, TestServer};
use serde_json::json;

#[tokio::test]
async fn an_app_password_bound_to_an_inbox_shows_that_inbox_as_the_own_account() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let made = server.json(&[
        "app-password",
        "add",
        "ann@x.example",
        "--inbox",
        "support@x.example",
        "--label",
        "phone",
    ]);
    let phone = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    let session = &phone.session;
    let accounts = session["accounts"].as_object().unwrap();
    assert_eq!(accounts.keys().collect::<Vec<_>>(), [&ann.account]);
    assert_eq!(accounts[&ann.account]["isPersonal"], true);
    assert_eq!(session["username"], "ann@x.example");
    for (capability, account) in session["primaryAccounts"].as_object().unwrap() {
        assert_eq!(account, &json!(ann.account), "{capability}");
    }
    assert_eq!(session["primaryAccounts"][MAIL], json!(ann.account));
    // It reaches nothing else.
    let own = phone.at(&ann.own().account);
    assert_eq!(own.call("Email/get", json!({"ids": []})).await["type"], "accountNotFound");
    assert_eq!(
        own.post(&format!("/jmap/upload/{}/", own.account), "text/plain", b"x".to_vec()).await.status,
        404
    );
    // As the password of HTTP Basic it is the same.
    let basic = Client::basic(&server.http, "ann@x.example", made["secret"].as_str().unwrap()).await;
    assert_eq!(basic.session, *session);

    server.json(&["app-password", "revoke", made["id"].as_str().unwrap()]);
    for client in [&phone, &basic] {
        let reply = client.get("/.well-known/jmap").await;
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("www-authenticate").len(), 2);
    }
}

#[tokio::test]
async fn an_app_password_of_a_member_who_leaves_opens_nothing() {
    let server = TestServer::office(&[]).await;
    let made = server.json(&["app-password", "add", "bob@x.example", "--inbox", "support@x.example"]);
    let phone = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    server.json(&["inbox", "member", "remove", "support@x.example", "bob@x.example"]);
    assert_eq!(phone.get("/.well-known/jmap").await.status, 401);
}
