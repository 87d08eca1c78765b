//! Faults while a layer is imported, exported or flattened: of one call, of three, and of all.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use palisade_props::faulty::{Faults, Kinds, faulty_upper};
use palisade_props::{Live, Record, Run, Script, Tree};
use palisade_vfs::overlay::{
    ExportError, ImportFault, ImportLimits, Lowers, Overlay, UpperRef, export_layer, flatten,
    import_layer,
};
use palisade_vfs::{DirRef, Errno, MemFs};

const LOWER: &str =
    "mkdir d\nwrite d/g \"old\"\nwrite f \"old\"\nmkdir d/e\nwrite d/e/h \"\"\nmkdir o";
const CHANGES: &str = "write f \"new\"\nunlink d/g\nlink f d/e/k\nsymlink l -> f\nrmdir o\nmkdir o\n\
                       write o/n \"\"\nutimes o 5.0 6.0\nmkdir p\nrename d/e p/q";

/// Returns an overlay with every kind of change in its upper.
fn overlay(upper: UpperRef) -> Overlay {
    let lower = MemFs::new().root();
    Tree::parse(LOWER).unwrap().build(&*lower).unwrap();
    let overlay = Overlay::new(upper, &Lowers::of(lower)).unwrap();
    let mut live = Live::new(overlay.root());
    for op in Script::parse(CHANGES).unwrap().ops() {
        assert_eq!(live.run(&op).errno(), None, "{op}");
    }
    overlay
}

fn record(root: &DirRef) -> Record {
    Record::of(&**root).unwrap()
}

/// Fails the calls of `operation` from each one on, and asserts that each fault is reported by its
/// first errno. `operation` resumes the faults for its main call, and pauses them again.
fn assert_reports_each_fault(operation: impl Fn(&Arc<Faults>) -> Result<(), Errno>) {
    for calls in [1, 3, Faults::FOREVER] {
        let mut nth = 0;
        loop {
            nth += 1;
            let faults = Faults::new(Kinds::All);
            faults.arm_for(nth, calls, Errno::Nospc);
            faults.pause();
            let result = operation(&faults);
            if !faults.hit() {
                break assert_eq!(result, Ok(()));
            }
            assert_eq!(result, Err(Errno::Nospc), "{calls} calls from number {nth} on");
        }
        assert!(nth > 10, "only {nth} calls");
    }
}

fn exported(upper: &UpperRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    export_layer(upper, &mut bytes).unwrap();
    bytes
}

#[test]
fn export_reports_each_fault_and_succeeds_afterwards() {
    assert_reports_each_fault(|faults| {
        let overlay = overlay(faulty_upper(MemFs::new().upper(), faults));
        let (upper, before) = (overlay.upper().unwrap(), record(&overlay.root()));
        let (whole, mut bytes) = (exported(&upper), Vec::new());
        faults.resume();
        let result = export_layer(&upper, &mut bytes);
        faults.pause();
        assert!(whole.starts_with(&bytes));
        assert_eq!(record(&overlay.root()), before);
        assert_eq!(exported(&upper), whole);
        match result {
            Ok(_) => Ok(()),
            Err(ExportError::Layer(error)) => Err(error.errno),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn import_reports_each_fault_and_succeeds_in_another_layer() {
    let archive = exported(&overlay(MemFs::new().upper()).upper().unwrap());
    assert_reports_each_fault(|faults| {
        let into = faulty_upper(MemFs::new().upper(), faults);
        faults.resume();
        let result = import_layer(&mut &archive[..], &into, ImportLimits::default());
        faults.pause();
        let other: UpperRef = MemFs::new().upper();
        import_layer(&mut &archive[..], &other, ImportLimits::default()).unwrap();
        assert_eq!(exported(&other), archive);
        match result.map_err(|error| error.fault) {
            Ok(_) => {
                assert_eq!(exported(&into), archive);
                Ok(())
            }
            Err(ImportFault::Layer(errno)) => Err(errno),
            Err(fault) => panic!("{fault}"),
        }
    });
}

#[test]
fn flatten_reports_each_fault_and_leaves_the_lowers() {
    assert_reports_each_fault(|faults| {
        let fresh = || faulty_upper(MemFs::new().upper(), faults);
        let overlay = overlay(fresh());
        overlay.snapshot(fresh()).unwrap();
        let mut live = Live::new(overlay.root());
        for op in Script::parse("unlink l\nwrite p/q/h \"new\"\nrename o d/o").unwrap().ops() {
            assert_eq!(live.run(&op).errno(), None, "{op}");
        }
        let lowers = overlay.snapshot(fresh()).unwrap();
        let before = record(&lowers.root());
        faults.resume();
        let result = flatten(&lowers, 2, &fresh());
        faults.pause();
        assert_eq!(record(&lowers.root()), before);
        let flat = flatten(&lowers, 2, &fresh()).unwrap();
        let flat = record(&flat.root());
        assert_eq!(flat.tree(), before.tree());
        assert!(flat.modified().eq(before.modified()), "times differ");
        result.map(drop).map_err(|error| error.errno)
    });
}
