//! Who is meant.

use super::{check, check_clusterwide, network_policy, references, rules};

#[test]
fn absent_empty_and_whole_lists_of_endpoints() {
    check("ingress: [{fromEndpoints: []}]", &[]);
    check("ingress: [{fromEndpoints: [], toPorts: [{ports: [{port: '80'}]}]}]", &[]);
    check("ingress: [{fromEndpoints: [], fromEntities: [world]}]", &[]);
    check("egress: [{toEntities: []}]", &[]);
    check("egress: [{toCIDR: []}]", &[]);
    check(
        "ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]",
        &["spec.ingress[0] allow anybody : tcp/80"],
    );
    check(
        "ingress: [{fromEndpoints: [{}]}]",
        &["spec.ingress[0] allow k8s:io.kubernetes.pod.namespace=shop : anything"],
    );
    check_clusterwide(
        "ingress: [{fromEndpoints: [{}]}]",
        &["spec.ingress[0] allow k8s:io.kubernetes.pod.namespace : anything"],
    );
    check(
        "egress: [{toEndpoints: [{matchLabels: {app: a}}, {matchLabels: {app: b}}]}]",
        &[
            "spec.egress[0] allow any:app=a,k8s:io.kubernetes.pod.namespace=shop or any:app=b,k8s:io.kubernetes.pod.namespace=shop : anything",
        ],
    );
}

#[test]
fn selectors_are_scoped_unless_they_say_where() {
    for (labels, scoped, clusterwide) in [
        ("app: web", "any:app=web,k8s:io.kubernetes.pod.namespace=shop", "any:app=web,k8s:io.kubernetes.pod.namespace"),
        (
            "'any:app': web",
            "any:app=web,k8s:io.kubernetes.pod.namespace=shop",
            "any:app=web,k8s:io.kubernetes.pod.namespace",
        ),
        (
            "'k8s:app': web",
            "k8s:app=web,k8s:io.kubernetes.pod.namespace=shop",
            "k8s:app=web,k8s:io.kubernetes.pod.namespace",
        ),
        (
            "'k8s:io.kubernetes.pod.namespace': other",
            "k8s:io.kubernetes.pod.namespace=other",
            "k8s:io.kubernetes.pod.namespace=other,k8s:io.kubernetes.pod.namespace",
        ),
        (
            "io.kubernetes.pod.namespace: other",
            "any:io.kubernetes.pod.namespace=other",
            "any:io.kubernetes.pod.namespace=other,k8s:io.kubernetes.pod.namespace",
        ),
        (
            "'k8s:io.cilium.k8s.namespace.labels.team': a",
            "k8s:io.cilium.k8s.namespace.labels.team=a",
            "k8s:io.cilium.k8s.namespace.labels.team=a,k8s:io.kubernetes.pod.namespace",
        ),
        ("'reserved:host': ''", "reserved:host=", "reserved:host="),
        (
            "io.cilium.k8s.policy.serviceaccount: robot",
            "any:io.cilium.k8s.policy.serviceaccount=robot,k8s:io.kubernetes.pod.namespace=shop",
            "any:io.cilium.k8s.policy.serviceaccount=robot,k8s:io.kubernetes.pod.namespace",
        ),
    ] {
        let section = format!("ingress: [{{fromEndpoints: [{{matchLabels: {{{labels}}}}}]}}]");
        check(&section, &[&format!("spec.ingress[0] allow {scoped} : anything")]);
        check_clusterwide(&section, &[&format!("spec.ingress[0] allow {clusterwide} : anything")]);
    }
    check(
        "ingress: [{fromEndpoints: [{matchExpressions: [{key: 'k8s:io.kubernetes.pod.namespace', operator: Exists}]}]}]",
        &["spec.ingress[0] allow k8s:io.kubernetes.pod.namespace : anything"],
    );
}

#[test]
fn entities_nodes_and_prefixes() {
    check(
        "egress: [{toEntities: [all, world, world-ipv4, world-ipv6, cluster, host, init, ingress, unmanaged, remote-node, health, none, kube-apiserver]}]",
        &[
            "spec.egress[0] allow all or world or world-ipv4 or world-ipv6 or cluster or host or init or ingress or unmanaged or remote-node or health or none or kube-apiserver : anything",
        ],
    );
    check(
        "ingress: [{fromNodes: [{matchLabels: {role: edge}}, {}]}]",
        &["spec.ingress[0] allow nodes any:role=edge or nodes everything : anything"],
    );
    check(
        "ingress: [{fromCIDR: [192.0.2.7, 10.1.2.3/8, '2001:db8::/32', 0.0.0.0/0, '::/0']}]",
        &["spec.ingress[0] allow 192.0.2.7/32 or 10.0.0.0/8 or 2001:db8::/32 or 0.0.0.0/0 or ::/0 : anything"],
    );
    check(
        "egress: [{toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.96.0.0/12, 10.1.0.0/16]}, {cidr: 192.0.2.0/24}]}]",
        &["spec.egress[0] allow 10.0.0.0/8 except 10.96.0.0/12, 10.1.0.0/16 or 192.0.2.0/24 : anything"],
    );
}

#[test]
fn groups_of_prefixes_by_name_and_by_labels() {
    check("egress: [{toCIDRSet: [{cidrGroupRef: vpn}]}]", &["spec.egress[0] allow 192.0.2.0/24 : anything"]);
    check(
        "ingress: [{fromCIDRSet: [{cidrGroupSelector: {matchLabels: {site: office}}, except: [203.0.113.64/26]}]}]",
        &["spec.ingress[0] allow 198.51.100.0/24 or 203.0.113.0/24 except 203.0.113.64/26 or 192.0.2.0/24 : anything"],
    );
    check("egressDeny: [{toCIDRSet: [{cidrGroupRef: vpn}]}]", &["spec.egressDeny[0] deny 192.0.2.0/24 : anything"]);
}

#[test]
fn an_annotation_widens_prefixes_to_pods_and_nodes() {
    for (word, expected) in [("all", "10.0.0.0/8 of everyone"), ("outside", "10.0.0.0/8")] {
        let text = format!(
            "metadata: {{name: p, namespace: shop, annotations: {{malla.dev/cidr-matches: {word}}}}}\nspec: {{endpointSelector: {{}}, egress: [{{toCIDR: [10.0.0.0/8]}}]}}"
        );
        let policies = network_policy(&serde_saphyr::from_str(&text).unwrap(), &references()).unwrap();
        assert_eq!(rules(&policies[0]), [format!("spec.egress[0] allow {expected} : anything")]);
    }
}

#[test]
fn services_stand_for_their_pods_or_their_addresses() {
    let pods = "k8s:app=db,k8s:io.kubernetes.pod.namespace=shop";
    for (service, expected) in [
        ("k8sService: {serviceName: db}", pods.to_owned()),
        ("k8sService: {serviceName: db, namespace: shop}", pods.to_owned()),
        (
            "k8sService: {serviceName: legacy}",
            "192.168.100.50/32 of everyone or 2001:db8::50/128 of everyone".to_owned(),
        ),
        ("k8sService: {serviceName: kubernetes, namespace: default}", "172.18.0.2/32 of everyone".to_owned()),
        (
            "k8sServiceSelector: {selector: {matchLabels: {tier: back}}}",
            format!("{pods} or 192.168.100.50/32 of everyone or 2001:db8::50/128 of everyone"),
        ),
        ("k8sServiceSelector: {namespace: default, selector: {}}", "172.18.0.2/32 of everyone".to_owned()),
    ] {
        check(
            &format!("egress: [{{toServices: [{{{service}}}]}}]"),
            &[&format!("spec.egress[0] allow {expected} : anything")],
        );
    }
    check(
        "egress: [{toServices: [{k8sService: {serviceName: db}}], toPorts: [{ports: [{port: '5432', protocol: TCP}]}]}]",
        &[&format!("spec.egress[0] allow {pods} : tcp/5432")],
    );
}

#[test]
fn what_is_required_of_peers_denies_the_others_and_allows_nobody() {
    let others = "deny others than any:team=a,k8s:io.kubernetes.pod.namespace=shop : anything";
    check("ingress: [{fromRequires: [{matchLabels: {team: a}}]}]", &[&format!("spec.ingress[0] {others}")]);
    check(
        "ingress: [{fromRequires: [{matchLabels: {team: a}}], toPorts: [{ports: [{port: '80'}]}]}]",
        &[&format!("spec.ingress[0] {others}")],
    );
    check(
        "ingress: [{fromRequires: [{matchLabels: {team: a}}, {matchLabels: {env: b}}], fromEndpoints: [{matchLabels: {app: web}}]}]",
        &[
            &format!("spec.ingress[0] {others}"),
            "spec.ingress[0] deny others than any:env=b,k8s:io.kubernetes.pod.namespace=shop : anything",
            "spec.ingress[0] allow any:app=web,k8s:io.kubernetes.pod.namespace=shop : anything",
        ],
    );
    check("egress: [{toRequires: [{matchLabels: {team: a}}]}]", &[&format!("spec.egress[0] {others}")]);
}
