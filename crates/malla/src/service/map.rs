//! `malla service map`: who talks to whom, from the flows that the nodes have seen.

mod draw;
mod graph;
mod svg;

use crate::agents::Selection;
use crate::observe::{self, Filters};
use clap::{Args, ValueEnum};
use graph::Sketch;
use prost_types::Timestamp;

/// Arguments of `malla service map`.
#[derive(Args, Debug)]
pub struct MapArgs {
    #[command(flatten)]
    selection: Selection,
    /// Flows not older than this: a time (RFC 3339) or so long ago (5m, 2h30m)
    #[arg(long, value_name = "TIME", value_parser = observe::moment)]
    since: Option<Timestamp>,
    /// Flows not newer than this
    #[arg(long, value_name = "TIME", value_parser = observe::moment)]
    until: Option<Timestamp>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: a line for each two that talk
    #[default]
    Table,
    /// For scripts
    Json,
    /// For scripts and people
    Yaml,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture
    Svg,
}

/// Asks all nodes and prints.
///
/// # Errors
/// When no node answers.
pub fn run(args: &MapArgs) -> anyhow::Result<()> {
    let mut sketch = Sketch::default();
    let told = observe::all(&args.selection, (args.since, args.until), &args.filters, |flow| sketch.add(flow))?;
    for missing in &told.missing {
        eprintln!("WARNING: {missing}: what only this node has seen may not be in the map");
    }
    if told.left_out > 0 {
        eprintln!("WARNING: {} flows were left out by sampling: numbers are too small", told.left_out);
    }
    if told.lost > 0 {
        eprintln!("WARNING: {} events were lost: numbers are too small", told.lost);
    }
    let graph = sketch.end();
    match args.output {
        Output::Table => print!("{}", draw::table(&graph)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&graph)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&graph)?),
        Output::Dot => print!("{}", draw::dot(&graph)),
        Output::Mermaid => print!("{}", draw::mermaid(&graph)),
        Output::Svg => print!("{}", svg::render(&graph)),
    }
    Ok(())
}
