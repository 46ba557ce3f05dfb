//! A small synchronous rtnetlink: links, addresses, routes, neighbours, rules, tc BPF filters, and `net.*` sysctls; and `sock_diag`, which
//! lists sockets and ends them.
//!
//! One [`Netlink`] is one socket in one network namespace, and each request is answered before the next is sent.
//! Errors name the operation, the object and the errno, and carry the kernel's own explanation where it gives one
//! (extended acks). Methods named `ensure_*` are idempotent: what is so already is success.
//!
//! Sources: `include/uapi/linux/{rtnetlink,if_link,neighbour,pkt_cls}.h`, RFC 3549.

#![forbid(unsafe_code)]

mod address;
mod connection;
mod error;
mod link;
mod link_change;
mod link_create;
mod mac;
mod neighbour;
mod route;
mod rule;
mod socket_diag;
pub mod sysctl;
mod traffic_control;

pub use address::{Address, AddressOptions};
pub use connection::Netlink;
pub use error::{Error, Result};
pub use link::{Link, LinkKind};
pub use link_create::{VethEnd, VethPair, Vxlan};
pub use mac::{MacAddress, ParseMacError};
pub use neighbour::{Neighbour, NeighbourWatch};
pub use route::{Route, RouteKind, Scope};
pub use rule::Rule;
pub use socket_diag::{ConnectedSocket, SocketDiag, Transport};
pub use traffic_control::{BpfFilter, Direction};
