//! The result of ADD. Inside it is always that of 1.1.0; [`CniResult::to_json`] and [`CniResult::from_json`] speak
//! the others (the oldest form is in `legacy`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CniError, ErrorCode, Version, legacy};

/// What a plugin made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CniResult {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub interfaces: Vec<Interface>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub ips: Vec<IpConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub routes: Vec<Route>,
    #[serde(default, skip_serializing_if = "Dns::is_empty", deserialize_with = "null_as_default")]
    pub dns: Dns,
}

/// An interface that the plugin made. `mtu`, `socketPath` and `pciID` exist from 1.1.0 on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the namespace it is in; absent for the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    #[serde(default, rename = "socketPath", skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    #[serde(default, rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address that the plugin assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address and prefix length.
    pub address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Place in `interfaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u32>,
}

/// A route that the plugin made. All but `dst` and `gw` exist from 1.1.0 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub dst: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
}

/// Name resolution that the network's configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dns {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub nameservers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub search: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub options: Vec<String>,
}

impl Dns {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Route {
    /// A route with nothing but its destination.
    #[must_use]
    pub fn to(dst: IpNet) -> Self {
        Self { dst, gw: None, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

impl CniResult {
    /// The result in the form of `version`. What that version cannot express is left out, except that a result
    /// without any address cannot be told in versions before 0.3.0, as in libcni.
    pub fn to_json(&self, version: Version) -> Result<Value, CniError> {
        if version < Version::V0_3_0 {
            return legacy::to_json(self, version);
        }
        let mut narrowed = self.clone();
        if version < Version::V1_1_0 {
            for interface in &mut narrowed.interfaces {
                *interface = Interface { mtu: None, socket_path: None, pci_id: None, ..std::mem::take(interface) };
            }
            for route in &mut narrowed.routes {
                *route = Route { gw: route.gw, ..Route::to(route.dst) };
            }
        }
        let mut value = serde_json::to_value(&narrowed).map_err(|error| {
            CniError::new(ErrorCode::DECODING_FAILURE, "the result can't be written").with_details(error.to_string())
        })?;
        value["cniVersion"] = version.as_str().into();
        if version < Version::V1_0_0 {
            for (json, ip) in value["ips"].as_array_mut().into_iter().flatten().zip(&self.ips) {
                json["version"] = if ip.address.addr().is_ipv4() { "4" } else { "6" }.into();
            }
        }
        Ok(value)
    }

    /// Reads a result of the version that it names, or of `default` if it names none.
    pub fn from_json(value: Value, default: Version) -> Result<Self, CniError> {
        let Value::Object(object) = value else { return Err(unreadable("it is not an object")) };
        let version = if object.contains_key("cniVersion") { Version::of(&object)? } else { default };
        if version < Version::V0_3_0 {
            return legacy::from_json(object);
        }
        let mut result: Self = decode(object)?;
        // A place outside of the list would be followed by somebody one day.
        let count = result.interfaces.len();
        if let Some(ip) = result.ips.iter().find(|ip| ip.interface.is_some_and(|place| place as usize >= count)) {
            return Err(unreadable(&format!("address {} names an interface that is not in the list", ip.address)));
        }
        for route in &mut result.routes {
            route.dst = route.dst.trunc();
        }
        Ok(result)
    }
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(object: Map<String, Value>) -> Result<T, CniError> {
    serde_json::from_value(Value::Object(object)).map_err(|error| unreadable(&error.to_string()))
}

pub(crate) fn unreadable(reason: &str) -> CniError {
    CniError::new(ErrorCode::DECODING_FAILURE, "the result can't be read").with_details(reason)
}

/// Go writes an empty list as null.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
