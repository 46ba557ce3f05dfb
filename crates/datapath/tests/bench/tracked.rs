//! A flow that the tables must hold.

use std::net::IpAddr;

use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{Address, Flow, FlowKey};

use super::Bench;

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

    /// The flow's key, and whether its initiator is the high end.
    pub fn key(&self) -> (FlowKey, bool) {
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

    pub fn check(&self, bench: &Bench) -> Result<(), String> {
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
