//! The sandbox description: the merged settings of the command line and of `palisade.toml`.
//!
//! Each setting carries its [`Origin`], so that a later error points at the option or at the line
//! of the file. This module opens nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ambient;
use crate::args::{Mounts, Run};
use crate::engine::EngineKind;
use crate::error::{CommandError, Error};
use crate::guest_path::GuestPath;
use crate::mount_spec::{Access, ExplicitMountSpec, MountSpec};
use crate::origin::{Origin, SourceText};

/// The default of `--clock-step`.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// The settings of a run: mounts, environment, clock, limits, engine and policy.
#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) arg0: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) inherit_env: InheritEnv,
    /// In the order in which they are set; a later variable replaces one of the same name.
    pub(crate) env: Vec<Variable>,
    pub(crate) stdin: Option<(PathBuf, Origin)>,
    pub(crate) clock: Option<FixedClock>,
    pub(crate) seed: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) descriptors_max: Option<u32>,
    pub(crate) streams_max: Option<u32>,
    pub(crate) compile_time_max: Option<Duration>,
    pub(crate) compile_memory_max: Option<u64>,
    pub(crate) rights: DefaultRights,
    pub(crate) engine: Option<EngineKind>,
    pub(crate) policy: Option<PolicySource>,
}

/// Whether the guest inherits all environment variables of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InheritEnv {
    All,
    #[default]
    No,
}

/// The rights of a descriptor that `path_open` opens without requesting rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DefaultRights {
    /// No rights.
    Strict,
    /// The inheriting rights of the directory.
    #[default]
    Parent,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Set(String, String),
    /// The value of the host, which must be set.
    Inherit(String),
    /// The value of the host, if it is set.
    InheritIfSet(String),
}

/// A clock that starts at a fixed time and advances by a fixed step at each reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedClock {
    pub(crate) realtime_ns: u64,
    pub(crate) step_ns: u64,
}

/// Where the policy of a run is defined.
#[derive(Debug)]
pub(crate) enum PolicySource {
    /// A policy file.
    File { path: PathBuf, origin: Origin },
    /// The table `policy` of this `palisade.toml`.
    Section(SourceText),
}

/// A source of files at a guest path.
#[derive(Debug)]
pub(crate) struct Mount {
    /// The guest path as the user wrote it, which is the name of the preopen.
    pub(crate) text: String,
    pub(crate) guest_path: GuestPath,
    pub(crate) access: Access,
    pub(crate) source: MountSource,
    /// The origin of the guest path.
    pub(crate) origin: Origin,
}

/// The files of a mount or of a lower directory.
#[derive(Debug)]
pub(crate) struct MountSource {
    pub(crate) kind: SourceKind,
    pub(crate) origin: Origin,
}

#[derive(Debug)]
pub(crate) enum SourceKind {
    /// A directory of the host.
    Dir(PathBuf),
    /// An empty directory in memory.
    Memory,
    /// A copy in memory of a directory of the host.
    Copy(PathBuf),
    /// One file of the host. Lower directories of an overlay cannot be files.
    File(PathBuf),
    /// An archive or a directory of the host, read-only.
    Image(PathBuf),
    /// An overlay of an upper over lowers; the first lower is the topmost.
    Overlay { upper: Upper, lowers: Vec<MountSource> },
}

/// Where an overlay stores its changes.
#[derive(Debug)]
pub(crate) enum Upper {
    Memory,
    Dir { path: PathBuf, origin: Origin },
}

/// Options that need overlays that the settings do not have.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum OverlayCountError {
    #[error("{option} requires exactly one overlay, but the run has {count}")]
    #[diagnostic(
        code(palisade::one_overlay),
        help(
            "give `--overlay HOST::GUEST` exactly once, or `kind = \"overlay\"` in the file of `--config`"
        )
    )]
    NotOne { option: &'static str, count: usize },

    #[error("{option} requires an overlay, but the run has none")]
    #[diagnostic(
        code(palisade::no_overlay),
        help("give `--overlay HOST::GUEST`, or `kind = \"overlay\"` in the file of `--config`")
    )]
    None { option: &'static str },
}

impl CommandError for OverlayCountError {}

impl FixedClock {
    pub(crate) fn new(realtime_ns: u64, step: Option<Duration>) -> Self {
        let step = step.unwrap_or(CLOCK_STEP);
        FixedClock { realtime_ns, step_ns: u64::try_from(step.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl Mount {
    /// Creates a mount.
    ///
    /// # Errors
    ///
    /// Those of [`GuestPath::new`].
    pub(crate) fn new(
        text: &str,
        access: Access,
        source: MountSource,
        origin: Origin,
    ) -> Result<Self, Error> {
        let guest_path = GuestPath::new(text).map_err(|error| origin.locate(error))?;
        Ok(Mount { text: text.to_owned(), guest_path, access, source, origin })
    }

    fn from_option(
        option: &'static str,
        text: &MountSpec,
        kind: impl FnOnce(PathBuf) -> SourceKind,
    ) -> Result<Self, Error> {
        let origin = Origin::Option(option);
        let source = MountSource { kind: kind(text.host.clone()), origin: origin.clone() };
        Mount::new(&text.guest, text.access, source, origin)
    }
}

impl Sandbox {
    /// Merges the command line into the settings of the file: single values replace those of the
    /// file, lists are appended, and a mount replaces the file's mount at the same guest path.
    pub(crate) fn add(&mut self, run: &Run, args: &[OsString]) -> Result<(), Error> {
        let mounts = mounts(&run.files.mounts)?;
        self.mounts.retain(|old| mounts.iter().all(|new| new.guest_path != old.guest_path));
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
            self.stdin = Some((path.clone(), Origin::Option("--stdin")));
        }
        if let Some(realtime_ns) = run.fixed_clock {
            self.clock = Some(FixedClock::new(realtime_ns, run.clock_step));
        }
        if run.strict_rights {
            self.rights = DefaultRights::Strict;
        }
        if let Some(path) = &run.policy {
            let origin = Origin::Option("--policy");
            self.policy = Some(PolicySource::File { path: path.clone(), origin });
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

    /// Returns the guest paths of the overlays.
    pub(crate) fn overlays(&self) -> Vec<&str> {
        let is_overlay = |mount: &&Mount| matches!(mount.source.kind, SourceKind::Overlay { .. });
        self.mounts.iter().filter(is_overlay).map(|mount| mount.text.as_str()).collect()
    }

    /// Sets the upper directory of the only overlay of the command line or, without one, of the
    /// only overlay of the file.
    fn set_upper(&mut self, path: &Path) -> Result<(), Error> {
        let mut from_options = Vec::new();
        let mut from_file = Vec::new();
        for mount in &mut self.mounts {
            let SourceKind::Overlay { upper, .. } = &mut mount.source.kind else { continue };
            match mount.origin {
                Origin::Option(_) => from_options.push(upper),
                Origin::File { .. } => from_file.push(upper),
            }
        }
        let candidates = if from_options.is_empty() { from_file } else { from_options };
        let count = candidates.len();
        match <[_; 1]>::try_from(candidates) {
            Ok([upper]) => {
                *upper = Upper::Dir { path: path.to_owned(), origin: Origin::Option("--upper") };
                Ok(())
            }
            Err(_) => Err(OverlayCountError::NotOne { option: "--upper", count }.into()),
        }
    }
}

/// Returns the mounts that the options of the command line declare.
pub(crate) fn mounts(files: &Mounts) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    for text in &files.dir {
        mounts.push(Mount::from_option("--dir", text, SourceKind::Dir)?);
    }
    for guest in &files.mem {
        let origin = Origin::Option("--mem");
        let source = MountSource { kind: SourceKind::Memory, origin: origin.clone() };
        mounts.push(Mount::new(guest, Access::ReadWrite, source, origin)?);
    }
    for ExplicitMountSpec(text) in &files.copy {
        mounts.push(Mount::from_option("--copy", text, SourceKind::Copy)?);
    }
    for text in &files.overlay {
        mounts.push(Mount::from_option("--overlay", text, |host| {
            let origin = Origin::Option("--overlay");
            let lower = MountSource { kind: SourceKind::Dir(host), origin };
            SourceKind::Overlay { upper: Upper::Memory, lowers: vec![lower] }
        })?);
    }
    for text in &files.image {
        mounts.push(Mount::from_option("--image", text, SourceKind::Image)?);
    }
    for ExplicitMountSpec(text) in &files.file {
        mounts.push(Mount::from_option("--file", text, SourceKind::File)?);
    }
    Ok(mounts)
}
