//! `malla policy …`: policies before they are in force, and what those that are in force mean.

mod check;
pub mod cluster;
mod document;
pub mod explain;
mod finding;
mod kinds;
mod learn;
mod load;
mod matrix;
mod nodes;
mod overlap;
mod place;
pub mod port;
mod prove;
mod real;
mod replay;
mod report;
mod simulate;
mod tables;

use crate::agents::{Output, Selection};
use crate::observe;
use ::policy::dialect::references::References;
use ::policy::prove::{Known, schema};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use cluster::Cluster;
use flow_api::flow::Flow;
use port::Wanted;
use prost_types::Timestamp;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla policy check -f policies/                      What is wrong with files, without a cluster
  malla policy explain --from web --to db --port 5432  Whether Pod web may speak to Pod or Service db, and why
  malla policy simulate -f new.yaml                    What would change for everybody who is there
  malla policy matrix -n shop                          Who can reach whom on what
  malla policy learn -n shop --since 24h               The least that lets through what was seen
  malla policy prove -f question.yaml -f policies/     Whether a claim holds, whatever Pods come";

const CHECK_EXAMPLES: &str = "\
Examples:
  malla policy check -f policies.yaml                  What is wrong with them, with file and line
  malla policy check -f policies/ -f services.yaml     A folder; Services and CIDR groups that policies name
  helm template . | malla policy check -f -            What a chart makes
  malla policy check -f policies.yaml -o json          For a pipeline: also what each rule means";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  malla policy explain --from shop/web-1 --to shop/db-0 --port 5432/tcp
  malla policy explain --from shop/web-1 --to service:shop/db --port 5432   Every endpoint of a Service
  malla policy explain --from app=web -n shop --to 203.0.113.7 --port 443   All Pods with a label; an address
  malla policy explain --from app=new -n shop --to shop/db-0 --port 5432    A Pod that does not exist yet
  malla policy explain --from node:worker-1 --to shop/db-0 --port icmp

Exit status: 0 allowed, 1 denied, 2 error, or the rules and the real maps disagree.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  malla policy simulate -f new.yaml                             Against what the cluster has now
  malla policy simulate --delete networkpolicy/shop/db          What deleting it would do
  malla policy simulate -f new.yaml --current deployed/         Without a cluster: workloads and policies of files
  malla policy simulate -f new.yaml --flows 24h                 Which flows of the last day would flip
  malla policy simulate --audited --flows 24h                   Whether policies in audit mode can be enforced
  helm template . | malla policy simulate -f - -o json

Exit status: 0 nothing would change, 1 something would, 2 error.";

const MATRIX_EXAMPLES: &str = "\
Examples:
  malla policy matrix -n shop                          What Pods of namespace shop reach, and who reaches them
  malla policy matrix -l app=db --denied               Where something is denied, and by which policy
  malla policy matrix -l role=database                 Nodes, if that is a label of nodes
  malla policy matrix -o csv > matrix.csv
  malla policy matrix -f manifests/ -o dot | dot -Tsvg > matrix.svg     Without a cluster";

const LEARN_EXAMPLES: &str = "\
Examples:
  malla policy learn -n shop --since 24h > shop.yaml    From a day of flows
  malla policy simulate -f shop.yaml                   What they would change for who is there now
  malla policy learn -n shop | kubectl apply -f -

What policies in audit mode (malla.dev/audit) let pass is learnt, too. What was dropped is not.";

const PROVE_EXAMPLES: &str = "\
Examples:
  malla policy prove -f question.yaml                  Of the policies that the cluster has now
  malla policy prove -f question.yaml -f policies/     Of the policies in files, without a cluster
  malla policy prove -f ci/ --junit report.xml         In a pipeline
  malla policy prove --schema                          The form of a question, as JSON Schema

A question:
  apiVersion: malla.dev/v1alpha1
  kind: PolicyQuestion
  metadata: {name: only-the-backend-reaches-the-database}
  spec:
    claim: Only            # or Never, or Always
    from: [{pods: {matchLabels: {app: backend}}}, {entity: host}]
    to: [{namespace: shop, pods: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]

Exit status: 0 all claims hold, 1 one does not, 2 error.";

/// Arguments of `malla policy`.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check files of policies, of every dialect, without a cluster
    ///
    /// Mistakes are what the API would refuse, or drop without a word, and what has no meaning. Warnings are rules that
    /// select nobody, rules that never decide, names that resolve to nothing among the given files, and fields that are
    /// not enforced (what they allow is not allowed, what they deny is denied whole).
    ///
    /// The exit status is 1 where there are mistakes, and 0 otherwise.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Whether one end may speak to another: both ends' verdicts, by the rules and by the real maps
    ///
    /// Each end is judged on its own node: egress where the flow begins, ingress where it arrives. For each the rule that
    /// decides is told, what else matched and why it did not decide, and what the node's real maps say about the same
    /// packet.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// What would change, pair by pair, if policies were written or deleted; nothing is
    ///
    /// Everybody who is there now is judged by the policies as they are and as they would be, on every port that any rule
    /// tells apart, and the differences are told. Pods that policies do not tell apart are one line, and so are nodes.
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(Simulate),
    /// Who can reach whom on what
    ///
    /// Pods that policies do not tell apart are one line, and so are nodes. The world is told apart by the prefixes that policies
    /// name.
    #[command(after_help = MATRIX_EXAMPLES)]
    Matrix(Matrix),
    /// Policies that allow what was seen of a namespace, and nothing else, as YAML
    ///
    /// One CiliumNetworkPolicy for all Pods with the same labels, one rule for each with whom they have spoken, and a comment
    /// on each rule with the flows that it is for. What nobody did in that time is denied: read it before you apply it.
    #[command(after_help = LEARN_EXAMPLES)]
    Learn(Learn),
    /// Whether a claim holds: for every Pod there is, and every Pod that could come
    ///
    /// The search is exhaustive over everything that policies can tell apart: any labels, namespaces, addresses and ports.
    /// The answer is yes, or no with a witness and the rule that lets it through (or stops it, where Always was claimed).
    #[command(after_help = PROVE_EXAMPLES)]
    Prove(Prove),
}

#[derive(Args, Debug)]
struct Check {
    /// File of YAML or JSON documents, a folder of such files, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    file: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Explain {
    /// [NAMESPACE/]POD, labels (app=web,tier=front), an address, or node:NAME
    #[arg(long, value_name = "WHO")]
    from: String,
    /// The same, or [service:][NAMESPACE/]SERVICE
    #[arg(long, value_name = "WHO")]
    to: String,
    /// 443/tcp, http/tcp, 53/udp, icmp, icmpv6/128; of a Service: its own port
    #[arg(short, long, value_name = "PORT[/PROTOCOL]")]
    port: Wanted,
    /// Namespace of names without one [default: default], and of labels [default: all]
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Simulate {
    /// Policies that would be written: files, folders, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1.., required_unless_present_any = ["delete", "audited"])]
    file: Vec<PathBuf>,
    /// A policy that would be deleted: KIND/NAME or KIND/NAMESPACE/NAME (can be given several times)
    #[arg(long, value_name = "KIND/NAME")]
    delete: Vec<simulate::Deleted>,
    /// As if no policy were in audit mode (malla.dev/audit): neither those that there are nor those that are given
    #[arg(long)]
    audited: bool,
    /// Files and folders with what there is now, instead of a cluster: policies, workloads and Nodes
    #[arg(long, value_name = "FILE", num_args = 1..)]
    current: Vec<PathBuf>,
    /// Judge the flows that nodes have seen since then (RFC 3339, or so long ago: 5m, 24h), instead of everybody who is there
    #[arg(long, value_name = "SINCE", value_parser = observe::moment, conflicts_with = "current")]
    flows: Option<Timestamp>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Matrix {
    /// Files and folders with policies, workloads and Nodes, instead of a cluster
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Only pairs of which one end is in this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only pairs of which one end has these labels
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only pairs of which something is denied
    #[arg(long)]
    denied: bool,
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: matrix::Format,
}

#[derive(Args, Debug)]
struct Learn {
    /// Whose Pods
    #[arg(short, long)]
    namespace: String,
    /// From flows not older than this: a time (RFC 3339) or so long ago (5m, 24h) [default: all that nodes still have at hand]
    #[arg(long, value_name = "TIME", value_parser = observe::moment)]
    since: Option<Timestamp>,
    /// From flows not newer than this
    #[arg(long, value_name = "TIME", value_parser = observe::moment)]
    until: Option<Timestamp>,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Args, Debug)]
struct Prove {
    /// Questions; with policies among them those are asked about, otherwise the cluster's (- for standard input)
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1.., required_unless_present = "schema")]
    file: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Write a report of JUnit's form here
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the form of a question as JSON Schema, and end
    #[arg(long)]
    schema: bool,
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Does it and prints.
///
/// # Errors
/// When a file can't be read (`check`).
pub fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Check(args) => check(args),
        What::Explain(args) => Ok(answered(explain(args))),
        What::Simulate(args) => Ok(answered(simulate(args))),
        What::Matrix(args) => Ok(answered(matrix(args))),
        What::Learn(args) => Ok(answered(learn(args))),
        What::Prove(args) => Ok(answered(prove(args))),
    }
}

/// 1 says no here: an error is something else.
fn answered(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("malla: {error:#}");
            ERROR.into()
        }
    }
}

/// Exit status of what could not be answered.
const ERROR: u8 = 2;

fn check(args: &Check) -> anyhow::Result<ExitCode> {
    let report = check::check(check::read(&args.file)?, &args.namespace);
    args.output.print(&report, || report::text(&report))?;
    Ok(if report.mistakes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(args: &Explain) -> anyhow::Result<u8> {
    let Explain { from, to, port, namespace, selection, output } = args;
    let question = explain::Question { from, to, port, namespace: namespace.as_deref() };
    let answer = explain::answer(selection, &question)?;
    output.print(&answer, || explain::text(&answer))?;
    Ok(match (answer.drift, answer.allowed) {
        (true, _) => ERROR,
        (false, allowed) => u8::from(!allowed),
    })
}

/// Whoever can't be asked is told of; one that answers knows all.
fn live(selection: &Selection) -> anyhow::Result<::policy::snapshot::Snapshot> {
    let cluster = Cluster::ask(selection)?;
    for silent in cluster.silent() {
        eprintln!("malla: warning: {silent}");
    }
    Ok(cluster.any()?.clone())
}

fn simulate(args: &Simulate) -> anyhow::Result<u8> {
    let now = if args.current.is_empty() {
        live(&args.selection)?
    } else {
        load::load(&args.current, &args.namespace, &References::default())?.state()
    };
    let written = if args.file.is_empty() {
        Vec::new()
    } else {
        load::load(&args.file, &args.namespace, &now.references())?.snapshot.policies
    };
    if written.is_empty() && args.delete.is_empty() && !args.audited {
        bail!("there is no policy in what was given");
    }
    let deleted: Vec<_> = args.delete.iter().map(|one| one.clone().in_namespace(&args.namespace)).collect();
    let audited = if args.audited { simulate::Audited::Enforced } else { simulate::Audited::Reported };
    let then = simulate::then(&now, &written, &deleted, audited)?;
    if let Some(since) = args.flows {
        let mut replaying = replay::Replaying::new(&now, &then);
        seen(&args.selection, (Some(since), None), &observe::Filters::default(), |flow| replaying.add(flow))?;
        let replay = replaying.end();
        args.output.print(&replay, || replay::table(&replay))?;
        return Ok(u8::from(!replay.flips.is_empty()));
    }
    let simulation = simulate::answer(&now, &then);
    args.output.print(&simulation, || simulate::table(&simulation))?;
    Ok(u8::from(!simulation.changes.is_empty()))
}

fn matrix(args: &Matrix) -> anyhow::Result<u8> {
    let snapshot = if args.file.is_empty() {
        live(&args.selection)?
    } else {
        load::load(&args.file, "default", &References::default())?.state()
    };
    let filter =
        matrix::Filter { namespace: args.namespace.clone(), labels: args.labels.clone(), only_denied: args.denied };
    print!("{}", matrix::print(&matrix::answer(&snapshot, &filter), args.output)?);
    Ok(0)
}

/// Each that any node has seen; what is missing is said.
fn seen(
    selection: &Selection,
    time: (Option<Timestamp>, Option<Timestamp>),
    filters: &observe::Filters,
    each: impl FnMut(&Flow),
) -> anyhow::Result<()> {
    let told = observe::all(selection, time, filters, each)?;
    for missing in &told.missing {
        eprintln!("malla: warning: {missing}: what only this node has seen is missing");
    }
    if told.left_out > 0 {
        let number = told.left_out;
        eprintln!("malla: warning: {number} flows were left out by sampling: what follows is of a part of them");
    }
    if told.lost > 0 {
        eprintln!("malla: warning: {} events were lost: what was in them is missing", told.lost);
    }
    Ok(())
}

fn learn(args: &Learn) -> anyhow::Result<u8> {
    let filters = observe::Filters {
        white: [true, false].map(|source| observe::of_namespace(&args.namespace, source)).to_vec(),
        black: Vec::new(),
    };
    let mut learning = learn::Learning::new(&args.namespace);
    seen(&args.selection, (args.since, args.until), &filters, |flow| learning.add(flow))?;
    let learned = learning.end();
    if learned.policies == 0 {
        bail!("no flow of a Pod of namespace {} was seen in this time", args.namespace);
    }
    let learn::Learned { policies, rules, flows, dropped, .. } = learned;
    eprintln!("malla: {policies} policies with {rules} rules from {flows} flows; {dropped} drops are not in them");
    print!("{}", learned.yaml);
    Ok(0)
}

fn prove(args: &Prove) -> anyhow::Result<u8> {
    if args.schema {
        println!("{}", serde_json::to_string_pretty(&schema())?);
        return Ok(0);
    }
    let loaded = load::load(&args.file, &args.namespace, &References::default())?;
    let (known, about) = if loaded.is_about_policies() {
        let about = format!("{} policies in files", loaded.snapshot.policies.len());
        (loaded.known(), about)
    } else {
        let snapshot = live(&args.selection)?;
        let about = format!("{} policies, as node {} knows them", snapshot.policies.len(), snapshot.node);
        (Known::of(&snapshot), about)
    };
    if loaded.questions.is_empty() {
        bail!("there is no PolicyQuestion in what was given");
    }
    let results = prove::answers(&known, loaded.questions);
    if let Some(path) = &args.junit {
        write(path, &prove::junit(&results, &about))?;
    }
    args.output.print(&results, || prove::text(&results, &about))?;
    Ok(prove::status(&results))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
