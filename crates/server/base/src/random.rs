//! Random bytes.

use aws_lc_rs::rand::{SecureRandom, SystemRandom as LibraryRandom};

/// A source of bytes that nobody can guess.
pub trait Random: Send + Sync {
    /// Fills all of it.
    fn fill(&self, bytes: &mut [u8]);
}

/// The cryptographic library's generator.
#[derive(Debug, Default)]
pub struct SystemRandom(LibraryRandom);

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let filled = self.0.fill(bytes);
        filled.expect("the generator was seeded when the program started, and aborts otherwise");
    }
}
