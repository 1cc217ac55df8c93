//! Zones with their owners: CSV, NDJSON or YAML.

use super::table::{self, Row};
use super::{Imported, domain};
use dnscribe_record::ZoneFields;
use std::path::Path;

/// Format of a file of zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ZoneFormat {
    /// CSV with a header: zone, owner, tier, environment, unit, nameservers.
    Csv,
    /// JSON objects by line.
    Ndjson,
    /// YAML list of mappings.
    Yaml,
}

impl ZoneFormat {
    /// Detects the format from a file's name and content.
    #[must_use]
    pub fn detect(name: &str, data: &str) -> Self {
        let data = data.trim_start();
        if data.starts_with('{') {
            return Self::Ndjson;
        }
        let ending = name.to_lowercase();
        let ending = ending.trim_end_matches(".gz").trim_end_matches(".zst");
        let extension = Path::new(ending).extension();
        let is_csv = extension.is_some_and(|extension| extension == "csv")
            || !data.starts_with(['-', '[']) && has_header(data);
        if is_csv { Self::Csv } else { Self::Yaml }
    }
}

fn has_header(data: &str) -> bool {
    let header = data.lines().find(|line| !line.trim_start().starts_with('#')).unwrap_or_default();
    header.split(',').any(|column| column.trim().eq_ignore_ascii_case("zone"))
}

/// Reads a file of zones. The first row of a zone counts.
#[must_use]
pub fn read(data: &str, format: ZoneFormat) -> Imported<ZoneFields> {
    let rows = match format {
        ZoneFormat::Csv => table::csv(data),
        ZoneFormat::Ndjson => table::ndjson(data),
        ZoneFormat::Yaml => table::yaml(data),
    };
    let mut imported = Imported::empty();
    for row in rows {
        let zone = row.and_then(|row| {
            let line = row.line;
            zone(row).map_err(|problem| super::Refusal { line, problem })
        });
        match zone {
            Ok(zone) => imported.items.push(zone),
            Err(refusal) => imported.refused.push(refusal),
        }
    }
    imported.deduplicate(|zone| zone.zone.clone());
    imported
}

fn zone(mut row: Row) -> Result<ZoneFields, String> {
    let name = row.take(&["zone"]).ok_or("zone is missing")?;
    let nameservers = row.take_list("nameservers");
    let zone = ZoneFields {
        zone: domain(&name)?,
        owner: row.take(&["owner"]),
        tier: row.take(&["tier"]),
        environment: row.take(&["environment"]),
        unit: row.take(&["unit"]),
        nameservers: nameservers.iter().map(|name| domain(name)).collect::<Result<_, _>>()?,
    };
    ignore_head(&mut row);
    row.finish()?;
    Ok(zone)
}

/// Removes the fields that begin every record, so that records can be imported again.
pub(super) fn ignore_head(row: &mut Row) {
    for name in ["schema", "event_id", "ts", "node", "region", "labels"] {
        row.ignore(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "zone,owner,tier,environment,unit,nameservers\n\
        Shop.Example.,web,1,prod,retail,ns1.example ns2.example\n# note\n\
        bad zone,web,1,prod,retail,\nshop.example,other,,,,\nextra,1\n";
    const NDJSON: &str = "{\"zone\":\"Shop.Example.\",\"owner\":\"web\",\"tier\":1,\
        \"environment\":\"prod\",\"unit\":\"retail\",\"nameservers\":[\"ns1.example\",\
        \"ns2.example.\"]}\n\n{\"zone\":\"bad zone\"}\n{\"zone\":\"shop.example\"}\n[]\n";
    const YAML: &str = "# zones\n- zone: Shop.Example.\n  owner: web\n  tier: 1\n  environment: prod\n  \
        unit: retail\n  nameservers: [ns1.example, ns2.example]\n- zone: bad zone\n- zone: \
        shop.example\n- colour: red\n";

    #[test]
    fn reads_each_format() {
        for (data, name, format, lines) in [
            (CSV, "zones", ZoneFormat::Csv, [4, 6]),
            (NDJSON, "zones", ZoneFormat::Ndjson, [3, 5]),
            (YAML, "zones.yaml", ZoneFormat::Yaml, [8, 10]),
        ] {
            assert_eq!(ZoneFormat::detect(name, data), format);
            let found = read(data, format);
            let expected = ZoneFields {
                zone: "shop.example".into(),
                owner: Some("web".into()),
                tier: Some("1".into()),
                environment: Some("prod".into()),
                unit: Some("retail".into()),
                nameservers: vec!["ns1.example".into(), "ns2.example".into()],
            };
            assert_eq!((found.items.as_slice(), found.duplicates), ([expected].as_slice(), 1));
            let refused: Vec<usize> = found.refused.iter().map(|refusal| refusal.line).collect();
            assert_eq!(refused, lines, "{:?}", found.refused);
        }
    }

    #[test]
    fn refuses_a_broken_file_with_its_place() {
        let found = read("- zone: a.example\n  - b\n", ZoneFormat::Yaml);
        assert_eq!((found.items.len(), found.refused.len()), (0, 1));
        let unknown = read("zone,color\na.example,red\n", ZoneFormat::Csv);
        assert_eq!(unknown.refused[0].to_string(), "2: unknown field \"color\"");
    }
}
