//! The subjects of the benchmark: the stacks that each workload runs on, and the guest.

/// The guest module, prebuilt from `fsbench.c` in the same directory.
pub const GUEST: &[u8] = include_bytes!("../guest/fsbench.wasm");
/// The path of the preopened directory in the guest.
pub const GUEST_DIR: &str = "/d";
/// The maximum output of a guest, in bytes.
pub const OUTPUT_MAX: usize = 1 << 16;

/// A stack that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The guest's source compiled for the host: plain system calls.
    Native,
    /// wasmtime-wasi 48, Preview 1, with its synchronous linker and blocking on the current thread.
    Peer,
    /// Palisade on the same directory.
    Host,
    /// Palisade on the same directory, under a confining layer that grants everything.
    Confined,
    /// Palisade on a memory filesystem.
    Memory,
    /// Palisade on an overlay whose upper contains all files.
    Upper,
    /// Palisade on an overlay over one memory lower that contains all files.
    Lower1,
    /// Palisade on an overlay over sixteen memory lowers, the lowest of which contains all files.
    Lower16,
    /// Palisade on a memory filesystem, under a policy of one rule.
    Guarded,
    /// The same under 100,000 rules.
    GuardedByMany,
    /// The same under one rule, with an audit record in JSON for each decision.
    Audited,
    /// wasmtime-wasi 48, Preview 2, in the same mode.
    ComponentPeer,
    /// A component on the same directory.
    ComponentHost,
    /// A component on a memory filesystem.
    ComponentMemory,
    /// A component with a no-op `stat-at`.
    ComponentFloor,
}

impl Subject {
    /// All subjects, in the order of a round.
    pub const ALL: [Subject; 15] = [
        Subject::Native,
        Subject::Peer,
        Subject::Host,
        Subject::Confined,
        Subject::Memory,
        Subject::Upper,
        Subject::Lower1,
        Subject::Lower16,
        Subject::Guarded,
        Subject::GuardedByMany,
        Subject::Audited,
        Subject::ComponentPeer,
        Subject::ComponentHost,
        Subject::ComponentMemory,
        Subject::ComponentFloor,
    ];

    /// Returns the name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Native => "native",
            Subject::Peer => "wasmtime-wasi",
            Subject::Host => "host",
            Subject::Confined => "confined",
            Subject::Memory => "memory",
            Subject::Upper => "in the upper",
            Subject::Lower1 => "over 1 lower",
            Subject::Lower16 => "over 16 lowers",
            Subject::Guarded => "1 rule",
            Subject::GuardedByMany => "100,000 rules",
            Subject::Audited => "audited",
            Subject::ComponentPeer => "wasmtime-wasi, component",
            Subject::ComponentHost => "host, component",
            Subject::ComponentMemory => "memory, component",
            Subject::ComponentFloor => "engine alone",
        }
    }

    /// Returns whether the subject runs components.
    pub fn is_component(self) -> bool {
        self >= Subject::ComponentPeer
    }
}
