//! Subscribes to `tracing` events: prints internal errors, and with `--trace` each WASI call.

use std::fmt::{Debug, Display, Formatter, Write as _};
use std::time::Instant;

use palisade::vfs::escape;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::print;

/// The target of `bug!`.
const BUG_TARGET: &str = "palisade::bug";

/// Installs a subscriber that prints internal errors. Spans stay disabled: the level is `ERROR`.
pub(crate) fn start() {
    set(tracing_subscriber::registry().with(Bugs.with_filter(LevelFilter::ERROR)));
}

/// Installs a subscriber that prints internal errors and the calls of the guest.
pub(crate) fn start_with_calls() {
    set(tracing_subscriber::registry().with(Bugs).with(Calls));
}

fn set(subscriber: impl Subscriber + Send + Sync) {
    // Only the first subscriber counts, and no other code sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Prints the events of `bug!`.
struct Bugs;

impl<S: Subscriber> Layer<S> for Bugs {
    fn on_event(&self, event: &Event<'_>, _ctx: Context<'_, S>) {
        if event.metadata().target() == BUG_TARGET {
            let mut text = BugText::default();
            event.record(&mut text);
            print::err(&format!("{}\n", escape::line(&text.to_string())));
        }
    }
}

/// The text `palisade: internal error: no slot 7 (vfs/src/table.rs:10); please report it`.
#[derive(Default)]
struct BugText {
    message: String,
    location: String,
}

impl Visit for BugText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "line" => write!(self.location, ":{value:?}"),
            _ => Ok(()),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "file" {
            self.location.insert_str(0, value);
        }
    }
}

impl Display for BugText {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let BugText { message, location } = self;
        write!(f, "palisade: internal error: {message} ({location}); please report it")
    }
}

/// Prints each call on files and paths when it returns.
struct Calls;

/// A call in progress.
struct Call {
    text: CallText,
    started: Instant,
}

/// The name and the fields of a call: `path_open fd=3 path="a/b"`.
#[derive(Default)]
struct CallText {
    name: String,
    fields: String,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Calls {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if attrs.metadata().name() != "call" {
            return;
        }
        let mut text = CallText::default();
        attrs.record(&mut text);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(Call { text, started: Instant::now() });
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        let extensions = span.extensions();
        let Some(Call { text, started }) = extensions.get() else { return };
        let micros = started.elapsed().as_nanos() / 1000;
        let call = format!("trace: {}{} [{micros} us]", text.name, text.fields);
        print::err(&format!("{}\n", escape::line(&call)));
    }
}

impl Visit for CallText {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.name.push_str(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.fields, " {}={value:?}", field.name());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects the text of each event of `bug!`.
    struct Collector(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Collector {
        fn on_event(&self, event: &Event<'_>, _ctx: Context<'_, S>) {
            let mut text = BugText::default();
            event.record(&mut text);
            self.0.lock().unwrap().push(text.to_string());
        }
    }

    #[test]
    fn internal_error_has_message_and_location() {
        let texts = Arc::<Mutex<Vec<String>>>::default();
        let subscriber = tracing_subscriber::registry().with(Collector(Arc::clone(&texts)));
        let line = line!() + 2;
        tracing::subscriber::with_default(subscriber, || {
            let reported = std::panic::catch_unwind(|| palisade_vfs::bug!("no slot {}", 7));
            assert_eq!(reported.is_err(), cfg!(debug_assertions));
        });
        let place = format!("{}:{line}", file!());
        let want = format!("palisade: internal error: no slot 7 ({place}); please report it");
        assert_eq!(*texts.lock().unwrap(), [want]);
    }
}
