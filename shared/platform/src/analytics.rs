//! The one Analytics Engine point that every request leaves.
//!
//! The runtime drops a point that breaks a limit, and the local one checks nothing at all, so the
//! limits are kept here.

/// Most bytes of a point's only index.
pub const INDEX_BYTES: usize = 96;
/// Most bytes of all blobs of a point together (16 KB, counted as 16,000), less the 36 of the sixth.
pub const BLOBS_BYTES: usize = 16_000 - 36;

/// One point: index = worker; blobs = route, method, status class, colo, environment, version; doubles =
/// status, duration in milliseconds. The version, the id of the upload that answered, is added on the
/// other side of the boundary, where the runtime keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point<'a> {
    /// The worker's name, the index.
    pub worker: &'a str,
    /// The route's pattern, never the path: patterns are few.
    pub route: &'a str,
    /// The method.
    pub method: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// The data centre; may be empty.
    pub colo: &'a str,
    /// The deployment's environment (`production`); may be empty.
    pub environment: &'a str,
    /// Milliseconds from the head's arrival to the answer. The runtime's clock stands still while it
    /// computes, so this is the time spent waiting for I/O.
    pub duration_ms: i64,
}

impl Point<'_> {
    /// The index and the five blobs; `None` when the runtime would drop the point.
    pub fn texts(&self) -> Option<(&str, [&str; 5])> {
        let class = match self.status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let blobs = [self.route, self.method, class, self.colo, self.environment];
        let bytes = blobs.iter().fold(0_usize, |sum, blob| sum.saturating_add(blob.len()));
        let clean = blobs.iter().all(|blob| !blob.contains('\n'));
        let fits = !self.worker.is_empty() && self.worker.len() <= INDEX_BYTES && bytes <= BLOBS_BYTES;
        (fits && clean && !self.worker.contains('\n')).then_some((self.worker, blobs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: Point<'_> = Point {
        worker: "telemetry",
        route: "/webhook/acl",
        method: "POST",
        status: 200,
        colo: "AMS",
        environment: "local",
        duration_ms: 3,
    };

    #[test]
    fn a_point_names_the_class_of_its_status() {
        assert_eq!(POINT.texts(), Some(("telemetry", ["/webhook/acl", "POST", "2xx", "AMS", "local"])));
        for (status, class) in [(101, "1xx"), (304, "3xx"), (404, "4xx"), (503, "5xx"), (999, "5xx")] {
            assert_eq!(Point { status, ..POINT }.texts().unwrap().1[2], class, "{status}");
        }
    }

    #[test]
    fn a_point_that_the_runtime_would_drop_is_not_written() {
        let long = "x".repeat(INDEX_BYTES + 1);
        assert_eq!(Point { worker: &long, ..POINT }.texts(), None);
        assert_eq!(Point { worker: "", ..POINT }.texts(), None);
        let huge = "x".repeat(BLOBS_BYTES);
        assert_eq!(Point { environment: &huge, ..POINT }.texts(), None);
        assert_eq!(Point { environment: "a\nb", ..POINT }.texts(), None);
        assert!(Point { environment: &long, ..POINT }.texts().is_some());
    }
}
