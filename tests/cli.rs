//! The command line: every command, on a running server and on a folder that nobody serves.

use crate::support::server::{postroom, start};
use crate::support::{Client, TestServer, message};
use serde_json::{Value, json};

#[tokio::test]
async fn every_command_prints_json_whether_a_server_runs_or_not() {
    let mut server = start().await;
    for round in ["running", "stopped"] {
        let (email, inbox) = (format!("ann@{round}.example"), format!("support@{round}.example"));
        let person = server.person(&email, "Ann");
        assert_eq!(
            person,
            json!({
                "done": "person", "email": email, "name": "Ann", "id": person["id"],
                "accountId": person["accountId"], "password": null
            })
        );
        let made = server.json(&["person", "password", &email]);
        assert!(made["password"].as_str().is_some_and(|made| made.len() >= 16), "{made}");
        let added = server.json(&[
            "inbox",
            "add",
            &inbox,
            "--name",
            "Support",
            "--alias",
            &format!("help@{round}.example"),
            "--member",
            &format!("{email}:admin"),
        ]);
        let account = added["accountId"].clone();
        assert_eq!(added, json!({"done": "inbox", "email": inbox, "name": "Support", "accountId": account}));
        server.json(&["person", "add", &format!("bob@{round}.example"), "--name", "Bob", "--no-mailbox"]);
        let bob = format!("bob@{round}.example");
        assert_eq!(
            server.json(&["inbox", "member", "add", &inbox, &format!("{bob}:observer")]),
            json!({"done": "done"})
        );
        let inboxes = server.json(&["inbox", "list"]);
        assert_eq!(
            inboxes["inboxes"].as_array().unwrap().last().unwrap(),
            &json!({
                "accountId": account, "email": inbox, "name": "Support",
                "aliases": [format!("help@{round}.example")],
                "members": [[email, "admin"], [bob, "observer"]]
            })
        );
        server.json(&["inbox", "member", "remove", &inbox, &bob]);
        let made = server.json(&["app-password", "add", &email, "--inbox", &inbox, "--label", "phone"]);
        let listed = server.json(&["app-password", "list", &email]);
        assert_eq!(
            listed,
            json!({
                "done": "appPasswords",
                "passwords": [{"id": made["id"], "email": email, "inbox": inbox, "label": "phone"}]
            })
        );
        server.json(&["app-password", "revoke", made["id"].as_str().unwrap()]);
        assert_eq!(server.json(&["app-password", "list", &email])["passwords"], json!([]));
        server.json(&["person", "disable", &bob]);
        let people = server.json(&["person", "list"]);
        let last = people["people"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (&last["email"], &last["disabled"], &last["accountId"]),
            (&json!(bob), &json!(true), &json!(null))
        );
        server.check();
        if round == "running" {
            assert!(server.stop().await.success(), "{}", server.log());
        }
    }
}

#[tokio::test]
async fn a_wrong_command_says_what_is_wrong_and_changes_nothing() {
    let server = TestServer::office(&[]).await;
    for (arguments, told) in [
        (vec!["person", "add", "ann@x.example", "--name", "Again"], "ann@x.example"),
        (vec!["person", "add", "no address", "--name", "X"], "no address"),
        (vec!["person", "disable", "nobody@x.example"], "nobody@x.example"),
        (vec!["inbox", "add", "y@x.example", "--name", "Y", "--member", "ann@x.example:king"], "king"),
        (vec!["inbox", "member", "add", "nothing@x.example", "ann@x.example:agent"], "nothing@x.example"),
        (vec!["app-password", "revoke", "?"], "?"),
    ] {
        let output = server.command(&arguments, "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(server.json(&["inbox", "list"])["inboxes"].as_array().unwrap().len(), 1);
}

#[test]
fn all_that_is_wrong_with_a_configuration_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    let check = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = postroom();
        command.args(["config", "check", "--config"]).arg(&file).args(more).env_remove("POSTROOM_DATA");
        let output = command.current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let right = format!("{} is right\n", file.display());
    assert_eq!(check("http = \"127.0.0.1:0\"\n", &[]), (Some(0), right));
    let wrong = "http = \"here\"\nbase_url = \"ftp://x\"\n";
    let (code, lines) = check(wrong, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        lines,
        "http = \"here\": an address looks like 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one\n\
         base_url = \"ftp://x\": it must start with http:// or https://\n"
    );
    let (code, text) = check(wrong, &["--json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["errors"][1]["key"]), (Some(1), &json!("base_url")));
    // What only the start would find.
    let (code, lines) = check("relay = \"http://relay.example\"\n", &[]);
    assert!(code == Some(1) && lines.starts_with("relay: "), "{lines}");
    let pair = |roots: &str| {
        let path = |name: &str| format!("{}/tests/support/relay_tls/{name}", env!("CARGO_MANIFEST_DIR"));
        format!(
            "tls_certificate = {:?}\ntls_key = {:?}\ndeliver_from = []\nclient_roots = {:?}\n",
            path("relay.pem"),
            path("relay-key.pem"),
            path(roots)
        )
    };
    assert_eq!(check(&pair("client-ca.pem"), &[]).0, Some(0));
    let (code, lines) = check(&pair("client-key.pem"), &[]);
    assert!(code == Some(1) && lines.contains("authority of clients"), "{lines}");
    let (code, lines) = check(&pair("nothing.pem"), &[]);
    assert!(code == Some(1) && lines.starts_with("client_roots: can't read "), "{lines}");
    let dkim = "[[dkim]]\ndomain = \"x.example\"\nselector = \"s\"\nkey_file = ";
    let (code, lines) = check(&format!("{dkim}\"/no/such/key.pem\"\n"), &[]);
    assert!(code == Some(1) && lines.starts_with("dkim: can't read /no/such/key.pem: "), "{lines}");
    let (code, lines) = check(&format!("{dkim}{file:?}\n"), &[]);
    let why = format!("dkim: {}: it holds no private key in PEM\n", file.display());
    assert_eq!((code, lines), (Some(1), why));
    let (code, lines) = check("htpp = \"127.0.0.1:1\"\n", &[]);
    assert!(code == Some(1) && lines.contains("unknown field `htpp`"), "{lines}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no folder is made");
}

#[tokio::test]
async fn a_second_server_on_the_folder_is_refused_with_a_clear_message() {
    let server = start().await;
    let second = postroom()
        .args(["serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains("in use") || error.contains("another"), "{error}");
    assert!(error.contains(&server.data().display().to_string()), "{error}");
    server.check();
}

#[tokio::test]
async fn a_stopped_server_exits_with_0_and_keeps_everything() {
    let mut server = TestServer::office(&[]).await;
    let addresses = std::fs::read(server.data().join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
    assert_eq!(addresses, json!({"http": server.http, "smtp": server.smtp}));
    let text = message("one@c.example", "m@c.example", "support@x.example", "Hello", "Hello");
    server.deliver("m@c.example", &["support@x.example"], &text).await;
    let status = server.stop().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    server.start().await;
    let ann = server.client("ann@x.example").await;
    assert_eq!(ann.call("Email/query", json!({"calculateTotal": true})).await["total"], 1);
}

#[tokio::test]
async fn a_backup_of_the_running_server_is_restored_and_complete() {
    let mut server = TestServer::office(&[]).await;
    for n in 0..20 {
        let text = message(
            &format!("{n}@c.example"),
            "m@c.example",
            "support@x.example",
            &format!("Hello {n}"),
            "Berth",
        );
        assert!(server.deliver("m@c.example", &["support@x.example"], &text).await.starts_with("250"));
    }
    let before = server.check();
    let (backup, restored) = (server.beside("backup"), server.beside("restored"));
    assert_eq!(server.json(&["backup", backup.to_str().unwrap()]), json!({"done": "done"}));
    // What comes after the backup isn't in it.
    let text = message("later@c.example", "m@c.example", "support@x.example", "Later", "Later");
    server.deliver("m@c.example", &["support@x.example"], &text).await;
    let restore =
        |to: &std::path::Path| postroom().arg("restore").arg(&backup).arg("--data").arg(to).output().unwrap();
    let output = restore(&restored);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again = restore(&restored);
    assert!(!again.status.success(), "a folder that isn't empty is refused");
    let check = postroom().args(["check", "--json", "--data"]).arg(&restored).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let mut expected = before.clone();
    // How far full text is behind is known where a server runs.
    expected["searchLag"] = json!(null);
    assert_eq!(report, expected);

    // A server on the restored folder serves it, full text included.
    server.kill();
    std::fs::remove_dir_all(server.data()).unwrap();
    std::fs::rename(&restored, server.data()).unwrap();
    server.start().await;
    let ann = Client::basic(&server.http, "ann@x.example", crate::support::PASSWORD).await;
    let found = ann.call("Email/query", json!({"filter": {"text": "berth"}, "calculateTotal": true})).await;
    assert_eq!(found["total"], 20, "{found}");
}
