//! The rules of the house as a test: what a newcomer is promised about the tree, and no tool checks.
//!
//! - crates import downwards only; inside a crate, folders and files form no circle;
//! - every file opens with prose, stays short, and carries no leftover marks;
//! - unsafe code lives in one file; the top level holds the names that the README's map shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Code lines that a file may have, its tests not counted.
const CODE_LINES_MAX: usize = 450;
/// Lines that a function may have.
const FUNCTION_LINES_MAX: usize = 80;
/// What each crate may import of ours.
const CRATES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("broker", &["weir_protocol"]),
    ("compactor", &["weir_protocol"]),
    ("bench", &["weir_protocol"]),
    ("src", &["weir_protocol", "weir_broker", "weir_compactor"]),
    ("tests", &["weir_protocol", "weir_broker", "weir_compactor"]),
];
/// What stands at the top, besides dot files and what builds leave behind.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "bench",
    "broker",
    "compactor",
    "protocol",
    "src",
    "tests",
];
/// Words that say nothing about what lives in a file or folder.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "types", "misc", "manager", "service", "base",
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The lines before the file's own tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
        self.text.lines().enumerate().take(end).map(|(index, line)| (index + 1, line))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests")
            || self.path.ends_with("tests.rs")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, found);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(root()).expect("below the root").to_path_buf();
            found.push(Source { path, text });
        }
    }
}

fn all_sources() -> Vec<Source> {
    CRATES.iter().flat_map(|(folder, _)| sources(folder)).collect()
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn the_top_level_holds_only_what_the_map_shows() {
    let mut strange = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be listed") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let built = matches!(name.as_str(), "target" | "data");
        if !name.starts_with('.') && !built && !TOP_LEVEL.contains(&name.as_str()) {
            strange.push(name);
        }
    }
    assert_none("not on the map", &strange);
}

#[test]
fn crates_import_downwards_only() {
    let mut broken = Vec::new();
    for (folder, allowed) in CRATES {
        for source in sources(folder) {
            for ours in ["weir_protocol", "weir_broker", "weir_compactor"] {
                let own = ours.strip_prefix("weir_") == Some(folder)
                    || source.path.ends_with("main.rs") && *folder != "src" && *folder != "bench";
                let named = source.text.lines().any(|line| {
                    !line.trim_start().starts_with("//") && line.contains(&format!("{ours}::"))
                });
                if named && !own && !allowed.contains(&ours) {
                    broken.push(format!("{} imports {ours}", source.name()));
                }
            }
        }
    }
    assert_none("an arrow upwards between crates", &broken);
}

/// The module of the file's folder or of the file itself, directly below `src`.
fn room(path: &Path) -> Option<String> {
    let mut parts = path.components().skip_while(|part| part.as_os_str() != "src").skip(1);
    let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

fn imports_of(source: &Source) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    for (_, line) in source.code() {
        let mut rest = line.trim_start();
        if rest.starts_with("//") {
            continue;
        }
        while let Some(at) = rest.find("crate::") {
            rest = &rest[at + "crate::".len()..];
            let word: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !word.is_empty() {
                imports.insert(word);
            }
        }
    }
    imports
}

#[test]
fn rooms_of_a_crate_form_no_circle() {
    let mut broken = Vec::new();
    for folder in ["protocol", "broker", "compactor"] {
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in sources(&format!("{folder}/src")) {
            let Some(from) = room(&source.path) else { continue };
            if matches!(from.as_str(), "lib" | "main") || source.path.ends_with("tests.rs") {
                continue;
            }
            let to = imports_of(&source).into_iter().filter(|to| *to != from);
            arrows.entry(from.clone()).or_default().extend(to);
        }
        for start in arrows.keys() {
            if let Some(path) = path_back(&arrows, start) {
                broken.push(format!("{folder}: {}", path.join(" -> ")));
            }
        }
    }
    assert_none("rooms that import each other in a circle", &broken);
}

fn path_back(arrows: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut trail = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(path) = trail.pop() {
        for next in arrows.get(path.last()?).into_iter().flatten() {
            let mut longer = path.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                trail.push(longer);
            }
        }
    }
    None
}

#[test]
fn every_file_opens_with_prose() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(Source::name)
        .collect();
    assert_none("files without a page of prose at their head", &broken);
}

#[test]
fn files_stay_short() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| (source.code().count(), source))
        .filter(|(lines, _)| *lines > CODE_LINES_MAX)
        .map(|(lines, source)| format!("{} has {lines} lines of code", source.name()))
        .collect();
    assert_none("files that outgrew a room", &broken);
}

#[test]
fn functions_stay_short() {
    let mut broken = Vec::new();
    for source in all_sources().iter().filter(|source| !source.is_test()) {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in source.code() {
            let indent = line.len() - line.trim_start().len();
            let word = line.trim_start();
            let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn "]
                .iter()
                .any(|head| word.starts_with(head));
            if begins && open.is_none() {
                open = Some((number, indent, word.to_owned()));
            }
            if let Some((start, depth, head)) = &open
                && *depth == indent
                && (word == "}" || number == *start && (word.ends_with('}') || word.ends_with(';')))
            {
                if number - start > FUNCTION_LINES_MAX {
                    broken.push(format!(
                        "{}:{start} {} lines: {head}",
                        source.name(),
                        number - start
                    ));
                }
                open = None;
            }
        }
    }
    assert_none("functions that tell more than one story", &broken);
}

#[test]
fn no_leftover_marks() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("db", "g!("),
    ];
    let mut broken = Vec::new();
    for source in all_sources() {
        for (index, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                broken.push(format!("{}:{} {}", source.name(), index + 1, line.trim()));
            }
        }
    }
    assert_none("marks of unfinished work", &broken);
}

#[test]
fn unsafe_code_lives_in_one_file() {
    let allowance = concat!("expect(unsafe", "_code");
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| !source.path.ends_with("disk/mapped_file.rs"))
        .filter(|source| {
            source.text.contains(allowance)
                || source.text.contains(concat!("allow(unsafe", "_code"))
        })
        .map(Source::name)
        .collect();
    assert_none("unsafe code outside broker/src/disk/mapped_file.rs", &broken);
}

#[test]
fn names_say_what_lives_there() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| {
            source
                .path
                .with_extension("")
                .components()
                .any(|part| EMPTY_NAMES.contains(&part.as_os_str().to_string_lossy().as_ref()))
        })
        .map(Source::name)
        .collect();
    assert_none("files or folders with names that say nothing", &broken);
}

#[test]
fn a_library_page_lists_modules_and_holds_no_code() {
    let mut broken = Vec::new();
    for crate_folder in ["protocol", "broker", "compactor"] {
        let text =
            fs::read_to_string(root().join(crate_folder).join("src/lib.rs")).expect("a page");
        for line in text.lines() {
            let is_page = line.is_empty() || line.starts_with("//") || line.starts_with("pub mod ");
            if !is_page {
                broken.push(format!("{crate_folder}/src/lib.rs: {line}"));
            }
        }
    }
    assert_none("code in a library's page", &broken);
}

#[test]
fn the_readme_lists_every_api_that_is_served_with_its_versions() {
    let readme = std::fs::read_to_string("README.md").expect("it is there");
    let section = readme.split("## The Kafka APIs").nth(1).expect("a section of APIs");
    let section = section.split("\n## ").next().expect("it ends");
    let mut told: Vec<String> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains(' '))
        .map(str::to_owned)
        .collect();
    let served = weir_protocol::api::APIS.iter();
    let mut served: Vec<String> =
        served.map(|api| format!("{} {}-{}", api.name, api.min, api.max)).collect();
    told.sort();
    served.sort();
    assert_eq!(told, served);
}
