//! Numbers out of contents: the same content gets the same number, also in the next process, unless another content has
//! it; then the next free one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// FNV-1a (RFC 9923), 64 bit: unlike the standard library's, the same in every version.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

pub(super) fn hash(of: &impl Hash) -> u32 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    of.hash(&mut hasher);
    hasher.finish() as u32
}

/// Contents and their numbers: 1 to `2^bits - 1`.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    bits: u32,
    of_content: HashMap<T, u32>,
    contents: HashMap<u32, T>,
}

impl<T: Hash + Eq + Clone> Numbered<T> {
    pub fn new(bits: u32) -> Self {
        Self { bits, of_content: HashMap::new(), contents: HashMap::new() }
    }

    pub fn find(&self, content: &T) -> Option<u32> {
        self.of_content.get(content).copied()
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        self.contents.get(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.contents.iter().map(|(number, content)| (*number, content))
    }

    pub fn number(&mut self, content: &T) -> u32 {
        if let Some(number) = self.find(content) {
            return number;
        }
        let mask = u32::MAX >> (32 - self.bits);
        let mut number = hash(content) & mask;
        while number == 0 || self.contents.contains_key(&number) {
            number = number.wrapping_add(1) & mask;
        }
        self.adopt(content.clone(), number, true);
        number
    }

    /// Keeps a number that a content has already. One that is not to be found only keeps its number from others.
    pub fn adopt(&mut self, content: T, number: u32, found: bool) {
        if found {
            self.of_content.insert(content.clone(), number);
        }
        self.contents.insert(number, content);
    }

    /// Forgets all other contents.
    pub fn retain(&mut self, wanted: impl Fn(&T) -> bool) {
        self.contents.retain(|_, content| wanted(content));
        self.of_content.retain(|content, _| wanted(content));
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let content = self.contents.remove(&number)?;
        if self.of_content.get(&content) == Some(&number) {
            self.of_content.remove(&content);
        }
        Some(content)
    }
}
