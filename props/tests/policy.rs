//! The conformance kit on stacks that policies of rules confine.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use palisade_policy::{Live, Policy, confine, confine_at, confine_live};
use palisade_props::{Capabilities, SubjectFn, TestFs, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, DirRef, Errno, Follow, MemFs, OpenFlags, OpenHow, Result, Rights, path,
};

/// A policy whose one restriction lies on paths that the kit does not use.
fn denied_path() -> Arc<Policy> {
    let rules = Policy::builder().allow("/**", Rights::all());
    Arc::new(rules.deny("/elsewhere/**", Rights::WRITE).build().unwrap())
}

/// A policy that hides paths that the kit does not use. Link counts are then not reported.
fn hidden_path() -> Arc<Policy> {
    let rules = Policy::builder().allow("/**", Rights::all());
    Arc::new(rules.hide("/elsewhere").hide("/**/.elsewhere*").build().unwrap())
}

macro_rules! kit {
    ($($module:ident $policy:ident $lacks:expr, $make:expr;)*) => {$(
        mod $module {
            use super::*;

            fn fresh() -> Result<TestFs> {
                let make: fn(Arc<Policy>) -> Result<DirRef> = $make;
                Ok(TestFs::new(make($policy())?))
            }

            conformance!(SubjectFn::new(stringify!($module), common::MEMORY - $lacks, fresh));
        }
    )*};
}

kit! {
    path_denied denied_path Capabilities::empty(),
        |policy| Ok(confine(MemFs::new().root(), policy));
    path_hidden hidden_path Capabilities::NLINK,
        |policy| Ok(confine(MemFs::new().root(), policy));
    path_hidden_twice hidden_path Capabilities::NLINK,
        |policy| Ok(confine(confine(MemFs::new().root(), policy.clone()), policy));
    path_hidden_in_a_preopen hidden_path Capabilities::NLINK,
        |policy| Ok(confine_at(MemFs::new().root(), policy, "/work"));
    narrowed denied_path Capabilities::NLINK, |policy| {
        let live = Live::new(policy);
        let root = confine_live(MemFs::new().root(), &live, "/work");
        live.narrow(&hidden_path()).map_err(|_| Errno::Io)?;
        Ok(root)
    };
    path_hidden_over_an_overlay hidden_path Capabilities::NLINK, |policy| {
        let lowers = Lowers::of(MemFs::new().root());
        Ok(confine(Overlay::new(MemFs::new().upper(), &lowers)?.root(), policy))
    };
}

#[test]
fn policy_of_the_kit_hides_a_path() {
    let root = confine(MemFs::new().root(), hidden_path());
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let create = |at| path::open(&*root, at, Follow::No, how).map(drop);
    assert_eq!(create("elsewhere"), Err(Errno::Acces));
    assert_eq!(create("else"), Ok(()));
}
