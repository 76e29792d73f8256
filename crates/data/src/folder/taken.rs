//! The names that a version and an import hold, so that a folder of their files can exist: no name twice, and no name
//! that is a file and a folder at once.

use super::{folders_of, key_of};
use crate::BlobHash;
use std::collections::HashSet;

/// Names and folders, each as half of a BLAKE3 hash, so that texts need not be kept.
#[derive(Debug, Default)]
pub struct Taken {
    names: HashSet<[u8; 16]>,
    folders: HashSet<[u8; 16]>,
    /// Files of one folder come together: it is looked up once.
    last_folder: Vec<u8>,
}

impl Taken {
    /// Notes a name of the base version.
    pub fn note(&mut self, name: &[u8]) {
        let key = key_of(name);
        self.folders.extend(folders_of(&key).map(half_hash));
        self.names.insert(half_hash(&key));
    }

    /// Takes a name, or says why it cannot be had.
    pub fn take(&mut self, name: &[u8]) -> Result<(), &'static str> {
        let key = key_of(name);
        let id = half_hash(&key);
        if self.names.contains(&id) {
            return Err("the dataset has an item of this name already");
        }
        if self.folders.contains(&id) {
            return Err("the dataset has a folder of this name");
        }
        let holder = key.iter().rposition(|it| *it == b'/').map_or(&[][..], |at| &key[..at]);
        if holder != self.last_folder {
            let folders: Vec<_> = folders_of(&key).map(half_hash).collect();
            if folders.iter().any(|it| self.names.contains(it)) {
                return Err("its folder has the name of an item of the dataset");
            }
            self.folders.extend(folders);
            holder.clone_into(&mut self.last_folder);
        }
        self.names.insert(id);
        Ok(())
    }
}

fn half_hash(name: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&BlobHash::of(name).as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_or_a_folder_and_only_once() {
        let mut taken = Taken::default();
        taken.note(b"./old/a.png");
        for good in ["a.png", "x/a.png", "x/b.png", "old/b.png"] {
            taken.take(good.as_bytes()).expect("free");
        }
        for bad in ["old/a.png", "./old//a.png", "a.png/b.png", "a.png/c/d.png", "x", "old", "x/a.png"] {
            assert!(taken.take(bad.as_bytes()).is_err(), "{bad} was taken");
        }
    }
}
