//! Derives `src/openapi/definitions.json` from the schemas in k8s-openapi's own source, so that the table is generated
//! once, committed, and can be compared: `cargo run -p kubernetes-api --example definitions -- K8S_OPENAPI_SRC/v1_33`.
//!
//! The source is read as text, because building k8s-openapi with its `schemars` feature would double its build for
//! everybody. What the source does not carry (patch strategies) comes from the struct tags of k8s.io/api, below.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Definitions whose closure is kept: what the server serves, plus what clients send to it.
const ROOTS: &[&str] = &[
    "io.k8s.api.core.v1.{Namespace,Node,Pod,Service,Endpoints,ConfigMap,Secret,ServiceAccount,Event,PersistentVolume,\
     PersistentVolumeClaim,ReplicationController,LimitRange,ResourceQuota,Binding,PodTemplate}",
    "io.k8s.api.apps.v1.{Deployment,ReplicaSet,DaemonSet,StatefulSet,ControllerRevision}",
    "io.k8s.api.batch.v1.{Job,CronJob}",
    "io.k8s.api.autoscaling.v1.{Scale,HorizontalPodAutoscaler}",
    "io.k8s.api.discovery.v1.{EndpointSlice}",
    "io.k8s.api.networking.v1.{NetworkPolicy,Ingress,IngressClass}",
    "io.k8s.api.policy.v1.{PodDisruptionBudget,Eviction}",
    "io.k8s.api.rbac.v1.{Role,RoleBinding,ClusterRole,ClusterRoleBinding}",
    "io.k8s.api.coordination.v1.{Lease}",
    "io.k8s.api.events.v1.{Event}",
    "io.k8s.api.storage.v1.{StorageClass}",
    "io.k8s.api.scheduling.v1.{PriorityClass}",
    "io.k8s.api.authorization.v1.{SelfSubjectAccessReview,SelfSubjectRulesReview,SubjectAccessReview}",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{CustomResourceDefinition}",
    "io.k8s.apimachinery.pkg.apis.meta.v1.{DeleteOptions,Status,ListMeta,LabelSelector}",
];

/// `patchStrategy` and `patchMergeKey` tags of k8s.io/api, by field: (field, merge key, strategy). A field of that name
/// gets them where the schema says its items are told apart by that key.
const PATCH_TAGS: &[(&str, &str, &str)] = &[
    ("addresses", "type", "merge"),
    ("allocatedResourcesStatus", "name", "merge"),
    ("conditions", "type", "merge"),
    ("containers", "name", "merge"),
    ("env", "name", "merge"),
    ("ephemeralContainers", "name", "merge"),
    ("hostAliases", "ip", "merge"),
    ("hostIPs", "ip", "merge"),
    ("imagePullSecrets", "name", "merge"),
    ("initContainers", "name", "merge"),
    ("matchConditions", "name", "merge"),
    ("ownerReferences", "uid", "merge"),
    ("podIPs", "ip", "merge"),
    ("ports", "containerPort", "merge"),
    ("ports", "port", "merge"),
    ("resourceClaimStatuses", "name", "merge,retainKeys"),
    ("resourceClaims", "name", "merge,retainKeys"),
    ("schedulingGates", "name", "merge"),
    ("secrets", "name", "merge"),
    ("topologySpreadConstraints", "topologyKey", "merge"),
    ("volumeDevices", "devicePath", "merge"),
    ("volumeMounts", "mountPath", "merge"),
    ("volumes", "name", "merge,retainKeys"),
];

/// Tags on fields that are no keyed lists: (definition, field, strategy).
const PATCH_TAGS_PLAIN: &[(&str, &str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", "merge"),
    ("io.k8s.api.core.v1.NodeSpec", "podCIDRs", "merge"),
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", "retainKeys"),
];

/// Second keys of keyed lists: the schema's own `x-kubernetes-list-map-keys` where k8s-openapi keeps only the patch key.
const SECOND_KEYS: &[(&str, &str)] =
    &[("containerPort", "protocol"), ("port", "protocol"), ("topologyKey", "whenUnsatisfiable")];

fn main() {
    let source = std::env::args().nth(1).expect("the first argument is k8s-openapi's src/v1_33");
    let mut types = BTreeMap::new();
    collect(Path::new(&source), "crate", &mut types);
    let names: BTreeMap<String, String> = types.iter().map(|(path, found)| (path.clone(), found.0.clone())).collect();
    let by_name: BTreeMap<&str, &(String, String, String)> =
        types.values().map(|found| (found.0.as_str(), found)).collect();

    let mut wanted: Vec<String> = Vec::new();
    for root in ROOTS {
        let (prefix, kinds) = root.split_once('{').expect("roots have braces");
        wanted.extend(kinds.trim_end_matches('}').split(',').map(|kind| format!("{prefix}{}", kind.trim())));
    }
    let mut out = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let Some((_, schema, whole)) = by_name.get(name.as_str()) else {
            eprintln!("no definition {name}");
            continue;
        };
        let mut value = Literal { text: schema.as_bytes(), at: 0, names: &names }.value();
        strip(&mut value);
        annotate(&name, &mut value, whole);
        references(&value, &mut wanted);
        out.insert(name, value);
    }
    println!("{}", serde_json::to_string_pretty(&out).expect("JSON").replace("  ", " "));
}

/// Finds every `impl JsonSchema` under `folder`: Rust path -> (definition name, schema literal, whole file).
fn collect(folder: &Path, path: &str, types: &mut BTreeMap<String, (String, String, String)>) {
    for entry in std::fs::read_dir(folder).expect("readable folder") {
        let entry = entry.expect("entry").path();
        let name = entry.file_name().expect("name").to_string_lossy().into_owned();
        if entry.is_dir() {
            collect(&entry, &format!("{path}::{name}"), types);
            continue;
        }
        let text = std::fs::read_to_string(&entry).expect("readable file");
        let Some((_, rest)) = text.split_once("impl crate::schemars::JsonSchema for ") else { continue };
        let kind: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let named = rest.split_once("std::borrow::Cow<'static, str> {").expect("schema_name").1;
        let Some(definition) = named.split('"').nth(1) else { continue };
        let Some((_, literal)) = rest.split_once("json_schema!(") else { continue };
        types.insert(format!("{path}::{kind}"), (definition.to_owned(), literal.to_owned(), text.clone()));
    }
}

/// Reads the argument of `json_schema!`: JSON with trailing commas and, in parentheses, references to other types.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
    names: &'a BTreeMap<String, String>,
}

impl Literal<'_> {
    fn space(&mut self) -> u8 {
        while self.text[self.at].is_ascii_whitespace() || self.text[self.at] == b',' {
            self.at += 1;
        }
        self.text[self.at]
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.text[self.at] != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        // Rust's escapes are JSON's, but for \' and \u{..}; both occur in descriptions only, which are dropped.
        serde_json::from_slice(&self.text[start..self.at]).unwrap_or_default()
    }

    fn value(&mut self) -> Value {
        match self.space() {
            b'{' => {
                self.at += 1;
                let mut map = Map::new();
                while self.space() != b'}' {
                    let key = self.string();
                    assert_eq!(self.space(), b':', "after key {key}");
                    self.at += 1;
                    map.insert(key, self.value());
                }
                self.at += 1;
                Value::Object(map)
            }
            b'[' => {
                self.at += 1;
                let mut list = Vec::new();
                while self.space() != b']' {
                    list.push(self.value());
                }
                self.at += 1;
                Value::Array(list)
            }
            b'"' => Value::String(self.string()),
            b'(' => self.reference(),
            b'_' => {
                // Without parentheses: `__gen.subschema_for::<PATH>()`.
                let start = self.at;
                while !self.text[start..self.at].ends_with(b">()") {
                    self.at += 1;
                }
                let text = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                self.named(&text)
            }
            _ => {
                let start = self.at;
                while self.text[self.at].is_ascii_alphanumeric() {
                    self.at += 1;
                }
                serde_json::from_slice(&self.text[start..self.at]).expect("true, false or a number")
            }
        }
    }

    /// `(… subschema_for::<crate::api::core::v1::PodSpec>() …)`
    fn reference(&mut self) -> Value {
        let mut depth = 0;
        let start = self.at;
        loop {
            match self.text[self.at] {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'"' => {
                    self.string();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        let inside = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        self.named(&inside)
    }

    fn named(&self, inside: &str) -> Value {
        let path =
            inside.split_once("subschema_for::<").expect("a reference").1.split_once('>').expect("closed").0.to_owned();
        let name = self.names.get(&path).unwrap_or_else(|| panic!("unknown type {path}"));
        json!({ "$ref": format!("#/definitions/{name}") })
    }
}

/// Descriptions are dropped: they are nine tenths of the text.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Adds how lists and maps merge: from the DeepMerge code (list types and keys) and the tags above (patch strategies).
fn annotate(name: &str, value: &mut Value, source: &str) {
    if name.ends_with(".IntOrString") {
        *value = json!({ "type": "string", "format": "int-or-string" });
        return;
    }
    if name.ends_with(".resource.Quantity") {
        *value = json!({ "type": "string", "format": "quantity" });
        return;
    }
    // Kubernetes publishes what may be any JSON without a type.
    if name.ends_with(".v1.JSON") || name.contains(".JSONSchemaPropsOr") {
        *value = json!({});
        return;
    }
    let Some(properties) = value.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let fields: BTreeMap<&str, &str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => Field::Key_"))
        .map(|(json, rust)| (rust.trim_end_matches(','), json))
        .collect();
    for (kind, target) in
        [("list::map", "map"), ("list::set", "set"), ("list::atomic", "atomic"), ("map::atomic", "map-atomic")]
    {
        for call in source.split(&format!("merge_strategies::{kind}(")).skip(1) {
            let Some(rust) =
                call.trim_start().strip_prefix("&mut self.").map(|rest| rest.split(',').next().unwrap_or(""))
            else {
                continue;
            };
            let Some(property) =
                fields.get(rust).and_then(|json| properties.get_mut(*json)).and_then(Value::as_object_mut)
            else {
                continue;
            };
            match target {
                "map-atomic" => property.insert("x-kubernetes-map-type".into(), json!("atomic")),
                list => property.insert("x-kubernetes-list-type".into(), json!(list)),
            };
            if target == "map" {
                let keys_text = call.split_once("&[").expect("keys").1.split_once(']').expect("keys end").0;
                let mut keys: Vec<String> =
                    keys_text.split("lhs.").skip(1).map(|key| camel(key.split(" ==").next().unwrap_or(""))).collect();
                let second = SECOND_KEYS.iter().find(|(first, _)| keys.len() == 1 && keys[0] == *first);
                let field = fields[rust];
                let tag = PATCH_TAGS.iter().find(|(tagged, key, _)| *tagged == field && *key == keys[0]);
                if let Some((_, key, strategy)) = tag {
                    property.insert("x-kubernetes-patch-strategy".into(), json!(strategy));
                    property.insert("x-kubernetes-patch-merge-key".into(), json!(key));
                }
                if let Some((_, more)) = second {
                    keys.push((*more).into());
                }
                property.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            }
        }
    }
    for (definition, field, strategy) in PATCH_TAGS_PLAIN {
        if *definition == name {
            properties[*field]["x-kubernetes-patch-strategy"] = json!(strategy);
        }
    }
}

fn camel(rust: &str) -> String {
    let mut out = String::new();
    for (index, part) in rust.trim().trim_end_matches('_').split('_').enumerate() {
        let (first, rest) = part.split_at(usize::from(!part.is_empty()));
        out.push_str(&if index == 0 { first.to_owned() } else { first.to_uppercase() });
        out.push_str(rest);
    }
    out
}

fn references(value: &Value, wanted: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                wanted.push(name.trim_start_matches("#/definitions/").to_owned());
            }
            map.values().for_each(|value| references(value, wanted));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, wanted)),
        _ => {}
    }
}
