//! The worker with real SQL and a bucket in memory, and one device.

#![allow(dead_code, reason = "the tests of the archive worker use it, too")]

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pollster::block_on;
use rs1_auth::access_token::{AccessTokens, Person};
use rs1_domain::port::{Bucket, Encoding, NewObject, Random};
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::topic::Channel;
use rs1_domain::wire::Envelope;
use rs1_domain::{Answer, DeviceId, MacAddress, Method, Request, RequestId, SessionId, UnixMillis, UserId};
use rs1_store::doubles::{AnySignature, Certificates, Counting, MemoryBucket, MemoryKeyValue};
use rs1_store::native::NativeDatabase;
use rs1_store::telemetry::{RollupRow, write_rollups};
use rs1_store::{Database, Param, Statement, devices};
use rs1_telemetry::{Message, Rollup, archive};
use rs1_worker_history::config::Config;
use rs1_worker_history::routes;
use rs1_worker_history::world::{Ports, World};
use serde_json::{Value, json};

/// 2026-01-20T10:00:00Z, a Tuesday.
pub const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
const SECRET: &str = "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj";

pub struct Memory;

impl Ports for Memory {
    type Database = NativeDatabase;
    type Archive = MemoryBucket;
    type KeyValue = MemoryKeyValue;
    type Random = Counting;
    type Documents = Certificates;
    type Signatures = AnySignature;
}

const ISSUER: &str = "https://operators.example";

/// An operator's token.
pub fn operator_token() -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "aud": "ops", "exp": 4_102_444_800_i64, "email": "ada@optic.works"});
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "kid": "k1"})), part(&claims))
}

pub struct Cloud {
    pub world: World<Memory>,
    pub config: Config,
    pub random: Counting,
    pub device: DeviceId,
}

/// A cloud with one device that nobody owns.
pub fn cloud() -> Cloud {
    let settings = |name: &str| match name {
        "ENVIRONMENT" => Some("local".to_owned()),
        "OPERATOR_ISSUER" => Some(ISSUER.to_owned()),
        "OPERATOR_AUDIENCE" => Some("ops".to_owned()),
        "OPERATOR_JWKS_URL" => Some(format!("{ISSUER}/certs")),
        "JWT_SECRET" => Some(SECRET.to_owned()),
        _ => None,
    };
    let mac_address = MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap();
    let device = DeviceId::of(&mac_address);
    let cloud = Cloud {
        world: World {
            db: NativeDatabase::new(),
            archives: MemoryBucket::default(),
            cache: MemoryKeyValue::default(),
            random: Counting::default(),
            documents: Certificates,
            signatures: AnySignature,
            keys: Rc::default(),
        },
        config: Config::read(&settings).unwrap_or_else(|faults| panic!("{faults:?}")),
        random: Counting::default(),
        device: device.clone(),
    };
    let new =
        devices::NewDevice { device_id: device, mac_address, product_sku: None, sealed_key: "1.x".into() };
    cloud.run(devices::enroll(&[new], NOW, "ada").unwrap());
    cloud
}

impl Cloud {
    pub fn run(&self, statement: Statement) {
        block_on(self.world.db.batch(vec![statement])).unwrap();
    }

    pub fn sql(&self, sql: &'static str, params: Vec<Param>) {
        self.run(Statement { name: "test", sql, params });
    }

    pub fn user(&self, email: &str) -> Person {
        let user = UserId::generate(NOW, self.random.bytes());
        self.sql(
            "INSERT INTO users (user_id, issuer, subject, email, email_verified_at, created_at) VALUES (?1, 'test', ?1, ?2, ?3, ?3)",
            vec![user.as_str().into(), email.into(), NOW.into()],
        );
        Person { user, session: SessionId::generate(NOW, self.random.bytes()) }
    }

    pub fn grant(&self, person: &Person, role: &str, at: UnixMillis) {
        self.sql(
            "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, ?3, ?4, 'test')",
            vec![self.device.as_str().into(), person.user.as_str().into(), role.into(), at.into()],
        );
    }

    /// An owner, who has been it for long.
    pub fn owner(&self) -> Person {
        let person = self.user("ada@example.com");
        self.grant(&person, "owner", NOW.plus(-300 * DAY));
        person
    }

    pub fn message(&self, number: i64, received_at: UnixMillis) -> Message {
        let metrics = json!({"system.free_heap": 1000 + number, "radar.frames_received": 600});
        let timestamp = received_at.plus(-7);
        let payload =
            json!({"device_id": self.device, "timestamp": timestamp, "metrics": metrics}).to_string();
        Message::check(Envelope {
            id: format!("m{number:04}"),
            device: self.device.clone(),
            channel: Channel::Telemetry,
            topic: format!("opticworks/{}/telemetry", self.device),
            client_id: None,
            payload: payload.into_bytes(),
            received_at,
        })
        .unwrap()
    }

    /// Archives messages together, as the consumer does.
    pub fn archive(&self, messages: &[Message]) {
        for object in archive::objects_of(messages.iter().map(archive::Line::of)) {
            let object = NewObject {
                key: &object.key,
                body: object.body.as_bytes(),
                content_type: rs1_domain::http::NDJSON,
                encoding: Encoding::Gzip,
                label: object.label.as_deref(),
            };
            block_on(self.world.archives.put_new(object)).unwrap();
        }
    }

    /// Writes the rollup of an hour that these messages are of.
    pub fn count(&self, messages: &[Message]) {
        let mut rollup = Rollup::default();
        for message in messages {
            rollup.merge(message);
        }
        let row = RollupRow {
            device_id: self.device.clone(),
            hour: rollup.last_at.hour(),
            messages: rollup.messages,
            last_at: rollup.last_at,
            last_received_at: rollup.last_received_at,
            metrics: rollup.metrics_column(),
            seen: Some(rollup.seen_column().to_owned()),
            generation: 1,
            adds: rs1_telemetry::batch::Adds::default(),
        };
        self.run(write_rollups(&[row], 0, None).unwrap());
    }

    /// Two messages in each of the `hours` hours before now.
    pub fn count_hours(&self, hours: i64) {
        for hour in 1..=hours {
            let at = NOW.plus(-hour * HOUR);
            self.count(&[self.message(hour, at.plus(MINUTE)), self.message(-hour, at.plus(2 * MINUTE))]);
        }
    }

    pub fn get(&self, person: &Person, query: &str) -> Answer {
        self.get_as(person, query, "application/json")
    }

    pub fn get_as(&self, person: &Person, query: &str, accept: &str) -> Answer {
        self.look(person, "telemetry", query, accept)
    }

    /// Somebody looks at what there is of the device.
    pub fn look(&self, person: &Person, what: &str, query: &str, accept: &str) -> Answer {
        self.send(person, Method::Get, what, query, accept)
    }

    /// Somebody asks something of the device.
    pub fn send(&self, person: &Person, method: Method, what: &str, query: &str, accept: &str) -> Answer {
        let token = AccessTokens::new(SECRET, None).issue(person, NOW);
        let headers = vec![("authorization", format!("Bearer {token}")), ("accept", accept.to_owned())];
        self.request_as(method, &format!("/api/devices/{}/{what}", self.device), query, headers)
    }

    pub fn request(&self, path: &str, query: &str, headers: Vec<(&'static str, String)>) -> Answer {
        self.request_as(Method::Get, path, query, headers)
    }

    pub fn request_as(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: Vec<(&'static str, String)>,
    ) -> Answer {
        let request = Request {
            method,
            path: path.into(),
            query: query.into(),
            headers,
            body: Vec::new(),
            now: NOW,
            request_id: RequestId::from_header("request-1").unwrap(),
        };
        block_on(routes::handle(request, Ok(&self.config), &self.world)).1
    }

    /// Type, status and occurrences of every alert, the oldest first.
    pub fn alerts(&self, person: &Person) -> Vec<(String, String, i64)> {
        let (items, _) = self.pages_of(person, "alerts", "limit=200");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let row = |item: &Value| {
            (text(&item["type"]), text(&item["status"]), item["occurrences"].as_i64().unwrap())
        };
        items.iter().rev().map(row).collect()
    }

    /// The items of all pages, and how many pages there were.
    pub fn pages(&self, person: &Person, query: &str) -> (Vec<Value>, usize) {
        self.pages_of(person, "telemetry", query)
    }

    /// The same of something else.
    pub fn pages_of(&self, person: &Person, what: &str, query: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = body(&self.look(person, what, &format!("{query}{cursor}"), "application/json"));
            items.extend(page["items"].as_array().unwrap().clone());
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (items, pages),
            }
        }
    }
}

/// An alert as [`Cloud::alerts`] tells it.
pub fn alert(kind: &str, status: &str, occurrences: i64) -> (String, String, i64) {
    (kind.to_owned(), status.to_owned(), occurrences)
}

#[track_caller]
pub fn body(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}
