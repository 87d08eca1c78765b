//! The input of the fuzz target: calls with arguments biased toward meaningful values.

use arbitrary::Arbitrary;
use palisade_preview2::bindings::sync::filesystem::types as fs;

/// A handle, biased toward the guest's own handles.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Handle {
    Own(u8),
    Free(u32),
}

/// A length or an offset.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Number {
    Small(u8),
    Middle(u32),
    NearTheEnd(u8),
    NearTheSign(i8),
    Free(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Part {
    D,
    F,
    L,
    H,
    New,
    Dot,
    DotDot,
    Nothing,
    Long,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Text {
    Parts(Vec<Part>),
    Free(String),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Time {
    Keep,
    Now,
    At(u64, u32),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) follow: bool,
    how: u8,
    flags: u8,
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Call {
    Preopens,
    Open(Handle, Text, Open),
    ReadStream(Handle, Number),
    WriteStream(Handle, Number),
    AppendStream(Handle),
    Advise(Handle, Number, Number, u8),
    Sync(Handle, bool),
    Look(Handle),
    SetSize(Handle, Number),
    SetTimes(Handle, Time, Time),
    SetTimesAt(Handle, bool, Text, Time, Time),
    Read(Handle, Number, Number),
    Write(Handle, u16, Number),
    ReadDirectory(Handle),
    NextEntry(Handle),
    CreateDirectory(Handle, Text),
    RemoveDirectory(Handle, Text),
    Unlink(Handle, Text),
    Symlink(Handle, Text, Text),
    ReadLink(Handle, Text),
    Link(Handle, bool, Text, Handle, Text),
    Rename(Handle, Text, Handle, Text),
    StatAt(Handle, bool, Text),
    HashAt(Handle, bool, Text),
    Same(Handle, Handle),
    DropDescriptor(Handle),
    DropEntries(Handle),
    Stdin,
    Stdout,
    In(Handle, InCall),
    Out(Handle, OutCall),
    Splice(Handle, Handle, Number, bool),
    Sleep(Number),
    Ready(Handle),
    Poll(Vec<Handle>),
    DropPollable(Handle),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum InCall {
    Read(Number),
    BlockingRead(Number),
    Skip(Number),
    BlockingSkip(Number),
    Subscribe,
    Drop,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum OutCall {
    CheckWrite,
    Write(u16),
    WriteAndFlush(u16),
    Flush,
    BlockingFlush,
    Zeroes(Number),
    ZeroesAndFlush(Number),
    Subscribe,
    Drop,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Stack {
    Memory,
    Overlay,
    Guarded,
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Case {
    pub(crate) stack: Stack,
    pub(crate) calls: Vec<Call>,
}

impl Number {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Number::Small(n) => n.into(),
            Number::Middle(n) => n.into(),
            Number::NearTheEnd(back) => u64::MAX - u64::from(back),
            Number::NearTheSign(by) => (i64::MAX as u64).wrapping_add_signed(by.into()),
            Number::Free(bits) => bits,
        }
    }
}

impl Text {
    pub(crate) fn text(&self) -> String {
        let part = |part: &Part| match part {
            Part::D => "d".to_owned(),
            Part::F => "f".to_owned(),
            Part::L => "l".to_owned(),
            Part::H => "h".to_owned(),
            Part::New => "new".to_owned(),
            Part::Dot => ".".to_owned(),
            Part::DotDot => "..".to_owned(),
            Part::Nothing => String::new(),
            Part::Long => "n".repeat(255),
        };
        match self {
            Text::Parts(parts) => parts.iter().take(40).map(part).collect::<Vec<_>>().join("/"),
            Text::Free(text) => text.clone(),
        }
    }
}

impl Time {
    pub(crate) fn time(self) -> fs::NewTimestamp {
        match self {
            Time::Keep => fs::NewTimestamp::NoChange,
            Time::Now => fs::NewTimestamp::Now,
            Time::At(seconds, nanoseconds) => {
                fs::NewTimestamp::Timestamp(fs::Datetime { seconds, nanoseconds })
            }
        }
    }
}

impl Open {
    pub(crate) fn how(self) -> fs::OpenFlags {
        use fs::OpenFlags as F;
        let all = [F::CREATE, F::DIRECTORY, F::EXCLUSIVE, F::TRUNCATE];
        set_in(self.how, all).fold(F::empty(), |set, flag| set | flag)
    }

    pub(crate) fn flags(self) -> fs::DescriptorFlags {
        use fs::DescriptorFlags as F;
        let sync = [F::FILE_INTEGRITY_SYNC, F::DATA_INTEGRITY_SYNC, F::REQUESTED_WRITE_SYNC];
        let all = [F::READ, F::WRITE, F::MUTATE_DIRECTORY].into_iter().chain(sync);
        set_in(self.flags, all).fold(F::empty(), |set, flag| set | flag)
    }
}

/// Returns the flags whose bits are set.
fn set_in<T>(bits: u8, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, flag)| flag)
}
