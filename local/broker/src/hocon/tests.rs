use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Object {
    read_with(text, &Includes::default()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn read_with(text: &str, includes: &Includes) -> Result<Object, Vec<Fault>> {
    parse("test.conf", text, includes)
}

/// The value at a dotted path, for comparing.
fn at<'a>(object: &'a Object, path: &str) -> &'a Value {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = &object.get(first).unwrap_or_else(|| panic!("no {first} in {object:?}")).value;
    match (value, rest) {
        (value, None) => value,
        (Value::Object(inner), Some(rest)) => at(inner, rest),
        (value, Some(rest)) => panic!("{rest} in {value:?}"),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn fault(text: &str) -> String {
    read_with(text, &Includes::default()).unwrap_err()[0].to_string()
}

#[test]
fn every_kind_of_value_is_read() {
    let object = read(
        "a = 1\nb: -2.5 # a comment\nc = true // another\nd = \"x \\\"y\\\" \\\\ \\n\"\ne = null\nf = 15s\ng = 1MB\nh = word.x-y\n",
    );
    for (path, expected) in [
        ("a", Value::Integer(1)),
        ("b", Value::Float(-2.5)),
        ("c", Value::Bool(true)),
        ("d", text("x \"y\" \\ \n")),
        ("e", Value::Null),
        ("f", text("15s")),
        ("g", text("1MB")),
        ("h", text("word.x-y")),
    ] {
        assert_eq!(at(&object, path), &expected, "{path}");
    }
}

#[test]
fn dotted_keys_nest_and_objects_merge() {
    let object = read("a.b.c = 1\na { b.d = 2, e = 3 }\na.b { c = 4 }");
    for (path, expected) in [("a.b.c", 4), ("a.b.d", 2), ("a.e", 3)] {
        assert_eq!(at(&object, path), &Value::Integer(expected), "{path}");
    }
}

#[test]
fn a_later_value_that_is_no_object_replaces() {
    let object = read("a { b = 1 }\na = [1, 2]\nb = 1, b = 2");
    assert!(matches!(at(&object, "a"), Value::Array(items) if items.len() == 2));
    assert_eq!(at(&object, "b"), &Value::Integer(2));
}

#[test]
fn arrays_are_separated_by_commas_or_line_breaks() {
    let object = read("a = [{ b = 1 }\n { b = 2 }, 3]");
    assert!(matches!(at(&object, "a"), Value::Array(items) if items.len() == 3));
}

#[test]
fn triple_quotes_hold_quotes_and_lines() {
    let object = read("a = \"\"\"x \"y\"\nz \"\"\"\nb = 1");
    assert_eq!(at(&object, "a"), &text("x \"y\"\nz "));
    assert_eq!(object.get("b").unwrap().at.line, 3, "lines are counted inside strings");
}

#[test]
fn placeholders_in_quotes_are_text() {
    assert_eq!(at(&read("a = \"${clientid}\""), "a"), &text("${clientid}"));
}

#[test]
fn substitutions_see_the_whole_document_included_files_too() {
    let includes = Includes::default().with("secret.hocon", "s.x-key = \"abc\"");
    let object =
        read_with("include required(\"secret.hocon\")\na = [{ k = ${s.x-key} }]\nb = ${?s.none}", &includes);
    let object = object.unwrap();
    assert!(matches!(at(&object, "a"), Value::Array(items)
        if matches!(&items[0].value, Value::Object(inner) if at(inner, "k") == &text("abc"))));
    assert!(object.get("b").is_none(), "an optional substitution that finds nothing leaves the field out");
}

#[test]
fn an_included_value_is_overridden_by_what_stands_later() {
    let includes = Includes::default().with("a.conf", "x = 1\ny = 1");
    let object = read_with("include \"a.conf\"\nx = 2\ninclude \"missing.conf\"", &includes).unwrap();
    assert_eq!((at(&object, "x"), at(&object, "y")), (&Value::Integer(2), &Value::Integer(1)));
}

#[test]
fn a_file_is_looked_for_in_one_directory_after_the_other() {
    let scratch = std::env::temp_dir().join(format!("rs1-hocon-{}", std::process::id()));
    let (first, second) = (scratch.join("first"), scratch.join("second"));
    for (directory, name, value) in [(&first, "a.conf", 1), (&second, "a.conf", 2), (&second, "b.conf", 3)] {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(name), format!("{} = {value}", name.trim_end_matches(".conf")))
            .unwrap();
    }
    let includes = Includes::beside(&first).then_in(&second);
    let object = read_with("include \"a.conf\"\ninclude \"b.conf\"\ninclude \"c.conf\"", &includes).unwrap();
    std::fs::remove_dir_all(&scratch).unwrap();
    assert_eq!((at(&object, "a"), at(&object, "b")), (&Value::Integer(1), &Value::Integer(3)));
}

#[test]
fn faults_say_where_and_what() {
    for (source, expected) in [
        ("a = 1\nb = 2 c = 3", "test.conf:2: two values side by side"),
        ("a = x y", "test.conf:1: two values side by side"),
        ("a = \"x\ny\"", "test.conf:1: this string is not closed on its line"),
        ("a = \"\"\"x", "test.conf:1: this \"\"\" string is not closed"),
        ("a {\n b = 1\n", "the file ends where a } is missing"),
        ("a = [1, 2,]", "test.conf:1: a trailing comma"),
        ("a { b = 1, }", "test.conf:1: a trailing comma"),
        ("\n\n\"a.b\" = 1", "test.conf:3: a quoted key is split at its dots"),
        ("a = http://x", "test.conf:1: two values"),
        ("a = 1x", "test.conf:1: 1x must be in quotes"),
        ("a = /etc/x", "test.conf:1: /etc/x must be in quotes"),
        ("a = \"\\q\"", "\\q is not an escape"),
        ("a", "expected = or { after the key a"),
        ("= 1", "expected a key, found ="),
        ("a = }", "expected a value, found }"),
        ("a = ${b}", "test.conf:1: ${b} is set nowhere"),
        ("a = ${b}\nb = ${a}", "leads back to itself"),
        ("a = ${}", "expected ${path.to.a.key}"),
        ("a..b = 1", "a..b is not a path of keys"),
        ("include required(\"x\")", "the required file x is not there"),
        ("include x", "expected include"),
    ] {
        let fault = fault(source);
        assert!(fault.contains(expected), "{source:?}: {fault}");
    }
}

#[test]
fn all_substitutions_that_fail_are_told_together() {
    let faults = read_with("a = ${x}\nb = ${y}", &Includes::default()).unwrap_err();
    assert_eq!(faults.len(), 2);
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let includes =
        Includes::default().with("a.conf", "include \"b.conf\"").with("b.conf", "include \"a.conf\"");
    let faults = read_with("include \"a.conf\"", &includes).unwrap_err();
    assert_eq!(faults[0].to_string(), "b.conf:1: a.conf includes itself");
}

#[test]
fn nesting_has_an_end() {
    for deep in ["[".repeat(10_000), "a{".repeat(10_000), "a.".repeat(10_000) + "a = 1"] {
        let source = if deep.starts_with('[') { format!("a = {deep}") } else { deep };
        assert!(read_with(&source, &Includes::default()).is_err());
    }
}

#[test]
fn durations_and_sizes_have_emqx_s_units() {
    for (text, millis) in
        [("15s", 15_000), ("1m", 60_000), ("2h", 7_200_000), ("250ms", 250), ("1h30m", 5_400_000)]
    {
        assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for (text, size) in [("1", 1), ("64KB", 65_536), ("1mb", 1 << 20), ("2GB", 2 << 30)] {
        assert_eq!(bytes(text), Some(size), "{text}");
    }
    for text in ["", "s", "1", "1 s", "1y", "99999999999999999999s", "18446744073709551615d"] {
        assert_eq!(duration(text), None, "{text}");
    }
    for text in ["", "MB", "1TB", "-1", "18446744073709551615GB"] {
        assert_eq!(bytes(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(source in "\\PC*") {
        let _read = read_with(&source, &Includes::default());
    }

    #[test]
    fn no_heap_of_tokens_makes_the_parser_panic(
        tokens in proptest::collection::vec(
            prop::sample::select(vec![
                "a", "b.c", "\"d\"", "=", ":", "{", "}", "[", "]", ",", "\n", " ", "1", "1.5", "15s", "true", "null",
                "\"\"\"", "\"", "${a}", "${?b.c}", "$", "include", "required", "(", ")", "#", "//", "\\", "é",
            ]),
            0..60,
        )
    ) {
        let _read = read_with(&tokens.concat(), &Includes::default());
    }

    #[test]
    fn a_string_is_read_as_it_was_written(content in "[ -~]{0,40}") {
        let escaped = content.replace('\\', "\\\\").replace('"', "\\\"");
        let object = read(&format!("a = \"{escaped}\""));
        prop_assert_eq!(at(&object, "a"), &text(&content));
    }

    #[test]
    fn durations_never_panic(source in "[0-9dhms]{0,30}") {
        let _read = duration(&source);
        let _read = bytes(&source);
    }
}
