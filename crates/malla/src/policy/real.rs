//! The verdict of a node's real maps: the programs' own functions over what is pinned.

use anyhow::{Context, anyhow};
use datapath::maps::Maps;
use datapath_layouts::policy::Action;
use datapath_layouts::{Address, AddressKey, PrefixKey, identity};
use datapath_logic::policy::{Cause, Question, judge_once};
use policy::plan::Tables;
use policy::rule::Direction;
use policy::snapshot::Snapshot;
use serde::Serialize;
use std::net::IpAddr;
use std::path::Path;

/// What the programs would do at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Real {
    /// Whether the packet passes.
    pub allowed: bool,
    /// What decided, in words.
    pub why: String,
    /// The rule's number; 0 = none.
    pub rule: u32,
    /// Who the judged end is.
    pub subject: u32,
    /// Who the other end is.
    pub peer: u32,
    #[serde(skip)]
    pub cause: Cause,
}

/// A packet at the end that judges.
#[derive(Clone, Copy, Debug)]
pub struct AtAnEnd {
    pub direction: Direction,
    pub subject: IpAddr,
    pub peer: IpAddr,
    pub protocol: u8,
    pub port: u16,
}

/// Reads a node's maps and asks them.
///
/// # Errors
/// When they can't be read, or the subject is not on this node.
pub fn judge(folder: &Path, packet: &AtAnEnd, known: &Snapshot) -> anyhow::Result<Real> {
    let maps = Maps::open(folder).with_context(|| format!("open the maps pinned in {}", folder.display()))?;
    let (subject, peer) = (Address::from_ip(packet.subject), Address::from_ip(packet.peer));
    let endpoint = maps
        .endpoints
        .get(&AddressKey::local(subject))?
        .ok_or_else(|| anyhow!("the node has no endpoint {}", packet.subject))?;
    // Exact before longest prefix, as the programs do.
    let peer_identity = match maps.endpoints.get(&AddressKey::local(peer))? {
        Some(found) => found.identity,
        None => maps.ipcache.get(&PrefixKey::lookup(peer))?.map_or(identity::WORLD, |route| route.identity),
    };
    let question = Question {
        peer_address: peer,
        policy_id: endpoint.policy_id,
        peer_identity,
        port: packet.port,
        protocol: packet.protocol,
        direction: packet.direction as u8,
    };
    let verdict = judge_once(&tables(&maps)?, &question);
    let why = match verdict.cause {
        Cause::Rule if verdict.outcome.rule == 0 => "from its own node".to_owned(),
        Cause::Rule => match known.rule(verdict.outcome.rule) {
            Some(rule) => format!("{} {}", rule.policy, rule.field),
            None => format!("rule {}, whose name nobody knows", verdict.outcome.rule),
        },
        Cause::NoPolicy => "no policy".to_owned(),
        Cause::DefaultDeny => "default deny".to_owned(),
        Cause::DefaultAllow => "default allow".to_owned(),
        Cause::NotThere => "its policy is not in the maps".to_owned(),
        Cause::Overflow => "its policy did not fit into the maps".to_owned(),
    };
    Ok(Real {
        allowed: verdict.action == Action::Allow,
        why,
        rule: verdict.outcome.rule,
        subject: endpoint.identity,
        peer: peer_identity,
        cause: verdict.cause,
    })
}

fn tables(maps: &Maps) -> anyhow::Result<Tables> {
    Ok(Tables {
        policies: maps.policies.entries()?.into_iter().collect(),
        identities: maps.identities.entries()?.into_iter().collect(),
        peers: maps.policy_peers.entries()?.into_iter().collect(),
        cidrs: maps.policy_cidrs.entries()?.into_iter().collect(),
        rows: maps.policy_rows.entries()?.into_iter().collect(),
        ranges: maps.policy_ranges.entries()?.into_iter().collect(),
    })
}
