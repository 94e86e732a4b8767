//! Durations and sizes as EMQX writes them (`typerefl` duration and bytesize types of
//! `emqx_schema`): `15s`, `1h30m`, `250ms`, `1MB`, `512KB`.

use std::time::Duration;

/// A duration: one or more `number unit` pairs, units `d h m s ms` in either case.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = digits(rest)?;
        let unit: String = after.chars().take_while(char::is_ascii_alphabetic).collect();
        rest = after.strip_prefix(unit.as_str())?;
        let millis: u64 = match unit.to_ascii_lowercase().as_str() {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
    }
    Some(total)
}

/// A size in bytes: a number, with `kb`, `mb` or `gb` (powers of 1024, in either case) behind it or not.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = digits(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The number that `text` begins with, and what follows it.
fn digits(text: &str) -> Option<(u64, &str)> {
    let number: String = text.chars().take_while(char::is_ascii_digit).collect();
    Some((number.parse().ok()?, text.strip_prefix(number.as_str())?))
}
