use super::*;

#[test]
fn an_answer_decides_or_it_does_not() {
    let json = Some("application/json");
    for (status, content_type, body, expected) in [
        (204, None, "", Ok(Some(true))),
        (200, json, r#"{"result":"allow"}"#, Ok(Some(true))),
        (200, json, r#"{"result":"deny"}"#, Ok(Some(false))),
        (200, json, r#"{"result":"ignore"}"#, Ok(None)),
        // Without a content type a body is JSON.
        (200, None, r#"{"result":"deny"}"#, Ok(Some(false))),
        (200, Some("application/x-www-form-urlencoded"), "result=deny", Ok(Some(false))),
        (200, json, "{}", Err(())),
        (200, json, r#"{"result":"maybe"}"#, Err(())),
        (200, None, "", Err(())),
        (200, Some("text/csv"), "hi", Err(())),
        (201, json, r#"{"result":"allow"}"#, Err(())),
        (302, None, "", Err(())),
        (403, None, "", Err(())),
        (500, None, "", Err(())),
    ] {
        let judged = judge(status, content_type, body.as_bytes()).map_err(|_| ());
        assert_eq!(judged, expected, "{status} {content_type:?} {body}");
    }
}
