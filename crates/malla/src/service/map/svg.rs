//! The map as a picture: who calls stands left of whom it calls. Pure.

use super::draw::{is_outside, label};
use super::graph::{Edge, Graph, Node};
use crate::xml::escaped;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Draws it.
pub fn render(graph: &Graph) -> String {
    let places = places(graph);
    let column = |at: &(usize, usize)| MARGIN + at.0 * (BOX + GAP);
    let row = |at: &(usize, usize)| MARGIN + at.1 * (HEIGHT + SPACE);
    let width = places.values().map(column).max().unwrap_or_default() + BOX + MARGIN;
    let height = places.values().map(row).max().unwrap_or_default() + HEIGHT + 2 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"context-stroke\"/></marker></defs>\n"
    );
    for (pair, edges) in pairs(graph) {
        let (from, to) = (&places[pair.0], &places[pair.1]);
        let (x1, y1) = (column(from) + BOX, row(from) + HEIGHT / 2);
        let (x2, y2) = (column(to), row(to) + HEIGHT / 2);
        let denied = edges.iter().all(|edge| edge.is_denied());
        let (colour, dashes) = if denied { ("#c00", " stroke-dasharray=\"6 4\"") } else { ("#06c", "") };
        let bend = if x2 > x1 { (x2 - x1) / 2 } else { GAP / 2 };
        let left = x2.saturating_sub(bend);
        let _ = writeln!(
            out,
            "<path d=\"M{x1},{y1} C{},{y1} {left},{y2} {x2},{y2}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"1.5\" marker-end=\"url(#tip)\"{dashes}/>",
            x1 + bend
        );
        let mut words: Vec<String> = edges.iter().take(MOST).map(|edge| label(edge)).collect();
        if edges.len() > MOST {
            words.push(format!("{} more", edges.len() - MOST));
        }
        let (x, y) = (x1.midpoint(x2), y1.midpoint(y2).saturating_sub(4));
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"{colour}\">{}</text>",
            escaped(&words.join(", "))
        );
    }
    for node in &graph.nodes {
        let (x, y) = (column(&places[node]), row(&places[node]));
        let fill = if is_outside(node) { "#eee" } else { "#efe" };
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{fill}\" stroke=\"#888\"/>\n\
             <text x=\"{}\" y=\"{}\">{}</text>\n<text x=\"{}\" y=\"{}\" fill=\"#555\">{}</text>",
            x + 8,
            y + 18,
            escaped(&cut(&node.name)),
            x + 8,
            y + 34,
            escaped(&node.kind)
        );
    }
    out + "</svg>\n"
}

/// What leads from one to another, together.
fn pairs(graph: &Graph) -> BTreeMap<(&Node, &Node), Vec<&Edge>> {
    let mut pairs: BTreeMap<_, Vec<&Edge>> = BTreeMap::new();
    for edge in &graph.edges {
        pairs.entry((&edge.from, &edge.to)).or_default().push(edge);
    }
    pairs
}

/// Column and row of each: behind all that call it. Where they call each other in a circle, the first by name goes first.
fn places(graph: &Graph) -> HashMap<&Node, (usize, usize)> {
    let pairs: Vec<(&Node, &Node)> = pairs(graph).into_keys().filter(|(from, to)| from != to).collect();
    let mut callers: BTreeMap<&Node, usize> = graph.nodes.iter().map(|node| (node, 0)).collect();
    for (_, to) in &pairs {
        *callers.entry(to).or_default() += 1;
    }
    let mut columns: HashMap<&Node, usize> = HashMap::new();
    while let Some(node) = callers.iter().min_by_key(|(_, callers)| **callers).map(|(node, _)| *node) {
        callers.remove(node);
        let column = *columns.entry(node).or_default();
        for (_, to) in pairs.iter().filter(|(from, _)| *from == node) {
            if let Some(callers) = callers.get_mut(to) {
                *callers = callers.saturating_sub(1);
                let behind = columns.entry(to).or_default();
                *behind = (*behind).max(column + 1);
            }
        }
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    graph
        .nodes
        .iter()
        .map(|node| {
            let column = columns.get(node).copied().unwrap_or_default();
            let row = rows.entry(column).or_default();
            *row += 1;
            (node, (column, *row - 1))
        })
        .collect()
}

/// As much as a box holds.
fn cut(name: &str) -> String {
    match name.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

const MARGIN: usize = 24;
const BOX: usize = 230;
const HEIGHT: usize = 44;
const GAP: usize = 220;
const SPACE: usize = 28;
/// Of a name, beside the margin.
const LETTERS: usize = 28;
/// Edges that are named on one line.
const MOST: usize = 2;

#[cfg(test)]
mod tests {
    use super::super::graph::Numbers;
    use super::super::graph::tests::shop;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn who_calls_stands_left_and_names_can_break_nothing() {
        let graph = shop();
        let places = places(&graph);
        let at = |name: &str| places[graph.nodes.iter().find(|node| node.name == name).unwrap()];
        assert_eq!((at("world"), at("shop/front"), at("shop/back")), ((0, 1), (1, 0), (2, 0)));
        let svg = render(&graph);
        assert!(svg.contains("shop/&lt;evil&gt;") && !svg.contains("<evil>"), "{svg}");
        assert_eq!((svg.matches("<path d=\"M").count(), svg.matches("stroke-dasharray").count()), (4, 1));
        assert!(render(&Graph::default()).ends_with("</svg>\n"));
    }

    #[test]
    fn circles_end() {
        let node = |name: &str| Node { name: name.to_owned(), kind: "Pod".to_owned() };
        let edge = |from: &str, to: &str| Edge {
            from: node(from),
            to: node(to),
            port: "tcp/1".to_owned(),
            services: BTreeSet::new(),
            numbers: Numbers { begun: 1, ..Numbers::default() },
            reasons: BTreeSet::new(),
        };
        let edges = vec![edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("c", "c")];
        let graph = Graph { nodes: ["a", "b", "c"].map(node).to_vec(), edges };
        let places = places(&graph);
        let columns: Vec<usize> = graph.nodes.iter().map(|node| places[node].0).collect();
        assert_eq!(columns, [0, 1, 2]);
    }
}
