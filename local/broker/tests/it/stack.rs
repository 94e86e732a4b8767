//! A broker with the production configuration, and the backend behind it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rs1_broker::api::Credentials;
use rs1_broker::config::Config;
use rs1_broker::hocon::Includes;
use rs1_broker::http::Origins;
use rs1_broker::{Options, Reader, Running, Settings};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::Backend;

pub const SECRET: &str = "s3cr3t";
pub const SECRET_LINE: &str = "connectors.http.optic.headers.x-webhook-secret = \"s3cr3t\"";

/// The production configuration.
pub fn production() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../emqx/emqx.conf");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub struct Stack {
    pub backend: Backend,
    pub broker: Running,
    /// The file with the secret, and that of the API keys, for the next reload.
    pub files: Arc<Mutex<(String, Vec<Credentials>)>>,
}

/// What else a broker is given.
#[derive(Default)]
pub struct Beside {
    /// Files that are included, by name.
    pub files: Vec<(&'static str, String)>,
    /// `--origin`.
    pub origins: Vec<String>,
    /// `--data`.
    pub data: Option<PathBuf>,
}

impl Stack {
    /// Starts with the production configuration.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts with `more` behind the production configuration, which overrides it.
    pub async fn with(more: &str) -> Self {
        Self::beside(more, Beside::default()).await
    }

    /// The same, with something else.
    pub async fn beside(more: &str, beside: Beside) -> Self {
        let backend = Backend::start().await;
        let Beside { files: others, data, .. } = beside;
        let mut origins = Origins::default();
        origins.origin(&format!("https://api.optic.works=http://{}", backend.address)).unwrap();
        for option in &beside.origins {
            origins.origin(option).unwrap();
        }
        origins.host("api.optic.works=api.localhost").unwrap();
        let text = format!("{}\n{more}\n", production());
        let key = Credentials { key: "key".to_owned(), secret: "secret".to_owned() };
        let files = Arc::new(Mutex::new((SECRET_LINE.to_owned(), vec![key])));
        let read = files.clone();
        let reader = Reader::new(move || {
            let (secret, keys) = read.lock().unwrap().clone();
            let includes = Includes::default().with("webhook-secret.hocon", secret);
            let includes = others.iter().fold(includes, |all, (name, text)| all.with(name, text));
            let config = Config::read("emqx/emqx.conf", &text, &includes, &origins)
                .map_err(|faults| anyhow::anyhow!("{faults:#?}"))?;
            Ok(Settings { config, keys })
        });
        let any = "127.0.0.1:0".parse().unwrap();
        let broker = rs1_broker::start(Options { reader, data, mqtt: any, api: any }).await.unwrap();
        Self { backend, broker, files }
    }

    /// Calls the management API; `body` is sent as JSON. Returns status and body.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let body = body.map(ToString::to_string);
        let headers = format!(
            "authorization: Basic a2V5OnNlY3JldA==\r\n{}",
            if body.is_some() { "content-type: application/json\r\n" } else { "" }
        );
        let (status, text) =
            self.raw(method, &format!("/api/v5{path}"), &headers, &body.unwrap_or_default()).await;
        (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }

    /// Sends one HTTP request with exactly these headers.
    pub async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.broker.api).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The counters of one action.
    pub async fn action(&self, name: &str) -> Json {
        let (_, text) = self.raw("GET", "/local/actions", "", "").await;
        serde_json::from_str::<Json>(&text).unwrap()["actions"][name].clone()
    }

    /// One counter of `GET /metrics`.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.call("GET", "/metrics?aggregate=true", None).await;
        metrics[name].as_u64().unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Waits until `holds` says yes, asking again and again for up to ten seconds.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let asking = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asking)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }
}
