//! `{"reason": …}`: what is asked of an operator who does something that others will want to understand.

use rs1_domain::Faults;
use rs1_domain::wire::fields::{self, Fields};

/// Longest reason, in characters.
const REASON: usize = 500;

/// Reads a body that is a reason and nothing else.
///
/// # Errors
/// Every fault, by its pointer.
pub fn read(json: &[u8]) -> Result<String, Faults> {
    let object = fields::object(json)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let reason = fields.required("reason", "must be 1 to 500 characters of text", &mut faults, |value| {
        let reason = value.as_str()?.trim();
        (1..=REASON).contains(&reason.chars().count()).then(|| reason.to_owned())
    });
    fields.refuse_unknown(&["reason"], &mut faults);
    faults.into_result(reason.unwrap_or_default())
}
