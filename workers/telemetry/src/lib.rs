//! The telemetry worker: everything that EMQX calls, and what follows from it.
//!
//! - [`routes`]: admission (`/webhook/mqtt-auth`, `/webhook/mqtt-acl`) and what devices say
//!   (`/webhook/device-state`, `/webhook/telemetry`, `/webhook/device-offline`);
//! - [`queue`]: the consumer that archives and counts telemetry, and keeps the security log;
//! - [`cron`]: the hourly sweep.
//!
//! Handlers are plain Rust over ports, so native tests run every route (`tests/`); only the last
//! lines of this file know the Workers runtime.

pub mod config;
pub mod cron;
pub mod handlers;
pub mod queue;
pub mod routes;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::queue::Producer;
    use rs1_platform::r2::R2;
    use rs1_platform::random::Crypto;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, cron, queue};

    use crate::config::Config;
    use crate::routes;
    use crate::world::World;

    rs1_platform::events! { fetch(SERVICE) = fetch, queue = consume, scheduled = tick }

    static SERVICE: Service =
        Service { name: "telemetry", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    fn world(env: &Env) -> World<D1<'_>, Producer<'_>, R2<'_>, Crypto> {
        World {
            db: D1::new(env, "DB"),
            queue: Producer::new(env, "TELEMETRY_QUEUE"),
            archives: R2::new(env, "ARCHIVES"),
            random: Crypto,
        }
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let config = CONFIG.get(&env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned)));
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config.as_ref(), &world(&env)).await
        })
        .await
    }

    async fn consume(batch: queue::RawBatch, env: Env) {
        queue::consume(SERVICE.name, batch, async |batch| crate::queue::consume(&batch, &world(&env)).await)
            .await;
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        cron::run(SERVICE.name, event, async |tick| {
            crate::cron::tick(&tick, &world(&env).db).await.map_err(|error| error.to_string())
        })
        .await;
    }
}
