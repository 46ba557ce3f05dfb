//! Journeys that rules decide: which one let a connection pass at which end, on that end's node, and which one did not.

use super::{World, capture};

/// Between the neighbour and the Pod, which are on one node.
const ALLOW: &str = include_str!("allow.yaml");
/// Between the client and the Pod, which are on two.
const ACROSS: &str = include_str!("across.yaml");
/// Of the Pod: nothing of the client, whatever else it may get.
const NEVER: &str = include_str!("never.yaml");
/// Of the client: nothing to the Pod, whatever else it may send.
const KEPT: &str = include_str!("kept.yaml");
/// Of the client: no policy lets it speak.
const SILENT: &str = include_str!("silent.yaml");

/// All of them; what is between nodes is told by the name of the routing.
pub fn decide(world: &World, routing: &str) {
    let client = ["--from", "client", "--to", "default/spink:80"];
    world.with(ALLOW, || {
        let neighbour = ["--from", "neighbour", "--to", "default/spink:80"];
        world.is_golden(&neighbour, "allowed-same-node");
        let file = capture::taken(world, &neighbour);
        let rules = ["NetworkPolicy default/out spec.egress[0]", "NetworkPolicy default/in spec.ingress[0]"];
        capture::is_read(&file, &rules.map(|rule| ("worker-1", rule)));
    });
    world.with(ACROSS, || {
        world.is_golden(&client, &format!("{routing}-allowed"));
        world.with(NEVER, || {
            world.is_golden(&client, &format!("{routing}-denied-by-rule"));
            let file = capture::taken(world, &client);
            let allowed = "egress: allowed by NetworkPolicy default/out-of-client spec.egress[0]";
            let denied = "POLICY_DENY by CiliumNetworkPolicy default/never spec.ingressDeny[0]";
            capture::is_read(&file, &[("worker-2", allowed), ("worker-1", denied)]);
        });
        world.with(KEPT, || world.is_golden(&client, "denied-by-egress-rule"));
    });
    world.with(SILENT, || world.is_golden(&client, "denied-egress"));
}
