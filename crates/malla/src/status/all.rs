//! `malla status --all`: nodes, agents, whether they are in sync, and the probes between all nodes; and whether that is well.
//! What is well is decided here, by what the agents said and the API has, without asking anybody anything more.

use super::failures::failures;
use super::listed::{Listed, OfItself, Readiness, Said};
use agent::probes::{CONDITION, PathView, Protocol, Standing};
use agent::status::{AGENT_READY, State, Status};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The cluster's network, as its agents tell it.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// Nothing is wrong that anybody knows of.
    pub well: bool,
    /// What is wrong, each in one line.
    pub troubles: Vec<String>,
    /// Nodes by name: those that were asked, those that they know, and those that the API has.
    pub nodes: Vec<NodeLine>,
    /// Every way from a node to another.
    pub paths: Vec<PathLine>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeLine {
    /// Its name.
    pub node: String,
    /// In one word.
    pub agent: AgentWord,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it said, if it was asked and has answered.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// The API has a Node of that name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_listed: bool,
    /// What that says of its paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
    /// And of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_itself: Option<OfItself>,
}

/// What the API says of the nodes.
#[derive(Debug)]
pub enum List {
    /// Nobody asked it.
    NotAsked,
    /// It does not answer, and why.
    Silent(String),
    /// These are all, or all that are meant.
    Nodes(Vec<Listed>),
}

/// What an agent says of its node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Told {
    /// Version of the agent.
    pub version: String,
    /// Since when it runs, seconds.
    pub uptime_seconds: u64,
    /// Every kind of object was told once, and the API answers.
    pub in_sync: bool,
    /// Kinds that were not told yet.
    pub waiting_for: Vec<String>,
    /// Kinds for which there is no connection.
    pub disconnected: Vec<String>,
    /// Pods of the node.
    pub endpoints: usize,
    /// Identities known.
    pub identities: usize,
    /// Services with addresses.
    pub services: usize,
    /// Entries of `backends`.
    pub backends: usize,
    /// Whether it probes the others.
    pub probes: bool,
    /// Seconds between two probes of one path.
    pub probe_interval_seconds: f64,
    /// What needs attention, each in one line.
    pub problems: Vec<String>,
}

/// How an agent does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentWord {
    /// Nobody asked it here.
    #[default]
    NotAsked,
    /// It was asked.
    NoAnswer,
    /// As it says itself.
    Ok,
    /// The same.
    Starting,
    /// The same.
    Degraded,
}

impl AgentWord {
    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAsked => "not asked",
            Self::NoAnswer => "no answer",
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
        }
    }
}

/// One way from a node to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathLine {
    /// Who probes.
    pub from: String,
    /// Who is probed.
    pub to: String,
    /// What was found.
    #[serde(flatten)]
    pub found: PathView,
}

impl PathLine {
    /// Address of the other end.
    pub const fn address(&self) -> IpAddr {
        self.found.address
    }

    /// How it is asked.
    pub const fn protocol(&self) -> Protocol {
        self.found.protocol
    }

    /// Whether it is taken for lost.
    pub fn fails(&self) -> bool {
        self.found.state == Standing::Unreachable
    }
}

/// Puts together what the agents said, and the API.
pub fn overview(asked: &[super::Node], list: List, now: Timestamp) -> Overview {
    let mut nodes: BTreeMap<String, NodeLine> = BTreeMap::new();
    let mut paths = Vec::new();
    for one in asked {
        nodes.insert(one.node.clone(), line(one));
        for peer in one.status.iter().flat_map(|status| &status.connectivity.nodes) {
            let path =
                |found: &PathView| PathLine { from: one.node.clone(), to: peer.node.to_string(), found: found.clone() };
            paths.extend(peer.paths.iter().map(path));
        }
    }
    for path in &paths {
        line_of(&mut nodes, &path.to);
    }
    let mut troubles = Vec::new();
    match list {
        List::NotAsked => {}
        List::Silent(why) => troubles.push(format!("the Kubernetes API does not tell which nodes there are: {why}")),
        List::Nodes(listed) => {
            if listed.is_empty() {
                troubles.push("the Kubernetes API has no Node".to_owned());
            }
            for Listed { node, said, of_itself, not_ready } in listed {
                troubles.extend(not_ready.map(|why| format!("{node} is not ready: {why}")));
                let line = line_of(&mut nodes, &node);
                (line.is_listed, line.said, line.of_itself) = (true, said, of_itself);
            }
        }
    }
    let nodes: Vec<NodeLine> = nodes.into_values().collect();
    troubles.extend(nodes.iter().flat_map(of_node));
    troubles.extend(failures(&paths, now));
    troubles.extend(unprobed(&nodes, &paths));
    let waiting = paths.iter().filter(|path| path.found.state == Standing::Unknown).count();
    if waiting > 0 {
        troubles.push(format!("of {waiting} of {} paths it is not known yet whether they work", paths.len()));
    }
    Overview { well: troubles.is_empty(), troubles, nodes, paths }
}

/// This node's line; that of one that was not asked, where there is none yet.
fn line_of<'a>(nodes: &'a mut BTreeMap<String, NodeLine>, node: &str) -> &'a mut NodeLine {
    nodes.entry(node.to_owned()).or_insert_with(|| NodeLine { node: node.to_owned(), ..NodeLine::default() })
}

fn line(one: &super::Node) -> NodeLine {
    let agent = one.status.as_ref().map_or(AgentWord::NoAnswer, |status| match status.state {
        State::Ok => AgentWord::Ok,
        State::Starting => AgentWord::Starting,
        State::Degraded => AgentWord::Degraded,
    });
    let (node, error, told) = (one.node.clone(), one.error.clone(), one.status.as_ref().map(told));
    NodeLine { node, agent, error, told, ..NodeLine::default() }
}

fn told(status: &Status) -> Told {
    let kinds = |is: fn(&agent::cluster::WatchState) -> bool| {
        status.watches.iter().filter(|watch| is(watch)).map(|watch| watch.kind.clone()).collect::<Vec<_>>()
    };
    let waiting_for = kinds(|watch| !watch.synced && !watch.not_served);
    let disconnected = kinds(|watch| !watch.connected && watch.last_error.is_some());
    Told {
        version: status.version.clone(),
        uptime_seconds: status.uptime_seconds,
        in_sync: waiting_for.is_empty() && disconnected.is_empty(),
        waiting_for,
        disconnected,
        endpoints: status.counts.endpoints,
        identities: status.counts.identities,
        services: status.counts.services,
        backends: status.counts.backends,
        probes: status.connectivity.enabled,
        probe_interval_seconds: status.connectivity.interval_seconds,
        problems: status.problems.clone(),
    }
}

/// What is wrong with a node by itself. Who was not asked is not in trouble for that.
fn of_node(node: &NodeLine) -> Vec<String> {
    let name = &node.node;
    let told = node.told.as_ref();
    match node.agent {
        AgentWord::NoAnswer => {
            vec![format!("the agent of {name} does not answer: {}", node.error.as_deref().unwrap_or("no reason given"))]
        }
        AgentWord::Degraded => {
            told.iter().flat_map(|told| &told.problems).map(|problem| format!("{name}: {problem}")).collect()
        }
        AgentWord::Starting => vec![format!("the agent of {name} is starting")],
        AgentWord::Ok if told.is_some_and(|told| !told.in_sync) => {
            let missing = told.iter().flat_map(|told| [&told.waiting_for, &told.disconnected].into_iter().flatten());
            let missing: BTreeSet<&str> = missing.map(String::as_str).collect();
            vec![format!("{name} is not in sync: {}", Vec::from_iter(missing).join(", "))]
        }
        // An agent that was asked has said more than its conditions.
        AgentWord::NotAsked if node.is_listed => of_conditions(node),
        AgentWord::Ok | AgentWord::NotAsked => Vec::new(),
    }
}

/// What is wrong with a node by the conditions that its agent writes.
fn of_conditions(node: &NodeLine) -> Vec<String> {
    let name = &node.node;
    let since = |since: &Option<String>| since.as_ref().map_or_else(String::new, |since| format!(" (since {since})"));
    let mut troubles = Vec::new();
    match &node.of_itself {
        Some(said) if said.readiness == Readiness::Ready => {}
        Some(said) if said.readiness == Readiness::NotReady => {
            troubles.push(format!("the agent of {name} is not well: {}{}", said.message, since(&said.since)));
        }
        Some(said) => {
            let heard = said.age_seconds.map(|age| format!("heard last {} ago", crate::units::duration(age)));
            let heard = heard.unwrap_or_else(|| "never heard".to_owned());
            // Nor is it known how it reaches the others.
            return vec![format!("the agent of {name} was {heard}: how it does is not known")];
        }
        None => troubles.push(format!(
            "the agent of {name} does not say how it does: its Node has no condition {AGENT_READY}, which the agent writes in its \
             first minute"
        )),
    }
    match &node.said {
        Some(said) if said.reaches_all => {}
        Some(said) => troubles.push(format!("{name} says: {}{}", said.message, since(&said.since))),
        None => troubles.push(format!(
            "{name} does not say how it reaches the others: its Node has no condition {CONDITION}, which its agent writes \
             once it knows"
        )),
    }
    troubles
}

/// Nodes whose agents run here or that the API has, and that others don't know: what is not probed is not well.
fn unprobed(nodes: &[NodeLine], paths: &[PathLine]) -> Vec<String> {
    let pairs: BTreeSet<(&str, &str)> = paths.iter().map(|path| (path.from.as_str(), path.to.as_str())).collect();
    let is_probing = |node: &&NodeLine| {
        node.agent != AgentWord::Starting && node.told.as_ref().is_some_and(|told| told.probes && told.in_sync)
    };
    let probing: Vec<&NodeLine> = nodes.iter().filter(is_probing).collect();
    let asked = nodes.iter().filter(|node| node.agent != AgentWord::NotAsked || node.is_listed);
    let by = asked.filter_map(|to| {
        let missed = probing.iter().filter(|from| from.node != to.node && !pairs.contains(&(&from.node, &to.node)));
        let missed: Vec<&str> = missed.map(|from| from.node.as_str()).collect();
        (!missed.is_empty()).then(|| format!("{} is not probed by {}", to.node, crate::units::few(&missed)))
    });
    by.collect()
}

#[cfg(test)]
#[path = "all_tests.rs"]
mod tests;
