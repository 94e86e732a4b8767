//! The compaction of the archive: it loses and invents nothing, wherever it is cut off, and what people see stays the same.

use std::collections::BTreeSet;

use pollster::block_on;
use proptest::prelude::*;
use rs1_auth::access_token::Person;
use rs1_domain::time::{HOUR, SECOND};
use rs1_domain::{DeviceId, MacAddress, UnixMillis};
use rs1_store::devices::{self, NewDevice};
use rs1_store::native::Failure;
use rs1_store::sql::{rows, run};
use rs1_store::telemetry::{HourRow, hours};
use rs1_telemetry::Message;
use rs1_worker_archive::cron::HOURLY;
use serde_json::Value;

use crate::common::{Cloud, NOW, cloud};

const HOUR_OF_NINE: &str = "telemetry/2026-01-20/09/";
/// Everything of that hour.
const RANGE: &str = "resolution=raw&from=2026-01-20T09:00:00Z&to=2026-01-20T10:00:00Z&limit=1000";

impl Cloud {
    /// The hourly run, so many hours from now.
    fn compact(&self, hours: i64) -> Result<String, String> {
        self.tick(HOURLY, NOW.plus(hours * HOUR))
    }

    fn keys(&self) -> Vec<String> {
        self.world.archives.objects(HOUR_OF_NINE).into_iter().map(|(key, _)| key).collect()
    }

    fn loose(&self) -> usize {
        self.keys().iter().filter(|key| key.contains("/00-")).count()
    }

    /// The ids of the device's messages, as people see them.
    fn shown(&self, person: &Person) -> Vec<String> {
        let (items, _) = self.pages(person, RANGE);
        items.iter().map(|item: &Value| item["id"].as_str().unwrap().to_owned()).collect()
    }

    fn counted(&self) -> i64 {
        let [outcome] = block_on(run(&self.world.db, [hours(&self.device, 0)])).unwrap();
        rows::<HourRow>(&outcome).unwrap().iter().map(|hour| hour.messages).sum()
    }

    fn enroll(&self, number: u8) -> DeviceId {
        let mac_address = MacAddress::parse(&format!("02:00:00:00:00:{number:02X}")).unwrap();
        let device_id = DeviceId::of(&mac_address);
        let (device, product_sku) = (device_id.clone(), None);
        let new = NewDevice { device_id, mac_address, product_sku, sealed_key: "1.x".into() };
        self.run(devices::enroll(&[new], NOW, "ada").unwrap());
        device
    }

    /// A message of another device.
    fn of(&self, device: &DeviceId, number: i64, at: UnixMillis) -> Message {
        let line = self.message(number, at).to_line().replace(self.device.as_str(), device.as_str());
        Message::from_json(&line).unwrap()
    }
}

fn at(second: i64) -> UnixMillis {
    NOW.plus(-HOUR + second * SECOND)
}

fn ids(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("m{number:04}")).collect()
}

/// 80 objects of a message of ours and of three others' each, and some of them twice.
fn busy(cloud: &Cloud) -> Vec<DeviceId> {
    let others: Vec<_> = (1..=3).map(|number| cloud.enroll(number)).collect();
    for number in 0..80 {
        let mut messages = vec![cloud.message(number, at(number))];
        messages.extend(others.iter().map(|device| cloud.of(device, number, at(number))));
        cloud.archive(&messages);
    }
    cloud.archive(&[cloud.message(7, at(7)), cloud.message(8, at(8))]);
    others
}

#[test]
fn an_hour_becomes_few_objects_and_people_see_the_same() {
    let cloud = cloud();
    let ada = cloud.owner();
    busy(&cloud);
    let before = cloud.shown(&ada);
    assert_eq!(before, ids(0..80));
    cloud.compact(0).unwrap();
    assert_eq!(cloud.loose(), 81, "the hour may not be whole yet");
    let done = cloud.compact(1).unwrap();
    assert!(done.starts_with("320 lines packed"), "{done}");
    assert_eq!(cloud.loose(), 0);
    assert_eq!(cloud.keys().len(), 3, "a pack, its index and a manifest: {:?}", cloud.keys());
    assert_eq!(cloud.shown(&ada), before);
    let opened = cloud.world.archives.opened();
    cloud.shown(&ada);
    assert_eq!(cloud.world.archives.opened() - opened, 2, "the index, and one range of the pack");
    let again = cloud.compact(3).unwrap();
    assert!(again.starts_with("0 lines packed"), "{again}");
}

/// What the consumer writes in an hour of ten thousand devices at a message a minute: else hours would come faster than they
/// are packed.
#[test]
fn an_hour_of_six_thousand_objects_is_packed_in_one_run() {
    let cloud = cloud();
    for number in 0..6_000 {
        cloud.archive(&[cloud.message(number, at(number % 3_600))]);
    }
    assert_eq!(cloud.loose(), 6_000);
    let done = cloud.compact(1).unwrap();
    assert!(done.starts_with("6000 lines packed, 0 of them twice"), "{done}");
    assert_eq!(cloud.loose(), 0);
}

/// Every line that there was, to the letter, and no other; each once.
#[test]
fn the_packs_hold_every_line_to_the_letter() {
    let cloud = cloud();
    busy(&cloud);
    let lines = |cloud: &Cloud| -> Vec<String> {
        let objects = cloud.world.archives.objects(HOUR_OF_NINE);
        let loose = objects.iter().filter(|(key, _)| key.contains("/00-"));
        loose.flat_map(|(_, body)| body.lines()).map(str::to_owned).collect()
    };
    let before: BTreeSet<_> = lines(&cloud).into_iter().collect();
    cloud.compact(2).unwrap();
    let index = cloud
        .world
        .archives
        .objects(HOUR_OF_NINE)
        .into_iter()
        .find(|(key, _)| key.contains("/index-"))
        .unwrap();
    let lengths: Vec<u32> = index
        .1
        .lines()
        .skip(1)
        .map(|row| {
            u32::try_from(serde_json::from_str::<Value>(row).unwrap()["length"].as_u64().unwrap()).unwrap()
        })
        .collect();
    let pack = cloud.keys().into_iter().find(|key| key.contains("/packed-")).unwrap();
    let text = block_on(rs1_domain::port::Packs::unpack(&cloud.world.archives, &pack, 0, &lengths))
        .unwrap()
        .unwrap();
    let mut after: Vec<_> = text.lines().map(str::to_owned).collect();
    after.sort();
    assert_eq!(after, before.into_iter().collect::<Vec<_>>());
}

/// Wherever a write or a deletion fails, before or after it was done: people see everything at any time, and the next runs end as if
/// nothing had been.
#[test]
fn wherever_it_is_cut_off_nothing_is_lost() {
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        let straight = cloud();
        busy(&straight);
        straight.compact(2).unwrap();
        let mut cut_off = 0;
        for after in (0..8).chain((8..).step_by(17)) {
            let cloud = cloud();
            let ada = cloud.owner();
            busy(&cloud);
            cloud.world.archives.fail_write(after, failure);
            let failed = cloud.compact(2).is_err();
            assert_eq!(cloud.shown(&ada), ids(0..80), "after {after} writes {failure:?}");
            for hours in 3..6 {
                cloud.compact(hours).unwrap();
                assert_eq!(
                    cloud.shown(&ada),
                    ids(0..80),
                    "after {after} writes {failure:?}, {hours} hours later"
                );
            }
            assert_eq!(cloud.loose(), 0, "after {after} writes {failure:?}");
            if !failed {
                break;
            }
            cut_off += 1;
        }
        assert!(cut_off > 8, "{cut_off}");
        assert_eq!(straight.keys().len(), 3);
    }
}

#[test]
fn what_cannot_be_read_back_replaces_nothing() {
    let cloud = cloud();
    let ada = cloud.owner();
    busy(&cloud);
    cloud.world.archives.fail_reads(true);
    assert!(cloud.compact(2).is_err());
    cloud.world.archives.fail_reads(false);
    assert_eq!((cloud.loose(), cloud.shown(&ada)), (81, ids(0..80)));
}

#[test]
fn what_comes_late_lies_beside_the_packs_and_is_packed_by_itself() {
    let cloud = cloud();
    let ada = cloud.owner();
    busy(&cloud);
    cloud.compact(2).unwrap();
    cloud.archive(&[cloud.message(90, at(90)), cloud.message(3, at(3))]);
    assert_eq!(cloud.shown(&ada), ids((0..80).chain([90])), "one of them is in a pack already");
    cloud.compact(3).unwrap();
    assert_eq!(cloud.loose(), 1, "an hour that is packed is not packed again at once");
    cloud.compact(30).unwrap();
    assert_eq!((cloud.loose(), cloud.keys().len()), (0, 6));
    assert_eq!(cloud.shown(&ada), ids((0..80).chain([90])));
}

#[test]
fn what_is_archived_and_was_not_counted_is_counted_once() {
    let cloud = cloud();
    let messages: Vec<_> = (1..11).map(|number| cloud.message(number, at(number * 60))).collect();
    cloud.archive(&messages);
    cloud.count(&messages[..6]);
    assert_eq!(cloud.counted(), 6);
    let done = cloud.compact(2).unwrap();
    assert!(done.contains("4 counted that were not"), "{done}");
    assert_eq!(cloud.counted(), 10);
    cloud.archive(&messages[..2]);
    cloud.compact(30).unwrap();
    assert_eq!(cloud.counted(), 10);
}

#[test]
fn a_device_that_flooded_its_hour_is_not_counted_again() {
    let cloud = cloud();
    let messages: Vec<_> = (1..601).map(|number| cloud.message(number, at(number))).collect();
    cloud.archive(&messages);
    cloud.count(&messages);
    assert_eq!(cloud.counted(), 600);
    cloud.compact(2).unwrap();
    assert_eq!(cloud.counted(), 600);
}

#[test]
fn an_hour_of_objects_that_are_large_is_divided_into_shards() {
    let cloud = cloud();
    let ada = cloud.owner();
    let others: Vec<_> = (1..=40).map(|number| cloud.enroll(number)).collect();
    for tenth in 0..6 {
        let mut messages = Vec::new();
        for number in tenth * 60..(tenth + 1) * 60 {
            messages.push(cloud.message(number, at(number)));
            messages.extend(others.iter().map(|device| cloud.of(device, number, at(number))));
        }
        cloud.archive(&messages);
    }
    cloud.compact(2).unwrap();
    let packs = cloud.keys().iter().filter(|key| key.contains("/packed-")).count();
    assert!([4, 16].contains(&packs), "{packs}");
    assert_eq!(cloud.shown(&ada), ids(0..360));
    let opened = cloud.world.archives.opened();
    cloud.shown(&ada);
    assert_eq!(cloud.world.archives.opened() - opened, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However messages lie in objects, some of them twice or late, whenever it runs: people see each once.
    #[test]
    fn any_objects_and_any_runs_show_every_message_once(
        objects in proptest::collection::vec(proptest::collection::vec(0_i64..40, 1..6), 1..12),
        runs in proptest::collection::vec(proptest::option::of(2_i64..6), 12),
    ) {
        let cloud = cloud();
        let ada = cloud.owner();
        let (mut all, mut clock) = (BTreeSet::new(), 0);
        for (numbers, run) in objects.iter().zip(runs) {
            all.extend(numbers.iter().copied());
            let messages: Vec<_> = numbers.iter().collect::<BTreeSet<_>>().into_iter().map(|number| cloud.message(*number, at(number * 7))).collect();
            cloud.archive(&messages);
            if let Some(hours) = run {
                clock += hours;
                cloud.compact(clock).unwrap();
            }
            prop_assert_eq!(cloud.shown(&ada), ids(all.iter().copied()));
        }
        for hours in [30, 47, 71, 95, 120] {
            cloud.compact(clock.max(hours)).unwrap();
        }
        prop_assert_eq!(cloud.shown(&ada), ids(all.iter().copied()));
    }
}
