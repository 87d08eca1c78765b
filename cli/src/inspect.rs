//! What a module is, without running it; and, when it cannot be run, why.
//!
//! The reasons of [`refusal`] come in the order in which someone would want to fix them.

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
use crate::error::Error;
pub(crate) use footprint::Footprint;
use world::World;

/// Features beyond the first version of WebAssembly, by the names of their proposals.
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

/// What a module is.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    kind: Kind,
    bytes: usize,
    imports: Vec<Import>,
    exports: Vec<Export>,
    memories: Vec<Memory>,
    /// Features beyond the first version of WebAssembly that it cannot do without.
    features: Vec<&'static str>,
    producers: Vec<Producer>,
    custom_sections: Vec<Section>,
    /// Of a component.
    #[serde(skip_serializing_if = "Option::is_none")]
    world: Option<World>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
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
    /// Whether the host has it.
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

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Preview1Command => "WASI Preview 1 command",
            Kind::Preview1Reactor => "WASI Preview 1 reactor (a library)",
            Kind::CoreModule => "core module",
            Kind::ComponentCommand => "component, a command",
            Kind::ComponentHttp => "component for a web server",
            Kind::Component => "component, a library",
        }
    }
}

/// Looks at a module.
pub(crate) fn facts(path: &Path, bytes: &[u8]) -> Result<Facts, Error> {
    look_at_magic(path, bytes)?;
    let mut facts = Facts {
        kind: Kind::Component,
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
        let world = World::read(bytes).map_err(|error| refused(path, &error))?;
        facts.kind = match (world.is_command(), world.is_http()) {
            (true, _) => Kind::ComponentCommand,
            (false, true) => Kind::ComponentHttp,
            (false, false) => Kind::Component,
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
        Kind::Preview1Command
    } else if facts.imports.iter().any(|import| import.module == MODULE)
        || facts.exports.iter().any(|export| export.name == "_initialize")
    {
        Kind::Preview1Reactor
    } else {
        Kind::CoreModule
    };
    Ok(facts)
}

/// Why a module cannot be run; `None` if nothing speaks against it.
pub(crate) fn refusal(path: &Path, bytes: &[u8]) -> Option<Error> {
    let facts = match facts(path, bytes) {
        Ok(facts) => facts,
        Err(error) => return Some(error),
    };
    let path = path.to_owned();
    if let Some(world) = &facts.world {
        return component_refusal(path, facts.kind, world);
    }
    let missing: Vec<_> = facts.imports.iter().filter(|import| !import.provided).collect();
    if !missing.is_empty() {
        let imports = missing.iter().map(|it| format!("{} {}: {}", it.module, it.name, it.ty));
        return Some(Error::Imports { path, imports: imports.collect() });
    }
    match facts.exports.iter().find(|export| export.name == "_start") {
        None => return Some(Error::Reactor { path }),
        Some(start) if start.ty != "func () -> ()" => {
            return Some(Error::Start { path, found: start.ty.clone() });
        }
        Some(_) => {}
    }
    calls_without_memory(&facts).then_some(Error::Memory { path })
}

fn component_refusal(path: PathBuf, kind: Kind, world: &World) -> Option<Error> {
    match kind {
        Kind::ComponentHttp => return Some(Error::ComponentHttp { path }),
        Kind::ComponentCommand => {}
        _ => return Some(Error::ComponentLibrary { path, exports: world.exports.clone() }),
    }
    let missing = world.imports.iter().filter(|import| !import.provided);
    let imports: Vec<_> = missing.map(|import| import.name.clone()).collect();
    (!imports.is_empty()).then_some(Error::Interfaces { path, imports })
}

/// Whether a function would have no memory to write its answer into.
fn calls_without_memory(facts: &Facts) -> bool {
    let has_memory = facts
        .exports
        .iter()
        .any(|export| export.name == "memory" && export.ty.starts_with("memory"));
    !has_memory && facts.imports.iter().any(|import| import.name != "proc_exit")
}

/// What kind of Preview 1 module it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preview1 {
    /// It has `_start`.
    Command,
    /// It is a library.
    Reactor,
}

/// Looks at a module that is to be packed into a component.
///
/// Errors: what is no module; imports that are not of Preview 1, each named.
pub(crate) fn preview1(path: &Path, bytes: &[u8]) -> Result<Preview1, Error> {
    let facts = facts(path, bytes)?;
    let path = path.to_owned();
    let missing = facts.imports.iter().filter(|import| !import.provided);
    let imports: Vec<_> =
        missing.map(|it| format!("{} {}: {}", it.module, it.name, it.ty)).collect();
    match facts.kind {
        Kind::Component | Kind::ComponentCommand | Kind::ComponentHttp => {
            Err(Error::IsComponent { path })
        }
        _ if !imports.is_empty() => Err(Error::Imports { path, imports }),
        Kind::Preview1Command => Ok(Preview1::Command),
        Kind::Preview1Reactor | Kind::CoreModule => Ok(Preview1::Reactor),
    }
}

/// What the bytes say that they are. What cannot be read is left to the engine to refuse.
pub(crate) fn form(bytes: &[u8]) -> Form {
    if !is_component(bytes) {
        return Form::Module;
    }
    match World::read(bytes) {
        Ok(World { wraps_preview1: true, .. }) => Form::WrappedModule,
        Ok(_) | Err(_) => Form::Component,
    }
}

/// Whether the bytes say that they are a component.
fn is_component(bytes: &[u8]) -> bool {
    Parser::is_component(bytes)
}

fn look_at_magic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let path = path.to_owned();
    if bytes.is_empty() {
        return Err(Error::Empty { path });
    }
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"(") || text.starts_with(b";;") {
        return Err(Error::Text { path });
    }
    if bytes.len() < 8 && b"\0asm\x01\0\0\0".starts_with(bytes) {
        return Err(Error::Truncated { path, why: format!("{} bytes", bytes.len()) });
    }
    if !bytes.starts_with(b"\0asm") {
        let start = bytes.get(..bytes.len().min(4)).unwrap_or_default();
        return Err(Error::Magic { path, start: format!("`{}`", start.escape_ascii()) });
    }
    Ok(())
}

fn validate(path: &Path, bytes: &[u8]) -> Result<wasmparser::types::Types, Error> {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &wasmparser::BinaryReaderError) -> Error {
    let path = path.to_owned();
    let why = error.to_string();
    if error.message().contains("unexpected end") {
        return Error::Truncated { path, why };
    }
    Error::Invalid { path, why }
}

fn read_sections(path: &Path, bytes: &[u8], facts: &mut Facts) -> Result<(), Error> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| refused(path, &error))? {
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

/// Custom sections are hearsay: one that is malformed is left out.
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

/// A type in one line.
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
            [("imports that this host provides", true), ("imports that nobody provides", false)]
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
            write!(f, "  {} bytes at the start", memory.initial_bytes)?;
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
        writeln!(f, "made of a Preview 1 module")?;
    }
    for (title, provided) in
        [("imports that this host provides", true), ("imports that nobody provides", false)]
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
