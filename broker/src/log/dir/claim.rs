//! What a directory is found to be when it is opened.
use std::io;

use crate::disk::Disk;
use crate::log::checkpoint::{self, Offsets};
use crate::log::dir::{META, failed, foreign, remove_folder};
use crate::log::error::LogError;
use crate::log::meta::DirMeta;
use crate::log::names;

/// Reads whose directory this is; a new one is made ours.
pub(super) fn claim(disk: &dyn Disk, node_id: i32, names: &[String]) -> Result<DirMeta, LogError> {
    if names.iter().any(|name| name == META) {
        let bytes = disk.read(META).map_err(failed("read", META))?;
        let meta = DirMeta::parse(&bytes).map_err(|reason| foreign(META, reason))?;
        if meta.node_id != node_id {
            let (path, found) = (META.to_owned(), meta.node_id);
            return Err(LogError::OtherNode { path, found, asked: node_id });
        }
        return Ok(meta);
    }
    if let Some(stray) = names.iter().find(|name| names::parse_folder(name).is_some()) {
        let files = disk.list(stray).unwrap_or_default();
        if files.iter().any(|file| file.ends_with(".log")) {
            return Err(foreign(stray, format!("it holds a log, but there is no {META}")));
        }
    }
    let meta = DirMeta::new(node_id);
    disk.replace(META, &meta.to_bytes()).map_err(failed("write", META))?;
    Ok(meta)
}

/// Removes what is left of deleted partitions.
pub(super) fn remove_deleted(disk: &dyn Disk, names: &[String]) -> Result<(), LogError> {
    for folder in names.iter().filter(|name| name.ends_with(names::DELETE_FOLDER)) {
        remove_folder(disk, folder)?;
    }
    Ok(())
}

/// The offsets in a checkpoint file: none if there is no file, `None` if it is damaged.
pub(super) fn read_offsets(disk: &dyn Disk, path: &str) -> Result<Option<Offsets>, LogError> {
    match disk.read(path) {
        Ok(bytes) => Ok(checkpoint::read_offsets(path, &bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Offsets::new())),
        Err(error) => Err(failed("read", path)(error)),
    }
}
