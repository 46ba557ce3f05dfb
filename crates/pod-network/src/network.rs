//! [`PodNetwork`]: the entrance to all of it.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cni_protocol::{
    CniError, CniResult, Command, Environment, ErrorCode, NetConf, Version,
    socket::{Request, Response},
    version_answer,
};
use ipam::{Ipam, Owner, Timestamp, Usage};
use ipnet::IpNet;
use netlink::Netlink;
use network_namespace::NetNs;
use serde_json::Value;

use crate::{Datapath, Endpoint, Phase, failure, failure::StartError, locks::Locks, store::Store};

/// What the Pod network of a node needs.
pub struct Config {
    /// Holds `ipam.journal` and `endpoints/`.
    pub state_dir: PathBuf,
    /// `spec.podCIDRs` of the node.
    pub pod_cidrs: Vec<IpNet>,
    /// MTU of Pods, in bytes.
    pub mtu: u32,
    /// How long a released address rests; [`DEFAULT_REST`].
    pub rest: Duration,
    pub datapath: Box<dyn Datapath>,
}

/// Longer than the 20 s in which a client's SYN retries give up hope of the first address, and than what the node's
/// tables need to forget a Pod.
pub const DEFAULT_REST: Duration = Duration::from_secs(30);

/// The Pod network of one node. Shared between threads behind an `Arc`.
pub struct PodNetwork {
    pub(crate) mtu: u32,
    pub(crate) datapath: Box<dyn Datapath>,
    pub(crate) node: NetNs,
    pub(crate) store: Store,
    pub(crate) locks: Locks,
    ipam: Mutex<Ipam>,
    unready: Mutex<Option<String>>,
}

impl PodNetwork {
    /// Opens the state of the node whose namespace the calling thread is in. Nothing in the kernel is touched yet:
    /// call [`Self::recover`] when the datapath can attach and detach, then [`Self::set_ready`].
    pub fn new(config: Config) -> Result<Self, StartError> {
        let store = Store::open(config.state_dir.join("endpoints"))?;
        let journal = config.state_dir.join("ipam.journal");
        let ipam = Ipam::open(&journal, &config.pod_cidrs, config.rest, Timestamp::now())?;
        Ok(Self {
            mtu: config.mtu,
            datapath: config.datapath,
            node: NetNs::current()?,
            store,
            locks: Locks::default(),
            ipam: Mutex::new(ipam),
            unready: Mutex::new(Some("the agent is starting".to_owned())),
        })
    }

    /// ADD is served from now on.
    pub fn set_ready(&self) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// ADD is not served, for this reason; what runs goes on, and DEL and GC are served as ever.
    pub fn set_unready(&self, reason: impl Into<String>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// The endpoints whose ADD is done.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let owners = self.store.owners(false).unwrap_or_default();
        let endpoints = owners.iter().filter_map(|owner| self.store.load(owner));
        endpoints.filter(|endpoint| endpoint.phase == Phase::Ready).collect()
    }

    /// How full the node's ranges are.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.ipam().usage(Timestamp::now())
    }

    /// Executes one request of the plugin.
    ///
    /// `awaited` is asked when the container's turn has come: a request whose caller is gone by then is not done any
    /// more. A runtime whose plugin died calls again, and what it asked before must not come after what it asks now: a
    /// late DEL would take the network away that a later ADD made.
    pub fn handle(&self, request: Request, awaited: &dyn Fn() -> bool) -> Response {
        let what = format!("{} {} {}", request.command, request.container_id, request.ifname);
        let result = self.execute(request, awaited);
        match &result {
            Ok(_) => tracing::debug!(request = what, "CNI request done"),
            Err(error) => tracing::warn!(request = what, %error, "CNI request failed"),
        }
        result.into()
    }

    fn execute(&self, request: Request, awaited: &dyn Fn() -> bool) -> Result<Value, CniError> {
        let environment = request.environment()?;
        let config = NetConf::from_value(request.config)?;
        let Environment { command, ref container_id, .. } = environment;
        let oldest = match command {
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
            _ => Version::V0_1_0,
        };
        if config.version < oldest {
            let text = format!("{command} does not exist in CNI version {}", config.version);
            return Err(CniError::new(ErrorCode::INCOMPATIBLE_VERSION, text));
        }
        match command {
            Command::Add => {
                refuse_unsupported(&config)?;
                self.check_ready(ErrorCode::TRY_AGAIN_LATER)?;
                self.in_turn(container_id, awaited, || self.add(&environment, &config))?.to_json(config.version)
            }
            Command::Check => {
                self.check_ready(ErrorCode::TRY_AGAIN_LATER)?;
                self.in_turn(container_id, awaited, || self.check(&environment, &config)).map(|()| Value::Null)
            }
            Command::Del => {
                let owner = owner(&environment);
                self.in_turn(container_id, awaited, || self.remove(&owner)).map(|()| Value::Null)
            }
            Command::Gc => self.collect(&config, awaited).map(|()| Value::Null),
            Command::Status => self.status().map(|()| Value::Null),
            Command::Version => Ok(version_answer(config.version)),
        }
    }

    /// Does the work when no other is done for the container, if somebody still waits for it then.
    pub(crate) fn in_turn<T>(
        &self,
        container_id: &str,
        awaited: &dyn Fn() -> bool,
        work: impl FnOnce() -> Result<T, CniError>,
    ) -> Result<T, CniError> {
        self.locks.with(container_id, || {
            if awaited() {
                return work();
            }
            Err(CniError::new(ErrorCode::TRY_AGAIN_LATER, "the caller left before its turn came; nothing was done"))
        })
    }

    fn status(&self) -> Result<(), CniError> {
        self.check_ready(ErrorCode::NOT_AVAILABLE)?;
        let probe = Owner { container_id: String::new(), ifname: String::new() };
        match self.ipam().allocator().choose(&probe, Timestamp::now()) {
            Ok(_) => Ok(()),
            Err(exhausted) => Err(failure::cni(ErrorCode::NOT_AVAILABLE, &exhausted)),
        }
    }

    fn check_ready(&self, code: ErrorCode) -> Result<(), CniError> {
        match &*self.unready.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(reason) => Err(CniError::new(code, "Malla's agent is not ready").with_details(reason)),
        }
    }

    /// Held for the time of one journal record. A panic cannot leave it half-changed: disk comes first, memory second.
    pub(crate) fn ipam(&self) -> MutexGuard<'_, Ipam> {
        self.ipam.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn node_netlink(&self) -> Result<Netlink, CniError> {
        Netlink::open_in(&self.node).map_err(failure::setup)
    }
}

pub(crate) fn owner(environment: &Environment) -> Owner {
    Owner { container_id: environment.container_id.clone(), ifname: environment.ifname.clone() }
}

/// What the configuration asks for and Malla does not do is refused rather than quietly left out.
fn refuse_unsupported(config: &NetConf) -> Result<(), CniError> {
    let unsupported = |key: &str, value: &Value| {
        let shown: String = value.to_string().chars().take(200).collect();
        let text = format!("unsupported field {key} in the network configuration");
        Err(CniError::new(ErrorCode::UNSUPPORTED_FIELD, text).with_details(format!("its value is {shown}")))
    };
    if let Some(ipam) = config.ipam.as_ref().filter(|ipam| ipam.get("type").is_some_and(|kind| kind != "")) {
        return unsupported("ipam", ipam);
    }
    for key in ["bandwidth", "ipRanges", "ips", "mac", "infinibandGUID", "deviceID", "aliases"] {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if let Some(value) = config.runtime_config.get(key).filter(|value| !empty(value)) {
            return unsupported(&format!("runtimeConfig.{key}"), value);
        }
    }
    if config.prev_result.as_ref().is_some_and(|result| *result != CniResult::default()) {
        let text = "malla-cni makes the Pod's interface and must be the first plugin of its list";
        return Err(CniError::new(ErrorCode::INVALID_CONFIG, text));
    }
    Ok(())
}
