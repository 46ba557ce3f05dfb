//! ADD.

use std::path::PathBuf;

use cni_protocol::{Arguments, CniError, CniResult, Environment, ErrorCode, Interface, IpConfig, NetConf, Route};
use ipam::{Owner, Timestamp};
use ipnet::IpNet;
use network_namespace::NetNs;

use crate::{
    Endpoint, Phase, failure,
    network::{PodNetwork, owner},
    wiring::{Wiring, gateway_of, gateways},
};

impl PodNetwork {
    /// Addresses → record → veth, down → datapath → up. Any failure takes all of it back.
    ///
    /// Called again for the same container it returns the same result if everything stands; if not (the runtime
    /// retries what was cut short, or the namespace is a new one), it clears away what is there and makes it anew.
    pub(crate) fn add(&self, environment: &Environment, config: &NetConf) -> Result<CniResult, CniError> {
        let owner = owner(environment);
        let netns = NetNs::open(&environment.netns).map_err(|error| failure::namespace(&error))?;
        self.refuse_own_namespace(&netns)?;
        if let Some(endpoint) = self.store.load(&owner).filter(|endpoint| endpoint.phase == Phase::Ready)
            && self.differences(&endpoint, &netns)?.is_empty()
        {
            return Ok(result(&endpoint, config));
        }
        self.dismantle(&owner, &config.name)?;
        let made = self.make(&owner, environment, config, &netns);
        match made {
            Ok(endpoint) => Ok(result(&endpoint, config)),
            Err(error) => match self.remove(&owner) {
                Ok(()) => Err(error),
                // The runtime's DEL will try again; both causes are told.
                Err(second) => {
                    let details = format!("{}; rolling back failed too: {second}", error.details);
                    Err(error.with_details(details))
                }
            },
        }
    }

    fn make(
        &self,
        owner: &Owner,
        environment: &Environment,
        config: &NetConf,
        netns: &NetNs,
    ) -> Result<Endpoint, CniError> {
        let arguments = Arguments::parse(&environment.args)?;
        let port_mappings = config.port_mappings()?;
        let argument = |key: &str| arguments.get(key).unwrap_or_default().to_owned();
        let addresses = self.ipam().allocate(owner, Timestamp::now()).map_err(|error| failure::allocation(&error))?;
        let mut endpoint = Endpoint {
            namespace: argument("K8S_POD_NAMESPACE"),
            pod_name: argument("K8S_POD_NAME"),
            pod_uid: argument("K8S_POD_UID"),
            mtu: self.mtu,
            port_mappings,
            netns: PathBuf::from(&environment.netns),
            ..Endpoint::bare(owner, &config.name, addresses)
        };
        self.store.save(&endpoint)?;
        let wiring = Wiring::open(&self.node, netns).map_err(failure::setup)?;
        endpoint.host_ifindex = wiring.prepare(&endpoint).map_err(failure::setup)?.index;
        self.store.save(&endpoint)?;
        // The programs first: a new Pod is never unprotected.
        self.datapath.attach(&endpoint).map_err(|error| failure::datapath("attach the datapath", &error))?;
        wiring.activate(&endpoint).map_err(failure::setup)?;
        endpoint.phase = Phase::Ready;
        self.store.save(&endpoint)?;
        Ok(endpoint)
    }

    /// A Pod in the node's own namespace has no network of its own, and must not get the node's torn down.
    fn refuse_own_namespace(&self, netns: &NetNs) -> Result<(), CniError> {
        let (node, pod) = (self.node.id(), netns.id());
        let same = node.and_then(|node| pod.map(|pod| node == pod)).map_err(|error| failure::namespace(&error))?;
        if same {
            let text = format!("{} is the node's own network namespace", netns.name().display());
            return Err(CniError::new(ErrorCode::INVALID_NETNS, text));
        }
        Ok(())
    }
}

/// The result of ADD: host side first, Pod side second, addresses on the second.
fn result(endpoint: &Endpoint, config: &NetConf) -> CniResult {
    let host = Interface {
        name: endpoint.host_ifname.clone(),
        mac: Some(endpoint.host_mac.to_string()),
        mtu: Some(endpoint.mtu),
        ..Interface::default()
    };
    let pod = Interface {
        name: endpoint.ifname.clone(),
        mac: Some(endpoint.pod_mac.to_string()),
        sandbox: Some(endpoint.netns.display().to_string()),
        ..host.clone()
    };
    let ip =
        |address| IpConfig { address: IpNet::from(address), gateway: Some(gateway_of(address)), interface: Some(1) };
    let route = |gateway| {
        let route = netlink::Route::default_via(gateway);
        Route { gw: Some(gateway), ..Route::to(route.destination) }
    };
    CniResult {
        interfaces: vec![host, pod],
        ips: endpoint.addresses.iter().copied().map(ip).collect(),
        routes: gateways(&endpoint.addresses).map(route).collect(),
        dns: config.dns.clone().unwrap_or_default(),
    }
}
