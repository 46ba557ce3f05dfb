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
pub use log::Log;
pub use metrics::Told;

use crate::error::Error;
use crate::probes::Probes;
use crate::services::Names;
use crate::trouble::Trouble;
use flow_api::ring::Ring;
use follower::{Keeper, follow};
use metrics::Counted;
use model::Node;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

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

/// The log, before it is opened. `None`: nothing is kept.
#[must_use]
pub fn log(args: &FlowArgs, state_dir: &Path) -> Option<Arc<Log>> {
    args.log(state_dir).map(|settings| Arc::new(Log::new(settings)))
}

/// What `/metrics` tells.
#[must_use]
pub fn told(args: &FlowArgs, log: Option<Arc<Log>>, probes: Probes) -> Arc<Told> {
    Arc::new(Told::new(args, log, probes))
}

/// Begins to keep what comes into the ring, and to answer at `/metrics`; what keeps it from that is told in `trouble`. Waits for no disk.
///
/// # Errors
/// When a thread can't be started.
pub fn start(
    told: Arc<Told>,
    args: &FlowArgs,
    state_dir: &Path,
    own: &Node,
    ring: &Arc<Ring>,
    names: &Arc<RwLock<Arc<Names>>>,
    trouble: &Trouble,
) -> Result<Keeping, Error> {
    if let Some(address) = own.underlay().filter(|_| args.hubble_metrics_port > 0) {
        metrics::start(SocketAddr::new(address, args.hubble_metrics_port), told.clone(), trouble.clone())?;
    }
    let mut keeping = Keeping::new(PATIENCE);
    let (counted, names) = (told.clone(), names.clone());
    keeping.spawn("flows-keep", ring, move || {
        let writer = counted.log.clone().and_then(|log| log.open());
        Some(Counted::new(counted, writer, names))
    })?;
    if let Some(settings) = args.export(state_dir) {
        let node = own.name.to_string();
        keeping.spawn("flows-export", ring, move || {
            let opened = export::open(&settings, node, told);
            opened.inspect_err(|error| tracing::error!("flows are not exported: {error:#}")).ok()
        })?;
    }
    Ok(keeping)
}

impl Keeping {
    fn new(patience: Duration) -> Self {
        let (running, ended) = channel();
        Self { stop: CancellationToken::new(), running: Some(running), ended, patience }
    }

    /// A thread that makes a keeper and lets it follow the ring. `None`: there is none.
    fn spawn<K: Keeper>(
        &mut self,
        name: &str,
        ring: &Arc<Ring>,
        make: impl FnOnce() -> Option<K> + Send + 'static,
    ) -> Result<(), Error> {
        let (ring, stop, running) = (ring.clone(), self.stop.clone(), self.running.clone());
        let body = move || {
            if let Some(mut keeper) = make() {
                follow(&ring, &mut keeper, &stop);
                // What waits is written now, before this is over.
                drop(keeper);
            }
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
    use clap::Parser;
    use flow_api::flow::Flow;
    use flow_api::ring::{Event, What};
    use flow_api::server::{Archive, Question};

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
        let standing = Standing(may_go, tell.clone());
        keeping.spawn("standing", &ring, move || Some(standing)).unwrap();
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

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        flows: FlowArgs,
    }

    /// A disk that does not answer until somebody reads `lock`: opening a pipe waits for its other end.
    #[test]
    fn nobody_waits_for_the_log_to_be_opened_and_nothing_is_lost_meanwhile() {
        let folder = std::env::temp_dir().join(format!("malla-slow-log-{}", std::process::id()));
        let lock = folder.join("flows/lock");
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
        let (tell, told) = channel();
        let begin = {
            let folder = folder.clone();
            move || {
                let args = Command::parse_from(["agent", "--hubble-metrics-port", "0"]).flows;
                let (log, ring) = (log(&args, &folder).unwrap(), Arc::new(Ring::new(9)));
                let own = Node {
                    name: "worker-1".into(),
                    addresses: Vec::new(),
                    pod_ranges: Vec::new(),
                    zone: None,
                    labels: Default::default(),
                };
                let (names, trouble) = (Arc::default(), Trouble::default());
                let metrics = super::told(&args, Some(log.clone()), Probes::default());
                let keeping = start(metrics, &args, &folder, &own, &ring, &names, &trouble).unwrap();
                tell.send((log, ring, keeping)).unwrap();
            }
        };
        std::thread::spawn(begin);
        let (log, ring, keeping) = told.recv_timeout(Duration::from_secs(60)).expect("it waits for the disk");
        let time = flow_api::moment::now();
        let flow = Flow { time: Some(time), ..Flow::default() };
        ring.write(Event { time, what: What::Flow(Box::new(flow)) });
        let ask = || log.ask(&Question::default()).map(|told| told.count());
        assert!(ask().is_err_and(|why| why.contains("still being opened")));
        let _reader = std::fs::File::open(&lock).unwrap();
        let found = (0..3000).find(|_| {
            std::thread::sleep(Duration::from_millis(20));
            ask() == Ok(1)
        });
        assert!(found.is_some(), "{:?}", ask());
        drop(keeping);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
