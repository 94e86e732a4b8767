//! Device credentials (contract, section 1).
//!
//! The factory tells the cloud SHA-256(device secret). Those 32 bytes are the HMAC key of the
//! device's hourly MQTT password, so whoever has them can pose as the device: they are kept sealed
//! ([`Vault`]) and exist in the clear only while one connection is judged.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use rs1_domain::time::MINUTE;
use rs1_domain::wire::admission::Authentication;
use rs1_domain::{ClientId, DeviceId, UnixMillis, hex};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Secret;

/// How long before the end of an hour the next hour's password is good: device clocks run ahead.
const EARLY: i64 = 5 * MINUTE;

/// The HMAC key of a device's passwords: SHA-256 of its secret.
#[derive(Clone, Debug)]
pub struct DeviceKey(Secret<[u8; 32]>);

impl DeviceKey {
    /// Reads a `device_secret_hash`: exactly 64 lower-case hex digits.
    pub fn parse(device_secret_hash: &str) -> Option<Self> {
        if !hex::is_lower_hex(device_secret_hash, 64) {
            return None;
        }
        hex::decode::<32>(device_secret_hash).map(|key| Self(Secret::new(key)))
    }

    /// Whether two keys are the same, in constant time.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.expose().ct_eq(other.0.expose()).into()
    }

    /// The password of `device` for an hour (Unix seconds / 3600, rounded down), as 32 bytes.
    pub fn password(&self, device: &DeviceId, hour: i64) -> [u8; 32] {
        self.passwords(device)(hour)
    }

    /// [`Self::password`] for several hours: the key is prepared once.
    fn passwords(&self, device: &DeviceId) -> impl Fn(i64) -> [u8; 32] {
        // HMAC takes a key of any length, so this cannot fail; a zero password would match nothing.
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose())
            .map(|mac| mac.chain_update(device.as_str()).chain_update(":"));
        move |hour| {
            mac.as_ref().map_or([0; 32], |mac| {
                mac.clone().chain_update(hour.to_string()).finalize().into_bytes().into()
            })
        }
    }

    /// Whether `password` is good at `now`: the current hour's, the one before, and in the last
    /// five minutes of an hour the next one's. What is not good is compared with all of them, in constant time each.
    pub fn accepts(&self, device: &DeviceId, password: &Password, now: UnixMillis) -> bool {
        let hour = now.hour();
        let early = (now.plus(EARLY).hour() > hour).then(|| hour.saturating_add(1));
        let of = self.passwords(device);
        let mut hours = [Some(hour), Some(hour.saturating_sub(1)), early].into_iter().flatten();
        hours.any(|hour| of(hour).ct_eq(&password.0).into())
    }
}

/// A presented MQTT password, decoded.
pub struct Password([u8; 32]);

impl Password {
    /// Reads 64 hex digits of either case, or 44 characters of standard padded Base64.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(bytes) = hex::decode::<32>(text) {
            return Some(Self(bytes));
        }
        if text.len() != 44 {
            return None;
        }
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// Seals and unseals device keys with AES-256-GCM under the key-encryption key `DEVICE_KEK`.
///
/// The device id is associated data: a sealed key moved to another device's row does not open.
pub struct Vault {
    cipher: Aes256Gcm,
    /// While the key-encryption key is being replaced, the one before it: it opens, and seals nothing any more.
    previous: Option<Aes256Gcm>,
    /// A sealed key of no device, opened when a device is unknown so that the work is the same.
    decoy: String,
}

/// The sealed form's first character, so that a later form can be told apart.
const SEALED_VERSION: &str = "1.";

/// The decoy's device id. No MAC address is known to derive to it, and a match would gain nothing:
/// the decoy's key is zero bytes and its acceptance is ignored.
const DECOY_ID: &str = "00000000000000000000000000000000";

/// Why a sealed key did not open: another key-encryption key, another device's row, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotUnseal;

impl Vault {
    /// A vault under a key-encryption key written as 64 hex digits, and the one before it, which opens what nobody has sealed
    /// anew yet. `None` if they are not that.
    pub fn new(kek_hex: &str, previous_hex: Option<&str>) -> Option<Self> {
        let cipher = |text| hex::decode::<32>(text).map(|kek| Aes256Gcm::new(&kek.into()));
        let previous = match previous_hex {
            Some(text) => Some(cipher(text)?),
            None => None,
        };
        let mut vault = Self { cipher: cipher(kek_hex)?, previous, decoy: String::new() };
        // The decoy's nonce is fixed: it seals a constant, and never leaves memory.
        vault.decoy = vault.seal(&DeviceKey(Secret::new([0; 32])), &DeviceId::parse(DECOY_ID)?, [0; 12])?;
        Some(vault)
    }

    /// Seals `key` for the row of `device`. `nonce` must be random and fresh.
    ///
    /// The form is `1.` and Base64 of nonce (12 bytes) ‖ ciphertext (32) ‖ tag (16). `None` only if
    /// the cipher refuses, which AES-GCM does for messages of gigabytes.
    pub fn seal(&self, key: &DeviceKey, device: &DeviceId, nonce: [u8; 12]) -> Option<String> {
        let payload = Payload { msg: key.0.expose(), aad: device.as_str().as_bytes() };
        let ciphertext = self.cipher.encrypt(&nonce.into(), payload).ok()?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&ciphertext);
        Some(format!("{SEALED_VERSION}{}", STANDARD.encode(bytes)))
    }

    /// Opens a sealed key from the row of `device`.
    ///
    /// # Errors
    /// When it was sealed for another device or under another key, or is damaged.
    pub fn unseal(&self, sealed: &str, device: &DeviceId) -> Result<DeviceKey, CannotUnseal> {
        let text = sealed.strip_prefix(SEALED_VERSION).ok_or(CannotUnseal)?;
        let bytes = STANDARD.decode(text).map_err(|_| CannotUnseal)?;
        let (nonce, ciphertext) = bytes.split_at_checked(12).ok_or(CannotUnseal)?;
        let nonce: [u8; 12] = nonce.try_into().map_err(|_| CannotUnseal)?;
        let open = |cipher: &Aes256Gcm| {
            cipher.decrypt(&nonce.into(), Payload { msg: ciphertext, aad: device.as_str().as_bytes() }).ok()
        };
        let key = open(&self.cipher).or_else(|| open(self.previous.as_ref()?)).ok_or(CannotUnseal)?;
        key.try_into().map(|key| DeviceKey(Secret::new(key))).map_err(|_| CannotUnseal)
    }
}

/// A connection attempt whose names are in order; only the password is still to be judged.
pub struct Attempt {
    /// The device that the client says it is.
    pub device: DeviceId,
    password: Option<Password>,
}

/// Why a connection is refused. For logs; the client learns only that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user name is no device id.
    Username,
    /// The client id does not belong to the user name's device.
    ClientId,
    /// No such device is enrolled.
    UnknownDevice,
    /// The password is not well-formed, or not this device's, or of another hour.
    Password,
}

impl Refusal {
    /// The refusal's word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::ClientId => "client_id",
            Self::UnknownDevice => "unknown_device",
            Self::Password => "password",
        }
    }
}

impl Attempt {
    /// Checks what can be checked without the device's key.
    ///
    /// # Errors
    /// The refusal, when the user name is no device id or the client id is not that device's.
    pub fn read(request: &Authentication<'_>) -> Result<Self, Refusal> {
        let device = DeviceId::parse(&request.username).ok_or(Refusal::Username)?;
        let client = ClientId::parse(&request.clientid).ok_or(Refusal::ClientId)?;
        if *client.device() != device {
            return Err(Refusal::ClientId);
        }
        Ok(Self { device, password: Password::parse(&request.password) })
    }

    /// Judges the attempt, given the device's sealed key (`None` if it is not enrolled).
    ///
    /// An unknown device, a malformed password and a wrong one cost the same work as a right one.
    ///
    /// # Errors
    /// `Ok(Some(refusal))` refuses the client; `Err` means that the stored key cannot be opened,
    /// which is our fault and not the device's.
    pub fn judge(
        &self,
        vault: &Vault,
        sealed: Option<&str>,
        now: UnixMillis,
    ) -> Result<Option<Refusal>, CannotUnseal> {
        let key = match (sealed, DeviceId::parse(DECOY_ID)) {
            (Some(sealed), _) => vault.unseal(sealed, &self.device)?,
            (None, Some(decoy)) => vault.unseal(&vault.decoy, &decoy)?,
            (None, None) => return Err(CannotUnseal),
        };
        let presented = self.password.as_ref().map_or(Password([0; 32]), |password| Password(password.0));
        let right = key.accepts(&self.device, &presented, now);
        Ok(match (sealed, &self.password) {
            (None, _) => Some(Refusal::UnknownDevice),
            (Some(_), Some(_)) if right => None,
            _ => Some(Refusal::Password),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::MacAddress;
    use rs1_domain::time::{HOUR, SECOND};
    use sha2::Digest;

    use super::*;

    const KEK: &str = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";
    const HASH: &str = "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd";
    const PASSWORD_HEX: &str = "75b8f8fd547e0ad36718a6d634d2ceba7e3c43f12cc8fc271c52e22904c221ec";
    const PASSWORD_B64: &str = "dbj4/VR+CtNnGKbWNNLOun48Q/EsyPwnHFLiKQTCIew=";

    fn ten_o_clock() -> UnixMillis {
        UnixMillis::parse_rfc3339("2026-01-20T10:00:00Z").unwrap()
    }

    fn device() -> DeviceId {
        DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap())
    }

    fn key() -> DeviceKey {
        DeviceKey::parse(HASH).unwrap()
    }

    fn vault() -> Vault {
        Vault::new(KEK, None).unwrap()
    }

    fn attempt(client: &str, username: &str, password: &str) -> Result<Attempt, Refusal> {
        Attempt::read(&Authentication {
            clientid: client.into(),
            username: username.into(),
            password: password.into(),
            peerhost: "203.0.113.7".into(),
        })
    }

    #[test]
    fn the_contracts_vector_holds() {
        let secret: Vec<u8> = (0..32).collect();
        assert_eq!(hex::encode(&Sha256::digest(secret)), HASH);
        assert_eq!(hex::encode(&key().password(&device(), 491_362)), PASSWORD_HEX);
        assert_eq!(STANDARD.encode(key().password(&device(), 491_362)), PASSWORD_B64);
    }

    #[test]
    fn a_password_is_good_for_its_hour_the_next_and_five_minutes_before() {
        let password = Password::parse(PASSWORD_HEX).unwrap();
        for (offset, good) in [
            (-HOUR, false),
            (-EARLY - 1, false),
            (-EARLY, true),
            (-1, true),
            (0, true),
            (HOUR - 1, true),
            (2 * HOUR - 1, true),
            (2 * HOUR, false),
        ] {
            let now = ten_o_clock().plus(offset);
            assert_eq!(key().accepts(&device(), &password, now), good, "{offset} ms after the hour began");
        }
    }

    #[test]
    fn both_spellings_of_a_password_are_read() {
        for text in [PASSWORD_HEX, &PASSWORD_HEX.to_uppercase(), PASSWORD_B64] {
            assert!(key().accepts(&device(), &Password::parse(text).unwrap(), ten_o_clock()), "{text}");
        }
        for text in [
            "",
            "password",
            &PASSWORD_B64[..43],
            &PASSWORD_HEX[..63],
            "päss\"\\wörd",
            &"é".repeat(22),
            &"=".repeat(44),
        ] {
            assert!(Password::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_sealed_key_opens_for_its_device_only() {
        let sealed = vault().seal(&key(), &device(), [7; 12]).unwrap();
        assert!(!sealed.contains(HASH));
        assert!(vault().unseal(&sealed, &device()).unwrap().same_as(&key()));
        let other = DeviceId::parse("00112233445566778899aabbccddeeff").unwrap();
        assert!(vault().unseal(&sealed, &other).is_err(), "moved to another row");
        let other_vault = Vault::new(&"0".repeat(64), None).unwrap();
        assert!(other_vault.unseal(&sealed, &device()).is_err(), "another key-encryption key");
        for damaged in ["", "1.", "2.AAAA", &sealed[..sealed.len() - 4], &format!("{sealed}AAAA")] {
            assert!(vault().unseal(damaged, &device()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn while_the_key_encryption_key_is_replaced_both_open_and_the_new_one_seals() {
        let sealed = vault().seal(&key(), &device(), [7; 12]).unwrap();
        let new = "0".repeat(64);
        let both = Vault::new(&new, Some(KEK)).unwrap();
        assert!(both.unseal(&sealed, &device()).unwrap().same_as(&key()));
        let anew = both.seal(&key(), &device(), [8; 12]).unwrap();
        assert!(Vault::new(&new, None).unwrap().unseal(&anew, &device()).unwrap().same_as(&key()));
        assert!(vault().unseal(&anew, &device()).is_err());
        assert!(Vault::new(&new, Some("short")).is_none() && Vault::new("short", Some(KEK)).is_none());
    }

    #[test]
    fn who_is_admitted_and_who_is_not() {
        let sealed = vault().seal(&key(), &device(), [7; 12]).unwrap();
        let id = device();
        let id = id.as_str();
        let judge = |attempt: Attempt, sealed: Option<&str>| attempt.judge(&vault(), sealed, ten_o_clock());

        assert_eq!(judge(attempt(id, id, PASSWORD_HEX).unwrap(), Some(&sealed)), Ok(None));
        assert_eq!(judge(attempt(&format!("{id}-app"), id, PASSWORD_B64).unwrap(), Some(&sealed)), Ok(None));
        assert_eq!(judge(attempt(id, id, "wrong").unwrap(), Some(&sealed)), Ok(Some(Refusal::Password)));
        assert_eq!(judge(attempt(id, id, "").unwrap(), Some(&sealed)), Ok(Some(Refusal::Password)));
        assert_eq!(
            judge(attempt(id, id, &"0".repeat(64)).unwrap(), Some(&sealed)),
            Ok(Some(Refusal::Password))
        );
        assert_eq!(judge(attempt(id, id, PASSWORD_HEX).unwrap(), None), Ok(Some(Refusal::UnknownDevice)));
        assert_eq!(judge(attempt(id, id, PASSWORD_HEX).unwrap(), Some("1.damaged")), Err(CannotUnseal));

        for (client, username, refusal) in [
            ("00112233445566778899aabbccddeeff", id, Refusal::ClientId),
            (&*format!("{id}x"), id, Refusal::ClientId),
            ("", id, Refusal::ClientId),
            (id, "", Refusal::Username),
            (id, "undefined", Refusal::Username),
            (id, &*id.to_uppercase(), Refusal::Username),
        ] {
            assert_eq!(
                attempt(client, username, PASSWORD_HEX).err(),
                Some(refusal),
                "{client} as {username}"
            );
        }
    }

    #[test]
    fn the_decoys_own_password_admits_nobody() {
        let zero = DeviceKey(Secret::new([0; 32]));
        let password = hex::encode(&zero.password(&device(), ten_o_clock().hour()));
        let attempt = attempt(device().as_str(), device().as_str(), &password).unwrap();
        assert_eq!(attempt.judge(&vault(), None, ten_o_clock()), Ok(Some(Refusal::UnknownDevice)));
    }

    proptest! {
        #[test]
        fn a_password_of_any_other_key_or_device_is_refused(key_bytes: [u8; 32], mac: [u8; 6], minutes in 0_i64..10_000) {
            let now = ten_o_clock().plus(minutes * 60 * SECOND);
            let other = DeviceKey(Secret::new(key_bytes));
            let other_device = DeviceId::of(&MacAddress::from_bytes(mac));
            prop_assume!(!other.same_as(&key()) && other_device != device());
            prop_assert!(key().accepts(&device(), &Password(key().password(&device(), now.hour())), now));
            prop_assert!(!key().accepts(&device(), &Password(other.password(&device(), now.hour())), now));
            prop_assert!(!key().accepts(&other_device, &Password(key().password(&device(), now.hour())), now));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,80}") {
            let _ = Password::parse(&text);
            let _ = DeviceKey::parse(&text);
            let _ = vault().unseal(&text, &device());
        }

        #[test]
        fn sealing_with_fresh_nonces_never_repeats(a: [u8; 12], b: [u8; 12]) {
            prop_assume!(a != b);
            prop_assert_ne!(vault().seal(&key(), &device(), a), vault().seal(&key(), &device(), b));
        }
    }
}
