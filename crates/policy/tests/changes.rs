//! Between two states: what every single write leaves, and that the way does not count.

mod generate;

use datapath_layouts::identity::{HOST, NODE_OF_API_SERVER};
use datapath_layouts::policy::{Action, Direction, policy_flags};
use datapath_logic::policy::{Cause, Question, Verdict, judge_once};
use policy::plan::{Capacity, Change, Planner, Tables};
use policy::reference::{self, Packet, World};
use policy::rule::{Policy, Tier};
use policy::subject::{IdentityFacts, NodeFacts};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet, HashSet};

fn passes(tables: &Tables, packet: &Packet) -> bool {
    ask(tables, packet).action == Action::Allow
}

/// A node whose policy does not fit keeps what is open in any case.
fn by_failsafe(planner: &Planner, packet: &Packet) -> bool {
    let rule = ask(planner.tables(), packet).outcome.rule;
    planner.rule(rule).is_some_and(|(_, rule)| rule.tier == Tier::Failsafe)
}

fn ask(tables: &Tables, packet: &Packet) -> Verdict {
    let question = Question {
        peer_address: packet.address.into(),
        policy_id: packet.subject,
        peer_identity: packet.peer,
        port: packet.port,
        protocol: packet.protocol,
        direction: packet.direction as u8,
    };
    judge_once(tables, &question)
}

/// Something happens.
#[derive(Clone, Debug)]
enum Step {
    Set(Policy),
    Remove(usize),
    Identity(Index, bool),
    Relabel(Index, Index),
    Subject(u32, bool),
    Nodes(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..5).prop_flat_map(generate::policy).prop_map(Step::Set),
        6 => (0usize..2).prop_flat_map(generate::policy_for_all).prop_map(Step::Set),
        2 => (0usize..5).prop_map(Step::Remove),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(who, there)| Step::Identity(who, there)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(who, like)| Step::Relabel(who, like)),
        2 => (select(generate::SUBJECTS.to_vec()), any::<bool>()).prop_map(|(who, there)| Step::Subject(who, there)),
        1 => any::<bool>().prop_map(Step::Nodes),
    ]
}

/// What is true, beside the planner.
#[derive(Clone, Default)]
struct Truth {
    policies: BTreeMap<String, Policy>,
    identities: BTreeMap<u32, IdentityFacts>,
    subjects: BTreeSet<u32>,
    nodes: Vec<NodeFacts>,
}

impl Truth {
    fn start() -> Self {
        let identities = generate::everybody().into_iter().map(|facts| (facts.number, facts)).collect();
        Self { identities, subjects: generate::SUBJECTS.into(), ..Self::default() }
    }

    /// Does it; gives back whose identity is another one now.
    fn take(&mut self, planner: &mut Planner, step: &Step) -> Option<u32> {
        let everybody = generate::everybody();
        match step {
            Step::Set(policy) => {
                self.policies.insert(policy.origin.name.to_string(), policy.clone());
                planner.set_policy(policy.clone());
                None
            }
            Step::Remove(at) => {
                let gone = self.policies.remove(&format!("p{at}"))?;
                planner.remove_policy(&gone.origin);
                None
            }
            Step::Identity(who, true) => {
                let facts = who.get(&everybody).clone();
                self.identities.insert(facts.number, facts.clone());
                planner.set_identity(facts.clone());
                Some(facts.number)
            }
            Step::Identity(who, false) => {
                let number = who.get(&everybody).number;
                self.identities.remove(&number);
                planner.remove_identity(number);
                Some(number)
            }
            Step::Relabel(who, like) => {
                let number = who.get(&everybody).number;
                let pods: Vec<_> = everybody.iter().filter(|facts| facts.namespace.is_some()).collect();
                let facts = IdentityFacts { number, ..(*like.get(&pods)).clone() };
                self.identities.insert(number, facts.clone());
                planner.set_identity(facts);
                Some(number)
            }
            Step::Subject(who, true) => {
                self.subjects.insert(*who);
                planner.add_subject(*who);
                None
            }
            Step::Subject(who, false) => {
                self.subjects.remove(who);
                planner.remove_subject(*who);
                None
            }
            Step::Nodes(there) => {
                self.nodes = if *there { generate::nodes() } else { Vec::new() };
                planner.set_nodes(self.nodes.clone());
                None
            }
        }
    }

    fn passes(&self, packet: &Packet) -> bool {
        let policies: Vec<Policy> = self.policies.values().cloned().collect();
        let identities: Vec<IdentityFacts> = self.identities.values().cloned().collect();
        let world = World { policies: &policies, identities: &identities, nodes: &self.nodes };
        self.subjects.contains(&packet.subject) && reference::judge(&world, packet, false).allowed
    }

    fn planner(&self) -> Planner {
        let mut planner = Planner::recover(Tables::default(), Capacity::each(100_000));
        self.tell(&mut planner);
        planner.plan();
        planner
    }

    fn tell(&self, planner: &mut Planner) {
        for number in (0..20).chain([NODE_OF_API_SERVER]) {
            planner.remove_identity(number);
        }
        self.identities.values().cloned().for_each(|facts| planner.set_identity(facts));
        self.policies.values().cloned().for_each(|policy| planner.set_policy(policy));
        self.subjects.iter().for_each(|subject| planner.add_subject(*subject));
        planner.set_nodes(self.nodes.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any sequence of steps the tables mean what they would mean had they been written at once; what is left after
    /// sweeping is no more than that; and after every single write each packet is judged as before or as after.
    #[test]
    fn every_write_leaves_a_whole_state(
        plans in prop::collection::vec((prop::collection::vec(step(), 1..4), any::<bool>()), 1..6),
        packets in prop::collection::vec(generate::packet(), 120),
    ) {
        let mut truth = Truth::start();
        let mut planner = Planner::new(Capacity::each(100_000));
        truth.tell(&mut planner);
        let mut tables = Tables::default();
        planner.plan().iter().for_each(|change| tables.apply(change));
        for (steps, sweep) in plans {
            let before: Vec<bool> = packets.iter().map(|packet| passes(&tables, packet)).collect();
            let moved: BTreeSet<u32> = steps.iter().filter_map(|step| truth.take(&mut planner, step)).collect();
            let after: Vec<bool> = packets.iter().map(|packet| truth.passes(packet)).collect();
            let mut changes = planner.plan();
            let planned = changes.len();
            if sweep {
                changes.extend(planner.sweep());
            }
            for (at, change) in changes.iter().enumerate() {
                tables.apply(change);
                for (n, packet) in packets.iter().enumerate() {
                    let now = passes(&tables, packet);
                    // Whoever is somebody else now may be unknown in between, and then a deny is right.
                    let peer = if packet.peer != 2 { packet.peer } else if packet.address.is_ipv4() { 9 } else { 10 };
                    let moving = at < planned && (moved.contains(&peer) || moved.contains(&packet.subject));
                    prop_assert!(
                        (at < planned && now == before[n]) || now == after[n] || (moving && !now),
                        "{:?}: {} after {:?}, {} → {}", packet, now, change, before[n], after[n]
                    );
                }
            }
            for (n, packet) in packets.iter().enumerate() {
                prop_assert_eq!(passes(&tables, packet), after[n], "{:?}", packet);
            }
            prop_assert_eq!(&tables, planner.tables());
        }
        planner.sweep().iter().for_each(|change| tables.apply(change));
        planner.sweep().iter().for_each(|change| tables.apply(change));
        let fresh = truth.planner();
        let (kept, new) = (&tables, fresh.tables());
        prop_assert_eq!(kept.policies.len(), new.policies.len());
        prop_assert_eq!(kept.identities.len(), new.identities.len());
        prop_assert_eq!(kept.cidrs.keys().collect::<HashSet<_>>(), new.cidrs.keys().collect::<HashSet<_>>());
        prop_assert!(kept.rows.len() <= new.rows.len() && kept.ranges.len() <= new.ranges.len());
        prop_assert!(planner.plan().is_empty() && planner.sweep().is_empty());
    }

    /// The next process finds everything as it should be and writes nothing.
    #[test]
    fn a_restart_writes_nothing(
        steps in prop::collection::vec(step(), 1..12), packets in prop::collection::vec(generate::packet(), 20),
    ) {
        let mut truth = Truth::start();
        let mut planner = Planner::new(Capacity::each(100_000));
        truth.tell(&mut planner);
        planner.plan();
        for step in &steps {
            truth.take(&mut planner, step);
            planner.plan();
        }
        planner.sweep();
        planner.sweep();
        let mut next = Planner::recover(planner.tables().clone(), Capacity::each(100_000));
        for number in (0..20).chain([NODE_OF_API_SERVER]) {
            if !truth.identities.contains_key(&number) {
                next.remove_identity(number);
            }
        }
        truth.tell_again(&mut next);
        let changes = next.plan();
        prop_assert!(changes.is_empty(), "{:?}", changes);
        prop_assert!(next.sweep().is_empty());
        for packet in &packets {
            prop_assert_eq!(passes(next.tables(), packet), truth.passes(packet));
        }
    }

    /// However small the maps: what does not fit denies, and nothing is allowed that the rules do not allow.
    #[test]
    fn overflow_never_opens(
        policies in generate::policies(), room in 1usize..60, which in 0usize..6,
        packets in prop::collection::vec(generate::packet(), 60),
    ) {
        let mut capacity = Capacity::each(100_000);
        *[&mut capacity.policies, &mut capacity.identities, &mut capacity.peers, &mut capacity.cidrs, &mut capacity.rows,
            &mut capacity.ranges][which] = room;
        let mut truth = Truth::start();
        truth.nodes = generate::nodes();
        truth.policies = policies.into_iter().map(|policy| (policy.origin.name.to_string(), policy)).collect();
        let mut planner = Planner::recover(Tables::default(), capacity);
        truth.tell(&mut planner);
        planner.plan();
        let unfit: BTreeSet<u32> = planner.unfit_identities().collect();
        let problems: BTreeSet<(u32, u8)> = planner.problems().map(|(key, _)| (key.policy_id, key.direction)).collect();
        for packet in &packets {
            let now = passes(planner.tables(), packet);
            prop_assert!(!now || truth.passes(packet), "{packet:?}");
            let peer = if packet.peer != 2 { packet.peer } else if packet.address.is_ipv4() { 9 } else { 10 };
            if problems.contains(&(packet.subject, packet.direction as u8)) && packet.subject == HOST {
                prop_assert!(!now || by_failsafe(&planner, packet), "{packet:?}");
            } else if problems.contains(&(packet.subject, packet.direction as u8)) {
                prop_assert!(!now, "{packet:?}");
            } else if !unfit.contains(&peer) {
                prop_assert_eq!(now, truth.passes(packet), "{:?}", packet);
            }
        }
        let sizes = planner.tables();
        prop_assert!(sizes.policies.len() <= capacity.policies && sizes.identities.len() <= capacity.identities);
        prop_assert!(sizes.peers.len() <= capacity.peers && sizes.cidrs.len() <= capacity.cidrs);
        prop_assert!(sizes.rows.len() <= capacity.rows && sizes.ranges.len() <= capacity.ranges);
    }
}

impl Truth {
    /// As [`Self::tell`], to a planner that knows the reserved ones already.
    fn tell_again(&self, planner: &mut Planner) {
        self.identities.values().cloned().for_each(|facts| planner.set_identity(facts));
        self.policies.values().cloned().for_each(|policy| planner.set_policy(policy));
        self.subjects.iter().for_each(|subject| planner.add_subject(*subject));
        planner.set_nodes(self.nodes.clone());
    }
}

fn from_json(value: serde_json::Value) -> Policy {
    policy::dialect::network_policy::convert(&serde_json::from_value(value).unwrap()).unwrap()
}

/// A policy for a whole namespace about whole namespaces, under which a thousand identities arrive.
#[test]
fn new_pods_of_known_namespaces_cost_one_write_each() {
    let mut planner = Planner::new(Capacity::each(100_000));
    for n in 0..50 {
        let namespace = format!("ns{n}");
        planner.set_policy(from_json(serde_json::json!({
            "metadata": {"name": "p", "namespace": namespace, "uid": namespace},
            "spec": {"podSelector": {}, "ingress": [
                {"from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"env": "prod"}}}]}
            ]}
        })));
        planner.set_identity(generate::pod(1000 + n, &namespace, "web", "front"));
        planner.add_subject(1000 + n);
    }
    planner.plan();
    for n in 0..1000u32 {
        planner.set_identity(generate::pod(2000 + n, &format!("ns{}", n % 50), &format!("app{n}"), "back"));
    }
    let changes = planner.plan();
    assert_eq!(changes.len(), 1000, "one write of `identities` each");
    assert!(changes.iter().all(|change| matches!(change, Change::WriteIdentity(..))));
}

/// The same with 250 policies about all namespaces on each of 100 identities of the node. How long it takes is printed; that it
/// does not grow with the policies that are about others is what the number beside it shows.
#[test]
fn a_thousand_identities_under_250_policies_cost_one_write_each() {
    let named_pod = |number, namespace: &str, app: &str, tier: &str| {
        let facts = generate::pod(number, namespace, app, tier);
        let name = format!("{}kubernetes.io/metadata.name", policy::selector::NAMESPACE_LABELS);
        let labels = facts.labels.iter().chain([(name.as_str(), namespace)]).collect();
        policy::subject::IdentityFacts { labels, ..facts }
    };
    let time = |policies: u32| {
        let mut planner = Planner::new(Capacity::each(1_000_000));
        for n in 0..policies {
            let uid = format!("p{n}");
            let from = serde_json::json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": format!("ns{n}")}}});
            planner.set_policy(from_json(serde_json::json!({
                "metadata": {"name": uid, "namespace": "shop", "uid": uid},
                "spec": {"podSelector": {}, "ingress": [{"from": [from], "ports": [{"port": 1000 + n}]}]}
            })));
        }
        for n in 0..100 {
            planner.set_identity(named_pod(1000 + n, "shop", &format!("api{n}"), "front"));
            planner.add_subject(1000 + n);
        }
        for n in 0..250 {
            planner.set_identity(named_pod(1500 + n, &format!("ns{n}"), "first", "back"));
        }
        planner.plan();
        for n in 0..1000u32 {
            planner.set_identity(named_pod(2000 + n, &format!("ns{}", n % 250), &format!("app{n}"), "back"));
        }
        let began = std::time::Instant::now();
        let changes = planner.plan();
        assert_eq!(changes.len(), 1000, "one write of `identities` each");
        began.elapsed()
    };
    println!("1,000 identities, 100 subjects: {:?} under 25 policies, {:?} under 250", time(25), time(250));
}

/// One peer gets an entry of its own at the moment at which its namespace's allows less: it never falls in between.
#[test]
fn a_peer_that_leaves_its_namespaces_class_is_let_through_all_the_time() {
    let shop = serde_json::json!({"podSelector": {}});
    let app = |name: &str| serde_json::json!({"podSelector": {"matchLabels": {"app": name}}});
    let policy = |ingress: serde_json::Value| {
        from_json(serde_json::json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "u"},
            "spec": {"podSelector": {}, "ingress": ingress}
        }))
    };
    let port = |port: u16| serde_json::json!([{"port": port}]);
    // Somebody has an entry of its own from the start.
    let db = serde_json::json!({"matchLabels": {"app": "db"}});
    let db = serde_json::json!({"from": [{"namespaceSelector": {}, "podSelector": db}], "ports": port(53)});
    let before = policy(serde_json::json!([{"from": [shop]}, db]));
    let after = policy(serde_json::json!([{"from": [shop], "ports": port(443)}, {"from": [app("web")]}, db]));
    let mut planner = Planner::new(Capacity::each(1000));
    for (number, namespace, app) in [(300, "shop", "api"), (301, "shop", "web"), (302, "lab", "db")] {
        planner.set_identity(generate::pod(number, namespace, app, "front"));
    }
    planner.add_subject(300);
    let mut tables = Tables::default();
    let packet = Packet {
        direction: Direction::Ingress,
        subject: 300,
        peer: 301,
        address: "10.244.1.3".parse().unwrap(),
        protocol: 6,
        port: 80,
    };
    let table = |tables: &Tables| tables.policies[&datapath_layouts::PolicyKey::new(300, Direction::Ingress)].table;
    planner.set_policy(before.clone());
    planner.plan().iter().for_each(|change| tables.apply(change));
    let first = table(&tables);
    for policy in [after, before] {
        planner.set_policy(policy);
        for change in planner.plan() {
            tables.apply(&change);
            assert!(passes(&tables, &packet), "{change:?}");
        }
        assert_eq!(table(&tables), first, "not by a new table, which would be right too");
    }
}

/// Peers × ports is what the tables must not grow with.
#[test]
fn tables_do_not_grow_with_peers_times_ports() {
    let mut planner = Planner::new(Capacity::each(100_000));
    let ports: Vec<_> = (1..=100).map(|n| serde_json::json!({"port": n * 7})).collect();
    planner.set_policy(from_json(serde_json::json!({
        "metadata": {"name": "p", "namespace": "shop", "uid": "u"},
        "spec": {"podSelector": {}, "ingress": [
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}], "ports": ports}
        ]}
    })));
    for n in 0..500 {
        let app = if n % 2 == 0 { "web" } else { "db" };
        planner.set_identity(generate::pod(1000 + n, "shop", app, "front"));
    }
    planner.add_subject(1001);
    planner.plan();
    let tables = planner.tables();
    assert!(tables.rows.len() <= 101, "{} rows", tables.rows.len());
    assert!(tables.peers.len() <= 260, "{} peers", tables.peers.len());
}

/// A policy id whose entry is not there yet protects.
#[test]
fn a_missing_entry_denies() {
    let question = Question {
        peer_address: std::net::IpAddr::from([10, 244, 1, 2]).into(),
        policy_id: 300,
        peer_identity: 301,
        port: 80,
        protocol: 6,
        direction: Direction::Ingress as u8,
    };
    let verdict = judge_once(&Tables::default(), &question);
    assert_eq!((verdict.action, verdict.cause), (Action::Deny, Cause::NotThere));
    let none = Question { policy_id: 0, ..question };
    assert_eq!(judge_once(&Tables::default(), &none).action, Action::Allow);
}

/// Flows that were judged by an earlier state are judged again: the epoch never comes back.
#[test]
fn every_change_of_a_policy_is_a_new_epoch() {
    let allow = |port: u16| {
        from_json(serde_json::json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "u"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": port}]}]}
        }))
    };
    let mut planner = Planner::new(Capacity::each(1000));
    planner.set_identity(generate::pod(300, "shop", "web", "front"));
    planner.add_subject(300);
    let mut seen = BTreeSet::new();
    for port in [80, 81, 80, 80, 82] {
        planner.set_policy(allow(port));
        let changed = !planner.plan().is_empty();
        let key = datapath_layouts::PolicyKey::new(300, Direction::Ingress);
        let policy = planner.tables().policies[&key];
        assert_eq!(policy.flags & policy_flags::DEFAULT_DENY, policy_flags::DEFAULT_DENY);
        assert_eq!(seen.insert(policy.epoch), changed);
        planner.sweep();
    }
    assert_eq!(seen.len(), 4);
}
