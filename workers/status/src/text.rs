//! Words and numbers as people read them, and text that is safe inside HTML and XML.

use rs1_domain::UnixMillis;
use rs1_domain::time::MINUTE;

/// Text as it may stand between tags and in quoted attributes, of HTML as of XML. Control characters, which XML cannot have, go.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push(' '),
            // Not characters to XML.
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// A component's name as people read it: `device-api` is `Device api`, `api` is `API`.
pub fn name_of(component: &str) -> String {
    match component {
        "api" => return "API".to_owned(),
        // What sees to it that checks are made.
        "watch" => return "Monitoring".to_owned(),
        _ => {}
    }
    let words = component.replace('-', " ");
    let mut rest = words.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// `Broker, devices and storage`.
pub fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `99.95%`, rounded down: nothing but all is 100%.
pub fn percent(ppm: u32) -> String {
    match (ppm / 10_000, ppm / 100 % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, hundredths) => format!("{whole}.{hundredths:02}%"),
    }
}

/// `2026-01-20` as people read it: `20 Jan 2026`. What is no date stays as it is.
pub fn date(day: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = day.split('-');
    let (year, month, day_of) = (parts.next(), parts.next(), parts.next());
    let month = month.and_then(|month| MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?));
    match (year, month, day_of) {
        (Some(year), Some(month), Some(day)) => format!("{} {month} {year}", day.trim_start_matches('0')),
        _ => day.to_owned(),
    }
}

/// `20 Jan 2026, 10:00 UTC`.
pub fn minute(at: UnixMillis) -> String {
    let text = at.to_rfc3339();
    format!("{}, {} UTC", date(&at.date()), text.get(11..16).unwrap_or_default())
}

/// How long something took: `47 min`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(millis: i64) -> String {
    let minutes = millis.max(0).div_euclid(MINUTE);
    let (days, hours, rest) =
        (minutes.div_euclid(24 * 60), minutes.div_euclid(60).rem_euclid(24), minutes.rem_euclid(60));
    match (days, hours, rest) {
        (0, 0, 0) => "less than a minute".to_owned(),
        (0, 0, _) => format!("{rest} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {rest} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(
            escape(r#"<a href='x' b="y">&amp;"#),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;amp;"
        );
        assert_eq!(escape("a\0b\u{1b}c\u{ffff}\nd"), "a b c  d");
        assert_eq!(escape("déjà vu ✓"), "déjà vu ✓");
    }

    #[test]
    fn words_and_numbers_are_as_people_read_them() {
        assert_eq!(
            ["device-api", "api", "watch", ""].map(name_of),
            ["Device api", "API", "Monitoring", ""].map(str::to_owned)
        );
        let names = |names: &[&str]| list(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            (names(&[]), names(&["A"]), names(&["A", "B", "C"])),
            (String::new(), "A".into(), "A, B and C".into())
        );
        assert_eq!(
            [1_000_000, 999_999, 999_500, 990_000, 5_049, 0].map(percent),
            ["100%", "99.99%", "99.95%", "99%", "0.50%", "0%"]
        );
        assert_eq!(minute(UnixMillis(1_768_903_200_123)), "20 Jan 2026, 10:00 UTC");
        assert_eq!(["2026-12-01", "2026-13-01", "", "x"].map(date), ["1 Dec 2026", "2026-13-01", "", "x"]);
        assert_eq!(
            [59, 60, 47 * 60, 2 * 3_600, 7_500, 86_400, 86_399, 100_800, -1]
                .map(|seconds| duration(seconds * 1_000)),
            [
                "less than a minute",
                "1 min",
                "47 min",
                "2 h",
                "2 h 5 min",
                "1 d",
                "23 h 59 min",
                "1 d 4 h",
                "less than a minute"
            ]
        );
    }
}
