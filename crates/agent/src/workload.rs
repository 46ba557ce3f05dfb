//! What a Pod belongs to. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

/// Whoever made a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, ….
    pub kind: String,
    /// Its name, in the Pod's namespace.
    pub name: String,
}

/// The Pod's controller; of a ReplicaSet that a Deployment made, the Deployment. That one has the Pod's hash behind its
/// own name, so nobody needs to be asked. A Pod on its own is its own, as Hubble has it.
#[must_use]
pub fn of_pod(pod: &Pod) -> Option<Workload> {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else { return Some(Workload { kind: "Pod".to_owned(), name: pod.name_any() }) };
    let deployment = pod.labels().get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let deployment = deployment.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    Some(match deployment.filter(|name| !name.is_empty()) {
        Some(name) => Workload { kind: "Deployment".to_owned(), name: name.to_owned() },
        None => Workload { kind: owner.kind.clone(), name: owner.name.clone() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    #[test]
    fn a_deployment_is_told_and_not_its_replica_set() {
        let of = |kind: &str, owner: &str, hash: Option<&str>, controller| {
            let mut pod = Pod::default();
            pod.metadata.name = Some("web-5d4-x".to_owned());
            let owner = OwnerReference { kind: kind.to_owned(), name: owner.to_owned(), ..Default::default() };
            pod.owner_references_mut().push(OwnerReference { controller, ..owner });
            pod.labels_mut().extend(hash.map(|hash| ("pod-template-hash".to_owned(), hash.to_owned())));
            of_pod(&pod).map(|workload| format!("{}/{}", workload.kind, workload.name)).unwrap()
        };
        assert_eq!(of("ReplicaSet", "web-5d4", Some("5d4"), Some(true)), "Deployment/web");
        assert_eq!(of("ReplicaSet", "web-5d4", None, Some(true)), "ReplicaSet/web-5d4");
        assert_eq!(of("ReplicaSet", "web", Some("5d4"), Some(true)), "ReplicaSet/web");
        assert_eq!(of("StatefulSet", "db", Some("5d4"), Some(true)), "StatefulSet/db");
        assert_eq!(of("StatefulSet", "db", None, None), "Pod/web-5d4-x");
    }
}
