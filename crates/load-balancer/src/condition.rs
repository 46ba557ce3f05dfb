//! The condition of a Service that is not served whole: `malla.dev/ServedWhole`, False, in its status (KEP-1623).
//!
//! Many nodes write one object. Server-side apply can't share the condition among them: every field of it is required
//! (reason, message, time), so whoever leaves would have to own all of it, and whoever comes would have to say it in the
//! same words at the same second. One condition per node would be as many as there are nodes. So there is one, its message
//! has a line for each problem with the names of its nodes, and a node changes its own name in it and nothing else: read,
//! change, write if nobody wrote in between. The last one that mends takes the condition away. A node that is no more can't,
//! and is crossed out by the first node by name.
//!
//! ```text
//! On worker-1, worker-2: map maglev has room for 10 entries and would need 12
//! ```

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use model::NodeName;
use std::collections::{BTreeMap, BTreeSet};

/// Its type.
pub const CONDITION: &str = "malla.dev/ServedWhole";

/// What nodes have said of a Service.
pub type Reports = BTreeMap<NodeName, Box<str>>;

/// What one node has to say, and about whom it says that they are no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What this node can't do of the Service; `None` = it serves it whole.
    pub problem: Option<Box<str>>,
    /// Nodes that are named and no more.
    pub gone: BTreeSet<NodeName>,
}

/// A problem as it stands in the message: in one line, and not of any length.
#[must_use]
pub fn line(problem: &str) -> Box<str> {
    problem.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_LINE).collect::<String>().into()
}

/// What the Service's status says.
#[must_use]
pub fn reports(service: &core::Service) -> Reports {
    let conditions = service.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == CONDITION).flat_map(|condition| read(&condition.message)).collect()
}

fn read(message: &str) -> impl Iterator<Item = (NodeName, Box<str>)> + use<'_> {
    let lines = message.lines().filter_map(|line| line.strip_prefix(ON)?.split_once(": "));
    // No name of a node has a comma, a colon or a space (RFC 1123).
    lines.flat_map(|(nodes, problem)| nodes.split(", ").map(move |node| (node.into(), problem.into())))
}

/// The conditions of a Service once a node has said its part; `None` when they say it already.
#[must_use]
pub fn after(service: &core::Service, node: &NodeName, report: &Report, now: Timestamp) -> Option<Vec<Condition>> {
    let old = service.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut reports = reports(service);
    let before = reports.clone();
    reports.retain(|name, _| !report.gone.contains(name));
    match &report.problem {
        Some(problem) => reports.insert(node.clone(), line(problem)),
        None => reports.remove(node),
    };
    let message = written(&reports);
    let known = old.iter().find(|condition| condition.type_ == CONDITION);
    // A message that is full has no place for another name; the node's Event and status say it all the same.
    if reports == before || known.is_some_and(|known| known.message == message) {
        return None;
    }
    let since = known.map_or(Time(now), |known| known.last_transition_time.clone());
    let mut out: Vec<Condition> = old.into_iter().filter(|condition| condition.type_ != CONDITION).collect();
    if !reports.is_empty() {
        out.push(Condition {
            type_: CONDITION.to_owned(),
            status: "False".to_owned(),
            reason: REASON.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: service.metadata.generation,
        });
    }
    Some(out)
}

fn written(reports: &Reports) -> String {
    let mut nodes_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (node, problem) in reports {
        nodes_of.entry(problem).or_default().push(&node.0);
    }
    let mut out = String::new();
    for (problem, nodes) in nodes_of {
        let line = format!("{ON}{}: {problem}\n", nodes.join(", "));
        if out.len() + line.len() <= LONGEST {
            out.push_str(&line);
            continue;
        }
        // As many of its nodes as there is room for.
        let room = LONGEST.saturating_sub(out.len() + ON.len() + problem.len() + 3);
        let mut used = 0;
        let fit = nodes.iter().take_while(|node| {
            used += node.len() + 2;
            used <= room
        });
        let fit: Vec<&str> = fit.copied().collect();
        if !fit.is_empty() {
            out.push_str(&format!("{ON}{}: {problem}\n", fit.join(", ")));
        }
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// One CamelCase word, the same as that of the Events.
const REASON: &str = "NotServedWhole";
/// What a line begins with.
const ON: &str = "On ";
/// `maxLength` of a condition's message (meta/v1), bytes.
const LONGEST: usize = 32_768;
/// Of one problem, characters: a Service has rarely more than one, and all nodes' have to fit.
const LONGEST_LINE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn service(conditions: Vec<Condition>) -> core::Service {
        let object = json!({"metadata": {"name": "s", "namespace": "default", "generation": 7}});
        let mut service: core::Service = serde_json::from_value(object).unwrap();
        service.status.get_or_insert_default().conditions = Some(conditions);
        service
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn says(problem: &str) -> Report {
        Report { problem: Some(problem.into()), ..Report::default() }
    }

    #[test]
    fn a_line_names_its_nodes_and_the_last_that_mends_takes_the_condition_away() {
        let other = Condition {
            type_: "example.com/Other".to_owned(),
            status: "True".to_owned(),
            reason: "Fine".to_owned(),
            message: "On worker-9: not ours".to_owned(),
            last_transition_time: Time(at(1)),
            observed_generation: None,
        };
        let mut now = service(vec![other.clone()]);
        let mut step = |node: &str, report: &Report, second| {
            let conditions = after(&now, &node.into(), report, at(second))?;
            now = service(conditions.clone());
            assert_eq!(conditions[0], other, "what others say stays");
            Some(conditions.get(1).map(|c| (c.message.clone(), c.status.clone(), c.last_transition_time.clone())))
        };
        let mut expect = |node: &str, report: &Report, second, message: &str| {
            let told = step(node, report, second).expect("a change").expect("a condition");
            assert_eq!(told, (message.to_owned(), "False".to_owned(), Time(at(10))), "false since the first one");
        };
        expect("worker-2", &says("map full"), 10, "On worker-2: map full");
        expect("worker-1", &says("map full"), 11, "On worker-1, worker-2: map full");
        expect("worker-3", &says("two\nlines"), 12, "On worker-1, worker-2: map full\nOn worker-3: two lines");
        assert_eq!(step("worker-3", &says("two\nlines"), 13), None, "said already");
        assert_eq!(step("worker-4", &Report::default(), 13), None, "nothing to say");
        let mut expect = |node: &str, report: &Report, message: Option<&str>| {
            let told = step(node, report, 14).expect("a change");
            assert_eq!(told.map(|told| told.0).as_deref(), message);
        };
        expect("worker-1", &Report::default(), Some("On worker-2: map full\nOn worker-3: two lines"));
        let gone = Report { problem: None, gone: ["worker-2".into()].into() };
        expect("worker-1", &gone, Some("On worker-3: two lines"));
        expect("worker-3", &Report::default(), None);
    }

    #[test]
    fn a_thousand_nodes_fit_and_more_do_no_harm() {
        let reports = |count: u32| -> Reports {
            (0..count).map(|n| (format!("node-{n:05}").as_str().into(), "map full".into())).collect()
        };
        let thousand = reports(1_000);
        assert_eq!(read(&written(&thousand)).collect::<Reports>(), thousand);
        let message = written(&reports(10_000));
        assert!(message.len() <= LONGEST && read(&message).count() > 2_000, "{}", message.len());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(reports in proptest::collection::btree_map("[a-z0-9.-]{1,12}", ".{1,40}", 0..20)) {
            let reports: Reports = reports.iter().map(|(node, text)| (node.as_str().into(), line(text))).collect();
            prop_assert_eq!(read(&written(&reports)).collect::<Reports>(), reports);
        }
    }
}
