//! As much HTTP as enrolling takes: one request, plain HTTP/1.1, with a `Host` of our choice. The local
//! stack tells its workers apart by it, and `*.localhost` is not resolved everywhere. (Downloads, whose every
//! byte counts, are [`ota::download`](crate::ota::download)'s.)

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The largest answer that is read: a thousand lines of a bulk enrolment are a tenth of it.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where an API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `http://HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or("wants a plain http:// address, like http://127.0.0.1:8787")?;
        let rest = rest.trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "80"));
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        if host.is_empty() || host.contains('/') {
            return Err("wants http://HOST:PORT and no path".to_owned());
        }
        Ok(Self { host: resolvable(host), port })
    }

    /// Where to connect to.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// `localhost` and all below it are this machine (RFC 6761), whether the resolver knows it or not.
pub fn resolvable(host: &str) -> String {
    let is_local = host == "localhost" || host.ends_with(".localhost");
    if is_local { "127.0.0.1" } else { host }.to_owned()
}

/// A POST.
pub struct Post<'a> {
    /// The path.
    pub path: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// The bearer token.
    pub token: &'a str,
    /// The body's type.
    pub content_type: &'a str,
    /// The body.
    pub body: Bytes,
}

impl Origin {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, post: Post<'_>) -> anyhow::Result<(u16, Bytes)> {
        let at = format!("http://{}:{}{}", self.host, self.port, post.path);
        match tokio::time::timeout(TIMEOUT, self.exchange(post)).await {
            Ok(answer) => answer.with_context(|| format!("POST {at}")),
            Err(_) => bail!("POST {at}: no answer for {} s", TIMEOUT.as_secs()),
        }
    }

    async fn exchange(&self, post: Post<'_>) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect(self.address()).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::post(post.path)
            .header(HOST, post.host)
            .header(AUTHORIZATION, format!("Bearer {}", post.token))
            .header(CONTENT_TYPE, post.content_type)
            .body(Full::new(post.body))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?
            .to_bytes();
        driver.abort();
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read() {
        let origin = |text| Origin::parse(text).map(|origin| (origin.host, origin.port));
        assert_eq!(origin("http://127.0.0.1:8787"), Ok(("127.0.0.1".to_owned(), 8787)));
        assert_eq!(origin("http://api.localhost:8787/"), Ok(("127.0.0.1".to_owned(), 8787)));
        assert_eq!(origin("http://example.test"), Ok(("example.test".to_owned(), 80)));
        for wrong in ["", "127.0.0.1:8787", "https://x", "http://", "http://x/y", "http://x:y"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
