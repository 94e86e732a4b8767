//! Enrolling devices, as the factory does: their address and the hash of their secret.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use rs1_domain::http::NDJSON;
use rs1_domain::limits::BULK_ENROLL_LINES;
use serde::Deserialize;
use serde_json::json;

use crate::device::Identity;
use crate::http::{Origin, Post};

/// How often an enrolment is asked for before it is given up.
const TRIES: u32 = 5;

/// Who enrols, and where.
pub struct Registrar {
    /// Where the API is.
    pub origin: Origin,
    /// Its virtual host.
    pub host: String,
    /// An operator's token.
    pub token: String,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enrolled {
    /// Devices that the cloud had not known.
    pub new: usize,
    /// Devices that it knew with the same secret.
    pub known: usize,
}

/// One line of the API's answer.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "line")]
    number: usize,
    status: u16,
    detail: Option<String>,
    #[serde(default)]
    errors: serde_json::Value,
}

impl Registrar {
    /// Enrols all devices; those that are enrolled already stay so.
    ///
    /// # Errors
    /// When the API does not answer, or refuses any of them.
    pub async fn enrol(&self, devices: &[Identity]) -> anyhow::Result<Enrolled> {
        let mut enrolled = Enrolled::default();
        for chunk in devices.chunks(BULK_ENROLL_LINES) {
            let answer = self.ask(request(chunk)).await.context("enrolling")?;
            let Enrolled { new, known } = read(chunk, &answer)?;
            enrolled.new = enrolled.new.saturating_add(new);
            enrolled.known = enrolled.known.saturating_add(known);
        }
        Ok(enrolled)
    }

    /// Asks until there is an answer that is more than "not now". Asking again is harmless.
    async fn ask(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let mut tried = 1;
        loop {
            let post = Post {
                path: "/api/admin/enroll/bulk",
                host: &self.host,
                token: &self.token,
                content_type: NDJSON,
                body: body.clone(),
            };
            let fault = match self.origin.post(post).await {
                Ok((200, answer)) => return Ok(answer),
                Ok((status, answer)) => {
                    let fault = anyhow::anyhow!(
                        "the API answers {status}: {}",
                        String::from_utf8_lossy(&answer).trim()
                    );
                    if !matches!(status, 429 | 503) {
                        return Err(fault);
                    }
                    fault
                }
                Err(fault) => fault,
            };
            if tried >= TRIES {
                return Err(fault);
            }
            tokio::time::sleep(Duration::from_secs(tried.into())).await;
            tried = tried.saturating_add(1);
        }
    }
}

/// A JSON object a line.
fn request(devices: &[Identity]) -> Bytes {
    let mut body = String::new();
    for device in devices {
        let line = json!({
            "mac_address": device.mac,
            "device_secret_hash": device.secret_hash,
            "product_sku": device.sku,
        });
        body.push_str(&line.to_string());
        body.push('\n');
    }
    Bytes::from(body)
}

fn read(devices: &[Identity], answer: &[u8]) -> anyhow::Result<Enrolled> {
    let text = std::str::from_utf8(answer).context("the answer is not text")?;
    let mut enrolled = Enrolled::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("a line of the answer: {line}"))?;
        match line.status {
            201 => enrolled.new = enrolled.new.saturating_add(1),
            200 => enrolled.known = enrolled.known.saturating_add(1),
            status => {
                let mac = line.number.checked_sub(1).and_then(|at| devices.get(at)).map(|device| device.mac);
                let mac = mac.map_or_else(|| format!("line {}", line.number), |mac| mac.to_string());
                let why = line.detail.unwrap_or_else(|| line.errors.to_string());
                bail!("{mac} is not enrolled: {status}, {why}");
            }
        }
    }
    let answered = enrolled.new.saturating_add(enrolled.known);
    ensure!(answered == devices.len(), "{answered} answers for {} devices", devices.len());
    Ok(enrolled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(count: u32) -> Vec<Identity> {
        (0..count).map(|index| Identity::of_fleet(1, index, None).unwrap()).collect()
    }

    #[test]
    fn each_device_has_its_line() {
        let body = request(&devices(2));
        let lines: Vec<serde_json::Value> = std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["product_sku"], "rs1_pro");
        assert_eq!(lines[0]["device_secret_hash"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn the_largest_request_is_one_that_the_api_takes() {
        assert!(request(&devices(1_000)).len() <= rs1_domain::limits::BULK_ENROLL_BODY);
    }

    #[test]
    fn every_device_must_be_answered_for() {
        let two = devices(2);
        let answer = b"{\"line\":1,\"status\":201}\n{\"line\":2,\"status\":200}\n";
        assert_eq!(read(&two, answer).unwrap(), Enrolled { new: 1, known: 1 });
        assert!(read(&two, b"{\"line\":1,\"status\":201}\n").is_err());
        assert!(read(&two, b"<html>").is_err());
        let refused =
            b"{\"line\":1,\"status\":201}\n{\"line\":2,\"status\":409,\"detail\":\"another hash\"}\n";
        let fault = read(&two, refused).unwrap_err().to_string();
        assert_eq!(fault, format!("{} is not enrolled: 409, another hash", two[1].mac));
    }
}
