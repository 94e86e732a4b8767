//! Download links: who may fetch which image, in which rollout, and until when (contract, section 5).
//!
//! A link is a path and five query parameters. `sig` is an HMAC over the method, the path and the other four, so none
//! of them can be changed; the path stays the same while signatures change, so a download can be resumed under
//! the next link. The keys are a ring: while `SIGNING_KEY` rotates, links made with the previous key stay good
//! for the quarter of an hour that they last anyway.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use rs1_domain::time::SECOND;
use rs1_domain::{DeviceId, UnixMillis, hex};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Secret;

/// How long a link is good, in milliseconds. A download takes a minute or two; whoever is cut off asks for the rest
/// under the same link, and a device that comes back later is sent a new one.
pub const VALID: i64 = 900 * SECOND;

/// Longest `rollout` and `kid`.
const NAME_LENGTH: usize = 64;

/// What a link allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who may download.
    pub device: DeviceId,
    /// In which rollout.
    pub rollout: String,
    /// Unix seconds from which on it is not allowed any more.
    pub expires: i64,
}

/// Why a link allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLink {
    /// We did not make it: a parameter is missing, doubled, unknown or not as we write it.
    Form,
    /// We did not make it, or something in it was changed.
    Signature,
    /// We made it, and its time is over.
    Expired,
}

impl BadLink {
    /// The fault's word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Signature => "signature",
            Self::Expired => "expired",
        }
    }
}

/// One signing key.
#[derive(Clone, Debug)]
struct UrlKey {
    id: String,
    secret: Secret<Vec<u8>>,
}

impl UrlKey {
    /// The key's id is derived from it, so that rotating is nothing but setting two secrets.
    fn new(secret: &str) -> Self {
        let secret = Secret::new(secret.as_bytes().to_vec());
        let id = hex::encode(tag(&secret, "kid").get(..4).unwrap_or_default());
        Self { id, secret }
    }
}

/// The keys that links are signed with: the current one, and while it is being replaced the one before.
#[derive(Clone, Debug)]
pub struct UrlKeys {
    current: UrlKey,
    previous: Option<UrlKey>,
}

impl UrlKeys {
    /// A ring of the current and, while it is being replaced, the previous key.
    pub fn new(current: &str, previous: Option<&str>) -> Self {
        Self { current: UrlKey::new(current), previous: previous.map(UrlKey::new) }
    }

    /// The query of a link to `path`, signed with the current key.
    pub fn sign(&self, path: &str, grant: &Grant) -> String {
        let Grant { device, rollout, expires } = grant;
        let kid = &self.current.id;
        let signed = [
            ("device", device.as_str()),
            ("expires", &expires.to_string()),
            ("kid", kid),
            ("rollout", rollout),
        ];
        let tag = tag(&self.current.secret, &text_to_sign(path, &signed));
        let sig = URL_SAFE_NO_PAD.encode(tag);
        format!("device={device}&expires={expires}&kid={kid}&rollout={rollout}&sig={sig}")
    }

    /// A whole link to `path` on `origin` (`https://ota.optic.works`), good from `now` for [`VALID`].
    pub fn link(
        &self,
        origin: &str,
        path: &str,
        device: &DeviceId,
        rollout: &str,
        now: UnixMillis,
    ) -> String {
        let expires = now.plus(VALID).seconds();
        let grant = Grant { device: device.clone(), rollout: rollout.to_owned(), expires };
        format!("{origin}{path}?{}", self.sign(path, &grant))
    }

    /// What the link to `path` with this query, as it was sent, allows at `now`.
    ///
    /// The signature is computed with every key of the ring and compared in constant time, whatever `kid` says: that
    /// names a key for people who look at a link.
    ///
    /// # Errors
    /// When it allows nothing. The signature is looked at before the time, so a stranger learns no more than that.
    pub fn verify(&self, path: &str, query: &str, now: UnixMillis) -> Result<Grant, BadLink> {
        let [device, expires, kid, rollout, sig] =
            parameters(query, ["device", "expires", "kid", "rollout", "sig"]).ok_or(BadLink::Form)?;
        let mut presented = [0_u8; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(sig, &mut presented).map_err(|_| BadLink::Form)?;
        let grant = Grant {
            device: DeviceId::parse(device).ok_or(BadLink::Form)?,
            rollout: is_name(rollout).then(|| rollout.to_owned()).ok_or(BadLink::Form)?,
            expires: read_seconds(expires).ok_or(BadLink::Form)?,
        };
        if length != presented.len() || !is_name(kid) {
            return Err(BadLink::Form);
        }
        let signed = [("device", device), ("expires", expires), ("kid", kid), ("rollout", rollout)];
        let text = text_to_sign(path, &signed);
        let current = tag(&self.current.secret, &text).ct_eq(&presented);
        let previous = tag(&self.previous.as_ref().unwrap_or(&self.current).secret, &text).ct_eq(&presented);
        if !bool::from(current | previous) {
            return Err(BadLink::Signature);
        }
        if now.seconds() >= grant.expires {
            return Err(BadLink::Expired);
        }
        Ok(grant)
    }
}

/// `GET`, the path and the parameters, a line each; the same for `HEAD`, which asks about a `GET`.
fn text_to_sign(path: &str, parameters: &[(&str, &str); 4]) -> String {
    let mut text = format!("GET\n{path}");
    for (name, value) in parameters {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{name}={value}");
    }
    text
}

pub(crate) fn tag(secret: &Secret<Vec<u8>>, text: &str) -> [u8; 32] {
    // HMAC takes a key of any length, so this cannot fail; nobody can present what a zero tag stands for without
    // a signature of ours over the same text.
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.expose());
    mac.map(|mac| mac.chain_update(text).finalize().into_bytes().into()).unwrap_or_default()
}

/// The values of exactly these parameters, each there once and none beside them, as they were sent: our own links need
/// no percent-encoding, so a link that has any is not ours.
pub(crate) fn parameters<'a, const N: usize>(query: &'a str, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut values = [None; N];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        let place = names.iter().position(|known| *known == name)?;
        if values.get_mut(place)?.replace(value).is_some() {
            return None;
        }
    }
    let mut found = [""; N];
    for (place, value) in found.iter_mut().zip(values) {
        *place = value?;
    }
    Some(found)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Unix seconds as we write them: digits without leading zeros.
pub(crate) fn read_seconds(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::MacAddress;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
    const PATH: &str = "/firmware/rs1_pro/1.2.0.bin";

    fn device() -> DeviceId {
        DeviceId::of(&MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap())
    }

    fn query(keys: &UrlKeys) -> String {
        let link = keys.link("https://ota.optic.works", PATH, &device(), "rol-01", NOW);
        let (start, query) = link.split_once('?').unwrap();
        assert_eq!(start, "https://ota.optic.works/firmware/rs1_pro/1.2.0.bin");
        query.to_owned()
    }

    #[test]
    fn the_contracts_vector_is_good() {
        let keys = UrlKeys::new("local-signing-key", None);
        let query = "device=3e32e97b9d6cf5e193d3a3a7e8fd9a97&expires=1768904100&kid=1&rollout=rol-01\
                     &sig=HNoZlX15JUbI8t20QQHGoYZIlQvEXAEeUof5U-gmBvQ";
        let grant = Grant { device: device(), rollout: "rol-01".into(), expires: 1_768_904_100 };
        assert_eq!(keys.verify(PATH, query, NOW), Ok(grant.clone()));
        let shuffled = query.split('&').rev().collect::<Vec<_>>().join("&");
        assert_eq!(keys.verify(PATH, &shuffled, NOW), Ok(grant), "their order means nothing");
    }

    #[test]
    fn a_link_is_good_for_a_quarter_of_an_hour_to_the_second() {
        let keys = UrlKeys::new("current", None);
        let query = query(&keys);
        assert!(keys.verify(PATH, &query, NOW).is_ok());
        assert!(keys.verify(PATH, &query, NOW.plus(VALID - 1)).is_ok());
        assert_eq!(keys.verify(PATH, &query, NOW.plus(VALID)), Err(BadLink::Expired));
    }

    #[test]
    fn a_link_outlives_the_rotation_of_its_key_and_no_more() {
        let before = UrlKeys::new("old", None);
        let during = UrlKeys::new("new", Some("old"));
        let after = UrlKeys::new("new", None);
        assert!(during.verify(PATH, &query(&before), NOW).is_ok());
        assert!(during.verify(PATH, &query(&during), NOW).is_ok());
        assert!(after.verify(PATH, &query(&during), NOW).is_ok());
        assert_eq!(after.verify(PATH, &query(&before), NOW), Err(BadLink::Signature));
        let kid = |query: &str| query.split('&').find(|pair| pair.starts_with("kid=")).unwrap().to_owned();
        assert_ne!(kid(&query(&before)), kid(&query(&after)));
    }

    #[test]
    fn nothing_in_a_link_can_be_changed() {
        let keys = UrlKeys::new("current", None);
        let good = query(&keys);
        let other = "0".repeat(32);
        for (from, to, fault) in [
            (device().as_str(), other.as_str(), BadLink::Signature),
            ("expires=1768904100", "expires=1768904101", BadLink::Signature),
            ("rollout=rol-01", "rollout=rol-02", BadLink::Signature),
            ("kid=", "kid=0", BadLink::Signature),
            ("device=", "device=A", BadLink::Form),
            ("rollout=rol-01", "rollout=rol_01", BadLink::Form),
            ("rollout=rol-01", "rollout=rol%2D01", BadLink::Form),
            ("rollout=rol-01", "rollout=", BadLink::Form),
            ("rollout=rol-01", "rollout", BadLink::Form),
            ("&rollout=rol-01", "", BadLink::Form),
            ("&rollout=rol-01", "&rollout=rol-01&rollout=rol-01", BadLink::Form),
            ("&rollout=rol-01", "&rollout=rol-01&x=1", BadLink::Form),
            ("&rollout=rol-01", "&&rollout=rol-01", BadLink::Form),
            ("expires=1768904100", "expires=+1768904100", BadLink::Form),
            ("expires=1768904100", "expires=01768904100", BadLink::Form),
            ("expires=1768904100", "expires=99999999999999999999", BadLink::Form),
            ("sig=", "sig=A", BadLink::Form),
            ("sig=", "sig=AAAA", BadLink::Form),
            ("sig=", "sig=%41", BadLink::Form),
        ] {
            let query = good.replace(from, to);
            assert_ne!(query, good, "{from} is in it");
            assert_eq!(keys.verify(PATH, &query, NOW), Err(fault), "{query}");
        }
        assert_eq!(keys.verify("/firmware/rs1_pro/1.2.1.bin", &good, NOW), Err(BadLink::Signature));
        assert_eq!(keys.verify(PATH, "", NOW), Err(BadLink::Form));
    }

    proptest! {
        #[test]
        fn one_other_character_makes_a_link_bad(place in 0_usize..200, with in "[a-zA-Z0-9&=_%-]") {
            let keys = UrlKeys::new("current", None);
            let good = query(&keys);
            let place = place % good.len();
            let mut changed = good.clone();
            changed.replace_range(place..=place, &with);
            prop_assume!(changed != good);
            // The last of 43 characters carries four bits that count and two that must be zero.
            prop_assert!(keys.verify(PATH, &changed, NOW).is_err(), "{}", changed);
        }

        #[test]
        fn no_query_makes_the_reader_panic(query in ".{0,200}") {
            let _ = UrlKeys::new("current", None).verify(PATH, &query, NOW);
        }
    }
}
