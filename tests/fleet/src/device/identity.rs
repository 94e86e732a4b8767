//! Who a simulated device is. Everything follows from a seed and a number, so that a fleet that was
//! enrolled yesterday can come back today, and a failing run can be repeated.

use rs1_auth::DeviceKey;
use rs1_domain::{DeviceId, MacAddress, Sku, UnixMillis, hex};
use sha2::{Digest, Sha256};

/// A device's names and its secret.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The address it was made with.
    pub mac: MacAddress,
    /// What the address hashes to.
    pub id: DeviceId,
    /// The variant.
    pub sku: Sku,
    /// SHA-256 of its secret as 64 hex digits: what the factory tells the cloud.
    pub secret_hash: String,
    key: DeviceKey,
}

impl Identity {
    /// The device with that address and secret.
    pub fn new(mac: MacAddress, secret: &[u8; 32], sku: Sku) -> Option<Self> {
        let secret_hash = hex::encode(&Sha256::digest(secret));
        let key = DeviceKey::parse(&secret_hash)?;
        Some(Self { mac, id: DeviceId::of(&mac), sku, secret_hash, key })
    }

    /// Number `index` of the fleet that `seed` names. Unless all are to be of one variant, two of three
    /// are `rs1_pro`.
    pub fn of_fleet(seed: u64, index: u32, all: Option<Sku>) -> Option<Self> {
        let mac = mac(seed, index);
        let mixed = if index % 3 == 2 { Sku::Lite } else { Sku::Pro };
        Self::new(mac, &secret(seed, mac), all.unwrap_or(mixed))
    }

    /// The MQTT password at `now`, by the device's own idea of the hour.
    pub fn password(&self, now: UnixMillis) -> String {
        hex::encode(&self.key.password(&self.id, now.hour()))
    }
}

/// The address of a fleet's device. The first byte says "locally administered": no device that was
/// ever sold can have it.
fn mac(seed: u64, index: u32) -> MacAddress {
    let digest = Sha256::new().chain_update(b"rs1-fleet address").chain_update(seed.to_be_bytes()).finalize();
    let [fleet_high, fleet_low, ..] = <[u8; 32]>::from(digest);
    let [_, high, middle, low] = index.to_be_bytes();
    MacAddress::from_bytes([0x02, fleet_high, fleet_low, high, middle, low])
}

/// The secret of a simulated device that was not given one. It depends on the seed and the address
/// alone: `rs1-fleet device` can play any single device of a fleet.
pub fn secret(seed: u64, mac: MacAddress) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"rs1-fleet secret")
        .chain_update(seed.to_be_bytes())
        .chain_update(mac.to_string())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_contracts_vector_holds() {
        let mut secret = [0; 32];
        secret.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        let identity =
            Identity::new(MacAddress::parse("AA:BB:CC:DD:EE:01").unwrap(), &secret, Sku::Pro).unwrap();
        assert_eq!(identity.id.as_str(), "3e32e97b9d6cf5e193d3a3a7e8fd9a97");
        assert_eq!(identity.secret_hash, "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd");
        assert_eq!(
            identity.password(UnixMillis::parse_rfc3339("2026-01-20T10:59:59Z").unwrap()),
            "75b8f8fd547e0ad36718a6d634d2ceba7e3c43f12cc8fc271c52e22904c221ec"
        );
    }

    #[test]
    fn a_fleet_is_the_same_every_time_and_no_two_devices_are() {
        let fleet = |seed| (0..2_000).map(move |index| Identity::of_fleet(seed, index, None).unwrap());
        let ids: BTreeSet<_> = fleet(1).map(|device| device.id).collect();
        assert_eq!(ids.len(), 2_000);
        assert!(fleet(1).all(|device| ids.contains(&device.id)));
        assert!(fleet(2).all(|device| !ids.contains(&device.id)));
        assert!(fleet(1).all(|device| device.mac.to_string().starts_with("02:")));
        let secrets: BTreeSet<_> = fleet(1).map(|device| device.secret_hash).collect();
        assert_eq!(secrets.len(), 2_000);
    }
}
