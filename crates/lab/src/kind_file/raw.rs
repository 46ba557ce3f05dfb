//! The file's fields as kind has them (`pkg/apis/config/v1alpha4/types.go`), with their places.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCluster {
    pub kind: Option<Spanned<String>>,
    pub api_version: Option<Spanned<String>>,
    pub name: Option<String>,
    pub nodes: Option<Vec<RawNode>>,
    pub networking: Option<RawNetworking>,
    /// Not kind's: the slip that the reader of the file forgives.
    pub extra_port_mappings: Option<Spanned<Vec<Spanned<RawPort>>>>,
    pub feature_gates: Option<Spanned<IgnoredAny>>,
    pub runtime_config: Option<Spanned<IgnoredAny>>,
    pub kubeadm_config_patches: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "kubeadmConfigPatchesJSON6902")]
    pub kubeadm_config_patches_json6902: Option<Spanned<IgnoredAny>>,
    pub containerd_config_patches: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "containerdConfigPatchesJSON6902")]
    pub containerd_config_patches_json6902: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNode {
    pub role: Option<Spanned<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    pub extra_port_mappings: Option<Vec<Spanned<RawPort>>>,
    pub image: Option<Spanned<IgnoredAny>>,
    pub extra_mounts: Option<Spanned<IgnoredAny>>,
    pub kubeadm_config_patches: Option<Spanned<IgnoredAny>>,
    #[serde(rename = "kubeadmConfigPatchesJSON6902")]
    pub kubeadm_config_patches_json6902: Option<Spanned<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPort {
    pub container_port: Option<Spanned<i64>>,
    pub host_port: Option<Spanned<i64>>,
    pub listen_address: Option<String>,
    pub protocol: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNetworking {
    pub ip_family: Option<Spanned<String>>,
    pub api_server_port: Option<Spanned<i64>>,
    pub api_server_address: Option<Spanned<String>>,
    pub pod_subnet: Option<String>,
    pub service_subnet: Option<String>,
    #[serde(rename = "disableDefaultCNI")]
    pub disable_default_cni: Option<Spanned<IgnoredAny>>,
    pub kube_proxy_mode: Option<Spanned<IgnoredAny>>,
    pub dns_search: Option<Spanned<IgnoredAny>>,
}
