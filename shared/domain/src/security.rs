//! What the security log is told.
//!
//! These travel over a queue from the routes that notice something to the consumer that writes it
//! down, so that noticing needs no database and a flood of refusals costs one statement a batch.
//! [`Bursts`] keeps such a flood off the queue as well.
//!
//! A row counts what happened to one subject within one window. Where strangers decide what is said (a client id,
//! a topic, a name), the subject is the [source](source_of) of it, which they cannot make up; so what they send
//! decides how far a row counts, and not how many rows there are.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::time::{MINUTE, as_millis};
use crate::{RecordId, RequestId, UnixMillis};

mod burst;

pub use burst::{Bursts, Told};

/// How long a burst of the same event is one row, in milliseconds.
pub const WINDOW: i64 = 10 * MINUTE;

/// More failed authentications than this from one address within [`WINDOW`] are reported.
pub const TOLERATED_FAILURES: u32 = 5;

/// Rows of one kind that a window may have. What more subjects do is counted in one further row, of [`OTHERS`].
pub const MOST_SUBJECTS: u32 = 100;

/// The subject of a row that counts for all who have no row of their own.
pub const OTHERS: &str = "*";

/// How much a security event matters.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody tried something that is not allowed.
    Warning,
    /// It looks like an attack, or like a loss: people are told.
    High,
}

impl Severity {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::High => "high",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::High].into_iter().find(|severity| severity.as_str() == text)
    }
}

/// Everything that the security log is told of.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename_all = "snake_case"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityKind {
    /// More failed MQTT authentications from one source than are [tolerated](TOLERATED_FAILURES). Subject: the source.
    AuthFailureRepeated,
    /// A client wanted a topic that is not its own. Subject: the source.
    AclViolation,
    /// Somebody asked more often than they may. Subject: the caller, `user:…`, `operator:…` or `ip:…`.
    RateLimitExceeded,
    /// An operator used the admin API. Subject: the operator.
    AdminApiAccess,
    /// A refresh token was used a second time. Subject: the user.
    TokenReuse,
    /// A webhook came without the secret. Subject: the source.
    BadWebhookSecret,
    /// A webhook came with the secret that is being replaced: whoever sent it has not been given the new one. Subject: the source.
    OutdatedSecret,
    /// A device rejected an image's hash or signature, or an upload was refused. Subject: the device, or the operator.
    FirmwareRejected,
    /// A secret was replaced, or the one before it dropped. Subject: the secret's name.
    SecretRotated,
    /// A device said that it is another one. Subject: the device.
    ProvisionMismatch,
    /// A device answered what nobody asked. Subject: the device.
    UnsolicitedDiagnostics,
    /// Backups are not as they should be. Subject: what is watched.
    BackupAlarm,
    /// They are again. Subject: what is watched.
    BackupRecovered,
}

impl SecurityKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::AuthFailureRepeated,
        Self::AclViolation,
        Self::RateLimitExceeded,
        Self::AdminApiAccess,
        Self::TokenReuse,
        Self::BadWebhookSecret,
        Self::OutdatedSecret,
        Self::FirmwareRejected,
        Self::SecretRotated,
        Self::ProvisionMismatch,
        Self::UnsolicitedDiagnostics,
        Self::BackupAlarm,
        Self::BackupRecovered,
    ];

    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthFailureRepeated => "auth_failure_repeated",
            Self::AclViolation => "acl_violation",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::AdminApiAccess => "admin_api_access",
            Self::TokenReuse => "token_reuse",
            Self::BadWebhookSecret => "bad_webhook_secret",
            Self::OutdatedSecret => "outdated_secret",
            Self::FirmwareRejected => "firmware_rejected",
            Self::SecretRotated => "secret_rotated",
            Self::ProvisionMismatch => "provision_mismatch",
            Self::UnsolicitedDiagnostics => "unsolicited_diagnostics",
            Self::BackupAlarm => "backup_alarm",
            Self::BackupRecovered => "backup_recovered",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::AuthFailureRepeated
            | Self::TokenReuse
            | Self::BadWebhookSecret
            | Self::FirmwareRejected
            | Self::ProvisionMismatch
            | Self::BackupAlarm => Severity::High,
            Self::AclViolation | Self::RateLimitExceeded | Self::UnsolicitedDiagnostics => Severity::Warning,
            Self::AdminApiAccess | Self::SecretRotated | Self::OutdatedSecret | Self::BackupRecovered => {
                Severity::Info
            }
        }
    }

    /// How long one row counts, in milliseconds. What is one act of one person has a row for each time.
    pub fn window(self) -> i64 {
        if self == Self::SecretRotated { 1 } else { WINDOW }
    }
}

impl Serialize for SecurityKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SecurityKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| D::Error::custom("kind: not one that is known"))
    }
}

/// Something that happened, for the security log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityEvent {
    /// `sec-…`.
    pub id: String,
    /// What; how much it matters follows from that.
    pub kind: SecurityKind,
    /// Whom it is about.
    pub subject: String,
    /// The IP address it came from.
    pub peerhost: Option<String>,
    /// Anything more; kept of a window's first occurrence.
    pub detail: Value,
    /// How often: this time, and times before it that nobody was told of yet.
    #[serde(default = "once")]
    pub count: u32,
    /// When.
    #[serde(with = "as_millis")]
    pub at: UnixMillis,
}

fn once() -> u32 {
    1
}

impl SecurityEvent {
    /// Something that happened once, now.
    pub fn new(kind: SecurityKind, subject: &str, at: UnixMillis, random: [u8; 10], detail: Value) -> Self {
        let id = RecordId::generate("sec", at, random).to_string();
        Self { id, kind, subject: subject.to_owned(), peerhost: None, detail, count: 1, at }
    }

    /// The same from an address, if that is known.
    #[must_use]
    pub fn from_address(self, peerhost: Option<&str>) -> Self {
        Self { peerhost: peerhost.map(str::to_owned), ..self }
    }
}

/// A failed MQTT authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthFailure {
    /// The [source](source_of) it came from.
    pub peerhost: String,
    /// When, and which: Unix ms × 1000 plus three digits out of the request id. Two failures of one
    /// millisecond stay two; one failure that is delivered twice stays one.
    pub mark: i64,
    /// How many: this one, and those just before it that nobody was told of yet.
    #[serde(default = "once")]
    pub count: u32,
}

impl AuthFailure {
    /// The failure of a request.
    pub fn new(peerhost: &str, at: UnixMillis, request_id: &RequestId) -> Self {
        let digest = request_id
            .as_str()
            .bytes()
            .fold(0_i64, |digest, byte| digest.wrapping_mul(31).wrapping_add(i64::from(byte)) & 0xffff_ffff);
        Self {
            peerhost: peerhost.to_owned(),
            mark: at.0.saturating_mul(1_000).saturating_add(digest % 1_000),
            count: 1,
        }
    }

    /// The marks of all of them, the latest first; at most one more than are tolerated, which is all that is ever kept.
    pub fn marks(&self) -> impl Iterator<Item = i64> {
        let (last, count) = (self.mark, self.count.min(TOLERATED_FAILURES.saturating_add(1)));
        (0..count).map(move |before| last.saturating_sub(i64::from(before)))
    }
}

/// Where a client is, as far as it cannot choose: its IPv4 address, or the /64 of its IPv6 address, all of which a
/// subscriber has. `unknown` for what is no address. Whoever says it wrote the address as it is usually written.
pub fn source_of(peerhost: &str) -> String {
    network(peerhost).unwrap_or_else(|| "unknown".to_owned())
}

fn network(peerhost: &str) -> Option<String> {
    let address = peerhost.strip_prefix("::ffff:").filter(|mapped| mapped.contains('.')).unwrap_or(peerhost);
    if !address.contains(':') {
        let mut parts = 0_usize;
        let four = address.split('.').all(|part| {
            parts = parts.saturating_add(1);
            part.len() <= 3 && part.parse::<u8>().is_ok()
        });
        return (four && parts == 4).then(|| address.to_owned());
    }
    // What `::` stands for are zeros; of the groups, only the first four matter.
    let (head, tail) = address.split_once("::").unwrap_or((address, ""));
    let count = |groups: &str| if groups.is_empty() { 0 } else { groups.split(':').count() };
    let known = count(head).saturating_add(count(tail));
    let is_group =
        |group: &str| (1..=4).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups = |groups: &str| groups.is_empty() || groups.split(':').all(is_group);
    let whole = if address.contains("::") { known < 8 } else { known == 8 };
    if !whole || !groups(head) || !groups(tail) {
        return None;
    }
    let zeros = 8_usize.saturating_sub(known);
    let all = head.split(':').filter(|group| !group.is_empty());
    let all =
        all.chain(std::iter::repeat_n("0", zeros)).chain(tail.split(':').filter(|group| !group.is_empty()));
    let mut network = String::new();
    for group in all.take(4) {
        let digits = group.trim_start_matches('0');
        network.push_str(if digits.is_empty() { "0" } else { digits });
        network.push(':');
    }
    network.make_ascii_lowercase();
    Some(network + ":/64")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_and_severity_has_its_name_on_the_wire() {
        for kind in SecurityKind::ALL {
            assert_eq!(json!(kind), json!(kind.as_str()));
            assert_eq!(SecurityKind::parse(kind.as_str()), Some(kind));
            assert_eq!(Severity::parse(kind.severity().as_str()), Some(kind.severity()));
            assert_eq!(json!(kind.severity()), json!(kind.severity().as_str()));
        }
        assert_eq!(SecurityKind::parse("other"), None);
        assert_eq!(Severity::parse("low"), None);
    }

    #[test]
    fn a_source_is_what_a_client_cannot_choose() {
        for (peerhost, source) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
            ("::1", "0:0:0:0::/64"),
            ("", "unknown"),
            ("203.0.113.7:1883", "unknown"),
            ("a name", "unknown"),
            ("203.0.113", "unknown"),
            ("203.0.113.256", "unknown"),
            ("203.0.113.7.1", "unknown"),
            ("2001:0db8:0001:0002:0003:0004:0005:0006", "2001:db8:1:2::/64"),
            ("2001:db8::5:0:0:1:2", "2001:db8:0:5::/64"),
            ("fe80::1", "fe80:0:0:0::/64"),
            ("1:2:3:4:5:6:7", "unknown"),
            ("1:2:3:4:5:6:7:8:9", "unknown"),
            ("1::2::3", "unknown"),
            ("2001:db8::12345", "unknown"),
            ("2001:db8::x", "unknown"),
        ] {
            assert_eq!(source_of(peerhost), source, "{peerhost}");
        }
    }

    proptest! {
        #[test]
        fn a_source_is_the_network_of_any_address_as_it_is_usually_written(v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr) {
            prop_assert_eq!(source_of(&v4.to_string()), v4.to_string());
            if v6.to_ipv4_mapped().is_none() && !v6.to_string().contains('.') {
                let [a, b, c, d, ..] = v6.segments();
                prop_assert_eq!(source_of(&v6.to_string()), format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = source_of(&text);
        }
    }

    #[test]
    fn what_was_queued_before_it_was_counted_reads_as_one() {
        let event = json!({"id": "sec-1", "kind": "acl_violation", "severity": "warning", "subject": "x", "peerhost": null,
            "detail": {}, "at": 5});
        assert_eq!(serde_json::from_value::<SecurityEvent>(event).unwrap().count, 1);
        let failure: AuthFailure =
            serde_json::from_value(json!({"peerhost": "203.0.113.7", "mark": 5_000})).unwrap();
        assert_eq!(failure.marks().collect::<Vec<_>>(), [5_000]);
    }

    #[test]
    fn failures_that_were_held_back_have_marks_of_their_own_as_far_as_those_are_kept() {
        let failure = AuthFailure { peerhost: "203.0.113.7".into(), mark: 5_000, count: 3 };
        assert_eq!(failure.marks().collect::<Vec<_>>(), [5_000, 4_999, 4_998]);
        assert_eq!(AuthFailure { count: 1_000, ..failure }.marks().count(), 6);
    }
}
