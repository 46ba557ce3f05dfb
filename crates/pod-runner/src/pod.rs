//! One Pod's life on its node: sandbox, init containers, containers, and the way back.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodSpec};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    backoff::Backoff,
    cgroup,
    etc_files::{self, Resolver},
    files::{PodDir, read_json},
    node::{Node, reference},
    prepare::hostname,
    publish,
    sandbox::Sandbox,
    status::{ContainerFacts, PodFacts, State},
    supervise,
};

/// What the API says about the Pod.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// The Pod as it is now (with a deletion time once it is being deleted).
    Present(Arc<Pod>),
    /// The object is gone.
    Gone,
}

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
    sandbox: Mutex<Sandbox>,
}

/// Works for the Pod until nothing of it is left. `wanted` starts with what is known.
pub async fn run(node: Arc<Node>, uid: String, mut wanted: watch::Receiver<Wanted>) {
    let dir = PodDir::new(&node.options.pods_dir, &uid);
    let on_disk = read_json::<Sandbox>(&dir.sandbox()).ok().flatten();
    let first = wanted.borrow_and_update().clone();
    let Wanted::Present(pod) = first else {
        // Its object went while no runner was there.
        if let Some(sandbox) = on_disk {
            let pod = Arc::new(remembered(&sandbox));
            let context = PodContext::new(node, pod, dir, sandbox);
            stop_remains(&context).await;
            context.tear_down().await;
        }
        return;
    };
    let sandbox = on_disk.unwrap_or_else(|| new_sandbox(&node, &pod));
    let context = Arc::new(PodContext::new(node, pod.clone(), dir, sandbox));
    let over = matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    let publisher = publish::Publisher::new(context.clone(), wanted.clone(), over);
    let publishing = tokio::spawn(publisher.clone().run());

    let life = async {
        if !over {
            context.check_network().await;
            live(&context).await;
        }
        stop_remains(&context).await;
        // A finished Pod gives its address back at once, and keeps its logs until it is deleted.
        context.release_sandbox().await;
    };
    let told = async {
        loop {
            let asked = wanted.borrow_and_update().clone();
            match asked {
                Wanted::Gone => context.stop_within(context.grace()),
                Wanted::Present(pod) if pod.metadata.deletion_timestamp.is_some() => {
                    let grace = pod.metadata.deletion_grace_period_seconds;
                    let grace = grace.and_then(|grace| u64::try_from(grace).ok()).map(Duration::from_secs);
                    context.stop_within(grace.unwrap_or_else(|| context.grace()));
                }
                Wanted::Present(_) => {}
            }
            if wanted.changed().await.is_err() {
                // The runner itself ends; it aborts this task, so that the Pod stays as it is.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = async { life.await; context.stopped().await } => {}
        () = told => {}
    }
    publishing.abort();
    publisher.publish_until_accepted().await;
    publisher.delete_object().await;
    context.tear_down().await;
}

/// From nothing to all containers, until they have ended for good or the Pod is stopped.
async fn live(context: &Arc<PodContext>) {
    if !context.set_up_sandbox().await {
        return;
    }
    let inits = context.spec.init_containers.clone().unwrap_or_default();
    for init in inits {
        if !supervise::run(context.clone(), init, supervise::Role::Init).await {
            return;
        }
    }
    let containers = context.spec.containers.clone();
    join_all(containers.into_iter().map(|spec| supervise::run(context.clone(), spec, supervise::Role::Main))).await;
}

/// Ends containers that no supervising task knows, for example of a Pod that was finished when the runner came.
async fn stop_remains(context: &PodContext) {
    for name in context.dir.containers() {
        for number in context.dir.attempts(&name) {
            if let Ok(Some(container)) = crate::container::Container::adopt(context.dir.attempt(&name, number)) {
                let started = container.started().await;
                if started.exit.is_none() {
                    let _ = container.signal(rustix::process::Signal::KILL);
                    container.ended().await;
                }
            }
        }
    }
}

impl PodContext {
    fn new(node: Arc<Node>, pod: Arc<Pod>, dir: PodDir, sandbox: Sandbox) -> Self {
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
    pub fn addresses(&self) -> Vec<std::net::IpAddr> {
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

    fn stop_within(&self, grace: Duration) {
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

    fn sandbox(&self) -> Sandbox {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_sandbox(&self, sandbox: Sandbox) {
        self.facts.send_if_modified(|facts| {
            let (ready, ips) = (sandbox.is_ready(), sandbox.addresses(&self.node.options.host_ips));
            let news = facts.sandbox_ready != ready || (ready && facts.pod_ips != ips);
            facts.sandbox_ready = ready;
            // A finished Pod keeps telling the address it had.
            if ready {
                facts.pod_ips = ips;
            }
            news
        });
        *self.sandbox.lock().unwrap_or_else(PoisonError::into_inner) = sandbox;
    }

    /// Whether it succeeded; false when the Pod was stopped before.
    async fn set_up_sandbox(&self) -> bool {
        let mut backoff = Backoff::operations();
        while !self.is_stopping() {
            let mut sandbox = self.sandbox();
            let setting_up = async {
                let _slot = self.node.starts.acquire().await;
                let _attaching = self.node.attaching.read().await;
                self.make_cgroup()?;
                sandbox.set_up(&self.dir, &self.node.network).await.map_err(|error| crate::chain(&error))?;
                self.write_etc_files(&sandbox.addresses(&self.node.options.host_ips))
            };
            let result = tokio::select! {
                result = setting_up => result,
                // The plugin is killed with the future; its traces go with the DEL that follows.
                () = self.stopped() => {
                    self.reload_sandbox();
                    return false;
                }
            };
            match result {
                Ok(()) => {
                    self.set_sandbox(sandbox);
                    return true;
                }
                Err(error) => {
                    self.reload_sandbox();
                    let message = format!("Failed to create pod sandbox: {error}");
                    tracing::warn!(pod = self.pod.metadata.name, error, "sandbox not made");
                    self.node.events.warning(&self.reference(None), "FailedCreatePodSandBox", message);
                    self.pause(backoff.delay()).await;
                }
            }
        }
        false
    }

    /// Whether the network of a Pod that was taken over is still what ADD made it. A container runtime does not mend
    /// that either; but somebody should know.
    async fn check_network(&self) {
        let Some(attachment) = self.sandbox().attachment.filter(|attachment| attachment.result.is_some()) else {
            return;
        };
        if let Err(error) = self.node.network.check(&attachment).await {
            let message = format!("network of the sandbox is not as it was made: {}", crate::chain(&error));
            self.node.events.warning(&self.reference(None), "NetworkCheckFailed", message);
        }
    }

    /// What a failed or interrupted operation left on disk is the truth.
    fn reload_sandbox(&self) {
        if let Ok(Some(sandbox)) = read_json::<Sandbox>(&self.dir.sandbox()) {
            self.set_sandbox(sandbox);
        }
    }

    fn make_cgroup(&self) -> Result<(), String> {
        let Some(node) = &self.node.options.cgroup else { return Ok(()) };
        let cgroup = cgroup::of_pod(node, self.pod.metadata.uid.as_deref().unwrap_or_default());
        fs::create_dir_all(&cgroup).map_err(|error| format!("create cgroup {}: {error}", cgroup.display()))
    }

    fn write_etc_files(&self, addresses: &[std::net::IpAddr]) -> Result<(), String> {
        let options = &self.node.options;
        let hostname = hostname(&self.pod, &self.spec);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("default");
        let domain = self
            .spec
            .subdomain
            .as_ref()
            .filter(|subdomain| !subdomain.is_empty())
            .map(|subdomain| format!("{subdomain}.{namespace}.svc.{}", options.cluster_domain));
        let aliases = self.spec.host_aliases.as_deref().unwrap_or(&[]);
        let hosts = etc_files::hosts(addresses, &hostname, domain.as_deref(), aliases);
        let machine = || Resolver::of_machine(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        let resolver = match self.spec.dns_policy.as_deref() {
            Some("None") => Resolver::default(),
            Some("Default") => machine(),
            Some("ClusterFirstWithHostNet") => {
                Resolver::cluster_first(&options.cluster_dns, namespace, &options.cluster_domain)
            }
            _ if self.is_on_host_network() => machine(),
            _ => Resolver::cluster_first(&options.cluster_dns, namespace, &options.cluster_domain),
        };
        let resolv_conf = resolver.with(self.spec.dns_config.as_ref()).text();
        for (path, text) in
            [(self.dir.hosts(), hosts), (self.dir.resolv_conf(), resolv_conf), (self.dir.hostname(), hostname + "\n")]
        {
            fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Gives the network back, however often that has to be tried.
    async fn release_sandbox(&self) {
        let mut backoff = Backoff::operations();
        loop {
            let mut sandbox = self.sandbox();
            let result = sandbox.clear_network(&self.dir, &self.node.network).await;
            if sandbox.attachment.is_none() && !sandbox.host_network {
                self.set_sandbox(sandbox);
            }
            match result {
                Ok(()) => return,
                Err(error) => {
                    let error = crate::chain(&error);
                    tracing::warn!(pod = self.pod.metadata.name, error, "sandbox not removed yet");
                    let message = format!("error killing pod: {error}");
                    self.node.events.warning(&self.reference(None), "FailedKillPod", message);
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Removes everything of the Pod that is left on the node.
    async fn tear_down(&self) {
        self.release_sandbox().await;
        if let Some(node) = &self.node.options.cgroup {
            let cgroup = cgroup::of_pod(node, self.pod.metadata.uid.as_deref().unwrap_or_default());
            if let Err(error) = cgroup::remove(&cgroup).await {
                tracing::warn!(cgroup = %cgroup.display(), %error, "cgroup not removed");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.dir.0.display(), %error, "Pod's folder not removed");
        }
    }
}

fn new_sandbox(node: &Node, pod: &Pod) -> Sandbox {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    Sandbox {
        node: node.options.node_name.clone(),
        namespace: text(&pod.metadata.namespace),
        name: text(&pod.metadata.name),
        uid: text(&pod.metadata.uid),
        host_network: spec.is_some_and(|spec| spec.host_network == Some(true)),
        default_container: spec.and_then(|spec| spec.containers.first()).map(|first| first.name.clone()),
        created_at: pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or_else(Timestamp::now, |at| at.0),
        attachment: None,
    }
}

/// Enough of a Pod to take it down by.
fn remembered(sandbox: &Sandbox) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(sandbox.name.clone());
    pod.metadata.namespace = Some(sandbox.namespace.clone());
    pod.metadata.uid = Some(sandbox.uid.clone());
    pod
}
