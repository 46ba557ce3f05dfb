//! Where a packet goes, and whether its claimed origin can be true.

use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::route::FLAG_TUNNEL;
use datapath_layouts::{Address, DropReason, Endpoint, Route, RouteKind, identity};

/// The way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into the host's stack.
    Host,
    /// Into the Pod behind this device.
    Pod,
    /// Through the tunnel to the route's node.
    Tunnel,
    /// To the route's next hop, inside of the cluster.
    Native,
    /// To the route's next hop, out of the cluster: a Pod's own address must not be seen there.
    World,
    /// Nowhere.
    Drop(DropReason),
}

/// Chooses the way from what the exact and the prefix table say; the route matters only without an endpoint.
#[must_use]
#[inline(always)]
pub fn way(endpoint: Option<&Endpoint>, route: Option<&Route>) -> Way {
    if let Some(endpoint) = endpoint {
        return if endpoint.flags & FLAG_HOST != 0 { Way::Host } else { Way::Pod };
    }
    let Some(route) = route else { return Way::Drop(DropReason::UnknownTarget) };
    let remote = route.kind == RouteKind::RemotePods as u8 || route.kind == RouteKind::RemoteNode as u8;
    if remote {
        if route.flags & FLAG_TUNNEL != 0 {
            return if route.tunnel.is_zero() { Way::Drop(DropReason::NoTunnelEndpoint) } else { Way::Tunnel };
        }
        return if route.ifindex == 0 { Way::Drop(DropReason::NoNextHop) } else { Way::Native };
    }
    if route.kind == RouteKind::World as u8 {
        return if route.ifindex == 0 { Way::Drop(DropReason::NoNextHop) } else { Way::World };
    }
    if route.kind == RouteKind::LocalPods as u8 {
        return Way::Drop(DropReason::NoLocalEndpoint);
    }
    if route.kind == RouteKind::Services as u8 {
        return Way::Drop(DropReason::ServiceAddress);
    }
    Way::Drop(DropReason::UnknownTarget)
}

/// Whether the sender of a tunnel packet may have this inner source: a Pod's address only from its node, a node's
/// only from that node; anything else (a client that entered there) may claim only to be the world. Nobody who comes from
/// elsewhere is this node, which policy lets into its Pods whatever else it says; and no Pod is a node.
///
/// # Errors
/// The reason to drop the packet.
#[inline(always)]
pub fn overlay_claim(
    inner_source_is_ours: bool,
    inner_route: Option<&Route>,
    outer_source: &Address,
    outer_is_node: bool,
    claimed: u32,
) -> Result<(), DropReason> {
    if inner_source_is_ours {
        return Err(DropReason::InvalidSourceIp);
    }
    let Some(route) = inner_route else { return Err(DropReason::InvalidSourceIp) };
    if route.kind == RouteKind::RemotePods as u8 || route.kind == RouteKind::RemoteNode as u8 {
        if !route.tunnel.same(outer_source) {
            return Err(DropReason::InvalidSourceIp);
        }
        let as_node = claimed == identity::REMOTE_NODE || claimed == identity::KUBE_APISERVER;
        if claimed == identity::HOST || as_node && route.kind == RouteKind::RemotePods as u8 {
            return Err(DropReason::InvalidIdentity);
        }
        return Ok(());
    }
    if route.kind != RouteKind::World as u8 {
        return Err(DropReason::InvalidSourceIp);
    }
    if !outer_is_node {
        return Err(DropReason::UnknownSender);
    }
    if claimed != identity::WORLD {
        return Err(DropReason::InvalidIdentity);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(kind: RouteKind, flags: u8, ifindex: u32) -> Route {
        Route { kind: kind as u8, flags, ifindex, tunnel: Address::from_v4([172, 18, 0, 3]), ..Route::ZERO }
    }

    #[test]
    fn ways() {
        let pod = Endpoint { ifindex: 7, ..Endpoint::ZERO };
        let host = Endpoint { flags: FLAG_HOST, ..Endpoint::ZERO };
        let world = route(RouteKind::World, 0, 2);
        assert_eq!(way(Some(&pod), Some(&world)), Way::Pod);
        assert_eq!(way(Some(&host), None), Way::Host);
        assert_eq!(way(None, None), Way::Drop(DropReason::UnknownTarget));
        assert_eq!(way(None, Some(&world)), Way::World);
        assert_eq!(way(None, Some(&route(RouteKind::World, 0, 0))), Way::Drop(DropReason::NoNextHop));
        assert_eq!(way(None, Some(&route(RouteKind::RemotePods, FLAG_TUNNEL, 0))), Way::Tunnel);
        assert_eq!(way(None, Some(&route(RouteKind::RemotePods, 0, 2))), Way::Native);
        assert_eq!(way(None, Some(&route(RouteKind::RemoteNode, 0, 0))), Way::Drop(DropReason::NoNextHop));
        assert_eq!(way(None, Some(&route(RouteKind::LocalPods, 0, 2))), Way::Drop(DropReason::NoLocalEndpoint));
        assert_eq!(way(None, Some(&route(RouteKind::Services, 0, 2))), Way::Drop(DropReason::ServiceAddress));
        let without = Route { tunnel: Address::ZERO, ..route(RouteKind::RemotePods, FLAG_TUNNEL, 0) };
        assert_eq!(way(None, Some(&without)), Way::Drop(DropReason::NoTunnelEndpoint));
    }

    #[test]
    fn claims() {
        let node = Address::from_v4([172, 18, 0, 3]);
        let other = Address::from_v4([172, 18, 0, 4]);
        let pods = route(RouteKind::RemotePods, FLAG_TUNNEL, 0);
        let world = route(RouteKind::World, 0, 2);
        assert_eq!(overlay_claim(false, Some(&pods), &node, true, 300), Ok(()));
        assert_eq!(overlay_claim(false, Some(&pods), &other, true, 300), Err(DropReason::InvalidSourceIp));
        assert_eq!(overlay_claim(true, Some(&pods), &node, true, 300), Err(DropReason::InvalidSourceIp));
        assert_eq!(overlay_claim(false, Some(&world), &node, true, identity::WORLD), Ok(()));
        assert_eq!(overlay_claim(false, Some(&world), &node, true, 300), Err(DropReason::InvalidIdentity));
        assert_eq!(overlay_claim(false, Some(&world), &other, false, identity::WORLD), Err(DropReason::UnknownSender));
        for (kind, claimed) in [
            (RouteKind::RemotePods, identity::HOST),
            (RouteKind::RemoteNode, identity::HOST),
            (RouteKind::RemotePods, identity::REMOTE_NODE),
            (RouteKind::RemotePods, identity::KUBE_APISERVER),
        ] {
            let from = route(kind, FLAG_TUNNEL, 0);
            assert_eq!(overlay_claim(false, Some(&from), &node, true, claimed), Err(DropReason::InvalidIdentity));
        }
        let from = route(RouteKind::RemoteNode, FLAG_TUNNEL, 0);
        assert_eq!(overlay_claim(false, Some(&from), &node, true, identity::REMOTE_NODE), Ok(()));
        // An identity that does not fit the VNI travels as the world's.
        assert_eq!(overlay_claim(false, Some(&pods), &node, true, identity::WORLD), Ok(()));
        let own = route(RouteKind::LocalPods, 0, 0);
        assert_eq!(overlay_claim(false, Some(&own), &node, true, 300), Err(DropReason::InvalidSourceIp));
    }
}
