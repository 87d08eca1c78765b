//! `wasi:cli`: arguments, environment, exit, standard streams and terminals.
//!
//! - <https://github.com/WebAssembly/wasi-cli/blob/main/wit/environment.wit>
//! - <https://github.com/WebAssembly/wasi-cli/blob/main/wit/exit.wit>
//! - <https://github.com/WebAssembly/wasi-cli/blob/main/wit/stdio.wit>
//! - <https://github.com/WebAssembly/wasi-cli/blob/main/wit/terminal.wit>

use palisade_kernel::{Exit, StreamRef};
use palisade_vfs::FileType;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use crate::PalisadeCtxView;
use crate::io::stdio;

impl environment::Host for PalisadeCtxView<'_> {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        // Each entry contains `=`: `ConfigBuilder::env` joins name and value.
        let pair = |entry: &str| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry.to_owned(), String::new()),
        };
        Ok(self.ctx.process().env().map(pair).collect())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(self.ctx.process().args().map(str::to_owned).collect())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for PalisadeCtxView<'_> {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(Exit(u32::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, code: u8) -> Result<()> {
        Err(Exit(u32::from(code)).into())
    }
}

impl stdin::Host for PalisadeCtxView<'_> {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let stream = stdio::input(self.ctx);
        self.push(stream).map_err(|_| self.too_many())
    }
}

impl stdout::Host for PalisadeCtxView<'_> {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream =
            stdio::output(self.ctx.process().stdout(), 1, self.ctx.offloads_blocking_calls());
        self.push(stream).map_err(|_| self.too_many())
    }
}

impl stderr::Host for PalisadeCtxView<'_> {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream =
            stdio::output(self.ctx.process().stderr(), 2, self.ctx.offloads_blocking_calls());
        self.push(stream).map_err(|_| self.too_many())
    }
}

/// The table entry of a terminal handle, whose existence shows that a stream is a terminal. The
/// bindings have two handle types; both have this entry.
struct Terminal;

impl PalisadeCtxView<'_> {
    fn terminal<T: 'static>(&mut self, stream: &StreamRef) -> Result<Option<Resource<T>>> {
        if stream.kind() != FileType::CharDevice {
            return Ok(None);
        }
        let terminal = self.push(Terminal).map_err(|_| self.too_many())?;
        Ok(Some(Resource::new_own(terminal.rep())))
    }

    fn drop_terminal<T: 'static>(&mut self, terminal: &Resource<T>) -> Result<()> {
        self.table.delete(Resource::<Terminal>::new_own(terminal.rep()))?;
        Ok(())
    }
}

impl terminal_input::Host for PalisadeCtxView<'_> {}

impl terminal_input::HostTerminalInput for PalisadeCtxView<'_> {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> Result<()> {
        self.drop_terminal(&terminal)
    }
}

impl terminal_output::Host for PalisadeCtxView<'_> {}

impl terminal_output::HostTerminalOutput for PalisadeCtxView<'_> {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> Result<()> {
        self.drop_terminal(&terminal)
    }
}

impl terminal_stdin::Host for PalisadeCtxView<'_> {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<terminal_input::TerminalInput>>> {
        let stream = self.ctx.process().stdin().clone();
        self.terminal(&stream)
    }
}

impl terminal_stdout::Host for PalisadeCtxView<'_> {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        let stream = self.ctx.process().stdout().clone();
        self.terminal(&stream)
    }
}

impl terminal_stderr::Host for PalisadeCtxView<'_> {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        let stream = self.ctx.process().stderr().clone();
        self.terminal(&stream)
    }
}
