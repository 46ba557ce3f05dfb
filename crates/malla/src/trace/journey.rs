//! The journey of one connection, hop by hop. Pure.

use super::advice;
use super::follow::Account;
use super::hops::{self, Hop, Place};
use super::masquerade::hidden;
use super::visits::{Visit, Way, clocks_disagree, visits, ways};
use crate::units::few;
use agent::events::{Kind, Record, Way as Ended};
use lab::forwarder::{Said, Step};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What was gathered of one connection.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Who opened it, in words: a command, or a Pod.
    pub who: String,
    /// The end that was followed: the client's, in the cluster's network.
    pub client: Option<SocketAddr>,
    /// What the client asked for.
    pub wanted: Option<SocketAddr>,
    /// Only flows with this end are told; `None`: all of the client's.
    pub server: Option<SocketAddr>,
    /// What the forwarder said.
    pub forwarder: Vec<Said>,
    /// What the nodes told.
    pub account: Account,
    /// How it went for the client, where its own end said so: it was answered, or why not.
    pub outcome: Option<Result<(), String>>,
}

/// A connection, told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Journey {
    /// Who opened it.
    pub client: String,
    /// What it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<SocketAddr>,
    /// Its ways: the first packet there, the first one back, and every one that differs from those.
    pub ways: Vec<Told>,
    /// Packets that went the same ways.
    pub others: Others,
    /// How it ended.
    pub end: End,
    /// What is to be known about the account itself.
    pub notes: Vec<String>,
}

/// The way of one packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// From responder to initiator.
    pub reply: bool,
    /// Protocol, and TCP's flags.
    pub packet: String,
    /// Hop by hop.
    pub hops: Vec<Hop>,
}

/// Packets that are counted only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// From initiator to responder.
    pub there: usize,
    /// And back.
    pub back: usize,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// Whether an answer came back.
    pub answered: bool,
    /// What happened.
    pub what: String,
    /// What would let it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Puts a journey together.
pub fn assemble(gathered: &Gathered) -> Journey {
    let all: Vec<_> = gathered.account.records.iter().flat_map(|of_node| visits(of_node)).collect();
    let mut ways = ways(all);
    let others_ends = gathered.server.map(|server| leave_only(&mut ways, gathered.client, server)).unwrap_or_default();
    let begun = gathered.forwarder.iter().find(|said| said.step == Step::Begun).map(|said| said.time_us);
    let first = ways.iter().filter_map(|way| Some(way.first()?.first()?.time_us)).min();
    let start = begun.into_iter().chain(first).min().unwrap_or(0);
    let hidden = hidden(&ways);
    let mut told: Vec<(Shape, Told)> = Vec::new();
    let mut others = Others::default();
    for way in &ways {
        let shape = Shape::of(way, gathered.client);
        if told.iter().any(|(known, _)| known.covers(&shape)) {
            *(if shape.reply { &mut others.back } else { &mut others.there }) += 1;
        } else {
            let hops = way.iter().flat_map(|visit| hops::of(visit, start, &hidden)).collect();
            told.push((shape.clone(), Told { reply: shape.reply, packet: shape.packet.clone(), hops }));
        }
    }
    let mut told: Vec<Told> = told.into_iter().map(|(_, told)| told).collect();
    let mut notes = Vec::new();
    if !others_ends.is_empty() {
        let others: Vec<String> = others_ends.iter().map(ToString::to_string).collect();
        notes.push(format!("the same end spoke with others, too, which is not told: {}", few(&others)));
    }
    if ways.iter().any(clocks_disagree) {
        // Times don't say any more which way came first; the question precedes the answer.
        told.sort_by_key(|way| way.reply);
        notes.push(
            "the nodes' clocks disagree: the order is that of cause, and times of different nodes don't compare".into(),
        );
    }
    if let Some(hop) = socket_hook(gathered, &ways) {
        place_first(&mut told, hop);
        notes.push("the socket hook ran before the first packet; it has no time of its own".to_owned());
    }
    forwarder_hops(gathered, start, &mut told);
    if gathered.account.lost > 0 {
        notes.push(format!("{} events were lost on their way here: hops may be missing", gathered.account.lost));
    }
    notes.extend(gathered.account.notes.iter().cloned());
    let end = end(gathered, &ways);
    Journey { client: gathered.who.clone(), wanted: gathered.wanted, ways: told, others, end, notes }
}

/// Leaves the ways of packets that had this end somewhere on them, and of errors that are not another end's; the other ends of
/// the rest.
fn leave_only(ways: &mut Vec<Way>, client: Option<SocketAddr>, server: SocketAddr) -> BTreeSet<SocketAddr> {
    let any = |way: &Way, what: &dyn Fn(&Record) -> bool| way.iter().flat_map(Visit::records).any(what);
    let ends = |r: &Record| [r.source.socket(), r.destination.socket()];
    let is_with = |way: &Way| any(way, &|r| ends(r).contains(&server));
    // An error about the flow is from whoever noticed.
    let is_error = |way: &Way| any(way, &|r| r.icmp.is_some());
    let first =
        |way: &Way| ends(way.iter().flat_map(Visit::records).next()?).into_iter().find(|end| Some(*end) != client);
    let others: BTreeSet<SocketAddr> =
        ways.iter().filter(|way| !is_with(way) && !is_error(way)).filter_map(first).collect();
    let elsewhere: BTreeSet<IpAddr> = others.iter().map(SocketAddr::ip).filter(|ip| *ip != server.ip()).collect();
    let is_others = |way: &Way| any(way, &|r| ends(r).iter().any(|end| elsewhere.contains(&end.ip())));
    ways.retain(|way| is_with(way) || is_error(way) && !is_others(way));
    others
}

/// Whether these ways are of the flow that the event is about.
fn are_of(ways: &[Way], event: &Record) -> bool {
    let ends = |r: &Record| BTreeSet::from([r.source.socket(), r.destination.socket()]);
    ways.iter().flatten().flat_map(Visit::records).any(|record| ends(record) == ends(event))
}

/// What makes two ways the same: direction, nodes, and how they ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    reply: bool,
    packet: String,
    nodes: Vec<String>,
    end: String,
}

impl Shape {
    fn of(way: &Way, client: Option<SocketAddr>) -> Self {
        let last = way.last().and_then(|visit| visit.last());
        // A reset that a program sent in the place of a Service is in no flow: whom it goes to says that it is an answer.
        let back = |r: &Record| r.reply || Some(r.destination.socket()) == client;
        Self {
            reply: way.iter().filter_map(|visit| visit.last()).any(back),
            packet: last.map_or_else(String::new, packet),
            nodes: way.iter().map(|visit| visit.node().to_owned()).collect(),
            end: last.map_or_else(String::new, |r| r.drop_reason.clone().unwrap_or_else(|| r.point.clone())),
        }
    }

    /// Whatever its flags; but the answer to a SYN by a reset is worth its own lines.
    fn covers(&self, other: &Self) -> bool {
        let reset = |shape: &Self| shape.packet.contains("RST");
        self.reply == other.reply && self.nodes == other.nodes && self.end == other.end && reset(self) == reset(other)
    }
}

fn packet(record: &Record) -> String {
    let mut text = record.protocol.clone();
    for flag in &record.tcp_flags {
        text.push(' ');
        text.push_str(flag);
    }
    text
}

/// The client asked for one address, and its first packet already bore another: its socket was translated.
fn socket_hook(gathered: &Gathered, ways: &[Way]) -> Option<Hop> {
    let wanted = gathered.wanted.filter(|_| gathered.forwarder.is_empty())?;
    let entry =
        ways.iter().filter_map(|way| way.first()?.entry.as_ref()).find(|r| !r.reply && r.point == "from-endpoint")?;
    let became = entry.destination.socket();
    let changed = became != wanted;
    changed.then(|| {
        let name = entry.destination.pod.as_ref().map(|pod| format!("backend {pod}, chosen at connect(); "));
        Hop {
            detail: format!("{}no packet bears the Service's address", name.unwrap_or_default()),
            destination: Some((wanted, became)),
            ..Hop::new(&entry.node.0, Place::Socket)
        }
    })
}

fn place_first(told: &mut [Told], hop: Hop) {
    if let Some(there) = told.iter_mut().find(|way| !way.reply) {
        there.hops.insert(0, hop);
    }
}

fn forwarder_hops(gathered: &Gathered, start: u64, told: &mut Vec<Told>) {
    let of = |said: &Said, detail: &str| Hop {
        at_us: Some(said.time_us.saturating_sub(start)),
        detail: detail.to_owned(),
        source: Some((said.client, said.from)),
        destination: Some((said.listen, said.target)),
        ..Hop::new("machine", Place::Forwarder)
    };
    let step = |wanted: Step| gathered.forwarder.iter().find(|said| said.step == wanted);
    if let Some(said) = step(Step::Begun).or_else(|| step(Step::Accepted)) {
        let hop = of(said, "accepted; goes on as a connection of its own");
        if !told.iter().any(|way| !way.reply) {
            told.insert(0, Told { reply: false, packet: "TCP".into(), hops: Vec::new() });
        }
        place_first(told, hop);
    }
    let back = |said: &Said, detail| {
        let hop = of(said, detail);
        let turn = |change: Option<(SocketAddr, SocketAddr)>| change.map(|(a, b)| (b, a));
        Hop { source: turn(hop.destination), destination: turn(hop.source), ..hop }
    };
    let last = step(Step::Connected).map(|said| back(said, "the target has accepted: bytes go both ways"));
    let last =
        last.or_else(|| step(Step::Failed).map(|said| back(said, "the target has not accepted: the client is reset")));
    if let Some(hop) = last {
        match told.iter_mut().find(|way| way.reply) {
            Some(way) => way.hops.push(hop),
            None => told.push(Told { reply: true, packet: "TCP".into(), hops: vec![hop] }),
        }
    }
}

/// What the last line says. Whether there was an answer the client knows best; the nodes, where it keeps silent.
fn end(gathered: &Gathered, ways: &[Way]) -> End {
    let dropped = ways.iter().flatten().filter(|visit| visit.is_dropped()).find_map(|visit| visit.exit.as_ref());
    let replies = || ways.iter().flatten().filter_map(|visit| visit.last()).filter(|r| is_answer(r));
    let ended = gathered.account.records.iter().flatten().filter(|record| record.totals.is_some());
    let ended = ended.into_iter().find(|record| gathered.server.is_none() || are_of(ways, record));
    let refused = replies().next().filter(|reply| reply.tcp_flags.iter().any(|flag| flag == "RST"));
    let refused = refused.or_else(|| ended.filter(|record| record.ended == Some(Ended::RefusedByServer)));
    let last = replies().next_back();
    let error = ways.iter().flatten().filter_map(|visit| visit.last()).find(|r| r.related && r.reply && !is_too_big(r));
    if let (None, None, Some(error)) = (last, dropped, error)
        && gathered.outcome != Some(Ok(()))
    {
        return noticed(error);
    }
    match (&gathered.outcome, last, dropped, refused) {
        (Some(Ok(())), ..) => answered(ended, dropped),
        (_, None, Some(dropped), _) => died(dropped),
        (_, _, _, Some(refused)) => refusal(refused),
        (None, Some(_), ..) => answered(ended, dropped),
        (Some(Err(_)), Some(_), Some(dropped), _) => died(dropped),
        (Some(Err(why)), Some(last), None, _) => unheard(why, last),
        (_, None, None, _) => unanswered(gathered, ways),
    }
}

/// What an ICMP error says on its way back is not.
fn is_answer(record: &Record) -> bool {
    record.reply && !record.related && record.kind != Kind::Drop
}

/// Type and code of ICMP (RFC 792, RFC 4443), by the family's number of the former.
fn is_error(record: &Record, v4: (u8, u8), v6: (u8, u8)) -> bool {
    let said = record.icmp.as_ref().map(|icmp| (icmp.kind, icmp.code));
    said == Some(if record.protocol == "ICMPv6" { v6 } else { v4 })
}

/// The sender tries again with less: nothing has ended.
fn is_too_big(record: &Record) -> bool {
    is_error(record, (3, 4), (2, 0))
}

/// Somebody says by ICMP that it can't be.
fn noticed(error: &Record) -> End {
    if is_error(error, (3, 3), (1, 4)) {
        return refusal(error);
    }
    let said =
        error.icmp.as_ref().map_or_else(String::new, |icmp| format!(" (type {}, code {})", icmp.kind, icmp.code));
    End {
        answered: false,
        what: format!("{} says by {}{said} that it can't go on", advice::party(&error.source), error.protocol),
        remedy: Some("a way from there to the destination, and somebody who has that address".into()),
    }
}

fn died(dropped: &Record) -> End {
    End { answered: false, what: advice::death(dropped), remedy: Some(advice::remedy(dropped)) }
}

fn answered(ended: Option<&Record>, dropped: Option<&Record>) -> End {
    let mut what = "answered".to_owned();
    if let Some((totals, way)) = ended.and_then(|record| Some((record.totals?, record.ended?))) {
        let (there, back) = (totals.forward_packets, totals.reply_packets);
        what.push_str(&format!(", and {}; {there} packets there, {back} back", advice::ending(way)));
    }
    if let Some(record) = dropped {
        what.push_str(&format!("; but {}", advice::death(record)));
    }
    End { answered: true, what, remedy: dropped.map(advice::remedy) }
}

fn refusal(told: &Record) -> End {
    let server = advice::party(if told.reply { &told.source } else { &told.destination });
    End {
        answered: false,
        what: format!("{server} refused: it was reached and nothing listens on that port"),
        remedy: Some("a process that listens there, or a targetPort that one listens on".into()),
    }
}

/// There was an answer, and the client has not got it.
fn unheard(why: &str, last: &Record) -> End {
    let (place, remedy) = match last.point.as_str() {
        "to-endpoint" => (format!("it came to {}", advice::party(&last.destination)), "a client that waits for it"),
        point => (
            format!("after node {} ({point}) nobody saw it again", last.node),
            "what lies between that node and the client: the network under the cluster",
        ),
    };
    let what = format!("the answer did not reach the client, which says {why:?}: {place}");
    End { answered: false, what, remedy: Some(remedy.to_owned()) }
}

fn unanswered(gathered: &Gathered, ways: &[Way]) -> End {
    let last = ways.iter().rev().find_map(|way| way.last()?.exit.as_ref());
    let failure = gathered.outcome.as_ref().and_then(|outcome| outcome.as_ref().err());
    let (what, remedy) = match (last, failure) {
        (Some(record), _) if record.point == "to-endpoint" => {
            let text = format!("{} got the packet and did not answer", advice::party(&record.destination));
            (text, "a process in the Pod that answers; nothing on the way held the packet".to_owned())
        }
        (Some(record), _) => {
            let text = format!("after node {} ({}) nobody saw the packet again", record.node, record.point);
            (text, "what lies between that node and the next: the network under the cluster".to_owned())
        }
        (None, Some(failure)) => {
            let wanted = gathered.wanted.map_or_else(String::new, |wanted| format!(" for {wanted}"));
            let text = format!("no packet was sent{wanted}: connect() said {failure:?} at the socket");
            (text, "if that is a Service: a ready endpoint of it, and a port that it has".to_owned())
        }
        (None, None) => ("no packet was seen".to_owned(), "a connection that enters the cluster's network".to_owned()),
    };
    End { answered: false, what, remedy: Some(remedy) }
}

#[cfg(test)]
#[path = "journey_tests.rs"]
mod tests;
