//! `rs1-fleet run`: many devices, and one that conducts them.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rs1_domain::{DeviceId, Sku};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::cli::{Enrol, List, Run};
use crate::clock;
use crate::device::{Hardware, Identity};
use crate::interrupt::Interrupt;
use crate::life::{Begins, Life, Orders, Witness, after, until};
use crate::ota::faults::cohort;
use crate::ota::{Fate, Settings, Updater};
use crate::report::{Report, line};
use crate::roster::Roster;
use crate::schedule::{Cadence, connects_after};
use crate::tally::{Tally, Totals};

/// How long devices may take to connect before those that did begin without the others.
const ASSEMBLING: Duration = Duration::from_secs(30);
/// How long all goodbyes may take.
const PARTING: Duration = Duration::from_secs(20);
/// How often the fleet looks whether all are connected.
const LOOK: Duration = Duration::from_millis(50);

/// Enrols the fleet of a seed.
///
/// # Errors
/// When the API refuses.
pub async fn enrol(options: Enrol) -> anyhow::Result<ExitCode> {
    let devices = identities(options.seed.seed, options.devices, options.sku)?;
    let enrolled = options.api.enrol(&devices).await?;
    println!("{} devices enrolled now, {} before", enrolled.new, enrolled.known);
    Ok(ExitCode::SUCCESS)
}

/// Lists the fleet of a seed.
///
/// # Errors
/// When nobody reads what it prints.
pub fn list(options: &List) -> anyhow::Result<ExitCode> {
    let devices = identities(options.seed.seed, options.devices, options.sku)?;
    let faults = options.misbehaviour.of_each(options.seed.seed, &ids(&devices));
    let mut out = std::io::stdout().lock();
    for (device, misbehaviour) in devices.iter().zip(faults) {
        let line = serde_json::json!({
            "device_id": device.id,
            "mac_address": device.mac,
            "sku": device.sku,
            "cohort": cohort(&device.id),
            "misbehaviour": misbehaviour,
        });
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ids(devices: &[Identity]) -> Vec<&DeviceId> {
    devices.iter().map(|device| &device.id).collect()
}

/// Runs a fleet to its end.
///
/// # Errors
/// When the API refuses, or the report cannot be written.
pub async fn run(options: Run) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let devices = identities(options.seed.seed, options.devices, options.sku)?;
    if !options.no_enrol {
        let enrolled = tokio::select! {
            enrolled = options.api.enrol(&devices) => enrolled?,
            () = interrupt.came() => return Ok(ExitCode::SUCCESS),
        };
        if !options.quiet {
            println!("{} devices enrolled now, {} before", enrolled.new, enrolled.known);
        }
    }
    // Each connection is a file; a few more are in use anyway. Where that is not allowed, connecting
    // says so.
    let _ = rlimit::increase_nofile_limit(u64::from(options.devices).saturating_add(256));

    let tally = Arc::new(Tally::default());
    let (orders, listening) = watch::channel(Orders::default());
    let began = Instant::now();
    let stagger = options.stagger.unwrap_or(Duration::from_millis(10).saturating_mul(options.devices));
    let fates = options.ota.misbehaviour.fates(options.seed.seed, &ids(&devices));
    let all = Common {
        settings: options.ota.settings(&options.api.origin),
        orders: listening,
        started: after(began, stagger),
    };
    let (mut roster, mut lives) = (Roster::default(), JoinSet::new());
    for ((index, identity), fate) in (0..options.devices).zip(devices).zip(fates) {
        let witness = roster.seat(identity.id.clone(), options.ota.firmware.clone(), &tally);
        lives.spawn(life(&options, &all, index, identity, fate, witness).live());
    }
    drop(all);

    let mut fleet = Fleet { options, tally, roster, orders, began, talking_from: None, interrupt };
    fleet.conduct(stagger, &mut lives).await;
    fleet.orders.send_modify(|orders| orders.stop = true);
    let talked = fleet.talking_from.map_or(Duration::ZERO, |from| from.elapsed());
    let parted = timeout(PARTING, async { while lives.join_next().await.is_some() {} });
    let gone = tokio::select! {
        parted = parted => parted.is_ok(),
        // Pressed again.
        () = fleet.interrupt.came() => false,
    };
    if !gone {
        eprintln!("rs1-fleet: {} devices were still saying goodbye", lives.len());
        lives.shutdown().await;
    }
    fleet.tell_the_end(talked)
}

fn identities(seed: u64, devices: u32, sku: Option<Sku>) -> anyhow::Result<Vec<Identity>> {
    (0..devices)
        .map(|index| Identity::of_fleet(seed, index, sku).context("no identity can be made from that seed"))
        .collect()
}

/// What the devices of a fleet share.
struct Common {
    settings: Arc<Settings>,
    orders: watch::Receiver<Orders>,
    /// When the last of them has begun to connect.
    started: Instant,
}

fn life(
    options: &Run,
    all: &Common,
    index: u32,
    identity: Identity,
    fate: Fate,
    witness: Arc<dyn Witness>,
) -> Life {
    let mut random = dice(options.seed.seed, index);
    let skew = options.faults.skew_of(&mut random).saturating_add(fate.skew(&mut random));
    let hardware = Hardware::new(
        identity.id.clone(),
        identity.sku,
        options.ota.firmware.clone(),
        random.fork(),
        skew,
        options.logs,
        clock::now(),
    );
    let (cadence, begins) = match options.rate {
        Some(rate) => (Cadence::share(rate, options.devices, index, options.duration), Begins::Ordered),
        None => (Cadence::every(options.interval), Begins::Connected),
    };
    let began = Instant::now();
    let stagger = all.started.saturating_duration_since(began);
    Life {
        identity,
        hardware,
        broker: options.mqtt.clone(),
        version: options.mqtt_version.of(index),
        starts_at: after(began, connects_after(stagger, options.devices, index)),
        cadence,
        begins,
        leaves_when_done: false,
        faults: options.faults,
        updater: Updater::new(Arc::clone(&all.settings), fate, random.fork(), Arc::clone(&witness)),
        random,
        orders: all.orders.clone(),
        witness,
    }
}

/// A generator of its own for each device, so that what one does changes nothing for another.
pub fn dice(seed: u64, index: u32) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(index))
}

struct Fleet {
    options: Run,
    tally: Arc<Tally>,
    roster: Roster,
    orders: watch::Sender<Orders>,
    began: Instant,
    /// When telemetry began.
    talking_from: Option<Instant>,
    interrupt: Interrupt,
}

impl Fleet {
    /// Tells the devices when to begin and when to fail, and people what they do, until it is over.
    async fn conduct(&mut self, stagger: Duration, lives: &mut JoinSet<()>) {
        let assembled_by = after(after(self.began, stagger), ASSEMBLING);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ends: Option<Instant> = None;
        let mut storm: Option<Instant> = None;
        let mut ticker = Ticker::new(&self.options);
        loop {
            tokio::select! {
                () = self.interrupt.came() => break,
                () = until(ends) => break,
                () = until(storm) => {
                    self.orders.send_modify(|orders| orders.storms = orders.storms.saturating_add(1));
                    storm = self.options.faults.storm.map(|every| after(Instant::now(), every));
                }
                _ = look.tick() => {
                    ticker.show(&self.tally);
                    let all = self.tally.connected_now() >= u64::from(self.options.devices);
                    if self.talking_from.is_none() && (all || Instant::now() >= assembled_by) {
                        let now = Instant::now();
                        self.talking_from = Some(now);
                        if !self.options.quiet {
                            ticker.finish();
                            println!("ready, {} devices connected", self.tally.connected_now());
                        }
                        self.orders.send_modify(|orders| orders.talk_from = Some(now));
                        // A moment more than asked, for what is due in the last one.
                        let moment = Duration::from_millis(20);
                        ends = self.options.duration.map(|length| after(after(now, length), moment));
                        storm = self.options.faults.storm.map(|every| after(now, every));
                    }
                }
                // No device ends before it is told to; a task that does has panicked.
                Some(ended) = lives.join_next() => {
                    if let Err(error) = ended {
                        eprintln!("rs1-fleet: a device ended: {error}");
                    }
                    if lives.is_empty() {
                        break;
                    }
                }
            }
        }
        ticker.finish();
    }

    fn tell_the_end(&self, talked: Duration) -> anyhow::Result<ExitCode> {
        let Run { devices, seed, .. } = self.options;
        let (lived, totals) = (self.began.elapsed(), self.tally.totals());
        let report = Report::new(devices, seed.seed, lived, talked, totals, self.roster.entries());
        print!("{}", report.table());
        std::io::stdout().flush()?;
        if let Some(file) = &self.options.report {
            let json = serde_json::to_string_pretty(&report)?;
            std::fs::write(file, format!("{json}\n"))
                .with_context(|| format!("--report {}", file.display()))?;
        }
        if report.never_connected > 0 {
            eprintln!("rs1-fleet: {} of {devices} devices were never connected", report.never_connected);
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The live line: on a terminal it is rewritten every second; elsewhere a new one is printed every
/// five seconds, unless nothing has happened.
struct Ticker {
    devices: u32,
    quiet: bool,
    terminal: bool,
    shown_at: Instant,
    shown: Totals,
}

impl Ticker {
    fn new(options: &Run) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let shown = Totals::default();
        Self { devices: options.devices, quiet: options.quiet, terminal, shown_at: Instant::now(), shown }
    }

    fn show(&mut self, tally: &Tally) {
        let every = Duration::from_secs(if self.terminal { 1 } else { 5 });
        let since = self.shown_at.elapsed();
        if self.quiet || since < every {
            return;
        }
        let totals = tally.totals();
        if totals == self.shown && !self.terminal {
            return;
        }
        let more = totals.telemetry.saturating_sub(self.shown.telemetry);
        let text = line(self.devices, &totals, more as f64 / since.as_secs_f64());
        if self.terminal {
            print!("\r\u{1b}[2K{text}");
            let _ = std::io::stdout().flush();
        } else {
            println!("{text}");
        }
        (self.shown_at, self.shown) = (Instant::now(), totals);
    }

    fn finish(&self) {
        if self.terminal && !self.quiet {
            println!();
        }
    }
}
