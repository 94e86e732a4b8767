//! Zone configurations out of people's JSON: nothing panics, every fault has a pointer into the document, and what is
//! taken is what a device takes, unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rs1_domain::{Sku, UnixMillis};
use rs1_zones::{Configuration, Edit, geometry};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let _ = Configuration::read(bytes, Sku::Lite);
    let edit = match Edit::read(bytes, Some(Sku::Pro)) {
        Ok(edit) => edit,
        Err(faults) => {
            assert!(!faults.is_empty());
            let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
            for fault in faults.as_slice() {
                // What is missing is named by where it should be.
                let parent = fault.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                assert!(document.pointer(parent).is_some(), "{}: {}", fault.pointer, fault.detail);
            }
            return;
        }
    };
    assert!(edit.zones.len() <= rs1_zones::MOST_ZONES);
    for zone in &edit.zones {
        assert!(geometry::flaws(&zone.vertices).is_empty());
        let mut turned = zone.vertices.clone();
        turned.rotate_left(1);
        turned.reverse();
        assert!(geometry::flaws(&turned).is_empty(), "the same polygon from elsewhere and the other way round");
    }
    let configuration =
        Configuration { version: edit.version.unwrap_or(1), updated_at: UnixMillis(0), zones: edit.zones };
    let text = serde_json::to_string(&configuration).expect("it has a JSON form");
    assert_eq!(Configuration::read(text.as_bytes(), Sku::Pro), Ok(configuration), "a device takes it");
});
