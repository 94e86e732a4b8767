//! A device's updates, over all its connections: the gates that a trigger has to pass, the one job that may run,
//! and what waits to be said of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rs1_domain::UnixMillis;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::faults::{Manner, Outcome};
use super::job::{Job, Step};
use super::{Boot, Fate, Manifest, Report, Settings, Status, Update};
use crate::device::{Hardware, Message};
use crate::life::{Happening, Witness, after, until};

/// How often a device whose signal was too weak looks again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// How late the reports of a late device are.
const LATE: Duration = Duration::from_mins(2);
/// From the end of one image to the first CONNECT of the next.
const BOOT: Duration = Duration::from_secs(8);
/// A signal too weak for every manifest.
const WEAK: i64 = -95;
/// The rollout that a device which talks out of turn talks about.
const STRAY: &str = "rol-stray";

/// The updates of one device.
pub struct Updater {
    settings: Arc<Settings>,
    fate: Fate,
    random: fastrand::Rng,
    witness: Arc<dyn Witness>,
    /// The anti-rollback counter of the running image.
    counter: u32,
    /// Updates begun so far.
    begun: u32,
    /// Whether its signal is too weak still.
    is_weak: bool,
    sender: UnboundedSender<Step>,
    steps: UnboundedReceiver<Step>,
    running: Option<AbortHandle>,
    put_off: Option<(Manifest, Instant)>,
    /// What waits to be said, in the order in which it will be.
    outbox: VecDeque<Saying>,
    /// What is said after the next.
    held: Option<Saying>,
    /// What was said of this update, if it is to be said again.
    history: Vec<Saying>,
    boot: Option<Boot>,
}

/// A report on its way.
#[derive(Clone, Debug)]
pub struct Saying {
    /// From when on it may be said.
    due: Instant,
    /// What it says.
    pub status: Status,
    /// It, written.
    pub message: Message,
    /// Whether a fault made it.
    pub copy: bool,
}

/// What an updater wants.
#[derive(Debug)]
pub enum Turn {
    /// Its job has something.
    Step(Step),
    /// Something is to be said.
    Say,
    /// It is time to look at the signal again.
    Look,
}

impl Updater {
    /// The updates of a device that has not heard a trigger yet.
    pub fn new(
        settings: Arc<Settings>,
        fate: Fate,
        random: fastrand::Rng,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let (sender, steps) = unbounded_channel();
        Self {
            settings,
            fate,
            random,
            witness,
            counter: 0,
            begun: 0,
            is_weak: fate.weak,
            sender,
            steps,
            running: None,
            put_off: None,
            outbox: VecDeque::new(),
            held: None,
            history: Vec::new(),
            boot: None,
        }
    }

    /// Waits until there is something to do. Nothing is lost when this is given up.
    pub async fn turn(&mut self) -> Turn {
        let say = self.outbox.front().map(|saying| saying.due);
        let look = self.put_off.as_ref().map(|(_, when)| *when);
        tokio::select! {
            Some(step) = self.steps.recv() => Turn::Step(step),
            () = until(say) => Turn::Say,
            () = until(look) => Turn::Look,
        }
    }

    /// Hears a trigger.
    pub fn trigger(&mut self, payload: &[u8], hardware: &mut Hardware, now: UnixMillis) {
        self.saw(&Update::Heard);
        if self.fate.outcome == Outcome::Silent {
            return self.saw(&Update::Ignored("it is silent"));
        }
        match Manifest::read(payload) {
            Ok(_) if self.is_busy() => self.saw(&Update::Ignored("another update is under way")),
            Ok(manifest) => self.consider(manifest, hardware, now),
            Err(refused) => {
                self.saw(&Update::Refused(&refused.why));
                if let (Some(version), Some(rollout_id)) = (refused.version, refused.rollout_id) {
                    let error = Some(format!("bad_manifest: {}", refused.why));
                    let report = Report { status: Status::Failed, progress: 0, error, version, rollout_id };
                    self.post(&report, hardware, now);
                }
            }
        }
    }

    /// Looks again at a trigger that was put off.
    pub fn look(&mut self, hardware: &mut Hardware, now: UnixMillis) {
        if let Some((manifest, _)) = self.put_off.take() {
            self.consider_again(manifest, hardware, now);
        }
    }

    /// Takes what the job has. A boot that must not wait is the answer.
    pub fn step(&mut self, step: Step, hardware: &mut Hardware, now: UnixMillis) -> Option<Boot> {
        match step {
            Step::Report(report) => self.post(&report, hardware, now),
            Step::Boot(boot) => self.boot = Some(boot),
            Step::PowerCut(boot) => {
                self.outbox.clear();
                return Some(boot);
            }
            Step::Done => self.running = None,
        }
        None
    }

    /// The next report that is due.
    pub fn say(&mut self) -> Option<Saying> {
        self.outbox.front().filter(|saying| saying.due <= Instant::now())?;
        let saying = self.outbox.pop_front()?;
        self.saw(&Update::Reported { status: saying.status, copy: saying.copy });
        Some(saying)
    }

    /// The restart that is due: everything that has to be said before it is said.
    pub fn boots(&mut self) -> Option<Boot> {
        // What is said later is said later, whatever image runs then.
        let now = Instant::now();
        let waits = self.outbox.iter().any(|saying| saying.due <= now);
        if waits { None } else { self.boot.take() }
    }

    /// Restarts the device, and says how long that takes.
    pub fn boot(&mut self, boot: &Boot, hardware: &mut Hardware, now: UnixMillis) -> Duration {
        if let Some(job) = self.running.take() {
            job.abort();
        }
        // What the ended job had still to say is gone with its memory.
        while self.steps.try_recv().is_ok() {}
        (self.boot, self.put_off) = (None, None);
        if let Some((_, counter)) = &boot.image {
            self.counter = *counter;
        }
        hardware.boot(boot, now);
        self.saw(&Update::Booted(boot));
        self.settings.pace(BOOT)
    }

    fn is_busy(&self) -> bool {
        self.running.is_some() || self.boot.is_some()
    }

    /// The gates, in the firmware's order.
    fn consider(&mut self, manifest: Manifest, hardware: &mut Hardware, now: UnixMillis) {
        // A newer trigger replaces one that was put off.
        self.put_off = None;
        if manifest.version == *hardware.firmware() {
            // Asked for what it runs: it says so, in its state as well.
            hardware.note_change();
            let report = report(&manifest, Status::Success, 100, None);
            return self.post(&report, hardware, now);
        }
        if manifest.version < *hardware.firmware() && !manifest.force {
            return self.refuse(&manifest, "version_not_newer", hardware, now);
        }
        if self.fate.outcome == Outcome::Refuse {
            return self.refuse(&manifest, "insufficient_memory", hardware, now);
        }
        let signal = if self.is_weak { WEAK } else { hardware.wifi_rssi() };
        if signal < manifest.min_rssi {
            self.is_weak = false;
            self.saw(&Update::Deferred);
            let report = report(&manifest, Status::Deferred, 0, None);
            self.post(&report, hardware, now);
            return self.put_off(manifest);
        }
        self.begin(manifest, hardware, now);
    }

    /// The gates once more, for a trigger that was put off: that was reported already.
    fn consider_again(&mut self, manifest: Manifest, hardware: &mut Hardware, now: UnixMillis) {
        if hardware.wifi_rssi() < manifest.min_rssi && !is_expired(&manifest, hardware, now) {
            return self.put_off(manifest);
        }
        self.begin(manifest, hardware, now);
    }

    fn put_off(&mut self, manifest: Manifest) {
        self.put_off = Some((manifest, after(Instant::now(), self.settings.pace(LOOK_AGAIN))));
    }

    fn begin(&mut self, manifest: Manifest, hardware: &mut Hardware, now: UnixMillis) {
        if is_expired(&manifest, hardware, now) {
            return self.refuse(&manifest, "expired", hardware, now);
        }
        self.saw(&Update::Begins(&manifest));
        let job = Job {
            manifest,
            fate: self.fate,
            first: self.begun == 0,
            counter: self.counter,
            settings: Arc::clone(&self.settings),
            random: self.random.fork(),
            steps: self.sender.clone(),
            witness: Arc::clone(&self.witness),
        };
        self.begun = self.begun.saturating_add(1);
        self.running = Some(tokio::spawn(job.run()).abort_handle());
    }

    fn refuse(&mut self, manifest: &Manifest, why: &str, hardware: &mut Hardware, now: UnixMillis) {
        self.saw(&Update::Refused(why));
        let report = report(manifest, Status::Failed, 0, Some(why.to_owned()));
        self.post(&report, hardware, now);
    }

    /// Writes a report, with the time that it is now, and puts it where it is said in the device's manner.
    fn post(&mut self, report: &Report, hardware: &mut Hardware, now: UnixMillis) {
        let status = report.status;
        let is_last = matches!(status, Status::Success | Status::Failed | Status::Deferred);
        let mut saying =
            Saying { due: Instant::now(), status, message: hardware.ota_status(report, now), copy: false };
        match self.fate.manner {
            Manner::Mute => {}
            Manner::Plain => self.outbox.push_back(saying),
            Manner::Twice => {
                let copy = Saying { copy: true, ..saying.clone() };
                self.outbox.extend([saying, copy]);
            }
            Manner::Late => {
                saying.due = after(saying.due, self.settings.pace(LATE));
                self.outbox.push_back(saying);
            }
            Manner::Shuffled => {
                match self.held.take() {
                    Some(earlier) => self.outbox.extend([saying, earlier]),
                    // Nothing would follow the last one of an update.
                    None if is_last => self.outbox.push_back(saying),
                    None => self.held = Some(saying),
                }
            }
            Manner::Stray => {
                let stray = Report { rollout_id: STRAY.to_owned(), ..report.clone() };
                let message = hardware.ota_status(&stray, now);
                let stray = Saying { message, copy: true, ..saying.clone() };
                self.outbox.extend([stray, saying]);
            }
            Manner::Replayed => {
                self.history.push(saying.clone());
                self.outbox.push_back(saying);
                if is_last {
                    let due = after(Instant::now(), self.settings.pace(LATE));
                    let mut again = std::mem::take(&mut self.history);
                    self.random.shuffle(&mut again);
                    self.outbox.extend(again.into_iter().map(|said| Saying { due, copy: true, ..said }));
                }
            }
        }
    }

    fn saw(&self, update: &Update<'_>) {
        self.witness.saw(&Happening::Update(update));
    }
}

impl Drop for Updater {
    fn drop(&mut self) {
        if let Some(job) = &self.running {
            job.abort();
        }
    }
}

fn report(manifest: &Manifest, status: Status, progress: u8, error: Option<String>) -> Report {
    Report {
        status,
        progress,
        error,
        version: manifest.version.clone(),
        rollout_id: manifest.rollout_id.clone(),
    }
}

/// By the device's own clock.
fn is_expired(manifest: &Manifest, hardware: &Hardware, now: UnixMillis) -> bool {
    manifest.expires_at.is_some_and(|expires| hardware.clock(now) >= expires)
}

#[cfg(test)]
mod tests;
