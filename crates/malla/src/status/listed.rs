//! Nodes as the Kubernetes API has them. On a machine of a real cluster the own agent's socket is the only one at hand; but every
//! agent writes how it reaches the others into a condition of its Node, and all conditions together tell of all paths.

use agent::probes::CONDITION;
use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// One Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub node: String,
    /// What its agent last said of its paths; none before it knows them all, or where it does not probe.
    pub said: Option<Said>,
    /// Why it is not ready: its condition `Ready`, where that is not True. Nobody has to look at a node for its other conditions to
    /// stay as they are.
    pub not_ready: Option<String>,
}

/// The condition [`CONDITION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Every other node is reached.
    pub reaches_all: bool,
    /// In words, with the nodes that are not.
    pub message: String,
    /// Since when that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A client for the API; nothing is asked yet.
///
/// # Errors
/// When the file can't be read or is no kubeconfig.
pub async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    Ok(agent::cluster::connect(kubeconfig).await?.0)
}

/// All Nodes.
///
/// # Errors
/// When the API does not answer in time, or does not let us.
pub async fn nodes(client: Client) -> anyhow::Result<Vec<Listed>> {
    tokio::time::timeout(LIMIT, all(&Api::all(client))).await.context("no answer in time")?
}

async fn all(api: &Api<Node>) -> anyhow::Result<Vec<Listed>> {
    let mut page = ListParams::default().limit(PAGE);
    let mut nodes = Vec::new();
    loop {
        let list = api.list(&page).await?;
        nodes.extend(list.items.into_iter().map(listed));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(nodes),
        }
    }
}

fn listed(node: Node) -> Listed {
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let (mut ours, mut not_ready) = (None, None);
    for condition in conditions {
        match &*condition.type_ {
            CONDITION => ours = Some(said(condition)),
            READY if condition.status != "True" => not_ready = Some(said(condition).message),
            _ => {}
        }
    }
    Listed { node: node.metadata.name.unwrap_or_default(), said: ours, not_ready }
}

fn said(condition: NodeCondition) -> Said {
    Said {
        reaches_all: condition.status == "True",
        message: condition.message.or(condition.reason).unwrap_or_default(),
        since: condition.last_transition_time.map(|time| time.0.to_string()),
    }
}

/// Kubernetes' own, which is Unknown once nobody has heard of the node for a while.
const READY: &str = "Ready";
/// Nodes of one answer: their images alone may be a hundred names each.
const PAGE: u32 = 250;
/// An API that needs longer has a problem, which is told.
const LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_one_condition_is_read_and_no_other() {
        let of = |conditions| {
            listed(
                serde_json::from_value(json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}}))
                    .unwrap(),
            )
        };
        let other = json!({"type": "NetworkUnavailable", "status": "False", "message": "fine"});
        let time = "2026-01-01T00:00:00Z";
        let ours = json!({"type": CONDITION, "status": "False", "reason": "NodesUnreachable", "message": "can't reach b by TCP",
            "lastTransitionTime": time});
        let said = Said { reaches_all: false, message: "can't reach b by TCP".into(), since: Some(time.into()) };
        assert_eq!(of(json!([other, ours])), Listed { node: "a".into(), said: Some(said), not_ready: None });
        assert_eq!(of(json!([other])).said, None);
        let unknown = json!({"type": CONDITION, "status": "Unknown", "reason": "NodeStatusUnknown"});
        let said = of(json!([unknown])).said.unwrap();
        assert_eq!((said.reaches_all, &*said.message), (false, "NodeStatusUnknown"));
        let ready =
            |status| of(json!([{"type": "Ready", "status": status, "message": "nobody has heard of it"}])).not_ready;
        assert_eq!(["True", "Unknown"].map(ready), [None, Some("nobody has heard of it".to_owned())]);
    }
}
