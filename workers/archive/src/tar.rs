//! The tar format (POSIX ustar), as far as an export needs it: files with short names, none larger than 8 GiB.

use rs1_domain::UnixMillis;

/// Everything in a tar archive is so long, or a multiple of it.
const BLOCK: usize = 512;

/// Appends a file to an archive. The name has at most 100 bytes.
pub fn append(archive: &mut Vec<u8>, name: &str, at: UnixMillis, content: &[u8]) {
    let field = |text: &str, width: usize| {
        let mut bytes: Vec<u8> = text.bytes().take(width).collect();
        bytes.resize(width, 0);
        bytes
    };
    let seconds = at.seconds().max(0);
    // Name, mode, owner, group, size, time.
    let before = [
        field(name, 100),
        field("0000644", 8),
        field("0000000", 8),
        field("0000000", 8),
        field(&format!("{:011o}", content.len()), 12),
        field(&format!("{seconds:011o}"), 12),
    ]
    .concat();
    // A plain file, no link, the format and its version; what is left is for devices and longer names.
    let after = [field("0", 1), field("", 100), field("ustar", 6), field("00", 2), field("", 247)].concat();
    // The sum is taken as if it were spaces itself.
    let spaces = 8 * u32::from(b' ');
    let sum = before.iter().chain(&after).fold(spaces, |sum, byte| sum.saturating_add(u32::from(*byte)));
    archive.extend(before);
    archive.extend(field(&format!("{sum:06o}\0 "), 8));
    archive.extend(after);
    archive.extend(content);
    let end = archive.len().next_multiple_of(BLOCK);
    archive.resize(end, 0);
}

/// Ends an archive.
pub fn end(archive: &mut Vec<u8>) {
    let end = archive.len().saturating_add(2 * BLOCK);
    archive.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field by field, as the standard has them.
    #[test]
    fn a_file_has_its_head_its_content_and_is_filled_up() {
        let mut archive = Vec::new();
        append(&mut archive, "rs1/README.txt", UnixMillis(1_768_903_200_000), b"hello\n");
        assert_eq!(archive.len(), 2 * BLOCK);
        let text = |from: usize, to: usize| String::from_utf8(archive[from..to].to_vec()).unwrap();
        assert_eq!(text(0, 15), "rs1/README.txt\0");
        assert_eq!(text(124, 136), "00000000006\0");
        assert_eq!(i64::from_str_radix(&text(136, 147), 8), Ok(1_768_903_200));
        assert_eq!((archive[156], text(257, 265).as_str()), (b'0', "ustar\u{0}00"));
        let mut blank = archive[..BLOCK].to_vec();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(text(148, 156), format!("{sum:06o}\0 "));
        assert_eq!(text(BLOCK, BLOCK + 7), "hello\n\0");
        append(&mut archive, "empty", UnixMillis(0), b"");
        end(&mut archive);
        assert_eq!(archive.len(), 5 * BLOCK);
        assert!(archive[3 * BLOCK..].iter().all(|byte| *byte == 0));
    }
}
