//! What is refused, and the field that it is told of.

use super::{clusterwide, namespaced, network_policy, references};

#[track_caller]
fn check(spec: &str, field: &str) {
    let mistakes = namespaced(spec).expect_err(spec);
    let fields: Vec<_> = mistakes.iter().map(|mistake| mistake.field.as_str()).collect();
    assert_eq!(fields, [field], "{spec}: {mistakes:?}");
    assert!(!mistakes[0].text.is_empty());
}

/// What is enforced instead: whether it closes ingress and egress, and whom it denies expressly.
#[track_caller]
fn check_closed(spec: &str, default_deny: [bool; 2], expected: &[&str]) {
    let text = "metadata: {name: p, namespace: shop, annotations: {malla.dev/audit: 'true'}}\nspec:\n";
    let object = serde_saphyr::from_str(&format!("{text}{}", super::indented(spec))).expect("a policy");
    network_policy(&object, &references()).expect_err("a mistake");
    let closed = super::super::network_policy_closed(&object, &references());
    assert_eq!(closed.len(), 1, "{spec}");
    let one = &closed[0];
    assert!(one.audit && one.gaps.is_empty());
    assert_eq!([one.default_deny.ingress, one.default_deny.egress], default_deny, "{spec}");
    assert_eq!(super::rules(one), expected, "{spec}");
}

#[test]
fn what_has_a_mistake_denies_whom_it_selects_where_it_governs() {
    let head = "endpointSelector: {matchLabels: {app: web}}\n";
    let bad = "{toPorts: [{ports: [{port: '70000', protocol: TCP}]}]}";
    let check = |rest: &str, default_deny, rules: &[&str]| check_closed(&format!("{head}{rest}"), default_deny, rules);
    check(&format!("ingress: [{{fromEntities: [world]}}, {bad}]"), [true, false], &[]);
    check(&format!("egress: [{bad}]"), [false, true], &[]);
    // Who has a denial may have meant anybody by it.
    check(&format!("ingress: [{{}}]\negressDeny: [{bad}]"), [true, true], &["spec.egressDeny deny anybody : anything"]);
    // What closes nothing when it is right closes nothing when it is wrong, but for its denials.
    check(&format!("enableDefaultDeny: {{ingress: false}}\ningress: [{bad}]"), [false, false], &[]);
    check(
        &format!("enableDefaultDeny: {{ingress: false}}\ningressDeny: [{bad}]"),
        [false, false],
        &["spec.ingressDeny deny anybody : anything"],
    );
    check("", [true, true], &[]);
    for unknown in ["ingress: [{}]", "endpointSelector: {matchLabels: {a: 'x y'}}\ningress: [{}]"] {
        let text = format!("metadata: {{name: p, namespace: shop}}\nspec:\n{}", super::indented(unknown));
        let object = serde_saphyr::from_str(&text).expect("a policy");
        network_policy(&object, &references()).expect_err(unknown);
        assert!(super::super::network_policy_closed(&object, &references()).is_empty(), "{unknown}");
    }
}

#[test]
fn whom_it_governs_and_what_it_says() {
    check("ingress: [{}]", "spec.endpointSelector");
    check("endpointSelector: {}", "spec");
    check("nodeSelector: {}\ningress: [{}]", "spec.nodeSelector");
    check("endpointSelector: {matchLabels: {'': x}}\ningress: [{}]", "spec.endpointSelector.matchLabels[\"\"]");
    check("endpointSelector: {matchLabels: {a: 'x y'}}\ningress: [{}]", "spec.endpointSelector.matchLabels[\"a\"]");
    for (term, field) in [
        ("{key: a, operator: In}", "values"),
        ("{key: a, operator: NotIn, values: []}", "values"),
        ("{key: a, operator: Exists, values: [x]}", "values"),
        ("{key: a, operator: DoesNotExist, values: [x]}", "values"),
        ("{key: a, operator: Like, values: [x]}", "operator"),
        ("{key: ':', operator: Exists}", "key"),
    ] {
        let field = format!("spec.endpointSelector.matchExpressions[0].{field}");
        check(&format!("endpointSelector: {{matchExpressions: [{term}]}}\ningress: [{{}}]"), &field);
    }
    let both = clusterwide("endpointSelector: {}\nnodeSelector: {}\ningress: [{}]").unwrap_err();
    assert_eq!(both[0].field, "spec.nodeSelector");
    let none = network_policy(&serde_saphyr::from_str("metadata: {name: p}").unwrap(), &references()).unwrap_err();
    assert_eq!(none[0].field, "spec");
}

#[test]
fn peers() {
    for (section, field) in [
        ("ingress: [{fromEndpoints: [{}], fromEntities: [world]}]", "spec.ingress[0].fromEntities"),
        ("egress: [{}, {toCIDR: [10.0.0.0/8], toCIDRSet: [{cidr: 10.0.0.0/8}]}]", "spec.egress[1].toCIDRSet"),
        (
            "egressDeny: [{toEndpoints: [{}], toServices: [{k8sService: {serviceName: db}}]}]",
            "spec.egressDeny[0].toServices",
        ),
        ("ingress: [{fromEntities: [world, wrold]}]", "spec.ingress[0].fromEntities[1]"),
        ("ingress: [{fromCIDR: [10.0.0.0/33]}]", "spec.ingress[0].fromCIDR[0]"),
        ("ingress: [{fromCIDR: ['']}]", "spec.ingress[0].fromCIDR[0]"),
        ("ingress: [{fromCIDR: ['::ffff:10.0.0.0/104']}]", "spec.ingress[0].fromCIDR[0]"),
        ("egress: [{toCIDRSet: [{cidr: 10.0.0.1}]}]", "spec.egress[0].toCIDRSet[0].cidr"),
        ("egress: [{toCIDRSet: [{}]}]", "spec.egress[0].toCIDRSet[0]"),
        ("egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: vpn}]}]", "spec.egress[0].toCIDRSet[0]"),
        ("egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]}]", "spec.egress[0].toCIDRSet[0].except[0]"),
        (
            "egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: ['2001:db8::/32']}]}]",
            "spec.egress[0].toCIDRSet[0].except[0]",
        ),
        ("egress: [{toServices: [{}]}]", "spec.egress[0].toServices[0]"),
        ("egress: [{toServices: [{k8sService: {}}]}]", "spec.egress[0].toServices[0].k8sService.serviceName"),
        ("egress: [{toFQDNs: [{}]}]", "spec.egress[0].toFQDNs[0]"),
        ("egress: [{toFQDNs: [{matchName: a, matchPattern: b}]}]", "spec.egress[0].toFQDNs[0]"),
        ("ingress: [{authentication: {mode: maybe}}]", "spec.ingress[0].authentication.mode"),
    ] {
        check(&format!("endpointSelector: {{}}\n{section}"), field);
    }
    let unnamed =
        clusterwide("endpointSelector: {}\negress: [{toServices: [{k8sService: {serviceName: db}}]}]").unwrap_err();
    assert_eq!(unnamed[0].field, "spec.egress[0].toServices[0].k8sService.namespace");
}

#[test]
fn ports() {
    let port = |port: &str| format!("ingress: [{{toPorts: [{{ports: [{port}]}}]}}]");
    let at = "spec.ingress[0].toPorts[0].ports[0]";
    let forty_one = vec!["{port: '7'}"; 41].join(", ");
    let forty_one_types = vec!["{type: 8}"; 41].join(", ");
    for (section, field) in [
        (port("{port: '65536'}"), format!("{at}.port")),
        (port("{port: '080'}"), format!("{at}.port")),
        (port("{port: '-1'}"), format!("{at}.port")),
        (port("{port: a-name-that-is-too-long}"), format!("{at}.port")),
        (port("{port: '80', endPort: 79}"), format!("{at}.endPort")),
        (port("{port: '80', endPort: 65536}"), format!("{at}.endPort")),
        (port("{port: '0', endPort: 80}"), format!("{at}.endPort")),
        (port("{port: http, endPort: 80}"), format!("{at}.endPort")),
        (port("{port: '80', protocol: ICMP}"), format!("{at}.protocol")),
        (port("{port: '80', protocol: QUIC}"), format!("{at}.protocol")),
        (port("{port: '80', protocol: VRRP}"), format!("{at}.port")),
        (port(&forty_one), "spec.ingress[0].toPorts[0].ports".to_owned()),
        (
            "ingress: [{toPorts: [{ports: [{port: '80'}]}], icmps: [{fields: [{type: 8}]}]}]".into(),
            "spec.ingress[0].icmps".into(),
        ),
        (format!("ingress: [{{icmps: [{{fields: [{forty_one_types}]}}]}}]"), "spec.ingress[0].icmps[0].fields".into()),
        ("ingress: [{icmps: [{fields: [{type: 256}]}]}]".into(), "spec.ingress[0].icmps[0].fields[0].type".into()),
        (
            "ingress: [{icmps: [{fields: [{type: PacketTooBig}]}]}]".into(),
            "spec.ingress[0].icmps[0].fields[0].type".into(),
        ),
        (
            "ingress: [{icmps: [{fields: [{type: 8, family: IPX}]}]}]".into(),
            "spec.ingress[0].icmps[0].fields[0].family".into(),
        ),
    ] {
        check(&format!("endpointSelector: {{}}\n{section}"), &field);
    }
}

#[test]
fn what_is_said_on_ports() {
    for (section, field) in [
        (
            "ingress: [{toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchPattern: '*'}]}}]}]",
            "spec.ingress[0].toPorts[0].rules.dns",
        ),
        (
            "egress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}], kafka: [{}]}}]}]",
            "spec.egress[0].toPorts[0].rules.kafka",
        ),
        (
            "egress: [{toPorts: [{ports: [{port: '80', protocol: UDP}], rules: {http: [{}]}}]}]",
            "spec.egress[0].toPorts[0].ports[0].protocol",
        ),
        (
            "egress: [{toPorts: [{ports: [{port: '0', protocol: TCP}], rules: {http: [{}]}}]}]",
            "spec.egress[0].toPorts[0].ports[0].port",
        ),
        (
            "egress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {l7: [{a: b}]}}]}]",
            "spec.egress[0].toPorts[0].rules.l7proto",
        ),
        (
            "egress: [{toPorts: [{ports: [{port: '443', protocol: TCP}], serverNames: ['']}]}]",
            "spec.egress[0].toPorts[0].serverNames[0]",
        ),
        (
            "ingress: [{toPorts: [{ports: [{port: '80'}], listener: {name: l, envoyConfig: {name: c}}}]}]",
            "spec.ingress[0].toPorts[0].listener",
        ),
    ] {
        check(&format!("endpointSelector: {{}}\n{section}"), field);
    }
}

#[test]
fn annotations() {
    for annotation in ["malla.dev/audit: 'yes'", "malla.dev/cidr-matches: pods"] {
        let text = format!(
            "metadata: {{name: p, annotations: {{{annotation}}}}}\nspec: {{endpointSelector: {{}}, ingress: [{{}}]}}"
        );
        let mistakes = network_policy(&serde_saphyr::from_str(&text).unwrap(), &references()).unwrap_err();
        let name = annotation.split(':').next().unwrap();
        assert_eq!(mistakes[0].field, format!("metadata.annotations[{name:?}]"));
    }
}

#[test]
fn all_of_them_are_told() {
    let spec = "endpointSelector: {}\nnodeSelector: {}\ningress: [{fromCIDR: [x]}]\negress: [{toEntities: [y]}]";
    assert_eq!(clusterwide(spec).unwrap_err().len(), 3);
}
