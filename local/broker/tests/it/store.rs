//! A store of objects that speaks as much of the S3 API as the broker calls, and keeps what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use sha2::{Digest as _, Sha256};

/// An object, as it was sent.
#[derive(Debug, Clone)]
pub struct Object {
    pub key: String,
    pub content_type: String,
    /// The bytes of each of its parts; one, if it came whole.
    pub parts: Vec<Bytes>,
}

impl Object {
    /// Its lines, as JSON.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.parts.concat()).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[derive(Default)]
struct Shared {
    /// In the order in which they came.
    objects: Vec<Object>,
    /// Parts of uploads that are open.
    uploads: BTreeMap<String, Vec<Bytes>>,
    /// What to say to requests of these methods: a code of S3's.
    refused: Option<(&'static [Method], &'static str)>,
    /// The access key that is good.
    good_key: String,
}

#[derive(Clone)]
pub struct Store {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

pub const BUCKET: &str = "archives";

impl Store {
    /// A store for who has the access key `good`.
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared { good_key: "good".to_owned(), ..Shared::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(receive)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Refuses all requests of these methods with a code of S3's; none at all if there is no method.
    pub fn refuse(&self, methods: &'static [Method], code: &'static str) {
        self.shared.lock().unwrap().refused = Some((methods, code));
    }

    pub fn objects(&self) -> Vec<Object> {
        self.shared.lock().unwrap().objects.clone()
    }

    /// Uploads that were neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.shared.lock().unwrap().uploads.len()
    }
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<String> {
    let mut shared = shared.lock().unwrap();
    let header =
        |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header("host"), "r2.example", "as it was signed");
    let digest = format!("{:x}", Sha256::digest(&body));
    assert_eq!(header("x-amz-content-sha256"), digest);
    let signed = header("authorization");
    let (credential, rest) = signed.split_once(",SignedHeaders=").unwrap_or_else(|| panic!("{signed}"));
    assert!(rest.contains("host;x-amz-content-sha256;x-amz-date,Signature="), "{signed}");
    if !credential.starts_with(&format!("AWS4-HMAC-SHA256 Credential={}/", shared.good_key)) {
        return error("InvalidAccessKeyId");
    }
    if let Some((methods, code)) = shared.refused
        && methods.contains(&method)
    {
        return error(code);
    }
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let key = uri.path().strip_prefix(&format!("/{BUCKET}/")).unwrap_or_default().replace("%40", "@");
    let answer =
        |text: String| Response::builder().header("etag", format!("\"{digest}\"")).body(text).unwrap();
    match (method.as_str(), query.get("uploadId")) {
        ("GET", None) => answer("<ListBucketResult/>".to_owned()),
        ("POST", None) => {
            let id = format!("upload/{}", shared.uploads.len());
            shared.uploads.insert(id.clone(), Vec::new());
            answer(format!(
                "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        ("PUT", Some(id)) => {
            let parts = shared.uploads.get_mut(id).unwrap();
            parts.push(body);
            assert_eq!(query["partNumber"], parts.len().to_string());
            answer(String::new())
        }
        ("POST", Some(id)) => {
            let parts = shared.uploads.remove(id).unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(text.matches("<ETag>\"").count(), parts.len(), "{text}");
            shared.objects.push(Object { key, content_type: "parts".to_owned(), parts });
            answer("<CompleteMultipartUploadResult/>".to_owned())
        }
        ("DELETE", Some(id)) => {
            shared.uploads.remove(id);
            answer(String::new())
        }
        ("PUT", None) => {
            shared.objects.push(Object { key, content_type: header("content-type"), parts: vec![body] });
            answer(String::new())
        }
        other => panic!("{other:?}"),
    }
}

fn error(code: &str) -> Response<String> {
    let status = if code == "ServiceUnavailable" { 503 } else { 403 };
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    Response::builder().status(status).body(text).unwrap()
}
