//! The keys that `up` makes for itself: the master key and the admin token, in its data directory.
//!
//! Each is a file that only its owner can read, complete or absent, made once and read back ever after.
//! A damaged file is refused, never replaced: what was sealed with a lost master key stays lost.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context as _, ensure};
use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::domain::secret::Secret;
use crate::ops::data::{DEMO, Directory};

const MASTER_KEY_BYTES: usize = 32;
/// An operator pastes the token; 24 bytes are beyond guessing.
const ADMIN_TOKEN_BYTES: usize = 24;
pub const ADMIN_TOKEN_CHARACTERS_MIN: usize = 16;

const MASTER_KEY_FILE: &str = "master.key";
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// A key and where it comes from: a token just made is shown to the operator, once.
#[derive(Debug)]
pub enum Key {
    Made(Secret),
    Kept(Secret),
}

impl Key {
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Made(secret) | Self::Kept(secret) => secret,
        }
    }
}

/// 32 bytes in base64, as `DT_MASTER_KEY` takes them.
pub fn master_key(directory: &Directory) -> anyhow::Result<Key> {
    let path = directory.path().join(MASTER_KEY_FILE);
    let key = read_or_make(&path, || BASE64.encode(&rand::random::<[u8; MASTER_KEY_BYTES]>()))?;
    judge_master_key(&path, key.secret())?;
    Ok(key)
}

/// An error where the master key that `data` has is damaged; one that it lacks is made later.
pub fn check_master_key(data: &Path) -> anyhow::Result<()> {
    let path = data.join(MASTER_KEY_FILE);
    read(&path)?.map_or(Ok(()), |key| judge_master_key(&path, &key))
}

fn judge_master_key(path: &Path, key: &Secret) -> anyhow::Result<()> {
    let bytes = BASE64.decode(key.expose().as_bytes()).unwrap_or_default();
    ensure!(
        bytes.len() == MASTER_KEY_BYTES,
        "{} must hold {MASTER_KEY_BYTES} bytes in base64: restore it from a backup, because the \
         stored secrets cannot be read without it",
        path.display()
    );
    Ok(())
}

pub fn admin_token(directory: &Directory) -> anyhow::Result<Key> {
    let path = directory.path().join(ADMIN_TOKEN_FILE);
    let make = || BASE64URL_NOPAD.encode(&rand::random::<[u8; ADMIN_TOKEN_BYTES]>());
    let key = read_or_make(&path, make)?;
    judge_admin_token(&path, key.secret())?;
    Ok(key)
}

/// Like [`check_master_key`].
pub fn check_admin_token(data: &Path) -> anyhow::Result<()> {
    let path = data.join(ADMIN_TOKEN_FILE);
    read(&path)?.map_or(Ok(()), |token| judge_admin_token(&path, &token))
}

fn judge_admin_token(path: &Path, token: &Secret) -> anyhow::Result<()> {
    ensure!(
        token.expose().len() >= ADMIN_TOKEN_CHARACTERS_MIN,
        "{} must hold at least {ADMIN_TOKEN_CHARACTERS_MIN} characters: remove it and a new token \
         is made at the next start",
        path.display()
    );
    Ok(())
}

/// The token of the `up` that uses `data`, else of the demo there, for a command on the same machine;
/// `None` where there is none.
pub fn find_admin_token(data: &Path) -> anyhow::Result<Option<Secret>> {
    match read(&data.join(ADMIN_TOKEN_FILE))? {
        Some(token) => Ok(Some(token)),
        None => read(&data.join(DEMO).join(ADMIN_TOKEN_FILE)),
    }
}

fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<Key> {
    if let Some(kept) = read(path)? {
        return Ok(Key::Kept(kept));
    }
    let made = make();
    // Written aside and renamed, so that no crash leaves half a key behind.
    let aside = path.with_extension("new");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&aside)
        .with_context(|| format!("create {}", aside.display()))?;
    // A file that was there already kept its own mode.
    file.set_permissions(Permissions::from_mode(0o600)).context("restrict the key file")?;
    writeln!(file, "{made}").with_context(|| format!("write {}", aside.display()))?;
    file.sync_all().with_context(|| format!("write {}", aside.display()))?;
    fs::rename(&aside, path).with_context(|| format!("create {}", path.display()))?;
    Ok(Key::Made(Secret::new(made)))
}

fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{Key, admin_token, find_admin_token, master_key};
    use crate::ops::data::Directory;

    fn directory() -> (tempfile::TempDir, Directory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(&parent.path().join("data")).unwrap();
        (parent, directory)
    }

    #[test]
    fn keys_are_made_once_for_their_owner_alone() {
        let (_parent, directory) = directory();
        assert!(find_admin_token(directory.path()).unwrap().is_none());
        let made = [master_key(&directory).unwrap(), admin_token(&directory).unwrap()];
        let kept = [master_key(&directory).unwrap(), admin_token(&directory).unwrap()];
        for (made, kept) in made.iter().zip(&kept) {
            assert!(matches!((made, kept), (Key::Made(_), Key::Kept(_))));
            assert_eq!(made.secret().expose(), kept.secret().expose());
        }
        for file in ["master.key", "admin.token"] {
            let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let found = find_admin_token(directory.path()).unwrap().unwrap();
        assert_eq!(found.expose(), kept[1].secret().expose());
        assert_eq!(format!("{:?}", made[0]), "Made(***)");
    }

    #[test]
    fn a_damaged_key_is_refused_by_name_and_kept() {
        for (text, file) in [
            ("short", "master.key"),
            ("", "master.key"),
            ("short", "admin.token"),
            ("", "admin.token"),
        ] {
            let (_parent, directory) = directory();
            let path = directory.path().join(file);
            fs::write(&path, text).unwrap();
            let outcome = match file {
                "master.key" => master_key(&directory),
                _ => admin_token(&directory),
            };
            assert!(outcome.unwrap_err().to_string().contains(file), "{file} with {text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
