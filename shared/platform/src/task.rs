//! Runs one future an event, and lets futures wait for promises.
//!
//! A task is polled when it starts, and again from the continuation of each promise that it waited
//! for, on the spot. Compared with `wasm_bindgen_futures` this leaves out a microtask, two
//! registered closures and a promise each time something is awaited (9 µs of 41 for a request with a
//! body), and it keeps every poll inside the event that the task belongs to, as the runtime demands of
//! I/O. A panic, being a trap, surfaces as an exception in that continuation, where the JavaScript half
//! turns it into a rejection of the event's own promise: the request fails at once instead of hanging.
//!
//! A handler that never waits answers without any promise at all.

use std::cell::{Cell, RefCell};
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use js_sys::Promise;
use litemap::LiteMap;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/js/task.js")]
extern "C" {
    /// Tells the JavaScript half whom to call when a promise has settled.
    fn install(callback: &Closure<dyn Fn(u32, bool, JsValue)>);
    /// Has the callback called with `call` and the outcome once `promise` settles.
    fn watch(call: u32, promise: &Promise);
    /// A promise of what `task` will end with. `keep` as in [`keep`].
    fn promise_of(task: u32, context: &Context, keep: bool) -> JsValue;
    /// Has the runtime wait for `task` even if the client does not.
    fn keep(task: u32);
    /// Resolves the promise.
    fn resolve(task: u32, value: &JsValue);
    /// Rejects it: the task is not going to end.
    fn abandon(task: u32);

    /// The `ctx` argument of an event handler.
    #[derive(Debug)]
    pub type Context;
}

/// A future on its way.
struct Running {
    future: Pin<Box<dyn Future<Output = JsValue>>>,
    /// It waits, or has waited, for something that it does.
    kept: bool,
}

enum Task {
    /// Waiting to be woken.
    Idle(Running),
    /// On the stack right now; `woken` asks for another poll.
    Polling { woken: bool },
}

/// What a poll came to.
enum Polled {
    Done(JsValue),
    /// It waits; `keep` says that the runtime is to be told so now.
    Waiting {
        keep: bool,
    },
}

/// How many tasks may wait at once without having done anything yet.
///
/// When a client hangs up the runtime drops the promise that such a task waits for without a word, and the task stays.
/// Above this number the oldest one is taken to be such. (A small body is read before there is a task, so what stays
/// is small.)
const MOST_READING: usize = 4_000;

/// A promise that somebody waits for.
enum Call {
    /// Not settled yet.
    Waiting(Option<Waker>),
    /// Settled, and not yet looked at; `Err` carries the rejection's message.
    Settled(Result<JsValue, String>),
}

thread_local! {
    static TASKS: RefCell<LiteMap<u32, Task>> = const { RefCell::new(LiteMap::new_vec()) };
    static CALLS: RefCell<LiteMap<u32, Call>> = const { RefCell::new(LiteMap::new_vec()) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
    /// Whether the task being polled has begun to wait for something that it does.
    static KEEP: Cell<bool> = const { Cell::new(false) };
    /// Made and installed when an instance first needs it.
    static CALLBACK: Closure<dyn Fn(u32, bool, JsValue)> = {
        let callback = Closure::new(settled);
        install(&callback);
        callback
    };
}

/// Numbers wrap after four thousand million; whoever had the same one before is long gone.
fn next_number() -> u32 {
    NEXT.replace(NEXT.get().wrapping_add(1))
}

/// What an event's handler may end with.
pub trait Outcome {
    /// What the runtime is given.
    fn into_js(self) -> JsValue;
}

impl Outcome for () {
    fn into_js(self) -> JsValue {
        JsValue::UNDEFINED
    }
}

impl Outcome for crate::RawResponse {
    fn into_js(self) -> JsValue {
        self.into()
    }
}

/// Runs an event's future. The value is the future's own when it did not have to wait, else a
/// promise of it.
pub fn start<T: Outcome>(context: &Context, future: impl Future<Output = T> + 'static) -> JsValue {
    let task = next_number();
    let running = Running { future: Box::pin(async move { future.await.into_js() }), kept: false };
    match poll(task, running) {
        Polled::Done(value) => value,
        Polled::Waiting { keep } => {
            let promise = promise_of(task, context, keep);
            abandon_the_oldest();
            promise
        }
    }
}

/// Waits for a promise that does something: a query, a message, a fetch.
///
/// From then on the runtime is asked (`waitUntil`) to let the task come to its end even if the client
/// hangs up, so that it is not stopped between two writes.
///
/// # Errors
/// The message of the rejection.
pub async fn wait(promise: &Promise) -> Result<JsValue, String> {
    KEEP.set(true);
    read(promise).await
}

/// Waits for a promise that changes nothing: the event's own input, a query. If the client hangs up meanwhile the
/// task need not go on. (`waitUntil` costs a request some 10 µs, which those that only read and answer are spared.)
///
/// # Errors
/// The message of the rejection.
pub async fn read(promise: &Promise) -> Result<JsValue, String> {
    struct Forget(u32);
    impl Drop for Forget {
        fn drop(&mut self) {
            CALLS.with_borrow_mut(|calls| calls.remove(&self.0));
        }
    }
    let call = next_number();
    CALLS.with_borrow_mut(|calls| calls.insert(call, Call::Waiting(None)));
    let _forget = Forget(call);
    CALLBACK.with(|_installed| watch(call, promise));
    future::poll_fn(|context| {
        CALLS.with_borrow_mut(|calls| {
            if let Some(Call::Settled(result)) = calls.remove(&call) {
                return Poll::Ready(result);
            }
            calls.insert(call, Call::Waiting(Some(context.waker().clone())));
            Poll::Pending
        })
    })
    .await
}

/// The callback: a watched promise has settled.
fn settled(call: u32, kept: bool, value: JsValue) {
    let result = if kept { Ok(value) } else { Err(value.as_string().unwrap_or_default()) };
    let waker = CALLS.with_borrow_mut(|calls| {
        // There is no entry when whoever waited has given up.
        match std::mem::replace(calls.get_mut(&call)?, Call::Settled(result)) {
            Call::Waiting(waker) => waker,
            Call::Settled(_) => None,
        }
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Wakes(u32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let idle = TASKS.with_borrow_mut(|tasks| match tasks.get_mut(&self.0)? {
            Task::Polling { woken } => {
                *woken = true;
                None
            }
            state @ Task::Idle(_) => match std::mem::replace(state, Task::Polling { woken: false }) {
                Task::Idle(running) => Some(running),
                Task::Polling { .. } => None,
            },
        });
        match idle.map(|running| poll(self.0, running)) {
            Some(Polled::Done(value)) => resolve(self.0, &value),
            Some(Polled::Waiting { keep: true }) => keep(self.0),
            Some(Polled::Waiting { keep: false }) | None => {}
        }
    }
}

/// Polls a task, again for as long as it wakes itself.
fn poll(task: u32, mut running: Running) -> Polled {
    let waker = Waker::from(Arc::new(Wakes(task)));
    KEEP.set(false);
    loop {
        TASKS.with_borrow_mut(|tasks| tasks.insert(task, Task::Polling { woken: false }));
        let polled = running.future.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        let woken = TASKS.with_borrow_mut(|tasks| match tasks.remove(&task) {
            Some(Task::Polling { woken }) => woken,
            _ => false,
        });
        match polled {
            Poll::Ready(value) => return Polled::Done(value),
            Poll::Pending if woken => {}
            Poll::Pending => {
                let keep = KEEP.get() && !running.kept;
                running.kept |= keep;
                TASKS.with_borrow_mut(|tasks| tasks.insert(task, Task::Idle(running)));
                return Polled::Waiting { keep };
            }
        }
    }
}

/// See [`MOST_READING`].
fn abandon_the_oldest() {
    let oldest = TASKS.with_borrow_mut(|tasks| {
        if tasks.len() <= MOST_READING {
            return None;
        }
        let mut reading =
            tasks.iter().filter(|(_, task)| matches!(task, Task::Idle(running) if !running.kept));
        let oldest = *reading.next()?.0;
        // `oldest` is not in the count any more.
        (reading.count() >= MOST_READING).then(|| tasks.remove(&oldest).map(|task| (oldest, task)))?
    });
    if let Some((number, task)) = oldest {
        // Outside the borrow: what the future holds may have something to do when it is dropped.
        drop(task);
        abandon(number);
    }
}
