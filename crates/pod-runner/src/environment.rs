//! A container's environment, command line and the `$(NAME)` in them, as kubelet makes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

/// What the values of a container's variables may come from, besides their own text.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    pub pod: Option<&'a Pod>,
    pub node_name: &'a str,
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
}

/// Why an environment can't be made; kubelet's `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{kind} {name:?} not found")]
    NotFound { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {name}")]
    NoKey { kind: &'static str, name: String, key: String },
    #[error("variable {variable}: field {path:?} is not one that a Pod tells its containers")]
    Field { variable: String, path: String },
    #[error("variable {variable}: {what} is not supported by the lab's Pod runner")]
    Unsupported { variable: String, what: &'static str },
}

/// Names of the ConfigMaps and Secrets that `container` refers to.
#[must_use]
pub fn referenced(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    (maps, secrets)
}

/// The container's variables over `base` (what the image and the cluster give).
pub fn build(
    base: BTreeMap<String, String>,
    container: &Container,
    sources: &Sources<'_>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut environment = base;
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        let mut add = |values: BTreeMap<String, String>| {
            environment.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
        };
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => add(map.data.clone().unwrap_or_default()),
                None if reference.optional == Some(true) => {}
                None => return Err(EnvironmentError::NotFound { kind: "configmap", name: reference.name.clone() }),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => add(texts(secret)),
                None if reference.optional == Some(true) => {}
                None => return Err(EnvironmentError::NotFound { kind: "secret", name: reference.name.clone() }),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => from_source(&variable.name, source, sources)?,
            (Some(text), None) => Some(expand(text, &environment)),
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

fn from_source(
    variable: &str,
    source: &EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(field) = &source.field_ref {
        return field_value(&field.field_path, sources)
            .map(Some)
            .ok_or_else(|| EnvironmentError::Field { variable: variable.into(), path: field.field_path.clone() });
    }
    let lookup = |kind, name: &str, key: &str, optional: Option<bool>, data: Option<BTreeMap<String, String>>| {
        let Some(data) = data else {
            return if optional == Some(true) {
                Ok(None)
            } else {
                Err(EnvironmentError::NotFound { kind, name: name.into() })
            };
        };
        match data.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None if optional == Some(true) => Ok(None),
            None => Err(EnvironmentError::NoKey { kind, name: name.into(), key: key.into() }),
        }
    };
    if let Some(key) = &source.config_map_key_ref {
        let data = sources.config_maps.get(&key.name).map(|map| map.data.clone().unwrap_or_default());
        return lookup("configmap", &key.name, &key.key, key.optional, data);
    }
    if let Some(key) = &source.secret_key_ref {
        return lookup("secret", &key.name, &key.key, key.optional, sources.secrets.get(&key.name).map(texts));
    }
    Err(EnvironmentError::Unsupported { variable: variable.into(), what: "resourceFieldRef" })
}

/// The fields of the downward API that may be variables (Kubernetes' `fieldRef` documentation).
fn field_value(path: &str, sources: &Sources<'_>) -> Option<String> {
    let metadata = &sources.pod?.metadata;
    let spec = sources.pod?.spec.as_ref();
    let in_map = |map: Option<&BTreeMap<String, String>>, key: &str| {
        let key = key.strip_suffix("']")?;
        Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => Some(sources.node_name.to_owned()),
        "spec.serviceAccountName" => {
            Some(spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".into()))
        }
        "status.podIP" => sources.pod_ips.first().cloned(),
        "status.podIPs" => Some(sources.pod_ips.join(",")),
        "status.hostIP" => sources.host_ips.first().cloned(),
        "status.hostIPs" => Some(sources.host_ips.join(",")),
        _ => {
            path.strip_prefix("metadata.labels['").and_then(|key| in_map(metadata.labels.as_ref(), key)).or_else(|| {
                path.strip_prefix("metadata.annotations['").and_then(|key| in_map(metadata.annotations.as_ref(), key))
            })
        }
    }
}

fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect()
}

/// Replaces `$(NAME)` by the variable's value; `$$` is a dollar sign, an unknown name stays as written
/// (k8s.io/kubernetes/third_party/forked/golang/expansion).
#[must_use]
pub fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match environment.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
