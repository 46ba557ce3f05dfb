//! Why policy dropped a flow: the rules and the real maps as they are when it is printed, in the words of
//! `malla policy explain`.

use crate::agents::Selection;
use crate::policy::explain::{self, Question};
use crate::policy::port::{Port, Wanted};
use flow_api::flow::{Endpoint, Flow};
use flow_api::transport::{Transport, is_denied};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Who was stopped on the way to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stopped {
    from: String,
    to: String,
    protocol: u8,
    port: u16,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// For people: lines with their ends.
    pub text: String,
    /// For machines.
    pub json: String,
    /// It is the one that was told last time.
    pub is_known: bool,
}

/// Asks the agents, and not again for each packet.
pub struct Why {
    selection: Selection,
    known: HashMap<Stopped, (Instant, Explained)>,
}

impl Why {
    /// Asks these agents.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { selection, known: HashMap::new() }
    }

    /// Why the flow was dropped; `None`: not by policy. Blocks.
    pub fn explain(&mut self, flow: &Flow) -> Option<Explained> {
        let stopped = stopped(flow)?;
        let known = self.known.get(&stopped);
        if let Some((_, explained)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(Explained { is_known: true, ..explained.clone() });
        }
        let mut explained = self.ask(&stopped);
        explained.is_known = known.is_some_and(|(_, before)| before.text == explained.text);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(stopped, (Instant::now(), explained.clone()));
        Some(explained)
    }

    fn ask(&self, stopped: &Stopped) -> Explained {
        let port = Wanted { protocol: stopped.protocol, port: Port::Number(stopped.port) };
        let question = Question { from: &stopped.from, to: &stopped.to, port: &port, namespace: None };
        match explain::answer(&self.selection, &question) {
            Ok(answer) => Explained {
                text: text(&explain::text(&answer), answer.allowed),
                json: serde_json::to_string(&answer).unwrap_or_else(|_| "null".to_owned()),
                is_known: false,
            },
            Err(error) => {
                let why = format!("{error:#}");
                Explained {
                    text: format!("  why: {why}\n"),
                    json: serde_json::json!({ "error": why }).to_string(),
                    is_known: false,
                }
            }
        }
    }
}

/// Beneath a flow's line.
fn text(explanation: &str, is_allowed: bool) -> String {
    let mut out: String = explanation.lines().map(|line| format!("  why: {line}\n")).collect();
    if is_allowed {
        out.push_str("  why: the rules were others when it was dropped: now it would pass\n");
    }
    out
}

/// Who was stopped, if policy has done it.
fn stopped(flow: &Flow) -> Option<Stopped> {
    let (addresses, transport) = (flow.ip.as_ref()?, Transport::of(flow)?);
    is_denied(flow).then(|| Stopped {
        from: end(flow.source.as_ref(), &addresses.source),
        to: end(flow.destination.as_ref(), &addresses.destination),
        protocol: transport.protocol,
        port: transport.destination,
    })
}

/// A Pod by its name: its address may be somebody else's by now.
fn end(endpoint: Option<&Endpoint>, address: &str) -> String {
    match endpoint {
        Some(one) if !one.pod_name.is_empty() => format!("pod:{}/{}", one.namespace, one.pod_name),
        _ => address.to_owned(),
    }
}

/// So long an answer is taken for the state of things.
const FRESH: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use flow_api::flow::layer4::Protocol;
    use flow_api::flow::{DropReason, Ip, Layer4, Tcp};

    fn dropped(reason: DropReason) -> Flow {
        let pod = Endpoint { namespace: "shop".to_owned(), pod_name: "web".to_owned(), ..Endpoint::default() };
        Flow {
            drop_reason_desc: reason as i32,
            ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "192.0.2.7".to_owned(), ..Ip::default() }),
            source: Some(pod),
            destination: Some(Endpoint { identity: 2, ..Endpoint::default() }),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(Tcp { destination_port: 443, ..Tcp::default() })) }),
            ..Flow::default()
        }
    }

    #[test]
    fn only_what_policy_has_stopped_is_asked_and_pods_by_their_names() {
        let asked = Stopped { from: "pod:shop/web".to_owned(), to: "192.0.2.7".to_owned(), protocol: 6, port: 443 };
        assert_eq!(stopped(&dropped(DropReason::PolicyDenied)), Some(asked.clone()));
        assert_eq!(stopped(&dropped(DropReason::PolicyDeny)), Some(asked));
        for other in [DropReason::TtlExceeded, DropReason::Unknown] {
            assert_eq!(stopped(&dropped(other)), None);
        }
        let without = Flow { l4: None, ..dropped(DropReason::PolicyDenied) };
        assert_eq!(stopped(&without), None, "a fragment has no port to ask for");
    }

    #[test]
    fn what_passes_by_now_is_said() {
        assert_eq!(text("a\n  b\n", false), "  why: a\n  why:   b\n");
        assert!(text("a\n", true).contains("now it would pass"));
    }
}
