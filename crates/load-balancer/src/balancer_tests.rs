use super::*;
use crate::WantedFrontend;
use model::{Family, Protocol};
use proptest::prelude::*;

const ROOM: Capacity = Capacity { frontends: 1000, backends: 1000 };

/// The maps as the kernel has them: no order, no help.
#[derive(Clone, Debug, Default, PartialEq)]
struct Maps {
    frontends: HashMap<FrontendKey, Frontend>,
    backends: HashMap<BackendKey, Backend>,
}

impl Maps {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::WriteBackend(k, v) => drop(self.backends.insert(*k, *v)),
            Change::RemoveBackend(k) => assert!(self.backends.remove(k).is_some(), "removes what is not there: {k:?}"),
            Change::WriteFrontend(k, v) => drop(self.frontends.insert(*k, *v)),
            Change::RemoveFrontend(k) => {
                assert!(self.frontends.remove(k).is_some(), "removes what is not there: {k:?}")
            }
        }
    }

    /// Whatever a client asks for, the slot that is chosen exists.
    fn assert_whole(&self) {
        for (key, frontend) in &self.frontends {
            for slot in 0..frontend.backends {
                let at = BackendKey { service_id: frontend.service_id, slot };
                let backend = self.backends.get(&at);
                assert!(backend.is_some_and(|b| b.id != 0), "{key:?} counts slot {slot}, which holds {backend:?}");
            }
        }
    }

    fn tables(&self) -> Tables {
        Tables::new(
            self.frontends.iter().map(|(k, v)| (*k, *v)).collect(),
            self.backends.iter().map(|(k, v)| (*k, *v)).collect(),
        )
    }

    fn targets(&self, key: &FrontendKey) -> Option<Vec<(u8, u8)>> {
        let frontend = self.frontends.get(key)?;
        let mut out: Vec<(u8, u8)> = (0..frontend.backends)
            .map(|slot| self.backends[&BackendKey { service_id: frontend.service_id, slot }])
            .map(|b| (b.address.v4_octets()[3], b.flags))
            .collect();
        out.sort_unstable();
        Some(out)
    }
}

fn name(n: u8) -> ObjectName {
    ObjectName::new("default", &format!("s{n}"))
}

fn cluster_key(service: u8, port: u16) -> FrontendKey {
    FrontendKey { address: Address::from_v4([10, 96, 0, service]), port, protocol: 6, cluster: 0 }
}

fn node_key(node_port: u16) -> FrontendKey {
    FrontendKey { address: Address::V4_ANY, port: node_port, protocol: 6, cluster: 0 }
}

fn want(service: u8, port: u16, node_port: Option<u16>, backends: &[(u8, u8)]) -> Desired {
    let mut frontends = vec![WantedFrontend { key: cluster_key(service, port), flags: 0 }];
    frontends.extend(node_port.map(|p| WantedFrontend { key: node_key(p), flags: 1 }));
    let mut backends: Vec<Target> = backends
        .iter()
        .map(|&(n, flags)| Target { address: Address::from_v4([10, 244, 0, n]), port: 8080, flags })
        .collect();
    backends.sort_unstable();
    backends.dedup_by_key(|t| t.address);
    Desired {
        port: PortKey { service: name(service), port, protocol: Protocol::Tcp, family: Family::V4 },
        frontends,
        affinity_seconds: 0,
        backends,
    }
}

fn run(maps: &mut Maps, plan: &Plan) {
    for change in &plan.changes {
        maps.apply(change);
        maps.assert_whole();
    }
}

#[test]
fn an_unchanged_service_plans_nothing_also_after_a_restart() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let wanted = [want(1, 80, Some(30080), &[(1, 0), (2, 1)])];
    run(&mut maps, &balancer.set(&name(1), &wanted).unwrap());
    assert_eq!(balancer.set(&name(1), &wanted).unwrap(), Plan::default());
    let mut again = Balancer::recover(maps.tables(), ROOM);
    assert_eq!(again.set(&name(1), &wanted).unwrap(), Plan::default());
    assert_eq!(again.sweep(), Plan::default());
}

#[test]
fn one_endpoint_costs_the_same_among_many() {
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let many: Vec<(u8, u8)> = (1..=200).map(|n| (n, 0)).collect();
    balancer.set(&name(1), &[want(1, 80, Some(30080), &many[..199])]).unwrap();
    assert_eq!(
        balancer.set(&name(1), &[want(1, 80, Some(30080), &many)]).unwrap().changes.len(),
        3,
        "slot, two counts"
    );
    let without: Vec<_> = many.iter().copied().filter(|(n, _)| *n != 7).collect();
    let plan = balancer.set(&name(1), &[want(1, 80, Some(30080), &without)]).unwrap();
    assert_eq!(plan.changes.len(), 4, "swap, two counts, last slot: {plan:?}");
    assert_eq!(plan.gone, [Gone { service_id: 1, address: Address::from_v4([10, 244, 0, 7]), port: 8080 }]);
}

#[test]
fn what_belongs_to_nobody_stays_until_the_sweep() {
    let mut maps = Maps::default();
    let mut before = Balancer::recover(Tables::default(), ROOM);
    run(&mut maps, &before.set(&name(1), &[want(1, 80, None, &[(1, 0)])]).unwrap());
    run(&mut maps, &before.set(&name(2), &[want(2, 80, Some(30080), &[(2, 0), (3, 0)])]).unwrap());
    let mut after = Balancer::recover(maps.tables(), ROOM);
    // Service 2 has lost its NodePort and a backend while nobody looked; Service 1 is gone.
    run(&mut maps, &after.set(&name(2), &[want(2, 80, None, &[(2, 0)])]).unwrap());
    assert!(maps.frontends.contains_key(&cluster_key(1, 80)) && maps.frontends.contains_key(&node_key(30080)));
    let sweep = after.sweep();
    run(&mut maps, &sweep);
    assert_eq!(maps.frontends.len(), 1);
    assert_eq!(maps.backends.len(), 1);
    assert!(sweep.gone.iter().any(|g| g.address == Address::from_v4([10, 244, 0, 1])));
}

#[test]
fn a_frontend_two_services_ask_for_goes_to_the_first_then_to_the_other() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    run(&mut maps, &balancer.set(&name(1), &[want(1, 80, Some(30080), &[(1, 0)])]).unwrap());
    let second = [want(2, 80, Some(30080), &[(2, 0)])];
    let plan = balancer.set(&name(2), &second).unwrap();
    run(&mut maps, &plan);
    assert_eq!(plan.conflicts, [Conflict { frontend: node_key(30080), owner: name(1) }]);
    assert_eq!(maps.targets(&node_key(30080)), Some(vec![(1, 0)]));
    let removal = balancer.set(&name(1), &[]).unwrap();
    run(&mut maps, &removal);
    assert_eq!(removal.again, BTreeSet::from([name(2)]));
    run(&mut maps, &balancer.set(&name(2), &second).unwrap());
    assert_eq!(maps.targets(&node_key(30080)), Some(vec![(2, 0)]));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut balancer = Balancer::recover(Tables::default(), Capacity { frontends: 1, backends: 2 });
    let error = balancer.set(&name(1), &[want(1, 80, Some(30080), &[])]).unwrap_err();
    assert_eq!((error.map, error.capacity, error.needed), ("frontends", 1, 2));
    balancer.set(&name(1), &[want(1, 80, None, &[(1, 0), (2, 0)])]).unwrap();
    assert!(balancer.set(&name(1), &[want(1, 80, None, &[(1, 0), (2, 0), (3, 0)])]).is_err());
    assert_eq!(balancer.tables().len(), (1, 2));
    assert!(balancer.set(&name(1), &[want(1, 80, None, &[(1, 0)])]).is_ok(), "shrinking is always possible");
}

#[test]
fn slots_written_ahead_of_a_frontend_are_cleared() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let plan = balancer.set(&name(1), &[want(1, 80, None, &[(1, 0), (2, 0)])]).unwrap();
    maps.apply(&plan.changes[0]);
    let mut after = Balancer::recover(maps.tables(), ROOM);
    run(&mut maps, &after.clear_uncounted());
    assert_eq!(maps, Maps::default());
}

type Step = (u8, Option<(Option<u16>, Vec<(u8, u8)>)>, bool);

fn step() -> impl Strategy<Value = Step> {
    let node_port = proptest::option::of(30000u16..30003);
    let backends = proptest::collection::vec((1u8..9, 0u8..4), 0..6);
    (1u8..5, proptest::option::weighted(0.8, (node_port, backends)), proptest::bool::weighted(0.15))
}

proptest! {
    /// Against a map that knows nothing: whole at every step, right at the end, numbers stable, through restarts and
    /// through crashes in the middle of a plan.
    #[test]
    fn maps_are_whole_and_end_right(steps in proptest::collection::vec(step(), 1..40), crash_at in 0usize..6) {
        let mut maps = Maps::default();
        let mut balancer = Balancer::recover(Tables::default(), ROOM);
        let mut model: HashMap<u8, Desired> = HashMap::new();
        for (service, wanted, restart) in steps {
            let ids_before: HashMap<FrontendKey, u32> = maps.frontends.iter().map(|(k, f)| (*k, f.service_id)).collect();
            let backends_before: HashMap<(Address, u16), u32> =
                maps.backends.values().map(|b| ((b.address, b.port), b.id)).collect();
            match &wanted {
                Some((node_port, backends)) => drop(model.insert(service, want(service, 80, *node_port, backends))),
                None => drop(model.remove(&service)),
            }
            if restart {
                // Killed after some writes of this change; the next process knows only the maps.
                let plan = balancer.set(&name(service), model.get(&service).map(std::slice::from_ref).unwrap_or_default()).unwrap();
                for change in plan.changes.iter().take(crash_at) {
                    maps.apply(change);
                    maps.assert_whole();
                }
                balancer = Balancer::recover(maps.tables(), ROOM);
                let mut names: Vec<u8> = model.keys().copied().collect();
                names.sort_unstable();
                for n in names {
                    run(&mut maps, &balancer.set(&name(n), std::slice::from_ref(&model[&n])).unwrap());
                }
                run(&mut maps, &balancer.sweep());
            } else {
                let mut again = vec![name(service)];
                while let Some(next) = again.pop() {
                    let wanted: Vec<Desired> = model.values().filter(|d| d.port.service == next).cloned().collect();
                    let plan = balancer.set(&next, &wanted).unwrap();
                    run(&mut maps, &plan);
                    again.extend(plan.again);
                }
            }
            for (key, frontend) in &maps.frontends {
                if key.address != Address::V4_ANY && let Some(before) = ids_before.get(key) {
                    prop_assert_eq!(*before, frontend.service_id, "a Service that stays keeps its number");
                }
            }
            let mut ids: HashMap<u32, (Address, u16)> = HashMap::new();
            for backend in maps.backends.values() {
                let target = (backend.address, backend.port);
                prop_assert_eq!(*ids.entry(backend.id).or_insert(target), target, "one number, one backend");
                if let Some(before) = backends_before.get(&target) {
                    prop_assert_eq!(*before, backend.id, "a backend that stays keeps its number");
                }
            }
        }
        // At the end: what is desired, nothing else. (What is contested is checked by its owner.)
        run(&mut maps, &balancer.sweep());
        let mut expected_slots = 0;
        for (n, wanted) in &model {
            let mut expect: Vec<(u8, u8)> = wanted.backends.iter().map(|t| (t.address.v4_octets()[3], t.flags)).collect();
            expect.sort_unstable();
            expected_slots += expect.len();
            prop_assert_eq!(maps.targets(&cluster_key(*n, 80)), Some(expect));
        }
        let cluster = maps.frontends.keys().filter(|k| k.address != Address::V4_ANY).count();
        prop_assert_eq!(cluster, model.len());
        prop_assert_eq!(maps.backends.len(), expected_slots);
        for key in maps.frontends.keys().filter(|k| k.address == Address::V4_ANY) {
            prop_assert!(model.values().any(|d| d.frontends.iter().any(|f| f.key == *key)), "nobody wants {key:?}");
        }
        let wanted: HashSet<FrontendKey> = model.values().flat_map(|d| &d.frontends).map(|f| f.key).collect();
        prop_assert_eq!(maps.frontends.len(), wanted.len(), "somebody has each frontend that is wanted");
        // The mirror is the map.
        let mirror: HashMap<FrontendKey, Frontend> = balancer.tables().frontends().map(|(k, f)| (*k, *f)).collect();
        prop_assert_eq!(&mirror, &maps.frontends);
        prop_assert_eq!(balancer.tables().len(), (maps.frontends.len(), maps.backends.len()));
    }
}
