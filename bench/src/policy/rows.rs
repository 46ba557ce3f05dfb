//! Policies that make so many rows, and who they are about.

use datapath_layouts::identity;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use policy::dialect::network_policy::convert;
use policy::plan::{Capacity, Planner};
use policy::rule::Policy;
use policy::selector::{Labels, NAMESPACE};
use policy::subject::{IdentityFacts, Kind};
use serde_json::json;

/// Identities of the client's and the server's Pod.
pub const CLIENT: u32 = 3010;
pub const SERVER: u32 = 3011;
const FIRST_PEER: u32 = 5000;
/// Of one class: more than this many ports, and there are several classes.
const PORTS: u32 = 100;

/// By what the two Pods are judged.
#[derive(Clone, Copy, Debug)]
pub enum Policed {
    /// By nothing.
    Not,
    /// By one policy for each, with so many rows altogether.
    ByRows(u32),
    /// By so many policies, each of which allows something.
    ByPolicies(u32),
}

impl Policed {
    pub fn name(self) -> String {
        match self {
            Self::Not => "none".into(),
            Self::ByRows(rows) => format!("{rows} rows"),
            Self::ByPolicies(count) => format!("{count} policies"),
        }
    }
}

pub fn pod(number: u32, namespace: &str, app: &str) -> IdentityFacts {
    let labels: Labels = [(NAMESPACE, namespace), ("k8s:app", app)].into_iter().collect();
    IdentityFacts { number, labels, namespace: Some(namespace.into()), kind: Kind::Pod, named_ports: Vec::new() }
}

/// Whoever has a number of its own everywhere.
pub fn reserved() -> impl Iterator<Item = IdentityFacts> {
    (1..=identity::WORLD_IPV6).filter_map(IdentityFacts::reserved)
}

pub fn policy(name: &str, namespace: &str, spec: &serde_json::Value) -> Policy {
    let object = json!({ "metadata": { "name": name, "namespace": namespace, "uid": name }, "spec": spec });
    let object: NetworkPolicy = serde_json::from_value(object).expect("a NetworkPolicy of ours");
    convert(&object).expect("a policy of ours")
}

/// Ingress from Pods of this app on these ports.
fn from_app(app: &str, ports: impl Iterator<Item = u32>) -> serde_json::Value {
    let ports: Vec<_> = ports.map(|port| json!({ "port": port })).collect();
    json!({ "from": [{ "podSelector": { "matchLabels": { "app": app } } }], "ports": ports })
}

/// The planner with everything told, before its first plan. The client may go out to everybody and is let in.
pub fn planner(policed: Policed) -> Planner {
    let mut planner = Planner::new(Capacity::node());
    reserved().for_each(|facts| planner.set_identity(facts));
    planner.set_identity(pod(CLIENT, "shop", "client"));
    planner.set_identity(pod(SERVER, "shop", "server"));
    // 8080 and the port of the throughput are last: an exact row is found as fast wherever it is.
    let own = || from_app("client", [8080, 8081, super::setup::SINK].map(u32::from).into_iter());
    match policed {
        Policed::Not => return planner,
        Policed::ByRows(rows) => {
            let mut ingress = vec![own()];
            let mut left = rows.saturating_sub(3);
            for n in 0.. {
                if left == 0 {
                    break;
                }
                let (app, ports) = (format!("app{n}"), left.min(PORTS));
                planner.set_identity(pod(FIRST_PEER + n, "shop", &app));
                // Other ports for each app, or they were one class.
                ingress.push(from_app(&app, (0..ports).map(|port| 10_000 + (n * 7 + port * 3) % 50_000)));
                left -= ports;
            }
            let spec = json!({ "podSelector": { "matchLabels": { "app": "server" } }, "ingress": ingress });
            planner.set_policy(policy("server", "shop", &spec));
        }
        Policed::ByPolicies(count) => {
            let server = json!({ "matchLabels": { "app": "server" } });
            planner.set_policy(policy("own", "shop", &json!({ "podSelector": server, "ingress": [own()] })));
            for n in 1..count {
                let app = format!("app{n}");
                planner.set_identity(pod(FIRST_PEER + n, "shop", &app));
                let rule = from_app(&app, std::iter::once(10_000 + n));
                planner.set_policy(policy(
                    &format!("p{n}"),
                    "shop",
                    &json!({ "podSelector": server, "ingress": [rule] }),
                ));
            }
        }
    }
    let out = json!({ "podSelector": { "matchLabels": { "app": "client" } }, "policyTypes": ["Egress"],
        "egress": [{ "to": [{ "podSelector": { "matchLabels": { "app": "server" } } }] }] });
    planner.set_policy(policy("client", "shop", &out));
    planner.add_subject(CLIENT);
    planner.add_subject(SERVER);
    planner
}
