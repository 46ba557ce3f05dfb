//! From the events of several nodes to the ways of packets. Pure.
//!
//! A *visit* is what one run of a program told of one packet: how it came, and how it left. Visits are joined into a *way* by
//! cause: the packet that one node sent off is the one that looks the same where it came in. No clock is asked for that.

use agent::events::{Kind, Record};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

/// One packet at one program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visit {
    /// As it came. None where its address had to be translated back before anybody knew that it is followed.
    pub entry: Option<Record>,
    /// It opened a flow there.
    pub opened: Option<Record>,
    /// As it left, or was dropped.
    pub exit: Option<Record>,
}

/// One packet from program to program, in order of cause.
pub type Way = Vec<Visit>;

/// What a packet looks like between two programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Look {
    source: SocketAddr,
    destination: SocketAddr,
    protocol: String,
    flags: Vec<String>,
    length: u32,
}

impl Look {
    fn of(record: &Record) -> Self {
        Self {
            source: record.source.socket(),
            destination: record.destination.socket(),
            protocol: record.protocol.clone(),
            flags: record.tcp_flags.clone(),
            length: record.length,
        }
    }
}

impl Visit {
    /// The earlier of the two, for what both know.
    pub fn first(&self) -> Option<&Record> {
        self.entry.as_ref().or(self.exit.as_ref())
    }

    /// The later of the two: it knows identities, the rule and the translation.
    pub fn last(&self) -> Option<&Record> {
        self.exit.as_ref().or(self.entry.as_ref())
    }

    /// What was told of it, in its order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        [&self.entry, &self.opened, &self.exit].into_iter().flatten()
    }

    pub fn node(&self) -> &str {
        self.first().map_or("", |record| &record.node.0)
    }

    pub fn is_dropped(&self) -> bool {
        self.exit.as_ref().is_some_and(|record| record.kind == Kind::Drop)
    }

    /// Where what left here comes in next: the point, and whether on another node. `None`: nowhere that programs see.
    fn leads_to(&self) -> Option<(&'static str, bool)> {
        let exit = self.exit.as_ref().filter(|exit| exit.kind != Kind::Drop)?;
        Some(match &*exit.point {
            "to-overlay" => ("from-overlay", true),
            "to-network" => ("from-network", true),
            "to-host" | "to-stack" => ("from-host", false),
            _ => return None,
        })
    }
}

/// Visits that nothing has been joined to yet, by how their packet came; of one node and look, the earliest first.
#[derive(Default)]
struct Arrivals<'a>(HashMap<(Look, &'a str), BTreeMap<&'a str, VecDeque<usize>>>);

impl<'a> Arrivals<'a> {
    fn of(visits: &'a [Visit]) -> Self {
        let mut all = Self::default();
        for (at, entry) in visits.iter().enumerate().filter_map(|(at, visit)| Some((at, visit.entry.as_ref()?))) {
            let nodes = all.0.entry((Look::of(entry), &entry.point)).or_default();
            nodes.entry(&entry.node.0).or_default().push_back(at);
        }
        all
    }

    /// The earliest that what left there can be, which is then taken.
    fn take(&mut self, from: usize, visit: &Visit) -> Option<usize> {
        let ((point, elsewhere), exit) = (visit.leads_to()?, visit.exit.as_ref()?);
        let nodes = self.0.get_mut(&(Look::of(exit), point))?;
        let here = |node: &str| *node == *exit.node.0;
        let next = |queue: &VecDeque<usize>| queue.iter().take(2).position(|at| *at != from).map(|at| (queue[at], at));
        let queues = nodes.iter_mut().filter(|(node, _)| here(node) != elsewhere);
        let (_, at, queue) =
            queues.filter_map(|(_, queue)| next(queue).map(|(to, at)| (to, at, queue))).min_by_key(|(to, ..)| *to)?;
        queue.remove(at)
    }
}

/// Visits of one node's events, which are in the order in which its programs wrote them. Programs on one CPU do not nest: what
/// a CPU tells between an arrival and a departure is about that packet.
pub fn visits(records: &[Record]) -> Vec<Visit> {
    let mut done: Vec<Visit> = Vec::new();
    let mut open: Vec<(u16, usize)> = Vec::new();
    for record in records {
        let place = open.iter().position(|(cpu, _)| *cpu == record.cpu);
        let arrives = record.kind == Kind::Trace && record.point.starts_with("from-");
        let same = place.filter(|at| {
            let entry = done.get(open[*at].1).and_then(|visit| visit.entry.as_ref());
            entry.is_some_and(|entry| entry.protocol == record.protocol && entry.tcp_flags == record.tcp_flags)
        });
        match record.kind {
            Kind::Trace if arrives => {
                open.retain(|(cpu, _)| *cpu != record.cpu);
                open.push((record.cpu, done.len()));
                done.push(Visit { entry: Some(record.clone()), ..Visit::default() });
            }
            Kind::Trace | Kind::Drop => match same {
                Some(at) => {
                    let (_, visit) = open.swap_remove(at);
                    done[visit].exit = Some(record.clone());
                }
                None => done.push(Visit { exit: Some(record.clone()), ..Visit::default() }),
            },
            Kind::Flow => {
                if let Some(at) = same {
                    done[open[at].1].opened = Some(record.clone());
                }
            }
            Kind::End | Kind::Audit => {}
        }
    }
    done
}

/// Joins visits into ways; of packets that look the same, the first sent is the first that came.
pub fn ways(mut visits: Vec<Visit>) -> Vec<Way> {
    // Which comes first matters only to the order in which ways are told; every node's own order is kept.
    visits.sort_by_key(|visit| visit.first().map_or(0, |record| record.time_us));
    let mut arrivals = Arrivals::of(&visits);
    let next: Vec<Option<usize>> = visits.iter().enumerate().map(|(from, visit)| arrivals.take(from, visit)).collect();
    let mut is_next = vec![false; visits.len()];
    next.iter().flatten().for_each(|to| is_next[*to] = true);
    let mut ways = Vec::new();
    for start in (0..visits.len()).filter(|at| !is_next[*at]) {
        let mut way = vec![visits[start].clone()];
        let mut at = start;
        // A way is never longer than there are visits: nothing is joined to two, and a start has none before it.
        while let Some(to) = next[at] {
            way.push(visits[to].clone());
            at = to;
        }
        ways.push(way);
    }
    ways
}

/// Whether a clock contradicts the order of cause.
pub fn clocks_disagree(way: &Way) -> bool {
    way.windows(2).any(|pair| match (&pair[0].exit, &pair[1].entry) {
        (Some(exit), Some(entry)) => entry.time_us < exit.time_us,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::*;
    use super::*;

    #[test]
    fn a_packet_is_joined_over_nodes_whatever_their_clocks_say() {
        let [a, b] = syn_over_vxlan();
        let mut all = visits(&a);
        // The second node's clock is far behind.
        let behind: Vec<Record> = b.into_iter().map(|r| Record { time_us: r.time_us - 1_000_000, ..r }).collect();
        all.extend(visits(&behind));
        let ways = ways(all);
        assert_eq!(ways.len(), 1);
        let nodes: Vec<&str> = ways[0].iter().map(Visit::node).collect();
        assert_eq!(nodes, ["control-plane", "worker-1"]);
        assert!(ways[0][0].opened.is_some() && ways[0][1].opened.is_some());
        assert!(clocks_disagree(&ways[0]));
    }

    #[test]
    fn two_packets_on_two_cpus_are_kept_apart() {
        let [a, _] = syn_over_vxlan();
        let other: Vec<Record> =
            a.iter().map(|r| Record { cpu: 1, tcp_flags: vec!["ACK".into()], ..r.clone() }).collect();
        let mixed: Vec<Record> = a.iter().zip(&other).flat_map(|(x, y)| [x.clone(), y.clone()]).collect();
        let visits = visits(&mixed);
        assert_eq!(visits.len(), 2);
        for visit in visits {
            assert_eq!(visit.entry.unwrap().tcp_flags, visit.exit.unwrap().tcp_flags);
        }
    }

    #[test]
    fn of_many_that_look_the_same_each_is_joined_to_one_in_their_order() {
        let [a, b] = syn_over_vxlan();
        let many = |events: &[Record]| -> Vec<Record> {
            let again = |n: u64| events.iter().map(move |r| Record { time_us: r.time_us + 1000 * n, ..r.clone() });
            (0..20_000).flat_map(again).collect()
        };
        let (a, mut b) = (many(&a), many(&b));
        // The last one has got lost on its way.
        b.truncate(b.len() - 3);
        let ways = ways([visits(&a), visits(&b)].concat());
        assert_eq!(ways.len(), 20_000);
        let whole = ways.iter().filter(|way| way.len() == 2);
        assert!(whole.clone().all(|way| way[0].last().unwrap().time_us + 10 == way[1].first().unwrap().time_us));
        assert_eq!(whole.count(), 19_999);
    }

    #[test]
    fn what_was_dropped_leads_nowhere() {
        let [mut a, b] = syn_over_vxlan();
        a.last_mut().unwrap().kind = Kind::Drop;
        let mut all = visits(&a);
        all.extend(visits(&b));
        assert_eq!(ways(all).len(), 2);
    }
}
