//! `rs1-fleet device`: one device, and a line for everything it does and hears.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cli::Device;
use crate::clock;
use crate::device::Hardware;
use crate::fleet::dice;
use crate::interrupt::Interrupt;
use crate::life::{Begins, Happening, Life, Orders, Witness};
use crate::ota::{Update, Updater};
use crate::schedule::Cadence;

/// Lives one device's life in the open.
///
/// # Errors
/// When the API refuses to enrol it.
pub async fn run(options: Device) -> anyhow::Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let identity = options.identity().context("no identity can be made from that secret")?;
    let (version, broker) = (options.mqtt_version.of(0), options.mqtt.clone());
    say(&format!("{} {} is device {}", identity.sku, identity.mac, identity.id));
    if options.enroll {
        let enrolled = options.api.enrol(std::slice::from_ref(&identity)).await?;
        say(if enrolled.new > 0 { "enrolled" } else { "enrolled before, with the same secret" });
    }
    // Two devices of the same seed must not measure the same.
    let number = identity.id.as_str().get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let mut random = dice(options.seed.seed, number.unwrap_or(0));
    let fate = options.ota.fate(options.seed.seed, &identity.id);
    let skew = options.faults.skew_of(&mut random).saturating_add(fate.skew(&mut random));
    let mut cadence = Cadence::every(options.interval);
    if options.once {
        cadence = cadence.at_most(1);
    }
    let (orders, listening) = watch::channel(Orders::default());
    let told = Arc::new(Teller::default());
    let life = Life {
        hardware: Hardware::new(
            identity.id.clone(),
            identity.sku,
            options.ota.firmware.clone(),
            random.fork(),
            skew,
            options.logs,
            clock::now(),
        ),
        identity,
        starts_at: Instant::now(),
        cadence,
        begins: Begins::Connected,
        leaves_when_done: options.once,
        faults: options.faults,
        updater: Updater::new(
            options.ota.settings(&options.api.origin),
            fate,
            random.fork(),
            Arc::clone(&told) as Arc<dyn Witness>,
        ),
        random,
        orders: listening,
        witness: Arc::clone(&told) as Arc<dyn Witness>,
        version,
        broker: broker.clone(),
    };
    say(&format!("broker {}:{}, MQTT {}", broker.host, broker.port, version.name()));
    let mut living = tokio::spawn(life.live());
    let mut storm = options
        .faults
        .storm
        .map(|every| tokio::time::interval_at(crate::life::after(Instant::now(), every), every));
    loop {
        tokio::select! {
            ended = &mut living => {
                ended.context("the device ended")?;
                break;
            }
            () = interrupt.came() => {
                // Pressed again: it does not wait for its goodbye.
                if orders.borrow().stop {
                    break;
                }
                orders.send_modify(|orders| orders.stop = true);
            }
            () = told.failed(), if options.once => orders.send_modify(|orders| orders.stop = true),
            () = tick(&mut storm) => {
                orders.send_modify(|orders| orders.storms = orders.storms.saturating_add(1));
            }
        }
    }
    Ok(if told.connected.load(Relaxed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tick(every: &mut Option<tokio::time::Interval>) {
    match every {
        Some(every) => {
            every.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Prints what it sees.
#[derive(Default)]
struct Teller {
    connected: AtomicBool,
    failed: tokio::sync::Notify,
}

impl Teller {
    /// Resolves when the device did not get a connection.
    async fn failed(&self) {
        self.failed.notified().await;
    }
}

impl Witness for Teller {
    fn saw(&self, happening: &Happening<'_>) {
        match happening {
            Happening::Connecting => say("CONNECT"),
            Happening::Connected { took, session_present, .. } => {
                self.connected.store(true, Relaxed);
                let session = if *session_present { "an earlier session goes on" } else { "a new session" };
                say(&format!("CONNACK after {}: {session}", millis(*took)));
            }
            Happening::Refused { reason } => {
                say(&format!("CONNACK refused: {reason}"));
                self.failed.notify_one();
            }
            Happening::Lost { reason, was_connected } => {
                say(&format!(
                    "{}: {reason}",
                    if *was_connected { "connection lost" } else { "no connection" }
                ));
                if !was_connected {
                    self.failed.notify_one();
                }
            }
            Happening::Subscribed { granted, refused } => {
                say(&format!("SUBACK {}", granted.join(" ")));
                if !refused.is_empty() {
                    say(&format!("SUBACK refused: {}", refused.join(" ")));
                }
            }
            Happening::Sent { message, copy } => say(&format!(
                "PUBLISH {} QoS {}{}{} {}",
                message.topic,
                u8::from(message.acknowledged),
                if message.retained { " retained" } else { "" },
                if *copy { " second copy" } else { "" },
                String::from_utf8_lossy(&message.payload),
            )),
            Happening::Acknowledged { took, refused: None } => {
                say(&format!("PUBACK after {}", millis(*took)));
            }
            Happening::Acknowledged { took, refused: Some(reason) } => {
                say(&format!("PUBACK after {}, refused: {reason}", millis(*took)));
            }
            Happening::Received { topic, payload } => {
                say(&format!("heard {topic} {}", String::from_utf8_lossy(payload)));
            }
            Happening::Fault(what) => say(&format!("fault {what}")),
            Happening::InDoubt(messages) => {
                say(&format!("{messages} telemetry messages may not have arrived"));
            }
            Happening::Missed(messages) => say(&format!("{messages} telemetry messages were missed")),
            Happening::Waiting(pause) => say(&format!("connects again in {:.1} s", pause.as_secs_f64())),
            Happening::Left => say("DISCONNECT"),
            Happening::Update(update) => tell(update),
            Happening::Confirmed(_) | Happening::Disconnected => {}
        }
    }
}

fn tell(update: &Update<'_>) {
    match update {
        // Each is told by what the device says or hears; and a line for every four kilobytes is none to read.
        Update::Heard | Update::Reported { .. } | Update::Came(_) => {}
        Update::Begins(manifest) => say(&format!("update to {} begins: {}", manifest.version, manifest.url)),
        Update::Ignored(why) => say(&format!("trigger ignored: {why}")),
        Update::Refused(why) => say(&format!("trigger refused: {why}")),
        Update::Deferred => say("trigger put off: the signal is too weak"),
        Update::Downloading(from) => say(&format!("download from byte {from}")),
        Update::Cut { why, at, again } => {
            say(&format!("download broke off at byte {at}: {why}; {again} bytes will come again"));
        }
        Update::Restarted => say("download begins again"),
        Update::Breach(what) => say(&format!("not as the contract says: {what}")),
        Update::Waits(pause) => say(&format!("next attempt in {:.1} s", pause.as_secs_f64())),
        Update::Downloaded(took) => say(&format!("image complete after {}", millis(*took))),
        Update::Installed => say("image installed"),
        Update::Failed(error) => say(&format!("update failed: {error}")),
        Update::Booted(boot) => match &boot.image {
            Some((version, _)) => say(&format!("restart into {version}")),
            None => say(&format!("restart into the image that ran before: {}", boot.reason)),
        },
    }
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

/// One line, with the time of day. Whoever reads us may be gone; that is no reason to panic.
fn say(text: &str) {
    use std::io::Write as _;
    let now = clock::now().to_rfc3339();
    let time = now.get(11..19).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{time} {text}");
}
