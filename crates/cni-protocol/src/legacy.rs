//! The result of 0.1.0 and 0.2.0: at most one address of each family, each with its own routes, and no interfaces
//! (<https://github.com/containernetworking/cni/blob/spec-v0.2.0/SPEC.md#result>).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    CniError, CniResult, Dns, ErrorCode, IpConfig, Route, Version,
    result::{decode, unreadable},
};

#[derive(Serialize, Deserialize)]
struct LegacyResult {
    #[serde(default, rename = "cniVersion")]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip4: Option<LegacyIp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip6: Option<LegacyIp>,
    #[serde(default, skip_serializing_if = "Dns::is_empty")]
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct LegacyIp {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<LegacyRoute>>,
}

#[derive(Serialize, Deserialize)]
struct LegacyRoute {
    dst: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
}

pub(crate) fn to_json(result: &CniResult, version: Version) -> Result<Value, CniError> {
    let family = |ipv4: bool| {
        let ip = result.ips.iter().find(|ip| ip.address.addr().is_ipv4() == ipv4)?;
        let routes = result.routes.iter().filter(|route| route.dst.addr().is_ipv4() == ipv4);
        let routes: Vec<_> = routes.map(|route| LegacyRoute { dst: route.dst, gw: route.gw }).collect();
        Some(LegacyIp { ip: ip.address, gateway: ip.gateway, routes: (!routes.is_empty()).then_some(routes) })
    };
    let legacy =
        LegacyResult { version: version.to_string(), ip4: family(true), ip6: family(false), dns: result.dns.clone() };
    if legacy.ip4.is_none() && legacy.ip6.is_none() {
        return Err(CniError::new(
            ErrorCode::INCOMPATIBLE_VERSION,
            format!("a result without addresses can't be told in CNI version {version}"),
        ));
    }
    serde_json::to_value(legacy).map_err(|error| unreadable(&error.to_string()))
}

pub(crate) fn from_json(object: Map<String, Value>) -> Result<CniResult, CniError> {
    let legacy: LegacyResult = decode(object)?;
    let mut result = CniResult { dns: legacy.dns, ..CniResult::default() };
    for (ip, ipv4) in [(legacy.ip4, true), (legacy.ip6, false)] {
        let Some(ip) = ip else { continue };
        let routes = ip.routes.unwrap_or_default();
        if ip.ip.addr().is_ipv4() != ipv4 || routes.iter().any(|route| route.dst.addr().is_ipv4() != ipv4) {
            return Err(unreadable("an address or route stands in the wrong family"));
        }
        result.ips.push(IpConfig { address: ip.ip, gateway: ip.gateway, interface: None });
        result.routes.extend(routes.into_iter().map(|route| Route { gw: route.gw, ..Route::to(route.dst.trunc()) }));
    }
    Ok(result)
}
