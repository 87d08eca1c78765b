//! Trace spans of calls. A disabled span costs one load and one branch.

/// Enters a span `call` with the name, descriptor and path of the call until the end of the
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

/// Enters the span of a call that an adapter makes on a standard stream without the kernel. The
/// span ends when the returned guard is dropped.
#[must_use]
pub fn traced_call(name: &'static str, fd: Fd) -> impl Sized {
    tracing::level_enabled!(tracing::Level::TRACE)
        .then(|| tracing::trace_span!("call", name = name, fd = fd).entered())
}

pub(crate) use traced;
