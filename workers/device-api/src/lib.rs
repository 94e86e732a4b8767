//! The device API: people see and change their devices, operators enrol them and look after all of them.
//!
//! - [`routes`]: the table of everything below `/api`;
//! - [`handlers`]: one module a resource;
//! - [`cron`]: what is done every minute;
//! - [`trail`]: who changed what, for the audit log;
//! - [`limit`]: how often anybody may ask; [`cors`]: which pages may read the answers;
//! - [`world`]: the ports that handlers are given.
//!
//! Who is asking, what they may do with a device, and that an operator leaves a trace, is settled by [`rs1_api`]. What devices
//! said is another worker's to tell: `history`.
//!
//! Handlers are plain Rust over ports, so native tests run every route; only the last lines of this
//! file know the Workers runtime.

pub mod config;
pub mod cors;
pub mod cron;
#[cfg(feature = "schema")]
pub mod document;
pub mod handlers;
pub mod limit;
pub mod routes;
pub mod trail;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::marker::PhantomData;

    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::emqx::Emqx;
    use rs1_platform::http_client::{HttpClient, WebCrypto};
    use rs1_platform::kv::Kv;
    use rs1_platform::peer::ServiceBinding;
    use rs1_platform::r2::R2;
    use rs1_platform::random::Crypto;
    use rs1_platform::rate_limit::RateLimit;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, cron};

    use crate::config::Config;
    use crate::routes;
    use crate::world::{Memory, Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch, scheduled = tick }

    static SERVICE: Service =
        Service { name: "device-api", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// Leaked once, as an isolate's statics are.
        static MEMORY: &'static Memory = Box::leak(Box::default());
    }

    /// The Workers runtime's ports, for as long as an event lasts.
    struct Runtime<'a>(PhantomData<&'a ()>);

    impl<'a> Ports for Runtime<'a> {
        type Database = D1<'a>;
        type Documents = HttpClient;
        type Signatures = WebCrypto;
        type Random = Crypto;
        type RateLimiter = RateLimit<'a>;
        type Broker = Emqx<'a>;
        type KeyValue = Kv<'a>;
        type Bucket = R2<'a>;
        type Peer = ServiceBinding<'a>;
    }

    fn config(env: &Env) -> Result<&'static Config, &'static BadConfig> {
        CONFIG.get(env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned))).as_ref()
    }

    fn broker(env: &Env) -> Emqx<'static> {
        Emqx::new(config(env).ok().map(|config| &config.broker))
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let memory = MEMORY.with(|memory| *memory);
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            let world: World<'_, Runtime<'_>> = World {
                db: D1::new(&env, "DB"),
                documents: HttpClient,
                signatures: WebCrypto,
                random: Crypto,
                people_limit: RateLimit::new(&env, "RATE_LIMIT"),
                operators_limit: RateLimit::new(&env, "RATE_LIMIT_OPERATORS"),
                broker: broker(&env),
                sessions: Kv::new(&env, "SESSIONS"),
                cache: Kv::new(&env, "CACHE"),
                files: R2::new(&env, "R2"),
                history: ServiceBinding::new(&env, "HISTORY"),
                memory,
            };
            routes::handle(request, config(&env), &world).await
        })
        .await
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        cron::run(SERVICE.name, event, async |tick| {
            let done = crate::cron::tick(&tick, &D1::new(&env, "DB"), &broker(&env)).await;
            done.map_err(|error| error.to_string())
        })
        .await;
    }
}
