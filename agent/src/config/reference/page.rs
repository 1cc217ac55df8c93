//! The reference as a page of the documentation.

use super::{Key, Said, keys};

const HEAD: &str = "\
# Configuration

YAML; every key is optional but `version`, and unknown keys are refused with line and column. What is given
in the environment wins over the file, and flags win over both. In a variable's name two underscores nest:
`DNSCRIBE_KAFKA__BROKERS` is `kafka.brokers`. Sizes are octets (`65536`, `64KiB`, `16MiB`, `1GiB`), times
have units (`100ms`, `5s`, `1m30s`).

`dnscribe config` prints all of this as a file to start from, `dnscribe check --config FILE` says whether a
file is right, and SIGHUP has the agent read it again. This page is generated from the code.

| key | default | what it does |
|---|---|---|
";

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for key in keys() {
        row(&mut out, &key, "");
    }
    out
}

fn row(out: &mut String, key: &Key, above: &str) {
    let name = format!("{above}{}", key.name);
    let value = match key.said {
        Said::Nothing | Said::Defaults(_) => String::new(),
        Said::Default(value) => format!("`{value}`"),
        Said::Example(value) | Said::Each(_, value) => format!("not set, such as `{value}`"),
    };
    let cells = [&value, &key.about].map(|cell| cell.replace('|', "\\|"));
    out.push_str(&format!("| `{name}` | {} | {} |\n", cells[0], cells[1]));
    let below = if matches!(key.said, Said::Each(..)) { "[]." } else { "." };
    for inside in &key.inside {
        row(out, inside, &format!("{name}{below}"));
    }
}
