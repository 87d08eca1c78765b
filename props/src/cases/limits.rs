//! Cases of size limits.

use palisade_vfs::{Access, Errno, Follow, OpenFlags, OpenHow, path};

use super::{Capabilities, Case, TestFs, code, on, row};

pub(super) const CASES: &[Case] = &[
    row(
        "a_name_has_255_bytes_at_most",
        "mkdir \"\\*255;n\" => done\n stat \"\\*255;n\" => dir\n stat \"\\*256;n\" => nametoolong\n
         mkdir \"\\*256;n\" => nametoolong\n open \"\\*256;n\" write create => nametoolong\n
         rename f \"\\*256;n\" => nametoolong\n link f \"\\*256;n\" => nametoolong\n
         symlink \"\\*256;n\" -> f => nametoolong\n stat \"\\*256;n/x\" => nametoolong\n
         stat \"d/\\*256;n\" => nametoolong\n unlink \"\\*256;n\" => nametoolong",
    ),
    row(
        "bytes_count_not_characters",
        "mkdir \"\\*127;é\" => done\n stat \"\\*127;é\" => dir\n mkdir \"\\*128;é\" => nametoolong",
    ),
    row(
        "errors_before_an_overlong_name_take_precedence",
        "stat \"x/\\*256;n\" => noent\n stat \"f/\\*256;n\" => notdir\n
         stat \"../\\*256;n\" => escape",
    ),
    row(
        "a_path_has_4095_bytes_at_most",
        "stat \"\\*4094;/f\" => escape\n stat \"f\\*4095;/\" => nametoolong\n
         stat \"d\\*4094;/\" => dir\n stat \"d\\*4095;/\" => nametoolong\n
         open \"d\\*9999;/\" read => nametoolong",
    ),
    row(
        "a_target_has_4095_bytes_at_most",
        "symlink n -> \"f\\*4095;/\" => nametoolong\n lstat n => noent\n
         symlink n -> \"d\\*4000;/\" => done\n lstat n => symlink size 4001",
    ),
    on(
        "write f \"\"\n symlink l -> f",
        "a_chain_of_40_links_is_followed_and_41_are_a_loop",
        "symlink l0 -> f\n symlink l1 -> l0\n symlink l2 -> l1\n symlink l3 -> l2\n
         symlink l4 -> l3\n symlink l5 -> l4\n symlink l6 -> l5\n symlink l7 -> l6\n
         symlink l8 -> l7\n symlink l9 -> l8\n mkdir d\n symlink d/up -> ..\n
         symlink x10 -> d/up/d/up/d/up/d/up/d/up/d/up/d/up/d/up/d/up\n
         symlink x40 -> x10/x10/x10/x10\n stat x10 => dir\n stat x10/x10/x10/x10 => dir\n
         stat x10/x10/x10/x10/l => loop\n stat x10/x10/x10/x10/f => file\n
         stat x10/x10/x10/l9 => file\n stat x40 => loop\n stat x10/x10/x10/x10/x10 => loop\n
         stat x10/x10/x10/d/up/l8 => file\n stat x10/x10/x10/d/up/l9 => loop",
    ),
    on(
        "mkdir a\n mkdir a/b\n write a/f \"\"",
        "many_dot_components_resolve_correctly",
        "stat a/b/../b/../b/../b/../b/../b/../b/../b/../b/../b/../f => file\n
         stat ./././././././././a/././././././b/./././.././././f => file\n
         stat a/b/../../a/b/../../a/b/../../a/b/../../.. => escape",
    ),
    code("directories_may_lie_deep", Capabilities::WRITE, deep),
    code("sizes_over_the_maximum_are_efbig", Capabilities::WRITE, too_big),
    code(
        "a_file_may_be_longer_than_any_disk",
        Capabilities::WRITE.union(Capabilities::SPARSE),
        sparse,
    ),
    code("a_file_of_a_megabyte_is_read_as_it_was_written", Capabilities::WRITE, megabyte),
];

type Res = Result<(), String>;

const DEPTH: usize = 200;
const CREATE: OpenHow = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);

fn describe(errno: Errno) -> String {
    format!("an operation that must succeed: {errno}")
}

fn deep(world: &TestFs) -> Res {
    let mut at = String::from("d");
    for _ in 0..DEPTH {
        path::create_dir(&*world.dir, &at).map_err(describe)?;
        at.push_str("/d");
    }
    let file = format!("{}f", at.strip_suffix('d').unwrap_or(&at));
    path::open(&*world.dir, &file, Follow::No, CREATE).map_err(describe)?;
    let ups = format!("{}/..", at.replace('d', ".."));
    let down = at.strip_suffix("/d").unwrap_or(&at);
    let stat = path::stat(&*world.dir, &format!("{down}/{}", ups), Follow::No);
    if stat != Err(Errno::Escape) {
        return Err(format!("more `..` than names: {stat:?}"));
    }
    let back = vec![".."; DEPTH].join("/");
    let stat = path::stat(&*world.dir, &format!("{down}/{back}/d"), Follow::No);
    // A walker with a limit may return `Loop`; every other failure is a fault.
    match stat {
        Ok(stat) if stat.kind == palisade_vfs::FileType::Dir => Ok(()),
        Err(Errno::Loop) => Ok(()),
        other => Err(format!("as many `..` as names: {other:?}")),
    }
}

fn too_big(world: &TestFs) -> Res {
    let file = path::open(&*world.dir, "f", Follow::No, CREATE)
        .and_then(palisade_vfs::Node::into_file)
        .map_err(describe)?;
    let buf = [std::io::IoSlice::new(b"xyz")];
    let end = i64::MAX.unsigned_abs();
    for offset in [end - 2, end - 1, end, end + 1, u64::MAX - 3, u64::MAX - 2, u64::MAX] {
        let got = file.write_at(&buf, offset);
        if got != Err(Errno::Fbig) {
            return Err(format!("a write at {offset}: {got:?}"));
        }
    }
    for len in [end + 1, u64::MAX] {
        let got = file.set_len(len);
        if got != Err(Errno::Fbig) {
            return Err(format!("set_len({len}): {got:?}"));
        }
    }
    for (offset, len) in [(end, 1), (1, end), (u64::MAX, u64::MAX), (end + 1, 1)] {
        let got = file.allocate(offset, len);
        if !matches!(got, Err(Errno::Fbig | Errno::Notsup)) {
            return Err(format!("allocate({offset}, {len}): {got:?}"));
        }
    }
    match file.stat().map_err(describe)?.size {
        0 => Ok(()),
        size => Err(format!("what failed left {size} bytes")),
    }
}

fn sparse(world: &TestFs) -> Res {
    let file = path::open(&*world.dir, "f", Follow::No, CREATE)
        .and_then(palisade_vfs::Node::into_file)
        .map_err(describe)?;
    let far = 1 << 62;
    file.set_len(far).map_err(describe)?;
    let mut got = [1; 8];
    for offset in [0, 4096, far - 8] {
        let count =
            file.read_at(&mut [std::io::IoSliceMut::new(&mut got)], offset).map_err(describe)?;
        if got.iter().take(count).any(|byte| *byte != 0) || count == 0 {
            return Err(format!("a hole at {offset} reads as {got:?}"));
        }
    }
    file.write_at(&[std::io::IoSlice::new(b"end")], far - 3).map_err(describe)?;
    let count =
        file.read_at(&mut [std::io::IoSliceMut::new(&mut got)], far - 4).map_err(describe)?;
    match got.get(..count) {
        Some(b"\0end") => Ok(()),
        other => Err(format!("the end reads as {other:?}")),
    }
}

fn megabyte(world: &TestFs) -> Res {
    let file = path::open(&*world.dir, "f", Follow::No, CREATE)
        .and_then(palisade_vfs::Node::into_file)
        .map_err(describe)?;
    let bytes: Vec<u8> =
        (0..1_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let len = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    // From the end to the beginning, in chunks that are not aligned to pages.
    let piece = 70_001;
    for at in (0..bytes.len()).step_by(piece).collect::<Vec<_>>().into_iter().rev() {
        let rest = bytes.get(at..(at + piece).min(bytes.len())).unwrap_or_default();
        let mut done = 0;
        while let Some(rest @ [_, ..]) = rest.get(done..) {
            let count = file.write_at(&[std::io::IoSlice::new(rest)], len(at + done));
            done += count.map_err(describe)?.max(1);
        }
    }
    let tree = crate::tree::Tree::snapshot(&*world.dir).map_err(describe)?;
    let mut want = crate::tree::Tree::new();
    want.insert("f", crate::tree::Leaf::File(bytes));
    if tree == want { Ok(()) } else { Err("what is read is not what was written".to_owned()) }
}
