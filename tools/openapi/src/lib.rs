//! The OpenAPI document of all workers, as `device-api` serves it at `/api/openapi.json`.
//!
//! It is kept in the repository, so that a change of the API is seen in review; a test holds it against what the code says.

use anyhow::{Context, Result, anyhow};
use rs1_openapi::{Operation, document};

/// Where the document is kept.
pub const PATH: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../workers/device-api/assets/api/openapi.json");

/// Everything that every worker answers.
pub fn operations() -> Vec<Operation> {
    [
        rs1_worker_device_api::document::operations(),
        rs1_worker_telemetry::document::operations(),
        rs1_worker_history::document::operations(),
        rs1_worker_archive::document::operations(),
        rs1_worker_ota::document::operations(),
        rs1_worker_health::document::operations(),
        rs1_worker_status::document::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The document's text.
///
/// # Errors
/// When operations contradict each other.
pub fn text() -> Result<String> {
    let document = document(env!("CARGO_PKG_VERSION"), operations()).map_err(|why| anyhow!(why))?;
    let mut text = serde_json::to_string_pretty(&document).context("writing the document")?;
    text.push('\n');
    Ok(text)
}
