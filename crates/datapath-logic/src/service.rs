//! Which frontend an address means, and which backend a new flow gets.

use datapath_layouts::service::{
    FRONTEND_DSR, FRONTEND_LOCAL_EXTERNAL, FRONTEND_LOCAL_INTERNAL, FRONTEND_MAGLEV, FRONTEND_MAGLEV_EXTERNAL,
};
use datapath_layouts::{Address, DropReason, Frontend, FrontendKey, NodeConfig};

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

/// Whom a Pod that reaches itself by a service sees: link-local (RFC 3927), the address that Cilium takes for this.
pub const HAIRPIN_V4: Address = Address::from_v4([169, 254, 42, 1]);
/// The same for IPv6, of the prefix that nobody routes (RFC 6666).
pub const HAIRPIN_V6: Address = Address([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x2a, 1]);

/// Whether this is one of them.
#[must_use]
#[inline(always)]
pub fn is_hairpin(address: &Address) -> bool {
    address.same(&HAIRPIN_V4) || address.same(&HAIRPIN_V6)
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A Pod, or a process of this node.
    Inside,
    /// It entered by the node's device.
    Outside,
    /// It entered by another node's device, and that node passed it on as it was (direct server return).
    PassedOn,
}

/// A frontend as one side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Names the slots.
    pub id: u32,
    /// How many there are.
    pub backends: u32,
    /// Chosen by the row's Maglev table.
    pub maglev: bool,
    /// What to say when there is none: refuse, or drop where others would serve but policy keeps to this node.
    pub empty: DropReason,
}

/// The row for a client from one side.
#[must_use]
#[inline(always)]
pub const fn row(frontend: &Frontend, side: Side) -> Row {
    let (id, backends, local, maglev) = match side {
        Side::Inside => (frontend.service_id, frontend.backends, FRONTEND_LOCAL_INTERNAL, FRONTEND_MAGLEV),
        Side::Outside => {
            (frontend.external_id, frontend.external_backends, FRONTEND_LOCAL_EXTERNAL, FRONTEND_MAGLEV_EXTERNAL)
        }
        // Who passed it on saw a backend here: if there is none any more, there are or were others, so it is no refusal.
        Side::PassedOn => (frontend.local_id, frontend.local_backends, FRONTEND_DSR, FRONTEND_MAGLEV_EXTERNAL),
    };
    let empty = if frontend.flags & local != 0 { DropReason::NoLocalBackend } else { DropReason::NoBackend };
    Row { id, backends, maglev: frontend.flags & maglev != 0, empty }
}

/// Whether a client may still go to the backend it had.
#[must_use]
#[inline(always)]
pub const fn is_remembered(last_used_ns: u64, now: u64, affinity_seconds: u32) -> bool {
    // Two clocks of one kind write here, and the coarse one may be a tick behind.
    now.saturating_sub(last_used_ns) < affinity_seconds as u64 * 1_000_000_000
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
    fn each_side_has_its_row() {
        let frontend = Frontend {
            external_id: 8,
            external_backends: 0,
            flags: FRONTEND_LOCAL_EXTERNAL,
            ..Frontend::with_row(7, 3)
        };
        let inside = Row { id: 7, backends: 3, maglev: false, empty: DropReason::NoBackend };
        assert_eq!(row(&frontend, Side::Inside), inside);
        let outside = Row { id: 8, backends: 0, empty: DropReason::NoLocalBackend, ..inside };
        assert_eq!(row(&frontend, Side::Outside), outside);
        let maglev = Frontend { flags: FRONTEND_MAGLEV_EXTERNAL, ..frontend };
        assert!(row(&maglev, Side::Outside).maglev && !row(&maglev, Side::Inside).maglev);
        assert_eq!(row(&maglev, Side::Outside).empty, DropReason::NoBackend);
        let direct = Frontend { flags: FRONTEND_DSR, local_id: 9, local_backends: 2, ..frontend };
        let here = Row { id: 9, backends: 2, empty: DropReason::NoLocalBackend, ..inside };
        assert_eq!(row(&direct, Side::PassedOn), here);
        assert_eq!(row(&frontend, Side::PassedOn).backends, 0, "of a frontend that is not asked for this");
    }

    #[test]
    fn affinity_ends_with_its_time() {
        assert!(is_remembered(1_000_000_000, 10_999_999_999, 10) && !is_remembered(1_000_000_000, 11_000_000_000, 10));
        assert!(is_remembered(1_000_004_000, 1_000_000_000, 10), "written a moment ago, by the finer clock");
    }

    #[test]
    fn node_ports_are_per_family() {
        let v4 = node_port_key(&Address::from_v4([172, 18, 0, 2]), 30080, 6);
        let v6 = node_port_key(&Address([0xfc; 16]), 30080, 6);
        assert_ne!(v4, v6);
    }
}
