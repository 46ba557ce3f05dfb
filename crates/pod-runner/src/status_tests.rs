//! Tests of [`super`].

use serde_json::json;

use super::*;

fn pod(restart_policy: &str, inits: &[&str], containers: &[&str]) -> Pod {
    let list =
        |names: &[&str]| names.iter().map(|name| json!({"name": name, "image": "malla.dev/echo"})).collect::<Vec<_>>();
    serde_json::from_value(json!({"spec": {
        "restartPolicy": restart_policy, "initContainers": list(inits), "containers": list(containers)}}))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn running(ready: bool) -> ContainerFacts {
    ContainerFacts {
        state: State::Running { since: at(1) },
        ready,
        started: true,
        id: Some("a".into()),
        ..Default::default()
    }
}

fn ended(exit_code: i32) -> Ended {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    Ended {
        exit_code,
        signal: None,
        reason: reason.into(),
        message: None,
        started_at: at(1),
        finished_at: at(2),
        id: None,
    }
}

fn facts(containers: &[(&str, ContainerFacts)]) -> PodFacts {
    let containers = containers.iter().map(|(name, facts)| ((*name).to_owned(), facts.clone())).collect();
    PodFacts { containers, ..PodFacts::default() }
}

fn over(exit_code: i32) -> ContainerFacts {
    ContainerFacts { state: State::Ended(ended(exit_code)), ..Default::default() }
}

#[test]
fn phases() {
    let crash = ContainerFacts { state: waiting("CrashLoopBackOff"), last: Some(ended(1)), ..Default::default() };
    type Case<'a> = (&'a str, &'a [(&'a str, ContainerFacts)], &'a str);
    let cases: &[Case<'_>] = &[
        ("Always", &[], "Pending"),
        ("Always", &[("a", running(true))], "Pending"),
        ("Always", &[("a", running(true)), ("b", running(false))], "Running"),
        ("Always", &[("a", crash.clone()), ("b", crash.clone())], "Running"),
        ("Never", &[("a", over(0)), ("b", over(0))], "Succeeded"),
        ("Never", &[("a", over(0)), ("b", over(3))], "Failed"),
        ("OnFailure", &[("a", over(0)), ("b", over(3))], "Running"),
        ("OnFailure", &[("a", over(0)), ("b", over(0))], "Succeeded"),
        ("Never", &[("a", over(3)), ("b", running(true))], "Running"),
    ];
    for (policy, containers, expect) in cases {
        let status = status(&pod(policy, &[], &["a", "b"]), &facts(containers), at(9));
        assert_eq!(status.phase.as_deref(), Some(*expect), "{policy} {containers:?}");
    }
}

#[test]
fn init_containers_come_first() {
    let pod = pod("Never", &["i"], &["a"]);
    let waits = status(&pod, &facts(&[("i", running(false))]), at(9));
    assert_eq!(waits.phase.as_deref(), Some("Pending"));
    let reason = |status: &PodStatus| {
        status.container_statuses.clone().unwrap()[0].state.clone().unwrap().waiting.unwrap().reason
    };
    assert_eq!(reason(&waits).as_deref(), Some("PodInitializing"));
    assert_eq!(status(&pod, &facts(&[("i", over(1))]), at(9)).phase.as_deref(), Some("Failed"));
    let ready = status(&pod, &facts(&[("i", over(0)), ("a", running(true))]), at(9));
    assert_eq!(ready.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&ready, "Initialized").status, "True");
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap()
}

#[test]
fn readiness_and_its_transition_time() {
    let mut pod = pod("Always", &[], &["a"]);
    let unready = status(&pod, &facts(&[("a", running(false))]), at(10));
    let ready = condition(&unready, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ContainersNotReady")));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
    pod.status = Some(unready);
    let later = status(&pod, &facts(&[("a", running(false))]), at(20));
    assert_eq!(condition(&later, "Ready").last_transition_time, Some(time(at(10))), "nothing has changed");
    let now_ready = status(&pod, &facts(&[("a", running(true))]), at(30));
    assert_eq!(condition(&now_ready, "Ready").status, "True");
    assert_eq!(condition(&now_ready, "Ready").last_transition_time, Some(time(at(30))));
}

#[test]
fn conditions_of_others_survive_and_gates_hold_readiness_back() {
    let mut pod = pod("Always", &[], &["a"]);
    pod.spec.as_mut().unwrap().readiness_gates =
        Some(vec![k8s_openapi::api::core::v1::PodReadinessGate { condition_type: "x.org/gate".into() }]);
    let closed = status(&pod, &facts(&[("a", running(true))]), at(1));
    assert_eq!(condition(&closed, "ContainersReady").status, "True");
    assert_eq!(condition(&closed, "Ready").status, "False");
    let gate = PodCondition { type_: "x.org/gate".into(), status: "True".into(), ..Default::default() };
    pod.status = Some(PodStatus { conditions: Some(vec![gate]), ..Default::default() });
    let open = status(&pod, &facts(&[("a", running(true))]), at(1));
    assert_eq!(condition(&open, "Ready").status, "True");
    assert_eq!(condition(&open, "x.org/gate").status, "True");
}

#[test]
fn a_completed_pod_is_not_ready() {
    let status = status(&pod("Never", &[], &["a"]), &facts(&[("a", over(0))]), at(9));
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodCompleted"));
    let terminated = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((terminated.exit_code, terminated.reason.as_deref()), (0, Some("Completed")));
}

#[test]
fn quality_of_service() {
    let with = |resources: serde_json::Value| -> Vec<Container> {
        vec![serde_json::from_value(json!({"name": "a", "resources": resources})).unwrap()]
    };
    assert_eq!(qos_class(&with(json!({}))), "BestEffort");
    assert_eq!(qos_class(&with(json!({"requests": {"cpu": "1"}}))), "Burstable");
    assert_eq!(qos_class(&with(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), "Guaranteed");
}
