//! Lower-case hexadecimal, the encoding of every hash and identifier in the contract.

/// Writes `bytes` as lower-case hex digits.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads exactly `N` bytes from `2 * N` hex digits of either case; `None` for anything else.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0_u8; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (nibble(*high)? << 4) | nibble(*low)?;
    }
    Some(bytes)
}

/// Whether `text` is exactly `length` lower-case hex digits.
pub fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_it_back(bytes: [u8; 32]) {
            let text = encode(&bytes);
            prop_assert!(is_lower_hex(&text, 64));
            prop_assert_eq!(decode::<32>(&text), Some(bytes));
            prop_assert_eq!(decode::<32>(&text.to_uppercase()), Some(bytes));
        }
    }

    #[test]
    fn other_lengths_and_other_characters_are_refused() {
        assert_eq!(decode::<2>("abc"), None);
        assert_eq!(decode::<2>("abcde"), None);
        assert_eq!(decode::<2>("abcg"), None);
        assert_eq!(decode::<2>("ab é"), None);
    }
}
