//! Addresses and the networks that they are in.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::Ip;
use ipnet::IpNet;
use std::net::IpAddr;

/// An address (`10.0.0.1`) or a network (`10.0.0.0/8`).
pub fn filter(field: &str, wanted: &[String], of: fn(&Ip) -> &String) -> Field {
    let read = |text: &String| {
        let net = if text.contains('/') { text.parse().ok() } else { text.parse::<IpAddr>().ok().map(IpNet::from) };
        net.ok_or_else(|| Invalid::new(field, format!("{text:?} is neither an address nor a network (10.0.0.0/8)")))
    };
    let nets = wanted.iter().map(read).collect::<Result<Vec<IpNet>, _>>()?;
    Ok((!nets.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            let address = flow.ip.as_ref().and_then(|ip| of(ip).parse::<IpAddr>().ok());
            address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
        })
    }))
}
