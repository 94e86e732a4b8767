//! Firmware images, made as a build would make them (contract, section 5).

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

/// Somebody who signs firmware.
pub struct Signer(SigningKey);

impl Signer {
    /// Of any number of them.
    pub fn number(number: u8) -> Self {
        Self(SigningKey::from_slice(&[number.max(1); 32]).unwrap())
    }

    pub fn public(&self) -> [u8; 64] {
        let point = self.0.verifying_key().to_encoded_point(false);
        point.as_bytes()[1..].try_into().unwrap()
    }

    pub fn public_hex(&self) -> String {
        rs1_domain::hex::encode(&self.public())
    }

    /// An image of that version, 1 KB of it before the block.
    pub fn image(&self, version: &str) -> Vec<u8> {
        self.sign(&unsigned(version, 0))
    }

    /// The image with its block.
    pub fn sign(&self, image: &[u8]) -> Vec<u8> {
        let fw_hash = Sha256::digest(image);
        let signature: Signature = self.0.sign_prehash(&fw_hash).unwrap();
        let mut block = b"OPFW".to_vec();
        block.extend(1_u32.to_le_bytes());
        block.extend(fw_hash);
        block.extend(signature.to_bytes());
        block.extend(self.public());
        block.extend(7_u32.to_le_bytes());
        block.extend(1_768_900_000_u32.to_le_bytes());
        block.extend([0; 32]);
        let block_hash = Sha256::digest(&block);
        block.extend(block_hash);
        [image, &block].concat()
    }
}

/// An ESP32 application; `build` tells builds of a version apart.
pub fn unsigned(version: &str, build: u8) -> Vec<u8> {
    let mut image = vec![build; 1_024];
    image[..2].copy_from_slice(&[0xE9, 6]);
    image[0x20..0x120].fill(0);
    image[0x20..0x24].copy_from_slice(&0xABCD_5432_u32.to_le_bytes());
    for (at, text) in [(0x30, version), (0x50, "rs1-firmware")] {
        image[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    image[0xB0..0xD0].fill(0xEF);
    image
}
