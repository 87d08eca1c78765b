//! A file that is copied up is on the disk before its name hides the lower's bytes.

use super::super::fault_points::{Step, take_steps};
use super::*;

/// The steps of an adoption of a file.
fn steps_of(world: &World, name: Option<&str>, text: &str) -> Vec<Step> {
    drop(take_steps());
    let mut written_at = 0;
    let mut fill = |file: &dyn crate::File| {
        written_at = take_steps().len();
        file.write_at(&[IoSlice::new(text.as_bytes())], 0).map(drop)
    };
    let what = CopyUp::File(&mut fill);
    let names: Vec<_> = name.iter().map(|name| at_name(&*world.layer, name)).collect();
    world.layer.copy_up(&names, &like(FileType::File, 7), what).unwrap();
    assert!(written_at > 0, "{}: the file was made without a step", world.what);
    take_steps()
}

#[test]
fn a_copied_up_file_is_synced_after_its_bytes_and_before_its_name() {
    each_world(ALL, |world| {
        let steps = steps_of(world, Some("new"), "text");
        let synced = steps.iter().position(|step| *step == Step::Sync);
        let synced = synced.unwrap_or_else(|| panic!("{}: no sync: {steps:?}", world.what));
        // Its mark and its times come before, and the rename to its name after.
        assert_eq!(&steps[..synced], [Step::Change, Step::Change], "{}", world.what);
        assert!(steps[synced + 1..].contains(&Step::Change), "{}: {steps:?}", world.what);
        let syncs = steps.iter().filter(|step| **step == Step::Sync).count();
        assert_eq!(syncs, 1, "{}: {steps:?}", world.what);
        assert_eq!(read(&*world.layer, "new"), "text");
    });
}

/// A sync is the slowest step of a small copy, so what needs none goes without.
#[test]
fn an_empty_or_nameless_copied_up_file_is_not_synced() {
    each_world(ALL, |world| {
        for (name, text) in [(Some("empty"), ""), (None, "text")] {
            let steps = steps_of(world, name, text);
            assert!(!steps.contains(&Step::Sync), "{}: {name:?} {steps:?}", world.what);
        }
    });
}
