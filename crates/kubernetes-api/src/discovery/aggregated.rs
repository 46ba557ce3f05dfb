use super::{subresources, verbs};
use crate::http::{Answer, empty, json_answer};
use crate::registry::{Registry, Resource};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// `/api` or `/apis` as one `APIGroupDiscoveryList`, with an ETag.
pub fn aggregated(registry: &Registry, path: &str, version: &str, if_none_match: Option<&HeaderValue>) -> Answer {
    // The registry's generation alone would repeat after a restart with other CRDs: what is served is part of it.
    let served = registry
        .all()
        .map(|resource| resource.plural.len() + resource.kind.len() + resource.version.len())
        .sum::<usize>();
    let tag =
        format!("\"{}-{}-{served}-{version}{}\"", registry.generation, registry.all().count(), path.replace('/', "-"));
    if if_none_match.is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    let core = path == "/api";
    let mut items = Vec::new();
    for (group, versions) in registry.groups().iter().filter(|(group, _)| group.is_empty() == core) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let resources: Vec<Value> = registry
                    .all()
                    .filter(|one| one.group == *group && one.version == *version)
                    .map(|one| entry(one))
                    .collect();
                json!({ "version": version, "resources": resources, "freshness": "Current" })
            })
            .collect();
        let metadata = if core {
            json!({ "creationTimestamp": null })
        } else {
            json!({ "name": group, "creationTimestamp": null })
        };
        items.push(json!({ "metadata": metadata, "versions": versions }));
    }
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items,
    });
    let mut answer = json_answer(200, &document, false);
    let content_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    for (name, value) in [(header::CONTENT_TYPE, content_type), (header::ETAG, tag)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}

fn entry(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut entry = json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let subresources: Vec<Value> = subresources(resource)
        .iter()
        .map(|sub| json!({ "subresource": sub.name, "responseKind": kind(&sub.kind.0, &sub.kind.1, &sub.kind.2), "verbs": sub.verbs }))
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
