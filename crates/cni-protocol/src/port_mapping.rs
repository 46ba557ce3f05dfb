//! The capability `portMappings` (CNI conventions, "Well-known Capabilities"): ports of the node that lead to a Pod. The
//! runtime gives them in `runtimeConfig` when the plugin's configuration declares the capability.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{CniError, ErrorCode, NetConf};

/// Name of the capability.
pub const PORT_MAPPINGS: &str = "portMappings";

/// A port of the node that leads to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    pub host_port: u16,
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in lower case.
    #[serde(default = "tcp")]
    pub protocol: String,
    /// An address of the node; all of them where there is none.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub host_ip: Option<IpAddr>,
}

impl NetConf {
    /// The port mappings that the runtime asks for. Those without a port on the node are left out, as the `portmap` plugin
    /// leaves them.
    ///
    /// # Errors
    /// When they can't be read: a Pod whose port is not there must not look as if it were.
    pub fn port_mappings(&self) -> Result<Vec<PortMapping>, CniError> {
        let Some(value) = self.runtime_config.get(PORT_MAPPINGS).filter(|value| !value.is_null()) else {
            return Ok(Vec::new());
        };
        let wrong = |why: String| {
            CniError::new(ErrorCode::INVALID_CONFIG, "runtimeConfig.portMappings can't be understood").with_details(why)
        };
        let mut all: Vec<PortMapping> =
            serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
        for mapping in &mut all {
            mapping.protocol.make_ascii_lowercase();
            if !matches!(mapping.protocol.as_str(), "tcp" | "udp" | "sctp") {
                return Err(wrong(format!("protocol {:?} is not tcp, udp or sctp", mapping.protocol)));
            }
            if mapping.container_port == 0 {
                return Err(wrong(format!("hostPort {} leads to containerPort 0", mapping.host_port)));
            }
        }
        all.retain(|mapping| mapping.host_port != 0);
        Ok(all)
    }
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// Runtimes write "" for none; the wildcards mean all addresses too.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address: IpAddr =
        text.parse().map_err(|_| serde::de::Error::custom(format!("hostIP {text:?} is no address")))?;
    Ok((!address.is_unspecified()).then_some(address))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(mappings: Value) -> Result<Vec<PortMapping>, CniError> {
        let config = json!({"cniVersion": "1.1.0", "name": "malla", "runtimeConfig": {"portMappings": mappings}});
        NetConf::from_value(config).unwrap().port_mappings()
    }

    #[test]
    fn as_runtimes_write_them() {
        let given = json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "172.18.0.3"},
            {"hostPort": 54, "containerPort": 5354, "hostIP": "::"},
            {"hostPort": 0, "containerPort": 9090, "protocol": "tcp"},
        ]);
        let of = |host_port, container_port, protocol: &str, host_ip: Option<&str>| PortMapping {
            host_port,
            container_port,
            protocol: protocol.to_owned(),
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        let expect = [of(8080, 80, "tcp", None), of(53, 5353, "udp", Some("172.18.0.3")), of(54, 5354, "tcp", None)];
        assert_eq!(read(given).unwrap(), expect);
        assert_eq!(read(Value::Null).unwrap(), []);
        let written = serde_json::to_value(&expect).unwrap();
        assert_eq!(read(written).unwrap(), expect);
    }

    #[test]
    fn what_can_not_be_understood_is_refused() {
        for (mappings, why) in [
            (json!({}), "invalid type"),
            (json!([{"hostPort": 80}]), "containerPort"),
            (json!([{"hostPort": 80, "containerPort": 0}]), "containerPort 0"),
            (json!([{"hostPort": 70000, "containerPort": 80}]), "70000"),
            (json!([{"hostPort": -1, "containerPort": 80}]), "-1"),
            (json!([{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]), "icmp"),
            (json!([{"hostPort": 80, "containerPort": 80, "hostIP": "node"}]), "no address"),
        ] {
            let error = read(mappings).unwrap_err();
            assert!(error.code == ErrorCode::INVALID_CONFIG && error.details.contains(why), "{error:?}");
        }
    }
}
