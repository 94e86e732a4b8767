//! `connectors.s3` and `actions.s3` in aggregated mode (`emqx_s3_schema`, `emqx_bridge_s3_upload`,
//! `emqx_connector_aggregator_schema`).

use std::time::Duration;

use super::actions::{Named, connector_of, resuming};
use super::elsewhere::TLS_KEYS;
use super::reader::{Findings, Section};
use crate::hocon::Position;
use crate::http::{Origins, Target, Url};
use crate::s3::Credentials;
use crate::template::Template;

/// Where objects are written.
#[derive(Debug, Clone)]
pub struct S3Connector {
    /// Where it leads.
    pub target: Target,
    /// Who asks.
    pub credentials: Credentials,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub request_timeout: Duration,
    /// How many connections there are.
    pub pool_size: usize,
    /// How often it is asked whether it works.
    pub health_check_interval: Duration,
}

/// What a rule has collected into objects.
#[derive(Debug, Clone)]
pub struct S3Action {
    /// The name of its connector.
    pub connector: String,
    /// The bucket.
    pub bucket: String,
    /// The objects' keys.
    pub key: Template<KeyPart>,
    /// How long records are collected for an object, in seconds.
    pub interval: u64,
    /// The most records of an object.
    pub max_records: u64,
    /// An object that is larger goes in parts of at least this size, in bytes.
    pub min_part_size: usize,
    /// The most bytes of a part, or of an object that goes whole.
    pub max_part_size: usize,
    /// The most records that are written at once.
    pub batch_size: usize,
    /// How long a worker waits for a batch to fill.
    pub batch_time: Duration,
    /// How many workers there are, each with a buffer of its own.
    pub worker_pool_size: usize,
    /// How long a record may wait for the connector.
    pub request_ttl: Duration,
    /// How long a worker waits before it tries again what failed.
    pub resume_interval: Duration,
    /// The most that a worker keeps, in bytes.
    pub max_buffer_bytes: u64,
    /// How often it is looked after: what is due is uploaded then.
    pub health_check_interval: Duration,
}

/// What a placeholder in an object's key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPart {
    /// `${action}`.
    Action,
    /// `${node}`.
    Node,
    /// `${sequence}`.
    Sequence,
    /// `${datetime.…}`: the beginning of the interval.
    Since(TimeFormat),
    /// `${datetime_until.…}`: its end.
    Until(TimeFormat),
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// `rfc3339utc`.
    Rfc3339Utc,
    /// `unix`: seconds.
    Unix,
}

const CONNECTIONS: &str = "connections are opened when they are needed";
/// Bounds of a part (`emqx_s3_schema:part_size_validator/1`).
const PART_SIZES: std::ops::RangeInclusive<u64> = (5 << 20)..=(5 << 30);

/// Reads one of `connectors.s3`; `None` if it is switched off, or wrong.
pub fn connector(
    mut section: Section<'_>,
    origins: &Origins,
    findings: &mut Findings,
) -> Option<S3Connector> {
    let at = section.at().clone();
    let enabled = section.flag("enable", true, findings);
    section.text("description", findings);
    let host = section.required_text("host", findings);
    let port = section.number("port", 0, 1, findings);
    if port == 0 {
        findings.fault(&at, format!("{} is missing", section.path_of("port")));
    }
    section.choice("access_method", &[("path", ())], (), findings);
    // Without them EMQX asks the machine that it runs on, which is one of Amazon's then.
    let id = section.required_text("access_key_id", findings);
    let secret = section.required_text("secret_access_key", findings);
    let mut connect_timeout = Duration::from_secs(15);
    let mut request_timeout = Duration::from_secs(30);
    let mut pool_size = 8;
    let mut tls = true;
    if let Some(mut transport) = section.section("transport_options", findings) {
        connect_timeout = transport.duration("connect_timeout", connect_timeout, findings);
        request_timeout = transport.duration("request_timeout", request_timeout, findings);
        pool_size = transport.number("pool_size", pool_size, 1, findings);
        transport.ignore("pool_type", CONNECTIONS, &[], findings);
        transport.ignore("ipv6_probe", CONNECTIONS, &[], findings);
        if let Some(mut ssl) = transport.section("ssl", findings) {
            tls = ssl.flag("enable", true, findings);
            for key in TLS_KEYS {
                ssl.ignore(key, "no TLS is spoken on this machine", &[], findings);
            }
            ssl.finish(findings);
        }
        transport.finish(findings);
    }
    let mut health_check_interval = Duration::from_secs(15);
    if let Some(mut options) = section.section("resource_opts", findings) {
        health_check_interval = interval(&mut options, findings);
        options.ignore("start_after_created", CONNECTIONS, &[], findings);
        options.ignore("start_timeout", CONNECTIONS, &[], findings);
        options.finish(findings);
    }
    section.finish(findings);
    let target = target(&host?, port, tls, &at, origins, findings)?;
    let credentials = Credentials { access_key_id: id?, secret_access_key: secret? };
    let pool_size = usize::try_from(pool_size).unwrap_or(usize::MAX);
    enabled.then_some(S3Connector {
        target,
        credentials,
        connect_timeout,
        request_timeout,
        pool_size,
        health_check_interval,
    })
}

/// Where the host is on this machine. EMQX names the host without its port in the header that it signs.
fn target(
    host: &str,
    port: u32,
    tls: bool,
    at: &Position,
    origins: &Origins,
    findings: &mut Findings,
) -> Option<Target> {
    let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
    let authority = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
    let url = Url::parse(&format!("{scheme}://{authority}")).filter(|url| url.path.is_empty());
    let Some(url) = url.filter(|_| !host.contains(':')) else {
        findings.fault(at, format!("{host} is not the name of a host"));
        return None;
    };
    let Some(target) = origins.target(&url) else {
        findings.fault(at, format!("no --origin says where {} is on this machine", url.origin));
        return None;
    };
    let named = if target.host == url.authority { host.to_ascii_lowercase() } else { target.host };
    Some(Target { address: target.address, host: named })
}

/// Reads one of `actions.s3`; `None` if it is switched off, or wrong.
pub fn action(
    mut section: Section<'_>,
    connectors: &Named<S3Connector>,
    findings: &mut Findings,
) -> Option<S3Action> {
    let at = section.at().clone();
    let enabled = section.flag("enable", true, findings);
    section.text("description", findings);
    let connector = connector_of(&mut section, connectors, findings);
    let options = section.section("resource_opts", findings);
    let Some(mut parameters) = section.section("parameters", findings) else {
        findings.fault(&at, format!("{} are missing", section.path_of("parameters")));
        return None;
    };
    section.finish(findings);
    parameters.choice("mode", &[("aggregated", ())], (), findings);
    let bucket = parameters.required_text("bucket", findings);
    let key = parameters.required_text("key", findings).and_then(|text| match key(&text) {
        Ok(key) => Some(key),
        Err(why) => {
            findings.fault(&at, format!("{}: {why}", parameters.path_of("key")));
            None
        }
    });
    match parameters.section("container", findings) {
        Some(mut container) => {
            container.choice("type", &[("json_lines", ())], (), findings);
            container.finish(findings);
        }
        None => findings.fault(&at, "container.type is csv unless set, and only json_lines is played here"),
    }
    let (mut interval, mut max_records) = (Duration::from_mins(30), 100_000);
    if let Some(mut aggregation) = parameters.section("aggregation", findings) {
        interval = aggregation.duration("time_interval", interval, findings);
        max_records = aggregation.number("max_records", max_records, 1, findings);
        aggregation.finish(findings);
    }
    let min_part_size = parameters.bytes("min_part_size", *PART_SIZES.start(), findings);
    let max_part_size = parameters.bytes("max_part_size", *PART_SIZES.end(), findings);
    parameters.finish(findings);
    if !PART_SIZES.contains(&min_part_size) || !PART_SIZES.contains(&max_part_size) {
        findings.fault(&at, "min_part_size and max_part_size must be at least 5MB and at most 5GB");
    } else if min_part_size > max_part_size {
        findings.fault(&at, "min_part_size cannot exceed max_part_size");
    }
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut action = S3Action {
        connector: connector?,
        bucket: bucket?,
        key: key?,
        // Whole seconds, and any part of one counts (`emqx_schema:duration_s/0`).
        interval: interval.as_secs().saturating_add(u64::from(interval.subsec_nanos() > 0)).max(1),
        max_records: u64::from(max_records),
        min_part_size: size(min_part_size),
        max_part_size: size(max_part_size),
        batch_size: 100,
        batch_time: Duration::from_millis(10),
        worker_pool_size: 16,
        request_ttl: Duration::from_secs(45),
        resume_interval: Duration::ZERO,
        max_buffer_bytes: 256 << 20,
        health_check_interval: Duration::from_secs(15),
    };
    let mut resume_interval = None;
    if let Some(mut options) = options {
        let mut count = |name, default: u32| {
            usize::try_from(options.number(name, default, 1, findings)).unwrap_or(usize::MAX)
        };
        action.batch_size = count("batch_size", 100);
        action.worker_pool_size = count("worker_pool_size", 16);
        // Records are written to disk at once: a worker has never more than one batch under way, whatever the two say.
        count("inflight_window", 100);
        options.choice("query_mode", &[("async", ()), ("sync", ())], (), findings);
        action.batch_time = options.duration("batch_time", action.batch_time, findings);
        action.request_ttl = options.duration_or_infinity("request_ttl", action.request_ttl, findings);
        action.max_buffer_bytes = options.bytes("max_buffer_bytes", action.max_buffer_bytes, findings);
        action.health_check_interval = self::interval(&mut options, findings);
        let resume = options.duration("resume_interval", Duration::ZERO, findings);
        resume_interval = Some(resume).filter(|set| !set.is_zero());
        options.finish(findings);
    }
    action.resume_interval = resuming(resume_interval, action.health_check_interval, action.request_ttl);
    enabled.then_some(action)
}

/// Reads `health_check_interval`.
fn interval(options: &mut Section<'_>, findings: &mut Findings) -> Duration {
    options.duration("health_check_interval", Duration::from_secs(15), findings).max(Duration::from_millis(1))
}

/// Reads an object's key. What of action, node, time and sequence is not in it is put behind it, so that no two objects of a
/// cluster have the same (`emqx_bridge_s3_upload:mk_key_template/1`, `validate_key_template/1`).
fn key(text: &str) -> Result<Template<KeyPart>, String> {
    const REQUIRED: [(&str, &str); 4] = [
        ("${action", "${action}"),
        ("${node", "${node}"),
        ("${datetime.", "${datetime.rfc3339utc}"),
        ("${sequence", "${sequence}"),
    ];
    let missing = REQUIRED.iter().filter(|(begin, _)| !text.contains(begin));
    let whole = missing.fold(text.to_owned(), |key, (_, part)| format!("{key}/{part}"));
    let key = Template::parse(&whole, key_part);
    match key.text_of("${") {
        Some(unknown) => {
            let name = unknown.split_inclusive('}').next().unwrap_or(unknown);
            Err(format!("the placeholder {name} is not played here"))
        }
        None => Ok(key),
    }
}

fn key_part(name: &str) -> Option<KeyPart> {
    match name.split_once('.') {
        None => match name {
            "action" => Some(KeyPart::Action),
            "node" => Some(KeyPart::Node),
            "sequence" => Some(KeyPart::Sequence),
            _ => None,
        },
        Some(("datetime", format)) => time_format(format).map(KeyPart::Since),
        Some(("datetime_until", format)) => time_format(format).map(KeyPart::Until),
        Some(_) => None,
    }
}

/// `rfc3339`, in the node's own time zone, is not among them.
fn time_format(name: &str) -> Option<TimeFormat> {
    match name {
        "rfc3339utc" => Some(TimeFormat::Rfc3339Utc),
        "unix" => Some(TimeFormat::Unix),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_key_is_put_behind_it() {
        for (text, whole) in [
            ("x", "x/${action}/${node}/${datetime.rfc3339utc}/${sequence}"),
            ("${sequence}-${node}", "${sequence}-${node}/${action}/${datetime.rfc3339utc}"),
            ("${action}${node}${datetime.unix}${sequence}", "${action}${node}${datetime.unix}${sequence}"),
            (
                "${datetime_until.unix}",
                "${datetime_until.unix}/${action}/${node}/${datetime.rfc3339utc}/${sequence}",
            ),
        ] {
            assert_eq!(key(text), Ok(Template::parse(whole, key_part)), "{text}");
        }
        for text in ["${clientid}", "${datetime}", "${datetime.iso}", "${sequence.x}"] {
            assert!(key(text).is_err(), "{text}");
        }
    }
}
