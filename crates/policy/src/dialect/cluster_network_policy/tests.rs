use super::{closed, cluster_network_policy};
use crate::dialect::Mistake;
use crate::rule::{Action, Direction, Peers, Policy, Ports, Priority, Subject, Tier};
use proptest::prelude::*;
use serde_json::{Value, json};

fn policy(spec: &str) -> Result<Policy, Vec<Mistake>> {
    let text = format!("metadata: {{name: p, uid: u}}\nspec:\n  {}", spec.replace('\n', "\n  "));
    cluster_network_policy(&serde_saphyr::from_str(&text).expect("a policy"))
}

const HEAD: &str = "tier: Admin\npriority: 7\nsubject: {namespaces: {}}\n";

/// The rules of one direction, as their Debug form without what is the same in all.
#[track_caller]
fn check(rules: &str, expected: &[(Action, &str, &str)]) {
    let policy = policy(&format!("{HEAD}{rules}")).expect(rules);
    let seen: Vec<_> = policy.rules.iter().map(|rule| (rule.action, peers(&rule.peers), ports(&rule.ports))).collect();
    let expected: Vec<_> = expected.iter().map(|(action, a, b)| (*action, (*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(seen, expected, "{rules}");
}

fn peers(peers: &Peers) -> String {
    match peers {
        Peers::Any => "any".into(),
        Peers::OneOf(list) => list.iter().map(|peer| format!("{peer}")).collect::<Vec<_>>().join(" | "),
    }
}

fn ports(ports: &Ports) -> String {
    match ports {
        Ports::Any => "any".into(),
        Ports::OneOf(list) => list.iter().map(|port| format!("{port}")).collect::<Vec<_>>().join(" "),
    }
}

const PODS: &str = "k8s:io.kubernetes.pod.namespace";

#[test]
fn tiers_priorities_subjects_and_order() {
    let all = policy("tier: Baseline\npriority: 1000\nsubject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}\ningress: [{action: Deny, from: [{namespaces: {}}]}, {action: Pass, from: [{namespaces: {}}]}]\negress: [{name: out, action: Accept, to: [{namespaces: {}}]}]").unwrap();
    let Subject::Endpoints(subject) = &all.subject else { panic!("{all:?}") };
    assert_eq!(subject.to_string(), format!("k8s:app=web,k8s:io.cilium.k8s.namespace.labels.team=a,{PODS}"));
    let seen: Vec<_> = all.rules.iter().map(|rule| (rule.direction, rule.order, rule.action, &*rule.field)).collect();
    assert_eq!(
        seen,
        [
            (Direction::Ingress, 0, Action::Deny, "spec.ingress[0]"),
            (Direction::Ingress, 1, Action::Pass, "spec.ingress[1]"),
            (Direction::Egress, 0, Action::Allow, "spec.egress[0]"),
        ]
    );
    assert!(all.rules.iter().all(|rule| matches!(rule.tier, Tier::Baseline(priority) if priority.get() == 1000)));
    assert!(!all.default_deny.ingress && !all.default_deny.egress, "it closes nothing by being there");
    let admin = policy(&format!("{HEAD}ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]")).unwrap();
    assert!(matches!(admin.rules[0].tier, Tier::Admin(priority) if priority.get() == 7));
}

#[test]
fn peers_and_ports() {
    check(
        "ingress: [{action: Accept, from: [{namespaces: {matchLabels: {team: a}}}]}]",
        &[(Action::Allow, &format!("k8s:io.cilium.k8s.namespace.labels.team=a,{PODS}"), "any")],
    );
    check("ingress: [{action: Pass, from: [{pods: {podSelector: {}}}]}]", &[(Action::Pass, PODS, "any")]);
    check(
        "egress: [{action: Deny, to: [{networks: [10.0.0.0/8, '::/0']}, {nodes: {}}, {nodes: {matchLabels: {role: edge}}}]}]",
        &[(Action::Deny, "10.0.0.0/8 of everyone | ::/0 of everyone | nodes everything | nodes k8s:role=edge", "any")],
    );
    check(
        "egress: [{action: Accept, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}, {udp: {destinationPort: {range: {start: 1000, end: 2000}}}}, {sctp: {}}, {destinationNamedPort: web}]}]",
        &[(Action::Allow, PODS, "tcp/80 udp/1000-2000 sctp any/web")],
    );
}

#[test]
fn what_is_not_understood_fails_closed() {
    let everything = (Action::Deny, "any", "any");
    for (peer, action, expected) in [
        ("{}", "Accept", vec![]),
        ("{}", "Deny", vec![everything]),
        ("{}", "Pass", vec![everything]),
        ("{someday: {}}", "Pass", vec![everything]),
        ("{namespaces: {}, pods: {podSelector: {}}}", "Accept", vec![]),
    ] {
        for (direction, list) in [("ingress", "from"), ("egress", "to")] {
            let rules = format!("{direction}: [{{action: {action}, {list}: [{{namespaces: {{}}}}, {peer}]}}]");
            check(&rules, &expected);
            let gaps = policy(&format!("{HEAD}{rules}")).unwrap().gaps;
            assert_eq!(gaps[0].field, format!("spec.{direction}[0].{list}[1]"));
        }
    }
    check("ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{}]}]", &[]);
    check("ingress: [{action: Pass, from: [{namespaces: {}}], protocols: [{quic: {}}]}]", &[everything]);
    // Names are understood, so the other peers of the rule stay.
    check(
        "egress: [{action: Accept, to: [{domainNames: ['*.example.com']}, {nodes: {}}]}]",
        &[(Action::Allow, "nodes everything", "any")],
    );
    check("egress: [{action: Accept, to: [{domainNames: ['*.example.com']}]}]", &[]);
}

#[test]
fn mistakes_name_their_field() {
    let rule = |rest: &str| format!("{HEAD}egress: [{{action: Deny, {rest}}}]");
    for (spec, field) in [
        ("tier: Middle\npriority: 7\nsubject: {namespaces: {}}".to_owned(), "spec.tier"),
        ("tier: Admin\npriority: 1001\nsubject: {namespaces: {}}".to_owned(), "spec.priority"),
        ("tier: Admin\npriority: -1\nsubject: {namespaces: {}}".to_owned(), "spec.priority"),
        ("tier: Admin\npriority: 7\nsubject: {}".to_owned(), "spec.subject"),
        (format!("{HEAD}ingress: [{{action: Allow, from: [{{namespaces: {{}}}}]}}]"), "spec.ingress[0].action"),
        (format!("{HEAD}ingress: [{{action: Deny, from: []}}]"), "spec.ingress[0].from"),
        (rule("to: [{networks: [10.0.0.0]}]"), "spec.egress[0].to[0].networks[0]"),
        (rule("to: [{domainNames: [example.com]}]"), "spec.egress[0].to[0].domainNames"),
        (rule("to: [{namespaces: {}}], protocols: []"), "spec.egress[0].protocols"),
        (
            rule("to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 0}}}]"),
            "spec.egress[0].protocols[0].tcp.destinationPort.number",
        ),
        (
            rule("to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 9, end: 9}}}}]"),
            "spec.egress[0].protocols[0].udp.destinationPort.range.end",
        ),
        (
            rule("to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: web}]"),
            "spec.egress[0].protocols[0].destinationNamedPort",
        ),
        (
            rule("to: [{namespaces: {}}], protocols: [{destinationNamedPort: 'no name'}]"),
            "spec.egress[0].protocols[0].destinationNamedPort",
        ),
        (
            rule("to: [{namespaces: {matchExpressions: [{key: a, operator: In}]}}]"),
            "spec.egress[0].to[0].namespaces.matchExpressions[0].values",
        ),
    ] {
        let mistakes = policy(&spec).expect_err(&spec);
        assert_eq!(mistakes.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [field], "{spec}");
    }
    let many = vec!["{action: Deny, from: [{namespaces: {}}]}"; 26].join(", ");
    assert_eq!(policy(&format!("{HEAD}ingress: [{many}]")).unwrap_err()[0].field, "spec.ingress[25]");
}

#[test]
fn of_what_has_a_mistake_no_accept_holds_and_the_rest_denies() {
    let check = |spec: &str, tier: Tier, expected: &[(Direction, u16)]| {
        policy(spec).expect_err(spec);
        let text = format!("metadata: {{name: p, uid: u}}\nspec:\n  {}", spec.replace('\n', "\n  "));
        let closed = closed(&serde_saphyr::from_str(&text).expect("a policy")).expect("a subject");
        let seen: Vec<_> = closed.rules.iter().map(|rule| (rule.direction, rule.order)).collect();
        assert_eq!(seen, expected, "{spec}");
        let denies = |rule: &crate::rule::Rule| {
            (rule.action, rule.tier, &rule.peers, &rule.ports) == (Action::Deny, tier, &Peers::Any, &Ports::Any)
        };
        assert!(closed.rules.iter().all(denies), "{closed:?}");
    };
    let pods = "[{namespaces: {}}]";
    let rules = format!(
        "ingress: [{{action: Accept, from: {pods}}}, {{action: Deny, from: []}}]\negress: [{{action: Pass, to: {pods}}}, {{action: Nod, to: {pods}}}]"
    );
    let all = [(Direction::Ingress, 1), (Direction::Egress, 0), (Direction::Egress, 1)];
    let (first, seventh) = (Priority::new(0).unwrap(), Priority::new(7).unwrap());
    check(&format!("{HEAD}{rules}"), Tier::Admin(seventh), &all);
    let subject = "subject: {namespaces: {}}\n";
    check(&format!("tier: Baseline\npriority: 1001\n{subject}{rules}"), Tier::Baseline(first), &all);
    check(&format!("tier: Middle\npriority: 7\n{subject}{rules}"), Tier::Admin(seventh), &all);
    check(&format!("{HEAD}ingress: [{{action: Accept, from: []}}]"), Tier::Admin(seventh), &[]);
    let nobody = "metadata: {name: p}\nspec: {tier: Admin, priority: 1, subject: {}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    assert!(closed(&serde_saphyr::from_str(nobody).unwrap()).is_none());
}

#[test]
fn audit_is_an_annotation() {
    let text = "metadata: {name: p, annotations: {malla.dev/audit: 'true'}}\nspec: {tier: Admin, priority: 0, subject: {namespaces: {}}}";
    assert!(cluster_network_policy(&serde_saphyr::from_str(text).unwrap()).unwrap().audit);
}

proptest! {
    #[test]
    fn hostile_objects_never_panic(tier in "\\PC{0,8}", priority in any::<i32>(), action in "(Accept|Deny|Pass|\\PC{0,4})",
        net in "\\PC{0,20}", number in any::<i32>(), end in any::<i32>(), key in "\\PC{0,20}") {
        let object: Value = json!({ "metadata": {}, "spec": { "tier": tier, "priority": priority, "subject": { "namespaces": { "matchLabels": { key: net } } },
            "egress": [{ "action": action, "to": [{ "networks": [net] }, { "domainNames": [net] }, {}],
                "protocols": [{ "tcp": { "destinationPort": { "number": number, "range": { "start": number, "end": end } } } }, { "udp": { "destinationPort": { "number": number } } }] }] } });
        let _ = cluster_network_policy(&serde_json::from_value(object).unwrap());
    }
}
