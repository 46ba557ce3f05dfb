//! Whether a set of cells covers every pair of values of any two axes. Pure.

use std::collections::BTreeSet;

/// One cell: its value on each axis, in the axes' order.
pub type Cell<'a> = Vec<&'a str>;

/// Pairs of values that no cell has. `impossible` says which can't be had.
pub fn uncovered(axes: &[(&str, &[&str])], cells: &[Cell<'_>], impossible: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    for (first, (first_axis, first_values)) in axes.iter().enumerate() {
        for (second, (second_axis, second_values)) in axes.iter().enumerate().skip(first + 1) {
            let covered: BTreeSet<(&str, &str)> = cells.iter().map(|cell| (cell[first], cell[second])).collect();
            for one in *first_values {
                for other in *second_values {
                    if !covered.contains(&(*one, *other)) && !impossible(one, other) {
                        missing.push(format!("{first_axis} {one} with {second_axis} {other}"));
                    }
                }
            }
        }
    }
    missing
}

#[test]
fn a_pair_that_is_missing_is_named() {
    let axes: [(&str, &[&str]); 3] = [("a", &["1", "2"]), ("b", &["x", "y"]), ("c", &["p", "q"])];
    let cells = vec![vec!["1", "x", "p"], vec!["1", "y", "q"], vec!["2", "x", "q"], vec!["2", "y", "p"]];
    assert_eq!(uncovered(&axes, &cells, |_, _| false), Vec::<String>::new());
    assert_eq!(
        uncovered(&axes, &cells[..3], |one, other| (one, other) == ("y", "p")),
        ["a 2 with b y", "a 2 with c p"]
    );
}
