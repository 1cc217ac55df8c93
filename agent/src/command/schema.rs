//! `dnscribe schema`: the records' JSON and Avro schemas.

use super::summary::print;
use crate::cli::SchemaArgs;
use crate::cli::exit::Exit;

/// Prints one schema, or the names of all.
pub(super) fn schema(args: &SchemaArgs) -> Result<(), Exit> {
    let Some(name) = &args.name else {
        let names: Vec<&str> = dnscribe_record::schema_names().collect();
        return print(&format!("{}\n", names.join("\n")));
    };
    let schema = if args.avro {
        dnscribe_record::avro_schema(name)
    } else {
        dnscribe_record::json_schema(name)
    };
    let Some(schema) = schema else {
        let names: Vec<&str> = dnscribe_record::schema_names().collect();
        return Err(Exit::usage(format!("there is no schema \"{name}\""))
            .with_remedy(format!("choose from {}", names.join(", "))));
    };
    print(&format!("{schema:#}\n"))
}
