//! What every operation of a document has in common, added once in place of at each handler.

use serde_json::{Value, json};

/// Statuses that any operation may answer, with their meaning.
const ALWAYS: [(&str, &str); 2] = [
    ("500", "Something that nobody foresaw"),
    ("503", "The service is overloaded, or its database away: come back"),
];
/// Those of an operation that takes a token.
const WITH_TOKEN: (&str, &str) = ("401", "No token, or one that does not hold");
/// Those of an operation that takes a body.
const WITH_BODY: [(&str, &str); 2] =
    [("413", "A body of more than 65536 bytes"), ("415", "A body that is no application/json")];

/// The document, with the answers that no handler has to name.
pub(super) fn complete(api: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for operation in
        paths.values_mut().filter_map(Value::as_object_mut).flat_map(|methods| methods.values_mut())
    {
        // A number of a query is taken however large it is (D51), so it is of no width.
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            if let Some(schema) = parameter["schema"].as_object_mut()
                && schema.get("format").is_some_and(|format| format == "int64")
            {
                schema.remove("format");
            }
        }
        let mut more = ALWAYS.to_vec();
        if operation["security"].as_array().is_some_and(|security| !security.is_empty()) {
            more.push(WITH_TOKEN);
        }
        if !operation["requestBody"].is_null() {
            more.extend(WITH_BODY);
        }
        let Some(responses) = operation["responses"].as_object_mut() else { continue };
        for (status, meaning) in more {
            responses.entry(status).or_insert_with(|| json!({ "description": meaning }));
        }
        // Every error is the envelope (D40).
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
            let envelope =
                json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Envelope" } } });
            response["content"] = envelope;
        }
    }
    document
}
