//! Start-up in order. Nothing that is pinned is flushed: a fresh process recognises its own state and goes on from it.

use super::state::{Parts, State};
use crate::cli::{AgentArgs, PolicyRoom, ProfileArg, RoutingArg};
use crate::cluster::{self, Watches};
use crate::collector::Collector;
use crate::error::Error;
use crate::events::Names;
use crate::events::{self, Followers, Hub};
use crate::facts::{self, Facts};
use crate::health_checks;
use crate::identities::LocalIdentities;
use crate::keeping::{self, Aggregated, Keeping};
use crate::kernel_datapath::{
    ClosedSockets, Kernel, Ring, collected_maps, endpoints, failed, followed, loop_maps, policy_maps, untranslated,
};
use crate::node_conditions::{self, NodeConditions, Statement};
use crate::node_config::{Choices, node_config, pod_mtu};
use crate::node_metrics::{NodeMetrics, Source};
use crate::pods::{Adapter, Pods, local_pod};
use crate::sockets::{KernelSockets, PodSockets};
use crate::status;
use crate::trouble::Troubles;
use crate::{
    announcing, fast_path, neighbours, probes, server, service_conditions, service_events, serving_flows, settings_file,
};
use anyhow::Context;
use datapath::{Datapath, Profile, Settings};
use datapath_layouts::{NodeConfig, Observation, Routing, maps};
use flow_api::server as flow_server;
use load_balancer::Capacity;
use model::Node;
use netlink::{NeighbourWatch, Netlink};
use network_namespace::NetNs;
use pod_network::{Config, DEFAULT_REST, PodNetwork};
use policy::failsafe::{Failsafe, PortRange};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, watch};

/// What the loop runs on.
pub(super) struct Started {
    pub state: State,
    pub client: kube::Client,
    pub inputs: mpsc::Receiver<cluster::Heard>,
    pub questions: mpsc::Receiver<server::Question>,
    pub pods_changed: Arc<Notify>,
    pub neighbours_changed: Arc<Notify>,
    pub network: Arc<PodNetwork>,
    pub keeping: Keeping,
    /// Who tells the cluster how the agent does.
    pub readiness: watch::Sender<Option<Statement>>,
}

/// Starts everything.
pub(super) async fn start(args: &AgentArgs) -> anyhow::Result<Started> {
    std::fs::create_dir_all(&args.state_dir).map_err(Error::file("make", &args.state_dir))?;
    let (client, api_port) = cluster::connect(&args.kubeconfig).await?;
    let own = cluster::own_node(&client, &args.node_name, &args.state_dir).await?;
    let underlay = own.underlay().context("the node has no address")?;
    let netlink = Netlink::open()?;
    let facts = facts::read(&netlink, &args.device, underlay)?;
    let choices = choices(args)?;
    let datapath = load(args, &own, &facts, &choices)?;
    let xdp = fast_path::start(args.xdp, &datapath, &netlink, &facts.network);
    announcing::start(args, &facts.network)?;
    settings_file::write(&args.state_dir, &datapath.config())?;
    let kernel = Arc::new(Kernel { datapath: datapath.clone(), state_dir: args.state_dir.clone() });

    let sockets = Arc::new(PodSockets::new(untranslated(&datapath)));
    let of_kernel = Box::new(KernelSockets::new(sockets.clone()));
    let (collector, handle, collected) = Collector::new(collected_maps(&datapath, of_kernel));
    let reader = datapath.events().map_err(failed("open the ring of events"))?;
    let (forgotten, ring) = events::Forgotten::beside(Ring { reader, datapath: datapath.clone() });
    let collector = collector.telling(forgotten);
    thread("collector", move || collector.run())?;
    let pods = Arc::new(Pods::new(endpoints(&datapath), kernel.clone(), handle.clone()));
    let pods_changed = Arc::new(Notify::new());
    let local_identities = Arc::new(LocalIdentities::default());
    let adapter = Adapter {
        pods: pods.clone(),
        sockets: sockets.clone(),
        identities: local_identities.clone(),
        policies: policy_maps(&datapath).policies,
        changed: pods_changed.clone(),
    };
    let network = pod_network(args, &own, &datapath, adapter)?;
    let pods_adopted = recover_pods(&network, &pods, &sockets)?;
    serve_cni(args, &network)?;

    let node = own.name.clone();
    let troubles = Troubles::default();
    let observes = args.flows.enable_hubble;
    let log = keeping::log(&args.flows, &args.state_dir).filter(|_| observes);
    let recent = flow_server::Node::new(serving_flows::about(&own, args), flow_api::ring::DEFAULT_CAPACITY);
    let recent = Arc::new(recent.reaching_back(log.clone().map(|log| log as Arc<dyn flow_server::Archive>)));
    let hub = Hub::new(node.clone());
    let hub = hub.of_packets(args.flows.monitor_aggregation == Aggregated::None);
    let hub = Arc::new(if observes { hub.keeping(recent.clone()) } else { hub });
    let names = Arc::new(RwLock::new(Arc::new(Names::of_node(node.clone()))));
    let mut conditions = NodeConditions::of(client.clone(), args.node_name.clone());
    let policy_room_told = node_conditions::room::keep(&mut conditions);
    let readiness = node_conditions::ready::keep(&mut conditions);
    let probes = probes::start(&args.probes, &mut conditions, &own, troubles.matter())?;
    conditions.start();
    let (ring_of_flows, folder) = (recent.ring(), &args.state_dir);
    let node_metrics = NodeMetrics::default();
    let told = keeping::told(&args.flows, log, probes.clone(), node_metrics.clone());
    let keeping = keeping::start(told.clone(), &args.flows, folder, &own, ring_of_flows, &names, &troubles)?;
    read_events(ring, ClosedSockets(datapath.clone()), &hub, &names)?;
    let neighbours_changed = watch_neighbours(facts.network.index)?;
    if observes {
        serving_flows::start(args, &own, &recent, troubles.matter())?;
    }
    let followers = Followers::new(followed(&datapath))?;
    let questions = serve_agent(server::bind(&args.state_dir.join("agent.sock"))?, &hub, followers);
    let health = watch::Sender::default();
    tokio::spawn(health_checks::serve(health.subscribe(), troubles.matter()));
    let watches = Watches::default();
    let inputs = cluster::start(&client, &own.name, &watches);
    let (loaded, collected_now) = (kernel.clone(), collected.clone());
    node_metrics.ask(Source { loaded, watches: watches.clone(), collected: collected_now });
    let state = State::new(Parts {
        datapath: described(args, xdp),
        adoption: adoption(&datapath, pods_adopted),
        maps: loop_maps(&datapath),
        capacity: capacity(args.profile),
        ipcache_room: room(args.profile, maps::IPCACHE),
        policy_room: policy_room(args.profile, &args.policy_room),
        failsafe: failsafe(args, api_port),
        service_ranges: args.service_cidr.clone(),
        netlink: Some(netlink),
        verify_node_mac: args.verify_node_mac,
        loaded: kernel,
        own,
        facts,
        choices,
        pods,
        sockets,
        local_identities,
        collector: handle,
        collected,
        hub,
        names,
        keeping: told,
        node_metrics,
        complaints: service_events::start(client.clone(), args.node_name.clone()),
        reports: service_conditions::start(client.clone(), args.node_name.as_str().into()),
        probes,
        policy_room_told,
        health,
        troubles,
        hubble_port: args.hubble_tls.as_ref().filter(|_| observes).map(|_| args.hubble_port),
        watches,
    })?;
    Ok(Started { state, client, inputs, questions, pods_changed, neighbours_changed, network, keeping, readiness })
}

fn choices(args: &AgentArgs) -> anyhow::Result<Choices> {
    Ok(Choices {
        routing: match args.routing {
            RoutingArg::Vxlan => Routing::Overlay,
            RoutingArg::Native => Routing::Native,
        },
        node_ports: args.node_port_range,
        nat_ports: args.nat_port_range,
        netns_cookie: NetNs::current()?.cookie()?,
    })
}

/// Verifies or makes the maps, loads the programs, and puts them where they belong.
fn load(args: &AgentArgs, own: &Node, facts: &Facts, choices: &Choices) -> Result<Arc<Datapath>, Error> {
    let observation = match (args.flows.enable_hubble, args.flows.monitor_aggregation) {
        (false, _) => Observation::Drops,
        (true, Aggregated::Medium) => Observation::Flows,
        (true, Aggregated::None) => Observation::Packets,
    };
    let settings = Settings {
        bpf_dir: args.bpf_dir.clone(),
        config: NodeConfig { observation: observation as u32, ..node_config(own, facts, choices) },
        profile: match args.profile {
            ProfileArg::Lab => Profile::Lab,
            ProfileArg::Node => Profile::Node,
        },
    };
    let datapath = Datapath::start(&settings).map_err(failed("start the datapath"))?;
    let (network, overlay) = (&facts.network, &facts.overlay);
    let attach = |name: &str| failed(format!("attach to {name}"));
    datapath.attach_overlay(&overlay.name, overlay.index).map_err(attach(&overlay.name))?;
    datapath.attach_network(&network.name, network.index).map_err(attach(&network.name))?;
    datapath.attach_cgroup(&args.cgroup).map_err(attach(&args.cgroup.display().to_string()))?;
    Ok(Arc::new(datapath))
}

fn capacity(profile: ProfileArg) -> Capacity {
    let room = |map| room(profile, map);
    Capacity {
        frontends: room(maps::FRONTENDS),
        backends: room(maps::BACKENDS),
        maglev: room(maps::MAGLEV),
        members: room(maps::AFFINITY_MEMBER),
        ranges: room(maps::SOURCE_RANGES),
    }
}

fn policy_room(profile: ProfileArg, narrowed: &[PolicyRoom]) -> policy::plan::Capacity {
    let room = |map: maps::MapInfo| {
        let whole = room(profile, map);
        narrowed.iter().find(|one| one.map == map.name).map_or(whole, |one| one.entries.min(whole))
    };
    policy::plan::Capacity {
        policies: room(maps::POLICIES),
        identities: room(maps::IDENTITIES),
        peers: room(maps::POLICY_PEERS),
        cidrs: room(maps::POLICY_CIDRS),
        rows: room(maps::POLICY_ROWS),
        ranges: room(maps::POLICY_RANGES),
    }
}

/// The agent's own way to the API is never shut, whatever port that has.
fn failsafe(args: &AgentArgs, api_port: u16) -> Failsafe {
    let mut failsafe = Failsafe { ingress: args.failsafe_ingress.clone(), egress: args.failsafe_egress.clone() };
    failsafe.egress.push(PortRange::tcp(api_port));
    failsafe
}

fn room(profile: ProfileArg, map: maps::MapInfo) -> usize {
    match profile {
        ProfileArg::Lab => map.lab as usize,
        ProfileArg::Node => map.node as usize,
    }
}

fn pod_network(args: &AgentArgs, own: &Node, datapath: &Datapath, adapter: Adapter) -> anyhow::Result<Arc<PodNetwork>> {
    let network = PodNetwork::new(Config {
        state_dir: args.state_dir.clone(),
        pod_cidrs: own.pod_ranges.clone(),
        mtu: pod_mtu(&datapath.config()),
        rest: DEFAULT_REST,
        datapath: Box::new(adapter),
    })
    .context("open the state of the Pod network")?;
    Ok(Arc::new(network))
}

/// Takes over the Pods that run, finishes what a killed ADD or DEL left, and removes what belongs to no Pod.
fn recover_pods(network: &PodNetwork, pods: &Pods, sockets: &PodSockets) -> anyhow::Result<usize> {
    let recovery = network.recover().map_err(|error| anyhow::anyhow!("recover the Pods' links: {error}"))?;
    for (what, error) in &recovery.failed {
        tracing::warn!("recovering {what}: {error}");
    }
    for (container, interface) in &recovery.removed {
        tracing::info!("finished the removal of {interface} of container {container}");
    }
    pods.adopt(recovery.adopted.iter().map(local_pod).collect())?;
    for endpoint in &recovery.adopted {
        sockets.adopt(&endpoint.host_ifname, local_pod(endpoint).name, &endpoint.netns);
    }
    Ok(recovery.adopted.len())
}

fn read_events(
    ring: impl events::Drain + Send + 'static,
    closed: ClosedSockets,
    hub: &Arc<Hub>,
    names: &Arc<RwLock<Arc<Names>>>,
) -> Result<(), Error> {
    let (hub, names) = (hub.clone(), names.clone());
    // It reads as long as the process lives.
    thread("events", move || events::read(ring, &closed, &hub, &names, &AtomicBool::new(false)))
}

fn watch_neighbours(device: u32) -> Result<Arc<Notify>, Error> {
    let watch = NeighbourWatch::open().map_err(Error::facts("listen to neighbours"))?;
    let changed = Arc::new(Notify::new());
    let told = changed.clone();
    thread("neighbours", move || neighbours::watch(watch, device, &told))?;
    Ok(changed)
}

fn serve_cni(args: &AgentArgs, network: &Arc<PodNetwork>) -> Result<(), Error> {
    let path = args.state_dir.join("cni.sock");
    let listener = pod_network::listen(&path).map_err(Error::file("listen at", &path))?;
    let network = network.clone();
    thread("cni", move || {
        let error = pod_network::serve(&listener, &network);
        tracing::error!("the CNI socket has failed: {error}");
    })
}

fn serve_agent(listener: UnixListener, hub: &Arc<Hub>, followers: Followers) -> mpsc::Receiver<server::Question> {
    let (sender, questions) = mpsc::channel(64);
    let context = server::Context { questions: sender, hub: hub.clone(), followers: Arc::new(followers) };
    tokio::spawn(async move {
        if let Err(error) = server::serve(listener, context).await {
            tracing::error!("the agent's socket has failed: {error}");
        }
    });
    questions
}

fn adoption(datapath: &Datapath, pods_adopted: usize) -> status::Adoption {
    let found = datapath.adoption();
    tracing::info!(
        "adopted {} maps, {} links, {pods_adopted} Pods; made {} maps, {} links",
        found.maps_adopted.len(),
        found.links_adopted.len(),
        found.maps_created.len(),
        found.links_created.len()
    );
    for (what, why) in &found.not_adopted {
        tracing::warn!("{what} could not be taken over: {why}");
    }
    status::Adoption {
        maps_adopted: found.maps_adopted,
        maps_created: found.maps_created,
        links_adopted: found.links_adopted,
        links_created: found.links_created,
        not_adopted: found.not_adopted,
        pods_adopted,
    }
}

fn described(args: &AgentArgs, xdp: String) -> status::Datapath {
    status::Datapath {
        attach_mode: None,
        bpf_dir: args.bpf_dir.clone(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cgroup: args.cgroup.clone(),
        device: args.device.clone(),
        overlay: facts::OVERLAY.to_owned(),
        xdp,
        xdp_sent_on: status::Packets::default(),
    }
}

/// A thread of its own. Small stacks: none of them recurses.
fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body);
    spawned.map(drop).map_err(|source| Error::System { operation: "start a thread", source })
}

/// Bytes.
const STACK: usize = 512 * 1024;
