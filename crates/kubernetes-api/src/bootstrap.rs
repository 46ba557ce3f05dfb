//! What is there from the start: four namespaces, Service `kubernetes` with its endpoints, ServiceAccounts, two priority
//! classes. Missing things are made at every start; what exists is left alone.

use crate::api::{Api, present};
use crate::custom;
use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use crate::services;
use crate::write::{self, Part, WriteOptions};
use object_store::PageRequest;
use serde_json::{Value, json};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Namespaces that a cluster always has.
pub fn is_permanent(namespace: &str) -> bool {
    matches!(namespace, "default" | "kube-system" | "kube-public")
}

/// Reads CRDs and Services back into memory and makes what is missing.
pub async fn bootstrap(api: &Api) -> Result<(), ApiError> {
    let crds = api.builtin("apiextensions.k8s.io", "customresourcedefinitions")?;
    for (_, entry) in &api.store.list(&crds.prefix(None), &PageRequest::default())?.entries {
        custom::register(api, &present(&crds, entry)?);
    }
    let services = api.builtin("", "services")?;
    for (key, entry) in &api.store.list(&services.prefix(None), &PageRequest::default())?.entries {
        api.services.lock().await.record(key, &present(&services, entry)?);
    }
    let namespaces = api.builtin("", "namespaces")?;
    for name in NAMESPACES {
        ensure(api, &namespaces, None, json!({ "metadata": { "name": name } })).await?;
    }
    let classes = api.builtin("scheduling.k8s.io", "priorityclasses")?;
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
        ensure(api, &classes, None, json!({ "metadata": { "name": name }, "value": value })).await?;
    }
    kubernetes_service(api).await
}

/// Each namespace has ServiceAccount `default`, which Pods name; there are no tokens.
pub async fn complete_namespace(api: &Api, namespace: &str) -> Result<(), ApiError> {
    let accounts = api.builtin("", "serviceaccounts")?;
    ensure(api, &accounts, Some(namespace), json!({ "metadata": { "name": "default" } })).await
}

async fn ensure(api: &Api, resource: &Resource, namespace: Option<&str>, object: Value) -> Result<(), ApiError> {
    if api.store.get(&resource.key(namespace, object::name(&object))).is_some() {
        return Ok(());
    }
    match write::create(api, resource, namespace, object, &mut WriteOptions::default()).await {
        Err(error) if error.reason != "AlreadyExists" => Err(error),
        _ => Ok(()),
    }
}

/// `kubernetes` in `default`: the first address of each range's primary, leading to this server.
pub async fn kubernetes_service(api: &Api) -> Result<(), ApiError> {
    let Some(range) = api.config.service_ranges.first() else { return Ok(()) };
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let service = json!({
        "metadata": { "name": "kubernetes", "labels": labels },
        "spec": {
            "clusterIP": services::at(*range, 1).to_string(),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": api.config.advertise_port }],
        },
    });
    ensure(api, &*api.builtin("", "services")?, Some("default"), service).await?;
    let address = api.config.advertise_address;
    let port = api.config.advertise_port;
    let skip_mirror = json!({ "endpointslice.kubernetes.io/skip-mirror": "true" });
    let endpoints = json!({
        "metadata": { "name": "kubernetes", "labels": skip_mirror },
        "subsets": [{ "addresses": [{ "ip": address.to_string() }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    });
    let slice = json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    for (resource, wanted) in
        [(api.builtin("", "endpoints")?, endpoints), (api.builtin("discovery.k8s.io", "endpointslices")?, slice)]
    {
        ensure(api, &resource, Some("default"), wanted.clone()).await?;
        // The address may be another one than at the last start.
        write::update(
            api,
            &resource,
            Some("default"),
            "kubernetes",
            Part::Whole,
            &mut WriteOptions::default(),
            |old| {
                let mut new = old.clone();
                for (key, value) in
                    wanted.as_object().into_iter().flatten().filter(|(key, _)| key.as_str() != "metadata")
                {
                    new[key] = value.clone();
                }
                Ok(new)
            },
        )
        .await?;
    }
    Ok(())
}
