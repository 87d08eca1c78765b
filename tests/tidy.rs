//! Checks of the source tree: the import diagram of ARCHITECTURE.md and the rules of STYLE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The permitted dependencies of each package: the edges of the import diagram.
const DIAGRAM: &[(&str, &[&str])] = &[
    ("palisade-vfs", &[]),
    ("palisade-policy", &["palisade-vfs"]),
    ("palisade-kernel", &["palisade-vfs"]),
    ("palisade-preview1", &["palisade-kernel", "palisade-vfs"]),
    ("palisade-preview2", &["palisade-kernel", "palisade-vfs"]),
    ("palisade-crates-vfs", &["palisade-vfs"]),
    ("palisade-props", &["palisade-policy", "palisade-vfs"]),
    (
        "palisade",
        &[
            "palisade-kernel",
            "palisade-policy",
            "palisade-preview1",
            "palisade-preview2",
            "palisade-vfs",
        ],
    ),
];

/// Packages that may depend on all others.
const SEES_EVERYTHING: &[&str] = &["palisade-tests", "palisade-benches", "palisade-fuzz"];

const LINE_WIDTH_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// The files that may use ambient authority, in the crates that serve guests.
const AMBIENT_FILES: &[&str] = &[
    "vfs/src/host/mod.rs",
    "vfs/src/host/upper/open.rs",
    "vfs/src/image/mod.rs",
    "kernel/src/stdio.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files_below(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&name) {
                files_below(&path, extension, found);
            }
        } else if name.ends_with(extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files_below(&root(), ".rs", &mut found);
    assert!(found.len() > 40, "the tree was not found");
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        (name, text)
    };
    found.into_iter().map(named).collect()
}

fn manifests() -> Vec<(String, toml::Table)> {
    let mut found = Vec::new();
    files_below(&root(), "Cargo.toml", &mut found);
    let read = |path: PathBuf| {
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        Some((name, table))
    };
    found.into_iter().filter_map(read).collect()
}

#[track_caller]
fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn packages_import_only_along_the_diagram() {
    let diagram: BTreeMap<_, BTreeSet<_>> =
        DIAGRAM.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, manifest) in manifests() {
        if SEES_EVERYTHING.contains(&name.as_str()) {
            continue;
        }
        let Some(allowed) = diagram.get(name.as_str()) else {
            faults.push(format!("`{name}` is not in the diagram"));
            continue;
        };
        seen.insert(name.clone());
        let uses = manifest.get("dependencies").and_then(|deps| deps.as_table());
        for used in uses.into_iter().flatten().map(|(used, _)| used) {
            if used.starts_with("palisade") && !allowed.contains(used.as_str()) {
                faults.push(format!("`{name}` may not use `{used}`"));
            }
        }
    }
    assert_none(&faults, "the diagram in ARCHITECTURE.md");
    assert_eq!(seen.len(), DIAGRAM.len(), "every package of the diagram exists: {seen:?}");
}

/// Names of the modules of the command that `text` imports or uses by their path.
fn used_modules(text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        // `use crate::{a, b::c};` or `crate::a::b`. Nested braces are not used.
        let list = match after.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => after.split(|it: char| !it.is_alphanumeric() && it != '_').next().unwrap(),
        };
        let names = list.split(',').filter_map(|it| it.trim().split("::").next());
        used.extend(names.filter(|name| modules.contains(*name)).map(str::to_owned));
    }
    used
}

#[test]
fn the_modules_of_the_command_have_no_import_cycle() {
    let module = |name: &str| {
        let path = name.strip_prefix("cli/src/")?;
        let module = path.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main"].contains(&module)).then(|| module.to_owned())
    };
    let files: Vec<_> =
        sources().into_iter().filter_map(|(name, text)| Some((module(&name)?, text))).collect();
    let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in &files {
        let used = used_modules(text, &modules).into_iter().filter(|used| used != module);
        imports.entry(module.clone()).or_default().extend(used);
    }
    // Removes the modules that import no other remaining module, until none is left.
    while let Some(leaf) =
        imports.iter().find(|(_, used)| used.is_empty()).map(|(it, _)| it.clone())
    {
        imports.remove(&leaf);
        imports.values_mut().for_each(|used| {
            used.remove(&leaf);
        });
    }
    let faults: Vec<_> = imports.iter().map(|(it, used)| format!("{it} -> {used:?}")).collect();
    assert_none(&faults, "the module comment of `cli/src/main.rs`");
    assert!(modules.len() >= 20, "only {} modules were found", modules.len());
}

#[test]
fn packages_inherit_the_workspace_lints() {
    for (name, manifest) in manifests() {
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        let own = name == "palisade-fuzz";
        assert!(own || lints.and_then(toml::Value::as_bool) == Some(true), "{name}");
    }
    let workspace: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let unsafe_code = &workspace["workspace"]["lints"]["rust"]["unsafe_code"];
    assert_eq!(unsafe_code.as_str(), Some("forbid"));
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{name} has {lines} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            // Messages and URLs may exceed the width.
            let is_text = line.contains('"') || line.contains("https://");
            if line.chars().count() > LINE_WIDTH_MAX && !is_text {
                faults.push(format!("{name}:{} is too wide", number + 1));
            }
        }
        faults.extend(long_functions(&name, &text));
    }
    assert_none(&faults, "STYLE.md, numbers");
}

/// Returns the functions that are too long. Functions are delimited by their indentation, which
/// `rustfmt` makes reliable.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        if code == "}" && open.last().is_some_and(|(at, _)| *at == indent) {
            let (_, start) = open.pop().unwrap();
            let lines = number + 1 - start;
            if lines > FUNCTION_LINES_MAX {
                faults.push(format!("{name}:{} has {lines} lines", start + 1));
            }
        }
        let is_function = code.starts_with("fn ")
            || ["pub fn ", "pub(crate) fn ", "pub(super) fn ", "const fn ", "pub const fn "]
                .iter()
                .any(|start| code.starts_with(start));
        if is_function && !code.ends_with('}') && !code.ends_with(';') {
            open.push((indent, number));
        }
    }
    faults
}

#[test]
fn no_todo_markers_and_no_ignored_tests() {
    // Concatenated, so that this file does not match itself.
    let words = ["TO", "FIX", "XX"].map(|start| match start {
        "TO" => "TODO".to_owned(),
        "FIX" => ["FIX", "ME:"].concat(),
        _ => "XXX".to_owned(),
    });
    let macros = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let ignore = ["#[", "ignore"].concat();
    let mut faults = Vec::new();
    for (name, text) in sources().iter().filter(|(name, _)| name != "tests/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            let bad = words.iter().chain(&macros).chain([&ignore]).any(|bad| line.contains(bad));
            if bad {
                faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&faults, "stubs and skipped tests are defects");
}

#[test]
fn ambient_authority_is_used_in_named_files() {
    let mut faults = Vec::new();
    let guarded = ["vfs/src/", "policy/src/", "kernel/src/", "adapters/"];
    for (name, text) in sources() {
        let is_guarded = guarded.iter().any(|start| name.starts_with(start));
        if !is_guarded || AMBIENT_FILES.contains(&name.as_str()) || name.contains("tests") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let ambient = ["std::fs", "std::env", "std::process", "ambient_authority()", "fs::CWD"]
                .iter()
                .any(|word| code.contains(word));
            if ambient {
                faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&faults, "ambient authority");
}

/// `ok_or(Errno::Io)` hides the reason: an internal error is `bug!`, a broken contract is
/// `broken_contract`, and an error of the input is returned beside its reason.
#[test]
fn no_missing_value_becomes_a_silent_eio() {
    let product = ["vfs/src/", "policy/src/", "kernel/src/", "adapters/", "cli/src/"];
    let mut faults = Vec::new();
    for (name, text) in sources() {
        if !product.iter().any(|start| name.starts_with(start)) || name.contains("tests") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let values = code.split(".ok_or(").skip(1);
            if values
                .map(|value| value.trim_start_matches("palisade_vfs::"))
                .any(|value| value.trim_start_matches("vfs::").starts_with("Errno::Io)"))
            {
                faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&faults, "an error without its reason");
}

#[test]
fn the_command_prints_through_one_module() {
    let words = [
        "print!(",
        "println!(",
        "eprint!(",
        "eprintln!(",
        "io::stdout",
        "io::stderr",
        ".display()",
    ];
    let mut faults = Vec::new();
    for (name, text) in sources() {
        if !name.starts_with("cli/src/") || name == "cli/src/print.rs" || name == "cli/src/lib.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // Audit records are escaped JSON.
            let is_stream = code.contains("Box::new(io::stderr())");
            if !is_stream && words.iter().any(|word| code.contains(word)) {
                faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&faults, "text is printed by `print.rs`, and a path is escaped by `vfs::escape`");
}

/// Implementations of `Dir` and `File` that wrap no other implementation.
const LEAF_FILESYSTEMS: &[&str] = &[
    "Empty",
    "FixedDir",
    "FixedFile",
    "HostDir",
    "HostFile",
    "MemDir",
    "MemFile",
    "MountDir",
    "MountFile",
];

#[test]
fn every_wrapper_denies_missing_trait_methods() {
    let (mut faults, mut wrappers) = (Vec::new(), 0);
    let product = ["vfs/src/", "policy/src/", "kernel/src/", "adapters/", "cli/src/", "props/src/"];
    for (name, text) in sources() {
        if !product.iter().any(|start| name.starts_with(start)) || name.contains("tests") {
            continue;
        }
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((_, implementor)) =
                line.split_once(" Dir for ").or_else(|| line.split_once(" File for "))
            else {
                continue;
            };
            let implementor = implementor.split([' ', '<']).next().unwrap();
            if !line.starts_with("impl") || LEAF_FILESYSTEMS.contains(&implementor) {
                continue;
            }
            wrappers += 1;
            let before = &lines[at.saturating_sub(3)..at];
            if !before.iter().any(|line| line.contains("deny(clippy::missing_trait_methods)")) {
                faults.push(format!("{name}:{}: {line}", at + 1));
            }
        }
    }
    assert_none(&faults, "a wrapper without deny(clippy::missing_trait_methods)");
    assert!(wrappers >= 15, "only {wrappers} wrappers were found");
}

#[test]
fn source_files_are_declared_as_modules() {
    let mut faults = Vec::new();
    let all = sources();
    for (name, _) in &all {
        let path = Path::new(name);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let parent = path.parent().unwrap();
        let in_src = name.contains("/src/") && !["lib", "main"].contains(&stem);
        if !in_src || parent.ends_with("bin") {
            continue;
        }
        // A module is declared in the `mod.rs`, `lib.rs` or `main.rs` of its directory, or in the
        // file with the name of the directory.
        let (module, home) = if stem == "mod" {
            (parent.file_name().unwrap().to_str().unwrap(), parent.parent().unwrap())
        } else {
            (stem, parent)
        };
        let beside = home.with_extension("rs");
        let declares = all.iter().any(|(other, text)| {
            let other = Path::new(other);
            let owner = other.parent() == Some(home)
                && ["mod", "lib", "main"].contains(&other.file_stem().unwrap().to_str().unwrap());
            (owner || other == beside)
                && text.lines().any(|line| {
                    let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
                    line == format!("mod {module};")
                })
        });
        if !declares {
            faults.push(name.clone());
        }
    }
    assert_none(&faults, "files that nothing declares");
}

/// Returns the tests that a document names as `` `path/to/file.rs::test_name` ``.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let code_spans = text.split('`').skip(1).step_by(2);
    let named = code_spans.filter_map(|span| span.split_once(".rs::"));
    named.map(|(file, test)| (format!("{file}.rs"), test.to_owned())).collect()
}

#[test]
fn every_file_that_the_performance_notes_name_exists() {
    let text = fs::read_to_string(root().join("docs/performance.md")).unwrap();
    let code_spans = text.split('`').skip(1).step_by(2);
    let files = code_spans.filter(|span| span.contains('/') && span.ends_with(".rs"));
    let missing: Vec<_> =
        files.filter(|file| !root().join(file).exists()).map(str::to_owned).collect();
    assert_none(&missing, "docs/performance.md names files that do not exist");
}

#[test]
fn tests_named_in_documents_exist() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for document in ["ARCHITECTURE.md", "SECURITY.md", "tests/promises.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for (file, test) in named_tests(&text) {
            count += 1;
            let source = fs::read_to_string(root().join(&file)).unwrap_or_default();
            // A macro may generate a group of tests as a module.
            let exists = [format!("fn {test}("), format!("mod {test} {{")];
            if !exists.iter().any(|item| source.contains(item)) {
                faults.push(format!("{document} names {file}::{test}"));
            }
        }
    }
    assert_none(&faults, "documents name tests that do not exist");
    assert!(count >= 20, "only {count} tests were found in the documents");
}

/// Returns the code spans of a document that are paths or names of source files. Under a heading
/// with the path of a directory, paths are relative to that directory.
fn named_files(text: &str) -> Vec<(String, &str)> {
    let (mut dir, mut named) = (String::new(), Vec::new());
    for line in text.lines() {
        let spans: Vec<_> = line.split('`').skip(1).step_by(2).collect();
        if line.starts_with('#') {
            dir = spans.first().filter(|it| it.ends_with('/')).map_or("", |it| it).to_owned();
            continue;
        }
        let is_path = |span: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let in_dir =
                span.contains('/') && [".md", ".sh", ".toml"].iter().any(|e| span.ends_with(e));
            span.chars().all(plain) && !span.starts_with('/') && (span.ends_with(".rs") || in_dir)
        };
        named.extend(spans.into_iter().filter(is_path).map(|span| (dir.clone(), span)));
    }
    named
}

#[test]
fn files_named_in_documents_exist() {
    let names: BTreeSet<_> = sources()
        .into_iter()
        .map(|(name, _)| name.rsplit('/').next().unwrap().to_owned())
        .collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    let documents = [
        "ARCHITECTURE.md",
        "SECURITY.md",
        "RATIONALE.md",
        "CONTRIBUTING.md",
        "STYLE.md",
        "README.md",
    ];
    for document in documents {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for (dir, file) in named_files(&text) {
            count += 1;
            let found = root().join(file).exists() || root().join(&dir).join(file).exists();
            let is_name = dir.is_empty() && !file.contains('/') && names.contains(file);
            if !found && !is_name {
                faults.push(format!("{document} names {dir}{file}"));
            }
        }
    }
    assert_none(&faults, "documents name files that do not exist");
    assert!(count >= 80, "only {count} files were found in the documents");
}
