//! Files → documents → what is wrong with them, and what they mean.

use super::document::{self, Node};
use super::finding::{Finding, Report, Severity, Understood, UnderstoodRule};
use super::kinds::{self, Kind};
use super::overlap;
use anyhow::{Context, bail};
use custom_resources::CiliumCIDRGroup;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use policy::dialect::references::{CidrGroup, References, ServiceFacts};
use policy::rule::{Action, Dialect, Direction, Peer, Peers, Policy, Subject, Tier};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file's name and text.
pub type File = (String, String);

/// Reads files, folders of them, and standard input.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read standard input")?;
            files.push(("-".to_owned(), text));
        } else if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
            let mut inside: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
            inside
                .retain(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json"));
            if inside.is_empty() {
                bail!("{} has no file that ends in .yaml, .yml or .json", path.display());
            }
            inside.sort();
            files.extend(inside.iter().map(|path| one(path)).collect::<anyhow::Result<Vec<_>>>()?);
        } else {
            files.push(one(path)?);
        }
    }
    Ok(files)
}

fn one(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

/// Checks everything in some files together.
pub fn check(files: Vec<File>, namespace: &str) -> Report {
    let mut checker = Checker { namespace, report: Report::default(), seen: BTreeMap::new() };
    let mut documents = Vec::new();
    for (file, text) in &files {
        match document::parse(text) {
            Ok(nodes) => nodes.into_iter().for_each(|node| flatten(file, node, &mut documents)),
            Err(error) => {
                let place = Place { file, document: None, object: String::new(), line: error.line };
                checker.add(Severity::Mistake, &place, "", format!("is no YAML: {}", error.text));
            }
        }
    }
    let references = checker.references(&documents);
    let definitions = custom_resources::definitions();
    for (file, node) in &documents {
        match Kind::of(node) {
            Some(kind) => checker.policy(kind, file, node, &references, &definitions),
            None => checker.stranger(file, node),
        }
    }
    let report = &mut checker.report;
    report.findings.sort_by(|a, b| (&a.file, a.line, a.severity).cmp(&(&b.file, b.line, b.severity)));
    report.mistakes = report.findings.iter().filter(|one| one.severity == Severity::Mistake).count();
    report.warnings = report.findings.len() - report.mistakes;
    checker.report
}

/// Every document of some files; of a list each item.
///
/// # Errors
/// When a file is no YAML.
pub fn documents(files: &[File]) -> anyhow::Result<Vec<(&str, Node)>> {
    let mut documents = Vec::new();
    for (file, text) in files {
        match document::parse(text) {
            Ok(nodes) => nodes.into_iter().for_each(|node| flatten(file, node, &mut documents)),
            Err(error) => bail!("{file}:{}: is no YAML: {}", error.line, error.text),
        }
    }
    Ok(documents)
}

/// Services and groups of prefixes among documents.
pub fn references(documents: &[(&str, Node)], namespace: &str) -> References {
    Checker { namespace, report: Report::default(), seen: BTreeMap::new() }.references(documents)
}

/// A `List` stands for its items.
fn flatten<'a>(file: &'a str, node: Node, documents: &mut Vec<(&'a str, Node)>) {
    let is_list = node.text("kind").is_some_and(|kind| kind.ends_with("List"));
    match node.get("items").and_then(Node::items) {
        Some(items) if is_list => items.iter().for_each(|item| flatten(file, item.clone(), documents)),
        _ => documents.push((file, node)),
    }
}

struct Place<'a> {
    file: &'a str,
    document: Option<&'a Node>,
    object: String,
    line: u64,
}

struct Checker<'a> {
    namespace: &'a str,
    report: Report,
    /// Where each object was met first.
    seen: BTreeMap<String, String>,
}

impl Checker<'_> {
    fn add(&mut self, severity: Severity, place: &Place<'_>, field: &str, text: String) {
        let line = place.document.map_or(place.line, |document| document.line_of(field));
        let (file, object, field) = (place.file.to_owned(), place.object.clone(), field.to_owned());
        self.report.findings.push(Finding { severity, file, line, object, field, text });
    }

    fn policy(
        &mut self,
        kind: Kind,
        file: &str,
        node: &Node,
        references: &References,
        definitions: &[k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition],
    ) {
        let mut object = node.value();
        if kind.is_namespaced() && object["metadata"].is_object() && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = self.namespace.into();
        }
        let place = Place { file, document: Some(node), object: named(kind, &object), line: node.line };
        let here = format!("{file}:{}", node.line);
        if let Some(before) = self.seen.insert(place.object.clone(), here) {
            let text =
                format!("is there a second time, after {before}: the last one that is applied replaces the other");
            self.add(Severity::Warning, &place, "metadata.name", text);
        }
        let objections = kinds::objections(kind, &mut object, definitions);
        let refused = !objections.is_empty();
        for objection in objections {
            let field = if objection.field == "<root>" { String::new() } else { objection.field };
            self.add(Severity::Mistake, &place, &field, objection.text);
        }
        match kinds::policies(kind, object, references) {
            // What a field's form is wrong in was told already.
            Err(mistakes) => {
                for mistake in mistakes {
                    let told = |one: &Finding| one.object == place.object && one.field == mistake.field;
                    if !(refused && (mistake.field.is_empty() || self.report.findings.iter().any(told))) {
                        self.add(Severity::Mistake, &place, &mistake.field, mistake.text);
                    }
                }
            }
            Ok(policies) => {
                for policy in &policies {
                    self.warnings(policy, node, &place);
                }
                if !refused {
                    self.report.policies.extend(policies.iter().map(|policy| understood(policy, &place)));
                }
            }
        }
    }

    /// Objects of other kinds are nobody's business here, unless they could be taken for checked.
    fn stranger(&mut self, file: &str, node: &Node) {
        let kind = node.text("kind").unwrap_or_default();
        if kind.ends_with("NetworkPolicy") {
            let place = Place { file, document: Some(node), object: kind.to_owned(), line: node.line };
            let version = node.text("apiVersion").unwrap_or_default();
            self.add(
                Severity::Warning,
                &place,
                "apiVersion",
                format!("{version:?} is no dialect that is read here: not checked"),
            );
        }
    }

    fn warnings(&mut self, policy: &Policy, node: &Node, place: &Place<'_>) {
        for gap in &policy.gaps {
            self.add(Severity::Warning, place, &gap.field, gap.why.clone());
        }
        let (Subject::Endpoints(subject) | Subject::Nodes(subject)) = &policy.subject;
        if let Some(why) = overlap::contradiction(subject) {
            self.add(Severity::Warning, place, "spec", format!("nobody is governed: {why}"));
        }
        for rule in &policy.rules {
            let Peers::OneOf(peers) = &rule.peers else { continue };
            for selector in peers.iter().filter_map(selector) {
                if let Some(why) = overlap::contradiction(selector) {
                    self.add(Severity::Warning, place, &rule.field, why);
                }
            }
        }
        for shadowed in overlap::shadowed(policy) {
            let by = &shadowed.by.field;
            let text = if shadowed.says_the_same {
                format!("adds nothing: {by} says as much")
            } else {
                format!("never decides: {by} decides wherever it matches")
            };
            self.add(Severity::Warning, place, &shadowed.rule.field, text);
        }
        self.idle(policy, node, place);
    }

    /// Rules as they are written that became none, and of which no gap tells why.
    fn idle(&mut self, policy: &Policy, node: &Node, place: &Place<'_>) {
        if policy.origin.dialect != Dialect::Cilium {
            return;
        }
        let part = usize::from(policy.origin.part);
        let root = match (node.get("spec").is_some(), part) {
            (true, 0) => "spec".to_owned(),
            (true, part) => format!("specs[{}]", part - 1),
            (false, part) => format!("specs[{part}]"),
        };
        let Some(spec) = at(node, &root) else { return };
        for section in ["ingress", "ingressDeny", "egress", "egressDeny"] {
            let Some(rules) = spec.get(section).and_then(Node::items) else { continue };
            for (index, rule) in rules.iter().enumerate() {
                let field = format!("{root}.{section}[{index}]");
                let is_idle = !policy.rules.iter().any(|one| *one.field == *field)
                    && !policy.gaps.iter().any(|gap| gap.field.starts_with(&field));
                // The only one, and empty, is how all is denied.
                let is_deny_all = rules.len() == 1 && rule.value().as_object().is_some_and(serde_json::Map::is_empty);
                if is_idle && !is_deny_all {
                    let text = "selects nobody: an empty list means nobody, and so does an empty rule; leave the list out to mean everybody";
                    self.add(Severity::Warning, place, &field, text.into());
                }
            }
        }
    }

    /// Services and groups of prefixes among the documents. What can't be read is no policy's business.
    fn references(&self, documents: &[(&str, Node)]) -> References {
        let mut all = References::default();
        let mut slices: Vec<EndpointSlice> = Vec::new();
        for (_, node) in documents {
            let value = node.value();
            match node.text("kind") {
                Some("Service") => self.service(value, &mut all),
                Some("EndpointSlice") => slices.extend(serde_json::from_value::<EndpointSlice>(value)),
                Some("CiliumCIDRGroup") => group(value, &mut all),
                _ => {}
            }
        }
        for slice in slices {
            let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            let key = (self.or_default(slice.metadata.namespace), name.cloned().unwrap_or_default());
            if let Some(service) = all.services.get_mut(&key) {
                let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                service.addresses.extend(addresses.filter_map(|text| text.parse::<std::net::IpAddr>().ok()));
            }
        }
        all
    }

    fn service(&self, value: Value, all: &mut References) {
        let Ok(service) = serde_json::from_value::<Service>(value) else { return };
        let facts = ServiceFacts::of(&service);
        let key = (self.or_default(service.metadata.namespace), service.metadata.name.unwrap_or_default());
        all.services.insert(key, facts);
    }

    fn or_default(&self, namespace: Option<String>) -> String {
        namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| self.namespace.to_owned())
    }
}

fn group(value: Value, all: &mut References) {
    let Ok(group) = serde_json::from_value::<CiliumCIDRGroup>(value) else { return };
    let facts = CidrGroup::of(&group);
    all.cidr_groups.insert(group.metadata.name.unwrap_or_default(), facts);
}

fn named(kind: Kind, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let name = if text("name").is_empty() { "(without a name)" } else { text("name") };
    if kind.is_namespaced() {
        format!("{} {}/{name}", kind.name(), text("namespace"))
    } else {
        format!("{} {name}", kind.name())
    }
}

/// `spec` or `specs[2]`.
fn at<'a>(node: &'a Node, root: &str) -> Option<&'a Node> {
    match root.strip_prefix("specs[").and_then(|rest| rest.strip_suffix(']')) {
        Some(index) => node.get("specs")?.items()?.get(index.parse::<usize>().ok()?),
        None => node.get(root),
    }
}

fn selector(peer: &Peer) -> Option<&policy::selector::Selector> {
    match peer {
        Peer::Endpoints(selector) | Peer::Nodes(selector) => Some(selector),
        Peer::OtherEndpoints(_) | Peer::Entity(_) | Peer::Cidr { .. } => None,
    }
}

fn understood(policy: &Policy, place: &Place<'_>) -> Understood {
    let default_deny = [("ingress", policy.default_deny.ingress), ("egress", policy.default_deny.egress)];
    let rules = policy.rules.iter().map(|rule| UnderstoodRule {
        field: rule.field.to_string(),
        direction: if rule.direction == Direction::Ingress { "ingress" } else { "egress" },
        tier: match rule.tier {
            Tier::Failsafe => "failsafe".to_owned(),
            Tier::Admin(priority) => format!("admin {}", priority.get()),
            Tier::Normal => "normal".to_owned(),
            Tier::Baseline(priority) => format!("baseline {}", priority.get()),
        },
        action: match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Pass => "pass",
        },
        peers: rule.peers.to_string(),
        ports: rule.ports.to_string(),
    });
    Understood {
        file: place.file.to_owned(),
        line: place.line,
        object: place.object.clone(),
        subject: match &policy.subject {
            Subject::Endpoints(selector) => selector.to_string(),
            Subject::Nodes(selector) => format!("nodes {selector}"),
        },
        default_deny: default_deny.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect(),
        audit: policy.audit,
        rules: rules.collect(),
    }
}
