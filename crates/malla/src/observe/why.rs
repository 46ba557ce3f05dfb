//! Why a flow was dropped. By policy: the rules and the real maps as they are when it is printed, in the words of
//! `malla policy explain`. By anything else: the reason, and what would let it pass, in the words of `malla trace`.

use super::drops::dropped;
use super::plain;
use crate::advice::{Dropped, cause, remedy};
use crate::agents::Selection;
use crate::policy::explain::{self, Question};
use crate::policy::port::{Port, Wanted};
use flow_api::flow::{Endpoint, Flow};
use flow_api::numbers::drop_reason;
use flow_api::transport::{Transport, is_denied};
use std::collections::{HashMap, HashSet};
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

impl Explained {
    /// Beneath a flow's line. Several lines are told once, one line each time.
    pub fn beneath(&self) -> &str {
        if self.is_known && self.text.lines().count() > 1 { AS_ABOVE } else { &self.text }
    }
}

/// Asks the agents of what policy dropped, and not again for each packet.
pub struct Why {
    selection: Selection,
    known: HashMap<Stopped, (Instant, Explained)>,
    /// Advice that needs no agents.
    told: HashSet<String>,
}

impl Why {
    /// Asks these agents.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { selection, known: HashMap::new(), told: HashSet::new() }
    }

    /// Why the flow was dropped; `None`: it was not. Blocks.
    pub fn explain(&mut self, flow: &Flow) -> Option<Explained> {
        match stopped(flow) {
            Some(stopped) => Some(self.by_policy(stopped)),
            None => Some(self.by_datapath(&dropped(flow)?, flow.drop_reason_desc)),
        }
    }

    fn by_policy(&mut self, stopped: Stopped) -> Explained {
        let known = self.known.get(&stopped);
        if let Some((_, explained)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
            return Explained { is_known: true, ..explained.clone() };
        }
        let mut explained = self.ask(&stopped);
        explained.is_known = known.is_some_and(|(_, before)| before.text == explained.text);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(stopped, (Instant::now(), explained.clone()));
        explained
    }

    fn by_datapath(&mut self, dropped: &Dropped, number: i32) -> Explained {
        let explained = advised(dropped, &drop_reason(number));
        if self.told.len() >= MOST {
            self.told.clear();
        }
        let is_known = !self.told.insert(explained.text.clone());
        Explained { is_known, ..explained }
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

/// In one line. `name` is Hubble's of the reason.
fn advised(dropped: &Dropped, name: &str) -> Explained {
    let cause = match dropped.reason {
        Some(reason) => cause(reason).to_owned(),
        None => format!("for {name}, which is no reason of this datapath"),
    };
    let (sender, receiver, remedy) = (&dropped.sender.name, &dropped.receiver.name, remedy(dropped));
    let line = plain(&format!("{sender} -> {receiver}: {cause}; would let it pass: {remedy}"));
    Explained {
        text: format!("  why: {line}\n"),
        json: serde_json::json!({ "reason": name, "cause": cause, "remedy": remedy }).to_string(),
        is_known: false,
    }
}

/// Who was stopped, if policy has done it, at a port that can be asked for: policy is about who began, be it an answer that was
/// stopped.
fn stopped(flow: &Flow) -> Option<Stopped> {
    let (addresses, transport) = (flow.ip.as_ref()?, Transport::of(flow)?);
    is_denied(flow).then(|| {
        let is_reply = flow.is_reply == Some(true);
        let sender = end(flow.source.as_ref(), &addresses.source);
        let receiver = end(flow.destination.as_ref(), &addresses.destination);
        let (from, to) = if is_reply { (receiver, sender) } else { (sender, receiver) };
        Stopped { from, to, protocol: transport.protocol, port: transport.port(is_reply) }
    })
}

/// A Pod by its name: its address may be somebody else's by now.
fn end(endpoint: Option<&Endpoint>, address: &str) -> String {
    match endpoint {
        Some(one) if !one.pod_name.is_empty() => format!("pod:{}/{}", one.namespace, one.pod_name),
        _ => address.to_owned(),
    }
}

/// Beneath a line whose explanation was told.
const AS_ABOVE: &str = "  why: as above\n";
/// So long an answer is taken for the state of things.
const FRESH: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::DropReason as Reason;
    use flow_api::flow::layer4::Protocol;
    use flow_api::flow::{DropReason, Ip, Layer4, Tcp, Verdict};

    fn flow(reason: i32) -> Flow {
        let pod = Endpoint { namespace: "shop".to_owned(), pod_name: "web".to_owned(), ..Endpoint::default() };
        Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: reason,
            node_name: "worker-1".to_owned(),
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
        assert_eq!(stopped(&flow(DropReason::PolicyDenied as i32)), Some(asked.clone()));
        assert_eq!(stopped(&flow(DropReason::PolicyDeny as i32)), Some(asked));
        let tcp = Tcp { source_port: 443, destination_port: 40_000, ..Tcp::default() };
        let answer = Flow {
            is_reply: Some(true),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            ..flow(DropReason::PolicyDenied as i32)
        };
        let began = Stopped { from: "192.0.2.7".to_owned(), to: "pod:shop/web".to_owned(), protocol: 6, port: 443 };
        assert_eq!(stopped(&answer), Some(began), "of an answer, who had asked");
        for other in [DropReason::TtlExceeded, DropReason::Unknown] {
            assert_eq!(stopped(&flow(other as i32)), None);
        }
        let without = Flow { l4: None, ..flow(DropReason::PolicyDenied as i32) };
        assert_eq!(stopped(&without), None, "a fragment has no port to ask for");
    }

    fn why() -> Why {
        Why::new(Selection { lab: "no-such-lab".to_owned(), node: Vec::new(), socket: Vec::new() })
    }

    #[test]
    fn every_drop_has_its_line_and_what_passed_has_none() {
        let is_policy = |reason: &Reason| matches!(reason, Reason::PolicyDenied | Reason::PolicyDeny);
        for reason in Reason::ALL.iter().copied() {
            let mut flow = flow(reason as i32);
            if is_policy(&reason) {
                // With a port agents are asked.
                flow.l4 = None;
            }
            let explained = why().explain(&flow).unwrap();
            let line =
                format!("  why: Pod shop/web (10.0.0.1) -> world (192.0.2.7): {}; would let it pass: ", cause(reason));
            assert!(explained.text.starts_with(&line) && explained.text.lines().count() == 1, "{}", explained.text);
            let told: serde_json::Value = serde_json::from_str(&explained.json).unwrap();
            assert_eq!((&told["reason"], &told["cause"]), (&reason.name().into(), &cause(reason).into()));
            assert!(told["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{told}");
            let passed = Flow { verdict: Verdict::Forwarded as i32, drop_reason_desc: 0, ..flow };
            assert_eq!(why().explain(&passed), None);
        }
        let elsewhere = why().explain(&flow(136)).unwrap();
        assert!(elsewhere.text.contains("which is no reason of this datapath"), "{}", elsewhere.text);
    }

    #[test]
    fn one_line_is_told_each_time_and_several_once() {
        let mut why = why();
        let [first, again] = [(); 2].map(|()| why.explain(&flow(Reason::NoBackend as i32)).unwrap());
        assert_eq!((first.is_known, again.is_known), (false, true), "a table has it once");
        assert_eq!((first.beneath(), again.beneath()), (first.text.as_str(), first.text.as_str()));
        let several = Explained { text: "  why: a\n  why: b\n".to_owned(), json: String::new(), is_known: true };
        assert_eq!(
            (several.beneath(), Explained { is_known: false, ..several.clone() }.beneath()),
            (AS_ABOVE, several.text.as_str())
        );
    }

    #[test]
    fn names_steer_no_terminal() {
        let mut flow = flow(Reason::NoBackend as i32);
        flow.source.as_mut().unwrap().pod_name = "a\x1b[2J\nb".to_owned();
        let explained = why().explain(&flow).unwrap();
        assert!(explained.text.starts_with("  why: Pod shop/a?[2J?b (10.0.0.1) -> "), "{:?}", explained.text);
        assert!(!explained.json.contains(char::is_control), "{:?}", explained.json);
    }

    #[test]
    fn what_passes_by_now_is_said() {
        assert_eq!(text("a\n  b\n", false), "  why: a\n  why:   b\n");
        assert!(text("a\n", true).contains("now it would pass"));
    }
}
