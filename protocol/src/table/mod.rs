//! What a table is declared as: column types, the SQL that names them, the `table.*` topic settings.
//!
//! Broker and compactor read the same declarations, which is why they live here. All of it is pure.

pub mod column;
mod setting_value;
pub mod settings;
pub mod sql;

pub use column as types;
