//! Answers as `hubble observe` prints them: compact, dict, tab, json and jsonpb, in colour or not. Text in, text out.
//! Flows here, what agents and datapaths tell of themselves in `events`.

mod colour;
mod events;
mod lists;
mod table;
mod time;
mod words;

#[cfg(test)]
mod tests;

use crate::flow::{Flow, LostEvent, LostEventSource, Policy, TrafficDirection, Verdict};
use crate::json::to_json;
use crate::numbers::event;
use crate::observer::GetFlowsResponse;
use crate::observer::get_flows_response::ResponseTypes;
use crate::relay::{NodeState, NodeStatusEvent};

pub use colour::Colour;
pub use lists::{Columns, namespaces, nodes};
pub use time::TimeFormat;

/// In which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One line per flow.
    #[default]
    Compact,
    /// One line per field.
    Dict,
    /// A table. It is known how wide it is when all is there: [`Printer::finish`] returns it.
    Tab,
    /// The flow alone, as JSON (`hubble`'s older `json`).
    LegacyJson,
    /// The whole answer, as JSON.
    JsonPb,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// In which form.
    pub form: Form,
    /// Colour or none. A table has none.
    pub colour: Colour,
    /// How times are written.
    pub time: TimeFormat,
    /// With the node's name.
    pub node_name: bool,
    /// Pods and Services by name rather than by address.
    pub ip_translation: bool,
    /// With the policies that decided.
    pub policy_names: bool,
    /// Nodes that come, too, not only those that fail.
    pub debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            form: Form::default(),
            colour: Colour::Never,
            time: TimeFormat::default(),
            node_name: false,
            ip_translation: true,
            policy_names: false,
            debug: false,
        }
    }
}

impl Options {
    /// The fields of a `flow.Flow` of which something is printed in a form for people: a mask for a request that need not
    /// bring more.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let policies: &[&str] = if self.policy_names { &POLICIES } else { &[] };
        [&PRINTED[..], policies].concat()
    }
}

/// What goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// To standard output.
    pub out: String,
    /// To standard error.
    pub err: String,
}

/// Prints one answer after the other.
#[derive(Debug)]
pub struct Printer {
    options: Options,
    colour: Colour,
    lines: u64,
    table: table::Table,
}

impl Printer {
    /// Nothing printed yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let colour = if options.form == Form::Tab { Colour::Never } else { options.colour };
        Self { options, colour, lines: 0, table: table::Table::default() }
    }

    /// One answer; of a table nothing, until [`Self::finish`].
    pub fn print(&mut self, answer: &GetFlowsResponse) -> Printed {
        match &answer.response_types {
            Some(ResponseTypes::Flow(flow)) => out(self.flow(answer, flow)),
            Some(ResponseTypes::LostEvents(lost)) => out(self.lost(answer, lost)),
            Some(ResponseTypes::NodeStatus(status)) => self.node_status(answer, status),
            None => Printed::default(),
        }
    }

    /// What is still to be printed.
    #[must_use]
    pub fn finish(self) -> String {
        self.table.finish()
    }

    fn flow(&mut self, answer: &GetFlowsResponse, flow: &Flow) -> String {
        let time = self.options.time.write(flow.time.as_ref());
        let (source, destination) = self.hosts(flow);
        let kind = escape(&words::flow_type(flow));
        let node = escape(&flow.node_name);
        let first = self.lines == 0;
        self.lines += 1;
        match self.options.form {
            Form::Compact => {
                let node = if self.options.node_name { format!(" [{node}]") } else { String::new() };
                let identity = |endpoint: Option<&crate::flow::Endpoint>| {
                    self.colour.magenta(&words::identity(endpoint.map_or(0, |endpoint| endpoint.identity)))
                };
                let (mut left, mut right) =
                    ((source, identity(flow.source.as_ref())), (destination, identity(flow.destination.as_ref())));
                let arrow = match flow.is_reply {
                    None => "<>",
                    Some(false) => "->",
                    Some(true) => {
                        // The initiator stays on the left.
                        std::mem::swap(&mut left, &mut right);
                        "<-"
                    }
                };
                let (verdict, summary) = (self.verdict(flow), self.summary(flow));
                format!(
                    "{time}{node}: {} {} {arrow} {} {} {kind} {verdict} ({summary})\n",
                    left.0, left.1, right.0, right.1
                )
            }
            Form::Dict => {
                let mut text = if first { String::new() } else { SEPARATOR.to_owned() };
                text.push_str(&format!("  TIMESTAMP: {time}\n"));
                if self.options.node_name {
                    text.push_str(&format!("       NODE: {node}\n"));
                }
                let (verdict, summary) = (self.verdict(flow), self.summary(flow));
                text.push_str(&format!(
                    "     SOURCE: {source}\nDESTINATION: {destination}\n       TYPE: {kind}\n    VERDICT: {verdict}\n    \
                     SUMMARY: {summary}\n"
                ));
                text
            }
            Form::Tab => {
                let row = vec![source, destination, kind, self.verdict(flow), self.summary(flow)];
                self.row(&HEAD, (first, time, node), row);
                String::new()
            }
            Form::LegacyJson => line(to_json("flow.Flow", flow)),
            Form::JsonPb => line(to_json("observer.GetFlowsResponse", answer)),
        }
    }

    fn lost(&mut self, answer: &GetFlowsResponse, lost: &LostEvent) -> String {
        let first = self.lines == 0;
        self.lines += 1;
        let source = LostEventSource::try_from(lost.source).map_or("UNKNOWN_LOST_EVENT_SOURCE", |s| s.as_str_name());
        let (cpu, number) = (lost.cpu.unwrap_or(0), lost.num_events_lost);
        match self.options.form {
            Form::Compact => format!("EVENTS LOST: {source} CPU({cpu}) {number}\n"),
            Form::Dict => {
                let separator = if first { "" } else { SEPARATOR };
                let node = if self.options.node_name { "       NODE: \n" } else { "" };
                format!(
                    "{separator}  TIMESTAMP: \n{node}     SOURCE: {source}\n       TYPE: EVENTS LOST\n    VERDICT: \n    \
                     SUMMARY: CPU({cpu}) - {number}\n"
                )
            }
            Form::Tab => {
                let summary = format!("CPU({cpu}) - {number}");
                let row = [source, "", "EVENTS LOST", "", &summary].map(str::to_owned).to_vec();
                self.row(&HEAD, (first, String::new(), String::new()), row);
                String::new()
            }
            Form::LegacyJson => line(to_json("flow.LostEvent", lost)),
            Form::JsonPb => line(to_json("observer.GetFlowsResponse", answer)),
        }
    }

    fn row(&mut self, head: &[&str], (first, time, node): (bool, String, String), cells: Vec<String>) {
        let whole = |time: String, node: String, cells: Vec<String>| {
            let node = self.options.node_name.then_some(node);
            std::iter::once(time).chain(node).chain(cells).collect::<Vec<_>>()
        };
        let head = head.iter().map(|&name| name.to_owned()).collect();
        let head = whole("TIMESTAMP".to_owned(), "NODE".to_owned(), head);
        let row = whole(time, node, cells);
        if first {
            self.table.add(head);
        }
        self.table.add(row);
    }

    fn node_status(&mut self, answer: &GetFlowsResponse, status: &NodeStatusEvent) -> Printed {
        let state = NodeState::try_from(status.state_change).unwrap_or(NodeState::UnknownNodeState);
        if !self.options.debug && !matches!(state, NodeState::NodeError | NodeState::NodeUnavailable) {
            return Printed::default();
        }
        let time = self.options.time.write(answer.time.as_ref());
        let (number, names) = (status.node_names.len(), words::join_with_cut_off(&status.node_names));
        let err = match self.options.form {
            Form::JsonPb => line(to_json("observer.GetFlowsResponse", answer)),
            Form::LegacyJson => String::new(),
            Form::Dict => {
                let separator = if self.lines == 0 { "" } else { SEPARATOR };
                self.lines = self.lines.max(1);
                let message =
                    if status.message.is_empty() { "N/A".to_owned() } else { format!("{:?}", status.message) };
                format!(
                    "{separator}  TIMESTAMP: {time}\n      STATE: {}\n      NODES: {names}\n    MESSAGE: {message}\n",
                    state.as_str_name()
                )
            }
            Form::Tab | Form::Compact => {
                let what = match state {
                    NodeState::NodeConnected => format!("Receiving flows from {number} nodes: {names}"),
                    NodeState::NodeUnavailable => format!("{number} nodes are unavailable: {names}"),
                    NodeState::NodeGone => format!("{number} nodes removed from cluster: {names}"),
                    NodeState::NodeError => format!("Error {:?} on {number} nodes: {names}", status.message),
                    NodeState::UnknownNodeState => format!("unknown node status event: {names}"),
                };
                format!("{time} [{}]: {what}\n", answer.node_name)
            }
        };
        Printed { out: String::new(), err: escape_lines(&err) }
    }

    /// Source and destination: `namespace/pod:port`, or the next best name.
    fn hosts(&self, flow: &Flow) -> (String, String) {
        let names = words::hosts(flow, self.options.ip_translation);
        let colour = |host: words::Host| match host.port {
            Some(port) => {
                let name = if host.name.contains([':', '%']) { format!("[{}]", host.name) } else { host.name };
                self.colour.cyan(&format!("{}:{}", escape(&name), self.colour.yellow(&port.to_string())))
            }
            None if host.name.is_empty() && flow.ip.is_none() && flow.ethernet.is_none() => String::new(),
            None => self.colour.cyan(&escape(&host.name)),
        };
        let (source, destination) = names;
        (colour(source), colour(destination))
    }

    fn verdict(&self, flow: &Flow) -> String {
        let verdict = Verdict::try_from(flow.verdict);
        let judged = flow.event_type.as_ref().is_some_and(|event| event.r#type == event::POLICY_VERDICT);
        let text = |plain: &str, of_policy: &str| if judged { of_policy.to_owned() } else { plain.to_owned() };
        let by = |text: String, policies: &[Policy]| {
            if self.options.policy_names && judged && !policies.is_empty() {
                let names: Vec<String> = policies.iter().map(|p| format!("{} ({})", p.name, p.kind)).collect();
                return format!("{text} BY {}", escape(&names.join(", ")));
            }
            text
        };
        let ingress = flow.traffic_direction == TrafficDirection::Ingress as i32;
        let (allowed, denied) = if ingress {
            (&flow.ingress_allowed_by, &flow.ingress_denied_by)
        } else {
            (&flow.egress_allowed_by, &flow.egress_denied_by)
        };
        match verdict {
            Ok(v @ (Verdict::Forwarded | Verdict::Redirected)) => {
                by(self.colour.green(&text(v.as_str_name(), "ALLOWED")), allowed)
            }
            Ok(v @ (Verdict::Dropped | Verdict::Error)) => {
                by(self.colour.red(&text(v.as_str_name(), "DENIED")), denied)
            }
            Ok(v @ Verdict::Audit) => by(self.colour.yellow(&text(v.as_str_name(), "AUDITED")), denied),
            Ok(v @ (Verdict::Traced | Verdict::Translated)) => self.colour.yellow(v.as_str_name()),
            Ok(v) => v.as_str_name().to_owned(),
            Err(_) => flow.verdict.to_string(),
        }
    }

    fn summary(&self, flow: &Flow) -> String {
        let mut text = match flow.ip_trace_id.as_ref().filter(|id| id.trace_id > 0) {
            Some(id) => format!("IP Trace ID: {}; ", id.trace_id),
            None => String::new(),
        };
        text.push_str(&escape(&flow.summary));
        match crate::flow::AuthType::try_from(flow.auth_type) {
            Ok(crate::flow::AuthType::Disabled) | Err(_) => {}
            Ok(auth @ crate::flow::AuthType::TestAlwaysFail) => {
                text.push_str(&format!("; {}", self.colour.red(auth.as_str_name())));
            }
            Ok(auth) => text.push_str(&format!("; {}", self.colour.green(auth.as_str_name()))),
        }
        text
    }
}

fn out(out: String) -> Printed {
    Printed { out, err: String::new() }
}

fn line(json: Result<String, crate::Invalid>) -> String {
    json.map_or_else(|_| String::new(), |json| json + "\n")
}

/// What comes from elsewhere can't steer a terminal, nor look like a line of its own.
fn escape(text: &str) -> String {
    text.replace('\x1b', "^[").replace('\r', "\\r").replace('\n', "\\n")
}

fn escape_lines(text: &str) -> String {
    text.replace('\x1b', "^[").replace('\r', "\\r")
}

const SEPARATOR: &str = "------------\n";

/// Of a table of flows.
const HEAD: [&str; 5] = ["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];

/// What is printed of any flow.
const PRINTED: [&str; 27] = [
    "time",
    "Summary",
    "verdict",
    "auth_type",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "source_names",
    "destination_names",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "traffic_direction",
    "policy_match_type",
    "is_reply",
    "debug_capture_point",
    "sock_xlate_point",
    "ip_trace_id",
];

/// And with the policies that decided.
const POLICIES: [&str; 4] = ["egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"];
