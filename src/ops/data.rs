//! The data directory of `up`: one process at a time.
//!
//! Guarantees that whoever holds a [`Directory`] is the only one on this machine: the kernel's file lock
//! ends with the process, however it ends. The lock file names the holder for the one who comes second.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where the demo keeps its files below `DT_DATA_DIR`, unless that is set: its DingTalk is simulated, and a
/// service beside it has robots whose secrets are real.
pub const DEMO: &str = "demo";

/// The directory belongs to another process: a mistake in how this one was started.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by process {holder}: stop it, or set DT_DATA_DIR to another directory", path.display())]
pub struct InUse {
    pub path: PathBuf,
    pub holder: String,
}

pub struct Directory {
    path: PathBuf,
    /// Locked until dropped.
    _lock: File,
}

impl Directory {
    /// Creates the directory where it is missing, for its owner alone, and locks it.
    ///
    /// The error is an [`InUse`] where another process has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("create the data directory {}", path.display()))?;
        // One directory has one name, however it was spelt: a server left behind is found by it.
        let path = fs::canonicalize(path)
            .with_context(|| format!("resolve the data directory {}", path.display()))?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .with_context(|| format!("open the lock in {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).context("read the lock's holder")?;
                return Err(InUse { path, holder: holder.trim().to_owned() }.into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context("lock the data directory");
            }
        }
        lock.set_len(0).context("empty the lock file")?;
        lock.rewind().context("rewind the lock file")?;
        writeln!(lock, "{}", std::process::id()).context("name the lock's holder")?;
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, InUse};

    #[test]
    fn a_directory_has_one_holder_and_names_it_to_the_second() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = Directory::open(&path).unwrap();
        let spelt_otherwise = parent.path().join("./data/../data");
        let refused = Directory::open(&spelt_otherwise).err().unwrap();
        let in_use = refused.downcast_ref::<InUse>().unwrap();
        assert_eq!(in_use.holder, std::process::id().to_string());
        assert_eq!(in_use.path, first.path());
        drop(first);
        Directory::open(&path).unwrap();
    }
}
