//! A connector, and an action on it: whether they work, and what follows from that.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Status;
use super::buffers::{Buffers, Closed, NotWritten};
use super::upload::{Uploaded, key, upload};
use crate::action::{Buffer, Counters, Item};
use crate::clock;
use crate::config::S3Action;
use crate::s3::{Client, Error};

/// A connector that is asked from time to time whether it works.
#[derive(Debug)]
pub struct Connector {
    name: String,
    /// What its actions call with.
    pub client: Client,
    status: watch::Sender<Status>,
}

impl Connector {
    /// Nobody has asked it yet.
    pub fn new(name: &str, client: Client) -> Self {
        Self { name: format!("s3:{name}"), client, status: watch::Sender::new(Status::Connecting) }
    }

    /// How it was when it was last asked.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Asks it every `interval`.
    pub async fn run(self: Arc<Self>, interval: Duration) {
        loop {
            let status = match self.client.list_buckets().await {
                Ok(()) => Status::Connected,
                Err(error) => Status::Disconnected(error.to_string()),
            };
            tell_change("connector", &self.name, &self.status.borrow(), &status);
            // Sent although it may be the same: actions that are not open wait for a good check.
            self.status.send_replace(status);
            tokio::time::sleep(interval).await;
        }
    }
}

/// An action's end of a connector.
#[derive(Debug)]
pub struct Channel {
    name: String,
    action: String,
    node: String,
    directory: PathBuf,
    settings: Arc<S3Action>,
    connector: Arc<Connector>,
    status: Mutex<Status>,
    /// Open while the action works.
    buffers: Mutex<Option<Buffers>>,
    /// Told when they have been opened.
    opened: Notify,
    /// Takes buffers that records have filled.
    filled: mpsc::UnboundedSender<Closed>,
    uploaded: AtomicU64,
    failed: AtomicU64,
}

/// A question to the bucket that is under way.
type Check = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What an upload came to.
type Ended = (Closed, String, Result<Uploaded, String>);

impl Channel {
    /// The channel of an action, and what it does.
    pub fn new(
        action: &str,
        node: &str,
        directory: PathBuf,
        settings: Arc<S3Action>,
        connector: Arc<Connector>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let (filled, receiver) = mpsc::unbounded_channel();
        let channel = Arc::new(Self {
            name: format!("s3:{action}"),
            action: action.to_owned(),
            node: node.to_owned(),
            directory,
            settings,
            connector,
            status: Mutex::new(Status::Connecting),
            buffers: Mutex::default(),
            opened: Notify::new(),
            filled,
            uploaded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        (channel.clone(), channel.run(receiver))
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// How many objects were uploaded, and how many uploads failed.
    pub fn objects(&self) -> (u64, u64) {
        (self.uploaded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Writes what comes into `buffer`, a batch at a time, and waits while it cannot.
    pub async fn collect(self: Arc<Self>, buffer: Arc<Buffer>, counters: Arc<Counters>) {
        let settings = &self.settings;
        loop {
            let Some(first) = buffer.pop() else {
                buffer.arrived().await;
                continue;
            };
            let mut batch = vec![first];
            let fill = |batch: &mut Vec<Item>| {
                while batch.len() < settings.batch_size
                    && let Some(item) = buffer.pop()
                {
                    batch.push(item);
                }
            };
            fill(&mut batch);
            if batch.len() < settings.batch_size {
                tokio::time::sleep(settings.batch_time).await;
                fill(&mut batch);
            }
            self.write(batch, &counters).await;
        }
    }

    /// Writes a batch as soon as that is possible, but for what grows too old meanwhile.
    async fn write(&self, mut batch: Vec<Item>, counters: &Counters) {
        loop {
            let (now, before) = (Instant::now(), batch.len());
            batch.retain(|item| now < item.deadline);
            let expired = before.saturating_sub(batch.len());
            if expired > 0 {
                add(&counters.expired, expired);
                log::warn!("action {}: {expired} records expired before they could be collected", self.name);
            }
            // Asked for before it is tried, so that no opening is missed.
            let opened = self.opened.notified();
            let records: Vec<Bytes> = batch.iter().map(|item| item.body.clone()).collect();
            match self.try_write(&records) {
                Some(Ok(())) => return add(&counters.success, records.len()),
                Some(Err(NotWritten::Failed(error))) => {
                    log::error!("action {}: {} records are lost: {error}", self.name, records.len());
                    return add(&counters.failed, records.len());
                }
                Some(Err(NotWritten::Later)) | None => {}
            }
            add(&counters.waiting, records.len());
            tokio::select! {
                () = opened => {}
                () = tokio::time::sleep(self.settings.resume_interval) => {}
            }
            counters.waiting.fetch_sub(count(records.len()), Ordering::Relaxed);
        }
    }

    /// `None` if the buffers are not open.
    fn try_write(&self, records: &[Bytes]) -> Option<Result<(), NotWritten>> {
        let mut guard = self.buffers.lock();
        let outcome = guard.as_mut()?.push(seconds(), records);
        Some(outcome.map(|filled| {
            for closed in filled {
                // Nobody takes them any more when the broker ends; they are on disk.
                let _ended = self.filled.send(closed);
            }
        }))
    }

    /// Opens the buffers whenever the connector works, and closes them when it does not, or when something went wrong.
    async fn run(self: Arc<Self>, mut filled: mpsc::UnboundedReceiver<Closed>) {
        let mut connector = self.connector.status.subscribe();
        connector.mark_changed();
        // Each check of the connector is a chance.
        while connector.changed().await.is_ok() {
            let status = connector.borrow_and_update().clone();
            let reason = match status {
                Status::Connecting => continue,
                Status::Disconnected(_) => self.not_connected(),
                Status::Connected => match self.open() {
                    Ok(found) => self.serve(found, &mut filled, &mut connector).await,
                    Err(error) => format!("{}: {error}", self.directory.display()),
                },
            };
            *self.buffers.lock() = None;
            // What is among them is found on disk again.
            while filled.try_recv().is_ok() {}
            self.set_status(Status::Disconnected(reason));
        }
    }

    /// Opens the buffers, and says which of them are to be uploaded.
    fn open(&self) -> std::io::Result<Vec<Closed>> {
        let S3Action { interval, max_records, .. } = *self.settings;
        let (buffers, found) = Buffers::open(&self.directory, interval, max_records)?;
        *self.buffers.lock() = Some(buffers);
        self.set_status(Status::Connecting);
        self.opened.notify_waiters();
        Ok(found)
    }

    /// Looks after the buffers until something is wrong, and says what.
    async fn serve(
        self: &Arc<Self>,
        found: Vec<Closed>,
        filled: &mut mpsc::UnboundedReceiver<Closed>,
        connector: &mut watch::Receiver<Status>,
    ) -> String {
        let mut uploads = JoinSet::new();
        let mut errors = VecDeque::new();
        for closed in found {
            uploads.spawn(self.clone().upload(closed));
        }
        let mut ticks = tokio::time::interval(self.settings.health_check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check: Option<Check> = None;
        loop {
            tokio::select! {
                _ = ticks.tick(), if check.is_none() => {
                    let due = self.buffers.lock().as_mut().and_then(|buffers| buffers.tick(seconds()));
                    if let Some(closed) = due {
                        uploads.spawn(self.clone().upload(closed));
                    }
                    let channel = self.clone();
                    check = Some(Box::pin(async move {
                        channel.connector.client.list_objects(&channel.settings.bucket).await
                    }));
                }
                outcome = answer(&mut check), if check.is_some() => {
                    check = None;
                    if let Err(error) = outcome {
                        return match error {
                            Error::Refused { status, .. } if status.as_u16() == 404 => "Bucket does not exist".to_owned(),
                            error => error.to_string(),
                        };
                    }
                    if let Some(error) = errors.pop_front() {
                        return error;
                    }
                    self.set_status(Status::Connected);
                }
                Some(ended) = uploads.join_next() => errors.extend(ended.ok().and_then(|ended| self.ended(ended))),
                Some(closed) = filled.recv() => {
                    uploads.spawn(self.clone().upload(closed));
                }
                changed = connector.changed() => {
                    let status = connector.borrow_and_update().clone();
                    if changed.is_err() || status != Status::Connected {
                        return self.not_connected();
                    }
                }
            }
        }
    }

    async fn upload(self: Arc<Self>, closed: Closed) -> Ended {
        let key = key(&self.settings.key, &self.action, &self.node, &closed);
        let outcome = upload(&self.connector.client, &self.settings, &key, &closed).await;
        (closed, key, outcome)
    }

    /// The buffer of an object that is stored goes; any other stays. Returns what went wrong.
    fn ended(&self, (closed, key, outcome): Ended) -> Option<String> {
        let error = match outcome {
            Ok(what) => {
                if let Uploaded::Stored { records, bytes } = what {
                    self.uploaded.fetch_add(1, Ordering::Relaxed);
                    log::info!("action {}: {key}: {records} records, {bytes} bytes", self.name);
                }
                std::fs::remove_file(&closed.path).err()?.to_string()
            }
            Err(error) => error,
        };
        self.failed.fetch_add(1, Ordering::Relaxed);
        log::error!("action {}: {key} stays in {}: {error}", self.name, closed.path.display());
        Some(error)
    }

    /// In EMQX's words (`resource_not_connected_channel_error_msg/3`).
    fn not_connected(&self) -> String {
        format!(
            "Resource connector:{} for channel action:{} is not connected",
            self.connector.name, self.name
        )
    }

    fn set_status(&self, status: Status) {
        let mut current = self.status.lock();
        tell_change("action", &self.name, &current, &status);
        *current = status;
    }
}

/// Waits for what is there; for ever if nothing is.
async fn answer(check: &mut Option<Check>) -> Result<(), Error> {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

fn tell_change(what: &str, name: &str, before: &Status, now: &Status) {
    match now {
        _ if before == now => {}
        Status::Connecting => log::debug!("{what} {name} is opened"),
        Status::Connected => log::info!("{what} {name} is connected"),
        Status::Disconnected(reason) => log::warn!("{what} {name} is disconnected: {reason}"),
    }
}

fn seconds() -> u64 {
    clock::unix_micros() / 1_000_000
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(count(number), Ordering::Relaxed);
}
