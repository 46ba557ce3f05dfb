//! Fixtures: packets, what becomes of them, and what the tables say afterwards.

use std::net::IpAddr;

use datapath::EventReader;
use datapath_layouts::{Address, AffinityKey, EventKind, Followed, FollowedEnd, FragmentKey, NatKey, Observation};

use super::Bench;
use super::packet::{ICMP, ICMPV6};
pub use super::step::{
    DROP, Device, PASS, REDIRECT, Step, at, from_network, from_overlay, from_pod, pod, to_network, to_overlay, to_pod,
};
pub use super::tracked::{Tracked, tracked};
use super::world::{BOTH, Family};

/// Settings of the programs that a fixture needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    Overlay,
    Native,
    /// Overlay; masquerade has a single port.
    OnePort,
    /// Overlay; every packet is reported.
    Traced,
    /// Overlay; the ends of [`follow_all`] are followed.
    Followed,
    /// Overlay; flows are reported only of the ends of [`follow_all`]. Those of `Overlay` run under it too.
    Unobserved,
    /// Overlay; the node has no address of its own.
    NoAddress,
    /// Overlay; the node has no IPv6 address of its own.
    Ipv4,
}

/// The Pod's port under [`Setting::Followed`], in the range of masquerade.
pub const FOLLOWED: u16 = 61_300;
/// And its neighbour's.
pub const ALSO_FOLLOWED: u16 = 61_301;

/// What is followed under [`Setting::Followed`]: three ends of each family, in this order.
pub fn follow_all(bench: &Bench) {
    let end = |address: IpAddr, port, protocol| FollowedEnd::new(Address::from_ip(address), port, protocol);
    let of = |f: Family| [end(f.pod(), FOLLOWED, 6), end(f.pod(), FOLLOWED, 17), end(f.neighbour(), ALSO_FOLLOWED, 17)];
    bench.maps.followed.insert(&0, &Followed::of(BOTH.map(of).as_flattened())).unwrap();
}

/// The bit in what is told of the Pod's end of UDP.
pub fn of_pod(f: Family) -> u16 {
    if f == Family::V4 { 1 << 1 } else { 1 << 4 }
}

/// And of its neighbour's.
pub fn of_neighbour(f: Family) -> u16 {
    of_pod(f) << 1
}

/// What a table must hold when the fixture is over.
#[derive(Clone, Debug)]
pub enum Held {
    Flow(Tracked),
    /// A client's flow to a service was given this backend.
    Choice {
        client: (IpAddr, u16),
        service: (IpAddr, u16),
        protocol: u8,
        backend: (IpAddr, u16),
    },
    /// A client is to come back to this backend.
    Remembered {
        client: IpAddr,
        row: u32,
        backend: (IpAddr, u16),
    },
    /// A masquerade entry; port `None`: any of the range.
    Masked {
        pod: (IpAddr, u16),
        remote: (IpAddr, u16),
        protocol: u8,
        node: IpAddr,
        port: Option<u16>,
    },
    /// Ports of a fragmented datagram.
    Pieces {
        source: IpAddr,
        destination: IpAddr,
        id: u32,
        protocol: u8,
        ports: (u16, u16),
    },
}

impl From<Tracked> for Held {
    fn from(tracked: Tracked) -> Self {
        Self::Flow(tracked)
    }
}

/// A named story: a world, packets, and what remains.
pub struct Fixture {
    pub name: String,
    pub setting: Setting,
    prepare: Box<dyn Fn(&Bench) + Send + Sync>,
    steps: Vec<Step>,
    held: Vec<Held>,
}

/// A fixture in the plain overlay world.
pub fn fixture(name: impl Into<String>) -> Fixture {
    Fixture {
        name: name.into(),
        setting: Setting::Overlay,
        prepare: Box::new(|_| {}),
        steps: Vec::new(),
        held: Vec::new(),
    }
}

impl Fixture {
    #[must_use]
    pub fn setting(mut self, setting: Setting) -> Self {
        self.setting = setting;
        self
    }
    #[must_use]
    pub fn given(mut self, prepare: impl Fn(&Bench) + Send + Sync + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
    #[must_use]
    pub fn holds(mut self, held: impl Into<Held>) -> Self {
        self.held.push(held.into());
        self
    }

    /// Runs it; what is wrong, in words.
    pub fn run(&self, bench: &Bench, events: &mut EventReader) -> Result<(), String> {
        bench.reset();
        (self.prepare)(bench);
        for (i, step) in self.steps.iter().enumerate() {
            let untold: &[EventKind] = match self.setting {
                Setting::Overlay if bench.config.observation == Observation::Drops as u32 => {
                    &[EventKind::NewFlow, EventKind::EndOfFlow]
                }
                _ => &[],
            };
            step.run(bench, events, untold).map_err(|e| format!("{}\n packet {} {e}", self.name, i + 1))?;
        }
        self.check_tables(bench).map_err(|e| format!("{}\n  {e}", self.name))
    }

    fn check_tables(&self, bench: &Bench) -> Result<(), String> {
        let m = &bench.maps;
        let (mut flows, mut choices, mut nats, mut pieces, mut remembered) = (0, 0, 0, 0, 0);
        for held in &self.held {
            match held {
                Held::Flow(tracked) => {
                    flows += 1;
                    tracked.check(bench)?;
                }
                Held::Choice { client, service, protocol, backend } => {
                    choices += 1;
                    let (key, _) = tracked(*protocol, *client, *service).key();
                    let entry = m.service_flows.get(&key).unwrap().ok_or("no choice is remembered")?;
                    if (entry.address, entry.port) != (backend.0.into(), backend.1) {
                        return Err(format!("the choice was {entry:?}"));
                    }
                }
                Held::Remembered { client, row, backend } => {
                    remembered += 1;
                    let key = AffinityKey { client: (*client).into(), service_id: *row };
                    let entry = m.affinity.get(&key).unwrap().ok_or("the client is not remembered")?;
                    if (entry.address, entry.port) != (backend.0.into(), backend.1) {
                        return Err(format!("the client is to come back to {entry:?}"));
                    }
                }
                Held::Masked { pod, remote, protocol, node, port } => {
                    nats += 2;
                    check_masked(bench, *pod, *remote, *protocol, *node, *port)?;
                }
                Held::Pieces { source, destination, id, protocol, ports } => {
                    pieces += 1;
                    let key = FragmentKey {
                        source: (*source).into(),
                        destination: (*destination).into(),
                        id: *id,
                        protocol: *protocol,
                        reserved: [0; 3],
                    };
                    let entry = m.fragments.get(&key).unwrap().ok_or("the first fragment is not remembered")?;
                    if (entry.source_port, entry.destination_port) != *ports {
                        return Err(format!("the fragment's ports are {entry:?}"));
                    }
                }
            }
        }
        let have = m.conntrack.entries().unwrap().len() + m.half_open.entries().unwrap().len();
        for (table, have, want) in [
            ("conntrack and half_open", have, flows),
            ("service_flows", m.service_flows.entries().unwrap().len(), choices),
            ("affinity", m.affinity.entries().unwrap().len(), remembered),
            ("nat", m.nat.entries().unwrap().len(), nats),
            ("fragments", m.fragments.entries().unwrap().len(), pieces),
        ] {
            if have != want {
                return Err(format!("{table} hold {have} entries instead of {want}"));
            }
        }
        Ok(())
    }
}

/// Both entries of a masquerade, each telling of the other.
fn check_masked(
    bench: &Bench,
    pod: (IpAddr, u16),
    remote: (IpAddr, u16),
    protocol: u8,
    node: IpAddr,
    port: Option<u16>,
) -> Result<(), String> {
    let remote_port = if matches!(protocol, ICMP | ICMPV6) { 0 } else { remote.1 };
    let key = |local: (IpAddr, u16), direction| NatKey {
        local: local.0.into(),
        remote: remote.0.into(),
        local_port: local.1,
        remote_port,
        protocol,
        direction,
        reserved: 0,
    };
    let out = bench.maps.nat.get(&key(pod, datapath_layouts::nat::OUTWARD)).unwrap();
    let out = out.ok_or("no way out is remembered")?;
    let range = bench.config.nat_port_first..=bench.config.nat_port_last;
    if out.address != node.into() || !range.contains(&out.port) || port.is_some_and(|p| p != out.port) {
        return Err(format!("the way out is {out:?}"));
    }
    let back = bench.maps.nat.get(&key((node, out.port), datapath_layouts::nat::INWARD)).unwrap();
    let back = back.ok_or("no way back is remembered")?;
    if (back.address, back.port) != (pod.0.into(), pod.1) {
        return Err(format!("the way back is {back:?}"));
    }
    Ok(())
}
