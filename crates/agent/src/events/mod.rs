//! What happened to packets: from the ring to whoever listens.
//!
//! ```text
//! ring ─▶ reader (own thread, by time) ─▶ enrich (who was that?) ─▶ hub ─▶ one bounded buffer per listener
//!                                                              └─▶ flow ─▶ the last 4095, asked for over hubble.sock
//! ```
//! Loss is counted at both places where it can happen, the ring and a listener's buffer, and told to the listener.

mod clock;
mod ending;
mod enrich;
mod flow;
mod follow;
mod hub;
mod reader;
mod record;
mod tcp_ends;

pub use clock::{Clock, monotonic_ns};
pub use ending::{Forgotten, forgotten};
pub use enrich::{enrich, protocol_name};
pub use flow::{CLUSTER, to_flow};
pub use follow::{End, Followers, Following};
pub use hub::{Hub, Listener};
pub use reader::{Drain, Pace, read};
pub use record::{Icmp, Interface, Kind, Line, Loss, Party, Record, Service, TcpEnd, Totals, Verdict, Way};
pub use tcp_ends::{TcpEnds, tcp_ends};
