//! Formulas over variables with finite domains, and whether they can be true.
//!
//! The search is exact: it splits the domain of one variable after the other at the sets that the formula asks for, and
//! drops what the split has decided. It ends with values that make the formula true, or with the proof that there are none.

use std::rc::Rc;

/// A set of values of a variable, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Vec<u64>);

impl Values {
    /// None of `size` values.
    pub fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    /// All of them.
    pub fn all(size: usize) -> Self {
        Self::of(size, 0..size)
    }

    /// These of them.
    pub fn of(size: usize, values: impl IntoIterator<Item = usize>) -> Self {
        let mut set = Self::none(size);
        for value in values {
            set.0[value / 64] |= 1 << (value % 64);
        }
        set
    }

    pub fn contains(&self, value: usize) -> bool {
        self.0[value / 64] & (1 << (value % 64)) != 0
    }

    /// The lowest one.
    pub fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// All others of `size` values.
    pub fn complement(&self, size: usize) -> Self {
        Self::of(size, (0..size).filter(|value| !self.contains(*value)))
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }
}

/// Names a variable.
pub type Variable = usize;

/// What must be so.
#[derive(Clone, Debug)]
pub enum Formula {
    /// It is so, or it isn't.
    Known(bool),
    /// The variable has one of these values.
    Is(Variable, Rc<Values>),
    /// All of them.
    All(Rc<[Formula]>),
    /// One of them at least.
    Any(Rc<[Formula]>),
}

impl Formula {
    pub const TRUE: Self = Self::Known(true);
    pub const FALSE: Self = Self::Known(false);

    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Known(true) => {}
                Self::Known(false) => return Self::FALSE,
                Self::All(inner) => kept.extend(inner.iter().cloned()),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::TRUE,
            1 => kept.swap_remove(0),
            _ => Self::All(kept.into()),
        }
    }

    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Known(false) => {}
                Self::Known(true) => return Self::TRUE,
                Self::Any(inner) => kept.extend(inner.iter().cloned()),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::FALSE,
            1 => kept.swap_remove(0),
            _ => Self::Any(kept.into()),
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    /// The opposite; `sizes` are those of the variables' domains.
    pub fn not(&self, sizes: &[usize]) -> Self {
        match self {
            Self::Known(known) => Self::Known(!known),
            Self::Is(variable, set) => Self::Is(*variable, Rc::new(set.complement(sizes[*variable]))),
            Self::All(parts) => Self::any(parts.iter().map(|part| part.not(sizes))),
            Self::Any(parts) => Self::all(parts.iter().map(|part| part.not(sizes))),
        }
    }

    /// Without what the domains decide already.
    fn simplified(&self, domains: &[Values], work: &mut u64) -> Self {
        *work += 1;
        match self {
            Self::Known(known) => Self::Known(*known),
            Self::Is(variable, set) => {
                let domain = &domains[*variable];
                if domain.is_within(set) {
                    Self::TRUE
                } else if domain.meets(set) {
                    self.clone()
                } else {
                    Self::FALSE
                }
            }
            Self::All(parts) => {
                let mut kept = Vec::with_capacity(parts.len());
                for part in parts.iter() {
                    match part.simplified(domains, work) {
                        Self::Known(false) => return Self::FALSE,
                        part => kept.push(part),
                    }
                }
                Self::all(kept)
            }
            Self::Any(parts) => {
                let mut kept = Vec::with_capacity(parts.len());
                for part in parts.iter() {
                    match part.simplified(domains, work) {
                        Self::Known(true) => return Self::TRUE,
                        part => kept.push(part),
                    }
                }
                Self::any(kept)
            }
        }
    }

    /// Something that is not decided yet, where few alternatives are left.
    fn undecided(&self) -> Option<(Variable, &Rc<Values>)> {
        match self {
            Self::Known(_) => None,
            Self::Is(variable, set) => Some((*variable, set)),
            Self::All(parts) | Self::Any(parts) => parts.iter().min_by_key(|part| part.weight())?.undecided(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Known(_) => usize::MAX,
            Self::Is(..) => 0,
            Self::All(parts) | Self::Any(parts) => parts.len(),
        }
    }
}

/// It took more work than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHard;

/// Values for every variable that make the formula true, out of these domains; `None` = there are none.
///
/// # Errors
/// When `work` has run out.
pub fn solve(formula: &Formula, domains: &[Values], work: &mut u64) -> Result<Option<Vec<Values>>, TooHard> {
    let mut domains = domains.to_vec();
    let mut formula = formula.clone();
    loop {
        let mut visited = 0;
        formula = formula.simplified(&domains, &mut visited);
        *work = work.checked_sub(visited).ok_or(TooHard)?;
        // What has to be so in any case needs no split.
        let forced: Vec<(Variable, Rc<Values>)> = match &formula {
            Formula::Known(true) => return Ok(Some(domains)),
            Formula::Known(false) => return Ok(None),
            Formula::Is(variable, set) => vec![(*variable, set.clone())],
            Formula::All(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Formula::Is(variable, set) => Some((*variable, set.clone())),
                    _ => None,
                })
                .collect(),
            Formula::Any(_) => Vec::new(),
        };
        if forced.is_empty() {
            break;
        }
        for (variable, set) in forced {
            domains[variable] = domains[variable].and(&set);
            if domains[variable].is_empty() {
                return Ok(None);
            }
        }
    }
    let Some((variable, set)) = formula.undecided() else { return Ok(None) };
    let whole = domains[variable].clone();
    for half in [whole.and(set), whole.without(set)] {
        domains[variable] = half;
        if let Some(found) = solve(&formula, &domains, work)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZES: [usize; 4] = [2, 3, 4, 70];

    fn formula() -> impl Strategy<Value = Formula> {
        let atom = (0usize..4, prop::collection::vec(0usize..70, 0..5)).prop_map(|(variable, values)| {
            let size = SIZES[variable];
            Formula::Is(variable, Rc::new(Values::of(size, values.into_iter().map(|value| value % size))))
        });
        atom.prop_recursive(5, 60, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Formula::all),
                prop::collection::vec(inner.clone(), 0..5).prop_map(Formula::any),
                inner.prop_map(|one| one.not(&SIZES)),
            ]
        })
    }

    fn holds(formula: &Formula, values: [usize; 4]) -> bool {
        match formula {
            Formula::Known(known) => *known,
            Formula::Is(variable, set) => set.contains(values[*variable]),
            Formula::All(parts) => parts.iter().all(|part| holds(part, values)),
            Formula::Any(parts) => parts.iter().any(|part| holds(part, values)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// What is found makes it true, and what is not found is not there.
        #[test]
        fn the_search_is_exact(formula in formula()) {
            let domains = SIZES.map(Values::all);
            let found = solve(&formula, &domains, &mut 10_000_000).unwrap();
            let every = (0..2usize).flat_map(|a| (0..3usize).flat_map(move |b| {
                (0..4usize).flat_map(move |c| (0..70usize).map(move |d| [a, b, c, d]))
            }));
            match found {
                Some(domains) => {
                    let values = [0, 1, 2, 3].map(|at: usize| domains[at].first().unwrap());
                    prop_assert!(holds(&formula, values));
                }
                None => prop_assert!(!every.into_iter().any(|values| holds(&formula, values))),
            }
        }

        #[test]
        fn the_opposite_is_the_opposite(formula in formula(), a in 0usize..2, b in 0usize..3, c in 0usize..4, d in 0usize..70) {
            let values = [a, b, c, d];
            prop_assert_eq!(holds(&formula.not(&SIZES), values), !holds(&formula, values));
        }
    }

    /// The first half of a split leads nowhere, the second one does.
    #[test]
    fn both_halves_are_searched() {
        let is = |variable, value| Formula::Is(variable, Rc::new(Values::of(2, [value])));
        let formula = Formula::all([
            Formula::any([is(0, 0), is(1, 0)]),
            Formula::any([is(0, 1), is(2, 0)]),
            Formula::any([is(0, 1), is(2, 1)]),
        ]);
        let found = solve(&formula, &[2; 3].map(Values::all), &mut 1_000).unwrap().expect("0 is 1, and 1 is 0");
        assert_eq!((found[0].first(), found[1].first()), (Some(1), Some(0)));
    }

    #[test]
    fn work_is_bounded() {
        let atom = |variable| Formula::Is(variable, Rc::new(Values::of(2, [0])));
        let hard = Formula::any([Formula::all([atom(0), atom(1)]), Formula::all([atom(2), atom(3)])]);
        assert_eq!(solve(&hard, &[2; 4].map(Values::all), &mut 3), Err(TooHard));
    }
}
