use super::super::screen::{conclusion, render};
use super::*;
use crate::status::Node;
use serde_json::{Value, json};

const WELL: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

/// An agent as it says itself, on `nodes` others.
fn agent(name: &str, paths: &[(&str, &str, &str, Value)]) -> Node {
    let mut peers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (to, address, protocol, found) in paths {
        let mut path = json!({"address": address, "protocol": protocol, "state": "reachable", "failures": 0});
        path.as_object_mut().unwrap().extend(found.as_object().unwrap().clone());
        peers.entry(to).or_default().push(path);
    }
    let peers: Vec<Value> = peers.into_iter().map(|(node, paths)| json!({"node": node, "paths": paths})).collect();
    let status = json!({
        "node": name, "state": "ok", "problems": [], "version": "0.1.0", "pid": 1, "uptime_seconds": 61,
        "routing": "vxlan", "mtu": {"network": 1500, "overlay": 1450, "pod": 1450}, "addresses": [], "pod_ranges": [],
        "datapath": {"bpf_dir": "", "kernel": "", "cgroup": "", "device": "", "overlay": "", "xdp": "",
            "xdp_sent_on": {"packets": 0, "bytes": 0}},
        "adoption": {"maps_adopted": [], "maps_created": [], "links_adopted": [], "links_created": [],
            "not_adopted": [], "pods_adopted": 0},
        "watches": [{"kind": "Node", "synced": true, "connected": true, "errors": 0}],
        "connectivity": {"enabled": true, "interval_seconds": 10.0, "nodes": peers},
        "endpoints": [],
        "counts": {"nodes": 3, "services": 4, "endpoint_slices": 4, "frontends": 8, "backends": 9, "ipcache": 1,
            "endpoints": 5, "identities": 12, "remote_pods": 1},
        "memory": {"agent_resident": 0, "maps_total": 0, "maps": []}, "drops": {}, "forwarded": {},
        "events": {"written": 0, "lost": 0, "read": 0, "listeners": 0, "missed": 0},
        "collected": serde_json::to_value(agent::collector::Collected::default()).unwrap(),
    });
    Node {
        node: name.to_owned(),
        socket: "s".into(),
        error: None,
        status: Some(serde_json::from_value(status).unwrap()),
    }
}

fn dead(name: &str) -> Node {
    Node { node: name.to_owned(), socket: "s".into(), error: Some("connect: refused".to_owned()), status: None }
}

fn ok() -> Value {
    json!({"latency_seconds": 0.0003, "last_answer": WELL})
}

fn failed(error: &str) -> Value {
    json!({"state": "unreachable", "error": error, "failures": 5, "last_answer": WELL})
}

/// Nodes a, b, … that all probe each other; `found` says what is not well.
fn cluster(count: usize, found: impl Fn(&str, &str, &str) -> Option<Value>) -> Vec<Node> {
    let names: Vec<String> = (0..count).map(|number| format!("n{number:03}")).collect();
    let of = |from: &String| {
        let others = names.iter().filter(|to| *to != from);
        let paths = others.flat_map(|to| {
            ["icmp", "tcp"]
                .map(|protocol| (to.as_str(), "10.0.0.9", protocol, found(from, to, protocol).unwrap_or_else(ok)))
        });
        agent(from, &paths.collect::<Vec<_>>())
    };
    names.iter().map(of).collect()
}

#[test]
fn all_is_well_in_one_screen() {
    let told = overview(&cluster(3, |_, _, _| None), List::NotAsked, now());
    assert!(told.well && told.troubles.is_empty() && told.paths.len() == 12, "{told:?}");
    let screen = render(&told, false);
    let expected = "\
NODE  AGENT  VERSION  UP    SYNC     PODS  IDENTITIES  SERVICES  BACKENDS  REACHES
n000  ok     0.1.0    1m1s  in sync  5     12          4         9         2 of 2
n001  ok     0.1.0    1m1s  in sync  5     12          4         9         2 of 2
n002  ok     0.1.0    1m1s  in sync  5     12          4         9         2 of 2

ICMP / TCP, every 10 s; of IPv4 and IPv6 the slower:
FROM \\ TO  n000           n001           n002
n000       -              300us / 300us  300us / 300us
n001       300us / 300us  -              300us / 300us
n002       300us / 300us  300us / 300us  -

all is well: 3 nodes, 12 paths, the slowest 300us n000 -> n001 (10.0.0.9, ICMP)
";
    let squeezed = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(squeezed(&screen), squeezed(expected), "{screen}");
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!((&json["nodes"][0]["agent"], &json["nodes"][0]["endpoints"]), (&json!("ok"), &json!(5)));
    let path = json!({"from": "n000", "to": "n001", "address": "10.0.0.9", "protocol": "icmp", "state": "reachable",
        "latency_seconds": 0.0003, "failures": 0, "last_answer": WELL});
    assert_eq!(json["paths"][0], path);
}

/// Troubles of a cluster of so many.
fn troubles(count: usize, found: impl Fn(&str, &str, &str) -> Option<Value>) -> Vec<String> {
    overview(&cluster(count, found), List::NotAsked, now()).troubles
}

#[test]
fn who_fails_is_named_with_protocol_and_reason() {
    let one = troubles(3, |from, to, protocol| {
        (from == "n000" && to == "n002" && protocol == "tcp").then(|| failed("the connection is refused"))
    });
    assert_eq!(
        one,
        ["n002 (10.0.0.9) can't be reached by TCP from n000: the connection is refused; last answer 1m0s ago"]
    );
    // Down: one line for all who miss it, one for what itself does not reach.
    let down = troubles(3, |from, to, _| (from == "n001" || to == "n001").then(|| failed("no answer")));
    let expected = [
        "n001 reaches nobody by ICMP and TCP: no answer; last answer 1m0s ago",
        "n001 (10.0.0.9) can't be reached by ICMP and TCP from n000, n002: no answer; last answer 1m0s ago",
    ];
    assert_eq!(down, expected);
    let lost_once = |_: &str, _: &str, _: &str| Some(json!({"error": "no answer", "failures": 1}));
    assert!(overview(&cluster(2, lost_once), List::NotAsked, now()).well, "one lost packet is no trouble");
    let unknown = troubles(2, |_, to, _| (to == "n001").then(|| json!({"state": "unknown"})));
    assert_eq!(unknown, ["of 2 of 4 paths it is not known yet whether they work"]);
}

#[test]
fn agents_that_are_not_well_are_named() {
    let mut nodes = cluster(3, |_, _, _| None);
    nodes[0] = dead("n000");
    let status = nodes[1].status.as_mut().unwrap();
    status.state = State::Degraded;
    status.problems = vec!["map full".to_owned()];
    nodes[2].status.as_mut().unwrap().watches[0].synced = false;
    let told = overview(&nodes, List::NotAsked, now());
    let expected =
        ["the agent of n000 does not answer: connect: refused", "n001: map full", "n002 is not in sync: Node"];
    assert_eq!(told.troubles, expected);
    assert_eq!(conclusion(&told), format!("not well: {}", expected.join("; ")));
    nodes[1].status.as_mut().unwrap().state = State::Starting;
    assert_eq!(overview(&nodes, List::NotAsked, now()).troubles[1], "the agent of n001 is starting");
}

#[test]
fn who_was_not_asked_is_told_and_no_trouble_and_who_is_not_probed_is() {
    let mut nodes = cluster(3, |_, _, _| None);
    nodes.truncate(1);
    let told = overview(&nodes, List::NotAsked, now());
    assert!(told.well && told.nodes.len() == 3 && told.nodes[2].agent == AgentWord::NotAsked);
    assert!(conclusion(&told).contains("3 nodes (1 asked)"));
    let mut nodes = cluster(3, |_, _, _| None);
    nodes.push(agent("n009", &[]));
    let told = overview(&nodes, List::NotAsked, now()).troubles;
    assert_eq!(told[3], "n009 is not probed by n000, n001, n002", "{told:?}");
    assert_eq!(told[0], "n000 is not probed by n009");
    // Where probes are off there is nothing to miss.
    nodes.iter_mut().for_each(|node| node.status.as_mut().unwrap().connectivity = Default::default());
    let told = overview(&nodes, List::NotAsked, now());
    assert!(told.well && render(&told, false).contains("probes off"), "{told:?}");
}

#[test]
fn a_hundred_nodes_are_one_screen() {
    let well = overview(&cluster(100, |_, _, _| None), List::NotAsked, now());
    let screen = render(&well, false);
    assert!(screen.lines().count() < 15 && screen.contains("19,800 of 19,800 paths answer"), "{screen}");
    let bad = |from: &str, to: &str, _: &str| (from < "n050" && to > "n069").then(|| failed("no answer"));
    let told = overview(&cluster(100, bad), List::NotAsked, now());
    assert_eq!(told.troubles.len(), 30, "one for each that can't be reached");
    let screen = render(&told, false);
    assert!(screen.lines().count() < 50 && screen.contains("and 10 more"), "{screen}");
    assert!(
        screen.contains("n070 (10.0.0.9) can't be reached by ICMP and TCP from n000, n001, n002, n003 and 46 more")
    );
    assert!(screen.lines().last().unwrap().starts_with("not well: n070"), "{screen}");
    assert!(render(&told, true).lines().count() > 200, "all of it where it is wanted");
}

/// A Node object, as the API has it.
fn node(name: &str, said: Option<(bool, &str)>) -> Listed {
    let of =
        |(reaches_all, message): (bool, &str)| Said { reaches_all, message: message.into(), since: Some(WELL.into()) };
    let of_itself = Some(itself(Readiness::Ready, "in sync with the Kubernetes API, no troubles"));
    Listed { node: name.into(), said: said.map(of), of_itself, not_ready: None }
}

fn itself(readiness: Readiness, message: &str) -> OfItself {
    let heartbeat = Some(WELL.parse().unwrap());
    OfItself { readiness, message: message.into(), since: Some(WELL.into()), heartbeat, age_seconds: Some(60) }
}

#[test]
fn of_agents_that_nobody_can_ask_the_api_tells_what_they_said() {
    let fine = Some((true, "every other node answers by ICMP and TCP"));
    let list = |nodes: &[(&str, Option<(bool, &str)>)]| {
        List::Nodes(nodes.iter().map(|(name, said)| node(name, *said)).collect())
    };
    // One agent is at hand; it probes the two others, which are known by their conditions.
    let one = || vec![cluster(3, |_, _, _| None).remove(0)];
    let told = overview(&one(), list(&[("n000", fine), ("n001", fine), ("n002", fine)]), now());
    assert!(told.well && told.nodes.len() == 3, "{told:?}");
    let screen = render(&told, false);
    assert!(screen.contains("n001  not asked") && screen.matches("all, it says").count() == 2, "{screen}");
    assert!(screen.contains("all is well: 3 nodes (1 asked), 4 paths"), "{screen}");

    let lost = Some((false, "can't reach n001 by TCP (IPv4)"));
    let told = overview(&one(), list(&[("n000", lost), ("n001", None), ("n002", lost), ("n003", fine)]), now());
    let silent = "n001 does not say how it reaches the others: its Node has no condition malla.dev/Connectivity, which its agent \
                  writes once it knows";
    let says = format!("n002 says: can't reach n001 by TCP (IPv4) (since {WELL})");
    assert_eq!(told.troubles, [silent, &says, "n003 is not probed by n000"], "n000 itself has said more");
    assert!(!told.well);

    // Conditions stay as they are when those who wrote them are no more.
    let silent = Listed { not_ready: Some("nobody has heard of it".into()), ..node("n001", fine) };
    let told = overview(&[], List::Nodes(vec![node("n000", fine), silent]), now());
    assert_eq!(told.troubles, ["n001 is not ready: nobody has heard of it"]);
    assert_eq!(overview(&[], List::Nodes(Vec::new()), now()).troubles, ["the Kubernetes API has no Node"]);

    // Nobody is asked at all.
    let told = overview(&[], list(&[("n000", fine), ("n001", fine)]), now());
    let screen = render(&told, false);
    assert!(
        told.well && screen.contains("No agent was asked") && screen.contains("all is well: 2 nodes (0 asked)"),
        "{screen}"
    );
    let told = overview(&one(), List::Silent("refused".into()), now());
    assert_eq!(told.troubles, ["the Kubernetes API does not tell which nodes there are: refused"]);
}

#[test]
fn of_agents_that_nobody_can_ask_their_conditions_tell_how_they_do() {
    let fine = Some((true, "every other node answers by ICMP and TCP"));
    let with = |name: &str, of_itself: Option<OfItself>| Listed { of_itself, ..node(name, fine) };
    let degraded = || Some(itself(Readiness::NotReady, "port 4240 is taken; map full"));
    let stale = Some(OfItself { age_seconds: Some(3_660), ..itself(Readiness::Unknown, "in sync") });
    let never = Some(OfItself { heartbeat: None, age_seconds: None, ..itself(Readiness::Unknown, "in sync") });
    let lost = Listed { of_itself: degraded(), ..node("n004", Some((false, "can't reach n001 by TCP (IPv4)"))) };
    let cut = Listed { of_itself: stale.clone(), ..node("n005", Some((false, "can't reach n001 by TCP (IPv4)"))) };
    let nodes = vec![node("n000", fine), with("n001", degraded()), with("n002", stale), with("n003", None), lost, cut];
    let told = overview(&[], List::Nodes(nodes), now());
    let not_well = |name: &str| format!("the agent of {name} is not well: port 4240 is taken; map full (since {WELL})");
    let unknown = |name: &str| format!("the agent of {name} was heard last 1h1m ago: how it does is not known");
    let expected = [
        not_well("n001"),
        unknown("n002"),
        "the agent of n003 does not say how it does: its Node has no condition malla.dev/AgentReady, which the agent writes in \
         its first minute"
            .to_owned(),
        not_well("n004"),
        format!("n004 says: can't reach n001 by TCP (IPv4) (since {WELL})"),
        // What it said of the others is as old as what it said of itself.
        unknown("n005"),
    ];
    assert_eq!(told.troubles, expected);
    assert!(!told.well);
    let screen = render(&told, false);
    let says = |part: &str| screen.matches(part).count();
    assert_eq!(["in sync, it says", "not well, it says", "unknown"].map(says), [1, 2, 4], "{screen}");
    let json = serde_json::to_value(&told).unwrap();
    let of_itself = |number: usize| &json["nodes"][number]["of_itself"];
    assert_eq!((&of_itself(0)["readiness"], &of_itself(1)["readiness"]), (&json!("ready"), &json!("not-ready")));
    assert_eq!(
        (&of_itself(2)["readiness"], &of_itself(2)["age_seconds"], of_itself(3)),
        (&json!("unknown"), &json!(3_660), &Value::Null)
    );
    let told = overview(&[], List::Nodes(vec![with("n000", never)]), now());
    assert_eq!(told.troubles, ["the agent of n000 was never heard: how it does is not known"]);
    // Who is asked has said more.
    let one = cluster(1, |_, _, _| None);
    assert!(overview(&one, List::Nodes(vec![with("n000", degraded())]), now()).well);
}
