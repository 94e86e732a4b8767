//! Identifiers. Each is a type that cannot hold anything malformed, so code that has one need not
//! check it again.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{UnixMillis, hex};

/// Text that a device appends to its MAC address before hashing (contract, section 1).
const DEVICE_ID_SUFFIX: &[u8] = b"opticworks-rs1";

/// A device's identity: 32 lower-case hex digits, derived from its MAC address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// Length of the text form in characters.
    pub const LENGTH: usize = 32;

    /// Reads exactly 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex::is_lower_hex(text, Self::LENGTH).then(|| Self(text.to_owned()))
    }

    /// The id of the device with that MAC address: the first 16 bytes of
    /// SHA-256(twelve lower-case hex digits ‖ `opticworks-rs1`).
    pub fn of(mac: &MacAddress) -> Self {
        let digest =
            Sha256::new().chain_update(hex::encode(&mac.0)).chain_update(DEVICE_ID_SUFFIX).finalize();
        Self(hex::encode(digest.get(..16).unwrap_or_default()))
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A MAC address as the contract writes it: `AA:BB:CC:DD:EE:FF`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Reads six pairs of hex digits, of either case, with colons between.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            [*byte] = hex::decode::<1>(pairs.next()?)?;
        }
        pairs.next().is_none().then_some(Self(bytes))
    }

    /// A MAC address from its six bytes.
    pub fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    fn text(self) -> String {
        let mut text = String::with_capacity("AA:BB:CC:DD:EE:FF".len());
        for byte in self.0 {
            if !text.is_empty() {
                text.push(':');
            }
            for nibble in [byte >> 4, byte & 0x0f] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
        text
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// An MQTT client id that a device may use: its device id, alone or followed by `-` and 1 to 16 of
/// `[A-Za-z0-9_-]`. Anything else could take over another device's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId {
    text: String,
    device: DeviceId,
}

impl ClientId {
    /// Reads a client id; `None` if no device may use it.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, rest) = text.split_at_checked(DeviceId::LENGTH)?;
        let device = DeviceId::parse(device)?;
        let fine = match rest.strip_prefix('-') {
            None => rest.is_empty(),
            Some(suffix) => {
                (1..=16).contains(&suffix.len())
                    && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            }
        };
        fine.then(|| Self { text: text.to_owned(), device })
    }

    /// The device that may use this client id.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The client id as sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A product variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sku {
    /// `rs1_lite`: LD2410 radar, presence only, no zones.
    Lite,
    /// `rs1_pro`: LD2450 radar, up to three targets with positions.
    Pro,
}

impl Sku {
    /// What a fault says when a SKU is expected.
    pub const EXPECTED: &'static str = "must be rs1_lite or rs1_pro";

    /// Reads the wire name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "rs1_lite" => Some(Self::Lite),
            "rs1_pro" => Some(Self::Pro),
            _ => None,
        }
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lite => "rs1_lite",
            Self::Pro => "rs1_pro",
        }
    }
}

/// The id of one request, in its answer, its problem document and its log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Takes over a caller's `X-Request-Id`: 1 to 128 of `[A-Za-z0-9._:-]`. Anything else is not
    /// taken, so that nothing foreign gets into headers and logs.
    pub fn from_header(text: &str) -> Option<Self> {
        let fine = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'));
        fine.then(|| Self(text.to_owned()))
    }

    /// A new id, sortable by time: `req-` and a ULID.
    pub fn generate(now: UnixMillis, random: [u8; 10]) -> Self {
        Self(with_ulid("req", now, random))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a stored record: a prefix that names its kind, a hyphen, and a ULID, so that ids sort
/// by the time they were made and can be told apart at a glance (`sec-01K…`, `rol-01K…`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(String);

impl RecordId {
    /// A new id of that kind.
    pub fn generate(prefix: &'static str, now: UnixMillis, random: [u8; 10]) -> Self {
        Self(with_ulid(prefix, now, random))
    }

    /// Reads an id of that kind.
    pub fn parse(prefix: &'static str, text: &str) -> Option<Self> {
        let body = text.strip_prefix(prefix)?.strip_prefix('-')?;
        (body.len() == 26 && body.bytes().all(|byte| CROCKFORD.contains(&byte)))
            .then(|| Self(text.to_owned()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user of the app: `usr-` and a ULID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(RecordId);

impl UserId {
    /// A new user's id.
    pub fn generate(now: UnixMillis, random: [u8; 10]) -> Self {
        Self(RecordId::generate("usr", now, random))
    }

    /// Reads a user id.
    pub fn parse(text: &str) -> Option<Self> {
        RecordId::parse("usr", text).map(Self)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A user's session: `ses-` and a ULID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(RecordId);

impl SessionId {
    /// A new session's id.
    pub fn generate(now: UnixMillis, random: [u8; 10]) -> Self {
        Self(RecordId::generate("ses", now, random))
    }

    /// Reads a session id.
    pub fn parse(text: &str) -> Option<Self> {
        RecordId::parse("ses", text).map(Self)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An e-mail address in lower case. RFC 5321 leaves the case of the part before `@` to the receiving host; no host of our
/// time tells two people apart by it, and people do not remember how they typed theirs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// What a fault says when an address is expected.
    pub const EXPECTED: &'static str = "must be an e-mail address";

    /// Reads an address: one `@` with text on both sides, at most 254 bytes, neither spaces nor control characters. Whether it exists is for
    /// the identity provider to say.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let fine = (3..=254).contains(&text.len())
            && !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        fine.then(|| Self(text.to_lowercase()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Crockford's Base32 alphabet, as ULIDs use it.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A prefix, a hyphen and a ULID: 48 bits of Unix milliseconds and 80 random bits in 26 characters that sort as text.
fn with_ulid(prefix: &str, now: UnixMillis, random: [u8; 10]) -> String {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let mut text = String::with_capacity(prefix.len().saturating_add(27));
    text.push_str(prefix);
    text.push('-');
    // Three groups that fit a machine's word: shifting all 128 bits for each digit is a call in wasm.
    let time = now.0.max(0).cast_unsigned() & 0xffff_ffff_ffff;
    let (high, low) = random.split_at(5);
    for (number, digits) in [(time, 10_u32), (number(high), 8), (number(low), 8)] {
        for place in (0..digits).rev() {
            let digit = (number >> place.saturating_mul(5)) & 31;
            let digit = usize::try_from(digit).unwrap_or(0);
            text.push(char::from(CROCKFORD.get(digit).copied().unwrap_or(b'0')));
        }
    }
    text
}

macro_rules! text_form {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}
text_form!(DeviceId, ClientId, Sku, RequestId, RecordId, UserId, SessionId, EmailAddress);

macro_rules! read_from_text {
    ($($name:ident: $expected:literal),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| de::Error::custom(concat!("expected ", $expected)))
            }
        }
    )*};
}
read_from_text!(
    DeviceId: "32 lower-case hex digits",
    MacAddress: "a MAC address like AA:BB:CC:DD:EE:FF",
    Sku: "rs1_lite or rs1_pro",
    UserId: "a user id, usr-…",
    SessionId: "a session id, ses-…",
    EmailAddress: "an e-mail address"
);

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";

    #[test]
    fn the_contracts_vector_derives() {
        let mac = MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap();
        assert_eq!(DeviceId::of(&mac).as_str(), ID);
        assert_eq!(MacAddress::parse("aa:bb:cc:dd:ee:01"), Some(mac));
        assert_eq!(mac.to_string(), "AA:BB:CC:DD:EE:01");
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        for text in [
            "",
            "AA:BB:CC:DD:EE",
            "AA:BB:CC:DD:EE:01:02",
            "AABBCCDDEE01",
            "AA-BB-CC-DD-EE-01",
            "GG:BB:CC:DD:EE:01",
            "A:BB:CC:DD:EE:011",
        ] {
            assert_eq!(MacAddress::parse(text), None, "{text}");
        }
        for text in [
            "",
            "3E32E97B9D6CF5E193D3A3A7E8FD9A97",
            "3e32e97b9d6cf5e193d3a3a7e8fd9a9",
            "3e32e97b9d6cf5e193d3a3a7e8fd9a977",
            "xe32e97b9d6cf5e193d3a3a7e8fd9a97",
        ] {
            assert_eq!(DeviceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_id_is_the_device_id_with_an_optional_short_suffix() {
        for (suffix, fine) in [
            ("", true),
            ("-1", true),
            ("-home_Assistant-1", true),
            ("-0123456789abcdef", true),
            ("-0123456789abcdefg", false),
            ("-", false),
            ("x", false),
            ("-a b", false),
            ("-é", false),
            ("/#", false),
        ] {
            let text = format!("{ID}{suffix}");
            assert_eq!(ClientId::parse(&text).is_some(), fine, "{text}");
        }
        assert_eq!(ClientId::parse("-1"), None);
        assert_eq!(ClientId::parse(&format!("é{ID}")), None);
    }

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = RecordId::generate("sec", UnixMillis(1_763_690_000_000), [255; 10]);
        let late = RecordId::generate("sec", UnixMillis(1_763_690_000_001), [0; 10]);
        assert!(early < late);
        assert_eq!(RecordId::parse("sec", early.as_str()), Some(early.clone()));
        assert_eq!(RecordId::parse("rol", early.as_str()), None);
        assert_eq!(RecordId::parse("sec", "sec-01K"), None);
        // The ULID specification's largest value.
        assert_eq!(with_ulid("x", UnixMillis(0xffff_ffff_ffff), [255; 10]), "x-7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn addresses_differ_by_more_than_case() {
        assert_eq!(EmailAddress::parse("Ada@Optic.Works").unwrap().as_str(), "ada@optic.works");
        for text in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "ada"] {
            assert_eq!(EmailAddress::parse(text), None, "{text}");
        }
        assert_eq!(EmailAddress::parse(&format!("{}@example.com", "a".repeat(300))), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,60}") {
            let _ = (MacAddress::parse(&text), ClientId::parse(&text), RequestId::from_header(&text));
            let _ = (UserId::parse(&text), SessionId::parse(&text), EmailAddress::parse(&text));
        }

        #[test]
        fn a_client_id_always_belongs_to_the_device_it_begins_with(suffix in "(-[A-Za-z0-9_-]{1,16})?") {
            let client = ClientId::parse(&format!("{ID}{suffix}")).unwrap();
            prop_assert_eq!(client.device().as_str(), ID);
        }
    }
}
