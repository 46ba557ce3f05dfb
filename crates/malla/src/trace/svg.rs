//! The three worlds as a drawing: the machine, the nodes, the Pods; the packet's way through them.

use super::hops::{Hop, Place};
use super::journey::Journey;
use super::text::what;
use crate::xml::escaped;
use std::fmt::Write as _;

/// All journeys, one under the other.
pub fn render(journeys: &[Journey]) -> String {
    let mut canvas = Canvas::default();
    let height = journeys.iter().fold(0, |top, journey| canvas.journey(journey, top) + LINE);
    let (width, body) = (canvas.right + MARGIN, canvas.body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// What is drawn already.
#[derive(Default)]
struct Canvas {
    body: String,
    /// How far to the right it reaches.
    right: usize,
}

impl Canvas {
    /// Draws one from `top` on; where it ends.
    fn journey(&mut self, journey: &Journey, top: usize) -> usize {
        let hops: Vec<(&Hop, bool)> =
            journey.ways.iter().flat_map(|way| way.hops.iter().map(|hop| (hop, way.reply))).collect();
        let head = top + 3 * LINE;
        let bottom = head + (hops.len() + 1) * LINE;
        self.text(MARGIN, top + LINE, "black", &format!("{} -> {}", journey.client, wanted(journey)));
        for (at, name) in ["machine", "nodes", "Pods"].iter().enumerate() {
            let (x, height) = (MARGIN + at * WORLD, bottom - head);
            let _ = writeln!(
                self.body,
                "<rect x=\"{x}\" y=\"{head}\" width=\"{}\" height=\"{height}\" rx=\"6\" fill=\"{}\" stroke=\"#888\"/>",
                WORLD - 10,
                ["#eef", "#efe", "#fee"][at]
            );
            self.text(x + 8, head - 6, "#555", name);
        }
        let mut points = String::new();
        for (at, (hop, reply)) in hops.iter().enumerate() {
            let (x, y) = (MARGIN + world(hop) * WORLD + WORLD / 2, head + (at + 1) * LINE);
            let _ = write!(points, "{x},{y} ");
            let colour = if hop.place == Place::Dropped {
                "#c00"
            } else if *reply {
                "#06c"
            } else {
                "#080"
            };
            let _ = writeln!(self.body, "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/>");
            let time = hop.at_us.map_or_else(String::new, |us| format!("+{us}us "));
            let line = format!("{time}{} {}: {}", hop.node, hop.place.text(), what(hop));
            self.text(MARGIN + 3 * WORLD + 8, y + 4, colour, &line);
        }
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#444\" stroke-width=\"1.5\"/>",
            points.trim_end()
        );
        let remedy =
            journey.end.remedy.as_ref().map_or_else(String::new, |remedy| format!("; would let it pass: {remedy}"));
        let colour = if journey.end.answered { "#080" } else { "#c00" };
        self.text(MARGIN, bottom + LINE, colour, &format!("end: {}{remedy}", journey.end.what));
        bottom + 2 * LINE
    }

    fn text(&mut self, x: usize, y: usize, colour: &str, line: &str) {
        self.right = self.right.max(x + line.chars().count() * LETTER);
        let _ = writeln!(self.body, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{}</text>", escaped(line));
    }
}

fn wanted(journey: &Journey) -> String {
    journey.wanted.map_or_else(|| "?".to_owned(), |wanted| wanted.to_string())
}

fn world(hop: &Hop) -> usize {
    match hop.place {
        Place::Forwarder => 0,
        Place::Pod | Place::Socket => 2,
        _ => 1,
    }
}

const MARGIN: usize = 16;
const LINE: usize = 22;
const WORLD: usize = 120;
/// As wide as a letter of 12 pixels in any font that may stand for `monospace`.
const LETTER: usize = 8;
