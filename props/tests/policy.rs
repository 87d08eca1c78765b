//! Policies of rules: no sequence of allowed operations widens anything, on any stack; and what is
//! confined by rules goes through the kit.

#![allow(clippy::unwrap_used)]

mod common;

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use common::TMPFS;
use palisade_policy::{Live, Policy, confine, confine_at, confine_live};
use palisade_props::widening::{DIRS, Dice, Stack, check, seed};
use palisade_props::{Made, Promises, World, cases, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, Follow, HostDir, HostLayer, MemFs, Mounts,
    Name, Node, OpenFlags, OpenHow, Result, Rights, SetTimes, Stat, Stop, path,
};

/// What the policy lies over.
#[derive(Clone, Copy, Debug)]
enum Base {
    Memory,
    Host,
    /// An overlay: memory over memory.
    MemoryOverlay,
    /// An overlay: the host over the host.
    HostOverlay,
    /// Memory with another memory mounted at `m`.
    Mounted,
}

/// How the policy lies over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Once,
    Twice,
    /// Each directory of the root is confined as what it is, and mounted.
    Parts,
    /// Narrowed in the middle.
    Narrowed,
    Broken(Bug),
}

fn io<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|_| Errno::Io)
}

/// The seeded tree, and what must live as long.
fn base(base: Base) -> Result<(DirRef, Box<dyn Any>)> {
    let filled = |root: DirRef| -> Result<DirRef> {
        DIRS.iter().try_for_each(|at| path::create_dir(&*root, at))?;
        seed(&root)?;
        Ok(root)
    };
    let memory = || MemFs::new().root();
    let temp = || io(tempfile::tempdir_in(TMPFS));
    Ok(match base {
        Base::Memory => (filled(memory())?, Box::new(())),
        Base::Host => {
            let temp = temp()?;
            (filled(io(HostDir::open_ambient(temp.path()))?)?, Box::new(temp))
        }
        Base::MemoryOverlay => {
            let overlay = Overlay::new(MemFs::new().layer(), &Lowers::of(filled(memory())?))?;
            (overlay.root(), Box::new(overlay))
        }
        Base::HostOverlay => {
            let (lower, upper) = (temp()?, temp()?);
            filled(io(HostDir::open_ambient(lower.path()))?)?;
            let lowers = Lowers::of(io(HostDir::open_ambient_noatime(lower.path()))?);
            let overlay = Overlay::new(io(HostLayer::open_ambient(upper.path()))?, &lowers)?;
            (overlay.root(), Box::new((overlay, lower, upper)))
        }
        Base::Mounted => {
            let (below, graft) = (memory(), memory());
            path::create_dir(&*below, "m")?;
            let root = Mounts::builder(below).mount("m", graft)?.build();
            for at in DIRS.iter().filter(|at| **at != "m") {
                path::create_dir(&*root, at)?;
            }
            seed(&root)?;
            (root, Box::new(()))
        }
    })
}

fn guarded(bare: &DirRef, guard: Guard, policy: &Arc<Policy>, narrower: Policy) -> Result<Stack> {
    let once = || confine(bare.clone(), policy.clone());
    let mut meanwhile: Option<Box<dyn Fn()>> = None;
    let guarded = match guard {
        Guard::Once => once(),
        Guard::Twice => confine(once(), policy.clone()),
        Guard::Parts => {
            let mut mounts = Mounts::builder(Mounts::empty());
            for at in DIRS.iter().filter(|at| !at.contains('/')) {
                let part = path::open(&**bare, at, Follow::No, OpenHow::HOLD_DIR)?.into_dir()?;
                mounts = mounts.mount(at, confine_at(part, policy.clone(), at))?;
            }
            mounts.build()
        }
        Guard::Narrowed => {
            let live = Live::new(policy.clone());
            let root = confine_live(bare.clone(), &live, "");
            meanwhile = Some(Box::new(move || live.narrow(&narrower).unwrap()));
            root
        }
        Guard::Broken(bug) => Arc::new(Broken { bug, guarded: once(), bare: bare.clone() }),
    };
    Ok(Stack { guarded, bare: bare.clone(), meanwhile, keep: None })
}

/// Some rules: most is allowed, something is taken away here and there, and something is hidden.
fn some_policy(dice: &mut Dice) -> Policy {
    const GLOBS: [&str; 16] = [
        "/**", "/a/**", "/b/**", "/m/**", "/a/d/**", "/{a,b}/*", "/**/s", "/**/f", "/*/d", "/b/d",
        "/m/[fs]", "/a/g", "/*/d/**", "/**/d/s", "/a/{f,l}", "/m/d/g",
    ];
    let sets = [
        Rights::all(),
        Rights::READ_ONLY,
        Rights::all() - Rights::READ,
        Rights::WRITE | Rights::SET_LEN,
        Rights::READ,
        Rights::REMOVE_FILE | Rights::REMOVE_DIR | Rights::RENAME_INTO,
        Rights::CREATE_FILE | Rights::LINK_INTO | Rights::RENAME_FROM,
    ];
    let mut rules = Policy::builder();
    if dice.below(4) > 0 {
        rules = rules.allow("/**", Rights::all());
    }
    for _ in 0..=dice.below(4) {
        let glob = dice.pick(&GLOBS);
        let set = sets.get(usize::try_from(dice.below(7)).unwrap()).copied().unwrap();
        rules = match dice.below(5) {
            0 | 1 => rules.allow(glob, set),
            2 | 3 => rules.deny(glob, set - Rights::LOOKUP),
            _ => rules.hide(if glob == "/**" { "/b/s" } else { glob }),
        };
    }
    rules.build().unwrap()
}

fn fault(of: Base, guard: Guard, nth: u64) -> Option<String> {
    let mut dice = Dice::new(!nth);
    let policy = Arc::new(some_policy(&mut dice));
    let start = dice.below(u64::MAX);
    let fresh = || {
        let (bare, keep) = base(of)?;
        let narrower = some_policy(&mut Dice::new(start));
        Ok(Stack { keep: Some(keep), ..guarded(&bare, guard, &policy, narrower)? })
    };
    let rights = |path: &str| policy.rights(policy.at(path));
    let fault = check(nth, &fresh, &rights).err()?;
    let rules = policy.rules().iter().map(|rule| format!("{rule:?}\n"));
    Some(format!("{of:?} {guard:?} {fault}under\n{}", rules.collect::<String>()))
}

fn assert_narrow(of: Base, guard: Guard, fallback: u32) {
    for nth in 0..u64::from(cases(fallback)) {
        if let Some(fault) = fault(of, guard, nth) {
            panic!("{fault}");
        }
    }
}

macro_rules! nothing_is_widened {
    ($($stack:ident $base:ident $guard:ident $runs:expr;)*) => {$(
        #[test]
        fn $stack() {
            assert_narrow(Base::$base, Guard::$guard, $runs);
        }
    )*};
}

mod nothing_is_widened {
    use super::*;

    nothing_is_widened! {
        in_memory Memory Once 1000;
        in_memory_guarded_twice Memory Twice 300;
        in_memory_guarded_in_parts Memory Parts 500;
        in_memory_narrowed_meanwhile Memory Narrowed 500;
        in_a_directory_of_the_host Host Once 100;
        in_an_overlay_of_memory MemoryOverlay Once 300;
        in_an_overlay_of_the_host HostOverlay Once 50;
        in_an_overlay_of_memory_guarded_twice MemoryOverlay Twice 100;
        across_mounts Mounted Once 500;
        across_mounts_narrowed_meanwhile Mounted Narrowed 300;
        in_an_overlay_of_memory_narrowed_meanwhile MemoryOverlay Narrowed 100;
    }
}

/// What is wrong with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// None: the one that must pass.
    None,
    /// A rename does not ask what the new name grants.
    RenameRefers,
    /// Nor does a link.
    LinkRefers,
    /// A rename replaces whatever is there.
    RenameReplaces,
    /// The directory grants removal, whatever is to be removed.
    Removes,
    /// What is opened for reading can be read wherever it is.
    Reads,
    /// To truncate is not to write.
    Truncates,
}

/// A layer that falls back to what lies beneath the policy.
struct Broken {
    bug: Bug,
    guarded: DirRef,
    bare: DirRef,
}

impl Broken {
    fn of(dir: &dyn Dir) -> Result<&Broken> {
        (dir as &dyn Any).downcast_ref::<Broken>().ok_or(Errno::Xdev)
    }

    fn bare_if(&self, bug: Bug) -> Option<&DirRef> {
        (self.bug == bug).then_some(&self.bare)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Broken {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let answer = match (self.guarded.open(path, how), self.bug) {
            (Err(Stop::Errno(Errno::Acces)), Bug::Reads) if how == OpenHow::READ => {
                self.bare.open(path, how)
            }
            (Err(Stop::Errno(Errno::Acces)), Bug::Truncates)
                if !how.access.writes() && !how.creates() =>
            {
                self.bare.open(path, how)
            }
            (answer, _) => answer,
        };
        match answer? {
            Node::File(file) => Ok(Node::File(file)),
            Node::Dir(guarded) => {
                let bare = self.bare.open(path, OpenHow::HOLD_DIR)?.into_dir()?;
                Ok(Node::Dir(Arc::new(Broken { bug: self.bug, guarded, bare })))
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.guarded.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.guarded.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.guarded.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.guarded.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.guarded.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.guarded.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match (self.guarded.remove_file(name), self.bare_if(Bug::Removes)) {
            (Err(Errno::Acces), Some(bare)) => bare.remove_file(name),
            (answer, _) => answer,
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.guarded.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Broken::of(into)?;
        let answer = self.guarded.rename(name, &*into.guarded, new_name);
        match (answer, self.bug) {
            (Err(Errno::Xdev), Bug::RenameRefers) | (Err(Errno::Acces), Bug::RenameReplaces) => {
                self.bare.rename(name, &*into.bare, new_name)
            }
            (answer, _) => answer,
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Broken::of(into)?;
        match (self.guarded.link(name, &*into.guarded, new_name), self.bare_if(Bug::LinkRefers)) {
            (Err(Errno::Xdev), Some(bare)) => bare.link(name, &*into.bare, new_name),
            (answer, _) => answer,
        }
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.guarded.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.guarded.sync()
    }

    fn may_block(&self) -> bool {
        false
    }

    fn epoch(&self) -> u64 {
        self.guarded.epoch()
    }
}

#[test]
fn a_layer_that_widens_is_caught() {
    let caught = |bug| {
        let runs = u64::from(cases(3000));
        (0..runs).find_map(|nth| fault(Base::Memory, Guard::Broken(bug), nth))
    };
    for bug in [
        Bug::RenameRefers,
        Bug::LinkRefers,
        Bug::RenameReplaces,
        Bug::Removes,
        Bug::Reads,
        Bug::Truncates,
    ] {
        assert!(caught(bug).is_some(), "{bug:?} lives");
    }
    assert_eq!(caught(Bug::None), None);
}

/// Rules that say something, but of what the kit does not touch.
fn elsewhere() -> Arc<Policy> {
    let rules = Policy::builder().allow("/**", Rights::all());
    Arc::new(rules.deny("/elsewhere/**", Rights::WRITE).build().unwrap())
}

/// The same, of which some is hidden: then nobody is told how many names a node has.
fn hidden_elsewhere() -> Arc<Policy> {
    let rules = Policy::builder().allow("/**", Rights::all());
    Arc::new(rules.hide("/elsewhere").hide("/**/.elsewhere*").build().unwrap())
}

macro_rules! kit {
    ($($module:ident $policy:ident $lacks:expr, $make:expr;)*) => {$(
        mod $module {
            use super::*;

            fn fresh() -> Result<World> {
                let make: fn(Arc<Policy>) -> Result<DirRef> = $make;
                Ok(World::new(make($policy())?))
            }

            conformance!(Made::new(stringify!($module), common::MEMORY - $lacks, fresh));
        }
    )*};
}

kit! {
    denied_elsewhere elsewhere Promises::empty(),
        |policy| Ok(confine(MemFs::new().root(), policy));
    hiding_elsewhere hidden_elsewhere Promises::NLINK,
        |policy| Ok(confine(MemFs::new().root(), policy));
    hiding_twice hidden_elsewhere Promises::NLINK,
        |policy| Ok(confine(confine(MemFs::new().root(), policy.clone()), policy));
    hiding_in_a_part hidden_elsewhere Promises::NLINK,
        |policy| Ok(confine_at(MemFs::new().root(), policy, "/work"));
    narrowed elsewhere Promises::NLINK, |policy| {
        let live = Live::new(policy);
        let root = confine_live(MemFs::new().root(), &live, "/work");
        live.narrow(&hidden_elsewhere()).map_err(|_| Errno::Io)?;
        Ok(root)
    };
    hiding_over_an_overlay hidden_elsewhere Promises::NLINK, |policy| {
        let lowers = Lowers::of(MemFs::new().root());
        Ok(confine(Overlay::new(MemFs::new().layer(), &lowers)?.root(), policy))
    };
}

#[test]
fn what_the_kit_runs_under_hides_something() {
    let root = confine(MemFs::new().root(), hidden_elsewhere());
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let create = |at| path::open(&*root, at, Follow::No, how).map(drop);
    assert_eq!(create("elsewhere"), Err(Errno::Acces));
    assert_eq!(create("else"), Ok(()));
}
