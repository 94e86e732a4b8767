//! Randomness, from the runtime's cryptographic source.

use rs1_domain::port::Random;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(bytes: &mut [u8]);
}

/// `N` random bytes, fit for keys; at most 65,536. Only inside an event: the runtime has none to give
/// while a worker starts.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    get_random_values(&mut bytes);
    bytes
}

/// The runtime's randomness as a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crypto;

impl Random for Crypto {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        bytes()
    }
}
