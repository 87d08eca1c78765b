//! Layers as archives on the host: which compression, and that no half of one is left behind.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use palisade::overlay::{
    ExportError, Exported, ImportLimits, Imported, UpperRef, export_layer, import_layer,
};

use crate::ambient;
use crate::error::Error;
use crate::output::{Reach, Target};

/// What gzip and Zstandard begin with.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// As much as tells them apart.
const START_BYTES: u64 = 4;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Where an archive is going to be, with a name that says how it is compressed.
#[derive(Debug)]
pub(crate) struct Archive {
    target: Target,
    packing: Packing,
}

impl Archive {
    /// Errors: a name that says nothing; those of [`Target::new`].
    pub(crate) fn new(path: &Path, reach: &Reach) -> Result<Self, Error> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let packing = match () {
            () if ends(&[".tar"]) => Packing::Plain,
            () if ends(&[".tar.gz", ".tgz"]) => Packing::Gzip,
            () if ends(&[".tar.zst", ".tzst"]) => Packing::Zstd,
            () => return Err(Error::ArchiveName { path: path.to_owned() }),
        };
        Ok(Archive { target: Target::new(path, reach)?, packing })
    }

    /// Writes a layer. The file is there when it is whole.
    pub(crate) fn write(&self, layer: &UpperRef) -> Result<Exported, Error> {
        let written = self.target.write(ExportError::Write, |file| self.pack(file, layer));
        written.map_err(|why| Error::Export { path: self.target.path().to_owned(), why })
    }

    fn pack(&self, file: File, layer: &UpperRef) -> Result<Exported, ExportError> {
        let mut file = BufWriter::new(file);
        let exported = match self.packing {
            Packing::Plain => export_layer(layer, &mut file)?,
            Packing::Gzip => {
                let mut packed = GzEncoder::new(&mut file, Compression::default());
                let exported = export_layer(layer, &mut packed)?;
                packed.finish()?;
                exported
            }
            Packing::Zstd => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                let mut packed = zstd::Encoder::new(&mut file, level)?;
                let exported = export_layer(layer, &mut packed)?;
                packed.finish()?;
                exported
            }
        };
        file.flush()?;
        Ok(exported)
    }
}

/// Reads an archive into a layer, which must be empty. Its compression is seen by its content.
pub(crate) fn read(path: &Path, layer: &UpperRef) -> Result<Imported, Error> {
    let fail = |why| Error::Read { option: "import", path: path.to_owned(), why };
    let mut file = BufReader::new(ambient::open("import", path)?);
    let mut start = Vec::new();
    file.by_ref().take(START_BYTES).read_to_end(&mut start).map_err(fail)?;
    let whole = BufReader::new(start.as_slice().chain(file));
    let mut unpacked: Box<dyn Read + '_> = match () {
        () if start.starts_with(GZIP) => Box::new(MultiGzDecoder::new(whole)),
        () if start.starts_with(ZSTD) => Box::new(zstd::Decoder::with_buffer(whole).map_err(fail)?),
        () => Box::new(whole),
    };
    import_layer(&mut unpacked, layer, ImportLimits::default())
        .map_err(|why| Error::Import { path: path.to_owned(), why })
}
