//! The history worker's cloud, and this worker's share of it: what is cared for is what people then see.

#[path = "../../../../history/tests/it/common/mod.rs"]
mod history;

use std::marker::PhantomData;

pub use history::*;
use pollster::block_on;
use rs1_domain::event::Tick;
use rs1_domain::{RequestId, UnixMillis};
use rs1_store::doubles::{MemoryBucket, MemoryQueue};
use rs1_store::native::NativeDatabase;
use rs1_worker_archive::cron;
use rs1_worker_archive::world::{Ports, World};

/// The ports of the history worker's world, lent.
pub struct Lent<'a>(PhantomData<&'a ()>);

impl<'a> Ports for Lent<'a> {
    type Database = &'a NativeDatabase;
    type Queue = MemoryQueue;
    type Archive = &'a MemoryBucket;
}

impl Cloud {
    /// What this worker may use of it.
    pub fn lent(&self) -> World<Lent<'_>> {
        World { db: &self.world.db, queue: MemoryQueue::default(), archives: &self.world.archives }
    }

    /// A trigger's run.
    pub fn tick(&self, cron: &str, now: UnixMillis) -> Result<String, String> {
        let request_id = RequestId::from_header("tick").unwrap();
        let due = Tick { cron: cron.into(), scheduled: now, now, request_id };
        block_on(cron::tick(&due, &self.lent())).map_err(|error| error.to_string())
    }
}
