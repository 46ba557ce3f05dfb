//! Classes: contents, interned and counted.

use super::content::Content;
use super::numbers::Numbered;
use super::{Change, Tables};
use datapath_layouts::policy::class_flags;
use std::collections::{BTreeSet, HashMap};

/// All classes that the maps have rows of.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    /// Without the flags.
    numbers: Numbered<Content>,
    /// How many peers and bases are in a class.
    counts: HashMap<u32, usize>,
    /// Nobody is in these any more.
    idle: BTreeSet<u32>,
}

impl Classes {
    pub fn new() -> Self {
        Self {
            numbers: Numbered::new(class_flags::RANGES.trailing_zeros()),
            counts: HashMap::new(),
            idle: BTreeSet::new(),
        }
    }

    /// Those that the maps have; nobody is in them until [`Self::hold`].
    pub fn recover(tables: &Tables) -> Self {
        let mut found: HashMap<u32, Content> = HashMap::new();
        for (key, row) in &tables.rows {
            found.entry(key.class).or_default().rows.push(((key.protocol, key.port, key.scope), *row));
        }
        for (key, row) in &tables.ranges {
            let bits = key.prefix_len.saturating_sub(datapath_layouts::RangeKey::HEAD_BITS);
            let class = u32::from_be_bytes(key.class);
            found.entry(class).or_default().ranges.push(((key.protocol, u16::from_be_bytes(key.port), bits), *row));
        }
        let mut classes = Self::new();
        for (class, mut content) in found {
            content.rows.sort_unstable_by_key(|(key, _)| *key);
            content.ranges.sort_unstable_by_key(|(key, _)| *key);
            // An interrupted plan may have left a part of one, whose flags tell of more: nobody is to be put into it.
            let whole = content.flags() == class & class_flags::ALL;
            classes.numbers.adopt(content, class & !class_flags::ALL, whole);
            classes.idle.insert(class);
        }
        classes
    }

    /// The class of a content, and whether its rows are there already. 0 is the class that says nothing.
    pub fn find(&self, content: &Content) -> Option<u32> {
        if content.is_empty() { Some(0) } else { self.numbers.find(content).map(|n| n | content.flags()) }
    }

    /// The class of a content, with the rows that have to be written first.
    pub fn intern(&mut self, content: &Content, changes: &mut Vec<Change>) -> u32 {
        if let Some(class) = self.find(content) {
            return class;
        }
        let class = self.numbers.number(content) | content.flags();
        changes.extend(content.row_keys(class).map(|(key, row)| Change::WriteRow(key, row)));
        changes.extend(content.range_keys(class).map(|(key, row)| Change::WriteRange(key, row)));
        self.idle.insert(class);
        class
    }

    pub fn hold(&mut self, class: u32) {
        if class != 0 {
            *self.counts.entry(class).or_default() += 1;
            self.idle.remove(&class);
        }
    }

    pub fn release(&mut self, class: u32) {
        let Some(count) = self.counts.get_mut(&class) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&class);
            self.idle.insert(class);
        }
    }

    /// Removes the rows of classes that nobody is in.
    pub fn sweep(&mut self, changes: &mut Vec<Change>) {
        for class in std::mem::take(&mut self.idle) {
            let Some(content) = self.numbers.remove(class & !class_flags::ALL) else { continue };
            changes.extend(content.row_keys(class).map(|(key, _)| Change::RemoveRow(key)));
            changes.extend(content.range_keys(class).map(|(key, _)| Change::RemoveRange(key)));
        }
    }
}
