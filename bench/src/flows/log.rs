//! What the log of flows costs, and how fast it answers.
//!
//! *Writing*: one thread encodes, journals and syncs, and converts closed journals, all in turn; what is counted is
//! the thread's CPU time without the making of the flows, so that flows per second are those of one core. *Asking*: "who was address X
//! between two times, whom did it call, who refused it" over all that was written, once for each of several addresses.

use super::FlowsArgs;
use super::measure::{memory, timed};
use super::traffic::Traffic;
use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets::NOTHING};
use flow_api::flow::{Flow, Verdict};
use flow_api::ring::What;
use flow_log::{Frames, Order, Query, Reader, Settings, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Debug, serde::Serialize)]
pub struct Report {
    flows: u64,
    pods: u32,
    writing: Writing,
    questions: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", writing_table(&self.writing), questions_table(&self.questions))
    }
}

#[derive(Debug, Default, serde::Serialize)]
struct Writing {
    /// One core, all steps.
    flows_per_second_per_core: f64,
    /// CPU of each step, ns per flow.
    encode_ns: f64,
    journal_ns: f64,
    convert_ns: f64,
    /// Length of a flow as a protobuf message.
    plain_bytes_per_flow: f64,
    /// All files, by the flows.
    disk_bytes_per_flow: f64,
    disk_bytes: u64,
    /// Most resident memory of the process, less what it had before the first flow.
    memory_bytes: u64,
}

#[derive(Debug, serde::Serialize)]
struct Row {
    question: String,
    /// Of one question, on average.
    flows: f64,
    peers: f64,
    refusals: f64,
    median_ms: f64,
    worst_ms: f64,
}

/// In a folder of its own, which is removed.
pub fn run(args: &FlowsArgs) -> Result<Report> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("make folder {}", args.out.display()))?;
    let folder = args.out.join(format!("flow-log-{}", std::process::id()));
    let measured = measure(args, &folder);
    let removed = std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()));
    // Where both failed, there may have been no folder to remove.
    let report = measured?;
    removed?;
    Ok(report)
}

fn measure(args: &FlowsArgs, folder: &Path) -> Result<Report> {
    let traffic = Traffic::new(args.pods, RATE);
    let (store, writing) = write(args, &traffic, folder)?;
    let reader = store.reader();
    let whole = (traffic.time(0), traffic.time(args.flows));
    let tenth = (whole.1 - whole.0) / 10;
    let middle = (whole.0 + 4 * tenth, whole.0 + 5 * tenth);
    let mut questions = vec![
        ask("all the time, files not yet checked", &reader, &traffic, 1, args, whole)?,
        ask("all the time", &reader, &traffic, args.questions, args, whole)?,
        ask("a tenth of the time", &reader, &traffic, args.questions, args, middle)?,
    ];
    questions.push(ask_newest_refusals(&reader, args.questions)?);
    Ok(Report { flows: args.flows, pods: args.pods, writing, questions })
}

fn write(args: &FlowsArgs, traffic: &Traffic, folder: &Path) -> Result<(Store, Writing)> {
    let settings = Settings { most_bytes: 4 << 30, most_age: Duration::from_secs(1 << 40), ..Settings::new(folder) };
    let (mut store, _) = Store::open(settings, traffic.time(0))?;
    let mut writing = Writing::default();
    let before = memory("VmRSS:")?;
    let mut plain = 0;
    let progress = indicatif::ProgressBar::new(args.flows);
    let [mut encode, mut journal, mut convert] = [Duration::ZERO; 3];
    let mut number = 0;
    while number < args.flows {
        let end = args.flows.min(number + args.batch);
        let flows: Vec<Flow> = (number..end).map(|number| traffic.flow(number)).collect();
        let now = traffic.time(end);
        let mut frames = Frames::default();
        encode += timed(|| flows.iter().for_each(|flow| frames.flow(flow)))?.1;
        plain += frames.bytes.len() as u64;
        let (appended, time) = timed(|| store.append(&frames, now))?;
        appended?;
        journal += time;
        let (kept, time) = timed(|| store.close_if_due(now).and_then(|_| store.keep(now)))?;
        kept?;
        convert += time;
        progress.inc(end - number);
        number = end;
    }
    progress.finish_and_clear();
    store.sync()?;
    let summary = store.reader().summary();
    ensure!(summary.rows == args.flows, "{} flows were written and {} are there", args.flows, summary.rows);
    let per_flow = |time: Duration| time.as_nanos() as f64 / args.flows as f64;
    writing.encode_ns = per_flow(encode);
    writing.journal_ns = per_flow(journal);
    writing.convert_ns = per_flow(convert);
    writing.flows_per_second_per_core = 1e9 / (writing.encode_ns + writing.journal_ns + writing.convert_ns);
    writing.plain_bytes_per_flow = plain as f64 / args.flows as f64;
    writing.disk_bytes = summary.bytes;
    writing.disk_bytes_per_flow = summary.bytes as f64 / args.flows as f64;
    writing.memory_bytes = memory("VmHWM:")?.saturating_sub(before);
    Ok((store, writing))
}

/// Who was it, whom did it call, who refused it: answered from the flows that the log tells.
fn ask(
    name: &str,
    reader: &Reader,
    traffic: &Traffic,
    addresses: u32,
    args: &FlowsArgs,
    span: (i64, i64),
) -> Result<Row> {
    let (mut times, mut told, mut peers, mut refusals) = (Vec::new(), 0, 0, 0);
    for question in 0..addresses {
        let address = traffic.address(args.pods / (addresses + 1) * (question + 1));
        let query =
            Query { since: Some(span.0), until: Some(span.1), addresses: vec![address.parse()?], ..Query::default() };
        let start = Instant::now();
        let (mut who, mut called, mut refused) = (BTreeSet::new(), BTreeMap::<String, u64>::new(), BTreeSet::new());
        for event in reader.query(query) {
            let What::Flow(flow) = event?.what else { continue };
            let flow = flow.into_told();
            told += 1;
            let ip = flow.ip.unwrap_or_default();
            let (source, destination) = (flow.source.unwrap_or_default(), flow.destination.unwrap_or_default());
            if ip.source == address {
                *called.entry(ip.destination).or_default() += 1;
                if flow.verdict == i32::from(Verdict::Dropped) {
                    refused.insert((destination.namespace, destination.pod_name, flow.ingress_denied_by.len()));
                }
                who.insert((source.namespace, source.pod_name));
            } else {
                who.insert((destination.namespace, destination.pod_name));
            }
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(who.len() <= 1, "{address} was {who:?}");
        peers += called.len();
        refusals += refused.len();
    }
    let mean = |sum: usize| sum as f64 / f64::from(addresses);
    Ok(row(name, times, mean(told), mean(peers), mean(refusals)))
}

/// What a person asks most often.
fn ask_newest_refusals(reader: &Reader, rounds: u32) -> Result<Row> {
    let (mut times, mut told) = (Vec::new(), 0);
    for _ in 0..rounds {
        let verdicts = vec![Verdict::Dropped.into()];
        let query = Query { verdicts, number: 20, order: Order::NewestFirst, ..Query::default() };
        let start = Instant::now();
        for event in reader.query(query) {
            event?;
            told += 1;
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mean = told as f64 / f64::from(rounds);
    Ok(row("the newest 20 refusals", times, mean, f64::NAN, mean))
}

fn row(question: &str, mut times: Vec<f64>, flows: f64, peers: f64, refusals: f64) -> Row {
    times.sort_by(f64::total_cmp);
    let median_ms = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    let worst_ms = times.last().copied().unwrap_or(f64::NAN);
    Row { question: question.to_owned(), flows, peers, refusals, median_ms, worst_ms }
}

fn writing_table(writing: &Writing) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "flows/s per core",
        "encode ns",
        "journal ns",
        "convert ns",
        "plain bytes/flow",
        "disk bytes/flow",
        "disk MB",
        "memory MB",
    ]);
    table.add_row([
        format!("{:.0}", writing.flows_per_second_per_core),
        format!("{:.0}", writing.encode_ns),
        format!("{:.0}", writing.journal_ns),
        format!("{:.0}", writing.convert_ns),
        format!("{:.0}", writing.plain_bytes_per_flow),
        format!("{:.1}", writing.disk_bytes_per_flow),
        format!("{:.0}", writing.disk_bytes as f64 / 1e6),
        format!("{:.0}", writing.memory_bytes as f64 / 1e6),
    ]);
    table
}

fn questions_table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["question", "flows", "peers", "refused by", "median ms", "worst ms"]);
    for row in rows {
        table.add_row([
            row.question.clone(),
            format!("{:.0}", row.flows),
            format!("{:.0}", row.peers),
            format!("{:.0}", row.refusals),
            format!("{:.0}", row.median_ms),
            format!("{:.0}", row.worst_ms),
        ]);
    }
    table
}

/// Flows per second: ten million are an hour and a half of a busy node.
const RATE: u64 = 2000;
