//! Sessions that end when their client says DISCONNECT.
//!
//! The engine notes a DISCONNECT and goes on reading until the client closes the connection; a client
//! that leaves that to the broker would stay connected until its keepalive runs out. EMQX closes the
//! connection at once (`emqx_channel:handle_in/2`). The engine tells a session of the DISCONNECT, so a
//! session of our own, which otherwise leaves everything to the engine's, can have itself closed.

use std::sync::Arc;

use async_trait::async_trait;
use rmqtt::Result;
use rmqtt::context::ServerContext;
use rmqtt::session::{DefaultSessionManager, SessionLike, SessionManager};
use rmqtt::types::{
    ConnectInfo, ConnectInfoType, Disconnect, DisconnectInfo, FitterType, Id, IsPing, ListenerConfig,
    Message, MessageQueueType, OutInflightType, Password, Reason, SessionSubs, SubscriptionOptions,
    Subscriptions, TimestampMillis, TopicFilter, UserName,
};

/// Makes the engine's sessions, wrapped.
pub struct Sessions;

#[async_trait]
impl SessionManager for Sessions {
    async fn create(
        &self,
        id: Id,
        scx: ServerContext,
        listen_cfg: ListenerConfig,
        fitter: FitterType,
        subscriptions: SessionSubs,
        deliver_queue: MessageQueueType,
        outinflight: OutInflightType,
        conn_info: ConnectInfoType,
        created_at: TimestampMillis,
        connected_at: TimestampMillis,
        session_present: bool,
        superuser: bool,
        connected: bool,
        disconnect_info: Option<DisconnectInfo>,
        last_id: Option<Id>,
    ) -> Result<Arc<dyn SessionLike>> {
        let engine = DefaultSessionManager
            .create(
                id,
                scx,
                listen_cfg,
                fitter,
                subscriptions,
                deliver_queue,
                outinflight,
                conn_info,
                created_at,
                connected_at,
                session_present,
                superuser,
                connected,
                disconnect_info,
                last_id,
            )
            .await?;
        Ok(Arc::new(Closing { engine }))
    }
}

struct Closing {
    engine: Arc<dyn SessionLike>,
}

impl Closing {
    /// Puts an end to the connection into the session's own queue.
    async fn close(&self, said: Disconnect) {
        let entry = self.context().extends.shared().await.entry(self.id().clone());
        if entry.id_same() == Some(true)
            && let Some(queue) = entry.tx()
            && queue.unbounded_send(Message::Closed(Reason::ConnectDisconnect(Some(said)))).is_err()
        {
            log::debug!("{} was gone before it could be closed", self.id());
        }
    }
}

#[async_trait]
impl SessionLike for Closing {
    async fn disconnected_set(&self, said: Option<Disconnect>, reason: Option<Reason>) -> Result<()> {
        self.engine.disconnected_set(said.clone(), reason).await?;
        if let Some(said) = said {
            self.close(said).await;
        }
        Ok(())
    }

    fn id(&self) -> &Id {
        self.engine.id()
    }
    fn context(&self) -> &ServerContext {
        self.engine.context()
    }
    fn listen_cfg(&self) -> &ListenerConfig {
        self.engine.listen_cfg()
    }
    fn deliver_queue(&self) -> &MessageQueueType {
        self.engine.deliver_queue()
    }
    fn out_inflight(&self) -> &OutInflightType {
        self.engine.out_inflight()
    }
    async fn subscriptions(&self) -> Result<SessionSubs> {
        self.engine.subscriptions().await
    }
    async fn subscriptions_add(
        &self,
        filter: TopicFilter,
        options: SubscriptionOptions,
    ) -> Result<Option<SubscriptionOptions>> {
        self.engine.subscriptions_add(filter, options).await
    }
    async fn subscriptions_remove(&self, filter: &str) -> Result<Option<(TopicFilter, SubscriptionOptions)>> {
        self.engine.subscriptions_remove(filter).await
    }
    async fn subscriptions_drain(&self) -> Result<Subscriptions> {
        self.engine.subscriptions_drain().await
    }
    async fn subscriptions_extend(&self, other: Subscriptions) -> Result<()> {
        self.engine.subscriptions_extend(other).await
    }
    async fn created_at(&self) -> Result<TimestampMillis> {
        self.engine.created_at().await
    }
    async fn session_present(&self) -> Result<bool> {
        self.engine.session_present().await
    }
    async fn connect_info(&self) -> Result<Arc<ConnectInfo>> {
        self.engine.connect_info().await
    }
    fn username(&self) -> Option<&UserName> {
        self.engine.username()
    }
    fn password(&self) -> Option<&Password> {
        self.engine.password()
    }
    async fn protocol(&self) -> Result<u8> {
        self.engine.protocol().await
    }
    async fn superuser(&self) -> Result<bool> {
        self.engine.superuser().await
    }
    async fn connected(&self) -> Result<bool> {
        self.engine.connected().await
    }
    async fn connected_at(&self) -> Result<TimestampMillis> {
        self.engine.connected_at().await
    }
    async fn disconnected_at(&self) -> Result<TimestampMillis> {
        self.engine.disconnected_at().await
    }
    async fn disconnected_reasons(&self) -> Result<Vec<Reason>> {
        self.engine.disconnected_reasons().await
    }
    async fn disconnected_reason(&self) -> Result<Reason> {
        self.engine.disconnected_reason().await
    }
    async fn disconnected_reason_has(&self) -> bool {
        self.engine.disconnected_reason_has().await
    }
    async fn disconnected_reason_add(&self, reason: Reason) -> Result<()> {
        self.engine.disconnected_reason_add(reason).await
    }
    async fn disconnected_reason_take(&self) -> Result<Reason> {
        self.engine.disconnected_reason_take().await
    }
    async fn disconnect(&self) -> Result<Option<Disconnect>> {
        self.engine.disconnect().await
    }
    async fn on_drop(&self) -> Result<()> {
        self.engine.on_drop().await
    }
    async fn keepalive(&self, ping: IsPing) {
        self.engine.keepalive(ping).await;
    }
}
