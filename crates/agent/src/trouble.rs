//! What is tried again and again and does not succeed, for `malla status`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can't be served, matter by matter. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<Vec<Vec<String>>>>);

/// One matter: who tells of it leaves the others as they are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trouble {
    all: Troubles,
    place: usize,
}

impl Troubles {
    /// All of it now, in words.
    #[must_use]
    pub fn now(&self) -> Vec<String> {
        self.lock().concat()
    }

    /// Another matter, of which there is nothing to tell yet.
    #[must_use]
    pub fn matter(&self) -> Trouble {
        let mut all = self.lock();
        all.push(Vec::new());
        Trouble { all: self.clone(), place: all.len() - 1 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// It is this from now on, perhaps nothing. Logged when it is another, not at each try.
    pub fn tell(&self, why: impl IntoIterator<Item = String>) {
        let why: Vec<String> = why.into_iter().collect();
        let known = &mut self.all.lock()[self.place];
        if *known != why {
            why.iter().for_each(|why| tracing::warn!("{why}"));
            *known = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Default for Trouble {
        fn default() -> Self {
            Troubles::default().matter()
        }
    }

    impl Trouble {
        pub fn now(&self) -> Vec<String> {
            self.all.now()
        }
    }

    #[test]
    fn each_matter_is_told_for_itself_and_taken_back_alone() {
        let all = Troubles::default();
        let (one, other) = (all.matter(), all.matter());
        other.tell(["b".to_owned(), "c".to_owned()]);
        one.clone().tell(Some("a".to_owned()));
        assert_eq!(all.now(), ["a", "b", "c"]);
        other.tell(None);
        assert_eq!(all.now(), ["a"]);
        one.tell(None);
        assert_eq!(all.now(), [""; 0]);
    }
}
