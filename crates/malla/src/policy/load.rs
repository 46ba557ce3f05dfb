//! What files say of policies, Pods and namespaces: a state of everything without a cluster.

use super::check::{self, File};
use super::document::Node;
use super::finding::Severity;
use super::kinds::{self, Kind};
use super::nodes;
use agent::policies::pod_facts;
use anyhow::{Context, bail};
use identity::{Facts, Filter, has_identity, labels_of};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use policy::dialect::references::References;
use policy::failsafe::Failsafe;
use policy::prove::{DEFAULT_CLUSTER, KIND, Known, Question};
use policy::rule::Policy;
use policy::snapshot::{PodFacts, Snapshot};
use policy::subject::IdentityFacts;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What some files say.
pub struct Loaded {
    /// Policies, and who would be there.
    pub snapshot: Snapshot,
    /// Labels of the namespaces that are among them.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Questions, with where they stand.
    pub questions: Vec<(String, Question)>,
}

impl Loaded {
    /// For whoever proves something about them.
    pub fn known(&self) -> Known {
        Known {
            policies: self.snapshot.policies.iter().cloned().chain([Failsafe::default().policy()]).collect(),
            namespaces: self.namespaces.clone(),
            cluster: DEFAULT_CLUSTER.to_owned(),
            // Files may have a few of the nodes: whatever Pods come may have any address.
            pod_ranges: Vec::new(),
        }
    }

    /// What would be so in a cluster of all this: also no policy shuts a node's failsafe ports, which are those that an agent
    /// has by default.
    pub fn state(self) -> Snapshot {
        let mut snapshot = self.snapshot;
        snapshot.policies.push(Failsafe::default().policy());
        snapshot
    }

    /// Whether there is anything but questions.
    pub fn is_about_policies(&self) -> bool {
        !self.snapshot.policies.is_empty()
    }
}

/// Reads files, folders and standard input. `references`: what policies may name besides what is among the files.
///
/// # Errors
/// When something can't be read or has no meaning: nobody could say what would be so.
pub fn load(paths: &[PathBuf], namespace: &str, references: &References) -> anyhow::Result<Loaded> {
    let files = check::read(paths)?;
    let mut loaded = Loaded { snapshot: Snapshot::default(), namespaces: BTreeMap::new(), questions: Vec::new() };
    refuse_mistakes(&files, namespace)?;
    let documents = check::documents(&files)?;
    let mut references = references.clone();
    let more = check::references(&documents, namespace);
    references.services.extend(more.services);
    references.cidr_groups.extend(more.cidr_groups);
    for (file, node) in &documents {
        let place = format!("{file}:{}", node.line);
        if let Some(kind) = Kind::of(node) {
            loaded
                .snapshot
                .policies
                .extend(policies(kind, node, namespace, &references).with_context(|| place.clone())?);
        } else if node.text("kind") == Some(KIND) {
            let question: Question =
                serde_json::from_value(node.value()).with_context(|| format!("{place}: understand the question"))?;
            if let Some(mistake) = question.mistakes().first() {
                bail!("{file}:{}: {mistake}", node.line_of(&mistake.field));
            }
            loaded.questions.push((place, question));
        } else if node.text("kind") == Some("Namespace") {
            let object: Namespace = serde_json::from_value(node.value()).with_context(|| place.clone())?;
            let name = object.metadata.name.unwrap_or_default();
            let mut labels = object.metadata.labels.unwrap_or_default();
            labels.insert(NAME.to_owned(), name.clone());
            loaded.namespaces.insert(name, labels);
        }
    }
    loaded.snapshot.set_references(&references);
    nodes::read(&documents, &mut loaded.snapshot)?;
    people(&documents, namespace, &mut loaded);
    Ok(loaded)
}

/// Every namespace has it (KEP-2161).
const NAME: &str = "kubernetes.io/metadata.name";

fn refuse_mistakes(files: &[File], namespace: &str) -> anyhow::Result<()> {
    let report = check::check(files.to_vec(), namespace);
    let mistakes: Vec<String> = report
        .findings
        .iter()
        .filter(|one| one.severity == Severity::Mistake)
        .map(|one| format!("{}:{}: {}: {}: {}", one.file, one.line, one.object, one.field, one.text))
        .collect();
    if !mistakes.is_empty() {
        bail!("there are mistakes (`malla policy check` tells them too):\n  {}", mistakes.join("\n  "));
    }
    Ok(())
}

fn policies(kind: Kind, node: &Node, namespace: &str, references: &References) -> anyhow::Result<Vec<Policy>> {
    let mut object = node.value();
    if kind.is_namespaced() && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = namespace.into();
    }
    kinds::policies(kind, object, references).map_err(|mistakes| {
        anyhow::anyhow!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

/// Identities of the Pods and of the Pods that workloads would make. Numbers as an operator would give them.
fn people(documents: &[(&str, Node)], namespace: &str, loaded: &mut Loaded) {
    let (filter, mut numbers) = (Filter::default(), BTreeMap::new());
    for (_, node) in documents {
        let object = node.value();
        let kind = object["kind"].as_str().unwrap_or_default();
        let Some(mut pod) = pod_of(kind, &object) else { continue };
        pod["metadata"]["namespace"] = object["metadata"]["namespace"].as_str().unwrap_or(namespace).into();
        // Admission gives every Pod an account.
        if pod["spec"]["serviceAccountName"].is_null() {
            pod["spec"]["serviceAccountName"] = "default".into();
        }
        let Ok(pod) = serde_json::from_value::<Pod>(pod) else { continue };
        if !has_identity(&pod) {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let of = pod.metadata.namespace.clone().unwrap_or_default();
        let only_name = BTreeMap::from([(NAME.to_owned(), of.clone())]);
        let namespace_labels = loaded.namespaces.get(&of).unwrap_or(&only_name);
        let facts = Facts { namespace_labels: Some(namespace_labels), cluster: DEFAULT_CLUSTER, filter: &filter };
        let labels = labels_of(&pod, facts);
        let next = FIRST + numbers.len() as u32;
        let number = *numbers.entry(labels.clone()).or_insert(next);
        loaded.snapshot.pods.push(PodFacts {
            namespace: of.into(),
            name: if kind == "Pod" { name.into() } else { format!("{}/{name}", kind.to_lowercase()).into() },
            identity: number,
            addresses: Vec::new(),
            node: None,
        });
        if number == next {
            loaded.snapshot.identities.push(pod_facts(number, &labels));
        }
    }
    loaded.snapshot.identities.extend((0..FIRST).filter_map(IdentityFacts::reserved));
}

/// As Cilium's first ones (`pkg/identity/numericidentity.go`).
const FIRST: u32 = 256;

/// A Pod, or the one that a workload makes.
fn pod_of(kind: &str, object: &Value) -> Option<Value> {
    let template = match kind {
        "Pod" => return Some(object.clone()),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            &object["spec"]["template"]
        }
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    let labels = template["metadata"]["labels"].clone();
    let spec = template["spec"].clone();
    spec.is_object().then(|| json!({"metadata": {"labels": labels}, "spec": spec}))
}
