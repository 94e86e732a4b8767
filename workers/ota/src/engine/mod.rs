//! What carries rollouts out. It makes no choices: [`rs1_rollout::plan`] decides, and an
//! [`Attempt`](rs1_rollout::Attempt) knows what its facts mean.
//!
//! - [`advance`]: one rollout a step further, the same way whatever woke it: the minute, a device's report, a device
//!   that came online, an operator's verb;
//! - [`fold`]: what was learnt of devices, written into their attempts;
//! - [`triggers`]: decided triggers onto the queue, and from there to the broker.
//!
//! Any number of these may run at a time, be cut off anywhere, and run again. What each relies on is in
//! [`rs1_store::rollouts`]: decisions and attempts are guarded by numbers that count writes.

pub mod advance;
pub mod fold;
pub mod triggers;

use std::fmt::Display;

use litemap::LiteMap;
use rs1_domain::port::PortError;

/// A map of a few entries: a sorted list, which is a tenth of a B-tree's code.
pub type Map<K, V> = LiteMap<K, V>;
/// A set of a few.
pub type Set<K> = LiteMap<K, ()>;

/// A set of these.
pub fn set_of<K: Ord>(items: impl IntoIterator<Item = K>) -> Set<K> {
    let mut set = Set::new_vec();
    for item in items {
        set.insert(item, ());
    }
    set
}

/// What could not be written as JSON, or read back. Our own types always can be, so this is a fault of ours; whoever
/// meets it tries again, which does no harm.
fn json_fault(error: &dyn Display) -> PortError {
    PortError::new("json", error.to_string())
}
