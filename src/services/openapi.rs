//! The documents of a service: OpenAPI 3.1, and a page that is read in any browser without a script (D58, D60).

mod document;

use std::fmt::Write;

use axum::Router;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi};

use super::Service;

/// Where the document is (D58).
pub const DOCUMENT_PATH: &str = "/api/openapi.json";
/// Where the page is (D58).
pub const PAGE_PATH: &str = "/api/docs";
/// Where its style is: the policy of D60 allows none within the page.
const STYLE_PATH: &str = "/api/docs/style.css";
const STYLE: &str = include_str!("openapi/style.css");
/// Name of the way to show who calls, in the document.
pub const BEARER: &str = "bearer";

/// The routes of the documents of `service`, whose handlers told `api`.
pub fn routes(service: &Service, api: OpenApi, version: &str) -> Router {
    let document = document::complete(finish(service, api, version));
    let page = page(&document);
    let document = document.to_string();
    let kept = || (CACHE_CONTROL, "public, max-age=300");
    Router::new()
        .route(
            DOCUMENT_PATH,
            get(move || async move { ([(CONTENT_TYPE, "application/json"), kept()], document) }),
        )
        .route(
            PAGE_PATH,
            get(move || async move { ([(CONTENT_TYPE, "text/html; charset=utf-8"), kept()], page) }),
        )
        .route(
            STYLE_PATH,
            get(move || async move { ([(CONTENT_TYPE, "text/css; charset=utf-8"), kept()], STYLE) }),
        )
}

/// The document with what no handler tells.
fn finish(service: &Service, mut api: OpenApi, version: &str) -> OpenApi {
    api.info = InfoBuilder::new()
        .title("Visiobook Microservice")
        .description(Some(service.about))
        .version(version)
        .build();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = api.components.get_or_insert_with(Components::new);
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    api
}

/// The page of a document.
fn page(document: &Value) -> String {
    let mut body = String::new();
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let info = &document["info"];
    // Writing into a String cannot fail.
    let _ = write!(
        body,
        "<h1>{}</h1><p>{} Version {}. <a href=\"{DOCUMENT_PATH}\">OpenAPI document</a></p><nav><ul>",
        text(&info["title"]),
        text(&info["description"]),
        text(&info["version"])
    );
    let operations: Vec<(&String, &String, &Value)> = entries(&document["paths"])
        .flat_map(|(path, methods)| {
            entries(methods).map(move |(method, operation)| (path, method, operation))
        })
        .collect();
    for (path, method, operation) in &operations {
        let _ = write!(
            body,
            "<li><a href=\"#{0}\"><b>{1}</b> {2}</a></li>",
            text(&operation["operationId"]),
            method.to_uppercase(),
            escape(path)
        );
    }
    body.push_str("</ul></nav>");
    for (path, method, operation) in operations {
        write_operation(&mut body, path, method, operation);
    }
    body.push_str("<h2>Types</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(body, "<section id=\"type-{0}\"><h3>{0}</h3>", escape(name));
        let _ = write!(body, "<p>{}</p>", text(&schema["description"]));
        write_schema(&mut body, schema);
        body.push_str("</section>");
    }
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><link rel=\"stylesheet\" href=\"{STYLE_PATH}\"></head><body><main>{body}</main></body></html>",
        text(&info["title"])
    )
}

fn write_operation(body: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let _ = write!(
        body,
        "<section id=\"{}\"><h2><span class=\"{method}\">{}</span> {}</h2><p><b>{}</b> {}</p>",
        text(&operation["operationId"]),
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    if operation["security"].as_array().is_some_and(|security| !security.is_empty()) {
        body.push_str("<p class=\"note\">Needs <code>Authorization: Bearer</code>.</p>");
    }
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        body.push_str("<table><tr><th>Parameter</th><th>In</th><th>Type</th><th>What</th></tr>");
        for parameter in parameters {
            let _ = write!(
                body,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                kind(&parameter["schema"]),
                text(&parameter["description"])
            );
        }
        body.push_str("</table>");
    }
    for (media, content) in entries(&operation["requestBody"]["content"]) {
        let _ = write!(body, "<p>Body, {}: {}</p>", escape(media), kind(&content["schema"]));
    }
    body.push_str("<table><tr><th>Answer</th><th>Body</th><th>When</th></tr>");
    for (status, response) in entries(&operation["responses"]) {
        let content = entries(&response["content"]).next().map(|(_, content)| kind(&content["schema"]));
        let _ = write!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(status),
            content.unwrap_or_default(),
            text(&response["description"])
        );
    }
    body.push_str("</table></section>");
}

fn write_schema(body: &mut String, schema: &Value) {
    if schema["properties"].is_null() {
        let _ = write!(body, "<p>{}</p>", kind(schema));
        return;
    }
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    body.push_str("<table><tr><th>Field</th><th>Type</th><th>What</th></tr>");
    for (name, property) in entries(&schema["properties"]) {
        let is_required = required.iter().any(|required| required == name);
        let _ = write!(
            body,
            "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            if is_required { "" } else { " <i>optional</i>" },
            kind(property),
            escape(property["description"].as_str().unwrap_or_default())
        );
    }
    body.push_str("</table>");
}

/// A schema in a few words, with links to types.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escape(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#type-{name}\">{name}</a>");
    }
    let union = ["oneOf", "anyOf", "allOf"].iter().find_map(|word| schema[*word].as_array());
    if let Some(parts) = union {
        return parts.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())))
            .collect::<Vec<_>>()
            .join(" ");
    }
    let name = match &schema["type"] {
        Value::String(name) => escape(name),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    };
    match (&schema["items"], schema["format"].as_str()) {
        (items @ Value::Object(_), _) => format!("{name} of {}", kind(items)),
        (_, Some(format)) => format!("{name} ({})", escape(format)),
        _ => name,
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
