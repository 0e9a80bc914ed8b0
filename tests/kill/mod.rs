//! Real processes die, by SIGKILL at random moments and by an abort at every named step, while
//! idempotent producers write. Whatever was acknowledged is there once and in order; whatever a
//! consumer has seen stays as it was; and at every snapshot the table is what the log says.
//!
//! ```text
//! writers --> broker (dies, comes back on the same port) --> compactor (dies) --> table
//!    |           |                                                                  |
//! what was       '--> readers: the history of the log, offset by offset             |
//! acknowledged          '--> every record follows from its origin --> refold ====== '
//! ```
//!
//! Chance comes from a seed, which is printed; `WEIR_KILL_SEED` gives it. The processes do not
//! follow it to the microsecond, so a seed tells what was tried, not what must come out.

mod both;
mod broker;
mod clerk;
mod compactor;
mod content;
mod history;
mod machine;
mod process;
mod table;
mod writer;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Whatever is waited for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// The chance of a test, by a seed that is printed.
fn chance(test: &str) -> StdRng {
    let given = std::env::var("WEIR_KILL_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("WEIR_KILL_SEED is a number"));
    let seed = given.unwrap_or_else(rand::random::<u64>);
    println!("{test}: WEIR_KILL_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Lets a random time go by. Not in place of a condition: the moment itself is what is tried.
async fn moment(chance: &mut StdRng, range_ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(chance.random_range(range_ms))).await;
}
