//! One run of a container: from its first process to its last, with probes, hooks and the way it is ended.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler};
use rustix::process::Signal;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    container::Container,
    drain::forgotten_everywhere,
    pod::PodContext,
    probe::{self, Checker, News},
    shim::Exit,
    status::State,
    supervise::waits_for_listening,
};

/// Watches over a started container until it has ended, and says how.
pub async fn run(context: &Arc<PodContext>, spec: &Spec, container: &Container, adopted: bool) -> Exit {
    let started = container.started().await;
    if let Some(exit) = started.exit {
        note_failure(context, spec, &exit);
        return exit;
    }
    let listening = !waits_for_listening(spec);
    if !listening {
        tokio::select! {
            _ = container.ready() => {}
            () = sleep(LISTENS_WITHIN) => {
                tracing::warn!(container = spec.name, "a built-in image does not listen yet; it is reported as running");
            }
            () = context.stopped() => {}
        }
    }
    let since = started.running.map_or_else(jiff::Timestamp::now, |running| running.started_at);
    context.update(&spec.name, |facts| {
        facts.state = State::Running { since };
        facts.id = Some(container.id.clone());
        facts.started = spec.startup_probe.is_none();
        facts.ready = spec.readiness_probe.is_none() && spec.startup_probe.is_none();
    });
    let about = context.reference(Some(&spec.name));
    if !adopted {
        context.node.events.normal(&about, "Started", format!("Started container {}", spec.name));
    }
    let checker = match context.node.netns.try_clone() {
        Ok(node_netns) => Arc::new(Checker {
            node_netns,
            pod_ip: context.addresses().first().copied(),
            container: spec.name.clone(),
            dir: container.dir.clone(),
            ports: Checker::named_ports(spec),
        }),
        Err(error) => {
            tracing::error!(%error, "no descriptor left for probes");
            return end(context, spec, container, None, Ending::Restart(context.grace())).await;
        }
    };
    if !adopted
        && let Some(hook) = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref())
        && let Err(error) = call(hook, &checker, context.grace()).await
    {
        context.node.events.warning(&about, "FailedPostStartHook", format!("PostStartHook failed: {error}"));
        return end(context, spec, container, Some(&checker), Ending::Restart(context.grace())).await;
    }
    let (tell, mut news) = mpsc::channel(16);
    let probing = probe::run(spec.clone(), checker.clone(), tell);
    let mut probing = std::pin::pin!(probing);
    let mut probes_done = false;
    // Readiness is watched until the very end: a draining server is still a server.
    let mut ending: Option<Pin<Box<dyn Future<Output = Exit> + Send + '_>>> = None;
    loop {
        let stop = context.stopped();
        tokio::select! {
            exit = container.ended() => return exit,
            exit = async { match ending.as_mut() { Some(ending) => ending.await, None => std::future::pending().await } } => return exit,
            () = probing.as_mut(), if !probes_done => probes_done = true,
            Some(found) = news.recv() => {
                if let Some(grace) = take_in(context, spec, found)
                    && ending.is_none()
                {
                    ending = Some(Box::pin(end(context, spec, container, Some(&checker), Ending::Restart(grace))));
                }
            }
            () = stop, if ending.is_none() => {
                ending = Some(Box::pin(end(context, spec, container, Some(&checker), Ending::Deletion)));
            }
        }
    }
}

/// Takes in what a probe found; the grace period when the container must be restarted.
fn take_in(context: &PodContext, spec: &Spec, news: News) -> Option<Duration> {
    let about = context.reference(Some(&spec.name));
    match news {
        News::Started => {
            context.update(&spec.name, |facts| {
                facts.started = true;
                facts.ready = spec.readiness_probe.is_none();
            });
            None
        }
        News::Ready(ready) => {
            context.update(&spec.name, |facts| facts.ready = ready);
            None
        }
        News::Unhealthy { kind, message } => {
            if !context.is_stopping() {
                context.node.events.warning(&about, "Unhealthy", format!("{} probe failed: {message}", kind.name()));
            }
            None
        }
        News::Failed { kind, grace } => {
            let message =
                format!("Container {} failed {} probe, will be restarted", spec.name, kind.name().to_lowercase());
            context.node.events.normal(&about, "Killing", message);
            Some(grace.unwrap_or_else(|| context.grace()))
        }
    }
}

/// Why a container is ended.
enum Ending {
    /// A probe or hook failed; the Pod stays.
    Restart(Duration),
    /// The Pod goes: [`PodContext::stop`] holds the deadline.
    Deletion,
}

/// Hook, SIGTERM, for built-in images SIGUSR2 when no node names the Pod any more, SIGKILL at the deadline.
async fn end(context: &PodContext, spec: &Spec, container: &Container, checker: Option<&Checker>, why: Ending) -> Exit {
    let of_deletion = matches!(why, Ending::Deletion);
    let own_deadline = match why {
        Ending::Restart(grace) => Instant::now() + grace,
        // Far enough: the Pod's own deadline ends it.
        Ending::Deletion => Instant::now() + Duration::from_secs(86_400),
    };
    if of_deletion {
        let about = context.reference(Some(&spec.name));
        context.node.events.normal(&about, "Killing", format!("Stopping container {}", spec.name));
    }
    let politely = async {
        let hook = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        if let (Some(hook), Some(checker)) = (hook, checker)
            && let Err(error) = call(hook, checker, context.grace()).await
        {
            let about = context.reference(Some(&spec.name));
            context.node.events.warning(&about, "FailedPreStopHook", format!("PreStopHook failed: {error}"));
        }
        send(container, Signal::TERM);
        if waits_for_listening(spec) {
            match (of_deletion, context.is_on_host_network()) {
                (true, false) => forgotten_everywhere(&context.node.options.agent_sockets, &context.addresses()).await,
                // The node's own address says nothing about this Pod; a moment has to do.
                (true, true) => sleep(SETTLE_ON_HOST_NETWORK).await,
                (false, _) => {}
            }
            send(container, Signal::USR2);
        }
        container.ended().await
    };
    tokio::select! {
        exit = politely => return exit,
        () = sleep_until(own_deadline) => {}
        () = deadline(context) => {}
    }
    send(container, Signal::KILL);
    container.ended().await
}

/// Sleeps until the Pod's deadline, which may come closer meanwhile.
async fn deadline(context: &PodContext) {
    let mut stop = context.stop.subscribe();
    loop {
        let deadline = stop.borrow_and_update().map(|stop| stop.deadline);
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            _ = stop.changed() => {}
        }
    }
}

async fn call(hook: &LifecycleHandler, checker: &Checker, limit: Duration) -> Result<(), String> {
    let called = async {
        if let Some(action) = &hook.exec {
            checker.exec(action, limit).await
        } else if let Some(action) = &hook.http_get {
            checker.http_get(action, limit).await
        } else if let Some(action) = &hook.sleep {
            sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
            Ok(())
        } else {
            Ok(())
        }
    };
    timeout(limit, called).await.unwrap_or_else(|_| Err("timed out".into()))
}

fn note_failure(context: &PodContext, spec: &Spec, exit: &Exit) {
    if let Some(failure) = &exit.failure {
        let about = context.reference(Some(&spec.name));
        context.node.events.warning(&about, "Failed", format!("Error: {}", failure.message));
    }
}

fn send(container: &Container, signal: Signal) {
    if let Err(error) = container.signal(signal) {
        tracing::warn!(container = container.id, ?signal, %error, "signal not sent");
    }
}

/// A built-in image listens within milliseconds; one that does not has met something unforeseen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const SETTLE_ON_HOST_NETWORK: Duration = Duration::from_secs(1);
