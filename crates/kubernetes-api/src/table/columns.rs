use super::{Column, Printer, age, network, node, pod, workload};
use crate::object;
use crate::registry::Resource;
use serde_json::{Value, json};

/// The printer of a built-in kind; NAME and AGE where there is none of its own.
pub fn printer(resource: &Resource) -> Printer {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pod::PODS,
        ("", "nodes") => node::NODES,
        ("", "namespaces") => node::NAMESPACES,
        ("", "events") | ("events.k8s.io", "events") => node::EVENTS,
        ("", "services") => network::SERVICES,
        ("", "endpoints") => network::ENDPOINTS,
        ("discovery.k8s.io", "endpointslices") => network::ENDPOINT_SLICES,
        ("networking.k8s.io", "networkpolicies") => network::NETWORK_POLICIES,
        ("networking.k8s.io", "ingresses") => network::INGRESSES,
        ("networking.k8s.io", "ingressclasses") => network::INGRESS_CLASSES,
        ("apps", "deployments") => workload::DEPLOYMENTS,
        ("apps", "replicasets") => workload::REPLICA_SETS,
        ("apps", "daemonsets") => workload::DAEMON_SETS,
        ("apps", "statefulsets") => workload::STATEFUL_SETS,
        ("", "replicationcontrollers") => workload::REPLICATION_CONTROLLERS,
        ("batch", "jobs") => workload::JOBS,
        ("batch", "cronjobs") => workload::CRON_JOBS,
        ("policy", "poddisruptionbudgets") => workload::DISRUPTION_BUDGETS,
        ("", "configmaps") => CONFIG_MAPS,
        ("", "secrets") => SECRETS,
        ("", "serviceaccounts") => SERVICE_ACCOUNTS,
        ("", "persistentvolumeclaims") => CLAIMS,
        ("coordination.k8s.io", "leases") => LEASES,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles")
        | ("apiextensions.k8s.io", "customresourcedefinitions") => CREATED_AT,
        ("rbac.authorization.k8s.io", _) => BINDINGS,
        ("storage.k8s.io", "storageclasses") => STORAGE_CLASSES,
        _ => PLAIN,
    }
}

/// The name.
pub fn name(object: &Value) -> Value {
    object::name(object).into()
}

/// The age.
pub fn created(object: &Value) -> Value {
    age(&object["metadata"]["creationTimestamp"]).into()
}

/// How many entries of a list or map.
pub fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// A string at a pointer, or `<none>`.
pub fn or_none(object: &Value, pointer: &str) -> Value {
    match object::text(object, pointer) {
        "" => "<none>".into(),
        text => text.into(),
    }
}

const PLAIN: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Age", "string", 0)],
    cells: |object| vec![name(object), created(object)],
};

const CREATED_AT: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Created At", "date", 0)],
    cells: |object| vec![name(object), object["metadata"]["creationTimestamp"].clone()],
};

const CONFIG_MAPS: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Data", "string", 0), Column("Age", "string", 0)],
    cells: |object| vec![name(object), (count(object, "/data") + count(object, "/binaryData")).into(), created(object)],
};

const SECRETS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Type", "string", 0),
        Column("Data", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| vec![name(object), object["type"].clone(), count(object, "/data").into(), created(object)],
};

const SERVICE_ACCOUNTS: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Secrets", "string", 0), Column("Age", "string", 0)],
    cells: |object| vec![name(object), count(object, "/secrets").into(), created(object)],
};

const CLAIMS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Status", "string", 0),
        Column("Volume", "string", 0),
        Column("StorageClass", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| {
        let text = |pointer| object::text(object, pointer).to_owned();
        vec![
            name(object),
            text("/status/phase").into(),
            text("/spec/volumeName").into(),
            text("/spec/storageClassName").into(),
            created(object),
        ]
    },
};

const LEASES: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Holder", "string", 0), Column("Age", "string", 0)],
    cells: |object| vec![name(object), object::text(object, "/spec/holderIdentity").into(), created(object)],
};

const BINDINGS: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Role", "string", 0), Column("Age", "string", 0)],
    cells: |object| {
        let role = format!("{}/{}", object::text(object, "/roleRef/kind"), object::text(object, "/roleRef/name"));
        vec![name(object), role.into(), created(object)]
    },
};

const STORAGE_CLASSES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Provisioner", "string", 0),
        Column("ReclaimPolicy", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| {
        let policy =
            if object["reclaimPolicy"].is_string() { object["reclaimPolicy"].clone() } else { json!("Delete") };
        vec![name(object), object["provisioner"].clone(), policy, created(object)]
    },
};
