//! Reads `palisade.toml`, the configuration file of a sandbox.
//!
//! The structs here define the accepted keys; `docs/palisade.toml.md` documents them. Relative host
//! paths start at the directory of the file. Each error points at the line and the key.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use miette::NamedSource;
use palisade::policy::did_you_mean;
use palisade::vfs::escape;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use toml::Spanned;

use crate::ambient;
use crate::args;
use crate::engine::EngineKind;
use crate::error::Error;
use crate::mount_spec::Access;
use crate::origin::{Origin, SourceError, SourceText};
use crate::sandbox::{
    DefaultRights, FixedClock, InheritEnv, Mount, MountSource, PolicySource, Sandbox, SourceKind,
    Upper, Variable,
};

/// The maximum nesting of overlays, far above any that is useful.
const DEPTH_MAX: usize = 16;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileTable {
    engine: Option<EngineKind>,
    arg0: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    stdin: Option<Spanned<PathBuf>>,
    seed: Option<u64>,
    clock: Option<ClockTable>,
    #[serde(default)]
    env: EnvTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    mount: Vec<MountTable>,
    policy: Option<Spanned<PolicyValue>>,
}

/// A path, or a table that the policy reader parses.
enum PolicyValue {
    File(PathBuf),
    Section,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockTable {
    #[serde(deserialize_with = "time")]
    start: u64,
    #[serde(default, deserialize_with = "duration")]
    step: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvTable {
    #[serde(default)]
    inherit: Inherit,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

/// `true`, `false`, or a list of names.
enum Inherit {
    All,
    Names(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    #[serde(default, deserialize_with = "timeout")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "size")]
    memory: Option<u64>,
    descriptors: Option<u32>,
    streams: Option<u32>,
    #[serde(default, deserialize_with = "timeout")]
    compile_time: Option<Duration>,
    #[serde(default, deserialize_with = "size")]
    compile_memory: Option<u64>,
    #[serde(default)]
    strict_rights: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MountTable {
    at: Spanned<String>,
    kind: Spanned<KindValue>,
    path: Option<Spanned<PathBuf>>,
    access: Option<Spanned<AccessValue>>,
    upper: Option<Spanned<String>>,
    lowers: Option<Spanned<Vec<SourceTable>>>,
}

/// A lower of an overlay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    kind: Spanned<KindValue>,
    path: Option<Spanned<PathBuf>>,
    upper: Option<Spanned<String>>,
    lowers: Option<Spanned<Vec<SourceTable>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum KindValue {
    Dir,
    Memory,
    Copy,
    File,
    Image,
    Overlay,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum AccessValue {
    Rw,
    Ro,
}

impl KindValue {
    fn name(self) -> &'static str {
        match self {
            KindValue::Dir => "dir",
            KindValue::Memory => "memory",
            KindValue::Copy => "copy",
            KindValue::File => "file",
            KindValue::Image => "image",
            KindValue::Overlay => "overlay",
        }
    }
}

/// Reads a file and returns its sandbox description.
pub(crate) fn read(path: &Path) -> Result<Sandbox, Error> {
    let content = ambient::read_text("--config", path)?;
    let text: SourceText = Arc::new(NamedSource::new(path.to_string_lossy(), content));
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    Reader { text, dir }.sandbox()
}

/// The text of a file, and the directory of its relative paths.
struct Reader {
    text: SourceText,
    dir: PathBuf,
}

impl Reader {
    fn sandbox(&self) -> Result<Sandbox, Error> {
        let table: FileTable =
            toml::from_str(self.text.inner()).map_err(|error| self.parse_error(&error))?;
        let mut env: Vec<Variable> = Vec::new();
        let mut inherit_env = InheritEnv::No;
        match table.env.inherit {
            Inherit::All => inherit_env = InheritEnv::All,
            Inherit::Names(names) => env.extend(names.into_iter().map(Variable::InheritIfSet)),
        }
        env.extend(table.env.set.into_iter().map(|(name, value)| Variable::Set(name, value)));
        let stdin = table.stdin.map(|path| {
            let origin = self.origin("stdin", path.span());
            (self.dir.join(path.into_inner()), origin)
        });
        Ok(Sandbox {
            mounts: self.mounts(table.mount)?,
            arg0: table.arg0,
            args: table.args,
            inherit_env,
            env,
            stdin,
            clock: table.clock.map(|clock| FixedClock::new(clock.start, clock.step)),
            seed: table.seed,
            timeout: table.limits.timeout,
            memory_max: table.limits.memory,
            descriptors_max: table.limits.descriptors,
            streams_max: table.limits.streams,
            compile_time_max: table.limits.compile_time,
            compile_memory_max: table.limits.compile_memory,
            rights: if table.limits.strict_rights {
                DefaultRights::Strict
            } else {
                DefaultRights::Parent
            },
            engine: table.engine,
            policy: table.policy.map(|policy| self.policy(policy)),
        })
    }

    fn policy(&self, value: Spanned<PolicyValue>) -> PolicySource {
        let span = value.span();
        match value.into_inner() {
            PolicyValue::Section => PolicySource::Section(Arc::clone(&self.text)),
            PolicyValue::File(path) => {
                let origin = self.origin("policy", span);
                PolicySource::File { path: self.dir.join(path), origin }
            }
        }
    }

    fn mounts(&self, tables: Vec<MountTable>) -> Result<Vec<Mount>, Error> {
        let mut mounts: Vec<(Mount, Range<usize>)> = Vec::new();
        for table in tables {
            let span = table.at.span();
            let mount = self.mount(table)?;
            if let Some((_, first)) =
                mounts.iter().find(|(it, _)| it.guest_path == mount.guest_path)
            {
                let message =
                    format!("the guest path `{}` is mounted twice", escape::name(&mount.text));
                let help = "use a different guest path for each mount; to merge several sources at one \
                            path, use `kind = \"overlay\"`";
                return Err(SourceError::new(&self.text, message)
                    .with_help(Some(help.to_owned()))
                    .label("first mounted here", first.clone())
                    .label("mounted again here", span)
                    .into());
            }
            mounts.push((mount, span));
        }
        Ok(mounts.into_iter().map(|(mount, _)| mount).collect())
    }

    fn mount(&self, table: MountTable) -> Result<Mount, Error> {
        let MountTable { at, kind, path, access, upper, lowers } = table;
        let access = match access.map(|access| (*access.get_ref(), access.span())) {
            Some((AccessValue::Rw, span)) if *kind.get_ref() == KindValue::Image => {
                let help = "to write over an image, use `kind = \"overlay\"`, `upper = \"memory\"`, \
                            `lowers = [{ kind = \"image\", path = … }]`";
                return Err(self.error(
                    "an image is always read-only",
                    span,
                    "`rw` is not possible here",
                    help,
                ));
            }
            Some((AccessValue::Rw, _)) | None => Access::ReadWrite,
            Some((AccessValue::Ro, _)) => Access::ReadOnly,
        };
        let source = self.source(SourceTable { kind, path, upper, lowers }, 0)?;
        let origin = self.origin("at", at.span());
        Mount::new(at.get_ref(), access, source, origin)
    }

    fn source(&self, table: SourceTable, depth: usize) -> Result<MountSource, Error> {
        let SourceTable { kind, path, upper, lowers } = table;
        let (kind_value, kind_span) = (*kind.get_ref(), kind.span());
        let needs_path = !matches!(kind_value, KindValue::Memory | KindValue::Overlay);
        let spans = [
            ("path", path.as_ref().map(Spanned::span), needs_path),
            ("upper", upper.as_ref().map(Spanned::span), kind_value == KindValue::Overlay),
            ("lowers", lowers.as_ref().map(Spanned::span), kind_value == KindValue::Overlay),
        ];
        for (key, span, is_allowed) in spans {
            match (span, is_allowed) {
                (Some(span), false) => return Err(self.unexpected_key(key, kind_value, span)),
                (None, true) => return Err(self.missing_key(key, kind_value, kind_span)),
                (Some(_), true) | (None, false) => {}
            }
        }
        if depth > DEPTH_MAX {
            let message = format!("overlays are nested more than {DEPTH_MAX} levels deep");
            let help = "list all sources in `lowers` of one overlay";
            return Err(self.error(&message, kind_span, "this overlay", help));
        }
        let span = path.as_ref().map_or(kind_span, Spanned::span);
        let path = path.map(|path| self.dir.join(path.into_inner())).unwrap_or_default();
        let kind = match kind_value {
            KindValue::Dir => SourceKind::Dir(path),
            KindValue::Memory => SourceKind::Memory,
            KindValue::Copy => SourceKind::Copy(path),
            KindValue::File => SourceKind::File(path),
            KindValue::Image => SourceKind::Image(path),
            KindValue::Overlay => SourceKind::Overlay {
                upper: self.upper(upper),
                lowers: self.lowers(lowers, depth)?,
            },
        };
        Ok(MountSource { kind, origin: self.origin(kind_value.name(), span) })
    }

    fn upper(&self, upper: Option<Spanned<String>>) -> Upper {
        match upper {
            Some(upper) if upper.get_ref() != "memory" => Upper::Dir {
                origin: self.origin("upper", upper.span()),
                path: self.dir.join(upper.into_inner()),
            },
            Some(_) | None => Upper::Memory,
        }
    }

    fn lowers(
        &self,
        lowers: Option<Spanned<Vec<SourceTable>>>,
        depth: usize,
    ) -> Result<Vec<MountSource>, Error> {
        let Some(lowers) = lowers else { return Ok(Vec::new()) };
        if lowers.get_ref().is_empty() {
            let help = "list at least one source, such as `{ kind = \"dir\", path = \"project\" }`; \
                        for an empty directory use `kind = \"memory\"`";
            return Err(self.error(
                "an overlay needs at least one lower",
                lowers.span(),
                "empty",
                help,
            ));
        }
        let mut sources = Vec::new();
        for lower in lowers.into_inner() {
            if *lower.kind.get_ref() == KindValue::File {
                let help = "mount the file separately, at a guest path inside of the overlay";
                let span = lower.kind.span();
                return Err(self.error(
                    "a lower of an overlay cannot be a file",
                    span,
                    "not a directory",
                    help,
                ));
            }
            sources.push(self.source(lower, depth + 1)?);
        }
        Ok(sources)
    }

    fn origin(&self, key: &'static str, span: Range<usize>) -> Origin {
        Origin::File { key, text: Arc::clone(&self.text), span }
    }

    fn error(&self, message: &str, span: Range<usize>, label: &str, help: &str) -> Error {
        SourceError::new(&self.text, message)
            .with_help(Some(help.to_owned()))
            .label(label, span)
            .into()
    }

    fn unexpected_key(&self, key: &str, kind: KindValue, span: Range<usize>) -> Error {
        let message = format!("a mount of kind `{}` does not accept `{key}`", kind.name());
        let help = match key {
            "path" => "remove it; `path` belongs to the kinds `dir`, `copy`, `file` and `image`",
            _ => "remove it; `upper` and `lowers` belong to `kind = \"overlay\"`",
        };
        self.error(&message, span, "not accepted here", help)
    }

    fn missing_key(&self, key: &str, kind: KindValue, span: Range<usize>) -> Error {
        let message = format!("a mount of kind `{}` requires `{key}`", kind.name());
        let help = match key {
            "path" => "add the host path, relative to this file: `path = \"…\"`",
            "upper" => {
                "add where changes are stored: `upper = \"memory\"`, or the path of a directory"
            }
            _ => "add the sources: `lowers = [{ kind = \"dir\", path = \"…\" }]`",
        };
        self.error(&message, span, "this mount", help)
    }

    /// Converts an error of the TOML parser. For an unknown key it suggests the nearest known one.
    fn parse_error(&self, error: &toml::de::Error) -> Error {
        let mut quoted = error.message().split('`').skip(1).step_by(2);
        let start = error.message().split('`').next().unwrap_or_default().trim_end();
        let span = error.span().unwrap_or_default();
        let noun = match start {
            "unknown field" => "key",
            "unknown variant" => "value",
            "missing field" => {
                let key = escape::name(quoted.next().unwrap_or_default());
                let message = format!("the required key `{key}` is missing");
                return SourceError::new(&self.text, message).label("in this table", span).into();
            }
            _ => {
                let message = escape::line(error.message()).to_string();
                return SourceError::new(&self.text, message).label("here", span).into();
            }
        };
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.collect();
        let all = known.join("`, `");
        let help = match did_you_mean(unknown, &known) {
            Some(question) => format!("{question} Accepted here: `{all}`"),
            None => format!("accepted here: `{all}`"),
        };
        let message = format!("unknown {noun} `{}`", escape::name(unknown));
        self.error(&message, span, "unknown", &help)
    }
}

impl Default for Inherit {
    fn default() -> Self {
        Inherit::Names(Vec::new())
    }
}

impl<'de> Deserialize<'de> for PolicyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PolicyVisitor;
        impl<'de> Visitor<'de> for PolicyVisitor {
            type Value = PolicyValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a policy, or a table of rules")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PolicyValue, E> {
                Ok(PolicyValue::File(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PolicyValue, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(PolicyValue::Section)
            }
        }
        deserializer.deserialize_any(PolicyVisitor)
    }
}

impl<'de> Deserialize<'de> for Inherit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InheritVisitor;
        impl<'de> Visitor<'de> for InheritVisitor {
            type Value = Inherit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false` or a list of names")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<Inherit, E> {
                Ok(if all { Inherit::All } else { Inherit::default() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Inherit, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Inherit::Names(names))
            }
        }
        deserializer.deserialize_any(InheritVisitor)
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    args::time(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(D::Error::custom)
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    args::timeout(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

/// Parses bytes: a number, or text with a unit.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct SizeVisitor;
    impl Visitor<'_> for SizeVisitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes, or text such as \"64M\"")
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            args::size(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(SizeVisitor).map(Some)
}
