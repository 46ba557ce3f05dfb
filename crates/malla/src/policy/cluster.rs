//! What the agents of a cluster know of policy, each for its node.

use crate::agents::{Agent, LABS, Selection};
use agent::services::View;
use anyhow::{Context, bail};
use policy::snapshot::Snapshot;
use std::path::{Path, PathBuf};

/// A node, and what its agent says.
pub struct Node {
    pub name: String,
    /// Or why it says nothing.
    pub said: Result<Snapshot, String>,
    /// Where its maps are pinned; not known of an agent that is named by its socket.
    pub maps: Option<PathBuf>,
}

/// All that were asked.
pub struct Cluster {
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Asks all agents that are meant.
    ///
    /// # Errors
    /// When there are none, or not one of them answers.
    pub fn ask(selection: &Selection) -> anyhow::Result<Self> {
        let agents = selection.agents()?;
        let root = Path::new(LABS).join(&selection.lab).join("bpf");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut nodes = Vec::new();
        runtime.block_on(async {
            for agent in &agents {
                let said =
                    agent.get("/v1/policy").await.and_then(|body| Ok(serde_json::from_slice::<Snapshot>(&body)?));
                let said = said.map_err(|error| format!("{error:#}"));
                let name = said.as_ref().map_or_else(|_| agent.name.clone(), |snapshot| snapshot.node.to_string());
                let maps = selection.socket.is_empty().then(|| root.join(&agent.name));
                nodes.push(Node { name, said, maps });
            }
        });
        if let Some(error) = nodes.iter().find_map(|node| node.said.as_ref().err())
            && nodes.iter().all(|node| node.said.is_err())
        {
            bail!("no agent answers: {error}");
        }
        Ok(Self { nodes })
    }

    /// What some agent says; all of them know the same of the cluster.
    ///
    /// # Errors
    /// When none says anything.
    pub fn any(&self) -> anyhow::Result<&Snapshot> {
        self.nodes.iter().find_map(|node| node.said.as_ref().ok()).context("no agent answers")
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// In words, for each agent that says nothing.
    pub fn silent(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter_map(|node| node.said.as_ref().err().map(|error| format!("{} can't be asked: {error}", node.name)))
            .collect()
    }
}

/// A Service, as the first agent that answers has it.
///
/// # Errors
/// When none answers.
pub fn service(selection: &Selection, namespace: &str, name: &str) -> anyhow::Result<Option<View>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask_service(&selection.agents()?, namespace, name))
}

/// The same of these agents.
///
/// # Errors
/// When none answers.
pub async fn ask_service(agents: &[Agent], namespace: &str, name: &str) -> anyhow::Result<Option<View>> {
    let path = format!("/v1/services/{namespace}/{name}");
    let mut failed = None;
    for agent in agents {
        match agent.get(&path).await {
            Ok(body) => {
                let views: Vec<View> = serde_json::from_slice(&body).context("understand the agent")?;
                return Ok(views.into_iter().next());
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow::anyhow!("there is no agent to ask")))
}
