//! R2: objects are written once, and read whole, by the line or searched; backups are written in parts; others' objects are counted
//! and hashed.
//!
//! An object that was compressed on the way in is what its key says it is, a gzip file: its `Content-Type` is
//! `application/gzip` and it has no `Content-Encoding`, so whoever downloads `x.ndjson.gz` by other means gets a
//! `.gz` file. Its metadata field `gzip-of` holds the content's own type, and is what tells
//! [`get`](Bucket::get) to decompress. The field `label` holds a label.

use js_sys::{Promise, Uint8Array, Uint32Array};
use rs1_domain::http::Stream;
use rs1_domain::port::{
    Archive, Bucket, Digest, Encoding, Gzip, Inbox, Inventory, Lines, Listed, Listing, NewObject, Opened,
    Packs, PortError, Shelf, Vault,
};
use rs1_domain::{UnixMillis, json};
use wasm_bindgen::prelude::*;

use crate::{Env, task};

#[wasm_bindgen(module = "/src/js/r2.js")]
extern "C" {
    /// A promise of whether the object was stored. Copies `body` before it returns.
    fn put_new(
        env: &Env,
        binding: &str,
        key: &str,
        body: &[u8],
        content_type: &str,
        gzip: bool,
        label: Option<&str>,
    ) -> Promise;
    /// A promise of lines: `more` or nothing, then a key and a label for each object.
    fn list(env: &Env, binding: &str, prefix: &str, after: Option<&str>) -> Promise;
    /// A promise of the lines, as a `Uint8Array`. `keys` and `needles` are lines.
    fn lines_with(env: &Env, binding: &str, keys: &str, needles: &str, most: usize) -> Promise;
    /// A promise of the members' lengths, as a `Uint32Array`. Copies `ends` before it returns.
    fn pack(env: &Env, binding: &str, key: &str, text: &str, ends: &[u32]) -> Promise;
    /// A promise of a text, or of `undefined`. Copies `lengths` before it returns.
    fn unpack(env: &Env, binding: &str, key: &str, offset: f64, lengths: &[u32]) -> Promise;
    /// A promise of nothing.
    fn blank(env: &Env, binding: &str, key: &str, offset: f64, length: u32) -> Promise;
    /// A promise of nothing. Copies `body` before it returns.
    fn replace(env: &Env, binding: &str, key: &str, body: &[u8], content_type: &str, gzip: bool) -> Promise;
    /// A promise of a stream, or of `undefined`. `keys` are lines.
    fn send_all(env: &Env, binding: &str, keys: &str, size: f64) -> Promise;
    /// A promise of the object's bytes, or of `undefined`.
    fn get(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of a number, or of `undefined`.
    fn measure(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of a [`Passing`], or of `undefined`.
    fn open(env: &Env, binding: &str, key: &str, from: f64) -> Promise;
    /// A promise of the upload's id.
    fn begin(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of the part's etag. Copies `body` before it returns.
    fn put_part(env: &Env, binding: &str, key: &str, upload: &str, number: u32, body: &[u8]) -> Promise;
    /// A promise of nothing. `etags` are lines.
    fn complete(env: &Env, binding: &str, key: &str, upload: &str, etags: &str) -> Promise;
    /// A promise of nothing.
    fn abort(env: &Env, binding: &str, key: &str, upload: &str) -> Promise;
    /// A promise of a number, or of `undefined`.
    fn size(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of nothing.
    fn put(env: &Env, binding: &str, key: &str, text: &str, content_type: &str) -> Promise;
    /// A promise of a text, or of `undefined`.
    fn text(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of nothing. `keys` are lines.
    fn remove(env: &Env, binding: &str, keys: &str) -> Promise;
    /// A promise of an [`Inventory`] as JSON. No cursor is an empty one.
    fn inventory(env: &Env, binding: &str, prefix: &str, cursor: &str) -> Promise;
    /// A promise of the size and the hash with a space between them, or of `undefined`.
    fn digest(env: &Env, binding: &str, key: &str) -> Promise;
    /// A promise of the gzip member, as a `Uint8Array`.
    fn gzip(text: &str) -> Promise;

    /// An object that passes by.
    #[derive(Debug)]
    pub type Passing;
    #[wasm_bindgen(method, getter)]
    fn etag(this: &Passing) -> String;
    #[wasm_bindgen(method, getter)]
    fn uploaded(this: &Passing) -> f64;
    #[wasm_bindgen(method, getter)]
    fn damage(this: &Passing) -> Option<String>;
    /// A promise of a `Uint8Array`, or of `undefined`.
    #[wasm_bindgen(method)]
    fn next(this: &Passing, most: usize) -> Promise;
}

/// An R2 bucket.
#[derive(Clone, Copy, Debug)]
pub struct R2<'a> {
    env: &'a Env,
    binding: &'static str,
}

impl<'a> R2<'a> {
    /// The bucket bound under that name. It is looked up when it is used.
    pub fn new(env: &'a Env, binding: &'static str) -> Self {
        Self { env, binding }
    }

    fn failed(self, verb: &str, key: &str) -> impl FnOnce(String) -> PortError {
        let operation = format!("r2 {} {verb} {key}", self.binding);
        move |cause| PortError { operation, cause }
    }
}

impl Bucket for R2<'_> {
    async fn put_new(&self, object: NewObject<'_>) -> Result<bool, PortError> {
        let NewObject { key, body, content_type, encoding, label } = object;
        let gzip = encoding == Encoding::Gzip;
        let stored = put_new(self.env, self.binding, key, body, content_type, gzip, label);
        let stored = task::wait(&stored).await.map_err(self.failed("put", key))?;
        Ok(stored.is_truthy())
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        let bytes = task::wait(&get(self.env, self.binding, key)).await.map_err(self.failed("get", key))?;
        Ok((!bytes.is_undefined()).then(|| bytes.unchecked_into::<Uint8Array>().to_vec()))
    }

    async fn measure(&self, key: &str) -> Result<Option<u64>, PortError> {
        let size = task::wait(&measure(self.env, self.binding, key)).await;
        Ok(whole(&size.map_err(self.failed("measure", key))?))
    }
}

/// A number of bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size, below 2^53")]
fn whole(size: &JsValue) -> Option<u64> {
    size.as_f64().map(|size| size as u64)
}

impl Inbox for R2<'_> {
    type Lines = PassingLines;

    async fn open(&self, key: &str, from: u64) -> Result<Option<Opened<PassingLines>>, PortError> {
        #[expect(clippy::cast_precision_loss, reason = "a size, below 2^53")]
        let opened = task::wait(&open(self.env, self.binding, key, from as f64)).await;
        let opened = opened.map_err(self.failed("get", key))?;
        if opened.is_undefined() {
            return Ok(None);
        }
        let passing = opened.unchecked_into::<Passing>();
        #[expect(clippy::cast_possible_truncation, reason = "a time, below 2^53")]
        let uploaded = UnixMillis(passing.uploaded() as i64);
        Ok(Some(Opened { etag: passing.etag(), uploaded, lines: PassingLines(passing) }))
    }

    async fn remove(&self, key: &str) -> Result<(), PortError> {
        let done = remove(self.env, self.binding, key);
        task::wait(&done).await.map_err(self.failed("delete", key)).map(drop)
    }
}

/// The lines of an object in R2.
#[derive(Debug)]
pub struct PassingLines(Passing);

impl Lines for PassingLines {
    async fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, PortError> {
        let bytes = task::wait(&self.0.next(most)).await.map_err(|cause| PortError::new("r2 read", cause))?;
        Ok((!bytes.is_undefined()).then(|| bytes.unchecked_into::<Uint8Array>().to_vec()))
    }

    fn damage(&self) -> Option<String> {
        self.0.damage()
    }
}

impl Archive for R2<'_> {
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Listing, PortError> {
        let listed = task::read(&list(self.env, self.binding, prefix, after)).await;
        let packed = listed.map_err(self.failed("list", prefix))?.as_string().unwrap_or_default();
        let mut lines = packed.split('\n');
        let more = lines.next() == Some("more");
        let mut objects = Vec::new();
        while let (Some(key), Some(label)) = (lines.next(), lines.next()) {
            objects
                .push(Listed { key: key.to_owned(), label: (!label.is_empty()).then(|| label.to_owned()) });
        }
        Ok(Listing { objects, more })
    }

    async fn lines_with(&self, keys: &[&str], needles: &[&str], most: usize) -> Result<String, PortError> {
        let reading = lines_with(self.env, self.binding, &keys.join("\n"), &needles.join("\n"), most);
        let first = keys.first().unwrap_or(&"nothing");
        let lines = task::read(&reading).await.map_err(self.failed("read", first))?;
        let lines = String::from_utf8(lines.unchecked_into::<Uint8Array>().to_vec());
        lines.map_err(|error| self.failed("read", first)(error.to_string()))
    }
}

impl Packs for R2<'_> {
    async fn pack(&self, key: &str, text: &str, ends: &[usize]) -> Result<Vec<u32>, PortError> {
        let ends: Vec<_> = ends.iter().map(|end| u32::try_from(*end).unwrap_or(u32::MAX)).collect();
        let lengths = task::wait(&pack(self.env, self.binding, key, text, &ends)).await;
        let lengths = lengths.map_err(self.failed("pack", key))?;
        Ok(lengths.unchecked_into::<Uint32Array>().to_vec())
    }

    async fn unpack(&self, key: &str, offset: u64, lengths: &[u32]) -> Result<Option<String>, PortError> {
        let text = task::wait(&unpack(self.env, self.binding, key, offset as f64, lengths)).await;
        Ok(text.map_err(self.failed("unpack", key))?.as_string())
    }

    async fn blank(&self, key: &str, offset: u64, length: u32) -> Result<(), PortError> {
        let done = blank(self.env, self.binding, key, offset as f64, length);
        task::wait(&done).await.map_err(self.failed("blank", key)).map(drop)
    }

    async fn replace(&self, object: NewObject<'_>) -> Result<(), PortError> {
        let NewObject { key, body, content_type, encoding, .. } = object;
        let gzip = encoding == Encoding::Gzip;
        let done = replace(self.env, self.binding, key, body, content_type, gzip);
        task::wait(&done).await.map_err(self.failed("replace", key)).map(drop)
    }

    async fn joined(&self, keys: &[String], size: u64) -> Result<Option<Stream>, PortError> {
        let opening = send_all(self.env, self.binding, &keys.join("\n"), size as f64);
        let stream = task::read(&opening).await.map_err(self.failed("open", "several"))?;
        Ok((!stream.is_undefined()).then(|| Stream::new(stream)))
    }

    async fn discard(&self, keys: &[String]) -> Result<(), PortError> {
        Vault::delete(self, keys).await
    }
}

impl Vault for R2<'_> {
    async fn begin(&self, key: &str) -> Result<String, PortError> {
        let upload = task::wait(&begin(self.env, self.binding, key)).await;
        let upload = upload.map_err(self.failed("begin", key))?;
        upload.as_string().ok_or_else(|| self.failed("begin", key)("no upload id".into()))
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        bytes: &[u8],
    ) -> Result<String, PortError> {
        let etag = task::wait(&put_part(self.env, self.binding, key, upload, number, bytes)).await;
        let etag = etag.map_err(self.failed("part", key))?;
        etag.as_string().ok_or_else(|| self.failed("part", key)("no etag".into()))
    }

    async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError> {
        let done = complete(self.env, self.binding, key, upload, &parts.join("\n"));
        task::wait(&done).await.map_err(self.failed("complete", key)).map(drop)
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), PortError> {
        let done = abort(self.env, self.binding, key, upload);
        task::wait(&done).await.map_err(self.failed("abort", key)).map(drop)
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, PortError> {
        let size = task::wait(&size(self.env, self.binding, key)).await.map_err(self.failed("head", key))?;
        Ok(whole(&size))
    }

    async fn put(&self, key: &str, text: &str, content_type: &'static str) -> Result<(), PortError> {
        let done = put(self.env, self.binding, key, text, content_type);
        task::wait(&done).await.map_err(self.failed("put", key)).map(drop)
    }

    async fn text(&self, key: &str) -> Result<Option<String>, PortError> {
        let text = task::wait(&text(self.env, self.binding, key)).await.map_err(self.failed("get", key))?;
        Ok(text.as_string())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), PortError> {
        let done = remove(self.env, self.binding, &keys.join("\n"));
        task::wait(&done).await.map_err(self.failed("delete", "several")).map(drop)
    }
}

impl Shelf for R2<'_> {
    async fn inventory(&self, prefix: &str, cursor: Option<&str>) -> Result<Inventory, PortError> {
        let counted =
            task::wait(&inventory(self.env, self.binding, prefix, cursor.unwrap_or_default())).await;
        let text = counted.map_err(self.failed("list", prefix))?.as_string().unwrap_or_default();
        json::read(&text).map_err(|error| self.failed("list", prefix)(error.to_string()))
    }

    async fn digest(&self, key: &str) -> Result<Option<Digest>, PortError> {
        let digest = task::wait(&digest(self.env, self.binding, key)).await;
        let Some(text) = digest.map_err(self.failed("digest", key))?.as_string() else { return Ok(None) };
        let read = text
            .split_once(' ')
            .and_then(|(size, sha256)| Some(Digest { size: size.parse().ok()?, sha256: sha256.to_owned() }));
        read.map(Some).ok_or_else(|| self.failed("digest", key)(text))
    }
}

/// Compression by the runtime's own streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamGzip;

impl Gzip for StreamGzip {
    async fn gzip(&self, text: &str) -> Result<Vec<u8>, PortError> {
        let bytes = task::wait(&gzip(text)).await.map_err(|cause| PortError::new("gzip", cause))?;
        Ok(bytes.unchecked_into::<Uint8Array>().to_vec())
    }
}
