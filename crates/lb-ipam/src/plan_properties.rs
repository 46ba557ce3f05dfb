//! Whatever pools and Services there are, and however they change: nobody has what somebody else has.

use super::*;
use crate::{Range, sharing};
use custom_resources::{CiliumLoadBalancerIPPool, IpPoolBlock, IpPoolSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_planned_is_sound_stable_and_complete(pools in pools(), requests in requests()) {
        let first = plan(&pools, &requests);
        sound(&pools, &requests, &first)?;
        complete(&pools, &requests, &first)?;
        // A new process reads what was written, and plans the same.
        let again = plan(&pools, &applied(&requests, &first));
        prop_assert_eq!(&again, &first);
        // The order in which the API tells them does not matter.
        let reversed: Vec<Request> = requests.iter().rev().cloned().collect();
        prop_assert_eq!(&plan(&pools, &reversed).grants, &first.grants);
    }

    #[test]
    fn changes_take_nothing_from_those_who_did_not_change(
        pools in pools(), requests in requests(), gone in any::<prop::sample::Index>(), more in requests(),
        switch in any::<prop::sample::Index>(),
    ) {
        let first = plan(&pools, &requests);
        let mut later = applied(&requests, &first);
        if !later.is_empty() {
            later.remove(gone.index(later.len()));
        }
        let stayed = later.clone();
        // New ones are younger than all the others: the clock does not run back.
        later.extend(more.into_iter().map(|mut request| {
            request.name.namespace = format!("new-{}", request.name.namespace).into();
            request.created += 1_000;
            request.held.clear();
            request
        }));
        let mut pools = pools;
        if !pools.is_empty() {
            let index = switch.index(pools.len());
            pools[index].disabled = !pools[index].disabled;
        }
        let second = plan(&pools, &later);
        sound(&pools, &later, &second)?;
        for request in stayed {
            let (before, after) = (&first.grants[&request.name].addresses, &second.grants[&request.name].addresses);
            prop_assert!(before.iter().all(|address| after.contains(address)), "{} had {before:?}, has {after:?}", request.name);
        }
    }
}

/// No address twice but shared; only from pools, only what was asked for, of each family at most one unless asked for.
fn sound(pools: &[Pool], requests: &[Request], plan: &Plan) -> Result<(), TestCaseError> {
    let mut holders: BTreeMap<IpAddr, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        let addresses = &plan.grants[&request.name].addresses;
        for (index, address) in addresses.iter().enumerate() {
            prop_assert!(!addresses[..index].contains(address));
            let from = pools.iter().filter(|pool| pool.contains(*address) && pool.selects(&request.metadata)).count();
            prop_assert!(from > 0, "{address} is of no pool");
            if !request.held.contains(address) {
                let gives = |pool: &&Pool| {
                    pool.contains(*address) && !pool.disabled && plan.pools[&pool.name].conflict.is_none()
                };
                prop_assert!(pools.iter().any(|pool| gives(&pool)), "{address} is of a pool that gives nothing");
            }
            holders.entry(*address).or_default().push(request);
        }
        if request.wanted.is_empty() {
            for family in Family::BOTH {
                let count = addresses.iter().filter(|address| Family::of(**address) == family).count();
                prop_assert!(count <= usize::from(request.families.contains(&family)));
            }
        } else {
            prop_assert!(addresses.iter().all(|address| request.wanted.contains(address)));
        }
    }
    for (address, sharers) in &holders {
        for (index, one) in sharers.iter().enumerate() {
            for other in &sharers[..index] {
                prop_assert_eq!(sharing::obstacle(one, other), None, "{} of {} and {}", address, one.name, other.name);
            }
        }
    }
    for pool in pools {
        let used = holders.keys().filter(|address| pool.contains(**address)).count() as u128;
        if plan.pools[&pool.name].conflict.is_none() {
            prop_assert_eq!(plan.pools[&pool.name].used, used);
        }
    }
    Ok(())
}

/// Who is told that it has what it asked for has it, and nobody goes away empty while there is something for it.
fn complete(pools: &[Pool], requests: &[Request], plan: &Plan) -> Result<(), TestCaseError> {
    let taken: BTreeSet<IpAddr> = plan.grants.values().flat_map(|grant| grant.addresses.clone()).collect();
    for request in requests {
        let grant = &plan.grants[&request.name];
        let has_all = if request.wanted.is_empty() {
            request.families.iter().all(|family| grant.addresses.iter().any(|address| Family::of(*address) == *family))
        } else {
            request.wanted.iter().all(|address| grant.addresses.contains(address))
        };
        match &grant.verdict {
            Verdict::Satisfied => {
                prop_assert!(has_all || request.tolerant, "{} has {:?}", request.name, grant.addresses)
            }
            Verdict::Unsatisfied { .. } => prop_assert!(!has_all),
        }
        if !request.wanted.is_empty() {
            continue;
        }
        for family in &request.families {
            let missing = !grant.addresses.iter().any(|address| Family::of(*address) == *family);
            let free = pools.iter().any(|pool| {
                let gives =
                    !pool.disabled && plan.pools[&pool.name].conflict.is_none() && pool.selects(&request.metadata);
                gives && pool.ranges.iter().any(|range| range.family() == *family && has_free(range, &taken))
            });
            prop_assert!(!(missing && free), "{} goes without {family:?}", request.name);
        }
    }
    Ok(())
}

fn has_free(range: &Range, taken: &BTreeSet<IpAddr>) -> bool {
    (taken.range(range.first()..=range.last()).count() as u128) < range.size()
}

fn applied(requests: &[Request], plan: &Plan) -> Vec<Request> {
    let written = |request: &Request| Request { held: plan.grants[&request.name].addresses.clone(), ..request.clone() };
    requests.iter().map(written).collect()
}

/// A small world, so that everything collides: sixteen addresses of each family.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..16).prop_map(|n| IpAddr::from([10, 0, 0, n])),
        (0u16..16).prop_map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
    ]
}

fn block() -> impl Strategy<Value = IpPoolBlock> {
    (address(), 0u8..4, any::<bool>()).prop_map(|(start, bits, cidr)| {
        if cidr {
            let whole = if start.is_ipv4() { 32 } else { 128 };
            return IpPoolBlock { cidr: Some(format!("{start}/{}", whole - bits)), ..IpPoolBlock::default() };
        }
        let text = start.to_string();
        // The stop may be before the start: such a pool is of no use, and says so.
        let stop = match start {
            IpAddr::V4(_) => format!("10.0.0.{}", bits * 5),
            IpAddr::V6(_) => format!("fd00::{:x}", bits * 5),
        };
        IpPoolBlock { cidr: None, start: Some(text), stop: (bits > 0).then_some(stop) }
    })
}

fn pools() -> impl Strategy<Value = Vec<Pool>> {
    let one = (prop::collection::vec(block(), 0..3), any::<bool>(), prop::bool::weighted(0.2), 0i64..3, 0u8..3);
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let pool = |(index, (blocks, ends, disabled, created, color))| {
            let (blocks, color): (Vec<IpPoolBlock>, u8) = (blocks, color);
            let spec = IpPoolSpec {
                service_selector: (color > 0).then(|| LabelSelector {
                    match_labels: Some([("color".to_owned(), color.to_string())].into()),
                    match_expressions: None,
                }),
                allow_first_last_ips: Some(if ends { "Yes" } else { "No" }.to_owned()),
                blocks,
                disabled,
            };
            let mut pool = Pool::of(&CiliumLoadBalancerIPPool::new(&format!("pool-{index}"), spec));
            pool.created = created;
            pool
        };
        all.into_iter().enumerate().map(pool).collect()
    })
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let families = prop::sample::select(vec![vec![Family::V4], vec![Family::V6], vec![Family::V4, Family::V6]]);
    let asked = (
        families,
        any::<bool>(),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(address(), 1..3)],
        prop::collection::vec(address(), 0..3),
    );
    let sharing =
        (prop::option::of(0u8..2), prop::bool::weighted(0.3), 0u8..2, 0i32..4, prop::bool::weighted(0.2), 0u8..2);
    prop::collection::vec((asked, sharing, 0i64..3, 0u8..3), 0..8).prop_map(|all| {
        let request = |(index, ((families, tolerant, wanted, held), sharing, created, color))| {
            let (families, color): (Vec<Family>, u8) = (families, color);
            let (key, cross, namespace, port, local, pods): (Option<u8>, bool, u8, i32, bool, u8) = sharing;
            let wanted: Vec<IpAddr> = wanted;
            let unique: BTreeSet<IpAddr> = wanted.into_iter().collect();
            let (namespace, name) = (format!("n{namespace}"), format!("s{index}"));
            Request {
                name: ObjectName::new(&namespace, &name),
                created,
                tolerant: tolerant && families.len() > 1,
                families,
                wanted: unique.into_iter().collect(),
                unreadable: None,
                held,
                sharing_key: key.map(|key| key.to_string()),
                sharing_namespaces: cross.then(|| "*".to_owned()).into_iter().collect(),
                ports: [("TCP".to_owned(), port)].into(),
                local,
                pods: [("app".to_owned(), pods.to_string())].into(),
                metadata: ObjectMeta {
                    labels: (color > 0).then(|| [("color".to_owned(), color.to_string())].into()),
                    ..ObjectMeta::default()
                },
            }
        };
        all.into_iter().enumerate().map(request).collect()
    })
}
