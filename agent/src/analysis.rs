//! Findings made of many transactions: lookups, windows of metrics, and alerts.
//!
//! Input: [`view::TransactionView`]s. Output: lookups, windows and alerts for `record`.

/// Declares an enum whose values have names in records or in the configuration: `ALL` lists the values
/// in order, `name` returns the name.
macro_rules! named_enum {
    ($(#[$about:meta])* $visibility:vis enum $name:ident { $(
        $(#[$doc:meta])* $variant:ident = $text:literal,
    )+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Returns the name in records and in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

pub mod detect;
pub mod lookup;
pub mod view;
pub mod window;
