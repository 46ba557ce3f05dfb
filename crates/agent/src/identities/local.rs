//! Identities of this node's Pods, for whoever makes their network: there before the Pod starts, or waited for.

use model::ObjectName;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The numbers of Pods that are on this node, or on no node yet. One writes, many wait.
#[derive(Debug, Default)]
pub struct LocalIdentities {
    numbers: Mutex<HashMap<ObjectName, u32>>,
    told: Condvar,
}

impl LocalIdentities {
    /// These are the numbers now.
    pub fn replace(&self, numbers: HashMap<ObjectName, u32>) {
        *self.lock() = numbers;
        self.told.notify_all();
    }

    /// The number of a Pod, if it is known.
    #[must_use]
    pub fn get(&self, pod: &ObjectName) -> Option<u32> {
        self.lock().get(pod).copied()
    }

    /// The number of a Pod, as soon as it is known and not longer than `patience`. Blocks its thread.
    #[must_use]
    pub fn wait(&self, pod: &ObjectName, patience: Duration) -> Option<u32> {
        let guard = self.lock();
        let waited = self.told.wait_timeout_while(guard, patience, |numbers| !numbers.contains_key(pod));
        let (numbers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        numbers.get(pod).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, u32>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn who_waits_is_told_and_who_waits_in_vain_goes_on() {
        let local = Arc::new(LocalIdentities::default());
        let pod = ObjectName::new("default", "web");
        let started = Instant::now();
        assert_eq!(local.wait(&pod, Duration::from_millis(30)), None);
        assert!(started.elapsed() >= Duration::from_millis(30));
        let waiting = std::thread::spawn({
            let (local, pod) = (local.clone(), pod.clone());
            move || local.wait(&pod, Duration::from_secs(60))
        });
        local.replace(HashMap::from([(ObjectName::new("default", "other"), 299)]));
        local.replace(HashMap::from([(pod, 300)]));
        assert_eq!(waiting.join().unwrap(), Some(300));
    }
}
