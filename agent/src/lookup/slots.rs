//! Where the lookups under way are: each at a place that is used again after it.

use super::open::Open;
use super::query::Query;
use std::collections::VecDeque;

/// A lookup: its number, in the order in which they began, and its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    number: u64,
    place: u32,
}

/// The lookups under way.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Slot>,
    /// Places that are free.
    free: Vec<u32>,
    /// Those under way by number, and some that are over.
    ages: VecDeque<Id>,
    /// The last number that was given.
    last: u64,
    /// Empty ones, to be used again.
    #[expect(clippy::vec_box, reason = "one goes between here and a place without being copied")]
    spare: Vec<Box<Open>>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    open: Option<Box<Open>>,
}

impl Slots {
    /// How many are under way.
    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Begins one.
    pub(super) fn begin(&mut self, query: &Query<'_>, asker: u64, label: u64) -> Id {
        let open = match self.spare.pop() {
            Some(mut open) => {
                open.renew(query, asker, label);
                open
            }
            None => Box::new(Open::new(query, asker, label)),
        };
        self.last += 1;
        let slot = Slot { number: self.last, open: Some(open) };
        let place = if let Some(place) = self.free.pop() {
            self.places[place as usize] = slot;
            place
        } else {
            self.places.push(slot);
            // No more than LookupOptions::max_lookups and one.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        };
        let id = Id { number: self.last, place };
        self.ages.push_back(id);
        self.forget();
        id
    }

    pub(super) fn get(&self, id: Id) -> Option<&Open> {
        self.places.get(id.place as usize).filter(|slot| slot.number == id.number)?.open.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Open> {
        let slot = self.places.get_mut(id.place as usize)?;
        if slot.number == id.number { slot.open.as_deref_mut() } else { None }
    }

    /// The one that began first.
    pub(super) fn oldest(&mut self) -> Option<Id> {
        while let Some(id) = self.ages.front().copied() {
            if self.get(id).is_some() {
                return Some(id);
            }
            self.ages.pop_front();
        }
        None
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: Id) -> Option<Box<Open>> {
        let slot = self.places.get_mut(id.place as usize)?;
        if slot.number != id.number {
            return None;
        }
        let open = slot.open.take()?;
        self.free.push(id.place);
        Some(open)
    }

    /// Keeps the room of one that is over for another, as long as all that are kept take no more octets
    /// than these.
    pub(super) fn keep(&mut self, open: Box<Open>, bytes: usize) {
        if open.is_small() {
            self.spare.push(open);
        }
        self.spare.truncate(bytes / Open::KEPT_BYTES);
    }

    /// Forgets those that are over, before they are more than those that are not: so each is looked at
    /// once or twice.
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
