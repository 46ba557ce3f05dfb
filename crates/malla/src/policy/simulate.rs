//! `malla policy simulate`: what would change.

use super::tables::{fitted, text};
use anyhow::bail;
use policy::rule::{Dialect, Origin, Policy};
use policy::simulate::{Change, Simulation, after, enforced, simulate};
use policy::snapshot::Snapshot;
use std::fmt::Write;

/// Compares what there is with what there would be, for everybody who is there.
pub fn answer(now: &Snapshot, then: &[Policy]) -> Simulation {
    simulate(now, then)
}

/// What becomes of policies in audit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// They stay so.
    Reported,
    /// They are enforced.
    Enforced,
}

/// The policies that there would be.
///
/// # Errors
/// When something is to be deleted that is not there.
pub fn then(now: &Snapshot, written: &[Policy], deleted: &[Deleted], audited: Audited) -> anyhow::Result<Vec<Policy>> {
    let mut removed = Vec::new();
    for one in deleted {
        let found = now.policies.iter().find(|policy| one.is(&policy.origin));
        match found {
            Some(policy) => removed.push(policy.origin.clone()),
            None => bail!("there is no {one} to delete"),
        }
    }
    let then = after(&now.policies, written, &removed);
    Ok(if audited == Audited::Enforced { enforced(then) } else { then })
}

/// `KIND/NAME` or `KIND/NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// What people call the kinds, as kubectl does.
const KINDS: [(&str, &[&str]); 4] = [
    ("NetworkPolicy", &["networkpolicy", "networkpolicies", "netpol"]),
    ("ClusterNetworkPolicy", &["clusternetworkpolicy", "clusternetworkpolicies", "k8scnp"]),
    ("CiliumNetworkPolicy", &["ciliumnetworkpolicy", "ciliumnetworkpolicies", "cnp", "ciliumnp"]),
    ("CiliumClusterwideNetworkPolicy", &["ciliumclusterwidenetworkpolicy", "ciliumclusterwidenetworkpolicies", "ccnp"]),
];

impl std::str::FromStr for Deleted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: write KIND/NAME or KIND/NAMESPACE/NAME, like networkpolicy/shop/db");
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts[..] {
            [kind, name] => (kind, None, name),
            [kind, namespace, name] => (kind, Some(namespace.to_owned()), name),
            _ => return Err(wrong()),
        };
        let lower = kind.to_lowercase();
        let kind = KINDS.iter().find(|(_, names)| names.contains(&&*lower)).map(|(kind, _)| *kind);
        let kind = kind.ok_or_else(|| format!("{text:?}: {lower} is no kind of policy"))?;
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Self { kind: kind.to_owned(), namespace, name: name.to_owned() })
    }
}

impl Deleted {
    /// Names without a namespace are in this one, of kinds that have one.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        if self.namespace.is_none() && matches!(&*self.kind, "NetworkPolicy" | "CiliumNetworkPolicy") {
            self.namespace = Some(namespace.to_owned());
        }
        self
    }

    fn is(&self, origin: &Origin) -> bool {
        origin.dialect != Dialect::Malla
            && *origin.kind == *self.kind
            && *origin.name == *self.name
            && *origin.namespace == *self.namespace.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Display for Deleted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>();
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

/// For people.
pub fn table(simulation: &Simulation) -> String {
    let mut out = String::new();
    for (what, policies) in [("written:", &simulation.written), ("removed:", &simulation.removed)] {
        for policy in policies {
            let _ = writeln!(out, "{what} {policy}");
        }
    }
    if simulation.changes.is_empty() {
        out.push_str("nothing would change for anybody who is there now\n");
        return out;
    }
    let mut table = fitted(&["FROM", "TO", "ON", "NOW", "THEN", "BECAUSE"]);
    for change in &simulation.changes {
        let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
        table.add_row([
            party(&change.from, &change.from_pods),
            party(&change.to, &change.to_pods),
            on(change),
            word(change.now).to_owned(),
            word(change.then).to_owned(),
            // What denies is what people want to know: of what was denied, too.
            if change.then { format!("no longer {}", change.because_now) } else { change.because_then.clone() },
        ]);
    }
    out.push_str(&text(&table));
    let opened = simulation.changes.iter().filter(|change| change.then).count();
    let _ = writeln!(out, "{opened} opened, {} closed", simulation.changes.len() - opened);
    out
}

fn on(change: &Change) -> String {
    match &*change.families {
        [only] => format!("{} ({only})", change.ports),
        _ => change.ports.clone(),
    }
}

/// A group and how many Pods it is.
pub fn party(name: &str, pods: &[String]) -> String {
    match pods {
        [] => name.to_owned(),
        [one] => format!("{name} ({one})"),
        many => format!("{name} ({} Pods)", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_has_a_kind_and_a_name() {
        for (text, expected) in [
            ("networkpolicy/db", Some("NetworkPolicy shop/db")),
            ("NetPol/other/db", Some("NetworkPolicy other/db")),
            ("ccnp/all", Some("CiliumClusterwideNetworkPolicy all")),
            ("pod/db", None),
            ("networkpolicy", None),
            ("networkpolicy/", None),
            ("a/b/c/d", None),
        ] {
            let read = text.parse::<Deleted>().ok().map(|one| one.in_namespace("shop").to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
