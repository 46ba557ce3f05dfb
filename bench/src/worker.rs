//! A set-up on a thread of its own, whose namespaces are the set-up's: made once, asked as often as wanted.

use anyhow::{Context, Result};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

pub struct Worker<Order, Answer> {
    /// `None` once it is to end.
    orders: Option<Sender<Order>>,
    answers: Receiver<Result<Answer>>,
    thread: Option<JoinHandle<()>>,
}

impl<Order: Send + 'static, Answer: Send + 'static> Worker<Order, Answer> {
    /// Makes the set-up and waits until it is made.
    pub fn start<State>(
        name: &str,
        make: impl FnOnce() -> Result<State> + Send + 'static,
        answer: impl Fn(&State, Order) -> Result<Answer> + Send + 'static,
    ) -> Result<Self> {
        let (orders, inbox) = channel();
        let (outbox, answers) = channel();
        let (ready, made) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let state = match make() {
                Ok(state) => state,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            for order in inbox {
                let _ = outbox.send(answer(&state, order));
            }
        })?;
        made.recv().context("the set-up's thread has ended")??;
        Ok(Self { orders: Some(orders), answers, thread: Some(thread) })
    }

    pub fn ask(&self, order: Order) -> Result<Answer> {
        let orders = self.orders.as_ref().context("the set-up has ended")?;
        orders.send(order).ok().context("the set-up's thread has ended")?;
        self.answers.recv().context("the set-up's thread has ended")?
    }
}

/// Waits for the thread: what it made outside of its namespaces (a cgroup) is given back by its end.
impl<Order, Answer> Drop for Worker<Order, Answer> {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
