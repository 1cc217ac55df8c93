//! Enums whose values have fixed names in records, metrics, the ledger and the configuration.

/// Declares an enum without data, and of each value its name. Adds `ALL`, the values in the order of
/// their declaration, and `name`.
///
/// With a description of a value behind the enum's name, it can also be parsed from a name, and
/// displays as it: see [`crate::Named`]. A second text replaces `choose from` in the error.
///
/// ```
/// dnscribe_record::named_enum! {
///     /// Side of a connection.
///     #[derive(Clone, Copy, Debug)]
///     pub enum Side: "a side" {
///         /// Opened it.
///         Client = "client",
///         /// Accepted it.
///         Server = "server",
///     }
/// }
///
/// assert_eq!(Side::ALL.map(Side::name), ["client", "server"]);
/// let error = "middle".parse::<Side>().unwrap_err();
/// assert_eq!(error.to_string(), "\"middle\" is not a side: choose from client, server");
/// ```
#[macro_export]
macro_rules! named_enum {
    ($(#[$about:meta])* $vis:vis enum $enum:ident $(: $what:literal $(, $list:literal)?)? {
        $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?
    }) => {
        $(#[$about])*
        $vis enum $enum { $($(#[$doc])* $variant),+ }

        impl $enum {
            /// All values, in the order of their declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Returns the name used in records, metrics, the ledger and the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        $(impl $crate::Named for $enum {
            const CHOICES: &'static [Self] = &Self::ALL;
            const WHAT: &'static str = $what;
            $(const LIST: (&'static str, &'static str) = ($list, " ");)?

            fn name(self) -> &'static str {
                self.name()
            }
        }

        impl std::str::FromStr for $enum {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::Named::from_name(text)
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        })?
    };
}

/// A value from a fixed list that is parsed from its name.
pub trait Named: Copy + 'static {
    /// All values.
    const CHOICES: &'static [Self];
    /// Description of a value for error messages, such as `a format`.
    const WHAT: &'static str;

    /// What precedes the names in error messages, and what separates them.
    const LIST: (&'static str, &'static str) = ("choose from", ", ");

    /// Returns the value's name.
    fn name(self) -> &'static str;

    /// Returns the value with this name.
    ///
    /// # Errors
    /// No value has this name.
    fn from_name(text: &str) -> Result<Self, UnknownName> {
        let found = Self::CHOICES.iter().copied().find(|value| value.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::CHOICES.iter().map(|value| value.name()).collect();
            let (list, separator) = Self::LIST;
            let choices = names.join(separator);
            UnknownName { given: text.to_owned(), what: Self::WHAT, list, choices }
        })
    }
}

/// A text is not the name of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not {what}: {list} {choices}")]
pub struct UnknownName {
    given: String,
    what: &'static str,
    list: &'static str,
    choices: String,
}
