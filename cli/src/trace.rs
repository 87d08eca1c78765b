//! `--trace`: every call of the guest on files and paths, one line each, on standard error.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Prints calls from now on.
pub(crate) fn start() {
    let subscriber = tracing_subscriber::registry().with(Calls);
    // Only the first subscriber counts, and nobody else sets one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Calls;

/// A call that goes on.
struct Call {
    text: Text,
    started: Instant,
}

/// `path_open 3 "a/b"`.
#[derive(Default)]
struct Text {
    name: String,
    fields: String,
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Calls {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if attrs.metadata().name() != "call" {
            return;
        }
        let mut text = Text::default();
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
        // A trace that nobody reads any more must not end the guest.
        let _ =
            writeln!(std::io::stderr().lock(), "trace: {}{} [{micros} us]", text.name, text.fields);
    }
}

impl Visit for Text {
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
