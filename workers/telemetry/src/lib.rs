//! The telemetry worker: everything that EMQX calls, and what follows from it.
//!
//! - [`routes`]: admission (`/webhook/mqtt-auth`, `/webhook/mqtt-acl`) and what devices say
//!   (`/webhook/device-state`, `/webhook/telemetry`, `/webhook/ota-status`, `/webhook/device-offline`,
//!   `/webhook/config-status`, `/webhook/diagnostics`);
//! - [`notice`]: how the security log is told;
//! - [`queue`]: the consumer that archives and counts telemetry, and keeps the security log; [`objects`]: telemetry that comes
//!   collected, thousands of messages at a time.
//!
//! What the clock has to do with telemetry is the archive worker's: this one is small and starts quickly, since devices and EMQX wait.
//!
//! Handlers are plain Rust over ports, so native tests run every route (`tests/`); only the last
//! lines of this file know the Workers runtime.

pub mod config;
#[cfg(feature = "schema")]
pub mod document;
pub mod handlers;
pub mod notice;
pub mod objects;
pub mod queue;
pub mod routes;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::cell::RefCell;
    use std::marker::PhantomData;
    use std::rc::Rc;

    use rs1_domain::config::BadConfig;
    use rs1_domain::security::Bursts;
    use rs1_platform::d1::D1;
    use rs1_platform::emqx::Emqx;
    use rs1_platform::queue::Producer;
    use rs1_platform::r2::R2;
    use rs1_platform::random::Crypto;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, queue};

    use crate::config::Config;
    use crate::routes;
    use crate::world::{Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch, queue = consume }

    static SERVICE: Service =
        Service { name: "telemetry", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// Shared by every request of this isolate.
        static BURSTS: Rc<RefCell<Bursts>> = Rc::default();
    }

    /// The Workers runtime's ports, for as long as an event lasts.
    struct Runtime<'a>(PhantomData<&'a ()>);

    impl<'a> Ports for Runtime<'a> {
        type Database = D1<'a>;
        type Queue = Producer<'a>;
        type Bucket = R2<'a>;
        type Random = Crypto;
        type Broker = Emqx<'a>;
    }

    fn config(env: &Env) -> Result<&'static Config, &'static BadConfig> {
        CONFIG.get(env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned))).as_ref()
    }

    fn world(env: &Env) -> World<Runtime<'_>> {
        World {
            db: D1::new(env, "DB"),
            queue: Producer::new(env, "TELEMETRY_QUEUE"),
            updates: Producer::new(env, "OTA_STATUS_QUEUE"),
            archives: R2::new(env, "ARCHIVES"),
            files: R2::new(env, "R2"),
            random: Crypto,
            broker: Emqx::new(config(env).ok().map(|config| &config.broker)),
            bursts: BURSTS.with(Rc::clone),
        }
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config(&env), &world(&env)).await
        })
        .await
    }

    async fn consume(batch: queue::RawBatch, env: Env) {
        queue::consume(SERVICE.name, batch, async |batch| crate::queue::consume(&batch, &world(&env)).await)
            .await;
    }
}
