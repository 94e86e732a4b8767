//! `/api/auth`: an identity provider's word becomes a session, and a session a stream of short access tokens.
//!
//! A refresh token is good once: using it puts another in its place. Whoever presents one that has been replaced shows that
//! there are two who have it, and the session ends. For this to hold, one place must decide which token is the present one, and KV
//! cannot: it has no compare-and-swap, and elsewhere in the world its news is a minute old or more. So the work is divided.
//!
//! - **KV** says what a token stands for: its hash, as the key, and the session. A key is written once and never changed, so an old
//!   view of it cannot be wrong; it goes by itself after the 24 hours of a session. And it keeps tokens that were replaced
//!   recognizable for that long, without a row for each in the database. What strangers make up ends here.
//! - **D1** has one row a session, with the hash of the present token. Rotation is one conditional statement on it, so of any number
//!   of requests with the same token, anywhere, one wins.
//!
//! The new token's key is written before the row changes: a failure between the two leaves a key that stands for nothing. A
//! statement whose answer was lost is repeated, and the row says whose token it has; so our own repetition is never taken for theft.
//! An app must refresh from one place at a time: two of its pages that use the same token at once are not told from a thief.

use std::rc::Rc;

use rs1_api::keys::{self, Unverified};
use rs1_auth::access_token::{self, Person};
use rs1_auth::jwt::KeyCaches;
use rs1_auth::oidc::{self, Identity};
use rs1_auth::refresh_token::{self, RefreshToken};
use rs1_domain::port::{Database, DocumentSource, KeyValue, Outcome, PortError, Random, SignatureVerifier};
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::time::SECOND;
use rs1_domain::wire::fields::{self, Fields};
use rs1_domain::{Answer, Faults, Problem, Request, SessionId, UnixMillis, UserId};
use rs1_store::sql::{first_row, run};
use rs1_store::users::{self, Ending, Session, SignIn, User};
use rs1_store::{orders, security};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Config;

/// Longest ID token or nonce that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// What `POST /api/auth/session` takes.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(crate) struct SessionRequest {
    /// The identity provider's ID token.
    #[cfg_attr(feature = "schema", schemars(length(max = 8192)))]
    id_token: String,
    /// The nonce that the app asked the provider with, if it did.
    #[cfg_attr(feature = "schema", schemars(length(max = 8192)))]
    nonce: Option<String>,
}

impl SessionRequest {
    fn read(json: &[u8]) -> Result<Self, Faults> {
        let object = fields::object(json)?;
        let fields = Fields::new(&object, "");
        let mut faults = Faults::new();
        let text = |value: &Value| value.as_str().filter(|text| text.len() <= MAX_TOKEN).map(str::to_owned);
        let id_token = fields.required("id_token", "must be an ID token", &mut faults, text);
        let nonce = fields.optional("nonce", "must be text", &mut faults, text);
        fields.refuse_unknown(&["id_token", "nonce"], &mut faults);
        match id_token {
            Some(id_token) if faults.is_empty() => Ok(Self { id_token, nonce }),
            _ => Err(faults),
        }
    }
}

/// What an app gets to call the API with.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// Good once, for the next of these.
    pub refresh_token: String,
    /// Seconds until the session ends unless it is refreshed.
    pub refresh_expires_in: u32,
}

/// What signing in answers: the tokens, and who it is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct SignedIn {
    /// The tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Who signed in.
    pub user: User,
}

/// Whom the ID token of a sign-in names, checked against its issuer's keys.
///
/// # Errors
/// 422 for another body, 401 for a token that is not good, 503 when the issuer's keys cannot be had.
pub async fn identify(
    documents: &impl DocumentSource,
    signatures: &impl SignatureVerifier,
    keys: &KeyCaches,
    config: &Config,
    request: &Request,
) -> Result<Identity, Problem> {
    let wanted = SessionRequest::read(&request.body)?;
    let token =
        oidc::Token::parse(&wanted.id_token, oidc::ALGORITHMS).map_err(|bad| refused(bad.as_str()))?;
    let provider = token.provider(&config.providers).ok_or_else(|| refused("issuer"))?;
    let cache = keys.of(&provider.jwks_url);
    keys::verify(&token, &provider.jwks_url, &Rc::clone(&cache), documents, signatures, request.now)
        .await
        .map_err(|unverified| match unverified {
            Unverified::Refused(why) => refused(why),
            Unverified::Unavailable(cause) => Problem::unavailable(format!("users' keys: {cause}")),
        })?;
    token.judge(provider, wanted.nonce.as_deref(), request.now).map_err(|bad| refused(bad.as_str()))
}

/// An answer that carries tokens says of itself that nobody may keep it (RFC 6749, section 5.1).
fn not_stored(answer: Answer) -> Answer {
    answer.with_header("cache-control", "no-store")
}

/// Signs somebody in: a user who is known, or becomes one now, and what waited for their e-mail address is theirs.
///
/// # Errors
/// 403 if their e-mail address is not verified, 503 when a store fails; nothing has happened then, or a session
/// exists that nobody has a token of.
pub async fn sign_in(
    db: &impl Database,
    sessions: &impl KeyValue,
    random: &impl Random,
    config: &Config,
    identity: &Identity,
    request: &Request,
) -> Result<Answer, Problem> {
    let now = request.now;
    let email = identity.verified_email.as_ref().ok_or_else(|| {
        Problem::forbidden("the e-mail address must be verified with the identity provider first")
    })?;
    let who = SignIn {
        issuer: &identity.issuer,
        subject: &identity.subject,
        email,
        name: identity.name.as_deref(),
        at: now,
    };
    let session = SessionId::generate(now, random.bytes());
    let token = RefreshToken::new(random.bytes());
    remember(sessions, &token, &session).await?;
    let [_, _, _, _, _, _, user] = run(
        db,
        [
            users::upsert(&UserId::generate(now, random.bytes()), &who),
            users::take_up_invitations(&who),
            users::clear_invitations(&who),
            orders::link_user(&who),
            orders::mark_linked_user(&who),
            users::start_session(&session, &who, &token.hash(), expiry(now)),
            users::signed_in(&who),
        ],
    )
    .await?;
    let user = first_row::<User>(&user)?.ok_or_else(|| Problem::internal("a user who was not stored"))?;
    let person = Person { user: user.user_id.clone(), session };
    Ok(not_stored(Answer::json(201, &SignedIn { tokens: tokens(&person, &token, config, now), user })))
}

/// The next tokens of a session, for a refresh token that is then good no more.
///
/// # Errors
/// 422 for another body; 401 for a token that is unknown, of a session that is over, or replaced, which ends the session; 503
/// when a store fails, and then the token is still good.
pub async fn refresh(
    db: &impl Database,
    sessions: &impl KeyValue,
    random: &impl Random,
    config: &Config,
    request: &Request,
) -> Result<Answer, Problem> {
    let now = request.now;
    let presented = read_refresh(&request.body)?;
    let presented = presented.ok_or_else(|| refused("refresh token: form"))?;
    let session = sessions.get(&key(&presented)).await?;
    let session = session.as_deref().and_then(SessionId::parse);
    let session = session.ok_or_else(|| refused("refresh token: unknown"))?;
    let fresh = RefreshToken::new(random.bytes());
    remember(sessions, &fresh, &session).await?;
    let state = rotate(db, &session, &presented, &fresh, now).await?;
    let state = state.ok_or_else(|| refused("refresh token: of no session"))?;
    if state.ended_at.is_some() || state.expires_at <= now {
        return Err(refused("refresh token: the session is over"));
    }
    let person = Person { user: state.user_id, session };
    if state.token_hash != fresh.hash() {
        end_stolen(db, random, &person, request).await?;
        return Err(refused("refresh token: used before; the session was ended"));
    }
    Ok(not_stored(Answer::json(200, &tokens(&person, &fresh, config, now))))
}

/// Signs out: the session's refresh token is good no more. Access tokens that are about live out their five minutes.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_out(db: &impl Database, person: &Person, request: &Request) -> Result<Answer, Problem> {
    run(db, [users::end_session(&person.session, &person.user, Ending::SignOut, request.now)]).await?;
    Ok(Answer::empty(204))
}

/// `GET /api/me`: who is asking.
///
/// # Errors
/// 401 for somebody who is no user any more, 503 when the database fails.
pub async fn me(db: &impl Database, person: &Person) -> Result<Answer, Problem> {
    let [found] = run(db, [users::by_id(&person.user)]).await?;
    let user = first_row::<User>(&found)?.ok_or_else(|| refused("no such user"))?;
    Ok(Answer::json(200, &user))
}

/// The token of `{refresh_token}`; `None` for text that is no such token.
fn read_refresh(json: &[u8]) -> Result<Option<RefreshToken>, Faults> {
    let object = fields::object(json)?;
    let fields = Fields::new(&object, "");
    let mut faults = Faults::new();
    let token = fields.required("refresh_token", "must be a refresh token", &mut faults, Value::as_str);
    fields.refuse_unknown(&["refresh_token"], &mut faults);
    faults.into_result(token.and_then(RefreshToken::parse))
}

/// The key in KV of a token.
fn key(token: &RefreshToken) -> String {
    format!("refresh:{}", token.hash())
}

async fn remember(
    sessions: &impl KeyValue,
    token: &RefreshToken,
    session: &SessionId,
) -> Result<(), PortError> {
    sessions.put(&key(token), session.as_str(), refresh_token::LIFETIME_SECONDS).await
}

/// Rotates, and says where the session stands then. A write whose answer was lost is tried once more: if it was committed, the second one
/// changes nothing, and the state shows that the token is ours.
async fn rotate(
    db: &impl Database,
    session: &SessionId,
    presented: &RefreshToken,
    fresh: &RefreshToken,
    now: UnixMillis,
) -> Result<Option<Session>, PortError> {
    let attempt = async || -> Result<[Outcome; 2], PortError> {
        let rotation = users::rotate(session, &presented.hash(), &fresh.hash(), now, expiry(now));
        run(db, [rotation, users::session(session)]).await
    };
    let [_, state] = match attempt().await {
        Ok(outcomes) => outcomes,
        Err(_lost) => attempt().await?,
    };
    first_row(&state)
}

/// Ends a session of which somebody has a copy of a token, and says so in the security log.
async fn end_stolen(
    db: &impl Database,
    random: &impl Random,
    person: &Person,
    request: &Request,
) -> Result<(), Problem> {
    let (kind, detail) = (SecurityKind::TokenReuse, json!({"session_id": person.session}));
    let event = SecurityEvent::new(kind, person.user.as_str(), request.now, random.bytes(), detail)
        .from_address(request.header("cf-connecting-ip"));
    let event = security::record(&[event]).map_err(|error| Problem::internal(error.to_string()))?;
    let ending = users::end_session(&person.session, &person.user, Ending::TokenReuse, request.now);
    run(db, [ending, event]).await?;
    Ok(())
}

fn tokens(person: &Person, refresh: &RefreshToken, config: &Config, now: UnixMillis) -> Tokens {
    Tokens {
        access_token: config.access_tokens.issue(person, now),
        token_type: "Bearer",
        expires_in: access_token::LIFETIME_SECONDS,
        refresh_token: refresh.expose(),
        refresh_expires_in: refresh_token::LIFETIME_SECONDS,
    }
}

fn expiry(now: UnixMillis) -> UnixMillis {
    now.plus(i64::from(refresh_token::LIFETIME_SECONDS).saturating_mul(SECOND))
}

fn refused(why: &str) -> Problem {
    Problem::unauthenticated("this token is not good; sign in again").with_log(why)
}
