//! What a Pod has on its node besides processes: network, cgroup, files.

use std::{fs, net::IpAddr, sync::PoisonError};

use tokio::time::sleep;

use super::PodContext;
use crate::{
    backoff::Backoff,
    cgroup,
    etc_files::{self, Resolver},
    files::read_json,
    prepare::hostname,
    sandbox::Sandbox,
};

impl PodContext {
    pub(super) fn sandbox(&self) -> Sandbox {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_sandbox(&self, sandbox: Sandbox) {
        self.facts.send_if_modified(|facts| {
            let (ready, ips) = (sandbox.is_ready(), sandbox.addresses(&self.node.options.host_ips));
            let news = facts.sandbox_ready != ready || (ready && facts.pod_ips != ips);
            facts.sandbox_ready = ready;
            // A finished Pod keeps telling the address it had.
            if ready {
                facts.pod_ips = ips;
            }
            news
        });
        *self.sandbox.lock().unwrap_or_else(PoisonError::into_inner) = sandbox;
    }

    /// Whether it succeeded; false when the Pod was stopped before.
    pub(super) async fn set_up_sandbox(&self) -> bool {
        if self.sandbox().attachment.is_some() && self.sandbox().is_ready() {
            // Taken over; only the files may be missing, if the runner before died between the two.
            return self.write_etc_files(&self.addresses()).is_ok();
        }
        let mut backoff = Backoff::operations();
        while !self.is_stopping() {
            let mut sandbox = self.sandbox();
            let setting_up = async {
                let _slot = self.node.starts.acquire().await;
                let _attaching = self.node.attaching.read().await;
                self.make_cgroup()?;
                sandbox.set_up(&self.dir, &self.node.network).await.map_err(|error| crate::chain(&error))?;
                self.write_etc_files(&sandbox.addresses(&self.node.options.host_ips))
            };
            let result = tokio::select! {
                result = setting_up => result,
                // The plugin is killed with the future; its traces go with the DEL that follows.
                () = self.stopped() => {
                    self.reload_sandbox();
                    return false;
                }
            };
            match result {
                Ok(()) => {
                    self.set_sandbox(sandbox);
                    return true;
                }
                Err(error) => {
                    self.reload_sandbox();
                    let message = format!("Failed to create pod sandbox: {error}");
                    tracing::warn!(pod = self.pod.metadata.name, error, "sandbox not made");
                    self.node.events.warning(&self.reference(None), "FailedCreatePodSandBox", message);
                    self.pause(backoff.delay()).await;
                }
            }
        }
        false
    }

    /// Whether the network of a Pod that was taken over is still what ADD made it. A container runtime does not mend
    /// that either; but somebody should know.
    pub(super) async fn check_network(&self) {
        let Some(attachment) = self.sandbox().attachment.filter(|attachment| attachment.result.is_some()) else {
            return;
        };
        if let Err(error) = self.node.network.check(&attachment).await {
            let message = format!("network of the sandbox is not as it was made: {}", crate::chain(&error));
            self.node.events.warning(&self.reference(None), "NetworkCheckFailed", message);
        }
    }

    /// What a failed or interrupted operation left on disk is the truth.
    fn reload_sandbox(&self) {
        if let Ok(Some(sandbox)) = read_json::<Sandbox>(&self.dir.sandbox()) {
            self.set_sandbox(sandbox);
        }
    }

    fn make_cgroup(&self) -> Result<(), String> {
        let Some(node) = &self.node.options.cgroup else { return Ok(()) };
        let cgroup = cgroup::of_pod(node, self.pod.metadata.uid.as_deref().unwrap_or_default());
        fs::create_dir_all(&cgroup).map_err(|error| format!("create cgroup {}: {error}", cgroup.display()))
    }

    fn write_etc_files(&self, addresses: &[IpAddr]) -> Result<(), String> {
        let options = &self.node.options;
        let hostname = hostname(&self.pod, &self.spec);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("default");
        let domain = self
            .spec
            .subdomain
            .as_ref()
            .filter(|subdomain| !subdomain.is_empty())
            .map(|subdomain| format!("{subdomain}.{namespace}.svc.{}", options.cluster_domain));
        let aliases = self.spec.host_aliases.as_deref().unwrap_or(&[]);
        let hosts = etc_files::hosts(addresses, &hostname, domain.as_deref(), aliases);
        let node = || Resolver::of_node(&fs::read_to_string(&options.resolv_conf).unwrap_or_default());
        let resolver = match self.spec.dns_policy.as_deref() {
            Some("None") => Resolver::default(),
            Some("Default") => node(),
            Some("ClusterFirstWithHostNet") => {
                Resolver::cluster_first(&options.cluster_dns, namespace, &options.cluster_domain)
            }
            _ if self.is_on_host_network() => node(),
            _ => Resolver::cluster_first(&options.cluster_dns, namespace, &options.cluster_domain),
        };
        let resolv_conf = resolver.with(self.spec.dns_config.as_ref()).text();
        for (path, text) in
            [(self.dir.hosts(), hosts), (self.dir.resolv_conf(), resolv_conf), (self.dir.hostname(), hostname + "\n")]
        {
            fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Gives the network back, however often that has to be tried.
    pub(super) async fn release_sandbox(&self) {
        let mut backoff = Backoff::operations();
        loop {
            let mut sandbox = self.sandbox();
            let result = sandbox.clear_network(&self.dir, &self.node.network).await;
            if sandbox.attachment.is_none() && !sandbox.host_network {
                self.set_sandbox(sandbox);
            }
            match result {
                Ok(()) => return,
                Err(error) => {
                    let error = crate::chain(&error);
                    tracing::warn!(pod = self.pod.metadata.name, error, "sandbox not removed yet");
                    let message = format!("error killing pod: {error}");
                    self.node.events.warning(&self.reference(None), "FailedKillPod", message);
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    /// Removes everything of the Pod that is left on the node.
    pub(super) async fn tear_down(&self) {
        self.release_sandbox().await;
        if let Some(node) = &self.node.options.cgroup {
            let cgroup = cgroup::of_pod(node, self.pod.metadata.uid.as_deref().unwrap_or_default());
            if let Err(error) = cgroup::remove(&cgroup).await {
                tracing::warn!(cgroup = %cgroup.display(), %error, "cgroup not removed");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.dir.0.display(), %error, "Pod's folder not removed");
        }
    }
}
