//! The embedded Kubernetes API server: what kubectl and kube-rs clients speak to on one machine.
//!
//! A request flows path → [`registry`] (which kind) → [`handlers`] → [`write`] or [`read`] → `object-store`. Objects are
//! JSON values throughout; the types of the built-in kinds are data ([`schema`]), derived from Kubernetes' own.
//!
//! Invariant: nothing here acts on what objects mean (no scheduling, no endpoints); controllers do, through the same
//! API as everybody. The exceptions are those that Kubernetes' own server and garbage collector make: Service
//! addresses, namespaces that empty themselves, owners and dependents.
#![forbid(unsafe_code)]

pub mod api;
mod apply;
pub mod bootstrap;
pub mod cli;
pub mod collector;
mod content;
mod custom;
mod decode;
mod defaults;
mod discovery;
pub mod error;
mod events;
mod handlers;
mod http;
pub mod object;
pub mod offline;
mod openapi;
mod patch;
pub mod pki;
mod read;
pub mod registry;
mod schema;
mod selectors;
pub mod server;
mod services;
mod table;
mod validation;
mod write;
