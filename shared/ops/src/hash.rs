//! Hashes that can be put aside and taken up again.

use rs1_domain::hex;
use sha2::digest::generic_array::{GenericArray, typenum::U64};
use sha2::{Digest, Sha256};

const BLOCK: usize = 64;
/// The initial state of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256 over a sequence of whole 64-byte blocks, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    state: [u32; 8],
    bytes: u64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { state: INITIAL, bytes: 0 }
    }
}

impl Blocks {
    /// Takes whole blocks in. What is left over of `bytes`, less than a block, is returned.
    pub fn update<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let blocks = bytes.chunks_exact(BLOCK);
        let rest = blocks.remainder();
        for block in blocks {
            sha2::compress256(&mut self.state, &[*GenericArray::<u8, U64>::from_slice(block)]);
            self.bytes = self.bytes.saturating_add(BLOCK as u64);
        }
        rest
    }

    /// The hash of everything so far and `tail`, as 64 hex digits.
    pub fn finish(mut self, tail: &[u8]) -> String {
        let rest = self.update(tail);
        let bits = self.bytes.saturating_add(rest.len() as u64).saturating_mul(8);
        // One bit, zeros up to 8 bytes before a block's end, and the length in bits.
        let mut padded = rest.to_vec();
        padded.push(0x80);
        while padded.len() % BLOCK != BLOCK.saturating_sub(8) {
            padded.push(0);
        }
        padded.extend_from_slice(&bits.to_be_bytes());
        self.update(&padded);
        hex::encode(&self.state.map(u32::to_be_bytes).concat())
    }

    /// As text, for [`read`](Self::read).
    pub fn to_text(&self) -> String {
        format!("{}:{}", hex::encode(&self.state.map(u32::to_be_bytes).concat()), self.bytes)
    }

    /// What [`to_text`](Self::to_text) wrote; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let (words, bytes) = text.split_once(':')?;
        let words = hex::decode::<32>(words)?;
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(words.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().ok()?);
        }
        Some(Self { state, bytes: bytes.parse().ok()? })
    }
}

/// A checksum of a table's rows that does not depend on their order: the sum of each row's hash (the first
/// 16 bytes of SHA-256, big-endian) modulo 2^128. It finds every accident; it is no proof against somebody
/// who forges rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSum(u128);

impl RowSum {
    /// Takes a row in.
    pub fn add(&mut self, row: &str) {
        let digest = Sha256::digest(row);
        let first = digest.iter().take(16).fold(0_u128, |sum, byte| sum.wrapping_shl(8) | u128::from(*byte));
        self.0 = self.0.wrapping_add(first);
    }

    /// 32 hex digits.
    pub fn to_hex(self) -> String {
        hex::encode(&self.0.to_be_bytes())
    }

    /// What [`to_hex`](Self::to_hex) wrote; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        hex::decode::<16>(text).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

/// SHA-256 as 64 hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_put_aside_and_taken_up_is_the_hash(bytes in prop::collection::vec(any::<u8>(), 0..1000), cut in 0_usize..16) {
            let at = (cut * BLOCK).min(bytes.len() / BLOCK * BLOCK);
            let mut first = Blocks::default();
            prop_assert!(first.update(&bytes[..at]).is_empty());
            let second = Blocks::read(&first.to_text()).unwrap();
            prop_assert_eq!(second.finish(&bytes[at..]), sha256(&bytes));
        }
    }

    #[test]
    fn a_state_that_was_not_written_here_is_refused() {
        for text in ["", "00:1", "zz:0", &Blocks::default().to_text()[1..]] {
            assert_eq!(Blocks::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_sum_of_rows_knows_them_but_not_their_order() {
        let sum = |rows: &[&str]| {
            let mut sum = RowSum::default();
            for row in rows {
                sum.add(row);
            }
            sum.to_hex()
        };
        assert_eq!(sum(&["('a',1)", "('b',2)"]), sum(&["('b',2)", "('a',1)"]));
        assert_ne!(sum(&["('a',1)", "('b',2)"]), sum(&["('a',2)", "('b',1)"]));
        assert_ne!(sum(&["('a',1)"]), sum(&["('a',1)", "('a',1)"]));
        assert_eq!(sum(&[]), "0".repeat(32));
        assert_eq!(RowSum::read(&sum(&["x"])).map(RowSum::to_hex), Some(sum(&["x"])));
    }
}
