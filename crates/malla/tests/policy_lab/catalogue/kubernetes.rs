//! Kubernetes' NetworkPolicy.

use super::{Case, Peers, Ports, combined};
use crate::table::Table;

/// Named addresses are those of the lab: a Pod's third byte is its node's number.
const PEERS: [Peers; 14] = [
    Peers { name: "anybody", yaml: "", who: "*" },
    Peers { name: "its namespace", yaml: "[{podSelector: {}}]", who: "x/*" },
    Peers { name: "a label", yaml: "[{podSelector: {matchLabels: {pod: b}}}]", who: "x/b" },
    Peers {
        name: "one of two labels",
        yaml: "[{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}}]",
        who: "x/b,x/c",
    },
    Peers {
        name: "not a label",
        yaml: "[{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}]",
        who: "x/a,x/c",
    },
    Peers {
        name: "without a label",
        yaml: "[{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}]",
        who: "y/c,z/*",
    },
    Peers { name: "all namespaces", yaml: "[{namespaceSelector: {}}]", who: "*" },
    Peers { name: "a namespace", yaml: "[{namespaceSelector: {matchLabels: {ns: y}}}]", who: "y/*" },
    Peers {
        name: "other namespaces",
        yaml: "[{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
        who: "y/*,z/*",
    },
    Peers {
        name: "a label in a namespace",
        yaml: "[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]",
        who: "y/b",
    },
    Peers {
        name: "a namespace or a label",
        yaml: "[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]",
        who: "y/*,x/b",
    },
    Peers { name: "nobody's label", yaml: "[{podSelector: {matchLabels: {pod: none}}}]", who: "" },
    Peers {
        name: "a node's addresses",
        yaml: "[{ipBlock: {cidr: 10.244.1.0/24}}, {ipBlock: {cidr: 'fd00:10:244:1::/64'}}]",
        who: "*/b",
    },
    Peers {
        name: "all addresses but a node's",
        yaml: "[{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.1.0/24]}}, {ipBlock: {cidr: '::/0', except: ['fd00:10:244:1::/64']}}]",
        who: "*/a,*/c",
    },
];

const PORTS: [Ports; 8] = [
    Ports { name: "anything", yaml: "", what: "*" },
    Ports { name: "a port", yaml: "[{port: 80}]", what: "tcp/80" },
    Ports { name: "a UDP port", yaml: "[{port: 81, protocol: UDP}]", what: "udp/81" },
    Ports { name: "an SCTP port", yaml: "[{port: 82, protocol: SCTP}]", what: "sctp/82" },
    Ports { name: "a range", yaml: "[{port: 80, endPort: 81}]", what: "tcp/80,tcp/81" },
    Ports { name: "a name", yaml: "[{port: web}]", what: "web" },
    Ports { name: "two ports", yaml: "[{port: 80}, {port: 81, protocol: UDP}]", what: "tcp/80,udp/81" },
    Ports { name: "a protocol", yaml: "[{protocol: UDP}]", what: "udp/*" },
];

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}\n"
    )
}

/// About x/a.
pub fn about_a(spec: &str) -> String {
    policy("p", "x", &format!("podSelector: {{matchLabels: {{pod: a}}}}, {spec}"))
}

pub fn cases(cases: &mut Vec<Case>) {
    for (way, peers, ports) in combined(&PEERS, &PORTS, 0) {
        let from = if peers.yaml.is_empty() { String::new() } else { format!("{}: {}", way.preposition(), peers.yaml) };
        let on = if ports.yaml.is_empty() { String::new() } else { format!("ports: {}", ports.yaml) };
        let comma = if from.is_empty() || on.is_empty() { "" } else { ", " };
        let (section, kind) = (way.name(), way.policy_type());
        let spec = format!("policyTypes: [{kind}], {section}: [{{{from}{comma}{on}}}]");
        // An address has no named ports; the subject of an ingress rule has, whoever asks.
        let nameless = way == super::Way::Out && ports.what == "web" && peers.yaml.contains("ipBlock");
        let who = if nameless { "" } else { peers.who };
        let name = format!("NetworkPolicy: {section} allows {} {}", peers.name, ports.name);
        cases.push(Case::new(name, about_a(&spec), way.only(who, ports.what)));
    }
    written(cases);
}

fn written(cases: &mut Vec<Case>) {
    let mut case = |name: &str, yaml: String, by_hand: Table| {
        cases.push(Case::new(format!("NetworkPolicy: {name}"), yaml, by_hand));
    };
    let all = || Table::ALL;
    case("none at all", String::new(), all());
    case("ingress denied to a Pod", about_a("ingress: []"), all().deny("*", "x/a", "*"));
    case("without a section it is about ingress", about_a("policyTypes: [Ingress]"), all().deny("*", "x/a", "*"));
    case("egress denied to a Pod", about_a("policyTypes: [Egress], egress: []"), all().deny("x/a", "*", "*"));
    case(
        "both directions denied",
        about_a("policyTypes: [Ingress, Egress]"),
        all().deny("*", "x/a", "*").deny("x/a", "*", "*"),
    );
    case(
        "an egress section governs ingress too",
        about_a("egress: [{to: [{podSelector: {}}]}]"),
        all().deny("x/a", "*", "*").allow("x/a", "x/*", "*").deny("*", "x/a", "*"),
    );
    case("an empty rule allows everything", about_a("ingress: [{}]"), all());
    case(
        "a namespace isolated",
        policy("p", "x", "podSelector: {}, ingress: [{from: [{podSelector: {}}]}]"),
        all().deny("*", "x/*", "*").allow("x/*", "x/*", "*"),
    );
    let isolated: String =
        ["x", "y", "z"].map(|ns| policy("p", ns, "podSelector: {}, ingress: [{from: [{podSelector: {}}]}]")).concat();
    let each = ["x/*", "y/*", "z/*"];
    let apart = each.into_iter().fold(all().deny("*", "*", "*"), |table, ns| table.allow(ns, ns, "*"));
    case("each namespace isolated", isolated, apart);
    let closed: String = ["x", "y", "z"].map(|ns| policy("p", ns, "podSelector: {}")).concat();
    case("everything denied everywhere", closed, all().deny("*", "*", "*"));
    case(
        "two policies add up",
        about_a("ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}]")
            + &policy(
                "q",
                "x",
                "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}]",
            ),
        all().deny("*", "x/*", "*").allow("x/b", "x/a", "tcp/80").allow("y/*", "x/*", "tcp/81"),
    );
    case(
        "two rules add up",
        about_a("ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}, {ports: [{port: 82, protocol: UDP}]}]"),
        all().deny("*", "x/a", "*").allow("x/b", "x/a", "*").allow("*", "x/a", "udp/82"),
    );
    case(
        "an allow beside a denial of everything",
        policy("deny", "x", "podSelector: {}, policyTypes: [Ingress]")
            + &about_a("ingress: [{from: [{podSelector: {}}]}]"),
        all().deny("*", "x/*", "*").allow("x/*", "x/a", "*"),
    );
    case(
        "both ends have to allow",
        about_a(
            "policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 80}, {port: 81}]}]",
        ) + &policy("q", "y", "podSelector: {}, ingress: [{ports: [{port: 81}, {port: 82}]}]"),
        all()
            .deny("x/a", "*", "*")
            .allow("x/a", "y/*", "tcp/80,tcp/81")
            .deny("*", "y/*", "*")
            .allow("x/b,x/c,y/*,z/*", "y/*", "tcp/81,tcp/82")
            .allow("x/a", "y/*", "tcp/81"),
    );
    case(
        "subjects by an expression",
        policy("p", "x", "podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [c]}]}, ingress: []"),
        all().deny("*", "x/a,x/b", "*"),
    );
    case("subjects that nobody is", policy("p", "x", "podSelector: {matchLabels: {pod: none}}, ingress: []"), all());
    case("a policy of a namespace without Pods", policy("p", "default", "podSelector: {}, ingress: []"), all());
    case(
        "a name is the destination's own number",
        policy("p", "x", "podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]"),
        all().deny("x/*", "*", "*").allow("x/*", "x/*,y/*", "tcp/80").allow("x/*", "z/*", "tcp/81"),
    );
    case(
        "a name of UDP and one of SCTP",
        about_a("ingress: [{ports: [{port: dns, protocol: UDP}, {port: signals, protocol: SCTP}]}]"),
        all().deny("*", "x/a", "*").allow("*", "x/a", "udp/81,sctp/82"),
    );
    case(
        "a name with another protocol",
        about_a("ingress: [{ports: [{port: dns, protocol: TCP}]}]"),
        all().deny("*", "x/a", "*"),
    );
    case(
        "a range that begins at the port",
        about_a(
            "ingress: [{ports: [{port: 81, endPort: 65535, protocol: TCP}, {port: 1, endPort: 80, protocol: SCTP}]}]",
        ),
        all().deny("*", "x/a", "*").allow("*", "x/a", "tcp/81,tcp/82,sctp/80"),
    );
    case(
        "prefixes of one address inside of another's exception",
        about_a(
            "ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.0.0/23]}}, \
             {ipBlock: {cidr: 'fd00:10:244::/56', except: ['fd00:10:244::/63']}}]}, \
             {from: [{ipBlock: {cidr: 10.244.0.0/24}}, {ipBlock: {cidr: 'fd00:10:244::/64'}}], ports: [{port: 81}]}]",
        ),
        all().deny("*", "x/a", "*").allow("*/c", "x/a", "*").allow("*/a", "x/a", "tcp/81"),
    );
    case(
        "prefixes of everything",
        about_a("ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}], ports: [{port: 80}]}]"),
        all().deny("*", "x/a", "*").allow("*", "x/a", "tcp/80"),
    );
}
