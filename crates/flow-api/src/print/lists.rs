//! Nodes and namespaces, as `hubble list` prints them.

use super::escape;
use super::table::Table;
use crate::observer::{Namespace, Node};
use crate::relay::NodeState;
use std::time::Duration;

/// How much of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// What fits beside each other.
    Few,
    /// Everything.
    All,
}

/// A table of nodes.
#[must_use]
pub fn nodes(nodes: &[Node], columns: Columns) -> String {
    let rows = nodes.iter().map(|node| {
        let uptime = Duration::from_nanos(node.uptime_ns).as_secs_f64().round();
        let (age, rate) = match uptime as u64 {
            0 => (UNKNOWN.to_owned(), UNKNOWN.to_owned()),
            seconds => (age(seconds), format!("{:.2}", node.seen_flows as f64 / uptime)),
        };
        let full = match node.max_flows {
            0 => UNKNOWN.to_owned(),
            most => {
                let percent = node.num_flows as f64 / most as f64 * 100.0;
                format!("{}/{most} ({percent:6.2}%)", node.num_flows)
            }
        };
        let version = if node.version.is_empty() { UNKNOWN } else { &node.version };
        let tls = node.tls.as_ref().map_or(UNKNOWN, |tls| if tls.enabled { "Enabled" } else { "Disabled" });
        let state = state(node.state).to_owned();
        vec![node.name.clone(), state, age, rate, full, version.to_owned(), node.address.clone(), tls.to_owned()]
    });
    let head = ["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS", "VERSION", "ADDRESS", "TLS"];
    table(&head, rows, if columns == Columns::All { head.len() } else { 5 })
}

/// A table of namespaces.
#[must_use]
pub fn namespaces(namespaces: &[Namespace], columns: Columns) -> String {
    let rows = namespaces.iter().map(|one| vec![one.namespace.clone(), one.cluster.clone()]);
    let head = ["NAMESPACE", "CLUSTER"];
    table(&head, rows, if columns == Columns::All { head.len() } else { 1 })
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, columns: usize) -> String {
    let mut table = Table::default();
    table.add(head[..columns].iter().map(|&name| name.to_owned()).collect());
    for mut row in rows {
        row.truncate(columns);
        table.add(row.iter().map(|cell| escape(cell)).collect());
    }
    table.finish()
}

fn state(number: i32) -> &'static str {
    match NodeState::try_from(number) {
        Ok(NodeState::NodeConnected) => "Connected",
        Ok(NodeState::NodeUnavailable) => "Unavailable",
        Ok(NodeState::NodeGone) => "Gone",
        Ok(NodeState::NodeError) => "Error",
        Ok(NodeState::UnknownNodeState) | Err(_) => "Unknown",
    }
}

/// As Go writes durations: `16m40s`.
fn age(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

const UNKNOWN: &str = "N/A";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Tls;

    #[test]
    fn nodes_are_listed_as_by_hubble() {
        let known = Node {
            name: "foo".to_owned(),
            version: "1".to_owned(),
            state: NodeState::NodeConnected as i32,
            uptime_ns: 1_000_000_000_000,
            num_flows: 500,
            max_flows: 1000,
            seen_flows: 1500,
            address: "1.2.3.4".to_owned(),
            tls: Some(Tls { enabled: true, server_name: "x".to_owned() }),
        };
        let away = Node { name: "b\x1b".to_owned(), state: NodeState::NodeUnavailable as i32, ..Node::default() };
        let all = [known, away];
        assert_eq!(
            nodes(&all, Columns::Few),
            "NAME   STATUS        AGE      FLOWS/S   CURRENT/MAX-FLOWS\n\
             foo    Connected     16m40s   1.50      500/1000 ( 50.00%)\n\
             b^[    Unavailable   N/A      N/A       N/A\n"
        );
        assert_eq!(
            nodes(&all, Columns::All),
            "NAME   STATUS        AGE      FLOWS/S   CURRENT/MAX-FLOWS    VERSION   ADDRESS   TLS\n\
             foo    Connected     16m40s   1.50      500/1000 ( 50.00%)   1         1.2.3.4   Enabled\n\
             b^[    Unavailable   N/A      N/A       N/A                  N/A                 N/A\n"
        );
        assert_eq!((age(59), age(125), age(3605)), ("59s".to_owned(), "2m5s".to_owned(), "1h0m5s".to_owned()));
    }

    #[test]
    fn namespaces_are_listed_as_by_hubble() {
        let one = |cluster: &str, name: &str| Namespace { cluster: cluster.into(), namespace: name.into() };
        let all = [one("a", "default"), one("b", "shop")];
        assert_eq!(namespaces(&all, Columns::Few), "NAMESPACE\ndefault\nshop\n");
        assert_eq!(namespaces(&all, Columns::All), "NAMESPACE   CLUSTER\ndefault     a\nshop        b\n");
    }
}
