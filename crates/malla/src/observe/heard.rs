//! Which of the nodes that are asked answer, and which do not.

use flow_api::relay::{NodeState, NodeStatusEvent};
use std::collections::BTreeMap;

/// As far as it was told.
#[derive(Debug, Default)]
pub struct Heard {
    any: bool,
    /// With what is wrong with each.
    missing: BTreeMap<String, String>,
}

impl Heard {
    /// What is told of some of them.
    pub fn note(&mut self, status: &NodeStatusEvent) {
        match status.state_change() {
            NodeState::NodeConnected => self.any = true,
            // Nobody misses what is no node any more.
            NodeState::NodeGone => {}
            _ => self.missing.extend(status.node_names.iter().map(|node| (node.clone(), status.message.clone()))),
        }
    }

    /// One at least has answered.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Of so many that were asked, none has answered, and none is waited for any more. One that was there may come back.
    pub fn none_of(&self, asked: usize) -> bool {
        !self.any && self.missing.len() == asked
    }

    /// Those that could not be asked, or not for all, and why.
    pub fn missing(&self) -> Vec<String> {
        self.missing.iter().map(|(node, why)| format!("{node}: {why}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_heard_when_the_last_one_is_missing() {
        let status = |node: &str, state: NodeState| NodeStatusEvent {
            state_change: state as i32,
            node_names: vec![node.to_owned()],
            message: "no answer in time".to_owned(),
        };
        let mut heard = Heard::default();
        for (node, state) in [
            ("b", NodeState::NodeUnavailable),
            ("b", NodeState::NodeError),
            ("c", NodeState::NodeGone),
            ("a", NodeState::NodeUnavailable),
        ] {
            assert!(!heard.none_of(2));
            heard.note(&status(node, state));
        }
        assert!(heard.none_of(2) && !heard.none_of(3) && !heard.any());
        assert_eq!(heard.missing(), ["a: no answer in time", "b: no answer in time"]);
        heard.note(&status("a", NodeState::NodeConnected));
        assert!(heard.any() && !heard.none_of(2));
    }
}
