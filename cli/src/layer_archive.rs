//! Writes and reads overlay layers as compressed tar archives on the host.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use palisade::overlay::{
    ExportError, Exported, ImportError, ImportLimits, Imported, UpperRef, export_layer,
    import_layer,
};

use palisade::vfs::escape;

use crate::ambient;
use crate::error::{CommandError, Error};
use crate::image_notes;
use crate::output_file::{OutputFile, ProtectedPaths};

/// Errors about layer archives.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum ArchiveError {
    #[error("`{}`: the file name does not select an archive format", escape::name(.path))]
    #[diagnostic(
        code(palisade::archive_name),
        help("use a name that ends in `.tar`, `.tar.gz` (`.tgz`) or `.tar.zst` (`.tzst`)")
    )]
    Name { path: PathBuf },

    #[error("cannot write the archive `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::export),
        help("no partial archive was left behind; repair the cause and export again")
    )]
    Export { path: PathBuf, why: ExportError },

    #[error("cannot import the archive `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::import),
        help(
            "the archive must be a layer as `palisade export` writes it: a tar (plain, gzip, Zstandard, xz, bzip2, LZMA) in the format of OCI layers; nothing was imported"
        )
    )]
    Import { path: PathBuf, why: ImportError },
}

impl CommandError for ArchiveError {}

/// The compression of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compressor {
    Plain,
    Gzip,
    Zstd,
}

/// An archive to be written. The extension of its name selects the compression.
#[derive(Debug)]
pub(crate) struct LayerArchive {
    file: OutputFile,
    compressor: Compressor,
}

impl LayerArchive {
    /// Resolves the path of an archive.
    ///
    /// # Errors
    ///
    /// - `palisade::archive_name`: the extension is unknown.
    /// - Those of [`OutputFile::new`].
    pub(crate) fn new(path: &Path, protected: &ProtectedPaths) -> Result<Self, Error> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let compressor = match () {
            () if ends(&[".tar"]) => Compressor::Plain,
            () if ends(&[".tar.gz", ".tgz"]) => Compressor::Gzip,
            () if ends(&[".tar.zst", ".tzst"]) => Compressor::Zstd,
            () => return Err(ArchiveError::Name { path: path.to_owned() }.into()),
        };
        Ok(LayerArchive { file: OutputFile::new(path, protected)?, compressor })
    }

    /// Writes a layer. The file appears only when it is complete.
    pub(crate) fn write(&self, layer: &UpperRef) -> Result<Exported, Error> {
        let written = self.file.write(ExportError::Write, |file| self.write_to(file, layer));
        written
            .map_err(|why| ArchiveError::Export { path: self.file.path().to_owned(), why }.into())
    }

    fn write_to(&self, file: File, layer: &UpperRef) -> Result<Exported, ExportError> {
        let mut file = BufWriter::new(file);
        let exported = match self.compressor {
            Compressor::Plain => export_layer(layer, &mut file)?,
            Compressor::Gzip => {
                let mut encoder = GzEncoder::new(&mut file, Compression::default());
                let exported = export_layer(layer, &mut encoder)?;
                encoder.finish()?;
                exported
            }
            Compressor::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                let mut encoder = zstd::Encoder::new(&mut file, level)?;
                let exported = export_layer(layer, &mut encoder)?;
                encoder.finish()?;
                exported
            }
        };
        file.flush()?;
        Ok(exported)
    }
}

/// Imports an archive, compressed or not, into an empty layer.
pub(crate) fn read(path: &Path, layer: &UpperRef) -> Result<Imported, Error> {
    let mut file = ambient::open("import", path)?;
    let imported = import_layer(&mut file, layer, ImportLimits::default())
        .map_err(|why| ArchiveError::Import { path: path.to_owned(), why })?;
    let host = escape::name(path).to_string();
    image_notes::print_notes("import", &host, &imported.omitted, imported.notes);
    Ok(imported)
}
