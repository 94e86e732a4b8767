//! What people are told of alerts, and what they say of them.

use pollster::block_on;
use rs1_auth::access_token::Person;
use rs1_domain::time::{DAY, HOUR, MINUTE};
use rs1_domain::{Answer, Method, UnixMillis};
use rs1_store::alerts::{open, write};
use rs1_store::native::Failure;
use rs1_store::sql::{rows, run};
use rs1_telemetry::alert::{Alerts, Kind, Signal};
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, alert, body, cloud};

impl Cloud {
    /// A condition shows, or is over.
    fn signal(&self, kind: Kind, at: UnixMillis, shows: bool) {
        let [open] = block_on(run(&self.world.db, [open(&[&self.device]).unwrap()])).unwrap();
        let mut alerts = Alerts::new(self.device.clone(), rows(&open).unwrap());
        alerts.apply(vec![Signal { kind, at, seen: shows.then(String::new) }]);
        self.run(write(&alerts.changed()).unwrap());
    }

    fn ack(&self, person: &Person, alert: &str) -> Answer {
        self.send(person, Method::Post, &format!("alerts/{alert}/ack"), "", "*/*")
    }
}

#[test]
fn alerts_are_told_by_status_and_type_and_only_of_ones_own_time() {
    let cloud = cloud();
    let (ada, bob) = (cloud.owner(), cloud.user("bob@example.com"));
    cloud.signal(Kind::RadarDisconnected, NOW, true);
    cloud.signal(Kind::RadarProlonged, NOW.plus(HOUR), true);
    let count = |query: &str| cloud.pages_of(&ada, "alerts", query).0.len();
    assert_eq!((count("limit=1"), count("status=open"), count("status=resolved")), (2, 2, 0));
    assert_eq!((count("type=radar_prolonged"), count("type=low_memory")), (1, 0));
    let answer = cloud.look(&ada, "alerts", "status=old&type=x&cursor=1&limit=0&x=1", "*/*");
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!((answer.status, pointers), (422, vec!["?status", "?type", "?limit", "?cursor", "?x"]));
    assert_eq!(cloud.look(&bob, "alerts", "", "*/*").status, 404);
    cloud.run(rs1_store::access::give_up(&ada.user, &cloud.device));
    cloud.grant(&bob, "owner", NOW.plus(MINUTE));
    let left = cloud.alerts(&bob);
    assert_eq!(left, [alert("radar_prolonged", "open", 1)], "what was wrong before is not theirs to know");
}

#[test]
fn who_may_change_a_device_says_that_they_know_and_the_first_word_stays() {
    let cloud = cloud();
    let ada = cloud.owner();
    let (bob, vic, eve) =
        (cloud.user("bob@example.com"), cloud.user("vic@example.com"), cloud.user("eve@example.com"));
    cloud.grant(&bob, "admin", NOW);
    cloud.grant(&vic, "viewer", NOW);
    cloud.signal(Kind::DeviceOffline, NOW, true);
    let items = cloud.pages_of(&ada, "alerts", "").0;
    let id = items[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(items[0]["severity"], "warning");
    for (person, status) in [(&eve, 404), (&vic, 403)] {
        assert_eq!(cloud.ack(person, &id).status, status);
        assert_eq!(cloud.alerts(&ada), [alert("device_offline", "open", 1)]);
    }
    assert_eq!(cloud.ack(&ada, "alr-none").status, 404);
    let first = body(&cloud.ack(&bob, &id));
    assert_eq!(
        (&first["status"], &first["acknowledged_by"]),
        (&json!("acknowledged"), &json!(bob.user.to_string()))
    );
    assert_eq!(body(&cloud.ack(&ada, &id)), first, "said already");
    assert_eq!(cloud.pages_of(&ada, "alerts", "status=acknowledged").0, [first]);
    assert_eq!(cloud.look(&ada, &format!("alerts/{id}/ack"), "", "*/*").status, 405);
    // It goes on being watched.
    cloud.signal(Kind::DeviceOffline, NOW.plus(20 * MINUTE), false);
    assert_eq!(cloud.alerts(&ada), [alert("device_offline", "resolved", 1)]);
    cloud.sql(
        "UPDATE alerts SET acknowledged_at = NULL, acknowledged_by = NULL WHERE opened_at < ?1",
        vec![NOW.plus(DAY).into()],
    );
    assert_eq!(cloud.ack(&ada, &id).status, 409, "it is over");
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(cloud.ack(&ada, &id).status, 503);
}
