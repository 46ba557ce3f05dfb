//! The network configuration that a plugin gets on standard input ("Execution configuration" in the specification).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CniError, CniResult, Dns, ErrorCode, Version, environment::is_identifier};

/// A plugin's configuration with what the runtime added to it.
#[derive(Debug, Clone, PartialEq)]
pub struct NetConf {
    pub version: Version,
    /// Name of the network, unique on the host.
    pub name: String,
    /// Name of the plugin's binary (`type`).
    pub plugin: String,
    /// What the runtime gives for the capabilities that the configuration declares.
    pub runtime_config: Map<String, Value>,
    /// Arguments by other means than `CNI_ARGS`; unknown ones are to be ignored.
    pub args: Map<String, Value>,
    /// The configuration of an IPAM plugin.
    pub ipam: Option<Value>,
    pub dns: Option<Dns>,
    /// What the plugin before this one answered, or for DEL and CHECK what ADD answered.
    pub prev_result: Option<CniResult>,
    /// GC: whatever is not in here may go (`cni.dev/valid-attachments`).
    pub valid_attachments: Option<Vec<Attachment>>,
    /// Malla's own key: where the agent listens.
    pub socket: Option<PathBuf>,
}

/// One container's one interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

impl NetConf {
    /// Reads a configuration from standard input's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, CniError> {
        let value = serde_json::from_slice(bytes).map_err(|error| {
            CniError::new(ErrorCode::DECODING_FAILURE, "the network configuration is not JSON")
                .with_details(error.to_string())
        })?;
        Self::from_value(value)
    }

    /// Reads a configuration.
    pub fn from_value(value: Value) -> Result<Self, CniError> {
        let Value::Object(mut object) = value else {
            return Err(CniError::new(ErrorCode::DECODING_FAILURE, "the network configuration is not a JSON object"));
        };
        // The version first: what follows may look quite different in another.
        let version = Version::of(&object)?;
        let name: String = take(&mut object, "name")?.unwrap_or_default();
        if !is_identifier(&name) {
            let shown: String = name.chars().take(64).collect();
            return Err(CniError::new(ErrorCode::INVALID_CONFIG, "the network's name is invalid").with_details(
                format!("{shown:?} is not a letter or digit followed by letters, digits, '_', '.' and '-'"),
            ));
        }
        let prev_result = match object.remove("prevResult") {
            None | Some(Value::Null) => None,
            Some(value) => Some(CniResult::from_json(value, version)?),
        };
        Ok(Self {
            version,
            name,
            plugin: take(&mut object, "type")?.unwrap_or_default(),
            runtime_config: take(&mut object, "runtimeConfig")?.unwrap_or_default(),
            args: take(&mut object, "args")?.unwrap_or_default(),
            ipam: take(&mut object, "ipam")?,
            dns: take(&mut object, "dns")?,
            prev_result,
            valid_attachments: take(&mut object, VALID_ATTACHMENTS)?,
            socket: take(&mut object, "socket")?,
        })
    }
}

/// Takes one key out; null counts as absent.
fn take<T: serde::de::DeserializeOwned>(
    object: &mut Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, CniError> {
    let Some(value) = object.remove(key) else { return Ok(None) };
    serde_json::from_value(value).map_err(|error| {
        CniError::new(ErrorCode::DECODING_FAILURE, format!("{key:?} in the network configuration can't be read"))
            .with_details(error.to_string())
    })
}

const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_full_configuration() {
        let conf = NetConf::from_value(json!({
            "cniVersion": "1.1.0", "name": "malla", "type": "malla-cni", "socket": "/run/malla/cni.sock",
            "capabilities": {"portMappings": true}, "unknown": [1, 2],
            "args": {"labels": [{"key": "app", "value": "spink"}]},
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]},
            "cni.dev/valid-attachments": [{"containerID": "a1", "ifname": "eth0"}],
            "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.244.1.5/32"}]},
        }))
        .unwrap();
        assert_eq!((conf.version, conf.name.as_str(), conf.plugin.as_str()), (Version::V1_1_0, "malla", "malla-cni"));
        assert_eq!(conf.socket.as_deref(), Some(std::path::Path::new("/run/malla/cni.sock")));
        let valid = vec![Attachment { container_id: "a1".into(), ifname: "eth0".into() }];
        assert_eq!(conf.valid_attachments, Some(valid));
        assert_eq!(conf.prev_result.unwrap().ips.len(), 1);
        assert!(conf.runtime_config.contains_key("portMappings"));
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        let code = |value: Value| NetConf::from_value(value).unwrap_err().code;
        assert_eq!(NetConf::parse(b"{").unwrap_err().code, ErrorCode::DECODING_FAILURE);
        assert_eq!(NetConf::parse(b"").unwrap_err().code, ErrorCode::DECODING_FAILURE);
        assert_eq!(code(json!([])), ErrorCode::DECODING_FAILURE);
        assert_eq!(code(json!({"cniVersion": "2.0.0", "name": "x"})), ErrorCode::INCOMPATIBLE_VERSION);
        assert_eq!(code(json!({"cniVersion": "1.1.0"})), ErrorCode::INVALID_CONFIG);
        assert_eq!(code(json!({"cniVersion": "1.1.0", "name": "../x"})), ErrorCode::INVALID_CONFIG);
        assert_eq!(code(json!({"cniVersion": "1.1.0", "name": "x", "args": 1})), ErrorCode::DECODING_FAILURE);
        let attachments =
            json!({"cniVersion": "1.1.0", "name": "x", "cni.dev/valid-attachments": [{"ifname": "eth0"}]});
        assert_eq!(code(attachments), ErrorCode::DECODING_FAILURE);
    }

    #[test]
    fn an_absent_list_of_attachments_is_not_an_empty_one() {
        let conf = |value| NetConf::from_value(value).unwrap().valid_attachments;
        assert_eq!(conf(json!({"name": "x"})), None);
        assert_eq!(conf(json!({"name": "x", "cni.dev/valid-attachments": []})), Some(vec![]));
    }
}
