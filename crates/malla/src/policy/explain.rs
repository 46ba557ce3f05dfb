//! Whether one end may speak to another, and why: from the rules, and from the real maps of the nodes that judge.

use super::cluster::{self, Cluster};
use super::place::{Names, Place, Who, number_of};
use super::port::Wanted;
use super::real::{self, AtAnEnd, Real};
use crate::agents::Selection;
use anyhow::bail;
use datapath_logic::policy::Cause as RealCause;
use model::Protocol;
use policy::explain::explain;
use policy::reach::is_judged;
use policy::reference::{Packet, World};
use policy::rule::Direction;
use policy::snapshot::Snapshot;
use policy::told::{Cause, Told};
use policy::wire::direction;
use serde::{Serialize, Serializer};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What was asked.
pub struct Question<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub port: &'a Wanted,
    pub namespace: Option<&'a str>,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Whether every flow that was meant passes.
    pub allowed: bool,
    /// Rules and maps say different things somewhere.
    pub drift: bool,
    pub flows: Vec<Flow>,
    /// What could not be asked, and what is to be known about the answer.
    pub warnings: Vec<String>,
}

/// One flow.
#[derive(Debug, Serialize)]
pub struct Flow {
    pub from: String,
    pub to: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// `tcp/443`.
    pub port: String,
    pub allowed: bool,
    /// Ends that judge: none where neither is a Pod or a node.
    pub ends: Vec<End>,
}

/// One end.
#[derive(Debug, Serialize)]
pub struct End {
    #[serde(serialize_with = "name_of")]
    pub direction: Direction,
    /// Who judges.
    pub subject: String,
    pub identity: u32,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What the rules say.
    pub rules: Told,
    /// What the maps say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maps: Option<Real>,
    /// Why they say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maps_unread: Option<String>,
    /// Whether rules and maps agree; `null` = the maps were not asked.
    pub agree: Option<bool>,
}

fn name_of<S: Serializer>(value: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
    direction::serialize(value, serializer)
}

/// Finds who is meant, judges, and reads the maps.
///
/// # Errors
/// When nobody is meant, or no agent answers.
pub fn answer(selection: &Selection, question: &Question<'_>) -> anyhow::Result<Answer> {
    let mut answer = once(selection, question)?;
    if answer.drift {
        // A change may have been on its way into the maps.
        std::thread::sleep(SETTLING);
        answer = once(selection, question)?;
    }
    Ok(answer)
}

/// Longer than a change takes from the API into the maps.
const SETTLING: Duration = Duration::from_millis(700);

fn once(selection: &Selection, question: &Question<'_>) -> anyhow::Result<Answer> {
    // All agents, whichever node was named: the other end is somewhere too.
    let all = Selection { node: Vec::new(), ..selection.clone() };
    let cluster = Cluster::ask(&all)?;
    let names = Names { snapshot: cluster.any()?, namespace: question.namespace };
    let Some(from) = names.find(question.from)? else {
        bail!("there is no Pod {:?} with an identity; `malla endpoint list` shows those that there are", question.from)
    };
    let to = match question.to.strip_prefix("service:") {
        Some(service) => endpoints(&all, &names, service, question.port)?,
        None => match names.find(question.to)? {
            Some(places) => places,
            None if question.to.starts_with("pod:") => bail!("there is no Pod {:?} any more", question.to),
            None => endpoints(&all, &names, question.to, question.port)?,
        },
    };
    let mut answer = Answer { allowed: true, drift: false, flows: Vec::new(), warnings: cluster.silent() };
    for source in &from {
        for destination in &to {
            flows(&cluster, source, destination, question.port, &mut answer)?;
        }
    }
    if answer.flows.is_empty() {
        bail!("{} and {} have no address of the same family", question.from, question.to);
    }
    answer.allowed = answer.flows.iter().all(|flow| flow.allowed);
    let ends = || answer.flows.iter().flat_map(|flow| &flow.ends);
    answer.drift = ends().any(|end| end.agree == Some(false));
    answer.warnings.dedup();
    Ok(answer)
}

/// The Pods and ports behind a Service.
fn endpoints(selection: &Selection, names: &Names<'_>, service: &str, wanted: &Wanted) -> anyhow::Result<Vec<Place>> {
    let (namespace, name) = names.split(service);
    let Some(view) = cluster::service(selection, &namespace, &name)? else {
        bail!("there is neither a Pod nor a Service {namespace}/{name}")
    };
    let protocol = |one: Protocol| one.number() == wanted.protocol;
    let text = wanted.to_string();
    let named = |name: &str, port: u16| match &wanted.port {
        super::port::Port::Number(number) => *number == port,
        super::port::Port::Name(wanted) => *wanted == *name,
    };
    let ports: Vec<_> =
        view.ports.iter().filter(|port| protocol(port.protocol) && named(&port.name, port.port)).collect();
    if ports.is_empty() {
        let all: Vec<String> = view.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
        bail!("Service {namespace}/{name} has no port {text}: it has {}", all.join(", "));
    }
    let places: Vec<Place> = ports
        .iter()
        .flat_map(|port| &port.endpoints)
        .map(|endpoint| {
            let place = names.by_address(endpoint.address);
            let name = format!("{} (of Service {namespace}/{name})", place.name);
            Place { name, port: Some(endpoint.port), ..place }
        })
        .collect();
    if places.is_empty() {
        bail!("Service {namespace}/{name} has no endpoints at {text}");
    }
    Ok(places)
}

/// In each family that both have; what is alike in both is told once.
fn flows(cluster: &Cluster, from: &Place, to: &Place, wanted: &Wanted, answer: &mut Answer) -> anyhow::Result<()> {
    let mut told: Option<Flow> = None;
    for source in &from.addresses {
        let Some(destination) = to.addresses.iter().find(|one| one.is_ipv4() == source.is_ipv4()) else { continue };
        if matches!((wanted.protocol, source.is_ipv4()), (1, false) | (58, true)) {
            continue;
        }
        let flow = flow(cluster, (from, *source), (to, *destination), wanted, answer)?;
        let same = |one: &Flow| {
            let ends = |flow: &Flow| flow.ends.iter().map(|end| (end.rules.clone(), end.agree)).collect::<Vec<_>>();
            ends(one) == ends(&flow)
        };
        if !told.as_ref().is_some_and(same) {
            answer.flows.extend(told.take());
            told = Some(flow);
        }
    }
    answer.flows.extend(told);
    Ok(())
}

fn flow(
    cluster: &Cluster,
    (from, source): (&Place, IpAddr),
    (to, destination): (&Place, IpAddr),
    wanted: &Wanted,
    answer: &mut Answer,
) -> anyhow::Result<Flow> {
    let port = number_of(wanted, to, to.seen_by(cluster.any()?, None).as_ref())?;
    let spoken = Wanted { port: super::port::Port::Number(port), ..wanted.clone() };
    // What a node says to itself never leaves it.
    let is_one_node = from.who == Who::Node && to.who == Who::Node && from.node == to.node;
    let mut ends = Vec::new();
    for (direction, here, address, peer, peer_address) in
        [(Direction::Egress, from, source, to, destination), (Direction::Ingress, to, destination, from, source)]
    {
        let node = here.node.as_deref().and_then(|name| cluster.node(name));
        // The rules as the judging node has them; where it says nothing, as another has them.
        let snapshot = match node.map(|node| &node.said) {
            Some(Ok(snapshot)) => snapshot,
            _ => cluster.any()?,
        };
        let is_own = here.node.as_deref() == Some(&*snapshot.node);
        if let Some(name) = here.node.as_deref().filter(|_| !is_own) {
            let text = format!("the rules at {name} are told by {}: its own agent says nothing", snapshot.node);
            if !answer.warnings.contains(&text) {
                answer.warnings.push(text);
            }
        }
        let Some(subject) = here.seen_by(snapshot, here.node.as_deref()) else { continue };
        let Some(seen) = peer.seen_by(snapshot, here.node.as_deref()) else { continue };
        if is_one_node || !is_judged(&snapshot.policies, &subject) {
            continue;
        }
        let packet = Packet {
            direction,
            subject: subject.number,
            peer: seen.number,
            address: peer_address,
            protocol: wanted.protocol,
            port,
        };
        let identities = [subject.clone(), seen.clone()];
        let world = World { identities: &identities, ..snapshot.world() };
        let rules = Told::of(&explain(&world, &packet, false), direction);
        let maps = ask_maps(
            node.and_then(|node| node.maps.as_deref()),
            here,
            peer,
            snapshot,
            &AtAnEnd { direction, subject: address, peer: peer_address, protocol: wanted.protocol, port },
        );
        let agree = maps.as_ref().ok().map(|real| agrees(&rules, real, &packet, snapshot));
        let (maps, maps_unread) = match maps {
            Ok(real) => (Some(real), None),
            Err(why) => (None, Some(why)),
        };
        ends.push(End {
            direction,
            subject: here.name.clone(),
            identity: subject.number,
            node: here.node.clone(),
            rules,
            maps,
            maps_unread,
            agree,
        });
    }
    let allowed = ends.iter().all(|end| end.rules.allowed);
    let (from, to) = (from.name.clone(), to.name.clone());
    Ok(Flow { from, to, source, destination, port: spoken.to_string(), allowed, ends })
}

fn ask_maps(
    folder: Option<&Path>,
    here: &Place,
    peer: &Place,
    snapshot: &Snapshot,
    packet: &AtAnEnd,
) -> Result<Real, String> {
    if [here, peer].iter().any(|place| matches!(place.who, Who::Hypothetical(_))) {
        return Err("no map knows of a Pod that does not exist".to_owned());
    }
    let folder = folder.ok_or("where its node's maps are pinned is not known")?;
    real::judge(folder, packet, snapshot).map_err(|error| format!("{error:#}"))
}

/// The same verdict for the same reason about the same two.
fn agrees(rules: &Told, real: &Real, packet: &Packet, snapshot: &Snapshot) -> bool {
    let family = |number| match number {
        datapath_layouts::identity::WORLD if packet.address.is_ipv4() => datapath_layouts::identity::WORLD_IPV4,
        datapath_layouts::identity::WORLD => datapath_layouts::identity::WORLD_IPV6,
        other => other,
    };
    let why = match (rules.cause, real.cause) {
        // Rules that have gone meanwhile are nobody's.
        (Cause::Rule, RealCause::Rule) => snapshot.rule(real.rule).is_some_and(|rule| {
            rules.decided_by.iter().any(|one| {
                *one.rule.name == *rule.policy.name
                    && *one.rule.namespace == *rule.policy.namespace
                    && one.rule.field.as_deref() == Some(&*rule.field)
            })
        }),
        (Cause::LocalHost, RealCause::Rule) => real.rule == 0,
        (Cause::DefaultDeny, RealCause::DefaultDeny) => true,
        (Cause::DefaultAllow | Cause::NoPolicy, RealCause::DefaultAllow | RealCause::NoPolicy) => true,
        _ => false,
    };
    why && rules.allowed == real.allowed && real.subject == packet.subject && family(real.peer) == family(packet.peer)
}

/// For people.
pub fn text(answer: &Answer) -> String {
    let mut out = String::new();
    let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
    for warning in &answer.warnings {
        let _ = writeln!(out, "WARNING: {warning}");
    }
    if answer.drift {
        let _ = writeln!(out, "WARNING: the rules and the real maps DISAGREE; what the maps say is what happens");
    }
    for flow in &answer.flows {
        let _ = writeln!(out, "{} -> {} {}: {}", flow.from, flow.to, flow.port, word(flow.allowed).to_uppercase());
        if flow.ends.is_empty() {
            let _ = writeln!(out, "  no policy is about either end");
        }
        for end in &flow.ends {
            let place = end.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "  {} of {}{place} (identity {}): {}",
                direction::name(end.direction),
                end.subject,
                number(end.identity),
                word(end.rules.allowed)
            );
            rules(&mut out, &end.rules);
            match (&end.maps, &end.maps_unread) {
                (Some(real), _) if end.agree == Some(true) => {
                    let _ = writeln!(out, "    maps:     {}, {} (agree)", word(real.allowed), real.why);
                }
                (Some(real), _) => {
                    let _ = writeln!(
                        out,
                        "    maps:     DISAGREE: {}, {} (identity {} with peer {})",
                        word(real.allowed),
                        real.why,
                        real.subject,
                        real.peer
                    );
                }
                (None, why) => {
                    let _ = writeln!(out, "    maps:     NOT ASKED: {}", why.as_deref().unwrap_or_default());
                }
            }
        }
    }
    out
}

fn number(identity: u32) -> String {
    if identity == super::place::NOBODY { "none yet".to_owned() } else { identity.to_string() }
}

fn rules(out: &mut String, told: &Told) {
    let _ = writeln!(out, "    decided:  {told}");
    for rule in &told.decided_by {
        let _ = writeln!(out, "              {}s {} on {}", rule.action, rule.peers, rule.ports);
    }
    for lost in &told.lost {
        let why = lost.why.as_deref().unwrap_or_default();
        let _ = writeln!(out, "    lost:     {} ({}): {why}", lost.rule, lost.action);
    }
    for rule in told.not_matched.iter().take(MOST_RULES) {
        let _ = writeln!(out, "    no match: {}: allows {} on {}", rule.rule, rule.peers, rule.ports);
    }
    if told.not_matched.len() > MOST_RULES {
        let _ = writeln!(out, "    no match: {} more", told.not_matched.len() - MOST_RULES);
    }
}

/// Rules that people want to see of a default deny.
const MOST_RULES: usize = 8;

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod agreement_tests;
