//! Section `filters`.

use super::ConfigError;
use super::layer::{Over, PerStream, layer, per_stream};
use super::shape::{Entry, items, section};
use super::value::{ContainerId, Name, Qtype};
use crate::capture::encrypted::Prefix;
use crate::filter::{Criteria, Filter, Filters, STREAMS, Suffix};
use serde::Deserialize;
use serde::de::MapAccess;

layer! {
    /// Section `filters`.
    FiltersLayer {
        /// What a record must be to be told.
        #[serde(deserialize_with = "section")]
        include: CriteriaLayer,
        /// What a record must not be to be told.
        #[serde(deserialize_with = "section")]
        exclude: CriteriaLayer,
        /// Other criteria for the records of one stream; what is not given here is as above.
        #[serde(deserialize_with = "per_stream")]
        streams: PerStream<FilterLayer> = example("{ lookups: { exclude: { process: [healthd] } } }"),
    }
}

layer! {
    /// Section `filters.streams.STREAM`.
    FilterLayer {
        /// As in section `filters`.
        #[serde(deserialize_with = "section")]
        include: CriteriaLayer,
        /// As in section `filters`.
        #[serde(deserialize_with = "section")]
        exclude: CriteriaLayer,
    }
}

layer! {
    /// Sections `filters.include` and `filters.exclude`.
    CriteriaLayer {
        /// Names asked for, each with all below it.
        #[serde(deserialize_with = "items")]
        qname: Option<Vec<Suffix>> = example("[corp.example, in-addr.arpa]"),
        /// Addresses and prefixes of clients.
        #[serde(deserialize_with = "items")]
        client: Option<Vec<Prefix>> = example("[10.0.0.0/8, \"2001:db8::/32\"]"),
        /// Types asked for.
        #[serde(deserialize_with = "items")]
        qtype: Option<Vec<Qtype>> = example("[A, AAAA, TYPE65]"),
        /// Names of processes, or with a slash paths of executables.
        #[serde(deserialize_with = "items")]
        process: Option<Vec<Name>> = example("[curl, /usr/bin/dig]"),
        /// Beginnings of ids of containers.
        #[serde(deserialize_with = "items")]
        container: Option<Vec<ContainerId>> = example("[4b6ee1d1c3c2]"),
    }
}

impl Entry for FilterLayer {
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

impl FilterLayer {
    fn filter(self) -> Filter {
        Filter { include: self.include.criteria(), exclude: self.exclude.criteria() }
    }
}

impl CriteriaLayer {
    fn criteria(self) -> Criteria {
        let Self { qname, client, qtype, process, container } = self;
        Criteria {
            qname: qname.map(|names| names.into_iter().collect()),
            client: client.map(|prefixes| prefixes.into_iter().collect()),
            qtype: qtype.map(|types| types.into_iter().map(|qtype| qtype.0).collect()),
            process: process.map(|names| names.into_iter().map(|name| name.0).collect()),
            container: container.map(|ids| ids.into_iter().map(|id| id.0).collect()),
        }
    }
}

/// Which records are told.
pub(super) fn resolve(layer: FiltersLayer) -> Result<Filters, ConfigError> {
    let FiltersLayer { include, exclude, streams } = layer;
    let mut own = streams.0;
    if let Some(stream) = own.keys().find(|stream| !STREAMS.contains(stream)) {
        return Err(ConfigError::NotFiltered(stream.name()));
    }
    let general = FilterLayer { include, exclude };
    Ok(STREAMS.into_iter().fold(Filters::default(), |filters, stream| {
        let layer = own.remove(&stream).unwrap_or_default().over(general.clone());
        filters.with(stream, layer.filter())
    }))
}
