//! `malla workload …`: what the Pod runner executes for a built-in image. Hidden from `--help`, because people meet
//! it as an image.

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::{client, pages::Site, ports::Ports, serve, whoami::Identity};

/// Arguments of `malla workload`.
#[derive(Debug, Args)]
pub struct WorkloadArgs {
    #[command(subcommand)]
    pub workload: Workload,
}

/// The built-in workloads.
#[derive(Debug, Subcommand)]
pub enum Workload {
    /// Answers HTTP, raw TCP and UDP, and tells who it is and whom it sees.
    Echo(ServerArgs),
    /// The small web application of the examples: `/` and `/actuator/health`.
    Spink(ServerArgs),
    /// Sleeps, or makes requests.
    Client(client::ClientArgs),
}

/// Arguments of a server.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// What to open, as in `8080/HTTP,8081/ECHO,8080/UDP` (that is echo's default). TCP means HTTP or echo, whichever
    /// the client begins with.
    #[arg(long, env = "MALLA_PORTS")]
    pub ports: Option<Ports>,
}

/// Runs a workload to its end.
pub fn run(args: WorkloadArgs) -> anyhow::Result<()> {
    // One thread: a workload is small, and there are many of them on one machine.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the async runtime")?;
    let all_well = runtime.block_on(async {
        match args.workload {
            Workload::Echo(server) => {
                let ports = server.ports.unwrap_or_else(Ports::echo_default);
                serve::run(Site::Echo(Identity::from_environment()), &ports).await.map(|()| true)
            }
            Workload::Spink(server) => {
                let ports = server.ports.unwrap_or_else(Ports::spink_default);
                serve::run(Site::Spink(Identity::from_environment()), &ports).await.map(|()| true)
            }
            Workload::Client(args) => client::run(args).await,
        }
    })?;
    // Not `bail!`: the report has said it all, and a second message would only hide it.
    if all_well { Ok(()) } else { std::process::exit(1) }
}
