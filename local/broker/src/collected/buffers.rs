//! Records on disk until their object is due (`emqx_connector_aggregator`, `emqx_connector_aggreg_buffer`).
//!
//! A buffer is a file named `T{since}_{sequence}`: NDJSON, where EMQX has Erlang's external format. Records are written at its
//! end, without a sync: a broker that is killed loses none, a machine that loses its power may. The first record after a while
//! begins an interval; while records come, the next one begins where the last ended. An interval has several buffers when more
//! records come than an object may have.
//!
//! Time is an argument, in seconds since the Unix epoch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// A buffer that nothing is written to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When its interval began.
    pub since: u64,
    /// When its interval ended.
    pub until: u64,
    /// Which one of the interval, from 0.
    pub sequence: u64,
    /// The file.
    pub path: PathBuf,
}

#[derive(Debug)]
struct Open {
    since: u64,
    sequence: u64,
    path: PathBuf,
    file: File,
    records: u64,
    /// Up to here the file is whole records.
    bytes: u64,
}

/// Why records were not written.
#[derive(Debug)]
pub enum NotWritten {
    /// The clock is behind the beginning of the interval: nothing is written until it comes there, in EMQX neither.
    Later,
    /// The disk is at fault.
    Failed(io::Error),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The buffers of one action.
#[derive(Debug)]
pub struct Buffers {
    directory: PathBuf,
    interval: u64,
    max_records: u64,
    current: Option<Open>,
}

impl Buffers {
    /// Opens the buffers that are in `directory`, which is made if it is not there: the newest is written on, and the others are
    /// to be uploaded, the oldest first.
    ///
    /// # Errors
    /// If they cannot be read, or nothing can be written there.
    pub fn open(directory: &Path, interval: u64, max_records: u64) -> io::Result<(Self, Vec<Closed>)> {
        fs::create_dir_all(directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            if let Some(at) = entry?.file_name().to_str().and_then(parse_name) {
                found.push(at);
            }
        }
        found.sort_unstable();
        let newest = found.pop();
        let mut buffers = Self { directory: directory.to_owned(), interval, max_records, current: None };
        buffers.current = newest.map(|(since, sequence)| buffers.recover(since, sequence)).transpose()?;
        let closed = found.into_iter().map(|(since, sequence)| buffers.closed(since, sequence)).collect();
        Ok((buffers, closed))
    }

    /// Writes records, each a line without its end. The buffers that are closed thereby are to be uploaded.
    ///
    /// # Errors
    /// If they are not written.
    pub fn push(&mut self, now: u64, records: &[Bytes]) -> Result<Vec<Closed>, NotWritten> {
        let mut closed = Vec::new();
        if records.is_empty() {
            return Ok(closed);
        }
        match &self.current {
            Some(open) if now < open.since => return Err(NotWritten::Later),
            Some(open) if now < self.until(open.since) => {}
            Some(open) => {
                let since = self.next_since(now, open.since);
                closed.extend(self.take_current());
                self.current = Some(self.create(since, 0)?);
            }
            None => self.current = Some(self.create(now, 0)?),
        }
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let Some(open) = &mut self.current else { return Ok(closed) };
        // The first records of a buffer are taken however many they are.
        if open.records > 0 && open.records.saturating_add(count) > self.max_records {
            closed.extend(self.rotate()?);
        }
        let Some(open) = &mut self.current else { return Ok(closed) };
        open.write(records)?;
        open.records = open.records.saturating_add(count);
        if open.records >= self.max_records {
            closed.extend(self.rotate()?);
        }
        Ok(closed)
    }

    /// Closes the buffer whose interval is over; it is to be uploaded.
    pub fn tick(&mut self, now: u64) -> Option<Closed> {
        let open = self.current.as_ref()?;
        if now < self.until(open.since) { None } else { self.take_current() }
    }

    fn until(&self, since: u64) -> u64 {
        since.saturating_add(self.interval)
    }

    /// The beginning of the interval that `now` is in, counted on from one that began at `before`.
    fn next_since(&self, now: u64, before: u64) -> u64 {
        let into = now.saturating_sub(before).checked_rem(self.interval).unwrap_or(0);
        now.saturating_sub(into)
    }

    fn rotate(&mut self) -> io::Result<Option<Closed>> {
        let Some(open) = &self.current else { return Ok(None) };
        let next = self.create(open.since, open.sequence.saturating_add(1))?;
        let closed = self.take_current();
        self.current = Some(next);
        Ok(closed)
    }

    fn take_current(&mut self) -> Option<Closed> {
        let Open { since, sequence, .. } = self.current.take()?;
        Some(self.closed(since, sequence))
    }

    fn closed(&self, since: u64, sequence: u64) -> Closed {
        Closed { since, until: self.until(since), sequence, path: self.path(since, sequence) }
    }

    fn path(&self, since: u64, sequence: u64) -> PathBuf {
        self.directory.join(format!("T{since}_{sequence:04}"))
    }

    fn create(&self, since: u64, sequence: u64) -> io::Result<Open> {
        let path = self.path(since, sequence);
        let file = File::create(&path)?;
        Ok(Open { since, sequence, path, file, records: 0, bytes: 0 })
    }

    /// A record whose end is not there was not written whole, and goes.
    fn recover(&self, since: u64, sequence: u64) -> io::Result<Open> {
        let path = self.path(since, sequence);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut reader = BufReader::new(&file);
        let (mut records, mut bytes, mut line) = (0_u64, 0_u64, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            records = records.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let mut open = Open { since, sequence, path, file, records, bytes };
        open.cut()?;
        Ok(open)
    }
}

impl Open {
    fn write(&mut self, records: &[Bytes]) -> io::Result<()> {
        let size = records.iter().map(|record| record.len().saturating_add(1)).sum();
        let mut lines = Vec::with_capacity(size);
        for record in records {
            lines.extend_from_slice(record);
            lines.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&lines) {
            // Half of a record must not stay in front of the next one.
            log::warn!("{}: {error}", self.path.display());
            self.cut()?;
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Goes back to the end of the last whole record.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.seek(SeekFrom::Start(self.bytes)).map(drop)
    }
}

/// `(since, sequence)` of a buffer's name.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (since, sequence) = name.strip_prefix('T')?.split_once('_')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    Some((number(since)?, number(sequence)?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// A directory of its own for a test, gone after it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("rs1-buffers-{}-{number}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn open(&self, max_records: u64) -> (Buffers, Vec<(u64, u64)>) {
            let (buffers, closed) = Buffers::open(&self.0, 60, max_records).unwrap();
            (buffers, closed.iter().map(at).collect())
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn at(closed: &Closed) -> (u64, u64) {
        assert_eq!(closed.until.checked_sub(closed.since), Some(60));
        (closed.since, closed.sequence)
    }

    fn push(buffers: &mut Buffers, now: u64, records: &[&'static str]) -> Vec<(u64, u64)> {
        let records: Vec<Bytes> =
            records.iter().map(|record| Bytes::from_static(record.as_bytes())).collect();
        buffers.push(now, &records).unwrap().iter().map(at).collect()
    }

    #[test]
    fn an_interval_begins_with_the_first_record_and_the_next_one_where_it_ended() {
        let scratch = Scratch::new();
        let (mut buffers, _) = scratch.open(100);
        assert_eq!(buffers.tick(1000), None, "nothing, nowhere");
        assert_eq!(push(&mut buffers, 1000, &["a"]), []);
        assert_eq!(push(&mut buffers, 1059, &["b"]), []);
        assert_eq!(scratch.read("T1000_0000"), "a\nb\n");
        assert_eq!(buffers.tick(1059), None);
        // The record closes it before anybody looked.
        assert_eq!(push(&mut buffers, 1075, &["c"]), [(1000, 0)]);
        assert_eq!(scratch.read("T1060_0000"), "c\n");
        assert_eq!(buffers.tick(1120).as_ref().map(at), Some((1060, 0)));
        assert_eq!(buffers.tick(1121), None);
        // After a pause intervals are counted anew.
        assert_eq!(push(&mut buffers, 1133, &["d"]), []);
        assert_eq!(scratch.read("T1133_0000"), "d\n");
        assert_eq!(push(&mut buffers, 1400, &["e"]), [(1133, 0)]);
        assert_eq!(scratch.read("T1373_0000"), "e\n", "whole intervals that nothing came in are left out");
    }

    #[test]
    fn more_records_than_an_object_may_have_go_into_the_next_sequence() {
        let scratch = Scratch::new();
        let (mut buffers, _) = scratch.open(3);
        assert_eq!(push(&mut buffers, 1000, &["1", "2"]), []);
        assert_eq!(push(&mut buffers, 1001, &["3", "4"]), [(1000, 0)], "a batch is not divided");
        assert_eq!(push(&mut buffers, 1002, &["5"]), [(1000, 1)], "full, and closed at once");
        assert_eq!(
            push(&mut buffers, 1003, &["6", "7", "8", "9"]),
            [(1000, 2)],
            "the first batch is taken whole"
        );
        assert_eq!(scratch.read("T1000_0001"), "3\n4\n5\n");
        assert_eq!(scratch.read("T1000_0002"), "6\n7\n8\n9\n");
        assert_eq!(scratch.read("T1000_0003"), "");
        assert_eq!(buffers.tick(1060).as_ref().map(at), Some((1000, 3)));
    }

    #[test]
    fn what_was_written_survives_and_the_newest_is_written_on() {
        let scratch = Scratch::new();
        let (mut buffers, _) = scratch.open(3);
        push(&mut buffers, 1000, &["1", "2"]);
        push(&mut buffers, 1001, &["3", "4"]);
        push(&mut buffers, 1070, &["5"]);
        push(&mut buffers, 1071, &["6"]);
        // Killed: nothing is closed, and of the last record half was written.
        drop(buffers);
        let mut file = OpenOptions::new().append(true).open(scratch.0.join("T1060_0000")).unwrap();
        file.write_all(b"{\"half\":").unwrap();
        fs::write(scratch.0.join("MANIFEST"), "").unwrap();
        fs::write(scratch.0.join("T12_x"), "").unwrap();

        let (mut buffers, closed) = scratch.open(3);
        assert_eq!(closed, [(1000, 0), (1000, 1)], "oldest first");
        assert_eq!(push(&mut buffers, 1072, &["7"]), [(1060, 0)], "those that were there count");
        assert_eq!(scratch.read("T1060_0000"), "5\n6\n7\n");
        let (_, closed) = scratch.open(3);
        assert_eq!(closed, [(1000, 0), (1000, 1), (1060, 0)], "until somebody takes them away");
    }

    /// What may happen to buffers.
    #[derive(Debug, Clone)]
    enum Step {
        /// So many records come.
        Push(u8),
        /// Somebody looks.
        Tick,
        /// The oldest object that is due is uploaded, and its file removed.
        Upload,
        /// The broker is killed, or the store is lost and found again.
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let step = prop_oneof![
            4 => (1..6_u8).prop_map(Step::Push),
            1 => Just(Step::Tick),
            2 => Just(Step::Upload),
            1 => Just(Step::Reopen),
        ];
        proptest::collection::vec((0..45_u64, step), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn every_record_is_uploaded_once_whatever_happens(steps in steps(), max_records in 1..9_u64) {
            let scratch = Scratch::new();
            let open = || Buffers::open(&scratch.0, 60, max_records).unwrap();
            let (mut now, mut count, mut keys, mut uploaded) = (1000, 0_u32, Vec::new(), Vec::new());
            let (mut buffers, mut due) = open();
            let mut upload = |due: &mut Vec<Closed>, keys: &mut Vec<_>| {
                let closed = due.remove(0);
                let text = fs::read_to_string(&closed.path).unwrap();
                fs::remove_file(&closed.path).unwrap();
                // What is empty makes no object.
                if !text.is_empty() {
                    keys.push(at(&closed));
                }
                uploaded.extend(text.lines().map(|line| line.parse::<u32>().unwrap()));
            };
            for (pause, step) in steps {
                now = u64::saturating_add(now, pause);
                match step {
                    Step::Push(records) => {
                        let numbers = count..count.saturating_add(u32::from(records));
                        count = numbers.end;
                        let records: Vec<Bytes> = numbers.map(|number| Bytes::from(number.to_string())).collect();
                        due.extend(buffers.push(now, &records).unwrap());
                    }
                    Step::Tick => due.extend(buffers.tick(now)),
                    Step::Upload if !due.is_empty() => upload(&mut due, &mut keys),
                    Step::Upload => {}
                    Step::Reopen => {
                        drop(buffers);
                        (buffers, due) = open();
                    }
                }
            }
            due.extend(buffers.tick(now.saturating_add(60)));
            while !due.is_empty() {
                upload(&mut due, &mut keys);
            }
            uploaded.sort_unstable();
            prop_assert_eq!(uploaded, (0..count).collect::<Vec<_>>());
            let different: std::collections::BTreeSet<_> = keys.iter().collect();
            prop_assert_eq!(different.len(), keys.len(), "no key is used twice");
        }
    }

    #[test]
    fn a_clock_that_goes_back_writes_nothing() {
        let scratch = Scratch::new();
        let (mut buffers, _) = scratch.open(3);
        push(&mut buffers, 1000, &["1"]);
        assert!(matches!(buffers.push(999, &[Bytes::from_static(b"2")]), Err(NotWritten::Later)));
        assert_eq!(push(&mut buffers, 1000, &[]), []);
        assert_eq!(scratch.read("T1000_0000"), "1\n");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_told() {
        let scratch = Scratch::new();
        fs::write(&scratch.0, "a file").unwrap();
        assert!(Buffers::open(&scratch.0, 60, 3).is_err());
        fs::remove_file(&scratch.0).unwrap();
    }
}
