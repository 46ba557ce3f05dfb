//! One packet at one program, and what must become of it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use datapath::EventReader;
use datapath_layouts::{Address, DropReason, Event, EventKind, ObservationPoint, stats};

use super::packet::Packet;
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
    /// The rule that it names, where that is not the one that all of the step's events name.
    pub rule: Option<u32>,
    /// Who follows the packet, where the fixture cares.
    pub followed: Option<u16>,
}

/// Writes into the tables.
type Changing = dyn Fn(&Bench) + Send + Sync;

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
    /// What changes in the tables before.
    change: Option<Arc<Changing>>,
    /// The rule that the events name.
    rule: u32,
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
        change: None,
        rule: 0,
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
    Told { kind, point, reason, identities: None, flags: None, original: None, rule: None, followed: None }
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
    /// A flow that policy held back is reported as passing again.
    #[must_use]
    pub fn resumes(mut self) -> Self {
        self.told.push(told(EventKind::NewFlow, Some(own_point(self.program)), 0));
        self
    }
    /// It is reported that a policy in audit mode would have dropped it, at the end it comes into or goes out of.
    #[must_use]
    pub fn audits(mut self, rule: u32, flags: u8) -> Self {
        let reason = if rule == 0 { DropReason::PolicyDenied } else { DropReason::PolicyDeny };
        let event = told(EventKind::Audit, Some(own_point(self.program)), reason as u8);
        self.told.push(Told { flags: Some(flags), rule: Some(rule), ..event });
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
    /// It is reported to those who follow it, at these places.
    #[must_use]
    pub fn told_to(mut self, places: u16, point: ObservationPoint) -> Self {
        self.told.push(Told { followed: Some(places), ..told(EventKind::Trace, Some(point), 0) });
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
    /// The tables change before it comes.
    #[must_use]
    pub fn after(mut self, change: impl Fn(&Bench) + Send + Sync + 'static) -> Self {
        self.change = Some(Arc::new(change));
        self
    }
    /// Its events name this rule of a policy.
    #[must_use]
    pub fn rule(mut self, rule: u32) -> Self {
        self.rule = rule;
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

    /// Runs it; what is wrong, in words. Events of the kinds `untold` are not to come.
    pub fn run(&self, bench: &Bench, events: &mut EventReader, untold: &[EventKind]) -> Result<(), String> {
        let expected: Vec<&Told> = self.told.iter().filter(|told| !untold.contains(&told.kind)).collect();
        if let Some(change) = &self.change {
            change(bench);
        }
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
        if out.events.len() != expected.len() || out.events.iter().zip(&expected).any(|(e, t)| !tells(e, t)) {
            let _ = writeln!(wrong, "  events {:?}\n  instead of {expected:?}", out.events);
        }
        for (event, told) in out.events.iter().zip(&expected) {
            let rule = told.rule.unwrap_or(self.rule);
            if event.rule != rule {
                let _ = writeln!(wrong, "  an event names rule {} instead of {rule}", event.rule);
            }
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
        && told.followed.is_none_or(|f| event.followed == f)
        && told.original.is_none_or(|(a, p)| event.original == Address::from(a) && event.original_port == p)
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(2).map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>()).collect::<Vec<_>>().join(" ")
}
