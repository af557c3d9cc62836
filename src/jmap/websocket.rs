//! What a JMAP WebSocket says and hears (RFC 8887 §4.3), without the socket: text in, what it asks for
//! out, and the text of each answer.
//!
//! Invariants: a message that can't be read is answered by a RequestError with the request's id, as far
//! as that could be read; every text that is made here is I-JSON.

use super::error::RequestError;
use super::ijson;
use super::process::Response;
use super::reply;
use super::request::{self, Request};
use crate::types::limits::REQUEST_SIZE_BYTES_MAX;
use serde_json::{Map, Value};

/// The `id` that a client gave its request, if it did.
pub type RequestId = Option<String>;

/// What a client sends.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// §4.3.2.
    Request { id: RequestId, request: Request },
    /// §4.3.5.2. No data types: all.
    PushEnable { data_types: Option<Vec<String>>, push_state: Option<String> },
    /// §4.3.5.3.
    PushDisable,
}

/// A message that isn't one.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub id: RequestId,
    pub error: RequestError,
}

/// Reads a text message.
pub fn read(text: &[u8]) -> Result<Message, Refused> {
    let refused = |error| Refused { id: None, error };
    if text.len() > REQUEST_SIZE_BYTES_MAX {
        return Err(refused(RequestError::Limit("maxSizeRequest")));
    }
    let Value::Object(mut members) = request::parse_json(text).map_err(refused)? else {
        return Err(refused(not_request("it is not an object")));
    };
    let kind = members.remove("@type");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    match kind {
        "Request" => read_request(members),
        "WebSocketPushEnable" => push_enable(&members)
            .map_err(|error| Refused { id: string(&members, "id").unwrap_or_default(), error }),
        "WebSocketPushDisable" => Ok(Message::PushDisable),
        _ => {
            let why = "@type must be Request, WebSocketPushEnable or WebSocketPushDisable";
            Err(Refused { id: string(&members, "id").unwrap_or_default(), error: not_request(why) })
        }
    }
}

fn read_request(members: Map<String, Value>) -> Result<Message, Refused> {
    let id = string(&members, "id").map_err(|error| Refused { id: None, error })?;
    match request::from_json(Value::Object(members)) {
        Ok(request) => Ok(Message::Request { id, request }),
        Err(error) => Err(Refused { id, error }),
    }
}

fn push_enable(members: &Map<String, Value>) -> Result<Message, RequestError> {
    let data_types = match members.get("dataTypes") {
        None | Some(Value::Null) => None,
        Some(Value::Array(names)) => {
            let names: Option<Vec<String>> =
                names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            Some(names.ok_or_else(|| not_request("dataTypes must be an array of strings or null"))?)
        }
        Some(_) => return Err(not_request("dataTypes must be an array of strings or null")),
    };
    Ok(Message::PushEnable { data_types, push_state: string(members, "pushState")? })
}

/// A member that is a string, null or not there.
fn string(members: &Map<String, Value>, name: &'static str) -> Result<Option<String>, RequestError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(RequestError::NotRequest(format!("{name} must be a string").into())),
    }
}

fn not_request(why: &'static str) -> RequestError {
    RequestError::NotRequest(why.into())
}

/// The text of a Response (§4.3.3).
pub fn response(response: Response, id: RequestId) -> String {
    let mut out = br#"{"@type":"Response","#.to_vec();
    // "It MUST be returned" where the request had one.
    if let Some(id) = id {
        out.extend_from_slice(br#""requestId":"#);
        reply::write(&mut out, &id);
        out.push(b',');
    }
    response.write_members(&mut out);
    out.push(b'}');
    // What serde_json prints is UTF-8.
    ijson::cleaned(String::from_utf8(out).unwrap_or_default())
}

/// The text of a RequestError (§4.3.4): the problem that HTTP would have given, and the request's id.
pub fn request_error(problem: Value, id: RequestId) -> String {
    typed("RequestError", Some(("requestId".to_owned(), Value::from(id))), problem)
}

/// The text of a StateChange (§4.3.5.1).
pub fn state_change(change: Value, push_state: &str) -> String {
    let push_state = Some(("pushState".to_owned(), Value::from(push_state)));
    typed("StateChange", push_state, change)
}

fn typed(kind: &str, member: Option<(String, Value)>, rest: Value) -> String {
    let mut out = Map::new();
    out.insert("@type".to_owned(), kind.into());
    out.extend(member);
    if let Value::Object(rest) = rest {
        out.extend(rest);
    }
    ijson::cleaned(Value::Object(out).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Ticket;
    use serde_json::json;

    fn error_of(text: &str) -> Value {
        match read(text.as_bytes()) {
            Ok(message) => json!(format!("{message:?}")),
            Err(refused) => json!([refused.id, refused.error.to_json()["type"]]),
        }
    }

    #[test]
    fn a_message_that_is_none_is_refused_with_the_id_that_it_had() {
        let error = |id: Value, name: &str| json!([id, format!("urn:ietf:params:jmap:error:{name}")]);
        for (text, id, name) in [
            ("The quick brown fox jumps over the lazy dog.", json!(null), "notJSON"),
            (r#"{"@type":"Request","id":"R1","id":"R2"}"#, json!(null), "notJSON"),
            ("[]", json!(null), "notRequest"),
            ("{}", json!(null), "notRequest"),
            (r#"{"@type":"Response","id":"R1"}"#, json!("R1"), "notRequest"),
            (r#"{"@type":7,"id":7}"#, json!(null), "notRequest"),
            (r#"{"id":"R1","using":[],"methodCalls":[]}"#, json!("R1"), "notRequest"),
            (r#"{"@type":"Request","id":7,"using":[],"methodCalls":[]}"#, json!(null), "notRequest"),
            (r#"{"@type":"Request","id":"R1","methodCalls":[]}"#, json!("R1"), "notRequest"),
            (
                r#"{"@type":"Request","id":"R1","using":["urn:x"],"methodCalls":[]}"#,
                json!("R1"),
                "unknownCapability",
            ),
            (r#"{"@type":"WebSocketPushEnable","dataTypes":"Email"}"#, json!(null), "notRequest"),
            (r#"{"@type":"WebSocketPushEnable","dataTypes":[1]}"#, json!(null), "notRequest"),
            (r#"{"@type":"WebSocketPushEnable","dataTypes":null,"pushState":1}"#, json!(null), "notRequest"),
            (&" ".repeat(REQUEST_SIZE_BYTES_MAX + 1), json!(null), "limit"),
        ] {
            assert_eq!(error_of(text), error(id, name), "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn each_message_is_read_and_what_it_has_beside_is_ignored() {
        let request = json!({"@type": "Request", "id": "R1", "using": ["urn:ietf:params:jmap:core"],
            "methodCalls": [["Core/echo", {}, "c"]], "future": 1});
        let Ok(Message::Request { id, request }) = read(request.to_string().as_bytes()) else {
            panic!("{request}")
        };
        assert_eq!((id.as_deref(), request.calls.len()), (Some("R1"), 1));
        let enable = json!({"@type": "WebSocketPushEnable", "dataTypes": ["Email"], "pushState": "aaa"});
        let data_types = Some(vec!["Email".to_owned()]);
        let push_state = Some("aaa".to_owned());
        assert_eq!(read(enable.to_string().as_bytes()), Ok(Message::PushEnable { data_types, push_state }));
        assert_eq!(
            read(br#"{"@type":"WebSocketPushEnable","dataTypes":null}"#),
            Ok(Message::PushEnable { data_types: None, push_state: None })
        );
        assert_eq!(read(br#"{"@type":"WebSocketPushDisable"}"#), Ok(Message::PushDisable));
    }

    #[test]
    fn answers_name_their_type_and_their_request_and_are_i_json() {
        let answer = Response {
            responses: Vec::new(),
            created_ids: None,
            session_state: "s\u{ffff}".to_owned(),
            ticket: Ticket::default(),
        };
        assert_eq!(
            response(answer.clone(), Some("R1".to_owned())),
            "{\"@type\":\"Response\",\"requestId\":\"R1\",\"methodResponses\":[],\"sessionState\":\"s\u{fffd}\"}"
        );
        assert!(!response(answer, None).contains("requestId"));
        let problem = RequestError::Limit("maxConcurrentRequests").to_json();
        assert_eq!(
            request_error(problem, None),
            "{\"@type\":\"RequestError\",\"requestId\":null,\"type\":\"urn:ietf:params:jmap:error:limit\",\
             \"limit\":\"maxConcurrentRequests\",\"status\":400,\
             \"detail\":\"The request exceeds the limit maxConcurrentRequests.\"}"
        );
        let change = json!({"@type": "StateChange", "changed": {"ab": {"Email": "s1"}}});
        assert_eq!(
            state_change(change, "ab:1"),
            "{\"@type\":\"StateChange\",\"pushState\":\"ab:1\",\"changed\":{\"ab\":{\"Email\":\"s1\"}}}"
        );
    }
}
