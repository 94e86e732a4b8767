//! Several things at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A future, or what it came to.
enum Part<F: Future> {
    Running(Pin<Box<F>>),
    Done(Option<F::Output>),
}

/// Runs futures side by side, and answers what they came to, in their order. For a few: each step of one asks all that still
/// run.
pub async fn together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut parts: Vec<Part<F>> = futures.into_iter().map(|future| Part::Running(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut running = false;
        for part in &mut parts {
            if let Part::Running(future) = part {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *part = Part::Done(Some(output)),
                    Poll::Pending => running = true,
                }
            }
        }
        if running { Poll::Pending } else { Poll::Ready(()) }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
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
}
