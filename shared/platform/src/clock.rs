//! The only place that reads the clock.

use rs1_domain::UnixMillis;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// Now, in whole milliseconds. In production the clock moves only when the worker waits for I/O.
#[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number far below 2^53")]
pub fn now() -> UnixMillis {
    UnixMillis(date_now() as i64)
}
