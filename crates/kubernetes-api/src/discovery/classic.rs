use super::{subresources, verbs};
use crate::api::ClusterConfig;
use crate::registry::Registry;
use serde_json::{Value, json};

/// `/`, `/api`, `/apis`, `/apis/GROUP`, `/api/v1`, `/apis/GROUP/VERSION`; None for any other path.
pub fn classic(registry: &Registry, path: &str, config: &ClusterConfig) -> Option<Value> {
    let groups = registry.groups();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let group_object = |name: &str| {
        let versions: Vec<Value> = groups.get(name)?.iter().map(|version| version_entry(name, version)).collect();
        Some(
            json!({ "kind": "APIGroup", "apiVersion": "v1", "name": name, "preferredVersion": versions.first()?, "versions": versions }),
        )
    };
    match parts.as_slice() {
        [] => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
            for (group, versions) in groups.iter().filter(|(group, _)| !group.is_empty()) {
                paths.push(format!("/apis/{group}"));
                paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
            }
            paths
                .extend(["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
            Some(json!({ "paths": paths }))
        }
        ["api"] => {
            let host = match config.advertise_address {
                std::net::IpAddr::V4(address) => format!("{address}:{}", config.advertise_port),
                std::net::IpAddr::V6(address) => format!("[{address}]:{}", config.advertise_port),
            };
            let addresses = json!([{ "clientCIDR": "0.0.0.0/0", "serverAddress": host }]);
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses }))
        }
        ["apis"] => {
            let list: Vec<Value> =
                groups.keys().filter(|name| !name.is_empty()).filter_map(|name| group_object(name)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": list }))
        }
        ["apis", group] => group_object(group),
        ["api", "v1"] => resources(registry, "", "v1"),
        ["apis", group, version] => resources(registry, group, version),
        _ => None,
    }
}

fn version_entry(group: &str, version: &str) -> Value {
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({ "groupVersion": group_version, "version": version })
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for resource in registry.all().filter(|resource| resource.group == group && resource.version == version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = resource.short_names.clone().into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.clone().into();
        }
        list.push(entry);
        for sub in subresources(resource) {
            let (sub_group, sub_version, sub_kind) = sub.kind;
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
                "kind": sub_kind, "verbs": sub.verbs,
            });
            if sub_group != group {
                entry["group"] = sub_group.into();
                entry["version"] = sub_version.into();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list }))
}
