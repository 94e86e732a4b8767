//! Who may do what with which device.
//!
//! [`role_of`] is the question that every route about one device asks before anything else; a person without a
//! role is answered as if there were no such device. What changes a role asks again, inside its statement, whether the one who
//! wants it may: nothing that happens in between makes a difference.

use rs1_domain::limits::{DEVICE_PEOPLE, USER_DEVICES};
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{DeviceId, EmailAddress, MacAddress, RecordId, Role, Sku, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::sql::{PageRequest, flag, optional_flag};

/// A person's role, alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleRow {
    /// The role.
    pub role: Role,
}

/// The [`RoleRow`] of a user with a device; no row for somebody without a role, and for a device that there is not.
pub fn role_of(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "role_of",
        sql: "/* role_of */ SELECT role FROM device_access WHERE device_id = ?1 AND user_id = ?2",
        params: vec![device.as_str().into(), user.as_str().into()],
    }
}

/// A person's role, and how far back they may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Sight {
    /// The role.
    pub role: Role,
    /// What the device said before this was to somebody else.
    #[serde(with = "as_millis")]
    pub history_from: UnixMillis,
}

/// The [`Sight`] of a user with a device; no row as with [`role_of`].
pub fn sight_of(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "sight_of",
        sql: "/* sight_of */
            SELECT a.role, d.history_from FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.device_id = ?1 AND a.user_id = ?2",
        params: vec![device.as_str().into(), user.as_str().into()],
    }
}

/// A device as the people see it who have a role with it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MyDevice {
    /// The device.
    pub device_id: DeviceId,
    /// Its MAC address, which is printed on it.
    pub mac_address: MacAddress,
    /// Its variant, if known.
    pub product_sku: Option<Sku>,
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub room: Option<String>,
    /// Counts changes of name and room: the `ETag`.
    pub version: i64,
    /// The asking person's role.
    pub role: Role,
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
}

/// Every [`MyDevice`] of a user after a device id, in the order of ids: 50 at most, by the limit that the database keeps.
///
/// The database writes them down itself, as one text: nine hundred values, each made a value of its own at every step from
/// there to here, were a fifth of what the list cost.
pub fn my_devices(user: &UserId, after: Option<&str>) -> Statement {
    Statement {
        name: "my_devices",
        sql: "/* my_devices */
            SELECT '[' || json_array('device_id', 'mac_address', 'product_sku', 'name', 'room', 'version', 'role',
              'online', 'offline_reason', 'last_seen_at', 'last_telemetry_at', 'state_at', 'firmware_version',
              'uptime_sec', 'wifi_rssi', 'config_version', 'zone_count', 'radar_connected')
              || coalesce(group_concat(row, ''), '') || ']' AS json
            FROM (
              SELECT ',' || json_array(d.device_id, d.mac_address, d.product_sku, d.name, d.room, d.profile_version, a.role,
                d.online, d.offline_reason, d.last_seen_at, d.last_telemetry_at, nullif(d.state_at, 0), d.firmware_version,
                d.uptime_sec, d.wifi_rssi, d.config_version, d.zone_count, d.radar_connected) AS row
              FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
              WHERE a.user_id = ?1 AND a.device_id > ?2 ORDER BY a.device_id
            )",
        params: vec![user.as_str().into(), after.unwrap_or_default().into()],
    }
}

/// One [`MyDevice`]; no row for somebody without a role.
pub fn my_device(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "my_device",
        sql: "/* my_device */
            SELECT d.device_id, d.mac_address, d.product_sku, d.name, d.room, d.profile_version AS version, a.role,
              d.online, d.offline_reason, d.last_seen_at, d.last_telemetry_at, nullif(d.state_at, 0) AS state_at,
              d.firmware_version, d.uptime_sec, d.wifi_rssi, d.config_version, d.zone_count, d.radar_connected
            FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.device_id = ?2 AND a.user_id = ?1",
        params: vec![user.as_str().into(), device.as_str().into()],
    }
}

/// Gives a device another name and another room, if its [`MyDevice::version`] is `expected` and the user may: one row if so, none if not.
pub fn edit_profile(
    user: &UserId,
    device: &DeviceId,
    name: Option<&str>,
    room: Option<&str>,
    expected: i64,
) -> Statement {
    Statement {
        name: "edit_profile",
        sql: "/* edit_profile */
            UPDATE devices SET name = ?3, room = ?4, profile_version = profile_version + 1
            WHERE device_id = ?2 AND profile_version = ?5 AND EXISTS
              (SELECT 1 FROM device_access WHERE device_id = ?2 AND user_id = ?1 AND role IN ('owner', 'admin'))
            RETURNING profile_version",
        params: vec![
            user.as_str().into(),
            device.as_str().into(),
            name.into(),
            room.into(),
            expected.into(),
        ],
    }
}

/// Whom a device is shared with, or is to be when they sign in.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What names the share: the user's id, or that of the invitation.
    pub id: String,
    /// The person's address.
    pub email: EmailAddress,
    /// What they are called, if known.
    pub name: Option<String>,
    /// What they may do.
    pub role: Role,
    /// Whether they have not signed in yet.
    #[serde(deserialize_with = "flag")]
    pub pending: bool,
    /// Since when.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub since: UnixMillis,
}

/// Every [`Share`] of a device, the owner's among them: [`DEVICE_PEOPLE`] at most.
pub fn shares(device: &DeviceId) -> Statement {
    Statement {
        name: "shares",
        sql: "/* shares */
            SELECT a.user_id AS id, u.email, u.name, a.role, 0 AS pending, a.granted_at AS since
            FROM device_access AS a CROSS JOIN users AS u ON u.user_id = a.user_id WHERE a.device_id = ?1
            UNION ALL
            SELECT invitation_id, email, NULL, role, 1, created_at FROM invitations WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}

/// Somebody shares a device with an address.
#[derive(Clone, Debug)]
pub struct NewShare<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// Its owner, or nothing happens.
    pub owner: &'a UserId,
    /// With whom.
    pub email: &'a EmailAddress,
    /// As what.
    pub role: Role,
    /// When.
    pub at: UnixMillis,
}

/// Gives a role to the user of an address, or another one to one who has one; nothing happens where there is no such user. Follow with
/// [`invite`] and [`share_of`].
pub fn share_with_user(share: &NewShare<'_>) -> Statement {
    Statement {
        name: "share_with_user",
        sql: "/* share_with_user */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT ?1, holder.user_id, ?4, ?5, ?2
            FROM (SELECT user_id FROM users WHERE email = ?3 ORDER BY email_verified_at DESC LIMIT 1) AS holder
            WHERE EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = ?2 AND role = 'owner')
              AND holder.user_id <> ?2
              AND (EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = holder.user_id) OR
                   (SELECT count(*) FROM device_access WHERE device_id = ?1)
                   + (SELECT count(*) FROM invitations WHERE device_id = ?1) < ?6)
            ON CONFLICT (device_id, user_id) DO UPDATE SET role = excluded.role WHERE role <> 'owner'",
        params: vec![
            share.device.as_str().into(),
            share.owner.as_str().into(),
            share.email.as_str().into(),
            share.role.as_str().into(),
            share.at.into(),
            DEVICE_PEOPLE.into(),
        ],
    }
}

/// Invites an address that is no user's yet, or changes the invitation that it has.
pub fn invite(id: &RecordId, share: &NewShare<'_>) -> Statement {
    Statement {
        name: "invite",
        sql: "/* invite */
            INSERT INTO invitations (invitation_id, device_id, email, role, invited_by, created_at)
            SELECT ?7, ?1, ?3, ?4, ?2, ?5
            WHERE EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = ?2 AND role = 'owner')
              AND NOT EXISTS (SELECT 1 FROM users WHERE email = ?3)
              AND (EXISTS (SELECT 1 FROM invitations WHERE device_id = ?1 AND email = ?3) OR
                   (SELECT count(*) FROM device_access WHERE device_id = ?1)
                   + (SELECT count(*) FROM invitations WHERE device_id = ?1) < ?6)
            ON CONFLICT (device_id, email) DO UPDATE SET role = excluded.role, invited_by = excluded.invited_by",
        params: vec![
            share.device.as_str().into(),
            share.owner.as_str().into(),
            share.email.as_str().into(),
            share.role.as_str().into(),
            share.at.into(),
            DEVICE_PEOPLE.into(),
            id.as_str().into(),
        ],
    }
}

/// The [`Share`] of an address, if there is one.
pub fn share_of(device: &DeviceId, email: &EmailAddress) -> Statement {
    Statement {
        name: "share_of",
        sql: "/* share_of */
            SELECT a.user_id AS id, holder.email, holder.name, a.role, 0 AS pending, a.granted_at AS since
            FROM (SELECT user_id, email, name FROM users WHERE email = ?2 ORDER BY email_verified_at DESC LIMIT 1) AS holder
            CROSS JOIN device_access AS a ON a.device_id = ?1 AND a.user_id = holder.user_id
            UNION ALL
            SELECT invitation_id, email, NULL, role, 1, created_at FROM invitations WHERE device_id = ?1 AND email = ?2",
        params: vec![device.as_str().into(), email.as_str().into()],
    }
}

/// Takes a role from somebody: the owner does, or they do themselves. The owner's own stays.
pub fn unshare(device: &DeviceId, asking: &UserId, from: &UserId) -> Statement {
    Statement {
        name: "unshare",
        sql: "/* unshare */
            DELETE FROM device_access WHERE device_id = ?1 AND user_id = ?3 AND role <> 'owner'
              AND (?2 = ?3 OR EXISTS
                (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = ?2 AND role = 'owner'))
            RETURNING user_id",
        params: vec![device.as_str().into(), asking.as_str().into(), from.as_str().into()],
    }
}

/// Takes an invitation back.
pub fn uninvite(device: &DeviceId, owner: &UserId, invitation: &RecordId) -> Statement {
    Statement {
        name: "uninvite",
        sql: "/* uninvite */
            DELETE FROM invitations WHERE invitation_id = ?3 AND device_id = ?1 AND EXISTS
              (SELECT 1 FROM device_access WHERE device_id = ?1 AND user_id = ?2 AND role = 'owner')
            RETURNING invitation_id",
        params: vec![device.as_str().into(), owner.as_str().into(), invitation.as_str().into()],
    }
}

/// A role, and the session by which the device was last here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ownership {
    /// The asking person's role.
    pub role: Role,
    /// The MQTT client id of that session.
    pub client_id: Option<String>,
}

/// The [`Ownership`] of somebody who has a role with a device.
pub fn ownership(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "ownership",
        sql: "/* ownership */
            SELECT a.role, d.presence_client_id AS client_id
            FROM device_access AS a CROSS JOIN devices AS d ON d.device_id = a.device_id
            WHERE a.device_id = ?2 AND a.user_id = ?1",
        params: vec![user.as_str().into(), device.as_str().into()],
    }
}

/// Ends somebody's ownership. Follow with [`forget_people`], [`forget_offers`], [`forget_profile`] and
/// [`zones::forget`](crate::zones::forget) in the same transaction: they do nothing while somebody owns the device.
pub fn give_up(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "give_up",
        sql: "/* give_up */
            DELETE FROM device_access WHERE device_id = ?2 AND user_id = ?1 AND role = 'owner'",
        params: vec![user.as_str().into(), device.as_str().into()],
    }
}

/// Takes every role with a device that nobody owns, and every invitation to it.
pub fn forget_people(device: &DeviceId) -> [Statement; 2] {
    let params = || vec![device.as_str().into()];
    [
        Statement {
            name: "forget_people",
            sql: "/* forget_people */
                DELETE FROM device_access WHERE device_id = ?1
                  AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
            params: params(),
        },
        Statement {
            name: "forget_invitations",
            sql: "/* forget_invitations */
                DELETE FROM invitations WHERE device_id = ?1
                  AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
            params: params(),
        },
    ]
}

/// Takes back what was offered of a device that nobody owns.
pub fn forget_offers(device: &DeviceId) -> Statement {
    Statement {
        name: "forget_offers",
        sql: "/* forget_offers */
            DELETE FROM transfers WHERE device_id = ?1
              AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
        params: vec![device.as_str().into()],
    }
}

/// Forgets what a device that nobody owns was called.
pub fn forget_profile(device: &DeviceId) -> Statement {
    Statement {
        name: "forget_profile",
        sql: "/* forget_profile */
            UPDATE devices SET name = NULL, room = NULL, profile_version = profile_version + 1
            WHERE device_id = ?1
              AND NOT EXISTS (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')",
        params: vec![device.as_str().into()],
    }
}

/// A change of owner that waits for the receiver's word.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// `trf-…`.
    pub transfer_id: String,
    /// The device.
    pub device_id: DeviceId,
    /// What it is called.
    pub device_name: Option<String>,
    /// The owner's address.
    pub from_email: EmailAddress,
    /// The receiver's.
    pub to_email: EmailAddress,
    /// When it was offered.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub created_at: UnixMillis,
    /// Until when it may be accepted.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub expires_at: UnixMillis,
}

/// Offers a device to an address, in the place of any offer before, if the user owns it: one row if so.
pub fn offer(
    id: &RecordId,
    owner: &UserId,
    device: &DeviceId,
    to: &EmailAddress,
    now: UnixMillis,
    expires_at: UnixMillis,
) -> Statement {
    Statement {
        name: "offer",
        sql: "/* offer */
            INSERT INTO transfers (device_id, transfer_id, from_user, to_email, created_at, expires_at)
            SELECT ?3, ?1, ?2, ?4, ?5, ?6
            WHERE EXISTS (SELECT 1 FROM device_access WHERE device_id = ?3 AND user_id = ?2 AND role = 'owner')
            ON CONFLICT (device_id) DO UPDATE SET transfer_id = excluded.transfer_id, from_user = excluded.from_user,
              to_email = excluded.to_email, created_at = excluded.created_at, expires_at = excluded.expires_at
            RETURNING transfer_id",
        params: vec![
            id.as_str().into(),
            owner.as_str().into(),
            device.as_str().into(),
            to.as_str().into(),
            now.into(),
            expires_at.into(),
        ],
    }
}

/// The [`Transfer`] of a device, for those whom it concerns: the owner who offered it, and the user whose the address is now.
pub fn transfer(user: &UserId, device: &DeviceId, now: UnixMillis) -> Statement {
    Statement {
        name: "transfer",
        sql: "/* transfer */
            SELECT t.transfer_id, t.device_id, d.name AS device_name, f.email AS from_email, t.to_email,
              t.created_at, t.expires_at
            FROM transfers AS t CROSS JOIN devices AS d ON d.device_id = t.device_id
            CROSS JOIN users AS f ON f.user_id = t.from_user
            WHERE t.device_id = ?2 AND t.expires_at > ?3
              AND (t.from_user = ?1 OR
                   ?1 = (SELECT user_id FROM users WHERE email = t.to_email ORDER BY email_verified_at DESC LIMIT 1))",
        params: vec![user.as_str().into(), device.as_str().into(), now.into()],
    }
}

/// A page of the [`Transfer`]s that wait for a user's word, in the order of devices.
pub fn offers_to(user: &UserId, page: &PageRequest, now: UnixMillis) -> Statement {
    Statement {
        name: "offers_to",
        sql: "/* offers_to */
            SELECT t.transfer_id, t.device_id, d.name AS device_name, f.email AS from_email, t.to_email,
              t.created_at, t.expires_at
            FROM users AS u CROSS JOIN transfers AS t ON t.to_email = u.email AND t.device_id > ?2
            CROSS JOIN devices AS d ON d.device_id = t.device_id
            CROSS JOIN users AS f ON f.user_id = t.from_user
            WHERE u.user_id = ?1 AND t.expires_at > ?3
              AND u.user_id = (SELECT user_id FROM users WHERE email = u.email ORDER BY email_verified_at DESC LIMIT 1)
            ORDER BY t.device_id LIMIT ?4",
        params: vec![
            user.as_str().into(),
            page.after.as_deref().unwrap_or_default().into(),
            now.into(),
            page.rows().into(),
        ],
    }
}

/// Takes an offer back, or declines it: one row if there was one that concerns the user.
pub fn withdraw(user: &UserId, device: &DeviceId) -> Statement {
    Statement {
        name: "withdraw",
        sql: "/* withdraw */
            DELETE FROM transfers WHERE device_id = ?2
              AND (from_user = ?1 OR
                   ?1 = (SELECT user_id FROM users WHERE email = to_email ORDER BY email_verified_at DESC LIMIT 1))
            RETURNING transfer_id",
        params: vec![user.as_str().into(), device.as_str().into()],
    }
}

/// Makes the receiver of an offer the owner. The one before, and everybody whom they let in, are out: what a room is like is for its
/// new owner to show. Four statements for one transaction; each asks the same, whether the offer stands and the receiver has room for a
/// device, so that they happen together or not at all. The second one is what decides.
pub fn accept(user: &UserId, transfer: &str, device: &DeviceId, now: UnixMillis) -> [Statement; 4] {
    let params = || {
        vec![user.as_str().into(), transfer.into(), device.as_str().into(), now.into(), USER_DEVICES.into()]
    };
    [
        Statement {
            name: "accept_clears",
            sql: "/* accept_clears */
                DELETE FROM device_access WHERE device_id = ?3 AND role <> 'owner' AND EXISTS
                  (SELECT 1 FROM transfers AS t JOIN device_access AS o ON o.device_id = t.device_id AND o.user_id = t.from_user
                   WHERE t.device_id = ?3 AND t.transfer_id = ?2 AND t.expires_at > ?4 AND o.role = 'owner'
                     AND ?1 = (SELECT user_id FROM users WHERE email = t.to_email ORDER BY email_verified_at DESC LIMIT 1))
                  AND (SELECT count(*) FROM device_access WHERE user_id = ?1 AND device_id <> ?3) < ?5",
            params: params(),
        },
        Statement {
            name: "accept",
            sql: "/* accept */
                UPDATE device_access SET user_id = ?1, granted_at = ?4, granted_by = user_id
                WHERE device_id = ?3 AND role = 'owner' AND EXISTS
                  (SELECT 1 FROM transfers AS t WHERE t.device_id = ?3 AND t.transfer_id = ?2 AND t.expires_at > ?4
                     AND t.from_user = device_access.user_id
                     AND ?1 = (SELECT user_id FROM users WHERE email = t.to_email ORDER BY email_verified_at DESC LIMIT 1))
                  AND (SELECT count(*) FROM device_access WHERE user_id = ?1 AND device_id <> ?3) < ?5",
            params: params(),
        },
        Statement {
            name: "accept_uninvites",
            sql: "/* accept_uninvites */
                DELETE FROM invitations WHERE device_id = ?3
                  AND EXISTS (SELECT 1 FROM transfers WHERE device_id = ?3 AND transfer_id = ?2)
                  AND EXISTS (SELECT 1 FROM device_access WHERE device_id = ?3 AND user_id = ?1 AND role = 'owner')",
            params: params().into_iter().take(3).collect(),
        },
        Statement {
            name: "accept_settles",
            sql: "/* accept_settles */
                DELETE FROM transfers WHERE device_id = ?3 AND transfer_id = ?2
                  AND EXISTS (SELECT 1 FROM device_access WHERE device_id = ?3 AND user_id = ?1 AND role = 'owner')",
            params: params().into_iter().take(3).collect(),
        },
    ]
}

/// Makes somebody the owner of a device that nobody owns, for support.
pub fn claim(device: &DeviceId, user: &UserId, by: &str, now: UnixMillis) -> Statement {
    Statement {
        name: "claim",
        sql: "/* claim */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT d.device_id, u.user_id, 'owner', ?4, ?3
            FROM devices AS d CROSS JOIN users AS u ON u.user_id = ?2
            WHERE d.device_id = ?1 AND NOT EXISTS
              (SELECT 1 FROM device_access WHERE device_id = ?1 AND role = 'owner')
            ON CONFLICT (device_id, user_id) DO UPDATE SET role = 'owner', granted_at = ?4, granted_by = ?3",
        params: vec![device.as_str().into(), user.as_str().into(), by.into(), now.into()],
    }
}

/// The owner of a device, if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OwnerRow {
    /// Who.
    pub owner: Option<UserId>,
}

/// The [`OwnerRow`] of a device; no row for one that is not enrolled.
pub fn owner(device: &DeviceId) -> Statement {
    Statement {
        name: "device_owner",
        sql: "/* device_owner */
            SELECT (SELECT user_id FROM device_access WHERE device_id = ?1 AND role = 'owner') AS owner
            FROM devices WHERE device_id = ?1",
        params: vec![device.as_str().into()],
    }
}
