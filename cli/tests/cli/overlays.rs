//! Overlays: the guest changes everything, the host's directory stays as it was.

use super::{Case, errno, read};

#[test]
fn changes_of_an_overlay_are_gone_at_the_end() {
    let case = Case::new();
    case.file("d/in", "text");
    case.run(&["--overlay", "d::/w", &case.reader(3, "in")]).prints("text");
    case.run(&["--overlay", "d::/w", &case.writer(3, "in")]).exits(0);
    case.run(&["--overlay", "d::/w", &case.writer(3, "new")]).exits(0);
    assert_eq!(read(&case.path("d/in")), "text");
    assert!(!case.path("d/new").exists());
    case.run(&["--overlay", "d::/w:ro", &case.writer(3, "in")]).exits(errno::ROFS);
    case.run(&["--overlay", "d", &case.lister()]).prints("d\n");
}
