//! Incidents as an Atom feed (RFC 4287).
//!
//! Ids are tag URIs (RFC 4151), so that they stay what they are wherever the page moves; an entry's `updated` is the time of its latest
//! step, so that readers show it again when something happened.

use std::fmt::Write as _;

use rs1_domain::UnixMillis;

use crate::report::{Incident, Report};
use crate::text::{escape, minute};

/// The year from which on the host is ours: tag URIs have it.
const SINCE: &str = "2026";
/// When the feed was made: it has not changed since while there is nothing in it. 2026-01-01T00:00:00Z.
const MADE: UnixMillis = UnixMillis(1_767_225_600_000);

/// The feed of a page at `origin`.
pub fn feed(report: &Report, origin: &str) -> String {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    let tag = format!("tag:{},{SINCE}:", escape(host.split(':').next().unwrap_or(host)));
    let origin = escape(origin);
    let updated = report.incidents.iter().map(|incident| incident.updated_at).max().unwrap_or(MADE);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en\">\n\
         <id>{tag}incidents</id>\n<title>RS-1 status</title>\n<updated>{updated}</updated>\n\
         <author><name>OpticWorks</name></author>\n<link rel=\"self\" type=\"application/atom+xml\" href=\"{origin}/feed.atom\"/>\n\
         <link rel=\"alternate\" type=\"text/html\" href=\"{origin}/\"/>\n"
    );
    for incident in &report.incidents {
        entry(&mut text, incident, &tag, &origin);
    }
    text.push_str("</feed>\n");
    text
}

fn entry(text: &mut String, incident: &Incident, tag: &str, origin: &str) {
    let Incident { id, title, opened_at, updated_at, status, updates, .. } = incident;
    let (id, title) = (escape(id), escape(title));
    let told: Vec<_> =
        updates.iter().map(|update| format!("{}: {}", minute(update.at), update.text)).collect();
    // Writing to a text cannot fail.
    let _ = write!(
        text,
        "<entry>\n<id>{tag}{id}</id>\n<title>{title}</title>\n<published>{opened_at}</published>\n<updated>{updated_at}</updated>\n\
         <category term=\"{}\"/>\n<link rel=\"alternate\" type=\"text/html\" href=\"{origin}/#{id}\"/>\n\
         <content type=\"text\">{}</content>\n</entry>\n",
        status.as_str(),
        escape(&told.join(" ")),
    );
}
