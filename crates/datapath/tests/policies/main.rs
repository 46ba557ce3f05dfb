//! Policy as the kernel decides it: generated policies in the real maps, real packets through the whole programs under
//! `BPF_PROG_TEST_RUN`, and the slow judge beside them.
//!
//! `policy::semantics` compares the same look-up, compiled for the host, with the same judge. Here it is what the kernel runs:
//! the compiled look-up over hash and prefix maps, and what the programs make of a packet before they ask (which end, which
//! direction, which identity, whose address, which port).

#[path = "../bench/mod.rs"]
mod bench;
mod faults;
#[path = "../../../policy/tests/generate/mod.rs"]
mod generate;
mod kernel;

use std::cell::RefCell;

use datapath_layouts::DropReason;
use generate::coverage::{Coverage, WANTED};
use kernel::{Kernel, Seen};
use policy::plan::{Capacity, Planner};
use policy::reference::{self, Decision, Packet, World};
use policy::rule::Direction;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SETS: u32 = 6_000;
const PACKETS: usize = 50;

/// Fewer of them where the kernel is emulated; then nothing is counted.
fn sets() -> u32 {
    std::env::var("MALLA_POLICY_SETS").map_or(SETS, |sets| sets.parse().expect("a number of sets"))
}

/// What a real packet can be: ICMP is spoken in its own family, and an echo is asked, not answered, by who opens a flow.
fn real(packet: Packet) -> Packet {
    match (packet.protocol, packet.address.is_ipv4()) {
        (1 | 58, true) => Packet { protocol: 1, port: 8, ..packet },
        (1 | 58, false) => Packet { protocol: 58, port: 128, ..packet },
        _ => packet,
    }
}

/// What the packet met is what the judge says, and for the reason that he says.
fn compare(
    world: &World<'_>,
    planner: &Planner,
    packet: &Packet,
    seen: &Seen,
    coverage: &mut Coverage,
) -> Result<(), TestCaseError> {
    let expected = reference::judge(world, packet, false);
    let say = || format!("{packet:?}\nreference: {expected:?}\nkernel: {seen:?}");
    prop_assert_eq!(seen.passed, expected.allowed, "{}", say());
    let reason = |reason: DropReason| seen.passed || seen.reason == reason as u8;
    match &expected.decision {
        Decision::Rules(rules) => {
            let named = planner.rule(seen.rule);
            let named = named.filter(|(origin, rule)| rules.iter().any(|(p, r)| p.origin == **origin && r == rule));
            prop_assert!(named.is_some() && reason(DropReason::PolicyDeny), "{}", say());
            let (policy, rule) = rules[0];
            coverage.rule(packet, policy, rule);
            let unknown = !world.identities.iter().any(|facts| facts.number == packet.peer) && packet.peer != 2;
            if unknown {
                coverage.count(format!("unknown peer, by {:?}", rule.action));
            }
        }
        decision => {
            prop_assert!(seen.rule == 0 && reason(DropReason::PolicyDenied), "{}", say());
            coverage.count(match decision {
                Decision::LocalHost => "from the own node",
                Decision::DefaultDeny => "by default deny",
                Decision::DefaultAllow => "by default allow",
                _ => "by no policy",
            });
        }
    }
    audit(world, planner, packet, seen, expected.allowed, coverage)?;
    let explanation = policy::explain::explain(world, packet, false);
    explanation.lost.iter().for_each(|lost| coverage.count(format!("{:?}", lost.why)));
    coverage.count(if packet.direction == Direction::Ingress { "ingress" } else { "egress" });
    coverage.count(format!("protocol {}", packet.protocol));
    coverage.count(if packet.address.is_ipv4() { "IPv4" } else { "IPv6" });
    Ok(())
}

/// What passes and would not pass with the policies in audit is told, by the rule that would deny it; nothing else is.
fn audit(
    world: &World<'_>,
    planner: &Planner,
    packet: &Packet,
    seen: &Seen,
    passes: bool,
    coverage: &mut Coverage,
) -> Result<(), TestCaseError> {
    let audited = reference::judge(world, packet, true);
    let say = || format!("{packet:?}\nreference with audit: {audited:?}\nkernel: {seen:?}");
    if !passes || audited.allowed {
        prop_assert_eq!(seen.audit, None, "{}", say());
        return Ok(());
    }
    coverage.count("by a policy in audit");
    match (&audited.decision, seen.audit) {
        (Decision::Rules(rules), Some(number)) => {
            let named = planner.rule(number);
            let named =
                named.is_some_and(|(origin, rule)| rules.iter().any(|(p, r)| p.origin == *origin && *r == rule));
            prop_assert!(named, "{}", say());
        }
        (_, told) => prop_assert_eq!(told, Some(0), "{}", say()),
    }
    Ok(())
}

/// 6,000 sets of policies, 50 packets each: from rules to maps to what becomes of a packet.
#[test]
fn the_kernel_and_the_reference_agree() {
    let kernel = RefCell::new(Kernel::new());
    let coverage = RefCell::new(Coverage::default());
    let mut runner = TestRunner::new(Config { cases: sets(), failure_persistence: None, ..Config::default() });
    let input = (generate::policies(), prop::collection::vec(generate::packet(), PACKETS));
    let result = runner.run(&input, |(policies, packets)| {
        let (identities, nodes) = (generate::everybody(), generate::nodes());
        let mut planner = Planner::new(Capacity::each(30_000));
        identities.iter().cloned().for_each(|facts| planner.set_identity(facts));
        planner.set_nodes(nodes.clone());
        policies.iter().cloned().for_each(|policy| planner.set_policy(policy));
        generate::SUBJECTS.into_iter().for_each(|subject| planner.add_subject(subject));
        let mut kernel = kernel.borrow_mut();
        kernel.replace(&planner.plan());
        let world = World { policies: &policies, identities: &identities, nodes: &nodes };
        for packet in packets.into_iter().map(real) {
            let seen = kernel.ask(&packet).map_err(TestCaseError::fail)?;
            compare(&world, &planner, &packet, &seen, &mut coverage.borrow_mut())?;
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    if sets() >= SETS {
        coverage.into_inner().expect(100, WANTED);
    }
}
