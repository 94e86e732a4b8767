//! What this worker answers, for the OpenAPI document.

use rs1_openapi::{Operation, sample};

use crate::routes::HEALTH;

/// Every operation.
pub fn operations() -> Vec<Operation> {
    vec![sample::health(Operation::get(HEALTH, "archiveHealth", "How this worker is"))]
}
