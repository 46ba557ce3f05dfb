//! What probes have found. Pure.

use super::plan::Target;
use super::view::{PathView, Peer, Standing};
use jiff::Timestamp;
use model::NodeName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// So many probes in a row that say otherwise change what a path is taken for: one lost packet is not news.
pub const CERTAIN: u32 = 3;

/// What one probe has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node has answered, after so long.
    Answered(Duration),
    /// It has not.
    Failed(Why),
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing came back in time.
    Silent,
    /// The connection was accepted, and nothing was said on it in time.
    Mute,
    /// The connection was refused: nobody listens there, or a firewall says so.
    Refused,
    /// The connection was taken down before the answer was whole.
    Cut,
    /// There is no way there, as this node or a router says.
    NoRoute,
    /// This node's kernel does not let it out.
    Forbidden,
    /// Another node answers there.
    Stranger(String),
    /// Somebody answers who is no agent.
    Nonsense,
    /// This node could not probe.
    Here(String),
}

impl Why {
    /// One word, for metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::NoRoute => "no_route",
            Self::Forbidden => "forbidden",
            Self::Stranger(_) => "stranger",
            Self::Nonsense => "nonsense",
            Self::Here(_) => "here",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer"),
            Self::Mute => f.write_str("the connection is accepted, but the agent does not answer"),
            Self::Refused => f.write_str("the connection is refused"),
            Self::Cut => f.write_str("the connection was taken down"),
            Self::NoRoute => f.write_str("no route there"),
            Self::Forbidden => f.write_str("this node's kernel does not let it out"),
            Self::Stranger(name) => write!(f, "{name} answers there"),
            Self::Nonsense => f.write_str("who answers there is no agent"),
            Self::Here(why) => write!(f, "could not probe: {why}"),
        }
    }
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Cut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::NoRoute,
            ErrorKind::TimedOut => Self::Silent,
            ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Here(error.to_string()),
        }
    }
}

/// All paths, and what is known of each.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<Target, Path>);

#[derive(Debug, Default)]
struct Path {
    standing: Standing,
    last: Option<Outcome>,
    /// Times in a row that it was as it was the last time: answered or failed.
    streak: u32,
    answered: Option<Timestamp>,
}

impl Ledger {
    /// These paths and no others.
    pub fn set(&mut self, targets: &BTreeSet<Target>) {
        self.0.retain(|target, _| targets.contains(target));
        for target in targets {
            self.0.entry(target.clone()).or_default();
        }
    }

    /// Writes down what was found; whether the path is taken for something else now. Of paths that nobody wants, nothing.
    pub fn record(&mut self, target: &Target, outcome: Outcome, now: Timestamp) -> bool {
        let Some(path) = self.0.get_mut(target) else { return false };
        let answered = matches!(outcome, Outcome::Answered(_));
        let same = path.last.as_ref().is_some_and(|last| matches!(last, Outcome::Answered(_)) == answered);
        path.streak = if same { path.streak.saturating_add(1) } else { 1 };
        path.last = Some(outcome);
        if answered {
            path.answered = Some(now);
        }
        let before = path.standing;
        path.standing = match (before, answered) {
            // Nothing contradicts it.
            (Standing::Unknown, true) => Standing::Reachable,
            (_, true) if path.streak >= CERTAIN => Standing::Reachable,
            (_, false) if path.streak >= CERTAIN => Standing::Unreachable,
            (before, _) => before,
        };
        before != path.standing
    }

    /// All paths by what they are taken for.
    pub fn standings(&self) -> impl Iterator<Item = (&Target, Standing)> {
        self.0.iter().map(|(target, path)| (target, path.standing))
    }

    /// For those who ask, by node.
    #[must_use]
    pub fn view(&self) -> Vec<Peer> {
        let mut peers: BTreeMap<&NodeName, Vec<PathView>> = BTreeMap::new();
        for (target, path) in &self.0 {
            let (latency, error) = match &path.last {
                Some(Outcome::Answered(after)) => (Some(after.as_secs_f64()), None),
                Some(Outcome::Failed(why)) => (None, Some(why.to_string())),
                None => (None, None),
            };
            let failures = if error.is_some() { path.streak } else { 0 };
            peers.entry(&target.node).or_default().push(PathView {
                address: target.address,
                protocol: target.protocol,
                state: path.standing,
                latency_seconds: latency,
                error,
                failures,
                last_answer: path.answered,
            });
        }
        peers.into_iter().map(|(node, paths)| Peer { node: node.clone(), paths }).collect()
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
