//! Enums whose values have fixed names in records, metrics and the ledger.

/// Declares an enum without data, and of each value its name. Adds `ALL`, the values in the order of
/// their declaration, and `name`.
///
/// ```
/// dnscribe_record::named_enum! {
///     /// Side of a connection.
///     #[derive(Clone, Copy)]
///     pub enum Side {
///         /// Opened it.
///         Client = "client",
///         /// Accepted it.
///         Server = "server",
///     }
/// }
///
/// assert_eq!(Side::ALL.map(Side::name), ["client", "server"]);
/// ```
#[macro_export]
macro_rules! named_enum {
    ($(#[$about:meta])* $vis:vis enum $enum:ident {
        $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?
    }) => {
        $(#[$about])*
        $vis enum $enum { $($(#[$doc])* $variant),+ }

        impl $enum {
            /// All values, in the order of their declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Returns the name used in records, metrics and the ledger.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}
