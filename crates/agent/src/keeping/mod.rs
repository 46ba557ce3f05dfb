//! What becomes of flows besides being told to who listens: they are counted, kept on disk, and written to a file or sent away, all of them or a sample.
//!
//! ```text
//! ring of the last flows ─▶ follower (own thread) ─▶ metrics :9965
//!                       │                         └▶ log on disk ◀── who asks for a time before the ring
//!                       ├─▶ follower (own thread) ─▶ lines of JSON
//!                       └─▶ follower (own thread) ─▶ log records, to a receiver of OTLP
//! ```
//! Nothing here holds up the agent's loop or the reader of the kernel's ring: whoever is too slow for the ring loses flows, which are
//! counted and told where the flows would have been. A node's network is worth more than its flows: what can't be opened is
//! told in `malla status`, and the agent works on without: the port and the export are tried again, the log with the next agent.

pub(crate) mod args;
mod export;
mod follower;
mod log;
mod metrics;
mod otlp;
mod receiver;
mod sampling;

pub use args::{Aggregated, FlowArgs};
pub use log::Log;
pub use metrics::Told;

use crate::error::Error;
use crate::events::CLUSTER;
use crate::events::Names;
use crate::node_metrics::NodeMetrics;
use crate::probes::Probes;
use crate::trouble::{Trouble, Troubles};
use flow_api::ring::Ring;
use follower::{Keeper, follow};
use metrics::Counted;
use model::Node;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
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
pub fn told(args: &FlowArgs, log: Option<Arc<Log>>, probes: Probes, node: NodeMetrics) -> Arc<Told> {
    Arc::new(Told::new(args, log, probes, node))
}

/// Begins to keep what comes into the ring, and to answer at `/metrics`; what keeps it from that is told in `troubles`. Waits for no disk.
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
    troubles: &Troubles,
) -> Result<Keeping, Error> {
    if let Some(address) = own.underlay().filter(|_| args.hubble_metrics_port > 0) {
        metrics::start(SocketAddr::new(address, args.hubble_metrics_port), told.clone(), troubles.matter())?;
    }
    let mut keeping = Keeping::new(PATIENCE);
    let (counted, names, trouble) = (told.clone(), names.clone(), troubles.matter());
    keeping.spawn("flows-keep", ring, move |_| {
        let opened = counted.log.clone().map(|log| log.open()).transpose();
        let writer = opened.unwrap_or_else(|why| {
            trouble.tell(Some(why));
            None
        });
        Some(Counted::new(counted, writer, names))
    })?;
    if let Some(receiver) = args.otlp.receiver() {
        let (told, what, trouble) = (told.clone(), args.exporting(), troubles.matter());
        let sender = flow_export::otlp::Sender { node: own.name.to_string(), cluster: CLUSTER.to_owned() };
        keeping.spawn("flows-otlp", ring, move |stop| {
            insist(stop, &trouble, || otlp::open(&receiver, &what, sender.clone(), told.clone(), stop, &trouble))
        })?;
    }
    if let Some(settings) = args.export(state_dir) {
        let (node, trouble) = (own.name.to_string(), troubles.matter());
        let what = args.exporting();
        let open = move || export::open(&settings, &what, node.clone(), told.clone());
        keeping.spawn("flows-export", ring, move |stop| insist(stop, &trouble, open))?;
    }
    Ok(keeping)
}

/// Opens the export, however often it takes. What came before is told as missed then. `None`: it is stopped.
fn insist<K>(stop: &CancellationToken, trouble: &Trouble, open: impl Fn() -> anyhow::Result<K>) -> Option<K> {
    loop {
        match open() {
            Ok(opened) => {
                trouble.tell(None);
                return Some(opened);
            }
            Err(error) => trouble.tell(Some(format!("flows are not exported: {error:#}"))),
        }
        let tried = Instant::now();
        while tried.elapsed() < RETRY {
            if stop.is_cancelled() {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Keeping {
    fn new(patience: Duration) -> Self {
        let (running, ended) = channel();
        Self { stop: CancellationToken::new(), running: Some(running), ended, patience }
    }

    /// A thread that makes a keeper, as long as it is not stopped, and lets it follow the ring. `None`: there is none.
    fn spawn<K: Keeper>(
        &mut self,
        name: &str,
        ring: &Arc<Ring>,
        make: impl FnOnce(&CancellationToken) -> Option<K> + Send + 'static,
    ) -> Result<(), Error> {
        let (ring, stop, running) = (ring.clone(), self.stop.clone(), self.running.clone());
        let body = move || {
            if let Some(mut keeper) = make(&stop) {
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
/// Between two attempts to open what could not be opened.
const RETRY: Duration = Duration::from_secs(2);
/// How often is looked meanwhile whether the agent ends.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::args::tests::parsed;
    use super::*;
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
        keeping.spawn("standing", &ring, move |_| Some(standing)).unwrap();
        ring.write(Event { time: Default::default(), what: What::flow(Flow::default()) });
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

    #[test]
    fn what_can_not_be_opened_is_told_each_for_itself_and_the_export_is_tried_again() {
        let folder = std::env::temp_dir().join(format!("malla-no-keeping-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // No folder, and none that is there.
        std::fs::write(folder.join("flows"), "").unwrap();
        let flags = ["--hubble-metrics-port", "0", "--hubble-export-file-path", "later/flows.json"];
        let args = parsed(&flags).unwrap();
        let (ring, trouble) = (Arc::new(Ring::new(9)), Troubles::default());
        let metrics = told(&args, log(&args, &folder), Probes::default(), NodeMetrics::default());
        let keeping = start(metrics, &args, &folder, &node(), &ring, &Arc::default(), &trouble).unwrap();
        let until = |what: &str, number: usize| {
            let is_so = || trouble.now().len() == number;
            let found = (0..3000).find(|_| {
                std::thread::sleep(Duration::from_millis(20));
                is_so()
            });
            assert!(found.is_some(), "{what}: {:?}", trouble.now());
            trouble.now()
        };
        let both = until("both", 2);
        assert!(both[0].starts_with("flows are not kept: "), "{both:?}");
        assert!(both[1].starts_with("flows are not exported: "), "{both:?}");
        std::fs::create_dir(folder.join("later")).unwrap();
        assert_eq!(until("the log alone", 1), both[..1]);
        drop(keeping);
        let _ = std::fs::remove_dir_all(&folder);
    }

    fn node() -> Node {
        Node {
            name: "worker-1".into(),
            addresses: Vec::new(),
            pod_ranges: Vec::new(),
            zone: None,
            labels: Default::default(),
        }
    }

    /// A disk that does not answer until somebody reads `lock`: opening a pipe waits for its other end.
    #[test]
    fn nobody_waits_for_the_log_to_be_opened_and_what_the_ring_holds_is_kept() {
        let folder = std::env::temp_dir().join(format!("malla-slow-log-{}", std::process::id()));
        let lock = folder.join("flows/lock");
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
        let (tell, told) = channel();
        let begin = {
            let folder = folder.clone();
            move || {
                let args = parsed(&["--hubble-metrics-port", "0"]).unwrap();
                let (log, ring) = (log(&args, &folder).unwrap(), Arc::new(Ring::new(9)));
                let own = node();
                let (names, trouble) = (Arc::default(), Troubles::default());
                let metrics = super::told(&args, Some(log.clone()), Probes::default(), NodeMetrics::default());
                let keeping = start(metrics, &args, &folder, &own, &ring, &names, &trouble).unwrap();
                tell.send((log, ring, keeping)).unwrap();
            }
        };
        std::thread::spawn(begin);
        let (log, ring, keeping) = told.recv_timeout(Duration::from_secs(60)).expect("it waits for the disk");
        let time = flow_api::moment::now();
        let flow = Flow { time: Some(time), ..Flow::default() };
        ring.write(Event { time, what: What::flow(flow) });
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
