//! One set-up on a thread of its own, which is the node: made once, measured whenever it is asked to.

use super::load::{self, Place, Sample};
use super::node::{NODE, Node, SERVER, TARGET_PORTS};
use super::rules::{PORT, Services};
use super::system::{self, Installed, System};
use crate::cgroup::Cgroup;
use crate::worker::Worker;
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// What the client addresses, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The server Pod's own address, from the client Pod.
    Direct,
    /// The service's address, from the client Pod, translated per packet.
    ClusterIp,
    /// The same, translated at the socket.
    ClusterIpBySocket,
    /// The server Pod's address, from outside.
    DirectOutside,
    /// The node's port, from outside.
    NodePort,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "Pod, direct",
            Self::ClusterIp => "ClusterIP",
            Self::ClusterIpBySocket => "ClusterIP, by socket",
            Self::DirectOutside => "from outside, direct",
            Self::NodePort => "NodePort",
        }
    }

    /// What it is compared with: the same way without a service.
    pub fn baseline(self) -> Self {
        match self {
            Self::Direct | Self::ClusterIp | Self::ClusterIpBySocket => Self::Direct,
            Self::DirectOutside | Self::NodePort => Self::DirectOutside,
        }
    }
}

pub struct Setup {
    pub system: System,
    pub services: Services,
    /// How long making it took.
    pub made_in: Duration,
    worker: Worker<(Target, Duration), Sample>,
}

impl Setup {
    pub fn new(system: System, services: Services, place: Place) -> Result<Self> {
        let begin = Instant::now();
        let worker = Worker::start(
            system.name(),
            move || Running::new(system, services, place),
            |running, (target, time)| running.measure(target, time),
        )?;
        Ok(Self { system, services, made_in: begin.elapsed(), worker })
    }

    pub fn targets(&self) -> &'static [Target] {
        use Target::{ClusterIp, ClusterIpBySocket, Direct, DirectOutside, NodePort};
        if self.system == System::Malla {
            &[Direct, ClusterIp, ClusterIpBySocket, DirectOutside, NodePort]
        } else {
            &[Direct, ClusterIp, DirectOutside, NodePort]
        }
    }

    pub fn measure(&self, target: Target, time: Duration) -> Result<Sample> {
        let what = || format!("{} with {} services, {}", self.system.name(), self.services.count, target.name());
        self.worker.ask((target, time)).with_context(what)
    }
}

struct Running {
    node: Node,
    services: Services,
    installed: Installed,
    cgroup: Cgroup,
}

impl Running {
    fn new(system: System, services: Services, place: Place) -> Result<Self> {
        let node = Node::new()?;
        for port in TARGET_PORTS {
            let bound = node.server.netns.run(|| TcpListener::bind((SERVER, port)))?;
            load::serve(bound.with_context(|| format!("listen on {SERVER}:{port}"))?, place);
        }
        node.wire.run(|| -> Result<()> {
            // The wire finds Pods through the node, for the direct way.
            let netlink = netlink::Netlink::open()?;
            let route =
                netlink::Route { kind: netlink::RouteKind::Unicast, ..netlink::Route::to("10.244.0.0/24".parse()?) };
            Ok(netlink.replace_route(&netlink::Route { gateway: Some(NODE.into()), ..route })?)
        })??;
        let installed = system::install(system, &node, services)?;
        let cgroup = Cgroup::new(&format!("{}-{}", system.name(), services.count))?;
        if let Installed::Malla(datapath) = &installed {
            datapath.attach_cgroup(cgroup.path())?;
        }
        Ok(Self { node, services, installed, cgroup })
    }

    fn measure(&self, target: Target, time: Duration) -> Result<Sample> {
        let service = self.services.address(self.services.measured());
        let (netns, address): (_, SocketAddr) = match target {
            Target::Direct => (&self.node.client.netns, (SERVER, TARGET_PORTS[0]).into()),
            Target::ClusterIp | Target::ClusterIpBySocket => (&self.node.client.netns, (service, PORT).into()),
            Target::DirectOutside => (&self.node.wire, (SERVER, TARGET_PORTS[0]).into()),
            Target::NodePort => (&self.node.wire, (NODE, self.services.measured_node_port()).into()),
        };
        let work = || netns.run(|| load::measure(address, time));
        let is_hooked = target == Target::ClusterIpBySocket && matches!(self.installed, Installed::Malla(_));
        if is_hooked { self.cgroup.inside(work)?? } else { work()? }
    }
}
