//! Any octets as a JMAP request: a request or an error, never a panic.

pub fn drive(octets: &[u8]) {
    if let Ok(request) = postroom::jmap::request::parse(octets) {
        assert!(request.calls.len() <= postroom::types::limits::CALLS_IN_REQUEST_MAX);
    }
}
