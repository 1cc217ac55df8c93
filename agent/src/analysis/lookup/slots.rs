//! Slab of the open lookups.

use super::query::Query;
use super::state::OpenLookup;
use std::collections::VecDeque;

/// Identifies a lookup: its number in order of creation, and its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId {
    number: u64,
    place: u32,
}

/// The open lookups.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Slot>,
    /// Free slots.
    free: Vec<u32>,
    /// Lookups in order of creation, some of them removed.
    ages: VecDeque<LookupId>,
    /// The last number assigned.
    last: u64,
    /// Empty lookups for reuse.
    #[expect(clippy::vec_box, reason = "one goes between here and a place without being copied")]
    spare: Vec<Box<OpenLookup>>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    open: Option<Box<OpenLookup>>,
}

impl Slots {
    /// Returns the number of open lookups.
    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Creates a lookup.
    pub(super) fn begin(&mut self, query: &Query<'_>, asker: u64, label: u64) -> LookupId {
        let open = match self.spare.pop() {
            Some(mut open) => {
                open.reset(query, asker, label);
                open
            }
            None => Box::new(OpenLookup::new(query, asker, label)),
        };
        self.last += 1;
        let slot = Slot { number: self.last, open: Some(open) };
        let place = if let Some(place) = self.free.pop() {
            self.places[place as usize] = slot;
            place
        } else {
            self.places.push(slot);
            // At most LookupOptions::max_lookups + 1 slots exist.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        };
        let id = LookupId { number: self.last, place };
        self.ages.push_back(id);
        self.forget();
        id
    }

    pub(super) fn get(&self, id: LookupId) -> Option<&OpenLookup> {
        self.places.get(id.place as usize).filter(|slot| slot.number == id.number)?.open.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: LookupId) -> Option<&mut OpenLookup> {
        let slot = self.places.get_mut(id.place as usize)?;
        if slot.number == id.number { slot.open.as_deref_mut() } else { None }
    }

    /// Returns the oldest lookup.
    pub(super) fn oldest(&mut self) -> Option<LookupId> {
        while let Some(id) = self.ages.front().copied() {
            if self.get(id).is_some() {
                return Some(id);
            }
            self.ages.pop_front();
        }
        None
    }

    /// Removes a lookup.
    pub(super) fn remove(&mut self, id: LookupId) -> Option<Box<OpenLookup>> {
        let slot = self.places.get_mut(id.place as usize)?;
        if slot.number != id.number {
            return None;
        }
        let open = slot.open.take()?;
        self.free.push(id.place);
        Some(open)
    }

    /// Keeps a removed lookup for reuse, if all kept ones fit into `bytes`.
    pub(super) fn keep(&mut self, open: Box<OpenLookup>, bytes: usize) {
        if open.is_small() {
            self.spare.push(open);
        }
        self.spare.truncate(bytes / OpenLookup::MAX_REUSED_BYTES);
    }

    /// Drops removed lookups from the queue once they outnumber the open ones: amortized O(1).
    fn forget(&mut self) {
        if self.ages.len() > 2 * self.len() + 64 {
            let Self { ages, places, .. } = self;
            ages.retain(|id| {
                places[id.place as usize].number == id.number
                    && places[id.place as usize].open.is_some()
            });
        }
    }
}
