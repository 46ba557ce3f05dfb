//! Names with stars: domain names, and nodes with their cluster.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::Flow;

/// `*` is any number of letters, digits, hyphens, dots and underscores.
pub fn fqdn(field: &str, wanted: &[String], of: fn(&Flow) -> &[String]) -> Field {
    let globs = wanted.iter().map(|text| glob(field, text)).collect::<Result<Vec<_>, _>>()?;
    Ok((!globs.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            of(flow).iter().any(|name| {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                globs.iter().any(|glob| fits(glob.as_bytes(), name.as_bytes()))
            })
        })
    }))
}

/// `[cluster/]node`, both with stars; what is left out is any. A flow whose node has no cluster is in `default`.
pub fn node_name(field: &str, wanted: &[String]) -> Field {
    let read = |text: &String| {
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if text.is_empty() || node.contains('/') {
            return Err(Invalid::new(field, format!("{text:?} is not [cluster/]node")));
        }
        let part = |part: &str| if part.is_empty() { Ok("*".to_owned()) } else { glob(field, part) };
        Ok((part(cluster)?, part(node)?))
    };
    let globs = wanted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((!globs.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            let (cluster, node) = flow.node_name.split_once('/').unwrap_or(("default", &flow.node_name));
            let both = |(c, n): &(String, String)| {
                fits(c.as_bytes(), cluster.as_bytes()) && fits(n.as_bytes(), node.as_bytes())
            };
            !node.is_empty() && globs.iter().any(both)
        })
    }))
}

fn glob(field: &str, text: &str) -> Result<String, Invalid> {
    let pattern = text.trim().to_ascii_lowercase();
    let pattern = pattern.strip_suffix('.').unwrap_or(&pattern);
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.*".contains(&byte);
    if pattern.is_empty() || pattern.ends_with('.') || !pattern.bytes().all(allowed) {
        let reason = format!("{text:?} is no name: letters, digits, '-', '_', '.' and '*' (anything) make one");
        return Err(Invalid::new(field, reason));
    }
    Ok(pattern.to_owned())
}

/// Greedy with one step back: at worst the product of both lengths, whatever a client sends.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    // Where to go on when a star has to take one more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, n));
                g += 1;
            }
            Some(byte) if *byte == name[n] => {
                g += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                g = after_star;
                n = taken + 1;
            }
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious way, which is exponential.
    fn slowly(glob: &[u8], name: &[u8]) -> bool {
        match (glob.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => slowly(&glob[1..], name) || (!name.is_empty() && slowly(glob, &name[1..])),
            (Some(g), Some(n)) => g == n && slowly(&glob[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]
        #[test]
        fn stars_fit_what_they_should(glob in "[ab*.]{0,8}", name in "[ab.]{0,10}") {
            prop_assert_eq!(fits(glob.as_bytes(), name.as_bytes()), slowly(glob.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn many_stars_cost_nothing() {
        assert!(!fits("*a".repeat(2_000).as_bytes(), "a".repeat(1_999).as_bytes()));
    }
}
