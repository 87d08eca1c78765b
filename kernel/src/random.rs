//! Random number generators: a secure one, or a deterministic one with a seed.

use palisade_vfs::{Errno, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The source of a guest's random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Random {
    /// ChaCha20, seeded by the operating system for each guest.
    #[default]
    Secure,
    /// ChaCha20 with this seed: the same numbers in every run. Not secret.
    Seeded(u64),
}

/// The random number generator of one guest. It is seeded on the first use.
pub(crate) struct Generator(Option<ChaCha20Rng>, Random);

impl Generator {
    pub(crate) fn new(random: Random) -> Self {
        Generator(None, random)
    }

    /// Fills `bytes`, or returns `Io` if the operating system has no entropy.
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

    /// Returns a key that is independent of the numbers that the guest draws.
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
        // The state would reveal all future numbers.
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
    fn keys_are_independent_of_drawn_numbers() {
        let seeded = Generator::new(Random::Seeded(7));
        assert_eq!(seeded.key(), Generator::new(Random::Seeded(7)).key());
        assert_ne!(seeded.key().unwrap(), draw(Random::Seeded(7)));
        let secure = Generator::new(Random::Secure);
        assert_ne!(secure.key(), secure.key());
    }

    #[test]
    fn seeded_numbers_repeat_and_secure_numbers_differ() {
        assert_eq!(draw(Random::Seeded(7)), draw(Random::Seeded(7)));
        assert_ne!(draw(Random::Seeded(7)), draw(Random::Seeded(8)));
        assert_ne!(draw(Random::Secure), draw(Random::Secure));
    }
}
