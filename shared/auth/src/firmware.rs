//! Who signed an image: ECDSA on P-256 (FIPS 186-5) with keys that operators registered.
//!
//! Done here rather than by the runtime's `WebCrypto`: that verifies over a message only and would want the whole
//! image in memory, where all that is needed is its hash. A verification takes about a millisecond, once an upload.

use std::fmt;

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::{EncodedPoint, FieldBytes};
use rs1_domain::hex;

/// A public key: a point of the curve.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    x_y: [u8; 64],
    key: VerifyingKey,
}

impl PublicKey {
    /// What a fault says when a key is expected.
    pub const EXPECTED: &'static str =
        "must be a P-256 public key: its x and y, 128 hex digits of a point on the curve";

    /// Reads 128 hex digits, of either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(hex::decode(text)?)
    }

    /// Reads x and y, big-endian; `None` if that is no point of the curve.
    pub fn from_bytes(x_y: [u8; 64]) -> Option<Self> {
        let (x, y) = x_y.split_at_checked(32)?;
        let point = EncodedPoint::from_affine_coordinates(
            FieldBytes::from_slice(x),
            FieldBytes::from_slice(y),
            false,
        );
        VerifyingKey::from_encoded_point(&point).ok().map(|key| Self { x_y, key })
    }

    /// x and y as 128 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(&self.x_y)
    }

    /// Whether `signature` (r and s, big-endian) is this key's over a SHA-256 hash.
    ///
    /// Signers understand "over the hash" in two ways: the hash is the digest that ECDSA signs, or it is a message that
    /// is hashed once more. Either shows that the key's owner meant that hash, so both are good.
    pub fn signed(&self, hash: &[u8; 32], signature: &[u8; 64]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| {
            self.key.verify_prehash(hash, &signature).is_ok() || self.key.verify(hash, &signature).is_ok()
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let private = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = private.verifying_key().to_encoded_point(false);
        let public = PublicKey::from_bytes(point.as_bytes()[1..].try_into().unwrap()).unwrap();
        (private, public)
    }

    fn signature(signature: Signature) -> [u8; 64] {
        signature.to_bytes().into()
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_no_key() {
        let (_, public) = key(1);
        let text = public.to_hex();
        assert_eq!(PublicKey::parse(&text), Some(public.clone()));
        assert_eq!(PublicKey::parse(&text.to_uppercase()), Some(public));
        for bad in [
            "",
            &text[2..],
            &format!("04{text}"),
            &"0".repeat(128),
            &"f".repeat(128),
            &text.replace(&text[..2], "00"),
        ] {
            assert_eq!(PublicKey::parse(bad), None, "{bad}");
        }
    }

    /// RFC 6979, appendix A.2.5: P-256 with SHA-256, message "sample".
    #[test]
    fn the_standards_vector_is_good() {
        let public = PublicKey::parse(
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
             7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
        )
        .unwrap();
        let signature = hex::decode(
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        )
        .unwrap();
        let hash = hex::decode("AF2BDBE1AA9B6EC1E2ADE1D694F41FC71A831D0268E9891562113D8A62ADD1BF").unwrap();
        assert!(public.signed(&hash, &signature));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_signature_is_good_for_its_hash_and_its_key_only(hash: [u8; 32], bit in 0_usize..512) {
            let (private, public) = key(1);
            let (_, other) = key(2);
            for good in [signature(private.sign_prehash(&hash).unwrap()), signature(private.sign(&hash))] {
                prop_assert!(public.signed(&hash, &good));
                prop_assert!(!other.signed(&hash, &good));
                let mut changed = good;
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!public.signed(&hash, &changed));
                let mut another = hash;
                another[bit / 16] ^= 1;
                prop_assert!(!public.signed(&another, &good));
            }
        }
    }
}
