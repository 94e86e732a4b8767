//! The OTA worker: firmware reaches devices from here.
//!
//! - [`routes`]: `/health`, and `/admin/*` for operators;
//! - [`handlers`]: one module a resource;
//! - [`permits`]: what need not be asked of the database at each range of a download;
//! - [`world`]: the ports that they are given;
//! - [`engine`]: what carries rollouts out;
//! - [`queue`]: what devices reported, and triggers on their way to them;
//! - [`cron`]: the minute's tick.
//!
//! Handlers are plain Rust over ports, so native tests run every route; only the last lines of this
//! file know the Workers runtime.

pub mod config;
pub mod cron;
#[cfg(feature = "schema")]
pub mod document;
pub mod engine;
pub mod handlers;
pub mod permits;
pub mod queue;
pub mod routes;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::cell::RefCell;

    use rs1_auth::jwt::KeyCache;
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::emqx::Emqx;
    use rs1_platform::files::Files;
    use rs1_platform::http_client::{HttpClient, WebCrypto};
    use rs1_platform::queue::Producer;
    use rs1_platform::random::Crypto;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, cron, queue};

    use crate::config::Config;
    use crate::permits::Permits;
    use crate::routes;
    use crate::world::{Engine, Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch, queue = consume, scheduled = tick }

    static SERVICE: Service =
        Service { name: "ota", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// Permits, and the operators' public keys, shared by every request of this isolate: plain data, borrowed
        /// for a moment at a time and never across an await. Leaked once, as an isolate's statics are.
        static PERMITS: &'static RefCell<Permits> = Box::leak(Box::new(RefCell::new(Permits::new())));
        static KEYS: &'static RefCell<KeyCache> = Box::leak(Box::new(RefCell::new(KeyCache::new())));
    }

    /// The runtime's ports, for one event.
    struct Runtime<'a>(std::marker::PhantomData<&'a Env>);

    impl<'a> Ports for Runtime<'a> {
        type Db = D1<'a>;
        type Documents = HttpClient;
        type Signatures = WebCrypto;
        type Queue = Producer<'a>;
        type Broker = Emqx<'a>;
        type Random = Crypto;
    }

    fn config(env: &Env) -> Result<&'static Config, &'static BadConfig> {
        CONFIG.get(env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned))).as_ref()
    }

    fn engine(env: &Env) -> Engine<Runtime<'_>> {
        Engine {
            db: D1::new(env, "DB"),
            triggers: Producer::new(env, "OTA_TRIGGER_QUEUE"),
            reports: Producer::new(env, "OTA_STATUS_QUEUE"),
            broker: Emqx::new(config(env).ok().map(|config| &config.broker)),
            random: Crypto,
        }
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let files = Files::new(&env, "FIRMWARE", request.object());
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            let world = World::<Runtime<'_>> {
                db: D1::new(&env, "DB"),
                documents: HttpClient,
                signatures: WebCrypto,
                triggers: Producer::new(&env, "OTA_TRIGGER_QUEUE"),
                reports: Producer::new(&env, "OTA_STATUS_QUEUE"),
                random: Crypto,
                keys: KEYS.with(|keys| *keys),
                permits: PERMITS.with(|permits| *permits),
            };
            routes::handle(request, config(&env), &world, &files).await
        })
        .await
    }

    async fn consume(batch: queue::RawBatch, env: Env) {
        queue::consume(SERVICE.name, batch, async |batch| {
            crate::queue::consume(&batch, config(&env).ok(), &engine(&env)).await
        })
        .await;
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        cron::run(SERVICE.name, event, async |tick| {
            let config = config(&env).map_err(|faults| format!("configuration: {}", faults.0.join("; ")))?;
            crate::cron::tick(&tick, &config.policy, &engine(&env)).await.map_err(|error| error.to_string())
        })
        .await;
    }
}
