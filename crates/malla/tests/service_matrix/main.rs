//! Services by every combination of routing mode, socket hook, traffic policy, family, protocol, client position and kind of
//! address, with real clients; and the tools that people use: curl, nginx, iperf3, dig, socat.
//!
//! Needs root, `malla-cni` beside `malla`, and what `make setup` installs.
#![forbid(unsafe_code)]

#[path = "../chaos/api.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod api;
#[path = "../chaos/clients.rs"]
mod clients;
#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod cluster;
#[path = "../chaos/manifests.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod manifests;
#[path = "../chaos/maps.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod maps;
mod matrix;
#[path = "../chaos/model.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod model;
mod pairs;
mod table;
mod tools;
