//! A file whose content must not change while it is open.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_64;

/// Bytes per checksum: hashing a block is fast compared with a step, and each checksum takes 8 bytes of memory.
const BLOCK: u64 = 1 << 16;

/// A file read at given positions, by any number of threads. Each block must hold the same bytes at every read.
#[derive(Debug)]
pub(crate) struct SteadyFile {
    file: Positioned,
    bytes: u64,
    /// The checksum of each block at its first read; 0 before that.
    sums: Vec<AtomicU64>,
}

impl SteadyFile {
    /// A file of `bytes` bytes.
    pub(crate) fn new(file: File, bytes: u64) -> Self {
        let sums = (0..bytes.div_ceil(BLOCK)).map(|_| AtomicU64::new(0)).collect();
        Self { file: Positioned::new(file), bytes, sums }
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before that, `InvalidData` if a block has changed, or the system's error.
    pub(crate) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whole blocks, as each block has one checksum.
        let start = offset / BLOCK * BLOCK;
        let stop = end.next_multiple_of(BLOCK).min(self.bytes);
        let mut blocks = vec![0; (stop - start) as usize];
        self.file.read_exact_at(&mut blocks, start)?;
        let first = (start / BLOCK) as usize;
        for (block, known) in blocks.chunks(BLOCK as usize).zip(&self.sums[first..]) {
            // 0 means that there is none yet.
            let sum = xxh3_64(block).max(1);
            if let Err(before) = known.compare_exchange(0, sum, Relaxed, Relaxed)
                && before != sum
            {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let skip = (offset - start) as usize;
        out.copy_from_slice(&blocks[skip..skip + out.len()]);
        Ok(())
    }
}

/// A file read at given positions, by any number of threads.
#[cfg(unix)]
#[derive(Debug)]
struct Positioned(File);

#[cfg(unix)]
impl Positioned {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, bytes, offset)
    }
}

/// A file read at given positions, by one thread at a time.
#[cfg(not(unix))]
#[derive(Debug)]
struct Positioned(std::sync::Mutex<File>);

#[cfg(not(unix))]
impl Positioned {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        // Poisoning is harmless: every read seeks first.
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_refused_wherever_it_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("file");
        let mut bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let file = SteadyFile::new(File::open(&path).expect("a file"), bytes.len() as u64);
        let read = |at: usize, len: usize| {
            let mut out = vec![0; len];
            file.read_exact_at(&mut out, at as u64).map(|()| out).map_err(|e| e.kind())
        };
        for (at, len) in [(0, 200_000), (65_530, 12), (131_072, 1), (199_999, 1), (7, 0)] {
            assert_eq!(read(at, len).as_deref(), Ok(&bytes[at..at + len]), "{at}, {len}");
        }
        assert_eq!(read(199_999, 2), Err(io::ErrorKind::UnexpectedEof));
        // One bit of the second block.
        bytes[100_000] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(read(65_536, 2), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(65_535, 1).as_deref(), Ok(&bytes[65_535..65_536]), "the first block is as it was");
        assert_eq!(read(131_072, 9).as_deref(), Ok(&bytes[131_072..131_081]));
        std::fs::write(&path, &bytes[..150_000]).expect("written");
        assert_eq!(read(131_072, 9), Err(io::ErrorKind::UnexpectedEof), "it is shorter now");
    }
}
