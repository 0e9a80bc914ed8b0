//! What the scenarios are made of: broken disks and stores, small models of what must come out, the
//! program as a process and a client of it.
pub(crate) mod disk;
pub(crate) mod folder;
pub(crate) mod program;
pub(crate) mod store;
pub(crate) mod toy_table;
pub(crate) mod wire;
