//! The room rule of `src/lib.rs`, held against the imports: who may use whom, and what pure rooms never contain.

use std::fs;
use std::path::{Path, PathBuf};

/// Every room, lowest first, with the rooms it may use beside itself. A room uses only rooms above it in this list,
/// so there is no circle.
const ROOMS: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("api", &["contract"]),
    ("facts", &["contract", "api"]),
    ("check", &["contract", "api", "facts"]),
    ("rollout", &["contract", "api", "facts", "check"]),
    ("plan", &["contract", "api", "facts", "check", "rollout"]),
    ("gate", &["contract", "api", "facts"]),
    ("status", &["contract", "api", "facts", "check", "rollout", "plan", "gate"]),
    ("manifest", &["contract", "api", "facts", "check"]),
    ("convert", &["contract", "api", "facts", "check", "rollout", "plan", "manifest"]),
    ("apply", &["contract", "api", "facts", "check", "rollout", "plan", "gate", "status"]),
    ("handover", &["contract", "api", "apply"]),
    ("doctor", &["contract", "api", "apply"]),
    ("notify", &["api", "status"]),
    ("telemetry", &["contract", "api", "facts", "check", "rollout", "plan", "status"]),
    ("sidecar", &["contract", "telemetry"]),
    ("services", &["contract", "sidecar"]),
    ("conformance", &["contract"]),
    ("measure", &["conformance"]),
    (
        "operator",
        &[
            "contract",
            "api",
            "facts",
            "check",
            "rollout",
            "plan",
            "gate",
            "status",
            "apply",
            "notify",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "contract",
            "api",
            "facts",
            "check",
            "rollout",
            "plan",
            "gate",
            "status",
            "manifest",
            "convert",
            "apply",
            "handover",
            "doctor",
            "telemetry",
            "sidecar",
            "services",
            "conformance",
            "measure",
            "operator",
        ],
    ),
];

/// Words and thought: no client, no async, no clock, no environment.
const PURE: [&str; 10] =
    ["contract", "api", "facts", "check", "rollout", "plan", "gate", "status", "manifest", "convert"];

/// What `api` takes from kube: derives and plain types, nothing that speaks.
const KUBE_WORDS: [&str; 4] = ["core", "CustomResource", "CustomResourceExt", "KubeSchema"];

/// Lines of a file, without its tests. What grows past it becomes a folder of the same name.
const MOST_LINES: usize = 400;
/// Lines of `main.rs`.
const MOST_LINES_OF_MAIN: usize = 60;

#[test]
fn no_room_imports_upwards() {
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for used in *allowed {
            assert!(
                ROOMS[..index].iter().any(|(below, _)| below == used),
                "{room} may use {used}, which is not below it"
            );
        }
    }
    let offences: Vec<String> = sources().iter().flat_map(|source| source.imports_upwards()).collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn pure_rooms_have_no_client_no_clock_and_no_environment() {
    let offences: Vec<String> = sources().iter().flat_map(|source| source.impurities()).collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let declared: Vec<String> = fs::read_to_string(root().join("src/lib.rs"))
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_string()))
        .collect();
    let mut known: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    known.sort_unstable();
    assert_eq!(declared, known, "src/lib.rs and the table of rooms differ");
}

#[test]
fn a_file_is_one_idea() {
    let offences: Vec<String> = sources()
        .iter()
        .filter_map(|source| {
            let most = if source.path == "src/main.rs" { MOST_LINES_OF_MAIN } else { MOST_LINES };
            (source.lines > most).then(|| {
                format!(
                    "{}: {} lines without its tests, of {most}: make it a folder",
                    source.path, source.lines
                )
            })
        })
        .collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn the_rules_catch_what_they_should() {
    let offences = |path: &str, text: &str| {
        let source = Source::read(path, text);
        [source.imports_upwards(), source.impurities()].concat()
    };
    for (path, text) in [
        ("src/check/a.rs", "use crate::plan::build;"),
        ("src/check/a.rs", "use crate::{api, plan};"),
        ("src/check/a.rs", "use crate::{api::{Gpu, names}, facts, rollout::{self, Decision}};"),
        ("src/check/a.rs", "fn f() { crate::apply::apply() }"),
        ("src/check/a.rs", "use super::super::plan;"),
        ("src/facts.rs", "use super::check;"),
        ("src/check/mod.rs", "mod inner { use super::super::status; }"),
        ("src/plan/a.rs", "use kube::Client;"),
        ("src/plan/a.rs", "use ::kube::Client;"),
        ("src/api/a.rs", "use kube::{Api, CustomResource};"),
        ("src/rollout/a.rs", "async fn f() {}"),
        ("src/rollout/a.rs", "fn f() { let now = jiff::Timestamp::now(); }"),
        ("src/rollout/a.rs", "use std::time::{Duration, Instant};"),
        ("src/status.rs", "use std::{collections::BTreeMap, env};"),
        ("src/status.rs", "fn f() { tokio::spawn(x) }"),
    ] {
        assert!(!offences(path, text).is_empty(), "{path}: {text}");
    }
    for (path, text) in [
        ("src/plan/a.rs", "use crate::check::{Shape, image};\nuse super::config;"),
        (
            "src/plan/a.rs",
            "// crate::apply\n/* use kube::Client; */ const A: &str = \"crate::apply\"; const B: &str = r#\"tokio::\"#;",
        ),
        ("src/plan/a.rs", "fn f<'a>(x: &'a str) -> char { '\"' }\nuse crate::api::Gpu;"),
        ("src/plan/a.rs", "#[cfg(test)]\nmod tests { use super::*; use crate::apply::apply; }"),
        (
            "src/api/a.rs",
            "#[kube(group = \"a\")]\nuse kube::{CustomResource, KubeSchema};\nuse kube::core::Rule;",
        ),
        ("src/api/a.rs", "use super::names::Colour;"),
        ("src/facts.rs", "mod inner { use super::Facts; }"),
        ("src/operator/a.rs", "use crate::apply::apply; async fn f() {} use std::time::Instant;"),
    ] {
        assert_eq!(offences(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    assert_eq!(
        Source::read("src/plan/a.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n").lines,
        3
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `src/`, without its tests.
struct Source {
    path: String,
    /// Where it stands: `["check", "image"]` for `src/check/image.rs`.
    module: Vec<String>,
    paths: Vec<Found>,
    /// Lines that are no inline tests.
    lines: usize,
}

/// A path in the code, such as `crate::api::names`, resolved from the crate's root where it starts there.
struct Found {
    line: usize,
    segments: Vec<String>,
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.sort();
    files
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "tests.rs"))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().to_string();
            Source::read(&name, &fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn read(path: &str, text: &str) -> Source {
        let mut module: Vec<String> =
            path.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_string).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let mut reader = Reader {
            tokens: tokens(text),
            at: 0,
            inline: Vec::new(),
            depth: 0,
            test_lines: 0,
            paths: Vec::new(),
        };
        reader.read(&module);
        Source {
            path: path.to_string(),
            module,
            paths: reader.paths,
            lines: text.lines().count() - reader.test_lines,
        }
    }

    fn room(&self) -> &str {
        &self.module[0]
    }

    fn imports_upwards(&self) -> Vec<String> {
        let Some((room, allowed)) = ROOMS.iter().find(|(room, _)| *room == self.room()) else {
            return Vec::new();
        };
        self.paths
            .iter()
            .filter(|found| found.segments[0] == "crate")
            .filter_map(|found| {
                let used = found.segments.get(1)?;
                let is_room = ROOMS.iter().any(|(name, _)| name == used);
                (is_room && used != room && !allowed.contains(&used.as_str())).then(|| {
                    format!("{}:{}: {room} must not use {}", self.path, found.line, found.segments.join("::"))
                })
            })
            .collect()
    }

    fn impurities(&self) -> Vec<String> {
        if !PURE.contains(&self.room()) {
            return Vec::new();
        }
        self.paths
            .iter()
            .filter(|found| self.is_impure(&found.segments))
            .map(|found| {
                format!(
                    "{}:{}: a pure room must not contain {}",
                    self.path,
                    found.line,
                    found.segments.join("::")
                )
            })
            .collect()
    }

    fn is_impure(&self, segments: &[String]) -> bool {
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        let is_clock = |word: &&str| matches!(*word, "SystemTime" | "Instant");
        match words.as_slice() {
            ["kube", word, ..] => self.room() != "api" || !KUBE_WORDS.contains(word),
            ["tokio", _, ..] | ["std", "env", ..] | ["async"] | ["await"] => true,
            [.., "Timestamp" | "Zoned", "now"] => true,
            words => words.iter().any(is_clock),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Mark(char),
}

/// Words and marks with their lines; comments, texts, characters and lifetimes left out.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => comment(rest),
            ['"', ..] => quoted(rest),
            ['r', '"', ..] | ['r', '#', '"', ..] | ['r', '#', '#', ..] => raw(rest),
            ['b', 'r', '"' | '#', ..] => 1 + raw(&rest[1..]),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0),
            ['\'', _, '\'', ..] => 3,
            // A lifetime: the mark alone, its word follows and is harmless.
            ['\'', ..] => 1,
            [c, ..] if is_word(*c) => {
                let length = rest.iter().position(|c| !is_word(*c)).unwrap_or(rest.len());
                found.push((line, Token::Word(rest[..length].iter().collect())));
                length
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    found.push((line, Token::Mark(*c)));
                }
                1
            }
            [] => break,
        };
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        at += length;
    }
    found
}

fn comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw(rest: &[char]) -> usize {
    let marks = rest[1..].iter().take_while(|c| **c == '#').count();
    let start = 1 + marks;
    if rest.get(start) != Some(&'"') {
        return start;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
    rest[start + 1..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |at| start + 1 + at + end.len())
}

/// Walks over the tokens of a file and gathers its paths.
struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// Modules within the file, each with the depth of braces it began at.
    inline: Vec<(String, usize)>,
    depth: usize,
    test_lines: usize,
    paths: Vec<Found>,
}

impl Reader {
    fn read(&mut self, module: &[String]) {
        while let Some((line, token)) = self.tokens.get(self.at).cloned() {
            match token {
                Token::Mark('{') => self.depth += 1,
                Token::Mark('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.inline.last().is_some_and(|(_, depth)| *depth == self.depth) {
                        self.inline.pop();
                    }
                }
                Token::Mark(_) => {}
                Token::Word(word) if word == "mod" && self.mark(2) == Some('{') => {
                    if let Some(Token::Word(name)) = self.token(1).cloned() {
                        if name == "tests" {
                            self.skip_tests(line);
                            continue;
                        }
                        self.inline.push((name, self.depth));
                    }
                    self.depth += 1;
                    self.at += 2;
                }
                // `use ::kube` names kube, not something below `use`.
                Token::Word(word) if word == "use" => {}
                Token::Word(_) => {
                    let here: Vec<String> =
                        module.iter().chain(self.inline.iter().map(|(name, _)| name)).cloned().collect();
                    self.path(&here, Vec::new());
                    continue;
                }
            }
            self.at += 1;
        }
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn mark(&self, ahead: usize) -> Option<char> {
        match self.token(ahead) {
            Some(Token::Mark(mark)) => Some(*mark),
            _ => None,
        }
    }

    /// Pass over `mod tests { ... }`, and count its lines.
    fn skip_tests(&mut self, first: usize) {
        self.at += 2;
        let mut depth = 0;
        while let Some((line, token)) = self.tokens.get(self.at) {
            match token {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                self.test_lines = line + 1 - first;
                return;
            }
        }
    }

    /// Read a path, or a tree of them, that continues `before`.
    fn path(&mut self, here: &[String], before: Vec<String>) {
        let mut segments = before;
        let line = self.tokens[self.at].0;
        while let Some(Token::Word(word)) = self.token(0).cloned() {
            segments.push(word);
            self.at += 1;
            if self.mark(0) != Some(':') || self.mark(1) != Some(':') {
                break;
            }
            self.at += 2;
            if self.mark(0) == Some('{') {
                self.at += 1;
                while let Some(token) = self.token(0) {
                    match token {
                        Token::Mark('}') => {
                            self.at += 1;
                            return;
                        }
                        Token::Mark(_) => self.at += 1,
                        Token::Word(word) if word == "as" => self.at += 2,
                        Token::Word(_) => self.path(here, segments.clone()),
                    }
                }
            }
        }
        self.paths.push(Found { line, segments: resolve(here, segments) });
    }
}

/// A path that climbs by `super`, written from the crate's root.
fn resolve(here: &[String], segments: Vec<String>) -> Vec<String> {
    let climbed = segments.iter().take_while(|segment| *segment == "super").count();
    if climbed == 0 {
        return segments;
    }
    let base = here[..here.len().saturating_sub(climbed)].iter().cloned();
    std::iter::once("crate".to_string()).chain(base).chain(segments[climbed..].iter().cloned()).collect()
}
