//! The description of the local API: OpenAPI 3.1 (<https://spec.openapis.org/oas/v3.1.1.html>), whose schemas are made
//! from the types of the answers.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use netsonde_view::model::{Dns, Event, Flows, History, Missed, Process, Processes};

use crate::api::{HistoryAnswer, ListenersAnswer, StatusAnswer};
use crate::export::prometheus::Format;

/// What a request may say besides its path.
struct Parameter {
    name: &'static str,
    text: &'static str,
    schema: Value,
    required: bool,
    in_path: bool,
}

fn query(name: &'static str, text: &'static str, schema: Value) -> Parameter {
    Parameter { name, text, schema, required: false, in_path: false }
}

impl Parameter {
    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "in": if self.in_path { "path" } else { "query" },
            "description": self.text,
            "required": self.required || self.in_path,
            "schema": self.schema,
        })
    }
}

/// One request.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    /// Media types of the answer with their schemas.
    content: Vec<(&'static str, Value)>,
    /// Other answers than those of every request.
    others: &'static [(&'static str, &'static str)],
}

/// What every request may be answered.
const ALWAYS: [(&str, &str); 4] = [
    ("401", "Over TCP: the token is missing or wrong."),
    ("403", "The caller may not ask this."),
    ("413", "The request has a body, and none is taken."),
    ("421", "Over TCP without a token: the request names another host than localhost or a loopback address."),
];

const TEXT: &str = "text/plain; charset=utf-8";

fn text() -> Value {
    json!({"type": "string"})
}

fn limit() -> Parameter {
    let schema = json!({"type": "integer", "minimum": 0, "maximum": 100_000, "default": 1000});
    query("limit", "Rows at most.", schema)
}

fn time(name: &'static str, text: &'static str) -> Parameter {
    // What clients write. RFC 3339 allows more, and so does the daemon.
    let date = "^(19[7-9]|20[0-9])[0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
    let pattern = format!("{date}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$");
    query(name, text, json!({"type": "string", "pattern": pattern}))
}

struct Schemas(SchemaGenerator);

impl Schemas {
    fn of<T: JsonSchema>(&mut self) -> Vec<(&'static str, Value)> {
        vec![("application/json", self.0.subschema_for::<T>().to_value())]
    }
}

fn operations(schemas: &mut Schemas) -> Vec<Operation> {
    let get = |path, id, summary| Operation {
        method: "get",
        path,
        id,
        summary,
        parameters: Vec::new(),
        content: Vec::new(),
        others: &[],
    };
    let port_list = json!({"type": "string", "pattern": "^[0-9]{1,5}(,[0-9]{1,5})*$"});
    let filter = vec![
        query("type", "Names of events, with commas between them; netsonde. may be left out.", text()),
        query("binary", "A glob over the paths of programs and scripts.", text()),
        query("port", "Ports of the server or client, with commas between them.", port_list),
        query("unit", "A glob over systemd units.", text()),
    ];
    let since = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX, "default": 0});
    let page = json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000});
    // Events are a stream whose data are of these shapes.
    schemas.of::<Event>();
    schemas.of::<Missed>();
    vec![
        Operation {
            content: vec![(TEXT, text())],
            others: &[("503", "A stage has not come round for 30 s: the daemon should be started anew.")],
            ..get("/healthz", "health", "Whether the daemon lives")
        },
        Operation {
            content: vec![(TEXT, text())],
            others: &[("503", "There was no sweep yet.")],
            ..get("/readyz", "readiness", "Whether the daemon observes")
        },
        Operation {
            content: vec![
                (Format::Text.content_type(), text()),
                (Format::OpenMetrics.content_type(), text()),
            ],
            others: &[("503", "There was no sweep yet.")],
            ..get("/metrics", "metrics", "The newest values of all series, for Prometheus")
        },
        Operation {
            content: schemas.of::<StatusAnswer>(),
            ..get("/api/v1/status", "status", "How the daemon is doing")
        },
        Operation {
            content: schemas.of::<ListenersAnswer>(),
            others: &[("503", "There was no sweep yet.")],
            ..get("/api/v1/listeners", "listeners", "What listens on this host")
        },
        Operation {
            parameters: vec![
                time("since", "What opened or closed since then.").required(),
                time("until", "What opened or closed until then."),
                query(
                    "after",
                    "The next of the page before.",
                    json!({"type": "string", "pattern": "^[0-9a-f]{80}$"}),
                ),
                query("limit", "Openings on the page.", page),
            ],
            content: schemas.of::<HistoryAnswer>(),
            others: &[
                ("400", "The query is wrong; the text says how."),
                ("503", "No history is kept, or it cannot be read."),
            ],
            ..get("/api/v1/listeners/history", "listenersHistory", "What opened and closed, page by page")
        },
        Operation {
            parameters: vec![query("since", "Intervals that ended after, Unix milliseconds.", since)],
            content: schemas.of::<History>(),
            others: &[("400", "The query is wrong; the text says how.")],
            ..get("/api/v1/history", "history", "What was measured of late, an interval at a time")
        },
        Operation {
            parameters: vec![limit()],
            content: schemas.of::<Flows>(),
            others: &[("400", "The query is wrong; the text says how.")],
            ..get("/api/v1/flows", "flows", "Flows, those first that moved most")
        },
        Operation {
            parameters: vec![limit()],
            content: schemas.of::<Dns>(),
            others: &[("400", "The query is wrong; the text says how.")],
            ..get("/api/v1/dns", "dns", "DNS lookups, those first that there were most of")
        },
        Operation {
            parameters: vec![limit()],
            content: schemas.of::<Processes>(),
            others: &[("400", "The query is wrong; the text says how.")],
            ..get("/api/v1/processes", "processes", "Processes that own sockets, those first that moved most")
        },
        Operation {
            parameters: vec![Parameter {
                in_path: true,
                ..query("id", "A process's id, or its pid alone for the newest of that number.", text())
            }],
            content: schemas.of::<Process>(),
            others: &[("400", "The id is no UTF-8."), ("404", "No such process is known.")],
            ..get("/api/v1/processes/{id}", "process", "One process with its parents")
        },
        Operation {
            parameters: filter,
            content: vec![("text/event-stream", text())],
            others: &[
                ("400", "The query is wrong; the text says how."),
                ("503", "Half of all clients follow events already."),
            ],
            ..get(
                "/api/v1/events",
                "events",
                "Events as they come, as server-sent events: `event:` is the event's \
                  name and `data:` an Event in JSON; `missed` with a Missed where the reader was too slow",
            )
        },
        Operation {
            method: "post",
            content: vec![(TEXT, text())],
            others: &[
                ("422", "The configuration is wrong and stays as it was; the text says what."),
                ("503", "Another reload is waiting, or the daemon does not answer."),
            ],
            ..get(
                "/api/v1/reload",
                "reload",
                "Read the configuration again; for root and netsonde's own user",
            )
        },
        Operation {
            content: vec![("application/json", json!({"type": "object"}))],
            ..get("/api/v1/openapi.json", "description", "This description")
        },
    ]
}

fn responses(operation: &Operation) -> Value {
    let content: Map<String, Value> = operation
        .content
        .iter()
        .map(|(media, schema)| ((*media).to_owned(), json!({"schema": schema})))
        .collect();
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({"description": "As asked for.", "content": content}));
    let others = operation.others.iter().filter(|(code, _)| *code != "403");
    for (code, description) in others.chain(&ALWAYS) {
        let content = json!({TEXT: {"schema": text()}});
        let response = json!({"description": description, "content": content});
        responses.insert((*code).to_owned(), response);
    }
    Value::Object(responses)
}

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = Schemas(settings.into_generator());
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations(&mut schemas) {
        let of_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        of_path[operation.method] = json!({
            "operationId": operation.id,
            "summary": operation.summary,
            "parameters": operation.parameters.iter().map(Parameter::document).collect::<Vec<_>>(),
            "responses": responses(&operation),
        });
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "netsonde",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a running netsonde knows. HTTP on a Unix socket, and over TCP where `api.listen` says \
                            so, to read only. Keys of attributes are those of metrics and events.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.0.take_definitions(true),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "api.token_file; over TCP only"},
            },
        },
    })
}
