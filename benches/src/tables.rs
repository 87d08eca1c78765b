//! The layout of the tables: the subjects and ratios of each, and the limits of the ratios.

use crate::subject::Subject;

/// A table of subjects and of their ratios.
pub struct Table {
    /// The title.
    pub title: &'static str,
    /// The columns with times.
    pub subjects: &'static [Subject],
    /// The columns with ratios.
    pub ratios: &'static [Ratio],
}

/// A ratio of two subjects and its limits.
pub struct Ratio {
    /// The title of the column.
    pub name: &'static str,
    /// The numerator.
    pub over: Subject,
    /// The denominator.
    pub under: Subject,
    /// The limits by workload; `*` applies to the others.
    pub bounds: &'static [(&'static str, f64)],
}

impl Ratio {
    /// Returns the limit for `workload`.
    pub fn bound(&self, workload: &str) -> Option<f64> {
        let of = |name: &str| self.bounds.iter().find(|(of, _)| *of == name).map(|(_, most)| *most);
        of(workload).or_else(|| of("*"))
    }
}

const fn ratio(
    name: &'static str,
    over: Subject,
    under: Subject,
    bounds: &'static [(&'static str, f64)],
) -> Ratio {
    Ratio { name, over, under, bounds }
}

/// All tables, in order.
pub const TABLES: &[Table] = &[
    Table {
        title: "Modules, on a directory of the host and in memory",
        subjects: &[
            Subject::Native,
            Subject::Peer,
            Subject::Host,
            Subject::Confined,
            Subject::Memory,
        ],
        ratios: &[
            ratio("host / native", Subject::Host, Subject::Native, &[]),
            ratio("host / peer", Subject::Host, Subject::Peer, HOST),
            ratio("confined / host", Subject::Confined, Subject::Host, &[]),
            ratio("memory / peer", Subject::Memory, Subject::Peer, MEMORY),
        ],
    },
    Table {
        title: "Overlays over memory. Files that a workload writes were copied up before the measurement",
        subjects: &[Subject::Memory, Subject::Upper, Subject::Lower1, Subject::Lower16],
        ratios: &[
            ratio("upper / memory", Subject::Upper, Subject::Memory, &[("*", 1.3)]),
            ratio("1 lower / memory", Subject::Lower1, Subject::Memory, ONE_LOWER),
            ratio("16 lowers / memory", Subject::Lower16, Subject::Memory, MANY_LOWERS),
        ],
    },
    Table {
        title: "Policies, in memory",
        subjects: &[Subject::Memory, Subject::Guarded, Subject::GuardedByMany, Subject::Audited],
        ratios: &[
            ratio("1 rule / none", Subject::Guarded, Subject::Memory, &[("*", 1.15)]),
            ratio("100,000 rules / 1", Subject::GuardedByMany, Subject::Guarded, &[("*", 1.1)]),
            ratio("audited / not", Subject::Audited, Subject::Guarded, &[("*", 1.5)]),
        ],
    },
    Table {
        title: "Components: the same guest in the standard adapter, and (`direct_…`) a guest that calls \
                `wasi:filesystem` directly",
        subjects: &[
            Subject::ComponentPeer,
            Subject::ComponentHost,
            Subject::ComponentMemory,
            Subject::ComponentFloor,
        ],
        ratios: &[
            ratio("host / peer", Subject::ComponentHost, Subject::ComponentPeer, COMPONENT_HOST),
            ratio(
                "memory / peer",
                Subject::ComponentMemory,
                Subject::ComponentPeer,
                COMPONENT_MEMORY,
            ),
        ],
    },
];

const HOST: &[(&str, f64)] = &[
    ("*", 1.0),
    ("open_close", 0.65),
    ("stat", 0.25),
    ("stat_deep", 0.5),
    ("stat_missing", 0.65),
    ("fstat", 0.3),
    ("read_64b", 0.65),
    ("write_64b_append", 0.4),
    ("seek_tell", 0.2),
    ("clock_gettime", 0.5),
    ("fd_fdstat_get", 0.06),
];

const MEMORY: &[(&str, f64)] = &[
    ("open_close", 0.05),
    ("stat", 0.03),
    ("fstat", 0.04),
    ("read_64b", 0.07),
    ("read_4k", 0.25),
    ("overwrite_4k", 0.15),
    ("create_unlink", 0.05),
    ("rename", 0.05),
    ("mkdir_rmdir", 0.05),
];

const ONE_LOWER: &[(&str, f64)] = &[("stat", 1.5), ("open_close", 1.5), ("read_4k", 1.5)];

const MANY_LOWERS: &[(&str, f64)] = &[("stat", 2.0), ("open_close", 2.0), ("read_4k", 2.0)];

const COMPONENT_HOST: &[(&str, f64)] =
    &[("*", 1.0), ("stat", 0.55), ("fd_fdstat_get", 0.6), ("direct_stat", 0.4)];

const COMPONENT_MEMORY: &[(&str, f64)] = &[
    ("stat", 0.4),
    ("open_close", 0.4),
    ("direct_stat", 0.15),
    ("direct_stat-nofollow", 0.15),
    ("direct_open-close", 0.15),
    ("direct_create-unlink", 0.15),
    ("direct_mkdir-rmdir", 0.15),
    ("direct_rename", 0.15),
    ("direct_stream", 0.667),
];
