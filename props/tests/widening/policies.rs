//! Random policies over the names that the guest uses.

use palisade_policy::{Policy, PolicyBuilder};
use palisade_props::widening::Dice;
use palisade_vfs::Rights;

/// Returns the policy with this seed.
pub(crate) fn random_policy(seed: u64) -> Policy {
    let mut dice = Dice::new(!seed);
    let rules = if dice.below(2) == 0 { deny_few(&mut dice) } else { allow_some(&mut dice) };
    rules.build().unwrap()
}

/// Rules that allow, deny and hide here and there; most often over a rule that allows everything.
fn allow_some(dice: &mut Dice) -> PolicyBuilder {
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
        let set = set(dice, &sets);
        rules = match dice.below(5) {
            0 | 1 => rules.allow(glob, set),
            2 | 3 => rules.deny(glob, set - Rights::LOOKUP),
            _ => rules.hide(if glob == "/**" { "/b/s" } else { glob }),
        };
    }
    rules
}

/// Rules under which every node can be renamed, and has fewer rights at some paths.
fn deny_few(dice: &mut Dice) -> PolicyBuilder {
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
        let set = set(dice, &sets);
        rules = if dice.below(6) == 0 { rules.hide(glob) } else { rules.deny(glob, set) };
    }
    rules
}

fn set(dice: &mut Dice, sets: &[Rights]) -> Rights {
    let nth = usize::try_from(dice.below(sets.len() as u64)).unwrap();
    sets.get(nth).copied().unwrap()
}
