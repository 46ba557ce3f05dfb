//! What becomes of flows besides being told to who listens: they are counted, kept on disk, and written to a file.
//!
//! ```text
//! ring of the last flows ─▶ follower (own thread) ─▶ metrics :9965
//!                       │                         └▶ log on disk ◀── who asks for a time before the ring
//!                       └─▶ follower (own thread) ─▶ lines of JSON
//! ```
//! Nothing here holds up the agent's loop or the reader of the kernel's ring: whoever is too slow for the ring loses flows, which are
//! counted and told where the flows would have been. A node's network is worth more than its flows: what can't be opened is
//! complained about, and the agent works on without.

mod args;
mod export;
mod follower;
mod log;
mod metrics;

pub use args::FlowArgs;
pub use metrics::Told;

use crate::error::{Error, chain};
use crate::services::Names;
use crate::trouble::Trouble;
use flow_api::ring::Ring;
use flow_api::server::Archive;
use follower::{Keeper, follow};
use log::Log;
use metrics::Counted;
use model::Node;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is there before the first flow: those of earlier agents.
#[derive(Debug)]
pub struct Opened(Option<Log>);

/// The threads. Dropping it writes what waits and ends them; a disk that stands still is waited for [`PATIENCE`] and no longer.
#[derive(Debug)]
pub struct Keeping {
    stop: CancellationToken,
    /// Of those that run, each has a copy.
    running: Option<Sender<Infallible>>,
    /// Ends with the last of them.
    ended: Receiver<Infallible>,
    patience: Duration,
}

/// Opens the log.
#[must_use]
pub fn open(args: &FlowArgs, state_dir: &Path) -> Opened {
    let settings = args.log(state_dir);
    let opened = settings.and_then(|settings| match Log::open(settings) {
        Ok(log) => Some(log),
        Err(error) => {
            tracing::error!("flows are not kept: {}", chain(&error));
            None
        }
    });
    Opened(opened)
}

impl Opened {
    /// What can be asked.
    #[must_use]
    pub fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.0.as_ref().map(|log| log.archive() as Arc<dyn Archive>)
    }

    /// Begins to keep what comes into the ring, and to answer at `/metrics`; what keeps it from that is told in `trouble`.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn start(
        self,
        args: &FlowArgs,
        state_dir: &Path,
        own: &Node,
        ring: &Arc<Ring>,
        names: &Arc<RwLock<Arc<Names>>>,
        trouble: &Trouble,
    ) -> Result<Keeping, Error> {
        let told = Arc::new(Told::new(args, self.0.as_ref().map(Log::archive)));
        if let Some(address) = own.underlay().filter(|_| args.hubble_metrics_port > 0) {
            metrics::start(SocketAddr::new(address, args.hubble_metrics_port), told.clone(), trouble.clone())?;
        }
        let mut keeping = Keeping::new(PATIENCE);
        keeping.spawn("flows-keep", ring, Counted::new(told.clone(), self.0.map(Log::into_writer), names.clone()))?;
        match args.export(state_dir).map(|settings| export::open(&settings, own.name.to_string(), told)) {
            Some(Ok(exported)) => keeping.spawn("flows-export", ring, exported)?,
            Some(Err(error)) => tracing::error!("flows are not exported: {error:#}"),
            None => {}
        }
        Ok(keeping)
    }
}

impl Keeping {
    fn new(patience: Duration) -> Self {
        let (running, ended) = channel();
        Self { stop: CancellationToken::new(), running: Some(running), ended, patience }
    }

    fn spawn(&mut self, name: &str, ring: &Arc<Ring>, mut keeper: impl Keeper + 'static) -> Result<(), Error> {
        let (ring, stop, running) = (ring.clone(), self.stop.clone(), self.running.clone());
        let body = move || {
            follow(&ring, &mut keeper, &stop);
            // What waits is written now.
            drop(keeper);
            drop(running);
        };
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        spawned.map(drop).map_err(|source| Error::System { operation: "start a thread", source })
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.stop.cancel();
        self.running = None;
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(self.patience) {
            tracing::warn!("the last flows may not be kept: the disk takes too long");
        }
    }
}

/// For what waits to be written. Whoever ends an agent waits for it: Kubernetes half a minute, before it kills.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::ring::{Event, What};

    /// A disk that stands still until it may go on, and tells when the keeper has gone.
    struct Standing(Receiver<()>, Sender<&'static str>);

    impl Keeper for Standing {
        fn take(&mut self, _: &[Arc<Event>]) {
            let _ = self.1.send("taken");
            let _ = self.0.recv();
        }
    }

    impl Drop for Standing {
        fn drop(&mut self) {
            let _ = self.1.send("gone");
        }
    }

    /// What it does, and the ends of its threads' life, in order.
    fn end(patience: Duration, lets_go_at_once: bool) -> Vec<&'static str> {
        let ring = Arc::new(Ring::new(9));
        let ((go, may_go), (tell, told)) = (channel(), channel());
        let mut keeping = Keeping::new(patience);
        keeping.spawn("standing", &ring, Standing(may_go, tell.clone())).unwrap();
        ring.write(Event { time: Default::default(), what: What::Flow(Box::default()) });
        let mut seen = vec![told.recv().unwrap()];
        let go = Some(go).filter(|_| !lets_go_at_once);
        drop(keeping);
        tell.send("ended").unwrap();
        drop((go, tell));
        seen.extend(told);
        seen
    }

    #[test]
    fn its_end_waits_for_what_is_written_but_not_for_a_disk_that_stands_still() {
        assert_eq!(end(Duration::from_secs(60), true), ["taken", "gone", "ended"]);
        assert_eq!(end(Duration::from_millis(50), false), ["taken", "ended", "gone"]);
    }
}
