//! The server as a process, an API server as another, and `dig` (package bind9-dnsutils) as the judge. Loopback only.
#![forbid(unsafe_code)]

mod hostile;
mod outside;
mod processes;
mod specification;
