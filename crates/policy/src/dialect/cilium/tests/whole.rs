//! Default deny, subjects, several rules in one object, annotations.

use super::{clusterwide, clusterwide_policy, namespaced, network_policy, references, rules, subject};

#[test]
fn default_deny_follows_the_sections_unless_it_is_said() {
    for (sections, ingress, egress) in [
        ("ingress: [{}]", true, false),
        ("egress: [{}]", false, true),
        ("ingress: []\negress: [{}]", false, true),
        ("ingress: []", false, false),
        ("ingressDeny: [{fromEntities: [world]}]", true, false),
        ("egressDeny: [{toEntities: [world]}]", false, true),
        ("ingress: [{}]\negressDeny: [{}]", true, true),
        ("enableDefaultDeny: {ingress: false}\ningress: [{}]\negress: [{}]", false, true),
        ("enableDefaultDeny: {ingress: true, egress: false}\negressDeny: [{}]", true, false),
    ] {
        let policy = &namespaced(&format!("endpointSelector: {{}}\n{sections}")).expect(sections)[0];
        assert_eq!((policy.default_deny.ingress, policy.default_deny.egress), (ingress, egress), "{sections}");
    }
}

#[test]
fn an_empty_rule_closes_its_direction_and_allows_nobody() {
    for sections in ["ingress: [{}]", "egress: [{}]", "ingressDeny: [{}]", "ingress: [{toPorts: []}]"] {
        let policy = &namespaced(&format!("endpointSelector: {{}}\n{sections}")).expect(sections)[0];
        assert!(policy.rules.is_empty() && policy.gaps.is_empty(), "{sections}: {policy:?}");
    }
}

#[test]
fn a_policy_governs_its_own_namespace_or_the_nodes() {
    let own = "k8s:io.kubernetes.pod.namespace=shop";
    for (selector, expected) in [
        ("{}", own.to_owned()),
        ("{matchLabels: {app: web}}", format!("any:app=web,{own}")),
        ("{matchLabels: {'k8s:app': web}}", format!("k8s:app=web,{own}")),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [a, b]}]}", format!("any:app notin (a,b),{own}")),
        ("{matchLabels: {'io.kubernetes.pod.namespace': other}}", own.to_owned()),
        ("{matchLabels: {'reserved:host': ''}}", format!("{own},reserved:host=")),
    ] {
        let policy = &namespaced(&format!("endpointSelector: {selector}\ningress: [{{}}]")).expect(selector)[0];
        assert_eq!(subject(policy), expected, "{selector}");
        assert_eq!(policy.gaps.len(), usize::from(selector.contains("other")), "{selector}: {:?}", policy.gaps);
    }
    for (selector, expected) in [
        ("endpointSelector: {}", "k8s:io.kubernetes.pod.namespace"),
        ("endpointSelector: {matchLabels: {app: web}}", "any:app=web,k8s:io.kubernetes.pod.namespace"),
        ("nodeSelector: {}", "nodes everything"),
        ("nodeSelector: {matchLabels: {role: edge}}", "nodes any:role=edge"),
    ] {
        let policy = &clusterwide(&format!("{selector}\ningress: [{{}}]")).expect(selector)[0];
        assert_eq!(subject(policy), expected);
    }
}

#[test]
fn each_of_specs_is_a_policy_of_its_own() {
    let text = "
metadata: {name: p, namespace: shop, uid: u-1, annotations: {malla.dev/audit: 'true'}}
spec: {endpointSelector: {matchLabels: {app: a}}, ingress: [{fromEntities: [world]}], log: {value: front door}}
specs:
- {endpointSelector: {matchLabels: {app: b}}, egress: [{toEntities: [world]}]}
- {endpointSelector: {matchLabels: {app: c}}, egressDeny: [{}, {toEntities: [host]}]}";
    let policies = network_policy(&serde_saphyr::from_str(text).unwrap(), &references()).unwrap();
    let seen: Vec<_> = policies.iter().map(|policy| (policy.origin.part, rules(policy).join(";"))).collect();
    assert_eq!(
        seen,
        [
            (0, "spec.ingress[0] allow world : anything".to_owned()),
            (1, "specs[0].egress[0] allow world : anything".to_owned()),
            (2, "specs[1].egressDeny[1] deny host : anything".to_owned()),
        ]
    );
    assert!(policies.iter().all(|policy| policy.audit && &*policy.origin.uid == "u-1"));
    assert_eq!(policies[2].rules[0].order, 1);
    assert_eq!((policies[0].log.as_deref(), policies[1].log.as_deref()), (Some("front door"), None));
    assert_eq!(policies[0].origin.to_string(), "CiliumNetworkPolicy shop/p");
    let whole = clusterwide_policy(
        &serde_saphyr::from_str("metadata: {name: p}\nspecs: [{nodeSelector: {}, ingress: [{}]}]").unwrap(),
        &references(),
    );
    assert_eq!(whole.unwrap()[0].origin.to_string(), "CiliumClusterwideNetworkPolicy p");
}

#[test]
fn the_policy_of_the_seeds() {
    let text = "
metadata: {name: secure-access-to-mainframe}
spec:
  endpointSelector:
    matchLabels:
      app: banking-middleware
      env: production
  egress:
  - toCIDR:
    - 192.168.100.50/32
    toPorts:
    - ports:
      - port: '443'
        protocol: TCP";
    let policies = network_policy(&serde_saphyr::from_str(text).unwrap(), &references()).unwrap();
    assert_eq!(
        subject(&policies[0]),
        "any:app=banking-middleware,any:env=production,k8s:io.kubernetes.pod.namespace=default"
    );
    assert_eq!(rules(&policies[0]), ["spec.egress[0] allow 192.168.100.50/32 : tcp/443"]);
    assert!(policies[0].default_deny.egress && !policies[0].default_deny.ingress);
}
