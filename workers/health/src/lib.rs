//! The health worker: it watches the others. So far it answers for its own health and keeps its
//! clock; checks, incidents and backups are built on this.

pub mod config;
pub mod cron;
pub mod routes;

#[cfg(target_arch = "wasm32")]
mod worker {
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, cron};

    use crate::config::Config;
    use crate::routes;

    rs1_platform::events! { fetch(SERVICE) = fetch, scheduled = tick }

    static SERVICE: Service =
        Service { name: "health", headers: routes::HEADERS, body_limit: routes::body_limit };
    static CONFIG: PerIsolate<Result<Config, BadConfig>> = PerIsolate::new();

    async fn fetch(request: RawRequest, env: Env) -> RawResponse {
        let config = CONFIG.get(&env, |vars| Config::read(&|name| vars.get(name).map(str::to_owned)));
        let db = D1::new(&env, "DB");
        rs1_platform::serve(request, &env, &SERVICE, async |request| {
            routes::handle(request, config.as_ref(), &db).await
        })
        .await
    }

    async fn tick(event: cron::RawEvent, env: Env) {
        cron::run(SERVICE.name, event, async |tick| {
            crate::cron::tick(&tick, &D1::new(&env, "DB")).await.map_err(|error| error.to_string())
        })
        .await;
    }
}
