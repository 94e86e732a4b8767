//! The health worker: it watches the others, and backs the database up every day. So far it answers for its own
//! health and makes the backups; checks and incidents are built on this.

pub mod backup;
pub mod config;
pub mod cron;
pub mod routes;

#[cfg(target_arch = "wasm32")]
mod worker {
    use rs1_domain::config::BadConfig;
    use rs1_platform::d1::D1;
    use rs1_platform::r2::{R2, StreamGzip};
    use rs1_platform::{Env, PerIsolate, RawRequest, RawResponse, Service, clock, cron};

    use crate::backup::Ports;
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
            let (db, vault) = (D1::new(&env, "DB"), R2::new(&env, "BACKUPS"));
            let ports = Ports { db: &db, vault: &vault, gzip: &StreamGzip, clock: &clock::now };
            crate::cron::tick(&tick, &ports).await.map_err(|error| error.to_string())
        })
        .await;
    }
}
