//! `CiliumIdentity`: a number, which is its name, and the labels that it stands for.

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// A security identity. It has no `spec`: what it is stands at the top, as Cilium has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CiliumIdentity {
    #[serde(rename = "apiVersion", skip_deserializing, default = "api_version")]
    api_version: &'static str,
    #[serde(skip_deserializing, default = "kind")]
    kind: &'static str,
    /// Its name is the number, in decimal.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// `source:key` → value.
    #[serde(default, rename = "security-labels")]
    pub security_labels: BTreeMap<String, String>,
}

impl CiliumIdentity {
    /// The object of a number.
    #[must_use]
    pub fn new(number: u32, security_labels: BTreeMap<String, String>) -> Self {
        let metadata = ObjectMeta { name: Some(number.to_string()), ..ObjectMeta::default() };
        Self { api_version: api_version(), kind: kind(), metadata, security_labels }
    }

    /// The number, if its name is one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        let name = self.metadata.name.as_deref()?;
        // "+300" and "0300" are numbers for Rust, but no other name of 300.
        name.parse().ok().filter(|number: &u32| number.to_string() == name)
    }
}

fn api_version() -> &'static str {
    "cilium.io/v2"
}

fn kind() -> &'static str {
    "CiliumIdentity"
}

impl Resource for CiliumIdentity {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        kind().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "cilium.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v2".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "ciliumidentities".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_ciliums() {
        let labels = BTreeMap::from([("k8s:app".to_owned(), "web".to_owned())]);
        let json = serde_json::to_value(CiliumIdentity::new(300, labels.clone())).unwrap();
        assert_eq!((&json["apiVersion"], &json["kind"]), (&"cilium.io/v2".into(), &"CiliumIdentity".into()));
        assert_eq!((&json["metadata"]["name"], &json["security-labels"]["k8s:app"]), (&"300".into(), &"web".into()));
        // An object out of a list says neither its version nor its kind, and must be writable again nevertheless.
        let bare = serde_json::json!({"metadata": {"name": "300"}, "security-labels": labels});
        let read: CiliumIdentity = serde_json::from_value(bare).unwrap();
        assert_eq!(read, CiliumIdentity::new(300, labels));
        assert_eq!(read.number(), Some(300));
    }

    #[test]
    fn only_a_plain_number_is_a_number() {
        for name in ["", "web", "0300", "+300", "-1", "4294967296"] {
            let mut identity = CiliumIdentity::new(1, BTreeMap::new());
            identity.metadata.name = Some(name.to_owned());
            assert_eq!(identity.number(), None, "{name}");
        }
    }
}
