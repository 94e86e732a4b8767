//! How many requests a caller may send: 100 a minute for a person (a stranger is known by their address), 1,000 for an operator.
//!
//! The counting is the platform's, by location and approximate: it keeps one caller from taking what is everybody's, and counts
//! nothing that must be exact. So when it cannot tell, the request goes on.

use rs1_auth::access_token::Person;
use rs1_auth::operator::Operator;
use rs1_domain::port::{Database, Random, RateLimiter};
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::{Problem, Request, UnixMillis};
use rs1_store::security;
use rs1_store::sql::run;
use serde_json::json;

/// The period of the limits in seconds, as configured with their bindings.
const PERIOD: i64 = 60;

/// Callers whose excess is remembered at a time; beyond that it is not written down, so that a flood from many addresses does
/// not become a flood of writes.
const MOST_REPORTED: usize = 1_000;

/// Whose excess was written down, and in which minute: once is enough.
#[derive(Debug, Default)]
pub struct Reported(Vec<(String, i64)>);

impl Reported {
    /// Whether this excess is to be written down; if so, it counts as done.
    fn take(&mut self, caller: &str, minute: i64) -> bool {
        if self.0.iter().any(|(known, reported)| known == caller && *reported == minute) {
            return false;
        }
        self.0.retain(|(_, reported)| *reported == minute);
        if self.0.len() >= MOST_REPORTED {
            return false;
        }
        self.0.push((caller.to_owned(), minute));
        true
    }
}

/// The key under which a person's requests are counted.
pub fn of_person(person: &Person) -> String {
    format!("user:{}", person.user)
}

/// The key under which an operator's requests are counted.
pub fn of_operator(operator: &Operator) -> String {
    format!("operator:{}", operator.name)
}

/// The key under which a stranger's requests are counted. All callers without an address share one.
pub fn of_stranger(request: &Request) -> String {
    format!("ip:{}", request.header("cf-connecting-ip").unwrap_or("unknown"))
}

/// Counts a request of `caller`, and writes the first of a minute that is too many into the security log.
///
/// # Errors
/// 429 with `Retry-After`.
pub async fn admit(
    limiter: &impl RateLimiter,
    db: &impl Database,
    random: &impl Random,
    reported: &std::cell::RefCell<Reported>,
    caller: &str,
    request: &Request,
) -> Result<(), Problem> {
    if limiter.admit(caller).await.unwrap_or(true) {
        return Ok(());
    }
    let seconds = request.now.seconds();
    let problem = Problem::too_many_requests(
        "this is one request too many for a minute",
        PERIOD.saturating_sub(seconds.rem_euclid(PERIOD)),
    );
    let first = reported.borrow_mut().take(caller, seconds.div_euclid(PERIOD));
    if !first {
        return Err(problem);
    }
    match record(db, random, caller, request, request.now).await {
        Ok(()) => Err(problem),
        Err(why) => Err(problem.with_log(format!("not recorded: {why}"))),
    }
}

async fn record(
    db: &impl Database,
    random: &impl Random,
    caller: &str,
    request: &Request,
    now: UnixMillis,
) -> Result<(), String> {
    let detail = json!({"method": request.method.as_str(), "path": request.path});
    let event = SecurityEvent::new(SecurityKind::RateLimitExceeded, caller, now, random.bytes(), detail)
        .from_address(request.header("cf-connecting-ip"));
    let statement = security::record(&[event]).map_err(|error| error.to_string())?;
    run(db, [statement]).await.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_is_reported_once_a_minute_and_memory_is_bounded() {
        let mut reported = Reported::default();
        assert!(reported.take("ip:1", 7));
        assert!(!reported.take("ip:1", 7));
        assert!(reported.take("ip:1", 8));
        for number in 0..5_000 {
            reported.take(&format!("ip:x{number}"), 8);
        }
        assert_eq!(reported.0.len(), MOST_REPORTED);
        assert!(!reported.take("ip:2", 8), "no room for more in this minute");
        assert!(reported.take("ip:2", 9), "the next minute forgets");
    }
}
