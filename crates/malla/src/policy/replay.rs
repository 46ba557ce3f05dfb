//! `malla policy simulate --flows`: which of the flows that were seen would be judged otherwise. Pure.
//!
//! Each flow is judged at the end whose node has told it, with the labels that its Pods had then: Pods that have gone count,
//! too.

use super::tables::{fitted, text};
use agent::policies::pod_facts;
use datapath_layouts::identity as reserved;
use flow_api::flow::{Endpoint, Flow, TraceReason, TrafficDirection, Verdict};
use flow_api::numbers::repeats_another;
use flow_api::transport::{Transport, is_denied};
use model::Labels;
use policy::explain::explain;
use policy::reference::{Packet, World};
use policy::rule::{Direction, Policy};
use policy::snapshot::Snapshot;
use policy::subject::IdentityFacts;
use policy::told::Told;
use policy::wire::direction;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

/// What would be otherwise.
#[derive(Debug, Default, Serialize)]
pub struct Replay {
    /// Flows that were judged again.
    pub flows: usize,
    /// Flows of which too little is known to judge them.
    pub unknown: usize,
    pub flips: Vec<Flip>,
}

/// Flows alike, of which the verdict would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    pub from: String,
    pub to: String,
    /// `tcp/443`.
    pub port: String,
    /// The end that judges.
    #[serde(with = "direction")]
    pub at: Direction,
    /// Flows, and how many of them were dropped when they were seen.
    pub flows: usize,
    pub dropped: usize,
    /// By the policies as they are, and as they would be.
    pub now: bool,
    pub then: bool,
    /// What decides then.
    pub because: String,
}

/// One end of a flow as it was.
struct Party<'a> {
    end: &'a Endpoint,
    address: IpAddr,
}

/// Judges what was seen by the policies as they are and as they would be, flow by flow.
#[derive(Debug)]
pub struct Replaying<'a> {
    now: &'a Snapshot,
    then: &'a [Policy],
    known: HashMap<u32, IdentityFacts>,
    flows: usize,
    unknown: usize,
    flips: BTreeMap<(String, String, String, bool), Flip>,
}

impl<'a> Replaying<'a> {
    /// By the policies as they are, and as they would be.
    pub fn new(now: &'a Snapshot, then: &'a [Policy]) -> Self {
        let known = now.identities.iter().map(|one| (one.number, one.clone())).collect();
        Self { now, then, known, flows: 0, unknown: 0, flips: BTreeMap::new() }
    }

    /// One that was seen.
    pub fn add(&mut self, flow: &Flow) {
        if !is_judged(flow) {
            return;
        }
        let Some((packet, from, to, port)) = packet(flow, &mut self.known) else {
            self.unknown += 1;
            return;
        };
        self.flows += 1;
        let identities: Vec<IdentityFacts> =
            [packet.subject, packet.peer].iter().filter_map(|number| self.known.get(number).cloned()).collect();
        let told = |policies| {
            let world = World { policies, identities: &identities, nodes: &self.now.nodes };
            Told::of(&explain(&world, &packet, false), packet.direction)
        };
        let (before, after) = (told(&self.now.policies), told(self.then));
        if before.allowed == after.allowed {
            return;
        }
        let key = (from.clone(), to.clone(), port.clone(), packet.direction == Direction::Egress);
        let flip = self.flips.entry(key).or_insert_with(|| Flip {
            from,
            to,
            port,
            at: packet.direction,
            flows: 0,
            dropped: 0,
            now: before.allowed,
            then: after.allowed,
            because: after.to_string(),
        });
        flip.flows += 1;
        flip.dropped += usize::from(flow.verdict() == Verdict::Dropped);
    }

    /// What would be otherwise, of all that was added.
    pub fn end(self) -> Replay {
        Replay { flows: self.flows, unknown: self.unknown, flips: self.flips.into_values().collect() }
    }
}

/// What policy has judged: beginnings, and what it dropped. Anything else of a flow follows from that.
fn is_judged(flow: &Flow) -> bool {
    match flow.verdict() {
        _ if repeats_another(flow) => false,
        Verdict::Dropped => is_denied(flow),
        Verdict::Audit => true,
        _ => flow.trace_reason() == TraceReason::New && flow.is_reply != Some(true),
    }
}

/// As the end that is here sees it; both ends and the port in words.
fn packet(flow: &Flow, known: &mut HashMap<u32, IdentityFacts>) -> Option<(Packet, String, String, String)> {
    let ip = flow.ip.as_ref()?;
    let source = Party { end: flow.source.as_ref()?, address: ip.source.parse().ok()? };
    let destination = Party { end: flow.destination.as_ref()?, address: ip.destination.parse().ok()? };
    let transport = Transport::of(flow)?;
    let (direction, subject, peer) = match flow.traffic_direction() {
        TrafficDirection::Egress => (Direction::Egress, &source, &destination),
        TrafficDirection::Ingress => (Direction::Ingress, &destination, &source),
        TrafficDirection::Unknown => return None,
    };
    let packet = Packet {
        direction,
        subject: number(subject, known)?,
        peer: number(peer, known)?,
        address: peer.address,
        protocol: transport.protocol,
        port: transport.destination,
    };
    Some((packet, called(&source), called(&destination), format!("{}/{}", transport.name(), transport.destination)))
}

/// By the labels that it had; the number as it was told.
fn number(party: &Party<'_>, known: &mut HashMap<u32, IdentityFacts>) -> Option<u32> {
    let number = match (party.end.identity, party.address) {
        (reserved::WORLD, IpAddr::V4(_)) => reserved::WORLD_IPV4,
        (reserved::WORLD, IpAddr::V6(_)) => reserved::WORLD_IPV6,
        (number, _) => number,
    };
    if known.contains_key(&number) {
        return Some(number);
    }
    let labels = party.end.labels.iter().filter_map(|label| label.split_once('='));
    let labels: BTreeMap<String, String> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let facts = match labels.is_empty() {
        true => IdentityFacts::reserved(number)?,
        false => pod_facts(number, &Labels::from_map(&labels).ok()?),
    };
    known.insert(number, facts);
    Some(number)
}

/// Replicas are one.
fn called(party: &Party<'_>) -> String {
    let end = party.end;
    match (end.workloads.first(), end.pod_name.is_empty()) {
        (Some(workload), _) => format!("{}/{}", end.namespace, workload.name),
        (None, false) => format!("{}/{}", end.namespace, end.pod_name),
        (None, true) => party.address.to_string(),
    }
}

/// For people.
pub fn table(replay: &Replay) -> String {
    let mut out = String::new();
    if replay.flips.is_empty() {
        let _ = writeln!(out, "none of {} flows would be judged otherwise", replay.flows);
    } else {
        let mut table = fitted(&["FROM", "TO", "ON", "AT", "FLOWS", "NOW", "THEN", "BECAUSE"]);
        let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
        for flip in &replay.flips {
            table.add_row([
                flip.from.clone(),
                flip.to.clone(),
                flip.port.clone(),
                direction::name(flip.at).to_owned(),
                match flip.dropped {
                    0 => flip.flows.to_string(),
                    dropped => format!("{} ({dropped} dropped)", flip.flows),
                },
                word(flip.now).to_owned(),
                word(flip.then).to_owned(),
                flip.because.clone(),
            ]);
        }
        out.push_str(&text(&table));
        let of = |then: bool| -> usize { replay.flips.iter().filter(|f| f.then == then).map(|f| f.flows).sum() };
        let _ = writeln!(out, "of {} flows {} would pass, {} would not", replay.flows, of(true), of(false));
    }
    if replay.unknown > 0 {
        let _ = writeln!(out, "{} flows can't be judged: too little is known of them", replay.unknown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::learn::tests::{flow, pod, policies, said_of, tcp};
    use super::*;

    /// Whatever may reach the database, and the web on one port.
    const WRITTEN: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web}}]
    toPorts: [{ports: [{port: \"5432\", protocol: TCP}]}]
";

    fn replay(flows: &[Flow], now: &Snapshot, then: &[Policy]) -> Replay {
        let mut replaying = Replaying::new(now, then);
        flows.iter().for_each(|flow| replaying.add(flow));
        replaying.end()
    }

    fn seen() -> Vec<Flow> {
        let (out, into) = (TrafficDirection::Egress, TrafficDirection::Ingress);
        let reply = Flow { is_reply: Some(true), ..flow(pod("web-1"), pod("db-1"), tcp(9), into) };
        vec![
            flow(pod("web-1"), pod("db-1"), tcp(5432), out),
            flow(pod("web-1"), pod("db-1"), tcp(5432), into),
            flow(pod("web-1"), pod("db-1"), tcp(22), into),
            flow(pod("web-2"), pod("db-1"), tcp(22), into),
            flow(pod("cron-1"), pod("db-1"), tcp(5432), into),
            reply,
        ]
    }

    #[test]
    fn flows_that_flip_are_told_with_their_number_and_what_decides() {
        let now = Snapshot::default();
        let written = policies(WRITTEN);
        let replay = replay(&seen(), &now, &written);
        let told: Vec<_> = replay.flips.iter().map(|f| (&*f.from, &*f.port, f.flows, f.now, f.then)).collect();
        assert_eq!(told, [("shop/on", "tcp/5432", 1, true, false), ("shop/web", "tcp/22", 2, true, false)]);
        assert!(
            replay.flips[0].because.contains("default deny") && replay.flips[0].because.contains("db"),
            "{replay:?}"
        );
        assert_eq!((replay.flows, replay.unknown), (5, 0), "an answer is judged with what it answers");
        assert!(table(&replay).contains("of 5 flows 0 would pass, 3 would not"), "{}", table(&replay));
    }

    #[test]
    fn what_was_dropped_may_pass_and_what_stays_is_not_told() {
        let now = Snapshot { policies: policies(WRITTEN), ..Snapshot::default() };
        let dropped = Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: flow_api::flow::DropReason::PolicyDenied as i32,
            ..flow(pod("cron-1"), pod("db-1"), tcp(5432), TrafficDirection::Ingress)
        };
        let flows = [&seen()[..], &[dropped]].concat();
        assert_eq!(replay(&flows, &now, &now.policies).flips, []);
        let without = replay(&flows, &now, &[]);
        let cron = without.flips.iter().find(|flip| flip.from == "shop/on").unwrap();
        assert_eq!((cron.flows, cron.dropped, cron.now, cron.then), (2, 1, false, true));
        // What policy said is told beside each, and judged with it.
        let beside: Vec<Flow> = flows.iter().flat_map(|flow| [said_of(flow), flow.clone()]).collect();
        let again = replay(&beside, &now, &[]);
        assert_eq!((again.flows, again.flips), (without.flows, without.flips));
    }

    #[test]
    fn what_nobody_knows_is_counted_and_not_guessed() {
        let mut strange = flow(pod("web-1"), pod("db-1"), tcp(22), TrafficDirection::Ingress);
        strange.source = Some(Endpoint { identity: 70_000, ..Endpoint::default() });
        let replay = replay(&[strange], &Snapshot::default(), &policies(WRITTEN));
        assert_eq!((replay.flows, replay.unknown, replay.flips), (0, 1, Vec::new()));
    }
}
