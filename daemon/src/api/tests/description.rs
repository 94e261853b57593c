//! The description of the API against its answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn document() -> Value {
    serde_json::from_str(DESCRIPTION).expect("JSON")
}

fn described() -> BTreeSet<String> {
    document()["paths"].as_object().expect("paths").keys().cloned().collect()
}

#[test]
fn every_route_is_described() {
    let mut routes = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    for entry in fs::read_dir(sources).expect("it can be read") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("text");
            let literals = text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
            routes.extend(literals.filter(|route| is_of_api(route)).map(ToOwned::to_owned));
        }
    }
    assert_eq!(routes, described());
}

/// The page's own files are no part of the API.
fn is_of_api(route: &str) -> bool {
    route.starts_with("/api/") || ["/healthz", "/readyz", "/metrics"].contains(&route)
}

#[test]
fn answers_fit_their_schemas() {
    let server = Server::start("");
    let document = document();
    let mut seen = 0;
    for (path, of_path) in document["paths"].as_object().expect("paths") {
        let schema = &of_path["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.get("$ref").is_none() || path.contains("/listeners") {
            continue;
        }
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let answer = server.get(&path.replace("{id}", "7"));
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        let body: Value = if answer.contains("transfer-encoding: chunked") {
            serde_json::from_str(&unchunked(body)).expect("JSON")
        } else {
            serde_json::from_str(body).expect("JSON")
        };
        let wrong: Vec<String> = validator.iter_errors(&body).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{path}: {wrong:?}\n{body}");
        assert!(validator.validate(&json!({"time": "x", "grade": 7})).is_err(), "{path}: anything fits");
        seen += 1;
    }
    assert_eq!(seen, 6, "status, history, flows, dns, processes and one process");
}

/// A body as RFC 9112, 7.1 has it.
fn unchunked(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        text.push_str(&more[..size]);
        rest = &more[(size + 2).min(more.len())..];
    }
    text
}
