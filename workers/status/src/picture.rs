//! What the page is made of, as it was read from the database, and for how long that is good.
//!
//! Checks are made every five minutes, so what was read half a minute ago is as good as new. An isolate keeps it for that long, and
//! so reads twice a minute at most, however often the page is asked for; a cache of the platform's would spare no more and would be one
//! more thing to fail. If the database does not answer, what was read before is shown: its times say how old it is, and after a
//! quarter of an hour everything in it is unknown.

use std::cell::RefCell;
use std::rc::Rc;

use rs1_domain::port::{Database, PortError};
use rs1_domain::time::{DAY, SECOND};
use rs1_domain::{RecordId, UnixMillis};
use rs1_store::checks::RoundRow;
use rs1_store::incidents::WindowRow;
use rs1_store::sql::{first_row, rows, run};
use rs1_store::status::{CheckNow, DayNow, IncidentNow, StepNow};
use rs1_store::{checks, incidents, status};

/// How many days are shown, today included.
pub const DAYS: i64 = 90;
/// For how many days incidents are shown.
pub const INCIDENT_DAYS: i64 = 14;
/// For how long what was read is good, in milliseconds.
pub const KEPT: i64 = 30 * SECOND;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// How rounds of checks go.
    pub round: Option<RoundRow>,
    /// Every check.
    pub checks: Vec<CheckNow>,
    /// What components were like, the oldest day first.
    pub days: Vec<DayNow>,
    /// Incidents.
    pub incidents: Vec<IncidentNow>,
    /// What happened in them.
    pub steps: Vec<StepNow>,
    /// Maintenance that goes on.
    pub windows: Vec<WindowRow>,
}

/// What was read last, and when that was or was tried.
pub type Shelf = RefCell<Option<(UnixMillis, Rc<Picture>)>>;

/// The picture, no older than [`KEPT`] if the database answers, with a note for the log if it does not.
///
/// # Errors
/// When the database does not answer, and nothing was read before.
pub async fn look(
    db: &impl Database,
    shelf: &Shelf,
    now: UnixMillis,
) -> Result<(Rc<Picture>, Option<String>), PortError> {
    let before = shelf.borrow().clone();
    if let Some((at, picture)) = &before
        && (0..KEPT).contains(&now.since(*at))
    {
        return Ok((Rc::clone(picture), None));
    }
    let (picture, note) = match (read(db, now).await, before) {
        (Ok(picture), _) => (Rc::new(picture), None),
        (Err(error), Some((_, picture))) => (picture, Some(format!("shown as it was: {error}"))),
        (Err(error), None) => return Err(error),
    };
    *shelf.borrow_mut() = Some((now, Rc::clone(&picture)));
    Ok((picture, note))
}

async fn read(db: &impl Database, now: UnixMillis) -> Result<Picture, PortError> {
    let border = RecordId::generate("inc", now.plus(INCIDENT_DAYS.saturating_mul(-DAY)), [0; 10]);
    let first = now.plus(DAYS.saturating_sub(1).saturating_mul(-DAY)).date();
    let statements = [
        checks::round(),
        status::checks(),
        status::days(&first),
        status::incidents(&border),
        status::steps(&border),
        incidents::windows_at(now),
    ];
    let [round, checks, days, incidents, steps, windows] = run(db, statements).await?;
    Ok(Picture {
        round: first_row(&round)?,
        checks: rows(&checks)?,
        days: rows(&days)?,
        incidents: rows(&incidents)?,
        steps: rows(&steps)?,
        windows: rows(&windows)?,
    })
}
