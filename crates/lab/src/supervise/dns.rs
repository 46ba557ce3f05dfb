//! Names: Service `kube-dns`, as every cluster has it, and the files of the DNS processes.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Context;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    files::Folders,
    launch::{DNS_PORT, DNS_SERVICE},
    spec::LabSpec,
    subnets::outside_host,
};

/// Makes the Service if it is missing, and leads it to the control plane's addresses.
pub async fn publish(client: &Client, spec: &LabSpec) -> kube::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    let service = object(service(spec))?;
    match services.create(&PostParams::default(), &service).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
    }
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
    let (v4, v6) = spec.subnets.node(0);
    for (name, address) in [("kube-dns-ipv4", IpAddr::V4(v4)), ("kube-dns-ipv6", IpAddr::V6(v6))] {
        let slice = slice(name, address);
        match slices.create(&PostParams::default(), &object(slice.clone())?).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {
                slices.patch(name, &PatchParams::default(), &Patch::Merge(slice)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what is missing: the outside host's zone, which is anybody's to change, and the nodes' resolv.conf.
pub fn write_files(folders: &Folders) -> anyhow::Result<()> {
    let [v4, v6] = outside_host();
    let zone = format!(
        "; What the outside host's DNS knows: it stands for the Internet's, and denies every other name.\n\
         ; A change is seen when the process is started anew; end it, and the supervisor does that.\n\
         $ORIGIN .\n$TTL 5\n\
         @ SOA outside.example. hostmaster.outside.example. 1 7200 1800 86400 5\n\
         outside.example. A {v4}\noutside.example. AAAA {v6}\nwww.outside.example. CNAME outside.example.\n"
    );
    let resolver = format!("nameserver {v4}\nnameserver {v6}\n");
    for (file, text) in [(folders.outside_zone(), zone), (folders.node_resolv_conf(), resolver)] {
        if !file.exists() {
            write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    fs::rename(new, file)
}

fn service(spec: &LabSpec) -> Value {
    let addresses = spec.subnets.nth_service(DNS_SERVICE).map(|address| address.to_string());
    json!({
        "metadata": { "name": "kube-dns", "labels": { "k8s-app": "kube-dns" } },
        "spec": {
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "RequireDualStack",
            "ports": [
                { "name": "dns", "port": DNS_PORT, "protocol": "UDP" },
                { "name": "dns-tcp", "port": DNS_PORT, "protocol": "TCP" },
            ],
        },
    })
}

/// Hand-written: there is no Pod that a selector could find.
fn slice(name: &str, address: IpAddr) -> Value {
    json!({
        "metadata": { "name": name, "labels": {
            "kubernetes.io/service-name": "kube-dns",
            "endpointslice.kubernetes.io/managed-by": "malla-lab",
        } },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address.to_string()], "conditions": { "ready": true } }],
        "ports": [
            { "name": "dns", "port": DNS_PORT, "protocol": "UDP" },
            { "name": "dns-tcp", "port": DNS_PORT, "protocol": "TCP" },
        ],
    })
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> kube::Result<T> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Requested;

    #[test]
    fn the_service_is_at_the_tenth_address_of_each_range() {
        let spec = Requested { service_subnet: Some("10.0.0.0/16,fd98::/112".into()), ..Requested::default() };
        let service = service(&spec.resolve().unwrap().0);
        assert_eq!(service["spec"]["clusterIPs"], json!(["10.0.0.10", "fd98::a"]));
        let typed: Service = object(service).unwrap();
        assert_eq!(typed.spec.unwrap().ports.unwrap().len(), 2);
        let typed: EndpointSlice = object(slice("x", "fd00::1".parse().unwrap())).unwrap();
        assert_eq!(typed.address_type, "IPv6");
    }
}
