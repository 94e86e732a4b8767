//! A telemetry worker in memory: real SQL, real handlers, ports that fail on demand.

use std::io::Read;
use std::marker::PhantomData;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use pollster::block_on;
use rs1_auth::{DeviceKey, Vault};
use rs1_domain::event::{Batch, Delivery, Settlement, Tick};
use rs1_domain::port::Bucket;
use rs1_domain::{Answer, DeviceId, MacAddress, Method, Request, RequestId, UnixMillis};
use rs1_store::devices::{self, Device, NewDevice};
use rs1_store::doubles::{Counting, MemoryBroker, MemoryBucket, MemoryQueue};
use rs1_store::native::NativeDatabase;
use rs1_store::security::{self, SecurityRow};
use rs1_store::sql::{first_row, rows, run};
use rs1_store::telemetry::{self, HourRow};
use rs1_store::{Database, Param, Statement};
use rs1_worker_archive as archive;
use rs1_worker_telemetry::config::Config;
use rs1_worker_telemetry::queue::consume;
use rs1_worker_telemetry::routes;
use rs1_worker_telemetry::world::{Ports, World};
use serde_json::{Value, json};

pub const SECRET: &str = "the secret that EMQX and the cloud share";
pub const KEK: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
pub const HASH: &str = "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd";
pub const PASSWORD: &str = "75b8f8fd547e0ad36718a6d634d2ceba7e3c43f12cc8fc271c52e22904c221ec";

/// Everything in memory.
pub struct Memory;

impl Ports for Memory {
    type Database = NativeDatabase;
    type Queue = MemoryQueue;
    type Bucket = MemoryBucket;
    type Random = Counting;
    type Broker = MemoryBroker;
}

/// The archive worker's share of it.
pub struct Lent<'a>(PhantomData<&'a ()>);

impl<'a> archive::world::Ports for Lent<'a> {
    type Database = &'a NativeDatabase;
    type Queue = &'a MemoryQueue;
    type Archive = &'a MemoryBucket;
}

pub struct Cloud {
    pub world: World<Memory>,
    pub config: Config,
    pub now: UnixMillis,
}

pub fn ten_o_clock() -> UnixMillis {
    UnixMillis::parse_rfc3339("2026-01-20T10:00:00Z").unwrap()
}

pub fn device() -> DeviceId {
    DeviceId::of(&mac())
}

fn mac() -> MacAddress {
    MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap()
}

impl Cloud {
    /// A cloud in which the contract's device is enrolled.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// The same with these settings besides.
    pub fn with(more: &[(&str, &str)]) -> Self {
        let settings = |name: &str| match name {
            "ENVIRONMENT" => Some("local".to_owned()),
            "WEBHOOK_SECRET" => Some(SECRET.to_owned()),
            "DEVICE_KEK" => Some(KEK.to_owned()),
            "EMQX_API_URL" => Some("http://127.0.0.1:18083/api/v5".to_owned()),
            "EMQX_API_KEY" => Some("key:secret".to_owned()),
            _ => more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        };
        let cloud = Self {
            world: World {
                db: NativeDatabase::new(),
                queue: MemoryQueue::default(),
                updates: MemoryQueue::default(),
                archives: MemoryBucket::default(),
                files: MemoryBucket::default(),
                random: Counting::default(),
                broker: MemoryBroker::default(),
                bursts: Rc::default(),
            },
            config: Config::read(&settings).unwrap_or_else(|faults| panic!("{faults:?}")),
            now: ten_o_clock(),
        };
        let sealed_key = Vault::new(KEK, None)
            .unwrap()
            .seal(&DeviceKey::parse(HASH).unwrap(), &device(), [9; 12])
            .unwrap();
        let new = NewDevice { device_id: device(), mac_address: mac(), product_sku: None, sealed_key };
        block_on(run(&cloud.world.db, [devices::enroll(&[new], cloud.now, "ada").unwrap()])).unwrap();
        cloud
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::Post, path, Some(SECRET), body.to_string().into_bytes())
    }

    pub fn request(&self, method: Method, path: &str, secret: Option<&str>, body: Vec<u8>) -> Answer {
        self.send(method, path, secret.map(|secret| ("x-webhook-secret", secret)).as_slice(), body)
    }

    /// Posts lines, as a bridge that collects does.
    pub fn post_lines(&self, lines: &[String]) -> Answer {
        let headers = [("x-webhook-secret", SECRET), ("content-type", "application/x-ndjson")];
        self.send(Method::Post, "/webhook/telemetry", &headers, lines.join("\n").into_bytes())
    }

    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let request = Request {
            method,
            path: path.into(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            body,
            now: self.now,
            request_id: RequestId::generate(self.now, rs1_domain::port::Random::bytes(&self.world.random)),
        };
        block_on(routes::handle(request, Ok(&self.config), &self.world)).1
    }

    pub fn deliver(&self, bodies: &[String]) -> Settlement {
        let deliveries: Vec<_> = bodies
            .iter()
            .zip(1..)
            .map(|(body, number)| Delivery {
                id: format!("q{number}"),
                attempts: 1,
                sent_at: self.now,
                body: body.clone(),
            })
            .collect();
        let request_id = RequestId::from_header("batch").unwrap();
        let batch = Batch { queue: "rs1-telemetry".into(), deliveries, now: self.now, request_id };
        block_on(consume(&batch, &self.world))
    }

    /// Delivers what is queued until nothing is queued or retried any more.
    pub fn drain(&self) {
        self.settle(self.world.queue.take());
    }

    /// Delivers these, what is to be delivered again, and what is queued meanwhile, until there is nothing left.
    pub fn settle(&self, mut waiting: Vec<String>) {
        for _ in 0..10 {
            if waiting.is_empty() {
                return;
            }
            let Settlement { retries, .. } = self.deliver(&waiting);
            let again: Vec<_> = retries.iter().map(|retry| waiting[retry.index].clone()).collect();
            waiting = again.into_iter().chain(self.world.queue.take()).collect();
        }
        assert!(waiting.is_empty(), "never settled");
    }

    /// The archive worker's hourly sweep, as of then.
    pub fn sweep(&self, now: UnixMillis) -> Result<String, String> {
        self.tick(archive::cron::SWEEP, now)
    }

    pub fn tick(&self, cron: &str, now: UnixMillis) -> Result<String, String> {
        let world: archive::world::World<Lent<'_>> = archive::world::World {
            db: &self.world.db,
            queue: &self.world.queue,
            archives: &self.world.archives,
        };
        let request_id = RequestId::from_header("tick").unwrap();
        let due = Tick { cron: cron.into(), scheduled: now, now, request_id };
        block_on(archive::cron::tick(&due, &world)).map_err(|error| error.to_string())
    }

    pub fn device(&self) -> Device {
        let [outcome] = block_on(run(&self.world.db, [devices::by_id(&device())])).unwrap();
        first_row(&outcome).unwrap().unwrap()
    }

    pub fn hours(&self) -> Vec<HourRow> {
        let [outcome] = block_on(run(&self.world.db, [telemetry::hours(&device(), 0)])).unwrap();
        rows(&outcome).unwrap()
    }

    pub fn security_log(&self) -> Vec<SecurityRow> {
        let [outcome] = block_on(run(
            &self.world.db,
            [security::list(&security::Wanted { rows: 200, ..security::Wanted::default() }).unwrap()],
        ))
        .unwrap();
        rows(&outcome).unwrap()
    }

    pub fn commit(&self, statement: Statement) {
        block_on(self.world.db.batch(vec![statement])).unwrap();
    }

    pub fn sql(&self, sql: &'static str, params: Vec<Param>) {
        self.commit(Statement { name: "test", sql, params });
    }

    pub fn query(&self, sql: &'static str, params: Vec<Param>) -> Vec<Value> {
        let [outcome] = block_on(run(&self.world.db, [Statement { name: "test", sql, params }])).unwrap();
        serde_json::from_str(&outcome.rows_json).unwrap()
    }

    /// The ids of the archive's lines, packed and loose, in order.
    pub fn archived_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for (key, _) in self.world.archives.objects("telemetry/2") {
            let bytes = block_on(self.world.archives.get(&key)).unwrap().unwrap();
            let mut text = String::new();
            // A pack of nothing but what others have is empty.
            if key.contains("/packed-") && !bytes.is_empty() {
                MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            } else if key.contains("/00-") {
                text = String::from_utf8(bytes).unwrap();
            }
            let id =
                |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
            ids.extend(text.lines().map(id));
        }
        ids.sort();
        ids
    }

    pub fn archived_lines(&self) -> Vec<Value> {
        let objects = self.world.archives.objects("telemetry/");
        objects
            .iter()
            .flat_map(|(_, body)| body.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub fn topic(rest: &str) -> String {
    format!("opticworks/{}/{rest}", device())
}

/// A rule webhook's body.
pub fn published(rest: &str, id: &str, received_at: UnixMillis, payload: &Value) -> Value {
    json!({
        "id": id, "event": "message.publish", "clientid": device(), "username": device(), "peerhost": "203.0.113.7",
        "topic": topic(rest), "qos": 1, "payload": payload.to_string(), "publish_received_at": received_at.0,
    })
}

pub fn telemetry_payload(at: UnixMillis, heap: i64) -> Value {
    json!({"device_id": device(), "timestamp": at, "metrics": {"system.free_heap": heap}})
}
