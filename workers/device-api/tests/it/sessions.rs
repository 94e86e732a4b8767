//! Signing in, staying signed in, and what becomes of a stolen token, on real SQL and a KV that may be behind.

use rs1_domain::time::{HOUR, MINUTE, SECOND};
use rs1_domain::{Answer, Method};
use rs1_store::native::Failure;
use serde_json::{Value, json};

use crate::common::{Cloud, NOW, base64url, body, cloud, signed};

fn claims(email: &str) -> Value {
    json!({
        "iss": "https://accounts.example", "aud": "app", "sub": format!("sub-{email}"), "exp": NOW.seconds() + 3_600,
        "email": email, "email_verified": true, "name": "Ada",
    })
}

fn post(cloud: &Cloud, path: &str, document: &Value) -> Answer {
    cloud.send(Method::Post, path, None, document.to_string().into_bytes())
}

fn sign_in_with(cloud: &Cloud, claims: &Value) -> Answer {
    post(cloud, "/api/auth/session", &json!({"id_token": signed("RS256", "k1", claims)}))
}

fn sign_in(cloud: &Cloud, email: &str) -> Value {
    let answer = sign_in_with(cloud, &claims(email));
    assert_eq!(answer.status, 201, "{}", answer.body);
    body(&answer)
}

fn refresh(cloud: &Cloud, token: &str) -> Answer {
    post(cloud, "/api/auth/refresh", &json!({"refresh_token": token}))
}

fn refresh_token(answer: &Value) -> String {
    answer["refresh_token"].as_str().unwrap().to_owned()
}

fn me(cloud: &Cloud, tokens: &Value) -> Answer {
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    cloud.send(Method::Get, "/api/me", Some(authorization), Vec::new())
}

fn reuses(cloud: &Cloud) -> Vec<Value> {
    cloud.sql("SELECT subject, severity, count FROM security_log WHERE kind = 'token_reuse'", vec![])
}

#[test]
fn an_id_token_becomes_a_session_and_the_first_one_a_user() {
    let cloud = cloud();
    let first = sign_in(&cloud, "Ada@Example.com");
    assert_eq!((&first["token_type"], &first["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert_eq!(first["user"]["email"], "ada@example.com");
    let who = me(&cloud, &first);
    assert_eq!((who.status, body(&who)), (200, first["user"].clone()));
    let again = sign_in(&cloud, "Ada@Example.com");
    assert_eq!(again["user"], first["user"], "the same person");
    assert_ne!(again["refresh_token"], first["refresh_token"]);
    let other = sign_in(&cloud, "bob@example.com");
    assert_ne!(other["user"]["user_id"], first["user"]["user_id"]);
}

#[test]
fn both_algorithms_and_every_configured_provider_are_taken() {
    let cloud = cloud();
    let mut elsewhere = claims("ada@example.com");
    elsewhere["iss"] = "https://other.example".into();
    elsewhere["aud"] = "app-2".into();
    for token in [
        signed("ES256", "k1-ec", &claims("ada@example.com")),
        signed("RS256", "k1", &elsewhere),
        signed("RS256", "k1", &claims("ada@example.com")),
    ] {
        assert_eq!(post(&cloud, "/api/auth/session", &json!({"id_token": token})).status, 201);
    }
    assert_eq!(cloud.sql("SELECT 1 FROM users", vec![]).len(), 2, "a person is issuer and subject");
    assert_eq!(cloud.issuer.fetches.get(), 2, "each provider's keys were fetched once");
}

#[test]
fn a_token_that_is_not_good_signs_nobody_in() {
    let cloud = cloud();
    let change = |name: &str, value: Value| {
        let mut claims = claims("ada@example.com");
        claims[name] = value;
        signed("RS256", "k1", &claims)
    };
    let good = signed("RS256", "k1", &claims("ada@example.com"));
    let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, base64url(b"k2"));
    for (token, status) in [
        (String::new(), 401),
        ("x.y.z".into(), 401),
        (forged, 401),
        (signed("HS256", "k1", &claims("ada@example.com")), 401),
        (signed("ES256", "k1", &claims("ada@example.com")), 401),
        (signed("RS256", "k1-ec", &claims("ada@example.com")), 401),
        (change("iss", json!("https://evil.example")), 401),
        (change("iss", json!("https://other.example")), 401),
        (change("aud", json!("app-2")), 401),
        (change("exp", json!(NOW.seconds() - 100)), 401),
        (change("email_verified", json!(false)), 403),
        (change("email", Value::Null), 403),
    ] {
        let answer = post(&cloud, "/api/auth/session", &json!({"id_token": token}));
        assert_eq!(answer.status, status, "{token}: {}", answer.body);
    }
    assert_eq!(cloud.db.statements_run(), 0, "strangers cost no database");
    assert!(cloud.sessions.entries().is_empty());
    for document in [json!({}), json!({"id_token": 1}), json!({"id_token": good, "extra": 1}), json!([])] {
        assert_eq!(post(&cloud, "/api/auth/session", &document).status, 422, "{document}");
    }
    assert_eq!(cloud.send(Method::Post, "/api/auth/session", None, b"{".to_vec()).status, 400);
}

#[test]
fn a_nonce_that_the_app_gives_must_be_the_tokens() {
    let cloud = cloud();
    let mut with_nonce = claims("ada@example.com");
    with_nonce["nonce"] = "n-1".into();
    let token = signed("RS256", "k1", &with_nonce);
    let ask = |nonce: &str| post(&cloud, "/api/auth/session", &json!({"id_token": token, "nonce": nonce}));
    assert_eq!(ask("n-1").status, 201);
    assert_eq!(ask("n-2").status, 401);
}

#[test]
fn an_access_token_is_good_for_five_minutes_and_a_session_for_a_day_after_the_last_refresh() {
    let cloud = cloud();
    let mut tokens = sign_in(&cloud, "ada@example.com");
    cloud.now.set(NOW.plus(5 * MINUTE));
    assert_eq!(me(&cloud, &tokens).status, 401);
    for day in 1..4 {
        cloud.now.set(NOW.plus(day * 23 * HOUR));
        let answer = refresh(&cloud, &refresh_token(&tokens));
        assert_eq!(answer.status, 200, "{}", answer.body);
        tokens = body(&answer);
        assert_eq!(me(&cloud, &tokens).status, 200);
    }
    cloud.now.set(cloud.now.get().plus(24 * HOUR));
    assert_eq!(refresh(&cloud, &refresh_token(&tokens)).status, 401, "a day without a sign of life");
    assert!(reuses(&cloud).is_empty(), "late is not stolen");
}

#[test]
fn only_hashes_are_stored_and_kv_forgets_them_after_a_day() {
    let cloud = cloud();
    let tokens = sign_in(&cloud, "ada@example.com");
    let secret = refresh_token(&tokens);
    let entries = cloud.sessions.entries();
    assert_eq!(entries.len(), 1);
    let rows = json!(cloud.sql("SELECT * FROM sessions", vec![])).to_string();
    assert!(!format!("{entries:?}{rows}").contains(&secret));
    assert_eq!(cloud.sessions.lifetime(&entries[0].0), Some(86_400));
}

#[test]
fn a_token_that_was_replaced_ends_the_session_and_is_logged() {
    let cloud = cloud();
    let first = sign_in(&cloud, "ada@example.com");
    let second = body(&refresh(&cloud, &refresh_token(&first)));
    let third = body(&refresh(&cloud, &refresh_token(&second)));
    assert_eq!(refresh(&cloud, &refresh_token(&first)).status, 401, "a thief, or the victim after one");
    assert_eq!(refresh(&cloud, &refresh_token(&third)).status, 401, "the session is over for both");
    let logged = reuses(&cloud);
    assert_eq!(logged, [json!({"subject": first["user"]["user_id"], "severity": "high", "count": 1})]);
    assert_eq!(refresh(&cloud, &refresh_token(&first)).status, 401);
    assert_eq!(reuses(&cloud), logged, "what is over cannot be stolen again");
    let fresh = sign_in(&cloud, "ada@example.com");
    assert_eq!(refresh(&cloud, &refresh_token(&fresh)).status, 200, "another session is another matter");
}

#[test]
fn a_kv_that_is_behind_lets_no_token_be_used_twice() {
    let cloud = cloud();
    let first = sign_in(&cloud, "ada@example.com");
    // From here on this location hears no more news, as another one would not for a minute.
    cloud.sessions.freeze(true);
    let second = body(&refresh(&cloud, &refresh_token(&first)));
    assert_eq!(refresh(&cloud, &refresh_token(&first)).status, 401);
    assert_eq!(reuses(&cloud).len(), 1);
    cloud.sessions.freeze(false);
    assert_eq!(refresh(&cloud, &refresh_token(&second)).status, 401);
}

#[test]
fn tokens_that_strangers_make_up_cost_no_database() {
    let cloud = cloud();
    for token in [String::new(), "x".into(), base64url(&[9; 32]), base64url(&[9; 33])] {
        assert_eq!(refresh(&cloud, &token).status, 401, "{token}");
    }
    for document in [json!({}), json!({"refresh_token": 1}), json!({"refresh_token": "x", "more": 1})] {
        assert_eq!(post(&cloud, "/api/auth/refresh", &document).status, 422);
    }
    assert_eq!(cloud.db.statements_run(), 0);
}

#[test]
fn a_rotation_whose_answer_was_lost_is_not_taken_for_theft() {
    let cloud = cloud();
    let first = sign_in(&cloud, "ada@example.com");
    cloud.db.fail_once("rotate_session", Failure::AfterCommit);
    let answer = refresh(&cloud, &refresh_token(&first));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(refresh(&cloud, &refresh_token(&body(&answer))).status, 200);
    assert!(reuses(&cloud).is_empty());
}

#[test]
fn while_a_store_is_down_a_token_stays_good() {
    let cloud = cloud();
    let first = sign_in(&cloud, "ada@example.com");
    let token = refresh_token(&first);
    cloud.db.fail(Some(Failure::BeforeCommit));
    assert_eq!(refresh(&cloud, &token).status, 503);
    cloud.db.fail(None);
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        cloud.sessions.fail(Some(failure));
        assert_eq!(refresh(&cloud, &token).status, 503);
        cloud.sessions.fail(None);
    }
    assert_eq!(refresh(&cloud, &token).status, 200);
    cloud.sessions.fail(Some(Failure::BeforeCommit));
    assert_eq!(sign_in_with(&cloud, &claims("ada@example.com")).status, 503);
    cloud.sessions.fail(None);
    cloud.db.fail(Some(Failure::AfterCommit));
    assert_eq!(sign_in_with(&cloud, &claims("ada@example.com")).status, 503);
    cloud.db.fail(None);
    assert_eq!(sign_in_with(&cloud, &claims("ada@example.com")).status, 201, "and again is fine");
}

#[test]
fn signing_out_ends_the_session_and_may_be_repeated() {
    let cloud = cloud();
    let tokens = sign_in(&cloud, "ada@example.com");
    let authorization = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    for _ in 0..2 {
        let answer = cloud.send(Method::Delete, "/api/auth/session", Some(authorization.clone()), Vec::new());
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    assert_eq!(refresh(&cloud, &refresh_token(&tokens)).status, 401);
    assert!(reuses(&cloud).is_empty(), "that was not theft");
    assert_eq!(me(&cloud, &tokens).status, 200, "for five minutes at most");
    cloud.now.set(NOW.plus(300 * SECOND));
    assert_eq!(me(&cloud, &tokens).status, 401);
}

#[test]
fn a_persons_routes_take_no_other_tokens() {
    let cloud = cloud();
    let tokens = sign_in(&cloud, "ada@example.com");
    let operator = crate::common::token("k1");
    let id_token = signed("RS256", "k1", &claims("ada@example.com"));
    for token in [operator, id_token, refresh_token(&tokens)] {
        let answer = cloud.send(Method::Get, "/api/me", Some(format!("Bearer {token}")), Vec::new());
        assert_eq!(answer.status, 401);
    }
    let access = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    assert_eq!(cloud.send(Method::Get, "/api/admin/devices", Some(access), Vec::new()).status, 401);
}
