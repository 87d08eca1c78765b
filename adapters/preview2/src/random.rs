//! `wasi:random`: all interfaces use the kernel's random number generator of the guest.
//!
//! The generator is secure, unless the embedder has configured a seed.
//!
//! - <https://github.com/WebAssembly/wasi-random/blob/main/wit/random.wit>
//! - <https://github.com/WebAssembly/wasi-random/blob/main/wit/insecure.wit>
//! - <https://github.com/WebAssembly/wasi-random/blob/main/wit/insecure-seed.wit>

use palisade_kernel::Process;
use palisade_vfs::Errno;
use wasmtime::Result;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::PalisadeCtxView;

impl PalisadeCtxView<'_> {
    fn draw<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.ctx.process_for_mut_call()?.random(&mut bytes)?;
        Ok(bytes)
    }

    fn draw_list(&mut self, len: u64) -> Result<Vec<u8>> {
        let process: &mut Process = self.ctx.process_for_mut_call()?;
        let max = process.limits().random_bytes_max;
        // Checked before memory is allocated. The function has no error result, so this is a trap.
        let len = u32::try_from(len).ok().filter(|len| *len <= max).ok_or_else(|| {
            let text = format!("{len} random bytes at once are more than the limit of {max}");
            wasmtime::Error::from(Errno::Inval).context(text)
        })?;
        let mut bytes = vec![0; len as usize];
        process.random(&mut bytes)?;
        Ok(bytes)
    }
}

impl random::Host for PalisadeCtxView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.draw_list(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.draw()?))
    }
}

impl insecure::Host for PalisadeCtxView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.draw_list(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.draw()?))
    }
}

impl insecure_seed::Host for PalisadeCtxView<'_> {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((u64::from_le_bytes(self.draw()?), u64::from_le_bytes(self.draw()?)))
    }
}
