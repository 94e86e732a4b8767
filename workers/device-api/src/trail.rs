//! Who changed what, for the audit log of a device.

use rs1_domain::port::Random;
use rs1_domain::{DeviceId, RecordId, Request};
use rs1_store::Statement;
use rs1_store::security::{self, Act};
use serde_json::Value;

/// One request, as the audit log names it.
pub struct Trail<'a, R: Random> {
    /// Randomness, for ids.
    pub random: &'a R,
    /// The route's pattern.
    pub route: &'static str,
    /// The request.
    pub request: &'a Request,
}

impl<R: Random> Trail<'_, R> {
    /// Writes an act down, if the statement before it in the same transaction changed something.
    pub fn act(&self, actor: &str, action: &'static str, device: &DeviceId, detail: Value) -> Statement {
        security::act(&self.describe(actor, action, device, detail))
    }

    /// Writes an act down that no statement carries out.
    pub fn note(&self, actor: &str, action: &'static str, device: &DeviceId, detail: Value) -> Statement {
        security::note(&self.describe(actor, action, device, detail))
    }

    fn describe<'b>(
        &'b self,
        actor: &'b str,
        action: &'static str,
        device: &'b DeviceId,
        detail: Value,
    ) -> Act<'b> {
        let Request { method, now, request_id, .. } = self.request;
        let id = RecordId::generate("aud", *now, self.random.bytes());
        let (method, route) = (method.as_str(), self.route);
        Act { id, at: *now, actor, action, method, route, target: device, request_id, detail }
    }
}
