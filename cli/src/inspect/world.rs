//! Reads the world of a component: the names of its imports and exports.

use palisade::preview1::MODULE;
use palisade::preview2::INTERFACES;
use serde::Serialize;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// The interface that commands export.
const RUN: &str = "wasi:cli/run";
/// The interface that HTTP handlers export.
const HTTP: &str = "wasi:http/incoming-handler";

/// The imports and exports of a component.
#[derive(Debug, Default, Serialize)]
pub(crate) struct World {
    pub(crate) imports: Vec<Imported>,
    /// The names with versions.
    pub(crate) exports: Vec<String>,
    /// Whether the component contains a Preview 1 module and an adapter.
    pub(crate) wraps_preview1: bool,
}

/// An import of a component.
#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    /// The name with its version, such as `wasi:filesystem/types@0.2.3`.
    pub(crate) name: String,
    /// Whether the host provides the interface.
    pub(crate) provided: bool,
}

impl World {
    /// Reads the world of a component.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut world = World::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding: Encoding::Module | Encoding::Component, .. } => {
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports {
                        let name = import?.name.name.to_owned();
                        let provided = is_provided(&name);
                        world.imports.push(Imported { name, provided });
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports {
                        world.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        world.wraps_preview1 |= import?.module == MODULE;
                    }
                }
                _ => {}
            }
        }
        Ok(world)
    }

    /// Returns whether the component is a command.
    pub(crate) fn is_command(&self) -> bool {
        self.exports_interface(RUN)
    }

    /// Returns whether the component is an HTTP handler.
    pub(crate) fn is_http(&self) -> bool {
        self.exports_interface(HTTP)
    }

    fn exports_interface(&self, wanted: &str) -> bool {
        self.exports.iter().any(|it| split(it).0 == wanted)
    }
}

/// Splits a name into the interface and its version.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Returns whether the host provides an interface: version 0.2 in any patch version.
fn is_provided(name: &str) -> bool {
    let (interface, version) = split(name);
    let patch = version.strip_prefix("0.2.").unwrap_or_default();
    INTERFACES.contains(&interface) && patch.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_patch_of_version_0_2_is_provided() {
        for (name, expected) in [
            ("wasi:cli/environment@0.2.0", true),
            ("wasi:filesystem/types@0.2.99", true),
            ("wasi:filesystem/types@0.3.0", false),
            ("wasi:filesystem/types@0.2.0-rc-2023-11-10", false),
            ("wasi:filesystem/types", false),
            ("wasi:http/types@0.2.0", false),
            ("my:own/thing@0.2.0", false),
        ] {
            assert_eq!(is_provided(name), expected, "{name}");
        }
    }
}
