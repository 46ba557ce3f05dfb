//! Executing plugins (CNI specification 1.1, §2 and §3).

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use cni_protocol::{PORT_MAPPINGS, PortMapping};
use network_namespace::NetNs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::config::{ConfigError, NetworkConfig, has_capability, plugin_type};

/// One container's place in the network, as the plugin is told it. Written to disk before ADD, so that a DEL can
/// follow whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The sandbox's id, 64 hexadecimal digits.
    pub container_id: String,
    pub ifname: String,
    pub netns: PathBuf,
    pub pod_namespace: String,
    pub pod_name: String,
    pub pod_uid: String,
    /// Ports of the node that are to lead to the Pod.
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// What ADD returned.
    pub result: Option<Value>,
}

/// Why a network operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("failed to find plugin {plugin:?} in path {path:?}")]
    NotFound { plugin: String, path: Vec<PathBuf> },
    #[error("execute plugin {plugin:?} for {command}")]
    Execute {
        plugin: String,
        command: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("plugin {plugin:?} did not answer {command} within {} s", PLUGIN_TIMEOUT.as_secs())]
    Timeout { plugin: String, command: &'static str },
    /// The plugin's own error (specification, "Error").
    #[error("plugin type={plugin:?} failed ({command}): {message} (code {code})")]
    Plugin { plugin: String, command: &'static str, code: u32, message: String },
    #[error("plugin {plugin:?} answered {command} with something that is no CNI result: {problem}")]
    Result { plugin: String, command: &'static str, problem: String },
    #[error("enter the node's network namespace")]
    Namespace(#[from] network_namespace::Error),
}

/// The node's network: where its configuration and plugins lie.
#[derive(Debug, Clone)]
pub struct Network {
    pub conf_dir: PathBuf,
    pub path: Vec<PathBuf>,
    /// Plugins run in the node's network namespace, as under containerd on a real node.
    pub node_netns: PathBuf,
}

impl Network {
    /// Attaches a sandbox; returns the last plugin's result.
    pub async fn add(&self, attachment: &Attachment) -> Result<Value, CniError> {
        let config = NetworkConfig::first_in(&self.conf_dir)?;
        let mut result: Option<Value> = None;
        for plugin in &config.plugins {
            let mut extra: Vec<(&str, Value)> =
                result.take().map(|result| ("prevResult", result)).into_iter().collect();
            if has_capability(plugin, PORT_MAPPINGS) && !attachment.port_mappings.is_empty() {
                extra.push(("runtimeConfig", json!({PORT_MAPPINGS: attachment.port_mappings})));
            }
            let input = config.for_plugin(plugin, &extra);
            let name = plugin_type(plugin).unwrap_or_default();
            let answer = self.execute(name, "ADD", Some(attachment), &input).await?;
            result = Some(answer.ok_or_else(|| CniError::Result {
                plugin: name.into(),
                command: "ADD",
                problem: "nothing on standard output".into(),
            })?);
        }
        Ok(result.unwrap_or(Value::Null))
    }

    /// Detaches a sandbox, last plugin first. Succeeds when there is nothing (left) to detach.
    pub async fn del(&self, attachment: &Attachment) -> Result<(), CniError> {
        let config = NetworkConfig::first_in(&self.conf_dir)?;
        for plugin in config.plugins.iter().rev() {
            let extra: Vec<_> = attachment.result.clone().map(|result| ("prevResult", result)).into_iter().collect();
            let input = config.for_plugin(plugin, &extra);
            self.execute(plugin_type(plugin).unwrap_or_default(), "DEL", Some(attachment), &input).await?;
        }
        Ok(())
    }

    /// Asks whether the attachment is as ADD left it.
    pub async fn check(&self, attachment: &Attachment) -> Result<(), CniError> {
        let config = NetworkConfig::first_in(&self.conf_dir)?;
        for plugin in &config.plugins {
            let extra: Vec<_> = attachment.result.clone().map(|result| ("prevResult", result)).into_iter().collect();
            let input = config.for_plugin(plugin, &extra);
            self.execute(plugin_type(plugin).unwrap_or_default(), "CHECK", Some(attachment), &input).await?;
        }
        Ok(())
    }

    /// Asks whether the network could attach a Pod now. Versions before 1.1 can only be asked for their presence.
    pub async fn status(&self) -> Result<(), CniError> {
        let config = NetworkConfig::first_in(&self.conf_dir)?;
        for plugin in &config.plugins {
            let name = plugin_type(plugin).unwrap_or_default();
            if config.is_at_least_1_1() {
                self.execute(name, "STATUS", None, &config.for_plugin(plugin, &[])).await?;
            } else {
                self.find(name)?;
            }
        }
        Ok(())
    }

    /// Tells the plugins which attachments exist; they release everything else.
    pub async fn gc(&self, valid: &[Attachment]) -> Result<(), CniError> {
        let config = NetworkConfig::first_in(&self.conf_dir)?;
        if !config.is_at_least_1_1() {
            return Ok(());
        }
        let valid: Vec<_> = valid
            .iter()
            .map(|attachment| json!({"containerID": attachment.container_id, "ifname": attachment.ifname}))
            .collect();
        for plugin in &config.plugins {
            let input = config.for_plugin(plugin, &[("cni.dev/valid-attachments", json!(valid))]);
            self.execute(plugin_type(plugin).unwrap_or_default(), "GC", None, &input).await?;
        }
        Ok(())
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, CniError> {
        let found = self.path.iter().map(|folder| folder.join(plugin)).find(|path| path.is_file());
        found.ok_or_else(|| CniError::NotFound { plugin: plugin.into(), path: self.path.clone() })
    }

    async fn execute(
        &self,
        plugin: &str,
        verb: &'static str,
        attachment: Option<&Attachment>,
        input: &Value,
    ) -> Result<Option<Value>, CniError> {
        let failed = |source| CniError::Execute { plugin: plugin.into(), command: verb, source };
        let mut command = Command::new(self.find(plugin)?);
        // Whatever happens to this future, no plugin is left behind.
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("CNI_COMMAND", verb).env("CNI_PATH", join_path(&self.path));
        if let Some(attachment) = attachment {
            command
                .env("CNI_CONTAINERID", &attachment.container_id)
                .env("CNI_NETNS", &attachment.netns)
                .env("CNI_IFNAME", &attachment.ifname)
                .env("CNI_ARGS", cni_args(attachment));
        }
        enter(&mut command, NetNs::open(&self.node_netns)?);
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let talk = async {
            if let Some(mut stdin) = stdin {
                // A plugin may end without reading everything; its answer counts, not our broken pipe.
                let _ = stdin.write_all(input.to_string().as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = match timeout(PLUGIN_TIMEOUT, talk).await {
            Ok(output) => output.map_err(failed)?,
            Err(_) => return Err(CniError::Timeout { plugin: plugin.into(), command: verb }),
        };
        if !output.status.success() {
            let said: PluginError = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| PluginError {
                code: 999,
                msg: format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
                details: String::new(),
            });
            let message = if said.details.is_empty() { said.msg } else { format!("{}: {}", said.msg, said.details) };
            return Err(CniError::Plugin { plugin: plugin.into(), command: verb, code: said.code, message });
        }
        if output.stdout.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&output.stdout).map(Some).map_err(|error| CniError::Result {
            plugin: plugin.into(),
            command: verb,
            problem: error.to_string(),
        })
    }
}

/// The addresses of a result, in the plugin's order; the first is the Pod's primary.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result.get("ips").and_then(Value::as_array).into_iter().flatten();
    ips.filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok()).collect()
}

/// Makes the command start in `netns`.
fn enter(command: &mut Command, netns: NetNs) {
    let netns = Arc::new(netns);
    // SAFETY: the closure makes one system call on an open descriptor and allocates nothing, which is allowed between
    // fork and exec of a process with threads.
    unsafe { command.pre_exec(move || netns.enter_raw()) };
}

fn join_path(path: &[PathBuf]) -> String {
    path.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

/// As containerd gives it (`pkg/cri/sbserver/sandbox_run.go`, `toCNILabels`).
fn cni_args(attachment: &Attachment) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        attachment.pod_namespace, attachment.pod_name, attachment.container_id, attachment.pod_uid
    )
}

impl Attachment {
    /// The attachment of one Pod's sandbox.
    #[must_use]
    pub fn new(container_id: String, netns: &Path, namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            container_id,
            ifname: "eth0".into(),
            netns: netns.into(),
            pod_namespace: namespace.into(),
            pod_name: name.into(),
            pod_uid: uid.into(),
            port_mappings: Vec::new(),
            result: None,
        }
    }
}

#[derive(Debug, Deserialize)]
struct PluginError {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

/// kubelet waits two minutes for a sandbox; a plugin that needs longer than this has lost its agent.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(30);
