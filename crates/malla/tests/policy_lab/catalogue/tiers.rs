//! Kubernetes' ClusterNetworkPolicy.

use super::{Case, Peers, Ports, Way, combined, kubernetes};
use crate::table::Table;

const PEERS: [Peers; 5] = [
    Peers { name: "everybody", yaml: "{namespaces: {}}", who: "*" },
    Peers { name: "a namespace", yaml: "{namespaces: {matchLabels: {ns: y}}}", who: "y/*" },
    Peers {
        name: "other namespaces",
        yaml: "{namespaces: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}",
        who: "y/*,z/*",
    },
    Peers {
        name: "a label in a namespace",
        yaml: "{pods: {namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}}",
        who: "y/b",
    },
    Peers {
        name: "two peers",
        yaml: "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}}, {namespaces: {matchLabels: {ns: z}}}",
        who: "*/c,z/*",
    },
];

const PORTS: [Ports; 6] = [
    Ports { name: "anything", yaml: "", what: "*" },
    Ports { name: "a port", yaml: "{tcp: {destinationPort: {number: 80}}}", what: "tcp/80" },
    Ports { name: "a range", yaml: "{udp: {destinationPort: {range: {start: 80, end: 81}}}}", what: "udp/80,udp/81" },
    Ports { name: "a protocol", yaml: "{sctp: {destinationPort: {range: {start: 1, end: 65535}}}}", what: "sctp/*" },
    Ports { name: "a name", yaml: "{destinationNamedPort: web}", what: "web" },
    Ports {
        name: "two protocols",
        yaml: "{tcp: {destinationPort: {number: 82}}}, {sctp: {destinationPort: {number: 80}}}",
        what: "tcp/82,sctp/80",
    },
];

fn policy(name: &str, tier: &str, priority: u16, rules: &str) -> String {
    format!(
        "---\n{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, \
         spec: {{tier: {tier}, priority: {priority}, \
         subject: {{pods: {{namespaceSelector: {{matchLabels: {{ns: x}}}}, podSelector: {{matchLabels: {{pod: a}}}}}}}}, {rules}}}}}\n"
    )
}

fn rule(way: Way, action: &str, peers: &str, ports: &str) -> String {
    let protocols = if ports.is_empty() { String::new() } else { format!(", protocols: [{ports}]") };
    format!("{{action: {action}, {}: [{peers}]{protocols}}}", way.preposition())
}

const EVERYBODY: &str = "{namespaces: {}}";

/// What is done with the peers and ports, by which objects, and what is left of everything.
fn schemes(way: Way, peers: &Peers, ports: &Ports) -> [(&'static str, String, Table); 6] {
    let section = way.name();
    let one = |action: &str| format!("{section}: [{}]", rule(way, action, peers.yaml, ports.yaml));
    let then_deny = |action: &str| {
        let (first, last) = (rule(way, action, peers.yaml, ports.yaml), rule(way, "Deny", EVERYBODY, ""));
        format!("{section}: [{first}, {last}]")
    };
    let kind = way.policy_type();
    let closed = kubernetes::about_a(&format!("policyTypes: [{kind}], {section}: []"));
    let open = kubernetes::about_a(&format!("policyTypes: [{kind}], {section}: [{{}}]"));
    let only = way.only(peers.who, ports.what);
    let but = way.deny(Table::ALL, peers.who, ports.what);
    [
        ("Admin denies", policy("p", "Admin", 10, &one("Deny")) + &open, but.clone()),
        ("Admin accepts what the namespace denies", policy("p", "Admin", 10, &one("Accept")) + &closed, only.clone()),
        ("Admin passes and denies the rest", policy("p", "Admin", 10, &then_deny("Pass")), only.clone()),
        (
            "Admin's lower priority is asked first",
            policy("p", "Admin", 20, &format!("{section}: [{}]", rule(way, "Deny", EVERYBODY, "")))
                + &policy("q", "Admin", 10, &one("Accept")),
            only,
        ),
        ("Baseline denies", policy("p", "Baseline", 10, &one("Deny")), but),
        (
            "Baseline is not asked where the namespace decides",
            policy("p", "Baseline", 10, &one("Deny")) + &open,
            Table::ALL,
        ),
    ]
}

pub fn cases(cases: &mut Vec<Case>) {
    for (at, (way, peers, ports)) in combined(&PEERS, &PORTS, 0).enumerate() {
        let section = way.name();
        // Two of the six for each combination, another two for the next.
        for (_, (scheme, yaml, by_hand)) in
            schemes(way, peers, ports).into_iter().enumerate().filter(|(n, _)| n % 3 == at % 3)
        {
            let name = format!("tiers: {scheme}: {section} {} {}", peers.name, ports.name);
            cases.push(Case::new(name, yaml, by_hand));
        }
    }
    written(cases);
}

fn written(cases: &mut Vec<Case>) {
    let mut case = |name: &str, yaml: String, by_hand: Table| {
        cases.push(Case::new(format!("tiers: {name}"), yaml, by_hand));
    };
    let y = "{namespaces: {matchLabels: {ns: y}}}";
    let ingress = |rules: &str| format!("ingress: [{rules}]");
    let rule = |action: &str, peers: &str| rule(Way::In, action, peers, "");
    case(
        "the first rule of a policy decides",
        policy("p", "Admin", 1, &ingress(&[rule("Accept", y), rule("Deny", y), rule("Deny", EVERYBODY)].join(", "))),
        Table::ALL.deny("*", "x/a", "*").allow("y/*", "x/a", "*"),
    );
    case(
        "what Admin passes is Baseline's where no namespace governs",
        policy("p", "Admin", 1, &ingress(&rule("Pass", EVERYBODY)))
            + &policy("q", "Baseline", 1, &ingress(&rule("Deny", y))),
        Table::ALL.deny("y/*", "x/a", "*"),
    );
    case(
        "what Admin passes is the namespace's",
        policy("p", "Admin", 1, &ingress(&rule("Pass", y)))
            + &kubernetes::about_a("ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]"),
        Table::ALL.deny("*", "x/a", "*").allow("z/*", "x/a", "*"),
    );
    case(
        "all three of them",
        policy(
            "p",
            "Admin",
            5,
            &ingress(&[rule("Pass", y), rule("Deny", "{namespaces: {matchLabels: {ns: z}}}")].join(", ")),
        ) + &policy("q", "Baseline", 5, &ingress(&[rule("Accept", y), rule("Deny", EVERYBODY)].join(", "))),
        Table::ALL.deny("*", "x/a", "*").allow("y/*", "x/a", "*"),
    );
    case(
        "names of others deny nothing they do not mean",
        policy("p", "Admin", 5, "egress: [{action: Accept, to: [{domainNames: [example.com]}]}]"),
        Table::ALL,
    );
}
