//! Sums of rows of measures by span and slice of an answer.

use super::calendar::Place;
use super::rows::{MeasureRows, Slice, SliceRow, TextId};
use super::sums::{SpanState, Sums, accumulate};
use super::{DayValues, Key, Scope, SpanSlice, Values};
use crate::definition::Formula;
use crate::dictionary::Kpi;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows of a day, and what is made of them.
pub(super) type Picked<'a> = (&'a MeasureRows, &'a Formula);

/// One of several sums over the same days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// As it is published.
    Official,
    /// As of the newest computation.
    Current,
    /// As it was published before a time at which days were reopened.
    Before(jiff::Timestamp),
}

/// Sums by span and slice.
pub(super) struct VersionedSums {
    /// As they are published.
    pub official: BTreeMap<Key, Sums>,
    /// As of the newest computation, if they may differ.
    pub current: Option<BTreeMap<Key, Sums>>,
    /// As they were published before days were reopened, by that time.
    pub previous: BTreeMap<jiff::Timestamp, BTreeMap<Key, Sums>>,
}

impl Values {
    /// Sums of the official values, of the current ones where they may differ, and of those before each reopening; nothing if they are
    /// too many.
    pub(super) fn versions(
        &self,
        kpi: &Kpi,
        present: &Formula,
        scope: &Scope<'_>,
        spans: &[SpanState],
        is_adjusted: bool,
    ) -> Option<VersionedSums> {
        let is_adjusted = is_adjusted || spans.iter().any(|span| span.definition.is_some());
        let times: BTreeSet<_> = spans.iter().flat_map(|span| span.reopened.keys()).collect();
        let adjusted = is_adjusted.then_some(Version::Current);
        let versions = [Version::Official].into_iter().chain(adjusted);
        let versions: Vec<Version> =
            versions.chain(times.iter().map(|at| Version::Before(**at))).collect();
        let sums = self.collect(
            scope,
            versions.len(),
            |version, day| match versions[version] {
                Version::Official => day.official(kpi, present),
                Version::Current => (day.current(), present),
                Version::Before(at) => day.previous(kpi, present, at),
            },
            // A running total has been another one on the days before, too.
            |version, span| match versions[version] {
                Version::Before(at) if !scope.is_cumulative => {
                    spans[span].reopened.contains_key(&at)
                }
                _ => true,
            },
        );
        let mut sums = sums?.into_iter();
        Some(VersionedSums {
            official: sums.next().unwrap_or_default(),
            current: adjusted.and_then(|_| sums.next()),
            previous: times.into_iter().copied().zip(sums).collect(),
        })
    }

    /// Adds up the rows that `pick` chooses of each day for each of `count` versions, by span and slice. Rows that several versions
    /// have are read once. Of spans that `has` leaves out of a version, that version has no sums. Returns nothing if the scope does not allow
    /// that many.
    pub(super) fn collect<'a>(
        &'a self,
        scope: &Scope<'_>,
        count: usize,
        pick: impl Fn(usize, &'a DayValues) -> Picked<'a>,
        has: impl Fn(usize, usize) -> bool,
    ) -> Option<Vec<BTreeMap<Key, Sums>>> {
        let mut slices = AnswerSlices::new(&scope.selection);
        let mut versions = vec![VersionSums::default(); count];
        let Some((first, last)) = scope.days() else {
            return Some(vec![BTreeMap::new(); count]);
        };
        if scope.selection.by.is_empty() {
            let all = slices.number(Vec::new());
            for (version, sums) in versions.iter_mut().enumerate() {
                let spans = (0..scope.calendar.spans.len()).filter(|index| has(version, *index));
                sums.spans.extend(spans.map(|index| ((index, all), Sums::default())));
            }
        }
        let opening = if scope.window.is_some() { Date::MIN } else { scope.opening };
        for (day, values) in
            self.days.range(first.max(opening)..).take_while(|(day, _)| **day <= last)
        {
            let whole = scope.calendar.place(*day, 0);
            let place = |slot: u16| {
                if scope.calendar.has_utc_days { whole } else { scope.calendar.place(*day, slot) }
            };
            for (picked, of_rows) in distinct((0..count).map(|version| pick(version, values))) {
                slices.add(picked, |slot, number, add| {
                    for version in &of_rows {
                        let sums = &mut versions[*version];
                        match place(slot) {
                            _ if scope.window.is_some() => {
                                add(sums.days.entry((*day, number)).or_default());
                            }
                            Place::In(index) if has(*version, index) => {
                                add(sums.spans.entry((index, number)).or_default());
                            }
                            Place::Before if scope.is_cumulative => {
                                add(sums.before.entry(number).or_default());
                            }
                            Place::In(_) | Place::Before | Place::After => {}
                        }
                    }
                });
            }
            if versions.iter().map(VersionSums::len).sum::<usize>() > scope.most {
                return None;
            }
        }
        let is_total = scope.is_cumulative || scope.window.is_some();
        let all = slices.slices.len().saturating_mul(scope.calendar.spans.len());
        if is_total && all.saturating_mul(count) > scope.most {
            return None;
        }
        Some(versions.into_iter().map(|sums| slices.named(sums.ended(scope))).collect())
    }
}

/// Divides versions by their rows and formulas, which many have in common.
fn distinct<'a>(picked: impl Iterator<Item = Picked<'a>>) -> Vec<(Picked<'a>, Vec<usize>)> {
    let mut groups: Vec<(Picked<'a>, Vec<usize>)> = Vec::new();
    for (version, picked) in picked.enumerate() {
        let is_same = |(known, _): &&mut (Picked<'a>, _)| {
            std::ptr::eq(known.0, picked.0) && std::ptr::eq(known.1, picked.1)
        };
        match groups.iter_mut().find(is_same) {
            Some((_, versions)) => versions.push(version),
            None => groups.push((picked, vec![version])),
        }
    }
    groups
}

/// Sums of one version.
#[derive(Clone, Debug, Default)]
struct VersionSums {
    spans: BTreeMap<SpanSlice, Sums>,
    /// Sums before the first span of a running total, by slice.
    before: BTreeMap<u32, Sums>,
    /// Sums of a running total with a window, by day and slice.
    days: BTreeMap<(Date, u32), Sums>,
}

impl VersionSums {
    fn len(&self) -> usize {
        self.spans.len() + self.before.len() + self.days.len()
    }

    fn ended(mut self, scope: &Scope<'_>) -> BTreeMap<SpanSlice, Sums> {
        let spans = &scope.calendar.spans;
        if let Some(window) = scope.window {
            for (index, span) in spans.iter().enumerate() {
                let of_window = self.days.range((window.start(span.to), 0)..=(span.to, u32::MAX));
                for ((_, number), added) in of_window {
                    self.spans.entry((index, *number)).or_default().add(added);
                }
            }
        } else if scope.is_cumulative {
            accumulate(&mut self.spans, self.before, spans.len());
        }
        self.spans
    }
}

/// Which rows count, and by which dimensions they are sliced.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) by: Vec<usize>,
    pub(super) filter: Vec<(usize, Vec<TextId>)>,
    pub(super) slices: &'a [Slice],
}

impl Selection<'_> {
    /// Slice of the answer to which rows of a slice count; `None` if the filter leaves them out.
    fn slice(&self, index: usize) -> Option<Vec<TextId>> {
        let dimensions = &self.slices[index];
        let has = |(index, ids): &(usize, Vec<TextId>)| ids.contains(&dimensions[*index]);
        let slice = || self.by.iter().map(|index| dimensions[*index]).collect();
        self.filter.iter().all(has).then(slice)
    }
}

/// What is known of the rows of one of [`Slices`](super::rows::Slices).
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    /// The filter leaves them out.
    LeftOut,
    /// Number of their slice of the answer.
    Number(u32),
}

/// Slices of an answer by number, found once for each of [`Slices`](super::rows::Slices): there are far more rows.
pub(super) struct AnswerSlices<'a> {
    selection: &'a Selection<'a>,
    /// By index in [`Slices`](super::rows::Slices).
    known: Vec<Known>,
    numbers: HashMap<Vec<TextId>, u32>,
    pub(super) slices: Vec<Vec<TextId>>,
}

impl<'a> AnswerSlices<'a> {
    pub(super) fn new(selection: &'a Selection<'a>) -> Self {
        let known = vec![Known::Nothing; selection.slices.len()];
        Self { selection, known, numbers: HashMap::new(), slices: Vec::new() }
    }

    /// Number of a slice of the answer.
    fn number(&mut self, slice: Vec<TextId>) -> u32 {
        *self.numbers.entry(slice).or_insert_with_key(|slice| {
            self.slices.push(slice.clone());
            u32::try_from(self.slices.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn of_row(&mut self, row: &SliceRow) -> Option<u32> {
        let index = row.slice as usize;
        match self.known[index] {
            Known::Number(number) => return Some(number),
            Known::LeftOut => return None,
            Known::Nothing => {}
        }
        let number = self.selection.slice(index).map(|slice| self.number(slice));
        self.known[index] = number.map_or(Known::LeftOut, Known::Number);
        number
    }

    /// Calls `into` for each run of rows of one part of the day and one slice, of all measures of a formula: with this part, the slice,
    /// and with what adds the rows to sums.
    pub(super) fn add(
        &mut self,
        (rows, formula): Picked<'_>,
        mut into: impl FnMut(u16, u32, &dyn Fn(&mut Sums)),
    ) {
        let mut each = |name: &str, add: &dyn Fn(&mut Sums, &SliceRow)| {
            let Some(rows) = rows.get(name) else { return };
            for run in rows.chunk_by(|a, b| (a.slice, a.slot) == (b.slice, b.slot)) {
                let Some(number) = self.of_row(&run[0]) else { continue };
                into(run[0].slot, number, &|sums| {
                    sums.rows += run.len();
                    for row in run {
                        sums.is_too_large |= row.is_too_large;
                        add(sums, row);
                    }
                });
            }
        };
        for name in &formula.plus {
            each(name, &|sums, row| sums.numerator += i128::from(row.value));
        }
        for name in &formula.minus {
            each(name, &|sums, row| sums.numerator -= i128::from(row.value));
        }
        for name in &formula.over {
            each(name, &|sums, row| sums.denominator += i128::from(row.value));
        }
        if let Some(name) = &formula.samples {
            each(name, &|sums, row| sums.samples.add(row.sample, row.value));
        }
    }

    /// Sums by slices instead of their numbers.
    fn named(&self, sums: BTreeMap<SpanSlice, Sums>) -> BTreeMap<Key, Sums> {
        let name = |((index, number), sums)| ((index, self.slices[number as usize].clone()), sums);
        sums.into_iter().map(name).collect()
    }
}
