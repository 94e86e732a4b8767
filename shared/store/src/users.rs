//! Who people are, and their sessions.
//!
//! Signing in is one transaction: [`upsert`] and [`start_session`], and between them whatever waited for that
//! e-mail address ([`take_up_invitations`], [`link_user`](crate::orders::link_user)).

use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{EmailAddress, SessionId, UnixMillis, UserId};
use serde::{Deserialize, Serialize};

use crate::sql::PageRequest;

/// Who signs in, by the word of an identity provider.
#[derive(Clone, Debug)]
pub struct SignIn<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// The person there.
    pub subject: &'a str,
    /// Their address, which the provider has verified.
    pub email: &'a EmailAddress,
    /// What they are called, if known.
    pub name: Option<&'a str>,
    /// When.
    pub at: UnixMillis,
}

/// A user, as they see themselves.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user.
    pub user_id: UserId,
    /// Their e-mail address.
    pub email: EmailAddress,
    /// What they are called, if known.
    pub name: Option<String>,
    /// When they first signed in.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub created_at: UnixMillis,
}

/// Writes down who signed in: a new user with the id `fresh`, or the address and name of today of one that is known.
pub fn upsert(fresh: &UserId, who: &SignIn<'_>) -> Statement {
    Statement {
        name: "upsert_user",
        sql: "/* upsert_user */
            INSERT INTO users (user_id, issuer, subject, email, email_verified_at, name, created_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)
            ON CONFLICT (issuer, subject) DO UPDATE SET
              email = excluded.email,
              email_verified_at = max(email_verified_at, excluded.email_verified_at),
              name = coalesce(excluded.name, name)",
        params: vec![
            fresh.as_str().into(),
            who.issuer.into(),
            who.subject.into(),
            who.email.as_str().into(),
            who.at.into(),
            who.name.into(),
        ],
    }
}

/// Makes the invitations of an address the roles of the user who proved that it is theirs. One that finds the user at
/// the limit of devices waits on.
pub fn take_up_invitations(who: &SignIn<'_>) -> Statement {
    Statement {
        name: "take_up_invitations",
        sql: "/* take_up_invitations */
            INSERT INTO device_access (device_id, user_id, role, granted_at, granted_by)
            SELECT i.device_id, u.user_id, i.role, ?4, i.invited_by
            FROM invitations AS i CROSS JOIN users AS u ON u.issuer = ?1 AND u.subject = ?2
            WHERE i.email = ?3
            ON CONFLICT DO NOTHING",
        params: vec![who.issuer.into(), who.subject.into(), who.email.as_str().into(), who.at.into()],
    }
}

/// Forgets the invitations that [`take_up_invitations`] made roles of.
pub fn clear_invitations(who: &SignIn<'_>) -> Statement {
    Statement {
        name: "clear_invitations",
        sql: "/* clear_invitations */
            DELETE FROM invitations WHERE email = ?3 AND EXISTS
              (SELECT 1 FROM users AS u JOIN device_access AS a ON a.user_id = u.user_id
               WHERE u.issuer = ?1 AND u.subject = ?2 AND a.device_id = invitations.device_id)",
        params: vec![who.issuer.into(), who.subject.into(), who.email.as_str().into()],
    }
}

/// Starts a session of whoever signed in, good until `expires_at`.
pub fn start_session(
    session: &SessionId,
    who: &SignIn<'_>,
    token_hash: &str,
    expires_at: UnixMillis,
) -> Statement {
    Statement {
        name: "start_session",
        sql: "/* start_session */
            INSERT INTO sessions (session_id, user_id, token_hash, created_at, refreshed_at, expires_at)
            SELECT ?1, user_id, ?4, ?5, ?5, ?6 FROM users WHERE issuer = ?2 AND subject = ?3",
        params: vec![
            session.as_str().into(),
            who.issuer.into(),
            who.subject.into(),
            token_hash.into(),
            who.at.into(),
            expires_at.into(),
        ],
    }
}

/// The [`User`] who signed in.
pub fn signed_in(who: &SignIn<'_>) -> Statement {
    Statement {
        name: "signed_in",
        sql: "/* signed_in */
            SELECT user_id, email, name, created_at FROM users WHERE issuer = ?1 AND subject = ?2",
        params: vec![who.issuer.into(), who.subject.into()],
    }
}

/// A [`User`] by id.
pub fn by_id(user: &UserId) -> Statement {
    Statement {
        name: "user_by_id",
        sql: "/* user_by_id */ SELECT user_id, email, name, created_at FROM users WHERE user_id = ?1",
        params: vec![user.as_str().into()],
    }
}

/// Puts `fresh` in the place of the refresh token whose hash is `presented`, if that one is the session's present one and the session lives:
/// of two who present the same token, one wins. Follow with [`session`] in the same transaction.
pub fn rotate(
    session: &SessionId,
    presented: &str,
    fresh: &str,
    now: UnixMillis,
    expires_at: UnixMillis,
) -> Statement {
    Statement {
        name: "rotate_session",
        sql: "/* rotate_session */
            UPDATE sessions SET token_hash = ?3, refreshed_at = ?4, expires_at = ?5
            WHERE session_id = ?1 AND token_hash = ?2 AND ended_at IS NULL AND expires_at > ?4",
        params: vec![session.as_str().into(), presented.into(), fresh.into(), now.into(), expires_at.into()],
    }
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub user_id: UserId,
    /// The hash of the one refresh token that is good.
    pub token_hash: String,
    /// Until when.
    #[serde(with = "as_millis")]
    pub expires_at: UnixMillis,
    /// When it was ended.
    #[serde(with = "as_optional_millis")]
    pub ended_at: Option<UnixMillis>,
}

/// A [`Session`].
pub fn session(session: &SessionId) -> Statement {
    Statement {
        name: "session",
        sql: "/* session */ SELECT user_id, token_hash, expires_at, ended_at FROM sessions WHERE session_id = ?1",
        params: vec![session.as_str().into()],
    }
}

/// Why a session ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The person signed out.
    SignOut,
    /// A refresh token was presented that had been replaced: somebody has a copy.
    TokenReuse,
}

/// Ends a session of a user, if it lives.
pub fn end_session(session: &SessionId, user: &UserId, ending: Ending, now: UnixMillis) -> Statement {
    let ending = match ending {
        Ending::SignOut => "sign_out",
        Ending::TokenReuse => "token_reuse",
    };
    Statement {
        name: "end_session",
        sql: "/* end_session */
            UPDATE sessions SET ended_at = ?4, ended_by = ?3
            WHERE session_id = ?1 AND user_id = ?2 AND ended_at IS NULL",
        params: vec![session.as_str().into(), user.as_str().into(), ending.into(), now.into()],
    }
}

/// Forgets up to `limit` sessions that expired before `before`.
pub fn prune_sessions(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "prune_sessions",
        sql: "/* prune_sessions */
            DELETE FROM sessions WHERE session_id IN
              (SELECT session_id FROM sessions WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)",
        params: vec![before.into(), limit.into()],
    }
}

/// A user's id, alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UserRow {
    /// The user.
    pub user_id: UserId,
}

/// The [`UserRow`] of the user whose the address is: who proved it last.
pub fn of_email(email: &EmailAddress) -> Statement {
    Statement {
        name: "user_of_email",
        sql: "/* user_of_email */
            SELECT user_id FROM users WHERE email = ?1 ORDER BY email_verified_at DESC LIMIT 1",
        params: vec![email.as_str().into()],
    }
}

/// A user, as operators see them.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSummary {
    /// The user.
    pub user_id: UserId,
    /// Their e-mail address.
    pub email: EmailAddress,
    /// When their identity provider last said that it is theirs, which is when they last signed in.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub email_verified_at: UnixMillis,
    /// What they are called, if known.
    pub name: Option<String>,
    /// Whose word it is that they are who they are.
    pub issuer: String,
    /// When they first signed in.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub created_at: UnixMillis,
    /// Devices that they have a role with.
    pub devices: i64,
}

/// A page of [`UserSummary`]s, in the order of their ids, which is that of their first sign-in.
pub fn list(page: &PageRequest) -> Statement {
    Statement {
        name: "user_list",
        sql: "/* user_list */
            SELECT user_id, email, email_verified_at, name, issuer, created_at,
              (SELECT count(*) FROM device_access AS a WHERE a.user_id = users.user_id) AS devices
            FROM users WHERE user_id > ?1 ORDER BY user_id LIMIT ?2",
        params: vec![page.after.as_deref().unwrap_or_default().into(), page.rows().into()],
    }
}

/// The [`UserSummary`]s of an address, who proved it last first: one a provider at most.
pub fn list_of_email(email: &EmailAddress) -> Statement {
    Statement {
        name: "user_list_of_email",
        sql: "/* user_list_of_email */
            SELECT user_id, email, email_verified_at, name, issuer, created_at,
              (SELECT count(*) FROM device_access AS a WHERE a.user_id = users.user_id) AS devices
            FROM users WHERE email = ?1 ORDER BY email_verified_at DESC LIMIT 50",
        params: vec![email.as_str().into()],
    }
}
