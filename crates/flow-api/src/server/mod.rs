//! What a node answers: `observer.Observer`, `peer.Peer`, gRPC health and reflection, over a unix socket, and over TCP to who
//! has a certificate.

mod admission;
mod answers;
mod archive;
mod border;
mod network;
mod observer;
mod peer;
mod reading;
mod socket;

pub use archive::{Archive, Question, Told};
pub use network::serve_at;
pub use observer::check;
pub use peer::{Peer, Peers};
pub use socket::{Credentials, Listener, bind, serve, serve_observer};

use crate::flow::{AgentEvent, Flow, LostEvent, LostEventSource};
use crate::moment::now;
use crate::ring::{Event, Ring, What};
use crate::seen::Seen;
use foldhash::fast::RandomState;
use prost_types::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name, with its cluster before a slash where it has one, as in `Flow.node_name`.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// Where its flows can be asked for: `10.0.0.1:4244`, or empty.
    pub address: String,
    /// Of the program.
    pub version: String,
    /// The name in its certificate; `None`: its address is not served.
    pub tls_server_name: Option<String>,
}

/// Everything that the services answer from. Cheap to share; one writes, many ask.
#[derive(Debug)]
pub struct Node {
    about: About,
    ring: Arc<Ring>,
    /// What the agent did, apart from flows: these are many, and would leave no room for it.
    deeds: Arc<Ring>,
    /// `None`: not known yet.
    peers: watch::Sender<Option<Peers>>,
    /// When a flow of each namespace was seen last: seconds since 1970.
    namespaces: Mutex<HashMap<String, i64, RandomState>>,
    started: Instant,
    shelf: Option<archive::Shelf>,
}

impl Node {
    /// A node that has seen nothing yet, with room for `capacity` events, and for [`DEEDS`] of its agent.
    #[must_use]
    pub fn new(about: About, capacity: usize) -> Self {
        Self {
            about,
            ring: Arc::new(Ring::new(capacity)),
            deeds: Arc::new(Ring::new(DEEDS)),
            peers: watch::Sender::new(None),
            namespaces: Mutex::default(),
            started: Instant::now(),
            shelf: None,
        }
    }

    /// One that asks a log for what is older than its ring.
    #[must_use]
    pub fn reaching_back(self, archive: Option<Arc<dyn Archive>>) -> Self {
        Self { shelf: archive.map(archive::Shelf::new), ..self }
    }

    /// One that waits so long, and not a minute, for a client that takes nothing of the log while others wait for its place.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { shelf: self.shelf.map(|shelf| shelf.patient(patience)), ..self }
    }

    /// The events, but for what the agent did.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// What the agent did.
    #[must_use]
    pub fn deeds(&self) -> &Arc<Ring> {
        &self.deeds
    }

    /// A flow was seen. Its time is the event's.
    pub fn saw(&self, flow: Flow) {
        self.saw_all([(flow.time.unwrap_or_else(now), flow.into())]);
    }

    /// Flows were seen, each at its time.
    pub fn saw_all(&self, flows: impl IntoIterator<Item = (Timestamp, Seen)>) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        self.ring.write_all(flows.into_iter().map(|(time, flow)| {
            for namespace in flow.namespaces().into_iter().filter(|namespace| !namespace.is_empty()) {
                match namespaces.get_mut(namespace) {
                    Some(last) => *last = time.seconds.max(*last),
                    None => drop(namespaces.insert(namespace.to_owned(), time.seconds)),
                }
            }
            Event { time, what: What::Flow(flow) }
        }));
    }

    /// The kernel's ring was full: `number` events will never be known.
    pub fn lost(&self, number: u64, cpu: Option<i32>) {
        let source = LostEventSource::PerfEventRingBuffer as i32;
        let lost = LostEvent { source, num_events_lost: number, cpu, ..LostEvent::default() };
        self.ring.write(Event { time: now(), what: What::Lost(lost) });
    }

    /// The agent did something just now.
    pub fn did(&self, deed: Seen<AgentEvent>) {
        self.write(Event { time: now(), what: What::Agent(deed) });
    }

    /// Anything else.
    pub fn write(&self, event: Event) {
        let ring = if matches!(event.what, What::Agent(_)) { &self.deeds } else { &self.ring };
        ring.write(event);
    }

    /// The nodes of the cluster are these, from now on.
    pub fn set_peers(&self, peers: Peers) {
        self.peers.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&peers);
            *before = Some(peers);
            changed
        });
    }

    /// Namespaces of the last hour's flows.
    fn namespaces(&self) -> Vec<String> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now().seconds - NAMESPACE_LIFETIME;
        namespaces.retain(|_, last| *last >= oldest);
        let mut left: Vec<String> = namespaces.keys().cloned().collect();
        left.sort_unstable();
        left
    }
}

/// What an agent did that is told to who asks later.
pub const DEEDS: usize = 1023;

/// Hubble's own: an hour, in seconds.
const NAMESPACE_LIFETIME: i64 = 3600;
