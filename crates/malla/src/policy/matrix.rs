//! `malla policy matrix`: who can reach whom on what.

use super::simulate::party;
use super::tables::{fitted, text};
use clap::ValueEnum;
use policy::matrix::{Cell, NOTHING, matrix};
use policy::reach::Group;
use policy::snapshot::Snapshot;
use policy::subject::IdentityFacts;
use std::fmt::Write;

/// How it is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For scripts, with what is denied and why
    Json,
    /// For spreadsheets
    Csv,
    /// For Graphviz: an arrow where something passes
    Dot,
}

/// Which groups are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub namespace: Option<String>,
    /// `key=value`, all of them.
    pub labels: Vec<(String, String)>,
    /// Only pairs of which something is denied.
    pub only_denied: bool,
}

impl Filter {
    /// Whether one at least of the group is meant: a Pod, or a node that a policy may be about, which is in no namespace.
    fn wants(&self, group: &Group, snapshot: &Snapshot) -> bool {
        if !group.judged {
            return false;
        }
        let key = |key: &str| if key.contains(':') { key.to_owned() } else { format!("k8s:{key}") };
        let wanted: Vec<(String, &str)> = self.labels.iter().map(|(one, value)| (key(one), &**value)).collect();
        let namespace = self.namespace.as_deref();
        let has_all = |facts: &IdentityFacts| {
            namespace.is_none_or(|name| facts.namespace.as_deref() == Some(name))
                && wanted.iter().all(|(key, value)| facts.labels.get(key) == Some(value))
        };
        // Policies may treat Pods alike that people tell apart.
        let mut nodes = snapshot.nodes.iter().filter(|node| group.nodes.iter().any(|name| *node.name == **name));
        let mut identities = group.identities.iter().filter_map(|number| snapshot.identity(*number));
        match group.is_pod() {
            true => identities.any(has_all),
            false => nodes.any(|node| has_all(&snapshot.host(node))),
        }
    }
}

/// Every pair of which one end at least is wanted.
pub fn answer(snapshot: &Snapshot, filter: &Filter) -> Vec<Cell> {
    let mut cells = matrix(snapshot, |group| filter.wants(group, snapshot));
    cells.retain(|cell| !filter.only_denied || !cell.denied.is_empty());
    cells
}

/// As it was asked for.
///
/// # Errors
/// When it can't be written as JSON.
pub fn print(cells: &[Cell], format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Table => table(cells),
        Format::Json => serde_json::to_string_pretty(cells)? + "\n",
        Format::Csv => csv(cells),
        Format::Dot => dot(cells),
    })
}

fn table(cells: &[Cell]) -> String {
    let mut table = fitted(&["FROM", "TO", "ALLOWED", "DENIED BY"]);
    for cell in cells {
        let because: Vec<&str> = cell.denied.iter().map(|one| &*one.because).collect();
        let allowed = match &*cell.families {
            [only] => format!("{} ({only})", cell.allowed),
            _ => cell.allowed.clone(),
        };
        table.add_row([
            party(&cell.from, &cell.from_pods),
            party(&cell.to, &cell.to_pods),
            allowed,
            because.join("\n"),
        ]);
    }
    text(&table)
}

/// RFC 4180.
fn csv(cells: &[Cell]) -> String {
    let field = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = "from,to,families,allowed,denied,because,from_pods,to_pods,from_nodes,to_nodes\r\n".to_owned();
    for cell in cells {
        let joined = |all: &mut dyn Iterator<Item = &str>| all.collect::<Vec<_>>().join("; ");
        let denied = joined(&mut cell.denied.iter().map(|one| &*one.ports));
        let because = joined(&mut cell.denied.iter().map(|one| &*one.because));
        let row = [
            &cell.from,
            &cell.to,
            &cell.families.join(" "),
            &cell.allowed,
            &denied,
            &because,
            &cell.from_pods.join(" "),
            &cell.to_pods.join(" "),
            &cell.from_nodes.join(" "),
            &cell.to_nodes.join(" "),
        ];
        let row: Vec<String> = row.into_iter().map(|text| field(text)).collect();
        let _ = write!(out, "{}\r\n", row.join(","));
    }
    out
}

fn dot(cells: &[Cell]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = "digraph policy {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for cell in cells.iter().filter(|cell| cell.allowed != NOTHING) {
        let label = quoted(&cell.allowed);
        let _ = writeln!(out, "  {} -> {} [label={label}];", quoted(&cell.from), quoted(&cell.to));
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_in_names_is_quoted() {
        let cell = Cell {
            from: "a \"quoted\", one".into(),
            to: "b".into(),
            families: vec!["IPv4".into()],
            allowed: "tcp/80".into(),
            denied: Vec::new(),
            from_pods: Vec::new(),
            to_pods: vec!["shop/b".into()],
            from_nodes: Vec::new(),
            to_nodes: Vec::new(),
        };
        let nothing = Cell { allowed: NOTHING.into(), ..cell.clone() };
        let cells = [cell, nothing];
        assert!(
            csv(&cells).lines().nth(1).unwrap().starts_with("\"a \"\"quoted\"\", one\",\"b\",\"IPv4\",\"tcp/80\",")
        );
        let dot = dot(&cells);
        assert!(dot.contains("\"a \\\"quoted\\\", one\" -> \"b\" [label=\"tcp/80\"];"), "{dot}");
        assert_eq!(dot.matches("->").count(), 1, "no arrow where nothing passes");
    }
}
