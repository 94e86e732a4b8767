//! What a device checks of an image before it starts it (contract, section 5): the header of the ESP32, the
//! SHA-256 that the manifest promised, and the signature block at its end.
//!
//! Written from the contract, not from the cloud's parser, so that the two check each other.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use rs1_domain::hex;
use sha2::{Digest as _, Sha256};

use super::Manifest;
use super::flash::Written;

/// The signature block.
pub const BLOCK: usize = 240;
/// As much of an image's beginning as is looked at: the two headers and the description.
pub const HEAD: usize = 0x120;

const IMAGE_MAGIC: u8 = 0xe9;
const DESCRIPTION: usize = 0x20;
const DESCRIPTION_MAGIC: u32 = 0xabcd_5432;
const VERSION: usize = DESCRIPTION + 16;
const VERSION_LENGTH: usize = 32;
const BLOCK_MAGIC: &[u8] = b"OPFW";
const BLOCK_FORMAT: u32 = 1;

/// A public key that a device was made with: x and y.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 128 hex digits, x and then y.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let point = hex::decode::<64>(text).ok_or("wants 128 hex digits, x and then y")?;
        Self::from_point(&point).ok_or_else(|| "is no point of the curve P-256".to_owned())
    }

    fn from_point(point: &[u8; 64]) -> Option<Self> {
        let mut sec1 = [0_u8; 65];
        let (tag, rest) = sec1.split_at_mut(1);
        tag.copy_from_slice(&[4]);
        rest.copy_from_slice(point);
        VerifyingKey::from_sec1_bytes(&sec1).ok().map(Self)
    }
}

/// Whom a device believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The keys it was made with.
    Keys(Vec<PublicKey>),
    /// Whoever signed, if the signature is right: a development board, which has no keys.
    #[default]
    Anyone,
    /// Nobody: its keys are gone.
    Nobody,
}

/// Why an image is not started. The text is what the device reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not what the manifest promised.
    Hash,
    /// It is no image of an ESP32.
    Header,
    /// It is another version than the manifest says.
    Version,
    /// The block at its end is none, or is damaged.
    Block,
    /// Nobody whom the device believes has signed it.
    Key,
    /// The signature is not of this image.
    Signature,
    /// Its anti-rollback counter is below that of the running image.
    Rollback,
}

impl Fault {
    /// The fault as the device reports it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Hash => "sha256_mismatch",
            Self::Header => "not_an_image",
            Self::Version => "version_mismatch",
            Self::Block => "bad_signature_block",
            Self::Key => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Rollback => "anti_rollback",
        }
    }
}

/// Checks an image; its anti-rollback counter, if it is good.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(image: &Written, manifest: &Manifest, trust: &Trust, counter: u32) -> Result<u32, Fault> {
    if image.whole != manifest.sha256 {
        return Err(Fault::Hash);
    }
    if image.head.first() != Some(&IMAGE_MAGIC) || word(&image.head, DESCRIPTION) != Some(DESCRIPTION_MAGIC) {
        return Err(Fault::Header);
    }
    let version = image.head.get(VERSION..).and_then(|rest| rest.get(..VERSION_LENGTH)).unwrap_or_default();
    let version = version.split(|byte| *byte == 0).next().unwrap_or_default();
    if version != manifest.version.as_str().as_bytes() {
        return Err(Fault::Version);
    }
    let block = Block::read(&image.tail).ok_or(Fault::Block)?;
    if block.fw_hash != image.body {
        return Err(Fault::Block);
    }
    let key = PublicKey::from_point(&block.public_key).ok_or(Fault::Key)?;
    let is_trusted = match trust {
        Trust::Keys(keys) => keys.contains(&key),
        Trust::Anyone => true,
        Trust::Nobody => false,
    };
    if !is_trusted {
        return Err(Fault::Key);
    }
    let signature = Signature::from_slice(&block.signature).map_err(|_| Fault::Signature)?;
    key.0.verify_prehash(&block.fw_hash, &signature).map_err(|_| Fault::Signature)?;
    if block.fw_version < counter {
        return Err(Fault::Rollback);
    }
    Ok(block.fw_version)
}

struct Block {
    fw_hash: [u8; 32],
    signature: [u8; 64],
    public_key: [u8; 64],
    fw_version: u32,
}

impl Block {
    /// Reads a block; `None` if it is none or its own hash is wrong.
    fn read(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize, length: usize| bytes.get(at..)?.get(..length);
        let hashed = part(0, BLOCK.checked_sub(32)?)?;
        let right = bytes.len() == BLOCK
            && part(0, 4)? == BLOCK_MAGIC
            && word(bytes, 4)? == BLOCK_FORMAT
            && part(hashed.len(), 32)? == Sha256::digest(hashed).as_slice();
        let block = Self {
            fw_hash: part(8, 32)?.try_into().ok()?,
            signature: part(40, 64)?.try_into().ok()?,
            public_key: part(104, 64)?.try_into().ok()?,
            fw_version: word(bytes, 168)?,
        };
        right.then_some(block)
    }
}

/// A little-endian word.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Images for tests: signed as the operator's tool signs them.
#[cfg(test)]
pub mod example {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;

    use super::*;

    /// What an image is made of.
    pub struct Recipe {
        pub version: &'static str,
        pub counter: u32,
        pub length: usize,
        pub key: u8,
    }

    impl Default for Recipe {
        fn default() -> Self {
            Self { version: "1.3.0", counter: 3, length: 20_000, key: 7 }
        }
    }

    fn signing_key(key: u8) -> SigningKey {
        SigningKey::from_slice(&[key; 32]).unwrap()
    }

    fn point(key: u8) -> [u8; 64] {
        let point = signing_key(key).verifying_key().to_encoded_point(false);
        point.as_bytes()[1..].try_into().unwrap()
    }

    pub fn public_key(key: u8) -> PublicKey {
        PublicKey::parse(&hex::encode(&point(key))).unwrap()
    }

    impl Recipe {
        /// The image, its block included; `length` bytes in all.
        pub fn bake(&self) -> Vec<u8> {
            let mut image: Vec<u8> = (0..self.length - BLOCK).map(|at| (at * 31 % 251) as u8).collect();
            image[0] = IMAGE_MAGIC;
            image[DESCRIPTION..DESCRIPTION + 4].copy_from_slice(&DESCRIPTION_MAGIC.to_le_bytes());
            image[VERSION..VERSION + VERSION_LENGTH].fill(0);
            image[VERSION..VERSION + self.version.len()].copy_from_slice(self.version.as_bytes());
            let fw_hash = Sha256::digest(&image);
            let signature: Signature = signing_key(self.key).sign_prehash(&fw_hash).unwrap();
            let mut block = Vec::new();
            block.extend(BLOCK_MAGIC);
            block.extend(BLOCK_FORMAT.to_le_bytes());
            block.extend(fw_hash);
            block.extend(signature.to_bytes());
            block.extend(point(self.key));
            block.extend(self.counter.to_le_bytes());
            block.extend(1_768_903_200_u32.to_le_bytes());
            block.extend([0; 32]);
            let block_hash = Sha256::digest(&block);
            block.extend(block_hash);
            image.extend(block);
            image
        }
    }

    /// The manifest of an image.
    pub fn manifest(image: &[u8], url: &str) -> Manifest {
        Manifest {
            version: rs1_domain::FirmwareVersion::parse("1.3.0").unwrap(),
            url: url.to_owned(),
            sha256: Sha256::digest(image).into(),
            rollout_id: "rol-01".to_owned(),
            min_rssi: -70,
            expires_at: None,
            force: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::example::{Recipe, manifest, public_key};
    use super::*;
    use crate::ota::flash::Flash;

    fn written(image: &[u8]) -> Written {
        let mut flash = Flash::new(image.len() as u64);
        flash.write(image);
        flash.finish().unwrap()
    }

    fn verdict(image: &[u8], trust: &Trust) -> Result<u32, Fault> {
        check(&written(image), &manifest(image, ""), trust, 3)
    }

    fn ours() -> Trust {
        Trust::Keys(vec![public_key(9), public_key(7)])
    }

    #[test]
    fn a_good_image_passes_and_tells_its_counter() {
        let image = Recipe { counter: 5, ..Recipe::default() }.bake();
        assert_eq!(verdict(&image, &ours()), Ok(5));
        assert_eq!(verdict(&image, &Trust::Anyone), Ok(5));
    }

    #[test]
    fn each_thing_that_can_be_wrong_with_an_image_is_found() {
        let good = Recipe::default().bake();
        let flipped = |at: usize| {
            let mut image = good.clone();
            image[at] ^= 1;
            image
        };
        let end = good.len() - BLOCK;
        for (what, image, fault) in [
            ("magic", flipped(0), Fault::Header),
            ("description", flipped(DESCRIPTION), Fault::Header),
            ("version", flipped(VERSION), Fault::Version),
            ("code", flipped(10_000), Fault::Block),
            ("block magic", flipped(end), Fault::Block),
            ("signature, block hash stale", flipped(end + 40), Fault::Block),
            ("an old counter", Recipe { counter: 2, ..Recipe::default() }.bake(), Fault::Rollback),
            ("a stranger's key", Recipe { key: 1, ..Recipe::default() }.bake(), Fault::Key),
        ] {
            assert_eq!(verdict(&image, &ours()), Err(fault), "{what}");
        }
        assert_eq!(verdict(&good, &Trust::Nobody), Err(Fault::Key));
        let promised = manifest(&good, "");
        assert_eq!(check(&written(&flipped(10_000)), &promised, &ours(), 3), Err(Fault::Hash));
    }

    #[test]
    fn a_signature_of_something_else_is_found_although_the_block_is_whole() {
        let mut image = Recipe::default().bake();
        let end = image.len() - BLOCK;
        image[end + 40] ^= 1;
        let block_hash = Sha256::digest(&image[end..end + BLOCK - 32]);
        image[end + BLOCK - 32..].copy_from_slice(&block_hash);
        assert_eq!(verdict(&image, &ours()), Err(Fault::Signature));
    }

    #[test]
    fn a_public_key_is_read() {
        assert!(PublicKey::parse("00").is_err());
        assert!(PublicKey::parse(&"00".repeat(64)).is_err(), "no point of the curve");
    }
}
