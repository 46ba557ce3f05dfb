//! The whole lab, by its commands alone: what a newcomer types, and what must be left afterwards (nothing).
//!
//! Needs root, and `malla-cni` beside `malla`. One lab at a time: each is a cluster.

mod commands;
mod crashes;
mod lifecycle;
mod machine;
mod mistakes;
mod spink;
