//! Parts: R2 wants all of one size but the last, and a run that is cut off begins again at one, so each is
//! whole gzip members, filled up with empty ones.

/// The size of a part: the least that R2 takes. A multiple of SHA-256's block.
pub const PART_BYTES: usize = 5 * 1024 * 1024;

/// An empty member without any filling: header, length and head of the extra field, empty data, checksums.
const EMPTY_BYTES: usize = 10 + 2 + 4 + 2 + 8;
/// The most bytes that one extra field fills.
const FILLING_BYTES: usize = 0xFFFF - 4;

/// A part that is being filled.
#[derive(Clone, Debug)]
pub struct Part {
    bytes: Vec<u8>,
    size: usize,
}

impl Part {
    /// An empty part of this size; [`PART_BYTES`] but in tests.
    pub fn new(size: usize) -> Self {
        Self { bytes: Vec::with_capacity(size), size }
    }

    /// Whether a member of this many bytes goes in, so that what is left can still be filled up.
    pub fn takes(&self, bytes: usize) -> bool {
        self.bytes.len().saturating_add(bytes).saturating_add(EMPTY_BYTES) <= self.size
    }

    /// Appends a gzip member.
    pub fn push(&mut self, member: &[u8]) {
        self.bytes.extend_from_slice(member);
    }

    /// Whether nothing is in it yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The last part of a dump: any size.
    pub fn into_last(self) -> Vec<u8> {
        self.bytes
    }

    /// Filled up to its size with members that decompress to nothing.
    pub fn into_full(mut self) -> Vec<u8> {
        loop {
            let left = self.size.saturating_sub(self.bytes.len());
            if left == 0 {
                return self.bytes;
            }
            let filling = left.saturating_sub(EMPTY_BYTES).min(FILLING_BYTES);
            // What a full field would leave has to be room for another member.
            let after = left.saturating_sub(EMPTY_BYTES).saturating_sub(filling);
            let filling =
                if (1..EMPTY_BYTES).contains(&after) { filling.saturating_sub(EMPTY_BYTES) } else { filling };
            self.bytes.extend_from_slice(&empty_member(filling));
        }
    }
}

/// A gzip member of nothing with an extra field of one subfield, `R1`, of `filling` zero bytes (RFC 1952, 2.3.1.1).
fn empty_member(filling: usize) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes();
    let mut member = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    member.extend_from_slice(&length(filling.saturating_add(4)));
    member.extend_from_slice(b"R1");
    member.extend_from_slice(&length(filling));
    member.resize(member.len().saturating_add(filling), 0);
    // A last block of fixed codes with nothing but its end; CRC-32 and length are those of nothing.
    member.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    member
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::Compression;
    use flate2::read::MultiGzDecoder;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn a_part_is_exactly_its_size_and_decompresses_to_what_went_in(size in 200_usize..300_000, length in 0_usize..400) {
            let text = "x".repeat(length);
            let member = gzip(text.as_bytes());
            let mut part = Part::new(size);
            prop_assume!(part.takes(member.len()));
            part.push(&member);
            let bytes = part.into_full();
            prop_assert_eq!(bytes.len(), size);
            let mut read = String::new();
            MultiGzDecoder::new(&bytes[..]).read_to_string(&mut read).unwrap();
            prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn a_part_that_is_full_to_the_last_byte_needs_no_filling() {
        let member = gzip(b"text");
        let mut part = Part::new(member.len());
        part.push(&member);
        assert_eq!(part.into_full(), member);
    }
}
