//! One method of one path.

use std::collections::BTreeMap;

use rs1_domain::Method;
use rs1_domain::http::{JSON, NDJSON};
use rs1_domain::limits::{self, PAGE_DEFAULT, PAGE_MAX};
use rs1_domain::problem::{Fault, Kind, Problem};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use crate::json_of;

/// Writes a type's schema, or a reference to it.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema + ?Sized>() -> SchemaOf {
    |generator| generator.subschema_for::<T>()
}

/// The host that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// `api.optic.works`.
    Api,
    /// `ota.optic.works`.
    Ota,
    /// `status.optic.works`.
    Status,
}

/// What a route belongs to, for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Sessions.
    Sessions,
    /// A person's devices.
    Devices,
    /// Whom a device is shared with and handed to.
    Sharing,
    /// Zones.
    Zones,
    /// What operators do with the registry.
    Registry,
    /// What operators look up.
    Operations,
    /// Images and the keys that sign them.
    Firmware,
    /// Rollouts.
    Rollouts,
    /// What devices download.
    Downloads,
    /// Backups.
    Backups,
    /// What people are told.
    Notices,
    /// What is checked, and what follows from it.
    Watch,
    /// What EMQX calls.
    Webhooks,
    /// How the system is, and this document.
    Service,
}

impl Tag {
    pub(crate) const ALL: [Self; 14] = [
        Self::Sessions,
        Self::Devices,
        Self::Sharing,
        Self::Zones,
        Self::Registry,
        Self::Operations,
        Self::Firmware,
        Self::Rollouts,
        Self::Downloads,
        Self::Backups,
        Self::Notices,
        Self::Watch,
        Self::Webhooks,
        Self::Service,
    ];

    pub(crate) fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::Sessions => ("Sessions", "An identity provider's word becomes a session."),
            Self::Devices => ("Devices", "A person's own devices and those that others share with them."),
            Self::Sharing => ("Sharing", "Whom a device is shared with, and how it changes hands."),
            Self::Zones => ("Zones", "What a device watches, in versions."),
            Self::Registry => {
                ("Operators: registry", "Devices as the factory, the shop and support know them.")
            }
            Self::Operations => {
                ("Operators: operations", "What happened, who did it, and the whole in numbers.")
            }
            Self::Firmware => {
                ("Operators: firmware", "Images, and the keys whose signatures on them are good.")
            }
            Self::Rollouts => ("Operators: rollouts", "How an update reaches the fleet, stage by stage."),
            Self::Downloads => ("Downloads", "What devices fetch, with a link that they were sent."),
            Self::Backups => {
                ("Operators: backups", "The backups of the database, and the watch over all backups.")
            }
            Self::Notices => ("Operators: notices", "What people are told, and whether it arrived."),
            Self::Watch => (
                "Operators: watch",
                "What is checked, what is wrong, who knows of it, and when silence is wanted.",
            ),
            Self::Webhooks => ("Webhooks", "What EMQX calls: admission, and what devices say."),
            Self::Service => ("Service", "How the workers are, and this document."),
        }
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Anybody,
    /// Anybody, counted by address.
    Stranger,
    /// A user of the app, counted.
    Person,
    /// An operator; on `api.optic.works` counted.
    Operator,
    /// EMQX.
    Broker,
    /// A device, by a link that we signed.
    Link,
    /// An operators' Prometheus.
    Scraper,
}

pub(crate) enum ParameterSchema {
    Of(SchemaOf),
    Is(Value),
}

pub(crate) struct Parameter {
    pub place: &'static str,
    pub name: &'static str,
    pub about: &'static str,
    pub required: bool,
    pub schema: ParameterSchema,
    pub example: Option<Value>,
}

pub(crate) struct Body {
    pub media: &'static str,
    pub about: String,
    pub required: bool,
    /// Most bytes.
    pub limit: usize,
    /// Most lines, where it has lines.
    pub lines: Option<usize>,
    pub schema: Option<SchemaOf>,
    pub examples: Vec<(&'static str, Value)>,
}

pub(crate) struct Content {
    pub media: &'static str,
    /// `None` for bytes.
    pub schema: Option<SchemaOf>,
    pub example: Option<Value>,
}

/// A kind of problem, and how it came about.
pub(crate) struct Refusal {
    pub kind: Kind,
    pub example: Value,
    /// What is there now, where the problem says it.
    pub current: Option<SchemaOf>,
}

/// What is answered with one status.
#[derive(Default)]
pub(crate) struct Answers {
    pub about: Vec<String>,
    pub content: Vec<Content>,
    pub refusals: Vec<Refusal>,
    pub headers: Vec<(&'static str, &'static str)>,
}

impl Answers {
    /// Says what it is; the same thing in another form is said once.
    fn tell(&mut self, about: &str) {
        if !self.about.iter().any(|told| told == about) {
            self.about.push(about.to_owned());
        }
    }
}

/// Why something is done.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes, and is never made")]
pub struct Reason {
    /// 1 to 500 characters, for the record.
    #[schemars(length(max = 500), regex(pattern = r"\S"))]
    reason: String,
}

/// One method of one path: what it takes and what it answers.
pub struct Operation {
    /// The host.
    pub host: Host,
    /// The method.
    pub method: Method,
    /// The path, its parameters in braces.
    pub path: &'static str,
    /// The `operationId`.
    pub name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    pub(crate) tag: Tag,
    /// Who may call it.
    pub caller: Caller,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    pub(crate) answers: BTreeMap<u16, Answers>,
}

impl Operation {
    /// `GET`.
    pub fn get(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Get, path, name, summary)
    }

    /// `POST`.
    pub fn post(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Post, path, name, summary)
    }

    /// `PUT`.
    pub fn put(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Put, path, name, summary)
    }

    /// `PATCH`.
    pub fn patch(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Patch, path, name, summary)
    }

    /// `DELETE`.
    pub fn delete(path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self::new(Method::Delete, path, name, summary)
    }

    /// An operation of `api.optic.works` that anybody may call, until something else is said.
    pub fn new(method: Method, path: &'static str, name: &'static str, summary: &'static str) -> Self {
        Self {
            host: Host::Api,
            method,
            path,
            name,
            summary,
            about: "",
            tag: Tag::Service,
            caller: Caller::Anybody,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
        }
    }

    /// On which host.
    #[must_use]
    pub fn on(self, host: Host) -> Self {
        Self { host, ..self }
    }

    /// What it belongs to, and who may call it.
    #[must_use]
    pub fn of(self, tag: Tag, caller: Caller) -> Self {
        Self { tag, caller, ..self }
    }

    /// More than the summary says.
    #[must_use]
    pub fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A parameter of the path. What is none of its type names nothing: 404.
    #[must_use]
    pub fn path<T: JsonSchema>(self, name: &'static str, about: &'static str, example: &str) -> Self {
        let (schema, example) = (ParameterSchema::Of(schema_of::<T>()), Some(example.into()));
        self.parameter(Parameter { place: "path", name, about, required: true, schema, example })
    }

    /// A parameter of the path whose values are listed.
    #[must_use]
    pub fn path_of(self, name: &'static str, about: &'static str, schema: Value, example: &str) -> Self {
        let (schema, example) = (ParameterSchema::Is(schema), Some(example.into()));
        self.parameter(Parameter { place: "path", name, about, required: true, schema, example })
    }

    /// A query parameter that may be left out.
    #[must_use]
    pub fn query<T: JsonSchema>(self, name: &'static str, about: &'static str) -> Self {
        let schema = ParameterSchema::Of(schema_of::<T>());
        self.parameter(Parameter { place: "query", name, about, required: false, schema, example: None })
    }

    /// A query parameter of that schema that may be left out.
    #[must_use]
    pub fn query_of(self, name: &'static str, about: &'static str, schema: Value) -> Self {
        let schema = ParameterSchema::Is(schema);
        self.parameter(Parameter { place: "query", name, about, required: false, schema, example: None })
    }

    /// A query parameter that must be there.
    #[must_use]
    pub fn required_query(
        self,
        name: &'static str,
        about: &'static str,
        schema: Value,
        example: &str,
    ) -> Self {
        let (schema, example) = (ParameterSchema::Is(schema), Some(example.into()));
        self.parameter(Parameter { place: "query", name, about, required: true, schema, example })
    }

    /// `limit` and `cursor`, which is of that pattern.
    #[must_use]
    pub fn paged(self, cursor: &str) -> Self {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT});
        self.query_of("limit", "Most items of the page.", limit).query_of(
            "cursor",
            "The `next_cursor` of the page before.",
            json!({"type": "string", "pattern": cursor}),
        )
    }

    /// A request header.
    #[must_use]
    pub fn header(
        self,
        name: &'static str,
        required: bool,
        about: &'static str,
        schema: Value,
        example: &str,
    ) -> Self {
        let (schema, example) = (ParameterSchema::Is(schema), Some(example.into()));
        self.parameter(Parameter { place: "header", name, about, required, schema, example })
    }

    fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    /// A JSON body, with examples and what each shows.
    #[must_use]
    pub fn takes<T: JsonSchema>(self, examples: Vec<(&'static str, Value)>) -> Self {
        let (schema, about) = (Some(schema_of::<T>()), String::new());
        self.body(Body {
            media: JSON,
            about,
            required: true,
            limit: limits::API_BODY,
            lines: None,
            schema,
            examples,
        })
    }

    /// The body may be left out.
    #[must_use]
    pub fn or_nothing(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// The body may have so many bytes.
    #[must_use]
    pub fn of_at_most(mut self, limit: usize) -> Self {
        if let Some(body) = &mut self.body {
            body.limit = limit;
        }
        self
    }

    /// A body of JSON values, one a line.
    #[must_use]
    pub fn takes_lines<T: JsonSchema>(self, most: usize, lines: Vec<Value>) -> Self {
        let about = format!("JSON objects, one a line, at most {most}; empty lines are left out.");
        let (schema, examples) = (Some(schema_of::<Vec<T>>()), vec![("lines", Value::from(lines))]);
        self.body(Body {
            media: NDJSON,
            about,
            required: true,
            limit: limits::API_BODY,
            lines: Some(most),
            schema,
            examples,
        })
    }

    /// A body of bytes, which the handler streams.
    #[must_use]
    pub fn takes_bytes(self, media: &'static str, about: &str) -> Self {
        let (about, limit) = (about.to_owned(), limits::STREAMED_BODY);
        self.body(Body {
            media,
            about,
            required: true,
            limit,
            lines: None,
            schema: None,
            examples: Vec::new(),
        })
    }

    /// Most bytes that the body may have; 0 where none is taken.
    pub fn body_limit(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.limit)
    }

    /// The path with an example in the place of each parameter.
    pub fn example_path(&self) -> String {
        let in_path = self.parameters.iter().filter(|parameter| parameter.place == "path");
        in_path.fold(self.path.to_owned(), |path, parameter| {
            let example = parameter.example.as_ref().and_then(Value::as_str).unwrap_or_default();
            path.replace(&format!("{{{}}}", parameter.name), example)
        })
    }

    fn at(&mut self, status: u16) -> &mut Answers {
        self.answers.entry(status).or_default()
    }

    /// A JSON answer, by a value of its type.
    #[must_use]
    pub fn answers<T: JsonSchema + Serialize + ?Sized>(self, status: u16, about: &str, example: &T) -> Self {
        self.answers_as(status, about, JSON, example)
    }

    /// An answer of JSON values, one a line.
    #[must_use]
    pub fn answers_lines<T: JsonSchema + Serialize>(
        self,
        status: u16,
        about: &str,
        example: &Vec<T>,
    ) -> Self {
        self.answers_as(status, about, NDJSON, example)
    }

    fn answers_as<T: JsonSchema + Serialize + ?Sized>(
        mut self,
        status: u16,
        about: &str,
        media: &'static str,
        example: &T,
    ) -> Self {
        let (schema, example) = (Some(schema_of::<T>()), Some(json_of(example)));
        let answers = self.at(status);
        answers.tell(about);
        answers.content.push(Content { media, schema, example });
        self
    }

    /// An answer that is text of another kind.
    #[must_use]
    pub fn answers_text(mut self, status: u16, about: &str, media: &'static str, example: &str) -> Self {
        let (schema, example) = (Some(schema_of::<String>()), Some(example.into()));
        let answers = self.at(status);
        answers.tell(about);
        answers.content.push(Content { media, schema, example });
        self
    }

    /// An answer of bytes.
    #[must_use]
    pub fn answers_bytes(mut self, status: u16, about: &str, media: &'static str) -> Self {
        let answers = self.at(status);
        answers.tell(about);
        answers.content.push(Content { media, schema: None, example: None });
        self
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_empty(mut self, status: u16, about: &str) -> Self {
        self.at(status).about.push(about.to_owned());
        self
    }

    /// A header of the answers with that status.
    #[must_use]
    pub fn with(mut self, status: u16, name: &'static str, about: &'static str) -> Self {
        self.at(status).headers.push((name, about));
        self
    }

    /// A problem, with an example of its detail.
    #[must_use]
    pub fn refuses(self, kind: Kind, detail: &str) -> Self {
        self.refuses_with(Problem::new(kind, detail), None)
    }

    /// 422, with an example of its faults.
    #[must_use]
    pub fn refuses_faults(self, faults: &[(&str, &str)]) -> Self {
        let mut problem = Problem::new(Kind::Invalid, "");
        problem.faults = faults
            .iter()
            .map(|(pointer, detail)| Fault { pointer: (*pointer).to_owned(), detail: (*detail).to_owned() })
            .collect();
        problem.detail = match problem.faults.len() {
            1 => "1 fault was found".to_owned(),
            count => format!("{count} faults were found"),
        };
        self.refuses_with(problem, None)
    }

    /// 412 with what is there now.
    #[must_use]
    pub fn refuses_stale<T: JsonSchema + Serialize>(self, detail: &str, current: &T) -> Self {
        self.refuses_with(Problem::precondition_failed(detail, current), Some(schema_of::<T>()))
    }

    /// 428 without `If-Match`, 400 for one that names nothing.
    #[must_use]
    pub fn needs_if_match(self) -> Self {
        self.header(
            "If-Match",
            true,
            "The `ETag` that the change was made from; `*` for whatever is there.",
            json!({"type": "string", "pattern": r#"^(\*|"[0-9]+")$"#}),
            "\"3\"",
        )
        .refuses_with(Problem::precondition_required(), None)
        .refuses(Kind::Malformed, "If-Match must name a version, like \"3\"")
    }

    fn refuses_with(mut self, problem: Problem, current: Option<SchemaOf>) -> Self {
        let kind = problem.kind;
        for (name, _) in &problem.headers {
            let about = match *name {
                "retry-after" => "Seconds after which to try again.",
                "www-authenticate" => "`Bearer`.",
                _ => "As RFC 9110 has it.",
            };
            if !self.at(kind.status()).headers.iter().any(|(known, _)| known == name) {
                self.at(kind.status()).headers.push((name, about));
            }
        }
        let request = rs1_domain::RequestId::from_header("req-01KDQ3Y8E0C8M4T6R2V9W1X5Z7");
        let body = request.map(|request| problem.into_answer(&request).body).unwrap_or_default();
        let example = serde_json::from_str(&body).unwrap_or_default();
        self.at(kind.status()).refusals.push(Refusal { kind, example, current });
        self
    }

    /// With what every call of its kind may be answered.
    pub(crate) fn complete(mut self) -> Self {
        let is_counted = match self.caller {
            Caller::Stranger | Caller::Person => true,
            Caller::Operator => self.host == Host::Api,
            Caller::Anybody | Caller::Broker | Caller::Link | Caller::Scraper => false,
        };
        if is_counted {
            let problem = Problem::too_many_requests("this is one request too many for a minute", 17);
            self = self.refuses_with(problem, None);
        }
        if self.caller != Caller::Anybody {
            self = self.refuses_with(Problem::unavailable(""), None);
            self = self.refuses_with(Problem::internal(""), None);
        }
        let bearer = |detail: &str| {
            let mut problem = Problem::unauthenticated(detail);
            problem.headers.push(("www-authenticate", "Bearer".to_owned()));
            problem
        };
        self = match self.caller {
            Caller::Person => {
                self.refuses_with(bearer("an access token is needed, and this is none that is good"), None)
            }
            Caller::Operator => self
                .refuses_with(bearer("an operator's token is needed, and this is none that is good"), None),
            Caller::Scraper => self.refuses_with(
                bearer("the token of the metrics is needed, and this is none that is good"),
                None,
            ),
            Caller::Broker => self.refuses(Kind::Unauthenticated, "X-Webhook-Secret is missing or not good"),
            Caller::Anybody | Caller::Stranger | Caller::Link => self,
        };
        let Some(Body { media, limit, .. }) = self.body else { return self };
        if limit != limits::STREAMED_BODY {
            self = self.refuses_with(Problem::too_large(limit), None);
        }
        match media {
            JSON => self.refuses(Kind::Malformed, "the body must be JSON: expected value at line 1 column 1"),
            NDJSON => self.refuses(Kind::Malformed, "the body must be UTF-8"),
            _ => self,
        }
    }
}
