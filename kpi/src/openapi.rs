//! The `OpenAPI` document of the metrics API.

use crate::dictionary::Dictionary;
use crate::values::Grain;
use serde_json::{Value, json};

/// Returns the document (`OpenAPI` 3.1), with the names of the dictionary's KPIs.
#[must_use]
pub fn document(dictionary: &Dictionary) -> Value {
    let names: Vec<&str> = dictionary.kpis.iter().map(|kpi| kpi.name.as_str()).collect();
    let name = json!({
        "name": "name", "in": "path", "required": true,
        "description": "Name of the KPI.",
        "schema": { "type": "string", "enum": names },
    });
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
        "paths": {
            "/v1/kpis": { "get": operation(
                "listKpis", "The dictionary: all KPIs that the token may read", &[], "Dictionary",
            ) },
            "/v1/kpis/{name}": { "get": operation(
                "getValues", "Values of a KPI", &[vec![name.clone()], parameters()].concat(), "Answer",
            ) },
            "/v1/kpis/{name}/change": { "get": operation(
                "getChange", "A KPI before and after a moment", &[vec![name.clone()], change_parameters()].concat(),
                "ChangeAnswer",
            ) },
            "/v1/kpis/{name}/lineage": { "get": operation(
                "getLineage", "Formula, measures, queries and imports behind a KPI", &[name], "Lineage",
            ) },
            "/v1/health": { "get": health() },
        },
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn parameters() -> Vec<Value> {
    let day = json!({ "type": "string", "format": "date" });
    let grains = Grain::NAMES.map(|(name, _)| name);
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    vec![
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
            json!({ "type": "integer", "minimum": 1, "maximum": 10000, "default": 1000 }),
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
    let schema = all.iter_mut().find(|one| one["name"] == "grain");
    if let Some(schema) = schema.and_then(|grain| grain["schema"].as_object_mut()) {
        schema.remove("default");
    }
    all.push(json!({ "name": "at", "in": "query", "required": true, "description": "The moment.",
        "schema": { "type": "string", "format": "date-time" } }));
    all.push(json!({ "name": "parts", "in": "query", "description": "Parts before, and after, of the length `grain`.",
        "schema": { "type": "integer", "minimum": 3, "maximum": 576, "default": 12 } }));
    all
}

fn operation(id: &str, summary: &str, parameters: &[Value], schema: &str) -> Value {
    let failure = |description: &str| {
        json!({ "description": description, "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" } } } })
    };
    json!({
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "OK", "content": { "application/json": {
                "schema": { "$ref": format!("#/components/schemas/{schema}") } } } },
            "400": failure("A parameter is wrong"),
            "401": failure("No token, or an unknown one"),
            "403": failure("The token's scopes do not include the KPI's family"),
            "404": failure("There is no such KPI"),
            "429": failure("Too many requests"),
        },
    })
}

fn health() -> Value {
    json!({
        "operationId": "getHealth",
        "summary": "Age of values and sources",
        "security": [],
        "responses": { "200": { "description": "OK", "content": { "application/json": {
            "schema": { "type": "object", "required": ["status"], "properties": {
                "status": { "type": "string", "enum": ["ok", "no_values"] } } } } } } },
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": ["number", "null"] });
    json!({
        "Problem": { "type": "object", "description": "RFC 9457", "required": ["type", "title", "status"],
            "properties": { "type": text, "title": text, "status": { "type": "integer" }, "detail": text } },
        "Dictionary": { "type": "object", "required": ["kpis"], "properties": {
            "kpis": { "type": "array", "items": { "$ref": "#/components/schemas/Kpi" } } } },
        "Kpi": { "type": "object", "required": ["name", "family", "description", "formula", "unit", "owner"],
            "properties": { "name": text, "label": text, "family": text, "description": text, "type": text,
                "formula": text, "unit": text, "grain": text, "cadence": text, "owner": text,
                "lateness_days": { "type": "integer" },
                "horizon_days": { "type": "integer",
                    "description": "Days after a day until nothing can happen any more that its value counts." },
                "dimensions": { "type": "array", "items": text }, "sources": { "type": "array", "items": text },
                "always_by": { "type": "array", "items": text },
                "decision": { "type": "object", "required": ["action", "runbook"], "properties": {
                    "when": { "type": "object", "description": "The rule; always where absent." },
                    "threshold": { "type": "string", "description": "The rule in words." },
                    "action": text, "runbook": text } },
                "verdicts": { "type": "array", "items": { "$ref": "#/components/schemas/Verdict" },
                    "description": "What the rule says of the newest day that nothing can change any more; one for each slice." } } },
        "Verdict": { "type": "object", "required": ["day", "state"], "properties": {
            "day": { "type": "string", "format": "date" },
            "by": { "type": "object", "additionalProperties": { "type": ["string", "null"] } },
            "state": { "type": "string", "enum": ["fires", "quiet", "muted"],
                "description": "muted: data are missing, of the day or of what it is compared with." },
            "bound": { "type": "number", "description": "What the value was compared with." },
            "reason": { "type": "string", "description": "Why it is muted." } } },
        "Answer": { "type": "object", "required": ["kpi", "unit", "grain", "as_of", "freshness_seconds", "values"],
            "properties": { "kpi": text, "unit": text, "grain": text,
                "as_of": { "type": ["string", "null"], "format": "date-time",
                    "description": "When values were computed last." },
                "freshness_seconds": { "type": ["integer", "null"],
                    "description": "Age of the newest fact of the KPI's sources." },
                "lineage": text,
                "next_offset": { "type": "integer", "description": "Where the next page begins, if there is one." },
                "values": { "type": "array", "items": { "$ref": "#/components/schemas/Value" } } } },
        "Value": { "type": "object", "required": ["from", "to", "value", "state"], "properties": {
            "from": { "type": "string", "format": "date" }, "to": { "type": "string", "format": "date" },
            "start": { "type": "string", "format": "date-time",
                "description": "Beginning, of parts of days and of days that are not those of UTC." },
            "end": { "type": "string", "format": "date-time", "description": "End, of the same." },
            "value": number, "state": { "type": "string", "enum": ["provisional", "final", "incomplete"] },
            "by": { "type": "object", "additionalProperties": { "type": ["string", "null"] } },
            "open_until": { "type": "string", "format": "date",
                "description": "Last day on which something can still happen that the value counts, while it is not over." },
            "adjustment": { "type": "object", "description": "What has changed since the value became final.",
                "properties": { "value": number, "difference": number,
                    "cause": { "type": "string", "enum": ["late", "definition"] } } },
            "restatement": { "type": "object", "description": "What the value was before its day was reopened.",
                "properties": { "previous": number, "at": { "type": "string", "format": "date-time" }, "reason": text } },
            "notes": { "type": "array", "items": text, "description": "What the value takes for granted." },
            "reasons": { "type": "array", "items": text, "description": "Why the value is incomplete." },
            "rejected_rows": { "type": "integer",
                "description": "Rows of these days that were refused at import and wait for a correction." } } },
        "ChangeAnswer": { "type": "object", "required": ["kpi", "unit", "grain", "at", "change"],
            "properties": { "kpi": text, "unit": text, "grain": text, "at": { "type": "string", "format": "date-time" },
                "as_of": { "type": ["string", "null"], "format": "date-time" },
                "change": { "type": "object", "required": ["before", "after", "difference", "interval"], "properties": {
                    "before": { "$ref": "#/components/schemas/Side" }, "after": { "$ref": "#/components/schemas/Side" },
                    "difference": number,
                    "interval": { "type": ["array", "null"], "items": { "type": "number" }, "minItems": 2, "maxItems": 2,
                        "description": "What the difference is between, with a confidence of 95 %." },
                    "reasons": { "type": "array", "items": text, "description": "Why there is no interval." } } } } },
        "Side": { "type": "object", "required": ["parts", "value"], "properties": {
            "start": { "type": ["string", "null"], "format": "date-time" },
            "end": { "type": ["string", "null"], "format": "date-time" },
            "parts": { "type": "integer" },
            "value": { "type": ["number", "null"], "description": "Mean of a part, or ratio of the sums of all." } } },
        "Lineage": { "type": "object", "required": ["kpi", "formula", "measures", "models", "sources"],
            "properties": { "kpi": text, "formula": text } },
    })
}
