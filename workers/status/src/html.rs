//! The report as a page: without scripts, without anything from elsewhere, in whatever width and light it is read.
//!
//! Colour says nothing alone: a state has its word, a bar its height, and what the bars show is a table as well.

use std::fmt::Write as _;

use rs1_domain::UnixMillis;
use rs1_store::incidents::Status;

use crate::report::{Component, Day, Incident, Level, Maintenance, Report, Update};
use crate::text::{date, duration, escape, list, minute, percent};

const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: show it, in this style, with this icon. The hash is the style's.
pub const POLICY: &str = "default-src 'none'; style-src 'sha256-GjA5vSzvmq1N+G7FoonWWfLrxCGFcbNtmR8qKdD7wcY='; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Width of a day in the drawings, and of the bar in it.
const DAY: usize = 4;
const BAR: usize = 3;
/// Height of the bars' drawing, and of that of latency.
const HIGH: usize = 30;
const LINE: i64 = 24;

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = String::with_capacity(131_072);
    head(&mut html, report);
    let (over, open): (Vec<_>, Vec<_>) =
        report.incidents.iter().partition(|incident| incident.status == Status::Resolved);
    if !open.is_empty() {
        html.push_str("<section aria-labelledby=\"now\">\n<h2 id=\"now\">Ongoing incidents</h2>\n");
        for incident in open {
            tell(&mut html, incident);
        }
        html.push_str("</section>\n");
    }
    if !report.maintenance.is_empty() {
        html.push_str("<section aria-labelledby=\"work\">\n<h2 id=\"work\">Maintenance</h2>\n");
        for window in &report.maintenance {
            announce(&mut html, window);
        }
        html.push_str("</section>\n");
    }
    html.push_str("<section aria-labelledby=\"parts\">\n<h2 id=\"parts\">Uptime of the last 90 days</h2>\n");
    if report.components.is_empty() {
        html.push_str("<p class=\"card\">Nothing has been checked yet.</p>\n");
    } else {
        html.push_str("<ul class=\"card\">\n");
        for component in &report.components {
            show(&mut html, component);
        }
        html.push_str("</ul>\n");
        legend(&mut html);
    }
    html.push_str("</section>\n<section aria-labelledby=\"past\">\n<h2 id=\"past\">Past incidents</h2>\n");
    if over.is_empty() {
        html.push_str("<p class=\"card\">None in the last 14 days.</p>\n");
    }
    for incident in over {
        tell(&mut html, incident);
    }
    // Writing to a text cannot fail, here and below.
    let _ = write!(
        html,
        "</section>\n</main>\n<footer class=\"soft\">\n<p>Uptime is the share of checks in which a part was not down; times of maintenance \
         do not count. Latency is how long the checks of a part take. Days are those of UTC.</p>\n\
         <p>Incidents of the last 14 days are shown. Written {}. Also as <a href=\"/status.json\">JSON</a> and as an \
         <a href=\"/feed.atom\">Atom feed</a>.</p>\n</footer>\n</body>\n</html>\n",
        time(report.generated_at),
    );
    html
}

fn head(html: &mut String, report: &Report) {
    let (level, summary) = (report.status.as_str(), escape(&report.summary));
    let checked = report.checked_at.map_or_else(
        || "Checked every five minutes.".to_owned(),
        |at| format!("Checked every five minutes, last on {}.", time(at)),
    );
    let colour = match report.status {
        Level::Operational => "1a7f4b",
        Level::Maintenance => "2563c9",
        Level::Degraded => "a85400",
        Level::Down => "c02636",
        Level::Unknown => "5b6470",
    };
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>RS-1 status: {}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"description\" content=\"{summary}\">\n\
         <link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' \
         cy='8' r='7' fill='%23{colour}'/%3E%3C/svg%3E\">\n\
         <link rel=\"alternate\" type=\"application/atom+xml\" title=\"RS-1 incidents\" href=\"/feed.atom\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header>\n<div class=\"row\"><h1><span class=\"soft\">OpticWorks</span> RS-1 status</h1>\
         <a href=\"/feed.atom\">Subscribe</a></div>\n\
         <p class=\"whole of-{level}\">{summary}</p>\n<p class=\"soft\">{checked}</p>\n</header>\n<main>\n",
        report.status.said(),
    );
}

fn time(at: UnixMillis) -> String {
    format!("<time datetime=\"{at}\">{}</time>", minute(at))
}

fn show(html: &mut String, component: &Component) {
    let Component { name, status, uptime_ppm, latency_ms, days, .. } = component;
    let name = escape(name);
    let troubled: Vec<_> =
        days.iter().filter(|day| matches!(day.status, Level::Degraded | Level::Down)).collect();
    let uptime = uptime_ppm.map_or_else(|| "unknown".to_owned(), percent);
    let _ = write!(
        html,
        "<li class=\"part\">\n<div class=\"row\"><h3>{name}</h3><span class=\"level {}\">{}</span></div>\n\
         <svg class=\"bars\" viewBox=\"0 0 {} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Uptime in 90 days: {uptime}; \
         days with trouble: {}.\">",
        status.as_str(),
        status.said(),
        days.len().saturating_mul(DAY).saturating_sub(DAY.saturating_sub(BAR)),
        troubled.len(),
    );
    for (index, day) in days.iter().enumerate() {
        bar(html, index, day);
    }
    let _ = write!(
        html,
        "</svg>\n<div class=\"scale soft\"><span>90 days ago</span><span>{uptime} uptime</span><span>Today</span></div>\n"
    );
    if let Some(usual) = latency_ms {
        let most = days.iter().filter_map(|day| day.latency_ms).max().unwrap_or_default();
        let _ = writeln!(
            html,
            "<div class=\"latency soft\"><span>Latency</span><svg class=\"line\" viewBox=\"0 0 {} {LINE}\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"Latency in 90 days: {most} ms on average on the slowest day.\">\
             <title>{most} ms on average on the slowest day</title><polyline points=\"{}\"/></svg><span>{usual} ms</span></div>",
            days.len().saturating_mul(DAY),
            line(days, most),
        );
    }
    if !troubled.is_empty() {
        let (count, noun) = (troubled.len(), if troubled.len() == 1 { "day" } else { "days" });
        let _ = write!(
            html,
            "<details>\n<summary>{count} {noun} with trouble<span class=\"unseen\"> of {name}</span></summary>\n<table>\n\
             <thead><tr><th scope=\"col\">Day</th><th scope=\"col\">Worst</th><th scope=\"col\">Uptime</th></tr></thead>\n<tbody>\n",
        );
        for day in troubled.into_iter().rev() {
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\"><time datetime=\"{}\">{}</time></th><td>{}</td><td>{}</td></tr>",
                escape(&day.day),
                escape(&date(&day.day)),
                day.status.said(),
                day.uptime_ppm.map(percent).unwrap_or_default(),
            );
        }
        html.push_str("</tbody>\n</table>\n</details>\n");
    }
    html.push_str("</li>\n");
}

/// The height of a day's bar: colour is not all that tells days apart.
fn height(level: Level) -> usize {
    match level {
        Level::Operational | Level::Maintenance => HIGH,
        Level::Degraded => 20,
        Level::Down => 11,
        Level::Unknown => 3,
    }
}

/// A day, with what a pointer that rests on it is told. One that is lower than the others is met above itself too.
fn bar(html: &mut String, index: usize, day: &Day) {
    let (x, high) = (index.saturating_mul(DAY), height(day.status));
    let _ = write!(html, "<g class=\"{}\"><title>{}: ", day.status.as_str(), escape(&date(&day.day)));
    match (day.status, day.uptime_ppm) {
        (Level::Unknown, _) => html.push_str("no data"),
        (Level::Operational, Some(1_000_000)) | (_, None) => html.push_str(day.status.said()),
        (_, Some(ppm)) => {
            let _ = write!(html, "{}, {} uptime", day.status.said(), percent(ppm));
        }
    }
    if let Some(latency) = day.latency_ms {
        let _ = write!(html, ", {latency} ms");
    }
    html.push_str("</title>");
    if high < HIGH {
        let _ = write!(html, "<path class=\"around\" d=\"M{x} 0h{DAY}v{HIGH}h-{DAY}z\"/>");
    }
    let _ = write!(html, "<path d=\"M{x} {}h{BAR}v{high}h-{BAR}z\"/></g>", HIGH.saturating_sub(high));
}

/// What the bars mean, for whoever does not ask each.
fn legend(html: &mut String) {
    let levels = [Level::Operational, Level::Degraded, Level::Down, Level::Maintenance, Level::Unknown];
    html.push_str("<ul class=\"legend soft\" aria-label=\"What a bar means\">\n");
    for level in levels {
        let (high, said) = (height(level), if level == Level::Unknown { "No data" } else { level.said() });
        let _ = writeln!(
            html,
            "<li><svg class=\"bars\" viewBox=\"0 0 {BAR} {HIGH}\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><g class=\"{}\">\
             <path d=\"M0 {}h{BAR}v{high}h-{BAR}z\"/></g></svg>{said}</li>",
            level.as_str(),
            HIGH.saturating_sub(high),
        );
    }
    html.push_str("</ul>\n");
}

/// The points of the days that have a latency; one alone is drawn as a dash.
fn line(days: &[Day], most: i64) -> String {
    let mut points: Vec<(usize, i64)> = Vec::new();
    for (index, day) in days.iter().enumerate() {
        if let Some(latency) = day.latency_ms {
            let high = latency.saturating_mul(LINE.saturating_sub(2)).checked_div(most).unwrap_or_default();
            points.push((
                index.saturating_mul(DAY).saturating_add(1),
                LINE.saturating_sub(1).saturating_sub(high),
            ));
        }
    }
    if let [(x, y)] = *points.as_slice() {
        points.push((x.saturating_add(2), y));
    }
    points.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ")
}

/// An incident, what happened last first.
fn tell(html: &mut String, incident: &Incident) {
    let Incident { id, title, status, opened_at, resolved_at, updates, .. } = incident;
    let (class, said) = match status {
        Status::Open => ("down", "Investigating"),
        Status::Acknowledged => ("degraded", "In progress"),
        Status::Resolved => ("operational", "Resolved"),
    };
    let _ = write!(
        html,
        "<article class=\"card {class}-edge\" id=\"{}\">\n<div class=\"row\"><h3>{}</h3><span class=\"level {class}\">{said}</span></div>\n\
         <p class=\"soft\">",
        escape(id),
        escape(title),
    );
    let _ = match resolved_at {
        Some(end) => write!(html, "{}, for {}", time(*opened_at), duration(end.since(*opened_at))),
        None => write!(html, "Since {}", time(*opened_at)),
    };
    html.push_str("</p>\n<ol class=\"steps\" reversed>\n");
    for Update { at, text } in updates.iter().rev() {
        let _ = writeln!(html, "<li>{} {}</li>", escape(text), time(*at));
    }
    html.push_str("</ol>\n</article>\n");
}

fn announce(html: &mut String, window: &Maintenance) {
    let named = if window.components.is_empty() { "Some parts".to_owned() } else { list(&window.components) };
    let _ = writeln!(
        html,
        "<div class=\"card maintenance-edge\">\n<div class=\"row\"><h3>{}</h3><span class=\"level maintenance\">In progress</span></div>\n\
         <p class=\"soft\">From {} until {}</p>\n</div>",
        escape(&named),
        time(window.from),
        time(window.until),
    );
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_the_style_in_and_no_other() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the style's hash is {hash}");
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("script"));
    }
}
