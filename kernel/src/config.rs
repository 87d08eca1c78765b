//! Guest configurations: immutable, cheap to clone, and started any number of times.

use std::fmt;
use std::sync::Arc;

use palisade_vfs::{DirRef, escape};

use crate::{Clock, FdRights, Input, Interrupt, Limits, Output, Process, Random};

/// A preopened directory.
#[derive(Clone)]
pub(crate) struct Preopen {
    pub(crate) name: Box<str>,
    pub(crate) dir: DirRef,
    pub(crate) base: FdRights,
    pub(crate) inheriting: FdRights,
}

/// The configuration of a guest.
///
/// The default grants nothing: no directories, arguments or variables, empty input, and output that
/// is discarded. A clone shares the settings; [`Config::start`] creates the state of one guest.
#[derive(Clone)]
pub struct Config(pub(crate) Arc<Settings>);

pub(crate) struct Settings {
    pub(crate) args: Vec<Box<str>>,
    pub(crate) env: Vec<Box<str>>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) preopens: Vec<Preopen>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) limits: Limits,
}

/// Builds a [`Config`].
pub struct ConfigBuilder {
    settings: Settings,
    /// The first variable with an invalid name, reported by [`ConfigBuilder::build`].
    invalid_variable: Option<String>,
}

/// The reason why a configuration is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// An argument, a variable or the name of a preopen contains a NUL. Guests receive C strings.
    Nul(String),
    /// A variable's name is empty or contains `=`.
    Variable(String),
    /// The arguments or the environment are larger than `Limits::args_bytes_max` bytes.
    TooLarge {
        /// Their size in bytes, with a NUL each.
        bytes: u64,
        /// The limit in bytes.
        max: u32,
    },
    /// The standard streams and this many preopens exceed `Limits::descriptors_max`.
    Preopens(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Nul(text) => write!(f, "`{}` holds a NUL", escape::name(text)),
            ConfigError::Variable(name) => {
                let name = escape::name(name);
                write!(
                    f,
                    "`{name}` is no name for an environment variable: it is empty or holds `=`"
                )
            }
            ConfigError::TooLarge { bytes, max } => {
                write!(f, "arguments or environment need {bytes} bytes; the limit is {max}")
            }
            ConfigError::Preopens(count) => {
                write!(f, "{count} preopened directories are more than the descriptor limit allows")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Returns a builder with the default settings, which grant nothing.
    #[must_use]
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder {
            settings: Settings {
                args: Vec::new(),
                env: Vec::new(),
                stdin: Input::null(),
                stdout: Output::null(),
                stderr: Output::null(),
                preopens: Vec::new(),
                clock: Clock::Host,
                random: Random::Secure,
                limits: Limits::default(),
            },
            invalid_variable: None,
        }
    }

    /// Creates the state of one guest, for one run.
    #[must_use]
    pub fn start(&self) -> Process {
        self.start_with(Interrupt::default())
    }

    /// Creates the state of one guest, with a handle that interrupts its waits.
    #[must_use]
    pub fn start_with(&self, interrupt: Interrupt) -> Process {
        Process::new(self.clone(), interrupt)
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }
}

impl ConfigBuilder {
    /// Adds an argument. The first one is the program's name.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Box<str>>) -> Self {
        self.settings.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<Box<str>>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.settings.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, replacing an earlier value of the same name.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if name.is_empty() || name.contains('=') {
            self.invalid_variable.get_or_insert_with(|| name.to_owned());
        }
        let start = format!("{name}=");
        self.settings.env.retain(|entry| !entry.starts_with(&start));
        self.settings.env.push((start + value).into());
        self
    }

    /// Sets standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Input) -> Self {
        self.settings.stdin = stdin;
        self
    }

    /// Sets standard output.
    #[must_use]
    pub fn stdout(mut self, stdout: Output) -> Self {
        self.settings.stdout = stdout;
        self
    }

    /// Sets standard error.
    #[must_use]
    pub fn stderr(mut self, stderr: Output) -> Self {
        self.settings.stderr = stderr;
        self
    }

    /// Preopens `dir` as `name` with all rights of a descriptor. `dir` itself may refuse more.
    #[must_use]
    pub fn preopen(self, name: impl Into<Box<str>>, dir: DirRef) -> Self {
        self.preopen_with(name, dir, FdRights::OF_DIRS, FdRights::all())
    }

    /// Preopens `dir` as `name` with the rights `base`. Descriptors that are opened under it get
    /// at most `inheriting`.
    #[must_use]
    pub fn preopen_with(
        mut self,
        name: impl Into<Box<str>>,
        dir: DirRef,
        base: FdRights,
        inheriting: FdRights,
    ) -> Self {
        let base = base & FdRights::OF_DIRS;
        self.settings.preopens.push(Preopen { name: name.into(), dir, base, inheriting });
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Sets the source of random numbers.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.settings.random = random;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::Nul`], [`ConfigError::Variable`], [`ConfigError::TooLarge`],
    ///   [`ConfigError::Preopens`], in this order.
    pub fn build(self) -> Result<Config, ConfigError> {
        let settings = self.settings;
        let names = settings.preopens.iter().map(|preopen| &preopen.name);
        for text in settings.args.iter().chain(&settings.env).chain(names) {
            if text.contains('\0') {
                return Err(ConfigError::Nul(text.to_string()));
            }
        }
        if let Some(name) = self.invalid_variable {
            return Err(ConfigError::Variable(name));
        }
        for texts in [&settings.args, &settings.env] {
            let bytes = texts.iter().map(|text| text.len() as u64 + 1).sum();
            if bytes > u64::from(settings.limits.args_bytes_max) {
                return Err(ConfigError::TooLarge { bytes, max: settings.limits.args_bytes_max });
            }
        }
        if settings.preopens.len() as u64 + 3 > u64::from(settings.limits.descriptors_max) {
            return Err(ConfigError::Preopens(settings.preopens.len()));
        }
        Ok(Config(Arc::new(settings)))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.preopens.iter().map(|preopen| &preopen.name).collect();
        f.debug_struct("Config")
            .field("args", &self.0.args)
            .field("env", &self.0.env.len())
            .field("preopens", &names)
            .field("clock", &self.0.clock)
            .field("random", &self.0.random)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}
