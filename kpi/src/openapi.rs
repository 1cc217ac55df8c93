//! The `OpenAPI` document of the metrics API. Its schemas are those of the types that it answers with.

use crate::answer::{self, Answer, ChangeAnswer, Health, Lineage, Problem};
use crate::dictionary::Dictionary;
use crate::values::Grain;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Values in one answer if the request gives no limit.
pub const DEFAULT_LIMIT: usize = 1000;
/// Values in one answer at most.
pub const MAX_LIMIT: usize = 10_000;

/// Returns the document (`OpenAPI` 3.1), with the names of the dictionary's KPIs.
#[must_use]
pub fn document(dictionary: &Dictionary) -> Value {
    let names: Vec<&str> = dictionary.kpis.iter().map(|kpi| kpi.name.as_str()).collect();
    let name = json!({
        "name": "name", "in": "path", "required": true,
        "description": "Name of the KPI.",
        "schema": { "type": "string", "enum": names },
    });
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator =
        settings.with(|to| to.definitions_path = "/components/schemas".into()).into_generator();
    let list = generator.subschema_for::<answer::Dictionary<'_>>();
    let values = generator.subschema_for::<Answer<'_>>();
    let change = generator.subschema_for::<ChangeAnswer<'_>>();
    let lineage = generator.subschema_for::<Lineage<'_>>();
    let health = generator.subschema_for::<Health>();
    let mut operation = |id, summary, parameters: &[Value], answer: &Schema| json!({ "get": operation(&mut generator, (id, summary), parameters, answer) });
    let named = |others: Vec<Value>| [vec![name.clone()], others].concat();
    let mut paths = json!({
        "/v1/kpis": operation("listKpis", "The dictionary: all KPIs that the token may read", &[], &list),
        "/v1/kpis/{name}": operation("getValues", "Values of a KPI", &named(parameters()), &values),
        "/v1/kpis/{name}/change": operation(
            "getChange", "A KPI before and after a moment", &named(change_parameters()), &change,
        ),
        "/v1/kpis/{name}/lineage": operation(
            "getLineage", "Formula, measures, queries and imports behind a KPI", &named(Vec::new()), &lineage,
        ),
    });
    let unchanged = "The values are those of the tag in If-None-Match";
    paths["/v1/kpis/{name}"]["get"]["responses"]["304"] = json!({ "description": unchanged });
    paths["/v1/health"] = json!({ "get": {
        "operationId": "getHealth",
        "summary": "Age of values and sources",
        "security": [],
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": health } } } },
    } });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dnscribe-kpi metrics API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "KPIs with their definitions, values, states and lineage. Read only.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn parameters() -> Vec<Value> {
    let day = json!({ "type": "string", "format": "date" });
    let grains = Grain::NAMES.map(|(name, _)| name);
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    vec![
        parameter("date", "First and last day at once.", day.clone()),
        parameter("from", "First day.", day.clone()),
        parameter("to", "Last day, included.", day),
        parameter(
            "grain",
            "Length of the spans.",
            json!({ "type": "string", "enum": grains, "default": "day" }),
        ),
        parameter(
            "time_zone",
            "Time zone of the days, such as Europe/Berlin.",
            json!({ "type": "string", "default": "UTC" }),
        ),
        parameter("by", "Dimensions to slice by: tld,country.", json!({ "type": "string" })),
        parameter(
            "filter",
            "Rows that count: tld=com,tld=net,country=DE. Values of one dimension are alternatives.",
            json!({ "type": "string" }),
        ),
        parameter(
            "limit",
            "Values in the answer.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT }),
        ),
        parameter(
            "offset",
            "Values to leave out, for the next page.",
            json!({ "type": "integer", "minimum": 0, "default": 0 }),
        ),
    ]
}

fn change_parameters() -> Vec<Value> {
    let of_values = parameters().into_iter();
    let of_values = of_values.filter(|one| one["name"] == "grain" || one["name"] == "filter");
    let mut all: Vec<Value> = of_values.collect();
    // The finest one of the KPI, unless it is given.
    if let Some(grain) = all.iter_mut().find(|one| one["name"] == "grain") {
        grain["schema"] = json!({ "type": "string", "enum": Grain::regular_names() });
    }
    all.push(json!({ "name": "at", "in": "query", "required": true, "description": "The moment.",
        "schema": { "type": "string", "format": "date-time" } }));
    all.push(json!({ "name": "parts", "in": "query", "description": "Parts before, and after, of the length `grain`.",
        "schema": { "type": "integer", "minimum": 3, "maximum": 576, "default": 12 } }));
    all
}

fn operation(
    generator: &mut SchemaGenerator,
    (id, summary): (&str, &str),
    parameters: &[Value],
    answer: &Schema,
) -> Value {
    let problem = generator.subschema_for::<Problem<'_>>();
    let failure = |description: &str| json!({ "description": description, "content": { "application/problem+json": { "schema": problem } } });
    json!({
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": answer } } },
            "400": failure("A parameter is wrong"),
            "401": failure("No token, or an unknown one"),
            "403": failure("The token's scopes do not include the KPI's family"),
            "404": failure("There is no such KPI"),
            "429": failure("Too many requests"),
        },
    })
}
