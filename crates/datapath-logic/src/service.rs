//! Which frontend an address means, and which backend a new flow gets.

use datapath_layouts::{Address, FrontendKey, NodeConfig};

/// Whether a port can be a NodePort at all.
#[must_use]
#[inline(always)]
pub const fn in_node_port_range(config: &NodeConfig, port: u16) -> bool {
    port >= config.node_port_first && port <= config.node_port_last
}

/// Key of the frontend that names exactly this address.
#[must_use]
#[inline(always)]
pub const fn exact_key(address: Address, port: u16, protocol: u8) -> FrontendKey {
    FrontendKey { address, port, protocol, cluster: 0 }
}

/// Key of the NodePort frontend of the address' family: one entry stands for every node's address.
#[must_use]
#[inline(always)]
pub fn node_port_key(address: &Address, port: u16, protocol: u8) -> FrontendKey {
    let any = if address.is_v4() { Address::V4_ANY } else { Address::ZERO };
    FrontendKey { address: any, port, protocol, cluster: 0 }
}

/// Slot of a new flow; `backends` is not 0.
#[must_use]
#[inline(always)]
pub const fn random_slot(random: u32, backends: u32) -> u32 {
    // Multiply-shift: no division, and no bias worth naming for fewer than 2^16 backends.
    ((random as u64 * backends as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slot_exists(random: u32, backends in 1u32..) {
            prop_assert!(random_slot(random, backends) < backends);
        }
    }

    #[test]
    fn every_slot_is_used() {
        let mut seen = [0u32; 5];
        for i in 0..50_000u32 {
            seen[random_slot(i.wrapping_mul(0x9e37_79b9), 5) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (9_000..11_000).contains(n)), "{seen:?}");
    }

    #[test]
    fn node_ports_are_per_family() {
        let v4 = node_port_key(&Address::from_v4([172, 18, 0, 2]), 30080, 6);
        let v6 = node_port_key(&Address([0xfc; 16]), 30080, 6);
        assert_ne!(v4, v6);
    }
}
