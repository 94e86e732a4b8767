//! The `rs1-broker` command: reads its options, starts the broker, says when it is ready, and ends on
//! SIGTERM or SIGINT.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use log::LevelFilter;
use rs1_broker::api::Credentials;
use rs1_broker::config::Config;
use rs1_broker::hocon::Includes;
use rs1_broker::http::Origins;
use rs1_broker::{Options, Reader, Settings, logging};
use tokio::signal::unix::{SignalKind, signal};

/// The file that holds the webhook secret in production, beside emqx.conf.
const SECRET_FILE: &str = "webhook-secret.hocon";

/// Files that may be open at once, as far as the system allows: each device's connection is one. EMQX is configured for
/// 100,000 connections.
const OPEN_FILES: u64 = 101_000;

/// The file of API keys, `api_key.bootstrap_file` in production: a line `key:secret` each, with or without `:role`.
const KEYS_FILE: &str = "api-keys";

/// Plays the production EMQX on this machine, from the production configuration.
///
/// Prints one line on stdout when both ports answer:
///
///     ready mqtt://127.0.0.1:1883 http://127.0.0.1:18083
///
/// Logs go to stderr, one line each. SIGTERM and SIGINT end it; what has not been delivered to the
/// backend by then is lost, as it is when an EMQX node stops, but for what is collected in --data.
///
/// Example:
///
///     WEBHOOK_SECRET=… rs1-broker --config emqx/emqx.conf \
///       --origin https://api.optic.works=http://127.0.0.1:8787 --host api.optic.works=api.localhost \
///       --api-key local --api-secret local
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// The production configuration of EMQX.
    #[arg(long, value_name = "FILE", default_value = "emqx/emqx.conf")]
    config: PathBuf,

    /// Where devices connect; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,

    /// Where the management API listens; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18083")]
    api: SocketAddr,

    /// Where `webhook-secret.hocon` and `api-keys` are, which production has beside its configuration, and whatever else is
    /// included from there. They are read again on `POST /local/reload`.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["webhook_secret", "api_key"])]
    secrets: Option<PathBuf>,

    /// The API key that callers of the management API give.
    #[arg(long, value_name = "KEY", required_unless_present = "secrets", requires = "api_secret")]
    api_key: Option<String>,

    /// The secret of the API key.
    #[arg(long, value_name = "SECRET", env = "EMQX_API_SECRET", hide_env_values = true)]
    api_secret: Option<String>,

    /// Send what the configuration addresses to FROM to TO instead; may be given several times.
    #[arg(long = "origin", value_name = "FROM=TO")]
    origins: Vec<String>,

    /// Send the Host header TO where the configuration names the host FROM; may be given several times.
    #[arg(long = "host", value_name = "FROM=TO")]
    hosts: Vec<String>,

    /// The secret that goes with every webhook. It stands in for the file `webhook-secret.hocon` that
    /// the configuration includes; without it, that file must be there.
    #[arg(long, value_name = "SECRET", env = "WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,

    /// What outlives the broker is kept here: `node.data_dir`. An action of type `s3` has its records there.
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,

    /// How much to log: error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.log);
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rs1-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Listened for from the start, so that an early signal is not missed.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    // Where that is not allowed, accepting says so.
    let _ = rlimit::increase_nofile_limit(OPEN_FILES);
    let (mqtt, api, data) = (arguments.mqtt, arguments.api, arguments.data.clone());
    let read = move || Ok(Settings { config: read_config(&arguments)?, keys: read_keys(&arguments)? });
    let running = rs1_broker::start(Options { reader: Reader::new(read), data, mqtt, api }).await?;
    println!("ready mqtt://{} http://{}", running.mqtt, running.api);
    tokio::select! {
        _ = terminated.recv() => log::info!("SIGTERM: ending"),
        _ = interrupted.recv() => log::info!("SIGINT: ending"),
    }
    Ok(())
}

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut origins = Origins::default();
    for option in &arguments.origins {
        origins.origin(option).map_err(anyhow::Error::msg).context("--origin")?;
    }
    for option in &arguments.hosts {
        origins.host(option).map_err(anyhow::Error::msg).context("--host")?;
    }
    let file = arguments.config.display().to_string();
    let text = read_file(&arguments.config)?;
    let mut includes = Includes::beside(arguments.config.parent().unwrap_or(Path::new(".")));
    if let Some(directory) = &arguments.secrets {
        includes = includes.then_in(directory).with(SECRET_FILE, read_file(&directory.join(SECRET_FILE))?);
    } else if let Some(secret) = &arguments.webhook_secret {
        includes = includes.with(SECRET_FILE, secret_file(secret)?);
    }
    Config::read(&file, &text, &includes, &origins).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the configuration cannot be played:\n{}", lines.join("\n"))
    })
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn read_keys(arguments: &Arguments) -> anyhow::Result<Vec<Credentials>> {
    let Some(directory) = &arguments.secrets else {
        let (key, secret) = (arguments.api_key.clone(), arguments.api_secret.clone());
        return Ok(key.zip(secret).map(|(key, secret)| Credentials { key, secret }).into_iter().collect());
    };
    let path = directory.join(KEYS_FILE);
    let lines = read_file(&path)?;
    let key = |line: &str| {
        let mut parts = line.splitn(3, ':').map(str::to_owned);
        Some(Credentials { key: parts.next()?, secret: parts.next()? })
    };
    // The line itself is a secret, and not told.
    lines
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| key(line.trim()).with_context(|| format!("{}: a line is no key:secret", path.display())))
        .collect()
}

/// What the secret's file holds in production, see `emqx/README.md`.
fn secret_file(secret: &str) -> anyhow::Result<String> {
    let plain = secret.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    anyhow::ensure!(
        plain && !secret.is_empty(),
        "the webhook secret must be printable ASCII, without quotes"
    );
    Ok(format!("connectors.http.optic.headers.x-webhook-secret = \"{secret}\"\n"))
}
