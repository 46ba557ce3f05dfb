//! What the tests stand on: an API in memory, a node of their own, and a plugin that speaks CNI.

pub mod fake_api;
pub mod testbed;
