//! A backend that keeps what it is sent and answers what a test tells it to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

pub const AUTH: &str = "/webhook/mqtt-auth";
pub const ACL: &str = "/webhook/mqtt-acl";
pub const TELEMETRY: &str = "/webhook/telemetry";
pub const STATE: &str = "/webhook/device-state";
pub const OFFLINE: &str = "/webhook/device-offline";

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Json,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An answer: status, content type, body.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    content_type: Option<&'static str>,
    body: String,
    delay: Duration,
}

pub fn status(status: u16) -> Answer {
    Answer { status, content_type: None, body: String::new(), delay: Duration::ZERO }
}

#[expect(clippy::needless_pass_by_value, reason = "answer(json!(…)) reads best")]
pub fn answer(body: Json) -> Answer {
    Answer {
        status: 200,
        content_type: Some("application/json"),
        body: body.to_string(),
        delay: Duration::ZERO,
    }
}

impl Answer {
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

#[derive(Default)]
struct Script {
    /// Answers for the next requests to a path.
    next: HashMap<String, VecDeque<Answer>>,
    /// Answers for every request to a path after those.
    always: HashMap<String, Answer>,
}

struct Shared {
    received: watch::Sender<Vec<Received>>,
    script: Mutex<Script>,
}

#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared { received: watch::Sender::new(Vec::new()), script: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Answers the next requests to `path` like this, one after the other.
    pub fn next(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.shared.script.lock().unwrap().next.entry(path.to_owned()).or_default().extend(answers);
    }

    /// Answers every request to `path` like this.
    pub fn always(&self, path: &str, answer: Answer) {
        self.shared.script.lock().unwrap().always.insert(path.to_owned(), answer);
    }

    /// All requests to `path` so far.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.shared.received.borrow().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The first `count` requests to `path`, as soon as they are there.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Received> {
        self.wait_for(path, count, |_| true).await
    }

    /// The first `count` requests to `path` that `matches`, as soon as they are there.
    pub async fn wait_for(
        &self,
        path: &str,
        count: usize,
        matches: impl Fn(&Received) -> bool,
    ) -> Vec<Received> {
        let mut receiver = self.shared.received.subscribe();
        let wanted = |all: &Vec<Received>| {
            let mut found: Vec<_> =
                all.iter().filter(|request| request.path == path && matches(request)).cloned().collect();
            found.truncate(count);
            found
        };
        let arrived = receiver.wait_for(|all| wanted(all).len() == count);
        let found =
            tokio::time::timeout(Duration::from_secs(10), arrived).await.map(|all| wanted(&all.unwrap()));
        found.unwrap_or_else(|_| panic!("{count} requests to {path} expected, got {:?}", self.received(path)))
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<String> {
    let path = uri.to_string();
    let body: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    let answer = {
        let mut script = shared.script.lock().unwrap();
        let next = script.next.get_mut(&path).and_then(VecDeque::pop_front);
        next.or_else(|| script.always.get(&path).cloned()).unwrap_or_else(|| usual(&path, &body))
    };
    shared.received.send_modify(|all| all.push(Received { path, headers, body }));
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    if let Some(content_type) = answer.content_type {
        response = response.header("content-type", content_type);
    }
    response.body(answer.body).unwrap()
}

/// What the real backend would say: a device is let in with the password `right` and may use the
/// topics below its own id.
fn usual(path: &str, body: &Json) -> Answer {
    let result = |allowed: bool| answer(json!({ "result": if allowed { "allow" } else { "deny" } }));
    match path {
        AUTH => result(body["password"] == "right"),
        ACL => {
            let own = format!("opticworks/{}/", body["username"].as_str().unwrap_or_default());
            result(body["topic"].as_str().unwrap_or_default().starts_with(&own))
        }
        _ => status(204),
    }
}
