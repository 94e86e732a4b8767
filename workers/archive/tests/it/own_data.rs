//! What people may have of us as a right: all that there is of their device, and that it is deleted. Wherever a step is cut off, an
//! export is what it would have been; an erasure leaves nothing of that device, and of every other one each line to the letter.

use std::cell::Cell;
use std::collections::BTreeMap;

use pollster::block_on;
use rs1_auth::access_token::Person;
use rs1_domain::port::Packs;
use rs1_domain::time::{DAY, HOUR, MINUTE, SECOND};
use rs1_domain::{Answer, DeviceId, MacAddress, Method, UnixMillis};
use rs1_store::Statement;
use rs1_store::devices::{self, NewDevice};
use rs1_store::native::Failure;
use rs1_store::sql::run;
use rs1_store::telemetry::{EventRow, record_events};
use rs1_telemetry::Message;
use rs1_telemetry::pack::{Entry, Kind};
use rs1_worker_archive::cron::HOURLY;
use rs1_worker_archive::{erase, export};
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, cloud, header};

/// A device and two others, whose messages share objects: hours of ten and of two days ago that are packed, and of an hour ago that is not.
struct Scene {
    cloud: Cloud,
    ada: Person,
    others: Vec<DeviceId>,
    /// Counts the runs, so that each comes a minute after the one before.
    minutes: Cell<i64>,
}

/// When the hours began whose messages there are, in hours before now.
const PACKED: [i64; 3] = [240, 239, 48];
const LOOSE: i64 = 1;

fn scene() -> Scene {
    let cloud = cloud();
    let ada = cloud.owner();
    let others: Vec<_> = (1..=2).map(|number| enroll(&cloud, number)).collect();
    cloud.sql("UPDATE devices SET enrolled_at = ?1", vec![NOW.plus(-20 * DAY).into()]);
    let scene = Scene { cloud, ada, others, minutes: Cell::new(0) };
    for ago in PACKED {
        scene.send(ago, 0..6);
        scene.compact(2 - ago);
    }
    scene.send(LOOSE, 0..3);
    scene.rows();
    scene
}

fn enroll(cloud: &Cloud, number: u8) -> DeviceId {
    let mac_address = MacAddress::from_bytes([2, 0, 0, 0, 0, number]);
    let device_id = DeviceId::of(&mac_address);
    let (device, product_sku) = (device_id.clone(), None);
    let new = NewDevice { device_id, mac_address, product_sku, sealed_key: "1.x".into() };
    cloud.run(devices::enroll(&[new], NOW, "ada").unwrap());
    device
}

impl Scene {
    fn device(&self) -> &DeviceId {
        &self.cloud.device
    }

    fn message(&self, device: &DeviceId, ago: i64, number: i64) -> Message {
        let at = UnixMillis(NOW.0 - ago * HOUR + number * MINUTE);
        let line = self.cloud.message(ago * 100 + number, at).to_line();
        Message::from_json(&line.replace(self.device().as_str(), device.as_str())).unwrap()
    }

    /// A message a minute of every device, two objects an hour.
    fn send(&self, ago: i64, numbers: std::ops::Range<i64>) {
        let all = |number| {
            let devices = [self.device()].into_iter().chain(&self.others);
            devices.map(|device| self.message(device, ago, number)).collect::<Vec<_>>()
        };
        let (even, odd): (Vec<i64>, Vec<i64>) = numbers.partition(|number| number % 2 == 0);
        for numbers in [even, odd] {
            self.cloud.archive(&numbers.into_iter().flat_map(all).collect::<Vec<_>>());
        }
    }

    /// The hourly run, so many hours from now.
    fn compact(&self, hours: i64) -> String {
        self.cloud.tick(HOURLY, NOW.plus(hours * HOUR)).unwrap()
    }

    /// What the database has of our device and of another one, of every kind.
    fn rows(&self) {
        for device in [self.device(), &self.others[0]] {
            let event = |number: i64, at| EventRow {
                device_id: Some(device.clone()),
                at,
                mark: format!("m-{number}"),
                kind: "error".into(),
                detail: "E1:it's \"broken\"".into(),
                count: 1,
            };
            let events: Vec<_> =
                (0..700).map(|number| event(number, NOW.plus(-(number / 50) * DAY - HOUR))).collect();
            for events in events.chunks(50) {
                self.cloud.run(record_events(events).unwrap());
            }
            for (kind, resolved, ago) in [("critical_memory", None, 2), ("low_memory", Some(NOW), 50)] {
                let at = NOW.plus(-ago * HOUR);
                let id = rs1_domain::RecordId::generate(
                    "alr",
                    at,
                    rs1_domain::port::Random::bytes(&self.cloud.random),
                );
                self.cloud.sql(
                    "INSERT INTO alerts (alert_id, device_id, kind, severity, opened_at, last_at, occurrences, detail, resolved_at, generation)
                     VALUES (?1, ?2, ?3, 'critical', ?4, ?4, 1, '', ?5, 1)",
                    vec![id.as_str().into(), device.as_str().into(), kind.into(), at.into(), resolved.into()],
                );
            }
            self.cloud.sql(
                "INSERT INTO zone_configurations (device_id, version, updated_at, updated_by, zones) VALUES (?1, 1, ?2, 'usr', '[]')",
                vec![device.as_str().into(), NOW.into()],
            );
            self.cloud.sql(
                "UPDATE zone_configurations SET version = 2, zones = '[{\"id\": \"sofa\"}]' WHERE device_id = ?1",
                vec![device.as_str().into()],
            );
            for hour in 1..=24 {
                self.cloud.sql(
                    "INSERT INTO telemetry_rollups (device_id, hour, messages, last_at, last_received_at, metrics, generation)
                     VALUES (?1, ?2, 6, 1, 1, '{\"b\": [6, 6, 1, 1, 1], \"zone.dwell_sec\": [6, 12, 2, 2, 2]}', 1) ON CONFLICT DO NOTHING",
                    vec![device.as_str().into(), (NOW.hour() - hour).into()],
                );
            }
            self.cloud.sql(
                "INSERT INTO fleet_troubled (hour, device_id, events, alerts) VALUES (?1, ?2, 1, 1)",
                vec![(NOW.hour() - 1).into(), device.as_str().into()],
            );
        }
    }

    fn ask(&self, method: Method, what: &str, query: &str) -> Answer {
        self.cloud.send(&self.ada, method, what, query, "application/json")
    }

    /// The next run of the minute's cron, as far as it is about exports, so many hours from now.
    fn export_step(&self) -> Result<Option<String>, String> {
        self.minutes.set(self.minutes.get() + 1);
        let now = NOW.plus(self.minutes.get() * MINUTE);
        block_on(export::step(now, &self.cloud.lent())).map_err(|error| error.to_string())
    }

    fn erase_step(&self, hours: i64) -> Result<Option<String>, String> {
        self.minutes.set(self.minutes.get() + 1);
        let now = NOW.plus(hours * HOUR + self.minutes.get() * SECOND);
        block_on(erase::step(now, &self.cloud.lent())).map_err(|error| error.to_string())
    }

    /// Runs until there is nothing to do at that time.
    fn erase_all(&self, hours: i64) {
        for _ in 0..200 {
            if self.erase_step(hours).is_ok_and(|done| done.is_none()) {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    fn exported(&self) -> Value {
        for _ in 0..100 {
            let _ = self.export_step();
            let export = body(&self.ask(Method::Get, "export", ""));
            if export["state"] == "ready" {
                return export;
            }
        }
        panic!("it does not come to an end");
    }

    /// Every line that the archive holds, by its device; and whether anything speaks of ours at all.
    fn archived(&self) -> (BTreeMap<String, Vec<String>>, bool) {
        let objects = self.cloud.world.archives.objects("telemetry/");
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut named = false;
        let mut keep = |line: &str| {
            let message = Message::from_json(line).unwrap();
            lines.entry(message.device.to_string()).or_default().push(line.to_owned());
        };
        for (key, text) in &objects {
            named |= text.contains(self.device().as_str());
            match Kind::of(key) {
                Kind::Loose => text.lines().for_each(&mut keep),
                Kind::Index(part) => {
                    let (folder, _) = key.rsplit_once('/').unwrap();
                    let folder = format!("{folder}/");
                    for row in text.lines().skip(1) {
                        let entry: Entry = serde_json::from_str(row).unwrap();
                        let (pack, lengths) = (part.packed(&folder), [entry.length]);
                        let member = self.cloud.world.archives.unpack(&pack, entry.offset, &lengths);
                        let member = block_on(member).unwrap().unwrap();
                        assert_eq!(member.lines().count(), entry.lines as usize, "{key}");
                        member.lines().for_each(&mut keep);
                    }
                }
                Kind::Packed(_) => {
                    // Whatever an index says: what is in there.
                    let bytes = block_on(rs1_domain::port::Bucket::get(&self.cloud.world.archives, key))
                        .unwrap()
                        .unwrap();
                    let mut whole = String::new();
                    std::io::Read::read_to_string(
                        &mut flate2::read::MultiGzDecoder::new(bytes.as_slice()),
                        &mut whole,
                    )
                    .unwrap();
                    named |= whole.contains(self.device().as_str());
                }
                Kind::Manifest(_) | Kind::Foreign => {}
            }
        }
        for lines in lines.values_mut() {
            lines.sort();
        }
        (lines, named)
    }

    /// How many rows each table has of a device.
    fn rows_of(&self, device: &DeviceId) -> BTreeMap<&'static str, i64> {
        let count = |(table, sql): (&'static str, &'static str)| {
            let statement = Statement { name: "test", sql, params: vec![device.as_str().into()] };
            let [found] = block_on(run(&self.cloud.world.db, [statement])).unwrap();
            let rows: Value = serde_json::from_str(&found.rows_json).unwrap();
            (table, rows[0]["n"].as_i64().unwrap())
        };
        [
            ("rollups", "SELECT count(*) AS n FROM telemetry_rollups WHERE device_id = ?1"),
            ("events", "SELECT count(*) AS n FROM telemetry_events WHERE device_id = ?1"),
            ("alerts", "SELECT count(*) AS n FROM alerts WHERE device_id = ?1"),
            ("told", "SELECT count(*) AS n FROM alert_outbox WHERE device_id = ?1 AND taken_at IS NOT NULL"),
            ("troubled", "SELECT count(*) AS n FROM fleet_troubled WHERE device_id = ?1"),
        ]
        .into_iter()
        .map(count)
        .collect()
    }

    fn told(&self) {
        self.cloud.sql("UPDATE alert_outbox SET taken_at = 1", vec![]);
    }

    fn acts(&self) -> Vec<String> {
        let sql = "SELECT action FROM audit_log WHERE target = ?1 ORDER BY id";
        let statement = Statement { name: "test", sql, params: vec![self.device().as_str().into()] };
        let [found] = block_on(run(&self.cloud.world.db, [statement])).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&found.rows_json).unwrap();
        rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
    }

    /// Follows a link.
    fn follow(&self, link: &str) -> Answer {
        let (path, query) = link.split_once('?').unwrap();
        self.cloud.request(path, query, vec![])
    }

    fn download(&self, export: &Value) -> BTreeMap<String, String> {
        let answer = self.follow(export["download"].as_str().unwrap());
        assert_eq!((answer.status, answer.content_type), (200, Some("application/gzip")), "{}", answer.body);
        files(answer.stream.unwrap().source::<Vec<u8>>().unwrap())
    }
}

/// The files of a tar archive, by their names.
fn files(archive: &[u8]) -> BTreeMap<String, String> {
    assert_eq!(archive.len() % 512, 0);
    let (mut files, mut at) = (BTreeMap::new(), 0);
    while archive[at] != 0 {
        let text = |from: usize, to: usize| {
            let field = &archive[at + from..at + to];
            String::from_utf8(field.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
        };
        let (name, size) = (text(0, 100), usize::from_str_radix(&text(124, 136), 8).unwrap());
        let content = String::from_utf8(archive[at + 512..at + 512 + size].to_vec()).unwrap();
        let (_, name) = name.split_once('/').unwrap();
        assert!(files.insert(name.to_owned(), content).is_none(), "{name} is there twice");
        at += 512 + size.next_multiple_of(512);
    }
    assert_eq!(archive.len() - at, 1_024, "two blocks end it");
    assert!(archive[at..].iter().all(|byte| *byte == 0));
    files
}

fn rows(files: &BTreeMap<String, String>, kind: &str) -> Vec<Value> {
    let pages = files.iter().filter(|(name, _)| name.starts_with(&format!("{kind}-")));
    pages.flat_map(|(_, page)| serde_json::from_str::<Vec<Value>>(page).unwrap()).collect()
}

#[test]
fn an_export_has_all_that_there_is_and_of_no_other_device() {
    let scene = scene();
    let device = scene.device().as_str();
    scene.cloud.sql(
        "INSERT INTO audit_log (id, at, actor, action, method, route, target, request_id) VALUES ('aud-1', ?1, 'op@optic.works', 'admin_api_access', 'GET', '/', ?2, 'r')",
        vec![NOW.plus(-DAY).into(), device.into()],
    );
    let asked = scene.ask(Method::Post, "export", "");
    let asked: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        (&asked["state"], &asked["bytes"], &asked["download"]),
        (&json!("running"), &Value::Null, &Value::Null)
    );
    assert_eq!(asked["hours"], json!({"done": 0, "of": 480}));
    let export = scene.exported();
    assert_eq!(export["hours"], json!({"done": 480, "of": 480}));
    let files = scene.download(&export);

    let lines: Vec<_> = files.iter().filter(|(name, _)| name.starts_with("telemetry/")).collect();
    let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "telemetry/2026-01-10T00.ndjson",
            "telemetry/2026-01-18T00.ndjson",
            "telemetry/2026-01-20T00.ndjson"
        ]
    );
    let mut exported: Vec<_> = lines.iter().flat_map(|(_, text)| text.lines()).map(str::to_owned).collect();
    let ids: Vec<_> = exported.iter().map(|line| Message::from_json(line).unwrap().id).collect();
    let expected: Vec<_> =
        PACKED.into_iter().flat_map(|ago| (0..6).map(move |n| ago * 100 + n)).chain(100..103).collect();
    assert_eq!(
        ids,
        expected.iter().map(|number| format!("m{number:04}")).collect::<Vec<_>>(),
        "in the order in which they came"
    );
    exported.sort();
    assert_eq!(exported, scene.archived().0[device], "to the letter");

    assert_eq!(rows(&files, "device")[0]["device_id"], *device);
    assert_eq!(rows(&files, "people")[0]["email"], "ada@example.com");
    assert_eq!(rows(&files, "zones")[1]["zones"], json!([{"id": "sofa"}]));
    assert_eq!(rows(&files, "alerts").len(), 2);
    let hours = rows(&files, "hours");
    assert_eq!(i64::try_from(hours.len()).unwrap(), scene.rows_of(scene.device())["rollups"]);
    let metrics = json!({"system.free_heap": [6, 6, 1, 1, 1], "zone.dwell_sec": [6, 12, 2, 2, 2]});
    assert_eq!(hours[hours.len() - 1]["metrics"], metrics, "by their names, whatever they are stored as");
    let events = rows(&files, "events");
    assert_eq!(
        (events.len(), files.keys().filter(|name| name.starts_with("events-")).count()),
        (700, 2),
        "two pages"
    );
    assert_eq!(events[0]["detail"], "E1:it's \"broken\"");
    let audit = rows(&files, "audit");
    assert_eq!(
        (&audit[0]["actor"], audit.len()),
        (&json!("operator"), 1),
        "nobody is named who works here: {audit:?}"
    );
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    assert_eq!(
        (&manifest["lines"], &manifest["rows"]),
        (&json!(21), &json!(1 + 1 + 2 + 2 + 1 + hours.len() + 700))
    );
    assert!(files["README.txt"].contains("events-NNNN.json"));
    assert!(files.values().all(|text| scene.others.iter().all(|other| !text.contains(other.as_str()))));
    for act in ["data_export_asked", "data_exported"] {
        assert!(scene.acts().iter().any(|known| known == act), "{:?}", scene.acts());
    }
    assert_eq!(scene.export_step(), Ok(None));
}

#[test]
fn an_export_is_the_same_wherever_it_is_cut_off() {
    let made = |fail: &dyn Fn(&Scene)| {
        let scene = scene();
        assert_eq!(scene.ask(Method::Post, "export", "").status, 202);
        fail(&scene);
        let export = scene.exported();
        (scene.download(&export), export["bytes"].clone())
    };
    let straight = made(&|_| ());
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        for write in 0..2 {
            assert_eq!(
                made(&|scene| scene.cloud.world.archives.fail_write(write, failure)),
                straight,
                "{write} {failure:?}"
            );
        }
        for statement in ["export_take", "export_save", "export_events", "export_device"] {
            assert_eq!(
                made(&|scene| scene.cloud.world.db.fail_once(statement, failure)),
                straight,
                "{statement} {failure:?}"
            );
        }
    }
    let unreadable = made(&|scene| {
        scene.cloud.world.archives.fail_reads(true);
        assert!(scene.export_step().is_err());
        scene.cloud.world.archives.fail_reads(false);
    });
    assert_eq!(unreadable, straight);
}

#[test]
fn an_export_is_its_owners_and_a_link_is_good_for_a_quarter_of_an_hour() {
    let scene = scene();
    let bob = scene.cloud.user("bob@example.com");
    let eve = scene.cloud.user("eve@example.com");
    scene.cloud.grant(&bob, "admin", NOW);
    for (person, status) in [(&bob, 403), (&eve, 404)] {
        for (method, what) in [
            (Method::Post, "export"),
            (Method::Get, "export"),
            (Method::Get, "data"),
            (Method::Delete, "data"),
        ] {
            let answer = scene.cloud.send(person, method, what, "", "application/json");
            assert_eq!(answer.status, status, "{method:?} {what}");
        }
    }
    assert_eq!(scene.ask(Method::Get, "export", "").status, 404);
    assert_eq!(scene.ask(Method::Post, "export", "all=1").status, 422);
    assert_eq!(scene.ask(Method::Put, "export", "").status, 405);
    scene.ask(Method::Post, "export", "");
    let export = scene.exported();
    let again: Value = serde_json::from_str(&scene.ask(Method::Post, "export", "").body).unwrap();
    assert_eq!(
        (&again["id"], &again["state"]),
        (&export["id"], &json!("ready")),
        "not another one within a day"
    );

    let link = export["download"].as_str().unwrap();
    let answer = scene.follow(link);
    let name = format!("attachment; filename=\"rs1-{}-2026-01-20.tar.gz\"", scene.device());
    assert_eq!(header(&answer, "content-disposition"), Some(name.as_str()));
    assert_eq!(scene.follow(&link.replace("exp-", "exp-0")).status, 403);
    assert_eq!(scene.follow(&link.replace("sig=", "sig=A")).status, 403);
    assert_eq!(scene.cloud.request(link.split_once('?').unwrap().0, "", vec![]).status, 403);

    // It is given up, and comes back to somebody else.
    scene.cloud.sql("DELETE FROM device_access WHERE role = 'owner'", vec![]);
    assert_eq!(scene.follow(link).status, 404);
    let grace = scene.cloud.user("grace@example.com");
    scene.cloud.grant(&grace, "owner", NOW.plus(-30 * MINUTE));
    assert_eq!(scene.cloud.send(&grace, Method::Get, "export", "", "application/json").status, 404);
    let asked = scene.cloud.send(&grace, Method::Post, "export", "", "application/json");
    assert_eq!(asked.status, 202, "{}", asked.body);
    while scene.export_step().unwrap().is_some() {}
    let hers = body(&scene.cloud.send(&grace, Method::Get, "export", "", "application/json"));
    let files = scene.download(&hers);
    assert!(
        files.keys().all(|name| !name.starts_with("telemetry/")),
        "what it said at Ada's is not hers: {:?}",
        files.keys()
    );
    assert!(
        ["alerts", "events", "hours", "audit"].iter().all(|kind| rows(&files, kind).is_empty()),
        "{files:?}"
    );
}

#[test]
fn exports_go_when_their_time_is_over() {
    let scene = scene();
    scene.ask(Method::Post, "export", "");
    scene.exported();
    let count = |scene: &Scene| {
        let statement = Statement { name: "test", sql: "SELECT count(*) AS n FROM exports", params: vec![] };
        let [found] = block_on(run(&scene.cloud.world.db, [statement])).unwrap();
        serde_json::from_str::<Value>(&found.rows_json).unwrap()[0]["n"].as_i64().unwrap()
    };
    scene.compact(7 * 24);
    assert_eq!(count(&scene), 1);
    scene.compact(9 * 24);
    assert_eq!(count(&scene), 0);
}

#[test]
fn from_the_request_on_nobody_is_shown_anything_of_before() {
    let scene = scene();
    scene.ask(Method::Post, "export", "");
    let export = scene.exported();
    let raw = "resolution=raw&from=2026-01-20T09:00:00Z&to=2026-01-20T10:00:00Z";
    let shown = |what: &str, query: &str| {
        body(&scene.ask(Method::Get, what, query))["items"].as_array().unwrap().len()
    };
    assert_eq!((shown("telemetry", raw), shown("telemetry", ""), shown("alerts", "")), (3, 24, 2));
    for query in ["", "confirm=yes", "confirm="] {
        let refused = scene.ask(Method::Delete, "data", query);
        assert!(refused.status == 422 && refused.body.contains("?confirm"), "{}", refused.body);
    }
    assert_eq!(scene.ask(Method::Get, "data", "").status, 404);
    let confirm = format!("confirm={}", scene.device());
    let asked = scene.ask(Method::Delete, "data", &confirm);
    assert_eq!(asked.status, 202, "{}", asked.body);
    let erasure = body(&scene.ask(Method::Get, "data", ""));
    assert_eq!(
        (&erasure["state"], &erasure["before"], &erasure["due_at"]),
        (&json!("running"), &json!("2026-01-20T11:00:00Z"), &json!("2026-01-26T13:00:00Z"))
    );
    assert_eq!(
        (shown("telemetry", raw), shown("telemetry", ""), shown("alerts", ""), shown("events", "")),
        (0, 0, 0, 0)
    );
    assert_eq!(scene.follow(export["download"].as_str().unwrap()).status, 404);
    assert_eq!(scene.ask(Method::Get, "export", "").status, 404);
    let again: Value = serde_json::from_str(&scene.ask(Method::Delete, "data", &confirm).body).unwrap();
    assert_eq!(again["id"], erasure["id"]);
    assert_eq!(scene.acts()[1..], ["data_deletion_asked"], "once");
    // The export of what comes after has nothing of what was before.
    scene.ask(Method::Post, "export", "");
    let files = scene.download(&scene.exported());
    assert!(files.keys().all(|name| !name.starts_with("telemetry/")) && rows(&files, "events").is_empty());
}

#[test]
fn an_erasure_leaves_nothing_of_the_device_and_of_others_every_line() {
    let scene = scene();
    scene.ask(Method::Post, "export", "");
    scene.exported();
    let (before, _) = scene.archived();
    let rows = scene.rows_of(&scene.others[0]);
    scene.told();
    scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device()));
    scene.erase_all(1);
    let erasure = body(&scene.ask(Method::Get, "data", ""));
    assert_eq!(
        (&erasure["state"], &erasure["messages"]),
        (&json!("waiting"), &json!(18)),
        "what lies loose waits"
    );
    assert!(scene.cloud.world.archives.objects("exports/").is_empty());
    scene.told();
    // Meanwhile a message comes that was on its way, and what lies loose is packed.
    scene.cloud.archive(&[scene.message(scene.device(), LOOSE, 30)]);
    scene.compact(2);
    assert_eq!(scene.rows_of(scene.device())["rollups"], 0, "the compaction counts nothing of what it finds");
    scene.erase_all(121);
    assert_eq!(body(&scene.ask(Method::Get, "data", ""))["state"], "waiting");
    scene.erase_all(124);
    let erasure = body(&scene.ask(Method::Get, "data", ""));
    assert_eq!((&erasure["state"], &erasure["messages"]), (&json!("done"), &json!(22)));
    assert_eq!(erasure["hours"], json!({"done": 481, "of": 481}));
    let (after, named) = scene.archived();
    assert!(!named, "nothing speaks of it");
    let others: BTreeMap<_, _> =
        before.into_iter().filter(|(device, _)| *device != scene.device().as_str()).collect();
    assert_eq!(after, others, "every line of every other device, to the letter");
    assert!(
        scene.rows_of(scene.device()).values().all(|count| *count == 0),
        "{:?}",
        scene.rows_of(scene.device())
    );
    let mut same = scene.rows_of(&scene.others[0]);
    // The compaction has counted theirs, too.
    same.insert("rollups", rows["rollups"]);
    same.insert("told", rows["told"]);
    assert_eq!(same.get("events"), rows.get("events"));
    assert_eq!(same.get("alerts"), rows.get("alerts"));
    // What it says from then on is kept and shown.
    let at = NOW.plus(130 * HOUR);
    scene.cloud.archive(&[scene.cloud.message(7, at)]);
    assert_eq!(scene.archived().0[scene.device().as_str()].len(), 1);
}

/// Wherever a write fails, before or after it was done, nothing of the others is lost at any moment, and in the end nothing of the device is left.
#[test]
fn an_erasure_ends_the_same_wherever_it_is_cut_off() {
    let erased = |fail: &dyn Fn(&Scene)| {
        let scene = scene();
        scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device()));
        let (before, _) = scene.archived();
        let of_others = |lines: BTreeMap<String, Vec<String>>| -> Vec<_> {
            lines.into_iter().filter(|(device, _)| *device != scene.device().as_str()).collect()
        };
        let others = of_others(before);
        fail(&scene);
        let (mut failed, mut runs) = (0, 0);
        loop {
            runs += 1;
            assert!(runs < 400, "it does not come to an end");
            match scene.erase_step(if runs < 100 { 1 } else { 124 }) {
                Ok(None) if runs > 100 => break,
                Ok(_) => {}
                Err(_) => failed += 1,
            }
            let packs = scene.cloud.world.archives.objects("telemetry/");
            assert!(!packs.is_empty());
            if !(10..=100).contains(&runs) {
                // The device's own lines may be out of a pack and not yet out of its index.
                scene.cloud.look(&scene.ada, "telemetry", "resolution=raw", "application/json");
            }
        }
        let (after, named) = scene.archived();
        assert!(!named);
        assert_eq!(of_others(after), others);
        assert!(scene.rows_of(scene.device()).iter().all(|(table, count)| *count == 0 || *table == "told"));
        let erasure = body(&scene.ask(Method::Get, "data", ""));
        assert_eq!(erasure["state"], "done");
        failed
    };
    assert_eq!(erased(&|_| ()), 0);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        for write in 0..8 {
            let failed = erased(&|scene| scene.cloud.world.archives.fail_write(write, failure));
            assert_eq!(failed, 1, "write {write} {failure:?}");
        }
        for statement in [
            "erasure_take",
            "erasure_save",
            "erasure_let_go",
            "erase_hours",
            "erase_events",
            "erase_exports_of",
        ] {
            let failed = erased(&|scene| scene.cloud.world.db.fail_once(statement, failure));
            assert!(failed <= 1, "{statement} {failure:?}");
        }
    }
}

#[test]
fn an_index_that_leads_to_others_lines_deletes_nothing() {
    let scene = scene();
    let objects = scene.cloud.world.archives.objects("telemetry/");
    let (key, text) = objects.iter().find(|(key, _)| matches!(Kind::of(key), Kind::Index(_))).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let place = lines.iter().position(|line| line.contains(scene.device().as_str())).unwrap();
    let other = lines.iter().position(|line| line.contains(scene.others[0].as_str())).unwrap();
    lines[place] = lines[other].replace(scene.others[0].as_str(), scene.device().as_str());
    scene.cloud.world.archives.arrives(key, (lines.join("\n") + "\n").as_bytes(), NOW);
    let pack = objects.iter().find(|(key, _)| matches!(Kind::of(key), Kind::Packed(_))).unwrap().0.clone();
    let bytes =
        || block_on(rs1_domain::port::Bucket::get(&scene.cloud.world.archives, &pack)).unwrap().unwrap();
    let before = bytes();
    scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device()));
    let failed = (0..10).find_map(|_| scene.erase_step(1).err()).unwrap();
    assert!(failed.contains("others' lines"), "{failed}");
    assert_eq!(bytes(), before);
}

#[test]
fn devices_of_one_pack_are_erased_in_turn_and_one_erasure_becomes_one_of_more() {
    let scene = scene();
    let grace = scene.cloud.user("grace@example.com");
    scene.cloud.sql(
        "INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by) VALUES (?1, ?2, 'owner', 1, 'test')",
        vec![scene.others[0].as_str().into(), grace.user.as_str().into()],
    );
    scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device()));
    let theirs = scene.others[0].as_str();
    scene.cloud.sql(
        "INSERT INTO erasures (erasure_id, device_id, user_id, state, requested_at, from_hour, until_hour, next_hour, generation, due_at, held_until)
         SELECT 'era-2', ?1, user_id, 'running', requested_at, from_hour, until_hour, from_hour, 1, due_at, 0 FROM erasures",
        vec![theirs.into()],
    );
    scene.erase_all(1);
    // The next day she asks once more.
    scene.cloud.sql(
        "UPDATE erasures SET until_hour = until_hour - 24 WHERE device_id = ?1",
        vec![scene.device().as_str().into()],
    );
    let asked: Value =
        serde_json::from_str(&scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device())).body)
            .unwrap();
    assert_eq!((&asked["state"], &asked["before"]), (&json!("running"), &json!("2026-01-20T11:00:00Z")));
    scene.erase_all(1);
    scene.compact(2);
    scene.erase_all(124);
    let (after, named) = scene.archived();
    assert!(!named && !after.contains_key(theirs), "{:?}", after.keys());
    assert_eq!(after[scene.others[1].as_str()].len(), 21);
}

/// A backup knows nothing of what was asked for after it was made.
#[test]
fn a_database_that_was_restored_from_before_an_erasure_makes_it_again() {
    let scene = scene();
    let statement = |sql| scene.cloud.sql(sql, vec![]);
    let gone = |device: &DeviceId| scene.rows_of(device).values().all(|count| *count == 0);
    scene.told();
    scene.ask(Method::Delete, "data", &format!("confirm={}", scene.device()));
    scene.erase_all(1);
    let (before, of_other) = (scene.archived().0, scene.rows_of(&scene.others[0]));
    assert!(gone(scene.device()));
    // The backup has the rows, and of the erasure nothing; the archive is as it is.
    statement("DELETE FROM erasures");
    statement("UPDATE devices SET history_from = 0, erased_before = 0");
    statement("DELETE FROM zone_configurations");
    statement("DELETE FROM zone_versions");
    statement("DELETE FROM telemetry_events");
    statement("DELETE FROM alerts");
    statement("DELETE FROM fleet_troubled");
    statement("DELETE FROM telemetry_rollups");
    scene.rows();
    scene.told();
    assert!(!gone(scene.device()));
    scene.cloud.world.archives.fail_reads(true);
    assert!(scene.cloud.tick(HOURLY, NOW.plus(3 * HOUR)).is_err());
    scene.cloud.world.archives.fail_reads(false);
    let tidied = scene.compact(4);
    assert!(tidied.contains("1 erasures begun again"), "{tidied}");
    let shown = body(&scene.ask(Method::Get, "alerts", ""));
    assert_eq!(shown["items"], json!([]), "from that moment on nobody is shown it");
    assert_eq!(body(&scene.ask(Method::Get, "data", ""))["before"], "2026-01-20T11:00:00Z");
    scene.erase_all(4);
    scene.erase_all(124);
    assert_eq!(body(&scene.ask(Method::Get, "data", ""))["state"], "done");
    assert!(gone(scene.device()), "{:?}", scene.rows_of(scene.device()));
    assert_eq!(scene.rows_of(&scene.others[0])["alerts"], of_other["alerts"]);
    let (after, named) = scene.archived();
    assert!(!named);
    for other in &scene.others {
        assert_eq!(after[other.as_str()], before[other.as_str()]);
    }
    // What the database knows does not begin again, and in the end nothing is kept.
    let tidied = scene.compact(125);
    assert!(tidied.contains("0 erasures begun again"), "{tidied}");
    assert_eq!(scene.cloud.world.archives.objects("erasures/").len(), 1);
    scene.compact(91 * 24);
    assert!(scene.cloud.world.archives.objects("erasures/").is_empty());
}

#[test]
fn what_was_rewritten_does_not_outlive_the_rest_of_its_day() {
    let scene = scene();
    assert!(scene.cloud.world.archives.objects("telemetry/2026-01-10/").len() > 3);
    scene.compact(367 * 24 - 240 - 24);
    assert!(!scene.cloud.world.archives.objects("telemetry/2026-01-10/").is_empty());
    scene.compact(367 * 24 - 240);
    assert!(scene.cloud.world.archives.objects("telemetry/2026-01-10/").is_empty());
    assert!(!scene.cloud.world.archives.objects("telemetry/2026-01-18/").is_empty());
}
