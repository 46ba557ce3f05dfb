use super::*;

const RANGE: std::ops::RangeInclusive<u32> = 256..=259;
const TEN: Duration = Duration::from_secs(10);

fn set(name: &str) -> Labels {
    Labels::from_map(&BTreeMap::from([("k8s:app".to_owned(), name.to_owned())])).unwrap()
}

fn sets(names: &[&str]) -> BTreeSet<Labels> {
    names.iter().map(|name| set(name)).collect()
}

fn taken(pairs: &[(u32, &str)]) -> Known {
    pairs.iter().map(|(number, name)| (*number, Some(set(name)))).collect()
}

fn plan(memory: &mut Memory, known: &Known, wanted: &[&str], published: &[u32], second: u64) -> Plan {
    let (wanted, published) = (sets(wanted), published.iter().copied().collect());
    let now = Duration::from_secs(second);
    memory.plan(Input { known, wanted: &wanted, published: &published, range: &RANGE, now, grace: TEN })
}

#[test]
fn every_set_gets_a_number_of_its_own_and_keeps_it() {
    let mut memory = Memory::default();
    let first = plan(&mut memory, &Known::new(), &["a", "b"], &[], 0);
    assert_eq!(first.create, [(256, set("a")), (257, set("b"))]);
    assert!(first.numbers.is_empty(), "a number counts once its object is made");
    let known = taken(&[(256, "a"), (257, "b")]);
    let second = plan(&mut memory, &known, &["a", "b"], &[256, 257], 1);
    assert_eq!((second.create, second.delete), (vec![], vec![]));
    assert_eq!(second.numbers, BTreeMap::from([(set("a"), 256), (set("b"), 257)]));
}

#[test]
fn of_two_numbers_the_lowest_wins_and_the_other_goes_when_nobody_was_told_of_it() {
    let mut memory = Memory::default();
    let known = taken(&[(257, "a"), (258, "a")]);
    assert_eq!(plan(&mut memory, &known, &["a"], &[258], 0).numbers[&set("a")], 257);
    assert_eq!(plan(&mut memory, &known, &["a"], &[258], 100).delete, [0; 0], "a node was told of it");
    assert_eq!(plan(&mut memory, &known, &["a"], &[257], 101).look_again, Some(TEN));
    assert_eq!(plan(&mut memory, &known, &["a"], &[257], 111).delete, [258]);
}

#[test]
fn a_set_that_is_wanted_again_within_its_grace_keeps_its_number() {
    let mut memory = Memory::default();
    let known = taken(&[(256, "a")]);
    assert_eq!(plan(&mut memory, &known, &[], &[], 0).look_again, Some(TEN));
    assert_eq!(plan(&mut memory, &known, &["a"], &[], 9).numbers[&set("a")], 256);
    assert_eq!(plan(&mut memory, &known, &[], &[], 10).delete, [0; 0], "its grace begins anew");
    assert_eq!(plan(&mut memory, &known, &[], &[], 19).delete, [0; 0]);
    assert_eq!(plan(&mut memory, &known, &[], &[], 20).delete, [256]);
}

#[test]
fn a_deleted_number_rests_and_no_number_is_an_answer() {
    let mut memory = Memory::default();
    memory.deleted(256, Duration::ZERO);
    let known = taken(&[(257, "b"), (258, "c"), (259, "d")]);
    let none = plan(&mut memory, &known, &["a", "b", "c", "d"], &[], 9);
    assert_eq!((none.create, none.without), (vec![], vec![set("a")]));
    assert_eq!(none.look_again, Some(Duration::from_secs(1)), "nothing else would wake who waits for it");
    assert_eq!(plan(&mut memory, &known, &["a", "b", "c", "d"], &[], 10).create, [(256, set("a"))]);
}

#[test]
fn what_is_not_understood_is_left_alone_and_not_given() {
    let objects = [
        CiliumIdentity::new(256, BTreeMap::from([("no source".to_owned(), String::new())])),
        CiliumIdentity::new(16_777_217, BTreeMap::new()),
        CiliumIdentity::new(2, BTreeMap::new()),
    ];
    let known = known(&objects);
    assert_eq!(known, Known::from([(256, None)]));
    let mut memory = Memory::default();
    assert_eq!(plan(&mut memory, &known, &["a"], &[], 0).create, [(257, set("a"))]);
    assert_eq!(plan(&mut memory, &known, &[], &[], 1000).delete, [0; 0]);
}
