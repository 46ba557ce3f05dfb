use super::*;
use crate::rule::{Dialect, Direction, Origin, Peers, PerDirection, Ports, Priority, Subject};
use crate::selector::Selector;
use crate::subject::IdentityFacts;
use datapath_layouts::identity;

fn policy(name: &str, default_deny: bool, rules: &[(Tier, u16, Action)]) -> Policy {
    let origin = Origin {
        dialect: Dialect::Kubernetes,
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
        part: 0,
    };
    let rule = |(at, &(tier, order, action)): (usize, &(Tier, u16, Action))| Rule {
        direction: Direction::Ingress,
        tier,
        order,
        action,
        peers: Peers::Any,
        ports: Ports::Any,
        field: format!("rules[{at}]").into(),
    };
    Policy {
        origin,
        subject: Subject::Endpoints(Selector::default()),
        default_deny: PerDirection { ingress: default_deny, egress: false },
        rules: rules.iter().enumerate().map(rule).collect(),
        audit: false,
        log: None,
        gaps: Vec::new(),
    }
}

/// `(policy, field, why)` of what lost.
fn check(policies: &[Policy], allowed: bool, decided: &[(&str, &str)], expected: &[(&str, &str, Why)]) {
    let identities: Vec<_> = (0..20).filter_map(IdentityFacts::reserved).collect();
    let world = World { policies, identities: &identities, nodes: &[] };
    let packet = Packet {
        direction: Direction::Ingress,
        subject: identity::HEALTH,
        peer: identity::WORLD,
        address: "203.0.113.2".parse().unwrap(),
        protocol: 6,
        port: 80,
    };
    let explanation = explain(&world, &packet, false);
    assert_eq!(explanation.judgement.allowed, allowed);
    let found: Vec<_> = match &explanation.judgement.decision {
        Decision::Rules(rules) => rules.iter().map(|(p, r)| (&*p.origin.name, &*r.field)).collect(),
        _ => Vec::new(),
    };
    assert_eq!(found, decided);
    let lost: Vec<_> = explanation.lost.iter().map(|l| (&*l.policy.origin.name, &*l.rule.field, l.why)).collect();
    assert_eq!(lost, expected);
}

#[test]
fn what_lost_says_why() {
    let admin = |n| Tier::Admin(Priority::new(n).unwrap());
    let baseline = Tier::Baseline(Priority::new(0).unwrap());
    let tower = policy(
        "tower",
        false,
        &[(admin(1), 0, Action::Pass), (admin(2), 0, Action::Deny), (baseline, 0, Action::Deny)],
    );
    let open = policy("open", true, &[(Tier::Normal, 0, Action::Allow)]);
    let shut = policy("shut", true, &[(Tier::Normal, 0, Action::Deny)]);
    check(
        &[tower.clone(), open.clone()],
        true,
        &[("open", "rules[0]")],
        &[
            ("tower", "rules[0]", Why::Passed),
            ("tower", "rules[1]", Why::EarlierRule),
            ("tower", "rules[2]", Why::DefaultDeny),
        ],
    );
    check(&[open.clone(), shut.clone()], false, &[("shut", "rules[0]")], &[("open", "rules[0]", Why::EarlierRule)]);
    let wall = policy("wall", false, &[(admin(0), 0, Action::Deny)]);
    check(&[wall, open], false, &[("wall", "rules[0]")], &[("open", "rules[0]", Why::EarlierTier)]);
    check(
        &[tower],
        false,
        &[("tower", "rules[2]")],
        &[("tower", "rules[0]", Why::Passed), ("tower", "rules[1]", Why::EarlierRule)],
    );
}

#[test]
fn default_deny_names_its_policies() {
    let policies = [policy("a", true, &[]), policy("b", false, &[]), policy("c", true, &[])];
    let identities: Vec<_> = (0..20).filter_map(IdentityFacts::reserved).collect();
    let world = World { policies: &policies, identities: &identities, nodes: &[] };
    let packet = Packet {
        direction: Direction::Ingress,
        subject: identity::HEALTH,
        peer: identity::WORLD,
        address: "2001:db8::2".parse().unwrap(),
        protocol: 17,
        port: 53,
    };
    let explanation = explain(&world, &packet, false);
    assert_eq!(explanation.judgement.decision, Decision::DefaultDeny);
    assert_eq!(explanation.default_deny.iter().map(|p| &*p.origin.name).collect::<Vec<_>>(), ["a", "c"]);
}
