//! Maps of policy that are full: what does not fit is denied and told, nothing opens, and all is well again when there is room.

use std::process::Command;
use std::time::Duration;

use crate::api::Api;
use crate::cluster::{Cluster, malla_path, text, wait_until};
use crate::pods;
use crate::probes::{Heard, Probes};
use crate::table::Table;
use crate::{objects, reference};

const PATIENCE: Duration = Duration::from_millis(300);
/// A loaded machine's agents need some time.
const SOON: Duration = Duration::from_secs(10);

/// Something of everything: names, prefixes with exceptions, ranges, peers by their labels, in each namespace.
fn policies() -> String {
    let of = |namespace: &str| {
        format!(
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: {namespace}}}, \
             spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress], \
             ingress: [\
             {{from: [{{podSelector: {{matchLabels: {{pod: a}}}}}}, {{namespaceSelector: {{matchLabels: {{ns: z}}}}, podSelector: {{matchLabels: {{pod: b}}}}}}], \
             ports: [{{port: 80, endPort: 120}}, {{port: 81, protocol: UDP}}, {{port: 82, protocol: SCTP}}]}}, \
             {{from: [{{ipBlock: {{cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}}}], ports: [{{port: 82}}, {{port: 80, protocol: UDP}}]}}], \
             egress: [{{}}]}}}}\n"
        )
    };
    pods::NAMESPACES.map(of).concat()
}

fn problems(cluster: &Cluster) -> String {
    let arguments = ["status", "--lab", &cluster.name, "-o", "json"];
    text(&Command::new(malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap())
}

/// With room for so few entries in this map; `told` is what status says of it. Of some maps the node keeps a part for its
/// failsafe ports, so that the room it speaks of is less.
fn overflows(map: &str, entries: usize, told: &str) {
    // A Pod needs two entries of these whatever its policies are: without them it stays shut.
    let recovers = map != "policies";
    let cluster = Cluster::up_with(&[("MALLA_POLICY_ROOM", &format!("{map}={entries}"))], &[]);
    let places = pods::start(&cluster);
    let probes = Probes::start(&places);
    let api = Api::of(&cluster);
    let objects = objects::read(&policies());
    let expected = reference::table(&objects, |pod| places[pod.0].addresses[0]);
    objects.iter().for_each(|object| api.apply(&objects::folder(object), "p", object));
    wait_until(&format!("{map}: the problem in status"), SOON, || problems(&cluster).contains(told));
    std::thread::sleep(Duration::from_millis(500));
    // Nothing opens; and something is closed that would be open, or nothing has overflowed.
    let heard = probes.ask(0, PATIENCE);
    let opened: Vec<_> = heard
        .iter()
        .filter(|(from, to, column, heard)| *heard != Heard::Silence && !expected.get(*from, *to, *column))
        .map(|(from, to, column, heard)| format!("{} to {} on column {column}: {heard:?}", from.name(), to.name()))
        .collect();
    assert!(opened.is_empty(), "{map} opened: {}", opened.join("; "));
    let closed = heard.iter().filter(|(f, t, c, heard)| *heard == Heard::Silence && expected.get(*f, *t, *c)).count();
    assert!(closed > 0, "{map}: nothing is closed by a full map");
    // Once they are gone there is room for nobody's policy.
    objects.iter().for_each(|object| api.delete(&objects::folder(object), "p"));
    if recovers {
        wait_until(&format!("{map}: everything is open again"), SOON, || {
            probes.compare(&Table::ALL, 0, Duration::from_millis(900)).is_empty()
        });
    }
    let all = problems(&cluster);
    assert!(!recovers || map == "identities" || !all.contains(told), "{map}: still told: {all}");
}

#[test]
fn a_full_map_of_rows_closes_and_is_told() {
    overflows("policy_rows", 3, "map policy_rows has room for");
}

#[test]
#[ignore = "a lab for each of five maps; part of `make test-all`"]
fn every_full_map_closes_and_is_told() {
    overflows("policies", 4, "map policies has room for");
    overflows("identities", 11, "no room in the map identities");
    overflows("policy_peers", 1, "policy_peers has room for 1 entries");
    overflows("policy_cidrs", 1, "policy_cidrs has room for 1 entries");
    overflows("policy_ranges", 1, "map policy_ranges has room for");
}
