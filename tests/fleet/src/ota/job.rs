//! One update on one device: from its first report to the reboot, or to what goes wrong.
//!
//! It runs beside the connection to the broker, as the firmware's update task does, and goes on while that is
//! lost. What it has to say is taken by the [`Updater`](super::Updater).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::download::{Announced, Client, Fault, Place, Watch};
use super::faults::Outcome;
use super::flash::Flash;
use super::{Boot, Fate, Manifest, Report, Settings, Status, Trust, Update, image};
use crate::life::{Happening, Witness};

/// How long after a failed download the next one is tried. After the last there is no other.
const RETRIES: [Duration; 3] = [Duration::from_mins(1), Duration::from_mins(5), Duration::from_mins(30)];
/// How long a device that downloads in a loop rests between two downloads.
const LOOP_REST: Duration = Duration::from_mins(1);
/// At which progress, in percent, a download is reported: with the six other reports that an update can have,
/// not more than the ten that the contract allows.
const MARKS: [u8; 4] = [0, 25, 50, 75];

/// What a job hands to the device.
#[derive(Debug)]
pub enum Step {
    /// To be said.
    Report(Report),
    /// To be done as soon as everything is said.
    Boot(Boot),
    /// To be done at once: nothing is said any more.
    PowerCut(Boot),
    /// The job has ended and leaves the device as it is.
    Done,
}

/// An update to carry out.
pub struct Job {
    /// What is asked for.
    pub manifest: Manifest,
    /// How it will go.
    pub fate: Fate,
    /// Whether the device tries an update for the first time.
    pub first: bool,
    /// The anti-rollback counter of the running image.
    pub counter: u32,
    /// What all devices have in common.
    pub settings: Arc<Settings>,
    /// Its dice.
    pub random: fastrand::Rng,
    /// Who takes what it has to say.
    pub steps: UnboundedSender<Step>,
    /// Who watches.
    pub witness: Arc<dyn Witness>,
}

/// How a job ends but for success.
enum Stop {
    /// With a report about it.
    Failed { progress: u8, error: String },
    /// Without a word.
    Quiet,
    /// The power is gone.
    PowerCut,
}

impl Job {
    /// Carries it out.
    pub async fn run(mut self) {
        let step = match self.install().await {
            Ok(boot) => Step::Boot(boot),
            Err(Stop::Failed { progress, error }) => {
                self.saw(&Update::Failed(&error));
                self.report(Status::Failed, progress, Some(error));
                Step::Done
            }
            Err(Stop::PowerCut) => Step::PowerCut(Boot { image: None, boots: 1, reason: "brownout" }),
            Err(Stop::Quiet) => Step::Done,
        };
        // Nobody takes it when the device is told to stop.
        let _ = self.steps.send(step);
    }

    async fn install(&mut self) -> Result<Boot, Stop> {
        self.report(Status::Pending, 0, None);
        if self.fate.outcome == Outcome::Stuck {
            self.report(Status::Downloading, 0, None);
            std::future::pending::<()>().await;
        }
        let flash = self.download().await?;
        self.report(Status::Verifying, 100, None);
        let failed = |error: String| Stop::Failed { progress: 100, error };
        let trust = match self.fate.outcome {
            Outcome::FailSignature => &Trust::Nobody,
            _ => &self.settings.trust,
        };
        let written = flash.finish().ok_or_else(|| failed("incomplete".to_owned()))?;
        let counter = image::check(&written, &self.manifest, trust, self.counter)
            .map_err(|fault| failed(fault.text().to_owned()))?;
        self.report(Status::Installing, 100, None);
        if self.fate.outcome == Outcome::FailInstall {
            return Err(failed("cannot_set_boot_partition".to_owned()));
        }
        self.saw(&Update::Installed);
        self.report(Status::Success, 100, None);
        Ok(match self.fate.outcome {
            Outcome::Rollback => Boot { image: None, boots: 2, reason: "watchdog" },
            _ => Boot { image: Some((self.manifest.version.clone(), counter)), boots: 1, reason: "software" },
        })
    }

    /// Downloads the image, with the firmware's patience.
    async fn download(&mut self) -> Result<Flash, Stop> {
        let failed = |error: String| Stop::Failed { progress: 0, error };
        let place = Place::parse(&self.manifest.url, &self.settings.local).map_err(failed)?;
        let mut client = Client::new(place, self.settings.request);
        let mut progress =
            Progress { steps: self.steps.clone(), reporter: Reporter::of(self), marks: MARKS.iter() };
        let mut cuts = if self.fate.cuts { self.random.usize(1..=RETRIES.len()) } else { 0 };
        let mut waits = RETRIES.iter();
        let mut flash: Option<(Flash, Announced)> = None;
        let began = Instant::now();
        loop {
            let fault = match self.attempt(&mut client, &mut flash, cuts > 0, &mut progress).await {
                Ok(()) if self.fate.outcome == Outcome::Loop => {
                    flash = None;
                    sleep(self.settings.pace(LOOP_REST)).await;
                    continue;
                }
                Ok(()) => break,
                Err(fault) => fault,
            };
            let at = flash.as_ref().map_or(0, |(flash, _)| flash.reached());
            if fault == Fault::Cut && self.fate.outcome == Outcome::PowerCut {
                return Err(Stop::PowerCut);
            }
            let again = flash.as_mut().map_or(0, |(flash, _)| flash.lose());
            let (why, final_error) = match fault {
                Fault::Cut => {
                    cuts = cuts.saturating_sub(1);
                    ("cut on purpose".to_owned(), None)
                }
                Fault::Broken(why) => (why, None),
                Fault::Refused { status, kind } => {
                    let kind =
                        kind.map_or_else(|| format!("http_{status}"), |kind| format!("http_{status}_{kind}"));
                    (kind.clone(), Some(kind))
                }
            };
            self.saw(&Update::Cut { why: &why, at, again });
            let reached = flash.as_ref().map_or(0, |(flash, _)| percent(flash));
            let failed = |error| Stop::Failed { progress: reached, error };
            let wait = match (final_error, waits.next()) {
                (Some(_), _) if self.fate.outcome == Outcome::Loop => return Err(Stop::Quiet),
                (Some(error), _) => return Err(failed(error)),
                (None, None) => return Err(failed(format!("download: {why}"))),
                (None, Some(wait)) => self.settings.pace(*wait),
            };
            self.saw(&Update::Waits(wait));
            sleep(wait).await;
        }
        self.saw(&Update::Downloaded(began.elapsed()));
        let (flash, _) = flash.ok_or(Stop::Quiet)?;
        Ok(flash)
    }

    /// One go at what is missing of the image.
    async fn attempt(
        &mut self,
        client: &mut Client,
        flash: &mut Option<(Flash, Announced)>,
        cut: bool,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let sha256 = self.manifest.sha256;
        let (flash, announced) = if let Some(begun) = flash {
            begun
        } else {
            let announced = client.head(&sha256, progress).await?;
            let mut empty = Flash::new(announced.size);
            if self.fate.outcome == Outcome::FailHash {
                empty = empty.with_flaw(self.random.u64(0..announced.size));
            }
            flash.insert((empty, announced))
        };
        let breaks = match self.fate.outcome {
            Outcome::FailDownload => true,
            Outcome::PowerCut => self.first,
            _ => cut,
        };
        // Somewhere in what is still to come.
        let cut = breaks.then(|| self.random.u64(flash.offset()..flash.size()));
        self.saw(&Update::Downloading(flash.offset()));
        progress.tell(percent(flash));
        let announced = announced.clone();
        client.fetch(flash, &announced, &sha256, cut, progress).await
    }

    fn report(&self, status: Status, progress: u8, error: Option<String>) {
        let _ = self.steps.send(Step::Report(Reporter::of(self).report(status, progress, error)));
    }

    fn saw(&self, update: &Update<'_>) {
        self.witness.saw(&Happening::Update(update));
    }
}

/// What a report needs of a job.
struct Reporter {
    version: rs1_domain::FirmwareVersion,
    rollout_id: String,
    witness: Arc<dyn Witness>,
}

impl Reporter {
    fn of(job: &Job) -> Self {
        Self {
            version: job.manifest.version.clone(),
            rollout_id: job.manifest.rollout_id.clone(),
            witness: Arc::clone(&job.witness),
        }
    }

    fn report(&self, status: Status, progress: u8, error: Option<String>) -> Report {
        Report { status, progress, error, version: self.version.clone(), rollout_id: self.rollout_id.clone() }
    }
}

/// Reports how far a download is, at each mark once.
struct Progress {
    steps: UnboundedSender<Step>,
    reporter: Reporter,
    marks: std::slice::Iter<'static, u8>,
}

impl Progress {
    fn tell(&mut self, percent: u8) {
        let mut passed = None;
        while self.marks.as_slice().first().is_some_and(|mark| *mark <= percent) {
            passed = self.marks.next();
        }
        if passed.is_some() {
            let _ = self.steps.send(Step::Report(self.reporter.report(Status::Downloading, percent, None)));
        }
    }

    fn saw(&self, update: &Update<'_>) {
        self.reporter.witness.saw(&Happening::Update(update));
    }
}

impl Watch for Progress {
    fn came(&mut self, bytes: u64, flash: &Flash) {
        self.saw(&Update::Came(bytes));
        if !flash.is_full() {
            self.tell(percent(flash));
        }
    }

    fn restarted(&mut self, lost: u64) {
        self.saw(&Update::Cut { why: "200 to a range", at: lost, again: lost });
        self.saw(&Update::Restarted);
    }

    fn breach(&mut self, what: &str) {
        self.saw(&Update::Breach(what));
    }
}

fn percent(flash: &Flash) -> u8 {
    let percent = flash.reached().saturating_mul(100).checked_div(flash.size()).unwrap_or(100);
    u8::try_from(percent).unwrap_or(100)
}
