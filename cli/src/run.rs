//! `palisade run`: from options to a guest, and from its end to an exit code.

use std::path::Path;
use std::sync::Arc;

use palisade::overlay::PathError;
use palisade::policy::audit::Auditor;
use palisade::preview1::ZeroRights;
use palisade::{Clock, Config, Input, Interrupt, Limits, Output, Random};

use crate::ambient;
use crate::archive::Archive;
use crate::args::Run;
use crate::engine::{Bounds, Ended, Form, Guest, Keep, Kind, Timeout};
use crate::error::{EXIT_CODE_MAX, EXIT_TIMED_OUT, Error};
use crate::guard::Guard;
use crate::layout::{Layout, Preopen, Stacked};
use crate::sandbox::{FixedClock, InheritEnv, RightsOf, Sandbox, Variable};
use crate::{changes, file, inspect, layout, policy};

/// Runs a guest, and answers what to exit with.
pub(crate) fn run(run: &Run) -> Result<u8, Error> {
    run_guarded(run, None)
}

/// Runs a guest behind `guard`, or behind what the options ask for.
pub(crate) fn run_guarded(run: &Run, guard: Option<Guard>) -> Result<u8, Error> {
    let [module, args @ ..] = run.command.as_slice() else {
        return Err(Error::Argument { text: String::new() });
    };
    let mut sandbox = match &run.config {
        Some(path) => file::read(path)?,
        None => Sandbox::default(),
    };
    sandbox.add(run, args)?;
    let path = Path::new(module);
    let bytes = ambient::read_module(path)?;
    if run.diff.is_some() && sandbox.overlays().is_empty() {
        return Err(Error::NoOverlay { option: "--diff" });
    }
    let export = run.export.as_deref().map(Archive::new).transpose()?;
    if let (Some(_), count) = (&export, sandbox.overlays().len())
        && count != 1
    {
        return Err(Error::NotOneOverlay { option: "--export", count });
    }
    let guard = match guard {
        Some(guard) => guard,
        None => policy::guard(&sandbox, run, path)?,
    };
    let Layout { preopens, overlays } = layout::open(&sandbox.mounts, &guard)?;
    let config = config(&sandbox, path, preopens)?;
    let zero_rights = match sandbox.rights {
        RightsOf::Strict => ZeroRights::Literal,
        RightsOf::Parent => ZeroRights::Unspoken,
    };
    let engine = sandbox.engine.unwrap_or(Kind::Wasmtime);
    let form = inspect::form(&bytes);
    if form != Form::Module && engine == Kind::Wasmi {
        return Err(Error::NoComponents { path: path.to_owned(), engine: engine.name() });
    }
    let process = config.start_with(Interrupt::default());
    let guest = Guest {
        bytes: &bytes,
        form,
        process,
        zero_rights,
        limits: Bounds {
            memory_bytes: sandbox.memory_max,
            time: sandbox
                .timeout
                .map(|after| Timeout { after, give_up: give_up(run, after, guard.auditor()) }),
        },
        keep: keep(run, engine)?,
    };
    let ended = engine.run(guest);
    guard.finish()?;
    if !matches!(ended, Ended::Refused(_) | Ended::NoCache(_)) {
        tell_changes(run, &overlays)?;
        export_changes(export.as_ref(), &overlays)?;
    }
    match ended {
        Ended::Exited(code) => Ok(u8::try_from(code.min(EXIT_CODE_MAX)).unwrap_or(u8::MAX)),
        Ended::Trapped { why, frames } => Err(Error::Trapped { why, frames }),
        Ended::TimedOut => Err(Error::TimedOut { after: sandbox.timeout.unwrap_or_default() }),
        Ended::NoCache(why) => {
            Err(Error::Cache { path: run.cache_dir.clone().unwrap_or_default(), why })
        }
        Ended::Refused(why) => Err(inspect::refusal(path, &bytes, sandbox.memory_max)
            .unwrap_or(Error::Engine { path: path.to_owned(), engine: engine.name(), why })),
    }
}

/// `--export`: the changes of the one overlay.
fn export_changes(export: Option<&Archive<'_>>, overlays: &[Stacked]) -> Result<(), Error> {
    let (Some(archive), [Stacked { at, overlay }]) = (export, overlays) else { return Ok(()) };
    let upper = overlay.upper().map_err(|errno| {
        let why = PathError { path: at.clone(), errno };
        Error::Changes { what: "exported", path: at.into(), why }
    })?;
    archive.write(&upper).map(drop)
}

/// `--diff`: whatever the guest's end was, what it has changed is told.
fn tell_changes(run: &Run, overlays: &[Stacked]) -> Result<(), Error> {
    let Some(file) = &run.diff else { return Ok(()) };
    let (mut lines, mut json) = (String::new(), Vec::new());
    for Stacked { at, overlay } in overlays {
        let changes = overlay.changes().map_err(|why| {
            let (what, path) = ("compared", at.into());
            Error::Changes { what, path, why }
        })?;
        lines.push_str(&changes::lines_at(at, &changes));
        json.extend(changes::json_at(at, &changes));
    }
    let text = match run.json {
        true => format!("{}\n", serde_json::json!({ "changes": json })),
        false => lines,
    };
    if file.as_os_str() == "-" {
        eprint!("{text}");
        return Ok(());
    }
    ambient::write(file, text.as_bytes())
}

/// What the watchdog does to a guest that does not end although it was stopped.
fn give_up(
    run: &Run,
    after: std::time::Duration,
    auditor: Option<Arc<Auditor>>,
) -> Box<dyn FnOnce() + Send> {
    let json = run.json;
    Box::new(move || {
        if let Some(auditor) = auditor {
            // Whatever there is of the record; there is nothing left to be done about the rest.
            let _ = auditor.finish();
        }
        report(Error::TimedOut { after }, json);
        ambient::exit(EXIT_TIMED_OUT);
    })
}

/// Tells of a refusal, as text or as JSON.
pub(crate) fn report(error: Error, json: bool) {
    if json {
        eprintln!("{}", error.to_json());
    } else {
        error.print();
    }
}

fn keep(run: &Run, engine: Kind) -> Result<Keep, Error> {
    if run.no_cache || engine == Kind::Wasmi {
        return Ok(Keep::Nowhere);
    }
    if let Some(dir) = &run.cache_dir {
        let fail = |why: std::io::Error| Error::Cache { path: dir.clone(), why: why.to_string() };
        return std::path::absolute(dir).map(Keep::Exactly).map_err(fail);
    }
    Ok(ambient::cache_dir().map_or(Keep::Nowhere, Keep::IfPossible))
}

fn config(sandbox: &Sandbox, module: &Path, preopens: Vec<Preopen>) -> Result<Config, Error> {
    let mut config = Config::builder()
        .stdout(Output::inherit_stdout())
        .stderr(Output::inherit_stderr())
        .stdin(match &sandbox.stdin {
            Some((path, said)) => {
                Input::file(ambient::open(said.by(), path).map_err(|error| said.blame(error))?)
            }
            None => Input::inherit(),
        });
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
