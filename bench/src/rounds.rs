//! Rounds of measurements beside each other, and what they come to.

/// Which set-up is measured when: every other round in the opposite order, so that what else the machine does falls on all of them.
pub fn order(round: u32, setups: usize) -> Vec<usize> {
    let forth = 0..setups;
    if round % 2 == 1 { forth.rev().collect() } else { forth.collect() }
}

/// Of nothing it is no number.
pub fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of one set-up between its rounds (A/A): by how much the most is above the least. What differs by less means nothing.
pub fn spread(values: &[f64]) -> f64 {
    let (least, most) = values.iter().fold((f64::MAX, 0_f64), |(least, most), v| (least.min(*v), most.max(*v)));
    if least > 0.0 { most / least - 1.0 } else { f64::NAN }
}
