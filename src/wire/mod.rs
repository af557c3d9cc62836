//! Floor 4: sockets, timeouts, HTTP, SMTP, and the work that goes on beside requests.

pub mod admin_socket;
pub mod background;
pub mod blobs;
pub mod client_roots;
pub mod dkim_keys;
pub mod documents;
pub mod eventsource;
pub mod feed;
pub mod fresh;
pub mod http;
pub mod http_auth;
pub mod http_jmap;
pub mod listeners;
mod metrics;
pub mod problem;
pub mod push;
pub mod relay;
mod relay_waiting;
pub mod smtp_in;
pub mod smtp_limits;
pub mod smtp_log;
pub mod smtp_out;
pub mod supervisor;
pub mod tls;
pub mod websocket;
pub mod websocket_ticket;
