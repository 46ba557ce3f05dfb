//! The filters of `hubble observe` on the command line, as lists of `flow.FlowFilter`.
//!
//! All flags together are one filter. A flag that means either end (`--pod`) makes it two, one for each. What follows
//! `--not` goes to the list of what is left out. Flags of one list that exclude each other are refused, as by `hubble`.

mod asked;
mod refusals;

use super::switches::yes;
use asked::Asked;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use flow_api::filter::from_json;
use flow_api::flow::{
    EventTypeFilter, FlowFilter, HttpHeader, IpVersion, NetworkInterface, TcpFlags, TrafficDirection, Verdict, Workload,
};
use flow_api::json::to_json;
use flow_api::numbers::{self, EVENT_TYPES, OBSERVATION_POINTS, event};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    pub white: Vec<FlowFilter>,
    pub black: Vec<FlowFilter>,
}

impl Filters {
    /// As `hubble --print-raw-filters` has them: YAML of two lists, of which every line is what `--allowlist` or `--denylist`
    /// takes.
    ///
    /// # Errors
    /// Never of what was read from flags.
    pub fn raw(&self) -> anyhow::Result<String> {
        let mut out = String::new();
        for (name, filters) in [("allowlist", &self.white), ("denylist", &self.black)] {
            for (index, filter) in filters.iter().enumerate() {
                if index == 0 {
                    out.push_str(&format!("{name}:\n"));
                }
                let json = to_json("flow.FlowFilter", filter)?;
                out.push_str(&format!("    - '{}'\n", json.replace('\'', "''")));
            }
        }
        Ok(if out.is_empty() { "{}\n".to_owned() } else { out })
    }
}

/// Puts a value into a filter.
type Add = fn(&mut Asked, &str) -> Result<(), String>;

struct Flag {
    name: &'static str,
    short: Option<char>,
    help: &'static str,
    adds: Adds,
}

#[derive(Clone, Copy)]
enum Adds {
    /// The same to both ends' filters.
    One(Add),
    /// To the sender's, to the receiver's.
    Either(Add, Add),
}

/// `--from-x`, `--to-x` and `--x`.
macro_rules! ends {
    ($from:literal, $to:literal, $either:literal, $short:expr, $what:literal, $source:expr, $destination:expr) => {
        [
            Flag { name: $from, short: None, help: concat!("Only from ", $what), adds: Adds::One($source) },
            Flag { name: $to, short: None, help: concat!("Only to ", $what), adds: Adds::One($destination) },
            Flag {
                name: $either,
                short: $short,
                help: concat!("Only from or to ", $what),
                adds: Adds::Either($source, $destination),
            },
        ]
    };
}

/// Adds the text to a list.
macro_rules! text {
    ($field:ident) => {
        |filter, value| {
            filter.$field.push(value.to_owned());
            Ok(())
        }
    };
}

fn flags() -> Vec<Flag> {
    let mut flags: Vec<Flag> = [
        ends!(
            "from-pod",
            "to-pod",
            "pod",
            None,
            "this Pod: [namespace/]beginning of the name",
            text!(source_pod),
            text!(destination_pod)
        ),
        ends!(
            "from-namespace",
            "to-namespace",
            "namespace",
            Some('n'),
            "Pods of this namespace",
            text!(source_namespaces),
            text!(destination_namespaces)
        ),
        ends!(
            "from-service",
            "to-service",
            "service",
            None,
            "this Service: [namespace/]beginning of the name",
            text!(source_service),
            text!(destination_service)
        ),
        ends!(
            "from-label",
            "to-label",
            "label",
            Some('l'),
            "Pods with these labels (a selector: k8s:app=shop,tier in (web))",
            text!(source_label),
            text!(destination_label)
        ),
        ends!("from-ip", "to-ip", "ip", None, "this address or network", text!(source_ip), text!(destination_ip)),
        ends!(
            "from-fqdn",
            "to-fqdn",
            "fqdn",
            None,
            "this domain name (* is anything)",
            text!(source_fqdn),
            text!(destination_fqdn)
        ),
        ends!("from-port", "to-port", "port", None, "this port", text!(source_port), text!(destination_port)),
        ends!(
            "from-identity",
            "to-identity",
            "identity",
            None,
            "this identity: a number or host, world, …",
            |f, v| identity(&mut f.source_identity, v),
            |f, v| identity(&mut f.destination_identity, v)
        ),
        ends!(
            "from-workload",
            "to-workload",
            "workload",
            None,
            "this workload: [kind/]name",
            |f, v| workload(&mut f.source_workload, v),
            |f, v| workload(&mut f.destination_workload, v)
        ),
        ends!(
            "from-cluster",
            "to-cluster",
            "cluster",
            None,
            "this cluster",
            text!(source_cluster_name),
            text!(destination_cluster_name)
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    flags.extend([
        one(
            "verdict",
            "Only this verdict: FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED, TRANSLATED",
            |f, v| named(&mut f.verdict, v, |name| Verdict::from_str_name(name).map(|v| v as i32)),
        ),
        one("drop-reason-desc", "Only dropped for this reason: POLICY_DENIED, … or its number", |f, v| {
            if let Ok(number) = v.parse() {
                f.drop_reason_desc.push(number);
                return Ok(());
            }
            named(&mut f.drop_reason_desc, v, numbers::drop_reason_number)
        }),
        one("traffic-direction", "Only ingress or egress", |f, v| {
            named(&mut f.traffic_direction, v, |name| TrafficDirection::from_str_name(name).map(|d| d as i32))
        }),
        Flag {
            name: "type",
            short: Some('t'),
            help: "Only this type of event: drop, l7, policy-verdict, trace[:to-endpoint, …]",
            adds: Adds::One(event_type),
        },
        one("protocol", "Only this protocol: tcp, udp, icmp, icmpv4, icmpv6, sctp, http, dns", text!(protocol)),
        one("tcp-flags", "Only TCP with these flags (SYN,ACK: both)", tcp_flags),
        one("node-name", "Only seen on this node: [cluster/]name (* is anything)", text!(node_name)),
        one("node-label", "Only seen on nodes with these labels", text!(node_labels)),
        one("snat-ip", "Only with this source address after translation", text!(source_ip_xlated)),
        one("interface", "Only seen on this device, by its index or name", interface),
        one("uuid", "Only the flow with this id", text!(uuid)),
        one("trace-id", "Only of this trace", text!(trace_id)),
        one("http-status", "Only answers with this status (404, 4+)", text!(http_status_code)),
        one("http-method", "Only requests with this method", text!(http_method)),
        one("http-path", "Only requests whose path fits this expression", text!(http_path)),
        one("http-url", "Only requests whose URL fits this expression", text!(http_url)),
        one("ip-trace-id", "Only packets with this trace in an option of IP: a number above 0", |f, v| {
            let number = v.parse().ok().filter(|number: &u64| *number > 0);
            f.ip_trace_id.push(number.ok_or("is no number above 0")?);
            Ok(())
        }),
        one("ip-version", "Only this version of IP: 4, 6, or none", |f, v| {
            f.ip_version.push(match v.to_lowercase().trim_start_matches("ip").trim_start_matches('v') {
                "4" => IpVersion::IPv4 as i32,
                "6" => IpVersion::IPv6 as i32,
                "none" => IpVersion::IpNotUsed as i32,
                _ => return Err("is neither 4 nor 6 nor none".to_owned()),
            });
            Ok(())
        }),
        one("cel-expression", "Only what is true in CEL: '_flow.verdict == Verdict.DROPPED'", |f, v| {
            f.experimental.get_or_insert_default().cel_expression.push(v.to_owned());
            Ok(())
        }),
        one("http-header", "Only requests with this header (key:value)", |f, v| {
            let (key, value) = v.split_once(':').ok_or("a header is key:value")?;
            f.http_header.push(HttpHeader { key: key.to_owned(), value: value.trim().to_owned() });
            Ok(())
        }),
    ]);
    flags
}

/// Flags that ask by standing there.
fn bare() -> [Flag; 8] {
    let ipv4 = one("ipv4", "Only IPv4", |f, v| add_if(v, &mut f.ip_version, IpVersion::IPv4 as i32));
    let ipv6 = one("ipv6", "Only IPv6", |f, v| add_if(v, &mut f.ip_version, IpVersion::IPv6 as i32));
    let reply = one("reply", "Only replies (=false: only what is none)", |f, v| {
        f.reply.push(yes(v)?);
        Ok(())
    });
    // What is asked for without a namespace is of all of them already.
    let all = |name| one(name, "Of Pods of all namespaces, as without it", |_, v| yes(v).map(drop));
    [
        Flag { short: Some('4'), ..ipv4 },
        Flag { short: Some('6'), ..ipv6 },
        reply,
        one("encrypted", "Only what is encrypted between nodes", |f, v| add_if(v, &mut f.encrypted, true)),
        one("unencrypted", "Only what is not encrypted between nodes", |f, v| add_if(v, &mut f.encrypted, false)),
        Flag { short: Some('A'), ..all("all-namespaces") },
        all("from-all-namespaces"),
        all("to-all-namespaces"),
    ]
}

/// `--ipv4=false` asks for nothing.
fn add_if<T>(yes_or_no: &str, list: &mut Vec<T>, value: T) -> Result<(), String> {
    if yes(yes_or_no)? {
        list.push(value);
    }
    Ok(())
}

fn one(name: &'static str, help: &'static str, add: Add) -> Flag {
    Flag { name, short: None, help, adds: Adds::One(add) }
}

impl Args for Filters {
    fn augment_args(mut command: Command) -> Command {
        let value = |name: &'static str| {
            Arg::new(name).long(name).action(ArgAction::Append).value_name("WHICH").help_heading("Filters")
        };
        for flag in flags() {
            let arg = value(flag.name).help(flag.help);
            command = command.arg(match flag.short {
                Some(short) => arg.short(short),
                None => arg,
            });
        }
        // Without a value, but several times and in their place: so a value that is left out.
        let without =
            |arg: Arg| arg.num_args(0..=1).require_equals(true).default_missing_value("yes").hide_possible_values(true);
        for flag in bare() {
            let arg = without(value(flag.name)).help(flag.help).value_name("");
            command = command.arg(match flag.short {
                Some(short) => arg.short(short),
                None => arg,
            });
        }
        for (name, help) in [
            ("allowlist", "Flow filters in JSON, of which one must fit: '{\"verdict\":[\"DROPPED\"]} {…}'"),
            ("denylist", "Flow filters in JSON, of which none may fit"),
        ] {
            command = command.arg(value(name).help(help).value_name("FILTERS"));
        }
        command.arg(without(value("not")).value_name("").help("Leave out what the next filter asks for"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Filters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        read(matches).map_err(|why| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{why}\n")))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn read(matches: &ArgMatches) -> Result<Filters, String> {
    let mut nots = Vec::new();
    let written = matches.get_many::<String>("not").into_iter().flatten();
    for (place, value) in matches.indices_of("not").into_iter().flatten().zip(written) {
        if yes(value).map_err(|why| format!("--not {value}: {why}"))? {
            nots.push(place);
        }
    }
    let mut asked: Vec<(usize, &'static str, String, Adds)> = Vec::new();
    for flag in flags().into_iter().chain(bare()) {
        let places = matches.indices_of(flag.name).into_iter().flatten();
        let values = matches.get_many::<String>(flag.name).into_iter().flatten();
        for (place, value) in places.zip(values) {
            asked.push((place, flag.name, value.clone(), flag.adds));
        }
    }
    asked.sort_by_key(|(place, ..)| *place);
    let (mut white, mut black) = (Ends::default(), Ends::default());
    for (place, name, value, adds) in asked {
        // The last `--not` before it, if no other filter has taken it.
        let not = nots.iter().rposition(|not| *not < place).map(|found| nots.remove(found));
        let list = if not.is_some() { &mut black } else { &mut white };
        list.add(&adds, &value).map_err(|why| format!("--{name} {value}: {why}"))?;
        if refusals::asks(name, &value) {
            list.written.push(name);
        }
    }
    if !nots.is_empty() {
        return Err("--not stands before a filter".to_owned());
    }
    let written = |name: &str| -> Result<Vec<FlowFilter>, String> {
        let all = matches.get_many::<String>(name).into_iter().flatten();
        let read = all.map(|text| from_json(text).map_err(|why| format!("--{name}: {why}")));
        Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let (allowed, denied) = (written("allowlist")?, written("denylist")?);
    Ok(Filters { white: [white.finish()?, allowed].concat(), black: [black.finish()?, denied].concat() })
}

/// One filter, or two when an end was left open.
#[derive(Default)]
struct Ends {
    source: Asked,
    destination: Asked,
    is_either: bool,
    /// Names of the flags that ask for it.
    written: Vec<&'static str>,
}

impl Ends {
    fn add(&mut self, adds: &Adds, value: &str) -> Result<(), String> {
        let (source, destination) = match adds {
            Adds::One(add) => (add, add),
            Adds::Either(source, destination) => {
                self.is_either = true;
                (source, destination)
            }
        };
        source(&mut self.source, value)?;
        destination(&mut self.destination, value)
    }

    fn finish(self) -> Result<Vec<FlowFilter>, String> {
        refusals::check(&self.written)?;
        Ok(match self.is_either {
            true => vec![self.source.finish()?, self.destination.finish()?],
            // What asks for nothing is no filter: in the list of what is left out it would be everything.
            false if self.source == Asked::default() => Vec::new(),
            false => vec![self.source.finish()?],
        })
    }
}

fn identity(identities: &mut Vec<u32>, value: &str) -> Result<(), String> {
    let reserved = || (0..=10).find(|n| datapath_layouts::identity::reserved_name(*n) == Some(value));
    identities.push(value.parse().ok().or_else(reserved).ok_or("no identity has this name")?);
    Ok(())
}

fn workload(workloads: &mut Vec<Workload>, value: &str) -> Result<(), String> {
    let (kind, name) = value.split_once('/').unwrap_or(("", value));
    workloads.push(Workload { name: name.to_owned(), kind: kind.to_owned() });
    Ok(())
}

fn named(numbers: &mut Vec<i32>, value: &str, number: fn(&str) -> Option<i32>) -> Result<(), String> {
    let name = value.replace('-', "_").to_uppercase();
    numbers.push(number(&name).ok_or("there is none of this name")?);
    Ok(())
}

fn event_type(filter: &mut Asked, value: &str) -> Result<(), String> {
    let (kind, sub) = value.split_once(':').map_or((value, None), |(kind, sub)| (kind, Some(sub)));
    let named = EVENT_TYPES.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number);
    let number = named.or_else(|| kind.parse().ok()).ok_or("no such type of event")?;
    let sub_type = match sub {
        None => None,
        Some(sub) => {
            let point =
                OBSERVATION_POINTS.iter().position(|point| number == event::TRACE && *point == sub).map(|p| p as i32);
            Some(point.or_else(|| sub.parse().ok()).ok_or("no such sub type")?)
        }
    };
    filter.event_type.push(EventTypeFilter {
        r#type: number,
        match_sub_type: sub_type.is_some(),
        sub_type: sub_type.unwrap_or(0),
    });
    Ok(())
}

fn tcp_flags(filter: &mut Asked, value: &str) -> Result<(), String> {
    let mut flags = TcpFlags::default();
    for name in value.split(',') {
        match name.to_uppercase().as_str() {
            "FIN" => flags.fin = true,
            "SYN" => flags.syn = true,
            "RST" => flags.rst = true,
            "PSH" => flags.psh = true,
            "ACK" => flags.ack = true,
            "URG" => flags.urg = true,
            "ECE" => flags.ece = true,
            "CWR" => flags.cwr = true,
            "NS" => flags.ns = true,
            _ => return Err(format!("TCP has no flag {name}")),
        }
    }
    filter.tcp_flags.push(flags);
    Ok(())
}

fn interface(filter: &mut Asked, value: &str) -> Result<(), String> {
    filter.interface.push(match value.parse() {
        Ok(index) => NetworkInterface { index, name: String::new() },
        Err(_) => NetworkInterface { index: 0, name: value.to_owned() },
    });
    Ok(())
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
