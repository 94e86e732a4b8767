//! Asking a device about itself, and where its answer is kept. The answer's own form is in
//! [`wire::diagnostics`](crate::wire::diagnostics).

use serde::Serialize;

use crate::json;
use crate::port::{Publication, Qos};
use crate::topic::{self, Channel};
use crate::{DeviceId, UnixMillis};

/// Days that answers are kept: by the bucket's lifecycle (`wrangler/r2/r2.lifecycle.json`), and their rows by the hourly sweep.
pub const KEPT_DAYS: i64 = 7;

/// The payload of `diag/request` (contract, section 2).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Asked<'a> {
    /// What the answer will repeat.
    pub request_id: &'a str,
    /// The sections that are wanted.
    pub include: &'a [String],
}

impl Asked<'_> {
    /// The question as it goes to a device. Nobody waits for an answer to an old one, so the broker need not keep it for
    /// a device that is away for longer.
    pub fn publication(&self, device: &DeviceId) -> Publication {
        let rest = Channel::DiagnosticsRequest.filters().first().copied().unwrap_or_default();
        Publication {
            topic: topic::of_device(device, rest),
            payload: json::write(self).unwrap_or_default(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_after: Some(120),
        }
    }
}

/// The key of an answer in the bucket of files: `diagnostics/{date of the question}/{device}/{request}.json`.
pub fn key(device: &DeviceId, request_id: &str, requested_at: UnixMillis) -> String {
    let time = requested_at.to_rfc3339();
    let date = time.get(..10).unwrap_or_default();
    format!("diagnostics/{date}/{device}/{request_id}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_goes_out_as_the_contract_says_and_its_answer_is_found_by_its_date() {
        let device = DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap();
        let asked = Asked { request_id: "dia-1", include: &["heap".to_owned()] }.publication(&device);
        assert_eq!(asked.topic, "opticworks/3e32e97b9d6cf5e193d3a3a7e8fd9a97/diag/request");
        assert_eq!(asked.payload, r#"{"request_id":"dia-1","include":["heap"]}"#);
        assert_eq!(
            key(&device, "dia-1", UnixMillis(1_768_903_200_000)),
            "diagnostics/2026-01-20/3e32e97b9d6cf5e193d3a3a7e8fd9a97/dia-1.json"
        );
    }
}
