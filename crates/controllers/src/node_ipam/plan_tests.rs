use super::*;
use crate::Options;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

fn node(name: &str, second: i64, ranges: &[&str]) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.metadata.creation_timestamp = jiff::Timestamp::from_second(second).ok().map(Time);
    let spec = node.spec.get_or_insert_default();
    spec.pod_cidr = ranges.first().map(|range| (*range).to_owned());
    spec.pod_cidrs = (!ranges.is_empty()).then(|| ranges.iter().map(|range| (*range).to_owned()).collect());
    Arc::new(node)
}

fn assigned(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            Change::Assign { node, ranges } => {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                format!("{} {}", node.metadata.name.as_deref().unwrap_or_default(), ranges.join(","))
            }
            Change::Exhausted { node, cluster } => {
                format!("{} none of {cluster}", node.metadata.name.as_deref().unwrap_or_default())
            }
        })
        .collect()
}

#[test]
fn the_labs_nodes_get_the_ranges_of_the_seed() {
    let nodes =
        [node("worker-10", 5, &[]), node("worker-2", 5, &[]), node("control-plane", 5, &[]), node("worker-1", 5, &[])];
    assert_eq!(
        assigned(&plan(&nodes, &Options::default().node_ranges)),
        [
            "control-plane 10.244.0.0/24,fd00:10:244::/64",
            "worker-1 10.244.1.0/24,fd00:10:244:1::/64",
            "worker-2 10.244.2.0/24,fd00:10:244:2::/64",
            "worker-10 10.244.3.0/24,fd00:10:244:3::/64",
        ]
    );
}

#[test]
fn the_older_node_goes_first_whatever_its_name() {
    let nodes = [node("a", 9, &[]), node("z", 3, &[])];
    let changes = assigned(&plan(&nodes, &Options::default().node_ranges));
    assert!(changes[0].starts_with("z 10.244.0.0/24"), "{changes:?}");
}

#[test]
fn a_node_with_ranges_keeps_them_and_holes_are_filled() {
    let nodes = [
        node("a", 1, &["10.244.0.0/24", "fd00:10:244::/64"]),
        node("b", 2, &["10.244.2.0/24", "fd00:10:244:2::/64"]),
        node("c", 3, &[]),
        node("d", 4, &[]),
    ];
    assert_eq!(
        assigned(&plan(&nodes, &Options::default().node_ranges)),
        ["c 10.244.1.0/24,fd00:10:244:1::/64", "d 10.244.3.0/24,fd00:10:244:3::/64"]
    );
}

#[test]
fn a_range_chosen_by_hand_is_left_alone() {
    let nodes = [node("a", 1, &["10.244.0.0/23"]), node("b", 2, &[]), node("c", 3, &["192.168.0.0/24"])];
    assert_eq!(assigned(&plan(&nodes, &Options::default().node_ranges)), ["b 10.244.2.0/24,fd00:10:244::/64"]);
}

#[test]
fn a_full_cluster_says_so_and_gives_no_half() {
    let small = |cluster: &str, node_prefix| NodeRange { cluster: cluster.parse().expect("range"), node_prefix };
    let options = [small("10.0.0.0/23", 24), small("fd00::/64", 64)];
    let nodes = [node("a", 1, &[]), node("b", 2, &[])];
    assert_eq!(assigned(&plan(&nodes, &options)), ["a 10.0.0.0/24,fd00::/64", "b none of fd00::/64"]);
}

proptest! {
    #[test]
    fn no_range_is_given_twice(count in 1usize..40, held in prop::collection::btree_set(0u8..40, 0..20)) {
        let mut nodes: Vec<_> = held
            .iter()
            .map(|third| node(&format!("held-{third}"), 0, &[&format!("10.244.{third}.0/24"), &format!("fd00:10:244:{third:x}::/64")]))
            .collect();
        nodes.extend((0..count).map(|number| node(&format!("new-{number}"), 1, &[])));
        let mut all: Vec<IpNet> = nodes.iter().flat_map(|node| ranges_of(node)).collect();
        all.sort();
        all.dedup();
        let changes = plan(&nodes, &Options::default().node_ranges);
        prop_assert_eq!(changes.len(), count);
        for change in changes {
            let Change::Assign { ranges, .. } = change else { return Err(TestCaseError::fail("exhausted")) };
            all.extend(ranges);
        }
        let total = all.len();
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), total);
    }
}
