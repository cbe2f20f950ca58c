//! Image references: which registry, which version.

/// A reference taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Registry and path, in full: `docker.io/library/nginx` for `nginx`.
    pub repository: String,
    /// Tag, if any.
    pub tag: Option<&'a str>,
    /// Digest, if any.
    pub digest: Option<&'a str>,
}

/// Take a reference apart; `None` if it is not one.
pub fn parse(reference: &str) -> Option<Image<'_>> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let (path, tag) = match rest.rfind(':').filter(|colon| !rest[*colon..].contains('/')) {
        Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
        None => (rest, None),
    };
    let is_word = |word: &str, more: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let digest_ok = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    let tag_ok = tag.is_none_or(|tag| tag.len() <= 128 && is_word(tag, "._-"));
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let has_registry = path.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let names = if has_registry { &path[first.len() + 1..] } else { path };
    let path_ok =
        names.split('/').all(|name| is_word(name, "._-") && !name.bytes().any(|b| b.is_ascii_uppercase()));
    if !digest_ok || !tag_ok || !path_ok || (has_registry && !is_word(first, ".-:")) {
        return None;
    }
    let repository = match (has_registry, path.contains('/')) {
        (true, _) => path.to_string(),
        (false, true) => format!("docker.io/{path}"),
        (false, false) => format!("docker.io/library/{path}"),
    };
    Some(Image { repository, tag, digest })
}

/// What `SERVICE_VERSION` and the `Version` column say: the tag, else the start of the digest, else `latest`.
pub fn version(reference: &str) -> String {
    match parse(reference) {
        Some(Image { tag: Some(tag), .. }) => tag.to_string(),
        Some(Image { digest: Some(digest), .. }) => digest.chars().take("sha256:".len() + 12).collect(),
        _ => "latest".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (reference, repository, tag) in [
            ("nginx", "docker.io/library/nginx", None),
            ("stefanprodan/podinfo:6.9.2", "docker.io/stefanprodan/podinfo", Some("6.9.2")),
            ("ghcr.io/visiobook/users:1.0", "ghcr.io/visiobook/users", Some("1.0")),
            ("registry:5000/users", "registry:5000/users", None),
            ("localhost/users:dev", "localhost/users", Some("dev")),
        ] {
            let image = parse(reference).unwrap();
            assert_eq!((image.repository.as_str(), image.tag), (repository, tag), "{reference}");
        }
        let pinned = format!("ghcr.io/visiobook/users:1.0@{digest}");
        assert_eq!(parse(&pinned).unwrap().digest, Some(digest.as_str()));
        assert_eq!(
            version(&format!("ghcr.io/visiobook/users@{digest}")),
            format!("sha256:{}", "a".repeat(12))
        );
    }

    #[test]
    fn what_is_no_reference_is_told() {
        for reference in
            ["", ":", "a:", "a b", "ghcr.io/A/b", "a@sha256:12", "a//b", "a/b:t:u", "https://ghcr.io/a"]
        {
            assert_eq!(parse(reference), None, "{reference}");
        }
    }
}
