//! Transactions of a pane that are still to be counted, so that each group counts its own one after the other.
//!
//! What a transaction changes lies in many places of memory, six times over: one group after the other,
//! and each for many transactions, that memory is near.

use super::group::Grouping;
use super::measured::Measured;

/// Transactions at most: as many as the nearer memory of a processor holds.
const ROWS: usize = 512;

/// No row, and no group.
const NONE: u16 = u16::MAX;

/// The groups of a transaction, by grouping: their places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places([u16; Grouping::ALL.len()]);

/// Measured transactions, oldest first, with their groups.
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
    /// It belongs to a group, too.
    pub(super) fn set(&mut self, grouping: Grouping, place: usize) {
        // Groups are some hundred.
        self.0[grouping as usize] = u16::try_from(place).unwrap_or(NONE);
    }

    /// The group of a grouping.
    pub(super) fn get(self, grouping: Grouping) -> Option<u16> {
        Some(self.0[grouping as usize]).filter(|place| *place != NONE)
    }
}

impl Batch {
    /// The most octets that it takes on the heap.
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

    /// Shows each of the groups, of which these are the groupings, its transactions in the order in
    /// which they came, and forgets them.
    pub(super) fn give(&mut self, groupings: &[Grouping], mut each: impl FnMut(usize, Rows<'_>)) {
        // Of each group the first row, and of each row the next one of the same group.
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

    /// Octets on the heap.
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
