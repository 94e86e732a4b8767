//! The HTTP requests that decide: authenticators, and sources of authorization
//! (`emqx_authn_http_schema`, `emqx_authz_http_schema`, `emqx_auth_http_utils`).

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::elsewhere::TLS_KEYS;
use super::reader::{Findings, Section};
use crate::hocon::{Object, Position, Value};
use crate::http::{Origins, Target, Url};
use crate::template::Template;

/// A request with placeholders, and where it goes.
#[derive(Debug)]
pub struct AuthRequest {
    /// Where it goes.
    pub target: Target,
    /// Path and query.
    pub path: hyper::Uri,
    /// Headers, placeholders and all: names in lower case, as EMQX writes them.
    pub headers: Vec<(HeaderName, Template<Variable>)>,
    /// The body, rendered to JSON.
    pub body: BodyTemplate,
    /// How long to wait for the answer.
    pub request_timeout: Duration,
    /// How long to wait for the connection.
    pub connect_timeout: Duration,
    /// How many connections there are.
    pub pool_size: usize,
}

/// A body: maps of templates, nested at will. Every value is rendered to a JSON string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyTemplate {
    /// A string.
    Text(Template<Variable>),
    /// An object.
    Map(Vec<(String, BodyTemplate)>),
}

/// A placeholder that EMQX fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the placeholder of the same name")]
pub enum Variable {
    ClientId,
    Username,
    Password,
    PeerHost,
    PeerPort,
    CertSubject,
    CertCommonName,
    CertPem,
    Zone,
    Listener,
    ClientAttr(String),
    ProtoName,
    Mountpoint,
    Topic,
    Action,
    Access,
    Qos,
    Retain,
}

/// What a request is for; each purpose has its own placeholders and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// May this client connect?
    Authentication,
    /// May this client publish or subscribe that?
    Authorization,
}

impl Purpose {
    /// The placeholder of that name, if EMQX fills it in for this purpose
    /// (`AUTHN_DEFAULT_ALLOWED_VARS`, `emqx_authz_http:ALLOWED_VARS`).
    fn variable(self, name: &str) -> Option<Variable> {
        if let Some(attribute) = name.strip_prefix("client_attrs.") {
            return Some(Variable::ClientAttr(attribute.to_owned()));
        }
        let variable = match name {
            "clientid" => Variable::ClientId,
            "username" => Variable::Username,
            "peerhost" => Variable::PeerHost,
            "peerport" => Variable::PeerPort,
            "cert_subject" => Variable::CertSubject,
            "cert_common_name" => Variable::CertCommonName,
            "cert_pem" => Variable::CertPem,
            "zone" => Variable::Zone,
            "listener" => Variable::Listener,
            _ => return self.own_variable(name),
        };
        Some(variable)
    }

    fn own_variable(self, name: &str) -> Option<Variable> {
        match (self, name) {
            (Self::Authentication, "password") => Some(Variable::Password),
            (Self::Authorization, "proto_name") => Some(Variable::ProtoName),
            (Self::Authorization, "mountpoint") => Some(Variable::Mountpoint),
            (Self::Authorization, "topic") => Some(Variable::Topic),
            (Self::Authorization, "action") => Some(Variable::Action),
            (Self::Authorization, "access") => Some(Variable::Access),
            (Self::Authorization, "qos") => Some(Variable::Qos),
            (Self::Authorization, "retain") => Some(Variable::Retain),
            _ => None,
        }
    }

    fn request_timeout(self) -> Duration {
        match self {
            Self::Authentication => Duration::from_secs(5),
            Self::Authorization => Duration::from_secs(30),
        }
    }
}

/// Headers that EMQX sends when the configuration names none.
const DEFAULT_HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=30, max=1000"),
];

/// Reads `authentication`.
pub fn authenticators(
    root: &mut Section<'_>,
    origins: &Origins,
    findings: &mut Findings,
) -> Vec<AuthRequest> {
    let mut requests = Vec::new();
    for mut section in root.sections("authentication", findings) {
        section.choice("mechanism", &[("password_based", ())], (), findings);
        section.choice("backend", &[("http", ())], (), findings);
        requests.extend(read(section, Purpose::Authentication, origins, findings));
    }
    requests
}

/// Reads one request; `None` if it is disabled or faulty.
pub fn read(
    mut section: Section<'_>,
    purpose: Purpose,
    origins: &Origins,
    findings: &mut Findings,
) -> Option<AuthRequest> {
    let at = section.at().clone();
    let enabled = section.flag("enable", true, findings);
    if section.text("method", findings).as_deref() != Some("post") {
        findings.fault(&at, format!("{} must be post, the only one played here", section.path_of("method")));
    }
    let url = url(&mut section, origins, findings);
    let mut headers = headers(&mut section, purpose, findings);
    content_type(&mut headers, purpose, &at, findings);
    let body = match section.take("body") {
        None => BodyTemplate::Map(Vec::new()),
        Some(node) => match &node.value {
            Value::Object(object) => body(object, &section.path_of("body"), purpose, findings),
            other => {
                findings.fault(&node.at, format!("body is {}, not an object", other.kind()));
                BodyTemplate::Map(Vec::new())
            }
        },
    };
    let request_timeout = section.duration("request_timeout", purpose.request_timeout(), findings);
    let (connect_timeout, pool_size) = pool(&mut section, findings);
    section.finish(findings);
    let (target, path) = url?;
    enabled.then_some(AuthRequest {
        target,
        path,
        headers,
        body,
        request_timeout,
        connect_timeout,
        pool_size,
    })
}

/// Reads `url` and says where it leads on this machine.
pub fn url(
    section: &mut Section<'_>,
    origins: &Origins,
    findings: &mut Findings,
) -> Option<(Target, hyper::Uri)> {
    let at = section.at().clone();
    let text = section.required_text("url", findings)?;
    let Some(url) = Url::parse(&text) else {
        findings.fault(&at, format!("{} is not a URL without placeholders", section.path_of("url")));
        return None;
    };
    let Some(target) = origins.target(&url) else {
        findings.fault(&at, format!("no --origin says where {} is on this machine", url.origin));
        return None;
    };
    let path = if url.path.is_empty() { "/" } else { &url.path };
    match path.parse() {
        Ok(path) => Some((target, path)),
        Err(error) => {
            findings.fault(&at, format!("{}: {error}", section.path_of("url")));
            None
        }
    }
}

/// Reads what every pool of connections has: `(connect_timeout, pool_size)`.
pub fn pool(section: &mut Section<'_>, findings: &mut Findings) -> (Duration, usize) {
    let connect_timeout = section.duration("connect_timeout", Duration::from_secs(15), findings);
    let pool_size = section.number("pool_size", 8, 1, findings);
    // EMQX's own default of 100 lets a slow answer hold up those behind it; a request at a time is
    // what production is set to, and all that is played here.
    if section.number("enable_pipelining", 100, 1, findings) != 1 {
        let path = section.path_of("enable_pipelining");
        findings.fault(&section.at().clone(), format!("{path} must be 1, the only value played here"));
    }
    section.ignore("max_inactive", "a connection that goes silent is replaced anyway", &[], findings);
    section.ignore("ssl", "the backend is reached over plain HTTP at its --origin", TLS_KEYS, findings);
    (connect_timeout, usize::try_from(pool_size).unwrap_or(usize::MAX))
}

fn headers(
    section: &mut Section<'_>,
    purpose: Purpose,
    findings: &mut Findings,
) -> Vec<(HeaderName, Template<Variable>)> {
    let parse = |value: &str| Template::parse(value, |name| purpose.variable(name));
    let Some(mut configured) = section.section("headers", findings) else {
        return DEFAULT_HEADERS
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), parse(value)))
            .collect();
    };
    let mut headers = Vec::new();
    for (name, at, value) in header_texts(&mut configured, findings) {
        match HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()) {
            Ok(name) => headers.push((name, parse(&value))),
            Err(_) => findings.fault(&at, format!("{name} is not a header name")),
        }
    }
    headers
}

/// The content type decides how the body is written; EMQX compares it to the letter, and adds it for
/// authentication alone (`check_method_headers/1`).
fn content_type(
    headers: &mut Vec<(HeaderName, Template<Variable>)>,
    purpose: Purpose,
    at: &Position,
    findings: &mut Findings,
) {
    match headers.iter().find(|(name, _)| name == "content-type") {
        Some((_, value)) if value.literal() == Some("application/json") => {}
        Some(_) => {
            findings.fault(at, "content-type must be exactly application/json, or every request fails");
        }
        None if purpose == Purpose::Authentication => headers
            .push((HeaderName::from_static("content-type"), Template::parse("application/json", |_| None))),
        None => {}
    }
}

/// Takes the rest of a `headers` section: names, places and values.
pub fn header_texts(section: &mut Section<'_>, findings: &mut Findings) -> Vec<(String, Position, String)> {
    let mut texts = Vec::new();
    for (name, node) in section.take_rest() {
        match &node.value {
            Value::Text(value) if HeaderValue::from_str(value).is_ok() => {
                texts.push((name.to_owned(), node.at.clone(), value.clone()));
            }
            _ => findings
                .fault(&node.at, format!("the header {name} must be a string without control characters")),
        }
    }
    texts
}

fn body(object: &Object, path: &str, purpose: Purpose, findings: &mut Findings) -> BodyTemplate {
    let mut fields = Vec::new();
    for (name, node) in &object.fields {
        let path = format!("{path}.{name}");
        match &node.value {
            Value::Text(text) => {
                let template = Template::parse(text, |name| purpose.variable(name));
                fields.push((name.clone(), BodyTemplate::Text(template)));
            }
            Value::Object(inner) => fields.push((name.clone(), body(inner, &path, purpose, findings))),
            other => findings.fault(&node.at, format!("{path} is {}, not a string", other.kind())),
        }
    }
    BodyTemplate::Map(fields)
}

/// Headers without placeholders, as the wire needs them.
pub fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name} is not a header name"))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("{name} has a value that is no header"))?;
        // Names that differ in their case alone are both sent, as EMQX does.
        map.append(name, value);
    }
    Ok(map)
}
