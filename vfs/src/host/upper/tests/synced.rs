//! A copied-up file is on disk before its name hides the lower's content.

use super::super::fault_points::{Step, take_steps};
use super::*;

/// Returns the steps of the copy-up of a file.
fn steps_of(world: &World, name: Option<&str>, text: &str) -> Vec<Step> {
    drop(take_steps());
    let mut written_at = 0;
    let mut fill = |file: &dyn crate::File| {
        written_at = take_steps().len();
        file.write_at(&[IoSlice::new(text.as_bytes())], 0).map(drop)
    };
    let what = CopyUp::File(&mut fill);
    let names: Vec<_> = name.iter().map(|name| at_name(&*world.root, name)).collect();
    world.root.copy_up(&names, &lower_stat(FileType::File, 7), what).unwrap();
    assert!(written_at > 0, "{}: the file was made without a step", world.what);
    take_steps()
}

#[test]
fn copied_up_file_is_synced_before_its_name_exists() {
    each_world(ALL, |world| {
        let steps = steps_of(world, Some("new"), "text");
        let synced = steps.iter().position(|step| *step == Step::Sync);
        let synced = synced.unwrap_or_else(|| panic!("{}: no sync: {steps:?}", world.what));
        // The xattr and the times are set before, the rename follows.
        assert_eq!(&steps[..synced], [Step::Change, Step::Change], "{}", world.what);
        assert!(steps[synced + 1..].contains(&Step::Change), "{}: {steps:?}", world.what);
        let syncs = steps.iter().filter(|step| **step == Step::Sync).count();
        assert_eq!(syncs, 1, "{}: {steps:?}", world.what);
        assert_eq!(read(&*world.root, "new"), "text");
    });
}

/// A sync is the slowest step of a small copy, so it is omitted where nothing would be lost.
#[test]
fn empty_or_nameless_copy_is_not_synced() {
    each_world(ALL, |world| {
        for (name, text) in [(Some("empty"), ""), (None, "text")] {
            let steps = steps_of(world, name, text);
            assert!(!steps.contains(&Step::Sync), "{}: {name:?} {steps:?}", world.what);
        }
    });
}
