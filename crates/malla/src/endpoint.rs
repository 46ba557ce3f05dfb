//! `malla endpoint …`: the Pods of each node, and who they are.

use crate::agents::{Output, Selection};
use crate::service::tables::{table, text};
use agent::identities::EndpointView;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla endpoint list                        Pods of every node with their identities
  malla endpoint list --node worker-1        Of one node
  malla endpoint get default/web             One Pod
  malla endpoint get 3 --node worker-1       The same by its number on the node";

/// Arguments of `malla endpoint`.
#[derive(Args, Debug)]
pub struct EndpointArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pods of every node, with identity, labels, addresses and state
    List(Common),
    /// Those with this name, or this number on their node
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
    /// Number on the node, or name, or namespace/name
    #[arg(value_name = "NUMBER|[NAMESPACE/]NAME")]
    which: String,
    /// Namespace of a name without one
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    common: Common,
}

/// An endpoint and its node.
#[derive(Debug, Serialize)]
struct OnNode {
    node: String,
    #[serde(flatten)]
    endpoint: EndpointView,
}

/// Asks and prints.
///
/// # Errors
/// When an agent does not answer, or there is no such endpoint.
pub fn run(args: &EndpointArgs) -> anyhow::Result<()> {
    match &args.what {
        What::List(common) => {
            let all = ask(&common.selection)?;
            common.output.print(&all, || list(&all))
        }
        What::Get(get) => {
            let mut all = ask(&get.common.selection)?;
            all.retain(|one| is_meant(&one.endpoint, &get.which, &get.namespace));
            if all.is_empty() {
                bail!("no node has an endpoint {:?}; `malla endpoint list` shows those that there are", get.which);
            }
            get.common.output.print(&all, || list(&all))
        }
    }
}

fn is_meant(endpoint: &EndpointView, which: &str, namespace: &str) -> bool {
    let (namespace, name) = which.split_once('/').unwrap_or((namespace, which));
    let by_name = endpoint.pod.as_ref().is_some_and(|pod| &*pod.namespace == namespace && &*pod.name == name);
    by_name || which.parse() == Ok(endpoint.id)
}

fn ask(selection: &Selection) -> anyhow::Result<Vec<OnNode>> {
    let agents = selection.agents()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut out = Vec::new();
        for agent in &agents {
            let body = agent.get("/v1/endpoints").await.with_context(|| format!("ask the agent of {}", agent.name))?;
            let endpoints: Vec<EndpointView> =
                serde_json::from_slice(&body).with_context(|| format!("understand the agent of {}", agent.name))?;
            out.extend(endpoints.into_iter().map(|endpoint| OnNode { node: agent.name.clone(), endpoint }));
        }
        Ok(out)
    })
}

/// As `cilium endpoint list` has it, with the node and the Pod.
fn list(all: &[OnNode]) -> String {
    let mut out = table(&["NODE", "ENDPOINT", "POD", "IDENTITY", "LABELS", "ADDRESSES", "STATE"]);
    for OnNode { node, endpoint } in all {
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        out.add_row([
            node.clone(),
            endpoint.id.to_string(),
            endpoint.pod.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            endpoint.identity.to_string(),
            endpoint.labels.join("\n"),
            addresses.join("\n"),
            endpoint.state.clone(),
        ]);
    }
    text(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectName;

    fn web() -> EndpointView {
        EndpointView {
            id: 3,
            pod: Some(ObjectName::new("shop", "web")),
            identity: 300,
            labels: vec!["k8s:app=web".to_owned()],
            addresses: vec!["10.244.1.2".parse().unwrap()],
            interface: "lx1".to_owned(),
            state: "ready".to_owned(),
        }
    }

    #[test]
    fn an_endpoint_is_found_by_name_and_by_number() {
        for (which, namespace, found) in [
            ("shop/web", "default", true),
            ("web", "shop", true),
            ("web", "default", false),
            ("3", "default", true),
            ("4", "default", false),
            ("shop/3", "default", false),
        ] {
            assert_eq!(is_meant(&web(), which, namespace), found, "{which} in {namespace}");
        }
    }

    #[test]
    fn a_line_says_where_and_who() {
        let listed = list(&[OnNode { node: "worker-1".to_owned(), endpoint: web() }]);
        let line: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["worker-1", "3", "shop/web", "300", "k8s:app=web", "10.244.1.2", "ready"]);
    }
}
