//! The partition that an update is written to: whole blocks, in order, hashed on their way.
//!
//! Only whole blocks count. What a cut leaves of one is lost, and a download goes on from the end of the
//! last whole block: so a cut never costs a device as much as a block.

use std::mem;

use sha2::{Digest as _, Sha256};

use super::image::{BLOCK, HEAD};

/// What is written at once: a sector of the flash.
pub const SECTOR: usize = 4_096;

/// A partition that is being written.
#[derive(Clone)]
pub struct Flash {
    size: u64,
    written: u64,
    sector: Vec<u8>,
    whole: Sha256,
    /// Everything before the signature block.
    body: Sha256,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// The number of the byte that is written wrongly, if one is.
    flaw: Option<u64>,
}

/// A partition that is full.
pub struct Written {
    /// SHA-256 of all of it.
    pub whole: [u8; 32],
    /// SHA-256 of what stands before the signature block.
    pub body: [u8; 32],
    /// The first bytes.
    pub head: Vec<u8>,
    /// The signature block.
    pub tail: Vec<u8>,
}

impl Flash {
    /// An erased partition for an image of that size.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            written: 0,
            sector: Vec::with_capacity(SECTOR),
            whole: Sha256::new(),
            body: Sha256::new(),
            head: Vec::with_capacity(HEAD),
            tail: Vec::with_capacity(BLOCK),
            flaw: None,
        }
    }

    /// A partition that holds that byte wrongly.
    #[must_use]
    pub fn with_flaw(mut self, at: u64) -> Self {
        self.flaw = Some(at);
        self
    }

    /// How large the image is.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// From where a download goes on: the end of the last whole block.
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// How far the download has come, what is not yet written included.
    pub fn reached(&self) -> u64 {
        self.written.saturating_add(length(&self.sector))
    }

    /// Whether the image is complete.
    pub fn is_full(&self) -> bool {
        self.written >= self.size
    }

    /// Takes what comes next of the image; what is too much is not taken.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_full() {
            let left = usize::try_from(self.size.saturating_sub(self.written)).unwrap_or(SECTOR);
            let room = SECTOR.min(left).saturating_sub(self.sector.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.sector.extend_from_slice(now);
            bytes = later;
            if self.sector.len() >= SECTOR.min(left) {
                self.program();
            }
        }
    }

    /// Forgets what is not yet written, and says how many bytes that were.
    pub fn lose(&mut self) -> u64 {
        length(&mem::take(&mut self.sector))
    }

    /// Begins again, and says how many bytes are for nothing.
    pub fn erase(&mut self) -> u64 {
        let lost = self.reached();
        *self = Self { flaw: self.flaw, ..Self::new(self.size) };
        lost
    }

    /// What was written; `None` while there is something to come.
    pub fn finish(&self) -> Option<Written> {
        self.is_full().then(|| Written {
            whole: self.whole.clone().finalize().into(),
            body: self.body.clone().finalize().into(),
            head: self.head.clone(),
            tail: self.tail.clone(),
        })
    }

    fn program(&mut self) {
        let mut sector = mem::take(&mut self.sector);
        let flaw = self.flaw.and_then(|at| usize::try_from(at.checked_sub(self.written)?).ok());
        if let Some(byte) = flaw.and_then(|at| sector.get_mut(at)) {
            *byte ^= 1;
        }
        self.whole.update(&sector);
        let body_left = self.size.saturating_sub(BLOCK as u64).saturating_sub(self.written);
        let body_left = usize::try_from(body_left).unwrap_or(usize::MAX).min(sector.len());
        let (body, tail) = sector.split_at(body_left);
        self.body.update(body);
        self.tail.extend_from_slice(tail);
        let head_left = HEAD.saturating_sub(self.head.len()).min(sector.len());
        self.head.extend(sector.iter().take(head_left));
        self.written = self.written.saturating_add(length(&sector));
        sector.clear();
        self.sector = sector;
    }
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_hashes_do_not_depend_on_how_the_bytes_came(
            image in prop::collection::vec(any::<u8>(), 300..20_000), pieces in prop::collection::vec(1_usize..6_000, 1..20), cuts: u64,
        ) {
            let mut flash = Flash::new(image.len() as u64);
            let (mut round, mut lost) = (0, 0);
            while !flash.is_full() {
                let from = flash.reached() as usize;
                let piece = pieces[round % pieces.len()];
                flash.write(&image[from..(from + piece).min(image.len())]);
                if cuts >> (round % 64) & 1 == 1 && round < 64 {
                    let less = flash.lose();
                    prop_assert!(less < SECTOR as u64);
                    lost += less;
                }
                round += 1;
            }
            prop_assert!(lost < 64 * SECTOR as u64);
            let written = flash.finish().unwrap();
            let (body, tail) = image.split_at(image.len() - BLOCK);
            prop_assert_eq!(&written.whole, &*Sha256::digest(&image));
            prop_assert_eq!(&written.body, &*Sha256::digest(body));
            prop_assert_eq!(written.tail.as_slice(), tail);
            prop_assert_eq!(&written.head, &image[..image.len().min(HEAD)]);
        }
    }

    #[test]
    fn what_is_too_much_is_not_taken() {
        let mut flash = Flash::new(5_000);
        flash.write(&[1; 6_000]);
        assert!(flash.is_full());
        assert_eq!(flash.offset(), 5_000);
    }

    #[test]
    fn an_erased_partition_is_as_a_new_one() {
        let image = [3; 10_000];
        let mut flash = Flash::new(10_000);
        flash.write(&[9; 5_000]);
        assert!(flash.finish().is_none());
        assert_eq!((flash.offset(), flash.reached()), (4_096, 5_000));
        assert_eq!(flash.erase(), 5_000);
        flash.write(&image);
        assert_eq!(flash.finish().unwrap().whole, *Sha256::digest(image));
    }

    #[test]
    fn a_flaw_of_the_partition_shows_in_the_hash_alone() {
        let mut flash = Flash::new(10_000).with_flaw(5_000);
        flash.write(&[3; 10_000]);
        assert_ne!(flash.finish().unwrap().whole, *Sha256::digest([3; 10_000]));
    }
}
