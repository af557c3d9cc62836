//! What is counted of the server's work, for operators (OpenMetrics 1.0).
//!
//! Invariant: every label has few values, which the server chooses: nothing that a peer sends becomes
//! one, so that nobody can make memory grow.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// One label: its name and its value.
pub type Label = [(&'static str, &'static str); 1];
/// A count for each value of one label.
pub type Counts = Family<Label, Counter>;
/// A present number for each value of one label.
pub type Gauges = Family<Label, Gauge>;

/// All counters of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// SMTP and LMTP connections by `result`: let in, or turned away.
    pub smtp_connections: Counts,
    pub smtp_open: Gauge,
    /// Replies by their code.
    pub smtp_replies: Family<[(&'static str, u32); 1], Counter>,
    /// What became of messages, by recipient.
    pub smtp_deliveries: Counts,
    /// Messages that were taken in whose structure can't be told, by `why`.
    pub unparsed: Counts,
    /// From the last octet of a message until it is durable.
    pub smtp_delivery_seconds: Histogram,
    /// What relays said, by recipient.
    pub relay_replies: Counts,
    pub relay_seconds: Histogram,
    pub store_commits: Counter,
    pub store_sync_seconds: Histogram,
    /// JMAP calls by method and by what became of them.
    pub jmap_calls: Family<[(&'static str, &'static str); 2], Counter>,
    jmap_seconds: Family<Label, Histogram, fn() -> Histogram>,
    pub http_answers: Family<[(&'static str, u32); 1], Counter>,
    pub channels: Gauges,
    pub pushes: Counts,
    pub logins: Counts,
    /// What is looked up when it is asked for.
    pub present: Gauges,
}

impl Metrics {
    /// Counts one JMAP call; `method` is a name of ours.
    pub fn jmap_call(&self, method: &'static str, result: &'static str, took: Duration) {
        self.jmap_calls.get_or_create(&[("method", method), ("result", result)]).inc();
        self.jmap_seconds.get_or_create(&[("method", method)]).observe(took.as_secs_f64());
    }

    /// The text of all, as OpenMetrics writes it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String doesn't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// From a tenth of a millisecond to some seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 9))
}

/// Counts one.
pub fn count(counts: &Counts, name: &'static str, value: &'static str) {
    counts.get_or_create(&[(name, value)]).inc();
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("postroom"),
            smtp_connections: Family::default(),
            smtp_open: Gauge::default(),
            smtp_replies: Family::default(),
            smtp_deliveries: Family::default(),
            unparsed: Family::default(),
            smtp_delivery_seconds: seconds(),
            relay_replies: Family::default(),
            relay_seconds: seconds(),
            store_commits: Counter::default(),
            store_sync_seconds: seconds(),
            jmap_calls: Family::default(),
            jmap_seconds: Family::new_with_constructor(seconds),
            http_answers: Family::default(),
            channels: Family::default(),
            pushes: Family::default(),
            logins: Family::default(),
            present: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let all = &mut self.registry;
        let build: Gauges = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        all.register("build", "1 for the version that runs", build);
        all.register("smtp_connections", "SMTP and LMTP connections", self.smtp_connections.clone());
        all.register("smtp_connections_open", "those that are open", self.smtp_open.clone());
        all.register("smtp_replies", "SMTP and LMTP replies by code", self.smtp_replies.clone());
        all.register("smtp_deliveries", "Messages taken or not, by recipient", self.smtp_deliveries.clone());
        let help = "Messages taken in whose structure can't be told";
        all.register("messages_unparsed", help, self.unparsed.clone());
        let help = "From a message's last octet until it is durable";
        all.register_with_unit("smtp_delivery", help, Unit::Seconds, self.smtp_delivery_seconds.clone());
        all.register("relay_replies", "What relays said, by recipient", self.relay_replies.clone());
        let help = "One handover to a relay, from connecting on";
        all.register_with_unit("relay_handover", help, Unit::Seconds, self.relay_seconds.clone());
        all.register("store_commits", "Transactions that are durable", self.store_commits.clone());
        let help = "One sync of the log, which may cover many transactions";
        all.register_with_unit("store_sync", help, Unit::Seconds, self.store_sync_seconds.clone());
        all.register("jmap_calls", "JMAP method calls by outcome", self.jmap_calls.clone());
        let help = "One JMAP method call, without the wait until it is durable";
        all.register_with_unit("jmap_call", help, Unit::Seconds, self.jmap_seconds.clone());
        all.register("http_answers", "HTTP responses by status", self.http_answers.clone());
        all.register("channels_open", "EventSource and WebSocket channels", self.channels.clone());
        all.register("pushes", "POSTs to push services", self.pushes.clone());
        all.register("logins_refused", "Logins refused, or asked to wait", self.logins.clone());
        all.register(
            "present",
            "The queue, the disk, the store, the accounts, as of now",
            self.present.clone(),
        );
    }
}

/// A gauge that is one higher as long as this lives.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    /// Raises it.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_as_openmetrics() {
        let metrics = Metrics::default();
        metrics.jmap_call("Email/get", "ok", Duration::from_millis(1));
        metrics.jmap_call("Email/get", "ok", Duration::from_millis(2));
        count(&metrics.smtp_deliveries, "result", "accepted");
        let open = Raised::new(&metrics.smtp_open);
        let text = metrics.text();
        for line in [
            "postroom_jmap_calls_total{method=\"Email/get\",result=\"ok\"} 2",
            "postroom_jmap_call_seconds_count{method=\"Email/get\"} 2",
            "postroom_smtp_deliveries_total{result=\"accepted\"} 1",
            "postroom_smtp_connections_open 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        drop(open);
        assert!(metrics.text().contains("postroom_smtp_connections_open 0"));
    }
}
