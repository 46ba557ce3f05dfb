//! One Pod's life on its node: sandbox, init containers, containers, and the way back.

mod context;
mod network;

use cni_protocol::PortMapping;
use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::{sync::watch, time::sleep};

use crate::{
    files::{PodDir, read_json},
    node::Node,
    publish,
    sandbox::Sandbox,
    supervise,
};

pub use context::PodContext;

/// What the API says about the Pod.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// The Pod as it is now (with a deletion time once it is being deleted).
    Present(Arc<Pod>),
    /// The object is gone.
    Gone,
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
    let deletion = watch::Sender::new(false);
    // Known before anything starts: nothing is begun for a Pod that is on its way out.
    if let Some(grace) = asked_to_go(&wanted.borrow(), &context) {
        context.stop_within(grace);
    }
    let told = async {
        loop {
            let asked = wanted.borrow_and_update().clone();
            if let Some(grace) = asked_to_go(&asked, &context) {
                context.stop_within(grace);
                deletion.send_replace(true);
            }
            if wanted.changed().await.is_err() {
                // The runner itself ends; it aborts this task, so that the Pod stays as it is.
                std::future::pending::<()>().await;
            }
        }
    };
    let over = async {
        life.await;
        let _ = deletion.subscribe().wait_for(|asked| *asked).await;
    };
    tokio::select! {
        () = over => {}
        () = told => {}
        () = fail_at_deadline(&context) => {}
    }
    publishing.abort();
    publisher.publish_until_accepted().await;
    publisher.delete_object().await;
    context.tear_down().await;
}

/// The grace period when the Pod is to leave the node.
fn asked_to_go(wanted: &Wanted, context: &PodContext) -> Option<Duration> {
    match wanted {
        Wanted::Gone => Some(context.grace()),
        Wanted::Present(pod) => {
            pod.metadata.deletion_timestamp.as_ref()?;
            let grace = pod.metadata.deletion_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
            Some(grace.map_or_else(|| context.grace(), Duration::from_secs))
        }
    }
}

/// Ends the Pod when it has been active for longer than it may; never returns.
async fn fail_at_deadline(context: &PodContext) {
    if let Some(limit) = context.spec.active_deadline_seconds.and_then(|limit| u64::try_from(limit).ok()) {
        let began = context.facts.borrow().start_time.unwrap_or_else(Timestamp::now);
        let active = Duration::try_from(Timestamp::now().duration_since(began)).unwrap_or_default();
        sleep(Duration::from_secs(limit).saturating_sub(active)).await;
        let message = "Pod was active on the node longer than the specified deadline";
        context.node.events.normal(&context.reference(None), "DeadlineExceeded", message);
        context.facts.send_modify(|facts| facts.failed = Some(("DeadlineExceeded".into(), message.into())));
        context.stop_within(context.grace());
    }
    std::future::pending().await
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
        port_mappings: port_mappings(pod),
        attachment: None,
    }
}

/// The Pod's host ports as kubelet gives them to a runtime. On the host network the ports are the node's anyway.
fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let spec = pod.spec.iter().filter(|spec| spec.host_network != Some(true));
    let containers = spec.flat_map(|spec| {
        // Init containers that stay (KEP-753); the others end before anybody could come.
        let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = |number: i32| u16::try_from(number).ok().filter(|&number| number != 0);
    ports
        .filter_map(|declared| {
            Some(PortMapping {
                host_port: port(declared.host_port?)?,
                container_port: port(declared.container_port)?,
                protocol: declared.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                host_ip: declared.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            })
        })
        .collect()
}

/// Enough of a Pod to take it down by.
fn remembered(sandbox: &Sandbox) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(sandbox.name.clone());
    pod.metadata.namespace = Some(sandbox.namespace.clone());
    pod.metadata.uid = Some(sandbox.uid.clone());
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn host_ports_are_those_of_containers_that_stay() {
        let pod = |host_network: bool| -> Pod {
            let ports = json!([
                {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81},
                {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "172.18.0.3"}]);
            let sidecar =
                json!({"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 1}]});
            let init = json!({"name": "i", "ports": [{"containerPort": 2, "hostPort": 2}]});
            serde_json::from_value(json!({"spec": {"hostNetwork": host_network, "initContainers": [init, sidecar],
                "containers": [{"name": "c", "ports": ports}]}}))
            .unwrap()
        };
        let shown: Vec<String> = port_mappings(&pod(false))
            .iter()
            .map(|m| {
                format!("{} {}>{} {:?}", m.protocol, m.host_port, m.container_port, m.host_ip.map(|ip| ip.to_string()))
            })
            .collect();
        assert_eq!(shown, ["tcp 8080>80 None", "udp 5353>53 Some(\"172.18.0.3\")", "tcp 1>1 None"]);
        assert!(port_mappings(&pod(true)).is_empty(), "on the host network they are the node's anyway");
    }
}
