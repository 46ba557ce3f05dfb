use super::*;
use crate::probes::ledger::{CERTAIN, Outcome, Why};
use crate::probes::plan::Target;
use jiff::Timestamp;
use std::time::Duration;

fn ways_to(node: &str) -> [Target; 4] {
    let way = |address: &str, protocol| Target { node: node.into(), address: address.parse().unwrap(), protocol };
    [
        way("10.0.0.2", Protocol::Icmp),
        way("10.0.0.2", Protocol::Tcp),
        way("fc00::2", Protocol::Icmp),
        way("fc00::2", Protocol::Tcp),
    ]
}

fn ledger(nodes: &[&str]) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.set(&nodes.iter().flat_map(|node| ways_to(node)).collect());
    ledger
}

/// Where every node has an address.
fn statement(ledger: &Ledger) -> Option<Statement> {
    super::statement(ledger, &BTreeSet::new())
}

fn answer(ledger: &mut Ledger, target: &Target, times: u32) {
    for _ in 0..times {
        ledger.record(target, Outcome::Answered(Duration::ZERO), Timestamp::UNIX_EPOCH);
    }
}

fn fail(ledger: &mut Ledger, target: &Target, why: &Why, times: u32) {
    for _ in 0..times {
        ledger.record(target, Outcome::Failed(why.clone()), Timestamp::UNIX_EPOCH);
    }
}

#[test]
fn nothing_is_said_before_it_is_known_and_nodes_are_named_with_their_protocols() {
    let mut ledger = ledger(&["b", "c"]);
    assert_eq!(statement(&ledger), None);
    let all = [ways_to("b"), ways_to("c")].concat();
    all.iter().skip(1).for_each(|target| answer(&mut ledger, target, 1));
    assert_eq!(statement(&ledger), None, "one is not known");
    answer(&mut ledger, &all[0], 1);
    let well = statement(&ledger).unwrap();
    assert_eq!((well.holds, well.reason, well.weight), (true, "NodesReachable", Weight::Plain));
    fail(&mut ledger, &all[1], &Why::Silent, CERTAIN - 1);
    assert_eq!(statement(&ledger), Some(well.clone()), "that was bad luck");
    fail(&mut ledger, &all[1], &Why::Silent, 1);
    fail(&mut ledger, &all[3], &Why::Refused, CERTAIN);
    fail(&mut ledger, &all[4], &Why::Silent, CERTAIN);
    let bad = statement(&ledger).unwrap();
    assert_eq!(bad.message, "can't reach b by TCP (IPv4, IPv6); c by ICMP (IPv4)");
    assert_eq!((bad.holds, bad.reason, bad.weight), (false, "NodesUnreachable", Weight::Warning("Probe")));
    // For another reason it is the same.
    fail(&mut ledger, &all[1], &Why::Refused, 5);
    assert_eq!(statement(&ledger), Some(bad));
    [1, 3, 4].iter().for_each(|index| answer(&mut ledger, &all[*index], CERTAIN));
    assert_eq!(statement(&ledger), Some(well));
}

#[test]
fn whoever_is_alone_is_well() {
    let alone = statement(&Ledger::default()).unwrap();
    assert_eq!((alone.holds, alone.message.as_str()), (true, "there is no other node"));
}

#[test]
fn who_has_no_address_does_not_count_as_one_that_answers() {
    let without: BTreeSet<NodeName> = BTreeSet::from(["c", "d"].map(NodeName::from));
    let mut ledger = ledger(&["b"]);
    ways_to("b").iter().for_each(|target| answer(&mut ledger, target, 1));
    let said = super::statement(&ledger, &without).unwrap();
    assert_eq!((said.holds, said.reason, said.weight), (false, "NodesWithoutPath", Weight::Plain));
    assert_eq!(said.message, "no address to probe: c; d");
    fail(&mut ledger, &ways_to("b")[0], &Why::Silent, CERTAIN);
    let said = super::statement(&ledger, &without).unwrap();
    assert_eq!((said.holds, said.reason), (false, "NodesUnreachable"));
    assert_eq!(said.message, "can't reach b by ICMP (IPv4); no address to probe: c; d");
}

#[test]
fn of_very_many_some_are_named() {
    let names: Vec<String> = (0..2_000).map(|number| format!("node-{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ledger = ledger(&names);
    for name in &names {
        ways_to(name).iter().for_each(|target| fail(&mut ledger, target, &Why::Silent, CERTAIN));
    }
    let message = statement(&ledger).unwrap().message;
    assert!(message.contains("node-0009 by ICMP (IPv4, IPv6)") && message.ends_with("; 1990 more"), "{message}");
    assert!(message.len() < 1024, "an Event's note has no room for more: {}", message.len());
}
