//! The worker with everything around it played: real SQL, the other ports in memory, an issuer whose signatures are
//! the key's own name. The release bundle's own signatures are proved by the integration specs.

use std::cell::{Cell, RefCell};

use pollster::block_on;
use rs1_auth::access_token::Person;
use rs1_domain::port::{DocumentSource, PortError, SignatureVerifier};
use rs1_domain::{
    Answer, DeviceId, MacAddress, Method, Request, RequestId, Role, SessionId, UnixMillis, UserId, hex,
};
use rs1_store::doubles::{
    Counting, MemoryBroker, MemoryBucket, MemoryKeyValue, MemoryPeer, MemoryRateLimiter,
};
use rs1_store::native::NativeDatabase;
use rs1_store::{Database, Param, Statement};
use rs1_worker_device_api::config::Config;
use rs1_worker_device_api::routes;
use rs1_worker_device_api::world::{Memory, Ports, World};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://opticworks.example";
pub const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

/// Answers the JWKS and counts how often it is asked.
#[derive(Default)]
pub struct Issuer {
    pub fetches: Cell<u32>,
    pub keys: RefCell<Vec<&'static str>>,
    pub down: Cell<bool>,
}

impl DocumentSource for &Issuer {
    async fn fetch(&self, _: &str) -> Result<String, PortError> {
        self.fetches.set(self.fetches.get() + 1);
        if self.down.get() {
            return Err(PortError::new("fetch", "connection refused"));
        }
        let rsa = |kid: &&'static str| json!({"kty": "RSA", "kid": *kid});
        let ec = |kid: &&'static str| json!({"kty": "EC", "crv": "P-256", "kid": format!("{kid}-ec")});
        let keys = self.keys.borrow();
        let keys: Vec<_> = keys.iter().flat_map(|kid| [rsa(kid), ec(kid)]).collect();
        Ok(json!({"keys": keys}).to_string())
    }
}

/// A signature is good if it says the key's id.
pub struct SaysTheKeysId;

impl SignatureVerifier for SaysTheKeysId {
    async fn verify_rs256(&self, key: &str, _: &[u8], signature: &[u8]) -> Result<bool, PortError> {
        let key: Value = serde_json::from_str(key).unwrap();
        Ok(key["kid"].as_str().unwrap().as_bytes() == signature)
    }

    async fn verify_es256(&self, key: &str, message: &[u8], signature: &[u8]) -> Result<bool, PortError> {
        self.verify_rs256(key, message, signature).await
    }
}

pub struct Cloud {
    pub config: Config,
    pub db: NativeDatabase,
    pub issuer: Issuer,
    pub random: Counting,
    pub people_limit: MemoryRateLimiter,
    pub operators_limit: MemoryRateLimiter,
    pub broker: MemoryBroker,
    pub sessions: MemoryKeyValue,
    pub cache: MemoryKeyValue,
    pub files: MemoryBucket,
    pub history: MemoryPeer,
    pub memory: Memory,
    pub now: Cell<UnixMillis>,
}

struct Lent<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Ports for Lent<'a> {
    type Database = &'a NativeDatabase;
    type Documents = &'a Issuer;
    type Signatures = SaysTheKeysId;
    type Random = &'a Counting;
    type RateLimiter = &'a MemoryRateLimiter;
    type Broker = &'a MemoryBroker;
    type KeyValue = &'a MemoryKeyValue;
    type Bucket = &'a MemoryBucket;
    type Peer = &'a MemoryPeer;
}

pub fn cloud() -> Cloud {
    let settings = |name: &str| {
        match name {
        "ENVIRONMENT" => Some("local".to_owned()),
        "OPERATOR_ISSUER" => Some(ISSUER.to_owned()),
        "OPERATOR_AUDIENCE" => Some("ops".to_owned()),
        "OPERATOR_JWKS_URL" => Some(format!("{ISSUER}/certs")),
        "OIDC_PROVIDERS" => Some(
            json!([
                {"issuer": "https://accounts.example", "audiences": ["app"], "jwks_url": "https://accounts.example/jwks"},
                {"issuer": "https://other.example", "audiences": ["app-2"], "jwks_url": "https://other.example/jwks"},
            ])
            .to_string(),
        ),
        "APP_ORIGINS" => Some("https://app.optic.works http://localhost:5173".to_owned()),
        "JWT_SECRET" => Some("j".repeat(32)),
        "DEVICE_KEK" => Some("0f".repeat(32)),
        "EMQX_API_URL" => Some("http://127.0.0.1:18083/api/v5".to_owned()),
        "EMQX_API_KEY" => Some("key:secret".to_owned()),
        _ => None,
    }
    };
    let issuer = Issuer::default();
    issuer.keys.borrow_mut().push("k1");
    Cloud {
        config: Config::read(&settings).unwrap_or_else(|faults| panic!("{faults:?}")),
        db: NativeDatabase::new(),
        issuer,
        random: Counting::default(),
        people_limit: MemoryRateLimiter::new(u32::MAX),
        operators_limit: MemoryRateLimiter::new(u32::MAX),
        broker: MemoryBroker::default(),
        sessions: MemoryKeyValue::default(),
        cache: MemoryKeyValue::default(),
        files: MemoryBucket::default(),
        history: MemoryPeer::default(),
        memory: Memory::default(),
        now: Cell::new(NOW),
    }
}

pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.chunks(6)
        .map(|six| six.iter().fold(0, |value, bit| value << 1 | bit) << (6 - six.len()))
        .map(|value| char::from(ALPHABET[usize::from(value)]))
        .collect()
}

/// A token with those claims, signed by that key.
pub fn signed(algorithm: &str, key: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "kid": key});
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{}", part(&header), part(claims), base64url(key.as_bytes()))
}

/// An operator's token.
pub fn token(key: &str) -> String {
    let claims =
        json!({"iss": ISSUER, "aud": ["ops"], "exp": NOW.seconds() + 3_600, "email": "ada@optic.works"});
    signed("RS256", key, &claims)
}

pub type Headers<'a> = &'a [(&'static str, &'a str)];

impl Cloud {
    /// Sends a request, as it comes.
    pub fn request(&self, method: Method, target: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method,
            path: path.into(),
            query: query.into(),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            body: body.to_vec(),
            now: self.now.get(),
            request_id: RequestId::from_header("request-1").unwrap(),
        };
        let world: World<'_, Lent<'_>> = World {
            db: &self.db,
            documents: &self.issuer,
            signatures: SaysTheKeysId,
            random: &self.random,
            people_limit: &self.people_limit,
            operators_limit: &self.operators_limit,
            broker: &self.broker,
            sessions: &self.sessions,
            cache: &self.cache,
            files: &self.files,
            history: &self.history,
            memory: &self.memory,
        };
        block_on(routes::handle(request, Ok(&self.config), &world)).1
    }

    #[allow(clippy::needless_pass_by_value, reason = "what a test makes on the spot")]
    pub fn send(&self, method: Method, target: &str, authorization: Option<String>, body: Vec<u8>) -> Answer {
        let headers: Vec<_> =
            authorization.as_deref().map(|value| ("authorization", value)).into_iter().collect();
        self.request(method, target, &headers, &body)
    }

    /// An operator looks.
    pub fn get(&self, target: &str) -> Answer {
        self.send(Method::Get, target, Some(format!("Bearer {}", token("k1"))), Vec::new())
    }

    /// An operator posts.
    pub fn post(&self, target: &str, body: &Value) -> Answer {
        let token = Some(format!("Bearer {}", token("k1")));
        self.send(Method::Post, target, token, body.to_string().into_bytes())
    }

    pub fn enroll(&self, body: &Value) -> Answer {
        self.post("/api/admin/enroll", body)
    }

    pub fn bulk(&self, body: &str) -> Answer {
        let token = Some(format!("Bearer {}", token("k1")));
        self.send(Method::Post, "/api/admin/enroll/bulk", token, body.as_bytes().to_vec())
    }

    /// Runs SQL of a test's own.
    pub fn sql(&self, sql: &'static str, params: Vec<Param>) -> Vec<Value> {
        let statement = Statement { name: "test", sql, params };
        let outcomes = block_on(self.db.batch(vec![statement])).unwrap();
        serde_json::from_str(&outcomes[0].rows_json).unwrap()
    }

    /// A user of that address, signed in a moment ago.
    pub fn user(&self, email: &str) -> User {
        let person = Person {
            user: UserId::generate(NOW, rs1_domain::port::Random::bytes(&self.random)),
            session: SessionId::generate(NOW, rs1_domain::port::Random::bytes(&self.random)),
        };
        self.sql(
            "INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at) VALUES (?1, 'test', ?1, ?2, ?3, ?3)",
            vec![person.user.as_str().into(), email.into(), NOW.into()],
        );
        User { email: email.to_owned(), person }
    }

    /// Gives a user a role with an enrolled device.
    pub fn grant(&self, user: &User, device: &DeviceId, role: Role) {
        self.sql(
            "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, ?3, ?4, 'test')",
            vec![device.as_str().into(), user.person.user.as_str().into(), role.as_str().into(), NOW.into()],
        );
    }

    /// Enrols the device of that number.
    pub fn device(&self, number: u8) -> DeviceId {
        let answer = self.enroll(&device(number, number));
        assert_eq!(answer.status, 201, "{}", answer.body);
        DeviceId::of(&MacAddress::parse(&mac(number)).unwrap())
    }

    /// A user sends something.
    pub fn call(&self, user: &User, method: Method, target: &str, body: &Value) -> Answer {
        self.call_with(user, method, target, &[], body)
    }

    /// A user sends something with further headers.
    pub fn call_with(
        &self,
        user: &User,
        method: Method,
        target: &str,
        headers: Headers<'_>,
        body: &Value,
    ) -> Answer {
        let token = format!("Bearer {}", self.config.access_tokens.issue(&user.person, self.now.get()));
        let mut all = vec![("authorization", token.as_str())];
        all.extend_from_slice(headers);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.request(method, target, &all, &body)
    }
}

/// A user of the app.
pub struct User {
    pub email: String,
    pub person: Person,
}

pub fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

pub fn mac(number: u8) -> String {
    MacAddress::from_bytes([0x02, 0, 0, 0, 0, number]).to_string()
}

pub fn device(number: u8, hash: u8) -> Value {
    json!({"mac_address": mac(number), "device_secret_hash": hex::encode(&[hash; 32]), "product_sku": "rs1_pro"})
}
