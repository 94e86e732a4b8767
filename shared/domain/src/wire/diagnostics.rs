//! The answer to a `diag/request` (contract, section 3.6), from either of its topics.

use serde_json::Value;

use super::fields::{self, Fields};
use crate::{Faults, UnixMillis};

/// A device's report about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagnosticsReport {
    /// The request that it answers, as the device repeats it.
    pub request_id: String,
    /// The device's clock.
    pub timestamp: UnixMillis,
}

impl DiagnosticsReport {
    /// Reads what decides where a payload belongs. Its sections stay as the device sent them.
    ///
    /// # Errors
    /// Every fault, with its pointer into the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(payload).map_err(Faults::of_content)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let request_id = fields.required("request_id", "must be text of 1 to 64 characters", f, |value| {
            value.as_str().filter(|text| (1..=64).contains(&text.len())).map(str::to_owned)
        });
        let timestamp = fields.required("timestamp", fields::TIME, f, fields::time);
        fields.required("diagnostics", "must be an object of sections", f, Value::as_object);
        match (request_id, timestamp) {
            (Some(request_id), Some(timestamp)) if faults.is_empty() => Ok(Self { request_id, timestamp }),
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_is_read_and_every_fault_named() {
        let payload =
            br#"{"request_id": "dia-1", "timestamp": "2026-01-20T10:00:00Z", "diagnostics": {"heap": {}}}"#;
        assert_eq!(DiagnosticsReport::read(payload).unwrap().request_id, "dia-1");
        let faults = DiagnosticsReport::read(br#"{"request_id": "", "diagnostics": []}"#).unwrap_err();
        let pointers: Vec<_> = faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/request_id", "/timestamp", "/diagnostics"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = DiagnosticsReport::read(&bytes);
        }
    }
}
