//! The health worker over doubles: real SQL, an operator whose token is good, and faults on demand.

use std::cell::{Cell, RefCell};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pollster::block_on;
use rs1_auth::jwt::KeyCache;
use rs1_domain::event::Tick;
use rs1_domain::port::{Answered, Backlog, Database, PortError, Probes, Question, Statement};
use rs1_domain::security::SecurityKind;
use rs1_domain::{Answer, Method, Request, RequestId, UnixMillis};
use rs1_store::doubles::{
    AnySignature, Certificates, Counting, LibraryGzip, MemoryMessenger, MemoryPeer, MemoryShelf, MemoryVault,
};
use rs1_store::native::NativeDatabase;
use rs1_store::security::{self, SecurityRow, Wanted};
use rs1_store::sql::rows;
use rs1_worker_health::config::Config;
use rs1_worker_health::world::{Ports, World};
use rs1_worker_health::{cron, routes};
use serde_json::{Value, json};

/// 03:00 UTC.
pub const NOW: UnixMillis = UnixMillis(1_768_878_000_000);
const ISSUER: &str = "https://opticworks.example";

pub struct Cloud {
    pub config: Config,
    pub db: NativeDatabase,
    pub vault: MemoryVault,
    pub firmware: MemoryShelf,
    pub company: MemoryShelf,
    pub messenger: MemoryMessenger,
    pub status: MemoryPeer,
    pub random: Counting,
    pub keys: RefCell<KeyCache>,
    pub now: Cell<UnixMillis>,
    pub outside: Outside,
}

/// The settings that every test runs with.
pub fn setting(name: &str) -> Option<String> {
    let value = match name {
        "ENVIRONMENT" => "local",
        "OPERATOR_ISSUER" => ISSUER,
        "OPERATOR_AUDIENCE" => "ops",
        "OPERATOR_JWKS_URL" => "https://opticworks.example/certs",
        "WATCHED_BACKUPS" => "postgres/ daily 30, snapshots/ weekly 28",
        "PAGERDUTY_URL" => "https://pagerduty.example",
        "PAGERDUTY_ROUTING_KEY" => "0123456789abcdef0123456789abcdef",
        "SLACK_WEBHOOK_URL" => "https://slack.example/services/T/B/x",
        "NOTICE_WEBHOOK_URL" => "https://receiver.example/notices",
        "NOTICE_WEBHOOK_SECRET" => "a secret that is at least so long",
        "DIGEST_AT" => "08:00",
        // What is checked is the matter of `rounds.rs`.
        "CHECKS" => "[]",
        _ => return None,
    };
    Some(value.to_owned())
}

impl Cloud {
    pub fn new() -> Self {
        Self {
            config: Config::read(&setting).unwrap_or_else(|faults| panic!("{faults:?}")),
            db: NativeDatabase::new(),
            vault: MemoryVault::default(),
            firmware: MemoryShelf::default(),
            company: MemoryShelf::default(),
            messenger: MemoryMessenger::default(),
            status: MemoryPeer::default(),
            random: Counting::default(),
            keys: RefCell::new(KeyCache::new()),
            now: Cell::new(NOW),
            outside: Outside::default(),
        }
    }

    /// With other settings besides.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let look_up = |name: &str| {
            let own = settings.iter().find(|(own, _)| *own == name);
            own.map_or_else(|| setting(name), |(_, value)| Some((*value).to_owned()))
        };
        let config = Config::read(&look_up).unwrap_or_else(|faults| panic!("{faults:?}"));
        Self { config, ..Self::new() }
    }

    /// The same later.
    pub fn pass(&self, millis: i64) {
        self.now.set(self.now.get().plus(millis));
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
        let clock = || self.now.get();
        block_on(routes::handle(request, Ok(&self.config), &self.world(&clock))).1
    }

    /// A request of an operator.
    pub fn operator(&self, method: Method, target: &str, body: Vec<u8>) -> Answer {
        let mut request = self.request(method, target, body);
        request.headers = vec![("authorization", format!("Bearer {}", token("ada@optic.works")))];
        self.send(request)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.operator(Method::Get, target, Vec::new())
    }

    pub fn post(&self, target: &str, body: &Value) -> Answer {
        self.operator(Method::Post, target, body.to_string().into_bytes())
    }

    /// Runs a trigger.
    pub fn tick(&self, cron: &str) -> Result<String, PortError> {
        let now = self.now.get();
        let request_id = RequestId::from_header("tick").unwrap();
        let tick = Tick { cron: cron.into(), scheduled: now, now, request_id };
        let clock = || self.now.get();
        block_on(cron::tick(&tick, Ok(&self.config), &self.world(&clock)))
    }

    pub fn world<'a>(&'a self, clock: &'a dyn Fn() -> UnixMillis) -> World<'a, Doubles<'a>> {
        World {
            db: &self.db,
            vault: &self.vault,
            gzip: LibraryGzip,
            firmware: &self.firmware,
            company: &self.company,
            documents: Certificates,
            probes: Looking { outside: &self.outside, now: &self.now },
            signatures: AnySignature,
            messenger: &self.messenger,
            status: &self.status,
            random: &self.random,
            keys: &self.keys,
            clock,
        }
    }

    /// The rows of a query of the store.
    pub fn rows<T: serde::de::DeserializeOwned>(&self, statement: Statement) -> Vec<T> {
        rows(&block_on(self.db.batch(vec![statement])).unwrap()[0]).unwrap()
    }

    /// What was logged of a kind, newest first: whom it is about, and its details.
    pub fn logged(&self, kind: &str) -> Vec<(String, Value)> {
        let log: Vec<SecurityRow> = self.rows(
            security::list(&Wanted {
                kinds: SecurityKind::parse(kind).map(|kind| vec![kind]),
                rows: 200,
                ..Wanted::default()
            })
            .unwrap(),
        );
        log.into_iter().map(|row| (row.subject, row.detail)).collect()
    }
}

pub fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

pub fn token(email: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "aud": "ops", "exp": 4_102_444_800_i64, "email": email});
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "kid": "k1"})), part(&claims))
}

/// The doubles' kinds.
pub struct Doubles<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Ports for Doubles<'a> {
    type Db = &'a NativeDatabase;
    type Vault = &'a MemoryVault;
    type Gzip = LibraryGzip;
    type Shelf = &'a MemoryShelf;
    type Documents = Certificates;
    type Probes = Looking<'a>;
    type Signatures = AnySignature;
    type Messenger = &'a MemoryMessenger;
    type Peer = &'a MemoryPeer;
    type Random = &'a Counting;
}

/// How something outside takes it to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Manner {
    /// It answers after so many milliseconds.
    Answers(u16, String, i64),
    /// It redirects.
    Redirects(String),
    /// It never says anything.
    Hangs,
    /// It fails, after so many milliseconds.
    Fails(String, i64),
    /// So many messages wait, the oldest for so many seconds.
    Waits(u64, i64),
}

/// Everything that is looked at, by its URL or its binding; what is not named is well. And whom was asked what.
#[derive(Default)]
pub struct Outside {
    manners: RefCell<Vec<(String, Manner)>>,
    pub asked: RefCell<Vec<String>>,
    going: Cell<usize>,
    /// The most that were asked at a time.
    pub at_once: Cell<usize>,
}

impl Outside {
    /// From now on it behaves like this.
    pub fn set(&self, name: &str, manner: Manner) {
        self.mend(name);
        self.manners.borrow_mut().push((name.to_owned(), manner));
    }

    /// It is well again.
    pub fn mend(&self, name: &str) {
        self.manners.borrow_mut().retain(|(known, _)| known != name);
    }

    pub fn times(&self, name: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| asked.contains(name)).count()
    }
}

/// Looks at [`Outside`], by the fake clock: time goes by only where somebody waits for it.
pub struct Looking<'a> {
    outside: &'a Outside,
    now: &'a Cell<UnixMillis>,
}

/// Counts a look until it is over, or given up.
struct Going<'a>(&'a Cell<usize>);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Comes to its end at that time, or, with none, never. Each time that somebody waits a millisecond goes by.
async fn until(now: &Cell<UnixMillis>, end: Option<UnixMillis>) {
    std::future::poll_fn(|context| {
        if end.is_some_and(|end| end <= now.get()) {
            return std::task::Poll::Ready(());
        }
        if end.is_some() {
            now.set(now.get().plus(1));
            context.waker().wake_by_ref();
        }
        std::task::Poll::Pending
    })
    .await;
}

impl Looking<'_> {
    async fn look(&self, name: &str) -> Result<Manner, PortError> {
        self.outside.asked.borrow_mut().push(name.to_owned());
        self.outside.going.set(self.outside.going.get() + 1);
        self.outside.at_once.set(self.outside.at_once.get().max(self.outside.going.get()));
        let _going = Going(&self.outside.going);
        let known = self.outside.manners.borrow().iter().find(|(known, _)| known == name).cloned();
        let manner = known.map_or(Manner::Answers(200, String::new(), 1), |(_, manner)| manner);
        let after = |millis: i64| Some(self.now.get().plus(millis));
        match &manner {
            Manner::Hangs => until(self.now, None).await,
            Manner::Answers(_, _, millis) | Manner::Fails(_, millis) => until(self.now, after(*millis)).await,
            _ => {}
        }
        match manner {
            Manner::Fails(cause, _) => Err(PortError::new(format!("probe {name}"), cause)),
            manner => Ok(manner),
        }
    }
}

impl Probes for Looking<'_> {
    async fn ask(&self, question: Question<'_>) -> Result<Answered, PortError> {
        let name =
            question.binding.map_or(question.url.to_owned(), |binding| format!("{binding}{}", question.url));
        Ok(match self.look(&name).await? {
            Manner::Answers(status, body, _) => Answered { status, body, ..Answered::default() },
            Manner::Redirects(location) => Answered { status: 302, location, ..Answered::default() },
            other => panic!("{name}: {other:?} is no answer"),
        })
    }

    async fn bucket(&self, binding: &str, _: &str, _: &str) -> Result<(), PortError> {
        self.look(binding).await.map(drop)
    }

    async fn namespace(&self, binding: &str, _: &str, _: &str) -> Result<(), PortError> {
        self.look(binding).await.map(drop)
    }

    async fn backlog(&self, binding: &str) -> Result<Backlog, PortError> {
        Ok(match self.look(binding).await? {
            Manner::Waits(waiting, seconds) => {
                Backlog { waiting, oldest_at: Some(self.now.get().plus(-seconds * 1_000)) }
            }
            _ => Backlog::default(),
        })
    }

    async fn pause(&self, milliseconds: u32) {
        until(self.now, Some(self.now.get().plus(i64::from(milliseconds)))).await;
    }
}
