//! Which entry of a row's Maglev table a flow means. Every node must come to the same entry, whatever its byte order,
//! boot or history: so the hash has no seed.

use datapath_layouts::service::{FRONTEND_NODE_PORT, MAGLEV_SIZE};
use datapath_layouts::{Address, Frontend};

use crate::hash::{finish, mix, mix_address};

/// A flow as its client sees it; ports in host byte order.
///
/// `frontend` is what [`FRONTEND_NODE_PORT`] tells apart: a NodePort is one frontend at every node's address, and an
/// external balancer may bring the packets of one flow to any of them. So the address counts only where it names the
/// Service.
#[must_use]
#[inline(always)]
pub const fn hash_flow(
    source: &Address,
    destination: &Address,
    ports: (u16, u16),
    protocol: u8,
    frontend: &Frontend,
) -> u32 {
    let mut hash = mix_address(0, source);
    if frontend.flags & FRONTEND_NODE_PORT == 0 {
        hash = mix_address(hash, destination);
    }
    finish(mix(mix(hash, (ports.0 as u32) << 16 | ports.1 as u32), protocol as u32))
}

/// A client, for services that keep to one backend per client.
#[must_use]
#[inline(always)]
pub const fn hash_client(client: &Address) -> u32 {
    finish(mix_address(0, client))
}

/// Index of the table's entry: below [`MAGLEV_SIZE`]. Multiply-shift and not a remainder, whose bound Linux 6.1's
/// verifier can't see.
#[must_use]
#[inline(always)]
pub const fn place(hash: u32) -> usize {
    ((hash as u64 * MAGLEV_SIZE as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_place_exists(hash: u32) {
            prop_assert!(place(hash) < MAGLEV_SIZE);
        }
    }

    const PLAIN: Frontend = Frontend::ZERO;
    const NODE_PORT: Frontend = Frontend { flags: FRONTEND_NODE_PORT, ..Frontend::ZERO };

    #[test]
    fn a_node_port_means_the_same_entry_at_every_node() {
        let client = Address::from_v4([203, 0, 113, 2]);
        let (one, two) = (Address::from_v4([172, 18, 0, 2]), Address::from_v4([172, 18, 0, 3]));
        let hash = |node: &Address, port, frontend| hash_flow(&client, node, (port, 30080), 6, frontend);
        assert!((0..1000).all(|port| hash(&one, port, &NODE_PORT) == hash(&two, port, &NODE_PORT)));
        assert_ne!(hash(&one, 40000, &NODE_PORT), hash(&one, 40001, &NODE_PORT));
        assert_ne!(hash(&one, 40000, &PLAIN), hash(&two, 40000, &PLAIN), "an address of its own is part of the flow");
    }

    #[test]
    fn nodes_of_another_version_agree() {
        let (a, b) = (Address::from_v4([203, 0, 113, 2]), Address::from_v4([172, 18, 255, 1]));
        assert_eq!(hash_flow(&a, &b, (40000, 80), 6, &PLAIN), 0xe48c_1d38);
        assert_eq!(hash_client(&a), 0x230e_04fd);
    }

    #[test]
    fn ports_spread_over_the_whole_table() {
        let (a, b) = (Address::from_v4([203, 0, 113, 2]), Address::from_v4([172, 18, 255, 1]));
        let mut used = [0u32; MAGLEV_SIZE];
        for port in 0..=u16::MAX {
            used[place(hash_flow(&a, &b, (port, 80), 6, &PLAIN))] += 1;
        }
        // 64 on average; a uniform choice stays within seven standard deviations.
        assert!(used.iter().all(|n| (8..130).contains(n)), "{used:?}");
    }

    #[test]
    fn every_part_of_a_flow_counts() {
        let (a, b) = (Address::from_v4([203, 0, 113, 2]), Address::from_v4([172, 18, 255, 1]));
        let one = hash_flow(&a, &b, (40000, 80), 6, &PLAIN);
        for other in [
            hash_flow(&b, &a, (40000, 80), 6, &PLAIN),
            hash_flow(&a, &a, (40000, 80), 6, &PLAIN),
            hash_flow(&a, &b, (40001, 80), 6, &PLAIN),
            hash_flow(&a, &b, (40000, 81), 6, &PLAIN),
            hash_flow(&a, &b, (40000, 80), 17, &PLAIN),
        ] {
            assert_ne!(one, other);
        }
    }
}
