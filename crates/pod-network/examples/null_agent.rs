//! An agent without eBPF, for tests of the plugin: serves the Pod network of the namespace that it runs in.
//!
//! `null_agent <state-dir> <pod-cidr>[,<pod-cidr>…] [rest-in-ms]`. It prints one line when it is ready.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pod_network::{Config, DEFAULT_REST, NullDatapath, PodNetwork, listen, serve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let state_dir = PathBuf::from(arguments.next().ok_or("the state directory is missing")?);
    let cidrs = arguments.next().ok_or("the Pod ranges are missing")?;
    let rest = arguments.next().map(|ms| ms.parse().map(Duration::from_millis)).transpose()?;
    let network = PodNetwork::new(Config {
        state_dir: state_dir.clone(),
        pod_cidrs: cidrs.split(',').map(str::parse).collect::<Result<_, _>>()?,
        mtu: 1450,
        rest: rest.unwrap_or(DEFAULT_REST),
        datapath: Box::new(NullDatapath::default()),
    })?;
    let recovery = network.recover()?;
    network.set_ready();
    let listener = listen(&state_dir.join("cni.sock"))?;
    println!("ready: adopted {} removed {} failed {:?}", recovery.adopted.len(), recovery.removed.len(), recovery.failed);
    Err(serve(&listener, &Arc::new(network)).into())
}
