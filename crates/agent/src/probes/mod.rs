//! Whether this node reaches the others: each is probed by ICMP and TCP, over both families, and answers at its health port.
//!
//! ```text
//! nodes of the API ─▶ plan: targets, turns ─▶ run (own thread): echo, hello ─▶ ledger ─▶ /v1/status, /metrics
//!                                              └ hello: port 4240               └▶ verdict ─▶ condition of the Node
//! ```
//! Probes go from address to address as every other packet of the node's own does; nothing lets them pass where policy would not let
//! them: they tell what is. Nothing here can hold up the agent's loop, and how much is under way at once is bounded.

mod args;
mod echo;
mod hello;
mod ledger;
mod metrics;
pub mod plan;
mod run;
mod verdict;
mod view;

pub use args::ProbeArgs;
pub use verdict::CONDITION;
pub use view::{Connectivity, PathView, Peer, Protocol, Standing};

use crate::error::Error;
use crate::node_conditions::{NodeConditions, SETTLED};
use crate::own_thread;
use crate::trouble::Trouble;
use ledger::Ledger;
use metrics::Metrics;
use model::{Node, NodeName};
use plan::Target;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the loop tells the probes, and what they have found. Cheap to clone; by default nobody is probed.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// Nothing until it is told for the first time: that there is nobody else is news too.
    wanted: watch::Sender<Option<Wanted>>,
    found: Arc<Found>,
}

/// The nodes that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    targets: BTreeSet<Target>,
    /// Who has no address that could be a target.
    without_address: BTreeSet<NodeName>,
    /// All addresses of other nodes.
    nodes: hello::Nodes,
}

/// What is found, for all who ask.
#[derive(Debug, Default)]
struct Found {
    enabled: bool,
    metrics: Metrics,
    paths: Mutex<Paths>,
}

/// What is known of the ways to other nodes.
#[derive(Debug, Default)]
struct Paths {
    /// Between two probes of one.
    interval: Duration,
    ledger: Ledger,
}

impl Found {
    fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts to probe and to answer, on a thread of its own, where the arguments want it.
///
/// # Errors
/// When the kernel gives no thread. A port that can't be had is told in status and tried again.
pub fn start(args: &ProbeArgs, conditions: &mut NodeConditions, own: &Node, trouble: Trouble) -> Result<Probes, Error> {
    if !args.enable_health_checking {
        conditions.remove(verdict::CONDITION);
        return Ok(Probes::default());
    }
    let found = Arc::new(Found { enabled: true, ..Found::default() });
    let probes = Probes { found: found.clone(), ..Probes::default() };
    let said = conditions.keep(verdict::CONDITION, SETTLED, Option::clone);
    let settings = run::Settings {
        own: own.name.clone(),
        port: args.cluster_health_port,
        interval: Duration::from_secs(u64::from(args.health_check_interval)),
    };
    let wanted = probes.wanted.subscribe();
    own_thread::start("probes", || Ok(run::run(settings, wanted, found, said, trouble)))?;
    Ok(probes)
}

impl Probes {
    /// These are all nodes, the own one among them.
    pub fn tell<'a>(&self, own: &Node, nodes: impl Iterator<Item = &'a Node> + Clone) {
        if !self.found.enabled {
            return;
        }
        let others = nodes.clone().filter(|node| node.name != own.name);
        let addresses: BTreeSet<IpAddr> = others.clone().flat_map(|node| node.addresses.iter().copied()).collect();
        let targets = plan::targets(own, nodes);
        let without_address = plan::without_target(others, &targets);
        let now = Some(Wanted { targets, without_address, nodes: Arc::new(addresses) });
        self.wanted.send_if_modified(|wanted| {
            let is_news = *wanted != now;
            *wanted = now;
            is_news
        });
    }

    /// What is known of every path.
    #[must_use]
    pub fn view(&self) -> Connectivity {
        let paths = self.found.paths();
        Connectivity {
            enabled: self.found.enabled,
            interval_seconds: paths.interval.as_secs_f64(),
            nodes: paths.ledger.view(),
        }
    }

    /// Puts the metrics beside others.
    pub fn register(&self, registry: &mut Registry) {
        if self.found.enabled {
            self.found.metrics.register(registry, &self.found.paths().ledger);
        }
    }
}
