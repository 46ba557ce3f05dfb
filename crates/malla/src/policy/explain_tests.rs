use super::*;
use policy::told::{Named, RuleText};

fn told(cause: Cause, allowed: bool, field: Option<&str>) -> Told {
    let rule = |field: &str| RuleText {
        rule: Named {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: "db".into(),
            field: Some(field.to_owned()),
        },
        action: "allow".into(),
        peers: "k8s:app=web".into(),
        ports: "tcp/5432".into(),
        why: None,
    };
    Told {
        allowed,
        cause,
        decided_by: field.map(rule).into_iter().collect(),
        default_deny: Vec::new(),
        lost: Vec::new(),
        not_matched: Vec::new(),
    }
}

fn real(cause: RealCause, allowed: bool, rule: u32) -> Real {
    Real { allowed, why: String::new(), rule, subject: 300, peer: 2, cause }
}

#[test]
fn maps_agree_only_if_verdict_reason_and_ends_are_the_same() {
    let origin = policy::rule::Origin {
        dialect: policy::rule::Dialect::Kubernetes,
        kind: "NetworkPolicy".into(),
        namespace: "shop".into(),
        name: "db".into(),
        uid: "".into(),
        part: 0,
    };
    let name = |number, field: &str| policy::snapshot::RuleName { number, policy: origin.clone(), field: field.into() };
    let snapshot =
        Snapshot { rules: vec![name(7, "spec.ingress[0]"), name(8, "spec.ingress[1]")], ..Snapshot::default() };
    let packet = Packet {
        direction: Direction::Ingress,
        subject: 300,
        peer: datapath_layouts::identity::WORLD_IPV4,
        address: "203.0.113.2".parse().unwrap(),
        protocol: 6,
        port: 5432,
    };
    let first = Some("spec.ingress[0]");
    for (rules, maps, expected) in [
        (told(Cause::Rule, true, first), real(RealCause::Rule, true, 7), true),
        (told(Cause::Rule, true, first), real(RealCause::Rule, true, 8), false),
        (told(Cause::Rule, true, first), real(RealCause::Rule, true, 9), false),
        (told(Cause::Rule, true, first), real(RealCause::DefaultDeny, false, 0), false),
        (told(Cause::Rule, false, first), real(RealCause::Rule, true, 7), false),
        (told(Cause::DefaultDeny, false, None), real(RealCause::DefaultDeny, false, 0), true),
        (told(Cause::DefaultDeny, false, None), real(RealCause::NotThere, false, 0), false),
        (told(Cause::NoPolicy, true, None), real(RealCause::DefaultAllow, true, 0), true),
        (told(Cause::LocalHost, true, None), real(RealCause::Rule, true, 0), true),
        (told(Cause::LocalHost, true, None), real(RealCause::Rule, true, 7), false),
        (told(Cause::NoPolicy, true, None), Real { peer: 301, ..real(RealCause::DefaultAllow, true, 0) }, false),
        (told(Cause::NoPolicy, true, None), Real { subject: 5, ..real(RealCause::DefaultAllow, true, 0) }, false),
    ] {
        assert_eq!(agrees(&rules, &maps, &packet, &snapshot), expected, "{rules:?} {maps:?}");
    }
}

#[test]
fn disagreement_and_silence_are_loud() {
    let end = |maps: Option<Real>, agree| End {
        direction: Direction::Ingress,
        subject: "shop/db-0".into(),
        identity: 300,
        node: Some("worker-1".into()),
        rules: told(Cause::Rule, true, Some("spec.ingress[0]")),
        maps_unread: maps.is_none().then(|| "gone".to_owned()),
        maps,
        agree,
    };
    let flow = |end| Flow {
        from: "shop/web-1".into(),
        to: "shop/db-0".into(),
        source: "10.244.1.2".parse().unwrap(),
        destination: "10.244.2.2".parse().unwrap(),
        port: "tcp/5432".into(),
        allowed: true,
        ends: vec![end],
    };
    let answer = |end, drift| Answer { allowed: true, drift, flows: vec![flow(end)], warnings: vec!["x".into()] };
    let said = text(&answer(end(Some(real(RealCause::Rule, true, 7)), Some(true)), false));
    assert!(said.contains("shop/web-1 -> shop/db-0 tcp/5432: ALLOWED\n  ingress of shop/db-0 on worker-1"), "{said}");
    assert!(said.contains("decided:  NetworkPolicy shop/db spec.ingress[0]") && said.contains("(agree)"), "{said}");
    assert!(said.starts_with("WARNING: x\n") && !said.contains("DISAGREE"), "{said}");
    let said = text(&answer(end(Some(real(RealCause::DefaultDeny, false, 0)), Some(false)), true));
    assert!(
        said.contains("WARNING: the rules and the real maps DISAGREE") && said.contains("maps:     DISAGREE: denied")
    );
    assert!(text(&answer(end(None, None), false)).contains("maps:     NOT ASKED: gone"));
}
