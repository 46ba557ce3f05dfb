//! The built-in kinds, as `kubectl api-resources` lists them.

use super::{Resource, ScalePaths};

/// plural, kind, short names (comma), flags: n = namespaced, s = status, c = scale, a = category all, v = create only
type Row = (&'static str, &'static str, &'static str, &'static str);

const GROUPS: &[(&str, &str, &str, &[Row])] = &[
    (
        "",
        "v1",
        "io.k8s.api.core.v1",
        &[
            ("namespaces", "Namespace", "ns", "s"),
            ("nodes", "Node", "no", "s"),
            ("pods", "Pod", "po", "nsa"),
            ("services", "Service", "svc", "nsa"),
            ("endpoints", "Endpoints", "ep", "n"),
            ("configmaps", "ConfigMap", "cm", "n"),
            ("secrets", "Secret", "", "n"),
            ("serviceaccounts", "ServiceAccount", "sa", "n"),
            ("events", "Event", "ev", "n"),
            ("persistentvolumes", "PersistentVolume", "pv", "s"),
            ("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "ns"),
            ("replicationcontrollers", "ReplicationController", "rc", "nsca"),
            ("limitranges", "LimitRange", "limits", "n"),
            ("resourcequotas", "ResourceQuota", "quota", "ns"),
            ("podtemplates", "PodTemplate", "", "n"),
        ],
    ),
    (
        "apps",
        "v1",
        "io.k8s.api.apps.v1",
        &[
            ("deployments", "Deployment", "deploy", "nsca"),
            ("replicasets", "ReplicaSet", "rs", "nsca"),
            ("daemonsets", "DaemonSet", "ds", "nsa"),
            ("statefulsets", "StatefulSet", "sts", "nsca"),
            ("controllerrevisions", "ControllerRevision", "", "n"),
        ],
    ),
    ("batch", "v1", "io.k8s.api.batch.v1", &[("jobs", "Job", "", "nsa"), ("cronjobs", "CronJob", "cj", "nsa")]),
    (
        "autoscaling",
        "v1",
        "io.k8s.api.autoscaling.v1",
        &[("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "nsa")],
    ),
    ("discovery.k8s.io", "v1", "io.k8s.api.discovery.v1", &[("endpointslices", "EndpointSlice", "", "n")]),
    (
        "networking.k8s.io",
        "v1",
        "io.k8s.api.networking.v1",
        &[
            ("networkpolicies", "NetworkPolicy", "netpol", "n"),
            ("ingresses", "Ingress", "ing", "ns"),
            ("ingressclasses", "IngressClass", "", ""),
        ],
    ),
    ("policy", "v1", "io.k8s.api.policy.v1", &[("poddisruptionbudgets", "PodDisruptionBudget", "pdb", "ns")]),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "io.k8s.api.rbac.v1",
        &[
            ("roles", "Role", "", "n"),
            ("rolebindings", "RoleBinding", "", "n"),
            ("clusterroles", "ClusterRole", "", ""),
            ("clusterrolebindings", "ClusterRoleBinding", "", ""),
        ],
    ),
    ("coordination.k8s.io", "v1", "io.k8s.api.coordination.v1", &[("leases", "Lease", "", "n")]),
    ("events.k8s.io", "v1", "io.k8s.api.events.v1", &[("events", "Event", "ev", "n")]),
    ("storage.k8s.io", "v1", "io.k8s.api.storage.v1", &[("storageclasses", "StorageClass", "sc", "")]),
    ("scheduling.k8s.io", "v1", "io.k8s.api.scheduling.v1", &[("priorityclasses", "PriorityClass", "pc", "")]),
    (
        "authorization.k8s.io",
        "v1",
        "io.k8s.api.authorization.v1",
        &[
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview", "", "v"),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview", "", "v"),
            ("subjectaccessreviews", "SubjectAccessReview", "", "v"),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        &[("customresourcedefinitions", "CustomResourceDefinition", "crd,crds", "s")],
    ),
];

/// Every built-in kind.
pub fn builtin() -> Vec<Resource> {
    let mut resources = Vec::new();
    for (group, version, package, rows) in GROUPS {
        for (plural, kind, short_names, flags) in *rows {
            let has = |flag: char| flags.contains(flag);
            let words = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            let stored_group = if *group == "events.k8s.io" { "" } else { group };
            resources.push(Resource {
                group: (*group).into(),
                version: (*version).into(),
                kind: (*kind).into(),
                plural: (*plural).into(),
                singular: kind.to_lowercase(),
                short_names: words(short_names),
                categories: if has('a') { vec!["all".into()] } else { Vec::new() },
                namespaced: has('n') || *plural == "localsubjectaccessreviews",
                status: has('s'),
                scale: has('c').then(|| ScalePaths {
                    spec_replicas: ".spec.replicas".into(),
                    status_replicas: ".status.replicas".into(),
                    selector: Some(".spec.selector".into()),
                }),
                definition: Some(format!("{package}.{kind}")),
                schema: None,
                columns: Vec::new(),
                stored_as: (stored_group.into(), (*plural).into()),
                virtual_only: has('v'),
            });
        }
    }
    resources
}
