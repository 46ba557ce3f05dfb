//! What is asked for and not enforced: told, an allow of it adds nothing, a deny of it denies whatever it might have meant.

use super::{namespaced, rules};

#[track_caller]
fn check(section: &str, gaps: &[&str], expected: &[&str]) {
    let policy = &namespaced(&format!("endpointSelector: {{}}\n{section}")).expect(section)[0];
    let fields: Vec<_> = policy.gaps.iter().map(|gap| gap.field.as_str()).collect();
    assert_eq!(fields, gaps, "{section}");
    assert_eq!(rules(policy), expected, "{section}");
    let governed =
        if section.starts_with("ingress") { policy.default_deny.ingress } else { policy.default_deny.egress };
    assert!(governed, "the direction stays closed: {section}");
}

#[test]
fn what_is_said_on_a_port() {
    let http = "rules: {http: [{method: GET}]}";
    for (what, field) in [
        (http, "rules"),
        ("rules: {kafka: [{topic: t}]}", "rules"),
        ("rules: {l7proto: r2d2, l7: [{cmd: READ}]}", "rules"),
        ("serverNames: [example.com]", "serverNames"),
        ("listener: {name: l, envoyConfig: {name: c}}", "listener"),
        ("terminatingTLS: {secret: {name: s}}", "terminatingTLS"),
        ("originatingTLS: {secret: {name: s}}", "originatingTLS"),
    ] {
        let place = format!("spec.egress[0].toPorts[0].{field}");
        check(&format!("egress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], {what}}}]}}]"), &[&place], &[]);
    }
    // What is asked for without it stays.
    check(
        &format!(
            "ingress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], {http}}}, {{ports: [{{port: '81', protocol: TCP}}]}}]}}]"
        ),
        &["spec.ingress[0].toPorts[0].rules"],
        &["spec.ingress[0] allow anybody : tcp/81"],
    );
    check(
        &format!("ingressDeny: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], {http}}}]}}]"),
        &["spec.ingressDeny[0].toPorts[0].rules"],
        &["spec.ingressDeny[0] deny anybody : tcp/80"],
    );
    check(
        "egress: [{toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchPattern: '*'}]}}]}]",
        &["spec.egress[0].toPorts[0].rules"],
        &[],
    );
}

#[test]
fn peers_that_cannot_be_told_apart() {
    check("egress: [{toFQDNs: [{matchName: example.com}]}]", &["spec.egress[0].toFQDNs"], &[]);
    check("egress: [{toGroups: [{aws: {region: x}}]}]", &["spec.egress[0].toGroups"], &[]);
    check("ingress: [{fromGroups: [{aws: {region: x}}]}]", &["spec.ingress[0].fromGroups"], &[]);
    check(
        "egressDeny: [{toGroups: [{aws: {region: x}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]",
        &["spec.egressDeny[0].toGroups"],
        &["spec.egressDeny[0] deny anybody : tcp/80"],
    );
    check(
        "egress: [{toEndpoints: [{matchLabels: {'cidr:10.0.0.0/8': ''}}, {matchLabels: {'reserved:host': ''}}]}]",
        &["spec.egress[0].toEndpoints[0]"],
        &["spec.egress[0] allow reserved:host= : anything"],
    );
    check(
        "ingressDeny: [{fromEndpoints: [{matchLabels: {'fqdn:example.com': ''}}]}]",
        &["spec.ingressDeny[0].fromEndpoints[0]"],
        &["spec.ingressDeny[0] deny anybody : anything"],
    );
}

#[test]
fn who_the_peer_is_has_to_be_proved() {
    for mode in ["required", "test-always-fail"] {
        check(
            &format!("ingress: [{{fromEntities: [world], authentication: {{mode: {mode}}}}}]"),
            &["spec.ingress[0].authentication.mode"],
            &[],
        );
    }
    check(
        "ingress: [{fromEntities: [world], authentication: {mode: disabled}}]",
        &[],
        &["spec.ingress[0] allow world : anything"],
    );
}

#[test]
fn names_that_resolve_to_nothing() {
    check("egress: [{toServices: [{k8sService: {serviceName: gone}}]}]", &["spec.egress[0].toServices[0]"], &[]);
    check("egress: [{toCIDRSet: [{cidrGroupRef: gone}]}]", &["spec.egress[0].toCIDRSet[0].cidrGroupRef"], &[]);
    check(
        "ingressDeny: [{fromCIDRSet: [{cidrGroupSelector: {matchLabels: {site: moon}}}]}]",
        &["spec.ingressDeny[0].fromCIDRSet[0].cidrGroupSelector"],
        &[],
    );
}

#[test]
fn lists_of_no_port_and_no_type() {
    check("ingress: [{toPorts: [{}]}]", &["spec.ingress[0].toPorts[0].ports"], &[]);
    check(
        "ingressDeny: [{fromEntities: [world], toPorts: [{ports: []}]}]",
        &["spec.ingressDeny[0].toPorts[0].ports"],
        &["spec.ingressDeny[0] deny world : anything"],
    );
    check("egress: [{icmps: [{}]}]", &["spec.egress[0].icmps[0].fields"], &[]);
    check(
        "egressDeny: [{icmps: [{}]}]",
        &["spec.egressDeny[0].icmps[0].fields"],
        &["spec.egressDeny[0] deny anybody : anything"],
    );
}
