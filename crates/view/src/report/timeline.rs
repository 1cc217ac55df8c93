//! Figures over time, in cells whose width grows with the time span.

use super::group::{Figures, Outcome};
use crate::top::Counts;
use dnscribe_record::Merge as _;
use dnscribe_sketch::QuantileSketch;
use std::collections::BTreeMap;

/// Maximum number of cells. With more, pairs are merged.
const MAX_CELLS: u64 = 240;

/// Figures by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Figures by second since the Unix epoch, divided by the width.
    cells: BTreeMap<u64, Figures>,
    /// Binary logarithm of a cell's width in seconds.
    shift: u32,
}

impl Timeline {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.cells.entry(outcome.second >> self.shift).or_default().add(outcome);
        while self.span() > MAX_CELLS {
            self.widen(self.shift + 1);
        }
    }

    fn span(&self) -> u64 {
        let ends = self.cells.first_key_value().zip(self.cells.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first + 1)
    }

    fn widen(&mut self, shift: u32) {
        let by = shift.saturating_sub(self.shift);
        for (second, figures) in std::mem::take(&mut self.cells) {
            self.cells.entry(second >> by).or_default().merge(&figures);
        }
        self.shift = self.shift.max(shift);
    }

    /// Returns start and width in seconds of the cells.
    pub(super) fn axis(&self) -> Axis {
        let first = self.cells.first_key_value().map_or(0, |(first, _)| *first);
        Axis { start: first << self.shift, step: 1 << self.shift, steps: self.span() }
    }

    /// Returns the figures of the cells of an axis that is as coarse as this timeline or coarser.
    pub(super) fn on(&self, axis: &Axis) -> Vec<Option<Figures>> {
        let mut coarse = self.clone();
        coarse.widen(axis.step.trailing_zeros());
        let first = axis.start >> coarse.shift;
        (first..first + axis.steps).map(|cell| coarse.cells.get(&cell).cloned()).collect()
    }
}

impl Figures {
    fn merge(&mut self, other: &Self) {
        let Self { counts, latencies, retries } = other;
        Counts::add(&mut self.counts, counts);
        QuantileSketch::merge(&mut self.latencies, latencies);
        self.retries += retries;
    }
}

/// Cells of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Start of the first cell in seconds since the Unix epoch.
    pub(super) start: u64,
    /// Width of a cell in seconds: a power of two.
    pub(super) step: u64,
    pub(super) steps: u64,
}

impl Axis {
    /// Returns the start of a cell in seconds since the Unix epoch.
    pub(super) const fn second(&self, step: usize) -> u64 {
        self.start + step as u64 * self.step
    }
}
