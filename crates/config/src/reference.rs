//! The reference of the configuration, generated from the sections: every key with its description and
//! its default or an example. A program's keys are those of its outermost section
//! ([`Field::keys`](crate::reader::Field::keys)).

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
    /// Creates a key as [`section!`](crate::section) declares it.
    #[must_use]
    pub fn new(name: &'static str, about: &str, value: Value, inside: Vec<Self>) -> Self {
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

/// Returns the reference as rows of a table in Markdown, below `head`: key, default, description.
#[must_use]
pub fn page(head: &str, keys: &[Key]) -> String {
    let mut out = head.to_owned();
    for key in keys {
        write_row(&mut out, key, "");
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

/// Returns the reference as a configuration file that changes nothing: below `head`, its keys are commented
/// out.
#[must_use]
pub fn yaml(head: &str, keys: &[Key]) -> String {
    let mut out = head.to_owned();
    for key in keys {
        out.push('\n');
        write_key(&mut out, key, 0);
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
