//! The map as text: a table, Graphviz, Mermaid. Pure.

use super::graph::{Edge, Graph, Node};
use crate::service::tables::{table as new_table, text};
use crate::units;
use std::collections::HashMap;
use std::fmt::Write;

/// A line for each edge.
pub fn table(graph: &Graph) -> String {
    if graph.edges.is_empty() {
        return "No flows: nobody has talked, or the nodes have forgotten it.\n".to_owned();
    }
    let mut table = new_table(&["FROM", "TO", "PORT", "SERVICE", "BEGUN", "DROPPED", "OUT", "BACK"]);
    for edge in &graph.edges {
        let numbers = &edge.numbers;
        let bytes = |bytes| if numbers.ended == 0 { "-".to_owned() } else { units::bytes(bytes) };
        table.add_row([
            edge.from.name.clone(),
            edge.to.name.clone(),
            edge.port.clone(),
            join(&edge.services).unwrap_or_else(|| "-".to_owned()),
            numbers.begun.to_string(),
            match join(&edge.reasons) {
                Some(reasons) => format!("{} {reasons}", numbers.dropped),
                None => numbers.dropped.to_string(),
            },
            bytes(numbers.bytes_out),
            bytes(numbers.bytes_back),
        ]);
    }
    text(&table)
}

/// What an edge is about, in few words.
pub fn label(edge: &Edge) -> String {
    let mut out = edge.port.clone();
    if edge.numbers.begun > 0 {
        let _ = write!(out, " ×{}", edge.numbers.begun);
    }
    if edge.numbers.dropped > 0 {
        let _ = write!(out, " {} dropped", edge.numbers.dropped);
    }
    out
}

/// Graphviz.
pub fn dot(graph: &Graph) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = "digraph malla {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
    for node in &graph.nodes {
        let shape = if is_outside(node) { ", shape=ellipse" } else { "" };
        let _ = writeln!(out, "  {} [tooltip={}{shape}];", quoted(&node.name), quoted(&node.kind));
    }
    for edge in &graph.edges {
        let colour = if edge.is_denied() { ", color=red, style=dashed" } else { "" };
        let (from, to) = (quoted(&edge.from.name), quoted(&edge.to.name));
        let _ = writeln!(out, "  {from} -> {to} [label={}{colour}];", quoted(&label(edge)));
    }
    out + "}\n"
}

/// Mermaid's flowchart.
pub fn mermaid(graph: &Graph) -> String {
    // Names have letters that its identifiers can't have; in a text nothing but quotes and its own marks matters.
    let quoted =
        |text: &str| text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
    let number: HashMap<&Node, usize> = graph.nodes.iter().enumerate().map(|(at, node)| (node, at)).collect();
    let mut out = "flowchart LR\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let (open, close) = if is_outside(node) { ("([", "])") } else { ("[", "]") };
        let _ = writeln!(out, "  n{at}{open}\"{}\"{close}", quoted(&node.name));
    }
    for edge in &graph.edges {
        let arrow = if edge.is_denied() { "-.->" } else { "-->" };
        let _ = writeln!(out, "  n{} {arrow}|\"{}\"| n{}", number[&edge.from], quoted(&label(edge)), number[&edge.to]);
    }
    out
}

/// Not one of the cluster's Pods.
pub fn is_outside(node: &Node) -> bool {
    matches!(&*node.kind, "identity" | "address")
}

fn join<'a>(texts: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let all: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::shop;
    use super::*;

    #[test]
    fn graphviz_and_mermaid_have_every_edge_and_what_is_denied_is_dashed() {
        let dot = dot(&shop());
        assert!(dot.contains("\"shop/front\" -> \"shop/back\" [label=\"tcp/8080 ×2\"];"), "{dot}");
        assert!(
            dot.contains("\"shop/<evil>\" -> \"shop/back\" [label=\"tcp/8080 2 dropped\", color=red, style=dashed];"),
            "{dot}"
        );
        let mermaid = mermaid(&shop());
        assert!(mermaid.contains("n0[\"shop/#lt;evil#gt;\"]") && mermaid.contains("n3([\"world\"])"), "{mermaid}");
        assert!(mermaid.contains("n0 -.->|\"tcp/8080 2 dropped\"| n1"), "{mermaid}");
        assert!(mermaid.contains("n2 -->|\"tcp/8080 ×2\"| n1"), "{mermaid}");
    }

    #[test]
    fn the_table_says_how_much() {
        let text = table(&shop());
        let line = text.lines().find(|line| line.contains("shop/front") && line.contains("8080")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], ["shop/front", "shop/back", "tcp/8080", "shop/back", "2", "0"]);
        assert!(text.contains("2 POLICY_DENIED"), "{text}");
        assert!(table(&Graph::default()).contains("No flows"));
    }
}
