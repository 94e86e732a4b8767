//! Downloads on real SQL and a bucket in memory: who may, how often, and exactly what is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pollster::block_on;
use rs1_auth::signed_url::{UrlKeys, VALID};
use rs1_domain::http::Stream;
use rs1_domain::port::{Database, Param, Statement};
use rs1_domain::time::SECOND;
use rs1_domain::{Answer, DeviceId, MacAddress, Method, Sku, hex};
use rs1_rollout::queued::OtaEvent;
use rs1_store::devices::{self, NewDevice};
use rs1_store::native::Failure;
use rs1_worker_ota::config::Config;
use rs1_worker_ota::permits::GOOD_FOR;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::common::image::Signer;
use crate::common::{Cloud, NOW, body};

const PATH: &str = "/firmware/rs1_pro/1.2.0.bin";
const ROLLOUT: &str = "rol-01";

fn device(number: u8) -> DeviceId {
    DeviceId::of(&mac(number))
}

fn mac(number: u8) -> MacAddress {
    MacAddress::from_bytes([2, 0, 0, 0, 0, number])
}

fn write(cloud: &Cloud, sql: &'static str, params: Vec<Param>) {
    block_on(cloud.db.batch(vec![Statement { name: "test", sql, params }])).unwrap();
}

/// A cloud with an artifact, a rollout of it, and device 1 triggered in it. Also the artifact's bytes.
fn cloud() -> (Cloud, Vec<u8>) {
    let (cloud, signer) = (Cloud::new(), Signer::number(1));
    cloud.register(&signer);
    let image = signer.image("1.2.0");
    assert_eq!(cloud.upload("rs1_pro/1.2.0", &image).status, 201);
    let new = |number| NewDevice {
        device_id: device(number),
        mac_address: mac(number),
        product_sku: Some(Sku::Pro),
        sealed_key: "1.x".into(),
    };
    block_on(cloud.db.batch(vec![devices::enroll(&[new(1), new(2)], NOW, "ada").unwrap()])).unwrap();
    rollout(&cloud, ROLLOUT);
    member(&cloud, ROLLOUT, 1);
    (cloud, image)
}

fn rollout(cloud: &Cloud, id: &str) {
    write(
        cloud,
        "INSERT INTO rollouts (rollout_id, sku, version, sha256, elf_sha256, fw_version, stages, min_rssi, force,
           rate_per_minute, selector, created_at, created_by, status)
         VALUES (?1, 'rs1_pro', '1.2.0', ?2, ?2, 7, '[]', -70, 0, 10, '{}', 0, 'ada', 'STAGED')",
        vec![id.into(), "0".repeat(64).into()],
    );
}

fn member(cloud: &Cloud, rollout: &str, number: u8) {
    write(
        cloud,
        "INSERT INTO rollout_devices (rollout_id, device_id, state, attempt, facts, triggered_at, revision, written_by)
         VALUES (?1, ?2, 'triggered', 3, '{}', 0, 0, '')",
        vec![rollout.into(), device(number).as_str().into()],
    );
}

fn set_status(cloud: &Cloud, status: &str) {
    write(cloud, "UPDATE rollouts SET status = ?1", vec![status.into()]);
}

fn set_state(cloud: &Cloud, state: &str) {
    write(cloud, "UPDATE rollout_devices SET state = ?1", vec![state.into()]);
}

fn link(keys: &UrlKeys, number: u8) -> String {
    keys.link("", PATH, &device(number), ROLLOUT, NOW)
}

fn ask(cloud: &Cloud, method: Method, target: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = cloud.request(method, target, Vec::new());
    request.headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    cloud.send(request)
}

fn get(cloud: &Cloud, headers: &[(&'static str, &str)]) -> Answer {
    ask(cloud, Method::Get, &link(&cloud.config.links, 1), headers)
}

fn bytes(answer: &Answer) -> Vec<u8> {
    answer.stream.as_ref().and_then(Stream::source::<Vec<u8>>).cloned().unwrap_or_default()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// Status and kind of a refusal.
fn refusal(answer: &Answer) -> (u16, String) {
    let kind = body(answer)["type"].as_str().unwrap().to_owned();
    (answer.status, kind.strip_prefix("urn:rs1:problem:").unwrap().to_owned())
}

fn refused(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(refusal(answer), (status, kind.to_owned()), "{}", answer.body);
    assert!(answer.stream.is_none(), "not a byte of it");
}

#[test]
fn an_image_is_sent_whole_with_all_that_says_what_it_is() {
    let (cloud, image) = cloud();
    let answer = get(&cloud, &[]);
    assert_eq!((answer.status, bytes(&answer)), (200, image.clone()));
    let sha256 = Sha256::digest(&image);
    assert_eq!(answer.content_type, Some("application/octet-stream"));
    assert_eq!(header(&answer, "content-length"), Some(image.len().to_string().as_str()));
    assert_eq!(header(&answer, "etag"), Some(format!("\"{}\"", hex::encode(&sha256)).as_str()));
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha256));
    assert_eq!(header(&answer, "repr-digest"), Some(digest.as_str()));
    assert_eq!(header(&answer, "accept-ranges"), Some("bytes"));
    assert_eq!(header(&answer, "cache-control"), Some("private, max-age=900, no-transform"));
    assert_eq!(header(&answer, "content-range"), None);

    let head = ask(&cloud, Method::Head, &link(&cloud.config.links, 1), &[("range", "bytes=5-")]);
    assert_eq!((head.status, &head.stream), (200, &None));
    assert_eq!(head.headers, answer.headers, "HEAD says what GET would, and knows no ranges");
}

#[test]
fn parts_are_parts() {
    let (cloud, image) = cloud();
    let size = image.len();
    let etag = header(&get(&cloud, &[]), "etag").unwrap().to_owned();
    for (range, first, last) in
        [("bytes=0-", 0, size - 1), ("bytes=100-199", 100, 199), ("bytes=1000-99999", 1_000, size - 1)]
    {
        let answer = get(&cloud, &[("range", range), ("if-range", &etag)]);
        assert_eq!((answer.status, bytes(&answer)), (206, image[first..=last].to_vec()), "{range}");
        let content_range = format!("bytes {first}-{last}/{size}");
        assert_eq!(header(&answer, "content-range"), Some(content_range.as_str()));
        assert_eq!(header(&answer, "content-length"), Some((last + 1 - first).to_string().as_str()));
        assert_eq!(header(&answer, "etag"), Some(etag.as_str()));
    }
    let answer = get(&cloud, &[("range", &format!("bytes={size}-"))]);
    refused(&answer, 416, "range-not-satisfiable");
    assert_eq!(header(&answer, "content-range"), Some(format!("bytes */{size}").as_str()));
    let answer = get(&cloud, &[("range", "bytes=5-"), ("if-range", "\"other\"")]);
    assert_eq!((answer.status, bytes(&answer)), (200, image));
    let answer = get(&cloud, &[("if-none-match", &etag)]);
    assert_eq!((answer.status, header(&answer, "etag"), &answer.stream), (304, Some(etag.as_str()), &None));
    refused(&get(&cloud, &[("if-match", "\"other\"")]), 412, "precondition-failed");
}

#[test]
fn a_link_that_is_not_good_opens_nothing() {
    let (cloud, _) = cloud();
    let good = link(&cloud.config.links, 1);
    for bad in [
        PATH.to_owned(),
        good.replace("1.2.0", "1.2.1"),
        good.replace(ROLLOUT, "rol-02"),
        good.replace(device(1).as_str(), device(2).as_str()),
        format!("{good}&x=1"),
        link(&UrlKeys::new("a key of somebody else, long enough too", None), 1),
    ] {
        let answer = ask(&cloud, Method::Get, &bad, &[]);
        refused(&answer, 403, "bad-signature");
    }
    cloud.now.set(NOW.plus(VALID - 1));
    assert_eq!(ask(&cloud, Method::Get, &good, &[]).status, 200);
    cloud.now.set(NOW.plus(VALID));
    refused(&ask(&cloud, Method::Get, &good, &[]), 403, "url-expired");
    assert_eq!(ask(&cloud, Method::Post, &good, &[]).status, 405);
}

#[test]
fn a_stranger_costs_no_database() {
    let (cloud, _) = cloud();
    let before = cloud.db.statements_run();
    refused(&ask(&cloud, Method::Get, PATH, &[]), 403, "bad-signature");
    assert_eq!(cloud.db.statements_run(), before);
}

#[test]
fn links_outlive_the_rotation_of_their_key() {
    let (mut cloud, _) = cloud();
    let before = link(&cloud.config.links, 1);
    let rotated = |name: &str| match name {
        "SIGNING_KEY" => Some("the next signing key, long enough as well".to_owned()),
        "SIGNING_KEY_PREVIOUS" => crate::common::setting("SIGNING_KEY"),
        other => crate::common::setting(other),
    };
    cloud.config = Config::read(&rotated).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(ask(&cloud, Method::Get, &before, &[]).status, 200);
    assert_eq!(get(&cloud, &[]).status, 200, "new links are signed with the new key");
    let done = |name: &str| if name == "SIGNING_KEY_PREVIOUS" { None } else { rotated(name) };
    cloud.config = Config::read(&done).unwrap_or_else(|faults| panic!("{faults:?}"));
    refused(&ask(&cloud, Method::Get, &before, &[]), 403, "bad-signature");
}

#[test]
fn only_a_device_with_an_open_attempt_in_that_rollout_gets_the_image() {
    let (cloud, _) = cloud();
    refused(&ask(&cloud, Method::Get, &link(&cloud.config.links, 2), &[]), 403, "not-in-rollout");
    let elsewhere = cloud.config.links.link("", PATH, &device(1), "rol-99", NOW);
    refused(&ask(&cloud, Method::Get, &elsewhere, &[]), 403, "not-in-rollout");
    for state in ["triggered", "deferred", "downloading", "verifying", "installed"] {
        set_state(&cloud, state);
        assert_eq!(get(&cloud, &[]).status, 200, "{state}");
    }
    for state in ["confirmed", "failed", "refused", "rolled_back", "timed_out", "cancelled"] {
        set_state(&cloud, state);
        refused(&get(&cloud, &[]), 403, "not-in-rollout");
    }
    set_state(&cloud, "downloading");
    for (status, expected) in [("STAGED", 200), ("COMPLETED", 200), ("ABORTED", 403), ("PENDING", 403)] {
        set_status(&cloud, status);
        assert_eq!(get(&cloud, &[]).status, expected, "{status}");
    }
}

#[test]
fn a_rollout_of_another_version_opens_nothing() {
    let (cloud, _) = cloud();
    write(&cloud, "UPDATE rollouts SET version = '1.3.0'", Vec::new());
    refused(&get(&cloud, &[]), 403, "not-in-rollout");
}

#[test]
fn while_a_rollout_is_paused_who_has_begun_goes_on_and_nobody_begins() {
    let (cloud, _) = cloud();
    set_status(&cloud, "PAUSED");
    refused(&get(&cloud, &[]), 403, "not-in-rollout");
    set_state(&cloud, "downloading");
    assert_eq!(get(&cloud, &[("range", "bytes=100-")]).status, 206, "it said that it downloads");
    set_state(&cloud, "triggered");
    assert_eq!(get(&cloud, &[("range", "bytes=200-")]).status, 206, "it has begun, and has not said so yet");
}

#[test]
fn what_is_withdrawn_is_handed_out_no_more_whoever_asks() {
    let (cloud, _) = cloud();
    assert_eq!(get(&cloud, &[]).status, 200);
    cloud.post("/admin/firmware/rs1_pro/1.2.0/yank", &json!({"reason": "boots into a loop"}));
    refused(&get(&cloud, &[]), 410, "yanked");
    cloud.now.set(NOW.plus(GOOD_FOR));
    refused(&get(&cloud, &[("range", "bytes=100-")]), 410, "yanked");

    let (cloud, _) = self::cloud();
    let keys = body(&cloud.get("/admin/firmware-keys"));
    cloud.delete(&format!("/admin/firmware-keys/{}", keys["items"][0]["key_id"].as_str().unwrap()));
    refused(&get(&cloud, &[]), 410, "yanked");
}

#[test]
fn a_download_that_goes_on_feels_the_end_of_its_rollout_within_two_seconds_and_another_at_once() {
    let (cloud, _) = cloud();
    assert_eq!(get(&cloud, &[("range", "bytes=0-99")]).status, 206);
    set_status(&cloud, "ABORTED");
    cloud.now.set(NOW.plus(GOOD_FOR - 1));
    assert_eq!(get(&cloud, &[("range", "bytes=100-199")]).status, 206);
    refused(&get(&cloud, &[("range", "bytes=0-99")]), 403, "not-in-rollout");
    cloud.now.set(NOW.plus(GOOD_FOR));
    refused(&get(&cloud, &[("range", "bytes=200-299")]), 403, "not-in-rollout");
    // What one device may is nothing to another.
    let other = cloud.config.links.link("", PATH, &device(2), ROLLOUT, NOW);
    refused(&ask(&cloud, Method::Get, &other, &[("range", "bytes=200-299")]), 403, "not-in-rollout");
}

#[test]
fn an_image_that_never_was_is_not_found() {
    let (cloud, _) = cloud();
    let elsewhere = cloud.config.links.link("", "/firmware/rs1_pro/9.9.9.bin", &device(1), ROLLOUT, NOW);
    refused(&ask(&cloud, Method::Get, &elsewhere, &[]), 404, "not-found");
}

#[test]
fn downloads_are_counted_once_each_and_not_once_a_range() {
    let (cloud, _) = cloud();
    let before = cloud.db.statements_run();
    assert_eq!(get(&cloud, &[("range", "bytes=0-99")]).status, 206);
    assert_eq!(cloud.db.statements_run() - before, 2, "one to look, one to count");
    let before = cloud.db.statements_run();
    for start in (100..1_000).step_by(100) {
        assert_eq!(get(&cloud, &[("range", &format!("bytes={start}-{}", start + 99))]).status, 206);
    }
    assert_eq!(cloud.db.statements_run() - before, 0, "what was read a moment ago holds");
    cloud.now.set(NOW.plus(GOOD_FOR));
    for start in [500, 600] {
        assert_eq!(get(&cloud, &[("range", &format!("bytes={start}-"))]).status, 206);
    }
    assert_eq!(cloud.db.statements_run() - before, 1, "and is read again after two seconds");
    for _ in 2..=10 {
        assert_eq!(get(&cloud, &[]).status, 200);
        assert_eq!(get(&cloud, &[("if-match", "\"x\"")]).status, 412, "what is not sent is not counted");
    }
    refused(&get(&cloud, &[]), 429, "too-many-attempts");
}

#[test]
fn a_device_in_a_loop_is_refused_and_the_engine_hears_of_it_once() {
    let (cloud, _) = cloud();
    for _ in 0..10 {
        assert_eq!(get(&cloud, &[("range", "bytes=0-")]).status, 206);
    }
    assert_eq!(get(&cloud, &[("range", "bytes=500-")]).status, 206, "the tenth goes on");
    assert_eq!(cloud.reports.take(), [""; 0]);
    cloud.now.set(NOW.plus(SECOND));
    let answer = get(&cloud, &[]);
    refused(&answer, 429, "too-many-attempts");
    assert_eq!(header(&answer, "retry-after"), Some("86400"));
    let refused_event = OtaEvent::DownloadRefused {
        device_id: device(1),
        rollout_id: ROLLOUT.into(),
        attempt: 3,
        at: NOW.plus(SECOND),
    };
    assert_eq!(cloud.reports.take(), [refused_event.to_json()]);
    for range in ["bytes=0-", "bytes=500-"] {
        refused(&get(&cloud, &[("range", range)]), 429, "too-many-attempts");
    }
    assert_eq!(cloud.reports.take(), [""; 0], "told once");

    // Another rollout of the same image is another chance.
    set_state(&cloud, "failed");
    rollout(&cloud, "rol-02");
    member(&cloud, "rol-02", 1);
    let again = cloud.config.links.link("", PATH, &device(1), "rol-02", NOW);
    assert_eq!(ask(&cloud, Method::Get, &again, &[]).status, 200);
}

#[test]
fn a_refusal_that_could_not_be_told_is_told_the_next_time() {
    let (cloud, _) = cloud();
    for _ in 0..10 {
        get(&cloud, &[]);
    }
    cloud.reports.fail(true);
    assert_eq!(get(&cloud, &[]).status, 503);
    cloud.reports.fail(false);
    cloud.db.fail_statement("firmware_download_refused", Some(Failure::BeforeCommit));
    assert_eq!(get(&cloud, &[]).status, 503);
    assert_eq!(cloud.reports.take().len(), 1, "it was told, and that was not noted");
    cloud.db.fail(None);
    assert_eq!(get(&cloud, &[]).status, 429);
    assert_eq!(cloud.reports.take().len(), 1, "so it is told again, which harms nobody");
    assert_eq!(get(&cloud, &[]).status, 429);
    assert_eq!(cloud.reports.take(), [""; 0]);
}

#[test]
fn who_goes_on_with_what_nobody_saw_begin_is_counted_too() {
    let (cloud, _) = cloud();
    for _ in 0..2 {
        assert_eq!(get(&cloud, &[("range", "bytes=1-")]).status, 206);
    }
    for _ in 1..10 {
        assert_eq!(get(&cloud, &[]).status, 200, "one was counted");
    }
    refused(&get(&cloud, &[]), 429, "too-many-attempts");
}

#[test]
fn what_fails_for_a_moment_may_be_tried_again() {
    let (cloud, _) = cloud();
    for statement in ["firmware_permit", "firmware_download_begin"] {
        cloud.db.fail_statement(statement, Some(Failure::BeforeCommit));
        refused(&get(&cloud, &[]), 503, "unavailable");
        cloud.db.fail(None);
    }
    cloud.files.fail("open", Some(Failure::BeforeCommit));
    refused(&get(&cloud, &[]), 503, "unavailable");
    cloud.files.fail("open", None);
    assert_eq!(get(&cloud, &[]).status, 200);
    for key in cloud.files.keys() {
        block_on(rs1_domain::port::FileStore::delete(&cloud.files, &key)).unwrap();
    }
    refused(&get(&cloud, &[]), 503, "unavailable");
}
