//! EMQX's decisions and events, at the places where the engine asks for them.
//!
//! The engine runs its `message_publish` hook before the authorization check and `client_publish`
//! rules must not see what is refused, so a client's message reaches the rules from the check itself.
//! For that the check must run for superusers too: the engine is never told that someone is one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::codec::v5::{PublishAckReason, SubscribeAckReason};
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::session::Session;
use rmqtt::types::{
    AuthResult, ClientId, ConnectInfo, Disconnect, From, FromType, Id, Message as ToSession, Publish,
    PublishAclResult, PublishResult, Reason, Subscribe, SubscribeReturn, TopicFilter,
};

use super::{publish, reasons};
use crate::auth::{Client, Grant, Identity, Operation, Verdict};
use crate::broker::Broker;
use crate::clock;
use crate::metrics::Counter;
use crate::rules::{ClientEvent, Connected, Disconnected, Kind, Properties, Term};
use crate::topic;

/// Where a session keeps its [`Client`].
const CLIENT: &str = "client";

/// The hooks. One value for each type of hook, all with the same broker behind.
pub struct Hooks {
    broker: Arc<Broker>,
    scx: ServerContext,
}

impl Hooks {
    /// Hangs the broker into the engine.
    pub async fn register(broker: &Arc<Broker>, scx: &ServerContext) {
        let register = scx.extends.hook_mgr().register();
        for kind in [
            Type::ClientAuthenticate,
            Type::ClientConnected,
            Type::ClientDisconnected,
            Type::SessionCreated,
            Type::SessionTerminated,
            Type::ClientSubscribe,
            Type::ClientUnsubscribe,
            Type::ClientSubscribeCheckAcl,
            Type::MessagePublishCheckAcl,
            Type::MessagePublish,
            Type::MessageDelivered,
            Type::MessageAcked,
            Type::MessageDropped,
            Type::MessageNonsubscribed,
        ] {
            register.add(kind, Box::new(Self { broker: broker.clone(), scx: scx.clone() })).await;
        }
        register.start().await;
    }

    fn count(&self, counter: Counter) {
        self.broker.metrics.count(counter);
    }

    async fn authenticate(&self, connect: &ConnectInfo) -> AuthResult {
        self.count(Counter::ClientAuthenticate);
        let identity = identity(connect.id(), connect.proto_ver(), self.broker.mqtt_address);
        let clientid = identity.clientid.clone();
        match self.broker.authenticator.authenticate(&identity, connect.password()).await {
            Verdict::Allow(grant) => {
                self.count(Counter::AuthenticationSuccess);
                if grant.is_none() {
                    self.count(Counter::AuthenticationAnonymous);
                }
                let client = Arc::new(Client::new(identity, grant.unwrap_or_default()));
                self.broker.clients.admit(connect.id(), client, connect.clean_start());
                AuthResult::Allow(false, None)
            }
            Verdict::BadUsernameOrPassword(why) => {
                log::info!("{clientid} is not let in: {why}");
                self.not_let_in();
                AuthResult::BadUsernameOrPassword
            }
            Verdict::NotAuthorized | Verdict::Ignore(_) => {
                log::info!("{clientid} is not let in: not_authorized");
                self.not_let_in();
                AuthResult::NotAuthorized
            }
        }
    }

    fn not_let_in(&self) {
        self.count(Counter::AuthenticationFailure);
        self.count(Counter::PacketsConnackAuthError);
    }

    async fn connected(&self, session: &Session) {
        self.count(Counter::ClientConnected);
        if session.session_present().await.unwrap_or_default() {
            self.count(Counter::SessionResumed);
        }
        let Some(client) = self.broker.clients.claim(&session.id) else { return };
        session.extra_attrs.write().await.insert(CLIENT.into(), client.clone());
        if let Some(expire_at) = client.grant.expire_at {
            tokio::spawn(expire(self.scx.clone(), session.id.clone(), expire_at));
        }
        let connected_at = session.connected_at().await.unwrap_or_else(|_| clock::unix_millis());
        let Ok(connect) = session.connect_info().await else { return };
        let expiry_interval = session.fitter.session_expiry_interval(None).as_secs();
        let connected = Connected {
            keepalive: connect.keep_alive(),
            clean_start: connect.clean_start(),
            receive_maximum: session.fitter.max_inflight().get(),
            expiry_interval: if is_clean_v3(&connect) { 0 } else { expiry_interval },
            properties: connect_properties(&connect),
        };
        self.broker.happened(Kind::Connected(client_event(&client, connected_at), connected));
    }

    async fn disconnected(&self, session: &Session, reason: &Reason) {
        self.count(Counter::ClientDisconnected);
        let client = client_of(session).await;
        let said = session.disconnect().await.ok().flatten();
        let replaced = self.broker.clients.replaced_by_clean_start(&session.id);
        let name = reasons::name(reason, said.as_ref(), replaced);
        match name {
            "takenover" => self.count(Counter::SessionTakenOver),
            "discarded" => self.count(Counter::SessionDiscarded),
            _ => {}
        }
        self.publish_owed_will(session, &client, name, said.as_ref()).await;
        let at = session.disconnected_at().await.ok().filter(|at| *at > 0);
        let disconnected = Disconnected {
            reason: name.to_owned(),
            properties: Properties::new(),
            at: at.unwrap_or_else(clock::unix_millis),
        };
        let connected_at = session.connected_at().await.unwrap_or_default();
        self.broker.happened(Kind::Disconnected(client_event(&client, connected_at), disconnected));
        self.broker.clients.forget(&session.id);
    }

    /// Publishes a will that EMQX publishes and the engine does not: when another connection takes
    /// the session over and the will has no delay (`emqx_channel:maybe_publish_will_msg/2`), and when
    /// the client's own DISCONNECT keeps it.
    async fn publish_owed_will(
        &self,
        session: &Session,
        client: &Arc<Client>,
        reason: &str,
        said: Option<&Disconnect>,
    ) {
        let Ok(connect) = session.connect_info().await else { return };
        let Some(will) = connect.last_will() else { return };
        let delayed = will.will_delay_interval().is_some_and(|delay| !delay.is_zero());
        let taken_over = reason == "takenover" && !delayed;
        if !(taken_over || said.is_some_and(reasons::keeps_will)) {
            return;
        }
        let Ok(will) = Publish::try_from(will) else { return };
        if self.may_publish_will(client, &will).await {
            let expiry = session.fitter.message_expiry_interval(&will);
            self.broker.published(publish::message(
                &session.id,
                &will,
                client.grant.client_attrs.clone(),
                &self.broker,
            ));
            publish::dispatch(&self.scx, From::from_lastwill(session.id.clone()), will, Some(expiry)).await;
        }
    }

    async fn may_publish_will(&self, client: &Arc<Client>, will: &Publish) -> bool {
        client.publish_will_once() && self.broker.authorizer.authorize(client, publishing(will)).await
    }

    async fn check_publish(&self, session: &Session, publish: &Publish) -> PublishAclResult {
        self.count(Counter::MessagesReceived);
        self.count(match publish.qos.value() {
            0 => Counter::MessagesQos0Received,
            1 => Counter::MessagesQos1Received,
            _ => Counter::MessagesQos2Received,
        });
        if !topic::is_name(&publish.topic) {
            return refused(PublishAckReason::TopicNameInvalid, false);
        }
        let client = client_of(session).await;
        if !self.broker.authorizer.authorize(&client, publishing(publish)).await {
            self.count(Counter::PacketsPublishAuthError);
            return refused(PublishAckReason::NotAuthorized, self.broker.authorizer.disconnects());
        }
        // A delayed message is published, for rules too, when its time has come.
        if publish.delay_interval.is_none() {
            let attrs = client.grant.client_attrs.clone();
            self.broker.published(publish::message(&session.id, publish, attrs, &self.broker));
        }
        PublishAclResult::allow()
    }

    /// A will that the engine is about to publish. A refused one is sent to nobody: the engine offers
    /// no other way to hold it back.
    async fn check_will(&self, session: &Session, will: &Publish) -> Option<HookResult> {
        let client = client_of(session).await;
        if self.may_publish_will(&client, will).await {
            let attrs = client.grant.client_attrs.clone();
            self.broker.published(publish::message(&session.id, will, attrs, &self.broker));
            return None;
        }
        let mut to_nobody = will.clone().target_clientid(ClientId::default());
        to_nobody.retain = false;
        Some(HookResult::Publish(to_nobody))
    }

    async fn check_subscribe(&self, session: &Session, subscribe: &Subscribe) -> SubscribeReturn {
        if !topic::is_filter(&subscribe.topic_filter) {
            return SubscribeReturn::new_failure(SubscribeAckReason::TopicFilterInvalid);
        }
        let client = client_of(session).await;
        let operation = Operation::Subscribe {
            filter: topic::real_filter(&subscribe.topic_filter).to_owned(),
            qos: subscribe.opts.qos_value(),
        };
        if self.broker.authorizer.authorize(&client, operation).await {
            return SubscribeReturn::new_success(subscribe.opts.qos(), None);
        }
        self.count(Counter::PacketsSubscribeAuthError);
        if self.broker.authorizer.disconnects() {
            close(&self.scx, &session.id).await;
        }
        SubscribeReturn::new_failure(SubscribeAckReason::NotAuthorized)
    }
}

#[async_trait]
#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait's own signature, which async_trait wants to the letter"
)]
impl Handler for Hooks {
    async fn hook(&self, parameter: &Parameter, so_far: Option<HookResult>) -> ReturnType {
        let result = match parameter {
            Parameter::ClientAuthenticate(connect) => {
                Some(HookResult::AuthResult(self.authenticate(connect).await))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                Some(HookResult::PublishAclResult(self.check_publish(session, publish).await))
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                Some(HookResult::SubscribeAclResult(self.check_subscribe(session, subscribe).await))
            }
            Parameter::MessagePublish(Some(session), from, publish)
                if matches!(from.typ(), FromType::LastWill) =>
            {
                self.check_will(session, publish).await
            }
            Parameter::ClientSubscribe(_, subscribe) => {
                self.count(Counter::ClientSubscribe);
                without_queue(&subscribe.topic_filter)
            }
            Parameter::ClientUnsubscribe(_, unsubscribe) => {
                self.count(Counter::ClientUnsubscribe);
                without_queue(&unsubscribe.topic_filter)
            }
            Parameter::ClientConnected(session) => {
                self.connected(session).await;
                None
            }
            Parameter::ClientDisconnected(session, reason) => {
                self.disconnected(session, reason).await;
                None
            }
            Parameter::SessionCreated(_) => self.just_count(&[Counter::SessionCreated]),
            Parameter::SessionTerminated(..) => self.just_count(&[Counter::SessionTerminated]),
            Parameter::MessageDelivered(..) => {
                self.just_count(&[Counter::MessagesDelivered, Counter::MessagesSent])
            }
            Parameter::MessageAcked(..) => self.just_count(&[Counter::MessagesAcked]),
            Parameter::MessageNonsubscribed(_) => {
                self.just_count(&[Counter::MessagesDropped, Counter::MessagesDroppedNoSubscribers])
            }
            Parameter::MessageDropped(Some(_), _, _, reason) => match reason {
                Reason::MessageQueueFull => {
                    self.just_count(&[Counter::DeliveryDropped, Counter::DeliveryDroppedQueueFull])
                }
                Reason::MessageExpiration => {
                    self.just_count(&[Counter::DeliveryDropped, Counter::DeliveryDroppedExpired])
                }
                _ => self.just_count(&[Counter::DeliveryDropped]),
            },
            _ => None,
        };
        (true, result.or(so_far))
    }
}

impl Hooks {
    fn just_count(&self, counters: &[Counter]) -> Option<HookResult> {
        for counter in counters {
            self.count(*counter);
        }
        None
    }
}

/// `$queue/FILTER` without its prefix. EMQX shares such a subscription among its subscribers; here
/// each of them gets every message.
fn without_queue(filter: &TopicFilter) -> Option<HookResult> {
    let real = filter.strip_prefix("$queue/")?;
    Some(HookResult::TopicFilter(Some(TopicFilter::from(real))))
}

fn publishing(publish: &Publish) -> Operation {
    Operation::Publish { topic: publish.topic.to_string(), qos: publish.qos.value(), retain: publish.retain }
}

fn refused(reason: PublishAckReason, disconnect: bool) -> PublishAclResult {
    PublishAclResult(PublishResult::reason_code(reason, None, disconnect))
}

fn identity(id: &Id, proto_ver: u8, local: SocketAddr) -> Identity {
    Identity {
        clientid: id.client_id.to_string(),
        username: id.username.as_ref().map(ToString::to_string),
        peer: id.remote_addr,
        local: Some(local),
        proto_ver,
    }
}

/// The client behind a session.
async fn client_of(session: &Session) -> Arc<Client> {
    if let Some(client) = session.extra_attrs.read().await.get::<Arc<Client>>(CLIENT) {
        return client.clone();
    }
    // Every session comes from a client that was let in; should one not, it is granted nothing.
    let proto_ver = session.protocol().await.unwrap_or_default();
    let local = session.id.local_addr.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    Arc::new(Client::new(identity(&session.id, proto_ver, local), Grant::default()))
}

fn client_event(client: &Client, connected_at: i64) -> ClientEvent {
    let identity = client.identity.clone();
    ClientEvent {
        clientid: identity.clientid,
        username: identity.username,
        peer: identity.peer,
        local: identity.local,
        proto_ver: identity.proto_ver,
        client_attrs: client.grant.client_attrs.clone(),
        connected_at,
    }
}

fn is_clean_v3(connect: &ConnectInfo) -> bool {
    matches!(connect, ConnectInfo::V3(_, connect) if connect.clean_session)
}

fn connect_properties(connect: &ConnectInfo) -> Properties {
    let ConnectInfo::V5(_, connect) = connect else { return Properties::new() };
    let user = connect.user_properties.iter().map(|(name, value)| (name.to_string(), Term::text(&**value)));
    let mut properties = Properties::from([("User-Property".to_owned(), Term::Map(user.collect()))]);
    if connect.session_expiry_interval_secs > 0 {
        let seconds = Term::Integer(i64::from(connect.session_expiry_interval_secs));
        properties.insert("Session-Expiry-Interval".to_owned(), seconds);
    }
    if let Some(maximum) = connect.receive_max {
        properties.insert("Receive-Maximum".to_owned(), Term::Integer(i64::from(maximum.get())));
    }
    properties
}

/// Disconnects a client at the second that authentication named.
async fn expire(scx: ServerContext, id: Id, expire_at: i64) {
    let millis = expire_at.saturating_mul(1000).saturating_sub(clock::unix_millis());
    tokio::time::sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0))).await;
    close(&scx, &id).await;
}

/// Closes a connection as not authorized, if it is still the one of its client id.
async fn close(scx: &ServerContext, id: &Id) {
    let entry = scx.extends.shared().await.entry(id.clone());
    if entry.id_same() == Some(true)
        && let Some(session) = entry.tx()
    {
        let reason = PublishResult::reason_code(PublishAckReason::NotAuthorized, None, true);
        // The session may have ended by itself just now.
        if session.unbounded_send(ToSession::Closed(Reason::PublishResult(reason))).is_err() {
            log::debug!("{id} was gone before it could be closed");
        }
    }
}
