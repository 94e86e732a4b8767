//! Firmware images: an ESP32 application followed by a signature block (contract, section 5).
//!
//! An image is never held in memory to be read: all that counts is its first [`HEAD`] bytes, its last [`BLOCK`], its
//! length and two hashes, which are taken while it streams by ([`Received`]). Whether the signature is good is not decided
//! here: that needs to know whose keys are trusted.
//!
//! Layouts: ESP-IDF's `esp_image_header_t` and `esp_app_desc_t` (`esp_app_format`), and the contract's block.

use sha2::{Digest, Sha256};

use crate::{Faults, FirmwareVersion, Sku, UnixMillis, hex};

/// Bytes of the signature block, at the end of the file.
pub const BLOCK: usize = 240;
/// Bytes at the beginning of a file that say what it is: the image's and the first segment's header (24 + 8), and
/// `esp_app_desc_t`.
pub const HEAD: usize = DESCRIPTION + 256;
/// Most bytes of a file. The flash of an RS-1 holds two images beside everything else.
pub const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Where `esp_app_desc_t` begins.
const DESCRIPTION: usize = 0x20;
/// The first byte of an image (`ESP_IMAGE_HEADER_MAGIC`).
const IMAGE_MAGIC: u8 = 0xE9;
/// Most segments of an image (`ESP_IMAGE_MAX_SEGMENTS`).
const MAX_SEGMENTS: u8 = 16;
/// `ESP_APP_DESC_MAGIC_WORD`.
const DESCRIPTION_MAGIC: u32 = 0xABCD_5432;
/// The block's magic.
const BLOCK_MAGIC: &[u8] = b"OPFW";
/// The block's only version so far.
const BLOCK_FORMAT: u32 = 1;
/// What the block's own hash covers.
const BLOCK_HASHED: usize = BLOCK - 32;

/// What was seen of a file while it streamed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the whole file.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// SHA-256 of the file without its last [`BLOCK`] bytes; of nothing if it is shorter than that.
    pub signed_sha256: [u8; 32],
    /// Its first [`HEAD`] bytes, or what there is of them.
    pub head: Vec<u8>,
    /// Its last [`BLOCK`] bytes, or what there is of them.
    pub tail: Vec<u8>,
}

impl Received {
    /// What is to be seen of a file that is in memory.
    pub fn of(file: &[u8]) -> Self {
        let (signed, tail) = file.split_at_checked(file.len().saturating_sub(BLOCK)).unwrap_or((&[], file));
        Self {
            size: u64::try_from(file.len()).unwrap_or(u64::MAX),
            sha256: Sha256::digest(file).into(),
            signed_sha256: Sha256::digest(signed).into(),
            head: file.get(..HEAD).unwrap_or(file).to_vec(),
            tail: tail.to_vec(),
        }
    }
}

/// What an image says of itself in `esp_app_desc_t`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its version.
    pub version: FirmwareVersion,
    /// The project that it was built from.
    pub project_name: String,
    /// What the running image calls itself.
    pub elf_sha256: [u8; 32],
}

/// What the signature block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureBlock {
    /// The hash that was signed.
    pub fw_hash: [u8; 32],
    /// ECDSA P-256 over `fw_hash`: r and s.
    pub signature: [u8; 64],
    /// The signer's key: x and y. That it is good is for others to say.
    pub public_key: [u8; 64],
    /// The anti-rollback counter.
    pub fw_version: u32,
    /// When it was built.
    pub built_at: UnixMillis,
}

/// An image, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it says of itself; `None` if that cannot be read.
    pub description: Option<Description>,
    /// Its signature block; `None` if it has none.
    pub block: Option<SignatureBlock>,
}

impl Image {
    /// Reads an image that is said to be of that variant and version. Everything that is wrong with it is noted, with a
    /// pointer into it.
    pub fn read(file: &Received, sku: Sku, version: &FirmwareVersion, faults: &mut Faults) -> Self {
        if file.head.len() < HEAD || file.tail.len() < BLOCK || file.size < SHORTEST {
            let detail = format!(
                "{} bytes are too few for an image and its signature block, which take {SHORTEST} at least",
                file.size
            );
            faults.add("/size", detail);
            return Self { description: None, block: None };
        }
        read_header(&file.head, faults);
        Self {
            description: read_description(&file.head, sku, version, faults),
            block: read_block(file, faults),
        }
    }
}

/// The least that a file can be.
const SHORTEST: u64 = (HEAD + BLOCK) as u64;

fn read_header(head: &[u8], faults: &mut Faults) {
    let [magic, segments, ..] = head else { return };
    if *magic != IMAGE_MAGIC {
        faults.add("/header/magic", format!("must be 0xE9, as of an ESP32 image, and is 0x{magic:02X}"));
    } else if !(1..=MAX_SEGMENTS).contains(segments) {
        faults.add("/header/segment_count", format!("must be from 1 to {MAX_SEGMENTS}, and is {segments}"));
    }
}

fn read_description(
    head: &[u8],
    sku: Sku,
    expected: &FirmwareVersion,
    faults: &mut Faults,
) -> Option<Description> {
    let mut bytes = Bytes(head.get(DESCRIPTION..)?);
    let magic = bytes.u32()?;
    if magic != DESCRIPTION_MAGIC {
        let detail = format!("must be 0xABCD5432 (esp_app_desc_t), and is 0x{magic:08X}");
        faults.add("/app_desc/magic_word", detail);
        return None;
    }
    let _secure_version_and_reserved = bytes.take::<12>()?;
    let version = text(&bytes.take::<32>()?);
    let project_name = text(&bytes.take::<32>()?);
    let _time_date_and_idf_version = bytes.take::<64>()?;
    let elf_sha256 = bytes.take::<32>()?;

    let read = version.as_deref().and_then(FirmwareVersion::parse);
    match &read {
        None => faults.add("/app_desc/version", FirmwareVersion::EXPECTED),
        Some(version) if version != expected => {
            faults.add("/app_desc/version", format!("is {version}, and the path says {expected}"));
        }
        Some(_) => {}
    }
    let project_name = project_name
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
    match &project_name {
        None => faults.add("/app_desc/project_name", "must be text of 1 to 31 printable ASCII characters"),
        // Projects may be called anything; one that names the other variant is the other variant's.
        Some(name) if [Sku::Lite, Sku::Pro].iter().any(|it| *it != sku && name.contains(it.as_str())) => {
            faults.add("/app_desc/project_name", format!("is {name}, and the path says {sku}"));
        }
        Some(_) => {}
    }
    Some(Description { version: read?, project_name: project_name?, elf_sha256 })
}

fn read_block(file: &Received, faults: &mut Faults) -> Option<SignatureBlock> {
    let mut bytes = Bytes(&file.tail);
    if bytes.take::<4>()? != *BLOCK_MAGIC {
        faults.add(
            "/signature_block/magic",
            "must be OPFW: the file must end in a signature block of 240 bytes",
        );
        return None;
    }
    let format_version = bytes.u32()?;
    if format_version != BLOCK_FORMAT {
        faults.add("/signature_block/format_version", format!("must be 1, and is {format_version}"));
        return None;
    }
    let fw_hash = bytes.take::<32>()?;
    let signature = bytes.take::<64>()?;
    let public_key = bytes.take::<64>()?;
    let fw_version = bytes.u32()?;
    let build_timestamp = bytes.u32()?;
    let _reserved = bytes.take::<32>()?;
    let block_hash = bytes.take::<32>()?;

    let hashed: [u8; 32] = Sha256::digest(file.tail.get(..BLOCK_HASHED)?).into();
    faults.require(
        block_hash == hashed,
        "/signature_block/block_hash",
        "is not the SHA-256 of the block before it: the block was changed or cut",
    );
    if fw_hash != file.signed_sha256 {
        let detail = format!(
            "is not the SHA-256 of everything before the block, {}: the image was changed or cut",
            hex::encode(&file.signed_sha256)
        );
        faults.add("/signature_block/fw_hash", detail);
    }
    let built_at = UnixMillis(i64::from(build_timestamp).saturating_mul(crate::time::SECOND));
    Some(SignatureBlock { fw_hash, signature, public_key, fw_version, built_at })
}

/// A C string in a fixed field: up to the first NUL, or all of it. `None` if it is not UTF-8.
fn text(field: &[u8]) -> Option<String> {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).ok()
}

/// Reads fields one after the other.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the fields stand that tests change; those of the block count from its beginning.
    const VERSION: usize = DESCRIPTION + 16;
    const PROJECT: usize = DESCRIPTION + 48;
    const ELF: usize = DESCRIPTION + 144;

    /// An image of 2 KB with a block whose hashes are right.
    fn image() -> Vec<u8> {
        let mut file: Vec<u8> = (0..2_048_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        file[..2].copy_from_slice(&[IMAGE_MAGIC, 6]);
        file[DESCRIPTION..DESCRIPTION + 4].copy_from_slice(&DESCRIPTION_MAGIC.to_le_bytes());
        put_text(&mut file, VERSION, "1.2.0");
        put_text(&mut file, PROJECT, "rs1-firmware");
        file[ELF..ELF + 32].copy_from_slice(&[0xEF; 32]);
        with_block(file)
    }

    fn put_text(file: &mut [u8], at: usize, text: &str) {
        file[at..at + 32].fill(0);
        file[at..at + text.len()].copy_from_slice(text.as_bytes());
    }

    fn with_block(mut file: Vec<u8>) -> Vec<u8> {
        let fw_hash = Sha256::digest(&file);
        let start = file.len();
        file.extend_from_slice(b"OPFW");
        file.extend_from_slice(&1_u32.to_le_bytes());
        file.extend_from_slice(&fw_hash);
        file.extend_from_slice(&[0x51; 64]);
        file.extend_from_slice(&[0x9B; 64]);
        file.extend_from_slice(&7_u32.to_le_bytes());
        file.extend_from_slice(&1_768_903_200_u32.to_le_bytes());
        file.extend_from_slice(&[0; 32]);
        let block_hash = Sha256::digest(&file[start..]);
        file.extend_from_slice(&block_hash);
        file
    }

    /// The image after `change` to what stands before its block.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut file = image();
        file.truncate(file.len() - BLOCK);
        change(&mut file);
        with_block(file)
    }

    fn read(file: &[u8]) -> (Image, Faults) {
        let mut faults = Faults::new();
        let version = FirmwareVersion::parse("1.2.0").unwrap();
        let image = Image::read(&Received::of(file), Sku::Pro, &version, &mut faults);
        (image, faults)
    }

    fn faults(file: &[u8]) -> Vec<String> {
        read(file).1.as_slice().iter().map(|fault| fault.pointer.clone()).collect()
    }

    #[test]
    fn an_image_says_what_it_is_and_who_signed_it() {
        let file = image();
        let (image, faults) = read(&file);
        assert_eq!(faults.summary(), "");
        let description = image.description.unwrap();
        assert_eq!(description.version.as_str(), "1.2.0");
        assert_eq!(description.project_name, "rs1-firmware");
        assert_eq!(description.elf_sha256, [0xEF; 32]);
        let block = image.block.unwrap();
        assert_eq!((block.signature, block.public_key, block.fw_version), ([0x51; 64], [0x9B; 64], 7));
        assert_eq!(block.built_at.to_rfc3339(), "2026-01-20T10:00:00Z");
        assert_eq!(block.fw_hash, <[u8; 32]>::from(Sha256::digest(&file[..2_048])));
    }

    #[test]
    fn each_kind_of_bad_image_is_named_for_what_it_is() {
        for (file, pointers) in [
            (Vec::new(), vec!["/size"]),
            (image()[..527].to_vec(), vec!["/size"]),
            (changed(|file| file[0] = 0xEA), vec!["/header/magic"]),
            (changed(|file| file[1] = 0), vec!["/header/segment_count"]),
            (changed(|file| file[1] = 17), vec!["/header/segment_count"]),
            (changed(|file| file[DESCRIPTION] = 0), vec!["/app_desc/magic_word"]),
            (changed(|file| put_text(file, VERSION, "1.2.1")), vec!["/app_desc/version"]),
            (changed(|file| put_text(file, VERSION, "v1.2.0")), vec!["/app_desc/version"]),
            (changed(|file| put_text(file, VERSION, "")), vec!["/app_desc/version"]),
            (changed(|file| file[VERSION..VERSION + 32].fill(b'1')), vec!["/app_desc/version"]),
            (changed(|file| file[VERSION] = 0xFF), vec!["/app_desc/version"]),
            (changed(|file| put_text(file, PROJECT, "")), vec!["/app_desc/project_name"]),
            (changed(|file| put_text(file, PROJECT, "a\u{7}")), vec!["/app_desc/project_name"]),
            (changed(|file| put_text(file, PROJECT, "opticworks-rs1_lite")), vec!["/app_desc/project_name"]),
        ] {
            assert_eq!(faults(&file), pointers);
        }
        assert_eq!(faults(&changed(|file| put_text(file, PROJECT, "opticworks-rs1_pro"))), [""; 0]);
    }

    #[test]
    fn a_block_that_is_missing_cut_or_changed_is_named_for_what_it_is() {
        let good = image();
        let start = good.len() - BLOCK;
        assert_eq!(faults(&good[..start]), ["/signature_block/magic"], "unsigned");
        assert_eq!(faults(&good[..good.len() - 1]), ["/signature_block/magic"], "truncated");
        assert_eq!(
            faults(&[&good[..1_000], &good[1_001..]].concat()),
            ["/signature_block/fw_hash"],
            "a byte is missing in the middle"
        );
        let flipped = |at: usize| {
            let mut file = good.clone();
            file[at] ^= 1;
            faults(&file)
        };
        assert_eq!(flipped(start), ["/signature_block/magic"]);
        assert_eq!(flipped(start + 4), ["/signature_block/format_version"]);
        assert_eq!(flipped(start + 8), ["/signature_block/block_hash", "/signature_block/fw_hash"]);
        for at in [start + 40, start + 104, start + 168, start + 172, start + 176, start + 208, start + 239] {
            assert_eq!(flipped(at), ["/signature_block/block_hash"], "byte {at}");
        }
        assert_eq!(flipped(1_000), ["/signature_block/fw_hash"]);
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let mut file = changed(|file| {
            file[0] = 0;
            put_text(file, VERSION, "9.9.9");
            put_text(file, PROJECT, "");
        });
        let last = file.len() - 1;
        file[last] ^= 1;
        file[1_000] ^= 1;
        assert_eq!(
            faults(&file),
            [
                "/header/magic",
                "/app_desc/version",
                "/app_desc/project_name",
                "/signature_block/block_hash",
                "/signature_block/fw_hash",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(file in proptest::collection::vec(any::<u8>(), 0..1_200)) {
            let _ = read(&file);
        }

        #[test]
        fn no_bit_of_an_image_can_change_unnoticed(bit in 0_usize..(2_048 + BLOCK) * 8) {
            let mut file = image();
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!faults(&file).is_empty());
        }

        #[test]
        fn what_streams_by_is_seen_as_what_is_in_memory(size in 0_usize..2_000, seed: u8) {
            let file: Vec<u8> = (0..size).map(|n| u8::try_from((n + usize::from(seed)) % 256).unwrap()).collect();
            let seen = Received::of(&file);
            prop_assert_eq!(seen.size, size as u64);
            prop_assert_eq!(&seen.head[..], &file[..size.min(HEAD)]);
            prop_assert_eq!(&seen.tail[..], &file[size.saturating_sub(BLOCK)..]);
            let signed: [u8; 32] = Sha256::digest(&file[..size.saturating_sub(BLOCK)]).into();
            prop_assert_eq!(seen.signed_sha256, signed);
        }
    }
}
