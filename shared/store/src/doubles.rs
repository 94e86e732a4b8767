//! Stand-ins for the other ports, for native tests: a bucket, a queue, a key-value store, a rate limit, a broker and randomness in
//! memory, with failures on demand.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rs1_domain::firmware::Received;
use rs1_domain::http::Stream;
use rs1_domain::limits::{BROKER_BATCH, QUEUE_BATCH, QUEUE_SENDS};
use rs1_domain::port::{
    Archive, Broker, Bucket, Digest, DocumentSource, Encoding, FileStore, Gzip, Inbox, Inventory, KeyValue,
    Lines, Listed, Listing, Messenger, NewObject, Opened, Packs, Peer, PortError, Posted, Publication,
    Published, Queue, Random, RateLimiter, Sending, Shelf, SignatureVerifier, Stored, Vault,
};
use rs1_domain::range::Part;
use rs1_domain::{Answer, Request, UnixMillis};

use crate::native::Failure;

/// The operators' keys: one, `k1`. Who may sign what is tried where that code lives.
#[derive(Clone, Copy, Debug)]
pub struct Certificates;

impl DocumentSource for Certificates {
    async fn fetch(&self, _: &str) -> Result<String, PortError> {
        Ok(r#"{"keys": [{"kty": "RSA", "kid": "k1"}]}"#.to_owned())
    }
}

/// Takes every signature for a good one.
#[derive(Clone, Copy, Debug)]
pub struct AnySignature;

impl SignatureVerifier for AnySignature {
    async fn verify_rs256(&self, _: &str, _: &[u8], _: &[u8]) -> Result<bool, PortError> {
        Ok(true)
    }

    async fn verify_es256(&self, _: &str, _: &[u8], _: &[u8]) -> Result<bool, PortError> {
        Ok(true)
    }
}

/// A bucket in memory. Compression is left out: it belongs to the runtime.
#[derive(Default)]
pub struct MemoryBucket {
    objects: RefCell<BTreeMap<String, Vec<u8>>>,
    labels: RefCell<BTreeMap<String, String>>,
    uploaded: RefCell<BTreeMap<String, UnixMillis>>,
    failure: Cell<Option<Failure>>,
    unreadable: Cell<bool>,
    opened: Cell<usize>,
    listed: RefCell<Vec<String>>,
    pieces: Rc<Cell<Option<usize>>>,
    writes: Cell<usize>,
    write_fails: Cell<Option<(usize, Failure)>>,
}

impl MemoryBucket {
    /// Makes the write or deletion after so many more fail like this, once.
    pub fn fail_write(&self, after: usize, failure: Failure) {
        self.write_fails.set(Some((self.writes.get().saturating_add(after), failure)));
    }

    /// How the write that comes now is to fail.
    fn next_write(&self) -> Option<Failure> {
        let number = self.writes.replace(self.writes.get().saturating_add(1));
        let once = self.write_fails.get().filter(|(at, _)| *at == number).map(|(_, failure)| failure);
        once.or(self.failure.get())
    }

    /// Makes every write fail like this, until it is set to `None`.
    pub fn fail(&self, failure: Option<Failure>) {
        self.failure.set(failure);
    }

    /// Makes every search fail, or no longer.
    pub fn fail_reads(&self, unreadable: bool) {
        self.unreadable.set(unreadable);
    }

    /// Lets objects that pass by break off after so many more pieces, once.
    pub fn break_off(&self, pieces: usize) {
        self.pieces.set(Some(pieces));
    }

    /// What somebody else wrote, at some time, in place of what may be there.
    pub fn arrives(&self, key: &str, bytes: &[u8], uploaded: UnixMillis) {
        self.objects.borrow_mut().insert(key.to_owned(), bytes.to_vec());
        self.uploaded.borrow_mut().insert(key.to_owned(), uploaded);
    }

    /// How many objects were searched.
    pub fn opened(&self) -> usize {
        self.opened.get()
    }

    /// Takes out the prefixes that were listed since the last time, as often as each was.
    pub fn take_listed(&self) -> Vec<String> {
        self.listed.take()
    }

    /// The objects whose keys begin like this, as text.
    pub fn objects(&self, prefix: &str) -> Vec<(String, String)> {
        let objects = self.objects.borrow();
        let wanted = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        wanted.map(|(key, body)| (key.clone(), String::from_utf8_lossy(body).into_owned())).collect()
    }
}

impl Bucket for MemoryBucket {
    async fn put_new(&self, object: NewObject<'_>) -> Result<bool, PortError> {
        let failure = self.next_write();
        if failure == Some(Failure::BeforeCommit) {
            return Err(PortError::new("r2 put", "We encountered an internal error."));
        }
        let mut objects = self.objects.borrow_mut();
        let new = !objects.contains_key(object.key);
        if new {
            objects.insert(object.key.to_owned(), object.body.to_vec());
            if let Some(label) = object.label {
                assert!(label.len() <= 8_000 && label.is_ascii(), "a label of {} bytes", label.len());
                self.labels.borrow_mut().insert(object.key.to_owned(), label.to_owned());
            }
        }
        if failure == Some(Failure::AfterCommit) {
            return Err(PortError::new("r2 put", "Network connection lost."));
        }
        Ok(new)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.objects.borrow().get(key).cloned())
    }

    async fn measure(&self, key: &str) -> Result<Option<u64>, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 get", "We encountered an internal error."));
        }
        Ok(self.objects.borrow().get(key).map(|body| body.len() as u64))
    }
}

impl Inbox for MemoryBucket {
    type Lines = MemoryLines;

    async fn open(&self, key: &str, from: u64) -> Result<Option<Opened<MemoryLines>>, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 get", "We encountered an internal error."));
        }
        let objects = self.objects.borrow();
        let Some(body) = objects.get(key) else { return Ok(None) };
        let etag = rs1_ops::hash::sha256(body);
        let (mut bytes, mut damage) = (body.clone(), None);
        if key.strip_suffix(".gz").is_some() {
            let mut decoder = flate2::read::GzDecoder::new(body.as_slice());
            bytes.clear();
            damage =
                std::io::Read::read_to_end(&mut decoder, &mut bytes).err().map(|error| error.to_string());
        }
        bytes.drain(..bytes.len().min(usize::try_from(from).unwrap_or(usize::MAX)));
        let uploaded = self.uploaded.borrow().get(key).copied().unwrap_or(UnixMillis(0));
        let lines = MemoryLines { bytes, damage, pieces: Rc::clone(&self.pieces) };
        Ok(Some(Opened { etag, uploaded, lines }))
    }

    async fn remove(&self, key: &str) -> Result<(), PortError> {
        let failure = self.next_write();
        if failure == Some(Failure::BeforeCommit) {
            return Err(PortError::new("r2 delete", "We encountered an internal error."));
        }
        self.objects.borrow_mut().remove(key);
        if failure == Some(Failure::AfterCommit) {
            return Err(PortError::new("r2 delete", "Network connection lost."));
        }
        Ok(())
    }
}

/// An object of a [`MemoryBucket`] that passes by.
pub struct MemoryLines {
    bytes: Vec<u8>,
    damage: Option<String>,
    pieces: Rc<Cell<Option<usize>>>,
}

impl Lines for MemoryLines {
    async fn next(&mut self, most: usize) -> Result<Option<Vec<u8>>, PortError> {
        match self.pieces.get() {
            Some(0) => {
                self.pieces.set(None);
                return Err(PortError::new("r2 read", "Network connection lost."));
            }
            left => self.pieces.set(left.map(|left| left.saturating_sub(1))),
        }
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let whole =
            self.bytes.iter().take(most).rposition(|byte| *byte == b'\n').map(|at| at.saturating_add(1));
        let end = if self.bytes.len() < most { self.bytes.len() } else { whole.unwrap_or(most) };
        Ok(Some(self.bytes.drain(..end).collect()))
    }

    fn damage(&self) -> Option<String> {
        self.damage.clone()
    }
}

impl Shelf for MemoryBucket {
    async fn inventory(&self, prefix: &str, cursor: Option<&str>) -> Result<Inventory, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 list", "We encountered an internal error."));
        }
        if cursor.is_none() {
            self.listed.borrow_mut().push(prefix.to_owned());
        }
        let (objects, times) = (self.objects.borrow(), self.uploaded.borrow());
        let after = |key: &&String| cursor.is_none_or(|cursor| key.as_str() > cursor);
        let mut wanted =
            objects.iter().filter(|(key, _)| key.starts_with(prefix)).filter(|(key, _)| after(key));
        let listed = wanted.by_ref().take(LISTED).map(|(key, bytes)| Stored {
            key: key.clone(),
            size: bytes.len() as u64,
            uploaded: times.get(key).copied().unwrap_or(UnixMillis(0)),
        });
        let objects: Vec<_> = listed.collect();
        let cursor = objects.last().map(|last| last.key.clone()).filter(|_| wanted.next().is_some());
        Ok(Inventory { objects, cursor })
    }

    async fn digest(&self, key: &str) -> Result<Option<Digest>, PortError> {
        let digest =
            |bytes: &Vec<u8>| Digest { size: bytes.len() as u64, sha256: rs1_ops::hash::sha256(bytes) };
        Ok(self.objects.borrow().get(key).map(digest))
    }
}

/// How many objects [`MemoryBucket`] lists at once: few, so that a test of a few objects has to ask again.
const LISTED: usize = 3;

impl Archive for MemoryBucket {
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Listing, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 list", "We encountered an internal error."));
        }
        let (objects, labels) = (self.objects.borrow(), self.labels.borrow());
        let mut wanted = objects
            .keys()
            .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let label = |key: &String| Listed { key: key.clone(), label: labels.get(key).cloned() };
        let objects = wanted.by_ref().take(LISTED).map(label).collect();
        Ok(Listing { objects, more: wanted.next().is_some() })
    }

    async fn lines_with(&self, keys: &[&str], needles: &[&str], most: usize) -> Result<String, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 get", "We encountered an internal error."));
        }
        self.opened.set(self.opened.get().saturating_add(keys.len()));
        let objects = self.objects.borrow();
        let bodies =
            keys.iter().filter_map(|key| objects.get(*key)).map(|body| String::from_utf8_lossy(body));
        let mut found = String::new();
        for body in bodies {
            let wanted = |line: &&str| needles.iter().any(|needle| line.contains(needle));
            for line in body.lines().filter(wanted) {
                found.push_str(line);
                found.push('\n');
            }
        }
        if found.len() > most {
            return Err(PortError::new("r2 lines", format!("more than {most} bytes")));
        }
        Ok(found)
    }
}

impl Packs for MemoryBucket {
    async fn pack(&self, key: &str, text: &str, ends: &[usize]) -> Result<Vec<u32>, PortError> {
        let (mut begin, mut bytes, mut lengths) = (0, Vec::new(), Vec::new());
        for end in ends {
            let member = LibraryGzip.gzip(text.get(begin..*end).unwrap_or_default()).await?;
            lengths.push(u32::try_from(member.len()).unwrap_or(u32::MAX));
            bytes.extend(member);
            begin = *end;
        }
        let object = NewObject {
            key,
            body: &bytes,
            content_type: "application/gzip",
            encoding: Encoding::Identity,
            label: None,
        };
        self.put_new(object).await.map(|_| lengths)
    }

    async fn unpack(&self, key: &str, offset: u64, lengths: &[u32]) -> Result<Option<String>, PortError> {
        if self.unreadable.get() {
            return Err(PortError::new("r2 get", "We encountered an internal error."));
        }
        self.opened.set(self.opened.get().saturating_add(1));
        let failed = |cause: &dyn std::fmt::Display| PortError::new("r2 unpack", cause.to_string());
        let objects = self.objects.borrow();
        let Some(bytes) = objects.get(key) else { return Ok(None) };
        let mut rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let mut text = String::new();
        for length in lengths {
            let length = usize::try_from(*length).unwrap_or(usize::MAX);
            let (member, after) = rest.split_at_checked(length).ok_or_else(|| failed(&"out of range"))?;
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(member), &mut text)
                .map_err(|error| failed(&error))?;
            rest = after;
        }
        Ok(Some(text))
    }

    async fn blank(&self, key: &str, offset: u64, length: u32) -> Result<(), PortError> {
        let failure = self.next_write();
        if failure == Some(Failure::BeforeCommit) {
            return Err(PortError::new("r2 blank", "We encountered an internal error."));
        }
        let gone = || PortError::new("r2 blank", "there is no such member");
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let end = offset.saturating_add(u64::from(length));
        let mut objects = self.objects.borrow_mut();
        let member =
            objects.get_mut(key).and_then(|bytes| bytes.get_mut(at(offset)..at(end))).ok_or_else(gone)?;
        // RFC 1952: a head that says that a comment comes, the comment, its end, an empty block, the hash and the size of nothing.
        let (head, tail) = ([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff], [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let comment = member.len().checked_sub(head.len().saturating_add(tail.len())).ok_or_else(gone)?;
        member.copy_from_slice(&[head.as_slice(), &vec![b' '; comment], &tail].concat());
        if failure == Some(Failure::AfterCommit) {
            return Err(PortError::new("r2 blank", "Network connection lost."));
        }
        Ok(())
    }

    async fn replace(&self, object: NewObject<'_>) -> Result<(), PortError> {
        let failure = self.next_write();
        if failure == Some(Failure::BeforeCommit) {
            return Err(PortError::new("r2 put", "We encountered an internal error."));
        }
        self.objects.borrow_mut().insert(object.key.to_owned(), object.body.to_vec());
        if failure == Some(Failure::AfterCommit) {
            return Err(PortError::new("r2 put", "Network connection lost."));
        }
        Ok(())
    }

    async fn joined(&self, keys: &[String], size: u64) -> Result<Option<Stream>, PortError> {
        let objects = self.objects.borrow();
        let Some(_) = keys.first().and_then(|key| objects.get(key)) else { return Ok(None) };
        let bytes: Vec<u8> = keys.iter().filter_map(|key| objects.get(key)).flatten().copied().collect();
        assert_eq!(bytes.len() as u64, size, "what is announced is what comes");
        Ok(Some(Stream::new(bytes)))
    }

    async fn discard(&self, keys: &[String]) -> Result<(), PortError> {
        assert!(keys.len() <= 1_000, "{} keys in one call", keys.len());
        for key in keys {
            self.remove(key).await?;
        }
        Ok(())
    }
}

/// Another worker in memory: it answers what it was told to, and remembers what it was asked.
#[derive(Default)]
pub struct MemoryPeer {
    answer: RefCell<Option<Answer>>,
    asked: RefCell<Vec<(Request, Vec<&'static str>)>>,
}

impl MemoryPeer {
    /// What it answers from now on; `None` for not at all.
    pub fn answers(&self, answer: Option<Answer>) {
        *self.answer.borrow_mut() = answer;
    }

    /// Takes out what was passed on since the last time.
    pub fn take(&self) -> Vec<(Request, Vec<&'static str>)> {
        self.asked.take()
    }
}

impl Peer for MemoryPeer {
    async fn pass(&self, request: &Request, headers: &[&'static str]) -> Result<Answer, PortError> {
        self.asked.borrow_mut().push((request.clone(), headers.to_vec()));
        self.answer.borrow().clone().ok_or_else(|| PortError::new("peer", "Network connection lost."))
    }
}

/// Something that was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where to.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

/// What a [`MemoryMessenger`] does with a letter: its status and its `Retry-After`, or no answer at all, after or before it
/// arrived.
pub type Receiver = Box<dyn Fn(&Letter) -> Result<(u16, Option<&'static str>), Failure>>;

/// Receivers in memory.
#[derive(Default)]
pub struct MemoryMessenger {
    receiver: RefCell<Option<Receiver>>,
    taken: RefCell<Vec<Letter>>,
    tried: Cell<u32>,
    paused: Cell<u64>,
}

impl MemoryMessenger {
    /// From now on letters are received like this; before, all are taken.
    pub fn receive(
        &self,
        receiver: impl Fn(&Letter) -> Result<(u16, Option<&'static str>), Failure> + 'static,
    ) {
        *self.receiver.borrow_mut() = Some(Box::new(receiver));
    }

    /// Takes out the letters that arrived and were not refused, since the last time.
    pub fn take(&self) -> Vec<Letter> {
        self.taken.take()
    }

    /// How many sends were begun so far.
    pub fn tried(&self) -> u32 {
        self.tried.get()
    }

    /// How long somebody waited so far, in milliseconds.
    pub fn paused(&self) -> u64 {
        self.paused.get()
    }
}

impl Messenger for MemoryMessenger {
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Posted, PortError> {
        self.tried.set(self.tried.get().saturating_add(1));
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let letter = Letter { url: url.to_owned(), headers, body: body.to_owned() };
        let answer = self.receiver.borrow().as_ref().map_or(Ok((202, None)), |receive| receive(&letter));
        if matches!(answer, Ok((200..=299, _)) | Err(Failure::AfterCommit)) {
            self.taken.borrow_mut().push(letter);
        }
        let (status, retry_after) = answer.map_err(|_| PortError::new("post", "Network connection lost."))?;
        Ok(Posted { status, retry_after: retry_after.map(str::to_owned), text: "said".to_owned() })
    }

    async fn pause(&self, milliseconds: u32) {
        self.paused.set(self.paused.get().saturating_add(u64::from(milliseconds)));
    }
}

/// A bucket of files in memory. What it opens is a `Vec<u8>` of the part's bytes. A body that is received is always whole
/// and in memory, so one of another length than announced broke off.
#[derive(Default)]
pub struct MemoryFiles {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    failure: Cell<Option<(&'static str, Failure)>>,
}

impl MemoryFiles {
    /// Makes every operation of that name (`receive`, `publish`, `open`, `delete`) fail like this, until it is set to `None`.
    pub fn fail(&self, operation: &'static str, failure: Option<Failure>) {
        self.failure.set(failure.map(|failure| (operation, failure)));
    }

    /// The keys of the files there are.
    pub fn keys(&self) -> Vec<String> {
        self.files.borrow().keys().cloned().collect()
    }

    fn attempt<T>(&self, operation: &'static str, work: impl FnOnce() -> T) -> Result<T, PortError> {
        let failure =
            self.failure.get().filter(|(failing, _)| *failing == operation).map(|(_, failure)| failure);
        let failed = || PortError::new(format!("r2 {operation}"), "Network connection lost.");
        if failure == Some(Failure::BeforeCommit) {
            return Err(failed());
        }
        let done = work();
        if failure.is_some() { Err(failed()) } else { Ok(done) }
    }
}

impl FileStore for MemoryFiles {
    async fn receive(&self, key: &str, size: u64, given: &[u8]) -> Result<Option<Received>, PortError> {
        self.attempt("receive", || {
            let whole = u64::try_from(given.len()) == Ok(size);
            whole.then(|| {
                self.files.borrow_mut().insert(key.to_owned(), given.to_vec());
                Received::of(given)
            })
        })
    }

    async fn publish(&self, from: &str, to: &str, sha256: &[u8; 32]) -> Result<(), PortError> {
        self.attempt("publish", || {
            let mut files = self.files.borrow_mut();
            let file =
                files.get(from).cloned().ok_or_else(|| PortError::new("r2 publish", "it is not there"))?;
            if Received::of(&file).sha256 != *sha256 {
                return Err(PortError::new("r2 publish", "the hash is another (10037)"));
            }
            files.entry(to.to_owned()).or_insert(file);
            Ok(())
        })?
    }

    async fn open(&self, key: &str, _: &str, _: u64, part: Part) -> Result<Option<Stream>, PortError> {
        self.attempt("open", || {
            let files = self.files.borrow();
            let (first, end) = (usize::try_from(part.first).ok()?, usize::try_from(part.last()).ok()?);
            Some(Stream::new(files.get(key)?.get(first..=end)?.to_vec()))
        })
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        self.attempt("delete", || drop(self.files.borrow_mut().remove(key)))
    }
}

/// A bucket in memory that takes objects in parts, with R2's rules for them.
#[derive(Default)]
pub struct MemoryVault {
    objects: RefCell<BTreeMap<String, Vec<u8>>>,
    uploads: RefCell<BTreeMap<String, BTreeMap<u32, Vec<u8>>>>,
    begun: Cell<u32>,
    calls: Cell<u64>,
    failure: Cell<Option<(u64, Failure)>>,
}

impl MemoryVault {
    /// Makes the call after `calls` more fail like this, once.
    pub fn fail_after(&self, calls: u64, failure: Failure) {
        self.failure.set(Some((self.calls.get().saturating_add(calls), failure)));
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.borrow().get(key).cloned()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.objects.borrow().keys().cloned().collect()
    }

    /// How many uploads are neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.uploads.borrow().len()
    }

    fn call<T>(&self, name: &str, work: impl FnOnce() -> Result<T, PortError>) -> Result<T, PortError> {
        let lost = || PortError::new(format!("r2 {name}"), "Network connection lost.");
        self.calls.set(self.calls.get().saturating_add(1));
        let failure = self.failure.get().filter(|(at, _)| self.calls.get() > *at).map(|(_, failure)| failure);
        if failure.is_some() {
            self.failure.set(None);
        }
        if failure == Some(Failure::BeforeCommit) {
            return Err(lost());
        }
        let done = work()?;
        if failure == Some(Failure::AfterCommit) { Err(lost()) } else { Ok(done) }
    }
}

impl Vault for MemoryVault {
    async fn begin(&self, key: &str) -> Result<String, PortError> {
        self.call("begin", || {
            self.begun.set(self.begun.get().saturating_add(1));
            let upload = format!("{key} {}", self.begun.get());
            self.uploads.borrow_mut().insert(upload.clone(), BTreeMap::new());
            Ok(upload)
        })
    }

    async fn put_part(
        &self,
        _key: &str,
        upload: &str,
        number: u32,
        bytes: &[u8],
    ) -> Result<String, PortError> {
        self.call("part", || {
            let mut uploads = self.uploads.borrow_mut();
            let parts =
                uploads.get_mut(upload).ok_or_else(|| PortError::new("r2 part", "no such upload (10024)"))?;
            parts.insert(number, bytes.to_vec());
            Ok(format!("{upload}-{number}"))
        })
    }

    async fn complete(&self, key: &str, upload: &str, etags: &[String]) -> Result<(), PortError> {
        self.call("complete", || {
            let no_upload =
                || PortError::new("r2 complete", "The specified multipart upload does not exist. (10024)");
            let parts = self.uploads.borrow_mut().remove(upload).ok_or_else(no_upload)?;
            assert_eq!(parts.len(), etags.len(), "every part is named");
            let sizes: BTreeSet<usize> =
                parts.values().take(parts.len().saturating_sub(1)).map(Vec::len).collect();
            assert!(sizes.len() <= 1, "all parts but the last have one size: {sizes:?} (10048)");
            self.objects.borrow_mut().insert(key.to_owned(), parts.into_values().flatten().collect());
            Ok(())
        })
    }

    async fn abort(&self, _key: &str, upload: &str) -> Result<(), PortError> {
        self.call("abort", || {
            self.uploads.borrow_mut().remove(upload);
            Ok(())
        })
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, PortError> {
        self.call("size", || Ok(self.objects.borrow().get(key).map(|bytes| bytes.len() as u64)))
    }

    async fn put(&self, key: &str, text: &str, _content_type: &'static str) -> Result<(), PortError> {
        self.call("put", || {
            self.objects.borrow_mut().insert(key.to_owned(), text.as_bytes().to_vec());
            Ok(())
        })
    }

    async fn text(&self, key: &str) -> Result<Option<String>, PortError> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.call("text", || Ok(self.objects.borrow().get(key).map(text)))
    }

    async fn delete(&self, keys: &[String]) -> Result<(), PortError> {
        assert!(keys.len() <= 1000, "{} keys in one call", keys.len());
        self.call("delete", || {
            for key in keys {
                self.objects.borrow_mut().remove(key);
            }
            Ok(())
        })
    }
}

/// A bucket in memory that is only looked at. It lists two objects at a time, so that a test of a few sees pages.
#[derive(Default)]
pub struct MemoryShelf {
    objects: RefCell<BTreeMap<String, (Vec<u8>, UnixMillis)>>,
    broken: Cell<bool>,
    read: RefCell<Vec<String>>,
}

impl MemoryShelf {
    /// Stores an object, in place of one that may be there.
    pub fn put(&self, key: impl Into<String>, bytes: &[u8], uploaded: UnixMillis) {
        self.objects.borrow_mut().insert(key.into(), (bytes.to_vec(), uploaded));
    }

    /// Deletes the objects whose keys begin like this.
    pub fn clear(&self, prefix: &str) {
        self.objects.borrow_mut().retain(|key, _| !key.starts_with(prefix));
    }

    /// Makes every call fail, or no longer.
    pub fn fail(&self, broken: bool) {
        self.broken.set(broken);
    }

    /// Takes out the keys of the objects that were read since the last time.
    pub fn take_read(&self) -> Vec<String> {
        self.read.take()
    }

    fn attempt(&self, operation: &str) -> Result<(), PortError> {
        if self.broken.get() { Err(PortError::new(operation, "Network connection lost.")) } else { Ok(()) }
    }
}

impl Shelf for MemoryShelf {
    async fn inventory(&self, prefix: &str, cursor: Option<&str>) -> Result<Inventory, PortError> {
        self.attempt("r2 list")?;
        let objects = self.objects.borrow();
        let after = |key: &&String| cursor.is_none_or(|cursor| key.as_str() > cursor);
        let mut listed: Vec<Stored> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after(key))
            .take(3)
            .map(|(key, (bytes, uploaded))| Stored {
                key: key.clone(),
                size: bytes.len() as u64,
                uploaded: *uploaded,
            })
            .collect();
        let more = listed.len() > 2;
        listed.truncate(2);
        let cursor = listed.last().filter(|_| more).map(|last| last.key.clone());
        Ok(Inventory { objects: listed, cursor })
    }

    async fn digest(&self, key: &str) -> Result<Option<Digest>, PortError> {
        self.attempt("r2 digest")?;
        self.read.borrow_mut().push(key.to_owned());
        let digest = |(bytes, _): &(Vec<u8>, UnixMillis)| Digest {
            size: bytes.len() as u64,
            sha256: rs1_ops::hash::sha256(bytes),
        };
        Ok(self.objects.borrow().get(key).map(digest))
    }
}

/// Compression by a library, as the runtime would.
#[derive(Clone, Copy, Debug, Default)]
pub struct LibraryGzip;

impl Gzip for LibraryGzip {
    async fn gzip(&self, text: &str) -> Result<Vec<u8>, PortError> {
        let failed = |error: std::io::Error| PortError::new("gzip", error.to_string());
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).map_err(failed)?;
        encoder.finish().map_err(failed)
    }
}

/// A queue in memory.
#[derive(Default)]
pub struct MemoryQueue {
    messages: RefCell<Vec<String>>,
    broken: Cell<bool>,
}

impl MemoryQueue {
    /// Makes every send fail, or no longer.
    pub fn fail(&self, broken: bool) {
        self.broken.set(broken);
    }

    /// Takes out what was sent since the last time.
    pub fn take(&self) -> Vec<String> {
        self.messages.take()
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, message: &str) -> Result<(), PortError> {
        if self.broken.get() {
            return Err(PortError::new("queue send", "Too Many Requests"));
        }
        self.messages.borrow_mut().push(message.to_owned());
        Ok(())
    }

    async fn send_all(&self, messages: &[Sending]) -> Result<(), PortError> {
        assert!(messages.len() <= QUEUE_SENDS, "{} messages in one call", messages.len());
        let bytes: usize = messages.iter().map(|sending| sending.message.len()).sum();
        assert!(bytes <= QUEUE_BATCH, "{bytes} bytes in one call");
        for sending in messages {
            self.send(&sending.message).await?;
        }
        Ok(())
    }
}

/// An MQTT broker in memory.
#[derive(Default)]
pub struct MemoryBroker {
    subscribers: RefCell<BTreeSet<String>>,
    published: RefCell<Vec<Publication>>,
    kicked: RefCell<Vec<String>>,
    failure: Cell<Option<Failure>>,
}

impl MemoryBroker {
    /// Makes every call fail like this, until it is set to `None`.
    pub fn fail(&self, failure: Option<Failure>) {
        self.failure.set(failure);
    }

    /// From now on somebody subscribes to `topic`.
    pub fn subscribe(&self, topic: impl Into<String>) {
        self.subscribers.borrow_mut().insert(topic.into());
    }

    /// From now on nobody does.
    pub fn unsubscribe(&self, topic: &str) {
        self.subscribers.borrow_mut().remove(topic);
    }

    /// Takes out what somebody received since the last time.
    pub fn take(&self) -> Vec<Publication> {
        self.published.take()
    }

    /// Takes out the clients whose sessions were ended since the last time.
    pub fn take_kicked(&self) -> Vec<String> {
        self.kicked.take()
    }

    fn call<T>(&self, operation: &str, work: impl FnOnce() -> T) -> Result<T, PortError> {
        if self.failure.get() == Some(Failure::BeforeCommit) {
            return Err(PortError::new(format!("emqx {operation}"), "connection refused"));
        }
        let done = work();
        if self.failure.get() == Some(Failure::AfterCommit) {
            return Err(PortError::new(format!("emqx {operation}"), "the operation timed out"));
        }
        Ok(done)
    }
}

impl Broker for MemoryBroker {
    async fn publish(&self, messages: &[Publication]) -> Result<Vec<Published>, PortError> {
        assert!(messages.len() <= BROKER_BATCH, "{} messages in one call", messages.len());
        let publish_one = |message: &Publication| {
            if message.topic.contains(['+', '#']) {
                return Published::Refused("topic_name_invalid".to_owned());
            }
            if !self.subscribers.borrow().contains(&message.topic) {
                return Published::NoSubscriber;
            }
            self.published.borrow_mut().push(message.clone());
            Published::Accepted
        };
        self.call("publish", || messages.iter().map(publish_one).collect())
    }

    async fn kick(&self, client_id: &str) -> Result<bool, PortError> {
        self.call("kick", || self.kicked.borrow_mut().push(client_id.to_owned()))?;
        Ok(true)
    }
}

/// A key-value store in memory. What a key was first seen as is what it stays, as in a location where the news has not arrived,
/// while [`MemoryKeyValue::freeze`] is on. Nothing expires by itself: [`MemoryKeyValue::lifetime`] says when it would.
#[derive(Default)]
pub struct MemoryKeyValue {
    values: RefCell<BTreeMap<String, (String, u32)>>,
    frozen: RefCell<Option<BTreeMap<String, (String, u32)>>>,
    failure: Cell<Option<Failure>>,
    reads: Cell<u32>,
}

impl MemoryKeyValue {
    /// Makes every call fail like this (a read never commits), until it is set to `None`.
    pub fn fail(&self, failure: Option<Failure>) {
        self.failure.set(failure);
    }

    /// From now on reads see what is there now, whatever is written, or, with `false`, the truth again.
    pub fn freeze(&self, frozen: bool) {
        *self.frozen.borrow_mut() = frozen.then(|| self.values.borrow().clone());
    }

    /// Everything that is stored, in the order of the keys.
    pub fn entries(&self) -> Vec<(String, String)> {
        self.values.borrow().iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// The seconds after which a key goes.
    pub fn lifetime(&self, key: &str) -> Option<u32> {
        self.values.borrow().get(key).map(|(_, seconds)| *seconds)
    }

    /// Lets every key expire.
    pub fn expire(&self) {
        self.values.borrow_mut().clear();
    }

    /// How often something was read.
    pub fn reads(&self) -> u32 {
        self.reads.get()
    }
}

impl KeyValue for MemoryKeyValue {
    async fn get(&self, key: &str) -> Result<Option<String>, PortError> {
        self.reads.set(self.reads.get().saturating_add(1));
        if self.failure.get().is_some() {
            return Err(PortError::new("kv get", "KV GET failed: 503"));
        }
        let frozen = self.frozen.borrow();
        let values = self.values.borrow();
        Ok(frozen.as_ref().unwrap_or(&values).get(key).map(|(value, _)| value.clone()))
    }

    async fn put(&self, key: &str, value: &str, seconds: u32) -> Result<(), PortError> {
        let failure = self.failure.get();
        if failure != Some(Failure::BeforeCommit) {
            self.values.borrow_mut().insert(key.to_owned(), (value.to_owned(), seconds));
        }
        if failure.is_some() { Err(PortError::new("kv put", "KV PUT failed: 429")) } else { Ok(()) }
    }
}

/// A rate limit that admits a number of calls of each caller, for ever.
pub struct MemoryRateLimiter {
    limit: Cell<u32>,
    calls: RefCell<BTreeMap<String, u32>>,
    broken: Cell<bool>,
}

impl MemoryRateLimiter {
    /// Admits that many.
    pub fn new(limit: u32) -> Self {
        Self { limit: Cell::new(limit), calls: RefCell::default(), broken: Cell::new(false) }
    }

    /// Admits another number from now on.
    pub fn set_limit(&self, limit: u32) {
        self.limit.set(limit);
    }

    /// Makes every call fail, or no longer.
    pub fn fail(&self, broken: bool) {
        self.broken.set(broken);
    }

    /// Who called, and how often.
    pub fn callers(&self) -> BTreeMap<String, u32> {
        self.calls.borrow().clone()
    }
}

impl RateLimiter for MemoryRateLimiter {
    async fn admit(&self, caller: &str) -> Result<bool, PortError> {
        if self.broken.get() {
            return Err(PortError::new("rate limit", "internal error"));
        }
        let mut calls = self.calls.borrow_mut();
        let count = calls.entry(caller.to_owned()).or_default();
        *count = count.saturating_add(1);
        Ok(*count <= self.limit.get())
    }
}

/// Bytes that count up: random enough for a test, and the same every time.
#[derive(Default)]
pub struct Counting(Cell<u64>);

impl Random for Counting {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        self.0.set(self.0.get().wrapping_add(1));
        let mut bytes = [0; N];
        for (byte, counted) in bytes.iter_mut().rev().zip(self.0.get().to_le_bytes()) {
            *byte = counted;
        }
        bytes
    }
}
