//! The server alone, as a process: what this crate's tests start, and a way to try it without the rest of Malla.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    server: kubernetes_api::cli::ApiserverArgs,
}

fn main() -> anyhow::Result<()> {
    kubernetes_api::cli::run(Arguments::parse().server)
}
