//! Buffers transactions of a pane, so that each group counts its own in one go.
//!
//! A transaction updates counters in six groups, far apart in memory. Counting many transactions
//! group by group keeps each group's memory in the CPU cache.

use super::group::Grouping;
use super::measured::Measured;

/// Maximum number of transactions: they fit into a processor's level-2 cache.
const MAX_ROWS: usize = 512;

/// Marks the end of a list of rows, or the absence of a group.
const NONE: u16 = u16::MAX;

/// Indices of a transaction's groups, by grouping.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupIndices([u16; Grouping::ALL.len()]);

/// Measured transactions with their groups, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct MeasuredBatch {
    rows: Vec<Measured>,
    groups: Vec<GroupIndices>,
}

impl Default for GroupIndices {
    fn default() -> Self {
        Self([NONE; Grouping::ALL.len()])
    }
}

impl GroupIndices {
    pub(super) fn set(&mut self, grouping: Grouping, index: usize) {
        // There are a few hundred groups.
        self.0[grouping as usize] = u16::try_from(index).unwrap_or(NONE);
    }

    pub(super) fn get(self, grouping: Grouping) -> Option<u16> {
        Some(self.0[grouping as usize]).filter(|index| *index != NONE)
    }
}

impl MeasuredBatch {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize =
        MAX_ROWS * (size_of::<Measured>() + size_of::<GroupIndices>());

    pub(super) const fn is_full(&self) -> bool {
        self.rows.len() >= MAX_ROWS
    }

    pub(super) fn push(&mut self, groups: GroupIndices, measured: Measured) {
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(MAX_ROWS);
            self.groups.reserve_exact(MAX_ROWS);
        }
        self.rows.push(measured);
        self.groups.push(groups);
    }

    /// Passes each group and its transactions, oldest first, to `each`, and empties the batch.
    /// `groupings` are the groupings of all groups.
    pub(super) fn drain(&mut self, groupings: &[Grouping], mut each: impl FnMut(usize, Rows<'_>)) {
        // Linked lists: the first row of each group, and after each row the next one of the same
        // group.
        let mut first = vec![NONE; groupings.len()];
        let mut next = [[NONE; Grouping::ALL.len()]; MAX_ROWS];
        for (row, groups) in self.groups.iter().enumerate().rev() {
            for (index, next) in groups.0.iter().zip(&mut next[row]) {
                if let Some(first) = first.get_mut(usize::from(*index)) {
                    *next = std::mem::replace(first, u16::try_from(row).unwrap_or(NONE));
                }
            }
        }
        for ((index, grouping), at) in groupings.iter().enumerate().zip(first) {
            if at != NONE {
                let grouping = *grouping as usize;
                each(index, Rows { all: &self.rows, next: &next, grouping, at });
            }
        }
        self.rows.clear();
        self.groups.clear();
    }

    pub(super) const fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Measured>()
            + self.groups.capacity() * size_of::<GroupIndices>()
    }
}

/// Transactions of a group, oldest first.
pub(super) struct Rows<'a> {
    all: &'a [Measured],
    next: &'a [[u16; Grouping::ALL.len()]; MAX_ROWS],
    grouping: usize,
    at: u16,
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a Measured;

    fn next(&mut self) -> Option<&'a Measured> {
        let at = usize::from(self.at);
        let row = self.all.get(at)?;
        self.at = self.next[at][self.grouping];
        Some(row)
    }
}
