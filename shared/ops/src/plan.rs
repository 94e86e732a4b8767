//! How far a backup has come, and what is left.
//!
//! A run reads pages, in the order of the tables, into a part; when the part is full it is stored, and only then does the
//! [`Progress`] that it stands for count. What a run that was cut off had read beyond that is read again.

use serde::{Deserialize, Serialize};

use crate::hash::{Blocks, RowSum, sha256};
use crate::schema::Schema;

/// Bytes of text that a page should have: small beside an isolate's 128 MB, large beside a round trip.
const PAGE_BYTES: usize = 400_000;
/// Bytes of text above which a page is asked for again with fewer rows: compressed, it could be more than a part.
const LONG_PAGE_BYTES: usize = 2_000_000;
/// Fewest and most rows of a page. The most bounds what a page of the longest rows, 64 KiB each, takes of memory.
const PAGE_ROWS: (u32, u32) = (1, 500);

/// What a table has given so far.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "TableCount"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Rows.
    pub rows: u64,
    /// Their [`RowSum`].
    pub sum: String,
}

/// A part that is stored; its number is its place in the list, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// R2's name for it.
    pub etag: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// All that it takes to go on with a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// R2's name for the upload.
    pub upload: String,
    /// Time Travel's bookmark when it began.
    pub bookmark: String,
    /// The database when it began.
    pub schema: Schema,
    /// What each table of the schema has given, those that were begun.
    pub counts: Vec<Count>,
    /// The key of the last row read of the table at the end of `counts`, as a JSON array; `None` where that table is done.
    pub after: Option<String>,
    /// How many rows to ask for.
    pub limit: u32,
    /// The parts that are stored.
    pub parts: Vec<StoredPart>,
    /// The hash of those parts together, while more are to come.
    pub hash: String,
    /// Rows that are longer than a statement of D1 may be.
    pub oversized: u64,
}

/// A row, as the database answers it.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Its key as a JSON array.
    pub key: String,
    /// The row as literals in parentheses.
    pub line: String,
}

/// How many rows to ask for instead, where a page is so long that it should not be taken.
pub fn fewer_rows(rows: &[Row]) -> Option<u32> {
    let bytes = rows.iter().fold(0_usize, |sum, row| sum.saturating_add(row.line.len()));
    if bytes <= LONG_PAGE_BYTES || rows.len() < 2 {
        return None;
    }
    let share = PAGE_BYTES.saturating_mul(rows.len()).checked_div(bytes).unwrap_or(1);
    Some(u32::try_from(share.min(rows.len().saturating_sub(1))).unwrap_or(1).max(1))
}

impl Progress {
    /// A backup that begins.
    pub fn new(upload: String, bookmark: String, schema: Schema) -> Self {
        Self {
            upload,
            bookmark,
            schema,
            counts: Vec::new(),
            after: None,
            limit: 200,
            parts: Vec::new(),
            hash: Blocks::default().to_text(),
            oversized: 0,
        }
    }

    /// The place in the schema of the table to read next, and the key after which; `None` when all is read.
    pub fn next(&self) -> Option<(usize, Option<&str>)> {
        match &self.after {
            Some(key) => Some((self.counts.len().checked_sub(1)?, Some(key))),
            None => (self.counts.len() < self.schema.tables.len()).then_some((self.counts.len(), None)),
        }
    }

    /// Counts a page that was asked for with [`next`](Self::next) and [`limit`](Self::limit).
    pub fn take(&mut self, rows: &[Row]) {
        if self.after.is_none() {
            self.counts.push(Count { rows: 0, sum: RowSum::default().to_hex() });
        }
        if let Some(count) = self.counts.last_mut() {
            let mut sum = RowSum::read(&count.sum).unwrap_or_default();
            for row in rows {
                sum.add(&row.line);
            }
            *count = Count { rows: count.rows.saturating_add(rows.len() as u64), sum: sum.to_hex() };
        }
        let bytes = rows.iter().fold(0_usize, |sum, row| sum.saturating_add(row.line.len()));
        self.oversized =
            self.oversized.saturating_add(rows.iter().filter(|row| row.line.len() > 99_000).count() as u64);
        // A page that is not full is a table's last.
        let full = u32::try_from(rows.len()).is_ok_and(|count| count >= self.limit);
        self.after = rows.last().filter(|_| full).map(|row| row.key.clone());
        if let Some(a_row) = bytes.checked_div(rows.len()).filter(|bytes| *bytes > 0) {
            let wanted = PAGE_BYTES.checked_div(a_row).and_then(|rows| u32::try_from(rows).ok());
            let (fewest, most) = PAGE_ROWS;
            // Not by more than double, so that a few long rows after many short ones are no surprise.
            self.limit =
                wanted.unwrap_or(most).clamp(fewest, most.min(self.limit.saturating_mul(2)).max(fewest));
        }
    }

    /// Counts a part that was stored and is followed by others.
    pub fn store(&mut self, etag: String, bytes: &[u8]) {
        let mut hash = Blocks::read(&self.hash).unwrap_or_default();
        hash.update(bytes);
        self.hash = hash.to_text();
        self.parts.push(StoredPart { etag, sha256: sha256(bytes), bytes: bytes.len() as u64 });
    }

    /// Counts the last part. From now on `hash` is the whole's.
    pub fn store_last(&mut self, etag: String, bytes: &[u8]) {
        let hash = Blocks::read(&self.hash).unwrap_or_default();
        self.hash = hash.finish(bytes);
        self.parts.push(StoredPart { etag, sha256: sha256(bytes), bytes: bytes.len() as u64 });
    }

    /// Whether the last part is stored.
    pub fn is_whole(&self) -> bool {
        !self.hash.contains(':')
    }

    /// The size of the parts together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    /// The rows of all tables together.
    pub fn rows(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(count.rows))
    }
}

/// What stands beside a whole backup and says so: it is written last.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BackupManifest"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Which backup.
    pub backup_id: String,
    /// The key of the dump.
    pub object: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: String,
    /// And of each part, with its size.
    pub parts: Vec<ManifestPart>,
    /// Each table's rows and their checksum.
    pub tables: std::collections::BTreeMap<String, Count>,
    /// The last migration that had been applied.
    pub schema_version: Option<String>,
    /// Time Travel's bookmark when it began.
    pub bookmark: String,
    /// Time Travel's bookmark when it ended.
    pub end_bookmark: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub finished_at: String,
    /// The time between, in milliseconds.
    pub duration_ms: i64,
    /// Rows that are longer than a statement of D1 may be; a restore into D1 would refuse them.
    pub oversized_rows: u64,
}

/// A part in a manifest.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BackupPart"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPart {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

impl Manifest {
    /// Of a backup that is whole.
    pub fn of(
        backup_id: &str,
        progress: &Progress,
        end_bookmark: String,
        started_at: rs1_domain::UnixMillis,
        finished_at: rs1_domain::UnixMillis,
    ) -> Self {
        let names = progress.schema.tables.iter().map(|table| table.name.clone());
        let mut tables = std::collections::BTreeMap::new();
        for (name, count) in names.zip(&progress.counts) {
            tables.insert(name, count.clone());
        }
        let parts = progress.parts.iter();
        Self {
            format: 1,
            backup_id: backup_id.to_owned(),
            object: object_key(backup_id),
            bytes: progress.bytes(),
            sha256: progress.hash.clone(),
            parts: parts
                .map(|part| ManifestPart { bytes: part.bytes, sha256: part.sha256.clone() })
                .collect(),
            tables,
            schema_version: progress.schema.version.clone(),
            bookmark: progress.bookmark.clone(),
            end_bookmark,
            started_at: started_at.to_rfc3339(),
            finished_at: finished_at.to_rfc3339(),
            duration_ms: finished_at.since(started_at),
            oversized_rows: progress.oversized,
        }
    }
}

/// The key of a backup's dump.
pub fn object_key(backup_id: &str) -> String {
    format!("backups/d1/{backup_id}.sql.gz")
}

/// The key of a backup's manifest. It is there exactly when the backup is whole.
pub fn manifest_key(backup_id: &str) -> String {
    format!("backups/d1/{backup_id}.manifest.json")
}

/// The key of what the restore check found, `{ok, …}`.
pub fn check_key(backup_id: &str) -> String {
    format!("backups/d1/{backup_id}.check.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Table;

    fn progress(tables: usize) -> Progress {
        let table = |index: usize| Table {
            name: format!("t{index}"),
            sql: String::new(),
            columns: vec!["a".into()],
            key: vec!["a".into()],
            refers_to: vec![],
        };
        let schema = Schema { tables: (0..tables).map(table).collect(), ..Schema::default() };
        Progress::new("upload".into(), "bookmark".into(), schema)
    }

    fn rows(from: u32, count: u32) -> Vec<Row> {
        let row = |index| Row { key: format!("[{index}]"), line: format!("({index})") };
        (from..from + count).map(row).collect()
    }

    #[test]
    fn a_table_goes_on_until_a_page_is_not_full() {
        let mut progress = progress(2);
        assert_eq!(progress.next(), Some((0, None)));
        let limit = progress.limit;
        progress.take(&rows(0, limit));
        assert_eq!(progress.next(), Some((0, Some(format!("[{}]", limit - 1).as_str()))));
        progress.take(&rows(limit, 3));
        assert_eq!(progress.next(), Some((1, None)));
        assert_eq!(progress.counts[0].rows, u64::from(limit) + 3);
        progress.take(&[]);
        assert_eq!(progress.next(), None);
        assert_eq!(progress.rows(), u64::from(limit) + 3);
    }

    #[test]
    fn pages_grow_with_short_rows_and_shrink_with_long_ones() {
        let mut progress = progress(1);
        progress.take(&rows(0, progress.limit));
        assert_eq!(progress.limit, 400);
        let long: Vec<Row> =
            (0..400).map(|i| Row { key: format!("[{i}]"), line: "x".repeat(20_000) }).collect();
        progress.take(&long);
        assert_eq!(progress.limit, 20);
        assert_eq!(progress.oversized, 0);
    }

    #[test]
    fn a_page_that_is_too_long_is_asked_for_again_until_it_is_not() {
        let page = |count: u32| -> Vec<Row> {
            (0..count).map(|i| Row { key: format!("[{i}]"), line: "x".repeat(65_536) }).collect()
        };
        assert_eq!(fewer_rows(&page(500)), Some(6));
        assert_eq!(fewer_rows(&page(6)), None);
        assert_eq!(fewer_rows(&[Row { key: "[1]".into(), line: "x".repeat(3_000_000) }]), None);
        let two = [1, 2].map(|i| Row { key: format!("[{i}]"), line: "x".repeat(3_000_000) });
        assert_eq!(fewer_rows(&two), Some(1));
    }

    #[test]
    fn progress_survives_being_written_down() {
        let mut progress = progress(1);
        progress.take(&rows(0, 1));
        progress.store("e1".into(), &[7; 128]);
        let read: Progress = serde_json::from_str(&serde_json::to_string(&progress).unwrap()).unwrap();
        assert_eq!(read, progress);
        let mut read = read;
        assert!(!read.is_whole());
        read.store_last("e2".into(), b"tail");
        assert!(read.is_whole());
        assert_eq!(read.hash, sha256(&[&[7_u8; 128][..], b"tail"].concat()));
        assert_eq!(read.bytes(), 132);
    }
}
