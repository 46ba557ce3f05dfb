//! Counters by labels, as many as a budget allows.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// One metric.
#[derive(Debug, Default)]
pub struct Series {
    pub counters: Family<Labels, Counter>,
    /// Those that there are. A lock of its own, taken for one look-up.
    known: Mutex<HashSet<Labels>>,
}

/// How many series there may be, over all metrics.
#[derive(Debug, Default)]
pub struct Budget {
    pub most: i64,
    pub used: Gauge,
    pub over: Counter,
}

impl Series {
    /// Counts; in the series `overflow` where there is none yet and no room for one.
    pub fn add(&self, labels: Labels, number: u64, budget: &Budget) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&labels) {
            // Taken first and given back, so that several threads can't take the last place together.
            if budget.used.inc() >= budget.most {
                budget.used.dec();
                budget.over.inc_by(number);
                drop(known);
                let overflow: Labels = labels.into_iter().map(|(name, _)| (name, OVERFLOW.to_owned())).collect();
                self.counters.get_or_create(&overflow).inc_by(number);
                return;
            }
            known.insert(labels.clone());
        }
        self.counters.get_or_create(&labels).inc_by(number);
    }

    /// Removes what has a place in the budget and is no more of interest.
    pub fn remove(&self, is_wanted: impl Fn(&Labels) -> bool, budget: &Budget) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|labels| {
            let stays = is_wanted(labels);
            if !stays {
                self.counters.remove(labels);
                budget.used.dec();
            }
            stays
        });
    }
}

/// What every label says where there was no room.
pub const OVERFLOW: &str = "overflow";
