//! What is written into the status of Services and pools. Pure: the object as it is in, the object as it should be out.

use crate::{Grant, PoolReport, REQUEST_SATISFIED, Verdict, request};
use custom_resources::CiliumLoadBalancerIPPool;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The Service with its addresses and the condition.
#[must_use]
pub fn service_status(service: &Service, grant: &Grant, now: &Time) -> Service {
    let mut new = service.clone();
    let status = new.status.get_or_insert_default();
    if request::held(service) != grant.addresses || grant.addresses.is_empty() {
        // What is there and ours to keep stays as it is, with its ports.
        let balancer = status.load_balancer.get_or_insert_default();
        let old = balancer.ingress.take().unwrap_or_default();
        let ingress: Vec<LoadBalancerIngress> = grant
            .addresses
            .iter()
            .map(|address| {
                let ip = Some(address.to_string());
                old.iter().find(|one| one.ip == ip).cloned().unwrap_or(LoadBalancerIngress { ip, ..Default::default() })
            })
            .collect();
        balancer.ingress = (!ingress.is_empty()).then_some(ingress);
    }
    let (state, reason, message) = match &grant.verdict {
        Verdict::Satisfied => ("True", "satisfied", ""),
        Verdict::Unsatisfied { reason, message } => ("False", *reason, message.as_str()),
    };
    let wanted = condition(REQUEST_SATISFIED, state, reason, message, service.metadata.generation, now);
    set(status.conditions.get_or_insert_default(), wanted);
    new
}

/// The Service without what was ours: it is no LoadBalancer any more, or somebody else's.
#[must_use]
pub fn cleared(service: &Service) -> Service {
    let mut new = service.clone();
    if let Some(status) = &mut new.status {
        if let Some(balancer) = &mut status.load_balancer {
            balancer.ingress = None;
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|one| one.type_ != REQUEST_SATISFIED);
        }
    }
    new
}

/// The pool with its conditions.
#[must_use]
pub fn pool_status(pool: &CiliumLoadBalancerIPPool, report: &PoolReport, now: &Time) -> CiliumLoadBalancerIPPool {
    let mut new = pool.clone();
    let conditions = new.status.get_or_insert_default().conditions.get_or_insert_default();
    let generation = pool.metadata.generation;
    let (state, reason, message) = match &report.conflict {
        Some(why) => ("True", "cidr_overlap", format!("Nothing new is given from this pool: {why}")),
        None => ("False", "resolved", String::new()),
    };
    set(conditions, condition("cilium.io/PoolConflict", state, reason, &message, generation, now));
    for (kind, count) in [
        ("cilium.io/IPsTotal", report.total),
        ("cilium.io/IPsAvailable", report.available()),
        ("cilium.io/IPsUsed", report.used),
    ] {
        // The number is the message, as Cilium has it: kubectl's columns read it there.
        set(conditions, condition(kind, "Unknown", "noreason", &count.to_string(), generation, now));
    }
    new
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, generation: Option<i64>, now: &Time) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: now.clone(),
    }
}

/// The time of a condition changes with its status alone (API conventions).
fn set(conditions: &mut Vec<Condition>, mut wanted: Condition) {
    match conditions.iter_mut().find(|one| one.type_ == wanted.type_) {
        Some(held) => {
            if held.status == wanted.status {
                wanted.last_transition_time = held.last_transition_time.clone();
            }
            *held = wanted;
        }
        None => conditions.push(wanted),
    }
}
