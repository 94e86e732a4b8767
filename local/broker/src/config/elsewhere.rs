//! Settings that EMQX needs in production and that mean nothing to a broker on one's own machine.
//! Each is recognised by name and ignored for a reason that is told at start.

use super::reader::{Findings, Section};

const NO_TLS: &str = "MQTT is spoken without TLS on this machine, on the --mqtt address";
const ONE_LISTENER: &str = "the --mqtt address takes its place";
const NO_CLUSTER: &str = "there is one node";
const OWN_DIRECTORY: &str = "the --data directory takes its place";
const OWN_API: &str = "the management API listens on the --api address, with --api-key and --api-secret";
const OWN_LOG: &str = "logs go to stderr, one line each";
const RETAINED_IN_MEMORY: &str = "retained messages are kept in memory while the broker runs";

/// Keys of TLS settings (`emqx_schema:common_ssl_opts_schema/2`).
pub const TLS_KEYS: &[&str] = &[
    "enable",
    "verify",
    "versions",
    "certfile",
    "keyfile",
    "cacertfile",
    "server_name_indication",
    "depth",
    "honor_cipher_order",
    "fail_if_no_peer_cert",
    "handshake_timeout",
    "ciphers",
];

const LISTENER_KEYS: &[&str] = &["bind", "acceptors", "max_connections", "tcp_options", "backlog", "nodelay"];

/// Reads `node` and ignores `cluster`.
pub fn node(root: &mut Section<'_>, findings: &mut Findings) -> String {
    root.ignore("cluster", NO_CLUSTER, &["name", "discovery_strategy"], findings);
    let Some(mut node) = root.section("node", findings) else { return "emqx@127.0.0.1".to_owned() };
    let name = node.text("name", findings).unwrap_or_else(|| "emqx@127.0.0.1".to_owned());
    node.ignore("data_dir", OWN_DIRECTORY, &[], findings);
    node.ignore("cookie", NO_CLUSTER, &[], findings);
    node.finish(findings);
    name
}

/// Ignores the listeners but for their name: the id of the first enabled one, which devices see in
/// production and the `${listener}` placeholder names.
pub fn listeners(root: &mut Section<'_>, findings: &mut Findings) -> String {
    let mut enabled = None;
    let Some(mut listeners) = root.section("listeners", findings) else { return "tcp:default".to_owned() };
    for kind in ["ssl", "tcp", "wss", "ws"] {
        for (name, mut listener) in listeners.named_sections(kind, findings) {
            let on = listener.flag("enable", true, findings);
            for key in LISTENER_KEYS {
                listener.ignore(key, ONE_LISTENER, LISTENER_KEYS, findings);
            }
            listener.ignore("ssl_options", NO_TLS, TLS_KEYS, findings);
            listener.finish(findings);
            if on && enabled.is_none() {
                enabled = Some(format!("{kind}:{name}"));
            }
        }
    }
    listeners.finish(findings);
    enabled.unwrap_or_else(|| "tcp:default".to_owned())
}

/// Ignores what operators need: the dashboard's listeners, API keys, logs, the retainer's storage.
pub fn operations(root: &mut Section<'_>, findings: &mut Findings) {
    let dashboard = [&["listeners", "http", "https", "bind", "ssl_options"], TLS_KEYS].concat();
    root.ignore("dashboard", OWN_API, &dashboard, findings);
    root.ignore("api_key", OWN_API, &["bootstrap_file"], findings);
    root.ignore("log", OWN_LOG, &["console", "enable", "level", "formatter"], findings);
    root.ignore("retainer", RETAINED_IN_MEMORY, &["enable", "backend", "type", "storage_type"], findings);
}
