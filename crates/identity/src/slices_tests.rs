use super::*;
use proptest::prelude::*;

fn member(namespace: &str, name: &str, identity: u32, last: u8) -> Member {
    Member {
        pod: ObjectName::new(namespace, name),
        identity,
        addresses: vec![format!("10.244.1.{last}").parse().unwrap(), format!("fd00::{last}").parse().unwrap()],
        node: Some("172.18.0.3".parse().unwrap()),
        named_ports: Vec::new(),
        service_account: Some("default".to_owned()),
        workload: Workload::new("Deployment", "web"),
    }
}

fn apply(mut slices: Vec<CiliumEndpointSlice>, plan: SlicePlan) -> Vec<CiliumEndpointSlice> {
    for change in plan.changes {
        match change {
            Change::Create(slice) => {
                assert!(slices.iter().all(|other| name(other) != name(&slice)), "{} is there", name(&slice));
                slices.push(slice);
            }
            Change::Update(slice) => {
                let place = slices.iter().position(|other| name(other) == name(&slice)).unwrap();
                slices[place] = slice;
            }
            Change::Delete(slice) => slices.retain(|other| name(other) != name(&slice)),
        }
    }
    slices
}

fn step(existing: &[CiliumEndpointSlice], members: &[Member]) -> (SlicePlan, Vec<CiliumEndpointSlice>) {
    let plan = slices(members, &existing.iter().collect::<Vec<_>>());
    (plan.clone(), apply(existing.to_vec(), plan))
}

#[test]
fn a_hundred_pods_are_one_object_and_the_next_is_another() {
    let members: Vec<Member> = (0..150).map(|n| member("a", &format!("p{n:03}"), 300, n)).collect();
    let (plan, there) = step(&[], &members);
    assert!(plan.urgent);
    assert_eq!(
        there.iter().map(|slice| (name(slice), slice.endpoints.len())).collect::<Vec<_>>(),
        [("ces-a-0", 100), ("ces-a-1", 50)]
    );
    // One change is one write.
    let mut changed = members.clone();
    changed[3].identity = 301;
    let (plan, there) = step(&there, &changed);
    assert_eq!((plan.changes.len(), plan.urgent), (1, true));
    assert_eq!(step(&there, &changed).0, SlicePlan::default());
    // Room is used before a slice is made.
    let (plan, there) = step(&there, &[&changed[1..], &[member("a", "new", 300, 200)]].concat());
    assert!(matches!(plan.changes.as_slice(), [Change::Update(slice)] if slice.endpoints.len() == 100), "{plan:?}");
    let (plan, there) = step(&there, &[]);
    assert_eq!(
        (plan.changes.len(), plan.urgent, there.len()),
        (2, false, 0),
        "empty slices go, and nobody waits for it"
    );
}

#[test]
fn an_address_is_taken_away_before_it_is_given() {
    let (_, one) = step(&[], &[member("z", "old", 300, 7)]);
    let (plan, _) = step(&one, &[member("a", "new", 301, 7)]);
    assert!(matches!(plan.changes.as_slice(), [Change::Delete(_), Change::Create(_)]), "{plan:?}");
    let others: Vec<Member> = ["a", "z"].map(|namespace| member(namespace, "other", 300, 9)).into();
    let before = [others.clone(), vec![member("z", "old", 300, 7)]].concat();
    let (_, two) = step(&[], &before);
    let (plan, _) = step(&two, &[others, vec![member("a", "new", 301, 7)]].concat());
    assert!(
        matches!(plan.changes.as_slice(), [Change::Update(first), Change::Update(_)] if first.namespace == "z"),
        "{plan:?}"
    );
}

#[test]
fn what_is_written_is_what_is_read() {
    let one = member("a", "p", 300, 7);
    let (_, slices) = step(&[], std::slice::from_ref(&one));
    let workload = one.workload.map(Arc::new);
    let expected = Published { pod: one.pod, identity: 300, addresses: one.addresses, node: one.node, workload };
    assert_eq!(published(&slices[0]), [expected]);
    let json = serde_json::to_value(&slices[0]).unwrap();
    let pair = &json["endpoints"][0]["networking"]["addressing"][0];
    assert_eq!((&pair["ipv4"], &pair["ipv6"]), (&"10.244.1.7".into(), &"fd00::7".into()));
    let told = serde_json::json!({"kind": "Deployment", "name": "web"});
    assert_eq!(json["endpoints"][0]["workload"], told);
}

#[test]
fn whom_a_pod_belongs_to_is_told_and_waits_for_others() {
    let members: Vec<Member> =
        (0..150).map(|n| Member { workload: None, ..member("a", &format!("p{n:03}"), 300, n) }).collect();
    let (_, before) = step(&[], &members);
    assert!(serde_json::to_value(&before[0]).unwrap()["endpoints"][0]["workload"].is_null());
    assert!(before.iter().flat_map(published).all(|one| one.workload.is_none()));
    let owned = |member: &Member| Member { workload: Workload::new("Deployment", "web"), ..member.clone() };
    let mut after: Vec<Member> = members.iter().map(owned).collect();
    let (plan, there) = step(&before, &after);
    assert_eq!((plan.changes.len(), plan.urgent), (2, false), "once for all Pods of a slice, and nobody waits for it");
    assert!(there.iter().flat_map(published).all(|one| one.workload == after[0].workload.clone().map(Arc::new)));
    assert_eq!(step(&there, &after).0, SlicePlan::default());
    // Along with an address it is as urgent as that.
    after[3] = Member { addresses: vec!["10.244.1.250".parse().unwrap()], ..after[3].clone() };
    assert!(step(&before, &after).0.urgent);
}

#[test]
fn what_is_no_endpoint_is_not_read() {
    let slice: CiliumEndpointSlice = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "ces-a-0"}, "namespace": "a", "endpoints": [
            {"name": "", "id": 300}, {"name": "host", "id": 1}, {"name": "big", "id": 65_536}, {"name": "less", "id": -1},
            {"name": "p", "id": 300, "networking": {"addressing": [{"ipv4": "10.244.1.700"}, {"ipv6": "fd00::1"}], "node": "n"},
                "workload": {"kind": "", "name": "web"}},
            {"name": "p", "id": 301},
        ],
    }))
    .unwrap();
    let expected = Published {
        pod: ObjectName::new("a", "p"),
        identity: 300,
        addresses: vec!["fd00::1".parse().unwrap()],
        node: None,
        workload: None,
    };
    assert_eq!(published(&slice), [expected]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn slices_say_what_they_should_and_settle_at_once(
        rounds in prop::collection::vec(prop::collection::btree_set((0..2_u8, 0..180_u8), 0..180), 1..5),
        identity in 256..259_u32,
    ) {
        let mut there = Vec::new();
        for (round, pods) in rounds.into_iter().enumerate() {
            let members: Vec<Member> = pods
                .into_iter()
                .map(|(namespace, pod)| member(&format!("n{namespace}"), &format!("p{pod}"), identity + u32::from(pod % 3 == 0) * round as u32, pod))
                .collect();
            let before = there.clone();
            (_, there) = step(&before, &members);
            prop_assert!(there.iter().all(|slice| (1..=ENDPOINTS_PER_SLICE).contains(&slice.endpoints.len())));
            let mut said: Vec<(ObjectName, u32)> = there.iter().flat_map(published).map(|one| (one.pod, one.identity)).collect();
            said.sort();
            let mut wanted: Vec<(ObjectName, u32)> = members.iter().map(|one| (one.pod.clone(), one.identity)).collect();
            wanted.sort();
            prop_assert_eq!(said, wanted);
            prop_assert_eq!(step(&there, &members).0, SlicePlan::default());
        }
    }
}
