//! Requests, rendered as `emqx_auth_template` renders them: every value is a string, and one that is
//! not known is the empty string, never `null` and never `undefined`.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::{Map, Value as Json};

use super::acl::Operation;
use super::client::Identity;
use crate::config::{AuthRequest, BodyTemplate, Variable};
use crate::http::Outgoing;

/// What placeholders are filled from.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// Attributes that authentication gave.
    pub client_attrs: &'a BTreeMap<String, String>,
    /// The listener's id.
    pub listener: &'a str,
    /// The password, while authenticating.
    pub password: Option<&'a Bytes>,
    /// The operation, while authorizing.
    pub operation: Option<&'a Operation>,
}

/// The request to send.
///
/// # Errors
/// Why EMQX would send none: a password that is not UTF-8 cannot stand in JSON, and a value with a
/// line break cannot stand in a header.
pub fn render(request: &AuthRequest, asking: &Asking<'_>) -> Result<Outgoing, String> {
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for (name, template) in &request.headers {
        let value = template.render(|variable, out| asking.append(variable, out))?;
        let value = HeaderValue::from_str(&value).map_err(|_| format!("the header {name} cannot be sent"))?;
        headers.append(name, value);
    }
    let body = body(&request.body, asking)?.to_string();
    Ok(Outgoing { method: Method::POST, path: request.path.clone(), headers, body: Bytes::from(body) })
}

fn body(template: &BodyTemplate, asking: &Asking<'_>) -> Result<Json, String> {
    match template {
        BodyTemplate::Text(template) => {
            Ok(Json::String(template.render(|variable, out| asking.append(variable, out))?))
        }
        BodyTemplate::Map(fields) => {
            let mut object = Map::new();
            for (name, value) in fields {
                object.insert(name.clone(), body(value, asking)?);
            }
            Ok(Json::Object(object))
        }
    }
}

impl Asking<'_> {
    fn append(&self, variable: &Variable, out: &mut String) -> Result<(), String> {
        match variable {
            Variable::ClientId => out.push_str(&self.identity.clientid),
            Variable::Username => out.push_str(self.identity.username.as_deref().unwrap_or_default()),
            Variable::Password => {
                let password = self.password.map(Bytes::as_ref).unwrap_or_default();
                out.push_str(str::from_utf8(password).map_err(|_| "the password is not UTF-8".to_owned())?);
            }
            Variable::PeerHost => {
                out.push_str(&self.identity.peer.map(|peer| peer.ip().to_string()).unwrap_or_default());
            }
            Variable::PeerPort => {
                out.push_str(&self.identity.peer.map(|peer| peer.port().to_string()).unwrap_or_default());
            }
            Variable::Zone => out.push_str("default"),
            Variable::Listener => out.push_str(self.listener),
            Variable::ClientAttr(name) => {
                out.push_str(self.client_attrs.get(name).map(String::as_str).unwrap_or_default());
            }
            Variable::ProtoName => out.push_str("mqtt"),
            // Devices show no certificate, and no mountpoint is configured.
            Variable::CertSubject | Variable::CertCommonName | Variable::CertPem | Variable::Mountpoint => {}
            Variable::Topic | Variable::Action | Variable::Access | Variable::Qos | Variable::Retain => {
                out.push_str(&self.operation.map(|operation| operation.value(variable)).unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl Operation {
    fn value(&self, variable: &Variable) -> String {
        match (self, variable) {
            (Self::Publish { topic, .. }, Variable::Topic) => topic.clone(),
            (Self::Publish { .. }, Variable::Action) => "publish".to_owned(),
            (Self::Publish { .. }, Variable::Access) => "2".to_owned(),
            (Self::Publish { retain, .. }, Variable::Retain) => retain.to_string(),
            (Self::Subscribe { filter, .. }, Variable::Topic) => filter.clone(),
            (Self::Subscribe { .. }, Variable::Action) => "subscribe".to_owned(),
            (Self::Subscribe { .. }, Variable::Access) => "1".to_owned(),
            (Self::Subscribe { .. }, Variable::Retain) => "false".to_owned(),
            (Self::Publish { qos, .. } | Self::Subscribe { qos, .. }, Variable::Qos) => qos.to_string(),
            _ => String::new(),
        }
    }
}
