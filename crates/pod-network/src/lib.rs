//! What happens on a node when the container runtime says ADD, DEL, CHECK, GC or STATUS: addresses, the veth pair, its
//! addresses, routes and neighbours, and the datapath at its host end.
//!
//! [`PodNetwork::handle`] executes one request; [`serve`] does it for a unix socket. Everything is synchronous and
//! runs on plain threads: requests of different containers side by side, those of one container one after the other.
//!
//! Every step is written down before it is done (`<state_dir>/endpoints/`, `<state_dir>/ipam.journal`), so that a
//! process that dies anywhere leaves nothing that its successor does not know.
//!
//! Addressing: a Pod has /32 and /128 addresses, and default routes over 169.254.1.1 and fe80::1, which nobody has:
//! permanent neighbour entries name the host side's MAC. Neither ARP nor ND is ever asked.
#![forbid(unsafe_code)]

mod add;
mod check;
mod datapath;
mod endpoint;
mod failure;
mod locks;
mod network;
mod recover;
mod remove;
mod serve;
mod store;
mod wiring;

pub use datapath::{Datapath, DatapathError, NullDatapath};
pub use endpoint::{Endpoint, Phase, host_interface_name};
pub use failure::{
    CODE_ADDRESSES_EXHAUSTED, CODE_CHECK_FAILED, CODE_DATAPATH_FAILED, CODE_SETUP_FAILED, CODE_STATE_FAILED, StartError,
};
pub use network::{Config, DEFAULT_REST, PodNetwork};
pub use recover::Recovery;
pub use serve::{listen, serve};
