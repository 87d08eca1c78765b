//! `palisade run`: starts a guest from its options, and turns its end into an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use palisade::preview1::ZeroRights;
use palisade::{Clock, Config, Input, Interrupt, Limits, Output, Random};

use crate::ambient::{self, Accepts};
use crate::analysis_limits::AnalysisLimits;
use crate::args::Run;
use crate::audit_log::AuditContext;
use crate::confinement::Confinement;
use crate::engine::{
    Bounds, CompileBounds, CompileWatch, Ended, EngineKind, Form, Guest, INSTANCES_MAX,
    MEMORY_DEFAULT_BYTES, ModuleCache, Stop, StopError, Stopper,
};
use crate::error::{Error, HostError};
use crate::inspect::Footprint;
use crate::layer_archive::LayerArchive;
use crate::output_file::{OutputFile, ProtectedPaths, is_stderr};
use crate::preopens::{Preopen, Preopens};
use crate::print::Format;
use crate::run_error::RunError;
use crate::run_outputs::{DiffOutput, FinalStep, Finalizer, RunEnd, RunOutputs, watch_signals};
use crate::sandbox::{DefaultRights, FixedClock, InheritEnv, OverlayCountError, Sandbox, Variable};
use crate::{config_file, inspect, preopens};

/// The maximum size of a constant expression: a hundred times what compilers emit. wasmi recurses
/// once for each operator, so an expression of 900 KB overflows the stack of the process.
const EXPRESSION_BYTES_MAX: u64 = 4096;
/// Exit code of a guest whose own code is above 255: a failure must not become a success in the low
/// 8 bits.
const EXIT_CODE_MAX: u32 = 255;

/// The parts of a run that `palisade learn` replaces.
pub(crate) struct RunOverrides {
    pub(crate) confinement: Confinement,
    pub(crate) stdout: Output,
    pub(crate) final_step: FinalStep,
}

/// Runs `palisade run`. Returns the exit code.
pub(crate) fn run(run: &Run) -> Result<u8, Error> {
    run_with(run, |_| Ok(None))
}

/// Runs a guest with the parts that `overrides` returns. `overrides` receives the paths that no
/// output may have.
pub(crate) fn run_with(
    run: &Run,
    overrides: impl FnOnce(&ProtectedPaths) -> Result<Option<RunOverrides>, Error>,
) -> Result<u8, Error> {
    let [module, args @ ..] = run.command.as_slice() else {
        return Err(HostError::Argument { text: OsString::new() }.into());
    };
    let mut sandbox =
        run.config.as_deref().map_or_else(|| Ok(Sandbox::default()), config_file::read)?;
    sandbox.add(run, args)?;
    let path = Path::new(module);
    let bytes = ambient::read_module(path)?;
    let protected = ProtectedPaths::for_sandbox(&sandbox)?;
    let (diff, export) = outputs(run, &sandbox, &protected)?;
    let stopper = Stopper::default();
    let (confinement, stdout, final_step) = match overrides(&protected)? {
        Some(RunOverrides { confinement, stdout, final_step }) => {
            (confinement, stdout, Some(final_step))
        }
        None => {
            let context = AuditContext { protected: &protected, stopper: &stopper };
            let confinement = Confinement::for_run(&sandbox, run, path, &context)?;
            (confinement, Output::inherit_stdout(), None)
        }
    };
    let Preopens { dirs, overlays } = preopens::open(&sandbox.mounts, &confinement)?;
    let config = config(&sandbox, path, dirs, stdout)?;
    let engine = sandbox.engine.unwrap_or(EngineKind::Wasmtime);
    let outputs = RunOutputs { confinement, overlays, diff, export, final_step };
    let has_outputs = outputs.is_any();
    let finalizer = Finalizer::new(outputs, Format::from_json_flag(run.json));
    watch_signals(stopper.clone(), has_outputs)?;
    let (after, since) = (sandbox.timeout, Instant::now());
    let stop_error = move |cause| StopError::new(cause, after).into();
    let give_up = Box::new(finalizer.clone().exit_process(stop_error));
    let stop = Stop { after, since, stopper, give_up };
    let compiling = watch_compilation(run, &sandbox, path, &finalizer)?;
    let analyzed = analyze(path, &bytes, engine);
    let Ok((form, footprint)) = analyzed else {
        finalizer.abandon()?;
        return analyzed.map(|_| 0).map_err(Error::from);
    };
    let ended = engine.run(Guest {
        bytes: &bytes,
        form,
        process: config.start_with(Interrupt::default()),
        zero_rights: zero_rights(sandbox.rights),
        bounds: Bounds {
            memory_bytes: sandbox.memory_max,
            instance_bytes: footprint.instance_bytes,
            stop: (after.is_some() || has_outputs).then_some(stop),
        },
        cache: module_cache(run, engine, &protected)?,
        compiling,
    });
    let (result, stopped_by) = match ended {
        Ended::Exited(code) => (Ok(u8::try_from(code.min(EXIT_CODE_MAX)).unwrap_or(u8::MAX)), None),
        Ended::Trapped { why, frames } => (Err(RunError::Trapped { why, frames }.into()), None),
        Ended::Stopped(cause) => (Err(StopError::new(cause, after).into()), Some(cause)),
        Ended::Panicked(why) => (Err(RunError::Internal { why }.into()), None),
        never_started => {
            finalizer.abandon()?;
            let _compiling = watch_compilation(run, &sandbox, path, &finalizer)?;
            return Err(start_error(never_started, run, &sandbox, path, (&bytes, footprint)));
        }
    };
    finalizer.finish(RunEnd { result, stopped_by }).unwrap_or(Ok(0))
}

fn zero_rights(rights: DefaultRights) -> ZeroRights {
    match rights {
        DefaultRights::Strict => ZeroRights::Literal,
        DefaultRights::Parent => ZeroRights::Inherited,
    }
}

/// Limits the analysis and the compilation of the module from now on.
fn watch_compilation(
    run: &Run,
    sandbox: &Sandbox,
    path: &Path,
    finalizer: &Finalizer,
) -> Result<CompileWatch, Error> {
    let compile = CompileBounds::new(sandbox.compile_time_max, sandbox.compile_memory_max);
    let format = Format::from_json_flag(run.json);
    let limits = AnalysisLimits { path, compile, run_time: sandbox.timeout, format };
    let finalizer = finalizer.clone();
    limits.watch(move || {
        // The overrun is reported; an error of the audit would hide the cause.
        let _ = finalizer.abandon();
    })
}

/// Returns the form of the module and its estimated footprint.
///
/// # Errors
///
/// - [`RunError::NoComponents`]: the engine runs core modules only.
/// - [`RunError::Instances`]: the component instantiates too many modules.
/// - [`RunError::Expression`]: a constant expression is too long.
fn analyze(path: &Path, bytes: &[u8], engine: EngineKind) -> Result<(Form, Footprint), RunError> {
    let form = inspect::form(bytes);
    if form != Form::Module && engine == EngineKind::Wasmi {
        return Err(RunError::NoComponents { path: path.to_owned(), engine: engine.name() });
    }
    let footprint = Footprint::read(bytes);
    let (count, max) = (footprint.instances, INSTANCES_MAX as u64);
    if count > max {
        return Err(RunError::Instances { path: path.to_owned(), count, max });
    }
    let (bytes, max) = (footprint.expression_bytes, EXPRESSION_BYTES_MAX);
    if bytes > max {
        return Err(RunError::Expression { path: path.to_owned(), bytes, max });
    }
    Ok((form, footprint))
}

/// Returns the error of a guest that never started.
fn start_error(
    ended: Ended,
    run: &Run,
    sandbox: &Sandbox,
    path: &Path,
    (bytes, footprint): (&[u8], Footprint),
) -> Error {
    let path = path.to_owned();
    match ended {
        Ended::NoCache(why) => {
            RunError::Cache { path: run.cache_dir.clone().unwrap_or_default(), why }.into()
        }
        Ended::OverMemory { needed } => {
            let needed = needed.max(footprint.memory_bytes);
            let allowed = sandbox.memory_max.unwrap_or(MEMORY_DEFAULT_BYTES);
            RunError::MemoryLimit { path, needed, allowed }.into()
        }
        Ended::Refused(why) => match inspect::why_not_runnable(&path, bytes) {
            Some(error) => error.into(),
            None => {
                let engine = sandbox.engine.unwrap_or(EngineKind::Wasmtime).name();
                RunError::Engine { path, engine, why }.into()
            }
        },
        Ended::Exited(_) | Ended::Trapped { .. } | Ended::Stopped(_) | Ended::Panicked(_) => {
            RunError::Internal { why: "a guest that ran is reported as not started".to_owned() }
                .into()
        }
    }
}

/// Resolves the output files of `--diff` and `--export`.
fn outputs(
    run: &Run,
    sandbox: &Sandbox,
    protected: &ProtectedPaths,
) -> Result<(Option<DiffOutput>, Option<LayerArchive>), Error> {
    if run.diff.is_some() && sandbox.overlays().is_empty() {
        return Err(OverlayCountError::None { option: "--diff" }.into());
    }
    let diff = match &run.diff {
        None => None,
        Some(path) => {
            let is_stderr = is_stderr(path);
            let file = (!is_stderr).then(|| OutputFile::new(path, protected)).transpose()?;
            Some(DiffOutput { file, format: Format::from_json_flag(run.json) })
        }
    };
    let export =
        run.export.as_deref().map(|path| LayerArchive::new(path, protected)).transpose()?;
    if let (Some(_), count) = (&export, sandbox.overlays().len())
        && count != 1
    {
        return Err(OverlayCountError::NotOne { option: "--export", count }.into());
    }
    Ok((diff, export))
}

/// Returns the cache of compiled modules. Cached machine code is loaded unchecked, so the directory
/// must not be writable by the guest.
fn module_cache(
    run: &Run,
    engine: EngineKind,
    protected: &ProtectedPaths,
) -> Result<ModuleCache, RunError> {
    if run.no_cache || engine == EngineKind::Wasmi {
        return Ok(ModuleCache::Disabled);
    }
    if let Some(dir) = &run.cache_dir {
        let fail = |why: String| RunError::Cache { path: dir.clone(), why };
        if protected.is_written(dir) {
            let why = "the guest can write there, and cached machine code runs outside of the \
                       sandbox";
            return Err(fail(why.to_owned()));
        }
        let path = std::path::absolute(dir);
        return path.map(ModuleCache::Required).map_err(|why| fail(why.to_string()));
    }
    let dir = ambient::cache_dir().filter(|dir| !protected.is_written(dir));
    Ok(dir.map_or(ModuleCache::Disabled, ModuleCache::Optional))
}

/// Builds the configuration of the guest.
fn config(
    sandbox: &Sandbox,
    module: &Path,
    preopens: Vec<Preopen>,
    stdout: Output,
) -> Result<Config, Error> {
    let mut config = Config::builder().stdout(stdout).stderr(Output::inherit_stderr()).stdin(
        match &sandbox.stdin {
            Some((path, origin)) => Input::file(
                ambient::open_as(origin.name(), path, Accepts::Devices)
                    .map_err(|error| origin.locate(error))?,
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
                config.env(name, &value.ok_or_else(|| RunError::Env { name: name.clone() })?)
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
    Ok(config.build().map_err(RunError::Config)?)
}
