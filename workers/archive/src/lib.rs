//! The archive worker: the care of what devices said, by the clock.
//!
//! It is apart from `telemetry`, which takes in what devices say, and from `history`, which answers those who ask: both are waited for,
//! and what has an hour's time is no weight of theirs.
//!
//! - [`cron`]: the minute's watch, which finds what no message tells, the hourly [`compact`](mod@compact)ion of the archive, the
//!   fleet's hours, and the hourly [`sweep`](mod@sweep), of which [`seal`](mod@seal) compares what was counted with what is archived;
//! - [`export`]: all that there is of a device as one archive; [`erase`]: that it goes;
//! - [`routes`]: how this worker is.
//!
//! All of it is plain Rust over ports, so native tests run every trigger; only the last lines of this file know the Workers
//! runtime.

pub mod compact;
pub mod config;
pub mod cron;
#[cfg(feature = "schema")]
pub mod document;
pub mod erase;
pub mod export;
mod recount;
pub mod routes;
pub mod seal;
pub mod sweep;
pub mod tar;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::marker::PhantomData;

    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::queue::Producer;
    use rs1_platform::r2::R2;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, cron};

    use crate::config::Config;
    use crate::routes;
    use crate::world::{Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch, scheduled = tick }

    static SERVICE: Service =
        Service { name: "archive", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    /// The Workers runtime's ports, for as long as an event lasts.
    struct Runtime<'a>(PhantomData<&'a ()>);

    impl<'a> Ports for Runtime<'a> {
        type Database = D1<'a>;
        type Queue = Producer<'a>;
        type Archive = R2<'a>;
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let config = CONFIG.get(&env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned)));
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config.as_ref(), &D1::new(&env, "DB")).await
        })
        .await
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        let world: World<Runtime<'_>> = World {
            db: D1::new(&env, "DB"),
            queue: Producer::new(&env, "TELEMETRY_QUEUE"),
            archives: R2::new(&env, "ARCHIVES"),
        };
        cron::run(SERVICE.name, event, async |tick| {
            crate::cron::tick(&tick, &world).await.map_err(|error| error.to_string())
        })
        .await;
    }
}
