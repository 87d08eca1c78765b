//! Random trees: every format reads back the packed tree.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::ops::ControlFlow;

use palisade_vfs::{Cookie, DirRef, FileType, Follow, OpenHow, path};

use crate::archives::{ALL, Format, Item};

/// The node at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Dir,
    File(Vec<u8>),
    Link(String),
}

/// A random number generator (xorshift64*) with a fixed seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

fn random_tree(numbers: &mut Numbers) -> (Vec<Item>, BTreeMap<String, At>) {
    let mut items = Vec::new();
    let mut expected = BTreeMap::new();
    let mut dirs = vec![String::new()];
    for n in 0..numbers.below(60) {
        let dir = dirs[numbers.below(dirs.len())].clone();
        let name = ["a", "ä", "name with spaces", "-x", ".hidden", "b.tar"][numbers.below(6)];
        let at = format!("{dir}{name}{n}");
        match numbers.below(4) {
            0 => {
                dirs.push(format!("{at}/"));
                expected.insert(at.clone(), At::Dir);
                items.push(Item::Dir(at));
            }
            1 => {
                let target = ["..", "../x", "a", "./a/b", "c//d"][numbers.below(5)].to_owned();
                expected.insert(at.clone(), At::Link(target.clone()));
                items.push(Item::Symlink(at, target));
            }
            _ => {
                let len = [0, 1, 511, 512, 513, 5000][numbers.below(6)];
                let bytes: Vec<_> = (0..len).map(|_| numbers.below(4) as u8).collect();
                expected.insert(at.clone(), At::File(bytes.clone()));
                items.push(Item::File(at, bytes));
            }
        }
    }
    (items, expected)
}

fn read_tree(root: &DirRef, below: &str, found: &mut BTreeMap<String, At>) {
    let here = if below.is_empty() { "." } else { below };
    let dir = path::open(&**root, here, Follow::No, OpenHow::HOLD_DIR).unwrap();
    let mut entries = Vec::new();
    dir.into_dir()
        .unwrap()
        .read_dir(Cookie::START, &mut |entry| {
            entries.push((entry.name.as_str().to_owned(), entry.kind));
            ControlFlow::Continue(())
        })
        .unwrap();
    for (name, kind) in entries {
        let at = if below.is_empty() { name } else { format!("{below}/{name}") };
        let what = match kind {
            FileType::Dir => {
                read_tree(root, &at, found);
                At::Dir
            }
            FileType::File => {
                let file = path::open(&**root, &at, Follow::No, OpenHow::READ).unwrap();
                let file = file.into_file().unwrap();
                let mut bytes = vec![0; 8192];
                let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
                bytes.truncate(n);
                assert_eq!(file.stat().unwrap().size, n as u64);
                At::File(bytes)
            }
            FileType::Symlink => At::Link(path::read_link(&**root, &at).unwrap().into()),
            other => panic!("{at} is a {other:?}"),
        };
        assert!(found.insert(at.clone(), what).is_none(), "{at} is listed twice");
    }
}

#[test]
fn random_trees_read_back_from_every_format() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..40 {
        let (items, expected) = random_tree(&mut numbers);
        for format in ALL {
            let mut found = BTreeMap::new();
            read_tree(&format.image(&items).root(), "", &mut found);
            let paths = |tree: &BTreeMap<String, At>| tree.keys().cloned().collect::<Vec<_>>();
            assert_eq!(paths(&found), paths(&expected), "{round} {format:?}");
            for (at, what) in &expected {
                assert_eq!(&found[at], what, "{round} {format:?}: {at}");
            }
        }
    }
}

#[test]
fn image_of_a_hundred_thousand_entries_is_indexed() {
    let items: Vec<_> =
        (0..100_000).map(|n| Item::File(format!("{}/{n}", n % 1000), vec![])).collect();
    for format in [Format::Tar, Format::ZipStored] {
        let root = format.image(&items).root();
        for n in (0..100_000).step_by(997) {
            let at = format!("{}/{n}", n % 1000);
            assert!(path::stat(&*root, &at, Follow::No).is_ok(), "{format:?} {at}");
        }
    }
}
