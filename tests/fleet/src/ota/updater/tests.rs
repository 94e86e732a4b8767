//! A device's updates against a server of a few lines.

use rs1_domain::{DeviceId, FirmwareVersion, Sku};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::*;
use crate::device::Identity;
use crate::ota::image::example::{Recipe, public_key};
use crate::ota::shelf::{Answer, Shelf};
use crate::ota::{OtaFaults, Trust};
use crate::tally::Tally;

const NOW: UnixMillis = UnixMillis(1_768_903_200_000);
/// A minute is a millisecond.
const SPEED: f64 = 60_000.0;

struct World {
    shelf: Shelf,
    updater: Updater,
    hardware: Hardware,
    tally: Arc<Tally>,
    image: Vec<u8>,
    /// What was said, and whether it was a copy.
    said: Vec<(Value, bool)>,
}

fn id() -> DeviceId {
    Identity::of_fleet(1, 0, None).unwrap().id
}

fn version(text: &str) -> FirmwareVersion {
    FirmwareVersion::parse(text).unwrap()
}

/// A device that runs 1.2.0 and misbehaves as asked, and a server with 1.3.0.
async fn world(faults: &str, answers: &[Answer]) -> World {
    let image = Recipe::default().bake();
    let shelf = Shelf::serve(image.clone(), answers).await;
    let tally = Arc::new(Tally::default());
    let fate = OtaFaults::parse(faults).unwrap().fates(1, &[&id()])[0];
    let settings = Settings {
        local: shelf.origin.clone(),
        trust: Trust::Keys(vec![public_key(7)]),
        speed: SPEED,
        request: None,
    };
    let random = fastrand::Rng::with_seed(1);
    let updater =
        Updater::new(Arc::new(settings), fate, random.clone(), Arc::clone(&tally) as Arc<dyn Witness>);
    let hardware = Hardware::new(id(), Sku::Pro, version("1.2.0"), random, 0, false, NOW);
    World { shelf, updater, hardware, tally, image, said: Vec::new() }
}

impl World {
    fn manifest(&self) -> Value {
        json!({
            "version": "1.3.0",
            "url": "https://ota.localhost/firmware/rs1_pro/1.3.0.bin?sig=x",
            "sha256": rs1_domain::hex::encode(&Sha256::digest(&self.image)),
            "rollout_id": "rol-01",
            "issued_at": NOW,
            "min_rssi": -90,
            "expires_at": NOW.plus(900_000),
        })
    }

    /// Triggers, and waits for what comes of it: a restart, or nothing more.
    async fn update(&mut self) -> Option<Boot> {
        let manifest = self.manifest();
        self.trigger(&manifest).await
    }

    async fn trigger(&mut self, manifest: &Value) -> Option<Boot> {
        self.updater.trigger(manifest.to_string().as_bytes(), &mut self.hardware, NOW);
        self.settle().await
    }

    async fn settle(&mut self) -> Option<Boot> {
        loop {
            self.say();
            if let Some(boot) = self.updater.boots() {
                return Some(boot);
            }
            if !self.updater.is_busy() && self.updater.put_off.is_none() && self.updater.outbox.is_empty() {
                return None;
            }
            match timeout(Duration::from_secs(10), self.updater.turn()).await.expect("it goes on") {
                Turn::Step(step) => {
                    if let Some(boot) = self.updater.step(step, &mut self.hardware, NOW) {
                        return Some(boot);
                    }
                }
                Turn::Look => self.updater.look(&mut self.hardware, NOW),
                Turn::Say => {}
            }
        }
    }

    fn say(&mut self) {
        while let Some(saying) = self.updater.say() {
            let said: Value = serde_json::from_slice(&saying.message.payload).unwrap();
            assert_eq!(said["status"], saying.status.name());
            assert!(saying.message.retained && saying.message.acknowledged);
            assert_eq!(saying.message.topic, "ota/status");
            self.said.push((said, saying.copy));
        }
    }

    fn statuses(&self) -> Vec<&str> {
        self.said.iter().map(|(said, _)| said["status"].as_str().unwrap()).collect()
    }

    fn last(&self) -> &Value {
        &self.said.last().unwrap().0
    }
}

const GOOD: [&str; 8] = [
    "pending",
    "downloading",
    "downloading",
    "downloading",
    "downloading",
    "verifying",
    "installing",
    "success",
];

#[tokio::test]
async fn a_good_image_is_downloaded_checked_installed_and_booted() {
    let mut world = world("", &[]).await;
    let boot = world.update().await.unwrap();
    assert_eq!(boot, Boot { image: Some((version("1.3.0"), 3)), boots: 1, reason: "software" });
    assert_eq!(world.statuses(), GOOD);
    let first = &world.said[0].0;
    assert_eq!(
        (&first["version"], &first["rollout_id"], &first["error"]),
        (&json!("1.3.0"), &json!("rol-01"), &json!(null))
    );
    assert_eq!(world.last()["progress"], 100);
    let stamps: Vec<_> = world.said.iter().map(|(said, _)| said["timestamp"].as_str().unwrap()).collect();
    assert!(
        stamps.is_sorted_by(|a, b| UnixMillis::parse_rfc3339(a) < UnixMillis::parse_rfc3339(b)),
        "{stamps:?}"
    );

    let pause = world.updater.boot(&boot, &mut world.hardware, NOW);
    assert!(pause > Duration::ZERO);
    assert_eq!(*world.hardware.firmware(), version("1.3.0"));
    let ota = world.tally.totals().ota;
    assert_eq!((ota.triggers, ota.begun, ota.downloaded, ota.installed, ota.booted), (1, 1, 1, 1, 1));
    assert_eq!((ota.fetched_bytes, ota.resent_bytes, ota.cuts), (world.image.len() as u64, 0, 0));
}

#[tokio::test]
async fn a_trigger_that_is_heard_again_changes_nothing() {
    let mut world = world("", &[]).await;
    let manifest = world.manifest().to_string();
    world.updater.trigger(manifest.as_bytes(), &mut world.hardware, NOW);
    world.updater.trigger(manifest.as_bytes(), &mut world.hardware, NOW);
    let boot = world.settle().await.unwrap();
    world.updater.trigger(manifest.as_bytes(), &mut world.hardware, NOW);
    assert_eq!(world.statuses(), GOOD);
    world.updater.boot(&boot, &mut world.hardware, NOW);
    // Now it runs that version, and says so, in its state as well.
    assert_eq!(world.update().await, None);
    assert_eq!(world.statuses().len(), GOOD.len() + 1);
    assert_eq!(world.last()["status"], "success");
    assert!(world.hardware.has_news());
    assert_eq!(world.tally.totals().ota.ignored, 2, "while it downloads, and before it restarts");
}

#[tokio::test]
async fn an_older_version_wants_force() {
    let mut world = world("", &[]).await;
    world.updater.boot(
        &Boot { image: Some((version("2.0.0"), 1)), boots: 1, reason: "software" },
        &mut world.hardware,
        NOW,
    );
    assert_eq!(world.update().await, None);
    assert_eq!((world.statuses(), &world.last()["error"]), (vec!["failed"], &json!("version_not_newer")));
    let mut forced = world.manifest();
    forced["force"] = json!(true);
    assert!(world.trigger(&forced).await.is_some());
}

#[tokio::test]
async fn an_image_from_before_the_anti_rollback_counter_is_not_started() {
    let mut world = world("", &[]).await;
    world.updater.boot(
        &Boot { image: Some((version("1.2.1"), 4)), boots: 1, reason: "software" },
        &mut world.hardware,
        NOW,
    );
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["error"], "anti_rollback");
}

#[tokio::test]
async fn a_manifest_with_a_field_too_many_is_refused_with_a_report() {
    let mut world = world("", &[]).await;
    let mut strange = world.manifest();
    strange["size"] = json!(1);
    assert_eq!(world.trigger(&strange).await, None);
    assert_eq!(world.statuses(), ["failed"]);
    assert!(world.last()["error"].as_str().unwrap().starts_with("bad_manifest"));
    assert_eq!(world.shelf.asked(), [""; 0]);
    strange["rollout_id"] = json!("no id");
    assert_eq!(world.trigger(&strange).await, None);
    assert_eq!(world.said.len(), 1, "nobody could be told");
}

#[tokio::test]
async fn an_expired_trigger_is_refused_by_the_devices_own_clock() {
    let mut world = world("", &[]).await;
    let skew = 901_000;
    world.hardware =
        Hardware::new(id(), Sku::Pro, version("1.2.0"), fastrand::Rng::with_seed(1), skew, false, NOW);
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["error"], "expired");
}

#[tokio::test]
async fn weak_the_signal_puts_the_update_off_until_it_is_strong() {
    let mut world = world("weak", &[]).await;
    assert!(world.update().await.is_some());
    assert_eq!(world.statuses()[..2], ["deferred", "pending"]);
    assert_eq!(world.statuses().len(), 9);
    assert_eq!(world.tally.totals().ota.deferred, 1);
}

#[tokio::test]
async fn refuse_it_says_never() {
    let mut world = world("refuse", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!((world.statuses(), &world.last()["error"]), (vec!["failed"], &json!("insufficient_memory")));
    assert_eq!(world.shelf.asked(), [""; 0]);
}

#[tokio::test]
async fn fail_download_after_three_retries() {
    let mut world = world("fail-download", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["status"], "failed");
    assert!(world.last()["error"].as_str().unwrap().starts_with("download: "));
    assert_eq!(world.shelf.asked().iter().filter(|asked| asked.starts_with("GET")).count(), 4);
    let ota = world.tally.totals().ota;
    assert_eq!((ota.cuts, ota.downloaded), (4, 0));
}

#[tokio::test]
async fn fail_hash_a_bad_bit_of_the_flash_is_found() {
    let mut world = world("fail-hash", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["error"], "sha256_mismatch");
    assert_eq!(world.statuses()[world.said.len() - 2..], ["verifying", "failed"]);
}

#[tokio::test]
async fn fail_signature_without_its_keys_it_believes_nobody() {
    let mut world = world("fail-signature", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["error"], "unknown_key");
}

#[tokio::test]
async fn fail_install_comes_after_everything_else_was_right() {
    let mut world = world("fail-install", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.statuses()[world.said.len() - 2..], ["installing", "failed"]);
    assert_eq!(world.tally.totals().ota.installed, 0);
}

#[tokio::test]
async fn rollback_the_old_image_runs_again_two_boots_later() {
    let mut world = world("rollback", &[]).await;
    let boot = world.update().await.unwrap();
    assert_eq!(world.statuses(), GOOD, "it said success all the same");
    assert_eq!(boot, Boot { image: None, boots: 2, reason: "watchdog" });
    world.updater.boot(&boot, &mut world.hardware, NOW);
    assert_eq!(*world.hardware.firmware(), version("1.2.0"));
    assert_eq!(world.tally.totals().ota.booted_back, 1);
}

#[tokio::test]
async fn silent_it_hears_the_trigger_and_does_nothing() {
    let mut world = world("silent", &[]).await;
    assert_eq!(world.update().await, None);
    assert_eq!((world.said.len(), world.shelf.asked().len()), (0, 0));
    assert_eq!(world.tally.totals().ota.triggers, 1);
}

#[tokio::test]
async fn stuck_it_says_that_it_downloads_and_never_anything_else() {
    let mut world = world("stuck", &[]).await;
    let manifest = world.manifest().to_string();
    world.updater.trigger(manifest.as_bytes(), &mut world.hardware, NOW);
    let within = Duration::from_millis(200);
    while let Ok(Turn::Step(step)) = timeout(within, world.updater.turn()).await {
        assert_eq!(world.updater.step(step, &mut world.hardware, NOW), None);
        world.say();
    }
    assert_eq!(world.statuses(), ["pending", "downloading"]);
    world.updater.trigger(manifest.as_bytes(), &mut world.hardware, NOW);
    assert_eq!(world.tally.totals().ota.ignored, 1, "it is busy with it for ever");
}

#[tokio::test]
async fn loop_it_downloads_until_it_is_refused_and_says_no_word_about_that() {
    let answers = [Answer::Right, Answer::Right, Answer::Denies(429, "too-many-attempts")];
    let mut world = world("loop", &answers).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.shelf.asked().iter().filter(|asked| asked.starts_with("GET")).count(), 3);
    assert!(!world.statuses().contains(&"failed"));
    assert!(world.said.len() <= 10, "each mark once, however often it downloads");
}

#[tokio::test]
async fn power_cut_it_forgets_the_trigger_once() {
    let mut world = world("power-cut", &[]).await;
    let boot = world.update().await.unwrap();
    assert_eq!(boot, Boot { image: None, boots: 1, reason: "brownout" });
    world.updater.boot(&boot, &mut world.hardware, NOW);
    assert!(!world.statuses().contains(&"failed"));
    // Asked again, it does it.
    let boot = world.update().await.unwrap();
    assert_eq!(boot.reason, "software");
}

#[tokio::test]
async fn mute_only_its_state_will_tell() {
    let mut world = world("mute", &[]).await;
    assert!(world.update().await.unwrap().image.is_some());
    assert_eq!(world.said.len(), 0);
}

#[tokio::test]
async fn twice_every_report_has_its_copy() {
    let mut world = world("twice", &[]).await;
    assert!(world.update().await.is_some());
    assert_eq!(world.said.len(), 2 * GOOD.len());
    for pair in world.said.chunks(2) {
        assert_eq!(pair[0].0, pair[1].0, "the same to the last letter");
        assert_eq!((pair[0].1, pair[1].1), (false, true));
    }
}

#[tokio::test]
async fn late_it_restarts_before_it_has_told_all() {
    let mut world = world("late", &[]).await;
    let boot = world.update().await.unwrap();
    assert!(world.said.len() < GOOD.len());
    world.updater.boot(&boot, &mut world.hardware, NOW);
    while world.said.len() < GOOD.len() {
        let turn = timeout(Duration::from_secs(5), world.updater.turn()).await.unwrap();
        assert!(matches!(turn, Turn::Say), "{turn:?}");
        world.say();
    }
    assert_eq!(world.statuses(), GOOD);
}

#[tokio::test]
async fn shuffle_each_two_reports_come_the_wrong_way_round_and_none_is_lost() {
    let mut world = world("shuffle", &[]).await;
    assert!(world.update().await.is_some());
    let mut statuses = world.statuses();
    assert_eq!(statuses[..2], ["downloading", "pending"]);
    statuses.sort_unstable();
    let mut expected = GOOD;
    expected.sort_unstable();
    assert_eq!(statuses, expected);
    assert!(world.said.iter().any(|(said, _)| said["status"] == "success"));
}

#[tokio::test]
async fn shuffle_keeps_nothing_back_for_ever() {
    let mut world = world("shuffle,fail-hash", &[]).await;
    assert_eq!(world.update().await, None);
    assert!(world.statuses().contains(&"failed") && world.updater.held.is_none(), "{:?}", world.statuses());
}

#[tokio::test]
async fn stray_it_talks_about_another_rollout_as_well() {
    let mut world = world("stray", &[]).await;
    assert!(world.update().await.is_some());
    let stray = world.said.iter().filter(|(said, _)| said["rollout_id"] == "rol-stray").count();
    assert_eq!((stray, world.said.len()), (GOOD.len(), 2 * GOOD.len()));
}

#[tokio::test]
async fn replay_everything_is_said_again_after_the_restart() {
    let mut world = world("replay", &[]).await;
    let boot = world.update().await.unwrap();
    assert_eq!(world.statuses(), GOOD);
    world.updater.boot(&boot, &mut world.hardware, NOW);
    while world.said.len() < 2 * GOOD.len() {
        let turn = timeout(Duration::from_secs(5), world.updater.turn()).await.unwrap();
        assert!(matches!(turn, Turn::Say), "{turn:?}");
        world.say();
    }
    let (first, again) = world.said.split_at(GOOD.len());
    assert!(again.iter().all(|(said, copy)| *copy && first.iter().any(|(before, _)| before == said)));
    let stamps: Vec<_> = again.iter().map(|(said, _)| said["timestamp"].as_str().unwrap()).collect();
    assert!(!stamps.is_sorted(), "in another order: {stamps:?}");
    assert_eq!(world.tally.totals().ota.report_copies, GOOD.len() as u64);
}

#[tokio::test]
async fn cuts_cost_less_than_a_sector_each_and_the_image_is_whole() {
    for seed in 0..20 {
        let mut world = world("cuts", &[]).await;
        world.updater.random = fastrand::Rng::with_seed(seed);
        assert!(world.update().await.is_some(), "seed {seed}");
        let ota = world.tally.totals().ota;
        assert!((1..=3).contains(&ota.cuts), "seed {seed}: {} cuts", ota.cuts);
        assert!(ota.resent_most_bytes < 4_096, "seed {seed}: {}", ota.resent_most_bytes);
        assert_eq!(ota.fetched_bytes, world.image.len() as u64 + ota.resent_bytes);
        assert!(world.said.len() <= 10, "{:?}", world.statuses());
    }
}

#[tokio::test]
async fn skew_shows_in_the_stamps_of_reports() {
    let mut world = world("skew", &[]).await;
    let skew = world.updater.fate.skew(&mut fastrand::Rng::with_seed(3));
    assert!(skew != 0 && skew.abs() <= 600_000);
    world.hardware =
        Hardware::new(id(), Sku::Pro, version("1.2.0"), fastrand::Rng::with_seed(1), skew, false, NOW);
    assert!(world.update().await.is_some());
    let stamp = UnixMillis::parse_rfc3339(world.said[0].0["timestamp"].as_str().unwrap()).unwrap();
    assert_eq!(stamp.since(NOW), skew);
}

#[tokio::test]
async fn a_server_that_refuses_ends_the_update_and_the_report_says_how() {
    let mut world = world("", &[Answer::Denies(403, "url-expired")]).await;
    assert_eq!(world.update().await, None);
    assert_eq!(world.last()["error"], "http_403_url-expired");
}

#[tokio::test]
async fn a_server_that_is_busy_for_a_while_costs_time_alone() {
    let mut world = world("", &[Answer::Busy, Answer::Breaks(5_000), Answer::Busy]).await;
    assert!(world.update().await.is_some());
    assert_eq!(world.statuses(), GOOD, "each mark is told once");
}

#[tokio::test]
async fn what_the_device_was_about_to_say_is_lost_in_a_power_cut() {
    let mut world = world("", &[]).await;
    world.updater.trigger(world.manifest().to_string().as_bytes(), &mut world.hardware, NOW);
    let boot = Boot { image: None, boots: 1, reason: "brownout" };
    world.updater.boot(&boot, &mut world.hardware, NOW);
    assert_eq!(world.settle().await, None);
    assert!(world.statuses().len() <= 1, "{:?}", world.statuses());
}
