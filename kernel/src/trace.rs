//! One span per call, for whoever listens; a load and a branch for everyone else.

/// Enters a span `call` with the call's name, its descriptor and its path until the end of the
/// function.
macro_rules! traced {
    ($call:literal, $fd:expr $(, $path:expr)?) => {
        let _span = if tracing::level_enabled!(tracing::Level::TRACE) {
            Some(tracing::trace_span!("call", name = $call, fd = $fd $(, path = $path)?).entered())
        } else {
            None
        };
    };
}

use crate::table::Fd;

/// The span of a call on a standard stream that an adapter makes by itself. It ends when it is
/// dropped.
#[must_use]
pub fn traced_call(name: &'static str, fd: Fd) -> impl Sized {
    tracing::level_enabled!(tracing::Level::TRACE)
        .then(|| tracing::trace_span!("call", name = name, fd = fd).entered())
}

pub(crate) use traced;
