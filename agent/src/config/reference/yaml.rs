//! The reference as a configuration file that changes nothing: sections stand there, their keys are
//! commented out.

use super::{Key, Said, keys};

/// How long a line of explanation may be.
const WIDTH: usize = 100;

const HEAD: &str = "\
# The configuration of dnscribe: every key, with its default or an example. Nothing is set but the
# version: take the # away before a key to set it. Unknown keys are refused, `dnscribe check` reads
# the file as `dnscribe run` does, and SIGHUP (systemctl reload) reads it again.
#
# Every key is an environment variable too, and flags win over both: DNSCRIBE_KAFKA__BROKERS is
# kafka.brokers. Sizes are octets (65536, 64KiB, 16MiB, 1GiB), times have units (100ms, 5s, 1m30s).
";

/// The commented configuration, as YAML.
#[must_use]
pub fn yaml() -> String {
    let mut out = HEAD.to_owned();
    for key in keys() {
        out.push('\n');
        write_key(&mut out, &key, 0);
    }
    out
}

fn write_key(out: &mut String, key: &Key, depth: usize) {
    let indent = "  ".repeat(depth);
    explain(out, &indent, "# ", &key.about);
    match key.said {
        Said::Nothing | Said::Defaults(_) => {
            out.push_str(&format!("{indent}{}:\n", key.name));
            for inside in &key.inside {
                write_key(out, inside, depth + 1);
            }
        }
        // Without it the file would not be read.
        Said::Default(value) if key.name == "version" => {
            out.push_str(&format!("{indent}{}: {value}\n", key.name));
        }
        Said::Default(value) => out.push_str(&format!("{indent}#{}: {value}\n", key.name)),
        Said::Example(value) | Said::Each(_, value) => {
            for inside in &key.inside {
                explain(out, &indent, "#   ", &format!("{}: {}", inside.name, inside.about));
            }
            out.push_str(&format!("{indent}#{}: {value}  # an example\n", key.name));
        }
    }
}

/// A sentence as comments of no more than [`WIDTH`] columns.
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
