//! Defines the command line: commands, options and their help texts.

use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use palisade::vfs::escape;

use crate::engine::EngineKind;
use crate::mount_spec::{ExplicitMountSpec, MountSpec};

const ABOUT: &str = "Run WebAssembly guests over one virtual filesystem";

const AFTER_HELP: &str = "\
Examples:
  palisade run hello.wasm                    no files, only standard input and output
  palisade run --dir . tool.wasm in.txt      mount the current directory as `.`
  palisade run --overlay . tool.wasm in.txt  the same, with all changes in memory
  palisade run --overlay . --upper ../changes tool.wasm in.txt
  palisade diff ../changes --lower .         list these changes; then `commit` or `discard`
  palisade explain policy.toml /work/.git    show which rules apply to a path
  palisade inspect tool.wasm                 show the imports and exports of a module
  palisade completions bash > ~/.local/share/bash-completion/completions/palisade

Changes of an overlay:
  `run --overlay LOWER` never writes to LOWER. `--upper UPPER` stores the changes in UPPER: the
  files that the guest creates, modifies or removes; `diff` and `commit` read them there.

See `palisade run --help` for all options of a run.";

const RUN_AFTER_HELP: &str = "\
Examples:
  palisade run --dir src::/src:ro --mem /tmp build.wasm /src
      a read-only directory, and an empty directory in memory
  palisade run --copy project::/work fix.wasm /work
      a copy in memory: the host directory never changes
  palisade run --dir data::/data --file secrets.toml::/data/conf/secrets.toml:ro app.wasm
      a single file mounted into a directory
  palisade run --overlay project::/work --upper changes --diff fix.wasm /work
      changes are stored in `changes`, for later runs, `palisade diff` and `palisade commit`
  palisade run --image data.tar.zst::/data app.wasm
      an archive, read without unpacking
  palisade run --config palisade.toml app.wasm
      settings from a file; see docs/palisade.toml.md
  palisade run --timeout 2s --max-memory 64M --max-descriptors 32 untrusted.wasm
  palisade run --dir project::/work --policy policy.toml agent.wasm
      only operations that the policy allows; see docs/policy.md
  palisade run --fixed-clock 2024-01-01T00:00:00Z --seed 7 report.wasm
      the same output in every run

Guest paths:
  Each --dir, --mem, --copy, --overlay and --image is a preopened directory with exactly the guest
  path that you give. A guest path inside of another one is mounted into that tree; the order of the
  options does not matter. A --file without a tree around it gets a directory that contains only
  this file.
  `HOST::GUEST:ro` is split at the last `::`; `HOST` alone uses the same path for both.

Options and --config:
  The command line overrides the file. Single values replace those of the file; mounts, variables
  and arguments are added. A mount replaces the file's mount at the same guest path, and a variable
  replaces the file's variable of the same name. --upper applies to the only --overlay or, without
  one, to the only overlay of the file.

Exit codes:
  The exit code of the guest, at most 255. 134 if the guest traps, 124 after --timeout, 128 plus the
  number of the signal that stopped it, 2 if Palisade refuses to run it or cannot write the complete
  audit, --diff or --export, 70 after an internal error of Palisade.";

#[derive(Debug, Parser)]
#[command(name = "palisade", version, about = ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a WASI command: a Preview 1 module or a Preview 2 component
    Run(Box<Run>),
    /// Show the kind, imports, exports and features of a module
    Inspect(Inspect),
    /// Wrap a Preview 1 module into a component, with the standard adapter
    Componentize(Componentize),
    /// List the changes of an overlay that `run --upper UPPER` stored
    Diff(Diff),
    /// Apply stored changes to the directory under the overlay
    Commit(Commit),
    /// Delete stored changes
    Discard(Discard),
    /// Write stored changes to an archive, as a layer of an OCI image
    Export(Export),
    /// Store the changes of an archive that `export` wrote
    Import(Import),
    /// Show what a policy allows for a path, and which rules decide it
    Explain(Explain),
    /// Find rules without effect, and compare two policies
    Check(Check),
    /// Run a guest without restrictions, and print the smallest policy that allows the run
    Learn(Learn),
    /// List the decisions of a recorded run that a policy would change
    Replay(Replay),
    /// Render a recorded run as an HTML page
    Report(Report),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Componentize {
    /// The Preview 1 module
    pub(crate) module: PathBuf,
    /// The component to write; an existing file is replaced
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade explain policy.toml /data/report.txt                all operations
  palisade explain policy.toml /data/report.txt --op create    one operation, with its rules")]
pub(crate) struct Explain {
    /// The policy
    pub(crate) policy: PathBuf,
    /// The guest path to explain
    pub(crate) path: String,
    /// Explain this operation only, such as `open-read`, `create`, `list` or `rename-into`
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
    /// Set a variable of the policy
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With mounts, `check` also finds rules that match no path in them: a hide rule with a typo hides
nothing.

Examples:
  palisade check policy.toml                          rules without effect
  palisade check policy.toml --dir project::/work     also rules that match no path in `project`

Exit codes:
  0 without findings; 1 if a rule has no effect, if other rules deny rights on all paths where it
  allows them, if it matches no path of the mounts, or if the policy allows more than OLD.")]
pub(crate) struct Check {
    /// The policy
    pub(crate) policy: PathBuf,
    /// Compare with this policy: list newly allowed and newly denied rights
    #[arg(long, value_name = "OLD")]
    pub(crate) against: Option<PathBuf>,
    /// Set a variable of both policies
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The file trees to check the rules against
    #[command(flatten)]
    pub(crate) mounts: Mounts,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade learn -o policy.toml -- run --dir project::/work tool.wasm /work
  palisade run --dir project::/work --policy policy.toml tool.wasm /work     the same run, confined
  palisade learn --from audit.jsonl                                          from an audit log")]
pub(crate) struct Learn {
    /// Write the policy to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace this many names or more with the same rights by a pattern [default: only suggest it]
    #[arg(long, value_name = "NAMES")]
    pub(crate) generalize: Option<std::num::NonZeroUsize>,
    /// Learn from this audit log of `run --audit` instead of a new run
    #[arg(long, value_name = "LOG", conflicts_with = "run")]
    pub(crate) from: Option<PathBuf>,
    /// Learn only from the run with this identifier in the log
    #[arg(long = "run", value_name = "ID", requires = "from")]
    pub(crate) only_run: Option<String>,
    /// `run` with its options, the module and its arguments
    #[arg(value_name = "run", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) run: Vec<OsString>,
    /// Print errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// An audit log of `run --audit`
    pub(crate) log: PathBuf,
    /// Render only the run with this identifier
    #[arg(long = "run", value_name = "ID")]
    pub(crate) only_run: Option<String>,
    /// Write the page to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// An audit log of `run --audit`
    pub(crate) log: PathBuf,
    /// Replay only the run with this identifier
    #[arg(long = "run", value_name = "ID")]
    pub(crate) only_run: Option<String>,
    /// The policy
    pub(crate) policy: PathBuf,
    /// Set a variable of the policy
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = RUN_AFTER_HELP,
    override_usage = "palisade run [OPTIONS] MODULE [ARGS]..."
)]
pub(crate) struct Run {
    /// The module and its arguments; everything after the module is passed to the guest
    #[arg(value_names = ["MODULE", "ARGS"], required = true, trailing_var_arg = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,

    /// Read settings from this file (palisade.toml); the command line overrides them
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) files: Files,

    /// Enforce this policy; its paths are guest paths
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) policy: Option<PathBuf>,
    /// Set a variable of the policy
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Policy")]
    pub(crate) policy_var: Vec<String>,
    /// Allow all operations, and report those that the policy would refuse
    #[arg(long, help_heading = "Policy")]
    pub(crate) dry_run_policy: bool,
    /// Append a record of each operation to this file, as lines of JSON; `-` is standard error
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) audit: Option<PathBuf>,
    /// Truncate the file of --audit first
    #[arg(long, requires = "audit", help_heading = "Policy")]
    pub(crate) audit_truncate: bool,
    /// Record only denied operations, or only operations that write
    #[arg(long, value_enum, requires = "audit", help_heading = "Policy")]
    pub(crate) audit_only: Vec<AuditOnly>,
    /// What to do if a record cannot be written: stop the guest, or continue without the audit
    #[arg(long, value_enum, default_value_t, help_heading = "Policy")]
    pub(crate) audit_when_failing: WhenFailing,

    /// Set an environment variable; without `=VALUE`, copy it from the host
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Environment")]
    pub(crate) env: Vec<String>,
    /// Inherit all UTF-8 environment variables of the host; --env overrides them
    #[arg(long, help_heading = "Environment")]
    pub(crate) inherit_env: bool,
    /// Set the program name (argv[0]) [default: the file name of the module]
    #[arg(long, value_name = "NAME", help_heading = "Environment")]
    pub(crate) arg0: Option<String>,
    /// Read standard input from this file
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub(crate) stdin: Option<PathBuf>,
    /// Simulate the clocks: start at this time (RFC 3339, or seconds since 1970), and advance by
    /// --clock-step at each reading and to the end of each sleep, which returns at once
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Environment")]
    pub(crate) fixed_clock: Option<u64>,
    /// Advance the clocks of --fixed-clock by this at each reading [default: 1ms]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        requires = "fixed_clock",
        help_heading = "Environment"
    )]
    pub(crate) clock_step: Option<Duration>,
    /// Generate random numbers from this seed: reproducible, and not secret
    #[arg(long, value_name = "N", help_heading = "Environment")]
    pub(crate) seed: Option<u64>,

    /// Stop the guest after this time, such as 500ms or 2s, including compilation
    #[arg(long, value_name = "DURATION", value_parser = timeout, help_heading = "Limits")]
    pub(crate) timeout: Option<Duration>,
    /// Limit the memories, tables and instances of the guest to this many bytes [default: 5G]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_memory: Option<u64>,
    /// Limit the open descriptors, including standard streams and preopens [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_descriptors: Option<u32>,
    /// Limit the streams, timers and other resources that a component has open [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_streams: Option<u32>,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Grant only rights that the guest requested: C and Rust components then cannot modify
    /// directories that they open, and Go programs cannot create files in them
    #[arg(long, help_heading = "Limits")]
    pub(crate) strict_rights: bool,

    /// Select the engine: wasmtime compiles, wasmi interprets [default: wasmtime]
    #[arg(long, value_enum, help_heading = "Engine")]
    pub(crate) engine: Option<EngineKind>,
    /// Cache compiled modules here [default: $XDG_CACHE_HOME/palisade or ~/.cache/palisade]
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Do not read or write the cache of compiled modules
    #[arg(long, conflicts_with = "cache_dir", help_heading = "Engine")]
    pub(crate) no_cache: bool,

    /// At the end, list the changes of all overlays on standard error or in a file
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-",
        help_heading = "Output"
    )]
    pub(crate) diff: Option<PathBuf>,
    /// At the end, write the changes of the overlay to this archive (.tar, .tar.gz, .tar.zst)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) export: Option<PathBuf>,
    /// Print each call on files and paths to standard error
    #[arg(long, help_heading = "Output")]
    pub(crate) trace: bool,
    /// Print errors and --diff as JSON
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `--audit-only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AuditOnly {
    Denied,
    Writes,
}

/// `--audit-when-failing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WhenFailing {
    #[default]
    Stop,
    Continue,
}

/// Limits of analyzing and compiling a module.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct CompileLimits {
    /// Limit the time of analyzing and compiling the module [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) max_compile_time: Option<Duration>,
    /// Limit the memory of analyzing and compiling the module [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_compile_memory: Option<u64>,
}

/// The mounts of a run, and where changes are stored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    #[command(flatten)]
    pub(crate) mounts: Mounts,
    /// Store the changes of the overlay in this directory, for later runs and for
    /// `palisade diff`, `commit`, `discard` and `export` [default: in memory, lost at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) upper: Option<PathBuf>,
}

/// The mounts of a guest.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Mounts {
    /// Mount a host directory
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = MountSpec::parse)]
    pub(crate) dir: Vec<MountSpec>,
    /// Mount a single host file
    #[arg(long, value_name = "HOST::GUEST[:ro]", value_parser = ExplicitMountSpec::parse)]
    pub(crate) file: Vec<ExplicitMountSpec>,
    /// Mount an empty directory in memory
    #[arg(long, value_name = "GUEST")]
    pub(crate) mem: Vec<String>,
    /// Mount a copy in memory of a host directory, without devices and sockets
    #[arg(long, value_name = "HOST::GUEST[:ro]", value_parser = ExplicitMountSpec::parse)]
    pub(crate) copy: Vec<ExplicitMountSpec>,
    /// Mount a host directory as the lower of an overlay; changes stay in memory, or in --upper
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = MountSpec::parse)]
    pub(crate) overlay: Vec<MountSpec>,
    /// Mount a zip, a tar (plain, gzip, Zstandard, xz, bzip2, LZMA) or a directory read-only
    #[arg(long, value_name = "FILE[::GUEST]", value_parser = MountSpec::parse_image)]
    pub(crate) image: Vec<MountSpec>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The module
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The directory with the changes
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// A lower directory or archive; may be repeated, the topmost first
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) lower: Vec<PathBuf>,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The directory with the changes; it is emptied afterwards
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// The lower directory to apply the changes to
    #[arg(long, value_name = "DIR")]
    pub(crate) lower: PathBuf,
    /// List the changes without applying them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not empty UPPER, so that its changes can be applied to another copy of DIR
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) keep: bool,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Discard {
    /// The directory with the changes; all are deleted without confirmation
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// Print errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The directory with the changes
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// The archive to write: `.tar`, `.tar.gz` or `.tar.zst`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The archive to read: a tar (plain, gzip, Zstandard, xz, bzip2, LZMA)
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
    /// The directory to store the changes in; created if it does not exist
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// Print results and errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses the command line.
///
/// An error of `clap` quotes the arguments unescaped, so escaped arguments are parsed again for the
/// message. The name of the program is replaced, because it is foreign text too.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = iter::once("palisade".into()).chain(args.skip(1)).collect();
    let error = match Cli::try_parse_from(&args) {
        Err(error) if error.use_stderr() => error,
        // Help and version texts quote no arguments.
        parsed => return parsed,
    };
    let escaped = args.iter().map(|arg| escape::line(arg).to_string());
    Err(match Cli::try_parse_from(escaped) {
        Err(escaped) if escaped.use_stderr() => escaped,
        _ => clap::Error::raw(error.kind(), escape::line(&error.to_string())),
    })
}

/// Parses a size in bytes, with K, M or G for powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        other => return Err(format!("unknown unit `{other}`; use K, M or G, as in 64M")),
    };
    let number: u64 =
        digits.parse().map_err(|_| "expected a number of bytes, as in 64M".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// Parses a duration above zero.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|why| why.to_string())?;
    if duration.is_zero() {
        return Err("the time must be greater than zero".to_owned());
    }
    Ok(duration)
}

/// Parses a time as RFC 3339 or seconds since 1970. Returns nanoseconds since 1970.
pub(crate) fn time(text: &str) -> Result<u64, String> {
    let since = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_rfc3339_weak(text)
            .map_err(|why| format!("{why}; use 2024-01-31T12:00:00Z or seconds since 1970"))?
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(|_| "before 1970".to_owned())?,
    };
    u64::try_from(since.as_nanos()).map_err(|_| "too far in the future".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn size_accepts_units_of_1024() {
        let cases: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("65536", Some(65536)),
            ("64K", Some(64 << 10)),
            ("64KiB", Some(64 << 10)),
            ("2M", Some(2 << 20)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.5M", None),
            ("1T", None),
            ("99999999999G", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text).ok(), *bytes, "{text}");
        }
    }

    #[test]
    fn time_accepts_rfc3339_or_seconds() {
        assert_eq!(time("1").ok(), Some(1_000_000_000));
        assert_eq!(time("1970-01-01T00:00:02Z").ok(), Some(2_000_000_000));
        assert_eq!(time("1970-01-01 00:00:02.5").ok(), Some(2_500_000_000));
        for text in ["", "-1", "yesterday", "1969-12-31T23:59:59Z", "99999999999999"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_after_the_module_go_to_the_guest() {
        let cli = Cli::try_parse_from(["palisade", "run", "--seed", "1", "m.wasm", "--dir", "-x"]);
        let Ok(Cli { command: Command::Run(run) }) = cli else { panic!("no run") };
        assert_eq!(run.command, ["m.wasm", "--dir", "-x"]);
        assert!(run.files.mounts.dir.is_empty());
    }
}
