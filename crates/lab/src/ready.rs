//! Nodes that are Ready.

use std::time::Duration;

use anyhow::bail;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use tokio::time::Instant;

use crate::{
    files::Folders,
    progress::Progress,
    spec::LabSpec,
    supervisor::{POLL, Supervisor},
};

/// Waits until every node of the lab is Ready. Returns all nodes.
pub async fn wait_for_nodes(
    client: &Client,
    spec: &LabSpec,
    folders: &Folders,
    supervisor: &mut Supervisor,
    limit: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Node>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let deadline = Instant::now() + limit;
    loop {
        supervisor.check(folders)?;
        let list = nodes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let ready = |name: &str| list.iter().any(|node| node.metadata.name.as_deref() == Some(name) && is_ready(node));
        let missing: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).filter(|name| !ready(name)).collect();
        if missing.is_empty() {
            return Ok(list);
        }
        progress.detail(&format!(
            "{} of {}, waiting for {}",
            spec.nodes.len() - missing.len(),
            spec.nodes.len(),
            missing.join(", ")
        ));
        if Instant::now() > deadline {
            bail!(
                "not Ready after {} s: {} (see malla lab status and {})",
                limit.as_secs(),
                missing.join(", "),
                folders.root().join("logs").display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The node's Ready condition.
#[must_use]
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
