//! The datapath as the agent sees it: load the programs, adopt what is pinned, attach, and maps as typed tables.
//!
//! Everything is pinned below one folder of a bpffs: `maps/<name>_v<version>`, `programs/<name>`, `links/<interface>_
//! <program>`. Programs, links and maps outlive this process; [`Datapath::start`] recognises them again.
//!
//! Invariants: nothing is flushed; a map whose shape differs from the object's is never adopted; programs are replaced
//! in place (`BPF_LINK_UPDATE`), so that no packet meets a hook without one.

mod adopt;
mod datapath;
mod error;
mod events;
mod links;
pub mod maps;
mod object;
mod programs;
pub mod sys;
pub mod tcp_ends;

pub use adopt::Adoption;
pub use datapath::{Datapath, Profile, Settings, XdpMode};
pub use error::Error;
pub use events::EventReader;
pub use object::OBJECT;
pub use programs::{OBJECT_FOR_TESTS, ProgramInfo, loaded_for_tests};
