//! Why a packet passes or not: what decided, and what else matched and lost.

use crate::reference::{Decision, Judgement, Packet, World, ends, judge, matching, policies_about};
use crate::rule::{Action, Policy, Rule, Tier};
use std::fmt;

/// The whole answer for one end.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation<'a> {
    /// The verdict and what decided.
    pub judgement: Judgement<'a>,
    /// Rules that match too, in the order in which they are asked.
    pub lost: Vec<Lost<'a>>,
    /// Policies because of which what nothing allows is denied.
    pub default_deny: Vec<&'a Policy>,
}

/// A rule that matches and does not decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// The rule.
    pub rule: &'a Rule,
    /// What it would have done: of a rule about a peer that is not known, a pass is a deny.
    pub action: Action,
    /// Why it did not.
    pub why: Why,
}

/// Why a rule that matches does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It passed, and left it to the tiers below.
    Passed,
    /// A tier above decided.
    EarlierTier,
    /// A rule of a lower priority, or order, comes first in its tier; or an equal one, and deny comes before pass and allow.
    EarlierRule,
    /// Baseline is not asked where a policy has default deny.
    DefaultDeny,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed it on to the tiers below",
            Self::EarlierTier => "a tier above decided",
            Self::EarlierRule => "another rule of its tier comes first",
            Self::DefaultDeny => "the Baseline tier is not asked where a policy has default deny",
        })
    }
}

/// Explains a verdict.
#[must_use]
pub fn explain<'a>(world: &World<'a>, packet: &Packet, audited: bool) -> Explanation<'a> {
    let judgement = judge(world, packet, audited);
    let (Some(subject), peer) = ends(world, packet) else {
        return Explanation { judgement, lost: Vec::new(), default_deny: Vec::new() };
    };
    let about = policies_about(world, subject, audited);
    let default_deny: Vec<&Policy> =
        about.iter().filter(|policy| policy.default_deny.of(packet.direction)).copied().collect();
    let deciding: &[(&Policy, &Rule)] = match &judgement.decision {
        Decision::Rules(rules) => rules,
        _ => &[],
    };
    let decided_in = match (deciding.first(), &judgement.decision) {
        (Some((_, rule)), _) => place(rule.tier),
        (None, Decision::LocalHost) => place(Tier::Normal),
        (None, _) => u8::MAX,
    };
    let mut all = matching(world, &about, packet, subject, peer);
    all.sort_by_key(|(_, rule, _)| (rule.tier, rule.order));
    // The first pass of the Admin tier is the one that counts; what comes after it in its tier is not asked.
    let mut passed = false;
    let mut lost = Vec::new();
    for (policy, rule, action) in all {
        if deciding.iter().any(|(_, one)| std::ptr::eq(*one, rule)) {
            continue;
        }
        let is_admin = matches!(rule.tier, Tier::Admin(_));
        let why = if matches!(rule.tier, Tier::Baseline(_)) && !default_deny.is_empty() {
            Why::DefaultDeny
        } else if decided_in < place(rule.tier) {
            Why::EarlierTier
        } else if is_admin && action == Action::Pass && decided_in > place(rule.tier) && !passed {
            passed = true;
            Why::Passed
        } else {
            Why::EarlierRule
        };
        lost.push(Lost { policy, rule, action, why });
    }
    Explanation { judgement, lost, default_deny }
}

/// The order of tiers.
const fn place(tier: Tier) -> u8 {
    match tier {
        Tier::Failsafe => 0,
        Tier::Admin(_) => 1,
        Tier::Normal => 2,
        Tier::Baseline(_) => 3,
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
