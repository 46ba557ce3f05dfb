//! What `matches` looks for, in RE2's syntax, and what that costs.

use regex::{Regex, RegexBuilder};

/// One that is written out, and the steps that sixteen bytes of text cost: an automaton that is large may have to look at all of itself
/// for each byte.
///
/// # Errors
/// In words: it is none, or too large.
pub fn written(pattern: &str) -> Result<(Regex, u32), String> {
    for (bytes, steps) in [(LARGEST / 16, 16), (MADE, MADE_STEPS)] {
        if let Ok(small) = within(pattern, bytes) {
            return Ok((small, steps));
        }
    }
    let large = within(pattern, LARGEST);
    let large = large.map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
    Ok((large, 512))
}

/// One that is put together when it is asked for; `None`: it is none, or larger than what may be made each time. Sixteen bytes of text
/// cost [`MADE_STEPS`].
pub fn made(pattern: &str) -> Option<Regex> {
    within(pattern, MADE).ok()
}

/// Steps that are paid to make one: its letters may be classes with hundreds of ranges. Estimated, so that an expression can pay for nine
/// of them about a flow, and for none of more than some hundred bytes.
pub fn price(pattern: &str) -> u32 {
    u32::try_from(pattern.len()).unwrap_or(u32::MAX).saturating_mul(64).saturating_add(1000)
}

fn within(pattern: &str, bytes: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(LARGEST).build()
}

pub const MADE_STEPS: u32 = 64;
/// Bytes of a pattern's automaton.
const LARGEST: usize = 1 << 18;
/// The same, of one that is made for a flow.
const MADE: usize = LARGEST / 4;
