//! Weights are in a row's table and nowhere else: what else is written, and when.

use crate::{
    Balancer, Capacity, Change, Contents, Desired, PortKey, RowKind, Tables, Target, Wanted, WantedFrontend, WantedRow,
};
use datapath_layouts::service::FRONTEND_MAGLEV;
use datapath_layouts::{Address, Backend, BackendKey, FrontendKey, MaglevTable};
use model::{Family, ObjectName, Protocol};

fn name() -> ObjectName {
    ObjectName::new("default", "s")
}

/// Backends 10.244.0.1, .2 … with these weights.
fn want(weights: &[u8]) -> Wanted {
    let target = |(n, &weight): (usize, &u8)| Target {
        address: Address::from_v4([10, 244, 0, n as u8 + 1]),
        port: 80,
        flags: 0,
        weight,
    };
    let key = FrontendKey { address: Address::from_v4([10, 96, 0, 7]), port: 80, protocol: 6, cluster: 0 };
    Wanted {
        ports: vec![Desired {
            port: PortKey { service: name(), port: 80, protocol: Protocol::Tcp, family: Family::V4 },
            frontends: vec![WantedFrontend {
                key,
                flags: FRONTEND_MAGLEV,
                inside: RowKind::Cluster,
                outside: RowKind::Cluster,
            }],
            affinity_seconds: 0,
            source_ranges: vec![],
            rows: [Some(WantedRow { backends: weights.iter().enumerate().map(target).collect(), maglev: true }), None],
        }],
        ..Wanted::default()
    }
}

fn tables(changes: &[Change]) -> Vec<&MaglevTable> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::WriteMaglev(_, table) => Some(&**table),
            _ => None,
        })
        .collect()
}

/// Entries of slot 0.
fn of_the_first(table: &MaglevTable) -> usize {
    table.slots.iter().filter(|&&slot| slot == 0).count()
}

#[test]
fn another_weight_writes_the_table_alone_and_the_same_nothing() {
    let mut balancer = Balancer::recover(Tables::default(), Capacity::each(99));
    let first = balancer.set(&name(), &want(&[1, 1])).unwrap();
    assert!((510..=511).contains(&of_the_first(tables(&first.changes)[0])));
    let weighed = balancer.set(&name(), &want(&[3, 1])).unwrap();
    assert_eq!((weighed.changes.len(), tables(&weighed.changes).len()), (1, 1), "{:?}", weighed.changes.len());
    assert!((760..=770).contains(&of_the_first(tables(&weighed.changes)[0])), "three of four");
    assert!(balancer.set(&name(), &want(&[3, 1])).unwrap().changes.is_empty());
    assert!(balancer.set(&name(), &want(&[30, 10])).unwrap().changes.len() <= 1, "at most the table");
    let equal = balancer.set(&name(), &want(&[5, 5])).unwrap();
    assert_eq!(tables(&equal.changes), tables(&first.changes), "as without any");
}

#[test]
fn a_new_process_finds_the_table_as_it_should_be_or_writes_it() {
    let mut balancer = Balancer::recover(Tables::default(), Capacity::each(99));
    let plan = balancer.set(&name(), &want(&[3, 1])).unwrap();
    let mut contents = Contents::default();
    for change in plan.changes {
        match change {
            Change::WriteBackend(key, backend) => contents.backends.push((key, backend)),
            Change::WriteFrontend(key, frontend) => contents.frontends.push((key, frontend)),
            Change::WriteMaglev(row, table) => contents.maglev.push((row, *table)),
            other => panic!("{other:?}"),
        }
    }
    let restart = || Balancer::recover(Tables::new(contents.clone()), Capacity::each(99));
    assert!(restart().set(&name(), &want(&[3, 1])).unwrap().changes.is_empty());
    let changed = restart().set(&name(), &want(&[1, 3])).unwrap();
    assert!((250..=260).contains(&of_the_first(tables(&changed.changes)[0])));
    let known: Vec<(BackendKey, Backend)> = contents.backends.clone();
    assert_eq!(known.len(), 2);
}
