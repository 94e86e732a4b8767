//! What this worker answers: how it is, and nothing else.

use pollster::block_on;
use rs1_domain::config::BadConfig;
use rs1_domain::{Answer, Method, Request, RequestId, UnixMillis};
use rs1_store::native::{Failure, NativeDatabase};
use rs1_worker_archive::config::Config;
use rs1_worker_archive::routes::{HEALTH, handle};
use serde_json::Value;

fn ask(
    method: Method,
    path: &str,
    config: Result<&Config, &BadConfig>,
    db: &NativeDatabase,
) -> (&'static str, Answer) {
    let request = Request {
        method,
        path: path.into(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
        now: UnixMillis(0),
        request_id: RequestId::from_header("request-1").unwrap(),
    };
    block_on(handle(request, config, db))
}

#[test]
fn it_says_how_it_is_and_there_is_nothing_else_to_ask() {
    let db = NativeDatabase::new();
    let config = Config::read(&|name| (name == "ENVIRONMENT").then(|| "local".to_owned()));
    let config = config.unwrap_or_else(|faults| panic!("{faults:?}"));
    let (route, answer) = ask(Method::Get, HEALTH, Ok(&config), &db);
    assert_eq!((route, answer.status), (HEALTH, 200), "{}", answer.body);
    assert_eq!(ask(Method::Head, HEALTH, Ok(&config), &db).1.status, 200);
    assert_eq!(ask(Method::Post, HEALTH, Ok(&config), &db).1.status, 405);
    for path in ["/", "/api/archive", "/api/archive/", "/api/archive/health/", "/api/history/health"] {
        let (route, answer) = ask(Method::Get, path, Ok(&config), &db);
        assert_eq!((route, answer.status), ("unknown", 404), "{path}");
    }
    db.fail(Some(Failure::BeforeCommit));
    assert_eq!(ask(Method::Get, HEALTH, Ok(&config), &db).1.status, 503);
}

#[test]
fn a_bad_setting_is_named_and_its_value_is_not() {
    let faults = Config::read(&|_| Some("nowhere".to_owned())).map(|_| ()).unwrap_err();
    let answer = ask(Method::Get, HEALTH, Err(&faults), &NativeDatabase::new()).1;
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &body["checks"]["config"]["status"]), (503, &"fail".into()));
    assert!(answer.body.contains("ENVIRONMENT") && !answer.body.contains("nowhere"), "{}", answer.body);
}
