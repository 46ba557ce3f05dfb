//! What the kernel programs and the agent agree on: every map key and value, the event record, the packet mark, the
//! drop reasons and the limits. Nothing here does anything.
//!
//! Conventions, for every type in this crate:
//! - `repr(C)` without implicit padding (`IntoBytes` refuses to derive otherwise); the size is asserted beside the type.
//! - Addresses are 16 bytes in network byte order, IPv4 as `::ffff:a.b.c.d`, so that both families are one code path.
//! - Ports, lengths, identities and times are in host byte order; times are nanoseconds of the kernel's coarse
//!   monotonic clock (`bpf_ktime_get_coarse_ns`).
//! - Changing a layout means a new number in [`maps`], because a running datapath is adopted by the next agent.
//!
//! Invariant: no I/O, no allocation, no dependency on anything else of Malla.
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod drop_reason;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod identity;
pub mod maps;
pub mod mark;
pub mod nat;
pub mod neighbour;
pub mod policy;
pub mod route;
pub mod service;
pub mod socket;
pub mod stats;
pub mod tcp;
pub mod tracing;

pub use address::{Address, AddressKey, PrefixKey};
pub use config::{NodeConfig, Observation, Routing};
pub use drop_reason::DropReason;
pub use endpoint::Endpoint;
pub use event::{Event, EventKind, ObservationPoint};
pub use flow::{Counters, Flow, FlowKey, Half};
pub use fragment::{FragmentKey, FragmentPorts};
pub use nat::{NatKey, NatMapping};
pub use neighbour::Neighbour;
pub use policy::{CidrId, IdentityInfo, Outcome, PeerKey, Policy, PolicyKey, RangeKey, Row, RowKey};
pub use route::{Route, RouteKind};
pub use service::{
    Affinity, AffinityKey, AffinityMemberKey, Backend, BackendKey, Frontend, FrontendKey, MaglevTable, ServiceFlow,
    SourceRangeKey,
};
pub use socket::{SocketReverse, SocketReverseKey};
pub use stats::StatsValue;
pub use tcp::{TcpEnd, TcpEndKey, TcpEndPlace};
pub use tracing::{Followed, FollowedEnd};

/// Derives what every record shared with the kernel needs.
macro_rules! layout {
    ($(#[$meta:meta])* pub struct $name:ident, $size:literal { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        impl $name {
            /// All bytes zero: what the kernel has for "nothing known yet".
            pub const ZERO: Self = Self { $($field: <$ty as crate::Zero>::ZERO,)* };
        }
        impl crate::Zero for $name {
            const ZERO: Self = $name::ZERO;
        }
        impl Default for $name {
            fn default() -> Self { Self::ZERO }
        }
    };
}
/// The all-zero value of a field's type, usable in a constant.
trait Zero {
    const ZERO: Self;
}
macro_rules! zero {
    ($($ty:ty),*) => { $(impl Zero for $ty { const ZERO: Self = 0; })* };
}
zero!(u8, u16, u32, u64);
impl<const N: usize> Zero for [u8; N] {
    const ZERO: Self = [0; N];
}
impl<const N: usize> Zero for [u32; N] {
    const ZERO: Self = [0; N];
}
impl<const N: usize> Zero for [u16; N] {
    const ZERO: Self = [0; N];
}
impl Zero for Address {
    const ZERO: Self = Address::ZERO;
}
use layout;
