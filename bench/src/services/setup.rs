//! One set-up on a thread of its own, which is the node: made once, measured whenever it is asked to.

use super::load::{self, Sample};
use super::node::{NODE, Node, SERVER, TARGET_PORTS};
use super::rules::{PORT, Services};
use super::system::{self, Installed, System};
use crate::cgroup::Cgroup;
use anyhow::{Context, Result, anyhow};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
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
    /// `None` once it is to end.
    orders: Option<Sender<(Target, Duration)>>,
    thread: Option<JoinHandle<()>>,
    answers: Receiver<Result<Sample>>,
}

impl Setup {
    pub fn new(system: System, services: Services) -> Result<Self> {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        let (ready, made) = channel();
        let begin = Instant::now();
        let thread = std::thread::Builder::new().name(system.name().to_owned()).spawn(move || {
            let running = match Running::new(system, services) {
                Ok(running) => running,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            for (target, time) in inbox {
                let _ = outbox.send(running.measure(target, time));
            }
        })?;
        made.recv().context("the set-up's thread")??;
        Ok(Self { system, services, made_in: begin.elapsed(), orders: Some(orders), thread: Some(thread), answers })
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
        let orders = self.orders.as_ref().context("the set-up is gone")?;
        orders.send((target, time)).map_err(|_| anyhow!("the set-up is gone"))?;
        let sample = self.answers.recv().context("the set-up is gone")?;
        sample
            .with_context(|| format!("{} with {} services, {}", self.system.name(), self.services.count, target.name()))
    }
}

/// Waits for the thread, which gives its cgroup back.
impl Drop for Setup {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Running {
    node: Node,
    services: Services,
    installed: Installed,
    cgroup: Cgroup,
}

impl Running {
    fn new(system: System, services: Services) -> Result<Self> {
        let node = Node::new()?;
        for port in TARGET_PORTS {
            let bound = node.server.netns.run(|| TcpListener::bind((SERVER, port)))?;
            load::serve(bound.with_context(|| format!("listen on {SERVER}:{port}"))?);
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
