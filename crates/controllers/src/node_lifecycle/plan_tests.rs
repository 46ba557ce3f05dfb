use super::*;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn node(name: &str, ready: Option<&str>, heartbeat: i64) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.status.get_or_insert_default().conditions = ready.map(|status| {
        vec![NodeCondition {
            type_: "Ready".into(),
            status: status.into(),
            last_heartbeat_time: Some(Time(at(heartbeat))),
            ..Default::default()
        }]
    });
    Arc::new(node)
}

fn lease(name: &str, renewed: i64) -> Arc<Lease> {
    let mut lease = Lease::default();
    lease.metadata.name = Some(name.into());
    lease.spec = Some(LeaseSpec { renew_time: Some(MicroTime(at(renewed))), ..Default::default() });
    Arc::new(lease)
}

fn pod_on(node: &str, ready: &str, reason: Option<&str>) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some("web".into());
    pod.spec.get_or_insert_default().node_name = Some(node.into());
    let condition = |type_: &str, status: &str, reason: Option<&str>| PodCondition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.map(Into::into),
        ..Default::default()
    };
    pod.status.get_or_insert_default().conditions =
        Some(vec![condition("ContainersReady", "True", None), condition("Ready", ready, reason)]);
    Arc::new(pod)
}

fn run(nodes: &[Arc<Node>], leases: &[Arc<Lease>], pods: &[Arc<Pod>], memory: &mut Memory, now: i64) -> Plan {
    plan(&Input { nodes, leases, pods, options: &Options::default(), now: at(now) }, memory)
}

#[test]
fn a_lease_keeps_a_node_alive_and_its_end_makes_it_unknown() {
    let mut memory = Memory::default();
    let nodes = [node("worker-1", Some("True"), 0)];
    assert_eq!(run(&nodes, &[lease("worker-1", 100)], &[], &mut memory, 100).changes, []);
    assert_eq!(run(&nodes, &[lease("worker-1", 130)], &[], &mut memory, 130).changes, []);
    let quiet = run(&nodes, &[lease("worker-1", 130)], &[], &mut memory, 150);
    assert_eq!(quiet.changes, []);
    assert_eq!(quiet.look_again, Some(Duration::from_secs(20)), "wakes exactly when the grace is over");
    let silent = run(&nodes, &[lease("worker-1", 130)], &[], &mut memory, 170);
    let [Change::Unknown { conditions, .. }] = silent.changes.as_slice() else { panic!("{silent:?}") };
    assert_eq!(conditions[0].status, "Unknown");
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
}

#[test]
fn old_heartbeats_are_no_silence_of_their_own() {
    // We start long after the last heartbeat: only what we ourselves waited for counts.
    let mut memory = Memory::default();
    let nodes = [node("worker-1", Some("True"), 0)];
    assert_eq!(run(&nodes, &[], &[], &mut memory, 10_000).changes, []);
    memory.start_anew(at(10_039));
    assert_eq!(run(&nodes, &[], &[], &mut memory, 10_060).changes, [], "the API was away, not the Node");
    assert_eq!(run(&nodes, &[], &[], &mut memory, 10_079).changes.len(), 1);
}

#[test]
fn a_new_node_has_longer_to_speak_up() {
    let mut memory = Memory::default();
    let mut fresh = node("worker-1", None, 0).as_ref().clone();
    fresh.spec.get_or_insert_default().taints = taints::wanted(&fresh, at(0));
    let nodes = [Arc::new(fresh)];
    assert_eq!(run(&nodes, &[], &[], &mut memory, 0).changes, []);
    assert_eq!(run(&nodes, &[], &[], &mut memory, 59).changes, []);
    let plan = run(&nodes, &[], &[], &mut memory, 60);
    let [Change::Unknown { conditions, .. }] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusNeverUpdated"));
}

#[test]
fn taints_come_and_go_with_readiness() {
    let mut memory = Memory::default();
    let plan = run(&[node("worker-1", Some("Unknown"), 0)], &[], &[], &mut memory, 0);
    let [Change::Taints { taints, node }] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!(taints.len(), 2);
    let mut back = node.as_ref().clone();
    back.spec.get_or_insert_default().taints = Some(taints.clone());
    if let Some(conditions) = back.status.as_mut().and_then(|status| status.conditions.as_mut()) {
        conditions[0].status = "True".into();
    }
    let plan = run(&[Arc::new(back)], &[], &[], &mut memory, 1);
    assert!(matches!(plan.changes.as_slice(), [Change::Taints { taints, .. }] if taints.is_empty()), "{plan:?}");
}

fn tainted(name: &str, ready: &str) -> Arc<Node> {
    let mut node = node(name, Some(ready), 0).as_ref().clone();
    node.spec.get_or_insert_default().taints = taints::wanted(&node, at(0));
    Arc::new(node)
}

#[test]
fn pods_of_a_silent_node_are_not_ready_until_it_is_back() {
    let mut memory = Memory::default();
    let ready = pod_on("worker-1", "True", None);
    let elsewhere = pod_on("worker-2", "True", None);
    let nodes = [tainted("worker-1", "Unknown"), tainted("worker-2", "True")];
    let plan = run(&nodes, &[], &[ready, elsewhere], &mut memory, 0);
    let [Change::PodReady { pod, condition }] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!(pod::node(pod), Some("worker-1"));
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("NodeNotReady")));

    let nodes = [tainted("worker-1", "True")];
    let back = run(&nodes, &[], &[pod_on("worker-1", "False", Some("NodeNotReady"))], &mut memory, 5);
    assert!(
        matches!(back.changes.as_slice(), [Change::PodReady { condition, .. }] if condition.status == "True"),
        "{back:?}"
    );
    // A Pod that is not ready by its own probe is not ours to change.
    let own = run(&nodes, &[], &[pod_on("worker-1", "False", Some("ContainersNotReady"))], &mut memory, 5);
    assert_eq!(own.changes, []);
}

#[test]
fn pods_leave_a_silent_node_after_five_minutes() {
    let mut memory = Memory::default();
    let nodes = [tainted("worker-1", "Unknown")];
    let pods = [pod_on("worker-1", "False", None)];
    let plan = run(&nodes, &[], &pods, &mut memory, 299);
    assert_eq!(plan.changes, []);
    assert_eq!(plan.look_again, Some(Duration::from_secs(1)));
    let plan = run(&nodes, &[], &pods, &mut memory, 300);
    assert!(matches!(plan.changes.as_slice(), [Change::Evict(_)]), "{plan:?}");
}
