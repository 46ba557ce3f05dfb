//! One lock per container, made when it is wanted and gone when nobody does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl Locks {
    /// Runs `work` while no other work for `key` runs.
    pub(crate) fn with<T>(&self, key: &str, work: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(self.map().entry(key.to_owned()).or_default());
        let result = {
            // A panic of an earlier work left no data behind the lock that could be half-changed.
            let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
            work()
        };
        let mut map = self.map();
        drop(lock);
        // One reference is the map's own: nobody else waits.
        if map.get(key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            map.remove(key);
        }
        result
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn one_at_a_time_per_key_and_nothing_left() {
        let (locks, inside, most) = (Locks::default(), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        locks.with("one", || {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(locks.map().is_empty());
    }

    #[test]
    fn another_key_does_not_wait() {
        let locks = Locks::default();
        assert_eq!(locks.with("one", || locks.with("two", || 7)), 7);
    }
}
