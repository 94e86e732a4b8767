//! A backup is restorable whatever happens while it is made: others write, calls fail before and after they are carried
//! out, runs die and overlap.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use pollster::block_on;
use rs1_domain::UnixMillis;
use rs1_domain::port::{Database, Outcome, Param, PortError, Reader, Statement};
use rs1_ops::dump::page_query;
use rs1_ops::hash::{RowSum, sha256};
use rs1_ops::plan::{Count, Manifest, manifest_key};
use rs1_ops::schema::Schema;
use rs1_store::backups::{self, BackupRow, HOLD_MS};
use rs1_store::doubles::{LibraryGzip, MemoryVault};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_store::sql::{PageRequest, rows};
use rs1_worker_health::backup::{self, Budget, Ports};

const NOW: i64 = 1_763_690_475_123;
const DAY_MS: i64 = 86_400_000;
/// Small, so that a backup of a small database has many parts.
const SMALL: Budget = Budget { pages: 1000, part_bytes: 96 * 1024 };

/// A database on which others write: before each page is read, something is inserted, changed and deleted.
struct Busy {
    inner: NativeDatabase,
    writes: Cell<Option<u32>>,
}

impl Busy {
    fn write(&self) {
        let Some(count) = self.writes.get() else { return };
        self.writes.set(Some(count + 1));
        // A device and its rollup, of which the one is read after the other; a key before and one behind the cursor.
        for name in [format!("{count:032x}"), format!("{:032x}", u128::MAX - u128::from(count))] {
            self.inner
                .execute(&format!(
                    "INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by) VALUES ('{name}', '{name}', '1.x', 1, 'ada');
                     INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation)
                     VALUES ('{name}', 1, 1, 1, 1, '{{}}', 1);
                     UPDATE telemetry_rollups SET messages = messages + 1 WHERE device_id = printf('%032x', 1000001 + {count});"
                ))
                .unwrap();
        }
        let deleted =
            format!("DELETE FROM telemetry_rollups WHERE device_id = printf('%032x', 1000300 + {count})");
        self.inner.execute(&deleted).unwrap();
    }
}

impl Database for Busy {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, PortError> {
        self.inner.batch(statements).await
    }
}

impl Reader for Busy {
    async fn read(&self, sql: &str, params: &[Param]) -> Result<Outcome, PortError> {
        if sql.contains("backup_page") {
            self.write();
        }
        self.inner.read(sql, params).await
    }

    async fn bookmark(&self) -> Result<String, PortError> {
        self.inner.bookmark().await
    }
}

/// A system with a filled database.
struct World {
    db: Busy,
    vault: MemoryVault,
    now: Cell<i64>,
}

impl World {
    fn new(devices: u32) -> Self {
        let inner = NativeDatabase::new();
        // Texts with everything that a literal has to quote; a rollup of the size of a real one.
        inner
            .execute(&format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {devices})
                 INSERT INTO devices (device_id, mac_address, sealed_key, enrolled_at, enrolled_by)
                 SELECT printf('%032x', 1000000 + i), printf('%012x', i), '1.it''s; -- \"' || char(10) || 'é' || i, {NOW} + i, 'ada' FROM n;
                 INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation)
                 SELECT device_id, 490000 + hour, 60, {NOW}, {NOW}, json_object('system.free_heap', json_array(60, 12345678.5, 0.1, -1e300, hex(randomblob(90)))), 1
                 FROM devices, (SELECT 0 AS hour UNION ALL SELECT 1 UNION ALL SELECT 2);
                 INSERT INTO audit_log (id, at, actor, action, method, route, request_id)
                 SELECT 'aud-' || device_id, {NOW}, 'ada', 'admin_api_access', 'GET', '/', 'r' FROM devices;"
            ))
            .unwrap();
        Self {
            db: Busy { inner, writes: Cell::new(None) },
            vault: MemoryVault::default(),
            now: Cell::new(NOW),
        }
    }

    fn ports<'a>(&'a self, clock: &'a dyn Fn() -> UnixMillis) -> Ports<'a, Busy, MemoryVault, LibraryGzip> {
        Ports { db: &self.db, vault: &self.vault, gzip: &LibraryGzip, clock }
    }

    fn begin(&self, id: &str) -> bool {
        block_on(backup::begin(&self.db, id, None, UnixMillis(self.now.get()))).unwrap()
    }

    fn advance(&self, budget: Budget) -> Result<String, PortError> {
        let clock = || {
            self.now.set(self.now.get() + 10);
            UnixMillis(self.now.get())
        };
        block_on(backup::advance(&self.ports(&clock), budget))
    }

    fn manifest(&self, id: &str) -> Manifest {
        let bytes = self.vault.object(&manifest_key(id)).expect("a whole backup has a manifest");
        serde_json::from_slice(&bytes).unwrap()
    }

    fn listed(&self) -> Vec<BackupRow> {
        let page = PageRequest { limit: 100, after: None };
        rows(&block_on(self.db.batch(vec![backups::list(&page)])).unwrap()[0]).unwrap()
    }

    fn sums(&self) -> BTreeMap<String, Count> {
        let schema = block_on(backups::schema(&self.db)).unwrap();
        let read = |sql: &str| -> Vec<String> {
            #[derive(serde::Deserialize)]
            struct Line {
                line: String,
            }
            let outcome = block_on(self.db.inner.read(sql, &[Param::Int(10_000_000)])).unwrap();
            rows::<Line>(&outcome).unwrap().into_iter().map(|row| row.line).collect()
        };
        sums(&schema, read)
    }
}

fn sums(schema: &Schema, read: impl Fn(&str) -> Vec<String>) -> BTreeMap<String, Count> {
    let count = |lines: Vec<String>| {
        let mut sum = RowSum::default();
        for line in &lines {
            sum.add(line);
        }
        Count { rows: lines.len() as u64, sum: sum.to_hex() }
    };
    schema.tables.iter().map(|table| (table.name.clone(), count(read(&page_query(table, false))))).collect()
}

/// Loads a backup into an empty database in one transaction, as D1 does, and answers what is in it.
fn restored(world: &World, id: &str) -> BTreeMap<String, Count> {
    let manifest = world.manifest(id);
    let object = world.vault.object(&manifest.object).unwrap();
    assert_eq!((object.len() as u64, sha256(&object)), (manifest.bytes, manifest.sha256.clone()));
    let mut at = 0;
    for part in &manifest.parts {
        let end = at + usize::try_from(part.bytes).unwrap();
        assert_eq!(sha256(&object[at..end]), part.sha256);
        at = end;
    }
    let mut text = String::new();
    MultiGzDecoder::new(&object[..]).read_to_string(&mut text).unwrap();
    assert!(text.ends_with("-- end\n"));

    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection.execute_batch(&format!("BEGIN;\n{text}COMMIT;")).unwrap();
    let broken: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
    assert_eq!(broken, 0, "rows whose parent is missing");
    let schema = block_on(backups::schema(&world.db)).unwrap();
    let described = |connection: &rusqlite::Connection| -> Vec<String> {
        let mut names = connection
            .prepare("SELECT type || ' ' || name || ' ' || sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1")
            .unwrap();
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(described(&connection).len(), schema.tables.len() + schema.rest.len());
    sums(&schema, |sql| {
        let mut page = connection.prepare(sql).unwrap();
        page.query_map([10_000_000], |row| row.get(1)).unwrap().map(Result::unwrap).collect()
    })
}

#[test]
fn a_backup_of_a_quiet_database_is_that_database() {
    let world = World::new(900);
    let before = world.sums();
    assert!(world.begin("2026-11-21"));
    let said = world.advance(SMALL).unwrap();
    assert!(said.starts_with("backup 2026-11-21 is whole: "), "{said}");
    let manifest = world.manifest("2026-11-21");
    assert!(manifest.parts.len() > 3, "{} parts", manifest.parts.len());
    let mut restored = restored(&world, "2026-11-21");
    assert_eq!(restored, manifest.tables);
    // The backup's own row changes while it is made.
    let mut before = before;
    assert!(before.remove("backups").is_some() && restored.remove("backups").is_some());
    assert_eq!(restored, before);
    assert_eq!(restored["devices"].rows, 900);
    assert_eq!(restored["telemetry_rollups"].rows, 2700);
    let listed = world.listed();
    assert_eq!(
        (listed[0].state.as_str(), listed[0].sha256.as_deref()),
        ("complete", Some(manifest.sha256.as_str()))
    );
    assert_eq!(world.vault.open_uploads(), 0);
}

#[test]
fn what_is_written_meanwhile_leaves_it_restorable() {
    let world = World::new(900);
    world.db.writes.set(Some(0));
    world.begin("2026-11-21");
    while !world.advance(Budget { pages: 7, ..SMALL }).unwrap().contains("is whole") {}
    assert!(world.db.writes.get().unwrap() > 10);
    assert_eq!(restored(&world, "2026-11-21"), world.manifest("2026-11-21").tables);
}

#[test]
fn cut_off_at_any_call_it_goes_on_and_ends_whole() {
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        for calls in 0..12 {
            let world = World::new(900);
            world.db.writes.set(Some(0));
            world.begin("2026-11-21");
            world.vault.fail_after(calls, failure);
            let mut failed = 0;
            for run in 0.. {
                assert!(run < 50, "it does not come to an end");
                match world.advance(SMALL) {
                    Ok(said) if said.contains("is whole") => break,
                    Ok(_) => {}
                    Err(error) => {
                        failed += 1;
                        assert!(error.cause.contains("lost"), "{error}");
                        assert!(world.vault.object(&manifest_key("2026-11-21")).is_none() || calls > 3);
                    }
                }
            }
            assert!(failed <= 1, "{failure:?} {calls}");
            assert_eq!(
                restored(&world, "2026-11-21"),
                world.manifest("2026-11-21").tables,
                "{failure:?} {calls}"
            );
        }
    }
}

#[test]
fn a_run_that_dies_without_a_word_is_followed_when_its_hold_is_stale() {
    let world = World::new(900);
    world.begin("2026-11-21");
    // It dies while it reads: the database refuses everything, letting go included.
    world.db.inner.fail_statement("backup", Some(Failure::BeforeCommit));
    assert!(world.advance(SMALL).is_err());
    world.db.inner.fail(None);
    let taken = block_on(backups::take(&world.db, UnixMillis(world.now.get()))).unwrap();
    assert!(taken.is_some(), "nobody had it");
    assert_eq!(world.advance(SMALL).unwrap(), "no backup to make", "somebody has it");
    world.now.set(world.now.get() + HOLD_MS + 1);
    assert!(world.advance(SMALL).unwrap().contains("is whole"));
    assert_eq!(restored(&world, "2026-11-21"), world.manifest("2026-11-21").tables);
}

#[test]
fn of_two_runs_at_once_one_stops_at_its_next_step() {
    let world = World::new(900);
    world.begin("2026-11-21");
    assert!(world.advance(Budget { pages: 5, ..SMALL }).unwrap().contains("goes on"));
    let stale = block_on(backups::take(&world.db, UnixMillis(world.now.get()))).unwrap().unwrap();
    world.now.set(world.now.get() + HOLD_MS + 1);
    assert!(world.advance(Budget { pages: 5, ..SMALL }).unwrap().contains("goes on"));
    let save = backups::save(&stale, "{}", true, UnixMillis(world.now.get()));
    assert_eq!(block_on(world.db.batch(vec![save])).unwrap()[0].changes, 0);
    assert!(world.advance(SMALL).unwrap().contains("is whole"));
    assert_eq!(restored(&world, "2026-11-21"), world.manifest("2026-11-21").tables);
}

#[test]
fn only_one_is_made_at_a_time_and_none_twice() {
    let world = World::new(10);
    assert!(world.begin("2026-11-21"));
    assert!(!world.begin("2026-11-21T1405"), "another is being made");
    world.advance(SMALL).unwrap();
    assert!(!world.begin("2026-11-21"), "it is there");
    assert!(world.begin("2026-11-21T1405"));
}

#[test]
fn what_is_not_whole_after_a_day_is_given_up() {
    let world = World::new(900);
    world.begin("2026-11-21");
    world.advance(Budget { pages: 5, ..SMALL }).unwrap();
    world.now.set(NOW + DAY_MS + 1);
    assert!(world.advance(SMALL).unwrap_err().cause.contains("given up"));
    assert_eq!(world.listed()[0].state, "failed");
    assert_eq!(world.vault.open_uploads(), 0);
    assert!(world.vault.keys().is_empty(), "an unfinished backup is never listed as one");
    assert!(world.begin("2026-11-22"));
}
