//! One Pod, as the tasks that work for it share it.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodSpec};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    files::PodDir,
    node::{Node, reference},
    sandbox::Sandbox,
    status::{ContainerFacts, PodFacts, State},
};

/// How a Pod is to be stopped; the deadline can only come closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    pub deadline: Instant,
}

/// One Pod, shared by the tasks that work for it.
#[derive(Debug)]
pub struct PodContext {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub spec: PodSpec,
    pub dir: PodDir,
    pub facts: watch::Sender<PodFacts>,
    pub stop: watch::Sender<Option<Stop>>,
    pub(super) sandbox: Mutex<Sandbox>,
}

impl PodContext {
    pub fn new(node: Arc<Node>, pod: Arc<Pod>, dir: PodDir, sandbox: Sandbox) -> Self {
        let facts = PodFacts {
            start_time: Some(sandbox.created_at),
            pod_ips: sandbox.addresses(&node.options.host_ips),
            host_ips: node.options.host_ips.clone(),
            sandbox_ready: sandbox.is_ready(),
            ..PodFacts::default()
        };
        let spec = pod.spec.clone().unwrap_or_default();
        Self {
            node,
            pod,
            spec,
            dir,
            facts: watch::Sender::new(facts),
            stop: watch::Sender::new(None),
            sandbox: Mutex::new(sandbox),
        }
    }

    /// What events about the Pod, or one of its containers, refer to.
    pub fn reference(&self, container: Option<&str>) -> ObjectReference {
        reference(&self.pod, container)
    }

    /// The Pod's own grace period.
    pub fn grace(&self) -> Duration {
        let seconds = self.spec.termination_grace_period_seconds.unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// The Pod's addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.sandbox().addresses(&self.node.options.host_ips)
    }

    /// Whether the Pod shares the node's network.
    pub fn is_on_host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    /// Changes what is known about a container; the publisher notices.
    pub fn update(&self, container: &str, change: impl FnOnce(&mut ContainerFacts)) {
        self.facts.send_modify(|facts| change(facts.containers.entry(container.to_owned()).or_default()));
    }

    /// Sets a container's waiting state.
    pub fn set_waiting(&self, container: &str, reason: &str, message: Option<String>) {
        self.update(container, |facts| facts.state = State::Waiting { reason: reason.into(), message });
    }

    /// Waits until the Pod is to be stopped.
    pub async fn stopped(&self) {
        // The sender lives in `self`.
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether the Pod is to be stopped.
    pub fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Waits, unless the Pod is stopped first; whether the wait was whole.
    pub async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = sleep(duration) => true,
            () = self.stopped() => false,
        }
    }

    /// Asks for an end within `grace`.
    pub fn stop_within(&self, grace: Duration) {
        // Even a forced deletion leaves a moment to say goodbye, as kubelet does.
        let deadline = Instant::now() + grace.max(Duration::from_secs(1));
        self.stop.send_if_modified(|stop| match stop {
            Some(stop) if stop.deadline <= deadline => false,
            _ => {
                *stop = Some(Stop { deadline });
                true
            }
        });
    }
}
