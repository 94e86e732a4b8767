//! Zone configurations out of JSON. Strict: fields that nobody knows are refused, here as on the
//! device, because a misspelt field is a zone that does not do what its owner thinks.

use rs1_domain::wire::fields::{self, Fields, integer};
use rs1_domain::{Faults, Sku};
use serde_json::Value;

use crate::geometry::{self, Flaw};
use crate::{Configuration, Edit, LAST_VERSION, MOST_ZONES, Point, VERTICES, Zone, ZoneType};

const VERSION: &str = "must be a version, an integer from 1 to 2147483647";

impl Edit {
    /// Reads what a person sent for a device of that variant: `{zones}`, or the whole of a
    /// configuration, `{version, updated_at, zones}`, whose time the cloud then replaces.
    ///
    /// # Errors
    /// Every fault, with its pointer.
    pub fn read(json: &[u8], sku: Option<Sku>) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let version = fields.optional("version", VERSION, f, |value| integer(value, 1..=LAST_VERSION));
        fields.optional("updated_at", fields::TIME, f, fields::time);
        let zones = read_zones(&fields, f);
        let fits = sku != Some(Sku::Lite) || zones.as_ref().is_none_or(Vec::is_empty);
        f.require(fits, "/zones", "must be empty: an rs1_lite has no zones");
        fields.refuse_unknown(&["version", "updated_at", "zones"], f);
        faults.into_result(Self { version, zones: zones.unwrap_or_default() })
    }
}

impl Configuration {
    /// Reads what the cloud sent to a device of that variant.
    ///
    /// # Errors
    /// Every fault, with its pointer.
    pub fn read(json: &[u8], sku: Sku) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let f = &mut faults;
        let version = fields.required("version", VERSION, f, |value| integer(value, 1..=LAST_VERSION));
        let updated_at = fields.required("updated_at", fields::TIME, f, fields::time);
        let zones = read_zones(&fields, f);
        let fits = sku != Sku::Lite || zones.as_ref().is_none_or(Vec::is_empty);
        f.require(fits, "/zones", "must be empty: an rs1_lite has no zones");
        fields.refuse_unknown(&["version", "updated_at", "zones"], f);
        match (version, updated_at, zones) {
            (Some(version), Some(updated_at), Some(zones)) if faults.is_empty() => {
                Ok(Self { version, updated_at, zones })
            }
            _ => Err(faults),
        }
    }
}

fn read_zones(fields: &Fields<'_>, faults: &mut Faults) -> Option<Vec<Zone>> {
    let zones = fields.required("zones", "must be an array of zones", faults, Value::as_array)?;
    faults.require(zones.len() <= MOST_ZONES, "/zones", "must have at most 16 zones");
    let id = |zone: &Value| zone.get("id").and_then(Value::as_str).map(str::to_owned);
    let read: Vec<_> = zones
        .iter()
        .take(MOST_ZONES)
        .enumerate()
        .map(|(index, zone)| {
            let at = format!("/zones/{index}");
            if let Some(own) = id(zone)
                && let Some(first) =
                    zones.iter().take(index).position(|other| id(other).as_ref() == Some(&own))
            {
                faults.add(format!("{at}/id"), format!("must differ from that of zone {first}"));
            }
            read_zone(zone, at, faults)
        })
        .collect();
    // Whoever is told of a fault gets no zones at all, so that a gap here is never taken for one zone less.
    read.into_iter().collect()
}

fn read_zone(zone: &Value, at: String, faults: &mut Faults) -> Option<Zone> {
    let Some(object) = zone.as_object() else {
        faults.add(at, "must be an object: a zone");
        return None;
    };
    let fields = Fields::new(object, at);
    let id = fields.required("id", "must be 1 to 16 of a-z, 0-9 and _", faults, |value| {
        value.as_str().filter(|text| is_id(text)).map(str::to_owned)
    });
    let name = fields.required("name", "must be text of at most 32 characters", faults, |value| {
        value.as_str().filter(|text| text.chars().count() <= 32).map(str::to_owned)
    });
    let kind =
        fields.required("type", "must be include or exclude", faults, |value| match value.as_str()? {
            "include" => Some(ZoneType::Include),
            "exclude" => Some(ZoneType::Exclude),
            _ => None,
        });
    let vertices = read_vertices(&fields, faults);
    let sensitivity = fields.required("sensitivity", "must be an integer from 0 to 100", faults, |value| {
        u8::try_from(integer(value, 0..=100)?).ok()
    });
    fields.refuse_unknown(&["id", "name", "type", "vertices", "sensitivity"], faults);
    Some(Zone { id: id?, name: name?, kind: kind?, vertices: vertices?, sensitivity: sensitivity? })
}

/// `^[a-z0-9_]{1,16}$`.
fn is_id(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn read_vertices(fields: &Fields<'_>, faults: &mut Faults) -> Option<Vec<Point>> {
    let expected = "must be an array of 3 to 8 vertices";
    let vertices = fields.required("vertices", expected, faults, Value::as_array)?;
    let at = fields.pointer("vertices");
    let count_is_fine = VERTICES.contains(&vertices.len());
    faults.require(count_is_fine, &at, expected);
    let points: Vec<_> = vertices
        .iter()
        .take(*VERTICES.end())
        .enumerate()
        .map(|(index, vertex)| {
            let point = read_point(vertex);
            let expected = "must be [x, y] in whole millimetres, x from -6000 to 6000, y from 0 to 6000";
            faults.require(point.is_some(), &format!("{at}/{index}"), expected);
            point
        })
        .collect();
    let points: Vec<_> = points.into_iter().collect::<Option<_>>()?;
    if !count_is_fine {
        return None;
    }
    for flaw in geometry::flaws(&points) {
        note(&flaw, &at, faults);
    }
    Some(points)
}

fn read_point(vertex: &Value) -> Option<Point> {
    let [x, y] = vertex.as_array()?.as_slice() else { return None };
    Point::new(integer(x, Point::X)?, integer(y, Point::Y)?)
}

fn note(flaw: &Flaw, at: &str, faults: &mut Faults) {
    match flaw {
        Flaw::Repeated { vertex, of } => {
            faults.add(format!("{at}/{vertex}"), format!("must not repeat its neighbour, vertex {of}"));
        }
        Flaw::Flat => faults.add(at, "must enclose an area: these vertices lie on one line"),
        Flaw::Meets { edge, others } => {
            let others: Vec<_> = others.iter().map(usize::to_string).collect();
            let edges = if others.len() == 1 { "edge" } else { "edges" };
            let others = others.join(", ");
            faults.add(
                format!("{at}/{edge}"),
                format!("the edge that begins here must not cross or touch the {edges} from vertex {others}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::UnixMillis;
    use serde_json::json;

    use super::*;

    fn zone(id: &str) -> Value {
        json!({
            "id": id, "name": "Sofa", "type": "include", "sensitivity": 50,
            "vertices": [[-1000, 500], [1000, 500], [1000, 2500], [-1000, 2500]],
        })
    }

    fn read(body: &Value) -> Result<Edit, Faults> {
        Edit::read(body.to_string().as_bytes(), Some(Sku::Pro))
    }

    fn pointers(faults: &Faults) -> Vec<&str> {
        faults.as_slice().iter().map(|fault| fault.pointer.as_str()).collect()
    }

    #[test]
    fn a_configuration_is_read_and_written_in_one_form() {
        let edit = read(&json!({"zones": [zone("sofa"), zone("door")]})).unwrap();
        assert_eq!((edit.version, edit.zones.len()), (None, 2));
        let updated_at = UnixMillis::parse_rfc3339("2026-01-20T10:00:00Z").unwrap();
        let configuration = Configuration { version: 3, updated_at, zones: edit.zones };
        let text = serde_json::to_string(&configuration).unwrap();
        assert_eq!(
            text.replace(r#""id":"door""#, r#""id":"sofa""#),
            r#"{"version":3,"updated_at":"2026-01-20T10:00:00Z","zones":[@,@]}"#.replace(
                '@',
                r#"{"id":"sofa","name":"Sofa","type":"include","vertices":[[-1000,500],[1000,500],[1000,2500],[-1000,2500]],"sensitivity":50}"#
            )
        );
        assert_eq!(Configuration::read(text.as_bytes(), Sku::Pro), Ok(configuration));
    }

    #[test]
    fn a_whole_configuration_may_be_sent_back() {
        let edit = read(&json!({"version": 4, "updated_at": "2026-01-20T10:00:00Z", "zones": []})).unwrap();
        assert_eq!(edit, Edit { version: Some(4), zones: vec![] });
    }

    #[test]
    fn every_fault_is_named_at_once_with_its_pointer() {
        let faults = read(&json!({
            "version": 0, "updated_at": "now", "zone": [],
            "zones": [
                zone("fine"),
                {"id": "Bad id", "name": "x".repeat(33), "type": "maybe", "vertices": [], "sensitivity": 101, "color": null},
                {"id": "fine", "name": "", "type": "exclude", "sensitivity": 0, "vertices": [[0, 0], [6001, 0], [1, -1], [1.5, 2], [0], "x"]},
                7,
                {},
                {"id": "bow_tie", "name": "", "type": "include", "sensitivity": 1, "vertices": [[0, 0], [9, 9], [9, 0], [0, 9]]},
                {"id": "twice", "name": "", "type": "include", "sensitivity": 1, "vertices": [[0, 0], [9, 0], [9, 0], [0, 9], [0, 0]]},
                {"id": "flat", "name": "", "type": "include", "sensitivity": 1, "vertices": [[0, 0], [9, 9], [4, 4]]},
            ],
        }))
        .unwrap_err();
        assert_eq!(
            pointers(&faults),
            [
                "/version",
                "/updated_at",
                "/zones/1/id",
                "/zones/1/name",
                "/zones/1/type",
                "/zones/1/vertices",
                "/zones/1/sensitivity",
                "/zones/1/color",
                "/zones/2/id",
                "/zones/2/vertices/1",
                "/zones/2/vertices/2",
                "/zones/2/vertices/3",
                "/zones/2/vertices/4",
                "/zones/2/vertices/5",
                "/zones/3",
                "/zones/4/id",
                "/zones/4/name",
                "/zones/4/type",
                "/zones/4/vertices",
                "/zones/4/sensitivity",
                "/zones/5/vertices/2",
                "/zones/6/vertices/2",
                "/zones/6/vertices/4",
                "/zones/7/vertices",
                "/zone",
            ]
        );
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut body = json!({"zones": [zone("a")]});
            change(&mut body["zones"][0]);
            read(&body).is_ok()
        };
        let ring = |count: i64| {
            let row = (0..count - 1).map(|n| json!([n * 10, n * n]));
            row.chain([json!([0, 6000])]).collect::<Value>()
        };
        assert!(with(&|zone| zone["id"] = "a234567890_bcdef".into()));
        assert!(!with(&|zone| zone["id"] = "a234567890_bcdefg".into()));
        assert!(!with(&|zone| zone["id"] = "".into()));
        assert!(with(&|zone| zone["name"] = "é".repeat(32).into()));
        assert!(with(&|zone| zone["name"] = "".into()));
        assert!(!with(&|zone| zone["name"] = "é".repeat(33).into()));
        assert!(with(&|zone| zone["sensitivity"] = 100.into()));
        assert!(!with(&|zone| zone["sensitivity"] = (-1).into()));
        assert!(with(&|zone| zone["vertices"] = ring(3)));
        assert!(with(&|zone| zone["vertices"] = ring(8)));
        assert!(!with(&|zone| zone["vertices"] = ring(9)));
        assert!(with(
            &|zone| zone["vertices"] = json!([[-6000, 0], [6000, 0], [6000.0, 6000], [-6000, 6000]])
        ));
        assert!(!with(&|zone| zone["vertices"] = json!([[-6001, 0], [6000, 0], [6000, 6000]])));
        assert!(!with(&|zone| zone["vertices"] = json!([[0, 0], [6000, 0], [6000, 6001]])));
        let zones =
            |count: usize| json!({"zones": (0..count).map(|n| zone(&format!("z{n}"))).collect::<Vec<_>>()});
        assert!(read(&zones(16)).is_ok());
        assert_eq!(pointers(&read(&zones(17)).unwrap_err()), ["/zones"]);
    }

    #[test]
    fn an_rs1_lite_takes_no_zones() {
        let body = |zones: Value| json!({"zones": zones}).to_string();
        let lite = |zones: Value| Edit::read(body(zones).as_bytes(), Some(Sku::Lite));
        assert!(lite(json!([])).is_ok());
        assert_eq!(pointers(&lite(json!([zone("a")])).unwrap_err()), ["/zones"]);
        assert!(Edit::read(body(json!([zone("a")])).as_bytes(), None).is_ok(), "not known to be one");
        let sent =
            json!({"version": 1, "updated_at": "2026-01-20T10:00:00Z", "zones": [zone("a")]}).to_string();
        assert_eq!(pointers(&Configuration::read(sent.as_bytes(), Sku::Lite).unwrap_err()), ["/zones"]);
    }

    #[test]
    fn a_device_wants_the_whole() {
        let faults = Configuration::read(br#"{"colour": 1}"#, Sku::Pro).unwrap_err();
        assert_eq!(pointers(&faults), ["/version", "/updated_at", "/zones", "/colour"]);
        assert_eq!(pointers(&Configuration::read(b"[]", Sku::Pro).unwrap_err()), [""]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = (Edit::read(&bytes, None), Configuration::read(&bytes, Sku::Pro));
        }

        #[test]
        fn what_is_taken_is_sent_and_read_back_unchanged(
            id in "[a-z0-9_]{1,16}", name in ".{0,32}", exclude: bool, sensitivity in 0..=100,
            x in -6000_i64..5990, y in 0_i64..5990, version in 1..=LAST_VERSION, at in 0_i64..4_000_000_000_000,
        ) {
            let vertices = json!([[x, y], [x + 10, y], [x, y + 10]]);
            let kind = if exclude { "exclude" } else { "include" };
            let body = json!({"zones": [{"id": id, "name": name, "type": kind, "sensitivity": sensitivity, "vertices": vertices}]});
            let zones = read(&body).unwrap().zones;
            prop_assert_eq!(&serde_json::to_value(&zones).unwrap(), &body["zones"]);
            let configuration = Configuration { version, updated_at: UnixMillis(at), zones };
            let text = serde_json::to_string(&configuration).unwrap();
            prop_assert_eq!(Configuration::read(text.as_bytes(), Sku::Pro), Ok(configuration));
        }
    }
}
