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
use crate::probes::Probes;
use crate::services::Names;
use flow_api::ring::Ring;
use flow_api::server::Archive;
use follower::{Keeper, follow};
use log::Log;
use metrics::Counted;
use model::Node;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is there before the first flow: those of earlier agents.
#[derive(Debug)]
pub struct Opened(Option<Log>);

/// The threads. Dropping it writes what waits and ends them.
#[derive(Debug)]
pub struct Keeping {
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
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

    /// Begins to keep what comes into the ring, and to answer at `/metrics`.
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
        probes: Probes,
    ) -> Result<Keeping, Error> {
        let told = Arc::new(Told::new(args, self.0.as_ref().map(Log::archive), probes));
        if let Some(address) = own.underlay().filter(|_| args.hubble_metrics_port > 0) {
            tokio::spawn(metrics::serve(SocketAddr::new(address, args.hubble_metrics_port), told.clone()));
        }
        let mut keeping = Keeping { stop: CancellationToken::new(), threads: Vec::new() };
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
    fn spawn(&mut self, name: &str, ring: &Arc<Ring>, mut keeper: impl Keeper + 'static) -> Result<(), Error> {
        let (ring, stop) = (ring.clone(), self.stop.clone());
        let body = move || follow(&ring, &mut keeper, &stop);
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads.push(spawned.map_err(|source| Error::System { operation: "start a thread", source })?);
        Ok(())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
