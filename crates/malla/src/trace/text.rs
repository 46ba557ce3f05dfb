//! The journey for people, line by line.

use super::hops::Hop;
use super::journey::{Journey, Told};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The whole text, ended by a newline.
pub fn render(journey: &Journey) -> String {
    let mut out = journey.client.clone();
    if let Some(wanted) = journey.wanted {
        let _ = write!(out, " -> {wanted}");
    }
    out.push('\n');
    let node = journey.ways.iter().flat_map(|way| &way.hops).map(|hop| hop.node.len()).max().unwrap_or(0);
    for Told { reply, packet, hops } in &journey.ways {
        let _ = writeln!(out, "{}: {packet}", if *reply { "back" } else { "there" });
        for hop in hops {
            let time = hop.at_us.map_or_else(|| ".".to_owned(), |us| format!("+{us}us"));
            let line = format!("{time:>10}  {:node$}  {:18} {}", hop.node, hop.place.text(), what(hop));
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    let others = journey.others;
    if others.there + others.back > 0 {
        let _ = writeln!(out, "then {} more there and {} back by these ways", others.there, others.back);
    }
    for note in &journey.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let remedy =
        journey.end.remedy.as_ref().map_or_else(String::new, |remedy| format!("; would let it pass: {remedy}"));
    let _ = writeln!(out, "end: {}{remedy}", journey.end.what);
    out
}

/// Addresses before and after, and the words.
pub fn what(hop: &Hop) -> String {
    let mut parts = Vec::new();
    match (hop.source, hop.destination) {
        (Some(source), Some(destination)) => {
            let before = format!("{} -> {}", source.0, destination.0);
            let after = format!("{} -> {}", source.1, destination.1);
            parts.push(if before == after { before } else { format!("{before} becomes {after}") });
        }
        (Some(source), None) => parts.push(changed("source", source)),
        (None, Some(destination)) => parts.push(changed("destination", destination)),
        (None, None) => {}
    }
    if !hop.detail.is_empty() {
        parts.push(hop.detail.clone());
    }
    parts.join("; ")
}

fn changed(end: &str, (before, after): (SocketAddr, SocketAddr)) -> String {
    if before == after { format!("{end} {before}") } else { format!("{end} {before} becomes {after}") }
}
