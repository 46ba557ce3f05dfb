//! Identities and endpoints as people ask about them. The one description of both, for the agent and for `malla identity` and
//! `malla endpoint`.

use super::Identities;
use crate::status::Endpoint;
use datapath_layouts::identity::reserved_name;
use model::{Labels, ObjectName};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A number and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityView {
    /// The number.
    pub id: u32,
    /// Its labels, `source:key=value`.
    pub labels: Vec<String>,
    /// The Pods that have it.
    pub pods: Vec<ObjectName>,
}

/// A Pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its number on the node.
    pub id: u32,
    /// The Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// The number that the map has for it.
    pub identity: u32,
    /// Labels of that number.
    pub labels: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Host side of its link.
    pub interface: String,
    /// `ready`; `waiting-for-identity`; `detached`: the programs are not on its link.
    pub state: String,
}

/// What can be an identity without an object: Cilium's reserved numbers.
const RESERVED: std::ops::RangeInclusive<u32> = 1..=10;

impl Identities {
    /// Every identity, the reserved ones first.
    #[must_use]
    pub fn identity_views(&self) -> Vec<IdentityView> {
        let mut out: Vec<IdentityView> =
            RESERVED.map(|id| IdentityView { id, labels: self.label_texts(id), pods: Vec::new() }).collect();
        out.extend(self.objects().map(|(id, labels)| IdentityView { id, labels: texts(labels), pods: Vec::new() }));
        out.sort_unstable_by_key(|view| view.id);
        for one in self.published() {
            if let Ok(place) = out.binary_search_by_key(&one.identity, |view| view.id) {
                out[place].pods.push(one.pod.clone());
            }
        }
        out.iter_mut().for_each(|view| view.pods.sort_unstable());
        out
    }

    /// Endpoints with the labels of their identities.
    #[must_use]
    pub fn endpoint_views(&self, endpoints: Vec<Endpoint>) -> Vec<EndpointView> {
        let view = |endpoint: Endpoint| EndpointView {
            labels: self.label_texts(endpoint.identity),
            state: match (endpoint.attached, endpoint.identity) {
                (false, _) => "detached",
                (true, datapath_layouts::identity::INIT) => "waiting-for-identity",
                (true, _) => "ready",
            }
            .to_owned(),
            id: endpoint.id,
            pod: endpoint.pod,
            identity: endpoint.identity,
            addresses: endpoint.addresses,
            interface: endpoint.interface,
        };
        endpoints.into_iter().map(view).collect()
    }

    fn label_texts(&self, number: u32) -> Vec<String> {
        match (self.labels(number), reserved_name(number)) {
            (Some(labels), _) => texts(labels),
            (None, Some(name)) => vec![format!("reserved:{name}")],
            (None, None) => Vec::new(),
        }
    }
}

fn texts(labels: &Labels) -> Vec<String> {
    labels.iter().map(|label| label.to_string()).collect()
}
