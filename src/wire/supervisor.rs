//! What a service manager is told (sd_notify(3)); without one nothing happens.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::watch;

/// What a service manager waits for.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Every listener takes connections.
    Ready,
    /// No new connection is taken.
    Stopping,
}

/// Tells it.
pub fn tell(moment: Moment) {
    let state = match moment {
        Moment::Ready => NotifyState::Ready,
        Moment::Stopping => NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// Says every so often that the server lives, where the service manager wants to know (`WatchdogSec=`).
pub async fn watchdog(mut stopping: watch::Receiver<bool>) {
    let mut microseconds = 0;
    if !sd_notify::watchdog_enabled(false, &mut microseconds) {
        return;
    }
    // sd_watchdog_enabled(3) recommends half of the time.
    let every = Duration::from_micros(microseconds / 2).max(Duration::from_millis(1));
    loop {
        let _ = sd_notify::notify(false, &[NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = super::http::stopped(&mut stopping) => return,
        }
    }
}
