//! Reads kind's own cluster file (`kind: Cluster`, `apiVersion: kind.x-k8s.io/v1alpha4`).
//!
//! Fields as in kind's `pkg/apis/config/v1alpha4/types.go`. Every field of that type is known here: those that mean
//! nothing without containers, kubeadm or containerd are accepted with a note, everything else is a mistake that is
//! told with its line.

mod raw;

use std::{collections::BTreeMap, fs, path::Path};

use serde_saphyr::Spanned;

use self::raw::{RawCluster, RawNetworking, RawNode, RawPort};

/// A cluster file, as far as a lab can follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCluster {
    /// `name`, when the file gives one.
    pub name: Option<String>,
    /// In the file's order; never empty (kind's default is one control plane).
    pub nodes: Vec<KindNode>,
    /// `networking.podSubnet`: one or two CIDRs, comma separated.
    pub pod_subnet: Option<String>,
    /// `networking.serviceSubnet`, likewise.
    pub service_subnet: Option<String>,
    /// `networking.apiServerPort`; 0 and -1 (kind's "pick one") are `None`.
    pub api_port: Option<u16>,
    /// What the file asks for and a lab does not do, or does in another way; one sentence each, with file and line.
    pub notes: Vec<String>,
}

/// One entry of `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindNode {
    pub role: Role,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<KindPort>,
}

/// `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    ControlPlane,
    Worker,
}

/// One entry of `extraPortMappings`, with the text of what it leaves to be interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindPort {
    pub container_port: u16,
    /// `None`: any free port, as in kind.
    pub host_port: Option<u16>,
    pub listen_address: Option<String>,
    pub udp: bool,
    /// `file:line` of the mapping.
    pub place: String,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum KindFileError {
    #[error("cannot read the cluster file {file}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    /// A mistake at a place; the text says what to write instead.
    #[error("{place}: {text}")]
    Mistake { place: String, text: String },
}

/// Reads and checks the file at `path`.
pub fn read(path: &Path) -> Result<KindCluster, KindFileError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| KindFileError::Read { file: file.clone(), source })?;
    parse(&file, &text)
}

/// Checks `text`, which errors and notes call `file`.
pub fn parse(file: &str, text: &str) -> Result<KindCluster, KindFileError> {
    let raw: RawCluster = serde_saphyr::from_str(text).map_err(|error| mistake_in_yaml(file, &error))?;
    Reader { file, notes: Vec::new() }.cluster(raw)
}

fn mistake_in_yaml(file: &str, error: &serde_saphyr::Error) -> KindFileError {
    let place = match error.location() {
        Some(at) => format!("{file}:{}:{}", at.line(), at.column()),
        None => file.to_owned(),
    };
    // The location stands in front already; the crate appends it once more.
    let text = error.without_snippet().to_string();
    let text = text.split(" at line ").next().unwrap_or(&text).trim_end_matches(':').to_owned();
    KindFileError::Mistake { place, text }
}

struct Reader<'a> {
    file: &'a str,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn cluster(mut self, raw: RawCluster) -> Result<KindCluster, KindFileError> {
        self.expect(&raw.kind, "kind", "Cluster")?;
        self.expect(&raw.api_version, "apiVersion", "kind.x-k8s.io/v1alpha4")?;
        for (field, ignored) in [
            ("featureGates", &raw.feature_gates),
            ("runtimeConfig", &raw.runtime_config),
            ("kubeadmConfigPatches", &raw.kubeadm_config_patches),
            ("kubeadmConfigPatchesJSON6902", &raw.kubeadm_config_patches_json6902),
            ("containerdConfigPatches", &raw.containerd_config_patches),
            ("containerdConfigPatchesJSON6902", &raw.containerd_config_patches_json6902),
        ] {
            self.ignore(ignored, field, "a lab has neither kubeadm nor containerd");
        }
        let mut nodes = Vec::new();
        for raw in raw.nodes.unwrap_or_default() {
            nodes.push(self.node(raw)?);
        }
        if nodes.is_empty() {
            nodes.push(KindNode { role: Role::ControlPlane, labels: BTreeMap::new(), ports: Vec::new() });
        }
        self.misplaced_ports(raw.extra_port_mappings, &mut nodes)?;
        let networking = raw.networking.unwrap_or_default();
        self.networking_notes(&networking);
        let api_port = match networking.api_server_port {
            None => None,
            Some(port) => self.optional_port(&port, "apiServerPort")?,
        };
        Ok(KindCluster {
            name: raw.name,
            nodes,
            pod_subnet: networking.pod_subnet,
            service_subnet: networking.service_subnet,
            api_port,
            notes: self.notes,
        })
    }

    fn node(&mut self, raw: RawNode) -> Result<KindNode, KindFileError> {
        let role = match raw.role.as_ref() {
            None => Role::ControlPlane, // kind's default
            Some(role) => match role.value.as_str() {
                "control-plane" => Role::ControlPlane,
                "worker" => Role::Worker,
                other => {
                    return Err(self.mistake(role, format!("nodes[].role {other:?}: write control-plane or worker")));
                }
            },
        };
        self.ignore(&raw.image, "image", "a lab's nodes are network namespaces, they have no image");
        self.ignore(
            &raw.extra_mounts,
            "extraMounts",
            "not supported: a lab's Pods see no host folders through their node",
        );
        self.ignore(&raw.kubeadm_config_patches, "kubeadmConfigPatches", "a lab has no kubeadm");
        self.ignore(&raw.kubeadm_config_patches_json6902, "kubeadmConfigPatchesJSON6902", "a lab has no kubeadm");
        let mut ports = Vec::new();
        for raw in raw.extra_port_mappings.unwrap_or_default() {
            ports.push(self.port(&raw)?);
        }
        Ok(KindNode { role, labels: raw.labels.unwrap_or_default(), ports })
    }

    fn port(&self, raw: &Spanned<RawPort>) -> Result<KindPort, KindFileError> {
        let Some(container_port) = raw.value.container_port.as_ref() else {
            return Err(self.mistake(raw, "extraPortMappings[] has no containerPort".to_owned()));
        };
        let Some(port) = u16::try_from(container_port.value).ok().filter(|port| *port != 0) else {
            return Err(self.mistake(
                container_port,
                format!("containerPort {}: write a port from 1 to 65535", container_port.value),
            ));
        };
        let host_port = match raw.value.host_port.as_ref() {
            None => None,
            Some(port) => self.optional_port(port, "hostPort")?,
        };
        let udp = match raw.value.protocol.as_ref() {
            None => false,
            Some(protocol) => match protocol.value.to_ascii_uppercase().as_str() {
                "TCP" => false,
                "UDP" => true,
                _ => return Err(self.mistake(protocol, format!("protocol {:?}: write TCP or UDP", protocol.value))),
            },
        };
        Ok(KindPort {
            container_port: port,
            host_port,
            listen_address: raw.value.listen_address.clone().filter(|text| !text.is_empty()),
            udp,
            place: format!("{}:{}", self.file, raw.referenced.line()),
        })
    }

    /// `extraPortMappings` beside `nodes` is a slip that people make. kind refuses the file; here the mapping is
    /// applied where it can only have been meant, at the control plane, and the note says where it belongs.
    fn misplaced_ports(
        &mut self,
        ports: Option<Spanned<Vec<Spanned<RawPort>>>>,
        nodes: &mut [KindNode],
    ) -> Result<(), KindFileError> {
        let Some(ports) = ports else { return Ok(()) };
        self.notes.push(format!(
            "{}:{}: extraPortMappings belongs under a node (kind would refuse this file); applied to the control plane",
            self.file,
            ports.referenced.line()
        ));
        let mut mapped = Vec::new();
        for raw in &ports.value {
            mapped.push(self.port(raw)?);
        }
        if let Some(node) = nodes.iter_mut().find(|node| node.role == Role::ControlPlane) {
            node.ports.extend(mapped);
        }
        Ok(())
    }

    fn networking_notes(&mut self, networking: &RawNetworking) {
        if let Some(family) = networking.ip_family.as_ref().filter(|family| family.value != "dual") {
            self.note(family, format!("ipFamily {}: a lab is always dual stack, IPv4 first", family.value));
        }
        if let Some(address) = networking.api_server_address.as_ref()
            && address.value.parse::<std::net::IpAddr>().is_ok_and(|address| !address.is_loopback())
        {
            self.note(address, format!("apiServerAddress {}: narrowed to 127.0.0.1 and ::1", address.value));
        }
        self.ignore(&networking.disable_default_cni, "disableDefaultCNI", "Malla is the lab's network");
        self.ignore(&networking.kube_proxy_mode, "kubeProxyMode", "Malla does the Services, in eBPF");
        self.ignore(&networking.dns_search, "dnsSearch", "a lab has no cluster DNS yet");
    }

    fn optional_port(&self, port: &Spanned<i64>, field: &str) -> Result<Option<u16>, KindFileError> {
        match port.value {
            -1 | 0 => Ok(None),
            value => u16::try_from(value).map(Some).map_err(|_| {
                self.mistake(port, format!("{field} {value}: write a port from 1 to 65535, or 0 for any free one"))
            }),
        }
    }

    fn expect(&self, given: &Option<Spanned<String>>, field: &str, wanted: &str) -> Result<(), KindFileError> {
        match given {
            Some(given) if given.value == wanted => Ok(()),
            Some(given) => {
                Err(self.mistake(given, format!("{field} is {:?}, a cluster file has {field}: {wanted}", given.value)))
            }
            None => Err(KindFileError::Mistake {
                place: format!("{}:1", self.file),
                text: format!("{field} is missing, a cluster file has {field}: {wanted}"),
            }),
        }
    }

    fn ignore<T>(&mut self, field: &Option<Spanned<T>>, name: &str, why: &str) {
        if let Some(field) = field {
            self.note(field, format!("{name} is ignored: {why}"));
        }
    }

    fn note<T>(&mut self, at: &Spanned<T>, text: String) {
        self.notes.push(format!("{}:{}: {text}", self.file, at.referenced.line()));
    }

    fn mistake<T>(&self, at: &Spanned<T>, text: String) -> KindFileError {
        KindFileError::Mistake { place: format!("{}:{}", self.file, at.referenced.line()), text }
    }
}

#[cfg(test)]
#[path = "kind_file_tests.rs"]
mod tests;
