//! One container over all its runs: start, watch, restart, stop.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container as Spec, Secret};
use kube::Api;

use crate::{
    backoff::Backoff,
    container::Container,
    environment::referenced,
    pod::PodContext,
    prepare::{Preparation, PrepareError, is_built_in, shim_config},
    running,
    shim::{Exit, ShimConfig},
    status::{Ended, State, waiting},
};

/// What a container is for its Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Must succeed before the next one starts.
    Init,
    Main,
}

/// Runs the container until it has ended for good or the Pod is stopped. Whether it ended with success.
pub async fn run(context: Arc<PodContext>, spec: Spec, role: Role) -> bool {
    let mut backoff = Backoff::restarts();
    let mut restarts = 0;
    let mut taken_over = None;
    if let Some(last) = context.dir.attempts(&spec.name).last().copied() {
        match Container::adopt(context.dir.attempt(&spec.name, last)) {
            Ok(Some(container)) => {
                restarts = last;
                remember_previous(&context, &spec.name, last);
                taken_over = Some(container);
            }
            // A folder without a configuration: its number is free.
            Ok(None) | Err(_) => restarts = last,
        }
    }
    loop {
        let adopted = taken_over.is_some();
        let container = match taken_over.take() {
            Some(container) => container,
            None => match start(&context, &spec, restarts).await {
                Some(container) => container,
                None => return false,
            },
        };
        let exit = running::run(&context, &spec, &container, adopted).await;
        let began = exit.started_at;
        let ended = describe(exit, &container.id);
        let success = ended.exit_code == 0;
        backoff.ran_for(Duration::try_from(Timestamp::now().duration_since(began)).unwrap_or_default());
        context.update(&spec.name, |facts| {
            facts.ready = false;
            facts.started = false;
            facts.state = State::Ended(ended.clone());
        });
        if context.is_stopping() || !restart(&context, role, success) {
            return success;
        }
        let delay = backoff.delay();
        if !delay.is_zero() && !back_off(&context, &spec, delay).await {
            return false;
        }
        restarts += 1;
        context.update(&spec.name, |facts| {
            facts.last = Some(ended);
            facts.restarts = restarts;
            facts.state = waiting("ContainerCreating");
        });
        prune(&context, &spec.name, restarts);
    }
}

fn restart(context: &PodContext, role: Role, success: bool) -> bool {
    match (context.spec.restart_policy.as_deref().unwrap_or("Always"), role) {
        ("Never", _) => false,
        ("OnFailure", _) | (_, Role::Init) => !success,
        _ => true,
    }
}

/// Waits before a restart; false when the Pod is stopped meanwhile.
async fn back_off(context: &PodContext, spec: &Spec, delay: Duration) -> bool {
    let pod = context.pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = context.pod.metadata.namespace.as_deref().unwrap_or_default();
    let uid = context.pod.metadata.uid.as_deref().unwrap_or_default();
    let message =
        format!("back-off {}s restarting failed container={} pod={pod}_{namespace}({uid})", delay.as_secs(), spec.name);
    context.update(&spec.name, |facts| {
        if let State::Ended(ended) = &facts.state {
            facts.last = Some(ended.clone());
        }
        facts.state = State::Waiting { reason: "CrashLoopBackOff".into(), message: Some(message) };
    });
    let event = format!("Back-off restarting failed container {} in pod {pod}_{namespace}({uid})", spec.name);
    context.node.events.warning(&context.reference(Some(&spec.name)), "BackOff", event);
    context.pause(delay).await
}

/// Starts run number `restarts`, as soon as everything for it can be had; `None` when the Pod is stopped before.
async fn start(context: &Arc<PodContext>, spec: &Spec, restarts: u32) -> Option<Container> {
    let mut images = Backoff::images();
    let about = context.reference(Some(&spec.name));
    loop {
        if context.is_stopping() {
            return None;
        }
        match prepare(context, spec, restarts).await {
            Ok(config) => match launch(context, spec, restarts, &config).await {
                Ok(container) => {
                    let image = spec.image.as_deref().unwrap_or_default();
                    let events = &context.node.events;
                    events.normal(&about, "Pulled", format!("Container image \"{image}\" already present on machine"));
                    events.normal(&about, "Created", format!("Created container: {}", spec.name));
                    return Some(container);
                }
                Err(error) => {
                    context.set_waiting(&spec.name, "CreateContainerError", Some(error.clone()));
                    context.node.events.warning(&about, "Failed", format!("Error: {error}"));
                    context.pause(RETRY).await;
                }
            },
            Err(PrepareError::Image(error)) if error.reason() == "ErrImagePull" => {
                let image = spec.image.as_deref().unwrap_or_default();
                let events = &context.node.events;
                context.set_waiting(&spec.name, "ErrImagePull", Some(error.to_string()));
                events.warning(&about, "Failed", format!("Failed to pull image \"{image}\": {error}"));
                events.warning(&about, "Failed", "Error: ErrImagePull");
                if !context.pause(SHOW_FIRST_ERROR).await {
                    return None;
                }
                let message = format!("Back-off pulling image \"{image}\": {error}");
                context.set_waiting(&spec.name, "ImagePullBackOff", Some(message.clone()));
                events.normal(&about, "BackOff", message);
                events.warning(&about, "Failed", "Error: ImagePullBackOff");
                context.pause(images.delay()).await;
            }
            Err(error) => {
                context.set_waiting(&spec.name, error.reason(), Some(error.to_string()));
                context.node.events.warning(&about, "Failed", format!("Error: {error}"));
                context.pause(RETRY).await;
            }
        }
    }
}

async fn prepare(context: &PodContext, spec: &Spec, restarts: u32) -> Result<ShimConfig, PrepareError> {
    let (maps, secrets) = referenced(spec);
    let namespace = context.pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut preparation = Preparation {
        options: &context.node.options,
        pod: &context.pod,
        dir: &context.dir,
        pod_ips: &context.addresses(),
        config_maps: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    // One that cannot be read now counts as missing, and is asked for again.
    for name in maps {
        let api: Api<ConfigMap> = Api::namespaced(context.node.client.clone(), namespace);
        if let Ok(map) = api.get(&name).await {
            preparation.config_maps.insert(name, map);
        }
    }
    for name in secrets {
        let api: Api<Secret> = Api::namespaced(context.node.client.clone(), namespace);
        if let Ok(secret) = api.get(&name).await {
            preparation.secrets.insert(name, secret);
        }
    }
    shim_config(&preparation, spec, restarts)
}

async fn launch(context: &PodContext, spec: &Spec, number: u32, config: &ShimConfig) -> Result<Container, String> {
    let _slot = context.node.starts.acquire().await;
    if let Some(cgroup) = &config.cgroup {
        fs::create_dir_all(cgroup).map_err(|error| format!("create cgroup {}: {error}", cgroup.display()))?;
    }
    let dir = context.dir.attempt(&spec.name, number);
    let container = Container::start(&context.node.options.malla, dir, config)
        .map_err(|error| format!("start the shim: {error}"))?;
    container.started().await;
    Ok(container)
}

/// What `lastState` and `kubectl logs --previous` tell after a takeover.
fn remember_previous(context: &PodContext, name: &str, last: u32) {
    let previous = last.checked_sub(1).and_then(|number| {
        let dir = context.dir.attempt(name, number);
        let exit: Exit = crate::files::read_json(&dir.exit()).ok()??;
        let config: ShimConfig = crate::files::read_json(&dir.config()).ok()??;
        Some(describe(exit, &config.id))
    });
    context.update(name, |facts| {
        facts.restarts = last;
        facts.last = previous;
    });
}

/// Keeps this run and the one before.
fn prune(context: &PodContext, name: &str, current: u32) {
    for number in context.dir.attempts(name).into_iter().filter(|number| number + 1 < current) {
        let _ = fs::remove_dir_all(context.dir.attempt(name, number).0);
        let log = context.dir.log(name, number);
        let _ = fs::remove_file(crate::shim::rotated(&log));
        let _ = fs::remove_file(log);
    }
}

fn describe(exit: Exit, id: &str) -> Ended {
    let reason = match (&exit.failure, exit.exit_code) {
        (Some(_), _) => "StartError",
        (None, 0) => "Completed",
        (None, _) => "Error",
    };
    Ended {
        exit_code: exit.exit_code,
        signal: None,
        reason: reason.into(),
        message: exit.failure.map(|failure| failure.message),
        started_at: exit.started_at,
        finished_at: exit.finished_at,
        id: Some(id.into()),
    }
}

/// Whether the runner may report the container as running only when it says that it listens.
pub fn waits_for_listening(spec: &Spec) -> bool {
    is_built_in(spec)
}

/// How long `ErrImagePull` shows before it becomes `ImagePullBackOff`.
const SHOW_FIRST_ERROR: Duration = Duration::from_secs(2);
/// As kubelet's Pod sync comes round.
const RETRY: Duration = Duration::from_secs(5);
