//! Several things at once, and each for so long only.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// A future, or what it came to.
enum Part<F: Future> {
    Running(Pin<Box<F>>),
    Done(Option<F::Output>),
}

/// Runs futures side by side, and answers what they came to, in their order. For a few: each step of one asks all that still
/// run.
pub async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    at_most(usize::MAX, futures).await
}

/// The same for many: at most so many run at a time, and they begin in their order.
pub async fn at_most<F: Future>(most: usize, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut parts: Vec<Part<F>> = futures.into_iter().map(|future| Part::Running(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut running = 0_usize;
        for part in &mut parts {
            // The rest has not begun: what was asked and goes on is always the first of what is not done.
            if running >= most {
                break;
            }
            if let Part::Running(future) = part {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *part = Part::Done(Some(output)),
                    Poll::Pending => running = running.saturating_add(1),
                }
            }
        }
        if running > 0 { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Running(_) => None,
            Part::Done(output) => output,
        })
        .collect()
}

/// What `work` comes to, unless `limit` is over first.
pub async fn within<T>(work: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut limit) = (pin!(work), pin!(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;
    use std::task::{Context, Waker};

    use super::*;

    /// Lets others go first that often.
    async fn yields(times: u32) {
        let mut left = times;
        poll_fn(|_| {
            left = left.saturating_sub(1);
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[test]
    fn all_run_side_by_side_and_answer_in_their_order() {
        let log = RefCell::new(Vec::new());
        let one = async |name: &'static str, turns: u32| {
            yields(turns).await;
            log.borrow_mut().push(name);
            name
        };
        let mut all = Box::pin(together(vec![one("slow", 3), one("quick", 1), one("middle", 2)]));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(all.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(*log.borrow(), ["quick"]);
        assert_eq!(all.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(all.as_mut().poll(&mut context), Poll::Ready(vec!["slow", "quick", "middle"]));
        assert_eq!(*log.borrow(), ["quick", "middle", "slow"]);
    }

    #[test]
    fn nothing_is_done_at_once() {
        let mut none = Box::pin(together(Vec::<std::future::Ready<u8>>::new()));
        assert_eq!(none.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Vec::new()));
    }

    /// Asks until it is done.
    fn done<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
        panic!("it hangs");
    }

    #[test]
    fn never_more_than_allowed_run_at_a_time() {
        for most in [1, 2, 6, 50] {
            let (running, highest, begun) = (Cell::new(0_usize), Cell::new(0), RefCell::new(Vec::new()));
            let one = async |number: u32| {
                begun.borrow_mut().push(number);
                running.set(running.get().saturating_add(1));
                highest.set(highest.get().max(running.get()));
                yields(number.wrapping_mul(7) % 11).await;
                running.set(running.get().saturating_sub(1));
                number
            };
            assert_eq!(done(at_most(most, (0..40).map(one))), (0..40).collect::<Vec<_>>());
            assert!(highest.get() <= most, "{} at a time", highest.get());
            assert_eq!(*begun.borrow(), (0..40).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_hangs_keeps_nobody_else_from_anything() {
        let one = async |number: u32| {
            let hangs = number.is_multiple_of(3);
            within(async { if hangs { pending().await } else { number } }, yields(50)).await
        };
        let answers: Vec<_> =
            (0..9_u32).map(|number| (!number.is_multiple_of(3)).then_some(number)).collect();
        assert_eq!(done(at_most(2, (0..9).map(one))), answers);
    }

    #[test]
    fn what_is_ready_in_time_counts_even_at_the_last_moment() {
        assert_eq!(done(within(yields(5), yields(5))), Some(()));
        assert_eq!(done(within(yields(6), yields(5))), None);
    }
}
