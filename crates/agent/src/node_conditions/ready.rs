//! What the agent says of itself: the state and the troubles of `malla status`, short enough for a condition. Pure but for its keeping.

use super::pace::Pace;
use super::{NodeConditions, Statement, Weight};
use crate::status::State;
use std::time::Duration;
use tokio::sync::watch;

/// Type of the condition; True where the agent is in sync with the API and has no trouble.
pub const CONDITION: &str = "malla.dev/AgentReady";
/// An agent whose last heartbeat is older than this is not there any more, or can't write: how it does is not known. Of one that lives it
/// is never older than 16 min: it is renewed at the first look that finds it older than 8 min, and looks are up to 8 min apart.
pub const STALE: Duration = Duration::from_secs(1200);

/// Reasons of the condition.
const IN_SYNC: &str = "AgentInSync";
const DEGRADED: &str = "AgentDegraded";
const NOT_IN_SYNC: &str = "AgentNotInSync";

/// Keeps it as what is sent says. Who sends does so again and again, though it be the same: the heartbeat is renewed for nobody who is
/// silent.
#[must_use]
pub fn keep(conditions: &mut NodeConditions) -> watch::Sender<Option<Statement>> {
    conditions.keep(CONDITION, PACE, Option::clone)
}

/// What is to be said of an agent in this state, with these problems, to which the API has not told these kinds yet.
pub fn statement(state: State, problems: &[String], waiting: &[&str]) -> Statement {
    let (reason, message) = match state {
        State::Degraded => (DEGRADED, first_of(problems)),
        State::Ok if waiting.is_empty() => (IN_SYNC, "in sync with the Kubernetes API, no troubles".to_owned()),
        State::Starting if waiting.is_empty() => {
            (NOT_IN_SYNC, "not all is in the maps yet that the Kubernetes API has told".to_owned())
        }
        State::Ok | State::Starting => {
            (NOT_IN_SYNC, format!("not told by the Kubernetes API yet: {}", waiting.join(", ")))
        }
    };
    // An agent that starts has no trouble yet: no reason for an Event.
    let weight = if reason == DEGRADED { Weight::Warning("Run") } else { Weight::Plain };
    Statement { holds: reason == IN_SYNC, reason, message, weight }
}

/// Many more may read a Node than the agent's socket: the first ones, shortened, and no secrets.
fn first_of(problems: &[String]) -> String {
    let mut told: Vec<String> = problems.iter().take(TOLD).map(|problem| shortened(&public(problem))).collect();
    let more = problems.len() - told.len();
    if more > 0 {
        told.push(format!("and {more} more (malla status tells them)"));
    }
    told.join("; ")
}

/// In one line, URLs without users, passwords and queries.
fn public(problem: &str) -> String {
    let problem = problem.replace(char::is_control, " ");
    problem.split_whitespace().map(without_secrets).collect::<Vec<_>>().join(" ")
}

/// Rather too little of a URL than too much: of one with an `@` anywhere only what follows.
fn without_secrets(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let end = rest.find(['?', '#', '&']).unwrap_or(rest.len());
    format!("{scheme}://{}", &rest[..end])
}

fn shortened(problem: &str) -> String {
    match problem.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &problem[..end]),
        None => problem.to_owned(),
    }
}

/// Problems that are told.
const TOLD: usize = 3;
/// Letters of each: an Event's note has room for three.
const LETTERS: usize = 300;
/// More patient than what is said of paths: what befalls all agents at once, as an API server that is away for a moment, is over before it
/// is written; and when it lasts, a thousand nodes do not write it in the same second.
const PACE: Pace = Pace {
    settle: Duration::from_secs(15),
    latest: Duration::from_secs(60),
    turns: Duration::from_secs(20),
    // Problems may count.
    apart: Duration::from_secs(60),
    again: Duration::from_secs(240),
    beat: Some(BEAT),
};
/// Each write of a Node is told to all who watch Nodes, which are all agents: it costs with the square of the cluster.
const BEAT: Duration = Duration::from_secs(480);

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn an_agent_is_ready_when_it_is_in_sync_and_has_no_trouble() {
        let kind = |said: &Statement| (said.holds, said.reason, said.weight);
        let well = statement(State::Ok, &[], &[]);
        assert_eq!(kind(&well), (true, "AgentInSync", Weight::Plain));
        assert_eq!(well.message, "in sync with the Kubernetes API, no troubles");
        let waits = statement(State::Ok, &[], &["Node", "Pod"]);
        assert_eq!(kind(&waits), (false, "AgentNotInSync", Weight::Plain));
        assert_eq!(waits.message, "not told by the Kubernetes API yet: Node, Pod");
        assert_eq!(statement(State::Starting, &[], &["Node", "Pod"]), waits);
        let starts = statement(State::Starting, &[], &[]);
        assert_eq!(kind(&starts), (false, "AgentNotInSync", Weight::Plain));
        let bad = statement(State::Degraded, &problems(&["port 4240 is taken"]), &["Node"]);
        assert_eq!(kind(&bad), (false, "AgentDegraded", Weight::Warning("Run")));
        assert_eq!(bad.message, "port 4240 is taken");
    }

    #[test]
    fn the_first_troubles_are_told_and_bounded() {
        let said = |all: &[&str]| statement(State::Degraded, &problems(all), &[]).message;
        assert_eq!(said(&["a", "b\n c\t\u{7}d", "e"]), "a; b c d; e");
        assert_eq!(said(&["a", "b", "c", "d", "e"]), "a; b; c; and 2 more (malla status tells them)");
        let euros = "€".repeat(5_000);
        let long = said(&[euros.as_str(); 4]);
        let letters = long.chars().count();
        assert!(letters < 3 * LETTERS + 60 && long.matches('…').count() == 3, "{letters}: {long}");
        let plain = "x".repeat(5_000);
        let long = said(&[plain.as_str(); 4]);
        assert!(long.len() < 1024, "an Event's note has no room for more: {}", long.len());
    }

    #[test]
    fn no_secret_of_a_url_is_told() {
        for (problem, told) in [
            ("no answer from https://me:secret@otlp.example:4317/v1", "no answer from https://otlp.example:4317/v1"),
            ("https://otlp.example/v1?token=secret: refused", "https://otlp.example/v1 refused"),
            ("https://a/b?user=secret@c&token=secret", "https://c"),
            ("https://me:se/cr?et@a/b", "https://a/b"),
            ("unix:///run/x.sock and a@b stay", "unix:///run/x.sock and a@b stay"),
        ] {
            assert_eq!(public(problem), told);
        }
    }

    /// Of an agent that lives the heartbeat is renewed at the second look at the latest, wherever its node's lot has them.
    #[test]
    fn the_heartbeat_of_who_lives_is_never_stale() {
        let between = PACE.again * 2;
        assert!(BEAT <= between && between * 2 + Duration::from_secs(180) < STALE);
    }
}
