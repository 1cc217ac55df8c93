//! Report of a guest: sections, each with files and an exit code. `init.sh` writes it to a serial port.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// Report of a guest, by section.
#[derive(Debug, Default)]
pub struct Report {
    sections: BTreeMap<String, Section>,
}

/// One step of a guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Exit code.
    pub code: i32,
    files: BTreeMap<String, String>,
}

impl Report {
    /// Returns a section.
    ///
    /// # Errors
    /// If the report does not have it.
    pub fn section(&self, name: &str) -> Result<&Section> {
        self.sections.get(name).with_context(|| format!("the guest reported no section {name}"))
    }
}

impl Section {
    /// Text of a file; empty if there is none.
    pub fn text(&self, file: &str) -> &str {
        self.files.get(file).map_or("", String::as_str)
    }

    /// Parses the records in a file, one per line.
    pub fn records(&self, file: &str) -> Result<Vec<Value>> {
        let lines = self.text(file).lines();
        lines
            .map(|line| serde_json::from_str(line).with_context(|| format!("not a record: {line}")))
            .collect()
    }
}

/// Parses a report.
///
/// # Errors
/// If the report is incomplete because the guest ended too early.
pub fn parse(text: &str) -> Result<Report> {
    let mut report = Report::default();
    let mut open: Option<(String, Section)> = None;
    let mut file = String::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), &mut open) {
            (Some("@begin"), None) => {
                open = Some((words.next().unwrap_or_default().to_owned(), Section::default()));
            }
            (Some("@file"), Some((_, section))) => {
                words.next().unwrap_or_default().clone_into(&mut file);
                section.files.insert(file.clone(), String::new());
            }
            (Some("@end"), Some(_)) => {
                let code = words.nth(1).and_then(|code| code.parse().ok());
                if let Some((name, mut section)) = open.take() {
                    section.code = code.with_context(|| format!("no exit code of {name}"))?;
                    report.sections.insert(name, section);
                }
            }
            (Some("@done"), None) => return Ok(report),
            (_, Some((_, section))) => {
                let text = section.files.entry(file.clone()).or_default();
                text.push_str(line);
                text.push('\n');
            }
            (_, None) => bail!("output outside of a section: {line}"),
        }
    }
    let last = open.map(|(name, _)| name).or_else(|| report.sections.into_keys().last());
    bail!("the guest ended too early, at or after {}", last.as_deref().unwrap_or("its start"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS: &str = "@begin check\n@file report\n{\"ok\":true}\n@file stderr\n@end check 3\n\
                        @begin cgroup\n@file records\n{\"a\":1}\n{\"a\":2}\n@end cgroup 0\n";

    #[test]
    fn parses_files_and_exit_codes() {
        let report = parse(&format!("{SECTIONS}@done 12.3\n")).unwrap();
        let check = report.section("check").unwrap();
        assert_eq!((check.code, check.text("report")), (3, "{\"ok\":true}\n"));
        assert_eq!(check.text("stderr"), "");
        let records = report.section("cgroup").unwrap().records("records").unwrap();
        assert_eq!(records[1]["a"], 2);
        assert!(report.section("socket").unwrap_err().to_string().contains("socket"));
    }

    #[test]
    fn rejects_incomplete_report() {
        assert!(parse("").is_err());
        assert!(parse(SECTIONS).unwrap_err().to_string().contains("too early"));
        let open = format!("{SECTIONS}@begin socket\n@file records\n");
        assert!(parse(&open).unwrap_err().to_string().contains("socket"));
        assert!(parse("panic\n@done\n").is_err());
    }
}
