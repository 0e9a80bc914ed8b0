//! A few blocks kept aside. To delete something, the log must first write down that it is gone; on
//! a full disk there would be no way back without them.
use crate::disk::Disk;

const RESERVE: &str = ".reserve";
const RESERVE_BYTES: u64 = 1 << 20;

/// Keeps the blocks aside, if there is room.
pub(super) fn keep(disk: &dyn Disk) {
    if let Ok(file) = disk.create(RESERVE)
        && file.allocate(0, RESERVE_BYTES).is_err()
    {
        // Half a reserve would look like one, and never be made whole.
        let _ = disk.unlink(RESERVE);
    }
}

/// Gives them back to the disk. False when there were none.
pub(super) fn spend(disk: &dyn Disk) -> bool {
    let is_spent = disk.unlink(RESERVE).is_ok();
    if is_spent {
        tracing::warn!("the disk is full: its reserve is spent to make room");
    }
    is_spent
}
