//! Failures and crashes at every step, in namespaces of the test's own. Needs root.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cni_protocol::socket::{Request, Response};
use netlink::Netlink;
use network_namespace::NetNs;
use pod_network::{Config, Datapath, DatapathError, Endpoint, PodNetwork, host_interface_name};
use serde_json::{Value, json};

type AttachHook = Box<dyn Fn(&Endpoint) -> Result<(), DatapathError> + Send>;

/// A datapath that does what the test says.
#[derive(Default)]
struct Script {
    attach: Mutex<Option<AttachHook>>,
    detach_fails: Mutex<bool>,
    attached: Mutex<Vec<String>>,
    attach_calls: AtomicUsize,
    slow: Mutex<Duration>,
}

impl Script {
    fn on_attach(&self, hook: impl Fn(&Endpoint) -> Result<(), DatapathError> + Send + 'static) {
        *self.attach.lock().unwrap() = Some(Box::new(hook));
    }

    fn well(&self) {
        *self.attach.lock().unwrap() = None;
        *self.detach_fails.lock().unwrap() = false;
    }
}

struct Scripted(Arc<Script>);

impl Datapath for Scripted {
    fn attach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        self.0.attach_calls.fetch_add(1, Ordering::SeqCst);
        let slow = *self.0.slow.lock().unwrap();
        thread::sleep(slow);
        let hook = self.0.attach.lock().unwrap().take();
        if let Some(hook) = hook {
            hook(endpoint)?;
        }
        self.0.attached.lock().unwrap().push(endpoint.host_ifname.clone());
        Ok(())
    }

    fn detach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        if *self.0.detach_fails.lock().unwrap() {
            return Err("the map is stubborn".into());
        }
        self.0.attached.lock().unwrap().retain(|name| *name != endpoint.host_ifname);
        Ok(())
    }

    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool, DatapathError> {
        Ok(self.0.attached.lock().unwrap().contains(&endpoint.host_ifname))
    }
}

struct Node {
    netns: NetNs,
    state: tempfile::TempDir,
    script: Arc<Script>,
    network: Option<PodNetwork>,
}

impl Node {
    fn new() -> Self {
        let netns = NetNs::create().expect("a network namespace (root is needed)");
        let mut node = Self { netns, state: tempfile::tempdir().unwrap(), script: Arc::default(), network: None };
        node.start();
        node.network().recover().unwrap();
        node.network().set_ready();
        node
    }

    fn start(&mut self) {
        self.network = None; // the journal has one writer
        let config = Config {
            state_dir: self.state.path().to_owned(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd00:10:244:1::/64".parse().unwrap()],
            mtu: 1450,
            rest: Duration::from_secs(30),
            datapath: Box::new(Scripted(Arc::clone(&self.script))),
        };
        self.network = Some(self.netns.run(|| PodNetwork::new(config)).unwrap().unwrap());
    }

    fn network(&self) -> &PodNetwork {
        self.network.as_ref().unwrap()
    }

    fn call(&self, command: &str, container: &Container, extra: Value) -> Result<Value, (u32, String)> {
        let mut config = json!({"cniVersion": "1.1.0", "name": "malla", "type": "malla-cni"});
        config.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
        let request = Request {
            command: command.to_owned(),
            container_id: container.id.clone(),
            netns: container.path(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            path: "/opt/cni/bin".to_owned(),
            config,
        };
        match self.network().handle(request, &|| true) {
            Response::Ok(value) => Ok(value),
            Response::Error(error) => Err((error.code.0, format!("{} | {}", error.msg, error.details))),
        }
    }

    fn add(&self, container: &Container) -> Result<Value, (u32, String)> {
        self.call("ADD", container, Value::Null)
    }

    fn del(&self, container: &Container) -> Result<Value, (u32, String)> {
        self.call("DEL", container, Value::Null)
    }

    fn netlink(&self) -> Netlink {
        Netlink::open_in(&self.netns).unwrap()
    }

    fn has_link(&self, container: &Container) -> bool {
        self.netlink().link_by_name(&host_interface_name(&container.id, "eth0")).unwrap().is_some()
    }

    fn records(&self) -> usize {
        fs::read_dir(self.state.path().join("endpoints")).unwrap().count()
    }

    fn in_use(&self) -> u64 {
        self.network().usage()[0].in_use
    }

    fn assert_clean(&self) {
        assert_eq!(self.netlink().links().unwrap().len(), 1, "lo alone");
        assert_eq!((self.records(), self.in_use()), (0, 0));
        assert!(self.script.attached.lock().unwrap().is_empty());
    }
}

struct Container {
    id: String,
    netns: NetNs,
}

impl Container {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), netns: NetNs::create().unwrap() }
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.netns.as_fd().as_raw_fd())
    }
}

#[test]
fn programs_are_in_place_before_anything_is_up() {
    let node = Node::new();
    let container = Container::new("order");
    let (host, pod) = (node.netlink(), Netlink::open_in(&container.netns).unwrap());
    node.script.on_attach(move |endpoint| {
        let link = host.link(&endpoint.host_ifname)?;
        assert_eq!(link.index, endpoint.host_ifindex);
        assert!(!link.up && !pod.link("eth0")?.up, "no packet can pass yet");
        assert!(host.routes(Some(254))?.iter().all(|route| route.interface != Some(link.index)));
        Ok(())
    });
    node.add(&container).unwrap();
    assert!(node.netlink().link(&host_interface_name("order", "eth0")).unwrap().carrier);
}

#[test]
fn a_failing_datapath_leaves_nothing_and_the_next_try_succeeds() {
    let node = Node::new();
    let container = Container::new("failing");
    node.script.on_attach(|_| Err("the verifier says no".into()));
    let (code, text) = node.add(&container).unwrap_err();
    assert_eq!((code, text.as_str()), (103, "attach the datapath: the verifier says no | "));
    node.assert_clean();
    assert_eq!(node.network().usage()[0].resting, 1);
    assert!(Netlink::open_in(&container.netns).unwrap().link_by_name("eth0").unwrap().is_none());
    node.add(&container).unwrap();
}

#[test]
fn a_rollback_that_fails_is_told_and_keeps_the_address() {
    let node = Node::new();
    let container = Container::new("stuck");
    node.script.on_attach(|_| Err("the verifier says no".into()));
    // The first detach clears the way for ADD and finds nothing to do; only the rollback's fails.
    *node.script.detach_fails.lock().unwrap() = true;
    let (code, text) = node.add(&container).unwrap_err();
    assert_eq!(code, 103);
    assert!(text.contains("the verifier says no") && text.contains("the map is stubborn"), "{text}");
    assert!(!node.has_link(&container), "what could be removed is");
    assert_eq!((node.records(), node.in_use()), (1, 1), "the maps may still name the address");
    assert_eq!(node.del(&container).unwrap_err().0, 103);
    node.script.well();
    node.del(&container).unwrap();
    node.assert_clean();
}

#[test]
fn a_del_that_fails_in_one_part_does_the_others_and_can_be_repeated() {
    let node = Node::new();
    let (container, other) = (Container::new("del"), Container::new("other"));
    let result = node.add(&container).unwrap();
    *node.script.detach_fails.lock().unwrap() = true;
    assert_eq!(node.del(&container).unwrap_err().0, 103);
    assert!(!node.has_link(&container));
    assert_eq!(node.in_use(), 1);
    assert!(node.network().endpoints().is_empty(), "no longer one of the running ones");
    assert_ne!(node.add(&other).unwrap()["ips"], result["ips"]);
    node.script.well();
    node.del(&container).unwrap();
    node.del(&other).unwrap();
    node.assert_clean();
}

#[test]
fn a_crash_in_the_middle_of_add_is_cleared_by_the_next_start() {
    let mut node = Node::new();
    let container = Container::new("crash");
    node.script.on_attach(|_| panic!("the process dies here"));
    assert!(catch_unwind(AssertUnwindSafe(|| node.add(&container))).is_err());
    assert!(node.has_link(&container));
    assert_eq!((node.records(), node.in_use()), (1, 1));
    node.start();
    let recovery = node.network().recover().unwrap();
    assert_eq!((recovery.adopted.len(), recovery.removed.len(), recovery.failed.len()), (0, 1, 0));
    node.assert_clean();
    node.network().set_ready();
    node.add(&container).unwrap();
}

#[test]
fn a_crash_before_the_record_gives_the_address_back() {
    let mut node = Node::new();
    node.network = None;
    let ranges = ["10.244.1.0/24".parse().unwrap()];
    let journal = node.state.path().join("ipam.journal");
    let now = ipam::Timestamp::now();
    let mut ipam = ipam::Ipam::open(&journal, &ranges, Duration::from_secs(30), now).unwrap();
    let owner = ipam::Owner { container_id: "early".into(), ifname: "eth0".into() };
    ipam.allocate(&owner, now).unwrap();
    drop(ipam);
    node.start();
    assert_eq!(node.in_use(), 1);
    assert_eq!(node.network().recover().unwrap().removed, [("early".to_owned(), "eth0".to_owned())]);
    node.assert_clean();
}

#[test]
fn a_torn_record_is_removed_with_all_that_it_was_about() {
    let mut node = Node::new();
    let (torn, whole) = (Container::new("torn"), Container::new("whole"));
    node.add(&torn).unwrap();
    node.add(&whole).unwrap();
    fs::write(node.state.path().join("endpoints/torn@eth0.json"), "{\"container_id\": \"to").unwrap();
    node.start();
    let recovery = node.network().recover().unwrap();
    assert_eq!(recovery.adopted.iter().map(|e| e.container_id.as_str()).collect::<Vec<_>>(), ["whole"]);
    assert_eq!(recovery.removed, [("torn".to_owned(), "eth0".to_owned())]);
    assert!(!node.has_link(&torn) && node.has_link(&whole));
    assert_eq!(node.in_use(), 1);
}

#[test]
fn a_start_attaches_what_the_datapath_lost_and_waits_for_links_that_are_gone() {
    let mut node = Node::new();
    let (lost, gone) = (Container::new("lost"), Container::new("gone"));
    let result = node.add(&gone).unwrap();
    node.add(&lost).unwrap();
    let calls = node.script.attach_calls.load(Ordering::SeqCst);
    node.script.attached.lock().unwrap().clear();
    node.netlink().ensure_link_deleted(&host_interface_name("gone", "eth0")).unwrap();
    node.start();
    let recovery = node.network().recover().unwrap();
    assert_eq!((recovery.adopted.len(), recovery.without_link.len(), recovery.removed.len()), (1, 1, 0));
    assert_eq!(node.script.attach_calls.load(Ordering::SeqCst), calls + 1);
    assert_eq!(node.in_use(), 2);
    node.network().set_ready();
    assert_eq!(node.add(&gone).unwrap(), result, "made anew with its addresses");
    node.del(&lost).unwrap();
    node.del(&gone).unwrap();
    node.assert_clean();
}

#[test]
fn until_it_is_ready_pods_can_go_but_not_come() {
    let node = Node::new();
    let (old, new) = (Container::new("old"), Container::new("new"));
    node.add(&old).unwrap();
    node.network().set_unready("the API is away");
    let (code, text) = node.add(&new).unwrap_err();
    assert_eq!((code, text.as_str()), (11, "Malla's agent is not ready | the API is away"));
    assert_eq!(node.call("STATUS", &new, Value::Null).unwrap_err().0, 50);
    node.del(&old).unwrap();
    node.call("GC", &new, json!({"cni.dev/valid-attachments": []})).unwrap();
    node.assert_clean();
    node.network().set_ready();
    node.call("STATUS", &new, Value::Null).unwrap();
}

#[test]
fn containers_run_side_by_side_and_one_container_in_turn() {
    let node = Node::new();
    *node.script.slow.lock().unwrap() = Duration::from_millis(300);
    let containers: Vec<_> = (0..6).map(|i| Container::new(&format!("side{i}"))).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for container in &containers {
            let node = &node;
            scope.spawn(move || node.add(container).unwrap());
        }
    });
    assert!(
        start.elapsed() < Duration::from_millis(1200),
        "one after the other would take 1800 ms: {:?}",
        start.elapsed()
    );

    let (container, barrier) = (Container::new("twice"), Barrier::new(2));
    let calls = node.script.attach_calls.load(Ordering::SeqCst);
    let results: Vec<_> = thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                barrier.wait();
                node.add(&container).unwrap()
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(node.script.attach_calls.load(Ordering::SeqCst), calls + 1, "the second found it done");
}

#[test]
fn an_add_takes_milliseconds() {
    let node = Node::new();
    let containers: Vec<_> = (0..50).map(|i| Container::new(&format!("fast{i}"))).collect();
    let mut times: Vec<_> = containers
        .iter()
        .map(|container| {
            let start = Instant::now();
            node.add(container).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("ADD: median {:?}, slowest {:?}", times[25], times[49]);
    // The budget of a Pod is 50 ms at the 99th percentile; the tests share the machine with others.
    assert!(times[25] < Duration::from_millis(50), "{times:?}");
}
