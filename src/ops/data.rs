//! The data directory of `up`: one process at a time.
//!
//! Guarantees that whoever holds a [`Directory`] is the only one on this machine: the kernel's file lock
//! ends with the process, however it ends. The lock file names the holder for the one who comes second.
//! Guarantees too that other users cannot enter: what lies in it are keys, names and texts.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

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
        close(&path)?;
        let mut lock = File::options()
            .mode(0o600)
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

    /// A file for its owner alone, which is made empty if it is missing.
    pub fn private_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        let only_owner = Permissions::from_mode(0o600);
        file.and_then(|file| file.set_permissions(only_owner))
            .with_context(|| format!("keep {} to its owner", path.display()))?;
        Ok(path)
    }
}

/// A directory below the data directory, for its owner alone.
pub fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .with_context(|| format!("create {} for its owner alone", path.display()))
}

/// Replaces a file by one for its owner alone. An old one is removed first, because it keeps its mode.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Takes the directory from other users. One with files of others is left as it is, because it may be a
/// directory that others need.
fn close(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let found = fs::metadata(path).with_context(|| format!("look at {shown}"))?;
    let mode = found.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).with_context(|| format!("list {shown}"))?;
    let is_ours = path.join("lock").is_file() || entries.next().is_none();
    if is_ours && fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).is_ok() {
        tracing::warn!(path = %shown, "other users could enter the data directory; now they cannot");
        return Ok(());
    }
    // A volume may belong to another user, who lets our group in.
    if is_ours && mode & 0o007 == 0 {
        return Ok(());
    }
    bail!("other users can enter {shown}: run `chmod 700` on it, or set DT_DATA_DIR to another one")
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_directory_that_others_may_enter_is_closed_or_refused() {
        let parent = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let made = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            path
        };
        let empty = made("empty");
        let opened = Directory::open(&empty).unwrap();
        assert_eq!(mode(&empty), 0o700);
        fs::write(empty.join("old.db"), "kept").unwrap();
        fs::set_permissions(empty.join("old.db"), Permissions::from_mode(0o644)).unwrap();
        for name in ["old.db", "new.db"] {
            assert_eq!(mode(&opened.private_file(name).unwrap()), 0o600, "{name}");
        }
        assert_eq!(fs::read(empty.join("old.db")).unwrap(), b"kept");
        write_private(&empty.join("old.db"), "other").unwrap();
        assert_eq!((mode(&empty.join("old.db")), mode(&empty.join("lock"))), (0o600, 0o600));
        let foreign = made("foreign");
        fs::write(foreign.join("a"), "").unwrap();
        let refused = Directory::open(&foreign).err().unwrap().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
        assert_eq!(mode(&foreign), 0o755);
    }
}
