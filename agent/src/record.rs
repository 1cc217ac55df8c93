//! Record types of all streams, as `contract.md` and the JSON Schemas define them.
//!
//! Each record is one flat JSON object; absent values are left out. The JSON Schemas (`dnscribe
//! schema`, `schemas/`) are generated from these types. `build` and `texts` make the records from
//! the agent's own types; everything else here depends on the DNS wire format only.

mod alert;
mod avro;
mod build;
mod connection;
mod dlq;
mod event_id;
mod fields;
mod idn;
mod json;
mod ledger;
mod lookup;
mod masking;
mod message;
mod schema;
mod text;
mod texts;
mod transaction;
mod window;
mod zone;

pub use alert::AlertRecord;
pub use avro::avro_schema;
pub use build::{Identity, container_fields};
pub use connection::ConnectionRecord;
pub use dlq::DlqRecord;
pub use event_id::{EventId, Namespace};
pub use fields::{
    AnswerFields, AnswerList, ContainerFields, DsoFields, EdeFields, EdnsFields, FlagNames,
    IcmpFields, K8sFields, OptionFields, ProcessFields, QuestionFields, RecordHead, RecordTail,
};
pub use idn::unicode;
pub(crate) use json::{JsonText, add_json};
pub use ledger::LedgerRecord;
pub use lookup::LookupRecord;
pub use masking::MaskingFields;
pub use message::{MessageBody, MessageRecord};
pub use schema::{json_schema, names as schema_names};
pub use text::{alert_line, alert_line_of, line, line_of};
pub use texts::Texts;
pub use transaction::{TransactionBody, TransactionContext, TransactionRecord};
pub use window::WindowRecord;
pub use zone::registrable;
