//! Cohorts: a hundred equal parts of the fleet, the same in every rollout.

use rs1_domain::DeviceId;
use sha2::{Digest, Sha256};

/// How many cohorts there are; a stage of P per cent covers the first P.
pub const COHORTS: u8 = 100;

/// The cohort of a device, 0 to 99: the first two bytes (big-endian) of SHA-256 of its id, mod 100
/// (contract, section 5).
pub fn cohort(device: &DeviceId) -> u8 {
    let digest = Sha256::digest(device.as_str());
    let number = match digest.as_slice() {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    number.checked_rem(u16::from(COHORTS)).and_then(|rest| u8::try_from(rest).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_vector_derives() {
        let device = DeviceId::parse("3e32e97b9d6cf5e193d3a3a7e8fd9a97").unwrap();
        assert_eq!(cohort(&device), 63);
    }

    #[test]
    fn cohorts_share_a_fleet_about_equally() {
        let mut sizes = [0_u32; 100];
        for n in 0..20_000_u32 {
            sizes[usize::from(cohort(&DeviceId::parse(&format!("{n:032x}")).unwrap()))] += 1;
        }
        assert!(sizes.iter().all(|size| (130..=280).contains(size)), "{sizes:?}");
    }
}
