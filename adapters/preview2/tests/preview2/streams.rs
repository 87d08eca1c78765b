//! Tests of streams of files and of the standard streams.

use palisade_kernel::{Config, Input, Output};
use palisade_vfs::{Errno, MemFs};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{stderr::Host as _, stdin::Host as _, stdout::Host as _};
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::p2::bindings::sync::io::streams::HostOutputStream as _;
use wasmtime_wasi::p2::{DynInputStream, StreamError};

use crate::world::{READ, WRITE, World, each, fd, no_flags};
use palisade_preview2::PalisadeView as _;

fn drain(w: &mut World, stream: &Resource<DynInputStream>) -> Vec<u8> {
    let mut all = vec![];
    loop {
        match w.read(stream, usize::MAX) {
            Ok(bytes) => {
                assert!(!bytes.is_empty());
                all.extend(bytes);
            }
            Err(StreamError::Closed) => return all,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn input_stream_reads_from_an_offset_to_the_end() {
    each(|mut w| {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[1]).collect();
        w.put("f", &bytes);
        let f = w.open(w.root, "f", no_flags(), READ).unwrap();
        for offset in [0, 1, 70_000, 299_999, 300_000, 300_001, i64::MAX as u64] {
            let stream = w.input(f, offset).unwrap();
            let want = bytes.get(offset as usize..).unwrap_or_default();
            assert!(drain(&mut w, &stream) == want, "{offset}");
            assert!(matches!(w.read(&stream, 1), Err(StreamError::Closed)));
        }
        let stream = w.input(f, 0).unwrap();
        assert_eq!(w.read(&stream, 3).unwrap(), bytes[..3]);
        assert!(w.read(&stream, 0).unwrap().is_empty());
        assert_eq!(w.read(&stream, 3).unwrap(), bytes[3..6]);
    });
}

#[test]
fn opening_a_stream_checks_rights() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"x");
        let r = w.open(root, "f", no_flags(), READ).unwrap();
        let wr = w.open(root, "f", no_flags(), WRITE).unwrap();
        let code = |answer: Result<_, ErrorCode>| answer.map(|_: u32| ()).unwrap_err();
        assert_eq!(code(w.input(wr, 0).map(|s| s.rep())), ErrorCode::BadDescriptor);
        assert_eq!(code(w.output(r, 0).map(|s| s.rep())), ErrorCode::BadDescriptor);
        assert_eq!(code(w.input(root, 0).map(|s| s.rep())), ErrorCode::IsDirectory);
        assert_eq!(code(w.output(root, 0).map(|s| s.rep())), ErrorCode::IsDirectory);
        assert_eq!(code(w.input(r, u64::MAX).map(|s| s.rep())), ErrorCode::Invalid);
        assert_eq!(code(w.output(wr, u64::MAX).map(|s| s.rep())), ErrorCode::Invalid);
        let append = w.call(|v| v.append_via_stream(fd(r))).map(|s| s.rep());
        assert_eq!(code(append), ErrorCode::BadDescriptor);
    });
}

#[test]
fn output_streams_write_at_an_offset_or_append() {
    each(|mut w| {
        let root = w.root;
        w.put("f", b"0123456789");
        let f = w.open(root, "f", no_flags(), WRITE).unwrap();
        let at = w.output(f, 12).unwrap();
        let end = w.call(|v| v.append_via_stream(fd(f))).unwrap();
        w.write(&at, b"ab").unwrap();
        w.write(&end, b"END").unwrap();
        w.write(&at, b"cd").unwrap();
        assert_eq!(w.get("f"), b"0123456789\0\0abcdD");
        w.write(&end, b"+").unwrap();
        // Streams outlive their descriptor.
        w.close(f);
        w.write(&at, b"!").unwrap();
        assert_eq!(w.get("f"), b"0123456789\0\0abcd!+");
        let stream = w.table.get_mut(&at).unwrap();
        stream.write_zeroes(5000).unwrap();
        assert_eq!(w.get("f").len(), 17 + 5000);
    });
}

#[test]
fn splice_copies_between_files() {
    each(|mut w| {
        let root = w.root;
        w.put("from", &[7; 200_000]);
        w.put("to", b"");
        let from = w.open(root, "from", no_flags(), READ).unwrap();
        let to = w.open(root, "to", no_flags(), WRITE).unwrap();
        let (from, to) = (w.input(from, 0).unwrap(), w.output(to, 0).unwrap());
        let mut spliced = 0;
        loop {
            let (to, from) = (Resource::new_borrow(to.rep()), Resource::new_borrow(from.rep()));
            match w.table.blocking_splice(to, from, u64::MAX) {
                Ok(done) => spliced += done,
                Err(StreamError::Closed) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(spliced, 200_000);
        assert!(w.lstat("to").unwrap().size == 200_000);
    });
}

#[test]
fn stream_error_is_returned_once_then_closed() {
    let fs = MemFs::builder().capacity_bytes(128 * 1024).build();
    let mut w = World::over(fs.root());
    w.put("f", b"");
    let f = w.open(w.root, "f", no_flags(), WRITE).unwrap();
    let stream = w.output(f, 0).unwrap();
    static MANY: [u8; 200_000] = [1; 200_000];
    let error = w.write(&stream, &MANY).unwrap_err();
    assert_eq!(w.code_of(error), Some(ErrorCode::InsufficientSpace));
    assert!(matches!(w.write(&stream, b"x"), Err(StreamError::Closed)));
    let stream = w.output(f, i64::MAX as u64).unwrap();
    let error = w.write(&stream, b"xx").unwrap_err();
    assert_eq!(w.code_of(error), Some(ErrorCode::FileTooLarge));
}

#[test]
fn foreign_stream_errors_have_no_error_code() {
    let mut w = World::over(MemFs::new().root());
    let other = StreamError::LastOperationFailed(wasmtime::Error::msg("of another crate's"));
    assert_eq!(w.code_of(other), None);
    let io = std::io::Error::from(std::io::ErrorKind::NotFound);
    let code = w.code_of(StreamError::LastOperationFailed(io.into()));
    assert_eq!(code, Some(ErrorCode::NoEntry));
}

#[test]
fn write_beyond_check_write_is_a_trap() {
    let mut w = World::over(MemFs::new().root());
    w.put("f", b"");
    let f = w.open(w.root, "f", no_flags(), WRITE).unwrap();
    let stream = w.output(f, 0).unwrap();
    let stream = w.table.get_mut(&stream).unwrap();
    let budget = stream.check_write().unwrap();
    assert!(matches!(stream.write(vec![0; budget + 1].into()), Err(StreamError::Trap(_))));
    assert!(matches!(stream.write_zeroes(usize::MAX), Err(StreamError::Trap(_))));
    assert_eq!(w.get("f"), b"", "nothing of it was written");
}

#[test]
fn standard_streams_use_the_process_streams() {
    let (stdout, printed) = Output::buffer(8);
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&told);
    let stderr = Output::callback(move |bytes| {
        sink.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len().min(2))
    });
    let config = Config::builder().stdin(Input::bytes(*b"typed")).stdout(stdout).stderr(stderr);
    let mut w = World::of(config);
    let input = w.palisade().get_stdin().unwrap();
    assert_eq!(&w.read(&input, 2).unwrap()[..], b"ty");
    // Another handle continues at the same position.
    let again = w.palisade().get_stdin().unwrap();
    assert_eq!(drain(&mut w, &again), b"ped");
    let out = w.palisade().get_stdout().unwrap();
    w.write(&out, b"1234").unwrap();
    let error = w.write(&out, b"56789").unwrap_err();
    assert_eq!(w.code_of(error), Some(ErrorCode::InsufficientSpace));
    assert_eq!(printed.contents(), b"12345678");
    let err = w.palisade().get_stderr().unwrap();
    w.write(&err, b"abc").unwrap();
    assert_eq!(*told.lock().unwrap(), b"abcc", "what was not taken is offered again");
}

#[test]
fn broken_pipe_closes_the_stream() {
    let mut w = World::of(Config::builder().stdout(Output::callback(|_| Err(Errno::Pipe))));
    let out = w.palisade().get_stdout().unwrap();
    assert!(matches!(w.write(&out, b"x"), Err(StreamError::Closed)));
}
