//! `CiliumNetworkPolicy` and `CiliumClusterwideNetworkPolicy` (cilium.io/v2): every field, also those that are not
//! enforced, so that what is written for Cilium is kept whole and can be judged.
//!
//! Fields follow Cilium's `pkg/policy/api`. Text that stands for a choice (an entity, a protocol, a mode) stays text here:
//! the API checks it by the definition, and the policy compiler names the field where it does not know the word.

mod cidr;
mod egress;
mod ingress;
mod l7;
mod ports;
mod rule;
mod status;

pub use cidr::{CidrGroupSpec, CidrRule, CiliumCIDRGroup};
pub use egress::{AwsGroup, EgressRule, FqdnSelector, GroupsRule, ServiceBySelector, ServiceName, ServiceRule};
pub use ingress::{Authentication, IngressRule};
pub use l7::{DnsRule, HeaderMatch, HttpRule, KafkaRule, L7Rules, SecretName};
pub use ports::{EnvoyConfigName, IcmpField, IcmpRule, Listener, PortProtocol, PortRule, TlsContext, TlsSecret};
pub use rule::{DefaultDeny, LogField, PolicyLabel, PolicyRule};
pub use status::{CiliumPolicyStatus, DerivativeStatus, PolicyCondition};

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Both kinds have `spec` and `specs` beside each other, which kube's derive has no form for.
macro_rules! policy_kind {
    ($(#[$doc:meta])* $kind:ident, $own_name:literal, $plural:literal, $scope:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// `cilium.io/v2`.
            #[serde(default = "api_version")]
            pub api_version: String,
            /// The kind's own name.
            #[serde(default = $own_name)]
            pub kind: String,
            /// Name, namespace, annotations.
            pub metadata: ObjectMeta,
            /// One rule.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub spec: Option<PolicyRule>,
            /// More rules, each of which is a policy of its own.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub specs: Option<Vec<PolicyRule>>,
            /// What became of it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<CiliumPolicyStatus>,
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;
            fn kind(_: &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }
            fn group(_: &()) -> Cow<'_, str> {
                "cilium.io".into()
            }
            fn version(_: &()) -> Cow<'_, str> {
                "v2".into()
            }
            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

policy_kind!(
    /// A policy of one namespace.
    CiliumNetworkPolicy,
    "namespaced",
    "ciliumnetworkpolicies",
    NamespaceResourceScope
);
policy_kind!(
    /// A policy of the whole cluster, which may also govern nodes.
    CiliumClusterwideNetworkPolicy,
    "clusterwide",
    "ciliumclusterwidenetworkpolicies",
    ClusterResourceScope
);

fn api_version() -> String {
    "cilium.io/v2".to_owned()
}

fn namespaced() -> String {
    "CiliumNetworkPolicy".to_owned()
}

fn clusterwide() -> String {
    "CiliumClusterwideNetworkPolicy".to_owned()
}

/// The definitions of the three kinds.
pub(crate) fn definitions() -> [Value; 3] {
    let columns = json!([
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
        { "name": "Valid", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Valid')].status" },
    ]);
    let root = || {
        let rule = schema::of::<PolicyRule>();
        schema::root(
            "What may be said to and by the endpoints that it selects.",
            json!({ "spec": rule, "specs": { "type": "array", "items": rule, "description": "More rules, each a policy of its own." },
                "status": schema::of::<CiliumPolicyStatus>() }),
            &[],
        )
    };
    let policy = |kind, plural, short_names| schema::Names {
        group: "cilium.io",
        kind,
        plural,
        short_names,
        categories: &["cilium", "ciliumpolicy"],
    };
    [
        schema::definition(
            &policy("CiliumNetworkPolicy", "ciliumnetworkpolicies", &["cnp", "ciliumnp"]),
            "Namespaced",
            "v2",
            &columns,
            root(),
        ),
        schema::definition(
            &policy("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", &["ccnp"]),
            "Cluster",
            "v2",
            &columns,
            root(),
        ),
        cidr::definition(),
    ]
}
