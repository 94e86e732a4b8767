//! The history worker: what devices said, what the security log says, and the metrics of all of it, for whoever may ask.
//!
//! It is apart from `telemetry`, which takes in what they say: that one is small and starts quickly, because devices and EMQX
//! wait for it. What has to be done with it by the clock is done by `archive`. A path below `/api` belongs to `device-api`, since routes
//! can have no wildcard in their middle; so `device-api` counts the requests of people and operators and passes on, over a service
//! binding, those that are for this worker. It looks at their tokens itself: whatever way a request came, it is no more than its token
//! says.
//!
//! - [`routes`]: which handler answers which request;
//! - [`handlers`]: one module a resource;
//! - [`format`](mod@format): the same answer as JSON, NDJSON or CSV.
//!
//! Handlers are plain Rust over ports, so native tests run every route; only the last lines of this file know the Workers
//! runtime.

pub mod config;
#[cfg(feature = "schema")]
pub mod document;
pub mod format;
pub mod handlers;
pub mod routes;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod worker {
    use std::cell::RefCell;
    use std::marker::PhantomData;
    use std::rc::Rc;

    use rs1_auth::jwt::KeyCache;
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::http_client::{HttpClient, WebCrypto};
    use rs1_platform::kv::Kv;
    use rs1_platform::r2::R2;
    use rs1_platform::random::Crypto;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service};

    use crate::config::Config;
    use crate::routes;
    use crate::world::{Ports, World};

    rs1_platform::events! { fetch(SERVICE) = fetch }

    static SERVICE: Service =
        Service { name: "history", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    std::thread_local! {
        /// Shared by every request of this isolate.
        static KEYS: Rc<RefCell<KeyCache>> = Rc::default();
    }

    /// The Workers runtime's ports, for as long as an event lasts.
    struct Runtime<'a>(PhantomData<&'a ()>);

    impl<'a> Ports for Runtime<'a> {
        type Database = D1<'a>;
        type Archive = R2<'a>;
        type KeyValue = Kv<'a>;
        type Random = Crypto;
        type Documents = HttpClient;
        type Signatures = WebCrypto;
    }

    fn world(env: &Env) -> World<Runtime<'_>> {
        World {
            db: D1::new(env, "DB"),
            archives: R2::new(env, "ARCHIVES"),
            cache: Kv::new(env, "CACHE"),
            random: Crypto,
            documents: HttpClient,
            signatures: WebCrypto,
            keys: KEYS.with(Rc::clone),
        }
    }

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let config = CONFIG.get(&env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned)));
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config.as_ref(), &world(&env)).await
        })
        .await
    }
}
