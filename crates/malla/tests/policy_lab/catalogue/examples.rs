//! The policies of the seeds and of `examples/policies`, as they are written but for their namespace.

use super::Case;
use crate::table::Table;

pub fn cases(cases: &mut Vec<Case>) {
    // It has no namespace of its own, so it is given one.
    let seed = include_str!("../../../../../examples/policies/secure-access-to-mainframe.yaml");
    let seed = seed.replacen("metadata:\n", "metadata:\n  namespace: x\n", 1);
    cases.push(Case::new(
        "the seeds' secure-access-to-mainframe: nothing but the mainframe",
        seed,
        Table::ALL.deny("x/a", "*", "*"),
    ));
    cases.push(Case::new(
        "the example deny-all",
        include_str!("../../../../../examples/policies/deny-all.yaml"),
        Table::ALL.deny("*", "*", "*"),
    ));
    let of_shop = [
        ("selectors", include_str!("../../../../../examples/policies/selectors.yaml")),
        ("layer-7", include_str!("../../../../../examples/policies/layer-7.yaml")),
        ("tiers", include_str!("../../../../../examples/policies/tiers.yaml")),
    ];
    for (name, yaml) in of_shop {
        let yaml = yaml.replace("namespace: shop", "namespace: x");
        cases.push(Case { name: format!("the example {name}"), yaml, by_hand: None });
    }
    // The list of selectors of the seeds, one by one: those that name Pods are in cilium.rs.
    for (name, rule, who) in [
        ("fromEndpoints", "fromEndpoints: [{matchLabels: {app: frontend}}]", "x/c"),
        ("fromRequires", "fromEndpoints: [{}], fromRequires: [{matchLabels: {pod: c}}]", "x/c"),
        ("fromEntities", "fromEntities: [kube-apiserver, host, remote-node, world]", ""),
        ("fromNodes", "fromNodes: [{matchLabels: {role: edge}}]", ""),
        ("fromCIDR", "fromCIDR: [192.168.100.50/32]", ""),
    ] {
        let yaml = format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: p, namespace: x}}, \
             spec: {{endpointSelector: {{matchLabels: {{app: shop}}}}, ingress: [{{{rule}}}]}}}}"
        );
        let by_hand = Table::ALL.deny("*", "x/b", "*").allow(who, "x/b", "*");
        cases.push(Case::new(format!("the seeds' selector {name}"), yaml, by_hand));
    }
}
