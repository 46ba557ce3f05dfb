use super::*;
use crate::maglev;
use crate::tables::rows_of;
use crate::{Contents, Target, WantedFrontend, WantedRow};
use datapath_layouts::service::{
    FRONTEND_DSR, FRONTEND_MAGLEV, FRONTEND_MAGLEV_EXTERNAL, FRONTEND_NODE_PORT, FRONTEND_ROW_LOCAL,
    FRONTEND_SOURCE_RANGES,
};
use datapath_layouts::{AffinityMemberKey, MaglevTable, SourceRangeKey};
use model::{Family, Protocol};
use proptest::prelude::*;

const ROOM: Capacity = Capacity::each(1000);

/// The maps as the kernel has them: no order, no help.
#[derive(Clone, Debug, Default, PartialEq)]
struct Maps {
    frontends: HashMap<FrontendKey, Frontend>,
    backends: HashMap<BackendKey, Backend>,
    maglev: HashMap<u32, MaglevTable>,
    members: HashSet<AffinityMemberKey>,
    ranges: HashSet<SourceRangeKey>,
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
            Change::WriteMaglev(row, table) => drop(self.maglev.insert(*row, **table)),
            Change::RemoveMaglev(row) => assert!(self.maglev.remove(row).is_some(), "removes no table: {row}"),
            Change::WriteMember(key) => assert!(self.members.insert(*key), "writes what is there: {key:?}"),
            Change::RemoveMember(key) => assert!(self.members.remove(key), "removes what is not there: {key:?}"),
            Change::WriteRange(key) => assert!(self.ranges.insert(*key), "writes what is there: {key:?}"),
            Change::RemoveRange(key) => assert!(self.ranges.remove(key), "removes what is not there: {key:?}"),
        }
    }

    /// Whatever a client asks for, from inside or outside, the slot that is chosen exists, and so does what the frontend
    /// says it has.
    fn assert_whole(&self) {
        for (key, frontend) in &self.frontends {
            let (inside, outside) =
                ((frontend.service_id, frontend.backends), (frontend.external_id, frontend.external_backends));
            let direct = frontend.flags & FRONTEND_DSR != 0;
            assert!(frontend.local_id != 0 || !direct, "{key:?} has no row for what is passed on");
            assert!(frontend.local_backends == 0 || direct, "{key:?} counts what nobody chooses from");
            assert!(![0, inside.0, outside.0].contains(&frontend.local_id) || frontend.local_id == 0, "{key:?}");
            for (service_id, backends) in [inside, outside, (frontend.local_id, frontend.local_backends)] {
                for slot in 0..backends {
                    let backend = self.backends.get(&BackendKey { service_id, slot });
                    assert!(backend.is_some_and(|b| b.id != 0), "{key:?} counts slot {slot}, which holds {backend:?}");
                    let backend_id = backend.unwrap().id;
                    let member = AffinityMemberKey { service_id, backend_id };
                    assert!(
                        frontend.affinity_seconds == 0 || self.members.contains(&member),
                        "{key:?}: nobody could come back to {backend_id}"
                    );
                }
            }
            for (flag, row) in [(FRONTEND_MAGLEV, inside.0), (FRONTEND_MAGLEV_EXTERNAL, outside.0)] {
                assert!(frontend.flags & flag == 0 || self.maglev.contains_key(&row), "{key:?} has no table {row}");
            }
            if frontend.flags & FRONTEND_SOURCE_RANGES != 0 {
                assert!(self.ranges.iter().any(|r| r.service_id == inside.0), "{key:?} lets nobody in");
            }
        }
    }

    /// Nothing that belongs to no frontend, and each table is that of its row.
    fn assert_nothing_left(&self) {
        let mut rows: HashSet<u32> =
            self.frontends.values().flat_map(|f| [f.service_id, f.external_id, f.local_id]).collect();
        assert!(self.ranges.iter().all(|r| rows.contains(&r.service_id)), "{:?}", self.ranges);
        // A row waits for its frontend while another Service has it.
        rows.extend(self.backends.keys().map(|key| key.service_id));
        assert!(self.members.iter().all(|m| rows.contains(&m.service_id)), "{:?}", self.members);
        assert!(self.maglev.keys().all(|row| rows.contains(row)));
        for member in &self.members {
            let mut row = self.backends.iter().filter(|(k, _)| k.service_id == member.service_id);
            assert!(row.any(|(_, b)| b.id == member.backend_id), "{member:?} is in no slot");
        }
        for (row, table) in &self.maglev {
            let count = self.backends.keys().filter(|k| k.service_id == *row).count() as u32;
            let slots: Vec<Backend> =
                (0..count).map(|slot| self.backends[&BackendKey { service_id: *row, slot }]).collect();
            assert_eq!(maglev::table(&slots).as_deref(), Some(table), "row {row}");
        }
    }

    fn tables(&self) -> Tables {
        Tables::new(Contents {
            frontends: self.frontends.iter().map(|(k, v)| (*k, *v)).collect(),
            backends: self.backends.iter().map(|(k, v)| (*k, *v)).collect(),
            maglev: self.maglev.iter().map(|(k, v)| (*k, *v)).collect(),
            members: self.members.iter().copied().collect(),
            ranges: self.ranges.iter().copied().collect(),
        })
    }

    fn row(&self, service_id: u32, count: u32) -> Vec<(u8, u8)> {
        let mut out: Vec<(u8, u8)> = (0..count)
            .map(|slot| self.backends[&BackendKey { service_id, slot }])
            .map(|b| (b.address.v4_octets()[3], b.flags))
            .collect();
        out.sort_unstable();
        out
    }

    /// What clients of the cluster reach.
    fn targets(&self, key: &FrontendKey) -> Option<Vec<(u8, u8)>> {
        self.frontends.get(key).map(|f| self.row(f.service_id, f.backends))
    }

    /// What clients from outside reach.
    fn outside(&self, key: &FrontendKey) -> Option<Vec<(u8, u8)>> {
        self.frontends.get(key).map(|f| self.row(f.external_id, f.external_backends))
    }

    /// What reaches those whose packets another node passed on.
    fn passed_on(&self, key: &FrontendKey) -> Option<Vec<(u8, u8)>> {
        self.frontends.get(key).map(|f| self.row(f.local_id, f.local_backends))
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

/// Flag 1 of a backend says that it is local.
fn row(backends: &[(u8, u8)], maglev: bool) -> WantedRow {
    let mut backends: Vec<Target> = backends
        .iter()
        .map(|&(n, flags)| Target { address: Address::from_v4([10, 244, 0, n]), port: 8080, flags, weight: 1 })
        .collect();
    backends.sort_unstable();
    backends.dedup_by_key(|t| t.address);
    WantedRow { backends, maglev }
}

/// What a test's Service has besides backends.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    /// internalTrafficPolicy: Local.
    internal: bool,
    /// externalTrafficPolicy: Local.
    local: bool,
    /// Direct server return at the NodePort, where the policy is not Local.
    dsr: bool,
    affinity: u32,
    maglev: bool,
    ranges: u8,
}

fn want_with(service: u8, port: u16, node_port: Option<u16>, backends: &[(u8, u8)], extra: Extra) -> Wanted {
    let maglev = if extra.maglev { FRONTEND_MAGLEV | FRONTEND_MAGLEV_EXTERNAL } else { 0 };
    // Only a load balancer's address is guarded, of which internalTrafficPolicy says nothing.
    let guard = if extra.ranges > 0 && !extra.internal { FRONTEND_SOURCE_RANGES } else { 0 };
    let own = if extra.internal { RowKind::Local } else { RowKind::Cluster };
    let (inside, outside) = (RowKind::Cluster, if extra.local { RowKind::Local } else { RowKind::Cluster });
    let mut frontends =
        vec![WantedFrontend { key: cluster_key(service, port), flags: maglev | guard, inside: own, outside: own }];
    frontends.extend(node_port.map(|p| WantedFrontend {
        key: node_key(p),
        flags: FRONTEND_NODE_PORT | maglev | if extra.dsr && !extra.local { FRONTEND_DSR } else { 0 },
        inside,
        outside,
    }));
    let local: Vec<(u8, u8)> = backends.iter().copied().filter(|(_, flags)| flags & 1 != 0).collect();
    let has = |kind: RowKind| frontends.iter().any(|f| f.names(kind));
    let (has_cluster, has_local) = (has(RowKind::Cluster), has(RowKind::Local));
    let port = PortKey { service: name(service), port, protocol: Protocol::Tcp, family: Family::V4 };
    let desired = Desired {
        port,
        frontends,
        affinity_seconds: extra.affinity,
        source_ranges: (0..extra.ranges).map(|n| format!("192.0.{n}.0/24").parse().unwrap()).collect(),
        rows: [has_cluster.then(|| row(backends, extra.maglev)), has_local.then(|| row(&local, extra.maglev))],
    };
    Wanted { addresses: vec![cluster_key(service, 0).address], ports: vec![desired], problems: vec![] }
}

fn want(service: u8, port: u16, node_port: Option<u16>, backends: &[(u8, u8)]) -> Wanted {
    want_with(service, port, node_port, backends, Extra::default())
}

fn whole(service: u8) -> FrontendKey {
    FrontendKey::whole_address(cluster_key(service, 0).address)
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
    let extra = Extra { local: true, affinity: 60, maglev: true, ranges: 2, ..Extra::default() };
    let wanted = want_with(1, 80, Some(30080), &[(1, 0), (2, 1), (3, 1)], extra);
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
    balancer.set(&name(1), &want(1, 80, Some(30080), &many[..199])).unwrap();
    assert_eq!(balancer.set(&name(1), &want(1, 80, Some(30080), &many)).unwrap().changes.len(), 3, "slot, two counts");
    let without: Vec<_> = many.iter().copied().filter(|(n, _)| *n != 7).collect();
    let plan = balancer.set(&name(1), &want(1, 80, Some(30080), &without)).unwrap();
    assert_eq!(plan.changes.len(), 4, "swap, two counts, last slot: {plan:?}");
    assert_eq!(plan.gone, [Gone { service_id: 1, address: Address::from_v4([10, 244, 0, 7]), port: 8080 }]);
}

#[test]
fn what_belongs_to_nobody_stays_until_the_sweep() {
    let mut maps = Maps::default();
    let mut before = Balancer::recover(Tables::default(), ROOM);
    run(&mut maps, &before.set(&name(1), &want(1, 80, None, &[(1, 0)])).unwrap());
    run(&mut maps, &before.set(&name(2), &want(2, 80, Some(30080), &[(2, 0), (3, 0)])).unwrap());
    let mut after = Balancer::recover(maps.tables(), ROOM);
    // Service 2 has lost its NodePort and a backend while nobody looked; Service 1 is gone.
    run(&mut maps, &after.set(&name(2), &want(2, 80, None, &[(2, 0)])).unwrap());
    assert!(maps.frontends.contains_key(&cluster_key(1, 80)) && maps.frontends.contains_key(&node_key(30080)));
    let sweep = after.sweep();
    run(&mut maps, &sweep);
    assert_eq!(maps.frontends.len(), 2, "its port and its address");
    assert_eq!(maps.backends.len(), 1);
    assert!(sweep.gone.iter().any(|g| g.address == Address::from_v4([10, 244, 0, 1])));
}

#[test]
fn a_frontend_two_services_ask_for_goes_to_the_first_then_to_the_other() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    run(&mut maps, &balancer.set(&name(1), &want(1, 80, Some(30080), &[(1, 0)])).unwrap());
    let second = want(2, 80, Some(30080), &[(2, 0)]);
    let plan = balancer.set(&name(2), &second).unwrap();
    run(&mut maps, &plan);
    assert_eq!(plan.conflicts, [Conflict { frontend: node_key(30080), owner: name(1) }]);
    assert_eq!(maps.targets(&node_key(30080)), Some(vec![(1, 0)]));
    let removal = balancer.set(&name(1), &Wanted::default()).unwrap();
    run(&mut maps, &removal);
    assert_eq!(removal.again, BTreeSet::from([name(2)]));
    run(&mut maps, &balancer.set(&name(2), &second).unwrap());
    assert_eq!(maps.targets(&node_key(30080)), Some(vec![(2, 0)]));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut balancer = Balancer::recover(Tables::default(), Capacity { frontends: 2, backends: 2, ..ROOM });
    let error = balancer.set(&name(1), &want(1, 80, Some(30080), &[])).unwrap_err();
    assert_eq!((error.map, error.capacity, error.needed), ("frontends", 2, 3));
    balancer.set(&name(1), &want(1, 80, None, &[(1, 0), (2, 0)])).unwrap();
    assert!(balancer.set(&name(1), &want(1, 80, None, &[(1, 0), (2, 0), (3, 0)])).is_err());
    assert_eq!(balancer.tables().len(), (2, 2));
    assert!(balancer.set(&name(1), &want(1, 80, None, &[(1, 0)])).is_ok(), "shrinking is always possible");
}

#[test]
fn slots_written_ahead_of_a_frontend_are_cleared() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let plan = balancer.set(&name(1), &want(1, 80, None, &[(1, 0), (2, 0)])).unwrap();
    maps.apply(&plan.changes[0]);
    let mut after = Balancer::recover(maps.tables(), ROOM);
    run(&mut maps, &after.clear_uncounted());
    assert_eq!(maps, Maps::default());
}

#[test]
fn an_address_that_two_services_share_stays_until_both_are_gone() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let mut second = want(2, 81, None, &[]);
    second.addresses = vec![cluster_key(1, 0).address];
    run(&mut maps, &balancer.set(&name(1), &want(1, 80, None, &[])).unwrap());
    run(&mut maps, &balancer.set(&name(2), &second).unwrap());
    run(&mut maps, &balancer.set(&name(1), &Wanted::default()).unwrap());
    assert!(maps.frontends.contains_key(&whole(1)));
    run(&mut maps, &balancer.set(&name(2), &Wanted::default()).unwrap());
    assert_eq!(maps, Maps::default());
}

#[test]
fn a_policy_that_becomes_local_and_back_changes_what_outside_reaches_alone() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let backends = [(1, 0), (2, 1), (3, 0)];
    for local in [false, true, false] {
        let extra = Extra { local, maglev: true, ..Extra::default() };
        run(&mut maps, &balancer.set(&name(1), &want_with(1, 80, Some(30080), &backends, extra)).unwrap());
        assert_eq!(maps.targets(&node_key(30080)), Some(backends.to_vec()));
        let outside = if local { vec![(2, 1)] } else { backends.to_vec() };
        assert_eq!(maps.outside(&node_key(30080)), Some(outside));
        maps.assert_nothing_left();
        assert_eq!(maps.backends.len(), if local { 4 } else { 3 });
        assert_eq!(maps.maglev.len(), 1, "a row of one backend needs no table");
    }
}

#[test]
fn whatever_policy_does_connections_keep_their_row() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let key = cluster_key(1, 80);
    let mut seen = HashSet::new();
    let both = [false, true];
    let all: Vec<_> = both.iter().flat_map(|internal| both.map(|local| (*internal, local))).collect();
    // Each policy after each other, and each also while the agent was away.
    for (node_port, restart) in [(Some(30080), false), (Some(30080), true), (None, false), (None, true)] {
        for (first, then) in all.iter().flat_map(|first| all.iter().map(move |then| (first, then))) {
            for (internal, local) in [first, then] {
                let extra = Extra { internal: *internal, local: *local, affinity: 60, ..Extra::default() };
                if restart {
                    balancer = Balancer::recover(maps.tables(), ROOM);
                }
                let wanted = want_with(1, 80, node_port, &[(1, 0), (2, 1)], extra);
                run(&mut maps, &balancer.set(&name(1), &wanted).unwrap());
                run(&mut maps, &balancer.sweep());
                maps.assert_nothing_left();
                let inside = if *internal { vec![(2, 1)] } else { vec![(1, 0), (2, 1)] };
                assert_eq!(maps.targets(&key), Some(inside));
                seen.insert(maps.frontends[&key].service_id);
                let named: HashSet<u32> = rows_of(&maps.frontends[&key]).collect();
                assert!(seen.is_subset(&named), "{seen:?}, and named are {named:?}");
            }
        }
    }
    assert_eq!(seen.len(), 2, "no number is used up by it");
}

#[test]
fn what_hangs_on_a_row_comes_and_goes_with_it() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let backends = [(1, 0), (2, 1), (3, 1)];
    let all = Extra { local: true, affinity: 60, maglev: true, ranges: 3, ..Extra::default() };
    run(&mut maps, &balancer.set(&name(1), &want_with(1, 80, Some(30080), &backends, all)).unwrap());
    assert_eq!((maps.maglev.len(), maps.members.len(), maps.ranges.len()), (2, 5, 3));
    // One backend less costs the same whatever hangs on the row, and its clients don't come back to it.
    let plan = balancer.set(&name(1), &want_with(1, 80, Some(30080), &backends[..2], all)).unwrap();
    run(&mut maps, &plan);
    assert_eq!((maps.maglev.len(), maps.members.len()), (1, 3));
    assert_eq!(plan.changes.len(), 8, "{:?}", plan.changes);
    let less = Extra { ranges: 1, affinity: 0, maglev: false, ..all };
    run(&mut maps, &balancer.set(&name(1), &want_with(1, 80, Some(30080), &backends, less)).unwrap());
    assert_eq!((maps.maglev.len(), maps.members.len(), maps.ranges.len()), (0, 0, 1));
    run(&mut maps, &balancer.set(&name(1), &Wanted::default()).unwrap());
    assert_eq!(maps, Maps::default());
}

#[test]
fn a_full_map_of_tables_is_an_error_too() {
    let check = |capacity: Capacity, extra: Extra, map: &str| {
        let mut balancer = Balancer::recover(Tables::default(), capacity);
        let error = balancer.set(&name(1), &want_with(1, 80, None, &[(1, 0), (2, 0)], extra)).unwrap_err();
        assert_eq!(error.map, map);
        assert_eq!(balancer.tables().len(), (0, 0));
    };
    check(Capacity { maglev: 0, ..ROOM }, Extra { maglev: true, ..Extra::default() }, "maglev");
    check(Capacity { members: 1, ..ROOM }, Extra { affinity: 1, ..Extra::default() }, "affinity_member");
    check(Capacity { ranges: 1, ..ROOM }, Extra { ranges: 2, ..Extra::default() }, "source_ranges");
}

#[test]
fn a_table_that_is_not_its_rows_is_written_anew_after_a_restart() {
    let mut maps = Maps::default();
    let mut balancer = Balancer::recover(Tables::default(), ROOM);
    let wanted = want_with(1, 80, None, &[(1, 0), (2, 0)], Extra { maglev: true, ..Extra::default() });
    run(&mut maps, &balancer.set(&name(1), &wanted).unwrap());
    maps.maglev.values_mut().for_each(|table| table.slots = [0; 1021]);
    let mut again = Balancer::recover(maps.tables(), ROOM);
    run(&mut maps, &again.set(&name(1), &wanted).unwrap());
    maps.assert_nothing_left();
}

/// Service `n` of many, with a NodePort in each tenth, and three backends of its own.
fn one_of_many(n: u32, backends: u8) -> (ObjectName, Wanted) {
    let [_, high, middle, low] = n.to_be_bytes();
    let mut wanted = want(1, 80, n.is_multiple_of(10).then_some(n as u16), &[]);
    let name = ObjectName::new("default", &format!("service-{n}"));
    let address = Address::from_v4([10, 96 | high, middle, low]);
    wanted.addresses = vec![address];
    let port = &mut wanted.ports[0];
    port.port.service = name.clone();
    port.frontends[0].key.address = address;
    let target = |last: u16| Target {
        address: Address::from_v4([10, 128 | high, middle, low]),
        port: 8000 + last,
        flags: 0,
        weight: 1,
    };
    port.rows[0] = Some(WantedRow {
        backends: (0..backends).map(|last| target(last.into())).collect(),
        maglev: n.is_multiple_of(10),
    });
    (name, wanted)
}

#[test]
fn fifty_thousand_services_cost_what_they_are_and_one_change_costs_itself() {
    const MANY: u32 = 50_000;
    let capacity = Capacity::each(1_000_000);
    let mut balancer = Balancer::recover(Tables::default(), capacity);
    let mut maps = Maps::default();
    let started = std::time::Instant::now();
    for n in 0..MANY {
        let (name, wanted) = one_of_many(n, 3);
        balancer.set(&name, &wanted).unwrap().changes.iter().for_each(|change| maps.apply(change));
    }
    let planned = started.elapsed();
    assert!(planned.as_secs() < 20, "{planned:?} for all of them");
    let (name, wanted) = one_of_many(25_003, 4);
    let started = std::time::Instant::now();
    let plan = balancer.set(&name, &wanted).unwrap();
    let one = started.elapsed();
    assert_eq!(plan.changes.len(), 2, "a slot, a count");
    assert!(one.as_millis() < 5, "{one:?} for one among them");
    // A restart plans nothing for what is as it was.
    let started = std::time::Instant::now();
    let mut again = Balancer::recover(maps.tables(), capacity);
    assert_eq!(again.clear_uncounted(), Plan::default());
    for n in 0..MANY {
        let (name, wanted) = one_of_many(n, 3);
        assert_eq!(again.set(&name, &wanted).unwrap(), Plan::default());
    }
    assert_eq!(again.sweep(), Plan::default());
    let restarted = started.elapsed();
    assert!(restarted.as_secs() < 20, "{restarted:?} after a restart");
    println!("all {planned:?}, one {one:?}, restart {restarted:?}");
}

type Service = (Option<u16>, Vec<(u8, u8)>, Extra);
type Step = (u8, Option<Service>, bool);

fn step() -> impl Strategy<Value = Step> {
    let node_port = proptest::option::of(30000u16..30003);
    let backends = proptest::collection::vec((1u8..9, 0u8..4), 0..6);
    let extra = (any::<(bool, bool, bool, bool)>(), 0u32..2, 0u8..3);
    let extra = extra.prop_map(|((internal, local, dsr, maglev), affinity, ranges)| Extra {
        internal,
        local,
        dsr,
        affinity,
        maglev,
        ranges,
    });
    (1u8..5, proptest::option::weighted(0.8, (node_port, backends, extra)), proptest::bool::weighted(0.15))
}

proptest! {
    /// Against a map that knows nothing: whole at every step, right at the end, numbers stable, through restarts and
    /// through crashes in the middle of a plan.
    #[test]
    fn maps_are_whole_and_end_right(steps in proptest::collection::vec(step(), 1..40), crash_at in 0usize..12) {
        let mut maps = Maps::default();
        let mut balancer = Balancer::recover(Tables::default(), ROOM);
        let mut model: HashMap<u8, Wanted> = HashMap::new();
        let wanted_of = |model: &HashMap<u8, Wanted>, n: &ObjectName| {
            let found = model.iter().find(|(service, _)| name(**service) == *n);
            found.map(|(_, wanted)| wanted.clone()).unwrap_or_default()
        };
        for (service, wanted, restart) in steps {
            let before: HashMap<FrontendKey, Frontend> = maps.frontends.clone();
            let backends_before: HashMap<(Address, u16), u32> =
                maps.backends.values().map(|b| ((b.address, b.port), b.id)).collect();
            // Killed before the frontends count a new row, a backend that has left this node's row is in none: here backends move
            // between nodes. Then clients that would come back to it are chosen for anew; connections are not.
            let inside = |wanted: &Wanted| wanted.ports[0].frontends[0].inside;
            let was_inside = model.get(&service).map(inside);
            match &wanted {
                Some((node_port, backends, extra)) => {
                    drop(model.insert(service, want_with(service, 80, *node_port, backends, *extra)));
                }
                None => drop(model.remove(&service)),
            }
            if restart {
                // Killed after some writes of this change; the next process knows only the maps.
                let plan = balancer.set(&name(service), &wanted_of(&model, &name(service))).unwrap();
                for change in plan.changes.iter().take(crash_at) {
                    maps.apply(change);
                    maps.assert_whole();
                }
                balancer = Balancer::recover(maps.tables(), ROOM);
                run(&mut maps, &balancer.clear_uncounted());
                let mut names: Vec<u8> = model.keys().copied().collect();
                names.sort_unstable();
                for n in names {
                    run(&mut maps, &balancer.set(&name(n), &model[&n]).unwrap());
                }
                run(&mut maps, &balancer.sweep());
            } else {
                let mut again = vec![name(service)];
                while let Some(next) = again.pop() {
                    let plan = balancer.set(&next, &wanted_of(&model, &next)).unwrap();
                    run(&mut maps, &plan);
                    again.extend(plan.again);
                }
            }
            maps.assert_nothing_left();
            for (key, frontend) in &maps.frontends {
                if key.address != Address::V4_ANY && let Some(before) = before.get(key) {
                    if before.flags & FRONTEND_ROW_LOCAL == frontend.flags & FRONTEND_ROW_LOCAL {
                        prop_assert_eq!(before.service_id, frontend.service_id, "a Service that stays keeps its number");
                    }
                    for row in rows_of(before) {
                        prop_assert!(rows_of(frontend).any(|now| now == row), "connections by row {} would be cut", row);
                    }
                }
            }
            let mut ids: HashMap<u32, (Address, u16)> = HashMap::new();
            for backend in maps.backends.values() {
                let target = (backend.address, backend.port);
                prop_assert_eq!(*ids.entry(backend.id).or_insert(target), target, "one number, one backend");
                let is_local = [was_inside, model.get(&service).map(inside)].contains(&Some(RowKind::Local));
                let moved = restart && is_local;
                if let Some(before) = backends_before.get(&target).filter(|_| !moved) {
                    prop_assert_eq!(*before, backend.id, "a backend that stays keeps its number");
                }
            }
        }
        // At the end: what is desired, nothing else. (What is contested is checked by its owner.)
        run(&mut maps, &balancer.sweep());
        let mut expected_slots = 0;
        for (n, wanted) in &model {
            let all = |kind: RowKind| {
                let row = wanted.ports[0].row(kind)?;
                let mut all: Vec<_> = row.backends.iter().map(|t| (t.address.v4_octets()[3], t.flags)).collect();
                all.sort_unstable();
                Some(all)
            };
            expected_slots += [RowKind::Cluster, RowKind::Local].into_iter().filter_map(all).flatten().count();
            prop_assert_eq!(maps.targets(&cluster_key(*n, 80)), all(wanted.ports[0].frontends[0].inside));
            for f in &wanted.ports[0].frontends {
                if balancer.owner(&f.key) == Some(&name(*n)) {
                    prop_assert_eq!(maps.outside(&f.key), all(f.outside));
                    if f.is_direct() {
                        prop_assert_eq!(maps.passed_on(&f.key), all(RowKind::Local));
                    }
                }
            }
        }
        let cluster = maps.frontends.keys().filter(|k| k.address != Address::V4_ANY && k.port != 0).count();
        prop_assert_eq!(cluster, model.len());
        prop_assert_eq!(maps.backends.len(), expected_slots);
        for key in maps.frontends.keys().filter(|k| k.address == Address::V4_ANY) {
            prop_assert!(model.values().any(|d| d.ports[0].frontends.iter().any(|f| f.key == *key)), "nobody wants {key:?}");
        }
        let mut wanted: HashSet<FrontendKey> =
            model.values().flat_map(|d| &d.ports[0].frontends).map(|f| f.key).collect();
        wanted.extend(model.keys().map(|n| whole(*n)));
        prop_assert_eq!(maps.frontends.len(), wanted.len(), "somebody has each frontend that is wanted");
        // The mirror is the map.
        let mirror: HashMap<FrontendKey, Frontend> = balancer.tables().frontends().map(|(k, f)| (*k, *f)).collect();
        prop_assert_eq!(&mirror, &maps.frontends);
        let usage = balancer.tables().usage();
        prop_assert_eq!((usage.frontends, usage.backends), (maps.frontends.len(), maps.backends.len()));
        prop_assert_eq!((usage.maglev, usage.members, usage.ranges), (maps.maglev.len(), maps.members.len(), maps.ranges.len()));
    }
}
