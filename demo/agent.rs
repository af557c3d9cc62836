//! A member of the team at a JMAP client: plain HTTP and JSON, no JMAP library, so that the requests can
//! be read as an integrator would write them.

use crate::Outcome;
use serde_json::{Value, json};

pub const CORE: &str = "urn:ietf:params:jmap:core";
pub const MAIL: &str = "urn:ietf:params:jmap:mail";
pub const SUBMISSION: &str = "urn:ietf:params:jmap:submission";
const PRINCIPALS: &str = "urn:ietf:params:jmap:principals";

/// What a client names that knows the team capabilities.
pub const TEAM: &[&str] = &[
    CORE,
    MAIL,
    SUBMISSION,
    "https://postroom.dev/jmap/ownership",
    "https://postroom.dev/jmap/status",
    "https://postroom.dev/jmap/notes",
    "https://postroom.dev/jmap/locks",
    "https://postroom.dev/jmap/activity",
];
/// What any other client names.
pub const PLAIN: &[&str] = &[CORE, MAIL, SUBMISSION];

pub struct Agent {
    pub name: &'static str,
    email: String,
    password: String,
    http: reqwest::Client,
    api_url: String,
    /// The shared inbox.
    pub account: String,
    /// Who this member is (RFC 9670 §2).
    pub principal: String,
}

impl Agent {
    /// Reads the session and finds the shared inbox in it.
    pub async fn log_in(base: &str, name: &'static str, email: &str, password: &str) -> Outcome<Self> {
        let http = reqwest::Client::new();
        let reply = http
            .get(format!("{base}/.well-known/jmap"))
            .basic_auth(email, Some(password))
            .send()
            .await?
            .error_for_status()?;
        let session: Value = serde_json::from_slice(&reply.bytes().await?)?;
        let accounts = session["accounts"].as_object().ok_or("the session has no accounts")?;
        let shared = accounts.iter().find(|(_, account)| account["isPersonal"] == json!(false));
        let (account, details) = shared.ok_or("the session shows no shared inbox")?;
        let principal = &details["accountCapabilities"][PRINCIPALS]["currentUserPrincipalId"];
        let api_url = session["apiUrl"].as_str().ok_or("the session has no apiUrl")?;
        Ok(Self {
            name,
            email: email.into(),
            password: password.into(),
            http,
            api_url: if api_url.starts_with('/') { format!("{base}{api_url}") } else { api_url.into() },
            account: account.clone(),
            principal: principal.as_str().ok_or("the session doesn't say who I am")?.into(),
        })
    }

    /// Sends the calls, `accountId` filled in, and gives the arguments of their responses.
    pub async fn call(&self, using: &[&str], calls: &[(&str, Value)]) -> Outcome<Vec<Value>> {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(index, (method, arguments))| {
                let mut arguments = arguments.clone();
                arguments["accountId"] = json!(self.account);
                json!([method, arguments, index.to_string()])
            })
            .collect();
        let reply = self
            .http
            .post(&self.api_url)
            .basic_auth(&self.email, Some(&self.password))
            .header("Content-Type", "application/json")
            .body(json!({ "using": using, "methodCalls": calls }).to_string())
            .send()
            .await?;
        let status = reply.status();
        let body = reply.bytes().await?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        let mut body: Value = serde_json::from_slice(&body)?;
        let Value::Array(responses) = body["methodResponses"].take() else {
            return Err("a response without methodResponses".into());
        };
        let failed = responses.iter().find(|response| response[0] == "error");
        if let Some(failed) = failed {
            return Err(format!("{}: {failed}", self.name).into());
        }
        Ok(responses.into_iter().map(|mut response| response[1].take()).collect())
    }

    /// One call, one answer.
    pub async fn call_one(&self, method: &str, arguments: Value) -> Outcome<Value> {
        let answers = self.call(TEAM, &[(method, arguments)]).await?;
        answers.into_iter().next().ok_or_else(|| format!("{method}: no answer").into())
    }

    /// The conversation as it is now.
    pub async fn conversation(&self, id: &str) -> Outcome<Value> {
        let mut answer = self.call_one("Conversation/get", json!({ "ids": [id] })).await?;
        Ok(answer["list"][0].take())
    }
}
