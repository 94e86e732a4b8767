//! What is uploaded and what is asked of it: images, signatures, links and ranges. Nothing panics, no image passes that
//! the trusted key did not sign, no link opens that we did not make, and no range leaves the file.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rs1_auth::firmware::PublicKey;
use rs1_auth::signed_url::UrlKeys;
use rs1_domain::firmware::{Image, Received};
use rs1_domain::range::{Selection, select};
use rs1_domain::{Faults, FirmwareVersion, Method, Request, RequestId, Sku, UnixMillis};

/// The image in fuzz/seeds/firmware, which the fuzzer begins with.
const SIGNED: &[u8] = include_bytes!("../seeds/firmware/image.bin");
const PATH: &str = "/firmware/rs1_pro/1.2.0.bin";
const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

static KEYS: LazyLock<UrlKeys> = LazyLock::new(|| UrlKeys::new("a key that no input can know", None));

fuzz_target!(|bytes: &[u8]| {
    let version = FirmwareVersion::parse("1.2.0").expect("a version");
    let mut faults = Faults::new();
    let file = Received::of(bytes);
    let image = Image::read(&file, Sku::Pro, &version, &mut faults);
    if let Some(block) = &image.block {
        let signed = PublicKey::from_bytes(block.public_key)
            .is_some_and(|key| key.signed(&block.fw_hash, &block.signature));
        let by_the_seeds_key = SIGNED.windows(64).any(|window| window == block.public_key);
        if faults.is_empty() && image.description.is_some() && signed && by_the_seeds_key {
            // That key was thrown away: nobody can have signed anything else with it.
            assert_eq!(file.signed_sha256, Received::of(SIGNED).signed_sha256, "another image passed");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(KEYS.verify(PATH, text, NOW).is_err(), "a link opened");
    let request = Request {
        method: Method::Get,
        path: PATH.to_owned(),
        query: String::new(),
        headers: vec![("range", text.to_owned())],
        body: Vec::new(),
        now: NOW,
        request_id: RequestId::from_header("fuzz").expect("an id"),
    };
    match select(&request, 1_000, "\"tag\"") {
        Selection::Part(part) => assert!(part.length > 0 && part.last() < 1_000),
        Selection::NotSatisfiable => {}
        other => panic!("{other:?} for {text:?}"),
    }
});
