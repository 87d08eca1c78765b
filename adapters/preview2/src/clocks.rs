//! `wasi:clocks`: the guest's clocks, and pollables with a deadline.
//!
//! - <https://github.com/WebAssembly/wasi-clocks/blob/main/wit/monotonic-clock.wit>
//! - <https://github.com/WebAssembly/wasi-clocks/blob/main/wit/wall-clock.wit>

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use palisade_kernel::{Alarm, ClockId, Interrupt};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration, Instant};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::{PalisadeCtxView, convert};

impl wall_clock::Host for PalisadeCtxView<'_> {
    fn now(&mut self) -> Result<Datetime> {
        let now_ns = self.ctx.process().clock_now_ns(ClockId::Realtime)?;
        Ok(convert::datetime_of_ns(now_ns))
    }

    fn resolution(&mut self) -> Result<Datetime> {
        let step_ns = self.ctx.process().clock_resolution_ns(ClockId::Realtime)?;
        Ok(convert::datetime_of_ns(step_ns))
    }
}

impl monotonic_clock::Host for PalisadeCtxView<'_> {
    fn now(&mut self) -> Result<Instant> {
        Ok(self.ctx.process().clock_now_ns(ClockId::Monotonic)?)
    }

    fn resolution(&mut self) -> Result<Duration> {
        Ok(self.ctx.process().clock_resolution_ns(ClockId::Monotonic)?)
    }

    fn subscribe_instant(&mut self, when: Instant) -> Result<Resource<DynPollable>> {
        let alarm = self.ctx.process().alarm_at(when);
        self.subscribe_alarm(alarm)
    }

    fn subscribe_duration(&mut self, after: Duration) -> Result<Resource<DynPollable>> {
        let alarm = self.ctx.process().alarm_after(after);
        self.subscribe_alarm(alarm)
    }
}

impl PalisadeCtxView<'_> {
    fn subscribe_alarm(&mut self, alarm: Alarm) -> Result<Resource<DynPollable>> {
        let interrupt = self.ctx.process().interrupt().clone();
        let sleep = self.push(Sleep { alarm, interrupt, has_yielded: false });
        let sleep = sleep.map_err(|_| self.too_many())?;
        let rep = sleep.rep();
        subscribe(self.table, sleep).map_err(|_| {
            // No pollable owns the sleep, so the guest could not drop it.
            let _ = self.table.delete(Resource::<Sleep>::new_own(rep));
            self.too_many()
        })
    }
}

/// A pollable that is ready at a deadline, or when the guest is interrupted.
struct Sleep {
    alarm: Alarm,
    interrupt: Interrupt,
    has_yielded: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        let deadline = self.alarm.deadline().map(tokio::time::Instant::from_std);
        let is_due = deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now());
        if is_due || self.alarm.has_passed() {
            // Yields once, so that a guest that polls in a loop without waiting does not starve
            // other tasks.
            if !self.has_yielded {
                self.has_yielded = true;
                tokio::task::yield_now().await;
            }
            return;
        }
        if self.alarm.is_fixed() {
            // The clock advances to the earliest deadline, unless another pollable is ready first.
            let mut wait = self.alarm.wait_on_fixed_clock();
            tokio::task::yield_now().await;
            while !wait.is_due() {
                tokio::task::yield_now().await;
            }
            self.has_yielded = true;
            return;
        }
        let mut raised = pin!(self.interrupt.raised());
        let Some(deadline) = deadline else { return raised.await };
        let mut sleep = pin!(tokio::time::sleep_until(deadline));
        poll_fn(|task| match sleep.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => raised.as_mut().poll(task),
        })
        .await;
    }
}
