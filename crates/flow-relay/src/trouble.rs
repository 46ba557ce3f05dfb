//! Why a node does not answer, or not as it should.

use flow_api::client::status_words;
use flow_api::relay::NodeState;
use tonic::{Code, Status};

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `NODE_UNAVAILABLE`: it can't be asked, or has stopped to answer. `NODE_ERROR`: it answers that something is wrong, or no
    /// message of the API.
    pub state: NodeState,
    /// In words.
    pub why: String,
}

impl Trouble {
    /// It can't be asked, or has stopped to answer.
    pub fn away(why: impl Into<String>) -> Self {
        Self { state: NodeState::NodeUnavailable, why: why.into() }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let state = match status.code() {
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => NodeState::NodeUnavailable,
            _ => NodeState::NodeError,
        };
        Self { state, why: status_words(&status) }
    }
}
