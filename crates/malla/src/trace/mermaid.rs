//! The journey as a sequence diagram (mermaid.js.org, `sequenceDiagram`).

use super::hops::{Hop, Place};
use super::journey::Journey;
use super::text::what;
use std::fmt::Write as _;

/// All journeys in one diagram.
pub fn render(journeys: &[Journey]) -> String {
    let mut out = "sequenceDiagram\n    autonumber\n".to_owned();
    let mut seen: Vec<String> = Vec::new();
    for hop in journeys.iter().flat_map(|journey| &journey.ways).flat_map(|way| &way.hops) {
        if !seen.contains(&hop.node) {
            let _ = writeln!(out, "    participant N{} as {}", seen.len(), clean(&hop.node));
            seen.push(hop.node.clone());
        }
    }
    let number = |node: &str| seen.iter().position(|known| known == node).unwrap_or(0);
    for journey in journeys {
        for way in &journey.ways {
            let mut before: Option<&Hop> = None;
            for hop in &way.hops {
                let (own, text) = (number(&hop.node), clean(&format!("{}: {}", hop.place.text(), what(hop))));
                match before.filter(|before| before.node != hop.node) {
                    Some(before) => {
                        let arrow = if way.reply { "-->>" } else { "->>" };
                        let _ = writeln!(out, "    N{}{arrow}N{own}: {}", number(&before.node), clean(&way.packet));
                        let _ = writeln!(out, "    Note over N{own}: {text}");
                    }
                    None if hop.place == Place::Dropped => {
                        let _ = writeln!(out, "    N{own}-xN{own}: {text}");
                    }
                    None => {
                        let _ = writeln!(out, "    Note over N{own}: {text}");
                    }
                }
                before = Some(hop);
            }
        }
        if let Some(first) = journey.ways.first().and_then(|way| way.hops.first()) {
            let _ = writeln!(
                out,
                "    Note over N{}: {}",
                number(&first.node),
                clean(&format!("end: {}", journey.end.what))
            );
        }
    }
    out
}

/// Without what ends a line or begins an entity.
fn clean(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ';' | '#' | '\n' | '\r') { ',' } else { c }).collect()
}
