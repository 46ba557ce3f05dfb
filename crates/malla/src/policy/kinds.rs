//! Which objects are policies, what the API would say of their form, and what they mean.

use super::document::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kubernetes_api::offline::{self, Objection};
use policy::dialect::references::References;
use policy::dialect::{Mistake, cilium, cluster_network_policy::cluster_network_policy, network_policy};
use policy::rule::Policy;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Network,
    ClusterNetwork,
    Cilium,
    CiliumClusterwide,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Network, Self::ClusterNetwork, Self::Cilium, Self::CiliumClusterwide];

    /// Of an object that is a policy by its kind and group, in whichever version; a group that is missing is a slip.
    pub fn of(document: &Node) -> Option<Self> {
        let (kind, version) = (document.text("kind")?, document.text("apiVersion").unwrap_or_default());
        let group = version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL.into_iter().find(|one| one.name() == kind && (group.is_empty() || one.group() == group))
    }

    /// `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "NetworkPolicy",
            Self::ClusterNetwork => "ClusterNetworkPolicy",
            Self::Cilium => "CiliumNetworkPolicy",
            Self::CiliumClusterwide => "CiliumClusterwideNetworkPolicy",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Network => "networking.k8s.io",
            Self::ClusterNetwork => "policy.networking.k8s.io",
            Self::Cilium | Self::CiliumClusterwide => "cilium.io",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Network => "v1",
            Self::ClusterNetwork => "v1alpha2",
            Self::Cilium | Self::CiliumClusterwide => "v2",
        }
    }

    /// Whether its objects have a namespace.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Network | Self::Cilium)
    }
}

/// What the API would refuse or drop. The object is afterwards as the API would keep it.
pub fn objections(kind: Kind, object: &mut Value, definitions: &[CustomResourceDefinition]) -> Vec<Objection> {
    let wanted = format!("{}/{}", kind.group(), kind.version());
    let written = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    if written != wanted {
        return vec![Objection { field: "apiVersion".into(), text: format!("is {written:?}: write {wanted}") }];
    }
    let mut all = match definitions.iter().find(|one| one.spec.names.kind == kind.name()) {
        None => offline::built_in("io.k8s.api.networking.v1.NetworkPolicy", kind.name(), object),
        Some(definition) => offline::custom(&json!(definition), kind.version(), object),
    };
    if object["metadata"]["name"].as_str().is_none_or(str::is_empty) && object["metadata"]["generateName"].is_null() {
        all.push(Objection { field: "metadata.name".into(), text: "is missing".into() });
    }
    all
}

/// What an object means.
pub fn policies(kind: Kind, object: Value, references: &References) -> Result<Vec<Policy>, Vec<Mistake>> {
    match kind {
        Kind::Network => network_policy::convert(&typed(object)?).map(|policy| vec![policy]),
        Kind::ClusterNetwork => cluster_network_policy(&typed(object)?).map(|policy| vec![policy]),
        Kind::Cilium => cilium::network_policy(&typed(object)?, references),
        Kind::CiliumClusterwide => cilium::clusterwide_policy(&typed(object)?, references),
    }
}

fn typed<T: DeserializeOwned>(object: Value) -> Result<T, Vec<Mistake>> {
    serde_json::from_value(object).map_err(|error| vec![Mistake { field: String::new(), text: error.to_string() }])
}
