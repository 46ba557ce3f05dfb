//! Service addresses on the node's segment: `l2-announce`, on a thread and a connection of its own, since a renewal that
//! waits for anything else comes too late.

use crate::{cli::AgentArgs, cluster, error::Error, facts::Device, own_thread};
use l2_announce::{Settings, election::Timing, wanted};
use std::time::Duration;

/// Starts it; it ends with the process.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(args: &AgentArgs, device: &Device) -> Result<(), Error> {
    let duration = Duration::from_secs(u64::from(args.l2_lease_duration));
    let renew = Duration::from_millis(u64::from(args.l2_lease_renew)).min(duration / 2);
    let settings = Settings {
        node: args.node_name.clone(),
        devices: vec![wanted::Device { name: device.name.clone(), index: device.index, mac: device.mac }],
        timing: Timing { duration, renew },
    };
    let kubeconfig = args.kubeconfig.clone();
    own_thread::start("l2-announce", || {
        Ok(async move {
            match cluster::connect(&kubeconfig).await {
                Ok((client, _)) => l2_announce::run(client, settings).await,
                Err(error) => tracing::error!("Service addresses are not announced: {error:#}"),
            }
        })
    })
}
