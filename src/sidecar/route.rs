//! Bounded names for paths: the templates of the settings, else `unmatched` (E18).
