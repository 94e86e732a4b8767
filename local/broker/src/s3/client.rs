//! The calls that the S3 action makes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::sign::{Credentials, Signed, encode, query, sha256};
use super::xml;
use crate::clock;
use crate::config::S3Connector;
use crate::http::{Answer, Failure, Outgoing, Pool, Slot};
use crate::live::{Gate, Live};

/// What `erlcloud_s3:aws_region_from_host/1` makes of every host that is not one of Amazon's. R2 takes it for its `auto`.
const REGION: &str = "us-east-1";

/// Why a call failed, in EMQX's words (`emqx_s3_utils:map_error_details/1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There was no answer.
    Socket(String),
    /// It was refused.
    Refused {
        /// The status.
        status: StatusCode,
        /// `Code: Message` of the answer.
        said: String,
    },
    /// The answer is none.
    Answer(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(why) => write!(f, "Socket error: {why}"),
            Self::Refused { said, .. } => write!(f, "AWS error: {said}"),
            Self::Answer(why) => write!(f, "the answer {why}"),
        }
    }
}

/// A part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: usize,
    /// What the store said of it.
    pub etag: String,
}

/// A request, apart from what all have.
#[derive(Debug)]
struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, &'a str)>,
    content_type: Option<&'static str>,
    body: Bytes,
}

/// Objects are NDJSON (`emqx_bridge_s3_upload:mk_container_headers/1`).
const JSON_LINES: &str = "application/jsonl";

/// The connections of one connector.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
    host: String,
    credentials: Live<Credentials>,
    timeout: Duration,
}

impl Client {
    /// A client of that connector, behind `gate`.
    ///
    /// # Errors
    /// If the host cannot stand in a header.
    pub fn new(connector: &S3Connector, gate: Gate) -> Result<Self, String> {
        let S3Connector { target, connect_timeout, pool_size, .. } = connector;
        Ok(Self {
            host: target.host.clone(),
            pool: Pool::new(target.clone(), *pool_size, *connect_timeout, gate)?,
            credentials: Live::new(connector.credentials.clone()),
            timeout: connector.request_timeout,
        })
    }

    /// Signs with these from now on.
    pub fn renew(&self, credentials: Credentials) {
        self.credentials.set(credentials);
    }

    /// Whether the buckets can be listed: the check of the connector.
    ///
    /// # Errors
    /// Why not.
    pub async fn list_buckets(&self) -> Result<(), Error> {
        self.get("/".to_owned(), Vec::new()).await
    }

    /// Whether the objects of a bucket can be listed: the check of an action.
    ///
    /// # Errors
    /// Why not.
    pub async fn list_objects(&self, bucket: &str) -> Result<(), Error> {
        self.get(format!("/{bucket}/"), vec![("max-keys", "1")]).await
    }

    /// Stores an object whole.
    ///
    /// # Errors
    /// Why it is not stored, as far as one can know.
    pub async fn put(&self, bucket: &str, key: &str, body: Bytes) -> Result<(), Error> {
        let call = Call {
            method: Method::PUT,
            path: format!("/{bucket}/{key}"),
            query: Vec::new(),
            content_type: Some(JSON_LINES),
            body,
        };
        self.call(call).await.map(drop)
    }

    /// Begins an object in parts; its upload's id.
    ///
    /// # Errors
    /// Why not.
    pub async fn start_multipart(&self, bucket: &str, key: &str) -> Result<String, Error> {
        let call = Call {
            method: Method::POST,
            path: format!("/{bucket}/{key}"),
            query: vec![("uploads", "")],
            content_type: Some(JSON_LINES),
            body: Bytes::new(),
        };
        let answer = self.call(call).await?;
        xml::text(&answer.body, "UploadId").ok_or_else(|| Error::Answer("names no upload".to_owned()))
    }

    /// Uploads a part.
    ///
    /// # Errors
    /// Why not.
    pub async fn upload_part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: usize,
        body: Bytes,
    ) -> Result<Part, Error> {
        let text = number.to_string();
        let call = Call {
            method: Method::PUT,
            path: format!("/{bucket}/{key}"),
            query: vec![("partNumber", text.as_str()), ("uploadId", upload)],
            content_type: None,
            body,
        };
        let answer = self.call(call).await?;
        let etag = answer.header(&ETAG).map(str::to_owned);
        etag.map(|etag| Part { number, etag }).ok_or_else(|| Error::Answer("has no ETag".to_owned()))
    }

    /// Makes an object of its parts.
    ///
    /// # Errors
    /// Why not.
    pub async fn complete_multipart(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        parts: &[Part],
    ) -> Result<(), Error> {
        let part = |Part { number, etag }: &Part| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", xml::escape(etag))
        };
        let parts = parts.iter().map(part).collect::<Vec<_>>().concat();
        let call = Call {
            method: Method::POST,
            path: format!("/{bucket}/{key}"),
            query: vec![("uploadId", upload)],
            content_type: Some("text/xml"),
            body: Bytes::from(format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")),
        };
        let answer = self.call(call).await?;
        // An error that shows late comes with status 200.
        match xml::text(&answer.body, "Code") {
            Some(_) => Err(refused(&answer)),
            None => Ok(()),
        }
    }

    /// Gives the parts of an object up.
    ///
    /// # Errors
    /// Why not.
    pub async fn abort_multipart(&self, bucket: &str, key: &str, upload: &str) -> Result<(), Error> {
        let call = Call {
            method: Method::DELETE,
            path: format!("/{bucket}/{key}"),
            query: vec![("uploadId", upload)],
            content_type: None,
            body: Bytes::new(),
        };
        self.call(call).await.map(drop)
    }

    async fn get(&self, path: String, query: Vec<(&str, &str)>) -> Result<(), Error> {
        let call = Call { method: Method::GET, path, query, content_type: None, body: Bytes::new() };
        self.call(call).await.map(drop)
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let outgoing = self.sign(call).map_err(Error::Answer)?;
        let answer = self.pool.send(&outgoing, Slot::Any, self.timeout).await.map_err(|failure| {
            Error::Socket(match failure {
                Failure::Connection(why) => why,
                Failure::Timeout => "timeout".to_owned(),
            })
        })?;
        if answer.status.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    fn sign(&self, call: Call<'_>) -> Result<Outgoing, String> {
        let at = DateTime::from_timestamp_millis(clock::unix_millis()).unwrap_or_default();
        let at = at.format("%Y%m%dT%H%M%SZ").to_string();
        let payload = sha256(&call.body);
        let (path, query) = (encode(&call.path), query(&call.query));
        let mut headers = Vec::from([
            ("host", self.host.as_str()),
            ("x-amz-content-sha256", payload.as_str()),
            ("x-amz-date", at.as_str()),
        ]);
        if let Some(content_type) = call.content_type {
            headers.insert(0, ("content-type", content_type));
        }
        let signed = Signed {
            method: call.method.as_str(),
            path: &path,
            query: &query,
            headers: &headers,
            payload: &payload,
        };
        let authorization = signed.authorization(&self.credentials.get(), REGION, &at);
        let mut map = HeaderMap::new();
        // The pool sends the host.
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            map.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
        }
        let value = HeaderValue::from_str(&authorization).map_err(|error| error.to_string())?;
        map.insert(hyper::header::AUTHORIZATION, value);
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let path = target.parse().map_err(|error| format!("{target}: {error}"))?;
        Ok(Outgoing { method: call.method, path, headers: map, body: call.body })
    }
}

/// What a refusal says: XML, or whatever stood in the way of the store.
fn refused(answer: &Answer) -> Error {
    let text = |name| xml::text(&answer.body, name);
    let said = match (text("Code"), text("Message")) {
        (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()),
        (None, _) => format!("status {}", answer.status),
    };
    Error::Refused { status: answer.status, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_as_emqx_tells_it() {
        let answer = |status, body: &'static str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        for (status, body, expected) in [
            (
                403,
                "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
                "AWS error: AccessDenied: Access Denied",
            ),
            (502, "<html>", "AWS error: status 502 Bad Gateway"),
        ] {
            assert_eq!(refused(&answer(status, body)).to_string(), expected);
        }
        assert_eq!(Error::Socket("refused".to_owned()).to_string(), "Socket error: refused");
    }
}
