//! Topic names and filters, as `emqx_topic` compares them.

/// Whether `filter` covers `name`.
///
/// `name` may itself be a filter: authorization rules are compared to what a client wants to
/// subscribe. Then the comparison is the one of `emqx_topic:match/2`, word by word, in which a `+` of
/// the rule covers *any* word of the name, a final `#` included: the rule `a/+` covers a subscription
/// to `a/#`. Whoever means less writes `eq a/+`.
pub fn covers(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let mut name = name.split('/');
    let mut filter = filter.split('/').peekable();
    loop {
        match (filter.next(), name.next()) {
            (None, None) => return true,
            (Some("#"), _) if filter.peek().is_none() => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
}

/// The topic that authorization sees when a client names `topic`: without `$share/GROUP/`, `$queue/`
/// and `$exclusive/` (`emqx_topic:get_shared_real_topic/1`, `parse/2`).
pub fn real_filter(topic: &str) -> &str {
    if let Some(rest) = topic.strip_prefix("$queue/").or_else(|| topic.strip_prefix("$exclusive/")) {
        return rest;
    }
    topic.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(topic, |(_, real)| real)
}

/// `$delayed/SECONDS/TOPIC` as `(seconds, topic)`; `None` for any other topic.
pub fn delayed(topic: &str) -> Option<(u32, &str)> {
    let (seconds, real) = topic.strip_prefix("$delayed/")?.split_once('/')?;
    Some((seconds.parse().ok()?, real))
}

/// Whether a message may be published to `topic`: not empty, no wildcard, no NUL (MQTT 5.0, 4.7).
pub fn is_name(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= 65_535 && !topic.contains(['+', '#', '\0'])
}

/// Whether `filter` may be subscribed: `#` only as the last word, `+` and `#` only as whole words.
pub fn is_filter(filter: &str) -> bool {
    let words: Vec<&str> = filter.split('/').collect();
    let last = words.len().saturating_sub(1);
    !filter.is_empty()
        && filter.len() <= 65_535
        && !filter.contains('\0')
        && words.iter().enumerate().all(|(index, word)| match *word {
            "#" => index == last,
            "+" => true,
            other => !other.contains(['+', '#']),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_what_emqx_topic_match_says() {
        for (filter, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a/b", true),
            ("+/b", "/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("opticworks/+/telemetry/#", "opticworks/d/telemetry", true),
            ("opticworks/+/telemetry/#", "opticworks/d/state", false),
            // The name is a filter.
            ("a/#", "a/+/c", true),
            ("a/#", "#", false),
            ("a/+", "a/#", true),
            ("a/b", "a/+", false),
        ] {
            assert_eq!(covers(filter, name), expected, "{filter} over {name}");
        }
    }

    #[test]
    fn prefixes_that_steer_delivery_are_invisible_to_authorization() {
        for (topic, expected) in [
            ("$share/g1/opticworks/d/cmd/#", "opticworks/d/cmd/#"),
            ("$queue/a/b", "a/b"),
            ("$exclusive/a/b", "a/b"),
            ("$share/g1", "$share/g1"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(real_filter(topic), expected);
        }
        assert_eq!(delayed("$delayed/15/a/b"), Some((15, "a/b")));
        assert_eq!(delayed("$delayed/x/a"), None);
        assert_eq!(delayed("a/b"), None);
    }

    #[test]
    fn names_have_no_wildcards_and_filters_have_them_in_their_places() {
        assert!(is_name("a/b") && !is_name("a/+") && !is_name("") && !is_name("a#"));
        assert!(is_filter("a/+/#") && is_filter("#") && !is_filter("a/#/b") && !is_filter("a+"));
    }
}
