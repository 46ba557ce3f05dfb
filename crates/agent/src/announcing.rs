//! Service addresses on the node's segment: `l2-announce`, on a thread and a connection of its own, since a renewal that
//! waits for anything else comes too late.

use crate::{cli::AgentArgs, cluster, error::Error, facts::Device};
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
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                match cluster::connect(&kubeconfig).await {
                    Ok((client, _)) => l2_announce::run(client, settings).await,
                    Err(error) => tracing::error!("Service addresses are not announced: {error:#}"),
                }
            }),
            Err(error) => tracing::error!("Service addresses are not announced: {error}"),
        }
    };
    let spawned = std::thread::Builder::new().name("l2-announce".to_owned()).stack_size(STACK).spawn(body);
    spawned.map(drop).map_err(|source| Error::System { operation: "start a thread", source })
}

/// Bytes: the client's TLS and JSON go deeper than the agent's other threads.
const STACK: usize = 2 * 1024 * 1024;
