//! What the scenarios are made of: broken disks and stores, small models of what must come out.
pub(crate) mod disk;
pub(crate) mod folder;
pub(crate) mod store;
pub(crate) mod toy_table;
