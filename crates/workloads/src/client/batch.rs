//! Many runs at once by one process: where hundreds of addresses are asked, starting a process for each would take longer
//! than asking.

use anyhow::{Context, bail};
use clap::Parser;
use tokio::{io::AsyncReadExt, task::JoinSet};

use super::{arguments::Request, http, report::Report, tcp, udp};

/// One line: what would stand behind `malla workload client`. Words are split at white space, nothing is quoted.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    request: Request,
}

/// Reads standard input to its end, makes the runs of all lines at once, and gives their reports in the lines' order.
pub async fn run() -> anyhow::Result<Vec<Report>> {
    let mut text = String::new();
    tokio::io::stdin().read_to_string(&mut text).await.context("read requests from standard input")?;
    let requests = parse(&text)?;
    let mut runs = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        runs.spawn(async move {
            let report = match &request {
                Request::Http(http) => http::run(http).await,
                Request::Tcp(tcp) => tcp::run(tcp).await,
                Request::Udp(udp) => udp::run(udp).await,
                Request::Batch => bail!("line {}: a batch in a batch", number + 1),
            };
            Ok((number, report.with_context(|| format!("line {}", number + 1))?))
        });
    }
    let mut reports = Vec::new();
    while let Some(done) = runs.join_next().await {
        reports.push(done.context("make a run")??);
    }
    reports.sort_by_key(|(number, _)| *number);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn parse(text: &str) -> anyhow::Result<Vec<Request>> {
    let line = |(number, line): (usize, &str)| {
        let parsed = Line::try_parse_from(line.split_whitespace());
        parsed.map(|line| line.request).with_context(|| format!("line {}: {line:?}", number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_stands_behind_client() {
        let requests = parse("http http://10.96.0.1/ --close --count 3\n\nudp [fd00::1]:80 --whoami\n").unwrap();
        assert!(matches!(&requests[0], Request::Http(http) if http.close && http.load.count == 3));
        assert!(matches!(&requests[1], Request::Udp(udp) if udp.whoami && udp.address == "[fd00::1]:80"));
        assert_eq!(requests.len(), 2);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = parse("udp 10.0.0.1:1\nsctp 10.0.0.1:1").unwrap_err();
        assert!(error.to_string().starts_with("line 2: \"sctp"), "{error:#}");
    }
}
