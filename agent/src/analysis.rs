//! Findings made of many transactions: lookups, windows of metrics, and alerts.
//!
//! Input: [`view::TransactionView`]s. Output: lookups, windows and alerts for `record`.

/// Counts or sketches that add up.
trait Merge {
    /// Adds the counts of `other`.
    fn merge(&mut self, other: &Self);
}

impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for f64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl Merge for bool {
    fn merge(&mut self, other: &Self) {
        *self |= other;
    }
}

impl<const N: usize> Merge for [u64; N] {
    fn merge(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(sum, more)| *sum += more);
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
macro_rules! merged_struct {
    ($(#[$about:meta])* $visibility:vis struct $name:ident { $(
        $(#[$doc:meta])* $field_visibility:vis $field:ident: $type:ty,
    )+ }) => {
        $(#[$about])*
        $visibility struct $name { $($(#[$doc])* $field_visibility $field: $type),+ }

        impl $crate::analysis::Merge for $name {
            fn merge(&mut self, other: &Self) {
                $(self.$field.merge(&other.$field);)+
            }
        }
    };
}

pub mod detect;
pub mod lookup;
pub mod view;
pub mod window;
