//! All operations as one OpenAPI 3.1 document.

use std::collections::{BTreeMap, BTreeSet};

use rs1_domain::Method;
use rs1_domain::http::PROBLEM_JSON;
use rs1_domain::problem::{self, Kind};
use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::operation::{Answers, Body, Caller, Host, Operation, Parameter, ParameterSchema, Tag};

const ABOUT: &str = "\
People's apps, operators, devices and the broker call these routes. Times are RFC 3339 in UTC. Lists come in pages: `limit` and \
`cursor`, answered by `items` and `next_cursor`. Unknown fields and parameters are refused.

Every error is a problem document (RFC 9457): `type` is a stable URN, `request_id` is what our log has, `errors` names every fault \
of the input with its JSON Pointer (a query parameter as `?name`, a header by its name). A `503` may be tried again.

What is there for `GET` answers `HEAD` as well; what a path does not take is answered with `405` and `Allow`. Callers of `/api/*` are \
counted: 100 requests a minute for a person, 1,000 for an operator; `429` says when to come back. Every answer has an `X-Request-Id`.";

/// The document of these operations.
///
/// # Errors
/// What is wrong with them: two of a name, two of a method and path, types of one name that differ.
pub fn document(version: &str, operations: Vec<Operation>) -> Result<Value, String> {
    let settings = |contract| {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.contract = contract;
        })
    };
    let mut writer = Writer {
        answers: settings(Contract::Serialize).into_generator(),
        requests: settings(Contract::Deserialize).into_generator(),
        refusals: Vec::new(),
    };
    let mut paths: BTreeMap<&'static str, Path> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for operation in operations {
        let (host, method, path, name) = (operation.host, operation.method, operation.path, operation.name);
        let object = writer.operation(operation.complete());
        let entry = paths.entry(path).or_default();
        let is_new_host = entry.hosts.insert(host);
        match entry.operations.get(method_key(method)) {
            // The same on another host.
            Some(known) if is_new_host && *known == object => continue,
            Some(_) => return Err(format!("{} {path} is described twice", method.as_str())),
            None => entry.operations.insert(method_key(method), object),
        };
        if !names.insert(name) {
            return Err(format!("two operations are called {name}"));
        }
    }
    let paths: Map<_, _> =
        paths.into_iter().map(|(path, item)| (path.to_owned(), item.into_json())).collect();
    let mut document = json!({
        "openapi": "3.1.1",
        "info": {"title": "RS-1 Cloud", "version": version, "description": ABOUT},
        "servers": servers(Host::Api),
        "tags": Tag::ALL.map(|tag| {
            let (name, description) = tag.facts();
            json!({"name": name, "description": description})
        }),
        "paths": paths,
        "components": {
            "responses": std::mem::take(&mut writer.refusals).into_iter().collect::<Map<_, _>>(),
            "schemas": writer.schemas()?,
            "headers": {"X-Request-Id": {
                "description": "The request, as our log has it: the caller's own id if it sent one.",
                "required": true,
                "schema": {"type": "string"},
            }},
            "securitySchemes": {
                "person": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "The `access_token` of `POST /api/auth/session`, good for five minutes.",
                },
                "operator": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token of Cloudflare Access, as operators' command lines send it.",
                },
                "access": {
                    "type": "apiKey", "in": "header", "name": "Cf-Access-Jwt-Assertion",
                    "description": "The same token, as Cloudflare Access itself sends it.",
                },
                "broker": {
                    "type": "apiKey", "in": "header", "name": "X-Webhook-Secret",
                    "description": "The secret that EMQX shares with us.",
                },
                "scraper": {
                    "type": "http", "scheme": "bearer",
                    "description": "`METRICS_TOKEN`, which an operators' Prometheus has.",
                },
            },
        },
    });
    clean(&mut document);
    Ok(document)
}

#[derive(Default)]
struct Path {
    hosts: BTreeSet<Host>,
    operations: BTreeMap<&'static str, Value>,
}

impl Path {
    fn into_json(self) -> Value {
        let mut item: Map<_, _> =
            self.operations.into_iter().map(|(method, operation)| (method.to_owned(), operation)).collect();
        if self.hosts.iter().any(|host| *host != Host::Api) {
            let servers: Vec<_> = self.hosts.into_iter().flat_map(servers).collect();
            item.insert("servers".to_owned(), servers.into());
        }
        item.into()
    }
}

fn servers(host: Host) -> Vec<Value> {
    let (own, name) = match host {
        // Where the document itself comes from.
        Host::Api => return vec![json!({"url": "/", "description": "api.optic.works"})],
        Host::Ota => ("ota.optic.works", "ota"),
        Host::Status => ("status.optic.works", "status"),
    };
    vec![
        json!({"url": format!("https://{own}"), "description": own}),
        json!({"url": format!("http://{name}.localhost:8787"), "description": "the local stack"}),
    ]
}

fn method_key(method: Method) -> &'static str {
    match method {
        Method::Get => "get",
        Method::Head => "head",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
        Method::Delete => "delete",
        Method::Options | Method::Other => "options",
    }
}

struct Writer {
    answers: SchemaGenerator,
    requests: SchemaGenerator,
    /// Answers that are nothing but problems, by name: most routes have the same ones.
    refusals: Vec<(String, Value)>,
}

impl Writer {
    fn operation(&mut self, operation: Operation) -> Value {
        let security = match operation.caller {
            Caller::Anybody | Caller::Stranger | Caller::Link => json!([]),
            Caller::Person => json!([{"person": []}]),
            Caller::Operator => json!([{"operator": []}, {"access": []}]),
            Caller::Broker => json!([{"broker": []}]),
            Caller::Scraper => json!([{"scraper": []}]),
        };
        let parameters: Vec<_> =
            operation.parameters.into_iter().map(|parameter| self.parameter(parameter)).collect();
        let responses: Map<_, _> = operation
            .answers
            .into_iter()
            .map(|(status, answers)| (status.to_string(), self.response(answers)))
            .collect();
        let mut object = json!({
            "operationId": operation.name,
            "summary": operation.summary,
            "tags": [operation.tag.facts().0],
            "security": security,
            "responses": responses,
        });
        let mut add = |name: &str, value: Value| {
            if let Some(object) = object.as_object_mut() {
                object.insert(name.to_owned(), value);
            }
        };
        if !operation.about.is_empty() {
            add("description", operation.about.into());
        }
        if !parameters.is_empty() {
            add("parameters", parameters.into());
        }
        if let Some(body) = operation.body {
            add("requestBody", self.body(body));
        }
        object
    }

    fn parameter(&mut self, parameter: Parameter) -> Value {
        let schema = match parameter.schema {
            ParameterSchema::Of(schema) => schema(&mut self.requests).to_value(),
            ParameterSchema::Is(schema) => schema,
        };
        let mut object = json!({
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required,
            "description": parameter.about,
            "schema": schema,
        });
        if let (Some(example), Some(object)) = (parameter.example, object.as_object_mut()) {
            object.insert("example".to_owned(), example);
        }
        object
    }

    fn body(&mut self, body: Body) -> Value {
        let mut media = Map::new();
        if let Some(schema) = body.schema {
            let mut schema = schema(&mut self.requests).to_value();
            if let (Some(most), Some(array)) = (body.lines, schema.as_object_mut()) {
                array.extend([("minItems".to_owned(), 1.into()), ("maxItems".to_owned(), most.into())]);
            }
            media.insert("schema".to_owned(), schema);
        }
        let examples: Map<_, _> = body
            .examples
            .into_iter()
            .map(|(name, value)| (name.replace(' ', "-"), json!({"summary": name, "value": value})))
            .collect();
        if !examples.is_empty() {
            media.insert("examples".to_owned(), examples.into());
        }
        json!({"required": body.required, "description": body.about, "content": {body.media: media}})
    }

    /// What is answered with a status; what is nothing but problems is written once, and referred to.
    fn response(&mut self, answers: Answers) -> Value {
        let kind = answers.refusals.first().map(|refusal| refusal.kind);
        let is_shared = answers.content.is_empty();
        let response = self.write_response(answers);
        let Some(kind) = kind.filter(|_| is_shared) else { return response };
        let known = self.refusals.iter().find(|(_, known)| *known == response);
        let name = if let Some((name, _)) = known {
            name.clone()
        } else {
            let word: String = kind.word().split('-').map(capitalized).collect();
            let alike = self.refusals.iter().filter(|(name, _)| name.starts_with(&word)).count();
            let name = if alike == 0 { word } else { format!("{word}-{}", alike.saturating_add(1)) };
            self.refusals.push((name.clone(), response));
            name
        };
        json!({"$ref": format!("#/components/responses/{name}")})
    }

    fn write_response(&mut self, answers: Answers) -> Value {
        let Answers { mut about, content, refusals, headers } = answers;
        let mut media = Map::new();
        for content in content {
            let mut entry = Map::new();
            if let Some(schema) = content.schema {
                entry.insert("schema".to_owned(), schema(&mut self.answers).to_value());
            }
            if let Some(example) = content.example {
                entry.insert("example".to_owned(), example);
            }
            media.insert(content.media.to_owned(), entry.into());
        }
        if !refusals.is_empty() {
            let mut schemas: Vec<Value> = Vec::new();
            let mut examples = Map::new();
            for refusal in refusals {
                let mut schema = json!({"$ref": format!("#/components/schemas/{}", name_of(refusal.kind))});
                if let Some(current) = refusal.current {
                    let current = current(&mut self.answers).to_value();
                    schema = json!({"allOf": [schema], "type": "object", "properties": {"current": current}});
                }
                if !schemas.contains(&schema) {
                    schemas.push(schema);
                    about.push(refusal.kind.title().to_owned());
                }
                let number = examples.len().saturating_add(1);
                examples.insert(
                    format!("{}-{number}", refusal.kind.word()),
                    json!({"summary": refusal.example.get("detail"), "value": refusal.example}),
                );
            }
            let schema = match schemas.as_slice() {
                [only] => only.clone(),
                several => json!({"anyOf": several}),
            };
            media.insert(PROBLEM_JSON.to_owned(), json!({"schema": schema, "examples": examples}));
        }
        let mut all = Map::new();
        all.insert("X-Request-Id".to_owned(), json!({"$ref": "#/components/headers/X-Request-Id"}));
        for (name, about) in headers {
            all.insert(title_case(name), json!({"description": about, "schema": {"type": "string"}}));
        }
        let mut object = json!({"description": about.join(". "), "headers": all});
        if let (false, Some(object)) = (media.is_empty(), object.as_object_mut()) {
            object.insert("content".to_owned(), media.into());
        }
        object
    }

    /// Every schema that was referred to.
    fn schemas(mut self) -> Result<Map<String, Value>, String> {
        self.answers.subschema_for::<problem::Document<'_>>();
        let mut schemas = self.answers.take_definitions(true);
        for (name, schema) in self.requests.take_definitions(true) {
            match schemas.get(&name) {
                Some(known) if *known != schema => {
                    return Err(format!("{name} is one thing in requests and another in answers"));
                }
                _ => schemas.insert(name, schema),
            };
        }
        for kind in Kind::ALL {
            let mut schema = json!({
                "description": format!("{} ({}).", kind.title(), kind.status()),
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "type": "object",
                "properties": {
                    "type": {"const": kind.urn()},
                    "title": {"const": kind.title()},
                    "status": {"const": kind.status()},
                },
            });
            if let (Kind::Invalid, Some(object)) = (kind, schema.as_object_mut()) {
                object.insert("required".to_owned(), json!(["errors"]));
            }
            schemas.insert(name_of(kind), schema);
        }
        Ok(schemas)
    }
}

/// The name of a problem's schema: `precondition-failed` is `PreconditionFailedProblem`.
fn name_of(kind: Kind) -> String {
    let words = kind.word().split('-').map(capitalized);
    words.chain(["Problem".to_owned()]).collect()
}

/// `retry-after` as headers are mostly written.
fn title_case(name: &str) -> String {
    name.split('-').map(capitalized).collect::<Vec<_>>().join("-")
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Descriptions come from doc comments, whose links lead nowhere in this document; and what may be left out is not null by default.
fn clean(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, value| name != "default" || !value.is_null());
            for (name, value) in object {
                match value {
                    Value::String(text) if name == "description" => *text = without_links(text),
                    _ => clean(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        _ => {}
    }
}

/// ``[`Page`](crate::Page)`` as `` `Page` ``.
fn without_links(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        clean.push_str(before);
        clean.push('`');
        let (name, after) = link.split_once("`]").unwrap_or((link, ""));
        clean.push_str(name);
        clean.push('`');
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_target, after)) => after,
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_doc_comments_become_their_text() {
        assert_eq!(without_links("as [`Page`](crate::Page), see [`limit`]: 1"), "as `Page`, see `limit`: 1");
        assert_eq!(without_links("`[a]` (b)"), "`[a]` (b)");
    }

    #[test]
    fn nothing_is_described_twice() {
        let operation = |path, name| Operation::get(path, name, "").answers_empty(204, "");
        let made = document("1", vec![operation("/a", "a"), operation("/b", "b")]).unwrap();
        assert_eq!(made["paths"].as_object().unwrap().len(), 2);
        assert!(document("1", vec![operation("/a", "a"), operation("/a", "b")]).is_err());
        assert!(document("1", vec![operation("/a", "a"), operation("/b", "a")]).is_err());
    }

    #[test]
    fn one_path_may_be_the_same_on_two_hosts() {
        let operation =
            |host, summary| Operation::get("/health", "health", summary).on(host).answers_empty(204, "");
        let made =
            document("1", vec![operation(Host::Ota, "How it is"), operation(Host::Status, "How it is")])
                .unwrap();
        assert_eq!(made["paths"]["/health"]["servers"].as_array().unwrap().len(), 4);
        let other = vec![operation(Host::Ota, "How it is"), operation(Host::Status, "How it was")];
        assert!(document("1", other).is_err());
    }
}
