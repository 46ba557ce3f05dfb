//! `malla observe flows`, or without the word: flows of all nodes, by name.

use super::elsewhere::Elsewhere;
use super::flags::Filters;
use super::format::{FlowFormat, Format};
use super::heard::Heard;
use super::select::Selectors;
use super::server::{ServerArgs, Way};
use super::why::{Explained, Why};
use super::{input, nodes, said, show, variables, write};
use crate::agents::Selection;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use flow_api::extension;
use flow_api::mask::Mask;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{GetFlowsRequest, GetFlowsResponse};
use flow_api::print::{Form, Options, Printer};
use flow_relay::{Relay, Targets};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost_types::FieldMask;
use std::path::PathBuf;
use tokio::sync::watch;

/// Arguments of `malla observe` and `malla observe flows`.
#[derive(Args, Debug)]
pub struct FlowsArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    flow_format: FlowFormat,
    #[command(flatten)]
    more: More,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    _elsewhere: Elsewhere,
}

/// What is neither of the others.
#[derive(Args, Debug)]
#[command(next_help_heading = "More")]
struct More {
    /// Explain each drop: those of policy by the rules and the real maps as they are now (see `malla policy explain`), all
    /// others by their reason and what would let the packet pass (see `malla trace`)
    #[arg(long, conflicts_with = "server")]
    why: bool,
    /// Read flows from this file (- for standard input) instead of asking anybody: lines as -o jsonpb prints them
    #[arg(long, value_name = "FILE")]
    input_file: Option<PathBuf>,
    /// Print the filters as --allowlist and --denylist take them, and end
    #[arg(long)]
    print_raw_filters: bool,
    /// Only these fields of a flow, which come as JSON: time,source.pod_name,verdict (can be given several times)
    #[arg(long, alias = "experimental-field-mask", value_name = "FIELDS", value_delimiter = ',')]
    field_mask: Vec<String>,
    /// Ask only for fields that are printed, where flows are not printed as JSON
    #[arg(long, alias = "experimental-use-default-field-masks")]
    use_default_field_masks: bool,
}

/// Where flows come from.
enum Origin {
    File(PathBuf),
    Server(Box<Way>),
    Nodes(Targets),
}

type Answers = BoxStream<'static, anyhow::Result<GetFlowsResponse>>;

impl FlowsArgs {
    /// Prints flows until there are no more.
    ///
    /// # Errors
    /// When no node answers, or one refuses the request; when flags contradict each other.
    pub async fn print(&self) -> anyhow::Result<()> {
        if self.more.print_raw_filters {
            print!("{}", self.filters.raw()?);
            return Ok(());
        }
        let form = self.form()?;
        let origin = self.origin()?;
        let several = match &origin {
            Origin::File(_) => false,
            Origin::Server(_) => true,
            Origin::Nodes(targets) => targets.len() > 1,
        };
        let options = self.flow_format.complete(self.format.options(form, several));
        let request = self.request(&options)?;
        let directly = match &origin {
            Origin::Nodes(targets) => Some(targets.len()),
            _ => None,
        };
        self.print_all(answers(origin, request).await?, directly, options).await
    }

    async fn print_all(&self, mut answers: Answers, directly: Option<usize>, options: Options) -> anyhow::Result<()> {
        let mut printer = Printer::new(options);
        let mut why = self.more.why.then(|| Why::new(self.selection.clone()));
        let mut after_table = String::new();
        let mut heard = Heard::default();
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            if let Some(ResponseTypes::NodeStatus(status)) = &answer.response_types {
                heard.note(status);
                if directly.is_some_and(|asked| heard.none_of(asked)) {
                    bail!("no node answers: {}", status.message);
                }
            }
            let explained = match (why.take(), &answer.response_types) {
                (Some(mut asking), Some(ResponseTypes::Flow(flow))) => {
                    let flow = flow.clone();
                    // It asks agents and maps, and may wait for a change to settle.
                    let asked = tokio::task::spawn_blocking(move || (asking.explain(&flow), asking));
                    let (explained, asking) = asked.await.context("explain a drop")?;
                    why = Some(asking);
                    explained
                }
                (asking, _) => {
                    why = asking;
                    None
                }
            };
            let mut printed = printer.print(&answer);
            if let Some(explained) = explained {
                match options.form {
                    Form::JsonPb | Form::LegacyJson => add_to_json(&mut printed.out, &explained),
                    Form::Tab if explained.is_known => {}
                    Form::Tab => after_table.push_str(&explained.text),
                    _ => printed.out.push_str(explained.beneath()),
                }
            }
            if self.format.silent_errors {
                printed.err.clear();
            }
            if !show(&printed)? {
                return Ok(());
            }
        }
        write(&(printer.finish() + &after_table)).map(drop)
    }

    fn form(&self) -> anyhow::Result<Form> {
        let form = self.format.form_for(&self.selectors)?;
        if form != Form::JsonPb && !self.more.field_mask.is_empty() {
            bail!(
                "--field-mask leaves out what other forms print: write --output jsonpb, or --use-default-field-masks"
            );
        }
        Ok(form)
    }

    fn origin(&self) -> anyhow::Result<Origin> {
        // As in `hubble`, who reads a file asks no server.
        if let Some(file) = &self.more.input_file {
            return Ok(Origin::File(file.clone()));
        }
        let from_lab = self.selection.is_named() || self.more.why;
        Ok(match self.server.way(&variables(from_lab))? {
            Some(way) => Origin::Server(Box::new(way)),
            None => Origin::Nodes(nodes(&self.selection)?),
        })
    }

    fn request(&self, options: &Options) -> anyhow::Result<GetFlowsRequest> {
        let is_whole = self.selectors.follow || self.more.input_file.is_some();
        let wanted = if is_whole { self.selectors.wanted() } else { self.selectors.wanted_or_last() };
        Ok(GetFlowsRequest {
            number: wanted.number,
            first: wanted.first,
            follow: wanted.follow,
            since: wanted.since,
            until: wanted.until,
            whitelist: self.filters.white.clone(),
            blacklist: self.filters.black.clone(),
            field_mask: self.field_mask(options)?,
            extensions: Some(extension::asked()),
            ..GetFlowsRequest::default()
        })
    }

    fn field_mask(&self, options: &Options) -> anyhow::Result<Option<FieldMask>> {
        let mut paths = self.more.field_mask.clone();
        if self.more.use_default_field_masks && options.form != Form::JsonPb {
            // Why it was dropped is not printed, but decides what is explained.
            let for_why = self.more.why.then_some("drop_reason_desc");
            paths = options.fields().into_iter().chain(for_why).map(str::to_owned).collect();
        }
        Mask::new(paths.iter().map(String::as_str)).map_err(|why| anyhow!("--field-mask: {}", why.reason))?;
        Ok((!paths.is_empty()).then_some(FieldMask { paths }))
    }
}

async fn answers(origin: Origin, request: GetFlowsRequest) -> anyhow::Result<Answers> {
    match origin {
        Origin::File(file) => input::answers(&file, &request),
        Origin::Server(way) => {
            let answer = ObserverClient::new(way.connect().await?).get_flows(request).await;
            Ok(answer.map_err(said)?.into_inner().map(|answer| answer.map_err(said)).boxed())
        }
        // A lab needs no relay of its own: this is one.
        Origin::Nodes(targets) => {
            let (sender, watched) = watch::channel(targets);
            let flows = Relay::new(watched, None).flows(request).map_err(said)?;
            // The nodes are those of now; whom nobody can name any more is let go.
            Ok(flows
                .map(move |answer| {
                    let _named = &sender;
                    answer.map_err(said)
                })
                .boxed())
        }
    }
}

/// As a field of its own beside Hubble's.
fn add_to_json(line: &mut String, explained: &Explained) {
    if let Some(end) = line.rfind('}') {
        line.insert_str(end, &format!(",\"why\":{}", explained.json));
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
