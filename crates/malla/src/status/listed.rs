//! Nodes as the Kubernetes API has them. On a machine of a real cluster the own agent's socket is the only one at hand; but every
//! agent writes how it reaches the others into a condition of its Node, and all conditions together tell of all paths; into a second one
//! it writes how it does itself.

use agent::probes::CONDITION;
use agent::status::{AGENT_READY, AGENT_STALE};
use anyhow::Context;
use jiff::Timestamp;
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
    /// What its agent last said of itself; none before it has.
    pub of_itself: Option<OfItself>,
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

/// The condition [`AGENT_READY`], as far as it can be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfItself {
    /// In one word.
    pub readiness: Readiness,
    /// In words, with what is not well.
    pub message: String,
    /// Since when that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it was said last, the same or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Timestamp>,
    /// Seconds ago, when the API was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

/// How an agent does, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// In sync, no troubles.
    Ready,
    /// It says what is not well.
    NotReady,
    /// It has said nothing for so long that what it said may be over, and it may be, too.
    Unknown,
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
        let now = Timestamp::now();
        nodes.extend(list.items.into_iter().map(|node| listed(node, now)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(nodes),
        }
    }
}

fn listed(node: Node, now: Timestamp) -> Listed {
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let (mut ours, mut itself, mut not_ready) = (None, None, None);
    for condition in conditions {
        match &*condition.type_ {
            CONDITION => ours = Some(said(condition)),
            AGENT_READY => itself = Some(of_itself(condition, now)),
            READY if condition.status != "True" => not_ready = Some(said(condition).message),
            _ => {}
        }
    }
    Listed { node: node.metadata.name.unwrap_or_default(), said: ours, of_itself: itself, not_ready }
}

fn of_itself(condition: NodeCondition, now: Timestamp) -> OfItself {
    let heartbeat = condition.last_heartbeat_time.as_ref().map(|time| time.0);
    // Clocks differ; one that is as far ahead as this says nothing of when it was.
    let off = heartbeat.map(|heartbeat| now.duration_since(heartbeat).as_secs());
    let is_heard = off.is_some_and(|off| off.unsigned_abs() <= AGENT_STALE.as_secs());
    let age = off.map(|off| u64::try_from(off).unwrap_or(0));
    let Said { reaches_all: holds, message, since } = said(condition);
    let readiness = match (is_heard, holds) {
        (false, _) => Readiness::Unknown,
        (true, true) => Readiness::Ready,
        (true, false) => Readiness::NotReady,
    };
    OfItself { readiness, message, since, heartbeat, age_seconds: age }
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
                Timestamp::UNIX_EPOCH,
            )
        };
        let other = json!({"type": "NetworkUnavailable", "status": "False", "message": "fine"});
        let time = "2026-01-01T00:00:00Z";
        let ours = json!({"type": CONDITION, "status": "False", "reason": "NodesUnreachable", "message": "can't reach b by TCP",
            "lastTransitionTime": time});
        let said = Said { reaches_all: false, message: "can't reach b by TCP".into(), since: Some(time.into()) };
        let expected = Listed { node: "a".into(), said: Some(said), of_itself: None, not_ready: None };
        assert_eq!(of(json!([other, ours])), expected);
        assert_eq!(of(json!([other])).said, None);
        let unknown = json!({"type": CONDITION, "status": "Unknown", "reason": "NodeStatusUnknown"});
        let said = of(json!([unknown])).said.unwrap();
        assert_eq!((said.reaches_all, &*said.message), (false, "NodeStatusUnknown"));
        let ready =
            |status| of(json!([{"type": "Ready", "status": status, "message": "nobody has heard of it"}])).not_ready;
        assert_eq!(["True", "Unknown"].map(ready), [None, Some("nobody has heard of it".to_owned())]);
    }

    #[test]
    fn an_agent_that_is_not_heard_any_more_is_not_believed() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let said = |status: &str, heartbeat: Option<&str>, now: &str| {
            let condition = json!({"type": AGENT_READY, "status": status, "reason": "R", "message": "words",
                "lastHeartbeatTime": heartbeat, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let node = json!({"metadata": {"name": "a"}, "status": {"conditions": [condition]}});
            listed(serde_json::from_value(node).unwrap(), time(now)).of_itself.unwrap()
        };
        let beat = Some("2026-01-01T01:00:00Z");
        let (soon, late) = ("2026-01-01T01:20:00Z", "2026-01-01T01:20:01Z");
        let ready = said("True", beat, soon);
        let expected = OfItself {
            readiness: Readiness::Ready,
            message: "words".into(),
            since: Some("2026-01-01T00:00:00Z".into()),
            heartbeat: beat.map(time),
            age_seconds: Some(1200),
        };
        assert_eq!(ready, expected);
        let word = |status, heartbeat, now| said(status, heartbeat, now).readiness;
        assert_eq!(word("False", beat, soon), Readiness::NotReady);
        assert_eq!(["True", "False"].map(|status| word(status, beat, late)), [Readiness::Unknown; 2]);
        assert_eq!(word("True", None, soon), Readiness::Unknown);
        assert_eq!(word("True", beat, "2026-01-01T00:59:00Z"), Readiness::Ready, "its clock is ahead");
        assert_eq!(word("True", beat, "2026-01-01T00:39:00Z"), Readiness::Unknown, "so far that it says nothing");
    }
}
