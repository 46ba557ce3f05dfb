//! Which kinds are served, and under which paths.

mod builtin;

pub use builtin::builtin;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// JSON paths of a scale subresource (dotted, as in a CRD).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// `.spec.replicas`
    pub spec_replicas: String,
    /// `.status.replicas`
    pub status_replicas: String,
    /// Path of the selector: a string in custom kinds, a LabelSelector in built-in ones.
    pub selector: Option<String>,
}

/// A column of `kubectl get` that a CRD asks for.
#[derive(Debug, Clone)]
pub struct PrinterColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `date`, …
    pub kind: String,
    /// 0 is always shown.
    pub priority: i64,
    /// Where the value is, as `.spec.x`.
    pub json_path: String,
}

/// One kind in one version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group; empty is the core group.
    pub group: String,
    /// Version, as `v1`.
    pub version: String,
    /// Kind, as `Pod`.
    pub kind: String,
    /// Path segment, as `pods`.
    pub plural: String,
    /// As `pod`.
    pub singular: String,
    /// As `po`.
    pub short_names: Vec<String>,
    /// As `all`.
    pub categories: Vec<String>,
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Has `/status`.
    pub status: bool,
    /// Has `/scale`.
    pub scale: Option<ScalePaths>,
    /// Name of its OpenAPI definition, for built-in kinds.
    pub definition: Option<String>,
    /// The structural schema of a custom kind.
    pub schema: Option<Arc<Value>>,
    /// Columns of a custom kind.
    pub columns: Vec<PrinterColumn>,
    /// Group and plural under which objects are stored (events are kept once for both of their groups).
    pub stored_as: (String, String),
    /// Only `create` is possible and nothing is stored (reviews).
    pub virtual_only: bool,
}

impl Resource {
    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether a CRD defines it.
    pub fn is_custom(&self) -> bool {
        self.definition.is_none()
    }

    /// Prefix of all its keys in the store (of one namespace's, if given).
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        let (group, plural) = &self.stored_as;
        let group = if group.is_empty() { "core" } else { group };
        match namespace {
            Some(namespace) if self.namespaced => format!("/registry/{group}/{plural}/{namespace}/"),
            _ => format!("/registry/{group}/{plural}/"),
        }
    }

    /// Key of one object.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}{name}", self.prefix(namespace))
    }
}

/// All kinds served at one moment; replaced whole when a CRD comes or goes.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
    /// Grows with each change; part of the discovery documents' ETag.
    pub generation: u64,
}

impl Registry {
    /// The built-in kinds.
    pub fn with_builtin() -> Self {
        let mut registry = Self::default();
        for resource in builtin() {
            registry.insert(resource);
        }
        registry
    }

    /// Adds or replaces one kind.
    pub fn insert(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.resources.insert(key, Arc::new(resource));
        self.generation += 1;
    }

    /// Removes all versions of a custom kind.
    pub fn remove_custom(&mut self, group: &str, plural: &str) {
        self.resources.retain(|(of_group, _, of_plural), resource| {
            !(of_group == group && of_plural == plural && resource.is_custom())
        });
        self.generation += 1;
    }

    /// The kind at a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// The kind by its name.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all()
            .find(|resource| resource.group == group && resource.version == version && resource.kind == kind)
            .cloned()
    }

    /// All kinds, by group, version and plural.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// The kind whose objects have this key in the store (any one of its versions).
    pub fn of_key(&self, key: &str) -> Option<Arc<Resource>> {
        let mut parts = key.strip_prefix("/registry/")?.splitn(3, '/');
        let (group, plural) = (parts.next()?, parts.next()?);
        let group = if group == "core" { "" } else { group };
        self.all()
            .find(|resource| resource.stored_as.0 == group && resource.stored_as.1 == plural && resource.group == group)
            .cloned()
    }

    /// Groups with their versions, the preferred one first; the core group is "".
    pub fn groups(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (group, version, _) in self.resources.keys() {
            let versions = groups.entry(group.clone()).or_default();
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        }
        groups
    }
}

/// Kubernetes' order of versions: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > anything else.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let parse = |text: &str| text.parse::<u32>().ok();
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    if let Some(major) = parse(rest) {
        return (3, major, 0);
    }
    for (rank, word) in [(2, "beta"), (1, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (rank, parse(major).unwrap_or(0), parse(minor).unwrap_or(0));
        }
    }
    (0, 0, 0)
}
