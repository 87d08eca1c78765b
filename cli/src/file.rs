//! `palisade.toml`: a sandbox, written down.
//!
//! What the file may say is what the tables here have as fields, and `docs/palisade.toml.md` says
//! it to people. Every path of the host in it starts at the file's own directory. Whatever is wrong
//! is told with the line and the key that it is about.

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
use crate::engine::Kind;
use crate::error::Error;
use crate::fault::{Fault, Said, Text};
use crate::policy;
use crate::sandbox::{
    Access, FixedClock, InheritEnv, Mount, RightsOf, Sandbox, Source, SourceKind, Upper, Variable,
};

/// Overlays in overlays: many more than anyone can keep in mind.
const DEPTH_MAX: usize = 16;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileTable {
    engine: Option<Kind>,
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
    policy: Option<Spanned<PolicyWord>>,
}

/// A file, or a table that the policy's own reader reads.
enum PolicyWord {
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

/// `true`, `false`, or names.
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
    kind: Spanned<KindWord>,
    path: Option<Spanned<PathBuf>>,
    access: Option<Spanned<AccessWord>>,
    upper: Option<Spanned<String>>,
    lowers: Option<Spanned<Vec<SourceTable>>>,
}

/// What can lie beneath.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    kind: Spanned<KindWord>,
    path: Option<Spanned<PathBuf>>,
    upper: Option<Spanned<String>>,
    lowers: Option<Spanned<Vec<SourceTable>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum KindWord {
    Dir,
    Memory,
    Copy,
    File,
    Image,
    Overlay,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum AccessWord {
    Rw,
    Ro,
}

impl KindWord {
    fn word(self) -> &'static str {
        match self {
            KindWord::Dir => "dir",
            KindWord::Memory => "memory",
            KindWord::Copy => "copy",
            KindWord::File => "file",
            KindWord::Image => "image",
            KindWord::Overlay => "overlay",
        }
    }
}

/// Reads a file, and answers the sandbox that it describes.
pub(crate) fn read(path: &Path) -> Result<Sandbox, Error> {
    let content = ambient::read_text("--config", path)?;
    let text: Text = Arc::new(NamedSource::new(path.to_string_lossy(), content));
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    Reader { text, dir }.sandbox()
}

/// One file, and the directory at which its paths start.
struct Reader {
    text: Text,
    dir: PathBuf,
}

impl Reader {
    fn sandbox(&self) -> Result<Sandbox, Error> {
        let table: FileTable =
            toml::from_str(self.text.inner()).map_err(|error| self.refused(&error))?;
        let mut env: Vec<Variable> = Vec::new();
        let mut inherit_env = InheritEnv::No;
        match table.env.inherit {
            Inherit::All => inherit_env = InheritEnv::All,
            Inherit::Names(names) => env.extend(names.into_iter().map(Variable::InheritIfSet)),
        }
        env.extend(table.env.set.into_iter().map(|(name, value)| Variable::Set(name, value)));
        let stdin = table.stdin.map(|path| {
            let said = self.said("stdin", path.span());
            (self.dir.join(path.into_inner()), said)
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
            rights: if table.limits.strict_rights { RightsOf::Strict } else { RightsOf::Parent },
            engine: table.engine,
            policy: table.policy.map(|policy| self.policy(policy)),
        })
    }

    fn policy(&self, word: Spanned<PolicyWord>) -> policy::Source {
        let span = word.span();
        match word.into_inner() {
            PolicyWord::Section => policy::Source::Section(Arc::clone(&self.text)),
            PolicyWord::File(path) => {
                let said = self.said("policy", span);
                policy::Source::File { path: self.dir.join(path), said }
            }
        }
    }

    fn mounts(&self, tables: Vec<MountTable>) -> Result<Vec<Mount>, Error> {
        let mut mounts: Vec<(Mount, Range<usize>)> = Vec::new();
        for table in tables {
            let span = table.at.span();
            let mount = self.mount(table)?;
            if let Some((_, first)) = mounts.iter().find(|(it, _)| it.place == mount.place) {
                let message =
                    format!("the guest path `{}` is given twice", escape::name(&mount.text));
                let help = "give every mount a guest path of its own, or stack them: an `overlay` \
                            shows several sources at one path";
                return Err(Fault::new(&self.text, message)
                    .with_help(Some(help.to_owned()))
                    .label("first here", first.clone())
                    .label("and again here", span)
                    .into());
            }
            mounts.push((mount, span));
        }
        Ok(mounts.into_iter().map(|(mount, _)| mount).collect())
    }

    fn mount(&self, table: MountTable) -> Result<Mount, Error> {
        let MountTable { at, kind, path, access, upper, lowers } = table;
        let access = match access.map(|access| (*access.get_ref(), access.span())) {
            Some((AccessWord::Rw, span)) if *kind.get_ref() == KindWord::Image => {
                let help = "let it be a lower: `kind = \"overlay\"`, `upper = \"memory\"`, \
                            `lowers = [{ kind = \"image\", path = … }]`";
                return Err(self.fault("an image is only read", span, "not possible here", help));
            }
            Some((AccessWord::Rw, _)) | None => Access::ReadWrite,
            Some((AccessWord::Ro, _)) => Access::ReadOnly,
        };
        let source = self.source(SourceTable { kind, path, upper, lowers }, 0)?;
        let said = self.said("at", at.span());
        Mount::new(at.get_ref(), access, source, said)
    }

    fn source(&self, table: SourceTable, depth: usize) -> Result<Source, Error> {
        let SourceTable { kind, path, upper, lowers } = table;
        let (word, kind_span) = (*kind.get_ref(), kind.span());
        let takes_path = !matches!(word, KindWord::Memory | KindWord::Overlay);
        let spans = [
            ("path", path.as_ref().map(Spanned::span), takes_path),
            ("upper", upper.as_ref().map(Spanned::span), word == KindWord::Overlay),
            ("lowers", lowers.as_ref().map(Spanned::span), word == KindWord::Overlay),
        ];
        for (key, span, is_taken) in spans {
            match (span, is_taken) {
                (Some(span), false) => return Err(self.superfluous(key, word, span)),
                (None, true) => return Err(self.missing(key, word, kind_span)),
                (Some(_), true) | (None, false) => {}
            }
        }
        if depth > DEPTH_MAX {
            let message = format!("overlays lie within each other more than {DEPTH_MAX} deep");
            let help = "`lowers` takes any number of sources: one overlay can have them all";
            return Err(self.fault(&message, kind_span, "this one", help));
        }
        let span = path.as_ref().map_or(kind_span, Spanned::span);
        let path = path.map(|path| self.dir.join(path.into_inner())).unwrap_or_default();
        let kind = match word {
            KindWord::Dir => SourceKind::Dir(path),
            KindWord::Memory => SourceKind::Memory,
            KindWord::Copy => SourceKind::Copy(path),
            KindWord::File => SourceKind::File(path),
            KindWord::Image => SourceKind::Image(path),
            KindWord::Overlay => SourceKind::Overlay {
                upper: self.upper(upper),
                lowers: self.lowers(lowers, depth)?,
            },
        };
        Ok(Source { kind, said: self.said(word.word(), span) })
    }

    fn upper(&self, upper: Option<Spanned<String>>) -> Upper {
        match upper {
            Some(upper) if upper.get_ref() != "memory" => Upper::Dir {
                said: self.said("upper", upper.span()),
                path: self.dir.join(upper.into_inner()),
            },
            Some(_) | None => Upper::Memory,
        }
    }

    fn lowers(
        &self,
        lowers: Option<Spanned<Vec<SourceTable>>>,
        depth: usize,
    ) -> Result<Vec<Source>, Error> {
        let Some(lowers) = lowers else { return Ok(Vec::new()) };
        if lowers.get_ref().is_empty() {
            let help = "name at least one source, such as `{ kind = \"dir\", path = \"project\" }`; \
                        for an empty directory use `kind = \"memory\"`";
            return Err(self.fault("an overlay lies over something", lowers.span(), "empty", help));
        }
        let mut sources = Vec::new();
        for lower in lowers.into_inner() {
            if *lower.kind.get_ref() == KindWord::File {
                let help = "mount the file at a guest path of its own, within the overlay's";
                let span = lower.kind.span();
                return Err(self.fault("a file cannot lie beneath", span, "not here", help));
            }
            sources.push(self.source(lower, depth + 1)?);
        }
        Ok(sources)
    }

    fn said(&self, key: &'static str, span: Range<usize>) -> Said {
        Said::File { key, text: Arc::clone(&self.text), span }
    }

    fn fault(&self, message: &str, span: Range<usize>, label: &str, help: &str) -> Error {
        Fault::new(&self.text, message).with_help(Some(help.to_owned())).label(label, span).into()
    }

    fn superfluous(&self, key: &str, word: KindWord, span: Range<usize>) -> Error {
        let message = format!("a mount of kind `{}` has no `{key}`", word.word());
        let help = match key {
            "path" => "`path` goes with `dir`, `copy`, `file` and `image`; leave it out here",
            _ => "only an overlay has `upper` and `lowers`: `kind = \"overlay\"`",
        };
        self.fault(&message, span, "of no meaning here", help)
    }

    fn missing(&self, key: &str, word: KindWord, span: Range<usize>) -> Error {
        let message = format!("a mount of kind `{}` needs `{key}`", word.word());
        let help = match key {
            "path" => "say where it is on the host, seen from this file: `path = \"…\"`",
            "upper" => "say where changes go: `upper = \"memory\"`, or a directory that keeps them",
            _ => "say what it lies over: `lowers = [{ kind = \"dir\", path = \"…\" }]`",
        };
        self.fault(&message, span, "this one", help)
    }

    /// What the parser refuses. It knows the keys that there are; the nearest is the likeliest.
    fn refused(&self, error: &toml::de::Error) -> Error {
        let mut quoted = error.message().split('`').skip(1).step_by(2);
        let start = error.message().split('`').next().unwrap_or_default().trim_end();
        let span = error.span().unwrap_or_default();
        let what = match start {
            "unknown field" => "key",
            "unknown variant" => "word",
            "missing field" => {
                let key = escape::name(quoted.next().unwrap_or_default());
                let message = format!("the key `{key}` is missing");
                return Fault::new(&self.text, message).label("in this table", span).into();
            }
            _ => {
                let message = escape::line(error.message()).to_string();
                return Fault::new(&self.text, message).label("here", span).into();
            }
        };
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.collect();
        let all = known.join("`, `");
        let help = match did_you_mean(unknown, &known) {
            Some(question) => format!("{question} Here one can say `{all}`"),
            None => format!("here one can say `{all}`"),
        };
        let message = format!("unknown {what} `{}`", escape::name(unknown));
        self.fault(&message, span, "not known here", &help)
    }
}

impl Default for Inherit {
    fn default() -> Self {
        Inherit::Names(Vec::new())
    }
}

impl<'de> Deserialize<'de> for PolicyWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = PolicyWord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file, or a table of rules")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PolicyWord, E> {
                Ok(PolicyWord::File(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PolicyWord, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(PolicyWord::Section)
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl<'de> Deserialize<'de> for Inherit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
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
        deserializer.deserialize_any(Words)
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

/// Bytes: a number, or text with a unit.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
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
    deserializer.deserialize_any(Size).map(Some)
}
