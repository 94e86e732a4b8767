//! The OTA worker over doubles: real SQL, an operator whose token is good, and faults on demand.

pub mod fleet;
pub mod image;

use std::cell::{Cell, RefCell};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pollster::block_on;
use rs1_auth::jwt::KeyCache;
use rs1_domain::port::{
    Broker, Database, Outcome, PortError, Publication, Published, Queue, Random, Sending, Statement,
};
use rs1_domain::{Answer, Method, Request, RequestId, UnixMillis};
use rs1_store::doubles::{AnySignature, Certificates, Counting, MemoryBroker, MemoryFiles, MemoryQueue};
use rs1_store::native::NativeDatabase;
use rs1_worker_ota::config::Config;
use rs1_worker_ota::permits::Permits;
use rs1_worker_ota::routes;
use rs1_worker_ota::world::{Engine, Ports, World};
use serde_json::{Value, json};

pub const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
const ISSUER: &str = "https://opticworks.example";

pub struct Cloud {
    pub config: Config,
    pub db: NativeDatabase,
    pub files: MemoryFiles,
    pub triggers: MemoryQueue,
    pub reports: MemoryQueue,
    pub broker: MemoryBroker,
    pub random: Counting,
    pub keys: RefCell<KeyCache>,
    pub permits: RefCell<Permits>,
    pub now: Cell<UnixMillis>,
}

/// The settings that every test runs with.
pub fn setting(name: &str) -> Option<String> {
    let value = match name {
        "ENVIRONMENT" => "local",
        "OPERATOR_ISSUER" => ISSUER,
        "OPERATOR_AUDIENCE" => "ops",
        "OPERATOR_JWKS_URL" => "https://opticworks.example/certs",
        "EMQX_API_URL" => "http://127.0.0.1:18083/api/v5",
        "EMQX_API_KEY" => "key:secret",
        "FIRMWARE_ORIGIN" => "https://ota.optic.works",
        "SIGNING_KEY" => "a signing key for native tests, long enough",
        _ => return None,
    };
    Some(value.to_owned())
}

impl Cloud {
    pub fn new() -> Self {
        Self {
            config: Config::read(&setting).unwrap_or_else(|faults| panic!("{faults:?}")),
            db: NativeDatabase::new(),
            files: MemoryFiles::default(),
            triggers: MemoryQueue::default(),
            reports: MemoryQueue::default(),
            broker: MemoryBroker::default(),
            random: Counting::default(),
            keys: RefCell::new(KeyCache::new()),
            permits: RefCell::new(Permits::new()),
            now: Cell::new(NOW),
        }
    }

    /// A request without a token.
    pub fn request(&self, method: Method, target: &str, body: Vec<u8>) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method,
            path: path.into(),
            query: query.into(),
            headers: Vec::new(),
            body,
            now: self.now.get(),
            request_id: RequestId::from_header("request-1").unwrap(),
        }
    }

    pub fn send(&self, request: Request) -> Answer {
        let world = World::<Doubles<'_>> {
            db: Lent(&self.db),
            documents: Certificates,
            signatures: AnySignature,
            triggers: Lent(&self.triggers),
            reports: Lent(&self.reports),
            random: Lent(&self.random),
            keys: &self.keys,
            permits: &self.permits,
        };
        block_on(routes::handle(request, Ok(&self.config), &world, &self.files)).1
    }

    /// What queues and the clock are given.
    pub fn engine(&self) -> Engine<Doubles<'_>> {
        Engine {
            db: Lent(&self.db),
            triggers: Lent(&self.triggers),
            reports: Lent(&self.reports),
            broker: Lent(&self.broker),
            random: Lent(&self.random),
        }
    }

    /// An operator's upload of an image.
    pub fn upload(&self, path: &str, image: &[u8]) -> Answer {
        self.upload_with(path, image, &[])
    }

    /// The same with further headers; a `content-length` among them is sent instead of the right one.
    pub fn upload_with(&self, path: &str, image: &[u8], headers: &[(&'static str, &str)]) -> Answer {
        let mut request = self.request(Method::Put, &format!("/admin/firmware/{path}"), image.to_vec());
        request.headers = authorized();
        request.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        if request.header("content-length").is_none() {
            request.headers.push(("content-length", image.len().to_string()));
        }
        self.send(request)
    }

    /// Registers a key; its id.
    pub fn register(&self, key: &image::Signer) -> String {
        let answer =
            self.post("/admin/firmware-keys", &json!({"name": "ci", "public_key": key.public_hex()}));
        body(&answer)["key_id"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
    }

    /// A request of an operator.
    pub fn operator(&self, method: Method, target: &str, body: Vec<u8>) -> Answer {
        let mut request = self.request(method, target, body);
        request.headers = authorized();
        self.send(request)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.operator(Method::Get, target, Vec::new())
    }

    pub fn post(&self, target: &str, body: &Value) -> Answer {
        self.operator(Method::Post, target, body.to_string().into_bytes())
    }

    pub fn delete(&self, target: &str) -> Answer {
        self.operator(Method::Delete, target, Vec::new())
    }
}

pub fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

/// The headers of an operator's request.
pub fn authorized() -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {}", token()))]
}

/// The pointers of a problem's faults.
pub fn faults(answer: &Answer) -> Vec<String> {
    let document = body(answer);
    let faults = document["errors"].as_array().cloned().unwrap_or_default();
    faults.iter().map(|fault| fault["pointer"].as_str().unwrap_or_default().to_owned()).collect()
}

fn token() -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "aud": "ops", "exp": 4_102_444_800_i64, "email": "ada@optic.works"});
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "kid": "k1"})), part(&claims))
}

/// The doubles' kinds.
pub struct Doubles<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Ports for Doubles<'a> {
    type Db = Lent<'a, NativeDatabase>;
    type Documents = Certificates;
    type Signatures = AnySignature;
    type Queue = Lent<'a, MemoryQueue>;
    type Broker = Lent<'a, MemoryBroker>;
    type Random = Lent<'a, Counting>;
}

/// Ports are owned by a world; this lends the test's own.
pub struct Lent<'a, T>(pub &'a T);

impl Database for Lent<'_, NativeDatabase> {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        self.0.batch(statements).await
    }
}

impl Queue for Lent<'_, MemoryQueue> {
    async fn send(&self, message: &str) -> Result<(), PortError> {
        self.0.send(message).await
    }

    async fn send_all(&self, messages: &[Sending]) -> Result<(), PortError> {
        self.0.send_all(messages).await
    }
}

impl Broker for Lent<'_, MemoryBroker> {
    async fn publish(&self, messages: &[Publication]) -> Result<Vec<Published>, PortError> {
        self.0.publish(messages).await
    }

    async fn kick(&self, client_id: &str) -> Result<bool, PortError> {
        self.0.kick(client_id).await
    }
}

impl Random for Lent<'_, Counting> {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        self.0.bytes()
    }
}
