//! Addresses and node ports of Services (k8s.io/kubernetes `pkg/registry/core/service/storage/alloc.go`).

mod family;

use crate::error::Cause;
use crate::object;
use family::Family;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Who has which address and port. Rebuilt from the stored Services at the start.
pub struct Allocator {
    ranges: Vec<IpNet>,
    ports: RangeInclusive<u16>,
    addresses: HashMap<IpAddr, String>,
    node_ports: HashMap<u16, String>,
    /// The same by holder, so that one Service's change costs the same among fifty thousand.
    held: HashMap<String, (Vec<IpAddr>, Vec<u16>)>,
    /// Where the next search starts: random at first and moving on, so that a freed address is not reused at once.
    cursor: u64,
}

impl Allocator {
    /// Nothing given yet.
    pub fn new(ranges: &[IpNet], ports: RangeInclusive<u16>) -> Self {
        let cursor = u64::from_be_bytes(uuid::Uuid::new_v4().into_bytes()[..8].try_into().unwrap_or([0; 8]));
        Self {
            ranges: ranges.to_vec(),
            ports,
            addresses: HashMap::new(),
            node_ports: HashMap::new(),
            held: HashMap::new(),
            cursor,
        }
    }

    /// Notes what the stored Service `key` holds now, and nothing else.
    pub fn record(&mut self, key: &str, service: &Value) {
        self.release(key);
        let addresses: Vec<IpAddr> = object::list(service, "/spec/clusterIPs")
            .iter()
            .filter_map(|address| address.as_str()?.parse().ok())
            .collect();
        let health = service["spec"].get("healthCheckNodePort");
        let ports: Vec<u16> = object::list(service, "/spec/ports")
            .iter()
            .filter_map(|port| port.get("nodePort"))
            .chain(health)
            .filter_map(|port| u16::try_from(port.as_u64()?).ok())
            .filter(|port| *port != 0)
            .collect();
        self.addresses.extend(addresses.iter().map(|address| (*address, key.to_owned())));
        self.node_ports.extend(ports.iter().map(|port| (*port, key.to_owned())));
        self.held.insert(key.to_owned(), (addresses, ports));
    }

    /// Frees all that `key` holds.
    pub fn release(&mut self, key: &str) {
        let (addresses, ports) = self.held.remove(key).unwrap_or_default();
        for address in addresses {
            self.addresses.remove(&address);
        }
        for port in ports {
            self.node_ports.remove(&port);
        }
    }

    /// Completes a Service's families, addresses and ports. Nothing is noted: [`Self::record`] does, once it is stored.
    pub fn assign(&mut self, key: &str, old: Option<&Value>, service: &mut Value) -> Result<(), Vec<Cause>> {
        keep_allocated(old, service);
        let spec = object::map_mut(service, "spec");
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
                spec.remove(field);
            }
        } else {
            let families = self.families(old.is_some(), service)?;
            self.assign_addresses(key, &families, service)?;
        }
        self.assign_ports(key, &kind, service)
    }

    /// Decides families and policy; KEP-563.
    fn families(&self, updating: bool, service: &mut Value) -> Result<Vec<Family>, Vec<Cause>> {
        let cluster: Vec<Family> = self.ranges.iter().map(Family::of_range).collect();
        let Some(primary) = cluster.first().copied() else {
            return Err(vec![Cause::forbidden("spec.clusterIPs", "the cluster has no Service range")]);
        };
        let spec = object::map_mut(service, "spec");
        let mut addresses: Vec<String> = strings(spec.get("clusterIPs"));
        if let Some(first) = spec.get("clusterIP").and_then(Value::as_str).filter(|first| !first.is_empty()) {
            match addresses.first_mut() {
                None => addresses.push(first.to_owned()),
                Some(listed) if listed != first => {
                    return Err(vec![Cause::invalid(
                        "spec.clusterIPs",
                        addresses,
                        "first value must match `clusterIP`",
                    )]);
                }
                Some(_) => {}
            }
        }
        let headless = addresses.first().is_some_and(|first| first == "None");
        let mut families = Vec::new();
        for (index, name) in strings(spec.get("ipFamilies")).iter().enumerate() {
            let Some(family) = Family::parse(name) else {
                return Err(vec![Cause::unsupported(format!("spec.ipFamilies[{index}]"), name, &["IPv4", "IPv6"])]);
            };
            if families.contains(&family) {
                return Err(vec![Cause::duplicate(format!("spec.ipFamilies[{index}]"), name.as_str())]);
            }
            if !cluster.contains(&family) {
                return Err(vec![Cause::invalid(
                    format!("spec.ipFamilies[{index}]"),
                    name.as_str(),
                    "not configured on this cluster",
                )]);
            }
            families.push(family);
        }
        if !headless {
            for (index, text) in addresses.iter().enumerate() {
                let Ok(address) = text.parse::<IpAddr>() else {
                    let field = format!("spec.clusterIPs[{index}]");
                    return Err(vec![Cause::invalid(
                        field,
                        text.as_str(),
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    )]);
                };
                let family = Family::of(address);
                match families.get(index) {
                    None => families.push(family),
                    Some(listed) if *listed != family => {
                        return Err(vec![Cause::invalid(
                            format!("spec.clusterIPs[{index}]"),
                            text.as_str(),
                            format!("expected an {} value as indicated by `ipFamilies[{index}]`", listed.name()),
                        )]);
                    }
                    Some(_) => {}
                }
            }
        }
        let selectorless = spec.get("selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
        let policy = match spec.get("ipFamilyPolicy").and_then(Value::as_str) {
            Some(policy) => policy.to_owned(),
            None if families.len() > 1 => "RequireDualStack".into(),
            // A headless Service without selector is told its addresses by somebody else: it may be of both families.
            None if headless && selectorless && families.is_empty() && !updating => "RequireDualStack".into(),
            None => "SingleStack".into(),
        };
        if policy == "RequireDualStack" && cluster.len() < 2 && !(headless && selectorless) {
            return Err(vec![Cause::invalid(
                "spec.ipFamilyPolicy",
                policy,
                "Cluster is not configured for dual-stack services",
            )]);
        }
        if families.is_empty() {
            families.push(primary);
        }
        if policy == "SingleStack" {
            families.truncate(1);
            addresses.truncate(1);
        } else if families.len() < 2 {
            let other = families[0].other();
            if cluster.contains(&other) || (headless && selectorless) {
                families.push(other);
            }
        }
        spec.insert("ipFamilyPolicy".into(), policy.into());
        spec.insert("ipFamilies".into(), families.iter().map(|family| family.name()).collect());
        spec.insert("clusterIPs".into(), addresses.into());
        Ok(families)
    }

    fn assign_addresses(&mut self, key: &str, families: &[Family], service: &mut Value) -> Result<(), Vec<Cause>> {
        let spec = object::map_mut(service, "spec");
        let mut addresses = strings(spec.get("clusterIPs"));
        if addresses.first().is_some_and(|first| first == "None") {
            spec.insert("clusterIP".into(), "None".into());
            spec.insert("clusterIPs".into(), json!(["None"]));
            return Ok(());
        }
        for (index, family) in families.iter().enumerate() {
            let Some(range) = self.ranges.iter().find(|range| Family::of_range(range) == *family).copied() else {
                continue;
            };
            if let Some(text) = addresses.get(index) {
                // Parsed before: families() refuses what is no address.
                let Ok(address) = text.parse::<IpAddr>() else { continue };
                let refused = |why: String| {
                    vec![Cause::invalid(
                        "spec.clusterIPs",
                        json!([text]),
                        format!("failed to allocate IP {text}: {why}"),
                    )]
                };
                if !range.contains(&address) {
                    return Err(refused(format!(
                        "the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"
                    )));
                }
                if self.addresses.get(&address).is_some_and(|holder| holder != key) {
                    return Err(refused("provided IP is already allocated".into()));
                }
                addresses[index] = address.to_string();
            } else {
                let Some(address) = self.free_address(range) else {
                    return Err(vec![Cause::invalid(
                        "spec.clusterIPs",
                        json!([]),
                        format!("failed to allocate a serviceIP: range {range} is full"),
                    )]);
                };
                addresses.push(address.to_string());
            }
        }
        spec.insert("clusterIP".into(), addresses[0].clone().into());
        spec.insert("clusterIPs".into(), addresses.into());
        Ok(())
    }

    /// The first free address behind the cursor. The range's lowest 256 (or its lower half, where smaller) are left to
    /// those who ask for an address by number (KEP-3070), until the rest is full.
    fn free_address(&mut self, range: IpNet) -> Option<IpAddr> {
        let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
        // More than 2^20 are never looked through; no cluster has that many Services.
        let size: u64 = 1 << host_bits.min(20);
        let usable = if matches!(range, IpNet::V4(_)) { size.saturating_sub(1) } else { size };
        let reserved = 256.min(size / 2).max(1);
        let upper = usable.saturating_sub(reserved);
        self.cursor = self.cursor.wrapping_add(1);
        let from_upper = (0..upper).map(|step| reserved + (self.cursor.wrapping_add(step)) % upper.max(1));
        let offset = from_upper
            .chain(1..reserved.min(usable))
            .find(|offset| !self.addresses.contains_key(&at(range, *offset)))?;
        Some(at(range, offset))
    }

    fn assign_ports(&mut self, key: &str, kind: &str, service: &mut Value) -> Result<(), Vec<Cause>> {
        let spec = object::map_mut(service, "spec");
        let balanced = kind == "LoadBalancer";
        let wants =
            kind == "NodePort" || (balanced && spec.get("allocateLoadBalancerNodePorts") != Some(&json!(false)));
        let local = spec.get("externalTrafficPolicy") == Some(&json!("Local"));
        let mut taken: Vec<(u16, String)> = Vec::new();
        for (index, port) in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
            let asked = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
            if asked != 0 {
                if !matches!(kind, "NodePort" | "LoadBalancer") {
                    continue;
                }
                let field = format!("spec.ports[{index}].nodePort");
                let number = self.check_port(key, asked, &field)?;
                // One number may serve two protocols of one Service, not one protocol twice.
                if taken.contains(&(number, protocol.clone())) {
                    return Err(vec![Cause::invalid(field, asked, "provided port is already allocated")]);
                }
                taken.push((number, protocol));
            } else if wants {
                let Some(number) = self.free_port(&taken) else {
                    let field = format!("spec.ports[{index}].nodePort");
                    return Err(vec![Cause::invalid(field, 0, "failed to allocate a nodePort: range is full")]);
                };
                port["nodePort"] = number.into();
                taken.push((number, protocol));
            } else if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
        if balanced && local {
            let asked = spec.get("healthCheckNodePort").and_then(Value::as_i64).unwrap_or(0);
            if asked != 0 {
                self.check_port(key, asked, "spec.healthCheckNodePort")?;
            } else if let Some(number) = self.free_port(&taken) {
                spec.insert("healthCheckNodePort".into(), number.into());
            }
        } else {
            spec.remove("healthCheckNodePort");
        }
        Ok(())
    }

    fn check_port(&self, key: &str, asked: i64, field: &str) -> Result<u16, Vec<Cause>> {
        let number = u16::try_from(asked).ok().filter(|number| self.ports.contains(number));
        let Some(number) = number else {
            let (low, high) = (self.ports.start(), self.ports.end());
            let message = format!("provided port is not in the valid range. The range of valid ports is {low}-{high}");
            return Err(vec![Cause::invalid(field, asked, message)]);
        };
        if self.node_ports.get(&number).is_some_and(|holder| holder != key) {
            return Err(vec![Cause::invalid(field, asked, "provided port is already allocated")]);
        }
        Ok(number)
    }

    fn free_port(&mut self, taken: &[(u16, String)]) -> Option<u16> {
        let (low, high) = (u64::from(*self.ports.start()), u64::from(*self.ports.end()));
        let count = (high + 1).saturating_sub(low).max(1);
        self.cursor = self.cursor.wrapping_add(1);
        (0..count).filter_map(|step| u16::try_from(low + (self.cursor.wrapping_add(step)) % count).ok()).find(|port| {
            self.ports.contains(port)
                && !self.node_ports.contains_key(port)
                && !taken.iter().any(|(other, _)| other == port)
        })
    }
}

/// An update that leaves out what was allocated keeps it, as clients that replace a Service expect.
fn keep_allocated(old: Option<&Value>, service: &mut Value) {
    let Some(old) = old else { return };
    let external = |service: &Value| service["spec"]["type"] == "ExternalName";
    if external(old) || external(service) {
        return;
    }
    let spec = object::map_mut(service, "spec");
    if spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").is_empty()
        && strings(spec.get("clusterIPs")).is_empty()
    {
        spec.insert("clusterIP".into(), old["spec"]["clusterIP"].clone());
        spec.insert("clusterIPs".into(), old["spec"]["clusterIPs"].clone());
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if !old["spec"][field].is_null() {
            object::default(spec, field, old["spec"][field].clone());
        }
    }
    let exposed = |kind: Option<&Value>| matches!(kind.and_then(Value::as_str), Some("NodePort" | "LoadBalancer"));
    if exposed(old["spec"].get("type")) && exposed(spec.get("type")) {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let same = |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
            let before = object::list(old, "/spec/ports").iter().find(same).map(|before| before["nodePort"].clone());
            let unset = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0;
            if let (Some(before), true) = (before.filter(Value::is_i64), unset) {
                port["nodePort"] = before;
            }
        }
        if old["spec"]["healthCheckNodePort"].is_i64() && spec.get("externalTrafficPolicy") == Some(&json!("Local")) {
            object::default(spec, "healthCheckNodePort", old["spec"]["healthCheckNodePort"].clone());
        }
    } else if exposed(old["spec"].get("type")) {
        // Back to ClusterIP: numbers that were only carried over go.
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let carried = object::list(old, "/spec/ports").iter().any(|before| before["nodePort"] == port["nodePort"]);
            if let Some(port) = port.as_object_mut().filter(|_| carried) {
                port.remove("nodePort");
            }
        }
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// The address `offset` behind the start of a range.
pub fn at(range: IpNet, offset: u64) -> IpAddr {
    match range {
        IpNet::V4(net) => {
            // Offsets are below 2^20 and within the range, by the callers.
            let offset = u32::try_from(offset).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(net.network()).wrapping_add(offset)))
        }
        IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(u128::from(net.network()).wrapping_add(u128::from(offset)))),
    }
}

#[cfg(test)]
mod tests;
