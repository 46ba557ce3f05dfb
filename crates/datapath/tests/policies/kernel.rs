//! The programs with policy in their maps, and one packet at a time.

use std::net::IpAddr;

use datapath::EventReader;
use datapath::maps::{Map, Plain};
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::{
    Address, AddressKey, DropReason, Endpoint, EventKind, PrefixKey, Route, RouteKind, Routing, identity,
};
use policy::plan::{Change, Tables};
use policy::reference::Packet;
use policy::rule::Direction;

use crate::bench::packet::{ICMP, ICMPV6, Packet as Bytes, SCTP, SYN, TCP, UDP};
use crate::bench::step::{DROP, PASS, REDIRECT};
use crate::bench::world::{HOST_MAC, NEIGHBOUR_MAC, POD_MAC, V4, V6};
use crate::bench::{Bench, Context};

pub struct Kernel {
    bench: Bench,
    events: EventReader,
    /// What the maps of policy hold.
    tables: Tables,
    /// Ways in are taken by turns.
    asked: u16,
}

/// What became of a packet.
#[derive(Debug)]
pub struct Seen {
    /// Policy let it through.
    pub passed: bool,
    /// Why it was dropped; 0 = it was not.
    pub reason: u8,
    /// The rule that the event names; 0 = none.
    pub rule: u32,
    /// The rule of a policy in audit that would have dropped it; 0 = by default. `None`: nobody would have.
    pub audit: Option<u32>,
}

impl Kernel {
    /// Routed natively, so that each kind of peer may come by the node's device.
    pub fn new() -> Self {
        let bench = Bench::with(|config| config.routing = Routing::Native as u32);
        let events = bench.events();
        Self { bench, events, tables: Tables::default(), asked: 0 }
    }

    /// Empties the maps of policy and does these changes, in their order.
    pub fn replace(&mut self, changes: &[Change]) {
        let m = &self.bench.maps;
        let old = std::mem::take(&mut self.tables);
        remove(&m.policies, old.policies.keys());
        remove(&m.identities, old.identities.keys());
        remove(&m.policy_peers, old.peers.keys());
        remove(&m.policy_cidrs, old.cidrs.keys());
        remove(&m.policy_rows, old.rows.keys());
        remove(&m.policy_ranges, old.ranges.keys());
        for change in changes {
            self.tables.apply(change);
            match change {
                Change::WriteRow(key, row) => m.policy_rows.insert(key, row).unwrap(),
                Change::RemoveRow(key) => drop(m.policy_rows.remove(key).unwrap()),
                Change::WriteRange(key, row) => m.policy_ranges.insert(key, row).unwrap(),
                Change::RemoveRange(key) => drop(m.policy_ranges.remove(key).unwrap()),
                Change::WritePeer(key, class) => m.policy_peers.insert(key, class).unwrap(),
                Change::RemovePeer(key) => drop(m.policy_peers.remove(key).unwrap()),
                Change::WriteCidr(key, id) => m.policy_cidrs.insert(key, id).unwrap(),
                Change::RemoveCidr(key) => drop(m.policy_cidrs.remove(key).unwrap()),
                Change::WriteIdentity(number, info) => m.identities.insert(number, info).unwrap(),
                Change::RemoveIdentity(number) => drop(m.identities.remove(number).unwrap()),
                Change::WritePolicy(key, policy) => m.policies.insert(key, policy).unwrap(),
                Change::RemovePolicy(key) => drop(m.policies.remove(key).unwrap()),
            }
        }
    }

    /// Puts both ends where they live and lets the packet open a flow.
    pub fn ask(&mut self, packet: &Packet) -> Result<Seen, String> {
        let m = &self.bench.maps;
        clear(&m.endpoints);
        clear(&m.ipcache);
        clear(&m.conntrack);
        clear(&m.half_open);
        clear(&m.nat);
        self.asked = self.asked.wrapping_add(1);
        let family = if packet.address.is_ipv4() { V4 } else { V6 };
        let subject = Endpoint {
            ifindex: self.bench.devices.pod,
            id: 10,
            identity: packet.subject,
            policy_id: packet.subject,
            mac: POD_MAC,
            host_mac: HOST_MAC,
            mtu: 1450,
            ..Endpoint::ZERO
        };
        put_endpoint(&self.bench, family.pod(), subject);
        let (program, device, macs) = self.place(packet);
        let (from, to) = match packet.direction {
            Direction::Ingress => (packet.address, family.pod()),
            Direction::Egress => (family.pod(), packet.address),
        };
        let bytes = bytes(from, to, packet);
        let bytes = macs.map_or(bytes.clone(), |own| bytes.macs(own, HOST_MAC)).bytes();
        let context = Context { ifindex: device, ..Context::default() };
        let out = self.bench.run(program, &bytes, context, &mut self.events);
        let say = || format!("{packet:?} at {program}: {:?} {:?}", out.verdict, out.events);
        // What a policy in audit would have done is told before what became of the packet.
        let audits = out.events.iter().take_while(|event| event.kind == EventKind::Audit as u8).count();
        let (audits, rest) = out.events.split_at(audits);
        let told = rest.first().filter(|_| audits.len() < 2).ok_or_else(say)?;
        let by_policy = [DropReason::PolicyDenied as u8, DropReason::PolicyDeny as u8].contains(&told.reason);
        let is = |kind: EventKind| told.kind == kind as u8;
        let passed = match out.verdict {
            PASS | REDIRECT if is(EventKind::NewFlow) => true,
            DROP if is(EventKind::Drop) && by_policy => false,
            _ => return Err(say()),
        };
        Ok(Seen { passed, reason: told.reason, rule: told.rule, audit: audits.first().map(|audit| audit.rule) })
    }

    /// Where the peer lives, and with that the program, the device and, on a Pod's link, the sender's MAC address.
    fn place(&self, packet: &Packet) -> (&'static str, u32, Option<[u8; 6]>) {
        let devices = &self.bench.devices;
        let host = Endpoint { identity: identity::HOST, flags: FLAG_HOST, ..Endpoint::ZERO };
        if packet.peer == identity::HOST {
            put_endpoint(&self.bench, packet.address, host);
            return match packet.direction {
                Direction::Ingress => ("to_pod", devices.pod, None),
                Direction::Egress => ("from_pod", devices.pod, Some(POD_MAC)),
            };
        }
        // Who comes from here comes out of a device of their own. The world never does.
        let neighbour = packet.peer >= 256 && self.asked.is_multiple_of(2);
        if neighbour {
            let device = Endpoint { ifindex: devices.neighbour, mac: NEIGHBOUR_MAC, ..host };
            let endpoint = Endpoint { id: 11, identity: packet.peer, flags: 0, mtu: 1450, ..device };
            put_endpoint(&self.bench, packet.address, endpoint);
        } else {
            let kind = match packet.peer {
                identity::WORLD | identity::KUBE_APISERVER => RouteKind::World,
                identity::REMOTE_NODE => RouteKind::RemoteNode,
                _ => RouteKind::RemotePods,
            };
            // A protocol without ports is not masqueraded: with this kind of route nobody has to.
            let kind = if packet.direction == Direction::Egress { RouteKind::RemotePods } else { kind };
            let route = Route {
                next_hop: Address::from(if packet.address.is_ipv4() { V4.gateway() } else { V6.gateway() }),
                identity: packet.peer,
                ifindex: devices.network,
                mtu: 1500,
                kind: kind as u8,
                ..Route::ZERO
            };
            let bits = if packet.address.is_ipv4() { 32 } else { 128 };
            let key = PrefixKey::from_ip(packet.address, bits);
            self.bench.maps.ipcache.insert(&key, &route).unwrap();
        }
        match (packet.direction, neighbour) {
            (Direction::Egress, _) => ("from_pod", devices.pod, Some(POD_MAC)),
            (Direction::Ingress, true) => ("from_pod", devices.neighbour, Some(NEIGHBOUR_MAC)),
            (Direction::Ingress, false) => ("from_network", devices.network, None),
        }
    }
}

const CLIENT: u16 = 40_000;

/// What opens a flow.
fn bytes(from: IpAddr, to: IpAddr, packet: &Packet) -> Bytes {
    let (source, destination) = ((from, CLIENT), (to, packet.port));
    match packet.protocol {
        TCP => Bytes::tcp(source, destination, SYN),
        UDP => Bytes::udp(source, destination),
        SCTP => Bytes::sctp(source, destination),
        ICMP | ICMPV6 => Bytes::ping(from, to, CLIENT),
        other => Bytes::raw(from, to, other, b"whatever it says"),
    }
}

fn put_endpoint(bench: &Bench, address: IpAddr, endpoint: Endpoint) {
    bench.maps.endpoints.insert(&AddressKey::local(address.into()), &endpoint).unwrap();
}

fn remove<'a, K: Plain + 'a, V: Plain>(map: &Map<K, V>, keys: impl Iterator<Item = &'a K>) {
    for key in keys {
        map.remove(key).unwrap();
    }
}

fn clear<K: Plain, V: Plain>(map: &Map<K, V>) {
    for (key, _) in map.entries().unwrap() {
        map.remove(&key).unwrap();
    }
}
