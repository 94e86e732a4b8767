//! The little of XML that answers of the S3 API need: the text of one element.

/// The text of the first element of that name; `None` if there is none.
pub fn text(document: &[u8], name: &str) -> Option<String> {
    let document = std::str::from_utf8(document).ok()?;
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain)))
}

/// `text` as it stands between two tags.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_and_what_is_escaped_is_plain() {
        let answer = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &lt;b&gt; &amp;lt; c</Message></Error>";
        assert_eq!(text(answer, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(text(answer, "Message").as_deref(), Some("a <b> &lt; c"));
        for (document, name) in
            [(&b"<Error>"[..], "Code"), (b"<Code>x", "Code"), (b"\xff<Code>x</Code>", "Code"), (b"", "Code")]
        {
            assert_eq!(text(document, name), None);
        }
        assert_eq!(escape("\"a\" < b & c"), "\"a\" &lt; b &amp; c");
    }
}
