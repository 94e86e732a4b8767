//! `GET` and `HEAD /firmware/{sku}/{version}.bin`: an image on its way to a device.
//!
//! Every request is judged: the link, then the artifact, then the device's place in its rollout. So a pause, a yank or an
//! abort is felt within the next request; by a download that is under way, within two seconds (see [`crate::permits`]).
//!
//! A download that begins is counted, with one write; the requests that go on with it are not. That it was fetched to its
//! end says nothing about the device: only its own reports do.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rs1_auth::signed_url::{BadLink, Grant};
use rs1_domain::port::{Database, FileStore, Queue};
use rs1_domain::problem::Kind;
use rs1_domain::range::{self, Part, Selection};
use rs1_domain::{Answer, FirmwareVersion, Method, Problem, Request, Sku, hex};
use rs1_rollout::queued::OtaEvent;
use rs1_store::firmware::{self, Permit};
use rs1_store::sql::{first_row, run};

use crate::config::Config;
use crate::permits::Permits;

/// The media type of images.
const BINARY: &str = "application/octet-stream";

/// For the one device that the link is for, as long as the link is good; and as it is, for it is written into flash.
const CACHE_CONTROL: &str = "private, max-age=900, no-transform";

/// After how many seconds a device that began too often may ask again: by then there is another rollout, or none.
const RETRY_AFTER: &str = "86400";

/// Where a download comes from.
pub struct From<'a, D, Q, F> {
    /// D1.
    pub db: &'a D,
    /// Where the engine hears of refusals.
    pub reports: &'a Q,
    /// R2.
    pub files: &'a F,
    /// What was read of the database a moment ago.
    pub permits: &'a RefCell<Permits>,
}

/// Answers a device that downloads.
///
/// # Errors
/// 403 for a link that is not good, or a device that is not to have this image; 404 if there is no such image; 410 if it
/// was withdrawn; 412 and 416 for conditions and ranges; 429 for too many attempts; 503 when the database or R2 fails.
pub async fn get(
    from: &From<'_, impl Database, impl Queue, impl FileStore>,
    config: &Config,
    (sku, version): (&str, &str),
    request: &Request,
) -> Result<Answer, Problem> {
    let From { db, reports, files, permits } = *from;
    let grant = config.links.verify(&request.path, &request.query, request.now).map_err(bad_link)?;
    let (sku, version) = Sku::parse(sku).zip(FirmwareVersion::parse(version)).ok_or_else(no_such_firmware)?;
    let key = format!("{}{}/{}", request.path, grant.rollout, grant.device);
    let remembered = if goes_on(request) { permits.borrow().find(&key, request.now) } else { None };
    let is_fresh = remembered.is_none();
    let mut permit = if let Some(permit) = remembered {
        permit
    } else {
        let [outcome] = run(db, [firmware::permit(sku, &version, &grant.rollout, &grant.device)]).await?;
        first_row::<Permit>(&outcome)?.ok_or_else(no_such_firmware)?
    };
    let attempt = judge(&permit)?;

    let etag = format!("\"{}\"", permit.sha256);
    let whole = Part { first: 0, length: permit.size };
    let (status, part) = match range::select(request, permit.size, &etag) {
        Selection::Whole => (200, whole),
        Selection::Part(part) => (206, part),
        Selection::NotModified => {
            let answer = Answer::empty(304).with_header("etag", etag);
            return Ok(answer.with_header("cache-control", CACHE_CONTROL));
        }
        Selection::PreconditionFailed => {
            let problem = Problem::new(Kind::PreconditionFailed, format!("the image is {etag}"));
            return Err(problem);
        }
        Selection::NotSatisfiable => return Err(not_satisfiable(permit.size)),
    };
    if request.method == Method::Head {
        let mut answer = Answer::empty(status);
        answer.content_type = Some(BINARY);
        return Ok(Headers { etag: &etag, status, part, permit: &permit }.onto(answer));
    }

    if permit.refused_at.is_some() {
        return Err(too_many_attempts(config.download_attempts));
    }
    // Who goes on with a download that nobody saw begin, has begun one.
    if part.first == 0 || permit.begun == 0 {
        permits.borrow_mut().forget(&key);
        begin(db, reports, config, (sku, &version), &grant, attempt, request).await?;
        permit.begun = permit.begun.saturating_add(1);
    }
    if is_fresh {
        permits.borrow_mut().note(key, permit.clone(), request.now);
    }
    let file = firmware::file(sku, version.as_str(), &permit.sha256);
    let stream = files.open(&file, &etag, permit.size, part).await?;
    let stream = stream.ok_or_else(|| Problem::unavailable(format!("{file} is not in the bucket")))?;
    let headers = Headers { etag: &etag, status, part, permit: &permit };
    Ok(headers.onto(Answer::streamed(status, BINARY, stream)))
}

/// Whether a request goes on with a download, for all that can be told before the image's size is known.
fn goes_on(request: &Request) -> bool {
    let range = request.header("range").and_then(|range| range.trim_start().strip_prefix("bytes="));
    request.method == Method::Get && range.is_some_and(|range| !range.trim_start().starts_with('0'))
}

/// Whether the device may have the image: the attempt that it is in.
///
/// While a rollout is paused, who has begun to download goes on; who has not does not begin.
fn judge(permit: &Permit) -> Result<u32, Problem> {
    if permit.yanked_at.is_some() || permit.key_revoked_at.is_some() {
        return Err(Problem::new(Kind::Yanked, "this image is not handed out any more"));
    }
    let place = permit.status.as_deref().zip(permit.state.as_deref()).zip(permit.attempt);
    let Some(((status, state), attempt)) = place else {
        return Err(not_in_rollout("the device has no place in this rollout"));
    };
    let is_under_way = matches!(state, "downloading" | "verifying" | "installed");
    let is_open = is_under_way || matches!(state, "triggered" | "deferred");
    match status {
        _ if !is_open => Err(not_in_rollout("the device's part in this rollout is over")),
        "STAGED" | "COMPLETED" => Ok(attempt),
        "PAUSED" if is_under_way || permit.begun > 0 => Ok(attempt),
        "PAUSED" => Err(not_in_rollout("the rollout is paused")),
        _ => Err(not_in_rollout("the rollout is over")),
    }
}

/// What is said about the part that is sent.
struct Headers<'a> {
    etag: &'a str,
    status: u16,
    part: Part,
    permit: &'a Permit,
}

impl Headers<'_> {
    fn onto(&self, answer: Answer) -> Answer {
        let digest = hex::decode::<32>(&self.permit.sha256).unwrap_or_default();
        let answer = answer
            .with_header("accept-ranges", "bytes")
            .with_header("cache-control", CACHE_CONTROL)
            .with_header("content-length", self.part.length.to_string())
            .with_header("etag", self.etag)
            .with_header("repr-digest", format!("sha-256=:{}:", STANDARD.encode(digest)));
        if self.status == 206 {
            answer.with_header("content-range", self.part.content_range(self.permit.size))
        } else {
            answer
        }
    }
}

/// Counts a download that begins.
///
/// # Errors
/// 429 if there were too many; the engine is told of the first such. 503 when the database fails.
async fn begin(
    db: &impl Database,
    reports: &impl Queue,
    config: &Config,
    (sku, version): (Sku, &FirmwareVersion),
    grant: &Grant,
    attempt: u32,
    request: &Request,
) -> Result<(), Problem> {
    let Grant { device, rollout, .. } = grant;
    let (limit, at) = (config.download_attempts, request.now);
    let [outcome] = run(db, [firmware::begin_download(device, sku, version, rollout, limit, at)]).await?;
    if outcome.changes > 0 {
        return Ok(());
    }
    let (device_id, rollout_id) = (device.clone(), rollout.clone());
    let refused = OtaEvent::DownloadRefused { device_id, rollout_id, attempt, at };
    // Noted after it was told, so that it is told again if it was not.
    reports.send(&refused.to_json()).await?;
    run(db, [firmware::note_refusal(device, sku, version, at)]).await?;
    Err(too_many_attempts(limit))
}

fn bad_link(fault: BadLink) -> Problem {
    let problem = match fault {
        BadLink::Expired => {
            Problem::new(Kind::UrlExpired, "ask for the image again when you are sent a new link")
        }
        BadLink::Form | BadLink::Signature => {
            Problem::new(Kind::BadSignature, "only links that were sent to a device are good")
        }
    };
    problem.with_log(format!("link: {}", fault.as_str()))
}

fn not_in_rollout(detail: &str) -> Problem {
    Problem::new(Kind::NotInRollout, detail)
}

fn no_such_firmware() -> Problem {
    Problem::not_found("there is no such image")
}

fn not_satisfiable(size: u64) -> Problem {
    let mut problem = Problem::new(Kind::RangeNotSatisfiable, format!("the image has {size} bytes"));
    problem.headers.push(("content-range", format!("bytes */{size}")));
    problem
}

fn too_many_attempts(limit: u32) -> Problem {
    let detail = format!("{limit} downloads of this image were begun in this rollout");
    let mut problem = Problem::new(Kind::TooManyAttempts, detail);
    problem.headers.push(("retry-after", RETRY_AFTER.to_owned()));
    problem
}
