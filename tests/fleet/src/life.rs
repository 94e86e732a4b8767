//! One device's life: it connects, says what it is, measures, hears, loses its connection, connects
//! again, and in the end says goodbye.
//!
//! Telemetry is `QoS` 0: nothing tells the device that a message arrived. What can be known is kept
//! account of here. A message counts as *sent* once it is written to the socket and flushed; it is
//! *confirmed* once a PUBACK or the broker's goodbye shows that the broker has read past it, since
//! TCP keeps the order; and what was not confirmed when the connection ended is *in doubt*. A device
//! that ends in peace leaves nothing in doubt: its last words are a `QoS` 1 state, and it waits for
//! the PUBACK before it disconnects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rs1_domain::topic::{self, Channel, DeviceTopic, Publisher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock;
use crate::device::{Hardware, Identity, Kind, Message};
use crate::faults::{Fate, Faults};
use crate::link::{Broker, End, Event, Link, Opening, Version};
use crate::ota::{Boot, Turn, Update, Updater};
use crate::schedule::{Again, Cadence, backoff};

/// How long a goodbye may wait for its PUBACKs.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long the broker may take to close the connection after a DISCONNECT.
const CLOSING: Duration = Duration::from_secs(1);

/// What the fleet tells its devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders {
    /// When those that wait for it begin with telemetry.
    pub talk_from: Option<Instant>,
    /// How many reconnect storms there were.
    pub storms: u32,
    /// Whether to say goodbye.
    pub stop: bool,
}

/// When a device's telemetry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// When it is connected for the first time.
    Connected,
    /// When the fleet says so ([`Orders::talk_from`]).
    Ordered,
}

/// What happened to a device, for those who watch.
#[derive(Debug)]
pub enum Happening<'a> {
    /// It sends a CONNECT.
    Connecting,
    /// It was let in.
    Connected {
        /// Whether it is the first time.
        first: bool,
        /// From the attempt to the CONNACK.
        took: Duration,
        /// Whether the broker remembered an earlier session.
        session_present: bool,
    },
    /// It was not let in.
    Refused {
        /// The broker's reason.
        reason: &'a str,
    },
    /// Its subscription was answered.
    Subscribed {
        /// Filters granted.
        granted: &'a [String],
        /// Filters refused.
        refused: &'a [String],
    },
    /// It published something: written and flushed.
    Sent {
        /// What.
        message: &'a Message,
        /// Whether it is the second copy that a fault made.
        copy: bool,
    },
    /// The broker answered a `QoS` 1 publish.
    Acknowledged {
        /// From the publish to the PUBACK.
        took: Duration,
        /// Why the broker refused it.
        refused: Option<&'a str>,
    },
    /// So many telemetry messages are known to have reached the broker.
    Confirmed(u64),
    /// The connection ended before so many telemetry messages were confirmed.
    InDoubt(u64),
    /// So many telemetry messages were due while it had no connection, and were never measured.
    Missed(u64),
    /// The cloud said something.
    Received {
        /// The topic.
        topic: &'a str,
        /// The payload.
        payload: &'a [u8],
    },
    /// A fault strikes.
    Fault(&'static str),
    /// The connection ended, or there was none.
    Lost {
        /// Why.
        reason: &'a str,
        /// Whether there had been one.
        was_connected: bool,
    },
    /// Its connection is closed, whichever way that came.
    Disconnected,
    /// It will connect again after a while.
    Waiting(Duration),
    /// Something happened to an update.
    Update(&'a Update<'a>),
    /// It said goodbye.
    Left,
}

/// Someone who watches devices.
pub trait Witness: Send + Sync {
    /// Something happened.
    fn saw(&self, happening: &Happening<'_>);
}

/// A device, about to live.
pub struct Life {
    /// Who it is.
    pub identity: Identity,
    /// What it measures with.
    pub hardware: Hardware,
    /// Where its broker is.
    pub broker: Broker,
    /// What it speaks.
    pub version: Version,
    /// When it first connects.
    pub starts_at: Instant,
    /// When it sends telemetry.
    pub cadence: Cadence,
    /// From when on.
    pub begins: Begins,
    /// Whether it leaves after its last message.
    pub leaves_when_done: bool,
    /// What may go wrong.
    pub faults: Faults,
    /// Its dice.
    pub random: fastrand::Rng,
    /// Its updates.
    pub updater: Updater,
    /// What it is told.
    pub orders: watch::Receiver<Orders>,
    /// Who watches.
    pub witness: Arc<dyn Witness>,
}

/// How a connection came to its end.
enum Ending {
    /// The device said goodbye and is done.
    Left,
    /// There was a connection; it has to connect again.
    Again(Again),
    /// It restarts, without a word to the broker.
    Boot(Boot),
    /// There was none.
    NotConnected,
    /// It was told to stop before there was one.
    Stopped,
}

impl Life {
    /// Lives until it is told to stop, or has nothing more to say.
    pub async fn live(mut self) {
        let mut progress = Progress::default();
        if !self.wait_until(self.starts_at).await {
            return;
        }
        let mut failures = 0_u32;
        loop {
            let pause = match self.connection(&mut progress).await {
                Ending::Left | Ending::Stopped => return,
                Ending::Boot(boot) => {
                    failures = 0;
                    self.updater.boot(&boot, &mut self.hardware, clock::now())
                }
                Ending::Again(again) => {
                    failures = 0;
                    backoff(again, &mut self.random)
                }
                Ending::NotConnected => {
                    let again = Again::Failed(failures);
                    failures = failures.saturating_add(1);
                    backoff(again, &mut self.random)
                }
            };
            self.saw(&Happening::Waiting(pause));
            if !self.wait_until(after(Instant::now(), pause)).await {
                return;
            }
        }
    }

    /// One connection, from CONNECT to its end.
    async fn connection(&mut self, progress: &mut Progress) -> Ending {
        self.saw(&Happening::Connecting);
        let asked = Instant::now();
        let now = clock::now();
        let mut link = Link::open(Opening {
            broker: &self.broker,
            version: self.version,
            device: &self.identity.id,
            password: self.identity.password(now),
            will: self.hardware.state(now, false),
        });
        loop {
            let event = tokio::select! {
                event = link.next() => event,
                () = stopped(&mut self.orders) => return Ending::Stopped,
            };
            match event {
                Event::Connected { session_present } => {
                    let first = progress.connected_since.is_none();
                    self.saw(&Happening::Connected { first, took: asked.elapsed(), session_present });
                    break;
                }
                Event::Ended(End::Refused(reason)) => {
                    self.saw(&Happening::Refused { reason: &reason });
                    return Ending::NotConnected;
                }
                Event::Ended(End::Broken(reason)) => {
                    self.saw(&Happening::Lost { reason: &reason, was_connected: false });
                    return Ending::NotConnected;
                }
                _ => {}
            }
        }
        let mut session = Session::new(link);
        let ending = match self.session(&mut session, progress).await {
            Ok(ending) => ending,
            Err(Closed) => self.ended(&mut session).await,
        };
        session.close(&*self.witness);
        self.saw(&Happening::Disconnected);
        ending
    }

    /// From CONNACK on.
    async fn session(&mut self, session: &mut Session, progress: &mut Progress) -> Result<Ending, Closed> {
        let storms = self.orders.borrow().storms;
        let filters = session.filters.iter().map(|rest| topic::of_device(&self.identity.id, rest)).collect();
        session.link.subscribe(filters).await.map_err(|_| Closed)?;
        self.publish_state(session).await?;
        self.catch_up(progress);
        progress.connected_since.get_or_insert_with(Instant::now);
        loop {
            let due = self.due(progress);
            let has_more = self.cadence.due(progress.number).is_some();
            if self.leaves_when_done && !has_more && session.is_settled() {
                return self.goodbye(session).await;
            }
            tokio::select! {
                biased;
                event = session.link.next() => self.take(session, event).await?,
                () = until(due) => {
                    progress.number = progress.number.saturating_add(1);
                    if self.measure(session).await? == Fate::Cut {
                        return Ok(Ending::Again(Again::Lost));
                    }
                }
                turn = self.updater.turn() => {
                    if let Some(boot) = self.update(turn) {
                        return Ok(Ending::Boot(boot));
                    }
                }
                changed = self.orders.changed() => {
                    let orders = *self.orders.borrow_and_update();
                    if changed.is_err() || orders.stop {
                        return self.goodbye(session).await;
                    }
                    if orders.storms != storms {
                        self.saw(&Happening::Fault("storm: every device loses its connection"));
                        return Ok(Ending::Again(Again::Storm));
                    }
                }
            }
            while let Some(saying) = self.updater.say() {
                session.publish(&self.identity, saying.message, saying.copy).await?;
            }
            if self.hardware.has_news() {
                self.publish_state(session).await?;
            }
            // The last report is acknowledged before the device restarts.
            if let Some(boot) = session.is_settled().then(|| self.updater.boots()).flatten() {
                return Ok(Ending::Boot(boot));
            }
        }
    }

    /// Goes on with an update. A restart that waits for nothing is the answer.
    fn update(&mut self, turn: Turn) -> Option<Boot> {
        let now = clock::now();
        match turn {
            Turn::Step(step) => return self.updater.step(step, &mut self.hardware, now),
            Turn::Look => self.updater.look(&mut self.hardware, now),
            Turn::Say => {}
        }
        None
    }

    /// What was due while there was no connection was never measured: the device goes on with what is
    /// due next.
    fn catch_up(&self, progress: &mut Progress) {
        let Some(origin) = self.origin(progress) else { return };
        let next = self.cadence.next_from(origin.elapsed());
        let missed = next.saturating_sub(progress.number);
        if missed > 0 {
            self.saw(&Happening::Missed(missed));
            progress.number = next;
        }
    }

    /// When telemetry began, if it has.
    fn origin(&self, progress: &Progress) -> Option<Instant> {
        match self.begins {
            Begins::Connected => progress.connected_since,
            Begins::Ordered => self.orders.borrow().talk_from,
        }
    }

    /// When the next telemetry message is due.
    fn due(&self, progress: &Progress) -> Option<Instant> {
        let due = self.cadence.due(progress.number)?;
        Some(after(self.origin(progress)?, due))
    }

    async fn publish_state(&mut self, session: &mut Session) -> Result<(), Closed> {
        let state = self.hardware.state(clock::now(), true);
        session.publish(&self.identity, state, false).await
    }

    /// Measures, and sends or not, as fate has it.
    async fn measure(&mut self, session: &mut Session) -> Result<Fate, Closed> {
        let message = self.hardware.telemetry(clock::now());
        let fate = self.faults.fate(&mut self.random);
        let late = session.held.take();
        match fate {
            Fate::Cut => self.saw(&Happening::Fault("drop: the connection is cut without a word")),
            Fate::Late if late.is_none() => {
                self.saw(&Happening::Fault("reorder: this message waits for the next"));
                session.held = Some(message);
            }
            Fate::Twice => {
                self.saw(&Happening::Fault("duplicate: this message is published twice"));
                session.publish(&self.identity, message.clone(), false).await?;
                session.publish(&self.identity, message, true).await?;
            }
            Fate::Send | Fate::Late => session.publish(&self.identity, message, false).await?,
        }
        if let (Some(late), false) = (late, fate == Fate::Cut) {
            session.publish(&self.identity, late, false).await?;
        }
        Ok(fate)
    }

    /// Takes what the connection tells, and answers the cloud.
    async fn take(&mut self, session: &mut Session, event: Event) -> Result<(), Closed> {
        if let Event::Received { topic, payload } = &event {
            self.saw(&Happening::Received { topic, payload });
            if DeviceTopic::parse(topic).is_some_and(|topic| topic.channel == Channel::OtaTrigger) {
                self.updater.trigger(payload, &mut self.hardware, clock::now());
            } else if let Some(answer) = self.hardware.answer(topic, payload, clock::now()) {
                session.publish(&self.identity, answer, false).await?;
            }
            return Ok(());
        }
        session.note(event, &*self.witness)
    }

    /// The clean end: a state that says "offline", its PUBACK, a DISCONNECT.
    async fn goodbye(&mut self, session: &mut Session) -> Result<Ending, Closed> {
        if let Some(late) = session.held.take() {
            session.publish(&self.identity, late, false).await?;
        }
        let state = self.hardware.state(clock::now(), false);
        session.publish(&self.identity, state, false).await?;
        let deadline = after(Instant::now(), GOODBYE);
        while !session.is_settled() {
            let Ok(event) = timeout_at(deadline, session.link.next()).await else { break };
            session.note(event, &*self.witness)?;
        }
        session.link.disconnect().await.map_err(|_| Closed)?;
        // The broker closes the connection when it has read the DISCONNECT. Closing first might make
        // it miss what is still on its way.
        let deadline = after(Instant::now(), CLOSING);
        while let Ok(event) = timeout_at(deadline, session.link.next()).await {
            if session.note(event, &*self.witness).is_err() {
                break;
            }
        }
        self.saw(&Happening::Left);
        Ok(Ending::Left)
    }

    /// The connection ended by itself: hears the rest of what it has to tell.
    async fn ended(&mut self, session: &mut Session) -> Ending {
        while session.end.is_none() {
            let event = session.link.next().await;
            // The end itself is noted as the error that it is.
            let _ = session.note(event, &*self.witness);
        }
        let (End::Broken(reason) | End::Refused(reason)) =
            session.end.take().unwrap_or(End::Broken("closed".to_owned()));
        self.saw(&Happening::Lost { reason: &reason, was_connected: true });
        if self.orders.borrow().stop { Ending::Stopped } else { Ending::Again(Again::Lost) }
    }

    /// Waits; false when it was told to stop meanwhile.
    async fn wait_until(&mut self, when: Instant) -> bool {
        tokio::select! {
            () = sleep_until(when) => true,
            () = stopped(&mut self.orders) => false,
        }
    }

    fn saw(&self, happening: &Happening<'_>) {
        self.witness.saw(happening);
    }
}

/// What outlives a connection.
#[derive(Default)]
struct Progress {
    /// When it was connected for the first time.
    connected_since: Option<Instant>,
    /// The number of the next telemetry message.
    number: u64,
}

/// The connection has ended; what it still has to tell is in its queue.
struct Closed;

/// A connection that stands, and its accounts.
struct Session {
    link: Link,
    filters: Vec<&'static str>,
    /// Handed over and not yet sent, in order.
    waiting: VecDeque<(Message, bool)>,
    /// `QoS` 1 publishes without a PUBACK: when they were sent, and how much telemetry before them.
    unacknowledged: HashMap<u16, (Instant, u64)>,
    /// A telemetry message that is sent after the next.
    held: Option<Message>,
    telemetry_sent: u64,
    telemetry_confirmed: u64,
    end: Option<End>,
}

impl Session {
    fn new(link: Link) -> Self {
        let from_cloud = Channel::ALL.into_iter().filter(|channel| channel.publisher() == Publisher::Cloud);
        Self {
            link,
            filters: from_cloud.flat_map(|channel| channel.filters().iter().copied()).collect(),
            waiting: VecDeque::new(),
            unacknowledged: HashMap::new(),
            held: None,
            telemetry_sent: 0,
            telemetry_confirmed: 0,
            end: None,
        }
    }

    async fn publish(&mut self, who: &Identity, message: Message, copy: bool) -> Result<(), Closed> {
        self.link.publish(&who.id, &message).await.map_err(|_| Closed)?;
        self.waiting.push_back((message, copy));
        Ok(())
    }

    /// Whether all that was handed over is sent, and all that can be acknowledged is.
    fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unacknowledged.is_empty()
    }

    fn note(&mut self, event: Event, witness: &dyn Witness) -> Result<(), Closed> {
        match event {
            Event::Sent { packet } => {
                // The connection sends in the order in which it was handed messages.
                let Some((message, copy)) = self.waiting.pop_front() else { return Ok(()) };
                if message.kind == Kind::Telemetry {
                    self.telemetry_sent = self.telemetry_sent.saturating_add(1);
                }
                if let Some(packet) = packet {
                    self.unacknowledged.insert(packet, (Instant::now(), self.telemetry_sent));
                }
                witness.saw(&Happening::Sent { message: &message, copy });
            }
            Event::Acknowledged { packet, refused } => {
                let Some((sent_at, before)) = self.unacknowledged.remove(&packet) else { return Ok(()) };
                self.confirm(before, witness);
                witness
                    .saw(&Happening::Acknowledged { took: sent_at.elapsed(), refused: refused.as_deref() });
            }
            Event::Subscribed { granted } => {
                let (yes, no): (Vec<_>, Vec<_>) =
                    self.filters.iter().zip(granted).partition(|(_, granted)| *granted);
                let names = |filters: Vec<(&&str, bool)>| {
                    filters.into_iter().map(|(filter, _)| (*filter).to_owned()).collect::<Vec<_>>()
                };
                witness.saw(&Happening::Subscribed { granted: &names(yes), refused: &names(no) });
            }
            Event::Received { topic, payload } => {
                witness.saw(&Happening::Received { topic: &topic, payload: &payload });
            }
            Event::Ended(end) => {
                self.end = Some(end);
                return Err(Closed);
            }
            Event::Connected { .. } | Event::Leaving => {}
        }
        Ok(())
    }

    fn confirm(&mut self, telemetry: u64, witness: &dyn Witness) {
        let more = telemetry.saturating_sub(self.telemetry_confirmed);
        self.telemetry_confirmed = self.telemetry_confirmed.saturating_add(more);
        if more > 0 {
            witness.saw(&Happening::Confirmed(more));
        }
    }

    /// Closes the accounts, and the socket with them.
    fn close(mut self, witness: &dyn Witness) {
        while let Some(event) = self.link.already() {
            let _ = self.note(event, witness);
        }
        // What waits may have been written in the last instant without our hearing of it.
        let waiting = self.waiting.iter().filter(|(message, _)| message.kind == Kind::Telemetry).count();
        let unconfirmed = self.telemetry_sent.saturating_sub(self.telemetry_confirmed);
        let in_doubt = unconfirmed.saturating_add(u64::try_from(waiting).unwrap_or(u64::MAX));
        if in_doubt > 0 {
            witness.saw(&Happening::InDoubt(in_doubt));
        }
    }
}

/// Resolves when the device is told to stop, or nobody is left to tell it.
async fn stopped(orders: &mut watch::Receiver<Orders>) {
    let _ = orders.wait_for(|orders| orders.stop).await;
}

/// Waits until then; for ever if there is no such time.
pub async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The instant that much later; a length that has no such instant is taken as a day.
pub fn after(instant: Instant, length: Duration) -> Instant {
    instant.checked_add(length).or_else(|| instant.checked_add(Duration::from_hours(24))).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
