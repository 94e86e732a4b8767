//! A fixed number of keep-alive connections, each with one request under way at a time
//! (`pool_size`, `enable_pipelining = 1`).
//!
//! A connection that the backend closed between two requests is opened again without anyone
//! noticing, as `ehttpc` does on `{shutdown, normal}`; what goes wrong while a request is under way
//! is a [`Failure`], and the caller decides whether to send again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};

use super::origin::Target;
use crate::live::Gate;

/// Bodies of answers beyond this are cut off: EMQX reads a verdict from them, never data.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What to send, apart from the host.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: Uri,
    /// Headers as configured.
    pub headers: HeaderMap,
    /// The body, sent whole with a `content-length`.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The header of that name, if there is one and it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `content-type` header.
    pub fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be opened, or broke.
    Connection(String),
    /// No answer within the time allowed.
    Timeout,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connection(why) => write!(f, "connection: {why}"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

/// Which connection of the pool a request takes.
#[derive(Debug, Clone, Copy)]
pub enum Slot {
    /// Whichever is free (`pool_type = random`).
    Any,
    /// Always the same for the same key (`pool_type = hash`).
    Keyed(u64),
}

impl Slot {
    /// The slot that everything of one client takes.
    pub fn of(key: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self::Keyed(hasher.finish())
    }
}

type Connection = Option<SendRequest<Full<Bytes>>>;

/// The connections to one target.
#[derive(Debug)]
pub struct Pool {
    target: Target,
    host: HeaderValue,
    connect_timeout: Duration,
    connections: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    gate: Gate,
}

impl Pool {
    /// A pool of `size` connections (at least one), opened as they are needed, behind `gate`.
    ///
    /// # Errors
    /// If the host cannot stand in a header.
    pub fn new(target: Target, size: usize, connect_timeout: Duration, gate: Gate) -> Result<Self, String> {
        let host = HeaderValue::from_str(&target.host).map_err(|error| error.to_string())?;
        let connections = (0..size.max(1)).map(|_| Mutex::new(None)).collect();
        Ok(Self { target, host, connect_timeout, connections, turn: AtomicUsize::new(0), gate })
    }

    /// Sends once and waits up to `timeout` for the answer, the waits for the gate and for a free connection included.
    ///
    /// # Errors
    /// If no answer came back.
    pub async fn send(&self, request: &Outgoing, slot: Slot, timeout: Duration) -> Result<Answer, Failure> {
        tokio::time::timeout(timeout, async {
            let _passed = self.gate.pass().await;
            let mut connection = self.connection(slot).await?;
            self.exchange(&mut connection, request).await
        })
        .await
        .unwrap_or(Err(Failure::Timeout))
    }

    /// Sends up to three times while the connection fails, as `ehttpc:request/5` does with `Retry = 2`.
    /// A status, whatever it is, and a timeout are final.
    ///
    /// # Errors
    /// If no answer came back.
    pub async fn send_retrying(&self, request: &Outgoing, timeout: Duration) -> Result<Answer, Failure> {
        let mut outcome = self.send(request, Slot::Any, timeout).await;
        for _ in 0..2 {
            if !matches!(outcome, Err(Failure::Connection(_))) {
                break;
            }
            outcome = self.send(request, Slot::Any, timeout).await;
        }
        outcome
    }

    async fn connection(&self, slot: Slot) -> Result<MutexGuard<'_, Connection>, Failure> {
        let count = self.connections.len();
        let turn = match slot {
            Slot::Keyed(key) => {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                usize::try_from(key.checked_rem(count).unwrap_or(0)).unwrap_or(0)
            }
            Slot::Any => {
                let free = self.connections.iter().find_map(|connection| connection.try_lock().ok());
                if let Some(connection) = free {
                    return Ok(connection);
                }
                self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(count).unwrap_or(0)
            }
        };
        let connection = self.connections.get(turn).ok_or(Failure::Connection("empty pool".to_owned()))?;
        Ok(connection.lock().await)
    }

    /// One exchange on a connection. The connection is put back only when the answer was read to its
    /// end, so that an abandoned exchange (a timeout drops this future) can never leave half of an
    /// answer for the next request to read.
    async fn exchange(&self, connection: &mut Connection, outgoing: &Outgoing) -> Result<Answer, Failure> {
        let broken = |error: hyper::Error| Failure::Connection(error.to_string());
        let mut sender = match idle(connection).await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.extend(outgoing.headers.clone());
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| Failure::Connection(error.to_string()))?
            .to_bytes();
        *connection = Some(sender);
        Ok(Answer { status, headers, body })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let failed = |why: String| Failure::Connection(format!("{}: {why}", self.target.address));
        let stream = tokio::time::timeout(self.connect_timeout, TcpStream::connect(&self.target.address))
            .await
            .map_err(|_| failed("connect timeout".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        tokio::spawn(async move {
            // Its end is seen by the sender, which reports it to whoever sends next.
            if let Err(error) = driver.await {
                log::debug!("connection to the backend ended: {error}");
            }
        });
        Ok(sender)
    }
}

/// The connection of the last exchange, if it is still open.
async fn idle(connection: &mut Connection) -> Option<SendRequest<Full<Bytes>>> {
    let mut sender = connection.take()?;
    sender.ready().await.ok()?;
    Some(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a backend does with a connection after it has read one request.
    #[derive(Clone, Copy)]
    enum Then {
        HangUp,
        AnswerAndHangUp,
        Answer,
        KeepSilent,
    }

    /// A backend that treats its connections like this, one after the other. Counts requests.
    async fn backend(script: &'static [Then]) -> (Pool, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        tokio::spawn(async move {
            for then in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.unwrap() > 0 {
                    counted.fetch_add(1, Ordering::Relaxed);
                    match then {
                        Then::HangUp => break,
                        Then::KeepSilent => continue,
                        Then::Answer | Then::AnswerAndHangUp => {}
                    }
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    if matches!(then, Then::AnswerAndHangUp) {
                        break;
                    }
                }
            }
        });
        let target = Target { address, host: "api.localhost".to_owned() };
        (Pool::new(target, 1, Duration::from_secs(1), Gate::default()).unwrap(), requests)
    }

    fn request() -> Outgoing {
        let (method, path) = (Method::POST, Uri::from_static("/x"));
        Outgoing { method, path, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") }
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_connection_that_breaks_is_tried_three_times_in_all() {
        let (pool, requests) = backend(&[Then::HangUp, Then::HangUp, Then::Answer]).await;
        assert_eq!(pool.send_retrying(&request(), PATIENCE).await.unwrap().status, 204);
        assert_eq!(requests.load(Ordering::Relaxed), 3);

        let (pool, requests) = backend(&[Then::HangUp, Then::HangUp, Then::HangUp, Then::Answer]).await;
        assert!(matches!(pool.send_retrying(&request(), PATIENCE).await, Err(Failure::Connection(_))));
        assert_eq!(requests.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_replaced_when_it_was_closed_in_between() {
        let (pool, requests) = backend(&[Then::AnswerAndHangUp, Then::Answer]).await;
        for _ in 0..3 {
            assert_eq!(pool.send_retrying(&request(), PATIENCE).await.unwrap().status, 204);
        }
        assert_eq!(requests.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_timeout_is_final_and_takes_its_connection_with_it() {
        let (pool, requests) = backend(&[Then::KeepSilent, Then::Answer]).await;
        let outcome = pool.send_retrying(&request(), Duration::from_millis(50)).await;
        assert_eq!(outcome.unwrap_err(), Failure::Timeout);
        assert_eq!(requests.load(Ordering::Relaxed), 1);
        assert_eq!(pool.send_retrying(&request(), PATIENCE).await.unwrap().status, 204);
    }

    #[tokio::test]
    async fn nobody_at_home_is_a_failed_connection() {
        let target = Target { address: "127.0.0.1:1".to_owned(), host: "x".to_owned() };
        let pool = Pool::new(target, 1, PATIENCE, Gate::default()).unwrap();
        assert!(matches!(pool.send(&request(), Slot::Any, PATIENCE).await, Err(Failure::Connection(_))));
    }
}
