//! The workloads behind the lab's built-in images: `malla.dev/echo`, `localhost/spink` and `malla.dev/client`.
//!
//! They are ordinary servers with one unusual virtue: they end without hurting anybody. After SIGTERM they go on
//! serving, tell every client `Connection: close`, and leave once nobody has used them for a moment, so that a
//! rolling update or a scale-down costs no client an error (see [`lifecycle`]).

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
mod connection;
mod http_server;
pub mod lifecycle;
mod lingering;
mod listen;
mod pages;
pub mod ports;
mod serve;
mod tcp_echo;
mod udp_echo;
pub mod whoami;
