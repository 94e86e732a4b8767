//! Answers that are kept in KV for whoever asks next: of questions that read the whole registry.

use rs1_domain::http::JSON;
use rs1_domain::port::KeyValue;
use rs1_domain::{Answer, Problem};
use serde::Serialize;

/// The answer that is kept under a key; or a new one, kept for so many seconds. What KV has lost or cannot say is made again.
///
/// # Errors
/// Those of `make`.
pub async fn kept<T: Serialize>(
    cache: &impl KeyValue,
    (key, seconds): (&str, u32),
    make: impl AsyncFnOnce() -> Result<T, Problem>,
) -> Result<Answer, Problem> {
    if let Ok(Some(known)) = cache.get(key).await {
        return Ok(Answer::text(200, JSON, known));
    }
    let answer = Answer::json(200, &make().await?);
    match cache.put(key, &answer.body, seconds).await {
        Ok(()) => Ok(answer),
        Err(error) => Ok(answer.with_log(format!("not kept: {error}"))),
    }
}
