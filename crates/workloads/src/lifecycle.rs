//! How a server ends without hurting a client.
//!
//! ```text
//! Serving --SIGTERM--> Draining --SIGUSR2--> Leaving --quiet--> exit 0
//! ```
//! *Draining*: the Pod is being deleted, but nodes still send new connections here, because the removal of an
//! endpoint takes a while to reach them all. Everything is served as before; answers say `Connection: close`.
//! *Leaving*: every node has forgotten this Pod (the Pod runner asked them all and then sent SIGUSR2). What is in
//! flight finishes; after a quiet moment the process ends. The grace period bounds all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    Draining,
    Leaving,
}

/// The server's phase, and what is going on; cheap to clone, shared by every connection.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    started: Instant,
    /// Requests being answered, and raw connections that were active a moment ago.
    busy: AtomicUsize,
    /// Milliseconds since `started` of the last sign of life of any client.
    last_activity: AtomicU64,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                phase: watch::Sender::new(Phase::Serving),
                started: Instant::now(),
                busy: AtomicUsize::new(0),
                last_activity: AtomicU64::new(0),
            }),
        }
    }
}

impl Lifecycle {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.shared.phase.send_if_modified(|now| {
            let forward = phase > *now;
            *now = (*now).max(phase);
            forward
        });
    }

    /// Waits until the server is at least in `phase`.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.shared.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// A client has shown life.
    pub fn touch(&self) {
        self.shared.last_activity.store(self.now(), Ordering::Relaxed);
    }

    /// Holds the server alive while the returned value lives.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy { lifecycle: self.clone() }
    }

    /// Whether nothing is in flight and nothing has happened for `quiet`.
    #[must_use]
    pub fn is_quiet(&self, quiet: Duration) -> bool {
        let idle = self.now().saturating_sub(self.shared.last_activity.load(Ordering::Relaxed));
        self.shared.busy.load(Ordering::Relaxed) == 0 && u128::from(idle) >= quiet.as_millis()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Something in flight. See [`Lifecycle::busy`].
#[derive(Debug)]
pub struct Busy {
    lifecycle: Lifecycle,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.lifecycle.touch();
        self.lifecycle.shared.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long nothing must happen before a leaving server ends. Longer than a scheduling hiccup of a busy client
/// between two requests, shorter than anybody waits for a deletion.
pub const QUIET: Duration = Duration::from_millis(300);

/// An idle keep-alive connection of a draining server is closed after this long: its client is surely not about to
/// send, so that the close cannot cross a request on the wire (RFC 9112 §9.5).
pub const IDLE_BEFORE_CLOSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let life = Lifecycle::default();
        life.advance(Phase::Leaving);
        life.advance(Phase::Draining);
        assert_eq!(life.phase(), Phase::Leaving);
    }

    #[test]
    fn what_is_in_flight_keeps_the_server_alive() {
        let life = Lifecycle::default();
        assert!(life.is_quiet(Duration::ZERO));
        let busy = life.busy();
        assert!(!life.is_quiet(Duration::ZERO));
        drop(busy);
        assert!(life.is_quiet(Duration::ZERO));
        assert!(!life.is_quiet(Duration::from_secs(5)), "a request has only just ended");
    }
}
