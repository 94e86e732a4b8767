use std::time::Duration;

use super::*;
use crate::http::Url;

const SECRET: &str = "connectors.http.optic.headers.x-webhook-secret = \"s3cr3t\"";

fn production() -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../emqx/emqx.conf");
    std::fs::read_to_string(file).unwrap()
}

fn origins() -> Origins {
    let mut origins = Origins::default();
    origins.origin("https://api.optic.works=http://127.0.0.1:8787").unwrap();
    origins
}

fn read(text: &str) -> Result<Config, Vec<Fault>> {
    let includes = Includes::default().with("webhook-secret.hocon", SECRET);
    Config::read("emqx/emqx.conf", text, &includes, &origins())
}

/// The faults of the production configuration with `more` behind it.
fn faults(more: &str) -> Vec<String> {
    let lines = production().lines().count();
    let text = format!("{}{more}", production());
    let faults = read(&text).err().unwrap_or_else(|| panic!("{more} is not refused"));
    // Lines are told from the beginning of what was added.
    let line = |fault: &Fault| fault.at.line.checked_sub(u32::try_from(lines).unwrap());
    faults.iter().map(|fault| format!("{}: {}", line(fault).unwrap_or_default(), fault.what)).collect()
}

#[test]
fn the_production_configuration_is_understood_whole() {
    let config = read(&production()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!((config.node.as_str(), config.listener.as_str()), ("emqx@127.0.0.1", "ssl:default"));
    assert_eq!(config.mqtt.max_packet_size, 128 * 1024);
    assert!(!config.authorization.allow_no_match, "a backend that fails must not open every topic");
    assert_eq!(config.authorization.deny_action, DenyAction::Ignore);
    let mut named: Vec<_> = config.rules.iter().flat_map(|rule| rule.actions.clone()).collect();
    named.sort();
    let all: Vec<_> = config.actions.keys().cloned().map(Target::Http).collect();
    assert_eq!(named, all, "a rule for each webhook");
    assert!(config.s3_connectors.is_empty() && config.s3_actions.is_empty());
    assert_eq!(config.rules.len(), production().matches("sql = ").count());
    for request in config.authentication.iter().chain(&config.authorization.sources) {
        assert_eq!(request.target.address, "127.0.0.1:8787");
        let secret = request.headers.iter().find(|(name, _)| name == "x-webhook-secret").unwrap();
        assert_eq!(secret.1.literal(), Some("s3cr3t"), "{}", request.path);
    }
    for (name, action) in &config.actions {
        assert_eq!(action.headers.get("x-webhook-secret").unwrap(), "s3cr3t", "{name}");
        assert_eq!(action.headers.get("content-type").unwrap(), "application/json", "{name}");
        assert_eq!(action.body, Body::Selected, "{name}");
        assert_eq!(action.resume_interval, Duration::from_secs(15), "{name}");
        assert!(
            action.request_ttl >= Duration::from_mins(15),
            "{name}: a release that is taken back loses nothing"
        );
    }
}

/// The account's part of `options/collected.hocon`.
const R2: &str = "connectors.s3.optic.host = \"a.r2.cloudflarestorage.com\"\n\
    connectors.s3.optic.access_key_id = \"k\"\n\
    connectors.s3.optic.secret_access_key = \"s\"\n\
    actions.s3.optic_collected.parameters.bucket = \"rs1-telemetry-archives\"\n";

/// `options/collected.hocon`.
fn collected() -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../emqx/options/collected.hocon");
    std::fs::read_to_string(file).unwrap()
}

fn read_collected(collected: &str, access: &str) -> Result<Config, Vec<Fault>> {
    let includes = Includes::default()
        .with("webhook-secret.hocon", SECRET)
        .with("collected.hocon", collected)
        .with("r2-access.hocon", access);
    let mut origins = origins();
    origins.origin("https://a.r2.cloudflarestorage.com=http://127.0.0.1:8791").unwrap();
    Config::read("emqx/emqx.conf", &production(), &includes, &origins)
}

#[test]
fn the_second_configuration_is_played_and_moves_telemetry_alone() {
    let config = read_collected(&collected(), R2).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let first = read(&production()).unwrap();
    let actions = |config: &Config, id: &str| {
        config.rules.iter().find(|rule| rule.id == id).map(|rule| rule.actions.clone())
    };
    assert_eq!(config.rules.len(), first.rules.len() + 1);
    assert_eq!(actions(&config, "rs1_collected"), Some(vec![Target::S3("optic_collected".to_owned())]));
    assert_eq!(actions(&config, "rs1_telemetry"), actions(&first, "rs1_telemetry"));

    let connector = &config.s3_connectors["optic"];
    assert_eq!(connector.target.address, "127.0.0.1:8791");
    assert_eq!(connector.target.host, "a.r2.cloudflarestorage.com", "without a port: so EMQX signs it");
    assert_eq!(connector.credentials.access_key_id, "k");
    assert_eq!((connector.pool_size, connector.health_check_interval.as_secs()), (4, 15));

    let action = &config.s3_actions["optic_collected"];
    assert_eq!(
        (action.bucket.as_str(), action.interval, action.max_records),
        ("rs1-telemetry-archives", 1800, 1_000_000)
    );
    // R2 refuses parts of different lengths, and EMQX cuts them where a record ends: no object may need any.
    let largest = usize::try_from(action.max_records).unwrap() * 1000;
    assert!(action.min_part_size >= largest, "{} bytes", action.min_part_size);
    // What waits for R2 is given up only when there is no room.
    assert!(action.request_ttl.as_secs() > 365 * 86_400);
    assert_eq!((action.batch_size, action.worker_pool_size, action.resume_interval.as_secs()), (100, 16, 15));
}

#[test]
fn the_accounts_part_has_the_last_word() {
    let access = format!(
        "{R2}actions.s3.optic_collected.parameters.aggregation.time_interval = 2s\n\
         actions.s3.optic_collected.resource_opts.health_check_interval = 250ms\n"
    );
    let config = read_collected(&collected(), &access).unwrap();
    let action = &config.s3_actions["optic_collected"];
    assert_eq!((action.interval, action.max_records), (2, 1_000_000));
    assert_eq!(action.health_check_interval.as_millis(), 250);
}

#[test]
fn what_is_not_played_of_the_second_configuration_is_refused() {
    for (from, to, expected) in [
        ("s3:optic_collected", "s3:other", "there is no action s3:other"),
        ("time_interval", "interval", "aggregation.interval is not understood"),
        ("mode = aggregated", "mode = direct", "expected aggregated"),
        ("json_lines", "csv", "expected json_lines"),
        ("access_method = path", "access_method = vhost", "expected path"),
        ("${action}", "${topic}", "the placeholder ${topic} is not played here"),
        ("${action}", "${datetime.rfc3339}", "the placeholder ${datetime.rfc3339} is not played here"),
        ("min_part_size = 1GB", "min_part_size = 1MB", "must be at least 5MB"),
        ("max_part_size = 5GB", "max_part_size = 5MB", "min_part_size cannot exceed max_part_size"),
        ("connector = optic", "connector = other", "there is no connector other"),
        ("pool_size = 4", "max_retries = 4", "max_retries is not understood"),
        ("port = 443", "", "connectors.s3.optic.port is missing"),
        ("port = 443", "port = 444", "no --origin says where https://a.r2.cloudflarestorage.com:444"),
        ("include required(\"r2-access.hocon\")", "", "connectors.s3.optic.host is missing"),
        ("request_ttl = infinity", "request_ttl = never", "expected a duration"),
    ] {
        let text = collected();
        assert!(text.contains(from), "{from}");
        let faults = read_collected(&text.replace(from, to), R2).unwrap_err();
        assert!(faults.iter().any(|fault| fault.what.contains(expected)), "{from} -> {to}: {faults:?}");
    }
}

#[test]
fn the_secret_is_not_in_the_file_and_has_to_come_from_elsewhere() {
    assert!(!production().contains("s3cr3t"));
    let faults = Config::read("emqx/emqx.conf", &production(), &Includes::default(), &origins()).unwrap_err();
    assert!(faults[0].what.contains("webhook-secret.hocon is not there"), "{faults:?}");
}

#[test]
fn what_ignores_means_nothing_here_is_told_apart_from_what_is_not_known() {
    let config = read(&production()).unwrap();
    let ignored: Vec<&str> = config.ignored.iter().map(|ignored| ignored.path.as_str()).collect();
    for path in ["listeners.ssl.default.ssl_options", "authentication.1.ssl", "retainer", "dashboard"] {
        assert!(ignored.contains(&path), "{path} in {ignored:?}");
    }
}

#[test]
fn a_setting_that_is_not_played_is_refused_with_its_line() {
    for (more, expected) in [
        ("colour = blue", "1: colour is not understood by this broker"),
        ("\nauthorization.no_mach = deny", "2: authorization.no_mach is not understood by this broker"),
        ("mqtt.max_packet_size = lots", "1: mqtt.max_packet_size is \"lots\", expected a size such as 1MB"),
        ("authorization.cache.ttl = soon", "1: authorization.cache.ttl is \"soon\", expected a duration"),
        ("authorization.cache.max_size = 0", "expected a whole number of at least 1"),
        ("authorization.deny_action = shrug", "expected ignore or disconnect"),
        (
            "authorization.sources = [{ type = file }]",
            "authorization.sources.1.type is \"file\", expected http",
        ),
        ("authorization.sources = 1", "authorization.sources is 1, expected an array of objects"),
        ("listeners.ssl.default.ssl_options.cipher = x", "ssl_options.cipher is not understood"),
        ("connectors.http.optic.enable_pipelining = 100", "enable_pipelining must be 1"),
        (
            "connectors.http.optic.url = \"https://elsewhere.example\"",
            "no --origin says where https://elsewhere.example",
        ),
        ("connectors.http.optic.url = \"${topic}\"", "is not a URL without placeholders"),
        ("connectors.mqtt.x { server = \"y\" }", "connectors.mqtt is not understood"),
        ("actions.http.optic_state.connector = other", "there is no connector other"),
        ("actions.http.optic_state.parameters.method = get", "expected post"),
        (
            "actions.http.optic_state.resource_opts.batch_size = 10",
            "resource_opts.batch_size is not understood",
        ),
        (
            "rule_engine.rules.x { sql = \"SELECT nothing FROM \\\"t\\\"\", actions = [] }",
            "no column nothing",
        ),
        (
            "rule_engine.rules.x { sql = \"SELECT * FROM \\\"t\\\"\", actions = [\"http:missing\"] }",
            "there is no action http:missing",
        ),
        (
            "rule_engine.rules.x { sql = \"SELECT * FROM \\\"t\\\"\", actions = [{ function = console }] }",
            "holds an object",
        ),
        ("rule_engine.ignore_sys_message = false", "rule_engine.ignore_sys_message is not understood"),
        ("authentication.1.enable = false", "authentication is an object, expected an array of objects"),
    ] {
        let faults = faults(more);
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{more}: {faults:?}");
    }
}

#[test]
fn all_faults_are_told_together_in_the_order_of_the_lines() {
    let faults = faults("colour = blue\nmqtt.max_inflight = 0\nauthorization.no_match = maybe");
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.is_sorted());
}

#[test]
fn a_body_type_that_would_fail_every_request_is_refused() {
    let text = production()
        .replace("content-type = \"application/json\"", "content-type = \"application/json; charset=utf-8\"");
    let faults = read(&text).unwrap_err();
    assert!(faults[0].what.contains("content-type must be exactly application/json"), "{faults:?}");
}

#[test]
fn disabled_things_are_left_out() {
    let text = format!(
        "{}\nactions.http.optic_state.enable = false\nrule_engine.rules.rs1_disconnected.enable = false",
        production()
    );
    let (all, config) = (read(&production()).unwrap(), read(&text).unwrap());
    assert_eq!(config.actions.len(), all.actions.len() - 1);
    let state = config.rules.iter().find(|rule| rule.id == "rs1_state").unwrap();
    assert!(state.actions.is_empty(), "a rule may name an action that is switched off");
    assert_eq!(config.rules.len(), all.rules.len() - 1);
}

#[test]
fn defaults_are_emqx_s() {
    let config = read(
        "authorization { sources = [] }\n\
         connectors.http.c { url = \"http://127.0.0.1:1/base\", enable_pipelining = 1 }\n\
         actions.http.a { connector = c, parameters { path = \"x\" } }",
    )
    .unwrap();
    assert!(config.authorization.allow_no_match, "no_match");
    let limits = config.authorization.cache.unwrap();
    assert_eq!((limits.max_size, limits.ttl.as_secs()), (32, 60));
    let connector = &config.connectors["c"];
    assert_eq!(
        (connector.pool_size, connector.by_client, connector.connect_timeout.as_secs()),
        (8, false, 15)
    );
    let action = &config.actions["a"];
    assert_eq!(action.path, "/base/x");
    assert_eq!((action.worker_pool_size, action.inflight_window), (16, 100));
    assert_eq!((action.request_ttl.as_secs(), action.resume_interval.as_secs()), (45, 15));
    assert_eq!((action.query_mode, action.max_buffer_bytes), (QueryMode::Async, 256 << 20));
    assert_eq!(action.headers.get("keep-alive").unwrap(), "timeout=5");
    assert_eq!(config.mqtt.max_packet_size, 1 << 20);
    assert!(config.authentication.is_empty());
    assert!(Url::parse("http://127.0.0.1:1/base").is_some());
}
