//! What the shop sold to whom, and how a device finds its buyer.
//!
//! An order makes its buyer the owner once, when four things have come together in whatever sequence: the order has been
//! shipped, the device has reported, the buyer has signed in with the order's address, and nobody owns the device. So the same
//! statement stands behind a device's report ([`link_device`]), an import ([`link_orders`]) and a sign-in ([`link_user`]); what
//! they linked is marked by [`mark_linked`], in the same transaction, and does not link again: a device that was given up
//! does not go back to its first buyer.

use rs1_domain::json;
use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{DeviceId, EmailAddress, MacAddress, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::users::SignIn;

/// An order, as the shop tells of it.
#[derive(Clone, Debug, Serialize)]
pub struct NewOrder {
    /// Derived from the MAC address.
    pub device_id: DeviceId,
    /// The shop's.
    pub order_id: String,
    /// The MAC address on the box.
    pub mac_address: MacAddress,
    /// The buyer's address.
    pub email: EmailAddress,
    /// When it was shipped, in Unix milliseconds; null while it was not.
    pub shipped_at: Option<i64>,
}

/// Writes orders down. What is known stays, but that an order that has not been shipped may be shipped later, and its
/// buyer's address may be corrected until it has made somebody the owner.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn import(orders: &[NewOrder], now: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "import_orders",
        sql: "/* import_orders */
            INSERT INTO orders (device_id, order_id, mac_address, email, shipped_at, imported_at)
            SELECT value->>'device_id', value->>'order_id', value->>'mac_address', value->>'email',
              value->>'shipped_at', ?2
            FROM json_each(?1) WHERE true
            ON CONFLICT (device_id, order_id) DO UPDATE SET
              shipped_at = coalesce(shipped_at, excluded.shipped_at), email = excluded.email
            WHERE linked_at IS NULL",
        params: vec![json::write(orders)?.into(), now.into()],
    })
}

/// An order, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// The place in the list that was asked for, from 0.
    pub place: usize,
    /// The buyer's address.
    pub email: EmailAddress,
    /// When it was shipped.
    #[serde(with = "as_optional_millis")]
    pub shipped_at: Option<UnixMillis>,
    /// When it made its buyer the owner.
    #[serde(with = "as_optional_millis")]
    pub linked_at: Option<UnixMillis>,
    /// When it was first heard of.
    #[serde(with = "as_millis")]
    pub imported_at: UnixMillis,
    /// The owner of the device, whoever made them that.
    pub owner: Option<UserId>,
}

/// The [`Order`]s as they stand, one for each place in the list.
///
/// # Errors
/// When the list cannot be written as JSON, which these types always can.
pub fn stored(orders: &[NewOrder]) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "orders_stored",
        sql: "/* orders_stored */
            SELECT wanted.key AS place, o.email, o.shipped_at, o.linked_at, o.imported_at,
              (SELECT user_id FROM device_access AS a WHERE a.device_id = o.device_id AND a.role = 'owner') AS owner
            FROM json_each(?1) AS wanted CROSS JOIN orders AS o
              ON o.device_id = wanted.value->>'device_id' AND o.order_id = wanted.value->>'order_id'",
        params: vec![json::write(orders)?.into()],
    })
}

/// Makes the buyer of one device its owner, if it is time ([`orders`](self)).
pub fn link_device(device: &DeviceId, now: UnixMillis) -> Statement {
    Statement {
        name: "link_device",
        sql: "/* link_device */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT o.device_id, (SELECT user_id FROM users WHERE email = o.email ORDER BY email_verified_at DESC LIMIT 1) AS buyer,
              'owner', ?2, 'order'
            FROM orders AS o CROSS JOIN devices AS d ON d.device_id = o.device_id
            WHERE o.device_id = ?1 AND o.linked_at IS NULL AND o.shipped_at IS NOT NULL AND d.provisioned_at IS NOT NULL
              AND buyer IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM orders AS later WHERE later.device_id = o.device_id AND (later.shipped_at, later.order_id) > (o.shipped_at, o.order_id))
              AND NOT EXISTS (SELECT 1 FROM device_access AS a WHERE a.device_id = o.device_id AND a.role = 'owner')
            ON CONFLICT (device_id, user_id) DO UPDATE SET role = 'owner', granted_at = ?2, granted_by = 'order'",
        params: vec![device.as_str().into(), now.into()],
    }
}

/// Makes the buyers of some devices their owners, where it is time ([`orders`](self)).
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn link_orders(devices: &[&DeviceId], now: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "link_orders",
        sql: "/* link_orders */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT o.device_id, (SELECT user_id FROM users WHERE email = o.email ORDER BY email_verified_at DESC LIMIT 1) AS buyer,
              'owner', ?2, 'order'
            FROM (SELECT DISTINCT value FROM json_each(?1)) AS wanted
            CROSS JOIN orders AS o ON o.device_id = wanted.value
            CROSS JOIN devices AS d ON d.device_id = o.device_id
            WHERE o.linked_at IS NULL AND o.shipped_at IS NOT NULL AND d.provisioned_at IS NOT NULL AND buyer IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM orders AS later WHERE later.device_id = o.device_id AND (later.shipped_at, later.order_id) > (o.shipped_at, o.order_id))
              AND NOT EXISTS (SELECT 1 FROM device_access AS a WHERE a.device_id = o.device_id AND a.role = 'owner')
            ON CONFLICT (device_id, user_id) DO UPDATE SET role = 'owner', granted_at = ?2, granted_by = 'order'",
        params: vec![json::write(devices)?.into(), now.into()],
    })
}

/// Makes whoever signed in the owner of what they bought, where it is time ([`orders`](self)).
pub fn link_user(who: &SignIn<'_>) -> Statement {
    Statement {
        name: "link_user",
        sql: "/* link_user */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT o.device_id, u.user_id, 'owner', ?4, 'order'
            FROM users AS u CROSS JOIN orders AS o ON o.email = ?3 AND o.linked_at IS NULL
            CROSS JOIN devices AS d ON d.device_id = o.device_id
            WHERE u.issuer = ?1 AND u.subject = ?2 AND o.shipped_at IS NOT NULL AND d.provisioned_at IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM orders AS later WHERE later.device_id = o.device_id AND (later.shipped_at, later.order_id) > (o.shipped_at, o.order_id))
              AND NOT EXISTS (SELECT 1 FROM device_access AS a WHERE a.device_id = o.device_id AND a.role = 'owner')
            ON CONFLICT (device_id, user_id) DO UPDATE SET role = 'owner', granted_at = ?4, granted_by = 'order'",
        params: vec![who.issuer.into(), who.subject.into(), who.email.as_str().into(), who.at.into()],
    }
}

/// Marks the orders that [`link_device`] or [`link_orders`] made owners by at `now`, in the same transaction, so that they do
/// not link again.
///
/// # Errors
/// When the list cannot be written as JSON, which ids always can.
pub fn mark_linked(devices: &[&DeviceId], now: UnixMillis) -> Result<Statement, json::Error> {
    Ok(Statement {
        name: "mark_linked",
        sql: "/* mark_linked */
            UPDATE orders SET linked_at = ?2
            WHERE device_id IN (SELECT value FROM json_each(?1)) AND linked_at IS NULL AND shipped_at IS NOT NULL
              AND EXISTS (SELECT 1 FROM device_access AS a
                          WHERE a.device_id = orders.device_id AND a.role = 'owner' AND a.granted_by = 'order' AND a.granted_at = ?2)",
        params: vec![json::write(devices)?.into(), now.into()],
    })
}

/// As [`mark_linked`], after [`link_user`].
pub fn mark_linked_user(who: &SignIn<'_>) -> Statement {
    Statement {
        name: "mark_linked_user",
        sql: "/* mark_linked_user */
            UPDATE orders SET linked_at = ?2
            WHERE email = ?1 AND linked_at IS NULL AND shipped_at IS NOT NULL
              AND EXISTS (SELECT 1 FROM device_access AS a
                          WHERE a.device_id = orders.device_id AND a.role = 'owner' AND a.granted_by = 'order' AND a.granted_at = ?2)",
        params: vec![who.email.as_str().into(), who.at.into()],
    }
}
