//! Cilium's policies.

use super::{Case, Peers, Ports, Way, combined};
use crate::table::Table;

/// `{}` stands for `from` or `to`.
const PEERS: [Peers; 10] = [
    Peers { name: "anybody", yaml: "", who: "*" },
    Peers { name: "its namespace", yaml: "{}Endpoints: [{}]", who: "x/*" },
    Peers { name: "a label", yaml: "{}Endpoints: [{matchLabels: {pod: b}}]", who: "x/b" },
    Peers {
        name: "a namespace",
        yaml: "{}Endpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': y}}]",
        who: "y/*",
    },
    Peers {
        name: "namespaces by their label",
        yaml: "{}Endpoints: [{matchExpressions: [{key: io.cilium.k8s.namespace.labels.ns, operator: In, values: [y, z]}]}]",
        who: "y/*,z/*",
    },
    Peers {
        name: "a label or a namespace's",
        yaml: "{}Endpoints: [{matchLabels: {pod: c}}, {matchLabels: {pod: a, 'k8s:io.kubernetes.pod.namespace': z}}]",
        who: "x/c,z/a",
    },
    Peers { name: "the cluster", yaml: "{}Entities: [cluster]", who: "*" },
    Peers { name: "the world and the nodes", yaml: "{}Entities: [world, host, remote-node]", who: "" },
    Peers { name: "prefixes, which are nobody inside", yaml: "{}CIDR: [10.0.0.0/8, 'fd00::/8']", who: "" },
    Peers {
        name: "what is required too",
        yaml: "{}Endpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': y}}], {}Requires: [{matchExpressions: [{key: app, operator: Exists}, {key: 'k8s:io.kubernetes.pod.namespace', operator: Exists}]}]",
        who: "y/a,y/b",
    },
];

const PORTS: [Ports; 7] = [
    Ports { name: "anything", yaml: "", what: "*" },
    Ports { name: "a port", yaml: "{port: '80', protocol: TCP}", what: "tcp/80" },
    Ports { name: "a port of any protocol", yaml: "{port: '81', protocol: ANY}", what: "tcp/81,udp/81,sctp/81" },
    Ports { name: "a range", yaml: "{port: '80', endPort: 81, protocol: UDP}", what: "udp/80,udp/81" },
    Ports { name: "a name", yaml: "{port: web, protocol: TCP}", what: "web" },
    Ports { name: "all ports of a protocol", yaml: "{port: '0', protocol: SCTP}", what: "sctp/*" },
    Ports {
        name: "two ports",
        yaml: "{port: '82', protocol: TCP}, {port: '82', protocol: SCTP}",
        what: "tcp/82,sctp/82",
    },
];

fn policy(name: &str, more: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: {name}, namespace: x{more}}}, spec: {{{spec}}}}}\n"
    )
}

fn about_a(spec: &str) -> String {
    policy("p", "", &format!("endpointSelector: {{matchLabels: {{pod: a}}}}, {spec}"))
}

fn clusterwide(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
    )
}

fn rule(way: Way, peers: &Peers, ports: &Ports) -> String {
    // `{}` is also an empty selector: only what stands before a capital letter is the word.
    let mut from = peers.yaml.to_owned();
    for kind in ["Endpoints", "Entities", "CIDR", "Requires"] {
        from = from.replace(&format!("{{}}{kind}"), &format!("{}{kind}", way.preposition()));
    }
    let on = if ports.yaml.is_empty() { String::new() } else { format!("toPorts: [{{ports: [{}]}}]", ports.yaml) };
    let comma = if from.is_empty() || on.is_empty() { "" } else { ", " };
    format!("{{{from}{comma}{on}}}")
}

pub fn cases(cases: &mut Vec<Case>) {
    for (way, peers, ports) in combined(&PEERS, &PORTS, 1) {
        let section = way.name();
        let spec = format!("{section}: [{}]", rule(way, peers, ports));
        // An empty rule selects nobody in this language.
        let who = if peers.yaml.is_empty() && ports.yaml.is_empty() { "" } else { peers.who };
        let name = format!("Cilium: {section} allows {} {}", peers.name, ports.name);
        cases.push(Case::new(name, about_a(&spec), way.only(who, ports.what)));
    }
    // What requires something is no denial that one could write.
    for (way, peers, ports) in combined(&PEERS[1..9], &PORTS, 0) {
        let section = way.name();
        let everybody = format!("{{{}Entities: [all]}}", way.preposition());
        let spec = format!("{section}: [{everybody}], {section}Deny: [{}]", rule(way, peers, ports));
        let name = format!("Cilium: {section} denies {} {}", peers.name, ports.name);
        cases.push(Case::new(name, about_a(&spec), way.deny(Table::ALL, peers.who, ports.what)));
    }
    written(cases);
}

fn written(cases: &mut Vec<Case>) {
    let mut case = |name: &str, yaml: String, by_hand: Table| {
        cases.push(Case::new(format!("Cilium: {name}"), yaml, by_hand));
    };
    let all = || Table::ALL;
    case("an empty rule denies everybody", about_a("ingress: [{}]"), all().deny("*", "x/a", "*"));
    case("an empty list of peers is nobody", about_a("ingress: [{fromEndpoints: []}]"), all().deny("*", "x/a", "*"));
    case(
        "a denial alone denies the rest too",
        about_a("ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}]}]"),
        all().deny("*", "x/a", "*"),
    );
    case(
        "a denial without default deny denies only that",
        about_a("enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEndpoints: [{matchLabels: {pod: b}}]}]"),
        all().deny("x/b", "x/a", "*"),
    );
    case(
        "an allow without default deny changes nothing",
        about_a("enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [{matchLabels: {pod: b}}]}]"),
        all(),
    );
    case(
        "one policy with default deny is enough",
        about_a("enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [{matchLabels: {pod: b}}]}]")
            + &policy("q", "", "endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {pod: c}}]}]"),
        all().deny("*", "x/*", "*").allow("x/c", "x/*", "*").allow("x/b", "x/a", "*"),
    );
    case(
        "a denial of one policy counts against an allow of another",
        about_a("ingress: [{fromEntities: [cluster]}]")
            + &policy(
                "q",
                "",
                "endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': y}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]",
            ),
        all().deny("*", "x/b,x/c", "*").deny("y/*", "x/a", "tcp/80"),
    );
    case(
        "a denial of Kubernetes' allow",
        super::kubernetes::about_a("ingress: [{}]")
            + &about_a(
                "enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEntities: [all], toPorts: [{ports: [{port: '81', protocol: ANY}]}]}]",
            ),
        all().deny("*", "x/a", "tcp/81,udp/81,sctp/81"),
    );
    case(
        "prefixes that match Pods by annotation",
        policy(
            "p",
            ", annotations: {malla.dev/cidr-matches: all}",
            "endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromCIDRSet: [{cidr: 10.244.0.0/16, except: [10.244.1.0/24]}, \
             {cidr: 'fd00:10:244::/56', except: ['fd00:10:244:1::/64']}]}]",
        ),
        all().deny("*", "x/a", "*").allow("*/a,*/c", "x/a", "*"),
    );
    case(
        "audit judges and does not enforce",
        policy("p", ", annotations: {malla.dev/audit: 'true'}", "endpointSelector: {}, ingress: [{}]"),
        all(),
    );
    case(
        "clusterwide, everybody of the cluster",
        clusterwide("p", "endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{}]}]"),
        all(),
    );
    case(
        "clusterwide, by a label in every namespace",
        clusterwide(
            "p",
            "endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{matchLabels: {pod: b}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]",
        ),
        all().deny("*", "*/a", "*").allow("*/b", "*/a", "tcp/80"),
    );
    case(
        "clusterwide, both directions of a namespace",
        clusterwide(
            "p",
            "endpointSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': x}}, ingress: [{}], egress: [{}]",
        ),
        all().deny("*", "x/*", "*").deny("x/*", "*", "*"),
    );
    case(
        "several specs in one object",
        "---\n{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: x}, specs: [\
         {endpointSelector: {matchLabels: {pod: a}}, ingress: [{fromEndpoints: [{matchLabels: {pod: b}}]}]}, \
         {endpointSelector: {matchLabels: {pod: b}}, ingress: [{fromEndpoints: [{matchLabels: {pod: c}}]}]}]}\n"
            .into(),
        all().deny("*", "x/a,x/b", "*").allow("x/b", "x/a", "*").allow("x/c", "x/b", "*"),
    );
    case(
        "layer 7 allows nothing yet",
        about_a(
            "ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]}]",
        ),
        all().deny("*", "x/a", "*"),
    );
    case(
        "names of others allow nothing yet",
        about_a("egress: [{toFQDNs: [{matchName: example.com}]}, {toEndpoints: [{matchLabels: {pod: b}}]}]"),
        all().deny("x/a", "*", "*").allow("x/a", "x/b", "*"),
    );
    case(
        "messages of ICMP are no ports",
        about_a(
            "ingress: [{fromEndpoints: [{}], icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]}]",
        ),
        all().deny("*", "x/a", "*"),
    );
}
