//! `malla.dev/client`: sleeps until it is told to end (a place to exec into), or makes requests and says how they went.

mod arguments;
mod batch;
mod http;
mod report;
mod tcp;
mod udp;

use anyhow::Context;
use std::io::{ErrorKind, Write};
use tokio::signal::unix::{SignalKind, signal};

pub use arguments::{ClientArgs, HttpArgs, Request, TcpArgs, UdpArgs};
pub use report::Report;

/// Does what was asked; the result says whether every request succeeded.
pub async fn run(args: ClientArgs) -> anyhow::Result<bool> {
    let (reports, json) = match args.request {
        None => {
            sleep_until_told().await?;
            return Ok(true);
        }
        Some(Request::Http(http)) => (vec![http::run(&http).await?], http.load.json),
        Some(Request::Tcp(tcp)) => (vec![tcp::run(&tcp).await?], tcp.load.json),
        Some(Request::Udp(udp)) => (vec![udp::run(&udp).await?], udp.load.json),
        Some(Request::Batch) => (batch::run().await?, true),
    };
    let mut text = String::new();
    for report in &reports {
        if json {
            text += &serde_json::to_string(report).context("write the report as JSON")?;
            text.push('\n');
        } else {
            text += &report.to_string();
        }
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("write the report")?,
    }
    Ok(reports.iter().all(|report| report.errors == 0))
}

async fn sleep_until_told() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    crate::serve::announce_ready().context("tell the Pod runner that we are there")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
