//! Policy judged from outside: nine Pods in three namespaces on three nodes, and real packets between all of them.
//!
//! The layout is that of Kubernetes' own tests of policy: namespaces x, y, z, Pods a, b, c, ports 80, 81, 82. Each Pod has
//! TCP, UDP and SCTP on each port (SCTP by raw packets: not every kernel has its sockets), and every pair is asked at once.
//! Needs root, `malla-cni` beside `malla`, and kubectl.
#![forbid(unsafe_code)]

#[path = "../chaos/api.rs"]
#[allow(dead_code, reason = "the tests of chaos use the rest")]
mod api;
mod capacity;
mod catalogue;
#[path = "../traffic/cluster.rs"]
#[allow(dead_code, reason = "the tests of traffic use the rest")]
mod cluster;
mod no_gap;
mod objects;
mod pods;
mod probes;
#[path = "../chaos/random.rs"]
#[allow(dead_code, reason = "the tests of chaos use the rest")]
mod random;
mod reference;
mod spoofing;
mod table;
mod truth_table;
