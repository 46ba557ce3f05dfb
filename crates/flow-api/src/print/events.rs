//! What agents did and what datapaths told of themselves, as `hubble observe agent-events` and `debug-events` print it.
//!
//! One thing is not Hubble's: in the form of a dict it leaves out the end of the line that stands between two events.

use super::{Form, Printed, Printer, SEPARATOR, TimeFormat, escape, line, out};
use crate::flow::agent_event::Notification;
use crate::flow::{AgentEvent, AgentEventType, DebugEvent, DebugEventType, Endpoint, ServiceUpsertNotificationAddr};
use crate::json::to_json;
use crate::observer::{GetAgentEventsResponse, GetDebugEventsResponse};
use prost_types::Timestamp;

impl Printer {
    /// What an agent did; of a table nothing, until [`Self::finish`].
    pub fn print_agent_event(&mut self, answer: &GetAgentEventsResponse) -> Printed {
        let Some(event) = &answer.agent_event else { return Printed::default() };
        let kind = AgentEventType::try_from(event.r#type);
        let kind = kind.map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().to_owned());
        let details = escape(&details(event, self.options.time));
        match self.options.form {
            Form::LegacyJson => out(line(to_json("flow.AgentEvent", event))),
            Form::JsonPb => out(line(to_json("observer.GetAgentEventsResponse", answer))),
            Form::Compact => {
                let (time, node) = self.begin(answer.time.as_ref(), &answer.node_name);
                out(format!("{time}{node}: {kind} ({details})\n"))
            }
            Form::Dict => self.dict(answer.time.as_ref(), &answer.node_name, &[("TYPE", &kind), ("DETAILS", &details)]),
            Form::Tab => {
                self.event_row(answer.time.as_ref(), &answer.node_name, &["TYPE", "DETAILS"], vec![kind, details])
            }
        }
    }

    /// What a datapath told of itself; of a table nothing, until [`Self::finish`].
    pub fn print_debug_event(&mut self, answer: &GetDebugEventsResponse) -> Printed {
        let Some(event) = &answer.debug_event else { return Printed::default() };
        let kind = DebugEventType::try_from(event.r#type);
        let kind = kind.map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().to_owned());
        let (from, mark, cpu) = (escape(&end(event.source.as_ref())), mark(event), cpu(event));
        let message = escape(&event.message);
        match self.options.form {
            Form::LegacyJson => out(line(to_json("flow.DebugEvent", event))),
            Form::JsonPb => out(line(to_json("observer.GetDebugEventsResponse", answer))),
            Form::Compact => {
                let (time, node) = self.begin(answer.time.as_ref(), &answer.node_name);
                out(format!("{time}{node}: {from} {kind} MARK: {mark} CPU: {cpu} ({message})\n"))
            }
            Form::Dict => {
                let fields: [(&str, &str); 5] =
                    [("TYPE", &kind), ("FROM", &from), ("MARK", &mark), ("CPU", &cpu), ("MESSAGE", &message)];
                self.dict(answer.time.as_ref(), &answer.node_name, &fields)
            }
            Form::Tab => {
                let row = vec![from, String::new(), kind, format!("{cpu} {mark}"), message];
                let head = ["FROM", "", "TYPE", "CPU/MARK", "MESSAGE"];
                self.event_row(answer.time.as_ref(), &answer.node_name, &head, row)
            }
        }
    }

    /// Of a line: the time, and the node if it is wanted.
    fn begin(&self, time: Option<&Timestamp>, node: &str) -> (String, String) {
        let node = if self.options.node_name { format!(" [{}]", escape(node)) } else { String::new() };
        (self.options.time.write(time), node)
    }

    fn dict(&mut self, time: Option<&Timestamp>, node: &str, fields: &[(&str, &str)]) -> Printed {
        let mut text = if self.lines == 0 { String::new() } else { SEPARATOR.to_owned() };
        self.lines += 1;
        let (time, node) = (self.options.time.write(time), escape(node));
        let node = self.options.node_name.then_some(("NODE", node.as_str()));
        let begin = std::iter::once(("TIMESTAMP", time.as_str())).chain(node);
        for (name, value) in begin.chain(fields.iter().copied()) {
            text.push_str(&format!("{name:>11}: {value}\n"));
        }
        out(text)
    }

    fn event_row(&mut self, time: Option<&Timestamp>, node: &str, head: &[&str], cells: Vec<String>) -> Printed {
        let first = self.lines == 0;
        self.lines += 1;
        let (time, node) = (self.options.time.write(time), escape(node));
        self.row(head, (first, time, node), cells);
        Printed::default()
    }
}

/// What happened to what. A notification that does not belong to the event's type is none.
fn details(event: &AgentEvent, time: TimeFormat) -> String {
    use AgentEventType as Type;
    match (event.r#type(), &event.notification) {
        (Type::AgentEventUnknown, Some(Notification::Unknown(one))) => {
            format!("type: {}, notification: {}", one.r#type, one.notification)
        }
        (Type::AgentStarted, Some(Notification::AgentStart(start))) => {
            format!("start time: {}", time.write(start.time.as_ref()))
        }
        (Type::PolicyUpdated | Type::PolicyDeleted, Some(Notification::PolicyUpdate(policy))) => {
            let labels = policy.labels.join(",");
            format!("labels: [{labels}], revision: {}, count: {}", policy.revision, policy.rule_count)
        }
        (
            Type::EndpointRegenerateSuccess | Type::EndpointRegenerateFailure,
            Some(Notification::EndpointRegenerate(endpoint)),
        ) => format!("id: {}, labels: [{}]", endpoint.id, endpoint.labels.join(",")) + &named("error", &endpoint.error),
        (Type::EndpointCreated | Type::EndpointDeleted, Some(Notification::EndpointUpdate(endpoint))) => {
            format!("id: {}", endpoint.id)
                + &named("namespace", &endpoint.namespace)
                + &named("pod name", &endpoint.pod_name)
        }
        (Type::IpcacheUpserted | Type::IpcacheDeleted, Some(Notification::IpcacheUpdate(entry))) => {
            let before = entry.old_identity.map(|number| format!(", old identity: {number}")).unwrap_or_default();
            format!("cidr: {}, identity: {}{before}", entry.cidr, entry.identity)
                + &named("host ip", &entry.host_ip)
                + &named("old host ip", &entry.old_host_ip)
                + &format!(", encrypt key: {}", entry.encrypt_key)
        }
        (Type::ServiceUpserted, Some(Notification::ServiceUpsert(service))) => {
            let frontend = service.frontend_address.as_ref().map(address).unwrap_or_default();
            let backends: Vec<String> = service.backend_addresses.iter().map(address).collect();
            let backends = if backends.is_empty() { String::new() } else { format!("[{}]", backends.join(",")) };
            format!("id: {}", service.id)
                + &named("frontend", &frontend)
                + &named("backends", &backends)
                + &named("type", &service.r#type)
                + &named("traffic policy", &service.traffic_policy)
                + &named("namespace", &service.namespace)
                + &named("name", &service.name)
        }
        (Type::ServiceDeleted, Some(Notification::ServiceDelete(service))) => format!("id: {}", service.id),
        _ => "UNKNOWN".to_owned(),
    }
}

/// Nothing of what is empty.
fn named(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(", {name}: {value}") }
}

fn address(of: &ServiceUpsertNotificationAddr) -> String {
    if of.ip.contains([':', '%']) { format!("[{}]:{}", of.ip, of.port) } else { format!("{}:{}", of.ip, of.port) }
}

/// A Pod by its name, what is no Pod by its reserved label.
fn end(endpoint: Option<&Endpoint>) -> String {
    let Some(endpoint) = endpoint else { return UNKNOWN.to_owned() };
    let id = format!("ID: {}", endpoint.id);
    match endpoint.labels.as_slice() {
        _ if !endpoint.namespace.is_empty() && !endpoint.pod_name.is_empty() => {
            format!("{}/{} ({id})", endpoint.namespace, endpoint.pod_name)
        }
        [label] if label.starts_with("reserved:") => format!("{label} ({id})"),
        _ => id,
    }
}

fn mark(event: &DebugEvent) -> String {
    event.hash.map_or_else(|| UNKNOWN.to_owned(), |hash| format!("{hash:#x}"))
}

fn cpu(event: &DebugEvent) -> String {
    event.cpu.map_or_else(|| UNKNOWN.to_owned(), |cpu| format!("{cpu:02}"))
}

/// Of what an event does not say.
const UNKNOWN: &str = "N/A";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::*;
    use crate::print::{Colour, Options};

    fn time() -> Option<Timestamp> {
        Some(Timestamp { seconds: 1234, nanos: 567_800_000 })
    }

    fn agent(kind: AgentEventType, notification: Option<Notification>) -> GetAgentEventsResponse {
        let event = AgentEvent { r#type: kind as i32, notification };
        GetAgentEventsResponse { agent_event: Some(event), node_name: "k8s1".to_owned(), time: time() }
    }

    fn started() -> GetAgentEventsResponse {
        let start = TimeNotification { time: Some(Timestamp { seconds: 1, nanos: 0 }) };
        agent(AgentEventType::AgentStarted, Some(Notification::AgentStart(start)))
    }

    fn debug() -> GetDebugEventsResponse {
        let source = Endpoint { id: 690, namespace: "default".into(), pod_name: "echo".into(), ..Endpoint::default() };
        let event = DebugEvent {
            r#type: DebugEventType::DbgCtVerdict as i32,
            source: Some(source),
            hash: Some(0x4e_4a),
            message: "CT verdict: New, revnat=0".to_owned(),
            cpu: Some(1),
            ..DebugEvent::default()
        };
        GetDebugEventsResponse { debug_event: Some(event), node_name: "k8s1".to_owned(), time: time() }
    }

    /// Every answer in this form, with the nodes' names.
    fn printed(form: Form, agents: &[GetAgentEventsResponse], debugs: &[GetDebugEventsResponse]) -> String {
        let mut printer = Printer::new(Options { form, colour: Colour::Always, node_name: true, ..Options::default() });
        let mut text: String = agents.iter().map(|answer| printer.print_agent_event(answer).out).collect();
        text.extend(debugs.iter().map(|answer| printer.print_debug_event(answer).out));
        text + &printer.finish()
    }

    #[test]
    fn what_agents_did_is_told_in_every_form() {
        let of = |form| printed(form, &[started(), started()], &[]);
        let line = "Jan  1 00:20:34.567 [k8s1]: AGENT_STARTED (start time: Jan  1 00:00:01.000)\n";
        assert_eq!(of(Form::Compact), line.repeat(2));
        let one = "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n       TYPE: AGENT_STARTED\n    DETAILS: start time: \
                   Jan  1 00:00:01.000\n";
        assert_eq!(of(Form::Dict), format!("{one}------------\n{one}"));
        let row = "Jan  1 00:20:34.567   k8s1   AGENT_STARTED   start time: Jan  1 00:00:01.000\n";
        assert_eq!(of(Form::Tab), format!("TIMESTAMP             NODE   TYPE            DETAILS\n{}", row.repeat(2)));
        let event = r#"{"type":"AGENT_STARTED","agent_start":{"time":"1970-01-01T00:00:01Z"}}"#;
        assert_eq!(of(Form::LegacyJson), format!("{event}\n").repeat(2));
        let whole =
            format!("{{\"agent_event\":{event},\"node_name\":\"k8s1\",\"time\":\"1970-01-01T00:20:34.567800Z\"}}\n");
        assert_eq!(of(Form::JsonPb), whole.repeat(2));
    }

    #[test]
    fn what_a_datapath_told_is_told_in_every_form() {
        let of = |form| printed(form, &[], &[debug()]);
        assert_eq!(
            of(Form::Compact),
            "Jan  1 00:20:34.567 [k8s1]: default/echo (ID: 690) DBG_CT_VERDICT MARK: 0x4e4a CPU: 01 (CT verdict: New, \
             revnat=0)\n"
        );
        assert_eq!(
            of(Form::Dict),
            "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n       TYPE: DBG_CT_VERDICT\n       FROM: default/echo \
             (ID: 690)\n       MARK: 0x4e4a\n        CPU: 01\n    MESSAGE: CT verdict: New, revnat=0\n"
        );
        assert_eq!(
            of(Form::Tab),
            "TIMESTAMP             NODE   FROM                        TYPE             CPU/MARK    MESSAGE\n\
             Jan  1 00:20:34.567   k8s1   default/echo (ID: 690)      DBG_CT_VERDICT   01 0x4e4a   CT verdict: New, \
             revnat=0\n"
        );
        assert!(of(Form::LegacyJson).starts_with(r#"{"type":"DBG_CT_VERDICT","source":{"ID":690,"#));
        assert!(of(Form::JsonPb).starts_with(r#"{"debug_event":{"type":"DBG_CT_VERDICT","#));
        let reserved = Endpoint { id: 1, labels: vec!["reserved:host".into()], ..Endpoint::default() };
        assert_eq!(end(Some(&reserved)), "reserved:host (ID: 1)");
        let nothing = GetDebugEventsResponse { debug_event: Some(DebugEvent::default()), ..debug() };
        assert!(printed(Form::Compact, &[], &[nothing]).ends_with(": N/A DBG_EVENT_UNKNOWN MARK: N/A CPU: N/A ()\n"));
    }

    #[test]
    fn each_kind_of_event_has_hubbles_words() {
        use AgentEventType as Type;
        let labels = || vec!["a=b".to_owned(), "c".to_owned()];
        let policy = PolicyUpdateNotification { labels: labels(), revision: 7, rule_count: 2 };
        let regenerated = EndpointRegenNotification { id: 4, labels: labels(), error: "no".to_owned() };
        let endpoint = EndpointUpdateNotification {
            id: 4,
            pod_name: "web".to_owned(),
            namespace: "shop".to_owned(),
            ..EndpointUpdateNotification::default()
        };
        let entry = IpCacheNotification {
            cidr: "10.0.0.1/32".to_owned(),
            identity: 300,
            old_identity: Some(2),
            host_ip: "172.18.0.3".to_owned(),
            encrypt_key: 255,
            ..IpCacheNotification::default()
        };
        let at = |ip: &str| ServiceUpsertNotificationAddr { ip: ip.to_owned(), port: 80 };
        let service = ServiceUpsertNotification {
            id: 9,
            frontend_address: Some(at("10.96.0.7")),
            backend_addresses: vec![at("10.0.0.1"), at("fd00::1")],
            r#type: "ClusterIP".to_owned(),
            traffic_policy: "Cluster".to_owned(),
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            ..ServiceUpsertNotification::default()
        };
        let unknown = AgentEventUnknown { r#type: "x".to_owned(), notification: "y".to_owned() };
        for (kind, notification, words) in [
            (Type::AgentEventUnknown, Notification::Unknown(unknown), "type: x, notification: y"),
            (Type::PolicyDeleted, Notification::PolicyUpdate(policy.clone()), "labels: [a=b,c], revision: 7, count: 2"),
            (
                Type::EndpointRegenerateFailure,
                Notification::EndpointRegenerate(regenerated),
                "id: 4, labels: [a=b,c], error: no",
            ),
            (Type::EndpointCreated, Notification::EndpointUpdate(endpoint), "id: 4, namespace: shop, pod name: web"),
            (
                Type::IpcacheUpserted,
                Notification::IpcacheUpdate(entry),
                "cidr: 10.0.0.1/32, identity: 300, old identity: 2, host ip: 172.18.0.3, encrypt key: 255",
            ),
            (
                Type::ServiceUpserted,
                Notification::ServiceUpsert(service),
                "id: 9, frontend: 10.96.0.7:80, backends: [10.0.0.1:80,[fd00::1]:80], type: ClusterIP, traffic policy: \
                 Cluster, namespace: shop, name: cart",
            ),
            (Type::ServiceDeleted, Notification::ServiceDelete(ServiceDeleteNotification { id: 9 }), "id: 9"),
            // What does not belong together.
            (Type::AgentStarted, Notification::PolicyUpdate(policy), "UNKNOWN"),
        ] {
            let text = printed(Form::Compact, &[agent(kind, Some(notification))], &[]);
            assert!(text.ends_with(&format!(": {} ({words})\n", kind.as_str_name())), "{text}");
        }
        assert!(printed(Form::Compact, &[agent(Type::PolicyUpdated, None)], &[]).ends_with(" (UNKNOWN)\n"));
    }

    #[test]
    fn nothing_in_an_event_steers_the_terminal() {
        let text = "a\x1b[2J\rb\nc";
        let unknown = AgentEventUnknown { r#type: text.to_owned(), notification: text.to_owned() };
        let mut one = agent(AgentEventType::AgentEventUnknown, Some(Notification::Unknown(unknown)));
        one.node_name = text.to_owned();
        let mut other = debug();
        if let Some(event) = &mut other.debug_event {
            event.message = text.to_owned();
            event.source = Some(Endpoint { namespace: text.into(), pod_name: text.into(), ..Endpoint::default() });
        }
        let said = printed(Form::Compact, &[one], &[other]);
        assert!(said.lines().count() == 2 && !said.contains(['\x1b', '\r']), "{said:?}");
    }
}
