//! What leaves: the records of each stream, as the contract spells them.
//!
//! One flat JSON object per record; fields that have nothing to say are left out. The JSON Schemas
//! (`dnscribe schema`, `schemas/`) are generated from these types.

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
mod message;
mod schema;
mod text;
mod texts;
mod transaction;
mod window;
mod zone;

pub use alert::AlertRecord;
pub use avro::avro_schema;
pub(crate) use build::milliseconds;
pub use build::{Context, Identity};
pub use connection::ConnectionRecord;
pub use dlq::DlqRecord;
pub use event_id::{EventId, Namespace};
pub use fields::{
    AnswerFields, AnswerList, ContainerFields, DsoFields, EdeFields, EdnsFields, FlagNames,
    IcmpFields, OptionFields, ProcessFields, QuestionFields,
};
pub use idn::unicode;
pub(crate) use json::add_json;
pub use ledger::LedgerRecord;
pub use lookup::LookupRecord;
pub use message::{MessageBody, MessageContext, MessageRecord};
pub use schema::{json_schema, names as schema_names};
pub use text::{alert_line, alert_line_of, line, line_of};
pub use texts::Texts;
pub use transaction::{TransactionBody, TransactionContext, TransactionRecord};
pub use window::WindowRecord;
pub use zone::registrable;
