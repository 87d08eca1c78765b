//! What can be typed: the commands, their options, and the texts that options are made of.

use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use palisade::vfs::escape;

use crate::engine::Kind;
use crate::texts::{MountText, PairText};

const ABOUT: &str = "Run WebAssembly guests over one virtual filesystem";

const AFTER_HELP: &str = "\
Examples:
  palisade run hello.wasm                    grants nothing but standard input and output
  palisade run --dir . tool.wasm in.txt      this directory, as `.`
  palisade run --overlay . tool.wasm in.txt  the same, and nothing of it changes
  palisade run --overlay . --upper ../changes tool.wasm in.txt
  palisade diff ../changes --lower .         what the tool has changed; then `commit` or `discard`
  palisade explain policy.toml /work/.git    what a policy says of a path, and why
  palisade inspect tool.wasm                 what the module is, and what it imports
  palisade completions bash > ~/.local/share/bash-completion/completions/palisade

`palisade run --help` has more about what a guest can be given.";

const RUN_AFTER_HELP: &str = "\
Examples:
  palisade run --dir src::/src:ro --mem /tmp build.wasm /src
      a directory that can only be read, and an empty one in memory
  palisade run --copy project::/work fix.wasm /work
      a copy in memory: the guest may do as it likes, the host keeps its files
  palisade run --dir data::/data --file secrets.toml::/data/conf/secrets.toml:ro app.wasm
      one file grafted into a directory
  palisade run --overlay project::/work --upper changes --diff fix.wasm /work
      changes are kept in `changes`, for the next run, `palisade diff` and `palisade commit`
  palisade run --image data.tar.zst::/data app.wasm
      an archive, read where it lies
  palisade run --config palisade.toml app.wasm
      all of this, written down; see docs/palisade.toml.md
  palisade run --timeout 2s --max-memory 64M --max-descriptors 32 untrusted.wasm
  palisade run --dir project::/work --policy policy.toml agent.wasm
      only what the policy allows; see docs/policy.md
  palisade run --fixed-clock 2024-01-01T00:00:00Z --seed 7 report.wasm
      the same output in every run

Guest paths:
  Every --dir, --mem, --copy, --overlay and --image is a directory that the guest is born with,
  under exactly the name that you give. One that lies beneath another is grafted into it; the order
  does not matter. A --file is grafted likewise; with nothing around it, its directory holds this
  file alone.
  `HOST::GUEST:ro` is split at the last `::`; `HOST` alone has the same path on both sides.

Options and --config:
  The command line goes before the file. What is one value takes the place of the file's; mounts,
  variables and arguments are added; a mount takes the place of the file's at the same guest path,
  a variable that of the same name. --upper is for the one --overlay, or without one for the one
  overlay of the file.

Exit codes:
  The guest's own; above 255 it is 255. 134 when the guest traps, 124 when its time is up,
  128 and the signal's number when a signal stops it, 2 when Palisade refuses or when it cannot
  write the audit, `--diff` or `--export` whole, 70 when Palisade itself fails.";

/// The command line.
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
    /// Tell what a module is, what it needs and what it offers
    Inspect(Inspect),
    /// Pack a Preview 1 module into a component, with the standard adapter
    Componentize(Componentize),
    /// Tell what the changes that `run --upper UPPER` has kept are
    Diff(Diff),
    /// Write the changes into the directory that they are changes of
    Commit(Commit),
    /// Forget the changes
    Discard(Discard),
    /// Write the changes into an archive, as a layer of an OCI image
    Export(Export),
    /// Take in changes from such an archive
    Import(Import),
    /// Tell what a policy says of a path, by which rule, and what would change it
    Explain(Explain),
    /// Find rules that do nothing, and what a change of a policy allows or denies
    Check(Check),
    /// Run a guest that may do everything, and tell the smallest policy under which it may do it
    Learn(Learn),
    /// Tell what a policy would have decided about a recorded run
    Replay(Replay),
    /// Draw a recorded run as one page of HTML
    Report(Report),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `palisade componentize`.
#[derive(Debug, Args)]
pub(crate) struct Componentize {
    /// The module
    pub(crate) module: PathBuf,
    /// The component; takes the place of a file that is there
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `palisade explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade explain policy.toml /data/report.txt                what may be done there
  palisade explain policy.toml /data/report.txt --op create    by which rule, and what would help")]
pub(crate) struct Explain {
    /// The policy
    pub(crate) policy: PathBuf,
    /// A path of the guest's world
    pub(crate) path: String,
    /// An operation, such as `open-read`, `create`, `list` or `rename-into`; all, without it
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
    /// Give a variable of the policy a value
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `palisade check`.
#[derive(Debug, Args)]
#[command(after_help = "\
With files, rules that match nothing in them are found too: a hide rule with a typo hides nothing.

Examples:
  palisade check policy.toml                          rules that never decide anything
  palisade check policy.toml --dir project::/work     rules that match nothing in `project` either

Exit codes:
  0 if nothing was found, 1 if a rule does less than it says, matches nothing in the given files, or
  the policy allows more than OLD.")]
pub(crate) struct Check {
    /// The policy
    pub(crate) policy: PathBuf,
    /// Compare with this policy: what became allowed, and what became denied
    #[arg(long, value_name = "OLD")]
    pub(crate) against: Option<PathBuf>,
    /// Give a variable of both policies a value
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What to hold the policy against
    #[command(flatten)]
    pub(crate) mounts: Mounts,
}

/// `palisade learn`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade learn -o policy.toml -- run --dir project::/work tool.wasm /work
  palisade run --dir project::/work --policy policy.toml tool.wasm /work     passes then
  palisade learn --from audit.jsonl                                          from a recorded run")]
pub(crate) struct Learn {
    /// Write the policy to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Let a pattern stand for this many names or more that need the same; else it is proposed
    #[arg(long, value_name = "NAMES")]
    pub(crate) generalize: Option<std::num::NonZeroUsize>,
    /// Learn from this record of `run --audit` instead of running anything
    #[arg(long, value_name = "LOG", conflicts_with = "run")]
    pub(crate) from: Option<PathBuf>,
    /// Of that record, learn from the run with this identifier alone
    #[arg(long = "run", value_name = "ID", requires = "from")]
    pub(crate) only_run: Option<String>,
    /// `run` and what comes after it
    #[arg(value_name = "run", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) run: Vec<OsString>,
    /// Print refusals as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `palisade report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// A record of `run --audit`
    pub(crate) log: PathBuf,
    /// Draw the run with this identifier alone
    #[arg(long = "run", value_name = "ID")]
    pub(crate) only_run: Option<String>,
    /// Write the page to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print refusals as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `palisade replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A record of `run --audit`
    pub(crate) log: PathBuf,
    /// Replay the run with this identifier alone
    #[arg(long = "run", value_name = "ID")]
    pub(crate) only_run: Option<String>,
    /// The policy
    pub(crate) policy: PathBuf,
    /// Give a variable of the policy a value
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) policy_var: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = RUN_AFTER_HELP,
    override_usage = "palisade run [OPTIONS] MODULE [ARGS]..."
)]
pub(crate) struct Run {
    /// The module, and the arguments that it gets as they are, options included
    #[arg(value_names = ["MODULE", "ARGS"], required = true, trailing_var_arg = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,

    /// Take the sandbox from this file; options add to what it says, and go before it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) files: Files,

    /// Confine the guest by this policy; its paths are those of the guest
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) policy: Option<PathBuf>,
    /// Give a variable of the policy a value
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Policy")]
    pub(crate) policy_var: Vec<String>,
    /// Only tell what the policy would refuse, and refuse nothing
    #[arg(long, help_heading = "Policy")]
    pub(crate) dry_run_policy: bool,
    /// Record each access at the end of this file, a line of JSON each; `-` is standard error
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub(crate) audit: Option<PathBuf>,
    /// Empty the file of `--audit` first, with the runs that it has
    #[arg(long, requires = "audit", help_heading = "Policy")]
    pub(crate) audit_truncate: bool,
    /// Record with `--audit` only what is refused, or only what changes something
    #[arg(long, value_enum, requires = "audit", help_heading = "Policy")]
    pub(crate) audit_only: Vec<AuditOnly>,
    /// When the record cannot be written, stop the guest, or let it go on without
    #[arg(long, value_enum, default_value_t, help_heading = "Policy")]
    pub(crate) audit_when_failing: WhenFailing,

    /// Set a variable; without `=VALUE`, give the host's
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "World")]
    pub(crate) env: Vec<String>,
    /// Give all of the host's variables that are UTF-8; `--env` comes on top
    #[arg(long, help_heading = "World")]
    pub(crate) inherit_env: bool,
    /// Call the guest by this name instead of the module's file name
    #[arg(long, value_name = "NAME", help_heading = "World")]
    pub(crate) arg0: Option<String>,
    /// Read standard input from this file
    #[arg(long, value_name = "FILE", help_heading = "World")]
    pub(crate) stdin: Option<PathBuf>,
    /// Start the clock at this time (RFC 3339, or seconds since 1970); sleeping takes no time
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "World")]
    pub(crate) fixed_clock: Option<u64>,
    /// How far the fixed clock goes on at every look [default: 1ms]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        requires = "fixed_clock",
        help_heading = "World"
    )]
    pub(crate) clock_step: Option<Duration>,
    /// Draw random numbers from this seed: the same in every run, and not secret
    #[arg(long, value_name = "N", help_heading = "World")]
    pub(crate) seed: Option<u64>,

    /// Stop after this time, such as 500ms or 2s, with what it takes to compile the guest
    #[arg(long, value_name = "DURATION", value_parser = timeout, help_heading = "Limits")]
    pub(crate) timeout: Option<Duration>,
    /// Bytes of all memories, tables and instances of the guest [default: 5G]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub(crate) max_memory: Option<u64>,
    /// Descriptors that the guest may have open, its streams and directories included
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_descriptors: Option<u32>,
    /// Streams, timers and other resources that a component may have open [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_streams: Option<u32>,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Take who opens without rights, or a directory without `mutate-directory`, at their word
    #[arg(long, help_heading = "Limits")]
    pub(crate) strict_rights: bool,

    /// The engine: wasmtime compiles, wasmi interprets [default: wasmtime]
    #[arg(long, value_enum, help_heading = "Engine")]
    pub(crate) engine: Option<Kind>,
    /// Keep compiled modules here [default: $XDG_CACHE_HOME/palisade or ~/.cache/palisade]
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Compile the module anew and keep nothing
    #[arg(long, conflicts_with = "cache_dir", help_heading = "Engine")]
    pub(crate) no_cache: bool,

    /// At the end, print what the guest changed in its overlays, to standard error or into a file
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-",
        help_heading = "Output"
    )]
    pub(crate) diff: Option<PathBuf>,
    /// At the end, write the changes of the one overlay into this archive (.tar, .tar.gz, .tar.zst)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) export: Option<PathBuf>,
    /// Print every call on files and paths to standard error
    #[arg(long, help_heading = "Output")]
    pub(crate) trace: bool,
    /// Report a refusal, a trap or a timeout as one line of JSON on standard error; `--diff` too
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

/// What it may take to compile a module or to look at one.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct CompileLimits {
    /// How long it may take to compile or to analyze the module [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) max_compile_time: Option<Duration>,
    /// Bytes that it may take to compile or to analyze the module [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_compile_memory: Option<u64>,
}

/// What the guest gets to see of files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    #[command(flatten)]
    pub(crate) mounts: Mounts,
    /// Keep the changes of the one overlay in this directory, for the next run too
    #[arg(long, value_name = "DIR")]
    pub(crate) upper: Option<PathBuf>,
}

/// Where the guest sees which files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Mounts {
    /// Open a directory of the host to the guest
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = MountText::parse)]
    pub(crate) dir: Vec<MountText>,
    /// Open a single file of the host to the guest
    #[arg(long, value_name = "HOST::GUEST[:ro]", value_parser = PairText::parse)]
    pub(crate) file: Vec<PairText>,
    /// Give the guest an empty directory in memory
    #[arg(long, value_name = "GUEST")]
    pub(crate) mem: Vec<String>,
    /// Give the guest a copy in memory, without sockets and devices; nothing is ever written back
    #[arg(long, value_name = "HOST::GUEST[:ro]", value_parser = PairText::parse)]
    pub(crate) copy: Vec<PairText>,
    /// Give the guest a directory of the host to change; the changes stay in memory
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = MountText::parse)]
    pub(crate) overlay: Vec<MountText>,
    /// Open a zip, a tar (also .gz, .zst) or a directory to the guest, to be read
    #[arg(long, value_name = "FILE[::GUEST]", value_parser = MountText::parse_image)]
    pub(crate) image: Vec<MountText>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The module
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileLimits,
    /// Print JSON, also for errors
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The directory that keeps the changes
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// What lies beneath: a directory or an archive; may be repeated, the first on top
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) lower: Vec<PathBuf>,
    /// Print JSON, also for errors
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The directory that keeps the changes; once they are written, it keeps none any more
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// The directory that lies beneath, and becomes what the guest saw
    #[arg(long, value_name = "DIR")]
    pub(crate) lower: PathBuf,
    /// Only print what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave the changes where they are kept, for another directory like DIR
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) keep: bool,
    /// Print JSON, also for errors
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Discard {
    /// The directory that keeps the changes; without asking, all of them go
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// Print errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The directory that keeps the changes
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// The archive: `.tar`, `.tar.gz` or `.tar.zst`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print JSON, also for errors
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The archive: a tar, also compressed by gzip or Zstandard
    #[arg(value_name = "FILE")]
    pub(crate) archive: PathBuf,
    /// The directory that will keep the changes; made if it is missing
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,
    /// Print JSON, also for errors
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses the command line.
///
/// A message about arguments quotes them as they are, so the arguments are escaped and parsed once
/// more for the message. The name of the program is not used: it is foreign text as well.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = iter::once("palisade".into()).chain(args.skip(1)).collect();
    let error = match Cli::try_parse_from(&args) {
        Err(error) if error.use_stderr() => error,
        // Help and version quote nothing.
        parsed => return parsed,
    };
    let escaped = args.iter().map(|arg| escape::line(arg).to_string());
    Err(match Cli::try_parse_from(escaped) {
        Err(escaped) if escaped.use_stderr() => escaped,
        _ => clap::Error::raw(error.kind(), escape::line(&error.to_string())),
    })
}

/// Bytes: a number, with K, M or G for powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        other => return Err(format!("`{other}` is no unit: use K, M or G, as in 64M")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes, as in 64M".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

/// A time that can pass before anything happens.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|why| why.to_string())?;
    if duration.is_zero() {
        return Err("a guest cannot do anything in no time".to_owned());
    }
    Ok(duration)
}

/// Nanoseconds since 1970.
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
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
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
    fn times_are_text_or_seconds() {
        assert_eq!(time("1").ok(), Some(1_000_000_000));
        assert_eq!(time("1970-01-01T00:00:02Z").ok(), Some(2_000_000_000));
        assert_eq!(time("1970-01-01 00:00:02.5").ok(), Some(2_500_000_000));
        for text in ["", "-1", "yesterday", "1969-12-31T23:59:59Z", "99999999999999"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_follows_the_module_is_the_guests() {
        let cli = Cli::try_parse_from(["palisade", "run", "--seed", "1", "m.wasm", "--dir", "-x"]);
        let Ok(Cli { command: Command::Run(run) }) = cli else { panic!("no run") };
        assert_eq!(run.command, ["m.wasm", "--dir", "-x"]);
        assert!(run.files.mounts.dir.is_empty());
    }
}
