//! Log lines on stderr, one each, for a person to read: `10:00:00.123 info  auth  …`.

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

use crate::clock;

/// Writes the log lines of this crate at `level` and above, and warnings of everything else.
struct Stderr {
    level: LevelFilter,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("rs1_broker");
        metadata.level() <= if ours { self.level } else { self.level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = chrono::DateTime::from_timestamp_millis(clock::unix_millis()).unwrap_or_default();
        let part = record.target().split("::").nth(1).unwrap_or(record.target());
        let text = record.args().to_string().replace(['\n', '\r'], " ");
        let level = record.level().as_str().to_ascii_lowercase();
        let line = format!("{} {level:<5} {part:<7} {text}\n", now.format("%H:%M:%S%.3f"));
        // There is nobody left to tell if stderr is closed.
        let _closed = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Switches logging on. A second call changes nothing.
pub fn start(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Stderr { level })).is_ok() {
        log::set_max_level(level);
    }
}
