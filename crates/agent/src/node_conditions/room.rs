//! Says when a map of policy has no room: then something on this node is denied that no policy denies, and whoever looks for the reason
//! looks there.

use super::pace::AT_ONCE;
use super::{NodeConditions, Statement, Weight};
use tokio::sync::watch;

/// Type of the condition; True where something does not fit. Absent until it was true once.
pub const CONDITION: &str = "malla.dev/PolicyTablesFull";
/// Reason of the condition and of the Event.
const FULL: &str = "PolicyTablesFull";
/// Reason of the condition when it is over.
const FITS: &str = "PolicyTablesFit";

/// How policy fits into this node's maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Nothing was planned yet.
    #[default]
    Unknown,
    /// There is room.
    Enough,
    /// There is not: what does not fit, in words.
    Full(String),
}

/// Keeps it as what is sent says.
#[must_use]
pub fn keep(conditions: &mut NodeConditions) -> watch::Sender<Room> {
    conditions.keep(CONDITION, AT_ONCE, statement)
}

fn statement(room: &Room) -> Option<Statement> {
    match room {
        Room::Unknown => None,
        Room::Enough => Some(Statement {
            holds: false,
            reason: FITS,
            message: "every policy of this node's Pods is in its maps".to_owned(),
            weight: Weight::Quiet,
        }),
        Room::Full(problem) => {
            Some(Statement { holds: true, reason: FULL, message: problem.clone(), weight: Weight::Warning("Program") })
        }
    }
}
