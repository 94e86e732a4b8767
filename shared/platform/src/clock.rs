//! The only place that reads the clock.

use rs1_domain::UnixMillis;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// Now, in whole milliseconds. In production the clock moves only when the worker waits for I/O.
pub fn now() -> UnixMillis {
    from_js(date_now())
}

/// A time of JavaScript's (`Date.now()`, `scheduledTime`).
#[expect(clippy::cast_possible_truncation, reason = "whole milliseconds far below 2^53")]
pub fn from_js(milliseconds: f64) -> UnixMillis {
    UnixMillis(milliseconds as i64)
}
