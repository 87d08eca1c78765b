//! Sinks: the destinations of events.

use std::io;

use crate::audit::event::{Decision, Event};
use crate::audit::log::json_lines::errno_key;
use crate::rules::right_names::names_of_rights;

/// The destination of events.
pub trait Sink: Send {
    /// Writes one event.
    ///
    /// # Errors
    ///
    /// The event is lost, and so may be earlier events that were not flushed.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// Flushes buffered events.
    ///
    /// # Errors
    ///
    /// Events that were not flushed may be lost.
    fn flush(&mut self) -> io::Result<()>;
}

/// A sink that calls a function.
pub struct Callback<F>(pub F);

impl<F: FnMut(&Event<'_>) + Send> Sink for Callback<F> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        (self.0)(event);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that emits `tracing` events with the target `palisade::audit`; denials are warnings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Sink for Tracing {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Event { path, guest, ruling, .. } = *event;
        let (op, to) = (ruling.action.key(), event.to.map(|to| to.path));
        let decision = ruling.decision.key(ruling.mode);
        let result = ruling.result.map_or_else(errno_key, |()| "ok");
        let rule = ruling.place.as_ref().map(ToString::to_string);
        let missing = names_of_rights(ruling.missing).join(" ");
        if ruling.decision == Decision::Allow {
            tracing::info!(
                target: "palisade::audit", op, path, to, decision, result, rule, guest
            );
        } else {
            tracing::warn!(
                target: "palisade::audit",
                op, path, to, decision, missing, result, rule, guest
            );
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
