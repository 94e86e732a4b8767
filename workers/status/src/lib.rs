//! The status worker: what everybody may know of how the system is, as a page, as JSON and as a feed; and metrics for operators.
//!
//! It is apart from `health`, which does the checking: a page that many ask for at once, which is when something is down, costs the
//! checks nothing. `health` owns status.optic.works and passes on, over a service binding, what is for this worker.
//!
//! It reads D1 and nothing else, six statements by index in one trip, and keeps what it read for half a minute: see [`picture`].
//!
//! - [`picture`]: what was read;
//! - [`report`]: what it means, in words for everybody; nothing else of it leaves through the page;
//! - [`html`], [`feed`]: the report as a page and as Atom. As JSON it is what it is;
//! - [`metrics`]: for an operators' Prometheus;
//! - [`routes`]: which of these answers which request.
//!
//! All of it is plain Rust over a port, so native tests run it; only the last lines of this file know the Workers runtime.

pub mod config;
#[cfg(feature = "schema")]
pub mod document;
pub mod feed;
pub mod html;
pub mod metrics;
pub mod picture;
pub mod report;
pub mod routes;
pub mod text;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::marker::PhantomData;

    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service};

    use crate::config::Config;
    use crate::picture::Shelf;
    use crate::routes;
    use crate::world::{Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch }

    static SERVICE: Service =
        Service { name: "status", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// What was read last, for every request of this isolate: plain data, borrowed for a moment at a time and never across an
        /// await. Leaked once, as an isolate's statics are.
        static SHELF: &'static Shelf = Box::leak(Box::default());
    }

    /// The Workers runtime's ports, for as long as an event lasts.
    struct Runtime<'a>(PhantomData<&'a ()>);

    impl<'a> Ports for Runtime<'a> {
        type Database = D1<'a>;
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let config = CONFIG.get(&env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned)));
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            let world: World<'_, Runtime<'_>> =
                World { db: D1::new(&env, "DB"), shelf: SHELF.with(|shelf| *shelf) };
            routes::handle(request, config.as_ref(), &world).await
        })
        .await
    }
}
