//! How the nodes are, one by one and together. Pure.

use crate::target::Target;
use crate::trouble::Trouble;
use flow_api::observer::{Node, ServerStatusResponse, Tls};
use flow_api::relay::NodeState;

/// One of them.
pub fn node(name: String, target: &Target, status: Result<ServerStatusResponse, Trouble>) -> Node {
    let (state, status) = match status {
        Ok(status) => (NodeState::NodeConnected, status),
        Err(trouble) => (trouble.state, ServerStatusResponse::default()),
    };
    let server_name = target.server_name().unwrap_or_default().to_owned();
    Node {
        name,
        version: status.version,
        address: target.address(),
        state: state as i32,
        tls: Some(Tls { enabled: !server_name.is_empty(), server_name }),
        uptime_ns: status.uptime_ns,
        num_flows: status.num_flows,
        max_flows: status.max_flows,
        seen_flows: status.seen_flows,
    }
}

/// All of them. Clients reckon a rate from the flows seen and the uptime: it is that of the node that has been up longest, as
/// in Hubble's relay, and not ours.
pub fn sum(
    statuses: impl IntoIterator<Item = (String, Result<ServerStatusResponse, Trouble>)>,
) -> ServerStatusResponse {
    let mut sum = ServerStatusResponse {
        version: concat!("malla ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..ServerStatusResponse::default()
    };
    let mut connected = 0;
    for (name, status) in statuses {
        let Ok(status) = status else {
            sum.unavailable_nodes.push(name);
            continue;
        };
        connected += 1;
        sum.num_flows = sum.num_flows.saturating_add(status.num_flows);
        sum.max_flows = sum.max_flows.saturating_add(status.max_flows);
        sum.seen_flows = sum.seen_flows.saturating_add(status.seen_flows);
        sum.uptime_ns = sum.uptime_ns.max(status.uptime_ns);
        sum.flows_rate += if status.flows_rate.is_finite() { status.flows_rate } else { 0.0 };
    }
    sum.num_connected_nodes = Some(connected);
    sum.num_unavailable_nodes = Some(u32::try_from(sum.unavailable_nodes.len()).unwrap_or(u32::MAX));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_can_not_break_the_sum() {
        let status = |flows, uptime_ns, flows_rate| {
            let (num_flows, max_flows, seen_flows) = (flows, flows, flows);
            Ok(ServerStatusResponse { num_flows, max_flows, seen_flows, uptime_ns, flows_rate, ..Default::default() })
        };
        let all = [status(7, 30, 1.5), status(u64::MAX, 20, f64::NAN), status(8, 10, 2.0)];
        let mut named: Vec<_> = all.into_iter().map(|status| (String::new(), status)).collect();
        named.push(("gone".to_owned(), Err(Trouble::away("no answer in time"))));
        let sum = sum(named);
        assert_eq!([sum.num_flows, sum.max_flows, sum.seen_flows], [u64::MAX; 3]);
        assert_eq!((sum.uptime_ns, sum.flows_rate), (30, 3.5));
        assert_eq!((sum.num_connected_nodes, sum.num_unavailable_nodes), (Some(3), Some(1)));
        assert_eq!(sum.unavailable_nodes, ["gone"]);
    }
}
