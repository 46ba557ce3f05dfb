//! Network configuration files (CNI specification 1.1, §1).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

/// A network: a list of plugins that share a name and a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    pub name: String,
    pub cni_version: String,
    pub plugins: Vec<Map<String, Value>>,
}

/// Why there is no network configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no network config found in {}", folder.display())]
    None { folder: PathBuf },
    #[error("read network config {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("network config {}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
}

impl NetworkConfig {
    /// The first configuration of `folder` by file name, as libcni's users choose it.
    pub fn first_in(folder: &Path) -> Result<Self, ConfigError> {
        let mut paths: Vec<PathBuf> = crate::files::entries(folder)
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "conflist" || extension == "conf" || extension == "json")
            })
            .collect();
        paths.sort();
        let path = paths.into_iter().next().ok_or_else(|| ConfigError::None { folder: folder.into() })?;
        let bytes = fs::read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        Self::parse(&bytes).map_err(|problem| ConfigError::Invalid { path, problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").filter(|name| !name.is_empty()).ok_or("it has no name")?;
        let cni_version = text("cniVersion").unwrap_or_else(|| "0.1.0".into());
        let objects = match (value.get("plugins"), value.as_object()) {
            (Some(Value::Array(plugins)), _) => plugins.iter().map(Value::as_object).collect::<Option<Vec<_>>>(),
            // A single plugin's configuration is a list of one.
            (None, Some(object)) => Some(vec![object]),
            _ => None,
        };
        let plugins: Vec<_> = objects.ok_or("plugins is not a list of objects")?.into_iter().cloned().collect();
        if plugins.is_empty() || plugins.iter().any(|plugin| plugin_type(plugin).is_none()) {
            return Err("it names no plugin, or one without a type".into());
        }
        Ok(Self { name, cni_version, plugins })
    }

    /// Whether the version knows `STATUS` and `GC` (since 1.1.0).
    #[must_use]
    pub fn is_at_least_1_1(&self) -> bool {
        let mut parts = self.cni_version.split('.').map(|part| part.parse().unwrap_or(0));
        let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        version >= (1, 1)
    }

    /// What one plugin of the list reads on its standard input (libcni's `buildOneConfig`).
    #[must_use]
    pub fn for_plugin(&self, plugin: &Map<String, Value>, extra: &[(&str, Value)]) -> Value {
        let mut config = plugin.clone();
        config.insert("name".into(), json!(self.name));
        config.insert("cniVersion".into(), json!(self.cni_version));
        config.remove("capabilities");
        for (key, value) in extra {
            config.insert((*key).into(), value.clone());
        }
        Value::Object(config)
    }
}

/// A plugin's type is its binary's name; a path in it would leave the plugin folders.
pub fn plugin_type(plugin: &Map<String, Value>) -> Option<&str> {
    plugin.get("type").and_then(Value::as_str).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Whether the plugin's configuration declares a capability: only then does it get what belongs to it.
pub fn has_capability(plugin: &Map<String, Value>, name: &str) -> bool {
    plugin.get("capabilities").and_then(|all| all.get(name)).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_plugins() {
        let list = br#"{"cniVersion":"1.1.0","name":"malla","plugins":[{"type":"malla-cni","socket":"/s","capabilities":{"x":true}}]}"#;
        let list = NetworkConfig::parse(list).unwrap();
        assert!(list.is_at_least_1_1());
        let config = list.for_plugin(&list.plugins[0], &[("prevResult", json!({"ips": []}))]);
        assert_eq!(
            config,
            json!({"type": "malla-cni", "socket": "/s", "name": "malla", "cniVersion": "1.1.0", "prevResult": {"ips": []}})
        );
        let single = NetworkConfig::parse(br#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#).unwrap();
        assert!(!single.is_at_least_1_1());
        assert_eq!(single.plugins.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, problem) in [
            (&b"{"[..], "EOF"),
            (br#"{"plugins":[{"type":"x"}]}"#, "no name"),
            (br#"{"name":"n","plugins":[]}"#, "no plugin"),
            (br#"{"name":"n","plugins":[{"type":"../x"}]}"#, "without a type"),
            (br#"{"name":"n","plugins":[1]}"#, "not a list"),
        ] {
            let error = NetworkConfig::parse(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let missing = NetworkConfig::first_in(Path::new("/nonexistent/net.d")).unwrap_err();
        assert!(matches!(missing, ConfigError::None { .. }));
    }
}
