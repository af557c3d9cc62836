//! A request from its first call to its last (RFC 8620 §3.3–§3.7), on one thread that may block.
//!
//! Invariants: calls run in order, and each is answered at least once; an error or a panic in one
//! answers that call only; what a client learns of a panic is `serverFail`, nothing else.

use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind};
use super::refs::{self, ReferenceBudget};
use super::reply::{self, Reply};
use super::request::{Invocation, Request};
use super::{ijson, methods};
use crate::store::Ticket;
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// The answer to a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Response {
    pub responses: Vec<Reply>,
    /// Given where the request gave them.
    pub created_ids: Option<Map<String, Value>>,
    pub session_state: String,
    /// The response must not be sent before this is durable: it tells of no later commit.
    pub ticket: Ticket,
}

impl Response {
    /// The text of the Response object, as I-JSON (RFC 8620 §1.5).
    pub fn into_text(self) -> String {
        let mut out = b"{".to_vec();
        self.write_members(&mut out);
        out.push(b'}');
        // What serde_json prints is UTF-8.
        ijson::cleaned(String::from_utf8(out).unwrap_or_default())
    }

    /// Appends the members of the Response object (RFC 8620 §3.4).
    pub fn write_members(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"methodResponses\":[");
        for (at, one) in self.responses.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            one.write(out);
        }
        out.push(b']');
        if let Some(created_ids) = &self.created_ids {
            out.extend_from_slice(b",\"createdIds\":");
            reply::write(out, created_ids);
        }
        out.extend_from_slice(b",\"sessionState\":");
        reply::write(out, &self.session_state);
    }

    /// The Response object (RFC 8620 §3.4).
    pub fn into_json(self) -> Value {
        let responses = self.responses.into_iter().map(|one| json!([one.name, one.arguments(), one.call_id]));
        let mut out = Map::with_capacity(3);
        out.insert("methodResponses".into(), responses.collect());
        if let Some(created_ids) = self.created_ids {
            out.insert("createdIds".into(), created_ids.into());
        }
        out.insert("sessionState".into(), self.session_state.into());
        Value::Object(out)
    }
}

/// Runs all calls of a request.
pub fn process(mut ctx: Ctx<'_>, request: Request) -> Response {
    let wants_created_ids = request.created_ids.is_some();
    ctx.set_created_ids(request.created_ids.unwrap_or_default());
    let mut budget = ReferenceBudget::default();
    for call in request.calls {
        ctx.start(call.call_id.clone());
        let method = methods::find(&call.name).map_or("unknown", |method| method.name);
        let begun = Instant::now();
        // A panic drops the call's transaction, so that nothing of it was applied; what the
        // context holds is put right by the next `start`.
        let caught = catch_unwind(AssertUnwindSafe(|| run(&mut ctx, call, &mut budget)));
        let result = caught.unwrap_or_else(|_| Err(MethodError::server_fail(&"a panic in a method")));
        let told = result.as_ref().map_or_else(|error| error.kind.name(), |()| "ok");
        ctx.store.metrics.jmap_call(method, told, begun.elapsed());
        if let Err(error) = result {
            ctx.respond("error", error.into_json());
        }
    }
    let session_state = ctx.session.state().to_owned();
    let (responses, created_ids, ticket) = ctx.finish();
    Response { responses, created_ids: wants_created_ids.then_some(created_ids), session_state, ticket }
}

fn run(ctx: &mut Ctx<'_>, call: Invocation, budget: &mut ReferenceBudget) -> Result<(), MethodError> {
    let Some(method) = methods::find(&call.name) else {
        return Err(MethodErrorKind::UnknownMethod.into());
    };
    if !method.is_in_use(ctx.using) {
        let missing = method.capability.uri();
        let why = format!("The capability '{missing}' must be in \"using\" for this method.");
        return Err(MethodError::new(MethodErrorKind::UnknownMethod, why));
    }
    let mut arguments = call.arguments;
    refs::resolve(&mut arguments, ctx.responses(), budget)?;
    (method.run)(ctx, method, arguments)
}
