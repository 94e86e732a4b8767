//! A fleet over the doubles: devices that are told of updates by the broker and speak through the queue of reports.

use std::collections::BTreeMap;

use pollster::block_on;
use rs1_domain::event::{Batch, Delivery, Settlement, Tick};
use rs1_domain::port::{Publication, Statement};
use rs1_domain::time::{MINUTE, SECOND};
use rs1_domain::topic;
use rs1_domain::wire::{OtaPhase, OtaStatus, OtaTrigger, State};
use rs1_domain::{
    Answer, DeviceId, FirmwareVersion, MacAddress, Method, RecordId, RequestId, Sku, UnixMillis,
};
use rs1_rollout::{OtaEvent, Sighting, cohort};
use rs1_store::devices::{self, NewDevice, Reported};
use rs1_store::firmware::{self, NewArtifact};
use rs1_store::sql::{first_row, run};
use rs1_worker_ota::{cron, queue};
use serde_json::{Value, json};

use super::{Cloud, body};

pub const OLD: &str = "1.1.0";
pub const NEW: &str = "1.2.0";

pub fn version(text: &str) -> FirmwareVersion {
    FirmwareVersion::parse(text).unwrap()
}

/// Devices in the order of their cohorts, as the planner takes them.
pub fn device_ids(count: u8) -> Vec<DeviceId> {
    let mut devices: Vec<_> = (0..count).map(|number| DeviceId::of(&mac(number))).collect();
    devices.sort_by_key(|device| (cohort(device), device.clone()));
    devices
}

fn mac(number: u8) -> MacAddress {
    MacAddress::from_bytes([2, 0, 0, 0, 0, number])
}

impl Cloud {
    pub fn run_statement(&self, statement: Statement) -> rs1_domain::port::Outcome {
        let [outcome] = block_on(run(&self.db, [statement])).unwrap();
        outcome
    }

    /// An artifact with the version [`NEW`], and so many devices, online with [`OLD`].
    pub fn with_fleet(count: u8) -> (Self, Vec<DeviceId>) {
        let cloud = Self::new();
        cloud.add_artifact(NEW, 7);
        for number in 0..count {
            let device = NewDevice {
                device_id: DeviceId::of(&mac(number)),
                mac_address: mac(number),
                product_sku: Some(Sku::Pro),
                sealed_key: "1.x".into(),
            };
            cloud.run_statement(devices::enroll(&[device], cloud.now.get(), "ada").unwrap());
        }
        let devices = device_ids(count);
        for device in &devices {
            cloud.connect(device, OLD, 1);
        }
        cloud.deliver_reports();
        (cloud, devices)
    }

    /// An artifact of that version, with that anti-rollback counter.
    pub fn add_artifact(&self, name: &str, fw_version: u32) {
        let now = self.now.get();
        // Every artifact has a signer of its own.
        let digits = name.bytes().fold(0_u8, u8::wrapping_add);
        let key = RecordId::generate("fwk", now, [digits; 10]);
        let public_key = format!("{digits:02x}").repeat(64);
        self.run_statement(firmware::add_key(&key, "ci", &public_key, now, "ada"));
        self.run_statement(firmware::add_artifact(&NewArtifact {
            id: RecordId::generate("fwa", now, [digits; 10]),
            sku: Sku::Pro,
            version: &version(name),
            sha256: &"cd".repeat(32),
            size: 1_500_000,
            elf_sha256: &"ef".repeat(32),
            fw_version,
            project_name: "rs1",
            built_at: now,
            key_id: key.as_str(),
            at: now,
            by: "ada",
        }));
    }

    pub fn pass(&self, milliseconds: i64) {
        self.now.set(self.now.get().plus(milliseconds));
    }

    /// A rollout of [`NEW`] with those fields more; its id.
    pub fn rollout(&self, fields: &Value) -> String {
        let mut asked = json!({"sku": "rs1_pro", "version": NEW, "rate_per_minute": 10_000});
        asked.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = self.post("/admin/rollouts", &asked);
        assert_eq!(answer.status, 201, "{}", answer.body);
        body(&answer)["rollout_id"].as_str().unwrap().to_owned()
    }

    pub fn tell(&self, rollout: &str, verb: &str) -> Answer {
        self.post(&format!("/admin/rollouts/{rollout}/{verb}"), &json!({"reason": "a test"}))
    }

    pub fn show(&self, rollout: &str) -> Value {
        let answer = self.get(&format!("/admin/rollouts/{rollout}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        body(&answer)
    }

    pub fn counts(&self, rollout: &str) -> BTreeMap<String, u64> {
        serde_json::from_value(self.show(rollout)["counts"].clone()).unwrap()
    }

    /// The whole history.
    pub fn history(&self, rollout: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = body(&self.get(&format!("/admin/rollouts/{rollout}/events?limit=200{cursor}")));
            events.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }

    /// The next minute's cron; `false` if it failed.
    pub fn tick(&self) -> bool {
        self.pass(MINUTE);
        self.tick_now()
    }

    /// This minute's cron.
    pub fn tick_now(&self) -> bool {
        let now = self.now.get();
        let request_id = RequestId::from_header("tick").unwrap();
        let tick = Tick { cron: "* * * * *".into(), scheduled: now, now, request_id };
        block_on(cron::tick(&tick, &self.config.policy, &self.engine())).is_ok()
    }

    /// Delivers messages of a queue; those that come again.
    pub fn deliver(&self, queue: &str, messages: &[String]) -> Vec<String> {
        let now = self.now.get();
        let deliveries = messages.iter().zip(1..).map(|(text, number)| Delivery {
            id: format!("q{number}"),
            attempts: 1,
            sent_at: now,
            body: text.clone(),
        });
        let request_id = RequestId::from_header("batch").unwrap();
        let batch = Batch { queue: queue.into(), deliveries: deliveries.collect(), now, request_id };
        let Settlement { retries, .. } = block_on(queue::consume(&batch, Some(&self.config), &self.engine()));
        retries.iter().map(|retry| messages[retry.index].clone()).collect()
    }

    pub fn deliver_triggers(&self, messages: &[String]) -> Vec<String> {
        messages.chunks(100).flat_map(|part| self.deliver("rs1-ota-triggers-local", part)).collect()
    }

    /// Delivers what is on the queue of reports; those that come again.
    pub fn deliver_reports(&self) -> Vec<String> {
        let messages = self.reports.take();
        messages.chunks(100).flat_map(|part| self.deliver("rs1-ota-status-local", part)).collect()
    }

    /// Hands over what is on the trigger queue, until nothing comes again; what devices then received.
    pub fn hand_over(&self) -> Vec<(DeviceId, OtaTrigger)> {
        let mut waiting = self.triggers.take();
        while !waiting.is_empty() {
            waiting = self.deliver_triggers(&waiting);
        }
        self.received()
    }

    /// What devices received since the last time.
    pub fn received(&self) -> Vec<(DeviceId, OtaTrigger)> {
        let read = |Publication { topic, payload, .. }: Publication| {
            let device = topic.split('/').nth(1).and_then(DeviceId::parse).unwrap();
            (device, OtaTrigger::read(payload.as_bytes()).unwrap_or_else(|faults| panic!("{faults:?}")))
        };
        self.broker.take().into_iter().map(read).collect()
    }

    /// A device connects, or speaks up again, and says what it runs.
    pub fn connect(&self, device: &DeviceId, runs: &str, boot: i64) {
        self.pass(1);
        self.broker.subscribe(topic::of_device(device, "ota/trigger"));
        let text = json!({"online": true, "firmware_version": runs, "last_seen": self.now.get(), "boot_count": boot, "wifi_rssi": -50});
        let state = State::read(text.to_string().as_bytes()).unwrap();
        let taken_in =
            self.run_statement(devices::report_state(device, &state, Some(device.as_str()), self.now.get()));
        let reported: Reported = first_row(&taken_in).unwrap().unwrap();
        if reported.matters_to_updates {
            let sighting = Sighting::of(&state, self.now.get(), reported.came_online);
            self.queue_report(&OtaEvent::State { device_id: device.clone(), sighting });
        }
    }

    pub fn disconnect(&self, device: &DeviceId) {
        self.pass(1);
        self.broker.unsubscribe(&topic::of_device(device, "ota/trigger"));
        self.run_statement(devices::report_gone(device, "tcp_closed", Some(device.as_str()), self.now.get()));
    }

    pub fn queue_report(&self, event: &OtaEvent) {
        block_on(rs1_domain::port::Queue::send(&self.reports, &event.to_json())).unwrap();
    }

    /// A device says how its update goes.
    pub fn report(&self, device: &DeviceId, rollout: &str, phase: OtaPhase) -> OtaEvent {
        self.pass(1);
        let at = self.now.get();
        let event = report(device, rollout, phase, at);
        self.queue_report(&event);
        event
    }

    /// A device updates as a good one does.
    pub fn update(&self, device: &DeviceId, rollout: &str) {
        for phase in [OtaPhase::Pending, OtaPhase::Downloading, OtaPhase::Verifying, OtaPhase::Success] {
            self.report(device, rollout, phase);
        }
        self.disconnect(device);
        self.pass(5 * SECOND);
        self.connect(device, NEW, 2);
    }

    pub fn with_key(&self, key: &str, target: &str, body: &Value) -> Answer {
        let mut request = self.request(Method::Post, target, body.to_string().into_bytes());
        request.headers = super::authorized();
        request.headers.push(("idempotency-key", key.to_owned()));
        self.send(request)
    }
}

pub fn report(device: &DeviceId, rollout: &str, phase: OtaPhase, at: UnixMillis) -> OtaEvent {
    OtaEvent::Status {
        id: format!("{:?}-{}-{}", phase, at.0, device),
        device_id: device.clone(),
        received_at: at,
        status: OtaStatus {
            status: phase,
            version: version(NEW),
            progress: None,
            error: (phase == OtaPhase::Failed).then(|| "hash_mismatch".to_owned()),
            rollout_id: Some(rollout.to_owned()),
            timestamp: at,
        },
    }
}

/// Counts as the history tells them: of each device, the state that it came to last.
pub fn folded(history: &[Value]) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for event in history.iter().filter(|event| event["kind"] == "device") {
        states.insert(event["device_id"].as_str().unwrap(), event["state"].as_str().unwrap());
    }
    let mut counts = BTreeMap::new();
    for state in states.values() {
        *counts.entry((*state).to_owned()).or_default() += 1;
    }
    counts
}
