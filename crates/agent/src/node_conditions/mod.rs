//! Conditions of the own Node, and Events, that tell the cluster how the network does here. One says when a map of policy has no
//! room: then something on this node is denied that no policy denies, and whoever looks for the reason looks there.

mod pace;
mod writer;

pub use pace::{AT_ONCE, Pace, SETTLED};

use pace::{Lot, Script};
use tokio::sync::watch;
use tokio::time::Instant;
use writer::Writer;

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

/// What a condition of the Node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's status.
    pub holds: bool,
    /// In one word.
    pub reason: &'static str,
    /// For people. What changes all the time has no place in it: each change is written, though at the condition's pace.
    pub message: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much a statement matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Written only where something was said before.
    Quiet,
    /// Written.
    Plain,
    /// Written, and told by an Event when it begins, not at each change of its words: what the agent was doing.
    Warning(&'static str),
}

/// Writes what is sent there, until the sender is gone. Only the newest counts.
#[must_use]
pub fn start(client: kube::Client, node: String) -> watch::Sender<Room> {
    keep(client, node, CONDITION, AT_ONCE, statement)
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

/// Keeps one condition of the Node as what is sent says, at this pace, until the sender is gone. Only the newest counts; of what
/// says nothing, nothing is written.
#[must_use]
pub fn keep<T: Default + Send + Sync + 'static>(
    client: kube::Client,
    node: String,
    condition: &'static str,
    pace: Pace,
    statement: fn(&T) -> Option<Statement>,
) -> watch::Sender<T> {
    let (sender, mut news) = watch::channel(T::default());
    tokio::spawn(async move {
        let mut script = Script::new(pace, Lot::of(&node), Instant::now());
        let mut writer = Writer::new(client, node, condition);
        loop {
            script.hear(statement(&news.borrow_and_update()), Instant::now());
            if let Some(statement) = script.take_due(Instant::now()) {
                if writer.tell(&statement).await {
                    script.succeeded(statement, Instant::now());
                } else {
                    script.failed(Instant::now());
                }
            }
            let due = script.due();
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    });
    sender
}

/// Takes a condition away that nobody keeps any more: what an agent said that was told to keep it would stand for ever.
pub fn remove(client: kube::Client, node: String, condition: &'static str) {
    tokio::spawn(async move {
        let lot = Lot::of(&node);
        let writer = Writer::new(client, node, condition);
        let mut failures = 0_u32;
        while !writer.remove().await {
            tokio::time::sleep(lot.pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    });
}

#[cfg(test)]
mod tests;
