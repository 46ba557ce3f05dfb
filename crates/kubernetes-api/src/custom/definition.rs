use crate::api::Api;
use crate::error::{ApiError, Cause};
use crate::object;
use crate::registry::{PrinterColumn, Registry, Resource, ScalePaths};
use serde_json::{Value, json};
use std::sync::Arc;

/// Holds a CRD until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in names and the status that Kubernetes' controllers would give: here a CRD is served as soon as it is stored.
pub fn complete_definition(object: &mut Value) {
    let kind = object::text(object, "/spec/names/kind").to_owned();
    let names = {
        object::map_mut(object, "spec");
        object::map_mut(&mut object["spec"], "names")
    };
    object::default(names, "singular", kind.to_lowercase());
    object::default(names, "listKind", format!("{kind}List"));
    let names = Value::Object(names.clone());
    let spec = object::map_mut(object, "spec");
    object::default(spec, "conversion", json!({ "strategy": "None" }));
    let stored: Vec<Value> = object::list(object, "/spec/versions")
        .iter()
        .filter(|one| one["storage"] == true)
        .map(|one| one["name"].clone())
        .collect();
    let now = object::now();
    let status = object::map_mut(object, "status");
    status.insert("acceptedNames".into(), names);
    object::default(status, "storedVersions", stored);
    let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now });
    object::default(
        status,
        "conditions",
        json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]),
    );
}

/// Checks what serving depends on.
pub fn validate_definition(object: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let text = |pointer: &str| object::text(object, pointer);
    for field in ["group", "scope"] {
        if text(&format!("/spec/{field}")).is_empty() {
            causes.push(Cause::required(format!("spec.{field}"), ""));
        }
    }
    for field in ["plural", "kind"] {
        if text(&format!("/spec/names/{field}")).is_empty() {
            causes.push(Cause::required(format!("spec.names.{field}"), ""));
        }
    }
    let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
    if !crate::validation::is_dns_subdomain(group) || !group.contains('.') {
        causes.push(Cause::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    if !crate::validation::is_dns_label(plural) {
        causes.push(Cause::invalid(
            "spec.names.plural",
            plural,
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'",
        ));
    }
    let expected = format!("{plural}.{group}");
    if object::name(object) != expected {
        causes.push(Cause::invalid(
            "metadata.name",
            object::name(object),
            format!("must be spec.names.plural+\".\"+spec.group: {expected:?}"),
        ));
    }
    if !matches!(text("/spec/scope"), "" | "Namespaced" | "Cluster") {
        causes.push(Cause::unsupported("spec.scope", text("/spec/scope"), &["Cluster", "Namespaced"]));
    }
    let built_in = Registry::with_builtin().groups().contains_key(group);
    if built_in {
        causes.push(Cause::invalid("spec.group", group, "is a group of built-in kinds"));
    }
    let versions = object::list(object, "/spec/versions");
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        causes.push(Cause::invalid(
            "spec.versions",
            Value::from(versions.len()),
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        if !crate::validation::is_dns_label(object::text(version, "/name")) {
            causes.push(Cause::invalid(
                format!("spec.versions[{index}].name"),
                version["name"].clone(),
                "must be a DNS label",
            ));
        }
        if !version["schema"]["openAPIV3Schema"].is_object() {
            causes.push(Cause::required(
                format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        } else if version["schema"]["openAPIV3Schema"]["type"] != "object" {
            causes.push(Cause::invalid(
                format!("spec.versions[{index}].schema.openAPIV3Schema.type"),
                version["schema"]["openAPIV3Schema"]["type"].clone(),
                "must be object",
            ));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("apiextensions.k8s.io", "CustomResourceDefinition", object::name(object), &causes))
    }
}

/// Serves what the CRD says, from now on.
pub fn register(api: &Api, object: &Value) {
    let _one_at_a_time = api.registering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut registry = Registry::clone(&api.registry.load());
    let (group, plural) = (object::text(object, "/spec/group"), object::text(object, "/spec/names/plural"));
    registry.remove_custom(group, plural);
    for version in object::list(object, "/spec/versions").iter().filter(|version| version["served"] == true) {
        registry.insert(resource(object, version));
    }
    api.registry.store(Arc::new(registry));
}

/// Serves it no longer.
pub fn unregister(api: &Api, object: &Value) {
    let _one_at_a_time = api.registering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut registry = Registry::clone(&api.registry.load());
    registry.remove_custom(object::text(object, "/spec/group"), object::text(object, "/spec/names/plural"));
    api.registry.store(Arc::new(registry));
}

/// What one version of a CRD makes.
pub fn resource(crd: &Value, version: &Value) -> Resource {
    let text = |pointer: &str| object::text(crd, pointer).to_owned();
    let strings =
        |pointer: &str| object::list(crd, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let scale = &version["subresources"]["scale"];
    let path = |field: &str| scale[field].as_str().filter(|path| !path.is_empty()).map(str::to_owned);
    Resource {
        group: text("/spec/group"),
        version: object::text(version, "/name").to_owned(),
        kind: text("/spec/names/kind"),
        plural: text("/spec/names/plural"),
        singular: text("/spec/names/singular"),
        short_names: strings("/spec/names/shortNames"),
        categories: strings("/spec/names/categories"),
        namespaced: text("/spec/scope") == "Namespaced",
        status: version["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| ScalePaths {
            spec_replicas: path("specReplicasPath").unwrap_or_default(),
            status_replicas: path("statusReplicasPath").unwrap_or_default(),
            selector: path("labelSelectorPath"),
        }),
        definition: None,
        schema: version["schema"]["openAPIV3Schema"].as_object().map(|schema| Arc::new(Value::Object(schema.clone()))),
        columns: object::list(version, "/additionalPrinterColumns")
            .iter()
            .map(|column| PrinterColumn {
                name: object::text(column, "/name").to_owned(),
                kind: object::text(column, "/type").to_owned(),
                priority: object::number(column, "/priority").unwrap_or(0),
                json_path: object::text(column, "/jsonPath").to_owned(),
            })
            .collect(),
        stored_as: (text("/spec/group"), text("/spec/names/plural")),
        virtual_only: false,
    }
}
