//! Sizes and counts that the system promises to hold, in one place, each with where it comes from.

/// Largest body of an EMQX authentication or authorization request. Username, client id and topic
/// are at most 64 KiB each in MQTT; ours are far shorter, and nobody else calls these routes.
pub const ADMISSION_BODY: usize = 16 * 1024;

/// Largest body of an EMQX rule webhook. A queue message holds 128,000 bytes, and a payload of
/// [`DEVICE_PAYLOAD`] arrives up to twice: as text and as Base64.
pub const WEBHOOK_BODY: usize = 256 * 1024;

/// Largest body of a batch of messages from a bridge.
pub const BATCH_BODY: usize = 1024 * 1024;

/// Most messages of such a batch.
pub const BATCH_MESSAGES: usize = 5_000;

/// Largest payload that a device may publish (the contract's largest is a diagnostics answer, 64 KiB).
pub const DEVICE_PAYLOAD: usize = 64 * 1024;

/// Largest JSON body from an operator or a user.
pub const API_BODY: usize = 64 * 1024;

/// Largest body of a bulk enrolment: 1,000 lines of at most 512 bytes.
pub const BULK_ENROLL_BODY: usize = 512 * 1024;

/// Most lines of one bulk enrolment.
pub const BULK_ENROLL_LINES: usize = 1_000;

/// Largest message that a queue takes, in bytes (Cloudflare counts 1 KB as 1,000).
pub const QUEUE_MESSAGE: usize = 128_000;

/// Most messages of one call to a queue, and most bytes of them together (256 KB, counted as above, less what
/// the platform adds to each message).
pub const QUEUE_SENDS: usize = 100;
/// See [`QUEUE_SENDS`].
pub const QUEUE_BATCH: usize = 240_000;

/// Most messages of one call to the broker. The broker itself sets no limit; a call of this size is answered well
/// within its time limit.
pub const BROKER_BATCH: usize = 100;

/// Page size of a list when the caller names none, and the most it may ask for.
pub const PAGE_DEFAULT: u32 = 50;
/// See [`PAGE_DEFAULT`].
pub const PAGE_MAX: u32 = 200;

/// Log lines in one telemetry message (contract, section 3.2).
pub const TELEMETRY_LOG_LINES: usize = 100;

/// Metrics in one telemetry message. The contract names nine; this leaves room to grow and keeps
/// a rollup row within a few kilobytes.
pub const TELEMETRY_METRICS: usize = 64;

/// In place of a limit: the body of such a request is not read before its handler is asked, which streams it.
pub const STREAMED_BODY: usize = usize::MAX;

/// Most devices that a user has a role with. The database keeps it too (migration 0007).
pub const USER_DEVICES: u32 = 50;

/// Most people with a role in one device, those who are invited counted: a household, not a crowd.
pub const DEVICE_PEOPLE: u32 = 20;

/// Longest name of a device or a room, in characters.
pub const PROFILE_TEXT: usize = 64;

/// Largest body of an import of orders: 1,000 lines of at most 512 bytes.
pub const BULK_ORDERS_BODY: usize = 512 * 1024;

/// Most lines of one import of orders.
pub const BULK_ORDERS_LINES: usize = 1_000;

/// What is read of the body of an answer that is only looked at, in bytes.
pub const PROBE_BODY: usize = 64 * 1024;
