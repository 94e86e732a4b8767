//! The health worker: it checks everything every five minutes, tells people what they are to know, backs the database up every
//! day, and watches over all backups.
//!
//! - [`routes`]: `/health`, and for operators `/admin/…`: backups, notices, checks, incidents, maintenance;
//! - [`cron`]: the ticks; [`round`], [`notices`], [`backup`], [`firmware`] and [`watch`] are what they do;
//! - [`world`]: the ports that they are given.
//!
//! All of it is plain Rust over ports, so native tests run it; only the last lines of this file know the Workers runtime.

pub mod announce;
pub mod backup;
pub mod config;
pub mod cron;
#[cfg(feature = "schema")]
pub mod document;
pub mod firmware;
pub mod handlers;
pub mod notices;
pub mod round;
pub mod routes;
pub mod watch;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::cell::RefCell;

    use rs1_auth::jwt::KeyCache;
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::http_client::{HttpClient, WebCrypto};
    use rs1_platform::peer::ServiceBinding;
    use rs1_platform::probe::Bindings;
    use rs1_platform::r2::{R2, StreamGzip};
    use rs1_platform::random::Crypto;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, clock, cron};

    use rs1_store::cron::RUN_BEFORE;

    use crate::config::Config;
    use crate::routes;
    use crate::world::{Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch, scheduled = tick }

    static SERVICE: Service =
        Service { name: "health", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// The operators' public keys, shared by every request of this isolate: plain data, borrowed
        /// for a moment at a time and never across an await. Leaked once, as an isolate's statics are.
        static KEYS: &'static RefCell<KeyCache> = Box::leak(Box::new(RefCell::new(KeyCache::new())));
    }

    /// The runtime's ports, for one event.
    struct Runtime<'a>(std::marker::PhantomData<&'a Env>);

    impl<'a> Ports for Runtime<'a> {
        type Db = D1<'a>;
        type Vault = R2<'a>;
        type Gzip = StreamGzip;
        type Shelf = R2<'a>;
        type Documents = HttpClient;
        type Probes = Bindings<'a>;
        type Signatures = WebCrypto;
        type Messenger = HttpClient;
        type Peer = ServiceBinding<'a>;
        type Random = Crypto;
    }

    fn config(env: &Env) -> Result<&'static Config, &'static BadConfig> {
        CONFIG.get(env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned))).as_ref()
    }

    fn world(env: &Env) -> World<'_, Runtime<'_>> {
        World {
            db: D1::new(env, "DB"),
            vault: R2::new(env, "BACKUPS"),
            gzip: StreamGzip,
            firmware: R2::new(env, "FIRMWARE"),
            company: R2::new(env, "COMPANY_BACKUPS"),
            documents: HttpClient,
            probes: Bindings::new(env),
            signatures: WebCrypto,
            messenger: HttpClient,
            status: ServiceBinding::new(env, "STATUS"),
            random: Crypto,
            keys: KEYS.with(|keys| *keys),
            clock: &clock::now,
        }
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config(&env), &world(&env)).await
        })
        .await
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        cron::run(SERVICE.name, event, async |tick| {
            let (config, world) = (config(&env), world(&env));
            let said = crate::cron::tick(&tick, config, &world).await.map_err(|error| error.to_string())?;
            if said == RUN_BEFORE {
                return Ok(said);
            }
            // It grows and never shrinks: the most that a run has needed since this isolate began.
            let mebibytes = core::arch::wasm32::memory_size::<0>().div_ceil(16);
            Ok(format!("{said}; {mebibytes} MiB of wasm memory"))
        })
        .await;
    }
}
