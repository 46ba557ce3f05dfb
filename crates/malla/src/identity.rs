//! `malla identity …`: which number stands for which labels, as the agents know it.

use crate::agents::{Output, Selection};
use crate::service::tables::{table, text};
use agent::identities::IdentityView;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla identity list                        Every identity with its labels, the reserved ones first
  malla identity get 300                     One, and the Pods that have it
  malla identity list -o json                For scripts";

/// Arguments of `malla identity`.
#[derive(Args, Debug)]
pub struct IdentityArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every identity, as one node knows it
    List(Common),
    /// One identity, with the Pods that have it
    Get(Get),
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Get {
    /// The number
    #[arg(value_name = "NUMBER")]
    number: u32,
    #[command(flatten)]
    common: Common,
}

/// Asks and prints.
///
/// # Errors
/// When no agent answers, or there is no such identity.
pub fn run(args: &IdentityArgs) -> anyhow::Result<()> {
    match &args.what {
        What::List(common) => {
            let all = ask(&common.selection)?;
            common.output.print(&all, || list(&all))
        }
        What::Get(get) => {
            let mut all = ask(&get.common.selection)?;
            all.retain(|one| one.id == get.number);
            let Some(one) = all.first() else {
                bail!("there is no identity {}; `malla identity list` shows those that there are", get.number)
            };
            get.common.output.print(one, || single(one))
        }
    }
}

/// All agents know the same: the first that answers is enough.
fn ask(selection: &Selection) -> anyhow::Result<Vec<IdentityView>> {
    let agents = selection.agents()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut failed = None;
        for agent in &agents {
            match agent.get("/v1/identities").await {
                Ok(body) => {
                    return serde_json::from_slice(&body)
                        .with_context(|| format!("understand the agent of {}", agent.name));
                }
                Err(error) => failed = Some(error.context(format!("ask the agent of {}", agent.name))),
            }
        }
        Err(failed.unwrap_or_else(|| anyhow::anyhow!("there is no agent to ask")))
    })
}

/// As `cilium identity list` has it, and how many Pods have each.
fn list(all: &[IdentityView]) -> String {
    let mut out = table(&["ID", "LABELS", "PODS"]);
    for one in all {
        let pods = if one.pods.is_empty() { "-".to_owned() } else { one.pods.len().to_string() };
        out.add_row([one.id.to_string(), one.labels.join("\n"), pods]);
    }
    text(&out)
}

fn single(one: &IdentityView) -> String {
    let mut out = table(&["ID", "LABELS", "PODS"]);
    let pods: Vec<String> = one.pods.iter().map(ToString::to_string).collect();
    out.add_row([
        one.id.to_string(),
        one.labels.join("\n"),
        if pods.is_empty() { "-".to_owned() } else { pods.join("\n") },
    ]);
    text(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectName;

    #[test]
    fn an_identity_is_its_number_its_labels_and_its_pods() {
        let one = IdentityView {
            id: 300,
            labels: vec!["k8s:app=web".to_owned(), "k8s:io.kubernetes.pod.namespace=default".to_owned()],
            pods: vec![ObjectName::new("default", "web-1"), ObjectName::new("default", "web-2")],
        };
        let host = IdentityView { id: 1, labels: vec!["reserved:host".to_owned()], pods: vec![] };
        let listed = list(&[host, one.clone()]);
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1", "reserved:host", "-"]);
        assert_eq!(lines[2], ["300", "k8s:app=web", "2"]);
        assert_eq!(lines[3], ["k8s:io.kubernetes.pod.namespace=default"]);
        assert!(single(&one).contains("default/web-2"), "{}", single(&one));
    }
}
