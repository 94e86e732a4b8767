//! Values for examples: the same device, people and time throughout.

use std::collections::BTreeMap;

use rs1_domain::health::{Check, Shown, Status};
use rs1_domain::{DeviceId, EmailAddress, FirmwareVersion, MacAddress, RecordId, UnixMillis, UserId};

use crate::Operation;

/// The time of every example: 2026-01-20T10:00:00Z.
pub const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

/// Randomness of every example.
const RANDOM: [u8; 10] = *b"RS-1 Cloud";

/// What a device's id is like.
pub const DEVICE_ID: &str = "^[0-9a-f]{32}$";

/// What the id of a record is like whose kind has that prefix.
pub fn record_pattern(prefix: &str) -> String {
    format!("^{prefix}-[0-9A-HJKMNP-TV-Z]{{26}}$")
}

/// The MAC address of the device.
pub fn mac_address() -> MacAddress {
    MacAddress::from_bytes([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01])
}

/// The device.
pub fn device_id() -> DeviceId {
    DeviceId::of(&mac_address())
}

/// Its owner.
pub fn user_id() -> UserId {
    UserId::generate(NOW, RANDOM)
}

/// A record's id.
pub fn record_id(prefix: &'static str) -> RecordId {
    RecordId::generate(prefix, NOW, RANDOM)
}

/// An address.
///
/// # Panics
/// For text that is none.
#[expect(clippy::expect_used, reason = "whoever writes another example sees it when the document is made")]
pub fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an e-mail address")
}

/// A version.
///
/// # Panics
/// For text that is none.
#[expect(clippy::expect_used, reason = "whoever writes another example sees it when the document is made")]
pub fn version(text: &str) -> FirmwareVersion {
    FirmwareVersion::parse(text).expect("a version")
}

/// The answers of a health route.
pub fn health(operation: Operation) -> Operation {
    let check = |status| Check { status, detail: None };
    let checks = BTreeMap::from([("config", check(Status::Ok)), ("database", check(Status::Ok))]);
    let well = Shown { status: Status::Ok, version: "0.1.0", checks: &checks };
    let silent = Check { status: Status::Fail, detail: Some("does not answer".to_owned()) };
    let checks = BTreeMap::from([("config", check(Status::Ok)), ("database", silent)]);
    let unwell = Shown { status: Status::Fail, version: "0.1.0", checks: &checks };
    operation.answers(200, "All is well", &well).answers(
        503,
        "Something is not; the checks say what",
        &unwell,
    )
}
