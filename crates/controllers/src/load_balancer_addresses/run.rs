//! Wakes on every change of a pool, or of a Service that has to do with load balancers. All are planned together: one's
//! address is what another can't have.

use crate::{
    Result,
    worker::Again,
    write::{Cluster, Kind},
};
use custom_resources::CiliumLoadBalancerIPPool;
use futures::{StreamExt, stream};
use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::Time};
use lb_ipam::{Plan, Pool, Request, cleared, is_marked, is_ours, plan, pool_status, service_status};
use model::ObjectName;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<()>) {
    let sender = inbox.clone();
    cluster.caches.load_balancer_pools.on_change(move |_, _| {
        let _ = sender.send(());
    });
    let sender = inbox.clone();
    cluster.caches.services.on_change(move |old, new| {
        if old.into_iter().chain(new).any(|service| is_ours(service) || is_marked(service)) {
            let _ = sender.send(());
        }
    });
}

/// Plans over all and writes what differs. Until there is a pool somebody else may be giving addresses: only what is
/// marked as ours is touched.
pub(crate) async fn reconcile(cluster: Arc<Cluster>) -> Result<Again> {
    let pools = cluster.caches.load_balancer_pools.all();
    let services = cluster.caches.services.all();
    let mine = |service: &&Arc<Service>| is_ours(service) && (!pools.is_empty() || is_marked(service));
    let requests: Vec<Request> = services.iter().filter(mine).filter_map(|service| Request::of(service)).collect();
    let plan = plan(&pools.iter().map(|pool| Pool::of(pool)).collect::<Vec<_>>(), &requests);
    let now = Time(jiff::Timestamp::now());

    let changes = services.iter().filter_map(|service| change(service, &plan, &now));
    let (taking, giving): (Vec<_>, Vec<_>) = changes.partition(|change| change.takes_away);
    // An address that goes from one to another is written off before it is written in.
    write_all(&cluster, taking.iter().map(|change| (&*change.old, &change.new))).await?;
    write_all(&cluster, giving.iter().map(|change| (&*change.old, &change.new))).await?;
    let reported: Vec<(Arc<CiliumLoadBalancerIPPool>, CiliumLoadBalancerIPPool)> = pools
        .iter()
        .filter_map(|pool| {
            let report = plan.pools.get(pool.metadata.name.as_deref()?)?;
            Some((Arc::clone(pool), pool_status(pool, report, &now)))
        })
        .collect();
    write_all(&cluster, reported.iter().map(|(old, new)| (&**old, new))).await?;
    Ok(None)
}

struct Change {
    old: Arc<Service>,
    new: Service,
    takes_away: bool,
}

fn change(service: &Arc<Service>, plan: &Plan, now: &Time) -> Option<Change> {
    let metadata = &service.metadata;
    let name = ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref()?);
    let new = match plan.grants.get(&name) {
        Some(grant) => service_status(service, grant, now),
        None if is_marked(service) => cleared(service),
        None => return None,
    };
    if new.status == service.status {
        return None;
    }
    let after = addresses(&new);
    let takes_away = addresses(service).iter().any(|address| !after.contains(address));
    Some(Change { old: Arc::clone(service), new, takes_away })
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|one| one.ip.as_deref()?.parse().ok()).collect()
}

/// Writes several at once; what fails does not keep the others, and is told at the end.
async fn write_all<'a, K: Kind>(cluster: &Cluster, changes: impl Iterator<Item = (&'a K, &'a K)>) -> Result<()> {
    let writes = changes.map(|(old, new)| cluster.patch_status(old, new)).collect::<Vec<_>>();
    let results: Vec<Result<()>> = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).collect().await;
    results.into_iter().collect()
}

const WRITES_AT_ONCE: usize = 16;
