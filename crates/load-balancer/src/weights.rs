//! The annotation that gives a Service's endpoints weights.
//!
//! ```text
//! service.malla.dev/weights: "pod/web-canary-*=1, node/worker-3=0, *=9"
//! ```
//! What an endpoint can be named by is what its EndpointSlice says of it: its Pod's name (of the Service's namespace), node,
//! zone, address. Labels of Pods are not there, and nodes that watched all Pods for them would pay more for every Pod than
//! for all Services.

use ipnet::IpNet;
use model::weight::{Pattern, WeightRule, Weighted, Weights};
use std::net::IpAddr;

/// The annotation.
pub const ANNOTATION: &str = "service.malla.dev/weights";

/// Reads its value.
///
/// # Errors
/// A text for people that names the wrong part. Weights that hold in part would share the flows as nobody has asked for,
/// so none of them holds then.
pub fn parse(text: &str) -> Result<Weights, String> {
    let rules = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(rule);
    rules.collect::<Result<Vec<_>, _>>().map(Weights)
}

fn rule(text: &str) -> Result<WeightRule, String> {
    let wrong = |why: &str| format!("annotation {ANNOTATION}: {text:?}: {why}; no weight holds");
    let (who, weight) = text.rsplit_once('=').ok_or_else(|| wrong("write WHO=WEIGHT"))?;
    let weight = weight.trim().parse().ok().filter(|weight| *weight <= Weights::MAX);
    let weight = weight.ok_or_else(|| wrong("a weight is a number from 0 to 100"))?;
    let pattern = |name: &str| Pattern::new(name).ok_or_else(|| wrong("a star can only be the end of a name"));
    let who = match who.trim().split_once('/') {
        None if who.trim() == "*" => Weighted::All,
        Some(("pod", name)) => Weighted::Pod(pattern(name)?),
        Some(("node", name)) => Weighted::Node(pattern(name)?),
        Some(("zone", name)) => Weighted::Zone(pattern(name)?),
        Some(("address", prefix)) => {
            let one = || prefix.parse::<IpAddr>().ok().map(IpNet::from);
            Weighted::Address(prefix.parse().ok().or_else(one).ok_or_else(|| wrong("no address and no prefix"))?)
        }
        _ => return Err(wrong("WHO is pod/NAME, node/NAME, zone/NAME, address/PREFIX or *")),
    };
    Ok(WeightRule { who, weight })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Endpoint, EndpointState, Hints, ObjectName};

    fn endpoint(address: &str, pod: &str, node: &str, zone: &str) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            state: EndpointState::Ready,
            node: Some(node.into()),
            zone: Some(zone.into()),
            pod: Some(ObjectName::new("default", pod)),
            hints: Hints::default(),
        }
    }

    #[test]
    fn the_first_rule_that_names_an_endpoint_counts() {
        let text =
            "pod/web-canary-*=5,node/worker-1 = 0, zone/eu-1a=20,address/10.244.9.0/24=7,address/fd00::9=8 , *=100";
        let weights = parse(text).unwrap();
        for (address, pod, node, zone, expect) in [
            ("10.244.1.2", "web-canary-x", "worker-1", "eu-1a", 5),
            ("10.244.1.3", "web-1", "worker-1", "eu-1a", 0),
            ("10.244.2.3", "web-2", "worker-10", "eu-1a", 20),
            ("10.244.9.3", "web-3", "worker-2", "eu-1b", 7),
            ("fd00::9", "web-3", "worker-2", "eu-1b", 8),
            ("fd00::8", "web-3", "worker-2", "eu-1b", 100),
        ] {
            assert_eq!(weights.of(&endpoint(address, pod, node, zone)), expect, "{pod} {address}");
        }
        assert_eq!(parse("pod/x=3").unwrap().of(&endpoint("10.244.1.2", "y", "n", "z")), Weights::DEFAULT);
        assert!(parse("").unwrap().is_empty());
        let shown = weights.to_string();
        assert_eq!(parse(&shown), Ok(weights), "{shown}");
    }

    #[test]
    fn a_wrong_part_is_named_and_nothing_holds() {
        for (text, part, why) in [
            ("*=1, pod/web", "pod/web", "WHO=WEIGHT"),
            ("pod/web=101", "pod/web=101", "0 to 100"),
            ("pod/web=-1", "pod/web=-1", "0 to 100"),
            ("pod/w*b=1", "pod/w*b=1", "end of a name"),
            ("pod/=1", "pod/=1", "end of a name"),
            ("label/app=1", "label/app=1", "WHO is pod/NAME"),
            ("web=1", "web=1", "WHO is"),
            ("address/ten=1", "address/ten=1", "no address"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("{part:?}")) && error.contains(why), "{error}");
        }
    }
}
