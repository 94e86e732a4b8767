//! What a route may ask of the world, as traits.
//!
//! A handler names in its signature what it uses (`db: &impl Database`), so the list of arguments
//! says what a route can touch: a route without a [`Database`] cannot do a query. `rs1-platform`
//! implements these for the Workers runtime; `rs1-store` implements [`Database`] on SQLite for
//! native tests; tests wrap either to inject faults.
//!
//! Errors carry a text for the log only. What a caller is told is decided by the handler, which
//! turns a port error into a 503 problem: the caller may try again.

#![allow(async_fn_in_trait, reason = "a worker is single-threaded; no caller needs these futures to be Send")]

use std::fmt;

use serde::Deserialize;

use crate::UnixMillis;
use crate::firmware::Received;
use crate::http::{Answer, Request, Stream};
use crate::range::Part;
use crate::time::as_millis;

/// A value bound to a parameter of a [`Statement`].
///
/// D1 binds every JavaScript number as REAL; column affinity turns it back into an integer when it
/// is stored, but an *expression* sees a REAL, so statements write `CAST(?1 AS INTEGER)` there.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// SQL NULL.
    Null,
    /// An integer within ±2^53, the range that JavaScript numbers hold exactly.
    Int(i64),
    /// A finite floating-point number.
    Real(f64),
    /// UTF-8 text; also carries JSON for `json_each`.
    Text(String),
}

impl From<i64> for Param {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Param {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<UnixMillis> for Param {
    fn from(value: UnixMillis) -> Self {
        Self::Int(value.0)
    }
}
// Hundreds of statements bind texts: one call each, not one copy of the allocation each.
impl From<&str> for Param {
    #[inline(never)]
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Param {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<bool> for Param {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl<T: Into<Param>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One SQL statement with its values, as `rs1-store` builds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The statement's name in `rs1-store`; appears in logs and in query-plan tests.
    pub name: &'static str,
    /// The SQL text, with parameters `?1`, `?2`, ….
    pub sql: &'static str,
    /// The values for `?1`, `?2`, … in order.
    pub params: Vec<Param>,
}

/// What one statement of a batch gave back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The rows as JSON text: an array of objects, one key a column, or of arrays, the first with the columns' names.
    /// `"[]"` when there are none. Where the statement makes that text itself, in a column `json`, it is this text.
    pub rows_json: String,
    /// How many rows the statement inserted, updated or deleted (0 for a query).
    pub changes: u64,
}

/// A database that runs a list of statements as one transaction: all or nothing.
pub trait Database {
    /// Runs `statements` in order, atomically, and answers one [`Outcome`] each.
    ///
    /// # Errors
    /// Any statement that fails rolls the whole batch back. A lost connection may hide a batch that
    /// *was* committed, so every write must be safe to repeat.
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError>;
}

/// A database that can be read whole. Its tables are learnt from it, so the queries are made at run time: for backups
/// alone, everything else goes through [`Database`] and its named statements.
pub trait Reader {
    /// Runs one query.
    ///
    /// # Errors
    /// When the query is not valid or the database cannot be reached.
    async fn read(&self, sql: &str, params: &[Param]) -> Result<Outcome, PortError>;

    /// The point in time to which the database could be taken back to now (D1's Time Travel).
    ///
    /// # Errors
    /// When the database cannot be reached.
    async fn bookmark(&self) -> Result<String, PortError>;
}

/// A bucket for large objects that are written in parts, and for small ones that are replaced and deleted.
pub trait Vault {
    /// Begins an object that comes in parts, and answers the name of the upload. Nothing is to be seen of
    /// it before it is completed.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn begin(&self, key: &str) -> Result<String, PortError>;

    /// Stores a part, numbered from 1; all but the last have one size. The same number again replaces it. Answers what
    /// [`complete`](Self::complete) wants to know of it.
    ///
    /// # Errors
    /// When the bucket cannot be reached or the upload is no more.
    async fn put_part(&self, key: &str, upload: &str, number: u32, bytes: &[u8])
    -> Result<String, PortError>;

    /// Makes the parts an object, in the order of their numbers from 1.
    ///
    /// # Errors
    /// When the bucket cannot be reached or the upload is no more, as after it was completed.
    async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError>;

    /// Forgets an upload.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn abort(&self, key: &str, upload: &str) -> Result<(), PortError>;

    /// The size of an object; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn size(&self, key: &str) -> Result<Option<u64>, PortError>;

    /// Stores a small object, in place of one that may be there.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn put(&self, key: &str, text: &str, content_type: &'static str) -> Result<(), PortError>;

    /// Reads a small object; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn text(&self, key: &str) -> Result<Option<String>, PortError>;

    /// Deletes objects, those that are there; at most 1,000 at once.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn delete(&self, keys: &[String]) -> Result<(), PortError>;
}

/// A bucket that is only looked at: somebody else writes it.
pub trait Shelf {
    /// The objects whose keys begin like this, at most 1,000 at once.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn inventory(&self, prefix: &str, cursor: Option<&str>) -> Result<Inventory, PortError>;

    /// Reads an object for its hash alone, in memory that does not grow with it; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn digest(&self, key: &str) -> Result<Option<Digest>, PortError>;
}

/// Some objects of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Inventory {
    /// The objects.
    pub objects: Vec<Stored>,
    /// What to go on with; `None` at the end.
    pub cursor: Option<String>,
}

/// An object in an [`Inventory`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// When it came.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub uploaded: UnixMillis,
}

/// What an object's bytes are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many they are.
    pub size: u64,
    /// Their SHA-256, lower-case hex.
    pub sha256: String,
}

/// Compression, which the runtime does better than wasm.
pub trait Gzip {
    /// The text as one gzip member.
    ///
    /// # Errors
    /// When the runtime gives up.
    async fn gzip(&self, text: &str) -> Result<Vec<u8>, PortError>;
}

/// What to do with an object's bytes before they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Stored as they are.
    Identity,
    /// Compressed with gzip on the way in.
    Gzip,
}

/// An object to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject<'a> {
    /// The key, at most 1,024 bytes.
    pub key: &'a str,
    /// The content before [`Encoding`] is applied.
    pub body: &'a [u8],
    /// Value of `Content-Type` for later readers.
    pub content_type: &'static str,
    /// What to do with the body.
    pub encoding: Encoding,
    /// What stands beside it, for whoever lists it; at most 8,000 characters of ASCII.
    pub label: Option<&'a str>,
}

/// A bucket of objects (R2).
pub trait Bucket {
    /// Stores an object unless the key is taken. `true` when it was stored, `false` when an object
    /// of that key exists already (which then stays as it is).
    ///
    /// # Errors
    /// When the bucket cannot be reached or refuses; the object may or may not exist afterwards.
    async fn put_new(&self, object: NewObject<'_>) -> Result<bool, PortError>;

    /// Reads an object whole, decompressed if it was stored with [`Encoding::Gzip`]; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError>;

    /// How many bytes an object holds before compression, learnt by reading it to its end; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached, when what it has is not whole.
    async fn measure(&self, key: &str) -> Result<Option<u64>, PortError>;
}

/// A bucket into which somebody else writes, to be read by the line: an object may be larger than memory.
pub trait Inbox {
    /// An object that is being read.
    type Lines: Lines;

    /// Opens an object. What its first `from` bytes are, before compression, is left out. It is taken for compressed if its key ends in
    /// `.gz`. `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn open(&self, key: &str, from: u64) -> Result<Option<Opened<Self::Lines>>, PortError>;

    /// Deletes an object, if there is one.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn remove(&self, key: &str) -> Result<(), PortError>;
}

/// An object of an [`Inbox`].
#[derive(Clone, Debug)]
pub struct Opened<L> {
    /// What this version of it is known by.
    pub etag: String,
    /// When it came.
    pub uploaded: UnixMillis,
    /// What it holds.
    pub lines: L,
}

/// Lines that pass by.
pub trait Lines {
    /// The next whole lines, together at most `most` bytes; at the end, what has no line feed too. `None` after that. What is longer
    /// than `most` without a line feed comes in pieces. Where one call ends and the next begins depends on what the object
    /// holds alone.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, PortError>;

    /// Why there was no more to be read, if that is not because it was the end: the object is damaged.
    fn damage(&self) -> Option<String>;
}

/// A bucket of NDJSON objects that can be searched.
pub trait Archive {
    /// The objects whose keys begin like this, in the order of their keys, after the key `after`; at most 1,000.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Listing, PortError>;

    /// Every line that contains one of `needles`, each with its line feed, out of several objects stored with [`Encoding::Gzip`], which
    /// pass by without being held in memory. The objects' lines come in no order. An object that is not there has none.
    ///
    /// # Errors
    /// When the bucket cannot be reached, when the lines are more than `most` bytes.
    async fn lines_with(&self, keys: &[&str], needles: &[&str], most: usize) -> Result<String, PortError>;
}

/// A bucket of objects that are gzip members one after the other, each to be read by itself.
pub trait Packs {
    /// Stores parts of a text, each of which ends where `ends` says, as a member each, unless the key is taken: then the same is
    /// there. Answers the members' lengths in bytes, which are the same for the same text.
    ///
    /// # Errors
    /// When the bucket cannot be reached or refuses; the object may or may not exist afterwards.
    async fn pack(&self, key: &str, text: &str, ends: &[usize]) -> Result<Vec<u32>, PortError>;

    /// What members of these lengths hold, the first of which begins at `offset`; `None` when there is no such object.
    ///
    /// # Errors
    /// When the bucket cannot be reached, when there are no such members.
    async fn unpack(&self, key: &str, offset: u64, lengths: &[u32]) -> Result<Option<String>, PortError>;

    /// Makes the member of that length, which begins at `offset`, an empty one that is as long, so that all others stay where they are.
    /// It is another version of the object then, and the bucket has checked its hash.
    ///
    /// # Errors
    /// When the bucket cannot be reached, when there is no such object, when somebody else changed it meanwhile.
    async fn blank(&self, key: &str, offset: u64, length: u32) -> Result<(), PortError>;

    /// Stores an object in the place of one that may be there.
    ///
    /// # Errors
    /// When the bucket cannot be reached or refuses; it has the one or the other afterwards.
    async fn replace(&self, object: NewObject<'_>) -> Result<(), PortError>;

    /// The bytes of several objects, one after the other, to be sent; `size` is what they have together. `None` when the first is not there.
    /// They are opened one after the other while they are sent; if one is gone by then, what was announced does not come whole.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn joined(&self, keys: &[String], size: u64) -> Result<Option<Stream>, PortError>;

    /// Deletes objects, those that are there; at most 1,000 at once.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn discard(&self, keys: &[String]) -> Result<(), PortError>;
}

/// A part of what a bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Whether there are more after them.
    pub more: bool,
}

/// An object in a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The label that it was stored with.
    pub label: Option<String>,
}

/// Another worker of ours, reached without leaving the data centre.
pub trait Peer {
    /// Passes a request on as it is, with the headers that are named in `headers` and without its body, and answers what the
    /// other worker answers.
    ///
    /// # Errors
    /// When there was no answer.
    async fn pass(&self, request: &Request, headers: &[&'static str]) -> Result<Answer, PortError>;
}

/// A bucket of files that are too large to be held in memory: they stream past, from a request into the bucket and out
/// of it into an answer.
pub trait FileStore {
    /// Stores the body of the present request under a key of its own, and says what was seen of it while it went by.
    /// `size` is the length that it announced; `given` is the body if it was so short that it is in memory already.
    ///
    /// `None` when the body did not have that length, or broke off: the caller's fault. Nothing is stored then.
    ///
    /// # Errors
    /// When the bucket cannot be reached or refuses. Something may have been stored.
    async fn receive(&self, key: &str, size: u64, given: &[u8]) -> Result<Option<Received>, PortError>;

    /// Copies a file to a key that is never written twice, and has the bucket check its hash. If there is a file under
    /// `to` it is the same one, and stays.
    ///
    /// # Errors
    /// When the bucket cannot be reached, or what it stored has another hash; then nothing is stored.
    async fn publish(&self, from: &str, to: &str, sha256: &[u8; 32]) -> Result<(), PortError>;

    /// Opens a part of a file, to be sent. A cache near the caller may keep the file under the path of the present request,
    /// which must name no other file, ever; `etag` is what both it and the bucket know the file by.
    ///
    /// `None` when there is no such file.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn open(&self, key: &str, etag: &str, size: u64, part: Part) -> Result<Option<Stream>, PortError>;

    /// Deletes a file, if there is one.
    ///
    /// # Errors
    /// When the bucket cannot be reached.
    async fn delete(&self, key: &str) -> Result<(), PortError>;
}

/// A producer's end of a queue.
pub trait Queue {
    /// Sends one message, JSON text of at most 128,000 bytes.
    ///
    /// # Errors
    /// When the queue did not take the message.
    async fn send(&self, message: &str) -> Result<(), PortError>;

    /// Sends up to [`QUEUE_SENDS`](crate::limits::QUEUE_SENDS) messages in one call, together at most
    /// [`QUEUE_BATCH`](crate::limits::QUEUE_BATCH) bytes. Nothing is sent for an empty list.
    ///
    /// # Errors
    /// When the queue did not take them. It may have taken some: a consumer has to bear a message twice anyway.
    async fn send_all(&self, messages: &[Sending]) -> Result<(), PortError>;
}

/// A message for a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// JSON text of at most 128,000 bytes.
    pub message: String,
    /// How long the queue keeps it to itself first, in seconds; at most 43,200.
    pub delay_seconds: u32,
}

/// A message for devices or other clients of the MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The topic; no wildcards.
    pub topic: String,
    /// The payload, text.
    pub payload: String,
    /// How hard the broker tries.
    pub qos: Qos,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// Seconds after which the broker need not deliver it any more; `None` for no limit.
    pub expires_after: Option<u32>,
}

/// MQTT's quality of service, as far as the cloud publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// 0: what gets lost is lost.
    AtMostOnce,
    /// 1: may arrive twice.
    AtLeastOnce,
}

/// What became of one [`Publication`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Somebody subscribes, and the broker has taken it for them. That they *received* it only they can say.
    Accepted,
    /// Nobody subscribes: the device is not here. If it was to be retained, the broker has kept it.
    NoSubscriber,
    /// The broker could not hand it on just now; it may be tried again.
    Failed,
    /// The broker will never take it. Why, for the log.
    Refused(String),
}

/// The MQTT broker's management side.
pub trait Broker {
    /// Publishes messages, at most [`BROKER_BATCH`](crate::limits::BROKER_BATCH), and says what became of each, in
    /// their order. An empty list asks nothing of the broker.
    ///
    /// # Errors
    /// When the broker could not be asked, or its answer cannot be understood. Some or all of the messages may have
    /// been published.
    async fn publish(&self, messages: &[Publication]) -> Result<Vec<Published>, PortError>;

    /// Ends the session of an MQTT client. `false` when there is none.
    ///
    /// # Errors
    /// When the broker could not be asked.
    async fn kick(&self, client_id: &str) -> Result<bool, PortError>;
}

/// A store of short texts under keys that is near everywhere and agrees with itself only after a while (Workers KV): what was
/// written may not be seen elsewhere for a minute or more, and two writers of one key do not hear of each other. So nothing may
/// depend on seeing the latest value: either a key is written once and never changed, or an old value does no harm.
pub trait KeyValue {
    /// The value of a key that was written and has not expired, as far as is known here.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<String>, PortError>;

    /// Writes a value that goes after `seconds`, at least 60. A key takes one write a second.
    ///
    /// # Errors
    /// When the store did not take it, as far as is known.
    async fn put(&self, key: &str, value: &str, seconds: u32) -> Result<(), PortError>;
}

/// Counts requests, about: by location and without waiting, so a few too many may pass.
pub trait RateLimiter {
    /// Whether one more request of that caller is within the limit that is configured.
    ///
    /// # Errors
    /// When there is no telling.
    async fn admit(&self, caller: &str) -> Result<bool, PortError>;
}

/// Looks at things as their users do, each by the name of its binding.
pub trait Probes {
    /// Sends a GET, and reads the answer's head and the beginning of its body, whatever its status. Redirects are not followed.
    ///
    /// # Errors
    /// What prevented an answer.
    async fn ask(&self, question: Question<'_>) -> Result<Answered, PortError>;

    /// Puts a text into a bucket, gets it, deletes it.
    ///
    /// # Errors
    /// When one of these fails, or something else came back.
    async fn bucket(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError>;

    /// Puts a text into a KV namespace for an hour, and asks for it. What comes back may be older, or nothing.
    ///
    /// # Errors
    /// When one of these fails.
    async fn namespace(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError>;

    /// What waits in a queue.
    ///
    /// # Errors
    /// When it does not say.
    async fn backlog(&self, binding: &str) -> Result<Backlog, PortError>;

    /// Lets so many milliseconds go by.
    async fn pause(&self, milliseconds: u32);
}

/// What [`Probes::ask`] sends.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The service binding that leads there; `None`: the internet does.
    pub binding: Option<&'a str>,
    /// What is asked for; behind a binding only its path means anything.
    pub url: &'a str,
    /// The value of `Authorization`, if there is to be one.
    pub authorization: Option<&'a str>,
    /// After so many milliseconds the connection is given up.
    pub milliseconds: u32,
}

/// An HTTP answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Of a redirect: where to.
    pub location: String,
    /// The beginning of the body, at most [`PROBE_BODY`](crate::limits::PROBE_BODY) bytes.
    pub body: String,
}

/// What waits in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages.
    pub waiting: u64,
    /// When the oldest of them was sent; `None` when there is none, or no telling.
    pub oldest_at: Option<UnixMillis>,
}

/// A source of random bytes, good enough for keys and nonces.
pub trait Random {
    /// `N` fresh random bytes.
    fn bytes<const N: usize>(&self) -> [u8; N];
}

/// Fetches a small JSON document over HTTP (a JWKS).
pub trait DocumentSource {
    /// The document's text, at most 64 KiB, from a 200 answer within five seconds.
    ///
    /// # Errors
    /// Anything else.
    async fn fetch(&self, url: &str) -> Result<String, PortError>;
}

/// Sends JSON to somebody's HTTP endpoint.
pub trait Messenger {
    /// Posts a JSON text, and reads the answer whatever its status. Redirects are not followed. Answers within ten seconds.
    ///
    /// # Errors
    /// When there was no answer: it may have arrived or not.
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Posted, PortError>;

    /// Lets time go by.
    async fn pause(&self, milliseconds: u32);
}

/// The answer to what was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, as it was sent.
    pub retry_after: Option<String>,
    /// The body's text; empty if there was too much of it.
    pub text: String,
}

/// Verifies public-key signatures. The Workers runtime's native `WebCrypto` does it there: an RSA
/// implementation in wasm would be slower and would cost a third of the size budget.
pub trait SignatureVerifier {
    /// Whether `signature` is `key`'s RSASSA-PKCS1-v1_5/SHA-256 signature over `message`.
    ///
    /// `key` is the JWK's JSON text.
    ///
    /// # Errors
    /// When the key cannot be imported or the runtime fails.
    async fn verify_rs256(&self, key: &str, message: &[u8], signature: &[u8]) -> Result<bool, PortError>;

    /// Whether `signature`, r‖s in 64 bytes, is `key`'s ECDSA P-256/SHA-256 signature over `message`.
    ///
    /// `key` is the JWK's JSON text.
    ///
    /// # Errors
    /// When the key cannot be imported or the runtime fails.
    async fn verify_es256(&self, key: &str, message: &[u8], signature: &[u8]) -> Result<bool, PortError>;
}

/// A borrowed port is a port: a test lends its own to a worker.
mod borrowed {
    use super::{
        Answer, Answered, Archive, Backlog, Broker, Bucket, Database, Digest, Inventory, KeyValue, Listing,
        Messenger, NewObject, Outcome, Packs, Param, Peer, PortError, Posted, Probes, Publication, Published,
        Question, Queue, Random, RateLimiter, Reader, Request, Sending, Shelf, Statement, Vault,
    };

    impl<T: Database> Database for &T {
        async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
            (**self).batch(statements).await
        }
    }

    impl<T: Reader> Reader for &T {
        async fn read(&self, sql: &str, params: &[Param]) -> Result<Outcome, PortError> {
            (**self).read(sql, params).await
        }

        async fn bookmark(&self) -> Result<String, PortError> {
            (**self).bookmark().await
        }
    }

    impl<T: Vault> Vault for &T {
        async fn begin(&self, key: &str) -> Result<String, PortError> {
            (**self).begin(key).await
        }

        async fn put_part(
            &self,
            key: &str,
            upload: &str,
            number: u32,
            bytes: &[u8],
        ) -> Result<String, PortError> {
            (**self).put_part(key, upload, number, bytes).await
        }

        async fn complete(&self, key: &str, upload: &str, parts: &[String]) -> Result<(), PortError> {
            (**self).complete(key, upload, parts).await
        }

        async fn abort(&self, key: &str, upload: &str) -> Result<(), PortError> {
            (**self).abort(key, upload).await
        }

        async fn size(&self, key: &str) -> Result<Option<u64>, PortError> {
            (**self).size(key).await
        }

        async fn put(&self, key: &str, text: &str, content_type: &'static str) -> Result<(), PortError> {
            (**self).put(key, text, content_type).await
        }

        async fn text(&self, key: &str) -> Result<Option<String>, PortError> {
            (**self).text(key).await
        }

        async fn delete(&self, keys: &[String]) -> Result<(), PortError> {
            (**self).delete(keys).await
        }
    }

    impl<T: Shelf> Shelf for &T {
        async fn inventory(&self, prefix: &str, cursor: Option<&str>) -> Result<Inventory, PortError> {
            (**self).inventory(prefix, cursor).await
        }

        async fn digest(&self, key: &str) -> Result<Option<Digest>, PortError> {
            (**self).digest(key).await
        }
    }

    impl<T: Bucket> Bucket for &T {
        async fn put_new(&self, object: NewObject<'_>) -> Result<bool, PortError> {
            (**self).put_new(object).await
        }

        async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
            (**self).get(key).await
        }

        async fn measure(&self, key: &str) -> Result<Option<u64>, PortError> {
            (**self).measure(key).await
        }
    }

    impl<T: Archive> Archive for &T {
        async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Listing, PortError> {
            (**self).list(prefix, after).await
        }

        async fn lines_with(
            &self,
            keys: &[&str],
            needles: &[&str],
            most: usize,
        ) -> Result<String, PortError> {
            (**self).lines_with(keys, needles, most).await
        }
    }

    impl<T: Packs> Packs for &T {
        async fn pack(&self, key: &str, text: &str, ends: &[usize]) -> Result<Vec<u32>, PortError> {
            (**self).pack(key, text, ends).await
        }

        async fn unpack(&self, key: &str, offset: u64, lengths: &[u32]) -> Result<Option<String>, PortError> {
            (**self).unpack(key, offset, lengths).await
        }

        async fn blank(&self, key: &str, offset: u64, length: u32) -> Result<(), PortError> {
            (**self).blank(key, offset, length).await
        }

        async fn replace(&self, object: NewObject<'_>) -> Result<(), PortError> {
            (**self).replace(object).await
        }

        async fn joined(&self, keys: &[String], size: u64) -> Result<Option<crate::http::Stream>, PortError> {
            (**self).joined(keys, size).await
        }

        async fn discard(&self, keys: &[String]) -> Result<(), PortError> {
            (**self).discard(keys).await
        }
    }

    impl<T: Queue> Queue for &T {
        async fn send(&self, message: &str) -> Result<(), PortError> {
            (**self).send(message).await
        }

        async fn send_all(&self, messages: &[Sending]) -> Result<(), PortError> {
            (**self).send_all(messages).await
        }
    }

    impl<T: Peer> Peer for &T {
        async fn pass(&self, request: &Request, headers: &[&'static str]) -> Result<Answer, PortError> {
            (**self).pass(request, headers).await
        }
    }

    impl<T: KeyValue> KeyValue for &T {
        async fn get(&self, key: &str) -> Result<Option<String>, PortError> {
            (**self).get(key).await
        }

        async fn put(&self, key: &str, value: &str, seconds: u32) -> Result<(), PortError> {
            (**self).put(key, value, seconds).await
        }
    }

    impl<T: RateLimiter> RateLimiter for &T {
        async fn admit(&self, caller: &str) -> Result<bool, PortError> {
            (**self).admit(caller).await
        }
    }

    impl<T: Broker> Broker for &T {
        async fn publish(&self, messages: &[Publication]) -> Result<Vec<Published>, PortError> {
            (**self).publish(messages).await
        }

        async fn kick(&self, client_id: &str) -> Result<bool, PortError> {
            (**self).kick(client_id).await
        }
    }

    impl<T: Messenger> Messenger for &T {
        async fn post(
            &self,
            url: &str,
            headers: &[(&'static str, &str)],
            body: &str,
        ) -> Result<Posted, PortError> {
            (**self).post(url, headers, body).await
        }

        async fn pause(&self, milliseconds: u32) {
            (**self).pause(milliseconds).await;
        }
    }

    impl<T: Probes> Probes for &T {
        async fn ask(&self, question: Question<'_>) -> Result<Answered, PortError> {
            (**self).ask(question).await
        }

        async fn bucket(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError> {
            (**self).bucket(binding, key, text).await
        }

        async fn namespace(&self, binding: &str, key: &str, text: &str) -> Result<(), PortError> {
            (**self).namespace(binding, key, text).await
        }

        async fn backlog(&self, binding: &str) -> Result<Backlog, PortError> {
            (**self).backlog(binding).await
        }

        async fn pause(&self, milliseconds: u32) {
            (**self).pause(milliseconds).await;
        }
    }

    impl<T: Random> Random for &T {
        fn bytes<const N: usize>(&self) -> [u8; N] {
            (**self).bytes()
        }
    }
}

/// Why a port could not do what it was asked. For the log, never for a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError {
    /// What was being done, e.g. `d1 devices_by_id` or `r2 put`.
    pub operation: String,
    /// The runtime's own text.
    pub cause: String,
}

impl PortError {
    /// An error of `operation` because of `cause`.
    pub fn new(operation: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { operation: operation.into(), cause: cause.into() }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

impl std::error::Error for PortError {}
