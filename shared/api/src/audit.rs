//! No admin access without a trace: the audit log says who asked for what, the security log counts
//! it. Written before the request is carried out; if it cannot be written, nothing is done.

use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random};
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::{Problem, RecordId, Request};
use rs1_store::security::{self, AdminAccess};
use rs1_store::sql::run;
use serde_json::json;

/// Notes that `operator` called `route`, about `target`.
///
/// # Errors
/// 503 when it cannot be written.
pub async fn admin_access(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    route: &'static str,
    target: Option<&str>,
    request: &Request,
) -> Result<(), Problem> {
    let access = AdminAccess {
        id: RecordId::generate("aud", request.now, random.bytes()),
        at: request.now,
        actor: &operator.name,
        method: request.method.as_str(),
        route,
        target,
        request_id: &request.request_id,
        detail: (!request.query.is_empty()).then(|| json!({"query": request.query})),
    };
    let (kind, detail) =
        (SecurityKind::AdminApiAccess, json!({"method": request.method.as_str(), "route": route}));
    let event = SecurityEvent::new(kind, &operator.name, request.now, random.bytes(), detail)
        .from_address(request.header("cf-connecting-ip"));
    let event = security::record(&[event]).map_err(|error| Problem::internal(error.to_string()))?;
    run(db, [security::audit(&access), event]).await?;
    Ok(())
}
