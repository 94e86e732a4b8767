//! A closed buffer becomes an object (`emqx_connector_aggreg_delivery`, `emqx_s3_upload`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, SecondsFormat};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::buffers::Closed;
use crate::config::{KeyPart, S3Action, TimeFormat};
use crate::s3::{Client, Error, Part};
use crate::template::Template;

/// What became of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// The object is stored.
    Stored {
        /// How many records it has.
        records: u64,
        /// How large it is.
        bytes: usize,
    },
    /// There was nothing in it.
    Empty,
}

/// The key of a buffer's object. Colons become underscores, as EMQX has it (`mk_fs_safe_string/1`).
pub fn key(template: &Template<KeyPart>, action: &str, node: &str, buffer: &Closed) -> String {
    let safe = |text: &str| text.replace(':', "_");
    template
        .render::<std::convert::Infallible>(|part, out| {
            out.push_str(&match part {
                KeyPart::Action => safe(action),
                KeyPart::Node => safe(node),
                KeyPart::Sequence => buffer.sequence.to_string(),
                KeyPart::Since(format) => safe(&time(buffer.since, *format)),
                KeyPart::Until(format) => safe(&time(buffer.until, *format)),
            });
            Ok(())
        })
        .unwrap_or_default()
}

fn time(seconds: u64, format: TimeFormat) -> String {
    match format {
        TimeFormat::Unix => seconds.to_string(),
        TimeFormat::Rfc3339Utc => {
            let millis = Duration::from_secs(seconds).as_millis();
            let time = i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis);
            time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
        }
    }
}

/// Uploads a buffer: what is larger than `min_part_size` in parts, each cut where a record ends, anything else whole. Of an
/// upload that fails nothing stays.
///
/// # Errors
/// Why the object is not there, as far as one can know.
pub async fn upload(
    client: &Client,
    settings: &S3Action,
    key: &str,
    buffer: &Closed,
) -> Result<Uploaded, String> {
    let mut transfer = Transfer { client, bucket: &settings.bucket, key, upload: None, parts: Vec::new() };
    let outcome = transfer.run(settings, buffer).await;
    if let (Err(_), Some(upload)) = (&outcome, &transfer.upload)
        && let Err(error) = client.abort_multipart(&settings.bucket, key, upload).await
    {
        log::warn!("{key}: the upload was not given up: {error}");
    }
    outcome
}

struct Transfer<'a> {
    client: &'a Client,
    bucket: &'a str,
    key: &'a str,
    upload: Option<String>,
    parts: Vec<Part>,
}

impl Transfer<'_> {
    async fn run(&mut self, settings: &S3Action, buffer: &Closed) -> Result<Uploaded, String> {
        let unread = |error: std::io::Error| format!("{}: {error}", buffer.path.display());
        let mut lines = BufReader::new(File::open(&buffer.path).await.map_err(unread)?);
        let (mut data, mut line) = (BytesMut::new(), Vec::new());
        let (mut records, mut bytes) = (0_u64, 0_usize);
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line).await.map_err(unread)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            if data.len().saturating_add(line.len()) > settings.max_part_size {
                return Err("too_large: more than max_part_size".to_owned());
            }
            data.extend_from_slice(&line);
            records = records.saturating_add(1);
            bytes = bytes.saturating_add(line.len());
            if data.len() >= settings.min_part_size {
                self.part(data.split().freeze()).await.map_err(told)?;
            }
        }
        if records == 0 {
            return Ok(Uploaded::Empty);
        }
        self.complete(data.freeze()).await.map_err(told)?;
        Ok(Uploaded::Stored { records, bytes })
    }

    async fn part(&mut self, data: Bytes) -> Result<(), Error> {
        let upload = match &self.upload {
            Some(upload) => upload,
            None => self.upload.insert(self.client.start_multipart(self.bucket, self.key).await?),
        };
        let number = self.parts.len().saturating_add(1);
        self.parts.push(self.client.upload_part(self.bucket, self.key, upload, number, data).await?);
        Ok(())
    }

    async fn complete(&mut self, rest: Bytes) -> Result<(), Error> {
        if self.upload.is_none() {
            return self.client.put(self.bucket, self.key, rest).await;
        }
        if !rest.is_empty() {
            self.part(rest).await?;
        }
        let upload = self.upload.as_deref().unwrap_or_default();
        self.client.complete_multipart(self.bucket, self.key, upload, &self.parts).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn told(error: Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_whose_and_when_without_colons() {
        let buffer = Closed { since: 1_763_690_475, until: 1_763_692_275, sequence: 12, path: "/x".into() };
        let known = |name: &str| {
            Some(match name {
                "a" => KeyPart::Action,
                "n" => KeyPart::Node,
                "s" => KeyPart::Sequence,
                "d" => KeyPart::Since(TimeFormat::Rfc3339Utc),
                "u" => KeyPart::Until(TimeFormat::Unix),
                _ => return None,
            })
        };
        let template = Template::parse("t/${a}/${n}/${d}_${s}_${u}.jsonl", known);
        assert_eq!(
            key(&template, "optic:x", "emqx@10.0.0.5", &buffer),
            "t/optic_x/emqx@10.0.0.5/2025-11-21T02_01_15Z_12_1763692275.jsonl"
        );
    }
}
