//! The nodes behind a relay, and the ways to them.

use crate::ask::ask;
use crate::limits::Limits;
use flow_api::client::{self, Credentials, status_words};
use flow_api::peer::peer_client::PeerClient;
use flow_api::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

/// The way to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its socket, on this machine.
    Socket(PathBuf),
    /// Its address (`10.0.0.1:4244`), and the name that its certificate has; without one it is spoken to in clear.
    Network {
        /// With port.
        address: String,
        /// For TLS.
        server_name: Option<String>,
    },
}

/// The nodes by name.
pub type Targets = BTreeMap<String, Target>;

impl Target {
    /// A channel that is open.
    ///
    /// # Errors
    /// In words: nobody answers in time, or not as who it should be.
    pub async fn connect(&self, credentials: Option<&Credentials>) -> Result<Channel, String> {
        self.connect_within(Limits::default().dial, credentials).await
    }

    /// The same, with another patience.
    ///
    /// # Errors
    /// As for [`Target::connect`].
    pub async fn connect_within(
        &self,
        patience: Duration,
        credentials: Option<&Credentials>,
    ) -> Result<Channel, String> {
        let connect = async {
            match self {
                Self::Socket(path) => client::connect(path).await,
                Self::Network { address, server_name: None } => client::connect_in_clear(address).await,
                Self::Network { address, server_name: Some(name) } => match credentials {
                    Some(credentials) => client::connect_tls(address, name, credentials).await,
                    None => return Err("it wants TLS, and there is no certificate to show".to_owned()),
                },
            }
            .map_err(|error| client::words(&error))
        };
        tokio::time::timeout(patience, connect).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// As people write it.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Socket(path) => format!("unix://{}", path.display()),
            Self::Network { address, .. } => address.clone(),
        }
    }

    /// The name in its certificate.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Socket(_) => None,
            Self::Network { server_name, .. } => server_name.as_deref(),
        }
    }
}

/// Asks one node which nodes there are, for as long as anybody wants to know. While it does not answer, those it named last
/// stay.
pub async fn follow_peers(
    of: Target,
    credentials: Option<Credentials>,
    limits: Limits,
    targets: watch::Sender<Targets>,
) {
    loop {
        if let Err(error) = read_peers(&of, credentials.as_ref(), &limits, &targets).await {
            tracing::warn!("{} does not tell which nodes there are: {error}", of.address());
        }
        if targets.is_closed() {
            return;
        }
        tokio::time::sleep(limits.retry).await;
    }
}

async fn read_peers(
    of: &Target,
    credentials: Option<&Credentials>,
    limits: &Limits,
    targets: &watch::Sender<Targets>,
) -> Result<(), String> {
    let question = |channel: Channel| async move { PeerClient::new(channel).notify(NotifyRequest {}).await };
    let mut changes = ask(of, credentials, limits, question).await.map_err(|trouble| trouble.why)?;
    // A stream begins with all that there are, one after the other: what an earlier one named and this one does not is gone.
    // While they come, the rest is not gone yet.
    let mut known = Targets::new();
    let mut pace = LISTING;
    // Since when something waits to be told.
    let mut waiting: Option<Instant> = None;
    loop {
        let change = match waiting {
            None => Some(changes.message().await),
            Some(since) => {
                let now = Instant::now();
                let until = (now + pace.quiet).min(since + pace.longest);
                // What has come already would be taken before the time is looked at.
                if until > now { timeout_at(until, changes.message()).await.ok() } else { None }
            }
        };
        let Some(change) = change else {
            tell(&known, targets);
            waiting = None;
            pace = if known.is_empty() { LISTING } else { CHANGING };
            continue;
        };
        let Some(change) = change.map_err(|status| status_words(&status))? else { return Ok(()) };
        apply(&mut known, change);
        waiting.get_or_insert_with(Instant::now);
        if known.len() > MOST {
            return Err(format!("more than {MOST} of them"));
        }
    }
}

/// No nodes at all are none that we know of.
fn tell(known: &Targets, targets: &watch::Sender<Targets>) {
    targets.send_if_modified(|now| {
        let changed = *now != *known && !known.is_empty();
        if changed {
            now.clone_from(known);
        }
        changed
    });
}

fn apply(known: &mut Targets, change: ChangeNotification) {
    match change.r#type() {
        ChangeNotificationType::PeerDeleted => drop(known.remove(&change.name)),
        ChangeNotificationType::PeerAdded | ChangeNotificationType::PeerUpdated => {
            let server_name = change.tls.map(|tls| tls.server_name);
            known.insert(change.name, Target::Network { address: change.address, server_name });
        }
        ChangeNotificationType::Unknown => {}
    }
}

/// When what a node names is told.
#[derive(Clone, Copy)]
struct Pace {
    /// It says nothing for so long.
    quiet: Duration,
    /// Or never does: after so long, then.
    longest: Duration,
}

/// All that there are. One that is busy may falter in the middle, and whom it has not named yet would be taken for gone.
const LISTING: Pace = Pace { quiet: Duration::from_secs(1), longest: Duration::from_secs(10) };
/// What comes and goes, several at once perhaps.
const CHANGING: Pace = Pace { quiet: Duration::from_millis(200), longest: Duration::from_secs(2) };
/// More nodes than three of the largest clusters have (Kubernetes is made for 5,000).
const MOST: usize = 16_384;
