//! What is served, in both forms that clients ask for: the classic documents and the aggregated one (KEP-3352).

mod aggregated;
mod classic;

pub use aggregated::aggregated;
pub use classic::classic;

use crate::registry::Resource;
use serde_json::{Value, json};

/// `/version`: the API that is modelled.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+malla", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Verbs of a kind.
pub(crate) fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.virtual_only { &["create"] } else { VERBS }
}

/// A subresource: its name, the kind of its body (group, version, kind) and its verbs.
pub(crate) struct Subresource {
    pub name: &'static str,
    pub kind: (String, String, String),
    pub verbs: &'static [&'static str],
}

/// Subresources of a kind.
pub(crate) fn subresources(resource: &Resource) -> Vec<Subresource> {
    let mut found = Vec::new();
    let own = || (resource.group.clone(), resource.version.clone(), resource.kind.clone());
    let kind = |group: &str, kind: &str| (group.to_owned(), "v1".to_owned(), kind.to_owned());
    let pod = resource.group.is_empty() && resource.plural == "pods";
    if pod {
        found.push(Subresource { name: "binding", kind: kind("", "Binding"), verbs: &["create"] });
        found.push(Subresource { name: "eviction", kind: kind("policy", "Eviction"), verbs: &["create"] });
    }
    if resource.group.is_empty() && resource.plural == "namespaces" {
        found.push(Subresource { name: "finalize", kind: own(), verbs: &["update"] });
    }
    if resource.scale.is_some() {
        found.push(Subresource {
            name: "scale",
            kind: kind("autoscaling", "Scale"),
            verbs: &["get", "patch", "update"],
        });
    }
    if resource.status {
        found.push(Subresource { name: "status", kind: own(), verbs: &["get", "patch", "update"] });
    }
    found
}
