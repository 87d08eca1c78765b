//! What a component asks of its host, and what it offers: its world, as far as names tell it.

use palisade::preview1::MODULE;
use palisade::preview2::INTERFACES;
use serde::Serialize;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// The interface by which a command is run.
const RUN: &str = "wasi:cli/run";
/// The interface by which a server hands over a request.
const HTTP: &str = "wasi:http/incoming-handler";

/// A component's world.
#[derive(Debug, Default, Serialize)]
pub(crate) struct World {
    pub(crate) imports: Vec<Imported>,
    /// With their versions.
    pub(crate) exports: Vec<String>,
    /// Whether it was made of a Preview 1 module, which it holds with an adapter.
    pub(crate) wraps_preview1: bool,
}

/// One import.
#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    /// With its version, as `wasi:filesystem/types@0.2.3`.
    pub(crate) name: String,
    /// Whether the host has it.
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

    /// Whether it is a program.
    pub(crate) fn is_command(&self) -> bool {
        self.exports_interface(RUN)
    }

    /// Whether it is for a web server.
    pub(crate) fn is_http(&self) -> bool {
        self.exports_interface(HTTP)
    }

    fn exports_interface(&self, wanted: &str) -> bool {
        self.exports.iter().any(|it| split(it).0 == wanted)
    }
}

/// An interface and its version.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether the host has an interface: version 0.2 in whatever patch.
fn is_provided(name: &str) -> bool {
    let (interface, version) = split(name);
    let patch = version.strip_prefix("0.2.").unwrap_or_default();
    INTERFACES.contains(&interface) && patch.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_of_version_0_2_is_provided_and_nothing_else() {
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
