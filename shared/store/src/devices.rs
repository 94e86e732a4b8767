//! The device registry.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::wire::State;
use rs1_domain::{DeviceId, MacAddress, Sku, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::sql::{PageRequest, flag, optional_flag};

/// A device to be enrolled.
#[derive(Clone, Debug, Serialize)]
pub struct NewDevice {
    /// Derived from the MAC address.
    pub device_id: DeviceId,
    /// The MAC address.
    pub mac_address: MacAddress,
    /// The variant, if the factory says.
    pub product_sku: Option<Sku>,
    /// The device's key, sealed with a fresh nonce, so no two are ever the same text.
    pub sealed_key: String,
}

/// Enrols devices; those that exist already stay as they are. Follow with [`enrollments`] to learn
/// which is which: a row that carries the sealed key just made is new.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn enroll(devices: &[NewDevice], at: UnixMillis, by: &str) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "enroll",
        sql: "/* enroll */
            INSERT INTO devices (device_id, mac_address, product_sku, sealed_key, enrolled_at, enrolled_by)
            SELECT value->>'device_id', value->>'mac_address', value->>'product_sku', value->>'sealed_key', ?2, ?3
            FROM json_each(?1) WHERE true
            ON CONFLICT (device_id) DO NOTHING",
        params: vec![json::write(devices)?.into(), at.into(), by.into()],
    })
}

/// What enrolment stored.
#[derive(Clone, Debug, Deserialize)]
pub struct Enrollment {
    /// The place in the list that was asked for, from 0.
    pub place: usize,
    /// The device.
    pub device_id: DeviceId,
    /// Its variant, from enrolment or reported since.
    pub product_sku: Option<Sku>,
    /// Its sealed key.
    pub sealed_key: String,
    /// When it was enrolled.
    #[serde(with = "as_millis")]
    pub enrolled_at: UnixMillis,
}

/// The [`Enrollment`]s of some devices, one for each place in the list whose device is enrolled.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn enrollments(devices: &[&DeviceId]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "enrollments",
        sql: "/* enrollments */
            SELECT wanted.key AS place, d.device_id, d.product_sku, d.sealed_key, d.enrolled_at
            FROM json_each(?1) AS wanted CROSS JOIN devices AS d ON d.device_id = wanted.value",
        params: vec![json::write(devices)?.into()],
    })
}

/// A sealed key, alone.
#[derive(Clone, Debug, Deserialize)]
pub struct SealedKey {
    /// The sealed key.
    pub sealed_key: String,
}

/// The [`SealedKey`] of a device that wants to connect.
pub fn sealed_key(device: &DeviceId) -> Statement {
    Statement {
        name: "sealed_key",
        sql: "/* sealed_key */ SELECT sealed_key FROM devices WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// Takes in what an online device says of itself, unless a newer state was taken in before. Its
/// presence follows, unless something newer decided that; so does the configuration it has, which its reports tell of as well
/// ([`zones::applied`](crate::zones::applied)).
///
/// `at` is when the broker received the message: the one clock that orders a device's messages. What it
/// means to others comes back as [`Reported`], so that learning it costs no further statement.
pub fn report_state(device: &DeviceId, state: &State, client_id: Option<&str>, at: UnixMillis) -> Statement {
    Statement {
        name: "report_state",
        sql: "/* report_state */
            UPDATE devices SET
              state_at = ?2,
              firmware_version = ?4,
              protocol_version = ?6,
              uptime_sec = ?7,
              wifi_rssi = ?8,
              config_version = CASE WHEN ?9 IS NOT NULL AND config_at <= ?2 THEN ?9 ELSE config_version END,
              config_at = CASE WHEN ?9 IS NOT NULL THEN max(config_at, ?2) ELSE config_at END,
              zone_count = coalesce(?10, zone_count),
              radar_connected = ?11,
              boot_count = coalesce(?12, boot_count),
              reset_reason = coalesce(?13, reset_reason),
              last_seen_at = max(coalesce(last_seen_at, 0), ?2),
              online = CASE WHEN presence_at <= ?2 THEN 1 ELSE online END,
              offline_reason = CASE WHEN presence_at <= ?2 THEN NULL ELSE offline_reason END,
              presence_client_id = CASE WHEN presence_at <= ?2 THEN ?3 ELSE presence_client_id END,
              presence_at = max(presence_at, ?2),
              news = (CASE WHEN state_at = ?2 THEN news ELSE 0 END)
                   | (CASE WHEN online = 0 AND presence_at <= ?2 THEN 1 ELSE 0 END)
                   | (CASE WHEN firmware_version IS NOT ?4 THEN 2 ELSE 0 END)
            WHERE device_id = ?1 AND state_at <= ?2
            RETURNING
              product_sku IS NULL AND ?5 IS NOT NULL AS sku_unknown,
              news & 1 AS came_online,
              EXISTS (SELECT 1 FROM rollout_devices AS attempt WHERE attempt.device_id = devices.device_id
                AND attempt.state IN ('triggered', 'deferred', 'downloading', 'verifying', 'installed'))
              OR (news <> 0 AND EXISTS (SELECT 1 FROM rollouts
                WHERE settled = 0 AND rollouts.sku = devices.product_sku AND rollouts.status = 'STAGED'))
              AS matters_to_updates,
              EXISTS (SELECT 1 FROM zone_configurations AS wanted WHERE wanted.device_id = devices.device_id
                AND wanted.version > coalesce(devices.config_version, 0) AND coalesce(wanted.send_at, 0) <= ?2)
              AS zones_due",
        params: vec![
            device.as_str().into(),
            at.into(),
            client_id.into(),
            state.firmware_version.as_str().into(),
            state.product_sku.map(Sku::as_str).into(),
            state.protocol_version.as_deref().into(),
            state.uptime_sec.into(),
            state.wifi_rssi.into(),
            state.config_version.into(),
            state.zone_count.into(),
            state.radar_connected.into(),
            state.boot_count.into(),
            state.reset_reason.into(),
        ],
    }
}

/// What a state that was taken in means to others.
///
/// A message that is delivered again means the same again, though by then it changes nothing: whoever was not told
/// the first time is told then.
#[expect(clippy::struct_excessive_bools, reason = "columns, each with its own meaning")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Reported {
    /// The device said of which variant it is, and nobody had before: to be followed by [`learn_sku`]. The variant is in
    /// an index, which an update that names it would write anew each time.
    #[serde(deserialize_with = "flag")]
    pub sku_unknown: bool,
    /// The device was taken for offline before.
    #[serde(deserialize_with = "flag")]
    pub came_online: bool,
    /// The device has an open attempt of a rollout; or it came online or changed its version, and a rollout of its
    /// variant is under way.
    #[serde(deserialize_with = "flag")]
    pub matters_to_updates: bool,
    /// The device has not got the zone configuration that is wanted of it, and it is time to send that.
    #[serde(deserialize_with = "flag")]
    pub zones_due: bool,
}

/// Takes a device's word for its variant, where enrolment has not said it.
pub fn learn_sku(device: &DeviceId, sku: Sku) -> Statement {
    Statement {
        name: "device_learn_sku",
        sql: "/* device_learn_sku */
            UPDATE devices SET product_sku = ?2 WHERE device_id = ?1 AND product_sku IS NULL",
        params: vec![device.as_str().into(), sku.as_str().into()],
    }
}

/// Takes a device for offline since `at`, unless something newer says that it is here, or the
/// session that ended (`client_id`) is not the one that said so.
///
/// Nothing but presence changes: a last will was written when its session began, so the rest of
/// what it says is old.
pub fn report_gone(device: &DeviceId, reason: &str, client_id: Option<&str>, at: UnixMillis) -> Statement {
    Statement {
        name: "report_gone",
        sql: "/* report_gone */
            UPDATE devices SET online = 0, offline_reason = ?3, presence_at = ?2
            WHERE device_id = ?1 AND presence_at <= ?2
              AND (?4 IS NULL OR presence_client_id IS NULL OR presence_client_id = ?4)",
        params: vec![device.as_str().into(), at.into(), reason.into(), client_id.into()],
    }
}

/// Whether a device is enrolled: one row or none.
pub fn exists(device: &DeviceId) -> Statement {
    Statement {
        name: "device_exists",
        sql: "/* device_exists */ SELECT 1 AS found FROM devices WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// A device as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// The device.
    pub device_id: DeviceId,
    /// Its MAC address.
    pub mac_address: MacAddress,
    /// Its variant, if known.
    pub product_sku: Option<Sku>,
    /// What its people call it.
    pub name: Option<String>,
    /// Where it is.
    pub room: Option<String>,
    /// When it was enrolled.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub enrolled_at: UnixMillis,
    /// Who enrolled it.
    pub enrolled_by: String,
    /// When it first reported for duty.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub provisioned_at: Option<UnixMillis>,
    /// Who owns it.
    pub owner: Option<UserId>,
    /// Whether it is connected, as far as is known.
    #[serde(deserialize_with = "flag")]
    pub online: bool,
    /// Why it is offline; null while it is online.
    pub offline_reason: Option<String>,
    /// The latest sign of life.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub last_seen_at: Option<UnixMillis>,
    /// The latest telemetry message.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub last_telemetry_at: Option<UnixMillis>,
    /// When it last reported the fields below.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub state_at: Option<UnixMillis>,
    /// The version that runs.
    pub firmware_version: Option<String>,
    /// The protocol it speaks.
    pub protocol_version: Option<String>,
    /// Seconds since boot, at `state_at`.
    pub uptime_sec: Option<i64>,
    /// Signal strength in dBm, at `state_at`.
    pub wifi_rssi: Option<i64>,
    /// The zone configuration it applied.
    pub config_version: Option<i64>,
    /// Zones in it.
    pub zone_count: Option<i64>,
    /// Whether its radar answered, at `state_at`.
    #[serde(deserialize_with = "optional_flag")]
    pub radar_connected: Option<bool>,
    /// Boots since manufacture.
    pub boot_count: Option<i64>,
    /// Why it booted last.
    pub reset_reason: Option<String>,
}

/// The columns of a [`Device`].
macro_rules! device_columns {
    () => {
        "device_id, mac_address, product_sku, name, room, enrolled_at, enrolled_by, provisioned_at,
              (SELECT user_id FROM device_access AS a WHERE a.device_id = devices.device_id AND a.role = 'owner') AS owner,
              online, offline_reason, last_seen_at, last_telemetry_at, nullif(state_at, 0) AS state_at, firmware_version,
              protocol_version, uptime_sec, wifi_rssi, config_version, zone_count, radar_connected,
              boot_count, reset_reason"
    };
}

/// What every list of devices asks beyond what its index is searched for. A question for text is one of an operator, seldom, and may
/// look at every device that the index leaves.
macro_rules! device_filters {
    () => {
        "(?3 IS NULL OR online = ?3) AND (?4 IS NULL OR firmware_version = ?4) AND (?5 IS NULL OR product_sku = ?5)
              AND (?6 IS NULL OR instr(device_id, ?6) = 1 OR instr(lower(mac_address), ?6) > 0
                OR instr(lower(coalesce(name, '')), ?6) > 0
                OR EXISTS (SELECT 1 FROM device_access AS a JOIN users AS u ON u.user_id = a.user_id
                           WHERE a.device_id = devices.device_id AND a.role = 'owner' AND u.email = ?6))
            ORDER BY device_id LIMIT ?2"
    };
}

/// A [`Device`] by its id.
pub fn by_id(device: &DeviceId) -> Statement {
    Statement {
        name: "device_by_id",
        sql: concat!("/* device_by_id */ SELECT ", device_columns!(), " FROM devices WHERE device_id = ?1"),
        params: vec![device.as_str().into()],
    }
}

/// Which devices an operator wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that are connected, or those that are not.
    pub online: Option<bool>,
    /// Those that run this version.
    pub version: Option<String>,
    /// Those of this variant.
    pub sku: Option<Sku>,
    /// Those whose id begins so, whose MAC address or name has this in it, or whose owner has this address; in lower case.
    pub text: Option<String>,
}

/// A page of the [`Device`]s that are wanted, in the order of their ids. The narrowest index that there is for the question is read in
/// that order.
pub fn list(wanted: &Wanted, page: &PageRequest) -> Statement {
    let params = vec![
        page.after.as_deref().unwrap_or_default().into(),
        page.rows().into(),
        wanted.online.into(),
        wanted.version.as_deref().into(),
        wanted.sku.map(Sku::as_str).into(),
        wanted.text.as_deref().into(),
    ];
    match wanted {
        Wanted { version: Some(_), .. } => Statement {
            name: "device_list_by_version",
            sql: concat!(
                "/* device_list_by_version */ SELECT ",
                device_columns!(),
                " FROM devices WHERE firmware_version = ?4 AND device_id > ?1 AND ",
                device_filters!()
            ),
            params,
        },
        Wanted { online: Some(_), .. } => Statement {
            name: "device_list_by_presence",
            sql: concat!(
                "/* device_list_by_presence */ SELECT ",
                device_columns!(),
                " FROM devices WHERE online = ?3 AND device_id > ?1 AND ",
                device_filters!()
            ),
            params,
        },
        Wanted { sku: Some(_), .. } => Statement {
            name: "device_list_by_sku",
            sql: concat!(
                "/* device_list_by_sku */ SELECT ",
                device_columns!(),
                " FROM devices WHERE product_sku = ?5 AND device_id > ?1 AND ",
                device_filters!()
            ),
            params,
        },
        _ => Statement {
            name: "device_list",
            sql: concat!(
                "/* device_list */ SELECT ",
                device_columns!(),
                " FROM devices WHERE device_id > ?1 AND ",
                device_filters!()
            ),
            params,
        },
    }
}

/// Notes that a device has reported for duty.
pub fn provision(device: &DeviceId, at: UnixMillis) -> Statement {
    Statement {
        name: "provision",
        sql: "/* provision */
            UPDATE devices SET provisioned_at = ?2 WHERE device_id = ?1 AND provisioned_at IS NULL",
        params: vec![device.as_str().into(), at.into()],
    }
}

/// A device's tags, alone.
#[derive(Clone, Debug, Deserialize)]
pub struct Tags {
    /// JSON array of text, sorted.
    pub tags: String,
}

/// The [`Tags`] of a device.
pub fn tags(device: &DeviceId) -> Statement {
    Statement {
        name: "device_tags",
        sql: "/* device_tags */ SELECT tags FROM devices WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// Gives a device its tags, a JSON array of text, sorted. One change if it is enrolled.
pub fn set_tags(device: &DeviceId, tags: &str) -> Statement {
    Statement {
        name: "device_set_tags",
        sql: "/* device_set_tags */ UPDATE devices SET tags = ?2 WHERE device_id = ?1",
        params: vec![device.as_str().into(), tags.into()],
    }
}
