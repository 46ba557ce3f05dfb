//! What the flow is: verdict, reason, direction, type, identities and the other plain values.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::{
    DropReason, Endpoint, EventTypeFilter, Flow, IpVersion, NetworkInterface, TrafficDirection, Verdict,
};

pub fn uuid(wanted: &[String]) -> Option<Test> {
    one_of(wanted, |flow, wanted: &String| flow.uuid == *wanted)
}

pub fn verdict(field: &str, wanted: &[i32]) -> Field {
    known(field, wanted, |number| Verdict::try_from(number).is_ok())?;
    Ok(one_of(wanted, |flow, wanted| flow.verdict == *wanted))
}

/// An unknown number is no mistake: a datapath has reasons of its own.
pub fn drop_reason(wanted: &[i32]) -> Option<Test> {
    one_of(wanted, |flow, wanted| {
        // A flow that was not dropped has no reason, not the reason "unknown".
        flow.verdict == Verdict::Dropped as i32
            && (flow.drop_reason_desc == *wanted
                || (flow.drop_reason_desc == DropReason::Unknown as i32
                    && i64::from(flow.drop_reason) == i64::from(*wanted)))
    })
}

pub fn direction(field: &str, wanted: &[i32]) -> Field {
    known(field, wanted, |number| TrafficDirection::try_from(number).is_ok())?;
    Ok(one_of(wanted, |flow, wanted| flow.traffic_direction == *wanted))
}

pub fn ip_version(field: &str, wanted: &[i32]) -> Field {
    known(field, wanted, |number| IpVersion::try_from(number).is_ok())?;
    Ok(one_of(wanted, |flow, wanted| flow.ip.as_ref().is_some_and(|ip| ip.ip_version == *wanted)))
}

/// Type 0 is any type; the sub type counts when it is asked for.
pub fn event_type(wanted: &[EventTypeFilter]) -> Option<Test> {
    one_of(wanted, |flow, wanted| {
        flow.event_type.as_ref().is_some_and(|event| {
            (wanted.r#type == 0 || wanted.r#type == event.r#type)
                && (!wanted.match_sub_type || wanted.sub_type == event.sub_type)
        })
    })
}

/// Of a dropped packet it is often not known whether it was a reply: then it counts as none, which is what clients that
/// read the older `reply` field expect.
pub fn reply(wanted: &[bool]) -> Option<Test> {
    one_of(wanted, |flow, wanted| match flow.is_reply {
        Some(reply) => reply == *wanted,
        None => flow.verdict == Verdict::Dropped as i32 && !*wanted,
    })
}

pub fn encrypted(wanted: &[bool]) -> Option<Test> {
    one_of(wanted, |flow, wanted| flow.ip.as_ref().is_some_and(|ip| ip.encrypted == *wanted))
}

/// Index 0 and an empty name are any.
pub fn interface(wanted: &[NetworkInterface]) -> Option<Test> {
    one_of(wanted, |flow, wanted| {
        flow.interface.as_ref().is_some_and(|interface| {
            (wanted.index == 0 || wanted.index == interface.index)
                && (wanted.name.is_empty() || wanted.name == interface.name)
        })
    })
}

pub fn trace_id(wanted: &[String]) -> Option<Test> {
    one_of(wanted, |flow, wanted: &String| {
        let parent = flow.trace_context.as_ref().and_then(|context| context.parent.as_ref());
        parent.is_some_and(|parent| !parent.trace_id.is_empty() && parent.trace_id == *wanted)
    })
}

pub fn ip_trace_id(wanted: &[u64]) -> Option<Test> {
    one_of(wanted, |flow, wanted| flow.ip_trace_id.as_ref().is_some_and(|id| id.trace_id == *wanted))
}

pub fn identity(wanted: &[u32], side: fn(&Flow) -> Option<&Endpoint>) -> Option<Test> {
    one_of(wanted, move |flow, wanted| side(flow).is_some_and(|endpoint| endpoint.identity == *wanted))
}

/// The field fits if one of the wanted values does; without any it is not asked.
fn one_of<T: Clone + Send + Sync + 'static>(
    wanted: &[T],
    fits: impl Fn(&Flow, &T) -> bool + Send + Sync + 'static,
) -> Option<Test> {
    let wanted = wanted.to_vec();
    (!wanted.is_empty()).then(|| -> Test { Box::new(move |flow| wanted.iter().any(|wanted| fits(flow, wanted))) })
}

fn known(field: &str, numbers: &[i32], is_known: fn(i32) -> bool) -> Result<(), Invalid> {
    match numbers.iter().find(|number| !is_known(**number)) {
        Some(number) => Err(Invalid::new(field, format!("no value has the number {number}"))),
        None => Ok(()),
    }
}
