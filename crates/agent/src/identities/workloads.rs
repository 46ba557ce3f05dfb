//! Ten thousand Pods have a hundred workloads: each is kept once, and they point to it.

use model::Workload;
use std::collections::HashSet;
use std::sync::Arc;

/// The workloads that Pods point to.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    all: HashSet<Arc<Workload>>,
    /// With so many, those that nobody points to any more are let go.
    full: usize,
}

impl Workloads {
    /// The one that is like it and was here first.
    pub fn share(&mut self, workload: Arc<Workload>) -> Arc<Workload> {
        if let Some(same) = self.all.get(&workload) {
            return same.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|one| Arc::strong_count(one) > 1);
            self.full = (self.all.len() * 2).max(LEAST);
        }
        self.all.insert(workload.clone());
        workload
    }
}

/// Fewer are never looked through.
const LEAST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(n: usize) -> Arc<Workload> {
        Arc::new(Workload::new("Deployment", &format!("web-{n}")).unwrap())
    }

    #[test]
    fn pods_of_one_workload_point_to_one() {
        let mut workloads = Workloads::default();
        let all: Vec<_> = (0..10_000).map(|pod| workloads.share(workload(pod % 100))).collect();
        assert_eq!(workloads.all.len(), 100);
        assert!(Arc::ptr_eq(&all[7], &all[9907]) && !Arc::ptr_eq(&all[7], &all[8]));
        assert_eq!(*all[9907], *workload(7));
    }

    #[test]
    fn who_has_gone_is_let_go_and_who_is_there_stays() {
        let mut workloads = Workloads::default();
        let kept = workloads.share(workload(0));
        (1..10_000).for_each(|n| drop(workloads.share(workload(n))));
        assert!(workloads.all.len() <= LEAST, "{}", workloads.all.len());
        assert!(Arc::ptr_eq(&kept, &workloads.share(workload(0))));
    }
}
