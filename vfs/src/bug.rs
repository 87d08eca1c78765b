//! Assertions for internal errors: states that only a defect in Palisade can produce.
//!
//! Two kinds of impossible state are kept apart. A broken invariant of our own code is a
//! [`bug!`](crate::bug!): it panics where debug assertions are on, so tests and fuzzers find it,
//! and otherwise it is logged and fails closed. A [`Dir`](crate::Dir), [`File`](crate::File) or
//! [`UpperDir`](crate::overlay::UpperDir) of an embedder that violates its contract is foreign
//! input: [`broken_contract`] returns an error in every build and never panics.

use std::fmt;

use crate::Errno;

/// Reports a broken invariant of Palisade and evaluates to a value that fails closed.
///
/// With debug assertions it panics with the message and the source location. Without them it logs
/// both with `tracing::error!` under the target `palisade::bug` and evaluates to [`Errno::Io`], or
/// to the value given before a semicolon.
///
/// Only for states that no guest, file, document, host or embedder can cause. Those have an errno
/// of their own; see [`broken_contract`] for foreign filesystems.
///
/// ```no_run
/// use palisade_vfs::{Result, bug};
///
/// fn third(numbers: &[u64; 8]) -> Result<u64> {
///     numbers.get(3).copied().ok_or_else(|| bug!("no third of {} numbers", numbers.len()))
/// }
///
/// fn third_or_none(numbers: &[u64; 8]) -> u64 {
///     numbers.get(3).copied().unwrap_or_else(|| bug!(0; "no third number"))
/// }
/// ```
#[macro_export]
macro_rules! bug {
    ($value:expr; $($message:tt)+) => {{
        $crate::__report_bug(::std::format_args!($($message)+));
        $value
    }};
    ($($message:tt)+) => {
        $crate::bug!($crate::Errno::Io; $($message)+)
    };
}

/// The function that [`bug!`](crate::bug!) calls.
#[doc(hidden)]
#[cold]
#[inline(never)]
#[track_caller]
pub fn __report_bug(message: fmt::Arguments<'_>) {
    log(message);
    if cfg!(debug_assertions) {
        panic!("internal error: {message}");
    }
}

#[track_caller]
fn log(message: fmt::Arguments<'_>) {
    let at = std::panic::Location::caller();
    tracing::error!(target: "palisade::bug", file = at.file(), line = at.line(), "{message}");
}

/// Reports a filesystem or an overlay's upper that violates the contract of its trait. Returns
/// `EIO`, as for a faulty device.
///
/// Logs the violation with `tracing::warn!` under the target `palisade::contract`. Never panics: an
/// embedder's filesystem is input.
#[doc(hidden)]
#[cold]
#[inline(never)]
#[must_use]
pub fn broken_contract(what: &'static str) -> Errno {
    tracing::warn!(target: "palisade::contract", "a filesystem broke its contract: {what}");
    Errno::Io
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Records the target and the fields of each event.
    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    impl Subscriber for Events {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let level = *event.metadata().level();
            let mut line = Line(format!("{level} {}", event.metadata().target()));
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn logged(run: impl FnOnce()) -> Vec<String> {
        let events = Events::default();
        tracing::subscriber::with_default(events.clone(), run);
        events.0.lock().unwrap().clone()
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "internal error: no slot 7"))]
    fn bug_panics_with_debug_assertions() {
        let errno = bug!("no slot {}", 7);
        assert_eq!(errno, Errno::Io, "without debug assertions the error fails closed");
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "internal error: no slot"))]
    fn bug_with_a_value_panics_with_debug_assertions() {
        let value = bug!(0; "no slot");
        assert_eq!(value, 0);
    }

    #[test]
    fn bug_is_logged_as_an_error_with_its_location() {
        let (line, lines) = (line!(), logged(|| log(format_args!("no slot {}", 7))));
        let place = format!("message=no slot 7 file={:?} line={line}", file!());
        assert_eq!(lines, [format!("ERROR palisade::bug {place}")]);
    }

    #[test]
    fn broken_contract_returns_an_error_without_a_panic() {
        let lines = logged(|| assert_eq!(broken_contract("a cookie went back"), Errno::Io));
        let text = "message=a filesystem broke its contract: a cookie went back";
        assert_eq!(lines, [format!("WARN palisade::contract {text}")]);
    }
}
