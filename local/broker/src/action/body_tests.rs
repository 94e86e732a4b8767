use super::*;
use crate::template::Template;

fn selected() -> BTreeMap<String, Term> {
    BTreeMap::from([
        ("clientid".to_owned(), Term::text("dev-1")),
        ("username".to_owned(), Term::Undefined),
        ("qos".to_owned(), Term::Integer(1)),
        ("payload".to_owned(), Term::Binary(Bytes::from_static(br#"{"t":{"c":21.5}}"#))),
        ("flags".to_owned(), Term::Map(BTreeMap::from([("retain".to_owned(), Term::Bool(true))]))),
    ])
}

fn rendered(source: &str) -> String {
    let template = Template::parse(source, |name| {
        if name == "." {
            Some(BodyPath::Everything)
        } else {
            Some(BodyPath::At(name.split('.').map(str::to_owned).collect()))
        }
    });
    String::from_utf8(render(&Body::Template(template), &selected()).to_vec()).unwrap()
}

#[test]
fn without_a_template_everything_is_sent_as_json() {
    let body: Json = serde_json::from_slice(&render(&Body::Selected, &selected())).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "clientid": "dev-1", "username": "undefined", "qos": 1, "payload": "{\"t\":{\"c\":21.5}}",
            "flags": { "retain": true },
        })
    );
    assert_eq!(rendered("${.}").as_bytes(), &render(&Body::Selected, &selected())[..]);
}

#[test]
fn a_template_puts_values_in_raw() {
    for (source, expected) in [
        ("${clientid}/${qos}", "dev-1/1"),
        ("\"${payload}\"", "\"{\"t\":{\"c\":21.5}}\""),
        ("${payload.t.c}", "21.5"),
        ("${payload.t}", "{\"c\":21.5}"),
        ("${flags}", "{\"retain\":true}"),
        ("${username} ${missing} ${payload.x} ${qos.x}", "undefined undefined undefined undefined"),
        ("", ""),
    ] {
        assert_eq!(rendered(source), expected, "{source}");
    }
}
