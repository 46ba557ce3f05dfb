use super::*;
use crate::collector::memory::MemorySockets;
use crate::collector::{Collector, Tables};
use crate::table::memory::MemoryTable;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Default)]
struct FakePrograms {
    attached: Mutex<BTreeSet<String>>,
    refuses: bool,
    /// Nothing is let go.
    holds: AtomicBool,
}

impl Programs for FakePrograms {
    fn attach(&self, interface: &str, _: u32) -> Result<(), Error> {
        if self.refuses {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(Error::System { operation: "attach", source });
        }
        self.attached.lock().unwrap().insert(interface.to_owned());
        Ok(())
    }

    fn detach(&self, interface: &str) -> Result<(), Error> {
        if self.holds.load(Relaxed) {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(Error::System { operation: "detach", source });
        }
        self.attached.lock().unwrap().remove(interface);
        Ok(())
    }

    fn is_attached(&self, interface: &str) -> bool {
        self.attached.lock().unwrap().contains(interface)
    }

    fn attached(&self) -> Result<Vec<String>, Error> {
        Ok(self.attached.lock().unwrap().iter().cloned().collect())
    }
}

type Endpoints = Arc<MemoryTable<AddressKey, Endpoint>>;

fn start(endpoints: &Endpoints, programs: &Arc<FakePrograms>) -> Pods {
    fn empty<K: std::hash::Hash + Eq + Clone + Send + 'static, V: Clone + Send + 'static>() -> Box<dyn Table<K, V>> {
        Box::new(MemoryTable::with_capacity(1))
    }
    let (_, handle, _) = Collector::new(Tables {
        conntrack: empty(),
        half_open: empty(),
        service_flows: empty(),
        affinity: empty(),
        nat: empty(),
        fragments: empty(),
        socket_reverse: empty(),
        backends: empty(),
        routes: empty(),
        sockets: Box::<MemorySockets>::default(),
    });
    Pods::new(Box::new(endpoints.clone()), programs.clone(), handle)
}

fn pod(n: u8) -> LocalPod {
    LocalPod {
        id: 0,
        identity: identity::INIT,
        name: Some(ObjectName::new("default", &format!("p{n}"))),
        addresses: vec![format!("10.244.1.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
        host_ports: vec![],
        interface: format!("lx{n}"),
        index: 100 + u32::from(n),
        mac: [2, 0, 0, 0, 0, n],
        host_mac: [2, 0, 0, 0, 1, n],
        mtu: 1450,
    }
}

#[test]
fn a_pod_comes_and_goes_without_a_trace() {
    let (endpoints, programs) = (Arc::new(MemoryTable::with_capacity(100)), Arc::default());
    let pods = start(&endpoints, &programs);
    pods.attach(pod(2)).unwrap();
    pods.attach(pod(2)).unwrap();
    assert_eq!(endpoints.entries().unwrap().len(), 2);
    assert!(pods.is_attached("lx2", &pod(2).addresses));
    pods.detach("lx2", &[]).unwrap();
    pods.detach("lx2", &pod(2).addresses).unwrap();
    assert!(endpoints.entries().unwrap().is_empty() && programs.attached().unwrap().is_empty());
    assert!(!pods.is_attached("lx2", &pod(2).addresses));
}

#[test]
fn a_new_agent_keeps_numbers_and_sweeps_what_is_gone() {
    let (endpoints, programs) = (Arc::new(MemoryTable::with_capacity(100)), Arc::default());
    let before = start(&endpoints, &programs);
    for n in 2..5 {
        before.attach(pod(n)).unwrap();
    }
    let number = |pods: &Pods, interface: &str| pods.list().iter().find(|p| p.interface == interface).unwrap().id;
    let three = number(&before, "lx3");
    let after = start(&endpoints, &programs);
    assert_eq!(after.adopt(vec![pod(3), pod(9)]).unwrap(), 1);
    assert_eq!(number(&after, "lx3"), three);
    assert_ne!(number(&after, "lx9"), three);
    assert_eq!(endpoints.entries().unwrap().len(), 4);
    assert_eq!(programs.attached().unwrap(), ["lx3", "lx9"]);
}

#[test]
fn who_came_and_went_is_news_once() {
    let (endpoints, programs) = (Arc::new(MemoryTable::with_capacity(100)), Arc::default());
    let pods = start(&endpoints, &programs);
    let news = |pods: &Pods| -> Vec<(bool, u32)> {
        let told = |news| match news {
            News::Came(pod) => (true, pod.index),
            News::Went(pod) => (false, pod.index),
        };
        pods.news().into_iter().map(told).collect()
    };
    pods.attach(pod(2)).unwrap();
    pods.attach(pod(2)).unwrap();
    assert_eq!((news(&pods), news(&pods)), (vec![(true, 102)], vec![]), "calling again changes nothing");
    pods.attach(LocalPod { index: 202, ..pod(2) }).unwrap();
    assert_eq!(news(&pods), [(false, 102), (true, 202)], "another Pod in its place");
    // However short it was there.
    pods.attach(pod(3)).unwrap();
    pods.detach("lx3", &[]).unwrap();
    pods.detach("lx3", &[]).unwrap();
    assert_eq!(news(&pods), [(true, 103), (false, 103)]);
    let full = start(&Arc::new(MemoryTable::with_capacity(1)), &programs);
    assert!(full.attach(pod(4)).is_err());
    assert_eq!(news(&full), [], "it never was there");
    let after = start(&endpoints, &programs);
    after.adopt(vec![LocalPod { index: 202, ..pod(2) }]).unwrap();
    assert_eq!(news(&after), [], "it has been there before this agent");
    after.detach("lx2", &[]).unwrap();
    assert_eq!(news(&after), [(false, 202)]);
}

#[test]
fn a_pod_that_can_not_be_taken_out_has_not_gone_until_it_is() {
    let programs: Arc<FakePrograms> = Arc::default();
    let endpoints: Endpoints = Arc::new(MemoryTable::with_capacity(100));
    let pods = start(&endpoints, &programs);
    pods.attach(pod(2)).unwrap();
    assert_eq!(pods.news().len(), 1);
    programs.holds.store(true, Relaxed);
    assert!(pods.detach("lx2", &[]).is_err());
    assert!(endpoints.entries().unwrap().is_empty(), "everything was tried");
    assert_eq!((pods.news(), pods.list().len()), (vec![], 1));
    programs.holds.store(false, Relaxed);
    pods.detach("lx2", &[]).unwrap();
    let news = pods.news();
    assert!(matches!(&news[..], [News::Went(gone)] if gone.interface == "lx2"), "{news:?}");
    assert!(pods.list().is_empty());
}

#[test]
fn a_refused_attachment_leaves_nothing() {
    let endpoints: Endpoints = Arc::new(MemoryTable::with_capacity(1));
    let programs = Arc::default();
    let pods = start(&endpoints, &programs);
    assert!(pods.attach(pod(2)).is_err(), "the second address finds no room");
    assert!(endpoints.entries().unwrap().is_empty() && programs.attached().unwrap().is_empty());
    let refusing = Arc::new(FakePrograms { refuses: true, ..FakePrograms::default() });
    assert!(start(&endpoints, &refusing).attach(pod(2)).is_err());
    assert!(endpoints.entries().unwrap().is_empty() && pods.list().is_empty());
}

#[test]
fn who_a_pod_is_changes_alone_and_outlives_the_agent() {
    let (endpoints, programs) = (Arc::new(MemoryTable::with_capacity(100)), Arc::default());
    let pods = start(&endpoints, &programs);
    pods.attach(pod(2)).unwrap();
    pods.attach(pod(3)).unwrap();
    let two = AddressKey::local(Address::from_ip(pod(2).addresses[0]));
    let before = endpoints.get(&two).unwrap().unwrap();
    assert_eq!(before.identity, identity::INIT, "nobody said who it is");
    // What others write into an entry is theirs.
    endpoints.insert(&two, &Endpoint { policy_id: 300, ..before }).unwrap();
    let number = |name: &ObjectName| (&*name.name == "p2").then_some(300);
    let changed: Vec<u32> = pods.identify(number).unwrap().iter().map(|pod| pod.index).collect();
    assert_eq!((changed, pods.identify(number).unwrap()), (vec![102], vec![]));
    assert_eq!(endpoints.get(&two).unwrap().unwrap(), Endpoint { identity: 300, policy_id: 300, ..before });
    let after = start(&endpoints, &programs);
    after.adopt(vec![pod(2), pod(3)]).unwrap();
    let who: Vec<u32> = after.list().iter().map(|pod| pod.identity).collect();
    assert_eq!(who, [300, identity::INIT]);
    // The same name and address on another link is another Pod.
    after.attach(LocalPod { index: 202, ..pod(2) }).unwrap();
    assert_eq!(after.list()[0].identity, identity::INIT);
}
