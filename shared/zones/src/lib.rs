//! Zone configurations: the areas that an RS-1 watches or ignores (contract, section 4).
//!
//! - [`geometry`]: whether a polygon is one that a device can use, exactly, in whole millimetres;
//! - [`decode`]: an [`Edit`] out of a person's JSON and a [`Configuration`] out of a device's, every
//!   fault at once with its JSON Pointer (`/zones/2/vertices/3`);
//! - [`delivery`]: how far a device is with what it was sent.
//!
//! What serializes here is canonical: one configuration has one JSON text, which is what the
//! database keeps and what goes to the device, to the letter.
//!
//! Pure Rust: no clock, no I/O, no SQL. Start reading at [`decode`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod decode;
pub mod delivery;
pub mod geometry;

use rs1_domain::UnixMillis;
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

/// Most zones of a configuration.
pub const MOST_ZONES: usize = 16;
/// How many vertices a zone may have.
pub const VERTICES: std::ops::RangeInclusive<usize> = 3..=8;
/// The largest version there can be.
pub use rs1_domain::wire::config_status::LAST_VERSION;

/// A place before the sensor, in millimetres.
///
/// The bounds are the contract's, and small enough that no arithmetic here can overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    x: i16,
    y: i16,
}

impl Point {
    /// How far to the left (negative) and right of a person who faces the sensor.
    pub const X: std::ops::RangeInclusive<i64> = -6_000..=6_000;
    /// How far away from the sensor.
    pub const Y: std::ops::RangeInclusive<i64> = 0..=6_000;

    /// The place with these coordinates; `None` if the sensor does not see that far.
    pub fn new(x: i64, y: i64) -> Option<Self> {
        (Self::X.contains(&x) && Self::Y.contains(&y)).then_some(())?;
        Some(Self { x: x.try_into().ok()?, y: y.try_into().ok()? })
    }

    /// To the right.
    pub fn x(self) -> i64 {
        self.x.into()
    }

    /// Away from the sensor.
    pub fn y(self) -> i64 {
        self.y.into()
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&self.x)?;
        pair.serialize_element(&self.y)?;
        pair.end()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Point {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Point".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A place before the sensor: `[x, y]` in whole millimetres, x to the right, y away from it.",
            "type": "array",
            "prefixItems": [
                {"type": "integer", "minimum": Self::X.start(), "maximum": Self::X.end()},
                {"type": "integer", "minimum": Self::Y.start(), "maximum": Self::Y.end()},
            ],
            "items": false,
            "minItems": 2,
            "maxItems": 2,
        })
    }
}

/// What a zone does.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ZoneType {
    /// Presence in it counts; wins over [`ZoneType::Exclude`] where both are.
    Include,
    /// Presence in it does not count.
    Exclude,
}

/// One zone, as valid as [`decode`] leaves it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// 1 to 16 of `[a-z0-9_]`, unlike those of the other zones.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z0-9_]{1,16}$")))]
    pub id: String,
    /// What people call it, at most 32 characters.
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub name: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: ZoneType,
    /// A simple polygon: 3 to 8 vertices in order, the last one joined to the first.
    #[cfg_attr(feature = "schema", schemars(length(min = 3, max = 8)))]
    pub vertices: Vec<Point>,
    /// 0 to 100.
    #[cfg_attr(feature = "schema", schemars(range(max = 100)))]
    pub sensitivity: u8,
}

/// A configuration as it goes to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Counts the device's configurations, from 1.
    pub version: i64,
    /// When it was made.
    pub updated_at: UnixMillis,
    /// At most 16 zones.
    pub zones: Vec<Zone>,
}

/// What a person wants a device's zones to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The version that the person's document names, if it does: that of the configuration which was
    /// edited, or of the one that results.
    pub version: Option<i64>,
    /// The zones.
    pub zones: Vec<Zone>,
}
