//! The reference of the configuration, generated from the sections: every key with its description and
//! its default or an example. `dnscribe config` prints it as a file; docs/config.md is the page.

use super::layer::Layer;
use super::reader::Field as _;

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct Key {
    /// Name of the key.
    pub name: &'static str,
    /// Description: one sentence or two.
    pub about: String,
    /// Value that the reference shows.
    pub value: Value,
    /// Keys of a section, or of each item of a list of sections.
    pub inside: Vec<Key>,
}

/// Value that the reference shows for a key.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, for a section.
    None,
    /// The default.
    Default(String),
    /// An example of a key without a default, or whose default depends on the host.
    Example(&'static str),
    /// Defaults of keys inside a section, where sections of its type differ in them.
    Defaults(Vec<(&'static str, String)>),
    /// An example of a list of sections, and the keys of each item.
    Each(fn() -> Vec<Key>, &'static str),
}

impl Key {
    /// Creates a key as a section declares it.
    pub(super) fn new(name: &'static str, about: &str, value: Value, inside: Vec<Self>) -> Self {
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut key = Self { name, about, value, inside };
        match &key.value {
            Value::Defaults(defaults) => {
                for inside in &mut key.inside {
                    if let Some((_, own)) = defaults.iter().find(|(name, _)| *name == inside.name) {
                        inside.value = Value::Default(own.clone());
                    }
                }
            }
            Value::Each(keys, _) => key.inside = keys(),
            _ => {}
        }
        key
    }

    /// Returns the value that the reference shows, if it shows one.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        match &self.value {
            Value::Default(value) => Some(value),
            Value::Example(value) | Value::Each(_, value) => Some(value),
            Value::None | Value::Defaults(_) => None,
        }
    }
}

/// Returns every key of the configuration.
#[must_use]
pub fn keys() -> Vec<Key> {
    Layer::keys()
}

const PAGE_HEAD: &str = "\
# Configuration

The configuration file is YAML. Every key is optional but `version`; unknown keys are refused with line and
column. The environment wins over the file, and flags win over both. In the name of a variable two underscores
separate section and key: `DNSCRIBE_KAFKA__BROKERS` is `kafka.brokers`. Sizes are in bytes (`65536`, `64KiB`,
`16MiB`, `1GiB`); times have units (`100ms`, `5s`, `1m30s`).

`dnscribe config` prints this reference as a file to start from, `dnscribe check --config FILE` checks a file,
and on SIGHUP a running agent reads its file again. This page is generated from the code.

| key | default | description |
|---|---|---|
";

/// Returns the reference as a page in Markdown.
#[must_use]
pub fn page() -> String {
    let mut out = PAGE_HEAD.to_owned();
    for key in keys() {
        write_row(&mut out, &key, "");
    }
    out
}

fn write_row(out: &mut String, key: &Key, above: &str) {
    let name = format!("{above}{}", key.name);
    let value = match &key.value {
        Value::None | Value::Defaults(_) => String::new(),
        Value::Default(value) => format!("`{value}`"),
        Value::Example(value) | Value::Each(_, value) => format!("not set, such as `{value}`"),
    };
    let cells = [&value, &key.about].map(|cell| cell.replace('|', "\\|"));
    out.extend(["| `", name.as_str(), "` | ", cells[0].as_str(), " | ", cells[1].as_str(), " |\n"]);
    let below = if matches!(key.value, Value::Each(..)) { "[]." } else { "." };
    for inside in &key.inside {
        write_row(out, inside, &format!("{name}{below}"));
    }
}

/// Length limit of comment lines in the file.
const WIDTH: usize = 100;

const FILE_HEAD: &str = "\
# The configuration of dnscribe: every key, with its default or an example. All keys but the version are
# commented out: remove the # before a key to set it. Unknown keys are refused. `dnscribe check` checks
# the file, and SIGHUP (systemctl reload) makes a running agent read it again.
#
# Every key is also an environment variable, and flags win over both: DNSCRIBE_KAFKA__BROKERS is
# kafka.brokers. Sizes are in bytes (65536, 64KiB, 16MiB, 1GiB), times have units (100ms, 5s, 1m30s).
";

/// Returns the reference as a configuration file that changes nothing: its keys are commented out.
#[must_use]
pub fn yaml() -> String {
    let mut out = FILE_HEAD.to_owned();
    for key in keys() {
        out.push('\n');
        write_key(&mut out, &key, 0);
    }
    out
}

fn write_key(out: &mut String, key: &Key, depth: usize) {
    let indent = "  ".repeat(depth);
    explain(out, &indent, "# ", &key.about);
    match &key.value {
        Value::None | Value::Defaults(_) => {
            out.extend([indent.as_str(), key.name, ":\n"]);
            for inside in &key.inside {
                write_key(out, inside, depth + 1);
            }
        }
        // A file without a version is refused.
        Value::Default(value) if key.name == "version" => {
            out.extend([indent.as_str(), key.name, ": ", value, "\n"]);
        }
        Value::Default(value) => out.extend([indent.as_str(), "#", key.name, ": ", value, "\n"]),
        Value::Example(value) | Value::Each(_, value) => {
            for inside in &key.inside {
                explain(out, &indent, "#   ", &format!("{}: {}", inside.name, inside.about));
            }
            out.extend([indent.as_str(), "#", key.name, ": ", value, "  # an example\n"]);
        }
    }
}

/// Writes a sentence as comment lines of at most [`WIDTH`] characters.
fn explain(out: &mut String, indent: &str, mark: &str, text: &str) {
    let mut line = format!("{indent}{mark}");
    let empty = line.len();
    for word in text.split(' ') {
        if line.len() > empty && line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.truncate(empty);
        } else if line.len() > empty {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests;
