//! What a Pod belongs to, which its slice says beside its number.

use k8s_openapi::api::core::v1::Pod;
use model::Workload;

/// The Pod's controller; of a ReplicaSet that a Deployment made, the Deployment. That one has the Pod's hash behind its
/// own name, so nobody needs to be asked. A Pod on its own is its own, as Hubble has it.
#[must_use]
pub fn workload_of(pod: &Pod) -> Option<Workload> {
    let of_pod = &pod.metadata;
    let owner = of_pod.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else { return Workload::new("Pod", of_pod.name.as_deref()?) };
    let hash = of_pod.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash.filter(|_| owner.kind == "ReplicaSet");
    let deployment = deployment.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match deployment.filter(|name| !name.is_empty()) {
        Some(name) => Workload::new("Deployment", name),
        None => Workload::new(&owner.kind, &owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_is_told_and_not_its_replica_set() {
        let of = |kind: &str, owner: &str, hash: Option<&str>, controller: Option<bool>| {
            let owner =
                json!({"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "1", "controller": controller});
            let labels = hash.map(|hash| json!({"pod-template-hash": hash}));
            let metadata = json!({"name": "web-5d4-x", "ownerReferences": [owner], "labels": labels});
            let pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            workload_of(&pod).map_or_else(String::new, |workload| format!("{}/{}", workload.kind, workload.name))
        };
        let yes = Some(true);
        assert_eq!(of("ReplicaSet", "web-5d4", Some("5d4"), yes), "Deployment/web");
        assert_eq!(of("ReplicaSet", "web-5d4", None, yes), "ReplicaSet/web-5d4");
        assert_eq!(of("ReplicaSet", "web", Some("5d4"), yes), "ReplicaSet/web");
        assert_eq!(of("ReplicaSet", "-5d4", Some("5d4"), yes), "ReplicaSet/-5d4");
        assert_eq!(of("StatefulSet", "db", Some("5d4"), yes), "StatefulSet/db");
        assert_eq!(of("DaemonSet", "logs", None, yes), "DaemonSet/logs");
        assert_eq!(of("Job", "once", None, yes), "Job/once");
        assert_eq!(of("StatefulSet", "db", None, None), "Pod/web-5d4-x", "an owner that does not control");
        assert_eq!(of("Job", &"j".repeat(254), None, yes), "", "no object has such a name");
    }
}
