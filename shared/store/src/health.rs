//! The checks that every worker with a database answers its health route with.

use rs1_domain::Answer;
use rs1_domain::config::BadConfig;
use rs1_domain::health::Health;
use rs1_domain::port::Database;

use crate::cron;

/// Whether a worker's configuration is good and its database answers.
pub async fn check(
    worker: &str,
    version: &str,
    config: Result<(), &BadConfig>,
    db: &impl Database,
) -> Answer {
    look(worker, config, db).await.into_answer(version)
}

/// The same, for a worker that has more to tell.
pub async fn look(worker: &str, config: Result<(), &BadConfig>, db: &impl Database) -> Health {
    let mut health = Health::new();
    health.config(config);
    health.dependency("database", db.batch(vec![cron::runs(worker)]).await.map(|_| ()));
    health
}
