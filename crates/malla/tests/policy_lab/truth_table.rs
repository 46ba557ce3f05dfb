//! The truth table: each case applied to a running lab, and every pair asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::Api;
use crate::catalogue::{self, Case};
use crate::cluster::Cluster;
use crate::pods::{self, Place, Pod};
use crate::probes::Probes;
use crate::{objects, reference};

/// Silence is what lasts this long, twice. A SYN that is sent again (after 1 s) is not waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// For a machine that has much to do: what was wrong once is asked with more of it.
const MORE_PATIENCE: Duration = Duration::from_millis(900);
/// Until a case holds; a change is in force after milliseconds.
const ATTEMPTS: usize = 10;

/// IPv4 and IPv6 by turns.
fn family(at: usize) -> usize {
    at % 2
}

/// Addresses like those that the lab gives, for whoever has no lab.
fn address(pod: Pod, family: usize) -> std::net::IpAddr {
    let (node, host) = (pod.0 % 3, 10 + pod.0);
    let text = if family == 0 { format!("10.244.{node}.{host}") } else { format!("fd00:10:244:{node}::{host}") };
    text.parse().unwrap()
}

/// The reference is judged by what was written by hand.
#[test]
fn the_reference_says_what_was_written_by_hand() {
    let cases = catalogue::all();
    let (mut by_hand, mut wrong) = (0, Vec::new());
    for case in &cases {
        let objects = objects::read(&case.yaml);
        for family in [0, 1] {
            let expected = reference::table(&objects, |pod| address(pod, family));
            if let Some(hand) = &case.by_hand {
                by_hand += 1;
                if expected != *hand {
                    let differs: Vec<String> = crate::table::pairs()
                        .filter(|(f, t)| (0..9).any(|c| expected.get(*f, *t, c) != hand.get(*f, *t, c)))
                        .map(|(f, t)| format!("{}→{}", f.name(), t.name()))
                        .collect();
                    wrong.push(format!("{}: {}\n{}", case.name, differs.join(" "), case.yaml));
                }
            }
        }
    }
    println!("{} cases, {by_hand} tables by hand", cases.len());
    assert!(wrong.is_empty(), "{} of them differ:\n{}", wrong.len(), wrong.join("\n"));
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases share a name");
    assert!(cases.len() >= 250, "{} cases", cases.len());
    assert!(by_hand >= 2 * 240, "{by_hand} tables by hand");
    for dialect in ["NetworkPolicy:", "Cilium:", "tiers:", "the example", "the seeds'"] {
        assert!(cases.iter().any(|case| case.name.starts_with(dialect)), "none of {dialect}");
    }
}

/// A lab with one case after the other.
struct Court {
    api: Api,
    places: Vec<Place>,
    probes: Probes,
    /// What is applied.
    standing: Vec<Value>,
    _cluster: Cluster,
}

impl Court {
    fn open(arguments: &[&str]) -> Self {
        let cluster = Cluster::up(arguments);
        let places = pods::start(&cluster);
        for (pod, place) in Pod::all().zip(&places) {
            let bytes = format!("10.244.{}.", pod.0 % 3);
            assert!(place.addresses[0].to_string().starts_with(&bytes), "{}: {:?}", pod.name(), place.addresses);
        }
        let probes = Probes::start(&places);
        Self { api: Api::of(&cluster), places, probes, standing: Vec::new(), _cluster: cluster }
    }

    /// Makes these objects and no others be there. What stays is replaced in place; not a NetworkPolicy, of which the API
    /// remembers the `policyTypes` that it had filled in.
    fn apply(&mut self, objects: Vec<Value>) {
        let key = |object: &Value| (objects::folder(object), objects::name(object).to_owned());
        let kept: BTreeSet<_> = objects.iter().filter(|new| new["kind"] != "NetworkPolicy").map(key).collect();
        for old in self.standing.iter().filter(|old| !kept.contains(&key(old))) {
            self.api.delete(&objects::folder(old), objects::name(old));
        }
        for object in &objects {
            self.api.apply(&objects::folder(object), objects::name(object), object);
        }
        self.standing = objects;
    }

    /// Applies the case and asks until everything is as expected, twice in a row.
    fn judge(&mut self, case: &Case, family: usize) -> Result<(), String> {
        let objects = objects::read(&case.yaml);
        let expected = reference::table(&objects, |pod| self.places[pod.0].addresses[family]);
        if case.by_hand.as_ref().is_some_and(|hand| *hand != expected) {
            return Err(format!("{}: the reference differs from what is written by hand", case.name));
        }
        self.apply(objects);
        let mut wrong = Vec::new();
        for attempt in 0..ATTEMPTS {
            let patience = if attempt < 2 { PATIENCE } else { MORE_PATIENCE };
            for _ in 0..2 {
                wrong = self.probes.compare(&expected, family, patience);
                if !wrong.is_empty() {
                    break;
                }
            }
            if wrong.is_empty() {
                return Ok(());
            }
        }
        let family = ["IPv4", "IPv6"][family];
        Err(format!("{} ({family}): {} wrong\n  {}\n{}", case.name, wrong.len(), wrong.join("\n  "), case.yaml))
    }
}

fn judge(arguments: &[&str], cases: &[(usize, Case)], most: Duration) {
    let started = Instant::now();
    let mut court = Court::open(arguments);
    let mut wrong = Vec::new();
    for (at, case) in cases {
        if let Err(why) = court.judge(case, family(*at)) {
            wrong.push(why);
        }
    }
    let took = started.elapsed();
    println!("{} cases in {:.1} s", cases.len(), took.as_secs_f32());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(took < most, "{} s", took.as_secs());
}

/// Whatever stands at the beginning of the catalogue, which is what the seeds name, and every ninth of the rest.
#[test]
fn a_few_dozen_cases() {
    let of_seeds = |case: &Case| case.name.starts_with("the ");
    let mut cases: Vec<_> = catalogue::all().into_iter().enumerate().collect();
    cases.retain(|(at, case)| of_seeds(case) || at % 9 == 0);
    assert!(cases.len() >= 36, "{} cases", cases.len());
    judge(&["--routing", "native"], &cases, Duration::from_secs(60));
}

#[test]
#[ignore = "all cases over the overlay: minutes; part of `make test-all`"]
fn every_case() {
    let cases: Vec<_> = catalogue::all().into_iter().enumerate().collect();
    judge(&[], &cases, Duration::from_secs(600));
}
