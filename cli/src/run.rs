//! `palisade run`: from options to a guest, and from its end to an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use palisade::preview1::ZeroRights;
use palisade::{Clock, Config, Input, Interrupt, Limits, Output, Random};

use crate::ambient::{self, Accepts};
use crate::analysis::Analysis;
use crate::archive::Archive;
use crate::args::Run;
use crate::ending::{AtEnd, Diff, Ending, Remains, watch_signals};
use crate::engine::{
    Bounds, Cause, CompileBounds, CompileWatch, Ended, Form, Guest, INSTANCES_MAX, Keep, Kind,
    MEMORY_DEFAULT_BYTES, Stop, Stopper,
};
use crate::error::{EXIT_CODE_MAX, Error};
use crate::guard::{Guard, Surroundings};
use crate::inspect::Footprint;
use crate::layout::{Layout, Preopen};
use crate::output::{Reach, Target, is_stderr};
use crate::sandbox::{FixedClock, InheritEnv, RightsOf, Sandbox, Variable};
use crate::{file, inspect, layout, policy, print};

/// Bytes of a constant expression: a hundred times what compilers write. wasmi recurses once for
/// each operator, so that an expression of 900 KB overflows the stack of the process.
const EXPRESSION_BYTES_MAX: u64 = 4096;

/// What is done in another way than `palisade run` does it.
pub(crate) struct Special {
    pub(crate) guard: Guard,
    pub(crate) stdout: Output,
    pub(crate) at_end: AtEnd,
}

/// Runs a guest, and answers what to exit with.
pub(crate) fn run(run: &Run) -> Result<u8, Error> {
    run_specially(run, |_| Ok(None))
}

/// Runs a guest as `special` says, which is told where no output may lie.
pub(crate) fn run_specially(
    run: &Run,
    special: impl FnOnce(&Reach) -> Result<Option<Special>, Error>,
) -> Result<u8, Error> {
    let [module, args @ ..] = run.command.as_slice() else {
        return Err(Error::Argument { text: OsString::new() });
    };
    let mut sandbox = run.config.as_deref().map_or_else(|| Ok(Sandbox::default()), file::read)?;
    sandbox.add(run, args)?;
    let path = Path::new(module);
    let bytes = ambient::read_module(path)?;
    let reach = Reach::of(&sandbox)?;
    let (diff, export) = outputs(run, &sandbox, &reach)?;
    let stopper = Stopper::default();
    let (guard, stdout, at_end) = match special(&reach)? {
        Some(Special { guard, stdout, at_end }) => (guard, stdout, Some(at_end)),
        None => {
            let around = Surroundings { reach: &reach, stopper: &stopper };
            let guard = policy::guard(&sandbox, run, path, &around)?;
            (guard, Output::inherit_stdout(), None)
        }
    };
    let Layout { preopens, overlays } = layout::open(&sandbox.mounts, &guard)?;
    let config = config(&sandbox, path, preopens, stdout)?;
    let zero_rights = match sandbox.rights {
        RightsOf::Strict => ZeroRights::Literal,
        RightsOf::Parent => ZeroRights::Inherited,
    };
    let engine = sandbox.engine.unwrap_or(Kind::Wasmtime);
    let remains = Remains { guard, overlays, diff, export, at_end };
    let has_remains = remains.is_any();
    let ending = Ending::new(remains, run.json);
    watch_signals(stopper.clone(), has_remains)?;
    let (after, since) = (sandbox.timeout, Instant::now());
    let give_up = Box::new(ending.clone().give_up(move |cause| stopped(cause, after)));
    let stop = Stop { after, since, stopper, give_up };
    let compiling = watch_compilation(run, &sandbox, path, &ending)?;
    let looked_at = look_at(path, &bytes, engine);
    let Ok((form, footprint)) = looked_at else {
        ending.abandon()?;
        return looked_at.map(|_| 0);
    };
    let ended = engine.run(Guest {
        bytes: &bytes,
        form,
        process: config.start_with(Interrupt::default()),
        zero_rights,
        bounds: Bounds {
            memory_bytes: sandbox.memory_max,
            instance_bytes: footprint.instance_bytes,
            stop: (after.is_some() || has_remains).then_some(stop),
        },
        keep: keep(run, engine, &reach)?,
        compiling,
    });
    let end = match ended {
        Ended::Exited(code) => Ok(u8::try_from(code.min(EXIT_CODE_MAX)).unwrap_or(u8::MAX)),
        Ended::Trapped { why, frames } => Err(Error::Trapped { why, frames }),
        Ended::Stopped(cause) => Err(stopped(cause, after)),
        Ended::Panicked(why) => Err(Error::Internal { why }),
        never_started => {
            ending.abandon()?;
            let _compiling = watch_compilation(run, &sandbox, path, &ending)?;
            return Err(refusal(never_started, run, &sandbox, path, (&bytes, footprint)));
        }
    };
    ending.conclude(end).unwrap_or(Ok(0))
}

/// Bounds the analysis and the compilation of the module from now on.
fn watch_compilation(
    run: &Run,
    sandbox: &Sandbox,
    path: &Path,
    ending: &Ending,
) -> Result<CompileWatch, Error> {
    let compile = CompileBounds::new(sandbox.compile_time_max, sandbox.compile_memory_max);
    let analysis = Analysis { path, compile, time: sandbox.timeout, json: run.json };
    let ending = ending.clone();
    analysis.watch(move || {
        // The error that follows says why nothing was run.
        let _ = ending.abandon();
    })
}

/// What the module is, and what it makes the engine allocate.
///
/// # Errors
///
/// - [`Error::NoComponents`]: the engine runs core modules alone.
/// - [`Error::Instances`]: the component instantiates too many modules.
/// - [`Error::Expression`]: a constant expression is too long.
fn look_at(path: &Path, bytes: &[u8], engine: Kind) -> Result<(Form, Footprint), Error> {
    let form = inspect::form(bytes);
    if form != Form::Module && engine == Kind::Wasmi {
        return Err(Error::NoComponents { path: path.to_owned(), engine: engine.name() });
    }
    let footprint = Footprint::read(bytes);
    let (count, max) = (footprint.instances, INSTANCES_MAX as u64);
    if count > max {
        return Err(Error::Instances { path: path.to_owned(), count, max });
    }
    let (bytes, max) = (footprint.expression_bytes, EXPRESSION_BYTES_MAX);
    if bytes > max {
        return Err(Error::Expression { path: path.to_owned(), bytes, max });
    }
    Ok((form, footprint))
}

/// What to tell of a guest that never started.
fn refusal(
    ended: Ended,
    run: &Run,
    sandbox: &Sandbox,
    path: &Path,
    (bytes, footprint): (&[u8], Footprint),
) -> Error {
    let path = path.to_owned();
    match ended {
        Ended::NoCache(why) => {
            Error::Cache { path: run.cache_dir.clone().unwrap_or_default(), why }
        }
        Ended::OverMemory { needed } => {
            let needed = needed.max(footprint.memory_bytes);
            let allowed = sandbox.memory_max.unwrap_or(MEMORY_DEFAULT_BYTES);
            Error::MemoryLimit { path, needed, allowed }
        }
        Ended::Refused(why) => inspect::refusal(&path, bytes).unwrap_or_else(|| {
            let engine = sandbox.engine.unwrap_or(Kind::Wasmtime).name();
            Error::Engine { path, engine, why }
        }),
        Ended::Exited(_) | Ended::Trapped { .. } | Ended::Stopped(_) | Ended::Panicked(_) => {
            Error::Internal { why: "a guest that ran did not start".to_owned() }
        }
    }
}

/// What to tell of a guest that was stopped.
fn stopped(cause: Cause, after: Option<std::time::Duration>) -> Error {
    match cause {
        Cause::TimedOut => Error::TimedOut { after: after.unwrap_or_default() },
        Cause::Signal(signal) => Error::Signal { signal },
        Cause::Unrecorded => Error::Unrecorded,
    }
}

/// `--diff` and `--export`, of which nothing is written yet.
fn outputs(
    run: &Run,
    sandbox: &Sandbox,
    reach: &Reach,
) -> Result<(Option<Diff>, Option<Archive>), Error> {
    if run.diff.is_some() && sandbox.overlays().is_empty() {
        return Err(Error::NoOverlay { option: "--diff" });
    }
    let diff = match &run.diff {
        None => None,
        Some(path) => {
            let is_stderr = is_stderr(path);
            let to = (!is_stderr).then(|| Target::new(path, reach)).transpose()?;
            Some(Diff { to, json: run.json })
        }
    };
    let export = run.export.as_deref().map(|path| Archive::new(path, reach)).transpose()?;
    if let (Some(_), count) = (&export, sandbox.overlays().len())
        && count != 1
    {
        return Err(Error::NotOneOverlay { option: "--export", count });
    }
    Ok((diff, export))
}

/// Prints a refusal, as text or as JSON.
pub(crate) fn report(error: Error, json: bool) {
    match print::json_line(&error.to_json()) {
        Ok(line) if json => print::err(&line),
        _ => error.print(),
    }
}

/// Where compiled modules are kept: machine code, which is loaded as it is. So not where the guest
/// could write some of its own for the next run.
fn keep(run: &Run, engine: Kind, reach: &Reach) -> Result<Keep, Error> {
    if run.no_cache || engine == Kind::Wasmi {
        return Ok(Keep::Nowhere);
    }
    if let Some(dir) = &run.cache_dir {
        if reach.is_written(dir) {
            let why = "the guest can write there, and what is kept is run outside of the sandbox";
            return Err(Error::Cache { path: dir.clone(), why: why.to_owned() });
        }
        let fail = |why: std::io::Error| Error::Cache { path: dir.clone(), why: why.to_string() };
        return std::path::absolute(dir).map(Keep::Exactly).map_err(fail);
    }
    let dir = ambient::cache_dir().filter(|dir| !reach.is_written(dir));
    Ok(dir.map_or(Keep::Nowhere, Keep::IfPossible))
}

fn config(
    sandbox: &Sandbox,
    module: &Path,
    preopens: Vec<Preopen>,
    stdout: Output,
) -> Result<Config, Error> {
    let mut config = Config::builder().stdout(stdout).stderr(Output::inherit_stderr()).stdin(
        match &sandbox.stdin {
            Some((path, said)) => Input::file(
                ambient::open_as(said.by(), path, Accepts::Devices)
                    .map_err(|error| said.blame(error))?,
            ),
            None => Input::inherit(),
        },
    );
    let file_name = module.file_name().unwrap_or(module.as_os_str());
    config = config.arg(match &sandbox.arg0 {
        Some(name) => name.as_str(),
        None => ambient::text(file_name)?,
    });
    for arg in &sandbox.args {
        config = config.arg(arg.as_str());
    }
    if sandbox.inherit_env == InheritEnv::All {
        for (name, value) in ambient::variables() {
            config = config.env(&name, &value);
        }
    }
    for variable in &sandbox.env {
        config = match variable {
            Variable::Set(name, value) => config.env(name, value),
            Variable::Inherit(name) => {
                let value = ambient::variable(name);
                config.env(name, &value.ok_or_else(|| Error::Env { name: name.clone() })?)
            }
            Variable::InheritIfSet(name) => match ambient::variable(name) {
                Some(value) => config.env(name, &value),
                None => config,
            },
        };
    }
    for preopen in preopens {
        config = config.preopen(preopen.name, preopen.dir);
    }
    if let Some(FixedClock { realtime_ns, step_ns }) = sandbox.clock {
        config = config.clock(Clock::Fixed { realtime_ns, step_ns });
    }
    if let Some(seed) = sandbox.seed {
        config = config.random(Random::Seeded(seed));
    }
    let defaults = Limits::default();
    let config = config.limits(Limits {
        descriptors_max: sandbox.descriptors_max.unwrap_or(defaults.descriptors_max),
        streams_max: sandbox.streams_max.unwrap_or(defaults.streams_max),
        ..defaults
    });
    config.build().map_err(Error::Config)
}
