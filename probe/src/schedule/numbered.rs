//! States by number, of hosts and endpoints.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

/// States of what has a name, by a number that is given to another one once nothing uses it.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    numbers: HashMap<String, usize>,
    states: Vec<T>,
    free: Vec<usize>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), states: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Numbered<T> {
    /// Returns the number of a name, which has a new state if it is not known.
    pub(super) fn number(&mut self, name: String) -> usize {
        let Self { numbers, states, free } = self;
        *numbers.entry(name).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                states.push(T::default());
                states.len() - 1
            })
        })
    }

    /// Forgets all numbers but those that are used.
    pub(super) fn retain(&mut self, used: impl Iterator<Item = usize>) {
        let mut is_used = vec![false; self.states.len()];
        used.for_each(|number| is_used[number] = true);
        let Self { numbers, states, free } = self;
        numbers.retain(|_, number| {
            if !is_used[*number] {
                states[*number] = T::default();
                free.push(*number);
            }
            is_used[*number]
        });
    }

    /// Returns all states, those without a name too.
    pub(super) fn states(&self) -> &[T] {
        &self.states
    }

    /// Returns all states, those without a name too.
    pub(super) fn states_mut(&mut self) -> &mut [T] {
        &mut self.states
    }
}

impl<T> Index<usize> for Numbered<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.states[number]
    }
}

impl<T> IndexMut<usize> for Numbered<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.states[number]
    }
}
