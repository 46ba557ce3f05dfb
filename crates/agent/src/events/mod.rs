//! What happened to packets: from the ring to whoever listens.
//!
//! ```text
//! ring ─▶ reader (own thread, by time) ─▶ sight (who was that?) ─▶ the last 4095 ─▶ a flow, once somebody asks for it
//!                                                             └─▶ hub ─▶ a record ─▶ one bounded buffer per listener
//! ```
//! What policy said of a packet (`judged`) stands before it among those, as an event of its own that points to the same
//! sight. What the agent did ([`crate::deeds`]) comes from its loop by way of the hub, and is kept apart from packets.
//! Everything is looked up when the event comes; words are made of it only for who reads them.
//! Loss is counted at both places where it can happen, the ring and a listener's buffer, and told to the listener.

mod clock;
mod deciding;
mod elsewhere;
mod ending;
mod follow;
mod hub;
mod judged;
mod names;
mod reader;
mod record;
pub(crate) mod sight;
mod summary;
mod tcp_ends;
mod to_flow;
mod to_record;
mod underway;

pub use clock::{Clock, monotonic_ns};
pub use elsewhere::Elsewhere;
pub use ending::{Forgotten, forgotten};
pub use follow::{End, Followers, Following};
pub use hub::{Hub, Listener};
pub use names::{Caller, Here, Names, RuleFacts, Table, Who};
pub use reader::{Drain, Pace, Seeing, read};
pub use record::{Icmp, Interface, Kind, Line, Loss, Party, Record, Service, TcpEnd, Totals, Verdict, Way};
pub use sight::{Known, Sight};
pub use tcp_ends::{TcpEnds, tcp_ends};
pub use to_flow::{CLUSTER, label_texts, to_flow};
pub use to_record::{protocol_name, to_record};
