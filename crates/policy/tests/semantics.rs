//! The planner's tables, read by the datapath's own look-up, against the slow judge.

mod generate;

use datapath_layouts::policy::{Action, PolicyKey};
use datapath_logic::policy::{Cause, Question, Verdict, judge_once};
use generate::coverage::Coverage;
use policy::explain::explain;
use policy::plan::{Capacity, Planner, Tables};
use policy::reference::{self, Decision, Packet, World};
use policy::rule::Direction;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const SETS: u32 = 6_000;
const PACKETS: usize = 60;

fn ask(tables: &Tables, packet: &Packet, shadow: bool) -> Verdict {
    let question = Question {
        peer_address: packet.address.into(),
        policy_id: packet.subject | if shadow { PolicyKey::SHADOW } else { 0 },
        peer_identity: packet.peer,
        port: packet.port,
        protocol: packet.protocol,
        direction: packet.direction as u8,
    };
    judge_once(tables, &question)
}

fn compare(
    world: &World<'_>,
    planner: &Planner,
    packet: &Packet,
    audited: bool,
    coverage: &mut Coverage,
) -> Result<(), TestCaseError> {
    let expected = reference::judge(world, packet, audited);
    let verdict = ask(planner.tables(), packet, audited);
    let allowed = verdict.action == Action::Allow;
    prop_assert_eq!(allowed, expected.allowed, "{:?}\nreference: {:?}\ntables: {:?}", packet, expected, verdict);
    let named = planner.rule(verdict.outcome.rule);
    match &expected.decision {
        Decision::Rules(rules) => {
            prop_assert_eq!(verdict.cause, Cause::Rule);
            let named = named.filter(|(origin, rule)| rules.iter().any(|(p, r)| p.origin == **origin && r == rule));
            prop_assert!(named.is_some(), "{:?}\nreference: {:?}\ntables: {:?}", packet, rules, verdict);
            let (policy, rule) = rules[0];
            coverage.rule(packet, policy, rule);
            let unknown = !world.identities.iter().any(|facts| facts.number == packet.peer) && packet.peer != 2;
            if unknown {
                coverage.count(format!("unknown peer, by {:?}", rule.action));
            }
        }
        Decision::LocalHost => {
            prop_assert_eq!((verdict.cause, verdict.outcome.rule), (Cause::Rule, 0));
            coverage.count("from the own node");
        }
        Decision::DefaultDeny => {
            prop_assert_eq!(verdict.cause, Cause::DefaultDeny);
            coverage.count("by default deny");
        }
        Decision::DefaultAllow => {
            prop_assert_eq!(verdict.cause, Cause::DefaultAllow);
            coverage.count("by default allow");
        }
        Decision::NoPolicy => {
            prop_assert_eq!(verdict.cause, Cause::DefaultAllow);
            coverage.count("by no policy");
        }
        Decision::UnknownSubject => prop_assert_eq!(verdict.cause, Cause::NotThere),
    }
    let explanation = explain(world, packet, audited);
    prop_assert_eq!(&explanation.judgement, &expected);
    explanation.lost.iter().for_each(|lost| coverage.count(format!("{:?}", lost.why)));
    let direction = if packet.direction == Direction::Ingress { "ingress" } else { "egress" };
    coverage.count(direction);
    coverage.count(format!("protocol {}", packet.protocol));
    coverage.count(if packet.address.is_ipv4() { "IPv4" } else { "IPv6" });
    Ok(())
}

/// The tables mean what the rules mean. What decided is counted: a kind that hardly ever decides is not tested.
#[test]
fn tables_and_reference_agree() {
    let coverage = RefCell::new(Coverage::default());
    let mut runner = TestRunner::new(Config { cases: SETS, failure_persistence: None, ..Config::default() });
    let input = (generate::policies(), prop::collection::vec(generate::packet(), PACKETS));
    let result = runner.run(&input, |(policies, packets)| {
        let (identities, nodes) = (generate::everybody(), generate::nodes());
        let mut planner = Planner::new(Capacity::each(100_000));
        identities.iter().cloned().for_each(|facts| planner.set_identity(facts));
        planner.set_nodes(nodes.clone());
        policies.iter().cloned().for_each(|policy| planner.set_policy(policy));
        generate::SUBJECTS.into_iter().for_each(|subject| planner.add_subject(subject));
        planner.plan();
        let world = World { policies: &policies, identities: &identities, nodes: &nodes };
        for packet in &packets {
            let coverage = &mut coverage.borrow_mut();
            compare(&world, &planner, packet, false, coverage)?;
            let shadow = ask(planner.tables(), packet, false).shadow != 0;
            if shadow {
                compare(&world, &planner, packet, true, coverage)?;
            } else {
                let audited = reference::judge(&world, packet, true);
                prop_assert_eq!(audited, reference::judge(&world, packet, false), "audit without a shadow");
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let coverage = coverage.into_inner();
    coverage.expect(100, generate::coverage::WANTED);
}
