//! From what the runner knows to the Pod's `status`, as kubelet would write it. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::{Timestamp, Unit};
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// What the runner knows about a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFacts {
    pub start_time: Option<Timestamp>,
    pub pod_ips: Vec<IpAddr>,
    pub host_ips: Vec<IpAddr>,
    /// The sandbox exists and has its network.
    pub sandbox_ready: bool,
    /// By name, init containers included.
    pub containers: BTreeMap<String, ContainerFacts>,
    /// Set when the Pod ended for a reason of its own, for example a deadline.
    pub failed: Option<(String, String)>,
}

/// What the runner knows about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    pub state: State,
    pub last: Option<Ended>,
    pub restarts: u32,
    pub ready: bool,
    /// The startup probe has succeeded (or there is none) and the container runs.
    pub started: bool,
    pub id: Option<String>,
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Waiting { reason: String, message: Option<String> },
    Running { since: Timestamp },
    Ended(Ended),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub id: Option<String>,
}

impl Default for ContainerFacts {
    fn default() -> Self {
        Self { state: waiting("ContainerCreating"), last: None, restarts: 0, ready: false, started: false, id: None }
    }
}

/// A waiting state without a message.
#[must_use]
pub fn waiting(reason: &str) -> State {
    State::Waiting { reason: reason.into(), message: None }
}

/// Makes the status. `pod` gives the specification and the status so far: transition times of conditions that did not
/// change are kept, and conditions that others own too.
#[must_use]
pub fn status(pod: &Pod, facts: &PodFacts, now: Timestamp) -> PodStatus {
    let before = pod.status.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.as_deref().unwrap_or(&[]);
    let initialized = inits.iter().all(|init| has_succeeded(facts, &init.name));
    let restart_policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let phase = match &facts.failed {
        Some(_) => "Failed",
        None => phase(&spec.containers, inits, facts, restart_policy),
    };
    let default_waiting = if inits.is_empty() || initialized { "ContainerCreating" } else { "PodInitializing" };
    let container_statuses: Vec<_> =
        spec.containers.iter().map(|container| container_status(container, facts, default_waiting)).collect();
    let init_statuses: Vec<_> = inits.iter().map(|init| container_status(init, facts, "PodInitializing")).collect();

    let done = matches!(phase, "Succeeded" | "Failed");
    let unready: Vec<&str> =
        container_statuses.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    let pending_inits: Vec<&str> =
        inits.iter().map(|init| init.name.as_str()).filter(|name| !has_succeeded(facts, name)).collect();
    let containers_ready = if done {
        Condition::not("PodCompleted", None)
    } else if unready.is_empty() {
        Condition::met()
    } else {
        Condition::not("ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))
    };
    let gates_closed = spec.readiness_gates.iter().flatten().any(|gate| {
        !before.conditions.iter().flatten().any(|have| have.type_ == gate.condition_type && have.status == "True")
    });
    let ready = if containers_ready.status && gates_closed {
        Condition::not("ReadinessGatesNotReady", Some("a readiness gate of the Pod is not met".into()))
    } else {
        containers_ready.clone()
    };
    let initialized = if done && phase == "Succeeded" {
        Condition { status: true, reason: Some("PodCompleted".into()), message: None }
    } else if initialized {
        Condition::met()
    } else {
        let message = format!("containers with incomplete status: [{}]", pending_inits.join(" "));
        Condition::not("ContainersNotInitialized", Some(message))
    };
    let sandbox =
        if facts.sandbox_ready { Condition::met() } else { Condition { status: false, reason: None, message: None } };
    let scheduled = Condition::met();

    let mut conditions: Vec<PodCondition> = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", scheduled),
    ]
    .into_iter()
    .map(|(kind, condition)| condition.stamped(kind, before.conditions.as_deref().unwrap_or(&[]), now))
    .collect();
    let others = before.conditions.iter().flatten().filter(|have| !OWN_CONDITIONS.contains(&have.type_.as_str()));
    conditions.extend(others.cloned());

    let ip = |ip: &IpAddr| ip.to_string();
    PodStatus {
        phase: Some(phase.into()),
        reason: facts.failed.as_ref().map(|(reason, _)| reason.clone()),
        message: facts.failed.as_ref().map(|(_, message)| message.clone()),
        conditions: Some(conditions),
        container_statuses: Some(container_statuses),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        host_ip: facts.host_ips.first().map(ip),
        host_ips: Some(facts.host_ips.iter().map(|host| HostIP { ip: ip(host) }).collect()),
        pod_ip: facts.pod_ips.first().map(ip),
        pod_ips: Some(facts.pod_ips.iter().map(|pod| PodIP { ip: ip(pod) }).collect()),
        qos_class: Some(before.qos_class.unwrap_or_else(|| qos_class(&spec.containers).into())),
        start_time: facts.start_time.map(time),
        ..PodStatus::default()
    }
}

/// kubelet's `getPhase`.
fn phase(containers: &[Container], inits: &[Container], facts: &PodFacts, restart_policy: &str) -> &'static str {
    for init in inits {
        match facts.containers.get(&init.name).map(|facts| &facts.state) {
            Some(State::Ended(ended)) if ended.exit_code == 0 => {}
            Some(State::Ended(_)) if restart_policy == "Never" => return "Failed",
            _ => return "Pending",
        }
    }
    let (mut running, mut pending, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for container in containers {
        let facts = facts.containers.get(&container.name);
        match facts.map(|facts| (&facts.state, &facts.last)) {
            Some((State::Running { .. }, _)) => running += 1,
            Some((State::Ended(ended), _) | (State::Waiting { .. }, Some(ended))) => {
                stopped += 1;
                succeeded += usize::from(ended.exit_code == 0);
            }
            Some((State::Waiting { .. }, None)) | None => pending += 1,
        }
    }
    match restart_policy {
        _ if pending > 0 => "Pending",
        _ if running > 0 || stopped == 0 => "Running",
        "Always" => "Running",
        _ if succeeded == stopped => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

fn has_succeeded(facts: &PodFacts, name: &str) -> bool {
    facts.containers.get(name).is_some_and(|facts| matches!(&facts.state, State::Ended(ended) if ended.exit_code == 0))
}

fn container_status(container: &Container, facts: &PodFacts, default_waiting: &str) -> ContainerStatus {
    let fresh = ContainerFacts { state: waiting(default_waiting), ..ContainerFacts::default() };
    let known = facts.containers.get(&container.name).unwrap_or(&fresh);
    let image = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        image_id: if known.id.is_some() { image.clone() } else { String::new() },
        image,
        container_id: known.id.clone().map(container_id),
        ready: known.ready,
        started: Some(known.started),
        restart_count: i32::try_from(known.restarts).unwrap_or(i32::MAX),
        state: Some(container_state(&known.state)),
        last_state: Some(known.last.as_ref().map(terminated).unwrap_or_default()),
        ..ContainerStatus::default()
    }
}

fn container_state(state: &State) -> ContainerState {
    match state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.clone()), message: message.clone() }),
            ..ContainerState::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(*since)) }),
            ..ContainerState::default()
        },
        State::Ended(ended) => terminated(ended),
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: ended.id.clone().map(container_id),
        exit_code: ended.exit_code,
        signal: ended.signal,
        reason: Some(ended.reason.clone()),
        message: ended.message.clone(),
        started_at: Some(time(ended.started_at)),
        finished_at: Some(time(ended.finished_at)),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn container_id(id: String) -> String {
    format!("malla://{id}")
}

#[derive(Debug, Clone)]
struct Condition {
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Condition {
    fn met() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn not(reason: &str, message: Option<String>) -> Self {
        Self { status: false, reason: Some(reason.into()), message }
    }

    fn stamped(self, kind: &str, before: &[PodCondition], now: Timestamp) -> PodCondition {
        let status = if self.status { "True" } else { "False" };
        let since = before
            .iter()
            .find(|have| have.type_ == kind && have.status == status)
            .and_then(|have| have.last_transition_time.clone())
            .unwrap_or_else(|| time(now));
        PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason: self.reason,
            message: self.message,
            last_transition_time: Some(since),
            ..PodCondition::default()
        }
    }
}

/// Kubernetes' times have whole seconds (apimachinery, `meta/v1/time.go`).
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(at.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(at))
}

/// Quality of service by requests and limits of cpu and memory (Kubernetes' `GetPodQOS`).
fn qos_class(containers: &[Container]) -> &'static str {
    let mut any = false;
    let mut guaranteed = !containers.is_empty();
    for container in containers {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        any |= !requests.is_empty() || !limits.is_empty();
        for name in ["cpu", "memory"] {
            let limit = limits.get(name);
            guaranteed &= limit.is_some() && requests.get(name).is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
