//! `palisade inspect`: analyzes a module without running it.
//!
//! [`why_not_runnable`] checks for the reasons in the order in which a user would fix them.

mod error;
mod footprint;
mod world;

use std::path::{Path, PathBuf};

use palisade::preview1::{FUNCTIONS, MODULE};
use palisade::vfs::escape;
use serde::Serialize;
use wasmparser::types::{CoreTypeId, EntityType, TypesRef};
use wasmparser::{
    CompositeInnerType, Encoding, KnownCustom, Parser, Payload, Validator, WasmFeatures,
};

use crate::engine::Form;

pub(crate) use error::ModuleError;
pub(crate) use footprint::Footprint;
use world::World;

/// The WebAssembly proposals after version 1, by name.
const FEATURES: &[(&str, WasmFeatures)] = &[
    ("mutable-global", WasmFeatures::MUTABLE_GLOBAL),
    ("saturating-float-to-int", WasmFeatures::SATURATING_FLOAT_TO_INT),
    ("sign-extension", WasmFeatures::SIGN_EXTENSION),
    ("reference-types", WasmFeatures::REFERENCE_TYPES),
    ("multi-value", WasmFeatures::MULTI_VALUE),
    ("bulk-memory", WasmFeatures::BULK_MEMORY),
    ("simd", WasmFeatures::SIMD),
    ("relaxed-simd", WasmFeatures::RELAXED_SIMD),
    ("threads", WasmFeatures::THREADS),
    ("tail-call", WasmFeatures::TAIL_CALL),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("exceptions", WasmFeatures::EXCEPTIONS),
    ("memory64", WasmFeatures::MEMORY64),
    ("extended-const", WasmFeatures::EXTENDED_CONST),
    ("function-references", WasmFeatures::FUNCTION_REFERENCES),
    ("gc", WasmFeatures::GC),
    ("custom-page-sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("wide-arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("legacy-exceptions", WasmFeatures::LEGACY_EXCEPTIONS),
];

/// The result of an analysis.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    kind: ModuleKind,
    bytes: usize,
    imports: Vec<Import>,
    exports: Vec<Export>,
    memories: Vec<Memory>,
    /// The proposals after WebAssembly 1 that the module requires.
    features: Vec<&'static str>,
    producers: Vec<Producer>,
    custom_sections: Vec<Section>,
    /// The imports and exports of a component.
    #[serde(skip_serializing_if = "Option::is_none")]
    world: Option<World>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModuleKind {
    Preview1Command,
    Preview1Reactor,
    CoreModule,
    ComponentCommand,
    ComponentHttp,
    Component,
}

#[derive(Debug, Serialize)]
struct Import {
    module: String,
    name: String,
    #[serde(rename = "type")]
    ty: String,
    /// Whether the host provides the function.
    provided: bool,
}

#[derive(Debug, Serialize)]
struct Export {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

#[derive(Debug, Serialize)]
struct Memory {
    initial_bytes: u64,
    maximum_bytes: Option<u64>,
    shared: bool,
    memory64: bool,
    imported: bool,
}

#[derive(Debug, Serialize)]
struct Producer {
    field: String,
    name: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Section {
    name: String,
    bytes: usize,
}

impl ModuleKind {
    fn text(self) -> &'static str {
        match self {
            ModuleKind::Preview1Command => "WASI Preview 1 command",
            ModuleKind::Preview1Reactor => "WASI Preview 1 reactor (a library)",
            ModuleKind::CoreModule => "core module",
            ModuleKind::ComponentCommand => "component: a command",
            ModuleKind::ComponentHttp => "component: an HTTP handler",
            ModuleKind::Component => "component: a library",
        }
    }
}

/// Analyzes a module or a component.
///
/// # Errors
///
/// A [`ModuleError`]: the bytes are not a valid module or component.
pub(crate) fn facts(path: &Path, bytes: &[u8]) -> Result<Facts, ModuleError> {
    check_magic(path, bytes)?;
    let mut facts = Facts {
        kind: ModuleKind::Component,
        bytes: bytes.len(),
        imports: Vec::new(),
        exports: Vec::new(),
        memories: Vec::new(),
        features: Vec::new(),
        producers: Vec::new(),
        custom_sections: Vec::new(),
        world: None,
    };
    let is_component = is_component(bytes);
    let types = validate(path, bytes)?;
    read_sections(path, bytes, &mut facts)?;
    if is_component {
        let world = World::read(bytes).map_err(|error| invalid(path, &error))?;
        facts.kind = match (world.is_command(), world.is_http()) {
            (true, _) => ModuleKind::ComponentCommand,
            (false, true) => ModuleKind::ComponentHttp,
            (false, false) => ModuleKind::Component,
        };
        facts.world = Some(world);
        return Ok(facts);
    }
    let types = types.as_ref();
    read_imports(types, &mut facts);
    for (name, ty) in types.core_exports().into_iter().flatten() {
        facts.exports.push(Export { name: name.to_owned(), ty: describe(types, ty) });
    }
    let imported = facts.imports.iter().filter(|it| it.ty.starts_with("memory")).count();
    for index in 0..types.memory_count() {
        let memory = types.memory_at(index);
        let page = 1_u64 << memory.page_size_log2.unwrap_or(16);
        facts.memories.push(Memory {
            initial_bytes: memory.initial.saturating_mul(page),
            maximum_bytes: memory.maximum.map(|pages| pages.saturating_mul(page)),
            shared: memory.shared,
            memory64: memory.memory64,
            imported: (index as usize) < imported,
        });
    }
    for (name, feature) in FEATURES {
        if Validator::new_with_features(WasmFeatures::all() - *feature).validate_all(bytes).is_err()
        {
            facts.features.push(name);
        }
    }
    facts.kind = if facts.exports.iter().any(|export| export.name == "_start") {
        ModuleKind::Preview1Command
    } else if facts.imports.iter().any(|import| import.module == MODULE)
        || facts.exports.iter().any(|export| export.name == "_initialize")
    {
        ModuleKind::Preview1Reactor
    } else {
        ModuleKind::CoreModule
    };
    Ok(facts)
}

/// Returns the reason why a module cannot run, or `None` if the analysis finds none.
pub(crate) fn why_not_runnable(path: &Path, bytes: &[u8]) -> Option<ModuleError> {
    let facts = match facts(path, bytes) {
        Ok(facts) => facts,
        Err(error) => return Some(error),
    };
    let path = path.to_owned();
    if let Some(world) = &facts.world {
        return why_component_not_runnable(path, facts.kind, world);
    }
    let missing: Vec<_> = facts.imports.iter().filter(|import| !import.provided).collect();
    if !missing.is_empty() {
        let imports = missing.iter().map(|it| format!("{} {}: {}", it.module, it.name, it.ty));
        return Some(ModuleError::Imports { path, imports: imports.collect() });
    }
    match facts.exports.iter().find(|export| export.name == "_start") {
        None => return Some(ModuleError::Reactor { path }),
        Some(start) if start.ty != "func () -> ()" => {
            return Some(ModuleError::Start { path, found: start.ty.clone() });
        }
        Some(_) => {}
    }
    calls_without_memory(&facts).then_some(ModuleError::Memory { path })
}

fn why_component_not_runnable(
    path: PathBuf,
    kind: ModuleKind,
    world: &World,
) -> Option<ModuleError> {
    match kind {
        ModuleKind::ComponentHttp => return Some(ModuleError::ComponentHttp { path }),
        ModuleKind::ComponentCommand => {}
        _ => return Some(ModuleError::ComponentLibrary { path, exports: world.exports.clone() }),
    }
    let missing = world.imports.iter().filter(|import| !import.provided);
    let imports: Vec<_> = missing.map(|import| import.name.clone()).collect();
    (!imports.is_empty()).then_some(ModuleError::Interfaces { path, imports })
}

/// Returns whether the module imports WASI functions that need a memory, without exporting one.
fn calls_without_memory(facts: &Facts) -> bool {
    let has_memory = facts
        .exports
        .iter()
        .any(|export| export.name == "memory" && export.ty.starts_with("memory"));
    !has_memory && facts.imports.iter().any(|import| import.name != "proc_exit")
}

/// The kind of a Preview 1 module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preview1Kind {
    /// A command: the module exports `_start`.
    Command,
    /// A library.
    Reactor,
}

/// Returns the kind of a Preview 1 module, for `componentize`.
///
/// # Errors
///
/// - Those of [`facts`].
/// - [`ModuleError::IsComponent`]: the bytes are a component.
/// - [`ModuleError::Imports`]: imports that Preview 1 does not define.
pub(crate) fn preview1_kind(path: &Path, bytes: &[u8]) -> Result<Preview1Kind, ModuleError> {
    let facts = facts(path, bytes)?;
    let path = path.to_owned();
    let missing = facts.imports.iter().filter(|import| !import.provided);
    let imports: Vec<_> =
        missing.map(|it| format!("{} {}: {}", it.module, it.name, it.ty)).collect();
    match facts.kind {
        ModuleKind::Component | ModuleKind::ComponentCommand | ModuleKind::ComponentHttp => {
            Err(ModuleError::IsComponent { path })
        }
        _ if !imports.is_empty() => Err(ModuleError::Imports { path, imports }),
        ModuleKind::Preview1Command => Ok(Preview1Kind::Command),
        ModuleKind::Preview1Reactor | ModuleKind::CoreModule => Ok(Preview1Kind::Reactor),
    }
}

/// Returns the form of the bytes. Malformed bytes are left to the engine, which rejects them.
pub(crate) fn form(bytes: &[u8]) -> Form {
    if !is_component(bytes) {
        return Form::Module;
    }
    match World::read(bytes) {
        Ok(World { wraps_preview1: true, .. }) => Form::WrappedModule,
        Ok(_) | Err(_) => Form::Component,
    }
}

/// Returns whether the header is that of a component.
fn is_component(bytes: &[u8]) -> bool {
    Parser::is_component(bytes)
}

fn check_magic(path: &Path, bytes: &[u8]) -> Result<(), ModuleError> {
    let path = path.to_owned();
    if bytes.is_empty() {
        return Err(ModuleError::Empty { path });
    }
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"(") || text.starts_with(b";;") {
        return Err(ModuleError::Text { path });
    }
    if bytes.len() < 8 && b"\0asm\x01\0\0\0".starts_with(bytes) {
        return Err(ModuleError::Truncated { path, why: format!("{} bytes", bytes.len()) });
    }
    if !bytes.starts_with(b"\0asm") {
        let start = bytes.get(..bytes.len().min(4)).unwrap_or_default();
        return Err(ModuleError::Magic { path, start: format!("`{}`", start.escape_ascii()) });
    }
    Ok(())
}

fn validate(path: &Path, bytes: &[u8]) -> Result<wasmparser::types::Types, ModuleError> {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map_err(|error| invalid(path, &error))
}

fn invalid(path: &Path, error: &wasmparser::BinaryReaderError) -> ModuleError {
    let path = path.to_owned();
    let why = error.to_string();
    if error.message().contains("unexpected end") {
        return ModuleError::Truncated { path, why };
    }
    ModuleError::Invalid { path, why }
}

fn read_sections(path: &Path, bytes: &[u8], facts: &mut Facts) -> Result<(), ModuleError> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| invalid(path, &error))? {
            Payload::Version { encoding: Encoding::Module | Encoding::Component, .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 => {
                facts
                    .custom_sections
                    .push(Section { name: section.name().to_owned(), bytes: section.data().len() });
                if let KnownCustom::Producers(fields) = section.as_known() {
                    read_producers(fields, facts);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a `producers` section. Custom sections are not validated, so malformed entries are
/// skipped.
fn read_producers(fields: wasmparser::ProducersSectionReader<'_>, facts: &mut Facts) {
    for field in fields.into_iter().flatten() {
        for value in field.values.into_iter().flatten() {
            facts.producers.push(Producer {
                field: field.name.to_owned(),
                name: value.name.to_owned(),
                version: value.version.to_owned(),
            });
        }
    }
}

fn read_imports(types: TypesRef<'_>, facts: &mut Facts) {
    for (module, name, ty) in types.core_imports().into_iter().flatten() {
        let is_function = matches!(ty, EntityType::Func(_) | EntityType::FuncExact(_));
        facts.imports.push(Import {
            module: module.to_owned(),
            name: name.to_owned(),
            ty: describe(types, ty),
            provided: is_function && module == MODULE && FUNCTIONS.contains(&name),
        });
    }
}

/// Formats a type in one line.
fn describe(types: TypesRef<'_>, ty: EntityType) -> String {
    let function = |id: CoreTypeId| {
        let Some(ty) = types.get(id) else { return "(?)".to_owned() };
        let CompositeInnerType::Func(ty) = &ty.composite_type.inner else {
            return "(?)".to_owned();
        };
        let list = |types: &[wasmparser::ValType]| {
            types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let results = match ty.results() {
            [one] => one.to_string(),
            many => format!("({})", list(many)),
        };
        format!("({}) -> {results}", list(ty.params()))
    };
    match ty {
        EntityType::Func(id) | EntityType::FuncExact(id) => format!("func {}", function(id)),
        EntityType::Tag(id) => format!("tag {}", function(id)),
        EntityType::Table(table) => {
            format!("table {} {}", limits(table.initial, table.maximum), table.element_type)
        }
        EntityType::Memory(memory) => {
            let wide = if memory.memory64 { " 64-bit" } else { "" };
            let shared = if memory.shared { " shared" } else { "" };
            format!("memory {}{wide}{shared}", limits(memory.initial, memory.maximum))
        }
        EntityType::Global(global) => {
            let mutable = if global.mutable { "mut " } else { "" };
            format!("global {mutable}{}", global.content_type)
        }
    }
}

fn limits(initial: u64, maximum: Option<u64>) -> String {
    match maximum {
        Some(maximum) => format!("{initial}..{maximum}"),
        None => format!("{initial}.."),
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, {} bytes", self.kind.text(), self.bytes)?;
        if let Some(world) = &self.world {
            fmt_world(world, f)?;
        }
        for (title, provided) in
            [("imports provided by this host", true), ("imports missing from this host", false)]
        {
            let imports: Vec<_> =
                self.imports.iter().filter(|import| import.provided == provided).collect();
            heading(f, title, imports.len())?;
            for it in imports {
                let (module, name) = (escape::name(&it.module), escape::name(&it.name));
                writeln!(f, "  {module} {name}: {}", escape::line(&it.ty))?;
            }
        }
        heading(f, "exports", self.exports.len())?;
        for export in &self.exports {
            writeln!(f, "  {}: {}", escape::name(&export.name), escape::line(&export.ty))?;
        }
        heading(f, "memories", self.memories.len())?;
        for memory in &self.memories {
            write!(f, "  {} bytes initially", memory.initial_bytes)?;
            match memory.maximum_bytes {
                Some(bytes) => write!(f, ", at most {bytes}")?,
                None => write!(f, ", no maximum")?,
            }
            for (is, word) in [
                (memory.shared, ", shared"),
                (memory.memory64, ", 64-bit"),
                (memory.imported, ", imported"),
            ] {
                f.write_str(if is { word } else { "" })?;
            }
            writeln!(f)?;
        }
        if !self.features.is_empty() {
            writeln!(f, "features: {}", self.features.join(", "))?;
        }
        heading(f, "producers", self.producers.len())?;
        for it in &self.producers {
            let (field, name) = (escape::name(&it.field), escape::name(&it.name));
            writeln!(f, "  {field}: {name} {}", escape::name(&it.version))?;
        }
        heading(f, "custom sections", self.custom_sections.len())?;
        for section in &self.custom_sections {
            writeln!(f, "  {}: {} bytes", escape::name(&section.name), section.bytes)?;
        }
        Ok(())
    }
}

fn fmt_world(world: &World, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    if world.wraps_preview1 {
        writeln!(f, "contains a Preview 1 module and an adapter")?;
    }
    for (title, provided) in
        [("imports provided by this host", true), ("imports missing from this host", false)]
    {
        let imports: Vec<_> = world.imports.iter().filter(|it| it.provided == provided).collect();
        heading(f, title, imports.len())?;
        for it in imports {
            writeln!(f, "  {}", escape::name(&it.name))?;
        }
    }
    heading(f, "exports", world.exports.len())?;
    for export in &world.exports {
        writeln!(f, "  {}", escape::name(export))?;
    }
    Ok(())
}

fn heading(f: &mut std::fmt::Formatter<'_>, title: &str, count: usize) -> std::fmt::Result {
    if count == 0 { Ok(()) } else { writeln!(f, "{title}: {count}") }
}
