//! Cases of timestamps.

use palisade_vfs::{Access, Follow, OpenFlags, OpenHow, SetTime, SetTimes, Timestamp, path};

use super::{Capabilities, Case, TestFs, code, row};

pub(super) const CASES: &[Case] = &[
    row(
        "a_time_is_kept_to_the_nanosecond",
        "utimes f keep 1000000000.123456789 => done\n stat f => file mtime 1000000000.123456789\n
         utimes f keep 0.0\n stat f => file mtime 0.0\n utimes f keep 2147483647.999999999\n
         stat f => file mtime 2147483647.999999999",
    ),
    row(
        "keep_leaves_a_time",
        "utimes f 5.0 7.0\n utimes f 6.0 keep\n stat f => file mtime 7.0\n
         utimes f keep keep => done\n stat f => file mtime 7.0",
    ),
    row(
        "times_follow_links_if_asked_to",
        "utimes ln_f keep 5.0\n stat f => file mtime 5.0\n lutimes ln_f keep 6.0\n
         lstat ln_f => symlink mtime 6.0\n stat f => file mtime 5.0\n
         lutimes dang keep 9.0 => done\n lstat dang => symlink mtime 9.0\n
         utimes dang now now => noent\n utimes loop now now => loop",
    ),
    row(
        "directories_have_times",
        "utimes d keep 5.0 => done\n stat d => dir mtime 5.0\n utimes . keep 6.0 => done\n
         stat . => dir mtime 6.0\n utimes d/ keep 7.0\n stat d => dir mtime 7.0",
    ),
    row(
        "times_of_a_missing_node",
        "utimes x now now => noent\n utimes f/ now now => notdir\n utimes f/x now now => notdir\n
         utimes ln_f/ now now => notdir",
    ),
    row(
        "any_handle_sets_times",
        "open f read\n ftimes 0 keep 5.5 => done\n fstat 0 => file mtime 5.5\n
         stat f => file mtime 5.5\n open f hold\n ftimes 1 keep 6.6 => done\n
         stat f => file mtime 6.6",
    ),
    row(
        "reading_leaves_the_time_of_the_last_change",
        "utimes f keep 5.0\n read f\n stat f => file mtime 5.0\n open f write\n
         stat f => file mtime 5.0",
    ),
    row(
        "a_new_name_leaves_the_time_of_the_last_change",
        "utimes f keep 5.0\n rename f n\n stat n => file mtime 5.0\n link n m\n
         stat m => file mtime 5.0",
    ),
    code("every_change_of_content_moves_the_time", Capabilities::USUAL, changes),
    code("every_change_of_entries_moves_the_time_of_the_directory", Capabilities::USUAL, entries),
    code("now_is_between_before_and_after", Capabilities::USUAL, now),
    code("times_are_set_separately", Capabilities::USUAL, both),
    code(
        "every_representable_time_is_kept",
        Capabilities::USUAL.union(Capabilities::ANY_TIME),
        extremes,
    ),
    code("extreme_times_do_not_panic", Capabilities::USUAL, no_panic),
];

type Res = Result<(), String>;

fn at(seconds: i64, nanos: u32) -> SetTimes {
    let time = SetTime::At(Timestamp::new(seconds, nanos));
    SetTimes { accessed: time, modified: time }
}

fn describe(errno: palisade_vfs::Errno) -> String {
    format!("an operation that must succeed: {errno}")
}

fn file(world: &TestFs, name: &str) -> Result<palisade_vfs::FileRef, String> {
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
    let node = path::open(&*world.dir, name, Follow::No, how).map_err(describe)?;
    node.into_file().map_err(describe)
}

fn changes(world: &TestFs) -> Res {
    let file = file(world, "f")?;
    let buf = [std::io::IoSlice::new(b"x")];
    for what in ["write", "append", "set_len", "truncate"] {
        file.set_times(at(5, 0)).map_err(describe)?;
        match what {
            "write" => file.write_at(&buf, 0).map(drop).map_err(describe)?,
            "append" => file.append(&buf).map(drop).map_err(describe)?,
            "set_len" => file.set_len(1).map_err(describe)?,
            _ => {
                let how = OpenHow::new(Access::Write, OpenFlags::TRUNCATE);
                path::open(&*world.dir, "f", Follow::No, how).map(drop).map_err(describe)?;
            }
        }
        let stat = file.stat().map_err(describe)?;
        if stat.modified == Timestamp::new(5, 0) {
            return Err(format!("{what} left the time of the last change"));
        }
    }
    Ok(())
}

fn entries(world: &TestFs) -> Res {
    let dir = &*world.dir;
    path::create_dir(dir, "d").map_err(describe)?;
    path::create_dir(dir, "e").map_err(describe)?;
    for what in [
        "mkdir d/x",
        "rename d/x e/x",
        "rename e/x d/y",
        "rmdir d/y",
        "write d/f \"\"",
        "link d/f d/g",
        "unlink d/g",
        "symlink d/l -> x",
        "rename d/f d/h",
    ] {
        path::set_times(dir, "d", Follow::No, at(5, 0)).map_err(describe)?;
        let mut live = crate::live::Live::new(world.dir.clone());
        let outcome = crate::live::Run::run(&mut live, &crate::op::Op::parse(what)?);
        if outcome.errno().is_some() {
            return Err(format!("{what}: {outcome}"));
        }
        let stat = path::stat(dir, "d", Follow::No).map_err(describe)?;
        if stat.modified == Timestamp::new(5, 0) {
            return Err(format!("`{what}` left the time of the last change of `d`"));
        }
    }
    Ok(())
}

fn now(world: &TestFs) -> Res {
    let file = file(world, "f")?;
    // Filesystems of the host use the time of the last clock tick.
    let tick = std::time::Duration::from_millis(50);
    let before = Timestamp::from(std::time::SystemTime::now() - tick);
    file.set_times(at(5, 0)).map_err(describe)?;
    file.set_times(SetTimes { accessed: SetTime::Keep, modified: SetTime::Now })
        .map_err(describe)?;
    let after = Timestamp::from(std::time::SystemTime::now() + tick);
    let stat = file.stat().map_err(describe)?;
    if stat.modified < before || stat.modified > after {
        return Err(format!("now is {:?}", stat.modified));
    }
    if stat.accessed != Timestamp::new(5, 0) {
        return Err("a time that was to be kept moved".to_owned());
    }
    if stat.changed < before {
        return Err("setting a time is a change of metadata".to_owned());
    }
    Ok(())
}

fn both(world: &TestFs) -> Res {
    let file = file(world, "f")?;
    let (one, two) = (Timestamp::new(11, 12), Timestamp::new(21, 22));
    let times = SetTimes { accessed: SetTime::At(one), modified: SetTime::At(two) };
    file.set_times(times).map_err(describe)?;
    let stat = path::stat(&*world.dir, "f", Follow::No).map_err(describe)?;
    if (stat.accessed, stat.modified) != (one, two) {
        return Err(format!("{:?} {:?}", stat.accessed, stat.modified));
    }
    Ok(())
}

const EXTREMES: [i64; 8] = [i64::MIN, -(1 << 40), -1, 0, 1 << 31, 1 << 33, 1 << 40, i64::MAX];

fn extremes(world: &TestFs) -> Res {
    let file = file(world, "f")?;
    for seconds in EXTREMES {
        for nanos in [0, 1, 999_999_999] {
            file.set_times(at(seconds, nanos)).map_err(describe)?;
            let stat = file.stat().map_err(describe)?;
            if stat.modified != Timestamp::new(seconds, nanos) {
                return Err(format!("{seconds}.{nanos} became {:?}", stat.modified));
            }
        }
    }
    Ok(())
}

/// A filesystem may reject or round an unsupported time, but must not panic.
fn no_panic(world: &TestFs) -> Res {
    let file = file(world, "f")?;
    for seconds in EXTREMES {
        let _ = file.set_times(at(seconds, 999_999_999));
        let _ = path::set_times(&*world.dir, "f", Follow::No, at(seconds, 0));
        file.stat().map_err(describe)?;
    }
    Ok(())
}
