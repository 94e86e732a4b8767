//! The command line.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rs1_domain::{DeviceId, FirmwareVersion, MacAddress, Sku, hex};

use crate::device::{Identity, identity};
use crate::enrol::{Enrolled, Registrar};
use crate::faults::Faults;
use crate::http::Origin;
use crate::link::{Broker, Version};
use crate::ota::image::PublicKey;
use crate::ota::{Fate, OtaFaults, Settings, Trust};

/// Simulated RS-1 presence sensors: real MQTT, real HTTP, the cloud's own contract types.
///
/// A device enrols with the API as the factory would, connects to the broker with this hour's
/// password, publishes its retained state, sends telemetry, answers the cloud, and says goodbye.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a fleet of devices until Ctrl-C, or for --duration
    ///
    /// Devices follow from --seed alone: the same seed is the same fleet, enrolled once and for all.
    /// A line tells the counts as they grow, a table ends the run.
    ///
    /// Exit status: 0 all devices were connected, 1 some never were or the API refused, 2 wrong usage.
    Run(Run),
    /// Connects one device, and prints what it does and hears
    ///
    /// Exit status: 0 it was connected, 1 it never was, 2 wrong usage.
    Device(Device),
    /// Enrols the devices of a fleet, and connects none
    Enrol(Enrol),
    /// Lists the devices of a fleet, and how each will misbehave: a JSON object a line
    List(List),
}

/// Where the API is, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "API")]
pub struct Api {
    /// Where the API is: plain HTTP, `*.localhost` is this machine
    #[arg(long = "api", value_name = "URL", default_value = "http://127.0.0.1:8787", value_parser = Origin::parse)]
    pub origin: Origin,

    /// The virtual host of the API, sent as the Host header
    #[arg(long, value_name = "NAME", default_value = "api.localhost")]
    pub host: String,

    /// An operator's token, for enrolling [default: `RS1_TOKEN` of the environment]
    #[arg(long)]
    pub token: Option<String>,

    /// A file that holds the token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// A shell command that prints the token; it is run when a token is needed
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["token", "token_file"])]
    pub token_command: Option<String>,
}

impl Api {
    /// Enrols devices.
    ///
    /// # Errors
    /// When there is no token, or the API does not answer, or refuses.
    pub async fn enrol(&self, devices: &[Identity]) -> anyhow::Result<Enrolled> {
        let registrar = Registrar {
            origin: self.origin.clone(),
            host: self.host.clone(),
            token: self.read_token().await?,
        };
        registrar.enrol(devices).await
    }

    async fn read_token(&self) -> anyhow::Result<String> {
        let text = if let Some(token) = &self.token {
            token.clone()
        } else if let Some(file) = &self.token_file {
            std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?
        } else if let Some(command) = &self.token_command {
            let mut shell = tokio::process::Command::new("sh");
            let shell = shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
            let output = shell.output().await.context("--token-command")?;
            ensure!(output.status.success(), "--token-command: {}", output.status);
            String::from_utf8(output.stdout).context("--token-command: what it prints is not text")?
        } else if let Ok(token) = std::env::var("RS1_TOKEN") {
            // Read here and not as the option's default: it must not clash with the other options.
            token
        } else {
            bail!("enrolling needs an operator's token: --token, --token-file, --token-command or RS1_TOKEN");
        };
        let token = text.trim();
        ensure!(
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token is not one"
        );
        Ok(token.to_owned())
    }
}

/// A number from which all else follows.
#[derive(Clone, Copy, Debug, Args)]
pub struct Seed {
    /// What addresses, secrets and dice follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// How devices update their firmware.
#[derive(Debug, Args)]
#[command(next_help_heading = "Updates")]
pub struct Ota {
    /// The version that devices run at first
    #[arg(long, value_name = "VERSION", default_value = "1.2.0", value_parser = firmware)]
    pub firmware: FirmwareVersion,

    /// A key whose signature devices believe, x and then y; may be repeated [default: any key, as a
    /// development board does]
    #[arg(long = "ota-key", value_name = "HEX", value_parser = PublicKey::parse)]
    pub keys: Vec<PublicKey>,

    /// Devices that misbehave: NAME=SHARE% or NAME=COUNT, with commas between
    ///
    /// How an update ends: refuse (says that it will never take the image), fail-download, fail-hash,
    /// fail-signature, fail-install, rollback (the new image does not come up), silent (does nothing),
    /// stuck (nothing after its first reports), loop (downloads again and again), power-cut (forgets the
    /// trigger in the middle of the download). How it is reported: mute, twice, late, shuffle (each two
    /// reports the wrong way round), stray (also about another rollout), replay (all of them again later, in
    /// any order). And cuts (downloads are cut at
    /// random places), weak (too weak a signal at first), skew (the clock is off by up to ten minutes).
    #[arg(
        long = "ota-faults",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        value_parser = OtaFaults::parse
    )]
    pub misbehaviour: OtaFaults,

    /// How many times faster than in the field the waits of an update pass: 1, 5 and 30 minutes after a
    /// failed download, 8 seconds for a boot
    #[arg(long = "ota-speed", value_name = "TIMES", default_value_t = 1.0, value_parser = rate)]
    pub speed: f64,

    /// Download in ranges of so many bytes, the last of them one byte too long, as `esp_https_ota` does
    /// [default: all the rest in one]
    #[arg(long = "ota-range", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub request: Option<u64>,
}

impl Ota {
    /// What all devices have in common.
    pub fn settings(&self, local: &Origin) -> Arc<Settings> {
        let trust = if self.keys.is_empty() { Trust::Anyone } else { Trust::Keys(self.keys.clone()) };
        Arc::new(Settings { local: local.clone(), trust, speed: self.speed, request: self.request })
    }

    /// What a single device does.
    pub fn fate(&self, seed: u64, device: &DeviceId) -> Fate {
        self.misbehaviour.fates(seed, &[device]).into_iter().next().unwrap_or_default()
    }
}

/// `rs1-fleet run`.
#[derive(Debug, Args)]
pub struct Run {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,

    #[command(flatten)]
    pub seed: Seed,

    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = Broker::parse)]
    pub mqtt: Broker,

    /// Which MQTT the devices speak; `mixed` is half and half
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = MqttVersion::V4)]
    pub mqtt_version: MqttVersion,

    /// Connect without enrolling first: the fleet is known already
    #[arg(long)]
    pub no_enrol: bool,

    /// Seconds between two telemetry messages of a device, the first as soon as it is connected
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub interval: Duration,

    /// Telemetry messages a second of all devices together, evenly spread, once all are connected
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "interval", value_parser = rate)]
    pub rate: Option<f64>,

    /// End this many seconds after all devices are connected; with --rate, that many seconds' worth of
    /// messages is sent, not one less or more
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// Spread the first connections over this many seconds [default: one second for 100 devices]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub stagger: Option<Duration>,

    /// What may go wrong: drop=SHARE,duplicate=SHARE,reorder=SHARE,skew=SECONDS,storm=SECONDS
    ///
    /// drop: the share of telemetry messages in whose place the TCP connection is cut without a
    /// DISCONNECT. duplicate: the share published twice; the broker gives each copy an id of its own, so
    /// both are counted as sent. reorder: the share sent after the message that follows. skew: clocks are
    /// off by up to so many seconds either way; times in payloads show it, passwords do not, since a
    /// device whose clock is hours off cannot log in before SNTP has set it. storm: every so many seconds
    /// all devices lose their connection at once, and connect again within five.
    #[arg(long, value_name = "NAME=VALUE,...", default_value = "", hide_default_value = true, value_parser = Faults::parse)]
    pub faults: Faults,

    /// Owners consent to log lines: telemetry carries them
    #[arg(long)]
    pub logs: bool,

    /// Only devices of this variant [default: two of three are `rs1_pro`]
    #[arg(long, value_name = "SKU", value_parser = sku)]
    pub sku: Option<Sku>,

    #[command(flatten)]
    pub ota: Ota,

    /// Write the final counts there as JSON, and what became of each device
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print the final table only
    #[arg(long)]
    pub quiet: bool,

    #[command(flatten)]
    pub api: Api,
}

/// `rs1-fleet device`.
#[derive(Debug, Args)]
pub struct Device {
    /// Its MAC address, like AA:BB:CC:DD:EE:01
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac: MacAddress,

    /// Its secret, 64 hex digits [default: follows from the seed and the MAC]
    #[arg(long, value_name = "HEX", env = "RS1_DEVICE_SECRET", hide_env_values = true, value_parser = secret)]
    pub secret: Option<SecretBytes>,

    #[command(flatten)]
    pub seed: Seed,

    /// Its variant
    #[arg(long, value_name = "SKU", default_value = "rs1_pro", value_parser = sku)]
    pub sku: Sku,

    /// Enrol it first; harmless when it is enrolled with the same secret
    #[arg(long)]
    pub enroll: bool,

    /// The broker
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = Broker::parse)]
    pub mqtt: Broker,

    /// Which MQTT it speaks
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = MqttVersion::V4)]
    pub mqtt_version: MqttVersion,

    /// Seconds between two telemetry messages, the first as soon as it is connected
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub interval: Duration,

    /// Say goodbye after the first telemetry message, or after the first failure to connect
    #[arg(long)]
    pub once: bool,

    /// What may go wrong; see `rs1-fleet run --help`
    #[arg(long, value_name = "NAME=VALUE,...", default_value = "", hide_default_value = true, value_parser = Faults::parse)]
    pub faults: Faults,

    /// Its owner consents to log lines: telemetry carries them
    #[arg(long)]
    pub logs: bool,

    #[command(flatten)]
    pub ota: Ota,

    #[command(flatten)]
    pub api: Api,
}

impl Device {
    /// The device that is meant.
    pub fn identity(&self) -> Option<Identity> {
        let secret = self.secret.as_ref().map_or_else(|| identity::secret(self.seed.seed, self.mac), |s| s.0);
        Identity::new(self.mac, &secret, self.sku)
    }
}

/// `rs1-fleet enrol`.
#[derive(Debug, Args)]
pub struct Enrol {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,

    /// Only devices of this variant [default: two of three are `rs1_pro`]
    #[arg(long, value_name = "SKU", value_parser = sku)]
    pub sku: Option<Sku>,

    #[command(flatten)]
    pub seed: Seed,

    #[command(flatten)]
    pub api: Api,
}

/// `rs1-fleet list`.
#[derive(Debug, Args)]
pub struct List {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,

    /// Only devices of this variant [default: two of three are `rs1_pro`]
    #[arg(long, value_name = "SKU", value_parser = sku)]
    pub sku: Option<Sku>,

    #[command(flatten)]
    pub seed: Seed,

    /// Devices that misbehave; see `rs1-fleet run --help`
    #[arg(
        long = "ota-faults",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        value_parser = OtaFaults::parse
    )]
    pub misbehaviour: OtaFaults,
}

/// `--mqtt-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    /// MQTT 3.1.1
    #[value(name = "4", alias = "3.1.1")]
    V4,
    /// MQTT 5.0
    #[value(name = "5", alias = "5.0")]
    V5,
    /// Every other device speaks 5.0
    Mixed,
}

impl MqttVersion {
    /// What device `index` speaks.
    pub fn of(self, index: u32) -> Version {
        match self {
            Self::V4 => Version::V4,
            Self::Mixed if index.is_multiple_of(2) => Version::V4,
            Self::V5 | Self::Mixed => Version::V5,
        }
    }
}

/// A device secret, which does not print.
#[derive(Clone)]
pub struct SecretBytes([u8; 32]);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "wants a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    number.ok_or_else(|| "wants a number of messages a second, more than 0".to_owned())
}

fn mac(text: &str) -> Result<MacAddress, String> {
    MacAddress::parse(text).ok_or_else(|| "wants a MAC address, like AA:BB:CC:DD:EE:01".to_owned())
}

fn secret(text: &str) -> Result<SecretBytes, String> {
    hex::decode(text).map(SecretBytes).ok_or_else(|| "wants 64 hex digits".to_owned())
}

fn firmware(text: &str) -> Result<FirmwareVersion, String> {
    FirmwareVersion::parse(text).ok_or_else(|| FirmwareVersion::EXPECTED.to_owned())
}

fn sku(text: &str) -> Result<Sku, String> {
    Sku::parse(text).ok_or_else(|| Sku::EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "run --devices 0",
            "run --rate 0",
            "run --rate 5 --interval 3",
            "run --faults flood=1",
            "run --mqtt nowhere",
            "run --token a --token-file b",
            "run --sku rs1_max",
            "run --firmware latest",
            "run --ota-faults explode",
            "run --ota-speed 0",
            "run --ota-range 0",
            "run --ota-key 00",
            "device",
            "device --mac AA:BB",
            "device --mac AA:BB:CC:DD:EE:01 --secret 00",
        ] {
            let words = std::iter::once("rs1-fleet").chain(wrong.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_may_be_given_and_does_not_print() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let words = ["rs1-fleet", "device", "--mac", "AA:BB:CC:DD:EE:01", "--secret", hex];
        let Command::Device(device) = Cli::try_parse_from(words).unwrap().command else { panic!("a device") };
        assert_eq!(
            device.identity().unwrap().secret_hash,
            "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
        assert!(!format!("{device:?}").contains("0a0b0c"));
    }
}
