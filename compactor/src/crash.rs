//! Named places at which a process can be made to die, so that tests can kill it at each of them.
//!
//! `WEIR_CRASH_AT=commit.manifests-written` aborts at the first pass, `...:3` at the third.
//!
//! And bugs that are seeded on purpose: a test suite is worth what it catches. They exist only in
//! builds with debug assertions.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every place at which a process can be made to die, in the order in which a commit, then an
/// expiry, passes them.
pub const CRASH_POINTS: &[&str] = &[
    "commit.planned",
    "commit.quarantine-written",
    "commit.manifests-written",
    "commit.base-list-written",
    "commit.delta-list-written",
    "commit.before-snapshot",
    "commit.snapshot-put",
    "commit.hint-written",
    "expire.planned",
    "expire.file-deleted",
    "expire.manifest-deleted",
    "expire.snapshot-deleted",
    "expire.hint-written",
    "orphans.file-deleted",
];

struct Target {
    name: String,
    passes_left: AtomicU64,
}

/// Dies here if the environment asks for it.
pub fn crash_point(name: &'static str) {
    static TARGET: OnceLock<Option<Target>> = OnceLock::new();
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is missing in the list");
    let target = TARGET.get_or_init(|| parse(&std::env::var("WEIR_CRASH_AT").ok()?));
    let Some(target) = target else { return };
    if target.name == name && target.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Whoever waits for this death can tell it from any other abort.
        eprintln!("crash point {name}");
        std::process::abort();
    }
}

/// Is a bug seeded on purpose (`WEIR_SEEDED_BUG=<name>`)? Never in a release build.
pub fn seeded_bug(name: &str) -> bool {
    cfg!(debug_assertions) && std::env::var("WEIR_SEEDED_BUG").is_ok_and(|value| value == name)
}

fn parse(text: &str) -> Option<Target> {
    let (name, pass) = match text.rsplit_once(':') {
        Some((name, pass)) => (name, pass.parse().ok()?),
        None => (text, 1),
    };
    Some(Target { name: name.into(), passes_left: AtomicU64::new(pass) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_may_be_named() {
        let target = parse("commit.planned:3").unwrap();
        assert_eq!((target.name.as_str(), target.passes_left.into_inner()), ("commit.planned", 3));
        assert_eq!(parse("commit.planned").unwrap().passes_left.into_inner(), 1);
        assert!(parse("commit.planned:x").is_none());
    }
}
