//! Random numbers: secure ones, or a sequence that can be repeated.

use palisade_vfs::{Errno, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Where a guest's random numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Random {
    /// ChaCha20, seeded by the operating system for each guest anew.
    #[default]
    Secure,
    /// ChaCha20 from this seed: the same numbers in every run. Not secret.
    Seeded(u64),
}

/// One guest's source of random numbers.
pub(crate) struct Generator(Option<ChaCha20Rng>, Random);

impl Generator {
    pub(crate) fn new(random: Random) -> Self {
        Generator(None, random)
    }

    /// Fills `bytes`. `Io` if the operating system has no seed to give.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let rng = match &mut self.0 {
            Some(rng) => rng,
            none => none.insert(match self.1 {
                Random::Seeded(seed) => ChaCha20Rng::seed_from_u64(seed),
                Random::Secure => {
                    let mut seed = [0; 32];
                    getrandom::fill(&mut seed).map_err(|_| Errno::Io)?;
                    ChaCha20Rng::from_seed(seed)
                }
            }),
        };
        rng.fill_bytes(bytes);
        Ok(())
    }

    /// A key of the host's own, which no number that the guest draws tells anything about.
    pub(crate) fn key(&self) -> Result<[u8; 16]> {
        let mut key = [0; 16];
        match self.1 {
            Random::Seeded(seed) => {
                let mut rng = ChaCha20Rng::seed_from_u64(seed);
                rng.set_stream(1);
                rng.fill_bytes(&mut key);
            }
            Random::Secure => getrandom::fill(&mut key).map_err(|_| Errno::Io)?,
        }
        Ok(key)
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The state would give away every number to come.
        f.debug_tuple("Generator").field(&self.1).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(random: Random) -> [u8; 16] {
        let mut bytes = [0; 16];
        Generator::new(random).fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_key_is_not_what_the_guest_draws() {
        let seeded = Generator::new(Random::Seeded(7));
        assert_eq!(seeded.key(), Generator::new(Random::Seeded(7)).key());
        assert_ne!(seeded.key().unwrap(), draw(Random::Seeded(7)));
        let secure = Generator::new(Random::Secure);
        assert_ne!(secure.key(), secure.key());
    }

    #[test]
    fn a_seed_repeats_and_secure_numbers_do_not() {
        assert_eq!(draw(Random::Seeded(7)), draw(Random::Seeded(7)));
        assert_ne!(draw(Random::Seeded(7)), draw(Random::Seeded(8)));
        assert_ne!(draw(Random::Secure), draw(Random::Secure));
    }
}
