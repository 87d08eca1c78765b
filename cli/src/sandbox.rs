//! The description of a sandbox: what the command line and `palisade.toml` both turn into.
//!
//! It holds what was asked for and who asked, so that whatever goes wrong later is told in the
//! place where it was written. Nothing is opened here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::ambient;
use crate::args::{Mounts, Run};
use crate::engine::Kind;
use crate::error::Error;
use crate::fault::Said;
use crate::place::Place;
use crate::policy;
use crate::texts::{MountText, PairText};

/// How far a fixed clock goes on at every look, unless one says so.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Everything that a guest is given, and what it may take.
#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) arg0: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) inherit_env: InheritEnv,
    /// In the order in which they are set; the last of a name counts.
    pub(crate) env: Vec<Variable>,
    pub(crate) stdin: Option<(PathBuf, Said)>,
    pub(crate) clock: Option<FixedClock>,
    pub(crate) seed: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) descriptors_max: Option<u32>,
    pub(crate) streams_max: Option<u32>,
    pub(crate) compile_time_max: Option<Duration>,
    pub(crate) compile_memory_max: Option<u64>,
    pub(crate) rights: RightsOf,
    pub(crate) engine: Option<Kind>,
    pub(crate) policy: Option<policy::Source>,
}

/// Whether all of the host's variables are given before the others are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InheritEnv {
    All,
    #[default]
    No,
}

/// What a `path_open` that asks for no rights gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RightsOf {
    /// None.
    Strict,
    /// What its directory may pass on.
    #[default]
    Parent,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Set(String, String),
    /// The host's, which must be there.
    Inherit(String),
    /// The host's, if it is there.
    InheritIfSet(String),
}

/// A clock that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedClock {
    pub(crate) realtime_ns: u64,
    pub(crate) step_ns: u64,
}

/// Whether a mount may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// A source at a guest path.
#[derive(Debug)]
pub(crate) struct Mount {
    /// The guest path as it was written, which is the name of the preopen.
    pub(crate) text: String,
    pub(crate) place: Place,
    pub(crate) access: Access,
    pub(crate) source: Source,
    /// Where its guest path was written.
    pub(crate) said: Said,
}

/// Where files come from, and who says so.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) kind: SourceKind,
    pub(crate) said: Said,
}

#[derive(Debug)]
pub(crate) enum SourceKind {
    /// A directory of the host.
    Dir(PathBuf),
    /// An empty directory in memory.
    Memory,
    /// A directory of the host, copied into memory.
    Copy(PathBuf),
    /// One file of the host. Only a mount can be this.
    File(PathBuf),
    /// An archive or a directory of the host, to be read.
    Image(PathBuf),
    /// An upper over lowers, the first on top.
    Overlay { upper: Upper, lowers: Vec<Source> },
}

/// Where an overlay keeps its changes.
#[derive(Debug)]
pub(crate) enum Upper {
    Memory,
    Dir { path: PathBuf, said: Said },
}

impl FixedClock {
    pub(crate) fn new(realtime_ns: u64, step: Option<Duration>) -> Self {
        let step = step.unwrap_or(CLOCK_STEP);
        FixedClock { realtime_ns, step_ns: u64::try_from(step.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl Mount {
    /// Errors: the guest path's.
    pub(crate) fn new(
        text: &str,
        access: Access,
        source: Source,
        said: Said,
    ) -> Result<Self, Error> {
        let place = Place::new(text).map_err(|error| said.blame(error))?;
        Ok(Mount { text: text.to_owned(), place, access, source, said })
    }

    fn from_option(
        option: &'static str,
        text: &MountText,
        kind: impl FnOnce(PathBuf) -> SourceKind,
    ) -> Result<Self, Error> {
        let said = Said::Option(option);
        let source = Source { kind: kind(text.host.clone()), said: said.clone() };
        Mount::new(&text.guest, text.access, source, said)
    }
}

impl Sandbox {
    /// Puts the command line on top: what is one value takes the place of the file's, what there
    /// can be many of is added, and a mount takes the place of one at the same guest path.
    pub(crate) fn add(&mut self, run: &Run, args: &[OsString]) -> Result<(), Error> {
        let mounts = mounts(&run.files.mounts)?;
        self.mounts.retain(|old| mounts.iter().all(|new| new.place != old.place));
        self.mounts.extend(mounts);
        if let Some(upper) = &run.files.upper {
            self.set_upper(upper)?;
        }
        for arg in args {
            self.args.push(ambient::text(arg)?.to_owned());
        }
        if run.inherit_env {
            self.inherit_env = InheritEnv::All;
        }
        self.env.extend(run.env.iter().map(|text| match text.split_once('=') {
            Some((name, value)) => Variable::Set(name.to_owned(), value.to_owned()),
            None => Variable::Inherit(text.clone()),
        }));
        if let Some(path) = &run.stdin {
            self.stdin = Some((path.clone(), Said::Option("--stdin")));
        }
        if let Some(realtime_ns) = run.fixed_clock {
            self.clock = Some(FixedClock::new(realtime_ns, run.clock_step));
        }
        if run.strict_rights {
            self.rights = RightsOf::Strict;
        }
        if let Some(path) = &run.policy {
            let said = Said::Option("--policy");
            self.policy = Some(policy::Source::File { path: path.clone(), said });
        }
        self.arg0 = run.arg0.clone().or(self.arg0.take());
        self.seed = run.seed.or(self.seed);
        self.timeout = run.timeout.or(self.timeout);
        self.memory_max = run.max_memory.or(self.memory_max);
        self.descriptors_max = run.max_descriptors.or(self.descriptors_max);
        self.streams_max = run.max_streams.or(self.streams_max);
        self.compile_time_max = run.compile.max_compile_time.or(self.compile_time_max);
        self.compile_memory_max = run.compile.max_compile_memory.or(self.compile_memory_max);
        self.engine = run.engine.or(self.engine);
        Ok(())
    }

    /// The guest paths of the overlays.
    pub(crate) fn overlays(&self) -> Vec<&str> {
        let is_overlay = |mount: &&Mount| matches!(mount.source.kind, SourceKind::Overlay { .. });
        self.mounts.iter().filter(is_overlay).map(|mount| mount.text.as_str()).collect()
    }

    /// Keeps the changes of the one overlay in a directory: of the one that the command line
    /// names, or else of the one in the file.
    fn set_upper(&mut self, path: &std::path::Path) -> Result<(), Error> {
        let mut given = Vec::new();
        let mut filed = Vec::new();
        for mount in &mut self.mounts {
            let SourceKind::Overlay { upper, .. } = &mut mount.source.kind else { continue };
            match mount.said {
                Said::Option(_) => given.push(upper),
                Said::File { .. } => filed.push(upper),
            }
        }
        let candidates = if given.is_empty() { filed } else { given };
        let count = candidates.len();
        match <[_; 1]>::try_from(candidates) {
            Ok([upper]) => {
                *upper = Upper::Dir { path: path.to_owned(), said: Said::Option("--upper") };
                Ok(())
            }
            Err(_) => Err(Error::NotOneOverlay { option: "--upper", count }),
        }
    }
}

/// The mounts of the command line.
pub(crate) fn mounts(files: &Mounts) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    for text in &files.dir {
        mounts.push(Mount::from_option("--dir", text, SourceKind::Dir)?);
    }
    for guest in &files.mem {
        let said = Said::Option("--mem");
        let source = Source { kind: SourceKind::Memory, said: said.clone() };
        mounts.push(Mount::new(guest, Access::ReadWrite, source, said)?);
    }
    for PairText(text) in &files.copy {
        mounts.push(Mount::from_option("--copy", text, SourceKind::Copy)?);
    }
    for text in &files.overlay {
        mounts.push(Mount::from_option("--overlay", text, |host| {
            let said = Said::Option("--overlay");
            let lower = Source { kind: SourceKind::Dir(host), said };
            SourceKind::Overlay { upper: Upper::Memory, lowers: vec![lower] }
        })?);
    }
    for text in &files.image {
        mounts.push(Mount::from_option("--image", text, SourceKind::Image)?);
    }
    for PairText(text) in &files.file {
        mounts.push(Mount::from_option("--file", text, SourceKind::File)?);
    }
    Ok(mounts)
}
