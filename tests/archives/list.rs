//! Lists archives for `tests/archives/run`: one line per node, with tabs between the fields.
//!
//! Reads the paths of archives from standard input. Paths and targets are in hexadecimal, since
//! they may contain any character.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;

use palisade_vfs::{Cookie, DirRef, Errno, FileType, Follow, Image, OpenHow, path};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

fn main() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for archive in std::io::stdin().lock().lines() {
        let archive = archive?;
        match Image::open_ambient(archive.as_ref()) {
            Err(error) => writeln!(out, "error\t{}", hex(&error.to_string()))?,
            Ok(image) => {
                list(&image.root(), "", &mut out)?;
                for omitted in image.omitted().first() {
                    let reason = hex(&omitted.reason.to_string());
                    writeln!(out, "omitted\t{}\t{reason}", hex(&omitted.path))?;
                }
                writeln!(out, "count\t{}\t{}", image.entries(), image.omitted().count())?;
            }
        }
        writeln!(out, "end")?;
        out.flush()?;
    }
    Ok(())
}

fn list(dir: &DirRef, parent: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let mut entries = Vec::new();
    let read = dir.read_dir(Cookie::START, &mut |entry| {
        entries.push((entry.name.as_str().to_owned(), entry.kind));
        ControlFlow::Continue(())
    });
    read.map_err(failed)?;
    for (name, kind) in entries {
        let at = format!("{parent}{name}");
        let stat = path::stat(&**dir, &name, Follow::No).map_err(failed)?;
        let time = stat.modified.seconds();
        match kind {
            FileType::Dir => {
                writeln!(out, "dir\t{}\t{time}", hex(&at))?;
                let opened = path::open(&**dir, &name, Follow::No, OpenHow::HOLD_DIR);
                let child = opened.and_then(|opened| opened.into_dir()).map_err(failed)?;
                list(&child, &format!("{at}/"), out)?;
            }
            FileType::Symlink => {
                // An absolute target leads out of the mount, and is not returned.
                let target = path::read_link(&**dir, &name).unwrap_or_default();
                writeln!(out, "link\t{}\t{time}\t{}", hex(&at), hex(&target))?;
            }
            _ => {
                let sum = match checksum(dir, &name, stat.size) {
                    Ok(sum) => sum.to_string(),
                    Err(errno) => format!("{errno:?}"),
                };
                writeln!(out, "file\t{}\t{time}\t{}\t{sum}", hex(&at), stat.size)?;
            }
        }
    }
    Ok(())
}

/// The CRC-32 of a file.
fn checksum(dir: &DirRef, name: &str, size: u64) -> Result<u32, Errno> {
    let opened = path::open(&**dir, name, Follow::No, OpenHow::READ);
    let file = opened.and_then(|opened| opened.into_file())?;
    let (mut crc, mut done) = (flate2::Crc::new(), 0);
    while done < size {
        let mut piece = Vec::new();
        match file.read_vec(&mut piece, PIECE_BYTES, done)? {
            0 => return Err(Errno::Io),
            n => done += n as u64,
        }
        crc.update(&piece);
    }
    Ok(crc.sum())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(errno: Errno) -> std::io::Error {
    std::io::Error::other(format!("{errno:?}"))
}
