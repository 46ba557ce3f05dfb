//! What an agent did, as any client of Hubble's API asks for it.

use crate::PATIENCE;
use crate::cluster::{Cluster, wait_until};
use flow_api::client::connect;
use flow_api::flow::agent_event::Notification;
use flow_api::flow::{AgentEvent, AgentEventType as Type, PolicyUpdateNotification, ServiceUpsertNotification};
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetAgentEventsRequest, GetDebugEventsRequest};
use std::collections::BTreeSet;

const POD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: told, labels: {app: told}}
spec:
  nodeName: worker-1
  containers: [{name: c, image: malla.dev/client}]
";
const SERVICE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: told}
spec: {selector: {app: told}, ports: [{port: 80, targetPort: 8080}]}
";
const POLICY: &str = r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: told}
spec:
  podSelector: {matchLabels: {app: told}}
  ingress: [{ports: [{port: 8080}]}]
";

/// All that worker-1's agent has told, and that nothing explains itself beside it.
fn told(cluster: &Cluster) -> Vec<AgentEvent> {
    let socket = cluster.folder().join("nodes/worker-1/hubble.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = ObserverClient::new(connect(&socket).await.unwrap());
        let mut debug = client.get_debug_events(GetDebugEventsRequest::default()).await.unwrap().into_inner();
        assert_eq!(debug.message().await.unwrap(), None);
        let mut answers = client.get_agent_events(GetAgentEventsRequest::default()).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            assert!(answer.time.is_some() && answer.node_name.ends_with("worker-1"), "{answer:?}");
            told.push(answer.agent_event.unwrap());
        }
        told
    })
}

fn policy<'a>(told: &'a [AgentEvent], name: &str) -> Vec<(Type, &'a PolicyUpdateNotification)> {
    let label = format!("k8s:io.cilium.k8s.policy.name={name}");
    let is = |event: &'a AgentEvent| match &event.notification {
        Some(Notification::PolicyUpdate(update)) if update.labels.contains(&label) => Some((event.r#type(), update)),
        _ => None,
    };
    told.iter().filter_map(is).collect()
}

fn services<'a>(told: &'a [AgentEvent], name: &str) -> Vec<&'a ServiceUpsertNotification> {
    let is = |event: &'a AgentEvent| match &event.notification {
        Some(Notification::ServiceUpsert(upsert)) if upsert.name == name => Some(upsert),
        _ => None,
    };
    told.iter().filter_map(is).collect()
}

/// What became of a Pod: created, deleted.
fn pod(told: &[AgentEvent], name: &str) -> Vec<(Type, u64)> {
    let is = |event: &AgentEvent| match &event.notification {
        Some(Notification::EndpointUpdate(update)) if update.pod_name == name => Some((event.r#type(), update.id)),
        _ => None,
    };
    told.iter().filter_map(is).collect()
}

fn deleted_services(told: &[AgentEvent]) -> BTreeSet<u32> {
    let is = |event: &AgentEvent| match &event.notification {
        Some(Notification::ServiceDelete(deleted)) => Some(deleted.id),
        _ => None,
    };
    told.iter().filter_map(is).collect()
}

/// Of an agent that has just started on a node where everything was as it should be.
pub fn all(cluster: &Cluster) {
    let mut now = Vec::new();
    wait_until("the policies that are in force", PATIENCE, || {
        now = told(cluster);
        !policy(&now, "only-monolith").is_empty()
    });
    assert_eq!(now[0].r#type(), Type::AgentStarted);

    cluster.apply(POD);
    cluster.apply(SERVICE);
    cluster.apply(POLICY);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/told", "--timeout=60s"]);
    let [address, _] = cluster.pod_addresses("told");
    let serves = |told: &[AgentEvent]| {
        let to = |upsert: &ServiceUpsertNotification| {
            upsert.backend_addresses.iter().any(|to| to.ip == address && to.port == 8080)
        };
        services(told, "told").last().is_some_and(|upsert| to(upsert))
    };
    wait_until("the Pod, its Service and its policy", PATIENCE, || {
        now = told(cluster);
        !pod(&now, "told").is_empty() && serves(&now) && !policy(&now, "told").is_empty()
    });
    let frontend = services(&now, "told")[0];
    assert_eq!((frontend.r#type.as_str(), frontend.namespace.as_str()), ("ClusterIP", "default"), "{frontend:?}");
    assert_eq!(frontend.frontend_address.as_ref().unwrap().port, 80, "{frontend:?}");
    let in_force = policy(&now, "told")[0].1;
    let derived = "k8s:io.cilium.k8s.policy.derived-from=NetworkPolicy".to_owned();
    assert!(in_force.labels.contains(&derived) && in_force.revision > 0, "{in_force:?}");
    assert_eq!(in_force.rule_count, 1);

    cluster.kubectl(&["delete", "networkpolicy/told", "service/told", "pod/told", "--wait"]);
    let ids = |told: &[AgentEvent]| services(told, "told").iter().map(|upsert| upsert.id).collect::<BTreeSet<_>>();
    wait_until("that they have gone", PATIENCE, || {
        now = told(cluster);
        let gone = policy(&now, "told").iter().any(|(kind, _)| *kind == Type::PolicyDeleted);
        gone && pod(&now, "told").len() == 2 && ids(&now).is_subset(&deleted_services(&now))
    });
    let kinds: Vec<Type> = policy(&now, "told").iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Type::PolicyUpdated, Type::PolicyDeleted]);
    let [(created, id), (deleted, same)] = pod(&now, "told")[..] else { panic!("{now:#?}") };
    assert_eq!((created, deleted, id), (Type::EndpointCreated, Type::EndpointDeleted, same));

    // What was there before the agent and is as it was, it has not made.
    for name in ["user-service", "empty"] {
        assert!(services(&now, name).is_empty(), "{name}: {now:#?}");
    }
    for name in ["server", "caged"] {
        assert!(pod(&now, name).is_empty(), "{name}: {now:#?}");
    }
    assert_eq!(policy(&now, "only-monolith").len(), 1, "{now:#?}");
    assert_eq!(now.iter().filter(|event| event.r#type() == Type::AgentStarted).count(), 1);
}
