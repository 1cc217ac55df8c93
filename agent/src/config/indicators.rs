//! Sections `indicators` and `first_seen`.

use dnscribe_analysis::indicators::IndicatorTable;
use dnscribe_cli::input::decompressed;
use dnscribe_config::value::Count;
use dnscribe_config::{ConfigError, section};
use dnscribe_delivery::files;
use dnscribe_import::intel::{self, IntelDefaults, IntelFormat};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Most indicators of all files.
const MAX_INDICATORS: usize = 2_000_000;

section! {
    /// Section `indicators`.
    IndicatorsLayer {
        /// Files of indicators: hosts files, response policy zones, lists with a name, address or prefix a line, CSV,
        /// NDJSON (dns.intel/1). They are read again when they change. The name of a file is the source of its indicators that have none.
        items files: Option<Vec<PathBuf>> = example("[/etc/dnscribe/indicators.txt]"),
    }
}

section! {
    /// Section `first_seen`.
    FirstSeenLayer {
        /// Directory of the file in which the zones outlive the agent. Where it is given, transactions say when
        /// their zone was first seen on this host.
        text directory: Option<PathBuf> = example("/var/lib/dnscribe/first-seen"),
        /// Most zones that are remembered, 32 bytes each.
        text max_zones: Option<Count> = default(262_144),
    }
}

/// Indicators that transactions are matched with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndicatorConfig {
    /// The indicators of all files.
    pub table: Arc<IndicatorTable>,
    /// The files, each with its state before it was read.
    pub files: Vec<(PathBuf, FileState)>,
    /// What was read, a sentence for each file, and whether all of it could be used.
    pub report: Vec<(String, bool)>,
}

/// When a file was changed, and its size; none where that is unknown.
pub type FileState = Option<(SystemTime, u64)>;

/// How first times of zones are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstSeenConfig {
    /// Directory of the file.
    pub directory: PathBuf,
    /// Most zones.
    pub max_zones: usize,
}

/// Returns the state of a file.
#[must_use]
pub fn file_state(path: &Path) -> FileState {
    let found = files::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Reads the files of indicators.
pub(super) fn resolve(layer: IndicatorsLayer) -> Result<IndicatorConfig, ConfigError> {
    read_indicators(layer.files.unwrap_or_default())
}

/// Reads the files of indicators, as the configuration names them.
///
/// # Errors
/// A file cannot be read, or there are too many indicators.
pub fn read_indicators(
    paths: impl IntoIterator<Item = PathBuf>,
) -> Result<IndicatorConfig, ConfigError> {
    let (mut all, mut config) = (Vec::new(), IndicatorConfig::default());
    for path in paths {
        config.files.push((path.clone(), file_state(&path)));
        let data = match read_text(&path) {
            Ok(data) => data,
            Err(error) => {
                let problem = format!("files: cannot read {}: {error}", path.display());
                return ConfigError::in_section("indicators", &problem);
            }
        };
        let defaults = IntelDefaults { source: stem(&path), ..IntelDefaults::default() };
        let format = IntelFormat::detect(&data);
        // Whether one has expired is judged for each transaction.
        let imported = intel::read_longest(&data, format, &defaults);
        let mut sentence = format!("{} indicators in {}", imported.items.len(), path.display());
        if let Some(first) = imported.refused.first() {
            let count = imported.refused.len();
            let more = format!("; {count} entries cannot be used, the first in line {first}");
            sentence.push_str(&more);
        }
        config.report.push((sentence, imported.refused.is_empty()));
        all.extend(imported.items);
        if all.len() > MAX_INDICATORS {
            let problem =
                format!("the files have more than {MAX_INDICATORS} indicators: leave some out");
            return ConfigError::in_section("indicators", &problem);
        }
    }
    config.table = Arc::new(IndicatorTable::new(all));
    Ok(config)
}

/// Reads a file as `dnscribe intel import` does: decompressed, and what is not UTF-8 is refused with its line.
fn read_text(path: &Path) -> io::Result<String> {
    let mut data = Vec::new();
    decompressed(Box::new(files::open(path)?))?.read_to_end(&mut data)?;
    Ok(String::from_utf8_lossy(&data).into_owned())
}

/// Returns the name of a file without its extension, and without that of a compression.
fn stem(path: &Path) -> String {
    let is_packed = path.extension().is_some_and(|end| end == "gz" || end == "zst");
    let plain = if is_packed { path.with_extension("") } else { path.to_path_buf() };
    plain.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl FirstSeenLayer {
    pub(super) fn resolve(&self) -> Option<FirstSeenConfig> {
        let max_zones = self.max_zones().0;
        self.directory.clone().map(|directory| FirstSeenConfig { directory, max_zones })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_record::time::Timestamp;
    use std::fs;

    #[test]
    fn says_what_each_file_has_and_what_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let (list, zone) = (folder.path().join("bad.txt"), folder.path().join("policy.zone"));
        fs::write(&list, "bad.example\nhttp://no\n198.51.100.0/24\n").unwrap();
        fs::write(&zone, "$TTL 60\n@ SOA a. b. 1 2 3 4 5\nworse.example CNAME .\n").unwrap();
        let files = Some(vec![list.clone(), zone]);
        let config = resolve(IndicatorsLayer { files }).unwrap();
        assert_eq!(config.table.len(), 3);
        let [(first, false), (second, true)] = &config.report[..] else {
            panic!("{:?}", config.report)
        };
        assert!(first.starts_with("2 indicators in ") && first.contains("1 entries"), "{first}");
        assert!(first.contains("line 2"), "{first}");
        assert!(second.starts_with("1 indicators in "), "{second}");
        let found =
            config.table.find(Timestamp::now(), Some("a.bad.example"), dnscribe_dns::Answers::NONE);
        assert_eq!(found[0].source.as_deref(), Some("bad"));

        // An expired line hides none that is valid, in a file or across files, packed or not.
        let (old, new) = (folder.path().join("old.csv"), folder.path().join("new.csv.zst"));
        let header = "indicator,category,valid_until\n";
        let gone =
            "twice.example,gone,2020-01-01T00:00:00Z\nthere.example,gone,2020-01-01T00:00:00Z\n";
        fs::write(&old, format!("{header}{gone}twice.example,valid,2500-01-01T00:00:00Z\n"))
            .unwrap();
        let packed = zstd::encode_all(format!("{header}there.example,valid,\n").as_bytes(), 1);
        fs::write(&new, packed.unwrap()).unwrap();
        let found = read_indicators([old, new]).unwrap();
        for (name, source) in [("twice.example", "old"), ("there.example", "new")] {
            let found = found.table.find(Timestamp::now(), Some(name), dnscribe_dns::Answers::NONE);
            let found = found.first().map(|one| (one.category.as_deref(), one.source.as_deref()));
            assert_eq!(found, Some((Some("valid"), Some(source))), "{name}");
        }

        let before = file_state(&list);
        fs::write(&list, "bad.example\n").unwrap();
        assert_ne!(file_state(&list), before);
        fs::remove_file(&list).unwrap();
        assert_eq!(file_state(&list), None);
        let error =
            resolve(IndicatorsLayer { files: Some(vec![list.clone()]) }).unwrap_err().to_string();
        assert!(error.contains(&list.display().to_string()), "{error}");
    }
}
