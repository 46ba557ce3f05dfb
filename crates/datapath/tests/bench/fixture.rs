//! Fixtures: packets, what becomes of them, and what the tables say afterwards.

use std::fmt::Write as _;
use std::net::IpAddr;

use datapath::EventReader;
use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{
    Address, DropReason, Event, EventKind, Flow, FlowKey, FragmentKey, NatKey, ObservationPoint, stats,
};

use super::packet::{ICMP, ICMPV6, Packet};
use super::world::{HOST_MAC, POD_MAC};
use super::{Bench, Context, checksum};

/// `TC_ACT_OK`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT` (`linux/pkt_cls.h`).
pub const PASS: u32 = 0;
pub const DROP: u32 = 2;
pub const REDIRECT: u32 = 7;

/// Where a packet is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    Pod,
    Neighbour,
    Network,
    Overlay,
}

/// Settings of the programs that a fixture needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    Overlay,
    Native,
    /// Overlay; masquerade has a single port.
    OnePort,
    /// Overlay; every packet is reported.
    Traced,
    /// Overlay; the node has no address of its own.
    NoAddress,
}

/// One expected event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub kind: EventKind,
    pub point: Option<ObservationPoint>,
    pub reason: u8,
    /// Identities of source and destination, where the fixture cares.
    pub identities: Option<(u32, u32)>,
    /// `event_flags`, where the fixture cares.
    pub flags: Option<u8>,
    /// Service address, where there was one.
    pub original: Option<(IpAddr, u16)>,
}

/// A flow that the tables must hold.
#[derive(Clone, Debug)]
pub struct Tracked {
    initiator: (IpAddr, u16),
    responder: (IpAddr, u16),
    protocol: u8,
    state: u8,
    flags: u16,
    half_open: bool,
    packets: (u64, u64),
    service: Option<(IpAddr, u16)>,
    entry: Option<IpAddr>,
    identities: Option<(u32, u32)>,
    here: Option<(bool, bool)>,
}

/// A flow between two ends of which only the initiator has spoken, once.
pub fn tracked(protocol: u8, initiator: (IpAddr, u16), responder: (IpAddr, u16)) -> Tracked {
    Tracked {
        initiator,
        responder,
        protocol,
        state: flow_state::NEW,
        flags: 0,
        half_open: true,
        packets: (1, 0),
        service: None,
        entry: None,
        identities: None,
        here: None,
    }
}

impl Tracked {
    /// Both have spoken.
    #[must_use]
    pub fn established(mut self, forward: u64, reply: u64) -> Self {
        (self.state, self.half_open, self.packets) = (flow_state::ESTABLISHED, false, (forward, reply));
        self
    }
    #[must_use]
    pub fn state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }
    #[must_use]
    pub fn packets(mut self, forward: u64, reply: u64) -> Self {
        self.packets = (forward, reply);
        self
    }
    #[must_use]
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }
    #[must_use]
    pub fn service(mut self, address: IpAddr, port: u16) -> Self {
        self.service = Some((address, port));
        self.flags(flow_flags::SERVICE)
    }
    #[must_use]
    pub fn via(mut self, entry: IpAddr) -> Self {
        self.entry = Some(entry);
        self.flags(flow_flags::VIA_ENTRY)
    }
    #[must_use]
    pub fn identities(mut self, source: u32, destination: u32) -> Self {
        self.identities = Some((source, destination));
        self
    }
    /// Which ends are on this node, and so have judged.
    #[must_use]
    pub fn here(mut self, source: bool, destination: bool) -> Self {
        self.here = Some((source, destination));
        self
    }

    fn key(&self) -> (FlowKey, bool) {
        let a = (Address::from(self.initiator.0), self.initiator.1);
        let b = (Address::from(self.responder.0), self.responder.1);
        // The key's order: by the address' words from the last to the first, each as this machine reads it.
        let rank = |e: (Address, u16)| {
            let w = e.0.words();
            (w[3], w[2], w[1], w[0], e.1)
        };
        let initiator_high = rank(a) > rank(b);
        let (low, high) = if initiator_high { (b, a) } else { (a, b) };
        let key = FlowKey {
            low: low.0,
            high: high.0,
            low_port: low.1,
            high_port: high.1,
            protocol: self.protocol,
            ..FlowKey::ZERO
        };
        (key, initiator_high)
    }

    fn check(&self, bench: &Bench) -> Result<(), String> {
        let (key, initiator_high) = self.key();
        let (map, other) = if self.half_open {
            (&bench.maps.half_open, &bench.maps.conntrack)
        } else {
            (&bench.maps.conntrack, &bench.maps.half_open)
        };
        let table = if self.half_open { "half_open" } else { "conntrack" };
        let Some(flow) = map.get(&key).unwrap() else {
            return Err(format!("{table} lacks {key:?}; the other table has {:?}", other.get(&key).unwrap()));
        };
        let mut flags = self.flags;
        if initiator_high {
            flags |= flow_flags::INITIATOR_HIGH;
        }
        let service = self.service.map_or((Address::ZERO, 0), |(a, p)| (a.into(), p));
        let mut want = Flow {
            state: self.state,
            flags,
            service_address: service.0,
            service_port: service.1,
            entry_node: self.entry.map_or(Address::ZERO, Address::from),
            ..flow
        };
        want.forward.packets = self.packets.0;
        want.reply.packets = self.packets.1;
        if let Some((source, destination)) = self.identities {
            (want.source_identity, want.destination_identity) = (source, destination);
        }
        if let Some((source, destination)) = self.here {
            let judged = |here| if here { half_state::ACCEPTED } else { half_state::UNJUDGED };
            (want.source.state, want.destination.state) = (judged(source), judged(destination));
        }
        if want == flow { Ok(()) } else { Err(format!("flow in {table}: {flow:?}\n    expected {want:?}")) }
    }
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

/// One packet and what becomes of it.
#[derive(Clone)]
pub struct Step {
    program: &'static str,
    device: Device,
    packet: Vec<u8>,
    context: Context,
    verdict: u32,
    /// `None`: as it was. Not looked at when dropped.
    output: Option<Vec<u8>>,
    mark: u32,
    told: Vec<Told>,
    /// Slots of the statistics that go up by one packet.
    counted: Vec<u32>,
    /// Only these checks: the packet's own bytes may be wrong (hostile input that passes).
    sums: bool,
}

/// A packet at a program, expected to pass unchanged and unseen.
pub fn at(program: &'static str, packet: impl Into<Vec<u8>>) -> Step {
    let device = match program {
        "from_pod" | "to_pod" => Device::Pod,
        "from_network" | "to_network" => Device::Network,
        _ => Device::Overlay,
    };
    Step {
        program,
        device,
        packet: packet.into(),
        context: Context::default(),
        verdict: PASS,
        output: None,
        mark: 0,
        told: Vec::new(),
        counted: Vec::new(),
        sums: true,
    }
}

/// From the Pod of the fixtures, with its MAC.
pub fn from_pod(packet: &Packet) -> Step {
    at("from_pod", pod(packet))
}
/// The packet with the MAC addresses that it has on the Pod's link.
pub fn pod(packet: &Packet) -> Vec<u8> {
    packet.clone().macs(POD_MAC, HOST_MAC).bytes()
}
pub fn to_pod(packet: &Packet) -> Step {
    at("to_pod", packet.bytes())
}
pub fn from_network(packet: &Packet) -> Step {
    at("from_network", packet.bytes())
}
pub fn to_network(packet: &Packet) -> Step {
    at("to_network", packet.bytes())
}
pub fn to_overlay(packet: &Packet) -> Step {
    at("to_overlay", packet.bytes())
}
pub fn from_overlay(packet: &Packet) -> Step {
    at("from_overlay", packet.bytes())
}

fn told(kind: EventKind, point: Option<ObservationPoint>, reason: u8) -> Told {
    Told { kind, point, reason, identities: None, flags: None, original: None }
}

fn own_point(program: &str) -> ObservationPoint {
    match program {
        "from_pod" => ObservationPoint::FromEndpoint,
        "from_network" => ObservationPoint::FromNetwork,
        "from_overlay" => ObservationPoint::FromOverlay,
        _ => ObservationPoint::FromHost,
    }
}

impl Step {
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
    }
    #[must_use]
    pub fn marked(mut self, mark: u32) -> Self {
        self.context.mark = mark;
        self.mark = mark;
        self
    }
    /// A GSO packet of `segments`, each with `size` bytes of payload.
    #[must_use]
    pub fn gso(mut self, size: u32, segments: u32) -> Self {
        (self.context.gso_size, self.context.gso_segs) = (size, segments);
        self
    }
    /// Dropped, counted and reported with this reason.
    #[must_use]
    pub fn drops(mut self, reason: DropReason) -> Self {
        self.verdict = DROP;
        self.told.push(told(EventKind::Drop, Some(own_point(self.program)), reason as u8));
        self.counted.push(reason as u32);
        self
    }
    /// Dropped without a word, counted.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.verdict = DROP;
        self.counted.push(stats::QUIET_DROPS);
        self
    }
    /// Handed on towards `point`.
    fn leaves(mut self, verdict: u32, point: ObservationPoint, mark: u32, packet: Option<Vec<u8>>) -> Self {
        (self.verdict, self.output, self.mark) = (verdict, packet, mark);
        self.counted.push(stats::FORWARDED + point as u32);
        self
    }
    /// Redirected into a Pod as this packet.
    #[must_use]
    pub fn into_pod(self, packet: &Packet) -> Self {
        let mark = self.mark;
        let bytes = self.same_link(packet);
        self.leaves(REDIRECT, ObservationPoint::ToEndpoint, mark, Some(bytes))
    }
    /// As [`Self::into_pod`], byte by byte.
    #[must_use]
    pub fn into_pod_bytes(self, bytes: Vec<u8>) -> Self {
        let mark = self.mark;
        self.leaves(REDIRECT, ObservationPoint::ToEndpoint, mark, Some(bytes))
    }
    /// Another counter goes up.
    #[must_use]
    pub fn counts(mut self, slot: u32) -> Self {
        self.counted.push(slot);
        self
    }
    /// Redirected into the tunnel as this packet.
    #[must_use]
    pub fn into_tunnel(self, packet: &Packet) -> Self {
        let bytes = self.same_link(packet);
        self.leaves(REDIRECT, ObservationPoint::ToOverlay, datapath_layouts::mark::ENCAPSULATED, Some(bytes))
    }
    /// Redirected to a next hop as this packet.
    #[must_use]
    pub fn by_next_hop(self, packet: &Packet) -> Self {
        let bytes = self.same_link(packet);
        self.leaves(REDIRECT, ObservationPoint::ToNetwork, datapath_layouts::mark::FORWARDED, Some(bytes))
    }
    /// Passed, unchanged, and counted as handed to `point`.
    #[must_use]
    pub fn passes(self, point: ObservationPoint) -> Self {
        let mark = self.mark;
        self.leaves(PASS, point, mark, None)
    }
    /// As [`Self::passes`], but as this packet.
    #[must_use]
    pub fn passes_as(self, point: ObservationPoint, packet: &Packet) -> Self {
        let mark = self.mark;
        let bytes = self.same_link(packet);
        self.leaves(PASS, point, mark, Some(bytes))
    }
    /// Passed with another mark, unseen.
    #[must_use]
    pub fn mark_becomes(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }
    /// Dropped for `reason`; the packet has become this ICMP error, with the MAC addresses swapped.
    #[must_use]
    pub fn answered(mut self, reason: DropReason, error: &Packet) -> Self {
        self = self.drops(reason);
        self.verdict = REDIRECT;
        let mut bytes = error.bytes();
        let (first, second) = (self.packet[0..6].to_vec(), self.packet[6..12].to_vec());
        bytes[0..6].copy_from_slice(&second);
        bytes[6..12].copy_from_slice(&first);
        self.output = Some(bytes);
        self
    }
    /// A new flow is reported.
    #[must_use]
    pub fn opens(mut self, point: ObservationPoint) -> Self {
        self.told.push(told(EventKind::NewFlow, Some(point), 0));
        self.counted.push(stats::FLOWS_CREATED);
        self
    }
    /// The end of a flow is reported.
    #[must_use]
    pub fn ends(mut self) -> Self {
        self.told.push(told(EventKind::EndOfFlow, None, 0));
        self
    }
    /// The packet is reported, because somebody traces.
    #[must_use]
    pub fn traced(mut self, point: ObservationPoint) -> Self {
        self.told.push(told(EventKind::Trace, Some(point), 0));
        self
    }
    /// Identities in the last event named.
    #[must_use]
    pub fn identities(mut self, source: u32, destination: u32) -> Self {
        self.told.last_mut().expect("an event").identities = Some((source, destination));
        self
    }
    /// `event_flags` of the last event named.
    #[must_use]
    pub fn event_flags(mut self, flags: u8) -> Self {
        self.told.last_mut().expect("an event").flags = Some(flags);
        self
    }
    /// Service that the last event named tells.
    #[must_use]
    pub fn original(mut self, address: IpAddr, port: u16) -> Self {
        self.told.last_mut().expect("an event").original = Some((address, port));
        self
    }
    /// The packet's own checksums are not right to begin with.
    #[must_use]
    pub fn sums_unchecked(mut self) -> Self {
        self.sums = false;
        self
    }

    /// No program but the ICMP answer touches MAC addresses.
    fn same_link(&self, packet: &Packet) -> Vec<u8> {
        let mut bytes = packet.bytes();
        bytes[..12].copy_from_slice(&self.packet[..12]);
        bytes
    }

    fn run(&self, bench: &Bench, events: &mut EventReader) -> Result<(), String> {
        let device = match self.device {
            Device::Pod => bench.devices.pod,
            Device::Neighbour => bench.devices.neighbour,
            Device::Network => bench.devices.network,
            Device::Overlay => bench.devices.overlay,
        };
        let before: Vec<_> = bench.maps.stats.read_all().unwrap();
        let context = Context { ifindex: device, ..self.context };
        let out = bench.run(self.program, &self.packet, context, events);
        let mut wrong = String::new();
        if out.verdict != self.verdict {
            let _ = writeln!(wrong, "  verdict {} instead of {}", out.verdict, self.verdict);
        }
        if out.verdict != DROP {
            if out.mark != self.mark {
                let _ = writeln!(wrong, "  mark {:#x} instead of {:#x}", out.mark, self.mark);
            }
            let want = self.output.as_ref().unwrap_or(&self.packet);
            if out.packet != *want {
                let _ = writeln!(wrong, "  packet  {}\n  instead {}", hex(&out.packet), hex(want));
            }
            if self.sums
                && let Err(e) = checksum::check(&out.packet)
            {
                let _ = writeln!(wrong, "  {e}");
            }
        }
        if out.events.len() != self.told.len() || out.events.iter().zip(&self.told).any(|(e, t)| !tells(e, t)) {
            let _ = writeln!(wrong, "  events {:?}\n  instead of {:?}", out.events, self.told);
        }
        for slot in 0..stats::EVENTS_LOST {
            let old = before.iter().find(|(s, _)| *s == slot).map_or(0, |(_, v)| v.packets);
            self.check_slot(bench, slot, old, &mut wrong);
        }
        for slot in [stats::EVENTS_LOST, stats::NAT_EXHAUSTED, stats::FLOWS_CREATED, stats::QUIET_DROPS] {
            let old = before.iter().find(|(s, _)| *s == slot).map_or(0, |(_, v)| v.packets);
            self.check_slot(bench, slot, old, &mut wrong);
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("at {}:\n{wrong}", self.program)) }
    }

    fn check_slot(&self, bench: &Bench, slot: u32, old: u64, wrong: &mut String) {
        let now = bench.maps.stats.read(slot).unwrap().packets;
        let times = self.counted.iter().filter(|s| **s == slot).count() as u64;
        let weight = if (stats::FORWARDED..stats::EVENTS_LOST).contains(&slot) {
            u64::from(self.context.gso_segs.max(1))
        } else {
            1
        };
        if now - old != times * weight {
            let _ = writeln!(wrong, "  counter {slot} went up by {} instead of {}", now - old, times * weight);
        }
    }
}

fn tells(event: &Event, told: &Told) -> bool {
    event.kind == told.kind as u8
        && told.point.is_none_or(|p| event.point == p as u8)
        && event.reason == told.reason
        && told.identities.is_none_or(|i| (event.source_identity, event.destination_identity) == i)
        && told.flags.is_none_or(|f| event.flags == f)
        && told.original.is_none_or(|(a, p)| event.original == Address::from(a) && event.original_port == p)
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(2).map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>()).collect::<Vec<_>>().join(" ")
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
            step.run(bench, events).map_err(|e| format!("{}\n packet {} {e}", self.name, i + 1))?;
        }
        self.check_tables(bench).map_err(|e| format!("{}\n  {e}", self.name))
    }

    fn check_tables(&self, bench: &Bench) -> Result<(), String> {
        let m = &bench.maps;
        let (mut flows, mut choices, mut nats, mut pieces) = (0, 0, 0, 0);
        for held in &self.held {
            match held {
                Held::Flow(tracked) => {
                    flows += 1;
                    tracked.check(bench)?;
                }
                Held::Choice { client, service, protocol, backend } => {
                    choices += 1;
                    let (key, _) = tracked_key(*protocol, *client, *service);
                    let entry = m.service_flows.get(&key).unwrap().ok_or("no choice is remembered")?;
                    if (entry.address, entry.port) != (backend.0.into(), backend.1) {
                        return Err(format!("the choice was {entry:?}"));
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

fn tracked_key(protocol: u8, a: (IpAddr, u16), b: (IpAddr, u16)) -> (FlowKey, bool) {
    tracked(protocol, a, b).key()
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
