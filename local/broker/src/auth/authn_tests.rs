use serde_json::json;

use super::*;

const NOW: i64 = 1_768_903_200;

fn judged(body: &Json) -> Verdict {
    judge(200, Some("application/json"), body.to_string().as_bytes(), NOW)
}

fn granted(body: &Json) -> Grant {
    match judged(body) {
        Verdict::Allow(Some(grant)) => grant,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn no_content_is_a_yes() {
    assert_eq!(judge(204, None, b"", NOW), Verdict::Allow(Some(Grant::default())));
}

#[test]
fn a_200_says_what_its_result_says() {
    assert_eq!(judged(&json!({ "result": "allow" })), Verdict::Allow(Some(Grant::default())));
    assert_eq!(judged(&json!({ "result": "deny" })), Verdict::NotAuthorized);
    for undecided in [
        json!({ "result": "ignore" }),
        json!({ "result": "maybe" }),
        json!({ "result": true }),
        json!({ "ok": true }),
        json!([]),
        json!("allow"),
    ] {
        assert!(matches!(judged(&undecided), Verdict::Ignore(_)), "{undecided}");
    }
}

#[test]
fn the_content_type_is_compared_by_its_beginning_and_in_its_case() {
    let body = br#"{"result":"deny"}"#;
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        assert_eq!(judge(200, Some(content_type), body, NOW), Verdict::NotAuthorized, "{content_type}");
    }
    for content_type in [None, Some("text/plain"), Some("Application/JSON"), Some("text/csv")] {
        assert!(matches!(judge(200, content_type, body, NOW), Verdict::Ignore(_)), "{content_type:?}");
    }
}

#[test]
fn a_form_is_understood_too() {
    let form = judge(200, Some("application/x-www-form-urlencoded"), b"is_superuser=true&result=allow", NOW);
    assert!(matches!(form, Verdict::Allow(Some(grant)) if grant.is_superuser));
}

#[test]
fn any_other_answer_decides_nothing() {
    for status in [201, 202, 301, 400, 401, 403, 404, 429, 500, 503] {
        let verdict = judge(status, Some("application/json"), br#"{"result":"allow"}"#, NOW);
        assert!(matches!(verdict, Verdict::Ignore(_)), "{status}");
    }
    for body in [&b""[..], b"{", b"\xff"] {
        assert!(matches!(judge(200, Some("application/json"), body, NOW), Verdict::Ignore(_)));
    }
}

#[test]
fn a_superuser_is_what_to_bool_says() {
    for (value, expected) in [
        (json!(true), true),
        (json!("true"), true),
        (json!("1"), true),
        (json!(1), true),
        (json!(7), true),
        (json!(false), false),
        (json!("yes"), false),
        (json!(0), false),
        (json!(null), false),
    ] {
        let grant = granted(&json!({ "result": "allow", "is_superuser": value }));
        assert_eq!(grant.is_superuser, expected, "{value}");
    }
}

#[test]
fn attributes_are_strings_with_proper_names() {
    let grant =
        granted(&json!({ "result": "allow", "client_attrs": { "tenant": "t1", "$bad": "x", "": "y" } }));
    assert_eq!(grant.client_attrs, BTreeMap::from([("tenant".to_owned(), "t1".to_owned())]));
    for attrs in [json!({ "n": 1 }), json!({ "o": {} }), json!([])] {
        let verdict = judged(&json!({ "result": "allow", "client_attrs": attrs }));
        assert!(matches!(verdict, Verdict::Ignore(_)), "{attrs} crashes EMQX's provider");
    }
}

#[test]
fn an_expiry_is_a_second_to_come() {
    assert_eq!(granted(&json!({ "result": "allow", "expire_at": NOW + 60 })).expire_at, Some(NOW + 60));
    for expire_at in [
        json!(NOW - 1),
        json!(NOW),
        json!(1),
        json!((NOW + 60) * 1000),
        json!("1893456000"),
        json!(1.5),
        json!(null),
    ] {
        let verdict = judged(&json!({ "result": "allow", "expire_at": expire_at }));
        assert!(matches!(verdict, Verdict::BadUsernameOrPassword(_)), "{expire_at}");
    }
}

#[test]
fn one_bad_rule_spoils_the_grant() {
    let good = json!({ "permission": "allow", "action": "pub", "topics": ["a"] });
    assert_eq!(granted(&json!({ "result": "allow", "acl": [good, good] })).acl.len(), 2);
    assert!(granted(&json!({ "result": "allow", "acl": [] })).acl.is_empty());
    for acl in [json!([good, { "permission": "nope" }]), json!({}), json!("#"), json!([1])] {
        let verdict = judged(&json!({ "result": "allow", "acl": acl }));
        assert!(matches!(verdict, Verdict::BadUsernameOrPassword(_)), "{acl}");
    }
}

#[tokio::test]
async fn a_password_that_is_not_utf_8_is_denied_without_a_request() {
    // A target that nobody listens at: a request would fail otherwise than this does.
    let text = "authentication = [{ mechanism = password_based, backend = http, method = post, \
                url = \"http://127.0.0.1:9/auth\", enable_pipelining = 1, body { p = \"${password}\" } }]\n\
                authorization { no_match = deny, sources = [] }";
    let config = crate::config::Config::read(
        "test.conf",
        text,
        &crate::hocon::Includes::default(),
        &crate::http::Origins::default(),
    )
    .unwrap();
    let authenticator = Authenticator::new(config.authentication, config.listener, &Gate::default()).unwrap();
    let identity =
        Identity { clientid: "dev-1".to_owned(), username: None, peer: None, local: None, proto_ver: 5 };
    let (request, pool) = &authenticator.chain[0];
    let password = Bytes::from_static(b"\xff\xfe");
    let verdict = authenticator.ask(&request.get(), pool, &identity, Some(&password)).await;
    assert_eq!(verdict, Verdict::Ignore("the password is not UTF-8".to_owned()));
    assert_eq!(authenticator.authenticate(&identity, Some(&password)).await, Verdict::NotAuthorized);
}

#[tokio::test]
async fn without_an_authenticator_everyone_is_let_in() {
    let authenticator = Authenticator::new(Vec::new(), "tcp:default".to_owned(), &Gate::default()).unwrap();
    let identity =
        Identity { clientid: "a".to_owned(), username: None, peer: None, local: None, proto_ver: 4 };
    assert_eq!(authenticator.authenticate(&identity, None).await, Verdict::Allow(None));
}
