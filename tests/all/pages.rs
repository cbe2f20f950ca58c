//! The pages for people: their links lead somewhere, and the resources that they show are ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::command_line::visiobook;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/services", "docs/decisions"] {
        let inside = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(inside.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap()
}

/// Every other part of a page that fences part: what stands outside of them, or within.
fn parts(text: &str, within: bool) -> impl Iterator<Item = &str> {
    text.split("```").skip(usize::from(within)).step_by(2)
}

/// Names by which headings are linked to.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    let lines = parts(&text, false).flat_map(str::lines);
    let headings = lines.filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let word = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(word).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_of_it() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in parts(&text, false).flat_map(|part| part.split("](").skip(1)) {
            let link = link.split([')', ' ']).next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let is_page = target.extension().is_some_and(|end| end == "md");
            let leads =
                target.exists() && (anchor.is_empty() || !is_page || anchors(&target).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What a fence shows of a resource, made whole: a team's, and an environment's.
fn whole(shown: &str) -> Vec<String> {
    let spec = match shown.find("spec:\n") {
        Some(at) if at == 0 || shown[..at].ends_with('\n') => shown[at..].to_string(),
        _ if shown.starts_with("  ") => format!("spec:\n{shown}"),
        _ => return Vec::new(),
    };
    let with = |field: &str, value: &str| match spec.contains(&format!("\n  {field}:")) {
        true => spec.clone(),
        false => format!("{}\n  {field}: {value}\n", spec.trim_end()),
    };
    let kinds = [
        ("VisiobookService", with("image", "ghcr.io/visiobook/books:1.0.0")),
        ("VisiobookEnvironment", with("type", "production")),
    ];
    let said = shown.lines().find_map(|line| line.strip_prefix("kind: "));
    kinds
        .into_iter()
        .filter(|(kind, _)| said.is_none_or(|said| said.starts_with(kind)))
        .map(|(kind, spec)| {
            format!("apiVersion: platform.visiobook.com/v1alpha1\nkind: {kind}\nmetadata: {{ name: books }}\n{spec}")
        })
        .collect()
}

#[test]
fn what_a_page_shows_of_a_resource_has_fields_that_there_are() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = read(&page);
        let fences = parts(&text, true).filter_map(|part| part.strip_prefix("yaml\n"));
        for shown in fences.flat_map(|fence| fence.split("\n---\n")) {
            let told: Vec<String> = whole(shown)
                .into_iter()
                .map(|resource| visiobook(&["validate", "-f", "-"], &resource))
                .map(|run| run.output + &run.told)
                .collect();
            seen += usize::from(!told.is_empty());
            let is_one = |told: &String| {
                !["[unknown-field]", "[schema-", "no YAML"].iter().any(|word| told.contains(word))
            };
            if !told.is_empty() && !told.iter().any(is_one) {
                wrong.push(format!("{}:\n{shown}{}", page.display(), told.join("")));
            }
        }
    }
    assert!(seen > 15, "{seen} resources");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
