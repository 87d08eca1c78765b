//! `palisade run`: from options to a guest, and from its end to an exit code.

use std::path::Path;

use palisade::preview1::{Preview1, ZeroRights};
use palisade::{Clock, Config, Input, Interrupt, Limits, Output, Random};

use crate::ambient;
use crate::args::Run;
use crate::engine::{Bounds, Ended, Guest, Keep, Kind, Timeout};
use crate::error::{EXIT_CODE_MAX, EXIT_TIMED_OUT, Error};
use crate::{inspect, layout, trace};

/// Runs a guest, and answers what to exit with.
pub(crate) fn run(run: &Run) -> Result<u8, Error> {
    let [module, args @ ..] = run.command.as_slice() else {
        return Err(Error::Argument { text: String::new() });
    };
    let path = Path::new(module);
    let bytes = ambient::read_module(path)?;
    if run.trace {
        trace::start();
    }
    let config = config(run, path, args)?;
    let zero_rights = if run.strict_rights { ZeroRights::Literal } else { ZeroRights::Unspoken };
    let process = config.start_with(Interrupt::default());
    let guest = Guest {
        bytes: &bytes,
        preview1: Preview1::new(process).with_zero_rights(zero_rights),
        limits: Bounds {
            memory_bytes: run.max_memory,
            time: run.timeout.map(|after| Timeout { after, give_up: give_up(run, after) }),
        },
        keep: keep(run)?,
    };
    match run.engine.run(guest) {
        Ended::Exited(code) => Ok(u8::try_from(code.min(EXIT_CODE_MAX)).unwrap_or(u8::MAX)),
        Ended::Trapped { why, frames } => Err(Error::Trapped { why, frames }),
        Ended::TimedOut => Err(Error::TimedOut { after: run.timeout.unwrap_or_default() }),
        Ended::NoCache(why) => {
            Err(Error::Cache { path: run.cache_dir.clone().unwrap_or_default(), why })
        }
        Ended::Refused(why) => Err(inspect::refusal(path, &bytes, run.max_memory)
            .unwrap_or(Error::Engine { path: path.to_owned(), engine: run.engine.name(), why })),
    }
}

/// What the watchdog does to a guest that does not end although it was stopped.
fn give_up(run: &Run, after: std::time::Duration) -> Box<dyn FnOnce() + Send> {
    let json = run.json;
    Box::new(move || {
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

fn keep(run: &Run) -> Result<Keep, Error> {
    if run.no_cache || run.engine == Kind::Wasmi {
        return Ok(Keep::Nowhere);
    }
    if let Some(dir) = &run.cache_dir {
        let fail = |why: std::io::Error| Error::Cache { path: dir.clone(), why: why.to_string() };
        return std::path::absolute(dir).map(Keep::Exactly).map_err(fail);
    }
    Ok(ambient::cache_dir().map_or(Keep::Nowhere, Keep::IfPossible))
}

fn config(run: &Run, module: &Path, args: &[std::ffi::OsString]) -> Result<Config, Error> {
    let mut config = Config::builder()
        .stdout(Output::inherit_stdout())
        .stderr(Output::inherit_stderr())
        .stdin(match &run.stdin {
            Some(path) => Input::file(ambient::open("--stdin", path)?),
            None => Input::inherit(),
        });
    let file_name = module.file_name().unwrap_or(module.as_os_str());
    config = config.arg(match &run.arg0 {
        Some(name) => name.as_str(),
        None => ambient::text(file_name)?,
    });
    for arg in args {
        config = config.arg(ambient::text(arg)?);
    }
    if run.inherit_env {
        for (name, value) in ambient::variables() {
            config = config.env(&name, &value);
        }
    }
    for text in &run.env {
        config = match text.split_once('=') {
            Some((name, value)) => config.env(name, value),
            None => {
                let value = ambient::variable(text);
                let value = value.ok_or_else(|| Error::Env { name: text.clone() })?;
                config.env(text, &value)
            }
        };
    }
    for preopen in layout::preopens(&run.files)? {
        config = config.preopen(preopen.name, preopen.dir);
    }
    if let Some(realtime_ns) = run.fixed_clock {
        let step_ns = u64::try_from(run.clock_step.as_nanos()).unwrap_or(u64::MAX);
        config = config.clock(Clock::Fixed { realtime_ns, step_ns });
    }
    if let Some(seed) = run.seed {
        config = config.random(Random::Seeded(seed));
    }
    if let Some(descriptors_max) = run.max_descriptors {
        config = config.limits(Limits { descriptors_max, ..Limits::default() });
    }
    config.build().map_err(Error::Config)
}
