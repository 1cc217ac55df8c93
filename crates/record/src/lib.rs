//! Records: what dnscribe programs write.
//!
//! Each record is one flat JSON object; absent values are left out. The JSON Schemas (`dnscribe schema`,
//! `schemas/`) and the Avro schemas are generated from these types. [`ledger`] has the counters and
//! identities of `dns.ledger/1`, and [`privacy`] masks rendered records before they leave the process.
//!
//! Nothing here captures, decodes or sends anything, so a program without eBPF writes the same records.
//!
//! ```
//! use dnscribe_record::{EventId, Namespace, Stream, time::Timestamp};
//!
//! let epoch: Timestamp = "2026-11-21T10:00:00Z".parse()?;
//! let id: EventId = Namespace::new("resolver-1", epoch).ledger(1);
//! assert_eq!(id.to_string().len(), 32);
//! assert_eq!(Stream::Ledger.schema(), "dns.ledger/1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alert;
mod avro;
mod connection;
mod dlq;
mod ecs;
mod enriched;
mod event_id;
mod fields;
mod fleet;
mod json;
pub mod ledger;
mod ledger_record;
mod lookup;
mod masking;
mod merge;
mod message;
mod named_enum;
pub mod number;
mod operator;
mod otel;
pub mod privacy;
mod probe;
mod registrar;
mod schema;
mod stream;
mod stream_ledger;
mod text;
pub mod time;
pub mod trace;
mod transaction;
mod use_record;
mod window;

pub use alert::{
    AlertRecord, ChangeReference, FigureFields, ProbeReference, RUNBOOKS, Severity, runbook_address,
};
pub use avro::{avro_schema, names as avro_schema_names};
pub use connection::ConnectionRecord;
pub use dlq::DlqRecord;
pub use ecs::EcsEncoder;
pub use enriched::{
    EnrichedRecord, EnrichmentFields, GeoFields, IntelMatchFields, NameFields, ZoneMetaFields,
};
pub use event_id::{EventId, MessageId, Namespace, PacketId};
pub use fields::{
    AnswerFields, AnswerList, ContainerFields, ContainerId, DnstapFields, EdeFields, EdnsFields,
    FlagNames, IcmpFields, K8sFields, Labels, LostAt, LostAtFields, OptionFields, OwnedRecordHead,
    PathFields, PodName, PolicyFields, ProcessFields, ProcessName, QuestionFields, RecordHead,
    RecordTail,
};
pub use fleet::FleetRecord;
pub use json::{
    ContainerView, JsonBuffer, JsonFields, JsonText, JsonValue, PodView, ProcessView, extend_json,
    read_object, write_json,
};
pub use ledger_record::LedgerRecord;
pub use lookup::{LookupFields, LookupRecord};
pub use masking::MaskingFields;
pub use merge::Merge;
pub use message::{MessageBody, MessageRecord, Transport};
pub use named_enum::{Named, UnknownName};
pub use operator::{ChangeFields, ChangeRecord, IntelFields, IntelRecord, ZoneFields, ZoneRecord};
pub use otel::{Attribute, OtelEncoder, OtelRecord, WindowMetric, error_type, window_metrics};
pub use probe::{CertificateFields, ProbeError, ProbeFields, ProbeRecord, SignatureFields};
pub use registrar::RegistrarEventRecord;
pub use schema::{json_schema, names as schema_names};
pub use stream::{ParseStreamError, Stream, StreamSet};
pub use stream_ledger::{StreamInput, StreamLedgerRecord, StreamOutput, StreamRestored};
pub use text::{host_and_port, text_line};
pub use transaction::{TransactionBody, TransactionContext, TransactionRecord};
pub use use_record::UseRecord;
pub use window::{
    BucketCount, DistinctFields, EstimateFields, ExactFields, LatencyFields, QtypeCount,
    RankedFields, RcodeCount, StatusCounts, TopSketches, WindowRecord, WindowStatistics,
};
