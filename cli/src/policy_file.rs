//! Reads and compiles policy files and the table `policy` of a `palisade.toml`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use palisade::policy::document::{Document, DocumentError, Variables};
use palisade::policy::{Policy, PolicyError};
use palisade::vfs::escape;

use crate::ambient;
use crate::error::{CommandError, Error};
use crate::origin::{SourceError, SourceText};
use crate::policy_include::Includes;
use crate::sandbox::PolicySource;

/// Errors about policies and their variables.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum PolicyFileError {
    #[error("the policy cannot be compiled: {0}")]
    #[diagnostic(code(palisade::policy), help("docs/policy.md describes the syntax of rules"))]
    Compile(PolicyError),

    #[error("`{option}` requires a policy")]
    #[diagnostic(code(palisade::policy), help("add `--policy FILE`"))]
    NoPolicy { option: &'static str },

    #[error("`{}` does not assign a value to a variable", escape::name(.text))]
    #[diagnostic(code(palisade::policy_var), help("write `--policy-var NAME=VALUE`"))]
    VariableSyntax { text: String },

    #[error("the variable `{}` is set twice", escape::name(.name))]
    #[diagnostic(code(palisade::policy_var), help("remove one of the `--policy-var` options"))]
    VariableTwice { name: String },

    #[error("the policy has no variable `{}`", escape::name(.name))]
    #[diagnostic(
        code(palisade::policy_var),
        help("use it in a path of the policy as `${{{}}}`, or remove the option", escape::name(.name))
    )]
    UnusedVariable { name: String },
}

impl CommandError for PolicyFileError {}

/// A compiled policy with its document.
pub(crate) struct LoadedPolicy {
    pub(crate) name: String,
    /// The directory of the relative paths of the document.
    pub(crate) dir: PathBuf,
    pub(crate) document: Document,
    pub(crate) policy: Arc<Policy>,
}

/// Loads the policy of a sandbox. Each variable must be used.
pub(crate) fn load_source(
    source: &PolicySource,
    variables: &Variables,
) -> Result<LoadedPolicy, Error> {
    let loaded = match source {
        PolicySource::File { path, origin } => {
            let text =
                ambient::read_policy(origin.name(), path).map_err(|why| origin.locate(why))?;
            parse(path, &text, variables)?
        }
        PolicySource::Section(text) => {
            let (name, content) = (text.name(), text.inner());
            let mut includes = Includes::of_document(Path::new(name));
            let document =
                Document::parse_section(name, content, "policy", variables, &mut includes);
            compile(name, document.map_err(document_error)?)?
        }
    };
    refuse_unused(variables, &[&loaded])?;
    Ok(loaded)
}

/// Loads the policy argument of a command. Each variable must be used.
pub(crate) fn load_argument(path: &Path, assignments: &[String]) -> Result<LoadedPolicy, Error> {
    let variables = parse_variables(assignments)?;
    let loaded = load_file(path, &variables)?;
    refuse_unused(&variables, &[&loaded])?;
    Ok(loaded)
}

/// Loads a policy file. Variables may be unused.
pub(crate) fn load_file(path: &Path, variables: &Variables) -> Result<LoadedPolicy, Error> {
    parse(path, &ambient::read_policy("a policy", path)?, variables)
}

/// Parses the values of `--policy-var`.
pub(crate) fn parse_variables(assignments: &[String]) -> Result<Variables, PolicyFileError> {
    let mut variables = Variables::new();
    for text in assignments {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => (name.to_owned(), value.to_owned()),
            Some(_) | None => return Err(PolicyFileError::VariableSyntax { text: text.clone() }),
        };
        if variables.insert(name.clone(), value).is_some() {
            return Err(PolicyFileError::VariableTwice { name });
        }
    }
    Ok(variables)
}

/// Refuses variables that none of the policies uses.
pub(crate) fn refuse_unused(
    variables: &Variables,
    policies: &[&LoadedPolicy],
) -> Result<(), PolicyFileError> {
    let is_used = |name: &String| policies.iter().any(|it| it.document.variables.contains(name));
    match variables.keys().find(|name| !is_used(name)) {
        Some(name) => Err(PolicyFileError::UnusedVariable { name: name.clone() }),
        None => Ok(()),
    }
}

fn parse(path: &Path, text: &str, variables: &Variables) -> Result<LoadedPolicy, Error> {
    let name = path.to_string_lossy();
    let mut includes = Includes::of_document(path);
    let document =
        Document::parse(&name, text, variables, &mut includes).map_err(document_error)?;
    compile(&name, document)
}

fn compile(name: &str, document: Document) -> Result<LoadedPolicy, Error> {
    let policy = document.to_policy().map_err(PolicyFileError::Compile)?;
    let dir = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
    Ok(LoadedPolicy {
        name: name.to_owned(),
        dir,
        document,
        policy: Arc::new(policy.track_rules()),
    })
}

/// Merges all faults of a document into one error: those of the first file become labels, those of
/// other files become lines of the help text.
fn document_error(error: DocumentError) -> Error {
    let mut faults = error.faults.into_iter();
    let Some(first) = faults.next() else {
        return PolicyFileError::Compile(PolicyError::TooManyRules).into();
    };
    let text: SourceText =
        Arc::new(NamedSource::new(&first.source.name, first.source.text.to_string()));
    let mut help = first.help.unwrap_or_default();
    let mut merged = SourceError::new(&text, first.message).label("here", first.span);
    for other in faults {
        if Arc::ptr_eq(&other.source, &first.source) {
            let hint = other.help.map(|help| format!(" ({help})")).unwrap_or_default();
            merged = merged.label(&format!("{}{hint}", other.message), other.span);
        } else {
            let _ = write!(help, "\nand {other}");
        }
    }
    if error.has_more {
        help.push_str("\nand further errors");
    }
    merged.with_help((!help.is_empty()).then_some(help)).into()
}
