//! What this worker passes on to the worker `status`: nothing else, and whatever state itself is in.

use pollster::block_on;
use rs1_domain::config::BadConfig;
use rs1_domain::{Answer, Method};
use rs1_worker_health::routes;

use crate::common::Cloud;

const PASSED: [&str; 4] = ["/", "/status.json", "/feed.atom", "/metrics"];

#[test]
fn what_is_for_the_page_is_passed_on_and_its_answer_back() {
    let cloud = Cloud::new();
    cloud.status.answers(Some(Answer::text(200, "text/html; charset=utf-8", "the page".into())));
    for path in PASSED {
        for method in [Method::Get, Method::Head] {
            let mut request = cloud.request(method, path, Vec::new());
            request.headers = vec![("authorization", "Bearer of metrics".into())];
            assert_eq!(cloud.send(request).body, "the page");
            let asked = cloud.status.take();
            assert_eq!((asked[0].0.path.as_str(), asked[0].0.method), (path, method));
            assert_eq!(asked[0].1, ["authorization"], "nothing else is passed on");
        }
        assert_eq!(cloud.send(cloud.request(Method::Post, path, Vec::new())).status, 405);
    }
    for path in ["/page/health", "/status", "/metrics/", "//"] {
        assert_eq!(cloud.send(cloud.request(Method::Get, path, Vec::new())).status, 404, "{path}");
    }
    assert!(cloud.status.take().is_empty());
}

#[test]
fn the_page_does_not_depend_on_this_workers_settings_and_a_silent_worker_is_503() {
    let cloud = Cloud::new();
    let request = || cloud.request(Method::Get, "/", Vec::new());
    assert_eq!(cloud.send(request()).status, 503);
    cloud.status.answers(Some(Answer::text(200, "text/html; charset=utf-8", "the page".into())));
    let clock = || cloud.now.get();
    let bad = BadConfig(vec!["ENVIRONMENT is missing".into()]);
    let (route, answer) = block_on(routes::handle(request(), Err(&bad), &cloud.world(&clock)));
    assert_eq!((route, answer.status), ("/", 200));
}
