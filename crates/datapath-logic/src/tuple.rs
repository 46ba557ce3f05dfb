//! One key for both directions of a flow.

use datapath_layouts::{Address, FlowKey};

/// A packet's five-tuple; ports in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port (ICMP: id).
    pub source_port: u16,
    /// Destination port (ICMP: id).
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl Tuple {
    /// The same flow seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// Whether end `a` sorts behind end `b`: any total order that both directions agree on will do.
#[inline(always)]
fn is_higher(a: &Address, a_port: u16, b: &Address, b_port: u16) -> bool {
    let (x, y) = (a.words(), b.words());
    if x[3] != y[3] {
        return x[3] > y[3];
    }
    if x[2] != y[2] {
        return x[2] > y[2];
    }
    if x[1] != y[1] {
        return x[1] > y[1];
    }
    if x[0] != y[0] {
        return x[0] > y[0];
    }
    a_port > b_port
}

/// Fills `key`; true when the packet's source is the key's *high* end.
#[inline(always)]
pub fn flow_key(tuple: &Tuple, key: &mut FlowKey) -> bool {
    let source_high = is_higher(&tuple.source, tuple.source_port, &tuple.destination, tuple.destination_port);
    key.protocol = tuple.protocol;
    key.low_cluster = 0;
    key.high_cluster = 0;
    key.reserved = 0;
    if source_high {
        key.high = tuple.source;
        key.high_port = tuple.source_port;
        key.low = tuple.destination;
        key.low_port = tuple.destination_port;
    } else {
        key.low = tuple.source;
        key.low_port = tuple.source_port;
        key.high = tuple.destination;
        key.high_port = tuple.destination_port;
    }
    source_high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_directions_share_a_key(a: [u8; 16], b: [u8; 16], p: u16, q: u16, protocol: u8) {
            let there = Tuple { source: Address(a), destination: Address(b), source_port: p, destination_port: q, protocol };
            let (mut k1, mut k2) = (FlowKey::ZERO, FlowKey::ZERO);
            let h1 = flow_key(&there, &mut k1);
            let h2 = flow_key(&there.reversed(), &mut k2);
            prop_assert_eq!(k1, k2);
            // Only a flow from an end to itself can't tell its directions apart.
            prop_assert_eq!(h1 == h2, a == b && p == q);
        }

        #[test]
        fn different_flows_have_different_keys(a: [u8; 16], b: [u8; 16], p: u16, q: u16, r: u16) {
            let one = Tuple { source: Address(a), destination: Address(b), source_port: p, destination_port: q, protocol: 6 };
            let other = Tuple { source_port: r, ..one };
            let (mut k1, mut k2) = (FlowKey::ZERO, FlowKey::ZERO);
            flow_key(&one, &mut k1);
            flow_key(&other, &mut k2);
            prop_assert_eq!(k1 == k2, r == p || (a == b && r == q && p == q));
        }
    }
}
