//! What a check found: the rules that were broken, each with its first examples.

use std::collections::BTreeMap;
use std::fmt;

/// Examples that are kept of each rule.
const EXAMPLES_MAX: usize = 10;

/// The rules that a history breaks.
#[derive(Default)]
pub struct Verdict {
    broken: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl Verdict {
    /// A rule was broken once more.
    pub fn raise(&mut self, rule: &'static str, example: impl FnOnce() -> String) {
        let (count, examples) = self.broken.entry(rule).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(example());
        }
    }

    /// The rules that were broken.
    pub fn rules(&self) -> Vec<&'static str> {
        self.broken.keys().copied().collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, (count, examples)) in &self.broken {
            writeln!(out, "{rule}: broken {count} times")?;
            for example in examples {
                writeln!(out, "  {example}")?;
            }
        }
        Ok(())
    }
}
