//! Macros that declare settings: [`crate::section!`] for keys, [`crate::value!`] for their values; values that are one of a few
//! words are declared with [`named_enum!`](dnscribe_record::named_enum).
//!
//! A key is declared once, in a section: name, type, default or example, and the sentence that the
//! reference prints. Reading, merging of layers and the reference are generated from it.

/// Declares a section: the struct of what one source gives, its reading, its merging and its part of
/// the reference.
///
/// ```text
/// section! {
///     /// Section `spool`.
///     SpoolLayer {
///         /// Size of the spool on disk: at least 1MiB.
///         text max_bytes: Option<DiskBytes> = default(1 << 30),
///     }
/// }
/// ```
///
/// Before each name stands the function of [`reader`](crate::reader) that reads it, or `flatten` for a section whose
/// keys are keys of this one; behind each type what the reference shows:
/// - `default(VALUE)`: the default. A method named like the key returns the value in force.
/// - `shown(TEXT)`: the text of a default that is applied elsewhere.
/// - `example(TEXT)`: an example of a key without a default.
/// - `each(SECTION, TEXT)`: an example of a list of sections.
/// - `defaults(PAIRS)`: the defaults of keys inside this section, where they differ from others of its type.
#[macro_export]
macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident { $(
        $(#[doc = $doc:literal])+
        $reader:ident $field:ident: $type:ty $(= $kind:ident($($value:tt)*))?
    ),+ $(,)? }) => {
        $(#[doc = $about])*
        #[allow(
            clippy::doc_markdown,
            rustdoc::bare_urls,
            reason = "the reference prints these sentences as they stand"
        )]
        #[derive(Clone, Default)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type),+ }

        $($crate::getter! { $name $field $type; $($kind($($value)*))? })+

        impl $crate::reader::Section for $name {
            fn read_key(
                &mut self,
                key: &str,
                value: &$crate::yaml::Node,
            ) -> Result<bool, $crate::yaml::YamlError> {
                $($crate::read_key! { $reader self.$field, key, value })+
                Ok(false)
            }
        }

        impl $crate::reader::Field for $name {
            fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.over(lower.$field)),+ }
            }

            fn keys() -> Vec<$crate::reference::Key> {
                let mut keys = Vec::new();
                $(keys.extend($crate::reference_keys! {
                    $reader $field $type, concat!($($doc),+); $($kind($($value)*))?
                });)+
                keys
            }
        }
    };
}

/// Reads the value of one key of a section, if it is this key, or that of a part of the section.
#[doc(hidden)]
#[macro_export]
macro_rules! read_key {
    (flatten $this:ident.$part:ident, $key:ident, $value:ident) => {
        if $crate::reader::Section::read_key(&mut $this.$part, $key, $value)? {
            return Ok(true);
        }
    };
    ($reader:ident $this:ident.$field:ident, $key:ident, $value:ident) => {
        if $key == $crate::reader::key_name(stringify!($field)) {
            $this.$field = $crate::reader::$reader($value)?;
            return Ok(true);
        }
    };
}

/// Describes one key of a section for the reference, or those of a part of the section.
#[doc(hidden)]
#[macro_export]
macro_rules! reference_keys {
    (flatten $part:ident $type:ty, $about:expr;) => {
        <$type as $crate::reader::Field>::keys()
    };
    ($reader:ident $field:ident $type:ty, $about:expr; $($value:tt)*) => {
        [$crate::reference::Key::new(
            $crate::reader::key_name(stringify!($field)),
            $about,
            $crate::reference_value!($type; $($value)*),
            <$type as $crate::reader::Field>::keys(),
        )]
    };
}

/// Generates the method that returns the value of a key in force, for keys with a `default`.
#[doc(hidden)]
#[macro_export]
macro_rules! getter {
    ($name:ident $field:ident $type:ty; default($value:expr)) => {
        impl $name {
            #[doc = concat!("Value of `", stringify!($field), "` in force.")]
            #[must_use]
            pub fn $field(&self) -> <$type as $crate::reader::Given>::Value {
                self.$field.clone().unwrap_or_else(|| $value.into())
            }
        }
    };
    ($($other:tt)*) => {};
}

/// Translates what stands behind a key's type for the reference.
#[doc(hidden)]
#[macro_export]
macro_rules! reference_value {
    ($type:ty;) => {
        $crate::reference::Value::None
    };
    ($type:ty; default($value:expr)) => {
        $crate::reference::Value::Default(
            <$type as $crate::reader::Given>::Value::from($value).to_string(),
        )
    };
    ($type:ty; shown($value:expr)) => {
        $crate::reference::Value::Default(String::from($value))
    };
    ($type:ty; example($value:literal)) => {
        $crate::reference::Value::Example($value)
    };
    ($type:ty; each($section:ty, $value:literal)) => {
        $crate::reference::Value::Each(<$section as $crate::reader::Field>::keys, $value)
    };
    ($type:ty; defaults($value:expr)) => {
        $crate::reference::Value::Defaults($value.into_iter().collect())
    };
}

/// Declares a value that is read from text: what it holds, what to say where a text is refused, how it
/// is read, and how its default is shown.
#[macro_export]
macro_rules! value {
    ($(#[$about:meta])* $name:ident($inner:ty): $what:literal, $remedy:expr; $read:expr $(; $show:expr)?) => {
        $(#[$about])*
        pub struct $name(pub $inner);

        impl std::str::FromStr for $name {
            type Err = $crate::value::BadValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let read: fn(&str) -> Option<$inner> = $read;
                let bad = || $crate::value::BadValue::new(text, $what, $remedy);
                read(text).map(Self).ok_or_else(bad)
            }
        }

        // Only for what can have a default: clap takes a flag's text by `From<String>` without reading it.
        $(impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let show: fn(&$inner) -> String = $show;
                f.write_str(&show(&self.0))
            }
        })?
    };
}
