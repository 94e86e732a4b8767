//! What a device measured, as people are told: by the hour, by the day, message by message.

use pollster::block_on;
use rs1_auth::access_token::Person;
use rs1_domain::DeviceId;
use rs1_domain::port::{Bucket, Encoding, NewObject};
use rs1_domain::time::MINUTE;
use rs1_store::access;
use rs1_store::native::Failure;
use rs1_telemetry::archive;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, body, cloud, header};

#[test]
fn hours_come_with_count_sum_bounds_last_and_the_value_that_stands_for_them() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.count_hours(2);
    let page = body(&cloud.get(&ada, ""));
    assert_eq!(page["resolution"], "hour");
    assert_eq!(
        (page["from"].as_str(), page["to"].as_str()),
        (Some("2026-01-19T10:00:00Z"), Some("2026-01-20T10:00:00Z"))
    );
    assert_eq!(page["next_cursor"], Value::Null);
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[1]["time"], "2026-01-20T09:00:00Z");
    assert_eq!(items[1]["messages"], 2);
    let heap =
        json!({"count": 2, "sum": 2000.0, "min": 999.0, "max": 1001.0, "last": 999.0, "value": 1000.0});
    assert_eq!(items[1]["metrics"]["system.free_heap"], heap, "a gauge is averaged");
    assert_eq!(items[1]["metrics"]["radar.frames_received"]["value"], 1200.0, "a counter is summed");
    let page =
        body(&cloud.get(&ada, "metric=system.free_heap&from=2026-01-20T08:30:00Z&to=2026-01-20T09:00:00Z"));
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "hours from the one that it falls in until before the end: {page}");
    assert_eq!(items[0]["metrics"].as_object().unwrap().keys().collect::<Vec<_>>(), ["system.free_heap"]);
}

#[test]
fn hours_come_in_pages_and_days_add_hours_up() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.count_hours(50);
    let range = "from=2026-01-17T00:00:00Z";
    let (hours, pages) = cloud.pages(&ada, &format!("{range}&limit=20"));
    assert_eq!((hours.len(), pages), (50, 3));
    let times: Vec<_> = hours.iter().map(|hour| hour["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let (days, pages) = cloud.pages(&ada, &format!("{range}&resolution=day&limit=2"));
    let counts: Vec<_> =
        days.iter().map(|day| (day["time"].as_str().unwrap(), day["messages"].as_i64().unwrap())).collect();
    assert_eq!(
        counts,
        [("2026-01-18T00:00:00Z", 32), ("2026-01-19T00:00:00Z", 48), ("2026-01-20T00:00:00Z", 20)]
    );
    assert_eq!(pages, 2);
}

#[test]
fn raw_shows_every_message_once_in_the_order_of_arrival() {
    let cloud = cloud();
    let ada = cloud.owner();
    let messages: Vec<_> = (0..120).map(|n| cloud.message(n, NOW.plus((n - 120) * 5 * MINUTE))).collect();
    for several in messages.chunks(7) {
        cloud.archive(several);
    }
    // Archived twice, in another company each time, as when a success was reported as a failure.
    cloud.archive(&messages[20..23]);
    cloud.archive(&messages[60..61]);
    let (items, pages) = cloud.pages(&ada, "resolution=raw&from=2026-01-20T00:00:00Z&limit=50");
    let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
    assert_eq!(ids, expected);
    assert!(pages > 2, "{pages}");
    let first = &items[0];
    assert_eq!(
        (first["received_at"].as_str(), first["time"].as_str()),
        (Some("2026-01-20T00:00:00Z"), Some("2026-01-19T23:59:59.993Z"))
    );
    assert_eq!(first["metrics"], json!({"system.free_heap": 1000.0, "radar.frames_received": 600.0}));
    let page = body(&cloud.get(&ada, "resolution=raw&metric=system.free_heap"));
    assert_eq!(page["items"].as_array().unwrap().len(), 12, "the last hour, when nobody says");
    assert_eq!(page["items"][0]["metrics"], json!({"system.free_heap": 1108.0}));
}

#[test]
fn only_objects_that_may_hold_the_devices_messages_are_opened() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.archive(&[cloud.message(1, NOW.plus(-MINUTE))]);
    let other = DeviceId::parse("00112233445566778899aabbccddeeff").unwrap();
    for number in 0..10 {
        let object = NewObject {
            key: &format!("telemetry/2026-01-20/09/00-{number}.ndjson.gz"),
            body: b"not even NDJSON",
            content_type: rs1_domain::http::NDJSON,
            encoding: Encoding::Gzip,
            label: Some(&archive::label([&other]).unwrap()),
        };
        block_on(cloud.world.archives.put_new(object)).unwrap();
    }
    assert_eq!(body(&cloud.get(&ada, "resolution=raw"))["items"].as_array().unwrap().len(), 1);
    assert_eq!(cloud.world.archives.opened(), 1);
}

#[test]
fn the_same_comes_as_ndjson_and_as_a_table() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.count_hours(3);
    cloud.archive(&[cloud.message(1, NOW.plus(-MINUTE))]);
    let csv = cloud.get_as(&ada, "metric=system.free_heap&limit=2", "text/csv");
    assert_eq!(csv.content_type, Some(rs1_domain::http::CSV));
    let lines: Vec<_> = csv.body.split("\r\n").collect();
    assert_eq!(lines[0], "time,metric,count,sum,min,max,last,value");
    assert_eq!(lines[1], "2026-01-20T07:00:00Z,system.free_heap,2,2000,997,1003,997,1000");
    assert_eq!((lines.len(), lines[3]), (4, ""), "a line feed at the end");
    let link = header(&csv, "link").unwrap();
    assert!(link.contains("metric=system.free_heap&limit=2&cursor="), "{link}");
    let next = link.split_once('?').unwrap().1.split_once('>').unwrap().0;
    assert_eq!(cloud.get_as(&ada, next, "text/csv").body.lines().count(), 2);
    let raw = cloud.get_as(&ada, "resolution=raw", "text/csv");
    assert_eq!(
        raw.body,
        "received_at,time,id,metric,value\r\n2026-01-20T09:59:00Z,2026-01-20T09:58:59.993Z,m0001,radar.frames_received,600\r\n\
         2026-01-20T09:59:00Z,2026-01-20T09:58:59.993Z,m0001,system.free_heap,1001\r\n"
    );
    let ndjson = cloud.get_as(&ada, "", "application/x-ndjson");
    assert_eq!(ndjson.content_type, Some(rs1_domain::http::NDJSON));
    let lines: Vec<Value> = ndjson.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines, body(&cloud.get(&ada, ""))["items"].as_array().unwrap().clone());
}

#[test]
fn only_people_with_a_role_are_told_and_every_role_may_look() {
    let cloud = cloud();
    cloud.owner();
    for (email, role) in [("bob@example.com", "admin"), ("vic@example.com", "viewer")] {
        let person = cloud.user(email);
        cloud.grant(&person, role, NOW);
        assert_eq!(cloud.get(&person, "").status, 200, "{role}");
        assert_eq!(cloud.get(&person, "resolution=raw").status, 200, "{role}");
    }
    let stranger = cloud.user("eve@example.com");
    for query in ["", "resolution=raw", "resolution=day"] {
        assert_eq!(cloud.get(&stranger, query).status, 404, "{query}");
    }
    let path = format!("/api/devices/{}/telemetry", cloud.device);
    assert_eq!(cloud.request(&path, "", vec![]).status, 401);
    assert_eq!(cloud.request(&path, "", vec![("authorization", "Bearer x.y.z".into())]).status, 401);
    assert_eq!(cloud.request("/api/devices/x/telemetry", "", vec![]).status, 401);
    assert_eq!(cloud.request("/api/history/health", "", vec![]).status, 200);
    assert_eq!(cloud.request("/api/history/other", "", vec![]).status, 404);
}

#[test]
fn a_new_owner_is_not_told_what_the_device_said_at_the_former_ones() {
    let sold = NOW.plus(-90 * MINUTE);
    let scene = |hand_over: &dyn Fn(&Cloud, &Person, &Person)| {
        let cloud = cloud();
        let (ada, bob) = (cloud.owner(), cloud.user("bob@example.com"));
        cloud.count_hours(5);
        let messages: Vec<_> = (1..=10).map(|n| cloud.message(n, NOW.plus(-n * 20 * MINUTE))).collect();
        cloud.archive(&messages);
        assert_eq!(cloud.pages(&ada, "").0.len(), 5, "the first owner sees all of it");
        hand_over(&cloud, &ada, &bob);
        assert_eq!(cloud.get(&ada, "").status, 404);
        let (hours, _) = cloud.pages(&bob, "");
        assert_eq!(hours.len(), 1, "only the hour that was wholly his: {hours:?}");
        assert_eq!(hours[0]["time"], "2026-01-20T09:00:00Z");
        let (raw, _) = cloud.pages(&bob, "resolution=raw&from=2026-01-20T05:00:00Z");
        assert_eq!(raw.len(), 4, "the messages since then");
        assert_eq!(cloud.pages(&bob, "resolution=day").0.len(), 1);
    };
    scene(&|cloud, ada, bob| {
        cloud.run(access::give_up(&ada.user, &cloud.device));
        cloud.grant(bob, "owner", sold);
    });
    scene(&|cloud, _, bob| {
        cloud.sql(
            "UPDATE device_access SET user_id = ?1, granted_at = ?2 WHERE role = 'owner'",
            vec![bob.user.as_str().into(), sold.into()],
        );
    });
    scene(&|cloud, ada, bob| {
        cloud.sql("DELETE FROM users WHERE user_id = ?1", vec![ada.user.as_str().into()]);
        cloud.grant(bob, "owner", sold);
    });
}

#[test]
fn every_bad_parameter_is_named() {
    let cloud = cloud();
    let ada = cloud.owner();
    for (query, pointers) in [
        ("resolution=minute", &["?resolution"][..]),
        ("from=yesterday&to=2026-01-20", &["?to", "?from"]),
        ("from=2026-01-20T10:00:00Z&to=2026-01-20T10:00:00Z", &["?from"]),
        ("from=2025-12-01T00:00:00Z", &["?from"]),
        ("resolution=raw&from=2026-01-19T00:00:00Z", &["?from"]),
        ("metric=Heap", &["?metric"]),
        ("metric=", &["?metric"]),
        ("metric=a.b,a.c,a.d,a.e,a.f,a.g,a.h,a.i,a.j,a.k,a.l,a.m,a.n,a.o,a.p,a.q,a.r", &["?metric"]),
        ("limit=0&cursor=x&colour=red", &["?limit", "?cursor", "?colour"]),
        ("limit=1001", &["?limit"]),
    ] {
        let answer = cloud.get(&ada, query);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 422, "{query}: {problem}");
        let found: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(found, pointers, "{query}");
    }
}

#[test]
fn what_fails_may_be_tried_again() {
    let cloud = cloud();
    let ada = cloud.owner();
    cloud.archive(&[cloud.message(1, NOW.plus(-MINUTE))]);
    cloud.world.archives.fail_reads(true);
    assert_eq!(cloud.get(&ada, "resolution=raw").status, 503);
    assert_eq!(cloud.get(&ada, "").status, 200);
    cloud.world.archives.fail_reads(false);
    cloud.world.db.fail(Some(Failure::BeforeCommit));
    for query in ["", "resolution=raw"] {
        assert_eq!(cloud.get(&ada, query).status, 503, "{query}");
    }
}
