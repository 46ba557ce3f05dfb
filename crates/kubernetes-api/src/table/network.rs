use super::columns::{created, name, or_none};
use super::{Column, Printer};
use crate::object;
use crate::selectors::selector_object_text;
use serde_json::Value;

pub const SERVICES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Type", "string", 0),
        Column("Cluster-IP", "string", 0),
        Column("External-IP", "string", 0),
        Column("Port(s)", "string", 0),
        Column("Age", "string", 0),
        Column("Selector", "string", 1),
    ],
    cells: |service| {
        vec![
            name(service),
            service["spec"]["type"].clone(),
            or_none(service, "/spec/clusterIP"),
            external(service).into(),
            service_ports(service).into(),
            created(service),
            none_if_empty(selector_object_text(&service["spec"]["selector"])),
        ]
    },
};

fn none_if_empty(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn external(service: &Value) -> String {
    let mut addresses: Vec<&str> =
        object::list(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match object::text(service, "/spec/type") {
        "ExternalName" => return object::text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let given = object::list(service, "/status/loadBalancer/ingress");
            addresses.extend(given.iter().map(|one| match object::text(one, "/ip") {
                "" => object::text(one, "/hostname"),
                ip => ip,
            }));
            if addresses.is_empty() {
                return "<pending>".into();
            }
        }
        _ => {}
    }
    if addresses.is_empty() { "<none>".into() } else { addresses.join(",") }
}

fn service_ports(service: &Value) -> String {
    let ports = object::list(service, "/spec/ports");
    let texts: Vec<String> = ports
        .iter()
        .map(|port| {
            let (number, protocol) = (port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or("TCP"));
            match port["nodePort"].as_i64() {
                Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    if texts.is_empty() { "<none>".into() } else { texts.join(",") }
}

pub const ENDPOINTS: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Endpoints", "string", 0), Column("Age", "string", 0)],
    cells: |endpoints| {
        let mut pairs = Vec::new();
        for subset in object::list(endpoints, "/subsets") {
            for address in object::list(subset, "/addresses") {
                let ip = object::text(address, "/ip");
                let ports = object::list(subset, "/ports");
                if ports.is_empty() {
                    pairs.push(ip.to_owned());
                }
                for port in ports {
                    let number = port["port"].as_i64().unwrap_or(0);
                    pairs.push(if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") });
                }
            }
        }
        vec![name(endpoints), none_if_empty(shortened(&pairs, 3)), created(endpoints)]
    },
};

/// The first few, and how many more.
fn shortened(items: &[String], shown: usize) -> String {
    if items.len() > shown {
        format!("{} + {} more...", items[..shown].join(","), items.len() - shown)
    } else {
        items.join(",")
    }
}

pub const ENDPOINT_SLICES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("AddressType", "string", 0),
        Column("Ports", "string", 0),
        Column("Endpoints", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |slice| {
        let ports: Vec<String> = object::list(slice, "/ports")
            .iter()
            .map(|port| port["port"].as_i64().map_or("*".into(), |port| port.to_string()))
            .collect();
        let addresses: Vec<String> = object::list(slice, "/endpoints")
            .iter()
            .flat_map(|endpoint| object::list(endpoint, "/addresses"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let unset = |text: String| if text.is_empty() { "<unset>".to_owned() } else { text };
        vec![
            name(slice),
            slice["addressType"].clone(),
            unset(shortened(&ports, 3)).into(),
            unset(shortened(&addresses, 3)).into(),
            created(slice),
        ]
    },
};

pub const NETWORK_POLICIES: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Pod-Selector", "string", 0), Column("Age", "string", 0)],
    cells: |policy| {
        vec![name(policy), none_if_empty(selector_object_text(&policy["spec"]["podSelector"])), created(policy)]
    },
};

pub const INGRESSES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Class", "string", 0),
        Column("Hosts", "string", 0),
        Column("Address", "string", 0),
        Column("Ports", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |ingress| {
        let hosts: Vec<String> = object::list(ingress, "/spec/rules")
            .iter()
            .map(|rule| object::text(rule, "/host"))
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect();
        let addresses: Vec<&str> =
            object::list(ingress, "/status/loadBalancer/ingress").iter().map(|one| object::text(one, "/ip")).collect();
        let ports = if object::list(ingress, "/spec/tls").is_empty() { "80" } else { "80, 443" };
        let hosts = if hosts.is_empty() { "*".into() } else { shortened(&hosts, 3) };
        vec![
            name(ingress),
            or_none(ingress, "/spec/ingressClassName"),
            hosts.into(),
            addresses.join(",").into(),
            ports.into(),
            created(ingress),
        ]
    },
};

pub const INGRESS_CLASSES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Controller", "string", 0),
        Column("Parameters", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |class| {
        vec![name(class), class["spec"]["controller"].clone(), or_none(class, "/spec/parameters/name"), created(class)]
    },
};
