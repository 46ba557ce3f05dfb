//! The judges' own test: each of these faults, alone in the planner or in what the kernel runs, must make the kernel and the
//! reference disagree.

#[path = "../deliberate/mod.rs"]
mod deliberate;

use deliberate::{Fault, are_in_their_places, fault, sources};
use std::path::Path;
use std::process::{Command, Output};

const LINES: &str = "policy/src/plan/lines.rs";
const CONTENT: &str = "policy/src/plan/content.rs";
const DESIRED: &str = "policy/src/plan/desired.rs";
const SUBJECTS: &str = "policy/src/plan/subjects.rs";
const PREFIX: &str = "policy/src/plan/prefix.rs";
const LOOK_UP: &str = "datapath-logic/src/policy.rs";
const ENFORCE: &str = "datapath-programs/src/enforce.rs";

const FAULTS: [Fault; 41] = [
    fault(
        "the Baseline tier is asked where something else has a default",
        LINES,
        "if default_deny && matches!(rule.tier",
        "if !default_deny && matches!(rule.tier",
    ),
    fault(
        "the own node is let out and not in",
        LINES,
        "direction == Direction::Ingress && subject.kind != Kind::Host",
        "direction == Direction::Egress && subject.kind != Kind::Host",
    ),
    fault(
        "ingress takes named ports of the peer",
        LINES,
        "let names_of = if rule.direction == Direction::Ingress",
        "let names_of = if rule.direction == Direction::Egress",
    ),
    fault(
        "everybody counts only where it is named first",
        LINES,
        "        if peers.contains(&Peer::Entity(Entity::All)) {",
        "        if peers.first() == Some(&Peer::Entity(Entity::All)) {",
    ),
    fault(
        "an allow of a name denies every port of a prefix",
        LINES,
        "if !line.names.is_empty() && line.action != Action::Allow {",
        "if !line.names.is_empty() && line.action == Action::Allow {",
    ),
    fault(
        "an unknown peer is not denied what it may be denied",
        LINES,
        "matches!(line.who, Who::Identities(_)) && line.action != Action::Allow;",
        "matches!(line.who, Who::Identities(_)) && line.action == Action::Pass;",
    ),
    fault(
        "exceptions of a prefix are forgotten",
        LINES,
        "&& !except.iter().any(|e| contains(e, prefix))",
        "&& except.len() < 99",
    ),
    fault(
        "a prefix for what is outside matches Pods",
        LINES,
        "(place == Place::Outside && holds(Scope::Outside))",
        "(place == Place::Inside && holds(Scope::Outside))",
    ),
    fault(
        "what may be a prefix's is not denied to the unknown",
        LINES,
        "if place == Place::Unknown && line.action != Action::Allow && holds",
        "if place == Place::Unknown && line.action == Action::Allow && holds",
    ),
    fault(
        "an allow of the usual tier wins over a deny",
        LINES,
        "const NORMAL_DENY: u32 = 0xc000_0000;",
        "const NORMAL_DENY: u32 = 0x7fff_ffff;",
    ),
    fault(
        "the higher priority is asked first",
        LINES,
        "u32::from(0x7fff - priority.get()) << 16",
        "u32::from(priority.get()) << 16",
    ),
    fault("the last rule is asked first", LINES, "u32::from(u16::MAX - rule.order)", "u32::from(rule.order)"),
    fault(
        "failsafe is an allow like others",
        LINES,
        "(Tier::Failsafe, _) => (Slot::Admin, FAILSAFE),",
        "(Tier::Failsafe, _) => (Slot::Rest, NORMAL_ALLOW),",
    ),
    fault(
        "a pass of Baseline denies",
        LINES,
        "(Action::Allow, _) | (Action::Pass, Slot::Rest) => Verdict::Allow,",
        "(Action::Allow, _) => Verdict::Allow, (Action::Pass, Slot::Rest) => Verdict::Deny,",
    ),
    fault(
        "all ports of ANY are those of TCP",
        LINES,
        "transport.numbers().iter().map(|protocol| Piece::whole(*protocol))",
        "transport.numbers().iter().take(1).map(|protocol| Piece::whole(*protocol))",
    ),
    fault(
        "a range ends before its last port",
        LINES,
        "map(|&protocol| Piece { protocol, first, last })",
        "map(|&protocol| Piece { protocol, first, last: last - u16::from(last > first) })",
    ),
    fault(
        "types of ICMPv6 are those of ICMP",
        LINES,
        "(if *v6 { ICMPV6 } else { ICMP }, u16::from(*kind))",
        "(if *v6 { ICMP } else { ICMP }, u16::from(*kind))",
    ),
    fault(
        "a name's protocol does not count",
        LINES,
        "*p.name == *name && transport.numbers().contains(&p.protocol)",
        "*p.name == *name && !transport.numbers().is_empty()",
    ),
    fault(
        "Pods of other clusters are no other endpoints",
        LINES,
        "matches!(facts.kind, Kind::Pod | Kind::RemotePod) && !selector",
        "matches!(facts.kind, Kind::Pod) && !selector",
    ),
    fault(
        "the cluster's Pods are not of the cluster",
        LINES,
        "Entity::Cluster => facts.kind == Kind::Pod ||",
        "Entity::Cluster => facts.kind == Kind::RemotePod ||",
    ),
    fault(
        "what is said of everything is not said of a protocol",
        CONTENT,
        "filter(|(_, piece)| piece.protocol == 0 || piece.protocol == protocol)",
        "filter(|(_, piece)| piece.protocol == protocol)",
    ),
    fault(
        "neighbouring ports are one range whatever they say",
        CONTENT,
        "Some(last) if last.1 == first && last.2 == row =>",
        "Some(last) if last.1 == first =>",
    ),
    fault(
        "the prefixes of a range are twice as wide",
        CONTENT,
        "let prefix = (at as u16, 16 - size.trailing_zeros());",
        "let prefix = (at as u16, 15 - size.trailing_zeros().min(15));",
    ),
    fault(
        "what the lower tiers say is the Admin tier's",
        CONTENT,
        "Slot::Rest => &mut row.rest,",
        "Slot::Rest => &mut row.admin,",
    ),
    fault(
        "an identity is compared with its kind instead of its namespace",
        DESIRED,
        "self.namespaces.of(facts).and_then(|namespace| namespaces.get(&namespace.number));",
        "self.namespaces.of(facts).and_then(|_| namespaces.get(&u32::MAX));",
    ),
    fault(
        "an unknown peer's address is looked at as one inside",
        DESIRED,
        "(Place::Unknown, level::CIDR_UNKNOWN)",
        "(Place::Inside, level::CIDR_UNKNOWN)",
    ),
    fault(
        "nothing is said of an unknown peer",
        DESIRED,
        "Kind::Unknown => lines.about_identity(Seen::Unknown),",
        "Kind::Unknown => Vec::new(),",
    ),
    fault("audit is enforced", SUBJECTS, "filter(|policy| !policy.audit)", "filter(|policy| policy.rules.len() < 99)"),
    fault(
        "policies of nodes are about Pods",
        SUBJECTS,
        "Subject::Nodes(selector) => facts.kind == Kind::Host &&",
        "Subject::Nodes(selector) => facts.kind != Kind::Host &&",
    ),
    fault("::/0 holds IPv4 addresses too", PREFIX, "if !all.is_empty() {", "if all.len() > 99 {"),
    fault(
        "only the unknown are looked for by their identity",
        LOOK_UP,
        "if kind != Kind::Unknown as u8 {",
        "if kind == Kind::Unknown as u8 {",
    ),
    fault(
        "what is said of everybody is not asked",
        LOOK_UP,
        "weigh(tables, question, work, work.policy.base_class);",
        "weigh(tables, question, work, class);",
    ),
    fault(
        "inside and outside are mixed up",
        LOOK_UP,
        "} else if Kind::number_is_outside(kind) {",
        "} else if !Kind::number_is_outside(kind) {",
    ),
    fault(
        "a range is looked up by the port's upper half",
        LOOK_UP,
        "RangeKey::new(class, question.protocol, question.port, 16)",
        "RangeKey::new(class, question.protocol, question.port & 0xff00, 16)",
    ),
    fault(
        "a pass decides",
        LOOK_UP,
        "if matches!(admin, Action::None | Action::Pass) {",
        "if matches!(admin, Action::None) {",
    ),
    fault(
        "what no rule allows is allowed",
        LOOK_UP,
        "} else if work.policy.flags & policy_flags::DEFAULT_DENY != 0 {",
        "} else if work.policy.flags & policy_flags::DEFAULT_DENY == 0 {",
    ),
    fault(
        "ingress and egress are mixed up",
        ENFORCE,
        "if initiator { Direction::Egress } else { Direction::Ingress }",
        "if initiator { Direction::Ingress } else { Direction::Egress }",
    ),
    fault(
        "the client's port is asked for",
        ENFORCE,
        "            if reply {\n                t.source_port",
        "            if !reply {\n                t.source_port",
    ),
    fault(
        "the own address is looked for among prefixes",
        ENFORCE,
        "question.peer_address = if sender {",
        "question.peer_address = if !sender {",
    ),
    fault("the peer is oneself", ENFORCE, "let peer = if sender {", "let peer = if !sender {"),
    fault("the default denies by a rule", ENFORCE, "(if s.half.rule == 0 {", "(if s.half.rule != 0 {"),
];

/// The crates that the test program is made of.
const SOURCES: [&str; 10] = [
    "datapath-layouts",
    "packet-headers",
    "datapath-logic",
    "custom-resources",
    "policy",
    "network-namespace",
    "netlink",
    "ebpf-builder",
    "datapath",
    "datapath-programs",
];

fn cargo(root: &Path, more: &[&str]) -> Output {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(["test", "--offline", "--quiet", "-p", "datapath", "--test", "policies"]);
    cargo.args(more).arg("the_kernel_and_the_reference_agree").current_dir(root);
    // The first disagreement is enough.
    cargo.env("PROPTEST_MAX_SHRINK_ITERS", "0").env("RUST_BACKTRACE", "0");
    // Of its own: cargo names what it builds by the place in a workspace, and these crates have the same places as the true ones.
    cargo.env("CARGO_TARGET_DIR", root.join("target")).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
#[ignore = "builds the planner or the programs once per fault: minutes; part of `make test-all`"]
fn every_fault_in_policy_is_caught() {
    let root = sources("policy-faults", &SOURCES);
    let only = std::env::var("MALLA_FAULT").unwrap_or_default();
    let whole = cargo(&root, &[]);
    assert!(whole.status.success(), "as it is, it must pass first: {}", text(&whole));
    let mut missed = Vec::new();
    for fault in FAULTS.iter().filter(|fault| fault.what.contains(&only)) {
        let (built, ran) = fault.tried(&root, || (cargo(&root, &["--no-run"]), cargo(&root, &[])));
        assert!(built.status.success(), "{}: {}", fault.what, text(&built));
        let said = text(&ran);
        let side = if fault.file.starts_with("policy/") { "planner" } else { "kernel" };
        match said.contains("Test failed: ") {
            true => println!("| {} | {side} |", fault.what),
            false => missed.push(format!("{}: {}", fault.what, said.lines().last().unwrap_or_default())),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

#[test]
fn every_fault_is_still_in_its_place() {
    are_in_their_places(&FAULTS);
}
