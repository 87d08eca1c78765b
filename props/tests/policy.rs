//! Policies of rules: no sequence of allowed operations widens anything, on any stack; and what is
//! confined by rules goes through the kit.

#![allow(clippy::unwrap_used)]

mod common;

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use common::TMPFS;
use palisade_policy::{Live, Policy, State, confine, confine_at, confine_live};
use palisade_props::widening::{DIRS, Dice, RightsAt, Stack, check, seed};
use palisade_props::{Made, Promises, World, cases, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, Follow, HostDir, HostUpper, MemFs, Mounts,
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
    /// The root and some directories in it, each given as a preopen.
    Preopens,
    /// Narrowed in the middle.
    Narrowed,
    /// Both.
    NarrowedPreopens,
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
            let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(filled(memory())?))?;
            (overlay.root(), Box::new(overlay))
        }
        Base::HostOverlay => {
            let (lower, upper) = (temp()?, temp()?);
            filled(io(HostDir::open_ambient(lower.path()))?)?;
            let lowers = Lowers::of(io(HostDir::open_ambient_noatime(lower.path()))?);
            let overlay = Overlay::new(io(HostUpper::open_ambient(upper.path()))?, &lowers)?;
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

/// The directories that are given besides the root.
const PREOPENS: [&str; 4] = ["a", "b", "a/d", "m"];

fn preopens(
    bare: &DirRef,
    confine: impl Fn(DirRef, &str) -> DirRef,
) -> Result<Vec<(String, DirRef)>> {
    let preopen = |at: &&str| {
        let part = path::open(&**bare, at, Follow::No, OpenHow::HOLD_DIR)?.into_dir()?;
        Ok(((*at).to_owned(), confine(part, at)))
    };
    PREOPENS.iter().map(preopen).collect()
}

fn guarded(bare: &DirRef, guard: Guard, policy: &Arc<Policy>, narrower: Policy) -> Result<Stack> {
    let once = || confine(bare.clone(), policy.clone());
    let plain = |guarded| Stack {
        guarded,
        preopens: vec![],
        bare: bare.clone(),
        meanwhile: None,
        keep: None,
    };
    Ok(match guard {
        Guard::Once => plain(once()),
        Guard::Twice => plain(confine(once(), policy.clone())),
        Guard::Parts => {
            let mut mounts = Mounts::builder(Mounts::empty());
            for at in DIRS.iter().filter(|at| !at.contains('/')) {
                let part = path::open(&**bare, at, Follow::No, OpenHow::HOLD_DIR)?.into_dir()?;
                mounts = mounts.mount(at, confine_at(part, policy.clone(), at))?;
            }
            plain(mounts.build())
        }
        Guard::Preopens => {
            let preopens = preopens(bare, |part, at| confine_at(part, policy.clone(), at))?;
            Stack { preopens, ..plain(once()) }
        }
        Guard::Narrowed | Guard::NarrowedPreopens => {
            let live = Live::new(policy.clone());
            let root = confine_live(bare.clone(), &live, "");
            let preopens = match guard {
                Guard::NarrowedPreopens => {
                    preopens(bare, |part, at| confine_live(part, &live, at))?
                }
                _ => Vec::new(),
            };
            let narrow = move || -> Box<RightsAt<'static>> {
                live.narrow(&narrower).unwrap();
                let now = live.policy();
                Box::new(move |path: &str| now.rights(now.at(path)))
            };
            Stack { preopens, meanwhile: Some(Box::new(narrow)), ..plain(root) }
        }
        Guard::Broken(bug) => plain(Arc::new(Broken {
            bug,
            guarded: once(),
            bare: bare.clone(),
            policy: policy.clone(),
            state: Policy::START,
        })),
    })
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
    if dice.below(2) == 0 {
        // Everything may be moved, and in some places less be done.
        return some_places(dice);
    }
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

/// Rules under which everything may be renamed, so that what is moved gets to other rights.
fn some_places(dice: &mut Dice) -> Policy {
    const GLOBS: [&str; 10] = [
        "/b/**",
        "/m/**",
        "/a/d/**",
        "/**/s",
        "/b/**/s",
        "/m/**/f",
        "/**/d/*",
        "/b/d/**",
        "/b/x/**",
        "/{b,m}/**",
    ];
    let sets = [
        Rights::READ,
        Rights::WRITE | Rights::SET_LEN,
        Rights::READ | Rights::WRITE,
        Rights::REMOVE_FILE | Rights::REMOVE_DIR,
        Rights::CREATE_FILE | Rights::CREATE_DIR,
    ];
    let mut rules = Policy::builder().allow("/**", Rights::all());
    for _ in 0..=dice.below(2) {
        let glob = dice.pick(&GLOBS);
        let set = sets.get(usize::try_from(dice.below(5)).unwrap()).copied().unwrap();
        rules = if dice.below(6) == 0 { rules.hide(glob) } else { rules.deny(glob, set) };
    }
    rules.build().unwrap()
}

/// Runs one sequence of operations, and returns how many there were.
fn sequence(of: Base, guard: Guard, nth: u64) -> std::result::Result<usize, String> {
    let mut dice = Dice::new(!nth);
    let policy = Arc::new(some_policy(&mut dice));
    let start = dice.below(u64::MAX);
    let fresh = || {
        let (bare, keep) = base(of)?;
        let narrower = some_policy(&mut Dice::new(start));
        Ok(Stack { keep: Some(keep), ..guarded(&bare, guard, &policy, narrower)? })
    };
    let rights = |path: &str| policy.rights(policy.at(path));
    check(nth, &fresh, &rights).map_err(|fault| {
        let rules = policy.rules().iter().map(|rule| format!("{rule:?}\n"));
        let narrower = match guard {
            Guard::Narrowed | Guard::NarrowedPreopens => some_policy(&mut Dice::new(start)),
            _ => Policy::builder().build().unwrap(),
        };
        let narrower = narrower.rules().iter().map(|rule| format!("narrowed by {rule:?}\n"));
        let rules = rules.chain(narrower).collect::<String>();
        format!("{of:?} {guard:?} {fault}under\n{rules}")
    })
}

/// How far a long run goes: `PALISADE_WIDENING_OPS` operations of each stack, from the sequence
/// `PALISADE_WIDENING_SEED` on, but at most `PALISADE_WIDENING_SECONDS`.
fn asked(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the variables that make tests look longer")]
    let asked = std::env::var(variable);
    asked.ok()?.parse().ok()
}

fn assert_narrow(of: Base, guard: Guard, fallback: u32) {
    let Some(ops_min) = asked("PALISADE_WIDENING_OPS") else {
        for nth in 0..u64::from(cases(fallback)) {
            sequence(of, guard, nth).unwrap_or_else(|fault| panic!("{fault}"));
        }
        return;
    };
    let seconds = asked("PALISADE_WIDENING_SECONDS").unwrap_or(u64::MAX);
    let (first, started) = (asked("PALISADE_WIDENING_SEED").unwrap_or(0), Instant::now());
    let (mut nth, mut ops) = (first, 0);
    while ops < ops_min && started.elapsed().as_secs() < seconds {
        ops += sequence(of, guard, nth).unwrap_or_else(|fault| panic!("{fault}")) as u64;
        nth += 1;
    }
    let elapsed = started.elapsed().as_secs();
    println!("{of:?} {guard:?}: {ops} operations, sequences {first} to {}, {elapsed} s", nth - 1);
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
        in_memory_given_as_preopens Memory Preopens 500;
        in_memory_given_as_preopens_narrowed_meanwhile Memory NarrowedPreopens 500;
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
    /// A directory may be renamed to where less is granted, as a file may.
    DirectoriesNarrow,
}

/// A layer that falls back to what lies beneath the policy.
struct Broken {
    bug: Bug,
    guarded: DirRef,
    bare: DirRef,
    policy: Arc<Policy>,
    state: State,
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
                let (bug, policy) = (self.bug, self.policy.clone());
                let state = path.names().fold(self.state, |at, name| policy.step(at, name));
                Ok(Node::Dir(Arc::new(Broken { bug, guarded, bare, policy, state })))
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
        let (old, new) =
            (self.policy.step(self.state, name), into.policy.step(into.state, new_name));
        match (answer, self.bug) {
            (Err(Errno::Xdev), Bug::DirectoriesNarrow) if self.policy.is_at_most(new, old) => {
                self.bare.rename(name, &*into.bare, new_name)
            }
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
        (0..runs).find_map(|nth| sequence(Base::Memory, Guard::Broken(bug), nth).err())
    };
    for bug in [
        Bug::RenameRefers,
        Bug::LinkRefers,
        Bug::RenameReplaces,
        Bug::Removes,
        Bug::Reads,
        Bug::Truncates,
        Bug::DirectoriesNarrow,
    ] {
        assert!(caught(bug).is_some(), "{bug:?} lives");
    }
    assert_eq!(caught(Bug::None), None);
}

/// A rename of a directory that is judged in one direction only: a handle that is held on it goes
/// on being judged by the old place, and reads and changes what is moved into it.
#[test]
fn a_held_handle_that_launders_a_policy_is_caught_within_ten_thousand_sequences() {
    let caught = |what: &str| {
        (0..10_000).any(|nth| {
            let bug = Guard::Broken(Bug::DirectoriesNarrow);
            sequence(Base::Memory, bug, nth).is_err_and(|fault| fault.contains(what))
        })
    };
    assert!(caught("` read T"), "content that may not be read");
    assert!(caught("` changed what was at "), "content that may not be changed");
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
        Ok(confine(Overlay::new(MemFs::new().upper(), &lowers)?.root(), policy))
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
