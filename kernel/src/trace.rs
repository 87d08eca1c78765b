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

pub(crate) use traced;
