//! Batch of transactions of a pane, to count them group by group.
//!
//! Each transaction updates memory in six groups. Counting many transactions in one group after the
//! other keeps this memory in the CPU cache.

use super::group::Grouping;
use super::measured::Measured;

/// Maximum number of transactions: as many as fit into the CPU cache.
const ROWS: usize = 512;

/// No row, and no group.
const NONE: u16 = u16::MAX;

/// Indices of the groups of a transaction, by grouping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places([u16; Grouping::ALL.len()]);

/// Measured transactions with their groups, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    rows: Vec<Measured>,
    places: Vec<Places>,
}

impl Default for Places {
    fn default() -> Self {
        Self([NONE; Grouping::ALL.len()])
    }
}

impl Places {
    /// Sets the group of a grouping.
    pub(super) fn set(&mut self, grouping: Grouping, place: usize) {
        // There are some hundred groups.
        self.0[grouping as usize] = u16::try_from(place).unwrap_or(NONE);
    }

    /// Returns the group of a grouping.
    pub(super) fn get(self, grouping: Grouping) -> Option<u16> {
        Some(self.0[grouping as usize]).filter(|place| *place != NONE)
    }
}

impl Batch {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize = ROWS * (size_of::<Measured>() + size_of::<Places>());

    pub(super) const fn is_full(&self) -> bool {
        self.rows.len() >= ROWS
    }

    pub(super) fn push(&mut self, places: Places, measured: Measured) {
        if self.rows.capacity() == 0 {
            self.rows.reserve_exact(ROWS);
            self.places.reserve_exact(ROWS);
        }
        self.rows.push(measured);
        self.places.push(places);
    }

    /// Passes each group its transactions in order, and clears the batch. `groupings` holds the
    /// grouping of each group.
    pub(super) fn give(&mut self, groupings: &[Grouping], mut each: impl FnMut(usize, Rows<'_>)) {
        // The first row of each group, and the next row of the same group for each row.
        let mut first = vec![NONE; groupings.len()];
        let mut next = [[NONE; Grouping::ALL.len()]; ROWS];
        for (row, places) in self.places.iter().enumerate().rev() {
            for (place, next) in places.0.iter().zip(&mut next[row]) {
                if let Some(first) = first.get_mut(usize::from(*place)) {
                    *next = std::mem::replace(first, u16::try_from(row).unwrap_or(NONE));
                }
            }
        }
        for ((place, grouping), at) in groupings.iter().enumerate().zip(first) {
            if at != NONE {
                let grouping = *grouping as usize;
                each(place, Rows { all: &self.rows, next: &next, grouping, at });
            }
        }
        self.rows.clear();
        self.places.clear();
    }

    /// Returns the heap memory in bytes.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Measured>() + self.places.capacity() * size_of::<Places>()
    }
}

/// The transactions of a group, oldest first.
pub(super) struct Rows<'a> {
    all: &'a [Measured],
    next: &'a [[u16; Grouping::ALL.len()]; ROWS],
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
