//! The journal against a model: operations, restarts, compactions, and a crash at every byte.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::IpAddr,
    path::Path,
    time::Duration,
};

use ipam::{Error, Ipam, JournalError, Owner, Timestamp};
use ipnet::IpNet;
use proptest::{collection::vec, prelude::*};

const REST: Duration = Duration::from_secs(30);

fn owner(n: u8) -> Owner {
    Owner {
        container_id: format!("container-{n}"),
        ifname: if n.is_multiple_of(5) { "net1" } else { "eth0" }.to_owned(),
    }
}

fn ranges() -> Vec<IpNet> {
    ["10.244.1.0/28", "fd00:10:244:1::/64"].map(|net| net.parse().unwrap()).to_vec()
}

fn open_at(path: &Path, now: u64) -> Ipam {
    Ipam::open(path, &ranges(), REST, Timestamp(now)).unwrap()
}

fn open(path: &Path) -> Ipam {
    open_at(path, Timestamp::now().0)
}

fn state(ipam: &Ipam) -> HashMap<Owner, Vec<IpAddr>> {
    ipam.allocator().owners().map(|(owner, addresses)| (owner.clone(), addresses.to_vec())).collect()
}

/// What must hold whatever happened.
#[derive(Default, Clone)]
struct Model {
    given: HashMap<Owner, Vec<IpAddr>>,
    released: HashMap<IpAddr, u64>,
}

impl Model {
    fn allocate(&mut self, ipam: &mut Ipam, owner: Owner, now: u64) {
        let had = self.given.get(&owner).cloned();
        match (ipam.allocate(&owner, Timestamp(now)), had) {
            (Ok(addresses), Some(had)) => assert_eq!(addresses, had, "the same owner keeps its addresses"),
            (Ok(addresses), None) => {
                assert_eq!(addresses.len(), 2);
                assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6());
                for address in &addresses {
                    assert!(ranges().iter().any(|range| range.contains(address)));
                    assert!(!self.given.values().flatten().any(|a| a == address), "{address} was given twice");
                    if let Some(at) = self.released.get(address) {
                        assert!(now - at >= 30_000, "{address} did not rest");
                    }
                }
                self.given.insert(owner, addresses);
            }
            (Err(Error::Exhausted(error)), None) => {
                let resting = self.released.iter().filter(|(a, at)| a.is_ipv4() && now - **at < 30_000).count();
                assert_eq!(self.given.len() + resting, 13, "exhausted too early: {error}");
            }
            (Err(error), _) => panic!("{error}"),
        }
    }

    fn release(&mut self, ipam: &mut Ipam, owner: &Owner, now: u64) {
        let had = self.given.remove(owner).unwrap_or_default();
        assert_eq!(ipam.release(owner, Timestamp(now)).unwrap(), had);
        self.released.extend(had.into_iter().map(|address| (address, now)));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(u8),
    Release(u8),
    Wait(u64),
    Restart,
    Compact,
    /// The process dies while it appends: so many bytes of the record reach the disk.
    TornAllocate(u8, usize),
    TornRelease(u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..24).prop_map(Step::Allocate),
        5 => (0u8..24).prop_map(Step::Release),
        2 => (0u64..40_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => Just(Step::Compact),
        1 => (0u8..24, 0usize..200).prop_map(|(n, cut)| Step::TornAllocate(n, cut)),
        1 => (0u8..24, 0usize..200).prop_map(|(n, cut)| Step::TornRelease(n, cut)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_address_is_lost_or_given_twice(steps in vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ipam.journal");
        let (mut ipam, mut model) = (Some(open(&path)), Model::default());
        let mut now = Timestamp::now().0;
        for step in steps {
            let mut open_ipam = ipam.take().unwrap();
            match step {
                Step::Allocate(n) => model.allocate(&mut open_ipam, owner(n), now),
                Step::Release(n) => model.release(&mut open_ipam, &owner(n), now),
                Step::Wait(ms) => now += ms,
                Step::Restart => { drop(open_ipam); open_ipam = open_at(&path, now); }
                Step::Compact => open_ipam.compact().unwrap(),
                Step::TornAllocate(n, cut) | Step::TornRelease(n, cut) => {
                    let before = fs::read(&path).unwrap();
                    let mut attempt = model.clone();
                    if matches!(step, Step::TornAllocate(..)) {
                        attempt.allocate(&mut open_ipam, owner(n), now);
                    } else {
                        attempt.release(&mut open_ipam, &owner(n), now);
                    }
                    drop(open_ipam);
                    let after = fs::read(&path).unwrap();
                    if after.starts_with(&before) {
                        let length = (before.len() + cut).min(after.len());
                        fs::write(&path, &after[..length]).unwrap();
                        if length == after.len() { model = attempt; }
                    } else {
                        model = attempt; // compacted on the way
                    }
                    open_ipam = open_at(&path, now);
                }
            }
            prop_assert_eq!(state(&open_ipam), model.given.clone());
            ipam = Some(open_ipam);
        }
    }
}

#[test]
fn a_crash_at_every_byte_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = open(&path);
    let now = Timestamp::now().0;
    // (bytes of the journal, what it must say)
    let mut history = vec![(0, HashMap::new())];
    for n in 0..8 {
        ipam.allocate(&owner(n), Timestamp(now)).unwrap();
        history.push((fs::metadata(&path).unwrap().len(), state(&ipam)));
        if n % 2 == 1 {
            ipam.release(&owner(n - 1), Timestamp(now)).unwrap();
            history.push((fs::metadata(&path).unwrap().len(), state(&ipam)));
        }
    }
    drop(ipam);
    let whole = fs::read(&path).unwrap();
    let cut_path = dir.path().join("cut.journal");
    for cut in 0..=whole.len() {
        fs::write(&cut_path, &whole[..cut]).unwrap();
        let mut reopened = open(&cut_path);
        let (_, expected) = history.iter().rev().find(|(length, _)| *length <= cut as u64).unwrap();
        assert_eq!(state(&reopened), *expected, "cut at byte {cut}");
        // And it goes on from there: an append after the cut is read back.
        let fresh = reopened.allocate(&owner(100), Timestamp(now)).unwrap();
        assert!(!expected.values().flatten().any(|address| fresh.contains(address)));
        drop(reopened);
        assert_eq!(open(&cut_path).addresses_of(&owner(100)), Some(fresh.as_slice()), "cut at byte {cut}");
    }
}

#[test]
fn the_order_of_turns_survives_restart_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = open(&path);
    let now = Timestamp::now();
    let first = ipam.allocate(&owner(1), now).unwrap();
    ipam.release(&owner(1), now).unwrap();
    ipam.compact().unwrap();
    drop(ipam);
    let mut ipam = open(&path);
    assert!(ipam.release(&owner(1), now).unwrap().is_empty());
    assert_eq!(ipam.usage(now)[0].resting, 1, "it rests on after restart and compaction");
    let later = Timestamp(now.0 + 31_000);
    assert_ne!(ipam.allocate(&owner(2), later).unwrap(), first, "the turn went on");
}

#[test]
fn the_journal_is_compacted_by_itself_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = Ipam::open(&path, &["10.0.0.0/16".parse().unwrap()], Duration::ZERO, Timestamp::now()).unwrap();
    let now = Timestamp::now();
    for n in 0..3 {
        ipam.allocate(&owner(n), now).unwrap();
    }
    let kept = state(&ipam);
    let mut seen = HashSet::new();
    for _ in 0..1500 {
        seen.extend(ipam.allocate(&owner(9), now).unwrap());
        ipam.release(&owner(9), now).unwrap();
    }
    assert_eq!(seen.len(), 1500, "each time the next");
    let lines = fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines < 1100, "{lines} records of 3,003 are left");
    assert_eq!(state(&ipam), kept);
}

#[test]
fn a_crash_during_compaction_leaves_the_old_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = open(&path);
    let addresses = ipam.allocate(&owner(1), Timestamp::now()).unwrap();
    drop(ipam);
    fs::write(dir.path().join("ipam.journal.new"), "half a rec").unwrap();
    let mut ipam = open(&path);
    assert_eq!(ipam.addresses_of(&owner(1)), Some(addresses.as_slice()));
    ipam.compact().unwrap();
    drop(ipam);
    assert_eq!(open(&path).addresses_of(&owner(1)), Some(addresses.as_slice()));
}

#[test]
fn damage_in_the_middle_is_refused_and_a_second_writer_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = open(&path);
    for n in 0..3 {
        ipam.allocate(&owner(n), Timestamp::now()).unwrap();
    }
    assert!(matches!(Ipam::open(&path, &ranges(), REST, Timestamp::now()), Err(JournalError::InUse { .. })));
    drop(ipam);
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    bytes[second] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Ipam::open(&path, &ranges(), REST, Timestamp::now()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { line: 2, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "and it is left as it is");
}

#[test]
fn a_journal_that_cannot_be_written_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let error = Ipam::open(&blocked.join("ipam.journal"), &ranges(), REST, Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
}

#[test]
fn ranges_that_changed_keep_the_owners() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ipam.journal");
    let mut ipam = open(&path);
    let addresses = ipam.allocate(&owner(1), Timestamp::now()).unwrap();
    drop(ipam);
    let mut ipam = Ipam::open(&path, &["10.99.0.0/24".parse().unwrap()], REST, Timestamp::now()).unwrap();
    assert_eq!(ipam.allocate(&owner(1), Timestamp::now()).unwrap(), addresses);
    assert_eq!(ipam.release(&owner(1), Timestamp::now()).unwrap(), addresses);
    assert_eq!(ipam.allocate(&owner(1), Timestamp::now()).unwrap(), ["10.99.0.2".parse::<IpAddr>().unwrap()]);
}
