//! Log lines: where they go, how they look, and who may write them.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Lines go to standard error; `POSTROOM_LOG` wins over the configuration.
pub fn begin(level: &str, format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("POSTROOM_LOG").or_else(|_| EnvFilter::try_new(level)).unwrap_or_default();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let all = tracing_subscriber::registry().with(filter).with(filter_fn(is_ours_to_vouch_for)).with(lines);
    // A second call, in a test, changes nothing.
    let _ = all.try_init();
}

/// No line has a message's content or a secret, whatever filter is set. Our own lines see to that; a
/// library that moves octets for us shows them below `info` (tungstenite does, each frame of a WebSocket),
/// so it isn't heard there.
fn is_ours_to_vouch_for(line: &Metadata<'_>) -> bool {
    let target = line.target();
    *line.level() <= Level::INFO || target == "postroom" || target.starts_with("postroom::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What is written by a subscriber with the filter, on everything.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_are_heard_from_info_on_and_the_server_at_every_level() {
        let written = Written::default();
        let out = written.clone();
        let lines = fmt::layer().with_writer(move || out.clone());
        let all = tracing_subscriber::registry()
            .with(EnvFilter::new("trace"))
            .with(filter_fn(is_ours_to_vouch_for))
            .with(lines);
        tracing::subscriber::with_default(all, || {
            tracing::trace!(target: "postroom::wire", "ours");
            tracing::trace!(target: "postroomy", "a name that begins alike");
            tracing::debug!(target: "tungstenite::protocol", "a frame");
            tracing::info!(target: "hyper", "a library");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("ours") && text.contains("a library"), "{text}");
    }
}
