//! Counts and sketches of several parts of a stage, a span or a sink, added up.

use std::collections::BTreeMap;

/// Counts or sketches that add up.
pub trait Merge {
    /// Adds the counts of `other`.
    fn merge(&mut self, other: &Self);
}

/// Implements [`Merge`] for numbers.
macro_rules! merge_number {
    ($($number:ty: $add:tt),+) => {$(
        impl Merge for $number {
            fn merge(&mut self, other: &Self) {
                *self $add other;
            }
        }
    )+};
}

merge_number! { u64: +=, f64: +=, bool: |= }

impl<const N: usize> Merge for [u64; N] {
    fn merge(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(sum, more)| *sum += more);
    }
}

impl<K: Ord + Clone, V: Merge + Default> Merge for BTreeMap<K, V> {
    fn merge(&mut self, other: &Self) {
        for (key, more) in other {
            self.entry(key.clone()).or_default().merge(more);
        }
    }
}

impl<T: Merge + Clone> Merge for Option<Box<T>> {
    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Some(sum), Some(more)) => sum.merge(more),
            (none, Some(more)) => *none = Some(more.clone()),
            (_, None) => {}
        }
    }
}

/// Declares a struct of counts and sketches, of which two values are merged field by field.
#[macro_export]
macro_rules! merged_struct {
    ($(#[$about:meta])* $visibility:vis struct $name:ident { $(
        $(#[$doc:meta])* $field_visibility:vis $field:ident: $type:ty,
    )+ }) => {
        $(#[$about])*
        $visibility struct $name { $($(#[$doc])* $field_visibility $field: $type),+ }

        impl $crate::Merge for $name {
            fn merge(&mut self, other: &Self) {
                $($crate::Merge::merge(&mut self.$field, &other.$field);)+
            }
        }
    };
}
